# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras and points of a solve that still runs (`cvd.preview/1`), to look at: gone when it ends."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import bpy
from mathutils import Vector

from ..present import data_of
from ..solve_reader import Point
from . import owned, points

FILE = "preview/track.json"
ROLE = "preview"
SEEN = "cvd_seen"  # of the collection: which state of the file it shows
SCHEMA = "cvd.preview/1"
BYTES = 8 * 2**20
RADIUS = 0.03  # of a point; the world is made to be a room of 5 units
CAMERA_LENGTH = 0.15
# The camera's centre and the corners of its picture, x right, y down, z forward.
CAMERA = tuple(Vector(c) for c in ((0, 0, 0), (-0.6, -0.4, 1), (0.6, -0.4, 1), (0.6, 0.4, 1), (-0.6, 0.4, 1)))
CAMERA_EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))
Track = tuple[list[list[list[float]]], list[Point]]


def update(scene: bpy.types.Scene, folder: Path) -> None:
    """Show what the engine has found so far; nothing is touched where that is shown already, or there is nothing."""
    path = folder / FILE
    collection = find(scene)
    try:
        seen = str(path.stat().st_mtime_ns)
        if collection is not None and collection.get(SEEN) == seen:
            return
        track = _read(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # not there yet, or half of it: the next look will tell
    remove(scene)
    collection = bpy.data.collections.new("CVD Preview")
    owned.mark(collection, owned.SHARED, ROLE)
    collection[SEEN] = seen
    scene.collection.children.link(collection)
    cameras, cloud = track
    _add(collection, _cameras_mesh(cameras))
    if cloud:
        points.show_as_points(_add(collection, points.mesh_of("CVD Preview Points", cloud)), RADIUS)


def find(scene: bpy.types.Scene) -> bpy.types.Collection | None:
    """The preview's collection in this scene."""
    return owned.find(scene.collection.children_recursive, owned.SHARED, ROLE)


def remove(scene: bpy.types.Scene) -> None:
    """Remove the preview, if there is one."""
    collection = find(scene)
    if collection is None:
        return
    for ob in list(collection.objects):
        if ob.get(owned.ROLE) == ROLE:  # what the user has put there is theirs, and stays in the scene
            bpy.data.meshes.remove(data_of(ob, bpy.types.Mesh))
        else:
            scene.collection.objects.link(ob)
    bpy.data.collections.remove(collection)
    points.remove_unused()


def _add(collection: bpy.types.Collection, mesh: bpy.types.Mesh) -> bpy.types.Object:
    ob = bpy.data.objects.new(mesh.name, mesh)
    owned.mark(ob, owned.SHARED, ROLE)
    ob.hide_render = ob.hide_select = True
    collection.objects.link(ob)
    return ob


def _cameras_mesh(cameras: list[list[list[float]]]) -> bpy.types.Mesh:
    """A small frame for each camera, and the path through their centres."""
    corners: list[tuple[float, ...]] = []
    edges: list[tuple[int, int]] = []
    for pose in cameras:
        first = len(corners)
        corners += [
            tuple(row[3] + CAMERA_LENGTH * sum(a * b for a, b in zip(row, corner[:], strict=False)) for row in pose[:3])
            for corner in CAMERA
        ]
        edges += [(first + a, first + b) for a, b in CAMERA_EDGES]
        if first:
            edges.append((first - len(CAMERA), first))
    mesh = bpy.data.meshes.new("CVD Preview Cameras")
    mesh.from_pydata(corners, edges, [])
    return mesh


def _read(path: Path) -> Track:
    """Cameras in the order of the frames, and points.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is no preview.
    """
    with path.open("rb") as file:
        document: dict[str, Any] = json.loads(file.read(BYTES))
    if document["schema"] != SCHEMA:
        raise ValueError(document["schema"])
    cameras = [document["cameras"][number] for number in sorted(document["cameras"], key=int)]
    if any([len(row) for row in pose] != [4, 4, 4, 4] for pose in cameras) or not cameras:
        raise ValueError("cameras")
    cloud = [
        Point((float(x), float(y), float(z)), (int(r), int(g), int(b)), 1) for x, y, z, r, g, b in document["points"]
    ]
    numbers = [value for pose in cameras for row in pose for value in row] + [v for point in cloud for v in point.xyz]
    if not all(math.isfinite(value) for value in numbers):
        raise ValueError("no numbers")
    if not all(0 <= value <= 255 for point in cloud for value in point.rgb):
        raise ValueError("no colours")
    return cameras, cloud
