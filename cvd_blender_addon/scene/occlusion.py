# SPDX-License-Identifier: GPL-3.0-or-later
"""What hides CG at render time, and what catches its shadows and mirrors it."""

from __future__ import annotations

import bpy

from .. import compat
from ..solve_reader import Solve
from . import depth_mesh, fused, owned
from .layers import Collections, ensure_collections, set_roles, without_cg_layer
from .nodes import TreeBuilder, set_value
from .plate import Report

COMPOSITOR, HOLDOUT, FUSED_HOLDOUT = "COMPOSITOR", "HOLDOUT", "FUSED_HOLDOUT"
DEPTH, FUSED = "DEPTH", "FUSED"
MIRROR, SHARE = "CVD Mirror", "CVD Reflection"
ROUGHNESS = 0.2


def build(
    scene: bpy.types.Scene,
    solve: Solve,
    mode: str,
    shadow_catcher: bool,
    report: Report,
    cut_moving: bool = False,
    surface: str = DEPTH,
    reflection: float = 0.0,
    roughness: float = ROUGHNESS,
) -> tuple[bpy.types.Object, bpy.types.Object]:
    """Make or update the held-out mesh and the shadow catcher, and say which of them render, for the scene's engine.

    Args:
        mode: COMPOSITOR (depth compare, no mesh rendered), HOLDOUT (each frame's depth mesh) or FUSED_HOLDOUT (the
            fused mesh, for scenes in which nothing moves by itself).
        shadow_catcher: also render what CG does to what is real: its shadows and, in Cycles, its light.
        cut_moving: what moves by itself catches no shadows; with COMPOSITOR and HOLDOUT it hides CG all the same.
        surface: DEPTH: each frame's depth mesh catches shadows. FUSED: the fused mesh does, on which physics rests too.
            Where the solve has no fused mesh, the depth mesh takes its place.
        reflection: share of light that the catcher mirrors, 0..1 (Cycles only).
        roughness: of that mirror.

    Returns:
        (holdout, shadow catcher)

    Raises:
        SolveError: the fused mesh is damaged.
    """
    if solve.fused_path is None and (surface == FUSED or mode == FUSED_HOLDOUT):
        report(
            "WARNING", f"No fused mesh: the depth mesh is used. With the engine: python -m engine fuse {solve.folder}"
        )
        surface, mode = DEPTH, HOLDOUT if mode == FUSED_HOLDOUT else mode
    collections = ensure_collections(scene, solve)
    holdout = _holdout(scene, solve, collections, mode == FUSED_HOLDOUT)
    catcher = _catcher(scene, solve, collections, cut_moving, surface == FUSED)
    for role in ("holdout", "fused_holdout", "catcher", "fused_catcher"):
        other = owned.find(scene.objects, solve.key, role)
        if other is not None:
            other.hide_render = True
    holdout.hide_render = mode == COMPOSITOR
    catcher.hide_render = not shadow_catcher
    mirror(catcher, reflection, roughness)
    if shadow_catcher and reflection > 0.0 and compat.uses_eevee(scene):
        report("WARNING", "EEVEE catches shadows, but no reflections: use Cycles for them and build again")
    set_roles(scene, collections, shadow_catcher, reflection > 0.0)
    return holdout, catcher


def engine_changed(scene: bpy.types.Scene) -> bool:
    """The catcher renders, and was built for another engine than the scene's."""
    without = without_cg_layer(scene)
    background = scene.view_layers.get("Background")
    if background is None or not background.use:
        return False
    return compat.uses_eevee(scene) != (without is not None and without.use)


def update_mirrors(scene: bpy.types.Scene, key: str, reflection: float, roughness: float) -> None:
    """Set the mirrors of the catchers that have been built for a solve."""
    for role in ("catcher", "fused_catcher"):
        ob = owned.find(scene.objects, key, role)
        if ob is not None:
            mirror(ob, reflection, roughness)


def mirror(catcher: bpy.types.Object, reflection: float, roughness: float) -> None:
    """Let what is real mirror CG: a mirror is mixed into the catcher's materials.

    Args:
        reflection: share of light that is mirrored, 0..1.
        roughness: as of Blender's Glossy BSDF.
    """
    for material in _materials(catcher):
        nodes = compat.nodes_of(material).nodes
        if MIRROR not in nodes:
            if reflection == 0.0:
                continue
            _add_mirror(material)
        set_value(nodes[MIRROR].inputs["Roughness"], roughness)
        set_value(nodes[SHARE].inputs[0], reflection)


def _materials(ob: bpy.types.Object) -> set[bpy.types.Material]:
    found = {slot.material for slot in ob.material_slots}
    modifier = compat.geometry_nodes(ob, depth_mesh.MODIFIER)
    if modifier is not None:
        found.add(compat.get_modifier_input(modifier, "Material"))
    return {material for material in found if material is not None and material.node_tree is not None}


def _add_mirror(material: bpy.types.Material) -> None:
    build = TreeBuilder(compat.nodes_of(material))
    surface = next(node for node in build.tree.nodes if node.type == "OUTPUT_MATERIAL").inputs["Surface"]
    glossy, mix = build.node("ShaderNodeBsdfGlossy", MIRROR), build.node("ShaderNodeMixShader", SHARE)
    glossy.name, mix.name = MIRROR, SHARE
    links = surface.links
    if surface.is_linked and links:
        build.put(links[0].from_socket, mix.inputs[1])
    build.put(glossy.outputs[0], mix.inputs[2])
    build.put(mix.outputs[0], surface)
    build.arrange()


def _holdout(scene: bpy.types.Scene, solve: Solve, collections: Collections, whole: bool) -> bpy.types.Object:
    if whole:
        ob, new = fused.use(scene, solve, collections.holdout, "fused_holdout", f"CVD Fused Holdout {solve.name}")
    else:
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


def _catcher(
    scene: bpy.types.Scene, solve: Solve, collections: Collections, cut_moving: bool, whole: bool
) -> bpy.types.Object:
    if whole:
        name = f"CVD Fused Shadow Catcher {solve.name}"
        ob, new = fused.use(scene, solve, collections.catcher, "fused_catcher", name)
    else:
        name = f"CVD Shadow Catcher {solve.name}"
        ob, new = depth_mesh.ensure_mesh(
            scene, solve, collections.catcher, "catcher", name, depth_mesh.DEPTH_EDGE, cut_moving
        )
        if new:
            material = depth_mesh.plate_material(solve, "diffuse")
            compat.set_modifier_input(depth_mesh.modifier_of(ob), "Material", material)
    ob.is_shadow_catcher = True
    if new:
        ob.hide_viewport = True
    return ob
