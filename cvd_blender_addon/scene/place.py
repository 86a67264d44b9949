# SPDX-License-Identifier: GPL-3.0-or-later
"""A test object on what is real: lit, casting a shadow, ready to fall."""

from __future__ import annotations

import math
from typing import Any

import bmesh
import bpy
from mathutils import Matrix, Vector

from .. import compat
from ..present import data_of, present
from ..solve_reader import Solve
from . import fused, owned
from .camera import find_root
from .layers import ensure_collections
from .nodes import TreeBuilder, set_value
from .surface import Hit

RADIUS_SHARE = 0.05  # of the distance to the camera
BALL_METRES = 0.11  # radius that the ball counts as where the scene has no known size: a football's
EARTH = 9.81
SUBSTEPS = 20  # small things on a mesh would fall through between fewer
SUN = 3.0
SUN_ANGLE = math.radians(12.0)
SUN_TURN = (math.radians(38.0), math.radians(12.0), math.radians(35.0))
WORLD_GREY, WORLD_STRENGTH = 0.8, 0.5


def drop(scene: bpy.types.Scene, solve: Solve, hit: Hit, size: float, height: float) -> bpy.types.Object:
    """Put the test ball above or on a place of the surface; there is one ball in a scene, which moves there.

    Args:
        hit: the place.
        size: radius as a share of the distance to where the picker looked from.
        height: gap between surface and ball along the normal, in radii; it falls from there.

    Returns:
        The ball. It falls from the current frame on where there is a fused mesh.
    """
    radius = size * hit.distance
    ball, new = owned.ensure_object(
        scene, ensure_collections(scene, solve).foreground, solve.key, "test_ball", "CVD Test Ball", _ball_mesh
    )
    if new:
        data_of(ball, bpy.types.Mesh).materials.append(_material())
    ball.matrix_world = Matrix.LocRotScale(
        hit.point + hit.normal * radius * (1.0 + height), None, Vector((radius,) * 3)
    )
    light(scene, solve)
    whole = fused.find(scene, solve)
    if whole is not None:
        _physics(scene, solve, ball, whole, radius)
    return ball


def light(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object:
    """A soft sun; and a grey sky where the scene has none."""
    collection = ensure_collections(scene, solve).rig
    sun, new = owned.ensure_object(scene, collection, solve.key, "sun", "CVD Sun", _sun)
    if new:
        sun.rotation_euler = SUN_TURN
    if scene.world is None:
        world = owned.find(bpy.data.worlds, owned.SHARED, "world")
        if world is None:
            world = bpy.data.worlds.new("CVD World")
            owned.mark(world, owned.SHARED, "world")
            compat.enable_world_nodes(world)
            background = next(node for node in compat.nodes_of(world).nodes if node.type == "BACKGROUND")
            set_value(background.inputs["Color"], (WORLD_GREY, WORLD_GREY, WORLD_GREY, 1.0))
            set_value(background.inputs["Strength"], WORLD_STRENGTH)
        scene.world = world
    return sun


def _sun(name: str) -> bpy.types.Light:
    data: Any = bpy.data.lights.new(name, "SUN")  # of a class that follows from the second word
    data.energy, data.angle = SUN, SUN_ANGLE
    sun: bpy.types.Light = data
    return sun


def _ball_mesh(name: str) -> bpy.types.Mesh:
    """A ball of radius 1."""
    mesh = bpy.data.meshes.new(name)
    shape = bmesh.new()
    bmesh.ops.create_uvsphere(shape, u_segments=48, v_segments=32, radius=1.0)
    shape.to_mesh(mesh)
    shape.free()
    mesh.shade_smooth()
    return mesh


def _material() -> bpy.types.Material:
    material = owned.find(bpy.data.materials, owned.SHARED, "test_ball")
    if material is not None:
        return material
    material = bpy.data.materials.new("CVD Test Ball")
    material.diffuse_color = (0.8, 0.25, 0.05, 1.0)  # in solid shading
    owned.mark(material, owned.SHARED, "test_ball")
    compat.enable_nodes(material)
    tree = compat.nodes_of(material)
    tree.nodes.clear()
    build = TreeBuilder(tree)
    shader = build.node("ShaderNodeBsdfPrincipled")
    shader.inputs["Base Color"].default_value = (0.8, 0.25, 0.05, 1.0)
    shader.inputs["Roughness"].default_value = 0.35
    build.put(shader.outputs[0], build.node("ShaderNodeOutputMaterial").inputs["Surface"])
    build.arrange()
    return material


def _physics(
    scene: bpy.types.Scene, solve: Solve, ball: bpy.types.Object, whole: bpy.types.Object, radius: float
) -> None:
    fused.make_passive(scene, whole)
    body = fused.ensure_body(scene, ball, "ACTIVE")
    body.collision_shape = "SPHERE"
    body.friction, body.restitution = fused.FRICTION, 0.25
    body.linear_damping, body.angular_damping = 0.1, 0.6  # a ball that never stops is no use on a table
    world = present(scene.rigidbody_world, "rigid body world")
    world.substeps_per_frame = max(world.substeps_per_frame, SUBSTEPS)
    # It hangs in the air until the frame on which it was dropped.
    cache = present(world.point_cache, "point cache")
    cache.frame_start = scene.frame_current
    cache.frame_end = max(scene.frame_end, scene.frame_current + 1)
    scene.use_gravity = True
    scene.gravity = (0.0, 0.0, -EARTH * _units_per_metre(scene, solve, radius))


def _units_per_metre(scene: bpy.types.Scene, solve: Solve, radius: float) -> float:
    """How many units of the scene a metre has; of a scene of unknown size, as if the ball were a football."""
    root = find_root(scene, solve)
    turned = root is not None and bool(root.get("cvd_metric"))  # the size was set in Blender
    if turned:
        return 1.0
    if solve.metric:
        return 1.0 if root is None else root.matrix_world.median_scale
    return radius / BALL_METRES
