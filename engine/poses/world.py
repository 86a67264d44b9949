"""Where the scene stands: up, origin and size, none of which pictures alone can tell exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEDIAN_DEPTH = 5.0
"""World units between the camera and the median sparse point: the size of a room in Blender's metres."""
_ROLL_DEG, _PITCH_DEG = 2.0, 30.0
"""How far hand-held cameras roll and pitch, one standard deviation."""
_TRIALS, _SOME, _NEIGHBOURS, _SAME_FACING = 400, 2000, 12, 0.9
_THICKNESS = 0.01
"""Of the median distance of the points from the cameras: how thick a plane of points may be."""
_MIN_SHARE, _MIN_WIDTH = 0.08, 15.0
"""A ground has at least this share of the points, and is that many times as wide as thick in both directions."""
_PLANE_DEG = 2.5
"""Real clips: .3, 1.1, 2.9, 3.2 and 3.7 degrees off the depth sensors' floors, where cameras alone are 5 to 11 off."""
_BELOW = 0.05
"""Share of the points that may lie under a ground: reflections and false matches."""


@dataclass(frozen=True)
class Upright:
    """What is up, and how that is known.

    Attributes:
        up: (3,) unit vector.
        std_deg: how far it is off, one standard deviation, degrees.
        source: "plane": square to a large plane of points that lies level as far as the cameras can tell; "horizon":
            square to the cameras' x axes, which turned enough to tell; "habit": people do not point far up or down.
        ground: height along `up` of the ground, None where no plane of points is one (a table has points below).
    """

    up: NDArray[np.float64]
    std_deg: float
    source: str
    ground: float | None


