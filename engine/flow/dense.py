"""Dense optical flow between two frames, with the pixels in which it can be believed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.geometry import array_from_pixel, pixel_centres

Grey = NDArray[np.uint8]
Flow = NDArray[np.float32]
Mask = NDArray[np.bool_]

MAX_ROUND_TRIP_PX = 1.0  # forward-backward check (CVD sec. 4)
MAX_COLOUR_CHANGE = 0.25  # of the range, after the exposures have been matched; catches what returns by chance
MIN_INLIERS = 20


class FlowEngine:
    """OpenCV's dense inverse search flow (Kroeger et al. 2016) after a homography pre-alignment."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._features = cv2.ORB.create(1500)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)

    def flow(self, source: Grey, target: Grey, homography: NDArray[np.float64]) -> Flow:
        """Flow (H, W, 2) from `source` to `target`, CVD eq. 7: pixel x of the source is at x + flow in the target.

        Args:
            source: (H, W).
            target: (H, W).
            homography: (3, 3) `target_from_source` in pixel coordinates; takes the main motion out beforehand.
        """
        height, width = source.shape
        aligned_pixels = _warp(homography, pixel_centres(height, width))
        at = array_from_pixel(aligned_pixels).astype(np.float32)
        aligned = cv2.remap(target, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        residual = self._flow.calc(source, np.asarray(aligned, np.uint8), None)
        # The residual says where in the aligned picture a pixel is; the homography says where that is in the target.
        moved = _warp(homography, pixel_centres(height, width) + residual)
        return np.asarray(moved - pixel_centres(height, width), np.float32)

    def homography(self, source: Grey, target: Grey) -> NDArray[np.float64]:
        """Homography (3, 3) `target_from_source` of the main motion, by RANSAC; the identity when there is none."""
        identity = np.eye(3)
        points_a, descriptors_a = self._features.detectAndCompute(source, None)
        points_b, descriptors_b = self._features.detectAndCompute(target, None)
        if descriptors_a is None or descriptors_b is None:
            return identity
        matches = self._matcher.match(descriptors_a, descriptors_b)
        if len(matches) < MIN_INLIERS:
            return identity
        a = np.array([points_a[m.queryIdx].pt for m in matches]) + 0.5
        b = np.array([points_b[m.trainIdx].pt for m in matches]) + 0.5
        cv2.setRNGSeed(0)
        found, inliers = cv2.findHomography(a, b, cv2.RANSAC, 3.0)
        if found is None or inliers.sum() < MIN_INLIERS or not _is_sane(found, source.shape):
            return identity
        return np.asarray(found, np.float64)


def _warp(homography: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    moved = pixels @ homography[:, :2].T + homography[:, 2]
    return np.asarray(moved[..., :2] / moved[..., 2:])


def _is_sane(homography: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    height, width = shape[:2]
    corners = np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    if ((corners @ homography[2, :2] + homography[2, 2]) < 0.1).any():
        return False
    area = cv2.contourArea(_warp(homography, corners).astype(np.float32))
    return bool(0.2 < area / (width * height) < 5.0)


def trusted(flow: Flow, back: Flow, source: NDArray[np.uint8], target: NDArray[np.uint8]) -> Mask:
    """Pixels (H, W) whose flow can be believed: inside, back within a pixel, and of like colour.

    Args:
        flow: (H, W, 2) from source to target.
        back: (H, W, 2) from target to source.
        source: (H, W, 3) RGB.
        target: (H, W, 3) RGB.
    """
    height, width = flow.shape[:2]
    there = pixel_centres(height, width) + flow
    inside = ((there > 0) & (there < (width, height))).all(axis=-1)
    at = array_from_pixel(there).astype(np.float32)
    returned = flow + cv2.remap(back, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    round_trip = (returned**2).sum(axis=-1) < MAX_ROUND_TRIP_PX**2
    seen = cv2.remap(target, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = (seen.astype(np.float32) - source) / 255.0
    good = inside & round_trip
    if good.any():
        difference -= np.median(difference[good], axis=0)  # the exposure may have changed
    return np.asarray(good & (np.abs(difference).max(axis=-1) < MAX_COLOUR_CHANGE))
