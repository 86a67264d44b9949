"""Where the scene stands: up, origin and size, none of which pictures alone can tell exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MEDIAN_DEPTH = 5.0
"""World units between the camera and the median sparse point: the size of a room in Blender's metres."""
_ROLL_DEG, _PITCH_DEG = 2.0, 30.0
"""How far hand-held cameras roll and pitch, one standard deviation."""


def up_direction(world_from_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction that is up, in the world of the cameras (R, 4, 4).

    People keep the horizon level to a degree or two, so up is square to the cameras' x axes. Where these do not spread
    enough to tell (the camera hardly turned), the weaker habit of not pointing far up or down decides: least squares,
    with the two weighted by how well each holds.
    """
    right, forward = world_from_camera[:, :3, 0], world_from_camera[:, :3, 2]
    spread = right.T @ right / _ROLL_DEG**2 + forward.T @ forward / _PITCH_DEG**2
    up = np.linalg.eigh(spread)[1][:, 0]
    mean_up = -world_from_camera[:, :3, 1].mean(axis=0)
    return -up if up @ mean_up < 0 else up


def scene_from_world(
    world_from_camera: NDArray[np.float64], xyz: NDArray[np.float64], median_depth: float
) -> tuple[NDArray[np.float64], float]:
    """The similarity that stands the scene up for people.

    z is up, the first camera looks along +y, the origin is below the median point at the height of the lowest points
    (the 5th percentile: the floor, if it was seen), and the median sparse depth becomes `MEDIAN_DEPTH`.

    Args:
        world_from_camera: (R, 4, 4), in the order of the frames.
        xyz: (P, 3) sparse points.
        median_depth: of the sparse points in the frames that see them.

    Returns:
        (rotation and translation (4, 4), scale): `x_scene = scale * R @ x_world + t`.
    """
    z = up_direction(world_from_camera)
    forward = world_from_camera[0, :3, 2]
    y = forward - z * (forward @ z)
    if np.linalg.norm(y) < 1e-3:  # the first camera looks straight down or up: the top of its picture is ahead
        y = -world_from_camera[0, :3, 1] - z * (-world_from_camera[0, :3, 1] @ z)
    y = y / np.linalg.norm(y)
    transform = np.eye(4)
    transform[:3, :3] = np.stack([np.cross(y, z), y, z])
    scale = MEDIAN_DEPTH / median_depth
    turned = scale * xyz @ transform[:3, :3].T
    transform[:3, 3] = -np.array([*np.median(turned[:, :2], axis=0), np.percentile(turned[:, 2], 5)])
    return transform, scale
