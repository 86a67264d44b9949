"""Cameras and pictures of a COLMAP model, text or binary (colmap.github.io/format.html).

Read here and not by pycolmap, which reads on in a damaged file until memory runs out, and wants `points3D.bin`, which
many data sets for splats do not have. Points, rigs and frames are not needed: every picture has its pose.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from engine.cameras.document import MODEL_FOLDERS, READABLE, unreadable

_MODELS = (
    ("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8), ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4), ("RADIAL_FISHEYE", 5), ("THIN_PRISM_FISHEYE", 12),
    ("RAD_TAN_THIN_PRISM_FISHEYE", 16), ("SIMPLE_DIVISION", 4), ("DIVISION", 5), ("SIMPLE_FISHEYE", 3), ("FISHEYE", 4),
    ("EUCM", 6), ("EQUIRECTANGULAR", 2),
)  # fmt: skip
"""Name and number of parameters of COLMAP's lens models, in the order of their numbers."""
_LONGEST_NAME = 4096
_POINT_BYTES = 24


@dataclass(frozen=True)
class ModelCamera:
    """A camera of a model: COLMAP's lens model, size in pixels, its parameters."""

    model: str
    width: int
    height: int
    params: NDArray[np.float64]


@dataclass(frozen=True)
class ModelImage:
    """A picture of a model that has a pose: `camera_from_world` is (4, 4)."""

    name: str
    camera: ModelCamera
    camera_from_world: NDArray[np.float64]


def read_model(folder: Path) -> list[ModelImage]:
    """The pictures of the model in a folder, or in one of `MODEL_FOLDERS` below it, in the order of their names.

    Raises:
        CameraError: `camera.unreadable`.
    """
    for below in MODEL_FOLDERS:
        for suffix in (".bin", ".txt"):
            if (folder / below / f"cameras{suffix}").is_file():
                return _read(folder / below, suffix)
    raise unreadable(folder, "There is no cameras.bin or cameras.txt in it.", READABLE)


def _read(folder: Path, suffix: str) -> list[ModelImage]:
    path = folder / f"cameras{suffix}"
    try:
        cameras = _cameras_of_binary(path) if suffix == ".bin" else _cameras_of_text(path)
        path = folder / f"images{suffix}"
        rows = _images_of_binary(path) if suffix == ".bin" else _images_of_text(path)
        images = [ModelImage(name, cameras[key], _pose(values)) for name, key, values in rows]
    except OSError as error:
        raise unreadable(path, f"{error.strerror}.") from error
    except KeyError as error:
        raise unreadable(path, f"A picture has camera {error}, which there is not.") from error
    except (ValueError, IndexError, OverflowError, struct.error) as error:
        raise unreadable(path, f"It is damaged: {str(error)[:200]}.") from error
    return sorted(images, key=lambda image: image.name)


def _cameras_of_binary(path: Path) -> dict[int, ModelCamera]:
    cameras = {}
    with path.open("rb") as file:
        for _ in range(_number(file, "<Q")):
            key, model, width, height = struct.unpack("<IiQQ", _bytes(file, 24))
            if not 0 <= model < len(_MODELS):
                raise ValueError(f"there is no lens model of number {model}")
            name, count = _MODELS[model]
            cameras[key] = ModelCamera(name, width, height, np.frombuffer(_bytes(file, 8 * count), "<f8"))
    return cameras


def _cameras_of_text(path: Path) -> dict[int, ModelCamera]:
    cameras = {}
    for line in _lines(path):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        count = dict(_MODELS).get(words[1])
        if count is None:
            raise ValueError(f"there is no lens model {words[1][:80]}")
        params = np.array([float(word) for word in words[4:]])
        if len(params) != count:
            raise ValueError(f"camera {words[0][:20]} has {len(params)} parameters instead of {count}")
        cameras[int(words[0])] = ModelCamera(words[1], int(words[2]), int(words[3]), params)
    return cameras


def _images_of_binary(path: Path) -> list[tuple[str, int, list[float]]]:
    """Name, camera, and QW QX QY QZ TX TY TZ of every picture."""
    rows, size = [], path.stat().st_size
    with path.open("rb") as file:
        for _ in range(_number(file, "<Q")):
            _, *values, key = struct.unpack("<I7dI", _bytes(file, 64))
            name = bytearray()
            while (letter := _bytes(file, 1)) != b"\0":
                name += letter
                if len(name) > _LONGEST_NAME:
                    raise ValueError("the name of a picture does not end")
            points = _POINT_BYTES * _number(file, "<Q")
            if points > size - file.tell():
                raise ValueError("it ends in the middle of a picture")
            file.seek(points, 1)
            rows.append((name.decode(errors="replace"), key, values))
    return rows


def _images_of_text(path: Path) -> list[tuple[str, int, list[float]]]:
    """Name, camera, and QW QX QY QZ TX TY TZ of every picture."""
    rows, points_follow = [], False
    for line in _lines(path):
        if points_follow:  # of that picture; the line may be empty
            points_follow = False
            continue
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(maxsplit=9)
        rows.append((words[9].strip(), int(words[8]), [float(word) for word in words[1:8]]))
        points_follow = True
    return rows


def _pose(values: list[float]) -> NDArray[np.float64]:
    """(4, 4) of a unit quaternion and a translation."""
    length = math.hypot(*values[:4])
    if not 1e-6 < length < 1e6:  # also what is no number
        raise ValueError("the rotation of a picture is none")
    w, x, y, z = (value / length for value in values[:4])
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = values[4:]
    return pose


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from file


def _number(file: IO[bytes], form: str) -> int:
    return int(struct.unpack(form, _bytes(file, struct.calcsize(form)))[0])


def _bytes(file: IO[bytes], count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise ValueError("it ends too early")
    return found
