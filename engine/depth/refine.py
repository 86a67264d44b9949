"""Swept depth brought to a grid twice as fine: edges to where they are, and every pixel to a fraction of a plane.

Each pixel chooses among the depths around it, as cost-volume filtering does over all planes (Rhemann et al., CVPR
2011), and is then moved along its epipolar lines to where the pictures agree best (Lucas and Kanade 1981, in one
dimension).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from engine.clip.views import SweepPlan
from engine.depth.sweep import Projection, better_half, box_mean, correlation, seen_through

GUIDE_RADIUS, GUIDE_EPSILON = 3, 4e-4  # of the guided filter over the scores
COLOUR, WORST = 2.0, 0.06  # weight beside the correlation, and difference in intensity that says all there is to say
BETTER = 0.03  # of the score: by so much a depth of the cells around must be better than a pixel's own
BETTER_FAR = 0.2  # likewise, of what is farther around
RINGS, ON_RING, RANKS = (6, 14, 24), 8, (2, 6, 12, 21)  # cells away, places on each, which of them in order of depth
LIKE = 0.5  # correlation of a view that shows the same
WINDOW = 4  # radius in which pixels move together
STEADY = 1e-3  # contrast below which they do not
HIDDEN = 0.5  # what a further view is worth at a depth that one sees already


def choose_for(plan: SweepPlan, row: int, inverse_depth: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Places in `plan.views` of at most `count` views that together see most of what a frame shows, from both sides.

    Args:
        plan: of the frame.
        row: the frame.
        inverse_depth: of its pixels, any shape.
        count: views.
    """
    planes = np.searchsorted(plan.inverse_depths, inverse_depth.ravel()).clip(0, len(plan.used) - 1)
    pixels = np.bincount(planes, minlength=len(plan.used)).astype(np.float64)
    before = plan.views < row
    seen = np.zeros((2, len(pixels)))
    chosen: list[int] = []
    while len(chosen) < min(count, len(plan.views)):
        worth = pixels * HIDDEN ** seen.sum(axis=0)
        gain = [
            -1.0 if v in chosen else float((worth * HIDDEN ** seen[int(before[v])] * plan.used[:, v]).sum())
            for v in range(len(plan.views))
        ]
        best = int(np.argmax(gain))
        chosen.append(best)
        seen[int(before[best])] += plan.used[:, best]
    return np.array(chosen, np.int64)


