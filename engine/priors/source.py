"""What every prior looks like to the rest of the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.work import WorkClip
from engine.geometry.arrays import Lens

# What a prior's raw values are:
#   disparity  1/z up to a scale and a shift of each frame's own (DPT/MiDaS, Depth Anything, maps of disparity)
#   depth      planar depth up to a scale of each frame's own (the built-in network)
#   units      planar depth in one unit for the whole clip, whichever (maps of depth)
#   metric     planar depth in metres (ZoeDepth, Depth Pro, the metric Depth Anything networks)
Output = Literal["disparity", "depth", "units", "metric"]

# Row of the clip -> raw values (h, w) float32 on half the work grid, NaN = none.
Predict = Callable[[int], NDArray[np.float32]]


@dataclass(frozen=True)
class Source:
    """A prior that is there and may be used. Nothing of it is loaded yet.

    Attributes:
        name: for people and `solve.json`.
        licence: of its weights, an SPDX identifier or the tag it is published under; "unknown" when nobody says.
        non_commercial: the licence excludes commercial work, or is unknown.
        output: what its raw values are.
        identity: content and settings; two sources with one identity give the same depth. For cache keys.
        open: loads it for a clip, whose plate has the given lens, on a device.
    """

    name: str
    licence: str
    non_commercial: bool
    output: Output
    identity: str
    open: Callable[[WorkClip, Lens, torch.device], Predict]

    @property
    def metric(self) -> bool:
        """Its depth is in metres."""
        return self.output == "metric"


def half_size(clip: WorkClip) -> tuple[int, int]:
    """(h, w) of half the work grid, where priors live."""
    return clip.images.shape[1] // 2, clip.images.shape[2] // 2
