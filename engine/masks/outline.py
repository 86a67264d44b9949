"""The outline of what moves: where the picture differs from the still scene behind, seen in frames that show it."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clip.work import WorkClip
from engine.flow.dense import Mask, sample_at
from engine.masks.still import Still

REACH = 0.4  # of an island's size: how far from it the thing may extend
MIN_REACH = 6  # work pixels
COVERED = 6  # work pixels around islands that are not trusted to show what is behind
MIN_DIFFERENCE = 12.0  # of 255, from the clean plate
DIFFERENCE_NOISE = 3.0  # times what is usual around the island: parallax and exposure leave their own differences
INSIDE, OUTSIDE = 0.6, 1.2  # times the larger of the two, in islands and around them
MIN_SEEN = 3  # frames that must show what is behind, since one alone may be wrong unnoticed
DISAGREEMENT = 2.0  # times the spread of what frames show behind: at depth edges they do not fit together
BLUR = 0.7  # work pixels
CLOSE, OPEN = 3, 3  # work pixels
SPECK = 30  # work pixels: smaller islands are dropped, smaller holes filled
SEEDED_HOLE = 0.7  # larger holes are filled where the flow says of so much of them that it moves

Array = NDArray[np.float32]


def _covered(island: Mask) -> NDArray[np.uint8]:
    """Work pixels (H, W) at and around islands."""
    full = _doubled(island)
    side = 2 * COVERED + 1
    return np.asarray(cv2.dilate(full, np.ones((side, side), np.uint8)))


def _doubled(mask: Mask) -> NDArray[np.uint8]:
    return np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)


def outlined(row: int, clip: WorkClip, still: Still, islands: list[Mask]) -> Mask:
    """What moves in a frame: its islands, grown or cut to what differs from the scene behind (H, W), work grid.

    Args:
        row: of the clip; `still.views(row)` has been called.
        clip: the frames.
        still: where the pixels of a frame would be in others if they stood still.
        islands: (h, w) of every frame, half the work grid: what moves, roughly.
    """
    seeds = _doubled(islands[row])
    around = _around(seeds)
    top, bottom = np.flatnonzero(around.any(axis=1))[[0, -1]]
    left, right = np.flatnonzero(around.any(axis=0))[[0, -1]]
    box = slice(top, bottom + 1), slice(left, right + 1)
    covered = _covered(islands[row])
    seeded, clear = seeds[box] > 0, covered[box] == 0
    seen = []
    for other, position in still.positions(row, covered[::2, ::2] > 0):
        there = clip.images[other], _covered(islands[other])
        seen.append(_seen(clip.images[row][box], clear, *there, position[box]))
    if not seen:  # a clip of a few frames
        return np.asarray(seeds > 0)
    difference, known = _difference(clip.images[row][box], np.stack(seen), ~seeded)
    outside = known & clear
    usual = float(np.percentile(difference[outside], 75.0)) if outside.any() else 0.0
    limit = max(MIN_DIFFERENCE, DIFFERENCE_NOISE * usual)
    moves = np.where(known, difference > limit * np.where(seeded, INSIDE, OUTSIDE), seeded) & around[box]
    result = np.zeros(seeds.shape, bool)
    result[box] = _tidied(moves, seeded)
    return result


def _around(seeds: NDArray[np.uint8]) -> Mask:
    """Where the things that islands are part of may be (H, W)."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(seeds, connectivity=8)
    around = np.zeros(seeds.shape, bool)
    for label in range(1, count):
        reach = MIN_REACH + round(REACH * float(np.sqrt(stats[label, cv2.CC_STAT_AREA])))
        around |= cv2.dilate((labels == label).astype(np.uint8), _disc(2 * reach + 1)) > 0
    return around


def _seen(
    picture: NDArray[np.uint8], clear: Mask, other: NDArray[np.uint8], covered: NDArray[np.uint8], position: Array
) -> Array:
    """What another frame shows at `position` (h, w, 2), in the exposure of `picture` (h, w, 3); NaN = nothing still.

    Args:
        picture: a box of the frame.
        clear: (h, w) where nothing is suspected to move in it.
        other: (H, W, 3) the other frame.
        covered: (H, W) where something may move in it.
        position: (h, w, 2) pixels of the other frame.
    """
    outside = ((position < 0) | (position > other.shape[1::-1])).any(axis=-1)
    hidden = sample_at(covered.astype(np.float32), position) > 0.05
    colour = sample_at(other.astype(np.float32), position)
    usable = ~(outside | hidden)
    if (usable & clear).any():
        colour += np.median((picture - colour)[usable & clear], axis=0)
    colour[~usable] = np.nan
    return colour


def _difference(picture: NDArray[np.uint8], seen: Array, cautious: Mask) -> tuple[Array, Mask]:
    """(how far the picture differs from the scene behind (h, w), 0..255; where the scene behind is known).

    Args:
        picture: (h, w, 3).
        seen: (n, h, w, 3) the scene behind as n frames show it, NaN where they do not.
        cautious: (h, w) where the spread of these is taken off.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels that no frame shows
        plate = np.nanmedian(seen, axis=0)
        spread = np.nanmedian(np.abs(seen - plate), axis=0)
    known = np.isfinite(seen[..., 0]).sum(axis=0) >= MIN_SEEN
    plate, spread = np.where(known[..., None], plate, picture), np.where(known[..., None], spread, 0.0)
    kernel = np.ones((3, 3), np.uint8)
    mine, behind = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), BLUR) for image in (picture, plate))
    # The range of the plate around each pixel, since it fits to a pixel at best.
    beyond = np.maximum(mine - cv2.dilate(behind, kernel), cv2.erode(behind, kernel) - mine)
    beyond -= DISAGREEMENT * spread * cautious[..., None]
    return np.maximum(beyond, 0.0).max(axis=-1).astype(np.float32), known


def _tidied(moves: Mask, seeds: Mask) -> Mask:
    """Without thin lines, specks and what has no seed in it; gaps and holes closed."""
    mask = cv2.morphologyEx(moves.astype(np.uint8), cv2.MORPH_CLOSE, _disc(CLOSE))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(OPEN))
    holes = cv2.connectedComponents(1 - mask, connectivity=4)[1].reshape(-1)
    area = np.bincount(holes)
    closed = (area < SPECK) | (np.bincount(holes, seeds.reshape(-1)) > SEEDED_HOLE * area)
    mask |= closed[holes].reshape(mask.shape).astype(np.uint8)
    islands = cv2.connectedComponents(mask, connectivity=8)[1].reshape(-1)
    kept = (np.bincount(islands) >= SPECK) & (np.bincount(islands, seeds.reshape(-1)) > 0)
    return np.asarray((mask > 0) & kept[islands].reshape(mask.shape))


def _disc(side: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
