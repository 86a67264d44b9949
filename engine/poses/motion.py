"""Does the camera travel, turn, or stand still?"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engine.poses.features import Matches, Pixels
from engine.poses.parallax import rotation_share, tolerance
from engine.poses.speech import say
from engine.poses.turning import Turning, solve_turning

_TURNING_ONLY, _MOSTLY_TURNING = 0.85, 0.6
"""Share of matches between far frames that a camera which only turns explains: more than the one is a turn, and of more
than the other (what moves by itself makes up the rest, or a few near things) only what a mapper solves soundly counts
as travelling. Hand-held clips that travel have 0.00 to 0.32, a pan after a tennis player 0.70."""
_MIN_MOTION = 0.02
"""Of the long side: matches that move less say nothing about parallax."""
_STATIC = 0.0008
"""Of the long side: what noise and compression alone make of a tripod shot stays below."""
_MIN_MATCHES = 30
_MAX_PAIRS = 30
_ZOOM = 0.03
"""Change of the focal length over a clip from which it is a zoom."""


@dataclass(frozen=True)
class Motion:
    """How the camera moves.

    Attributes:
        kind: "travels", "turns" or "static".
        turning: cameras that only turn, where they explain most of the matches.
    """

    kind: str
    turning: Turning | None


def motion_of(matches: Matches, focal: float | None) -> Motion:
    """Tell by the verified matches how the camera moves.

    Args:
        matches: of a part of the clip without a break.
        focal: known, pixels of the pictures; None = unknown.
    """
    moved = {pair: matches.moved(pair) for pair, found in matches.pairs.items() if len(found) >= _MIN_MATCHES}
    if not moved:
        return Motion("travels", None)
    if max(moved.values()) < _STATIC * matches.long_side:
        return Motion("static", None)
    farthest: dict[int, tuple[float, tuple[int, int]]] = {}
    for pair, motion in moved.items():
        if motion > max(_MIN_MOTION * matches.long_side, farthest.get(pair[0], (0.0,))[0]):
            farthest[pair[0]] = motion, pair
    far = [pair for _, pair in farthest.values()]
    pairs = [tuple(p[::3] for p in matches.pixels_of(pair)) for pair in far[:: max(1, len(far) // _MAX_PAIRS)]]
    if max(moved.values()) < _MIN_MOTION * matches.long_side:
        return _judged(matches, focal)  # so small a motion, a turn explains as well as anything
    if len(pairs) < 3:
        return Motion("travels", None)
    share = max(
        rotation_share([(a, b) for a, b in pairs], matches.width, matches.height, matches.centre),
        float(np.median([_flat_share(a, b, matches.long_side) for a, b in pairs])),
    )
    return _judged(matches, focal) if share >= _MOSTLY_TURNING else Motion("travels", None)


def _judged(matches: Matches, focal: float | None) -> Motion:
    turning = solve_turning(matches, zooms=False, focal=focal)
    if turning is not None and focal is None:
        zoom = solve_turning(matches, zooms=True)
        if zoom is not None and zoom.share > turning.share + 0.02 and np.ptp(np.log(zoom.focal)) > _ZOOM:
            turning = zoom
    if turning is None:
        return Motion("travels", None)
    say("metric", ["rotation_only_share", turning.share])
    if turning.share >= _TURNING_ONLY:
        return Motion("turns", turning)
    return Motion("travels", turning if turning.share >= _MOSTLY_TURNING else None)


def _flat_share(a: Pixels, b: Pixels, long_side: float) -> float:
    """Share of matches that one homography explains: a zoom from a tripod does as a turn, and no parallax does."""
    homography, _ = cv2.findHomography(a, b, cv2.RANSAC, tolerance(long_side), maxIters=300)
    if homography is None:
        return 0.0
    there = np.column_stack([a, np.ones(len(a))]) @ homography.T
    there = there[:, :2] / there[:, 2:]
    return float((np.linalg.norm(there - b, axis=1) < tolerance(long_side)).mean())
