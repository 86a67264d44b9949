"""Planes in plain regions: a wall, a floor or a table top without texture is flat where all around it says so.

Matching tells nothing of a plain surface but at its border. Where what was measured in a plain region and at its border
lies on one plane, the plane is what the rest of the region most likely is (piecewise planar stereo: Gallup et al., CVPR
2010; planar priors: Xu and Tao, AAAI 2020).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.geometry.shapes import check_shapes

PLAIN = 0.008  # of intensity a pixel: less is no edge
NOISE = 1.0  # pixels: standard deviation of the smoothing before
SMALLEST = 0.002  # of the picture: smaller regions are left alone
CELL = 8  # pixels: what was measured counts once a cell, since neighbours err alike
LEAST_PIXELS = 4  # of a cell
LEAST_CELLS = 6
TRIES = 200
ON_PLANE = 0.03  # relative: as far may what was measured lie off the plane
LEAST_SHARE = 0.6  # of what was measured that lies on the plane
LEAST_ERROR = 0.005  # relative: nothing is measured better
STEADY = 0.03  # relative error of the plane at which it counts half
HORIZON = 0.02  # of the disparity measured: a plane is not followed any farther away

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def plain_planes(image: NDArray[np.uint8], disparity: Array, confidence: Array) -> tuple[Array, Array]:
    """Disparity (H, W) of the planes through plain regions, and their weight (H, W) from 0 to 1; 0 = no plane.

    The weight is the share of what was measured that lies on the plane. It falls with the error of the plane, which
    grows with the distance to what was measured.

    Args:
        image: (H, W, 3) uint8.
        disparity: (H, W) in any unit.
        confidence: (H, W) of the disparity, 0 = not measured.
    """
    check_shapes("image H W 3, disparity H W, confidence H W", image, disparity, confidence)
    found, weight = np.zeros_like(disparity), np.zeros_like(disparity)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(
        cv2.erode(_plain(image).astype(np.uint8), np.ones((3, 3), np.uint8)), connectivity=4
    )
    random = np.random.default_rng(0)
    for label in range(1, count):
        left, top, width, height, area = boxes[label].tolist()
        if area < SMALLEST * disparity.size:
            continue
        part = slice(max(0, top - 2), top + height + 2), slice(max(0, left - 2), left + width + 2)
        region = _dilated(labels[part] == label)
        points, trust = _measured(_dilated(region), disparity[part], confidence[part])
        fit = _fit(points, trust, random)
        if fit is None:
            continue
        line, column = np.nonzero(region)
        value, error = fit.at(line, column)
        there = value > HORIZON * fit.disparity
        found[part][line, column] = np.where(there, value, 0.0)
        weight[part][line, column] = np.where(there, fit.share / (1.0 + (error / STEADY) ** 2), 0.0)
    return found, weight


class _Fit:
    """A plane: disparity is linear in line and column.

    Args:
        points: (N, 3) line, column and disparity of what lies on it.
        trust: (N,) weights.
        share: of what was measured that lies on it.
    """

    def __init__(self, points: Floats, trust: Floats, share: float) -> None:
        design = _design(points[:, 0], points[:, 1])
        weighted = design * trust[:, None]
        self._plane = np.linalg.lstsq(weighted, points[:, 2] * trust, rcond=None)[0]
        self.share, self.disparity = share, float(points[:, 2].mean())
        off = np.abs(points[:, 2] / np.maximum(design @ self._plane, 1e-9) - 1.0)
        self._error = max(float(off.mean()), LEAST_ERROR)
        self._covariance = np.linalg.pinv(weighted.T @ design)

    def at(self, line: NDArray[np.int64], column: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Disparity at pixels, and its relative standard error (that of a regression)."""
        design = _design(line, column)
        value = design @ self._plane
        leverage = np.sqrt(np.einsum("ni,ij,nj->n", design, self._covariance, design))
        return value, self._error * leverage * self.disparity / np.maximum(value, 1e-9)


def _fit(points: Floats, trust: Floats, random: np.random.Generator) -> _Fit | None:
    """The plane on which most of what was measured lies, if it is most of it.

    What is nearer than a plane may belong to what stands before it; what is farther away speaks against it.
    """
    if len(points) < LEAST_CELLS:
        return None
    design, disparity = _design(points[:, 0], points[:, 1]), points[:, 2]
    chosen = random.integers(len(points), size=(TRIES, 3))  # those with one of them twice span nothing
    corners = design[chosen]
    spread = np.abs(np.linalg.det(corners / np.abs(design).max(axis=0))) > 1e-5
    if not spread.any():
        return None
    planes = np.linalg.solve(corners[spread], disparity[chosen[spread]][..., None])[..., 0]
    off = disparity / np.maximum(planes @ design.T, 1e-9) - 1.0  # (tries, N)
    votes = ((np.abs(off) < ON_PLANE) - 1.0 * (off < -ON_PLANE)) @ trust
    on = np.abs(off[int(votes.argmax())]) < ON_PLANE
    share = float(trust[on].sum() / trust.sum())
    return _Fit(points[on], trust[on], share) if on.sum() >= LEAST_CELLS and share >= LEAST_SHARE else None


def _design(line: NDArray[np.number], column: NDArray[np.number]) -> Floats:
    return np.stack([line, column, np.ones(len(line))], axis=-1).astype(np.float64)


def _measured(region: Mask, disparity: Array, confidence: Array) -> tuple[Floats, Floats]:
    """Line, column and disparity (N, 3) of the median pixel of each cell of a region, and its mean confidence (N,)."""
    line, column = np.nonzero(region & (confidence > 0))
    _, cell = np.unique(line // CELL * disparity.shape[1] + column // CELL, return_inverse=True)
    value = disparity[line, column]
    order = np.lexsort((value, cell))
    count = np.bincount(cell)
    trust = np.bincount(cell, confidence[line, column]) / np.maximum(count, 1)
    median = order[np.cumsum(count) - count + count // 2]
    enough = count >= LEAST_PIXELS
    median = median[enough]
    return np.stack([line[median], column[median], value[median]], axis=-1).astype(np.float64), trust[enough]


def _plain(image: NDArray[np.uint8]) -> Mask:
    """(H, W): where no colour changes."""
    plain = np.ones(image.shape[:2], bool)
    for channel in cv2.split(image.astype(np.float32) / np.float32(255.0)):
        smooth = cv2.GaussianBlur(channel, (0, 0), NOISE)
        across, down = (cv2.Sobel(smooth, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
        plain &= cv2.magnitude(across, down) < PLAIN
    return plain


def _dilated(mask: Mask) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
