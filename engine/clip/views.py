"""Which neighbours a frame is matched with, and over which depths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.clip.work import WorkClip
from engine.geometry.arrays import Lens, rigid_inverse

PARALLAX = 0.05  # of the image width: enough to measure depth by, little enough for the views to look alike
SPREAD = 0.7  # of the logarithm of the parallax: how far from the best a view may be and still be worth something
DISTANCES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)  # candidates, in frames
MIN_POINTS = 20
NEAREST = 12.0  # the clip's median depth over this: nearer things are out of focus
SAMPLES = 72  # inverse depths at which views are weighed
LEAST_OVERLAP = 0.05  # of the picture: a view that sees less is no view
NEAR_OVERLAP, NEAR_PARALLAX = 0.3, 0.35  # two views see so much of the nearest plane, shifted by so much of the width
WORSE = 2.5  # of the logarithm of a view's worth: worse than the best by more and it only costs
FINEST = 0.03  # of the parallax: planes need not lie closer
STEEP = 80.0  # percentile over the picture of how fast pixels move with inverse depth


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
    depth = float(np.median(clip.sparse[row][1])) if len(clip.sparse[row][1]) else 1.0
    rows = _candidates(clip, row)
    worth = _Seen(clip, clip.lens, row, rows, np.array([1.0 / depth])).worth()[:, 0]
    by_worth = rows[np.argsort(-worth, kind="stable")]
    chosen = [*by_worth[by_worth < row][: count // 2], *by_worth[by_worth > row][: count // 2]]
    chosen += [r for r in by_worth if r not in chosen][: count - len(chosen)]
    return np.array(sorted(chosen), np.int64)


@dataclass(frozen=True)
class SweepPlan:
    """At which inverse depths a frame is swept, and with which views at each of them.

    Attributes:
        inverse_depths: (D,) ascending, from 0 (infinitely far). Neighbours are about as far apart as a pixel is wide.
        views: (V,) rows.
        used: (D, V) bool. Near planes are compared with near views, far ones with views from farther away.
    """

    inverse_depths: NDArray[np.float64]
    views: NDArray[np.int64]
    used: NDArray[np.bool_]


def plan_sweep(clip: WorkClip, lens: Lens, row: int, per_side: int, step: float, most: int) -> SweepPlan:
    """Plan the sweep of a frame from what its views can see, whether or not there are sparse points (Gallup et al.,
    Variable baseline/resolution stereo, CVPR 2008).

    It begins at infinity and ends where no two views see a plane any more or it moves too far between them, at the
    latest `NEAREST` times as near as the clip's median point.

    Args:
        clip: gives cameras and sparse points.
        lens: pinhole of the grid that is swept.
        row: the frame.
        per_side: views at a plane from before the frame, and from after it; one side makes up for the other.
        step: pixels of the grid that half of the views move by from plane to plane.
        most: planes; with more of them the step grows.
    """
    unit = float(np.median(np.concatenate([depth for _, depth in clip.sparse])))
    inverse = np.concatenate([[0.0], np.geomspace(1e-2, NEAREST, SAMPLES - 1)]) / unit
    rows = _candidates(clip, row)
    seen = _Seen(clip, lens, row, rows, inverse)
    used = _used(seen, rows < row, per_side)
    last = _nearest(seen)
    slope, parallax = (np.nanmedian(np.where(used.T, x, np.nan), axis=0) for x in (seen.slope, seen.parallax))
    density = slope / np.maximum(step, FINEST * parallax)
    # How many planes there are up to an inverse depth is an integral; its inverse places them.
    number = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(inverse))])[: last + 1]
    count = int(np.clip(np.ceil(number[-1]), 2, most - 1)) + 1
    planes = np.interp(np.linspace(0.0, number[-1], count), number, inverse[: last + 1])
    used = used[np.searchsorted(inverse, planes).clip(0, last)]
    kept = used.any(axis=0)
    return SweepPlan(planes, rows[kept], used[:, kept])


def _candidates(clip: WorkClip, row: int) -> NDArray[np.int64]:
    rows = [row + sign * distance for distance in DISTANCES for sign in (1, -1)]
    return np.array([r for r in rows if 0 <= r < len(clip.numbers)], np.int64)


class _Seen:
    """What V views see of a grid of pixels of a frame, at W inverse depths.

    Attributes:
        width: of the picture, pixels.
        inside: (V, W) share of the pixels that are in the view.
        parallax: (V, W) median pixels between where the view sees them and where it would at infinity.
        slope: (V, W) pixels they move by with inverse depth.
    """

    def __init__(
        self, clip: WorkClip, lens: Lens, row: int, views: NDArray[np.int64], inverse: NDArray[np.float64]
    ) -> None:
        size = np.array([lens.width, lens.height])
        grid = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 5), np.linspace(0.1, 0.9, 5)), -1).reshape(-1, 2) * size
        matrix = lens.matrix()
        rays = np.concatenate([grid, np.ones((len(grid), 1))], axis=1) @ np.linalg.inv(matrix).T
        view_from_row = np.stack(
            [rigid_inverse(clip.world_from_camera[v]) @ clip.world_from_camera[row] for v in views]
        )
        turned = rays @ view_from_row[:, :3, :3].transpose(0, 2, 1)  # (V, pixels, 3)
        moved = view_from_row[:, :3, 3] @ matrix.T
        image = turned @ matrix.T
        points = image[:, None] + inverse[None, :, None, None] * moved[:, None, None]
        z = np.maximum(points[..., 2], 1e-6)
        seen = points[..., :2] / z[..., None]
        inside = ((seen > 0) & (seen < size)).all(axis=-1) & (points[..., 2] > 1e-6)
        at_infinity = image[..., :2] / np.maximum(image[..., 2:], 1e-6)
        self.width = lens.width
        self.inside = inside.mean(axis=-1)
        distance = np.linalg.norm(seen - at_infinity[:, None], axis=-1)
        self.parallax = np.median(np.where(points[..., 2] > 1e-6, distance, np.inf), axis=-1)
        # d/dw (a + w b) / (az + w bz) = (b - bz * seen) / z
        speed = np.linalg.norm(moved[:, None, None, :2] - moved[:, None, None, 2:] * seen, axis=-1) / z
        self.slope = np.percentile(np.where(inside, speed, 0.0), STEEP, axis=-1)

    def worth(self) -> NDArray[np.float64]:
        """(V, W) logarithm: good parallax and much overlap."""
        misfit = np.log(np.clip(self.parallax, 1e-3, 1e6) / (PARALLAX * self.width)) / SPREAD
        return np.asarray(-0.5 * misfit**2 + 2.0 * np.log(np.maximum(self.inside, 1e-3)))


def _used(seen: _Seen, before: NDArray[np.bool_], per_side: int) -> NDArray[np.bool_]:
    """(W, V) which views to use."""
    worth = np.where(seen.inside > LEAST_OVERLAP, seen.worth(), -np.inf)
    used = np.zeros(worth.T.shape, bool)
    for k, of_plane in enumerate(worth.T):
        order = np.argsort(-of_plane, kind="stable")
        chosen = [*order[before[order]][:per_side], *order[~before[order]][:per_side]]
        chosen += [v for v in order if v not in chosen][: 2 * per_side - len(chosen)]
        used[k, chosen] = of_plane[chosen] >= max(of_plane[order[0]] - WORSE, -1e6)
        used[k, order[0]] = True  # a view that hardly overlaps is better than none
    reached = seen.parallax.max(axis=0) >= PARALLAX * seen.width
    first = int(np.argmax(reached)) if reached.any() else len(used) - 1
    used[:first] = used[first]  # beyond, the views with the longest baseline
    return used


def _nearest(seen: _Seen) -> int:
    """Index of the largest inverse depth that is worth a plane."""
    good = (seen.inside >= NEAR_OVERLAP) & (seen.parallax <= NEAR_PARALLAX * seen.width)
    enough = good.sum(axis=0) >= min(2, len(good))
    return max(int(np.nonzero(enough)[0].max()), 1) if enough.any() else len(enough) - 1
