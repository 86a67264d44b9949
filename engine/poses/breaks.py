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
from engine.poses.keyframes import LONG, key_frames

_MIN_ACROSS = 50
"""Fewer matches than that between all frames before and all frames after a place, and the two sides are two shots."""
_CUT_SHARE = 0.2
"""Share of the matches that neighbouring frames usually have which some pair across a cut must have to join its two
sides: frames around a flash have nearly all, shots of one place a few, wrong ones, or too few to join them soundly."""
_DISSOLVE_SPANS = (2, 3, 4, 8, 16)
_HARDLY_MOVED, _LOST, _STABLE = 0.1, 0.1, 0.25
"""A dissolve: across so many frames the picture moves by less than that share of the long side, going by neighbouring
frames, and yet hardly any of what they have matches (`_LOST`), whereas on either side much does over as many frames
(`_STABLE`)."""
_UNVERIFIED = 15
"""Pairs with fewer matches are not kept: so many there may be where none are known."""
_MIXED = 0.6
"""Share of the usual matches with the next frame below which a frame at the end of a dissolve still is part of it."""
_BLURRED = 0.4
"""A frame is blurred whose sharpness is that share of the clip's median or less."""
_LONG_SIDE = 640


@dataclass(frozen=True)
class Break:
    """Nothing can be followed from frame `before` to frame `after`, both positions in the clip.

    `blurred` are the positions of blurred frames there; a cut has none. `dissolves`: one shot turns into the other.
    """

    before: int
    after: int
    blurred: tuple[int, ...]
    dissolves: bool = False

    def words(self, numbers: Sequence[int]) -> str:
        """What happened, for people. `numbers`: of the frames."""
        if self.dissolves and not self.blurred:
            return f"one shot dissolves into another between frames {numbers[self.before]} and {numbers[self.after]}"
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


def find_breaks(
    matches: Matches, sharpness: NDArray[np.float64], cuts: Sequence[int] = ()
) -> tuple[list[Break], range]:
    """The breaks of a clip, and the longest part without one.

    Args:
        matches: verified matches.
        sharpness: (N,) of the frames, see `sharpness_of`.
        cuts: positions of frames before which the picture changes at once.

    Returns:
        (breaks in order, positions of the longest part). Frames inside of a break belong to no part.
    """
    count = len(matches.images)
    apart = matches_across(matches) < _MIN_ACROSS
    neighbours = _neighbours(matches)
    usual = float(np.median(neighbours[neighbours > 0])) if neighbours.any() else 0.0
    strongest = _strongest_across(matches)
    for row in cuts:
        if 0 < row < count:
            apart[row - 1] |= strongest[row - 1] < max(_MIN_ACROSS, _CUT_SHARE * usual)
    mixed = np.zeros(count, bool)
    some = key_frames(matches) if count >= LONG else list(range(count))
    for first, last in _dissolves(matches.only(some)):
        before, after = some[first - 1], some[last + 1]
        mixed[before + 1 : after] = True
        apart[before:after] = True
    cut = np.flatnonzero(apart)
    starts, ends = [0, *(cut + 1).tolist()], [*(cut + 1).tolist(), count]
    parts = [range(a, b) for a, b in zip(starts, ends, strict=True)]
    longest = max(parts, key=lambda part: (len(part), -part.start))
    whole = [part for part in parts if len(part) >= 3]
    breaks = []
    for one, other in pairwise(whole):
        near = range(max(0, one.stop - 3), min(count, other.start + 3))
        # The softer of the two sides counts: another shot may have less detail all through.
        limit = _BLURRED * min(float(np.median(sharpness[part.start : part.stop])) for part in (one, other))
        blurred = tuple(i for i in near if sharpness[i] <= limit)
        breaks.append(Break(one.stop - 1, other.start, blurred, bool(mixed[one.stop : other.start].any())))
    return breaks, longest


