# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the solve stands in the scene: origin, ground, axes and size.

All of it is one transform, the root's: everything that a solve builds hangs there and follows, and it outlasts another
import. Each function here multiplies that transform from the left, so each can be used again, in any order.
"""

from __future__ import annotations

import math
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..present import data_of
from ..solve_reader import Solve, SolveError
from . import fused, owned
from .camera import find_camera, find_root
from .layers import ensure_collections

PICKS = 3
LEVEL = math.cos(math.radians(20.0))  # what slopes more is no ground
GROUND_SHARE = 0.3  # of the largest level's area: the lowest such level is the ground, not a table
HEIGHT_BINS = 200
PICK_SIZE = 0.02  # of the far distance


class OrientationError(SolveError):
    """The scene cannot be oriented so: why, and what to do."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__("Nothing was moved.", why, fix)


def pick(scene: bpy.types.Scene, solve: Solve, number: int, point: Vector) -> bpy.types.Object:
    """Put pick `number` (1..3) at a point of the world. It hangs on the solve and moves with it."""
    marker, new = owned.ensure_object(
        scene, ensure_collections(scene, solve).rig, solve.key, f"pick_{number}", f"CVD Pick {number}", None
    )
    if new:
        marker.empty_display_type = "PLAIN_AXES"  # its middle is the point
        marker.empty_display_size = solve.far * PICK_SIZE
        marker.show_name = marker.show_in_front = True
    root = _root(scene, solve)
    marker.parent = root
    marker.matrix_parent_inverse = Matrix()
    marker.location = root.matrix_world.inverted() @ point
    return marker


def find_pick(scene: bpy.types.Scene, key: str, number: int) -> bpy.types.Object | None:
    """Pick `number` of the solve with that key."""
    return owned.find(scene.objects, key, f"pick_{number}")


def picked(scene: bpy.types.Scene, solve: Solve, count: int) -> list[Vector]:
    """Where the first `count` picks are, world.

    Raises:
        OrientationError: there are fewer.
    """
    root = _root(scene, solve)
    markers = [find_pick(scene, solve.key, number) for number in range(1, count + 1)]
    if None in markers:
        needed = "Point 1 is" if count == 1 else f"Points 1 to {count} are"
        raise OrientationError(f"{needed} needed.", "Pick what is missing on the surface first.")
    return [root.matrix_world @ marker.location for marker in markers if marker is not None]


def set_origin(scene: bpy.types.Scene, solve: Solve) -> None:
    """Bring pick 1 to the world's origin."""
    (origin,) = picked(scene, solve, 1)
    _apply(scene, solve, Matrix.Translation(-origin))


def set_ground(scene: bpy.types.Scene, solve: Solve) -> None:
    """Lay the plane of the three picks level at z = 0, the side of the camera up.

    Raises:
        OrientationError: fewer than three picks, or on a line.
    """
    a, b, c = picked(scene, solve, 3)
    normal = cross(b - a, c - a)
    if normal.length < 1e-3 * (b - a).length * (c - a).length:
        raise OrientationError("The three points lie on a line.", "Pick one of them elsewhere.")
    _level(scene, solve, a, normal)


def estimate_ground(scene: bpy.types.Scene, solve: Solve) -> None:
    """Lay the ground that the fused mesh shows level at z = 0: the lowest large area that is nearly level.

    Raises:
        OrientationError: no fused mesh, or nothing level in it.
    """
    mesh = fused.find(scene, solve)
    if mesh is None:
        raise OrientationError("This solve has no fused mesh.", "Pick three points of the ground instead.")
    point, normal = find_ground(mesh)
    _level(scene, solve, point, normal)


def set_axis(scene: bpy.types.Scene, solve: Solve, axis: str) -> None:
    """Turn about z, through pick 1, until the way from pick 1 to pick 2 runs along +X or +Y.

    Raises:
        OrientationError: fewer than two picks, or one above the other.
    """
    a, b = picked(scene, solve, 2)
    way = b - a
    if math.hypot(way.x, way.y) < 1e-3 * way.length or way.length == 0.0:
        raise OrientationError("The two points lie one above the other.", "Pick one of them elsewhere.")
    wanted = 0.0 if axis == "X" else math.pi / 2
    _about(scene, solve, a, Matrix.Rotation(wanted - math.atan2(way.y, way.x), 4, "Z"))


def set_distance(scene: bpy.types.Scene, solve: Solve, metres: float) -> None:
    """Scale about the world's origin until picks 1 and 2 are so far apart.

    Raises:
        OrientationError: fewer than two picks, or at the same place.
    """
    a, b = picked(scene, solve, 2)
    if (b - a).length == 0.0:
        raise OrientationError("The two points are the same.", "Pick one of them elsewhere.")
    _scale(scene, solve, metres / (b - a).length)


