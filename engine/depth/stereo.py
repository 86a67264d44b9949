"""The second eye of a stereo clip: how far it is from the first, in the units of the solve."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clip.work import WorkClip
from engine.errors import DepthError
from engine.geometry.arrays import array_from_pixel

FRAMES = 24  # enough for thousands of points
MIN_POINTS = 30
RETURN_PX = 0.5  # a match that does not come back to where it started is not one
VERTICAL_PX = 1.0  # on the work grid; the losses run at half of it
SHIFT_PX, SHIFT_SHARE = 1.0, 0.1
SAME_PX = 0.5
LINES, LINE_PX, LINE_SHARE = 300, 1.0, 0.05

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StereoRig:
    """A rectified pair: one lens, the right eye moved along the left eye's x axis.

    Attributes:
        baseline: distance of the eyes in the units of the clip it was measured in.
        spread_pct: robust standard deviation of the points' single estimates, percent of `baseline`.
        vertical_px: median vertical disparity, pixels of the work grid; 0 for a perfectly rectified pair.
        points: how many points it was measured at.
    """

    baseline: float
    spread_pct: float
    vertical_px: float
    points: int

    def right_from_left(self) -> FloatArray:
        """Camera to camera, (4, 4)."""
        matrix = np.eye(4)
        matrix[0, 3] = -self.baseline
        return matrix

    def metres_per_unit(self, metres: float) -> float:
        """What the clip's world is to be multiplied by to be in metres, when the eyes are `metres` apart."""
        return metres / self.baseline


def estimate_rig(clip: WorkClip, right_images: NDArray[np.uint8]) -> StereoRig:
    """Measure the baseline: the median of `disparity z / fx` at the sparse points of frames all over the clip.

    Args:
        clip: left eye, with the depth of its sparse points.
        right_images: (N, H, W, 3) uint8 RGB of the right eye, on the same work grid (`work_images`).

    Raises:
        DepthError: `depth.stereo_points`, `.stereo_not_rectified`, `.stereo_shifted`, `.stereo_swapped` or
            `.stereo_same`.
    """
    rows = np.unique(np.linspace(0, len(clip.numbers) - 1, FRAMES).astype(int))
    depth, disparity, vertical = _measure(clip, right_images, rows)
    vertical_px = float(np.median(np.abs(vertical)))
    if vertical_px > VERTICAL_PX:
        raise DepthError(
            "depth.stereo_not_rectified",
            f"The two eyes are not a rectified pair: points differ by {vertical_px:.1f} px in height.",
            "In a rectified pair every point has the same height in both pictures. One eye is turned against the "
            "other, or they are not of the same clip.",
            "Rectify the pair first, or solve the left eye alone.",
        )
    agreeing = _on_one_line(1.0 / depth, disparity)
    depth, disparity = depth[agreeing], disparity[agreeing]
    shift, uncertainty = _shift(1.0 / depth, disparity)
    middle = float(np.median(disparity))
    if abs(shift) > max(SHIFT_PX, SHIFT_SHARE * abs(middle), 5.0 * uncertainty):
        share = 100.0 * shift / clip.lens.width
        raise DepthError(
            "depth.stereo_shifted",
            f"One eye's pictures are shifted sideways by {abs(share):.1f} % of their width.",
            "The far distance does not lie at the same place in both pictures: converging cameras, or pictures moved "
            "to set the depth of a 3-D screening.",
            f"Shift the right eye's pictures {'right' if shift > 0 else 'left'} by that much, or solve the left eye "
            "alone.",
        )
    if abs(middle) < SAME_PX:
        raise DepthError(
            "depth.stereo_same",
            "The two eyes see the same picture.",
            f"Points differ by {abs(middle):.2f} px only: the eyes are too close together for this distance.",
            "Solve the left eye alone.",
        )
    if middle < 0:
        raise DepthError(
            "depth.stereo_swapped",
            "The two eyes are swapped.",
            "Near things lie further to the right in the right eye's pictures, as if it stood on the left.",
            "Swap the two files, or the halves of the picture.",
        )
    estimates = disparity * depth / clip.lens.fx
    baseline = float(np.median(estimates))
    spread = 1.4826 * float(np.median(np.abs(estimates - baseline)))
    return StereoRig(baseline, 100.0 * spread / baseline, vertical_px, len(depth))


