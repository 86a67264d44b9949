"""From the distorted plate to the pinhole that dense stages see through: pictures, masks and maps, by one route."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.geometry.arrays import Lens, undistort_map

Value = TypeVar("Value", bound=np.generic)


class ToPinhole:
    """Takes the distortion out of images of one size.

    Args:
        lens: of the plate, distortion included, scaled to the images.

    Attributes:
        lens: the pinhole that the results are seen through, of the same size.
    """

    def __init__(self, lens: Lens) -> None:
        self.lens = lens.undistorted()
        self._from = undistort_map(lens) if lens.distortion().any() else None

    def __call__(
        self, image: NDArray[Value], interpolation: int = cv2.INTER_LINEAR, border: int = cv2.BORDER_REPLICATE
    ) -> NDArray[Value]:
        """The image (H, W) or (H, W, C) undistorted: as it is, where the lens does not distort.

        Args:
            image: of the plate.
            interpolation: OpenCV's: cubic for pictures, linear for masks and maps.
            border: OpenCV's: what lies outside of the plate.

        Raises:
            ValueError: an image of another size.
        """
        if image.shape[:2] != (self.lens.height, self.lens.width):
            raise ValueError(f"{self.lens.height, self.lens.width} is wanted, got {image.shape[:2]}")
        if self._from is None:
            return image
        return np.asarray(cv2.remap(image, *self._from, interpolation, borderMode=border), image.dtype)
