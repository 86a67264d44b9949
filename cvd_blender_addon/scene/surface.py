# SPDX-License-Identifier: GPL-3.0-or-later
"""What is real, as a surface to point at: rays from the camera or a viewport onto the fused or the depth mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree

from ..present import data_of
from ..solve_reader import Solve
from . import depth_mesh, fused
from .camera import find_camera

SMOOTH = 0.02
"""Of the distance: the normal is the mean of the faces around, since a single one of a solved surface says little."""


@dataclass(frozen=True)
class Ray:
    """A half line in the scene's world; the direction has length 1.

    `distance` is how far off what it meets counts as being, where that is not the length of the way: an orthographic
    view has no place that it looks from.
    """

    origin: Vector
    direction: Vector
    distance: float = 0.0


@dataclass(frozen=True)
class Hit:
    """Where a ray meets the surface, and how far off; the normal has length 1 and looks towards the ray's origin."""

    point: Vector
    normal: Vector
    distance: float


def camera_ray(scene: bpy.types.Scene, solve: Solve, x: float, y: float) -> Ray:
    """The ray through a place of the rendered picture at the current frame.

    Args:
        x, y: shares of the picture's width from the left, and of its height from the top, 0..1.
    """
    camera = find_camera(scene, solve)
    assert camera is not None
    matrix = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world
    right_top, _, left_bottom, left_top = data_of(camera, bpy.types.Camera).view_frame(scene=scene)
    place = left_top + (right_top - left_top) * x + (left_bottom - left_top) * y
    origin = matrix.translation.copy()
    return Ray(origin, (matrix @ place - origin).normalized())


def cast(scene: bpy.types.Scene, solve: Solve, ray: Ray) -> Hit | None:
    """Where the ray meets the fused mesh, or, where that has a hole, the depth mesh of the current frame."""
    whole = fused.find(scene, solve)
    if whole is not None:
        found = _meet(ray, data_of(whole, bpy.types.Mesh), whole.matrix_world)
        if found is not None:
            return found
    ob = depth_mesh.find(scene, solve)
    if ob is None or ob.hide_viewport:
        return None
    evaluated = ob.evaluated_get(bpy.context.evaluated_depsgraph_get())
    found = _meet(ray, evaluated.to_mesh(), evaluated.matrix_world)
    evaluated.to_mesh_clear()
    return found


def _meet(ray: Ray, mesh: bpy.types.Mesh, matrix: Matrix) -> Hit | None:
    vertices = [matrix @ vertex.co for vertex in mesh.vertices]
    make: Any = BVHTree.FromPolygons  # whose types do not say what it returns
    tree = make(vertices, [tuple(face.vertices) for face in mesh.polygons])
    point, normal, _, distance = tree.ray_cast(ray.origin, ray.direction)
    if point is None:
        return None
    distance = ray.distance or distance
    around = [other for _, other, _, _ in tree.find_nearest_range(point, SMOOTH * distance)] or [normal]
    # Facing the ray: what has a back side, such as a table's edge, must not turn the mean.
    facing = [other for other in around if other.dot(ray.direction) < 0.0] or [normal * -1.0]
    return Hit(point, sum(facing, Vector()).normalized(), distance)