def up_direction(world_from_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction that is up by the cameras alone, in their world (R, 4, 4); see `_by_cameras`."""
    return _by_cameras(world_from_camera)[0]


def upright(world_from_camera: NDArray[np.float64], xyz: NDArray[np.float64]) -> Upright:
    """What is up, by cameras and points.

    The cameras tell it first: how far their answer may be off is where a level plane is looked for. Among planes of
    points (RANSAC: Fischler & Bolles, 1981) within three standard deviations, the one with most points is level: floors
    and tables are flatter than people hold cameras.

    Args:
        world_from_camera: (R, 4, 4).
        xyz: (P, 3) sparse points.
    """
    up, std_deg, source = _by_cameras(world_from_camera)
    centres = world_from_camera[:, :3, 3]
    if len(xyz) < 50:
        return Upright(up, std_deg, source, None)
    thickness = _THICKNESS * float(np.median(np.linalg.norm(xyz - np.median(centres, axis=0), axis=1)))
    normal = _level_plane(xyz, up, np.cos(np.radians(min(3.0 * std_deg, 40.0))), thickness)
    if normal is None:
        return Upright(up, std_deg, source, None)
    return Upright(normal, _PLANE_DEG, "plane", _ground(xyz @ normal, centres @ normal, thickness))


def scene_from_world(
    world_from_camera: NDArray[np.float64], xyz: NDArray[np.float64], median_depth: float
) -> tuple[NDArray[np.float64], float]:
    """The similarity that stands the scene up for people.

    z is up, the first camera looks along +y, the origin is below the median point at the height of the ground, or of
    the lowest points (the 5th percentile) where none was found, and the median sparse depth becomes `MEDIAN_DEPTH`.

    Args:
        world_from_camera: (R, 4, 4), in the order of the frames.
        xyz: (P, 3) sparse points.
        median_depth: of the sparse points in the frames that see them.

    Returns:
        (rotation and translation (4, 4), scale): `x_scene = scale * R @ x_world + t`.
    """
    found = upright(world_from_camera, xyz)
    z = found.up
    forward = world_from_camera[0, :3, 2]
    y = forward - z * (forward @ z)
    if np.linalg.norm(y) < 1e-3:  # the first camera looks straight down or up: the top of its picture is ahead
        y = -world_from_camera[0, :3, 1] - z * (-world_from_camera[0, :3, 1] @ z)
    y = y / np.linalg.norm(y)
    transform = np.eye(4)
    transform[:3, :3] = np.stack([np.cross(y, z), y, z])
    scale = MEDIAN_DEPTH / median_depth
    turned = scale * xyz @ transform[:3, :3].T
    floor = float(np.percentile(turned[:, 2], 5)) if found.ground is None else scale * found.ground
    transform[:3, 3] = -np.array([*np.median(turned[:, :2], axis=0), floor])
    return transform, scale


def _by_cameras(world_from_camera: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, str]:
    """Up by the cameras alone, how far it is off (degrees), and whether by their horizon or by habit.

    People keep the horizon level to a degree or two, so up is square to the cameras' x axes. Where these do not spread
    enough to tell (the camera hardly turned), the weaker habit of not pointing far up or down decides: least squares,
    with the two weighted by how well each holds.
    """
    right, forward = world_from_camera[:, :3, 0], world_from_camera[:, :3, 2]
    # Means: frames of one clip roll alike, so a hundred of them say no more than one.
    horizon, habit = right.T @ right / len(right), forward.T @ forward / len(forward)
    values, vectors = np.linalg.eigh(horizon / _ROLL_DEG**2 + habit / _PITCH_DEG**2)
    up = vectors[:, 0]
    mean_up = -world_from_camera[:, :3, 1].mean(axis=0)
    # The information about the worst direction in which up may turn, in degrees^-2.
    std_deg = float(min(1.0 / np.sqrt(max(values[1] - values[0], 1e-9)), _PITCH_DEG))
    source = "horizon" if std_deg < _PITCH_DEG / 3.0 else "habit"
    return (-up if up @ mean_up < 0 else up), std_deg, source


def _level_plane(
    xyz: NDArray[np.float64], up: NDArray[np.float64], min_cosine: float, thickness: float
) -> NDArray[np.float64] | None:
    """Unit normal of the plane with most points among those that are level enough; None where none is large.

    A point counts where its own surroundings face the same way: a slice through furniture has many points, too.
    """
    rng = np.random.default_rng(0)
    some = xyz if len(xyz) <= _SOME else xyz[rng.choice(len(xyz), _SOME, replace=False)]
    facing = _facing(some)
    facing *= np.where(facing @ up < 0, -1.0, 1.0)[:, None]
    level = np.flatnonzero(facing @ up >= min_cosine)
    best, normal, start = 0, up, some[0]
    for row in level[rng.permutation(len(level))[:_TRIALS]]:
        count = int(_members(some, facing, facing[row], some[row], thickness).sum())
        if count > best:
            best, normal, start = count, facing[row], some[row]
    inside = np.zeros(len(some), bool)
    for _ in range(5):  # what one point's surroundings say is noisy
        inside = _members(some, facing, normal, start, thickness)
        if inside.sum() < 10:
            return None
        start = some[inside].mean(axis=0)
        spread, axes = np.linalg.eigh(np.cov((some[inside] - start).T))
        normal = axes[:, 0] * (1.0 if axes[:, 0] @ up > 0 else -1.0)
    wide = float(np.sqrt(max(spread[1], 0.0))) * np.sqrt(12.0)  # of a strip of even density
    if inside.mean() < _MIN_SHARE or wide < _MIN_WIDTH * thickness or normal @ up < min_cosine:
        return None
    return np.asarray(normal, np.float64)


def _facing(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normals (P, 3) of the planes through each point's nearest neighbours."""
    squares = (points**2).sum(axis=1)
    away = squares[:, None] + squares[None] - 2.0 * points @ points.T
    nearest = np.argpartition(away, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    around = points[nearest]
    around = around - around.mean(axis=1, keepdims=True)
    normals: NDArray[np.float64] = np.linalg.eigh(np.einsum("pki,pkj->pij", around, around))[1][:, :, 0]
    return normals


def _members(
    points: NDArray[np.float64],
    facing: NDArray[np.float64],
    normal: NDArray[np.float64],
    start: NDArray[np.float64],
    thickness: float,
) -> NDArray[np.bool_]:
    """(P,) which points lie in a plane and face as it does."""
    inside: NDArray[np.bool_] = (np.abs((points - start) @ normal) < thickness) & (facing @ normal > _SAME_FACING)
    return inside


def _ground(heights: NDArray[np.float64], cameras: NDArray[np.float64], thickness: float) -> float | None:
    """Height of the lowest layer of points, where it is as full as a ground is and below the cameras."""
    low = float(np.percentile(heights, 100.0 * _BELOW))
    near = heights[(heights > low - 4.0 * thickness) & (heights < low + 8.0 * thickness)]
    edges = np.arange(low - 4.0 * thickness, low + 8.0 * thickness, thickness / 2.0)
    counts = np.histogram(near, edges)[0]
    layers = np.convolve(counts, np.ones(4), "valid")  # two thicknesses at a time
    fullest = int(np.argmax(layers))
    if layers[fullest] < _MIN_SHARE * len(heights):
        return None
    inside = heights[(heights >= edges[fullest]) & (heights <= edges[fullest + 4])]
    height = float(np.median(inside))
    return height if height < np.median(cameras) else None
