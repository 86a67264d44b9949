"""Pictures on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray


def read(path: Path, flags: int = cv2.IMREAD_COLOR) -> NDArray[Any]:
    """A picture that has to be there, in the order of OpenCV."""
    picture: NDArray[Any] | None = cv2.imread(str(path), flags)
    assert picture is not None, path
    return picture
