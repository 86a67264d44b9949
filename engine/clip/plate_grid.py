"""Edge-aware upsampling: depth of the small, undistorted work grid on the pixel grid of the plate.

Away from depth edges disparity is interpolated, since it is linear on planes. At depth edges an interpolated value
would lie between object and background, where nothing is, so a pixel there takes one of the values around it: their
median weighted by likeness of colour (the weighted median of Ma et al. 2013), which puts the edge of the depth on the
edge of the plate.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clip.depth_map import inverse_of
from engine.clip.pinhole import ToPinhole
from engine.geometry.arrays import Lens, distort_map

Array = NDArray[np.float32]

EDGE_RATIO = 1.04  # neighbouring depths further apart than this make an edge
RADIUS = 2  # candidates come from (2 r + 1)^2 work pixels around
COLOUR_SIGMA = 0.05  # display-referred RGB distance that still counts as alike
SPACE_SIGMA = 1.2  # work pixels
CHUNK = 1 << 17  # plate pixels refined at a time, bounds the memory


class PlateGrid:
    """How the pixels of a plate and of its work grid lie on each other: the same for all frames of a clip.

    Args:
        plate: the lens of the plate, distortion included.
        work: the pinhole of the work grid, `plate.scaled(w, h).undistorted()`.
    """

    def __init__(self, plate: Lens, work: Lens) -> None:
        self.work = work
        self.map_x, self.map_y = distort_map(plate, work)
        self.is_identity = plate.undistorted() == work and not plate.distortion().any()
        self._to_pinhole = ToPinhole(plate.scaled(work.width, work.height))

    def shrink(self, image: Array) -> Array:
        """The plate image (H, W, 3) on the work grid (h, w, 3)."""
        small = cv2.resize(image, (self.work.width, self.work.height), interpolation=cv2.INTER_AREA)
        return np.asarray(self._to_pinhole(small), np.float32)

    def enlarge(self, values: Array) -> Array:
        """Values of the work grid (h, w) on the plate (H, W), bilinear."""
        return _remap(values, self.map_x, self.map_y)


def _remap(image: Array, x: Array, y: Array) -> Array:
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def upsample_depth(depth: Array, image: Array, grid: PlateGrid) -> Array:
    """Planar depth (h, w) of the work grid, on the plate (H, W); 0 = no value.

    Args:
        depth: (h, w) planar depth, 0 = no value.
        image: (H, W, 3) plate, display-referred RGB in [0, 1].
        grid: how plate and work grid lie on each other.
    """
    if depth.shape != (grid.work.height, grid.work.width):
        raise ValueError(f"depth {depth.shape} does not fit the work grid {(grid.work.height, grid.work.width)}")
    if grid.is_identity:
        return depth
    disparity = inverse_of(depth)
    result = grid.enlarge(disparity)
    edge = grid.enlarge(_edges(depth).astype(np.float32)) > 0
    rows, columns = np.nonzero(edge)
    guide = grid.shrink(image)
    for begin in range(0, len(rows), CHUNK):
        part = rows[begin : begin + CHUNK], columns[begin : begin + CHUNK]
        result[part] = _weighted_median(disparity, guide, image[part], grid.map_x[part], grid.map_y[part])
    return np.where(result > 1e-9, 1.0 / np.maximum(result, 1e-9), 0.0).astype(np.float32)


def _edges(depth: Array) -> NDArray[np.bool_]:
    kernel = np.ones((3, 3), np.uint8)
    far, near = cv2.dilate(depth, kernel), cv2.erode(depth, kernel)
    return np.asarray(cv2.dilate((far > EDGE_RATIO * near).astype(np.uint8), kernel) > 0)


def _weighted_median(disparity: Array, guide: Array, colour: Array, x: Array, y: Array) -> Array:
    height, width = disparity.shape
    column, row = np.rint(x).astype(np.int32), np.rint(y).astype(np.int32)
    values, weights = [], []
    for dy in range(-RADIUS, RADIUS + 1):
        for dx in range(-RADIUS, RADIUS + 1):
            r, c = np.clip(row + dy, 0, height - 1), np.clip(column + dx, 0, width - 1)
            likeness = ((guide[r, c] - colour) ** 2).sum(-1) / (2.0 * COLOUR_SIGMA**2)
            nearness = ((c - x) ** 2 + (r - y) ** 2) / (2.0 * SPACE_SIGMA**2)
            values.append(disparity[r, c])
            # The floor keeps a pixel whose colour is like none around it from having no weight at all.
            weights.append(np.exp(-nearness) * (np.exp(-likeness) + 1e-3))
    value, weight = np.stack(values, axis=1), np.stack(weights, axis=1)
    order = np.argsort(value, axis=1)
    total = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    middle = (total < 0.5 * total[:, -1:]).sum(axis=1)[:, None]
    return np.asarray(np.take_along_axis(value, np.take_along_axis(order, middle, axis=1), axis=1)[:, 0], np.float32)
