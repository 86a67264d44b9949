# SPDX-License-Identifier: GPL-3.0-or-later
"""The sparse points, as a mesh of vertices shown as coloured points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy

from .. import compat
from ..present import data_of
from ..solve_reader import Point, Solve
from . import owned
from .camera import find_root
from .layers import ensure_collections
from .nodes import TreeBuilder, ensure_socket

COLOUR = "Colour"
TRACK_LENGTH = "Track Length"
# Radius of a point as a share of the scene's far distance.
RADIUS_SHARE = 0.0015


def build(scene: bpy.types.Scene, solve: Solve, cloud: Sequence[Point]) -> bpy.types.Object:
    """Make or update the point cloud object."""
    collection = ensure_collections(scene, solve).rig
    mesh = mesh_of(f"CVD Points {solve.name}", cloud)
    ob, new = owned.ensure_object(scene, collection, solve.key, "points", mesh.name, lambda _: mesh)
    if ob.parent is None:  # new, or the root was deleted and made again
        ob.parent = find_root(scene, solve)
    if new:
        ob.hide_render = True
        show_as_points(ob, solve.far * RADIUS_SHARE)
    else:
        old = data_of(ob, bpy.types.Mesh)
        name = old.name
        ob.data = mesh
        bpy.data.meshes.remove(old)
        mesh.name = name
    return ob


def mesh_of(name: str, points: Sequence[Point]) -> bpy.types.Mesh:
    """A mesh with a vertex for each point, and what is known of it as attributes."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([point.xyz for point in points], [], [])
    colour: Any = mesh.attributes.new(COLOUR, "BYTE_COLOR", "POINT")  # of a class for its type
    colour.data.foreach_set("color_srgb", [value / 255 for point in points for value in (*point.rgb, 255)])
    length: Any = mesh.attributes.new(TRACK_LENGTH, "INT", "POINT")
    length.data.foreach_set("value", [point.track_length for point in points])
    return mesh


def show_as_points(ob: bpy.types.Object, radius: float) -> None:
    """Let an object with such a mesh be seen as coloured points."""
    modifier = compat.new_geometry_nodes(ob, "CVD Points", _node_group())
    compat.set_modifier_input(modifier, "Radius", radius)
    compat.set_modifier_input(modifier, "Material", coloured_material("points", "CVD Points", "ShaderNodeEmission"))


def remove_unused() -> None:
    """Remove what all points share, where there are none left."""
    found = (
        owned.find(bpy.data.node_groups, owned.SHARED, "points"),
        owned.find(bpy.data.materials, owned.SHARED, "points"),
    )
    for block in found:
        if block is not None and block.users == 0:
            bpy.data.batch_remove([block])


def _node_group() -> bpy.types.NodeTree:
    tree = owned.find(bpy.data.node_groups, owned.SHARED, "points")
    if tree is not None:
        return tree
    tree = compat.new_geometry_group("CVD Points")
    owned.mark(tree, owned.SHARED, "points")
    ensure_socket(tree, "INPUT", "NodeSocketGeometry", "Geometry")
    ensure_socket(tree, "INPUT", "NodeSocketFloat", "Radius", 0.01)
    ensure_socket(tree, "INPUT", "NodeSocketMaterial", "Material")
    ensure_socket(tree, "OUTPUT", "NodeSocketGeometry", "Geometry")
    build = TreeBuilder(tree)
    inputs = build.node("NodeGroupInput").outputs
    points = build.node("GeometryNodeMeshToPoints")
    build.put(inputs["Geometry"], points.inputs["Mesh"])
    build.put(inputs["Radius"], points.inputs["Radius"])
    material = build.node("GeometryNodeSetMaterial")
    build.put(points.outputs[0], material.inputs["Geometry"])
    build.put(inputs["Material"], material.inputs["Material"])
    build.put(material.outputs[0], build.node("NodeGroupOutput").inputs["Geometry"])
    build.arrange()
    return tree


def coloured_material(role: str, name: str, shader: str) -> bpy.types.Material:
    """What shows the colours of vertices (`COLOUR`) by a shader node; one for all solves."""
    material = owned.find(bpy.data.materials, owned.SHARED, role)
    if material is not None:
        return material
    material = bpy.data.materials.new(name)
    owned.mark(material, owned.SHARED, role)
    compat.enable_nodes(material)
    tree = compat.nodes_of(material)
    tree.nodes.clear()
    build = TreeBuilder(tree)
    attribute = build.node("ShaderNodeAttribute", attribute_name=COLOUR)
    shown = build.node(shader)
    build.put(attribute.outputs["Color"], shown.inputs["Color"])
    build.put(shown.outputs[0], build.node("ShaderNodeOutputMaterial").inputs["Surface"])
    build.arrange()
    return material
