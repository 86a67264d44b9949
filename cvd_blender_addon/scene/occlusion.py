# SPDX-License-Identifier: GPL-3.0-or-later
"""What hides CG at render time, and what catches its shadows."""

from __future__ import annotations

import bpy

from .. import compat
from ..solve_reader import Solve
from . import depth_mesh, fused, owned
from .layers import Collections, background_layer, ensure_collections, foreground_layer, set_roles
from .plate import Report

COMPOSITOR, HOLDOUT = "COMPOSITOR", "HOLDOUT"
DEPTH, FUSED = "DEPTH", "FUSED"


def build(
    scene: bpy.types.Scene,
    solve: Solve,
    mode: str,
    shadow_catcher: bool,
    report: Report,
    cut_moving: bool = False,
    surface: str = DEPTH,
) -> tuple[bpy.types.Object, bpy.types.Object]:
    """Make or update the held-out mesh and the shadow catcher, and say which of them render.

    Args:
        mode: COMPOSITOR (depth compare, no mesh rendered) or HOLDOUT.
        shadow_catcher: also render the shadows of CG on what is real (Cycles only).
        cut_moving: what moves by itself catches no shadows; it hides CG all the same.
        surface: DEPTH: each frame's depth mesh catches shadows. FUSED: the fused mesh does, on which physics rests too;
            where the solve has none, the depth mesh.

    Returns:
        (holdout, shadow catcher)

    Raises:
        SolveError: the fused mesh is damaged.
    """
    collections = ensure_collections(scene, solve)
    holdout = _holdout(scene, solve, collections)
    catcher, other = _catchers(scene, solve, collections, cut_moving, surface, report)
    if other is not None:
        other.hide_render = True
    set_roles(scene, collections)
    holdout.hide_render = mode != HOLDOUT
    catch = shadow_catcher
    if catch and compat.uses_eevee(scene):
        # EEVEE knows no shadow catcher: it would paint the mesh over the plate.
        report("WARNING", "EEVEE cannot catch shadows and the catcher is not rendered: use Cycles and build again")
        catch = False
    catcher.hide_render = not catch
    foreground_layer(scene).use = True
    background_layer(scene).use = catch
    return holdout, catcher


def _holdout(scene: bpy.types.Scene, solve: Solve, collections: Collections) -> bpy.types.Object:
    # Uncut: from the solved camera stretched faces are edge-on, and holes in a holdout would leak.
    ob, new = depth_mesh.ensure_mesh(
        scene, solve, collections.holdout, "holdout", f"CVD Holdout {solve.name}", depth_edge=0.0, cut_moving=False
    )
    ob.is_holdout = True
    if new:
        ob.hide_viewport = True  # the depth mesh shows the same
        # It stands in for what hides CG from the camera, and for nothing else.
        ob.visible_diffuse = ob.visible_glossy = ob.visible_transmission = False
        ob.visible_volume_scatter = ob.visible_shadow = False
    return ob


def _catchers(
    scene: bpy.types.Scene, solve: Solve, collections: Collections, cut_moving: bool, surface: str, report: Report
) -> tuple[bpy.types.Object, bpy.types.Object | None]:
    """The catcher to render, and the one that was rendered before another surface was chosen."""
    if surface == FUSED and solve.fused_path is not None:
        return _fused_catcher(scene, solve, collections), owned.find(scene.objects, solve.key, "catcher")
    if surface == FUSED:
        report("WARNING", "This solve has no fused mesh: the depth mesh catches the shadows")
    return _catcher(scene, solve, collections, cut_moving), owned.find(scene.objects, solve.key, "fused_catcher")


def _fused_catcher(scene: bpy.types.Scene, solve: Solve, collections: Collections) -> bpy.types.Object:
    name = f"CVD Fused Shadow Catcher {solve.name}"
    ob, new = fused.use(scene, solve, collections.catcher, "fused_catcher", name)
    ob.is_shadow_catcher = True
    if new:
        ob.hide_viewport = True
    return ob


def _catcher(scene: bpy.types.Scene, solve: Solve, collections: Collections, cut_moving: bool) -> bpy.types.Object:
    name = f"CVD Shadow Catcher {solve.name}"
    ob, new = depth_mesh.ensure_mesh(
        scene, solve, collections.catcher, "catcher", name, depth_mesh.DEPTH_EDGE, cut_moving
    )
    ob.is_shadow_catcher = True
    if new:
        ob.hide_viewport = True
        material = depth_mesh.plate_material(solve, "diffuse")
        compat.set_modifier_input(ob.modifiers[depth_mesh.MODIFIER], "Material", material)
    return ob
