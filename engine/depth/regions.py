"""Depth region by region: how much of it was measured, and whether optical flow and tracks agree with it.

One median over a frame hides a wrong half of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID = (6, 8)  # rows, columns of regions
LEAST_SHARE = 0.1  # of a region's pixels: fewer say nothing of it
LEAST_TRACKS = 3

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Regions:
    """Figures of the regions of all frames, (N, rows, columns) each; NaN = nobody knows.

    Attributes:
        numbers: plate frame numbers, ascending.
        measured: share of the static pixels whose depth was measured.
        right: share of them that are expected to be right: their mean confidence.
        moving: share of the pixels that dynamic mattes cover.
        flow_px: median distance between where the flow and where depth and cameras send a pixel, work pixels, the
            median over the frame's pairs.
        tracks: median relative difference between the depth of the sparse points and that of their pixels.
    """

    numbers: tuple[int, ...]
    measured: Values
    right: Values
    moving: Values
    flow_px: Values
    tracks: Values

    def document(self) -> dict[str, Any]:
        """What `read` reads: plate frame number -> figure -> rows of numbers, null = nobody knows."""
        return {
            str(number): {name: _rows(getattr(self, name)[row]) for name in FIGURES}
            for row, number in enumerate(self.numbers)
        }

    @classmethod
    def read(cls, document: dict[str, Any]) -> Regions:
        """The same again."""
        numbers = sorted(int(number) for number in document)
        figures = {
            name: np.array([document[str(n)][name] for n in numbers], np.float64).reshape(-1, *_shape(document))
            for name in FIGURES
        }
        return cls(tuple(numbers), **figures)


FIGURES = tuple(field.name for field in fields(Regions) if field.name != "numbers")


def _shape(document: dict[str, Any]) -> tuple[int, int]:
    for figures in document.values():
        return len(figures["measured"]), len(figures["measured"][0])
    return GRID


def _rows(values: Values) -> list[list[float | None]]:
    return [[round(float(value), 4) if np.isfinite(value) else None for value in row] for row in values]


def frame_regions(
    confidence: NDArray[np.floating], measured: NDArray[np.bool_], moving: NDArray[np.bool_]
) -> tuple[Values, Values, Values]:
    """Shares `measured`, `right` and `moving` of the regions of one frame, see `Regions`.

    Args:
        confidence: (H, W) 0..1.
        measured: (H, W).
        moving: (H, W).
    """
    shares = np.full((3, *GRID), np.nan)
    for at, part in _parts(measured.shape):
        still = ~moving[part]
        shares[2][at] = 1.0 - still.mean()
        if still.mean() >= LEAST_SHARE:
            shares[0][at] = measured[part][still].mean()
            shares[1][at] = confidence[part][still].mean(dtype=np.float64)
    return shares[0], shares[1], shares[2]


def flow_regions(miss: NDArray[np.floating], believed: NDArray[np.bool_]) -> Values:
    """Median of `miss` (h, w) in each region where `believed` (h, w), NaN where too little is."""
    medians = np.full(GRID, np.nan)
    for at, part in _parts(believed.shape):
        there = believed[part]
        if there.mean() >= LEAST_SHARE:
            medians[at] = np.median(miss[part][there])
    return medians


def track_regions(depth: NDArray[np.floating], pixels: NDArray[np.floating], own_depth: NDArray[np.floating]) -> Values:
    """Median relative difference in each region, NaN where there are too few tracks.

    Args:
        depth: (H, W) planar, 0 = none.
        pixels: (M, 2) x, y of the tracks, in shares of the frame's width and height, 0..1.
        own_depth: (M,) of their points.
    """
    height, width = depth.shape
    column, line = np.minimum((pixels * (width, height)).astype(int), (width - 1, height - 1)).T
    found = depth[line, column]
    good = (found > 0) & (own_depth > 0)
    column, line = column[good], line[good]
    apart = np.abs(found[good].astype(np.float64) / own_depth[good] - 1.0)
    region = (line * GRID[0] // height) * GRID[1] + column * GRID[1] // width
    medians = np.full(GRID, np.nan)
    for number in np.unique(region):
        if (region == number).sum() >= LEAST_TRACKS:
            medians.flat[number] = np.median(apart[region == number])
    return medians


def median_over(of_pairs: Sequence[Values]) -> Values:
    """Median (rows, columns) over the pairs of a frame that know a region; NaN where none does."""
    known = np.array(of_pairs, np.float64).reshape(-1, *GRID)
    medians = np.full(GRID, np.nan)
    there = np.isfinite(known).any(axis=0)
    medians[there] = np.nanmedian(known[:, there], axis=0)
    return medians


def stack(numbers: Iterable[int], figures: Iterable[Sequence[Values]]) -> Regions:
    """Frame by frame, in the order of the attributes of `Regions`."""
    columns = [np.stack(column) for column in zip(*figures, strict=True)]
    return Regions(tuple(numbers), *columns)


def _parts(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    """Each region: (row, column), and its pixels."""
    (rows, columns), (height, width) = GRID, shape
    for row in range(rows):
        for column in range(columns):
            lines = slice(row * height // rows, (row + 1) * height // rows)
            yield (row, column), (lines, slice(column * width // columns, (column + 1) * width // columns))
