# SPDX-License-Identifier: GPL-3.0-or-later
"""Collections and view layers, named and used as by Blender's own Setup Tracking Scene.

    foreground          CG goes here
    background          what is real
      holdout           depth mesh that cuts CG at render time
      shadow catcher    depth mesh that catches CG's shadows
    CVD <solve>         root, camera, points

View layer Foreground renders CG (held out where the holdout is rendered); Background renders the shadows it casts.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy

from ..solve_reader import Solve
from . import owned


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


def set_roles(scene: bpy.types.Scene, collections: Collections) -> None:
    """Say what each view layer sees of each collection."""
    foreground = _layer_collections(foreground_layer(scene))
    # Real things shade and reflect in CG but are not seen themselves: the plate shows them.
    foreground[collections.catcher].indirect_only = True
    background = _layer_collections(background_layer(scene))
    background[collections.holdout].exclude = True
    for child in scene.collection.children:
        # Whatever is not ours is CG, in the collection foreground or in another: here it only casts its shadow.
        if child not in (collections.background, collections.rig):
            background[child].indirect_only = True


def _layer_collections(layer: bpy.types.ViewLayer) -> dict[bpy.types.Collection, bpy.types.LayerCollection]:
    found: dict[bpy.types.Collection, bpy.types.LayerCollection] = {}

    def visit(parent: bpy.types.LayerCollection) -> None:
        for child in parent.children:
            found[child.collection] = child
            visit(child)

    visit(layer.layer_collection)
    return found
