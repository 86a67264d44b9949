"""Confidence against the truth: whether a pixel that says c is right with probability c."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

WITHIN = 0.05  # of the true depth: right
SURE = 0.5  # confidence above which depth is relied on
WANTED = 0.95  # share that has to be right
BINS = 10
_STEPS = 1000  # of confidence; a multiple of BINS


@dataclass(frozen=True)
class Bin:
    """A point of the reliability diagram.

    Attributes:
        pixels: how many have a confidence in this tenth; the others are 0 where it is none.
        confidence: their mean.
        right: share of them within `WITHIN` of the truth.
    """

    pixels: int
    confidence: float
    right: float


@dataclass
class Reliability:
    """Counts by confidence, frame by frame; holds nothing of a frame. A pixel without depth is wrong, confidence 0."""

    _pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_STEPS, np.int64))
    _right: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_STEPS, np.int64))
    _sum: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_STEPS))
    _error: float = 0.0
    _sure: int = 0

    def add(self, confidence: Array, depth: Array, true: Array, scale: float) -> None:
        """Look at a frame: confidence in 0..1 and planar depth, (H, W) each; `scale` is the clip's true/solved one."""
        told = true > 0
        solved = np.isfinite(depth) & (depth > 0)
        stated = np.where(solved, np.nan_to_num(confidence), 0.0)[told].astype(np.float64).clip(0.0, 1.0)
        error = np.abs(np.where(solved, depth * scale, 0.0)[told] / true[told] - 1.0)
        step = np.minimum((stated * _STEPS).astype(np.int64), _STEPS - 1)
        self._pixels += np.bincount(step, minlength=_STEPS)
        self._right += np.bincount(step[error <= WITHIN], minlength=_STEPS)
        self._sum += np.bincount(step, stated, _STEPS)
        self._error += float(error[stated > SURE].sum())
        self._sure += int((stated > SURE).sum())

    def bins(self) -> list[Bin]:
        """The reliability diagram: `BINS` equal parts of 0..1."""
        pixels, right, total = (v.reshape(BINS, -1).sum(axis=1) for v in (self._pixels, self._right, self._sum))
        count = np.maximum(pixels, 1)
        values = zip(pixels, total / count, right / count, strict=True)
        return [Bin(int(n), float(confidence), float(share)) for n, confidence, share in values]

    def summary(self) -> dict[str, float]:
        """Figures over all pixels of the clip that have a true depth; empty without any.

        conf_absrel: mean relative error where confidence is above `SURE` (absent where none is). conf_cover: their
        share. sure_share: the largest share of the pixels, the most confident first, of which `WANTED` are right.
        conf_error: mean over the pixels of |confidence - share that is right| of their bin (expected calibration
        error, Guo et al. 2017).
        """
        total = int(self._pixels.sum())
        if not total:
            return {}
        taken, right = np.cumsum(self._pixels[::-1]), np.cumsum(self._right[::-1])
        enough = taken[(taken > 0) & (right >= WANTED * taken)]
        figures = {
            "conf_cover": self._sure / total,
            "sure_share": float(enough.max(initial=0)) / total,
            "conf_error": sum(b.pixels * abs(b.confidence - b.right) for b in self.bins()) / total,
        }
        return figures | ({"conf_absrel": self._error / self._sure} if self._sure else {})
