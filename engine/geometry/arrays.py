"""Lens, pixels and rigid motions in numpy. Nothing here needs torch: the process that solves cameras does without."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Lens:
    """Intrinsics of a plate, in its pixels (COLMAP convention: `x_distorted = x (1 + k1 r2 + k2 r4)`)."""

    model: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0

    def scaled(self, width: int, height: int) -> Lens:
        """The same lens seen on an image resized to `width` x `height` (each axis by its own factor)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy
        )

    def zoomed(self, fx: float) -> Lens:
        """The same lens at another focal length, given along x in pixels."""
        zoom = fx / self.fx
        return replace(self, fx=self.fx * zoom, fy=self.fy * zoom)

    def undistorted(self) -> Lens:
        """The pinhole lens with the same focal length, principal point and size."""
        return replace(self, model="SIMPLE_PINHOLE", k1=0.0, k2=0.0, p1=0.0, p2=0.0)

    def matrix(self) -> NDArray[np.float64]:
        """Camera matrix K (3, 3): pixel = K @ (x/z, y/z, 1), without distortion."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def distortion(self) -> NDArray[np.float64]:
        """OpenCV's coefficient order (k1, k2, p1, p2)."""
        return np.array([self.k1, self.k2, self.p1, self.p2])


def pixel_centres(height: int, width: int) -> NDArray[np.float64]:
    """Pixel coordinates (H, W, 2) of all pixel centres: (0.5, 0.5) for the top-left one."""
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([u, v], axis=-1)


def array_from_pixel(pixels: FloatArray) -> FloatArray:
    """Pixel coordinates to the array coordinates of OpenCV and numpy, whose (0, 0) is the centre of the first pixel."""
    return pixels - 0.5


def undistort_map(lens: Lens) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps for `cv2.remap` that turn a plate of `lens` into the plate of `lens.undistorted()`.

    Returns:
        (map_x, map_y), each (H, W): array coordinates in the distorted plate for each undistorted pixel.
    """
    p = pixel_centres(lens.height, lens.width)
    x, y = (p[..., 0] - lens.cx) / lens.fx, (p[..., 1] - lens.cy) / lens.fy
    xd, yd = distort(lens, x, y)
    return (
        array_from_pixel(xd * lens.fx + lens.cx).astype(np.float32),
        array_from_pixel(yd * lens.fy + lens.cy).astype(np.float32),
    )


def distort_map(lens: Lens, source: Lens) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps for `cv2.remap` that bring an image of `source` (a pinhole of any size) onto the distorted plate of `lens`.

    Returns:
        (map_x, map_y), each (H, W) of `lens`: array coordinates in the image of `source`.
    """
    p = pixel_centres(lens.height, lens.width)
    x, y = np.moveaxis(normalised_from_pixel(lens, p), -1, 0)
    return (
        array_from_pixel(x * source.fx + source.cx).astype(np.float32),
        array_from_pixel(y * source.fy + source.cy).astype(np.float32),
    )


def distort(lens: Lens, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Normalised image coordinates, ideal to distorted (Brown's model with two radial and two tangential terms)."""
    r2 = x * x + y * y
    radial = 1.0 + r2 * (lens.k1 + r2 * lens.k2)
    return (
        x * radial + 2.0 * lens.p1 * x * y + lens.p2 * (r2 + 2.0 * x * x),
        y * radial + lens.p1 * (r2 + 2.0 * y * y) + 2.0 * lens.p2 * x * y,
    )


def undistort(lens: Lens, x: FloatArray, y: FloatArray, iterations: int = 20) -> tuple[FloatArray, FloatArray]:
    """Normalised image coordinates, distorted to ideal, by fixed-point iteration of `distort`."""
    ux, uy = x, y
    for _ in range(iterations):
        dx, dy = distort(lens, ux, uy)
        ux, uy = ux + (x - dx), uy + (y - dy)
    return ux, uy


def normalised_from_pixel(lens: Lens, pixels: FloatArray) -> FloatArray:
    """Ideal normalised image coordinates (..., 2) of pixels (..., 2) of `lens`: distortion taken out."""
    return np.stack(undistort(lens, (pixels[..., 0] - lens.cx) / lens.fx, (pixels[..., 1] - lens.cy) / lens.fy), -1)


def rigid_inverse(a_from_b: FloatArray) -> FloatArray:
    """Inverse of rigid transforms (..., 4, 4)."""
    rotation = np.swapaxes(a_from_b[..., :3, :3], -1, -2)
    inverse = np.zeros_like(a_from_b)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -(rotation @ a_from_b[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1.0
    return inverse
