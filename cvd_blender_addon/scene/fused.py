# SPDX-License-Identifier: GPL-3.0-or-later
"""The fused mesh: one surface of what stands still, for physics, shadows and picking."""

from __future__ import annotations

from typing import Any, Literal

import bpy

from ..mesh_file import read_mesh
from ..present import present
from ..solve_reader import Solve
from . import owned
from .camera import find_root
from .layers import ensure_collections
from .points import COLOUR, coloured_material

FRICTION = 0.8


def find(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object | None:
    """The fused mesh of the solve, if it has been built."""
    return owned.find(scene.objects, solve.key, "fused")


def build(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object | None:
    """Make or update the object with the fused mesh; it is not rendered and shows its bounds only.

    Returns:
        The object; None where the solve has no such mesh.

    Raises:
        SolveError: the file is damaged.
    """
    if solve.fused_path is None:
        return None
    collection = ensure_collections(scene, solve).background
    ob, new = use(scene, solve, collection, "fused", f"CVD Fused Mesh {solve.name}")
    if new:
        ob.hide_render = True
        ob.display_type = "BOUNDS"  # the depth mesh shows the same, and better
    return ob


def load(solve: Solve) -> None:
    """Read the mesh, where the solve has one and it has not been read already.

    Raises:
        SolveError: the file is damaged.
    """
    if solve.fused_path is not None:
        _ensure_mesh(solve)


def use(
    scene: bpy.types.Scene, solve: Solve, collection: bpy.types.Collection, role: str, name: str
) -> tuple[bpy.types.Object, bool]:
    """One object of some role with the mesh, which all of them share; `solve.fused_path` must not be None.

    Returns:
        The object, and whether it is new.

    Raises:
        SolveError: the file is damaged.
    """
    mesh = _ensure_mesh(solve)
    ob, new = owned.ensure_object(scene, collection, solve.key, role, name, lambda _: mesh)
    if ob.parent is None:  # new, or the root was deleted and made again
        ob.parent = find_root(scene, solve)
    ob.data = mesh
    return ob, new


def make_passive(scene: bpy.types.Scene, ob: bpy.types.Object) -> None:
    """Let CG with physics collide with the fused mesh, or with any other object that stands still."""
    body = ensure_body(scene, ob, "PASSIVE")
    body.collision_shape = "MESH"
    body.mesh_source = "BASE"
    body.use_margin = True
    body.collision_margin = 0.0  # else everything would float above it
    body.friction = FRICTION


def ensure_body(
    scene: bpy.types.Scene, ob: bpy.types.Object, kind: Literal["ACTIVE", "PASSIVE"]
) -> bpy.types.RigidBodyObject:
    """The object as a rigid body, ACTIVE or PASSIVE."""
    with bpy.context.temp_override(
        scene=scene, view_layer=scene.view_layers[0], object=ob, active_object=ob, selected_objects=[ob]
    ):
        if scene.rigidbody_world is None:
            bpy.ops.rigidbody.world_add()
        if ob.rigid_body is None:
            bpy.ops.rigidbody.object_add(type=kind)
    body = present(ob.rigid_body, f"rigid body of {ob.name}")
    body.type = kind
    return body


def _ensure_mesh(solve: Solve) -> bpy.types.Mesh:
    """The mesh, read again only when its file has changed: three objects may use it."""
    path = solve.fused_path
    assert path is not None
    stamp = f"{path.stat().st_mtime_ns}:{path.stat().st_size}"
    mesh = owned.find(bpy.data.meshes, solve.key, "fused")
    if mesh is not None and mesh.get("cvd_stamp") == stamp:
        return mesh
    read = read_mesh(path)
    if mesh is None:
        mesh = bpy.data.meshes.new(f"CVD Fused Mesh {solve.name}")
        owned.mark(mesh, solve.key, "fused")
        mesh.materials.append(coloured_material("fused", "CVD Fused Mesh", "ShaderNodeBsdfDiffuse"))
    mesh.clear_geometry()
    mesh.vertices.add(len(read.vertices))
    mesh.vertices.foreach_set("co", read.vertices.ravel())
    mesh.loops.add(read.faces.size)
    mesh.loops.foreach_set("vertex_index", read.faces.ravel())
    mesh.polygons.add(len(read.faces))
    mesh.polygons.foreach_set("loop_start", range(0, read.faces.size, 3))
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    colour: Any = mesh.attributes.new(COLOUR, "BYTE_COLOR", "POINT")  # of a class for its type
    colour.data.foreach_set("color_srgb", [value / 255 for row in read.colours.tolist() for value in (*row, 255)])
    mesh["cvd_stamp"] = stamp
    return mesh