def set_camera_height(scene: bpy.types.Scene, solve: Solve, metres: float) -> None:
    """Scale about the world's origin until the camera of the current frame is so high above z = 0.

    Raises:
        OrientationError: it is not above the ground.
    """
    height = _camera_place(scene, solve).z
    if height <= 0.0:
        raise OrientationError("The camera is not above z = 0.", "Set the ground first.")
    _scale(scene, solve, metres / height)


def reset(scene: bpy.types.Scene, solve: Solve) -> None:
    """As the engine left it."""
    root = _root(scene, solve)
    _scale_clipping(scene, solve, 1.0 / root.matrix_world.median_scale)
    root.matrix_world = Matrix()
    root["cvd_metric"] = False


def find_ground(ob: bpy.types.Object) -> tuple[Vector, Vector]:
    """A point and the normal, world, of the lowest large area of a mesh that is level to within 20 degrees.

    Raises:
        OrientationError: nothing is level.
    """
    centres, normals, areas = _faces(ob)
    level = normals[:, 2] > LEVEL
    if not level.any():
        raise OrientationError("Nothing in the fused mesh is level.", "Pick three points of the ground instead.")
    centres, normals, areas = centres[level], normals[level], areas[level]
    heights = centres[:, 2]
    extent = (float(heights.min()), float(heights.max()) + 1e-6)
    share, borders = np.histogram(heights, HEIGHT_BINS, extent, weights=areas)
    share = np.convolve(share, np.ones(3), "same")  # noise spreads a level over neighbours
    lowest = int(np.flatnonzero(share >= GROUND_SHARE * share.max())[0])
    peak = lowest + int(np.argmax(share[lowest : lowest + 5]))
    near = np.abs(heights - (borders[peak] + borders[peak + 1]) / 2) < 3 * (borders[1] - borders[0])
    for _ in range(5):
        point = np.average(centres[near], axis=0, weights=areas[near])
        spread = (centres[near] - point) * np.sqrt(areas[near])[:, None]
        normal = np.linalg.svd(spread, full_matrices=False)[2][2]
        normal = normal if normal[2] > 0 else -normal
        off = np.abs((centres - point) @ normal)
        near = off < 3.0 * max(float(np.median(off[near])), 1e-9)
    return Vector(point.tolist()), Vector(normal.tolist())


def _faces(ob: bpy.types.Object) -> tuple[Any, Any, Any]:
    """Centres (F, 3), normals (F, 3) and areas (F,) of a mesh's faces, world."""
    mesh = data_of(ob, bpy.types.Mesh)
    points = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", points)
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    matrix = np.array(ob.matrix_world)
    points = points.reshape(-1, 3).astype(float) @ matrix[:3, :3].T + matrix[:3, 3]
    a, b, c = points[corners.reshape(-1, 3)].transpose(1, 0, 2)
    across = np.cross(b - a, c - a)
    double = np.linalg.norm(across, axis=1)
    return (a + b + c) / 3, across / np.maximum(double, 1e-30)[:, None], double / 2


def cross(a: Vector, b: Vector) -> Vector:
    """The cross product of two vectors in space."""
    product = a.cross(b)
    if not isinstance(product, Vector):
        raise TypeError("vectors of the plane")
    return product


def _level(scene: bpy.types.Scene, solve: Solve, point: Vector, normal: Vector) -> None:
    if normal.dot(_camera_place(scene, solve) - point) < 0.0:
        normal = -normal
    turn = normal.normalized().rotation_difference(Vector((0.0, 0.0, 1.0))).to_matrix().to_4x4()
    _about(scene, solve, point, turn)
    _apply(scene, solve, Matrix.Translation((0.0, 0.0, -point.z)))


def _about(scene: bpy.types.Scene, solve: Solve, point: Vector, turn: Matrix) -> None:
    _apply(scene, solve, Matrix.Translation(point) @ turn @ Matrix.Translation(-point))


def _scale(scene: bpy.types.Scene, solve: Solve, factor: float) -> None:
    _apply(scene, solve, Matrix.Scale(factor, 4))
    _root(scene, solve)["cvd_metric"] = True
    _scale_clipping(scene, solve, factor)


def _scale_clipping(scene: bpy.types.Scene, solve: Solve, factor: float) -> None:
    """A camera's clipping does not scale with its parent, and would cut the scene off."""
    camera = find_camera(scene, solve)
    if camera is not None:
        data = data_of(camera, bpy.types.Camera)
        data.clip_start *= factor
        data.clip_end *= factor


def _apply(scene: bpy.types.Scene, solve: Solve, transform: Matrix) -> None:
    root = _root(scene, solve)
    root.matrix_world = transform @ root.matrix_world
    scene.view_layers[0].update()


def _root(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object:
    root = find_root(scene, solve)
    if root is None:
        raise OrientationError("The camera has not been built.", "Build it first.")
    return root


def _camera_place(scene: bpy.types.Scene, solve: Solve) -> Vector:
    camera = find_camera(scene, solve)
    if camera is None:
        raise OrientationError("The camera has not been built.", "Build it first.")
    return camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world.translation.copy()
