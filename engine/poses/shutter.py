"""Does the camera read its rows one after another (a rolling shutter)?

With one, what is seen in the lower rows is seen later, so that it lies ahead of where a camera of the frame sends it,
by its speed times the delay of its row (Hedborg et al., Rolling Shutter Bundle Adjustment, CVPR 2012, section 3).
Residuals hardly show that, since adjustment bends lens and cameras after it; held-out tracks do, once the delay is
taken out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.poses.holdout import Tracks

READOUTS = (-0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
"""Delays of the last row against the first that are tried, over the time between two frames."""


def speeds(
    pixels: dict[int, NDArray[np.float64]], pairs: dict[tuple[int, int], NDArray[np.int64]]
) -> dict[int, NDArray[np.float64]]:
    """Image -> (n, 2) pixels that each feature moves in the time of a frame; NaN for what no neighbouring frame has.

    Args:
        pixels: image id -> (n, 2) features; ids are numbered in the order of the frames.
        pairs: (image id, later image id) -> (m, 2) matched features.
    """
    total = {i: np.zeros((len(p), 2)) for i, p in pixels.items()}
    count = {i: np.zeros((len(p), 1)) for i, p in pixels.items()}
    for (a, b), matched in pairs.items():
        if b - a == 1:
            moved = pixels[b][matched[:, 1]] - pixels[a][matched[:, 0]]
            for image, feature in ((a, matched[:, 0]), (b, matched[:, 1])):
                np.add.at(total[image], feature, moved)
                np.add.at(count[image], feature, 1.0)
    with np.errstate(invalid="ignore"):
        return {i: total[i] / count[i] for i in total}


def read_at_once(
    pixels: dict[int, NDArray[np.float64]], speed: dict[int, NDArray[np.float64]], readout: float, height: int
) -> dict[int, NDArray[np.float64]]:
    """Where features would be seen if all rows were read when the middle one is; features without speed stay.

    Args:
        pixels: image id -> (n, 2).
        speed: see `speeds`.
        readout: delay of the last row against the first, over the time between two frames.
        height: of the picture, pixels.
    """
    return {i: p - readout * (p[:, 1:] / height - 0.5) * np.nan_to_num(speed[i]) for i, p in pixels.items()}


def followed(tracks: Tracks, speed: dict[int, NDArray[np.float64]]) -> Tracks:
    """Those tracks of which every feature has a speed; `speed` may lack images, such as those beyond a cut."""
    lost = np.ones(len(tracks.track), bool)
    for image, moved in speed.items():
        here = tracks.image == image
        lost[here] = np.isnan(moved[tracks.feature[here], 0])
    kept = ~np.isin(tracks.track, tracks.track[lost])
    number = np.unique(tracks.track[kept], return_inverse=True)[1]
    return Tracks(number, tracks.image[kept], tracks.feature[kept])