def _measure(
    clip: WorkClip, right_images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Planar depth, disparity (left minus right) and vertical disparity in px of all points matched in `rows`."""
    found: list[FloatArray] = [np.empty((0, 3))]
    for row in rows:
        pixels, depth = clip.sparse[row]
        if not len(pixels):
            continue
        left, right = (cv2.cvtColor(images[row], cv2.COLOR_RGB2GRAY) for images in (clip.images, right_images))
        shift, good = _match(left, right, pixels)
        found.append(np.column_stack([depth, -shift[:, 0], shift[:, 1]])[good])
    matched = np.concatenate(found)
    if len(matched) < MIN_POINTS:
        raise DepthError(
            "depth.stereo_points",
            f"Only {len(matched)} points of the left eye were found in the right eye's pictures.",
            f"At least {MIN_POINTS} are needed to measure how far the eyes are apart. The right eye shows something "
            "else, or the pictures have too little texture.",
            "Check that both eyes are of the same clip and the same frames, or solve the left eye alone.",
        )
    return matched[:, 0], matched[:, 1], matched[:, 2]


def _match(
    left: NDArray[np.uint8], right: NDArray[np.uint8], pixels: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Where `pixels` (M, 2) of `left` went in `right`: shift (M, 2), and whether it can be believed (M,).

    Pyramidal Lucas-Kanade, there and back.
    """
    start = array_from_pixel(pixels).astype(np.float32)[:, None]
    there, found, _ = cv2.calcOpticalFlowPyrLK(left, right, start, None, winSize=(21, 21), maxLevel=5)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(right, left, there, None, winSize=(21, 21), maxLevel=5)
    miss = np.linalg.norm(back - start, axis=-1)[:, 0]
    inside = ((there[:, 0] >= 0) & (there[:, 0] <= np.array(right.shape[::-1]) - 1)).all(axis=1)
    good = (found.ravel() == 1) & (returned.ravel() == 1) & (miss < RETURN_PX) & inside
    return np.asarray((there - start)[:, 0], np.float64), good


def _on_one_line(inverse_depth: FloatArray, disparity: FloatArray) -> NDArray[np.bool_]:
    """Points (M,) on the line of disparity over inverse depth that most agree on (RANSAC).

    Wrong depths are wrong along both axes of the line, so that robust regression alone would tilt it.
    """
    tolerance = max(LINE_PX, LINE_SHARE * abs(float(np.median(disparity))))
    first, second = np.random.default_rng(0).integers(0, len(disparity), (2, LINES))
    step = inverse_depth[second] - inverse_depth[first]
    usable = step != 0
    slope = (disparity[second] - disparity[first])[usable] / step[usable]
    best = np.ones(len(disparity), bool)
    most = 0
    for k, a in zip(first[usable], slope, strict=True):
        near = np.abs(disparity - disparity[k] - a * (inverse_depth - inverse_depth[k])) < tolerance
        if near.sum() > most:
            best, most = near, int(near.sum())
    return best


def _shift(inverse_depth: FloatArray, disparity: FloatArray) -> tuple[float, float]:
    """Disparity at infinity in px by least squares, and its standard error: large where depth hardly varies."""
    design = np.column_stack([inverse_depth, np.ones_like(inverse_depth)])
    (slope, shift), *_ = np.linalg.lstsq(design, disparity, rcond=None)
    variance = float(np.mean((disparity - slope * inverse_depth - shift) ** 2))
    return float(shift), float(np.sqrt(variance * np.linalg.pinv(design.T @ design)[1, 1]))