class Matcher:
    """Compares a frame with a few views at one depth for each pixel.

    Args:
        frame: (H, W), `normalised`.
        views: (V, H, W), `normalised`.
        grey: (H, W) in [0, 1], the frame's picture.
        view_greys: (V, H, W), theirs.
        projection: of the V views.
        inverse_depths: (D,) of the plan.
        used: (D, V) bool.
    """

    def __init__(
        self,
        frame: torch.Tensor,
        views: torch.Tensor,
        grey: torch.Tensor,
        view_greys: torch.Tensor,
        projection: Projection,
        inverse_depths: torch.Tensor,
        used: torch.Tensor,
    ) -> None:
        self._frame, self._grey, self._projection = frame, grey, projection
        # One is added, so that what lies outside of a view, which is 0, looks like nothing.
        self._views = torch.stack([views, view_greys + 1.0], 1)
        self._inverse_depths, self._used = inverse_depths.contiguous(), used.T.to(frame.dtype).contiguous()
        mean = box_mean(grey, GUIDE_RADIUS)
        self._variance = box_mean(grey * grey, GUIDE_RADIUS) - mean * mean
        self._mean = mean

    def score(self, inverse_depth: torch.Tensor) -> torch.Tensor:
        """(H, W): correlation of the better half of the views, 0 for one that is not used at that depth."""
        seen = seen_through(self._projection.grid(inverse_depth), self._views[:, :1])[:, 0]
        return better_half(correlation(self._frame, seen).mul_(self._counts(inverse_depth)))

    def smooth_score(self, inverse_depth: torch.Tensor) -> torch.Tensor:
        """(H, W): correlation and likeness of single pixels, smoothed but across edges of the picture (He et al. 2010).

        Windows reach over edges, single pixels do not; windows bear changes of light.
        """
        counts = self._counts(inverse_depth)
        windows, seen = seen_through(self._projection.grid(inverse_depth), self._views).unbind(1)
        alike = (seen - (self._grey + 1.0)).abs_().mul_(-1.0 / WORST).add_(1.0).clamp_min_(0.0).mul_(counts)
        windows = correlation(self._frame, windows).mul_(counts)
        score = better_half(windows) + COLOUR * better_half(alike)
        mean = box_mean(score, GUIDE_RADIUS)
        slope = (box_mean(score * self._grey, GUIDE_RADIUS) - self._mean * mean) / (self._variance + GUIDE_EPSILON)
        return box_mean(slope, GUIDE_RADIUS) * self._grey + box_mean(mean - slope * self._mean, GUIDE_RADIUS)

    def moved(self, inverse_depth: torch.Tensor) -> torch.Tensor:
        """(H, W): inverse depth after one step, of at most a pixel, to where the pictures agree."""
        height, width = inverse_depth.shape
        grid = self._projection.grid(inverse_depth)
        nudge = 1e-3 * inverse_depth + 1e-9 * self._inverse_depths[-1]
        along = self._projection.grid(inverse_depth + nudge) - grid
        pixels = (along * along.new_tensor([width / 2.0, height / 2.0])).norm(dim=-1).clamp_min(1e-6)
        half = along * (0.5 / pixels[..., None])
        per_pixel = nudge / pixels  # of inverse depth

        def at(where: torch.Tensor) -> torch.Tensor:
            return seen_through(where, self._views[:, :1])[:, 0]

        ahead, behind = at(grid + half), at(grid - half)
        middle = 0.5 * (ahead + behind)
        alike = box_mean(middle * self._frame, WINDOW) > LIKE
        counts = self._counts(inverse_depth) * alike
        slope = (ahead - behind) / per_pixel
        square = box_mean((slope * slope * counts).sum(0), WINDOW)
        product = box_mean((slope * (self._frame - middle) * counts).sum(0), WINDOW)
        limit = per_pixel.amax(0)
        step = product / (square + STEADY / (limit * limit))
        return (inverse_depth + torch.maximum(torch.minimum(step, limit), -limit)).clamp_min(0.0)

    def _counts(self, inverse_depth: torch.Tensor) -> torch.Tensor:
        """(V, H, W): 1 where a view is used at that depth, else 0."""
        plane = torch.searchsorted(self._inverse_depths, inverse_depth.contiguous())
        return self._used[:, plane.clamp_max_(self._used.shape[1] - 1)]


def refine(matcher: Matcher, inverse_depth: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse depth and score (H, W) on the grid of the matcher.

    Args:
        matcher: of the frame.
        inverse_depth: (h, w) on a coarser grid.
        height: of the matcher's grid.
        width: of the matcher's grid.
    """
    coarse = inverse_depth[None, None]
    best = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    score = matcher.smooth_score(best)
    cells = torch.cat([coarse, -F.max_pool2d(-coarse, 3, 1, 1), F.max_pool2d(coarse, 3, 1, 1)], 1)[0]
    for others, by in ((cells, BETTER), (_farther_around(inverse_depth), BETTER_FAR)):
        for other in F.interpolate(others[None], size=(height, width), mode="nearest")[0]:
            theirs = matcher.smooth_score(other)
            better = theirs > score + by
            best, score = torch.where(better, other, best), torch.where(better, theirs, score)
    best = matcher.moved(best)
    return best, matcher.score(best)


def _farther_around(inverse_depth: torch.Tensor) -> torch.Tensor:
    """(R, h, w): some of the inverse depths on rings around each pixel (h, w).

    What lies behind a lattice is seen beside it and through other gaps; a sweep whose windows are wider than the gaps
    finds it in few of them.
    """
    height, width = inverse_depth.shape
    most = max(RINGS)
    padded = F.pad(inverse_depth[None, None], (most, most, most, most), mode="replicate")[0, 0]
    places = []
    for radius in RINGS:
        for k in range(ON_RING):
            angle = 2.0 * math.pi * k / ON_RING
            line, column = most + round(radius * math.sin(angle)), most + round(radius * math.cos(angle))
            places.append(padded[line : line + height, column : column + width])
    return torch.stack(places).sort(0).values[list(RANKS)]
