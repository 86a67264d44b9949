"""Where a shot falls apart: cuts, and stretches of blur across which nothing can be followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.poses.features import Matches

_MIN_ACROSS = 50
"""Fewer matches than that between all frames before and all frames after a place, and the two sides are two shots."""
_BLURRED = 0.4
"""A frame is blurred whose sharpness is that share of the clip's median or less."""
_LONG_SIDE = 640


@dataclass(frozen=True)
class Break:
    """Nothing can be followed from frame `before` to frame `after`, both positions in the clip.

    `blurred` are the positions of blurred frames there; a cut has none.
    """

    before: int
    after: int
    blurred: tuple[int, ...]

    def words(self, numbers: Sequence[int]) -> str:
        """What happened, for people. `numbers`: of the frames."""
        if not self.blurred:
            return f"there is a cut between frames {numbers[self.before]} and {numbers[self.after]}"
        first, last = numbers[self.blurred[0]], numbers[self.blurred[-1]]
        where = f"frame {first}" if first == last else f"frames {first} to {last}"
        return f"{where} {'is' if first == last else 'are'} too blurred to follow anything across"


def matches_across(matches: Matches) -> NDArray[np.int64]:
    """(N - 1,) how many matches join frames up to a position with frames after it."""
    row = {image: index for index, image in enumerate(matches.images)}
    across = np.zeros(len(row), np.int64)
    for (i, j), found in matches.pairs.items():
        across[row[i] : row[j]] += len(found)
    return across[:-1]


def find_breaks(matches: Matches, sharpness: NDArray[np.float64]) -> tuple[list[Break], range]:
    """The breaks of a clip, and the longest part without one.

    Args:
        matches: verified matches.
        sharpness: (N,) of the frames, see `sharpness_of`.

    Returns:
        (breaks in order, positions of the longest part). Frames inside of a break belong to no part.
    """
    cut = np.flatnonzero(matches_across(matches) < _MIN_ACROSS)
    count = len(matches.images)
    starts, ends = [0, *(cut + 1).tolist()], [*(cut + 1).tolist(), count]
    parts = [range(a, b) for a, b in zip(starts, ends, strict=True)]
    longest = max(parts, key=lambda part: (len(part), -part.start))
    whole = [part for part in parts if len(part) >= 3]
    breaks = []
    for one, other in pairwise(whole):
        near = range(max(0, one.stop - 3), min(count, other.start + 3))
        # The softer of the two sides counts: another shot may have less detail all through.
        limit = _BLURRED * min(float(np.median(sharpness[part.start : part.stop])) for part in (one, other))
        breaks.append(Break(one.stop - 1, other.start, tuple(i for i in near if sharpness[i] <= limit)))
    return breaks, longest


def sharpness_of(images: Path, names: Sequence[str]) -> NDArray[np.float64]:
    """(N,) variance of the Laplacian of each picture at a long side of 640 pixels at most."""
    values = []
    for name in names:
        grey = cv2.imread(str(images / name), cv2.IMREAD_GRAYSCALE)
        if grey is None:
            raise OSError(f"cannot read {images / name}")
        factor = min(1.0, _LONG_SIDE / max(grey.shape))
        small = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        values.append(float(cv2.Laplacian(small, cv2.CV_32F).var()))
    return np.array(values)


def blurred_frames(sharpness: NDArray[np.float64]) -> list[int]:
    """Positions of frames that are clearly less sharp than the clip."""
    return np.flatnonzero(sharpness <= _BLURRED * np.median(sharpness)).tolist()
