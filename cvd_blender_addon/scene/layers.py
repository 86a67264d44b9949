# SPDX-License-Identifier: GPL-3.0-or-later
"""Collections and view layers, named and used as by Blender's own Setup Tracking Scene.

    foreground          CG goes here
    background          what is real
      holdout           depth mesh that cuts CG at render time
      shadow catcher    depth mesh that catches CG's shadows
    CVD <solve>         root, camera, points

View layer Foreground renders CG (held out where the holdout is rendered); Background renders what it does to what is
real. EEVEE has no shadow catcher: there Background shows what is real with the shadows of CG, and a third layer shows
it without CG. Both are lit by the same lamps, wherever these lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy

from .. import compat
from ..solve_reader import Solve
from . import owned

WITHOUT_CG = "Background without CG"


@dataclass(frozen=True)
class Collections:
    """The collections of a solve's scene."""

    foreground: bpy.types.Collection
    background: bpy.types.Collection
    holdout: bpy.types.Collection
    catcher: bpy.types.Collection
    rig: bpy.types.Collection


def ensure_collections(scene: bpy.types.Scene, solve: Solve) -> Collections:
    """Find or make them."""
    top = scene.collection
    background = owned.ensure_collection(scene, top, owned.SHARED, "background", "background")
    return Collections(
        foreground=owned.ensure_collection(scene, top, owned.SHARED, "foreground", "foreground"),
        background=background,
        holdout=owned.ensure_collection(scene, background, owned.SHARED, "holdout", "holdout"),
        catcher=owned.ensure_collection(scene, background, owned.SHARED, "catcher", "shadow catcher"),
        rig=owned.ensure_collection(scene, top, solve.key, "rig", f"CVD {solve.name}"),
    )


def foreground_layer(scene: bpy.types.Scene) -> bpy.types.ViewLayer:
    """The view layer that renders CG; a scene's only layer becomes it."""
    layer = scene.view_layers.get("Foreground")
    if layer is None:
        if len(scene.view_layers) == 1:
            layer = scene.view_layers[0]
            layer.name = "Foreground"
        else:
            layer = scene.view_layers.new("Foreground")
    return layer


def background_layer(scene: bpy.types.Scene) -> bpy.types.ViewLayer:
    """The view layer that renders the shadows which CG casts on what is real."""
    foreground_layer(scene)  # first, so that it stays the first
    return scene.view_layers.get("Background") or scene.view_layers.new("Background")


def without_cg_layer(scene: bpy.types.Scene) -> bpy.types.ViewLayer | None:
    """The view layer that renders for EEVEE what is real as if there were no CG, if there is one."""
    return scene.view_layers.get(WITHOUT_CG)


def set_roles(scene: bpy.types.Scene, collections: Collections, catch: bool, light: bool) -> None:
    """Say which view layers render, and what each sees of each collection, by the scene's engine.

    Args:
        catch: render the shadows of CG on what is real.
        light: and its light, by the pass of Cycles that has both; it is noisier than shadows alone.
    """
    eevee = compat.uses_eevee(scene)
    # Whatever is not ours is CG, in the collection foreground or in another.
    cg = [child for child in scene.collection.children if child not in (collections.background, collections.rig)]
    if catch and eevee:
        _keep_lamps(scene, collections, cg)
    foreground = _layer_collections(foreground_layer(scene))
    # Real things shade and reflect in CG but are not seen themselves: the plate shows them. EEVEE would show them.
    foreground[collections.catcher].exclude = eevee
    foreground[collections.catcher].indirect_only = True
    background = _layer_collections(background_layer(scene))
    background[collections.holdout].exclude = True
    for child in cg:
        # Here it only casts its shadow. What is only indirect EEVEE would show; what is held out casts a shadow, too.
        background[child].indirect_only = not eevee
        background[child].holdout = eevee
    foreground_layer(scene).use = True
    background_layer(scene).use = catch
    if compat.uses_cycles(scene):
        compat.of_cycles(background_layer(scene)).use_pass_shadow_catcher = catch and light
    without = without_cg_layer(scene)
    if catch and eevee:
        without = without or scene.view_layers.new(WITHOUT_CG)
        bare = _layer_collections(without)
        bare[collections.holdout].exclude = True
        for child in cg:
            bare[child].exclude = True
    if without is not None:
        without.use = catch and eevee


def _keep_lamps(scene: bpy.types.Scene, collections: Collections, cg: list[bpy.types.Collection]) -> None:
    """Let the lamps among CG shine where CG is excluded, too."""
    kept = owned.ensure_collection(scene, collections.background, owned.SHARED, "lamps", "lamps")
    for ob in {ob for collection in cg for ob in collection.all_objects if ob.type == "LIGHT"}:
        if ob.name not in kept.objects:
            kept.objects.link(ob)


def _layer_collections(layer: bpy.types.ViewLayer) -> dict[bpy.types.Collection, bpy.types.LayerCollection]:
    found: dict[bpy.types.Collection, bpy.types.LayerCollection] = {}

    def visit(parent: bpy.types.LayerCollection) -> None:
        for child in parent.children:
            found[child.collection] = child
            visit(child)

    visit(layer.layer_collection)
    return found
