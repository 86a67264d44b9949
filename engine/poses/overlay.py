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
Rows = NDArray[np.bool_]


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


def _dropped(database: Path, long_side: int) -> float:
    with pycolmap.Database.open(database) as data:
        pixels = {i.image_id: data.read_keypoints(i.image_id)[:, :2] for i in data.read_all_images()}
        places = _still_places(data, pixels, long_side)
        return _drop(data, pixels, places, long_side) if places else 0.0


def _still_places(data: pycolmap.Database, pixels: dict[int, NDArray[np.float32]], side: int) -> set[Cell]:
    """Cells of the picture, `REACH` wide, in which something has stood still over much motion."""
    seen: dict[Cell, set[int]] = {}
    standing = total = 0
    ids, geometries = data.read_two_view_geometries()
    for pair_id, geometry in zip(ids, geometries, strict=True):
        one, other = pycolmap.pair_id_to_image_pair(pair_id)
        verified = geometry.inlier_matches
        if len(verified) == 0 or _moved(pixels, one, other, verified) < MOVED * side:
            continue
        matches = data.read_matches(one, other)  # not the verified ones alone: over much motion the check works
        a, b = pixels[one][matches[:, 0]], pixels[other][matches[:, 1]]
        stays = np.linalg.norm(b - a, axis=1) < STILL * side
        standing, total = standing + int(stays.sum()), total + len(stays)
        for cell in _cells(a[stays], REACH * side):
            seen.setdefault(cell, set()).update((one, other))
    if standing > MOST * total:
        return set()
    enough = max(FEWEST, SHARE * len(pixels))
    return {cell for cell, images in seen.items() if len(images) >= enough}


def _drop(data: pycolmap.Database, pixels: dict[int, NDArray[np.float32]], places: set[Cell], side: int) -> float:
    known = cKDTree((np.array(sorted(places)) + 0.5) * REACH * side)
    near = {image: known.query(features)[0] < AROUND * side for image, features in pixels.items()}
    dropped = total = 0
    ids, geometries = data.read_two_view_geometries()
    for pair_id, geometry in zip(ids, geometries, strict=True):
        one, other = pycolmap.pair_id_to_image_pair(pair_id)
        verified = geometry.inlier_matches
        if len(verified) == 0:
            continue
        moved = HARDLY * _moved(pixels, one, other, verified)

        def still(matches: NDArray[np.generic], one: int = one, other: int = other, moved: float = moved) -> Rows:
            by = np.linalg.norm(pixels[other][matches[:, 1]] - pixels[one][matches[:, 0]], axis=1)
            return np.asarray((near[one][matches[:, 0]] & (by < moved)) | (by < min(STILL * side, moved)))

        there = still(verified)
        dropped, total = dropped + int(there.sum()), total + len(there)
        if there.any():
            geometry.inlier_matches = verified[~there]
            data.update_two_view_geometry(one, other, geometry)
        matches = data.read_matches(one, other)  # global mapping checks them anew
        if still(matches).any():
            data.delete_matches(one, other)
            data.write_matches(one, other, matches[~still(matches)])
    return dropped / max(total, 1)


def _moved(pixels: dict[int, NDArray[np.float32]], one: int, other: int, matches: NDArray[np.generic]) -> float:
    return float(np.median(np.linalg.norm(pixels[other][matches[:, 1]] - pixels[one][matches[:, 0]], axis=1)))


def _cells(places: NDArray[np.float32], size: float) -> list[Cell]:
    return [(int(x), int(y)) for x, y in np.floor(places / size)]
