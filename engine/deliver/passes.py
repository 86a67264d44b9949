"""Depth in three definitions, and the positions and normals that follow from it, on the plate's own pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.geometry.arrays import Lens, normalised_from_pixel, pixel_centres

Channels = dict[str, NDArray[np.floating]]
EDGE = 0.02
"""Share of the depth by which neighbours must differ at least for a surface to end between them."""
_UNEVEN = 3.0
"""How much further one neighbour must be off than the one opposite for a surface to end there."""


def rays(lens: Lens) -> NDArray[np.float64]:
    """Camera directions (H, W, 3) with z = 1 through the centres of the plate's pixels, distortion taken out."""
    xy = normalised_from_pixel(lens, pixel_centres(lens.height, lens.width)).astype(np.float64)
    seen: NDArray[np.float64] = np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)
    return seen


def planar(depth: NDArray[np.float64], _rays: NDArray[np.float64], _pose: NDArray[np.float64]) -> Channels:
    """R: planar depth, along the optical axis; 0 = no value."""
    return {"R": depth.astype(np.float32)}


def inverse(depth: NDArray[np.float64], _rays: NDArray[np.float64], _pose: NDArray[np.float64]) -> Channels:
    """R: 1/Z of planar depth, as Nuke's own renderer gives it: no value is 0, infinitely far."""
    return {"R": np.divide(1.0, depth, out=np.zeros_like(depth), where=depth > 0.0).astype(np.float32)}


def distance(depth: NDArray[np.float64], rays: NDArray[np.float64], _pose: NDArray[np.float64]) -> Channels:
    """R: length of the ray from the camera's centre; 0 = no value."""
    return {"R": (depth * np.linalg.norm(rays, axis=-1)).astype(np.float32)}


def position(depth: NDArray[np.float64], rays: NDArray[np.float64], pose: NDArray[np.float64]) -> Channels:
    """R, G, B: x, y and z in the delivered world; A: 1 where there is a value, which is 0 elsewhere."""
    there = depth > 0.0
    world = np.where(there[..., None], (depth[..., None] * rays) @ pose[:3, :3].T + pose[:3, 3], 0.0)
    return _vectors(world.astype(np.float32), there)


def normals(depth: NDArray[np.float64], rays: NDArray[np.float64], pose: NDArray[np.float64]) -> Channels:
    """R, G, B: the surface's unit normal in the delivered world, towards the camera; A: 1 where there is a value."""
    camera = camera_normals(depth, rays)
    return _vectors((camera @ pose[:3, :3].T).astype(np.float16), np.abs(camera).max(-1) > 0.0)


def camera_normals(depth: NDArray[np.float64], rays: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normals (H, W, 3) in the camera's frame (x right, y down, z forward), towards the camera; 0 = no value.

    The cross product of the differences to the neighbours: exact on planes, of second order on what is curved. Where
    the surface ends on one side, only the other side counts.
    """
    points = depth[..., None] * rays
    across, along = _difference(points, depth, 1), _difference(points, depth, 0)
    normal = np.cross(across, along)
    away = np.sign((normal * rays).sum(-1, keepdims=True))
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(-away * normal, length, out=np.zeros_like(normal), where=length > 0.0)
    return unit


def _difference(points: NDArray[np.float64], depth: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Of the points (H, W, 3) along an axis of the picture; 0 where a pixel has no neighbour on its surface."""
    ahead, behind = np.zeros_like(points), np.zeros_like(points)
    far = np.full(depth.shape, np.inf)
    step_ahead, step_behind = far.copy(), far.copy()
    here, there = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
    both = (depth[here] > 0.0) & (depth[there] > 0.0)
    step = np.where(both, np.abs(depth[there] - depth[here]), np.inf)
    change = np.where(both[..., None], points[there] - points[here], 0.0)
    ahead[here], behind[there] = change, change
    step_ahead[here], step_behind[there] = step, step
    limit = np.maximum(EDGE * depth, _UNEVEN * np.minimum(step_ahead, step_behind))
    return np.where((step_ahead <= limit)[..., None], ahead, 0.0) + np.where(
        (step_behind <= limit)[..., None], behind, 0.0
    )


def _vectors(xyz: NDArray[np.floating], there: NDArray[np.bool_]) -> Channels:
    red, green, blue = np.moveaxis(xyz, -1, 0)
    return {"R": red, "G": green, "B": blue, "A": there.astype(np.float16)}


PASSES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], Channels]] = {
    "depth": planar,
    "inverse-depth": inverse,
    "distance": distance,
    "normals": normals,
    "position": position,
}
"""Name of a pass -> its channels from depth (H, W), `rays` (H, W, 3) and world_from_camera (4, 4)."""
