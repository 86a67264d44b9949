"""Depth edges where the pictures have them.

Matching with windows and a small network leave object outlines soft and a few pixels too wide. Near such an edge a
pixel belongs to the object or to what is behind it and to nothing in between; so both depths are tried, the nearest and
the farthest around, and the other frames decide which of the two explains the picture better. The decision is smoothed
along the edges of the picture by a guided filter, as in the cost-volume filtering of Rhemann et al. 2011.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.depth.clip import WorkClip
from engine.depth.views import choose_views
from engine.footage import frame_name
from engine.geometry import Lens, pixel_centres, rigid_inverse, undistort_map

Array = NDArray[np.float32]

LONG_SIDE = 960  # of the pictures that decide
REACH = (2.7, 2.1, 1.5)  # passes: how far an outline may be off, in cells of the network's grid
MIN_JUMP = 1.15  # far/near within the reach; below it is a slope
NEAR_ENOUGH = 0.3  # a depth this close to the chosen end (share of the jump, logarithmic) is kept as it is
VIEWS = 4
WINDOW = 1  # radius of the matching window, pixels
GUIDE_RADIUS = 3
GUIDE_EPSILON = 1e-3
WORST_MATCH = 0.25  # mean colour difference that says all there is to say; also for pixels another frame does not see
FAR_BIAS = 0.004  # colour difference; windows make objects too wide, so a draw goes to what is behind
FRAMES_KEPT = 24


class EdgeSharpener:
    """Sharpens the depth of one frame after another.

    Args:
        proxies: folder with `000101.png`, the whole (distorted) plate at any size.
        plate: lens of the plate.
        clip: gives cameras and the grid of the depth that will be sharpened.
    """

    def __init__(self, proxies: Path, plate: Lens, clip: WorkClip) -> None:
        self._proxies, self._clip = proxies, clip
        factor = min(1.0, LONG_SIDE / max(plate.width, plate.height))
        distorted = plate.scaled(round(plate.width * factor), round(plate.height * factor))
        self.lens = distorted.undistorted()
        self._undistort = undistort_map(distorted) if distorted.distortion().any() else None
        self._cell = 2.0 * self.lens.width / clip.lens.width
        pixels = pixel_centres(self.lens.height, self.lens.width)
        self._rays = np.concatenate(
            [
                (pixels - [self.lens.cx, self.lens.cy]) / [self.lens.fx, self.lens.fy],
                np.ones((*pixels.shape[:2], 1)),
            ],
            axis=-1,
        ).astype(np.float32)
        self._picture = lru_cache(FRAMES_KEPT)(self._read)

    def sharpen(self, frame: int, depth: Array) -> Array:
        """Depth (h, w) of a plate frame on the work grid, 0 = none, on the grid of `self.lens` with sharp edges."""
        known = depth > 0
        disparity = np.where(known, 1.0 / np.where(known, depth, 1.0), 0.0).astype(np.float32)
        size = (self.lens.width, self.lens.height)
        wide = cv2.resize(disparity, size, interpolation=cv2.INTER_LINEAR)
        if not known.all():
            return np.where(wide > 0, 1.0 / np.maximum(wide, 1e-9), 0.0).astype(np.float32)
        result = np.asarray(1.0 / wide, np.float32)
        row = self._clip.index(frame)
        picture = self._picture(frame)
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        views = [(self._picture(int(self._clip.numbers[v])), self._view_from(row, v)) for v in self._views(row)]
        for reach in REACH:
            radius = max(1, round(reach * self._cell))
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
            near, far = cv2.erode(result, kernel), cv2.dilate(result, kernel)
            jump = far > MIN_JUMP * near
            if not jump.any():
                break
            worse_near = self._mismatch(near, picture, views) - self._mismatch(far, picture, views)
            is_far = guided_filter(grey, worse_near, GUIDE_RADIUS, GUIDE_EPSILON) > -FAR_BIAS
            position = np.log(result / near) / np.maximum(np.log(far / near), 1e-6)
            kept = np.where(is_far, position > 1.0 - NEAR_ENOUGH, position < NEAR_ENOUGH)
            result = np.where(jump & ~kept, np.where(is_far, far, near), result)
        return result

    def _views(self, row: int) -> list[int]:
        return [int(view) for view in choose_views(self._clip, row, VIEWS)]

    def _view_from(self, row: int, view: int) -> NDArray[np.float32]:
        poses = self._clip.world_from_camera
        return np.asarray(rigid_inverse(poses[view]) @ poses[row], np.float32)

    def _read(self, frame: int) -> Array:
        """BGR (H, W, 3) in [0, 1], undistorted, on the grid of `self.lens`."""
        stored = cv2.imread(str(self._proxies / f"{frame_name(frame)}.png"), cv2.IMREAD_COLOR)
        if stored is None:
            raise OSError(f"the working copy of frame {frame} is missing from the cache")
        picture = cv2.resize(stored, (self.lens.width, self.lens.height), interpolation=cv2.INTER_AREA)
        if self._undistort is not None:
            picture = cv2.remap(picture, *self._undistort, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(picture, np.float32) / np.float32(255.0)

    def _mismatch(self, depth: Array, picture: Array, views: list[tuple[Array, NDArray[np.float32]]]) -> Array:
        """Colour difference (H, W) at `depth`, mean over the better half of the views: others may not see the pixel."""
        costs = []
        for other, other_from_here in views:
            points = self._rays * depth[..., None] @ other_from_here[:3, :3].T + other_from_here[:3, 3]
            z = np.maximum(points[..., 2], 1e-6)
            x = points[..., 0] / z * self.lens.fx + self.lens.cx - 0.5
            y = points[..., 1] / z * self.lens.fy + self.lens.cy - 0.5
            seen = cv2.remap(
                other, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(-1.0, -1.0, -1.0)
            )
            cost = np.minimum(np.abs(seen - picture).mean(axis=-1), WORST_MATCH)
            cost[seen[..., 0] < -0.01] = WORST_MATCH
            costs.append(box_mean(cost, WINDOW))
        best = np.sort(np.stack(costs), axis=0)[: max(1, len(costs) // 2)]
        return np.asarray(best.mean(axis=0), np.float32)


def box_mean(values: Array, radius: int) -> Array:
    """Mean over a (2 radius + 1)^2 window, border reflected."""
    side = 2 * radius + 1
    return np.asarray(cv2.boxFilter(values, -1, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def guided_filter(guide: Array, values: Array, radius: int, epsilon: float) -> Array:
    """`values` (H, W) smoothed everywhere but across the edges of `guide` (H, W) in [0, 1] (He et al. 2010)."""
    guide_mean, mean = box_mean(guide, radius), box_mean(values, radius)
    covariance = box_mean(guide * values, radius) - guide_mean * mean
    variance = box_mean(guide * guide, radius) - guide_mean * guide_mean
    slope = np.asarray(covariance / (variance + epsilon), np.float32)
    offset = mean - slope * guide_mean
    return box_mean(slope, radius) * guide + box_mean(offset, radius)
