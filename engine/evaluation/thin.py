"""Near things, thin things, and what is seen through gaps: the pixels that a mean over the picture hides.

What is thin is told by the true depth alone: a thing is thin where no disc of `THIN_PX` fits into it, a gap is narrow
where no disc of `GAP_PX` does (closing and opening of the depth itself, grey-scale; Serra 1982). Both hold for any
number of surfaces one behind the other, and a slope is neither.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

NEAR = 0.5  # of the frame's median true depth: what is nearer is a near thing
WITHIN = 0.10  # of the true depth: right
JUMP = 1.5  # far/near between a thin thing and what is behind it
THIN_PX = 13  # narrower than this is thin: at most 12 px wide
GAP_PX = 31  # narrower than this is a gap


def near_things(true: Array) -> Mask:
    """(H, W) pixels nearer than half of the frame's median; depth 0 = no value."""
    known = true > 0
    return known & (true < NEAR * float(np.median(true[known]))) if known.any() else known


def thin_things(true: Array) -> tuple[Mask, Array]:
    """Pixels (H, W) of things narrower than `THIN_PX`, and everywhere the depth (H, W) of what is behind such a thing.

    What the picture's border cuts off is as wide as it likes, here and for gaps.
    """
    behind = _inner(_eroded(_dilated(_padded(true, THIN_PX), THIN_PX), THIN_PX), THIN_PX)
    return (true > 0) & (behind > JUMP * true), behind


def gaps(true: Array) -> tuple[Mask, Array]:
    """Pixels (H, W) seen through gaps narrower than `GAP_PX`, and everywhere the depth (H, W) of what bounds a gap."""
    before = _inner(_dilated(_eroded(_padded(true, GAP_PX), GAP_PX), GAP_PX), GAP_PX)
    return (before > 0) & (true > JUMP * before), before


@dataclass
class Shares:
    """Counts right pixels, frame by frame. What has a true depth and no solved one is wrong."""

    _right: Counter[str] = field(default_factory=Counter)
    _total: Counter[str] = field(default_factory=Counter)

    def add(self, depth: Array, true: Array, scale: float) -> None:
        """Look at a frame: planar depth (H, W) each, 0 = no value; `scale` is the clip's true/solved one."""
        solved = np.where(np.isfinite(depth) & (depth > 0), depth * scale, 0.0)
        right = np.abs(solved - true) <= WITHIN * true
        self._count("near_share", near_things(true), right)
        thin, behind = thin_things(true)
        self._count("thin_recall", thin, (solved > 0) & (solved < np.sqrt(true * behind)))
        seen, before = gaps(true)
        self._count("gap_share", seen, right)
        self._count("gap_recall", seen, solved > np.sqrt(true * before))

    def summary(self) -> dict[str, float]:
        """Shares of all such pixels of the clip, without those of which it has none.

        near_share: of near things, within `WITHIN` of the truth. thin_recall: of thin things, nearer to their own depth
        than to that behind them (logarithmic). gap_share: of what is seen through gaps, within `WITHIN` of the truth;
        gap_recall: nearer to its own depth than to that of what bounds the gap.
        """
        return {name: self._right[name] / total for name, total in self._total.items() if total}

    def _count(self, name: str, where: Mask, right: Mask) -> None:
        self._right[name] += int((where & right).sum())
        self._total[name] += int(where.sum())


def _padded(depth: Array, by: int) -> NDArray[np.float32]:
    return np.pad(np.asarray(depth, np.float32), by, mode="edge")


def _inner(padded: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    return padded[by:-by, by:-by]


def _disc(side: int) -> NDArray[np.uint8]:
    along = np.arange(side) - side // 2
    return np.asarray(along[:, None] ** 2 + along**2 <= (side / 2) ** 2, np.uint8)


def _dilated(depth: Array, side: int) -> NDArray[np.float32]:
    """The farthest of each disc; 0 where nothing has a value."""
    return np.asarray(cv2.dilate(np.asarray(depth, np.float32), _disc(side)), np.float32)


def _eroded(depth: Array, side: int) -> NDArray[np.float32]:
    """The nearest of each disc; 0 where nothing has a value."""
    none = np.finfo(np.float32).max
    values = cv2.erode(np.where(depth > 0, depth, none).astype(np.float32), _disc(side))
    return np.where(values < none, values, 0.0).astype(np.float32)
