"""How large a solved scene is, by what the artist knows about it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.clip.track import CameraTrack
from engine.errors import CameraError
from engine.geometry.arrays import normalised_from_pixel
from engine.progress import Progress
from engine.request import WorldRequest

_NEIGHBOURS = 8
_REACH = 0.1
"""Of the long side: how far from a picked place points may be seen that tell its depth."""
_SAME_PX = 0.75
"""A point that is seen so near to a picked place, plate pixels, is what was picked: most often a tracking marker."""


def known_scale(track: CameraTrack, world: WorldRequest, ground: float | None, progress: Progress) -> float | None:
    """Metres in a unit of the track, None where nothing tells it. A distance goes before the camera's height.

    Args:
        track: solved, z up.
        world: what is known.
        ground: height of the ground, None where none was found.
        progress: told how well the two agree, where both are known, and where neither can count.

    Raises:
        CameraError: `camera.no_ground` or `camera.place`.
    """
    by_distance = by_height = None
    if track.motion != "travels":
        if world.distance is not None or world.camera_height is not None:
            progress.warning(
                "What is known of the scene's size does not count in this shot: the camera does not travel, so nothing "
                "tells how far away anything is."
            )
        return None
    if world.distance is not None:
        a, b = (place(track, *picked) for picked in (world.distance.a, world.distance.b))
        by_distance = world.distance.metres / max(float(np.linalg.norm(a - b)), 1e-9)
    if world.camera_height is not None:
        by_height = world.camera_height / _height(track, ground)
    if by_distance is not None and by_height is not None:
        progress.metric("scale_height_over_distance", by_height / by_distance)
    return by_distance if by_distance is not None else by_height


def place(track: CameraTrack, frame: int, x: float, y: float) -> NDArray[np.float64]:
    """Where in the world a place of a plate frame is: on its ray, at the depth of the sparse points seen around it.

    A point that is seen at the very place tells it alone. Else depth is taken from the plane through the nearest ones
    in disparity, which is linear on planes.

    Raises:
        CameraError: `camera.place`: the frame has no camera, or no points are seen near the place.
    """
    pose, points, lens = track.world_from_camera.get(frame), track.points, track.lens
    here = np.flatnonzero(points.observation_frame == frame)
    away = np.linalg.norm(points.observation_pixel[here] - (x, y), axis=1)
    near = here[np.argsort(away)][:_NEIGHBOURS]
    exact = len(near) > 0 and away.min() < _SAME_PX
    if pose is None or (not exact and np.sum(away < _REACH * max(lens.width, lens.height)) < 3):
        raise CameraError(
            "camera.place",
            f"It is not known how far away the place {x:.0f}, {y:.0f} of frame {frame} is.",
            "The frame has no camera." if pose is None else "Too few points could be placed near it.",
            "Pick a place with texture, on a frame that has a camera.",
        )
    depth = (points.xyz[points.observation_point[near]] - pose[:3, 3]) @ pose[:3, 2]
    offset, side = points.observation_pixel[near] - (x, y), max(lens.width, lens.height)
    disparity = 1.0 / float(depth[0]) if exact else _disparity(offset, depth, side)
    ray = normalised_from_pixel(lens, np.array([x, y], np.float64))
    found: NDArray[np.float64] = pose[:3, :3] @ (np.array([ray[0], ray[1], 1.0]) / disparity) + pose[:3, 3]
    return found


def _disparity(offset: NDArray[np.float64], depth: NDArray[np.float64], side: int) -> float:
    """Of the plane through points seen at `offset` (N, 2) px from a place, nearest first, at the place itself."""
    away = np.linalg.norm(offset, axis=1)
    weight = np.exp(-0.5 * (away / max(float(away[2]), 1.0)) ** 2)
    # Ridge on the slopes: three points in a row tell none.
    design = np.column_stack([np.ones(len(offset)), offset / side])
    normal = design.T @ (weight[:, None] * design) + np.diag([0.0, 1e-4, 1e-4])
    disparity = float(np.linalg.solve(normal, design.T @ (weight / depth))[0])
    return float(np.clip(disparity, 1.0 / depth.max(), 1.0 / depth.min()))


def _height(track: CameraTrack, ground: float | None) -> float:
    """Of the cameras above the ground, median over the clip."""
    height = float(np.median([pose[2, 3] for pose in track.world_from_camera.values()])) - (ground or 0.0)
    if ground is None or height <= 0.0:
        raise CameraError(
            "camera.no_ground",
            "The camera's height above the ground does not tell the size of the scene.",
            "No flat ground was found in this shot: it is not in view, too bare, or not flat.",
            "Give a distance between two places instead, or leave the height out.",
        )
    return height
