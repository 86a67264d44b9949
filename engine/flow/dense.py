"""Dense optical flow between two frames, and which of its vectors can be believed.

Flow fields are (H, W, 2) float32 in pixels: the point at pixel x of the first image is at x + flow(x) in the second.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.geometry.arrays import array_from_pixel, pixel_centres
from engine.geometry.shapes import check_shapes

ROUND_TRIP_PX = 1.0  # CVD section 4
EPIPOLAR_PX = 2.0
GREY_STEP = 40.0  # of 255, after removing the pair's overall change of exposure; far beyond noise and shading
MIN_INLIERS = 20

Flow = NDArray[np.float32]
Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def find_homography(first: Grey, second: Grey) -> NDArray[np.float64]:
    """Homography (3, 3) of the main motion, pixels of `first` to pixels of `second`; identity when there is none."""
    detector = cv2.ORB.create(1500)
    points_a, words_a = detector.detectAndCompute(first, None)
    points_b, words_b = detector.detectAndCompute(second, None)
    if words_a is None or words_b is None:
        return np.eye(3)
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(words_a, words_b)
    if len(matches) < MIN_INLIERS:
        return np.eye(3)
    a = np.array([points_a[m.queryIdx].pt for m in matches]) + 0.5
    b = np.array([points_b[m.trainIdx].pt for m in matches]) + 0.5
    cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's global generator
    homography, inliers = cv2.findHomography(a, b, cv2.RANSAC, 3.0)
    if homography is None or inliers.sum() < MIN_INLIERS or not _plausible(homography, first.shape):
        return np.eye(3)
    return np.asarray(homography, np.float64)


def _plausible(homography: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """The image's corners stay in front and in order, and its area changes by less than a factor of four."""
    height, width = shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64) @ homography.T
    if (corners[:, 2] <= 0).any():
        return False
    quad = (corners[:, :2] / corners[:, 2:]).astype(np.float32)
    area = cv2.contourArea(quad, oriented=True) / (width * height)
    return bool(cv2.isContourConvex(quad) and 0.25 < area < 4.0)


def transfer(homography: NDArray[np.float64], pixels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Pixels (..., 2) through a homography."""
    mapped = pixels @ homography[:, :2].T + homography[:, 2]
    return np.asarray(mapped[..., :2] / mapped[..., 2:])


def estimate_flow(first: Grey, second: Grey, homography: NDArray[np.float64]) -> Flow:
    """Flow from `first` to `second` (H, W) by dense inverse search (Kroeger et al., 2016), aligned by `homography`.

    The second image is brought onto the first by the homography; the flow found between the two is then carried through
    the homography, so the result is exact where the homography is.
    """
    check_shapes("first H W, second H W, homography 3 3", first, second, homography)
    grid = pixel_centres(*first.shape)
    there = array_from_pixel(transfer(homography, grid)).astype(np.float32)
    aligned = cv2.remap(second, there, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    rest = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, aligned, None)
    return np.asarray(transfer(homography, grid + rest) - grid, np.float32)


def sample_at(image: NDArray[np.float32], pixels: NDArray[np.floating]) -> NDArray[np.float32]:
    """Bilinear values of (H, W, ...) at pixel coordinates (h, w, 2); the border value outside."""
    where = array_from_pixel(pixels).astype(np.float32)
    return np.asarray(cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def returns(flow: Flow, back: Flow) -> Mask:
    """Pixels whose flow stays inside the image and comes back to within one pixel."""
    check_shapes("flow H W 2, back H W 2", flow, back)
    height, width = flow.shape[:2]
    target = pixel_centres(height, width) + flow
    inside = ((target > 0) & (target < (width, height))).all(axis=-1)
    round_trip = flow + sample_at(back, target)
    return np.asarray(inside & ((round_trip * round_trip).sum(axis=-1) < ROUND_TRIP_PX**2))


def looks_alike(first: Grey, second: Grey, flow: Flow, mask: Mask) -> Mask:
    """Pixels of like brightness at both ends of the flow, apart from the change that most of `mask` shares."""
    if not mask.any():
        return mask
    target = pixel_centres(*first.shape) + flow
    change = sample_at(second.astype(np.float32), target) - first
    return np.asarray(np.abs(change - np.median(change[mask])) < GREY_STEP)


def explained_by_cameras(
    flow: Flow, lens_matrix: NDArray[np.float64], second_from_first: NDArray[np.float64], nearest: float
) -> Mask:
    """Pixels whose flow some depth beyond `nearest` explains under the known cameras, to within `EPIPOLAR_PX`.

    The distance is taken to the segment between the images of the point at `nearest` and at infinity, not to the whole
    epipolar line, so that an object which moves along the line is found as well.
    """
    height, width = flow.shape[:2]
    grid = pixel_centres(height, width)
    rays = np.concatenate([grid, np.ones((height, width, 1))], axis=-1) @ np.linalg.inv(lens_matrix).T
    far = rays @ (lens_matrix @ second_from_first[:3, :3]).T
    shift = (lens_matrix @ second_from_first[:3, 3]) / nearest
    # A ray that ends behind the second camera is cut short of it: its image runs out of the picture there.
    reach = np.where(far[..., 2] + shift[2] > 0.1 * far[..., 2], 1.0, -0.9 * far[..., 2] / min(shift[2], -1e-12))
    near = far + reach[..., None] * shift
    with np.errstate(divide="ignore", invalid="ignore"):
        start, end = far[..., :2] / far[..., 2:], near[..., :2] / near[..., 2:]
        along = end - start
        offset = grid + flow - start
        length2 = np.maximum((along * along).sum(axis=-1), 1e-12)
        where = np.clip((offset * along).sum(axis=-1) / length2, 0.0, 1.0)
        distance = np.linalg.norm(offset - where[..., None] * along, axis=-1)
    return np.asarray((distance < EPIPOLAR_PX) & (far[..., 2] > 0))
