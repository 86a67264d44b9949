"""Does the camera travel, or does it only turn?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FOCALS = np.geomspace(0.4, 4.0, 16)
_RADIALS = np.array([-0.2, -0.1, 0.0, 0.1])
_TOLERANCE, _MIN_TOLERANCE_PX = 0.0015, 1.0
"""Of the long side, and pixels at least: how far a match may be from where a mere rotation sends it."""


def rotation_share(
    pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    width: float,
    height: float,
    principal: NDArray[np.float64] | None = None,
) -> float:
    """Share of matches that a camera which only turns explains, with the lens that explains most.

    Args:
        pairs: matched pixels (n, 2) and (n, 2) of two frames each; the more the picture moves between them, the better.
        width: of the image the pixels belong to.
        height: likewise.
        principal: (2,) point of the lens; None = the middle.

    Returns:
        Median over the pairs: near 1 for a tripod pan, clearly lower where near things shift against far ones. Unlike
        the share that a free homography explains, a flat wall seen by a travelling camera does not count.
    """
    best, centre = 0.0, np.array([width / 2, height / 2]) if principal is None else principal
    long_side = max(width, height)
    for focal in _FOCALS * long_side:
        for radial in _RADIALS:
            shares = []
            for a, b in pairs:
                x, y = (rays_of(p - centre, focal, radial) for p in (a, b))
                distance = (
                    np.linalg.norm(y - x @ rotation_between(x, y, 2 * tolerance(long_side) / focal).T, axis=1) * focal
                )
                shares.append(float((distance < tolerance(long_side)).mean()))
            best = max(best, float(np.median(shares)))
    return best


def tolerance(long_side: float) -> float:
    """How far a match may be from where a mere rotation sends it, pixels."""
    return max(_TOLERANCE * long_side, _MIN_TOLERANCE_PX)


def rays_of(pixels: NDArray[np.float64], focal: float, radial: float) -> NDArray[np.float64]:
    """Unit viewing directions (n, 3) of pixels off the centre; `radial` is inverted to first order only."""
    xy = pixels / focal
    xy = xy / (1.0 + radial * (xy**2).sum(axis=1, keepdims=True))
    rays = np.column_stack([xy, np.ones(len(xy))])
    unit: NDArray[np.float64] = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return unit


def rotation_between(x: NDArray[np.float64], y: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Rotation with y = R x (Kabsch), reweighted a few times so that outliers and things that move count little."""
    weights = np.ones(len(x))
    rotation = np.eye(3)
    for _ in range(5):
        u, _s, vt = np.linalg.svd((y * weights[:, None]).T @ x)
        rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        distance = np.linalg.norm(y - x @ rotation.T, axis=1)
        weights = 1.0 / (1.0 + (distance / tolerance) ** 2)
    return rotation
