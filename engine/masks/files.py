"""Masks as the stages `masks` and `motion` leave them, read again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clip.pinhole import ToPinhole
from engine.flow.dense import Mask
from engine.footage import FrameFiles
from engine.geometry.arrays import Lens


def load_dynamic(folder: Path, number: int, shape: tuple[int, int]) -> Mask:
    """What moves in a frame, (H, W) of the work grid; all False where nothing does."""
    path = FrameFiles(folder / "dynamic", ".png").path(number)
    return read_mask(path) > 127 if path.exists() else np.zeros(shape, bool)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """An 8-bit grey picture (H, W) that the engine wrote.

    Raises:
        OSError: it is damaged.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise OSError(f"{path} is damaged: delete the cache folder of this solve and solve again")
    return np.asarray(picture)


def load_given(given: Path, number: int, lens: Lens) -> Mask:
    """A mask of the masks stage on the undistorted grid (H, W); all False where the frame has none.

    Args:
        given: folder of the masks stage.
        number: plate frame number.
        lens: of the plate, distortion included, scaled to the grid.
    """
    path = FrameFiles(given, ".png").path(number)
    if not path.exists():
        return np.zeros((lens.height, lens.width), bool)
    mask = cv2.resize(read_mask(path), (lens.width, lens.height), interpolation=cv2.INTER_AREA)
    return np.asarray(ToPinhole(lens)(mask) > 127)
