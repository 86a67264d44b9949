"""Which neighbours a frame is matched with, and over which depths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.clip.work import WorkClip
from engine.geometry.arrays import rigid_inverse

PARALLAX = 0.05  # of the image width: enough to measure depth by, little enough for the views to look alike
DISTANCES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)  # candidates, in frames
MIN_POINTS = 20


def inverse_depth_range(clip: WorkClip, row: int) -> tuple[float, float]:
    """Far and near end of a frame's sweep as inverse depth: its sparse points (or the clip's), with margins."""
    depth = clip.sparse[row][1]
    if len(depth) < MIN_POINTS:
        depth = np.concatenate([points[1] for points in clip.sparse])
    near, far = np.percentile(depth, [1.0, 99.0])
    return float(1.0 / (far * 1.6)), float(1.0 / (near * 0.7))


def choose_views(clip: WorkClip, row: int, count: int) -> NDArray[np.int64]:
    """Rows of `count` frames to match frame `row` with: good parallax, much overlap, half of them from either side.

    What a view from one side does not see behind an object, a view from the other side does.
    """
    candidates = [row + sign * distance for distance in DISTANCES for sign in (1, -1)]
    rows = np.array([r for r in candidates if 0 <= r < len(clip.numbers)], np.int64)
    worth = np.array([_worth(clip, row, other) for other in rows])
    by_worth = rows[np.argsort(-worth, kind="stable")]
    chosen = [*by_worth[by_worth < row][: count // 2], *by_worth[by_worth > row][: count // 2]]
    chosen += [r for r in by_worth if r not in chosen][: count - len(chosen)]
    return np.array(sorted(chosen), np.int64)


def _worth(clip: WorkClip, row: int, other: int) -> float:
    size = np.array([clip.lens.width, clip.lens.height])
    depth = float(np.median(clip.sparse[row][1])) if len(clip.sparse[row][1]) else 1.0
    grid = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 5), np.linspace(0.1, 0.9, 5)), -1).reshape(-1, 2) * size
    matrix = clip.lens.matrix()
    rays = np.concatenate([grid, np.ones((len(grid), 1))], axis=1) @ np.linalg.inv(matrix).T
    other_from_row = rigid_inverse(clip.world_from_camera[other]) @ clip.world_from_camera[row]
    turned = rays @ other_from_row[:3, :3].T
    seen = _pixels(turned * depth + other_from_row[:3, 3], matrix)
    inside = ((seen > 0) & (seen < size)).all(axis=1).mean()
    parallax = float(np.median(np.linalg.norm(seen - _pixels(turned, matrix), axis=1)))
    misfit = np.log(max(parallax, 1e-3) / (PARALLAX * clip.lens.width)) / 0.7
    return float(np.exp(-0.5 * misfit**2) * inside**2)


def _pixels(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    image = points @ matrix.T
    return np.asarray(image[:, :2] / np.maximum(image[:, 2:], 1e-6))