def _neighbours(matches: Matches) -> NDArray[np.int64]:
    """(N - 1,) how many matches each frame has with the next."""
    pairs = pairwise(matches.images)
    return np.array([len(matches.pairs.get(pair, ())) for pair in pairs], np.int64)


def _strongest_across(matches: Matches) -> NDArray[np.int64]:
    """(N - 1,) how many matches the best pair has of those that join frames up to a position with frames after it."""
    row = {image: index for index, image in enumerate(matches.images)}
    strongest = np.zeros(len(row), np.int64)
    for (i, j), found in matches.pairs.items():
        strongest[row[i] : row[j]] = np.maximum(strongest[row[i] : row[j]], len(found))
    return strongest[:-1]


def _dissolves(matches: Matches) -> list[tuple[int, int]]:
    """First and last position of the frames of each dissolve, in order: frames that show two shots at once.

    Each has much in common with the next, so that matches go on and on; but what is seen before is gone afterwards.

    Args:
        matches: of frames each of which was matched with those some of `_DISSOLVE_SPANS` later.
    """
    images, side, neighbours = matches.images, matches.long_side, _neighbours(matches)
    # Where nothing matches the next frame, the picture may have moved by any amount.
    step = [matches.moved(pair) if len(matches.pairs.get(pair, ())) else 10.0 * side for pair in pairwise(images)]
    way = np.concatenate([[0.0], np.cumsum(step)])

    def kept(i: int, j: int) -> int | None:
        """How many matches two frames have that lie where neighbouring frames lead; None where they do not tell."""
        pair, moved = (images[i], images[j]), way[j] - way[i]
        if not moved < _HARDLY_MOVED * side:
            return None
        if pair not in matches.pairs:
            return _UNVERIFIED
        a, b = matches.pixels_of(pair)
        return int((np.linalg.norm(b - a, axis=1) < 3.0 * moved + 0.01 * side).sum())

    def stable(end: int, towards: int, span: int, all_of_it: float) -> bool:
        """Whether much is seen all the way from a frame to one up to `span` frames before (-1) or after (1) it."""
        for steps in (s for s in reversed(_DISSOLVE_SPANS) if s <= span):
            i, j = sorted((end, end + towards * steps))
            if i >= 0 and j < len(images) and (images[i], images[j]) in matches.pairs:
                left = kept(i, j)
                return left is not None and left >= _STABLE * all_of_it
        return False

    # Where no frame has matches so far ahead, none were looked for.
    spans = [s for s in _DISSOLVE_SPANS if any(pair in matches.pairs for pair in zip(images, images[s:], strict=False))]
    lost: list[tuple[int, int]] = []
    for span in spans:
        for i in range(len(images) - span):
            j = i + span
            if any(i <= first and last <= j for first, last in lost):
                continue  # only the shortest stretches tell where it is
            all_of_it = min(neighbours[max(0, i - 1)], neighbours[min(j, len(neighbours) - 1)])
            left = kept(i, j)
            if left is None or left >= _LOST * all_of_it:
                continue
            if stable(i, -1, span, all_of_it) and stable(j, 1, span, all_of_it):
                lost.append((i, j))
    found: list[tuple[int, int]] = []
    for first, last in sorted(lost):  # what several stretches have in common is one dissolve
        if found and min(last, found[-1][1]) - first >= 2:
            found[-1] = first, min(last, found[-1][1])
        else:
            found.append((first, last))
    return [_widened(first, last, neighbours) for first, last in found]


def _widened(first: int, last: int, neighbours: NDArray[np.int64]) -> tuple[int, int]:
    """The frames between `first` and `last`, and those that match the frames beyond markedly less than these do."""
    before, after = neighbours[max(0, first - 8) : first], neighbours[last + 1 : last + 9]
    while first > 0 and len(before) and neighbours[first - 1] < _MIXED * np.median(before):
        first -= 1
    while last < len(neighbours) and len(after) and neighbours[last] < _MIXED * np.median(after):
        last += 1
    return first + 1, last - 1


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
