"""Depth as pictures: for the report and the depth video."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import files
from engine.errors import WorkspaceError

Image = NDArray[np.uint8]
VIDEO_LONG_SIDE = 960


def colour_depth(depth: NDArray[np.floating], near: float, far: float) -> Image:
    """Depth (H, W) as a BGR picture (H, W, 3): disparity from `far` (dark) to `near` (bright); no value = black."""
    known = depth > 0
    disparity = 1.0 / np.where(known, depth, 1.0)
    share = (disparity - 1.0 / far) / max(1.0 / near - 1.0 / far, 1e-12)
    level = np.where(known, np.clip(share * 235.0 + 20.0, 20.0, 255.0), 0.0).astype(np.uint8)
    return np.asarray(np.where(known[..., None], cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), 0), np.uint8)


def shrink(image: NDArray[np.generic], long_side: int, even: bool = False) -> NDArray[np.generic]:
    """The picture with its long side at most `long_side`; `even`: both sides even, as video encoders want them."""
    height, width = image.shape[:2]
    factor = min(1.0, long_side / max(height, width))
    unit = 2 if even else 1
    size = [max(unit, round(side * factor / unit) * unit) for side in (width, height)]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def data_uri(picture: NDArray[np.generic]) -> str:
    """A BGR or grey picture as a JPEG that stands inside an HTML page."""
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


@contextmanager
def video_writer(path: Path, width: int, height: int, fps: Fraction) -> Iterator[cv2.VideoWriter]:
    """An MPEG-4 movie that takes its name when the block ends well.

    Raises:
        WorkspaceError: OpenCV cannot write movies here.
    """
    temporary = path.with_name(f".{path.name}.unfinished.mp4")
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), float(fps), (width, height))
    if not writer.isOpened():
        raise WorkspaceError(
            "workspace.no_video",
            f"Cannot write the movie {path}.",
            "OpenCV was built without a movie encoder, or the folder cannot be written.",
            "Install the pinned opencv-python, and check the folder's permissions.",
        )
    try:
        yield writer
        writer.release()
        files.write_atomically(path, temporary.replace)
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)
