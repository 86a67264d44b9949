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
BLUE, RED = (255, 120, 40), (40, 40, 255)  # BGR
ANIMATION_FRAMES, ANIMATION_LONG_SIDE = 72, 400
ANIMATION_BYTES = 2_800_000  # a third more as text in the page


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


def resize(image: Image, width: int, height: int) -> Image:
    """The picture made smaller to exactly this size, for videos."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def tinted(picture: Image, where: NDArray[np.bool_], colour: tuple[int, int, int]) -> Image:
    """The BGR picture (H, W, 3) with a wash of `colour` (BGR) where the mask (H, W) is true."""
    wash = 0.4 * picture.astype(np.float32) + 0.6 * np.array(colour, np.float32)
    return np.asarray(np.where(where[..., None], np.rint(wash), picture), np.uint8)


class Animation:
    """Pictures side by side as an animated WebP for an HTML page: every browser plays it, and it is one picture.

    H.264 would be smaller, but OpenCV cannot encode it everywhere, and browsers do not play the MPEG-4 it can encode.

    Args:
        frames: how many the clip has; of a long one only some are taken.
        fps: numerator and denominator.
    """

    def __init__(self, frames: int, fps: tuple[int, int]) -> None:
        self._every = -(-frames // ANIMATION_FRAMES)
        self._duration_ms = 1000.0 * fps[1] / fps[0]
        self._frames: list[Image] = []

    def add(self, rank: int, panels: list[Image]) -> None:
        """Take the frame at place `rank` of the clip, from 0, if its turn has come; panels of one size."""
        if rank % self._every == 0:
            self._frames.append(
                np.hstack([np.asarray(shrink(panel, ANIMATION_LONG_SIDE), np.uint8) for panel in panels])
            )

    def data_uri(self) -> str:
        """The animation as a data URI; with fewer frames where all of them would be too much for a page."""
        frames, every = self._frames, self._every
        while True:
            animation = cv2.Animation()
            animation.frames = frames
            animation.durations = [max(1, round(every * self._duration_ms))] * len(frames)
            _, encoded = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, 60])
            if len(encoded) <= ANIMATION_BYTES or len(frames) == 1:
                return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()
            frames, every = frames[::2], every * 2


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
    temporary = files.temporary_of(path)
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
        files.write_atomically(path, lambda _written: None)  # it lies under the temporary name already
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)
