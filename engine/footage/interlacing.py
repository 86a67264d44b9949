"""Whether a picture is interlaced, from the picture: flags are often wrong, progressive film is flagged as well."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_MOVES_PX = 1.0
"""From one picture to the next: what moves less cannot be judged."""
_LEAST = 15  # corners that move
_APART = 0.15
"""Share of the motion to the next picture that lies between the two fields of one. Interlaced: a half. Progressive: 0
on every clip that was tried, at most .05 with heavy noise."""
_COMBED = 1.2
"""Difference between neighbouring lines over that between lines two apart. Progressive: .55 to .65, .9 with heavy
noise. Combed so strongly that nothing can be followed: 3."""

Grey = NDArray[np.uint8]


def are_combed(picture: Grey, following: Grey) -> bool | None:
    """Whether the two fields of a picture show two moments.

    Args:
        picture: (h, w) 8 bit, every line of it.
        following: the picture after it.

    Returns:
        None where too little moves to tell.
    """
    top, bottom, later = (np.ascontiguousarray(p) for p in (picture[0::2], picture[1::2], following[0::2]))
    if bottom.shape[0] < 32 or top.shape != later.shape:
        return None
    lines = picture.astype(np.int16)
    if np.abs(lines[1:-1] - lines[:-2]).mean() > _COMBED * np.abs(lines[2:] - lines[:-2]).mean() + 1.0:
        return True
    top, later = top[: len(bottom)], later[: len(bottom)]
    corners = cv2.goodFeaturesToTrack(top, 300, 0.02, 6)
    if corners is None:
        return None
    within, found = _followed(top, bottom, corners)
    within[:, 1] += 0.5  # the bottom field lies half a line of its own below the top one
    onwards, also_found = _followed(top, later, corners)
    moves = found & also_found & (np.linalg.norm(onwards, axis=1) > _MOVES_PX)
    if moves.sum() < _LEAST:
        return None
    share = (within[moves] * onwards[moves]).sum(axis=1) / (onwards[moves] ** 2).sum(axis=1)
    return bool(abs(np.median(share)) > _APART)


def _followed(a: Grey, b: Grey, corners: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Displacement (n, 2) of corners from `a` to `b`, and which are found there and back again."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(a, b, corners, None, winSize=(15, 15), maxLevel=3)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(b, a, there, None, winSize=(15, 15), maxLevel=3)
    same = np.linalg.norm(back - corners, axis=-1).ravel() < 0.5
    return (there - corners)[:, 0], (found.ravel() == 1) & (returned.ravel() == 1) & same
