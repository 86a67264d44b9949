"""Pixels from picture files: every kind ends as the same float RGB picture. Movies: `movies`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import OpenEXR
from numpy.typing import NDArray

from engine.files import EXR_ERRORS
from engine.footage.movies import rgb

STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".bmp", ".webp", ".dpx")

_MOST_PIXELS = 65536  # along a side
Image = NDArray[np.float32]
Stored = NDArray[Any]


def read_still(path: Path) -> Stored:
    """One picture as stored: (H, W, 3) RGB, integer or float; alpha is dropped, grey is expanded.

    Orientation tags of stills are not applied, as Blender does not apply them.

    Raises:
        ValueError: not a picture that can be read.
        OSError: the file cannot be opened.
    """
    suffix = path.suffix.lower()
    if suffix == ".exr":
        return read_exr(path, _picture_channels)
    if suffix == ".dpx":
        return _read_dpx(path)
    data = np.fromfile(path, np.uint8)  # not cv2.imread, which cannot open every name on Windows
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error as error:
        raise ValueError(str(error)) from error
    if image is None:
        raise ValueError("damaged, incomplete or not of the kind that its name says")
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] < 3:
        return np.repeat(image[..., :1], 3, axis=2)
    rgb: Stored = image[..., 2::-1]
    return rgb


def is_animated_webp(path: Path) -> bool:
    """Whether a picture is a WebP of several (the flag in its extended header)."""
    with path.open("rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & 2)


def display_referred(image: Stored, linear: bool) -> Image:
    """Stored values to float32 RGB in [0, 1], display-referred.

    Args:
        image: (H, W, 3) of any integer or float type; integers span their whole range.
        linear: the values are scene-linear and get the sRGB transfer function (IEC 61966-2-1).
    """
    scale = float(np.iinfo(image.dtype).max) if np.issubdtype(image.dtype, np.integer) else 1.0
    x: Image = np.nan_to_num(image.astype(np.float32) / np.float32(scale), nan=0.0, posinf=1.0, neginf=0.0).clip(
        0.0, 1.0
    )
    if not linear:
        return x
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * np.power(x, 1 / 2.4) - 0.055).astype(np.float32)


def _read_dpx(path: Path) -> Stored:
    data = path.read_bytes()
    if data[:4] not in (b"SDPX", b"XPDS"):
        raise ValueError("it is not a DPX picture, whatever its name says")
    decoder = av.CodecContext.create("dpx", "r")
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except av.FFmpegError as error:
        raise ValueError(f"damaged or incomplete ({error.strerror})") from error
    if not frames:
        raise ValueError("damaged or incomplete")
    return rgb(frames[0])


def read_exr(path: Path, choose: Callable[[list[str]], list[str]]) -> Stored:
    """Channels (H, W, C) of the display window of an EXR file, 0 outside of its data window.

    Args:
        path: the file.
        choose: names of the channels to read, given those of the file.

    Raises:
        ValueError: not an EXR file that can be read, or what `choose` raises.
    """
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            header, channels = file.header(), file.channels()
            names = choose(list(channels))
            data = np.stack([np.asarray(channels[name].pixels, np.float32) for name in names], axis=-1)
            (x0, y0), (x1, y1) = (np.array(corner) for corner in header["displayWindow"])
            (u0, v0), (u1, v1) = (np.array(corner) for corner in header["dataWindow"])
    except EXR_ERRORS as error:
        raise ValueError(str(error)) from error
    if max(abs(int(v)) for v in (x0, y0, x1, y1, u0, v0, u1, v1)) > _MOST_PIXELS:
        raise ValueError(f"its window {x0}, {y0} to {x1}, {y1} is no picture's")
    if (x0, y0, x1, y1) == (u0, v0, u1, v1):
        return data
    picture = np.zeros((y1 - y0 + 1, x1 - x0 + 1, data.shape[2]), np.float32)
    left, top, right, bottom = max(x0, u0), max(y0, v0), min(x1, u1) + 1, min(y1, v1) + 1
    if left < right and top < bottom:
        picture[top - y0 : bottom - y0, left - x0 : right - x0] = data[top - v0 : bottom - v0, left - u0 : right - u0]
    return picture


def _picture_channels(names: list[str]) -> list[str]:
    """RGB of the first layer that has a picture, where there are several."""
    layers = sorted({name[:-1] for name in names if name.endswith("R")}, key=lambda layer: (layer != "", layer))
    for layer in layers:
        rgb = [layer + c for c in "RGB"]
        if all(name in names for name in rgb):
            return rgb
    grey = [name for name in names if name in ("Y", "V")] or (names if len(names) == 1 else [])
    if grey:
        return grey[:1] * 3
    raise ValueError(f"no colour picture in it, only the channels {', '.join(names)}")
