"""What stands still on the picture while the shot moves, such as a logo or a timecode: no track belongs there.

Between neighbouring frames such a feature moves as little as any other and passes every two-view check. Between frames
that are far apart it is the one that has not moved.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from engine.files import write_text
from engine.poses.features import Matches

STILL = 0.0004
"""Of the long side: what moved by less has not moved. Features of real overlays move by .0003 at the most (the 95th
percentile), far things ahead of a car by .001 (the median), over pairs that tell."""
REACH = 0.0016
"""Of the long side: how wide such a place is."""
AROUND = 0.06
"""Of the long side: how far from such a place a feature belongs to the same overlay,"""
HARDLY = 0.3
"""where it moves by less than that much of what the others in the pair move by."""
MOVED = 0.02
"""Of the long side: pairs whose matches moved by more, in the median, tell what stands still."""
SHARE = 0.2
"""Of the frames in which a place must be seen to stand still."""
FEWEST = 4
"""Likewise, frames."""
MOST = 0.25
"""Of the matches of those pairs: where more stand still, it is the camera that does, and something large moves."""

Cell = tuple[int, int]
Pair = tuple[int, int]


def drop_overlay(database: Path, long_side: int, name: str) -> float:
    """Take the matches of what stands still on the picture out of a database.

    Args:
        database: with features and matches; changed.
        long_side: of its pictures, pixels.
        name: of the matching; a file of that name beside the database says that this is done.

    Returns:
        The share of all verified matches that were taken out.
    """
    done = database.with_name(f"overlay_{name}.done")
    if not done.exists():
        write_text(done, repr(_dropped(database, long_side)))
    return float(done.read_text(encoding="utf-8"))


def _dropped(database: Path, side: int) -> float:
    found = Matches.load(database)
    with pycolmap.Database.open(database) as data:
        places = _still_places(data, found, side)
        return _drop(data, found, places, side) if places else 0.0


def _still_places(data: pycolmap.Database, found: Matches, side: int) -> set[Cell]:
    """Cells of the picture, `REACH` wide, in which something has stood still over much motion."""
    seen: dict[Cell, set[int]] = {}
    standing = total = 0
    for pair in found.pairs:
        if found.moved(pair) < MOVED * side:
            continue
        matches = data.read_matches(*pair)  # not the verified ones alone: over much motion the check works
        stays = _lengths(found, pair, matches) < STILL * side
        standing, total = standing + int(stays.sum()), total + len(stays)
        for x, y in np.floor(found.pixels[pair[0]][matches[stays, 0]] / (REACH * side)):
            seen.setdefault((int(x), int(y)), set()).update(pair)
    if standing > MOST * total:
        return set()
    enough = max(FEWEST, SHARE * len(found.images))
    return {cell for cell, images in seen.items() if len(images) >= enough}


def _drop(data: pycolmap.Database, found: Matches, places: set[Cell], side: int) -> float:
    known = cKDTree((np.array(sorted(places)) + 0.5) * REACH * side)
    near = {image: known.query(features)[0] < AROUND * side for image, features in found.pixels.items()}

    def still(pair: Pair, matches: NDArray[np.int64]) -> NDArray[np.bool_]:
        by, moved = _lengths(found, pair, matches), HARDLY * found.moved(pair)
        return np.asarray((near[pair[0]][matches[:, 0]] & (by < moved)) | (by < min(STILL * side, moved)))

    dropped = total = 0
    for pair, verified in found.pairs.items():
        there = still(pair, verified)
        dropped, total = dropped + int(there.sum()), total + len(there)
        if there.any():
            geometry = data.read_two_view_geometry(*pair)
            geometry.inlier_matches = verified[~there]
            data.update_two_view_geometry(*pair, geometry)
        matches = data.read_matches(*pair)  # global mapping checks them anew
        there = still(pair, matches)
        if there.any():
            data.delete_matches(*pair)
            data.write_matches(*pair, matches[~there])
    return dropped / max(total, 1)


def _lengths(found: Matches, pair: Pair, matches: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how many pixels each of the matches has moved."""
    one, other = pair
    apart = found.pixels[other][matches[:, 1]] - found.pixels[one][matches[:, 0]]
    return np.asarray(np.linalg.norm(apart, axis=1))
