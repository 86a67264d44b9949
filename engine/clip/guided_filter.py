"""Smoothing that stops at the edges of the picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.geometry.shapes import check_shapes

Array = NDArray[np.float32]


def box_mean(values: Array, radius: int) -> Array:
    """Mean over a (2 radius + 1)^2 window, border reflected."""
    side = 2 * radius + 1
    return np.asarray(cv2.boxFilter(values, -1, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def guided_filter(guide: Array, values: Array, radius: int, epsilon: float) -> Array:
    """`values` (H, W) smoothed everywhere but across the edges of `guide` (H, W) in [0, 1] (He et al. 2010)."""
    check_shapes("guide H W, values H W", guide, values)
    guide_mean, mean = box_mean(guide, radius), box_mean(values, radius)
    covariance = box_mean(guide * values, radius) - guide_mean * mean
    variance = box_mean(guide * guide, radius) - guide_mean * guide_mean
    slope = np.asarray(covariance / (variance + epsilon), np.float32)
    offset = mean - slope * guide_mean
    return box_mean(slope, radius) * guide + box_mean(offset, radius)
