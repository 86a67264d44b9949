"""Nuke's `.chan`: lines of `frame tx ty tz rx ry rz [vertical field of view]`, in degrees, y up, looking along -z.

The world is turned so that z is up, as everywhere here: (x, y, z) becomes (x, -z, y), and back for what is written.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.cameras.document import READABLE, GivenCamera, named_lens, unreadable, zoom_of
from engine.cameras.knowledge import LensKnowledge
from engine.errors import CameraError
from engine.files import MAX_TEXT_BYTES, write_text
from engine.geometry.arrays import Lens

_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_CV_FROM_CHAN = np.diag([1.0, -1.0, -1.0])
NUKE_FILM_BACK_MM = 24.576, 18.672
_COLUMNS = 7, 8
_LARGEST = 1e12
"""Of what a line may hold, as in `checked_pose`."""


def read_chan(
    path: Path,
    width: int,
    height: int,
    known: LensKnowledge,
    film_back_mm: tuple[float, float] | None,
    rotation_order: str,
    metric: bool,
) -> GivenCamera:
    """Read a `.chan` file.

    Nuke's picture is as wide as the film back and its height follows from the plate, so where the film back has another
    shape than the plate, the vertical field of view is not that of the plate: `f = W (h/w) / (2 tan(vfov/2))`.

    Args:
        path: the file.
        width: of the plate, pixels.
        height: of the plate, pixels.
        known: of the lens: a focal length goes before the file's field of view; pixel aspect and principal point.
        film_back_mm: (width, height) that the field of view belongs to; None = it has the plate's shape.
        rotation_order: such as "ZXY": the axis that is turned about first comes first.
        metric: the file is in metres.

    Raises:
        CameraError: `camera.unreadable`, `.chan`, `.no_lens` or `.lens`.
    """
    rows, aspect = _rows(path, known.focal_px is None), known.pixel_aspect or 1.0
    shape = height / aspect / width if film_back_mm is None else film_back_mm[1] / film_back_mm[0]
    poses, focals = {}, {}
    for row in rows:
        pose = np.eye(4)
        pose[:3, :3] = _Z_UP @ _rotation(np.radians(row[4:7]), rotation_order) @ _CV_FROM_CHAN
        pose[:3, 3] = _Z_UP @ row[1:4]
        poses[round(row[0])] = pose
        if len(row) == max(_COLUMNS) and known.focal_px is None:
            focals[round(row[0])] = float(width * shape / (2.0 * np.tan(np.radians(row[7]) / 2.0)))
    if known.focal_px is None and len(focals) < len(rows):
        raise CameraError(
            "camera.no_lens",
            f"{path.name} does not say what lens it was filmed with.",
            "Its lines have no vertical field of view in an eighth column.",
            "Export it with the field of view, or give the focal length.",
        )
    focal, zoom = (known.focal_px, {}) if known.focal_px is not None else zoom_of(focals)
    cx, cy = known.principal_px or (width / 2, height / 2)
    lens = named_lens(width, height, fx=focal, fy=focal * aspect, cx=cx, cy=cy, k1=0.0, k2=0.0, p1=0.0, p2=0.0)
    return GivenCamera(lens, poses, metric, zoom).checked(path.name)


def write_chan(path: Path, world_from_camera: dict[int, NDArray[np.float64]], lenses: dict[int, Lens]) -> None:
    """Write a `.chan` file with Nuke's own order of rotation, ZXY, and the plate's shape as the film back.

    Args:
        path: the file.
        world_from_camera: plate frame number -> (4, 4), camera x right, y down, z forward; world z up.
        lenses: of these frames; principal point and distortion have no place in the file.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    lines = []
    for number, (place, turn) in nuke_track(world_from_camera).items():
        lens = lenses[number]
        values = [*place, *turn, np.degrees(2.0 * np.arctan(lens.height / (2.0 * lens.fy)))]
        lines.append(f"{number} {' '.join(f'{value:.12g}' for value in values)}\n")
    write_text(path, "".join(lines))


def nuke_track(
    world_from_camera: dict[int, NDArray[np.float64]],
) -> dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Plate frame number -> (position (3,), degrees about x, y and z (3,), turned in the order ZXY), world y up.

    Angles go on from frame to frame without jumps, so that they may be interpolated.
    """
    track: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    before = np.zeros(3)
    for number, pose in sorted(world_from_camera.items()):
        before = _angles(_Z_UP.T @ pose[:3, :3] @ _CV_FROM_CHAN, before)
        track[number] = _Z_UP.T @ pose[:3, 3], np.degrees(before)
    return track


def _angles(turned: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles (3,) in radians whose `_rotation` in the order ZXY is `turned` (3, 3), the nearest to those `before`."""
    tilt = np.arctan2(-turned[1, 2], np.hypot(turned[1, 0], turned[1, 1]))
    if np.hypot(turned[1, 0], turned[1, 1]) > 1e-9:
        pan, roll = np.arctan2(turned[0, 2], turned[2, 2]), np.arctan2(turned[1, 0], turned[1, 1])
    else:  # straight up or down, where pan and roll are one
        pan, roll = np.arctan2(-turned[2, 0], turned[0, 0]), 0.0
    ways = np.array([[tilt, pan, roll], [np.pi - tilt, pan + np.pi, roll + np.pi]])
    ways -= 2.0 * np.pi * np.round((ways - before) / (2.0 * np.pi))
    nearest: NDArray[np.float64] = ways[np.abs(ways - before).sum(1).argmin()]
    return nearest


def _rows(path: Path, with_lens: bool) -> list[NDArray[np.float64]]:
    """The lines; `with_lens`: their field of view is needed."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise unreadable(path, "It is too large for a .chan file.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise unreadable(path, f"{error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise unreadable(path, "It is not a text file.") from error
    rows, numbers = [], set()
    for count, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        words, problem = _words(text)
        row = np.zeros(0)
        if not problem:
            try:
                row = np.array([float(word) for word in words])
            except ValueError as error:
                problem = str(error)
        if not problem and not (np.abs(row) <= _LARGEST).all():  # also what is no number
            problem = f"it holds a value that is not finite, or is beyond {_LARGEST:.0e}"
        if not problem and len(row) not in _COLUMNS:
            problem = f"it has {len(row)} columns instead of {_COLUMNS[0]} or {_COLUMNS[1]}"
        if not problem and with_lens and len(row) == max(_COLUMNS) and not 0.0 < row[7] < 180.0:
            problem = f"{row[7]:g} is not a field of view in degrees"
        if not problem and abs(row[0] - round(row[0])) > 1e-6:
            problem = f"{row[0]} is not a frame number"
        if not problem and round(row[0]) in numbers:
            problem = f"frame {row[0]:.0f} is there twice"
        if problem:
            raise CameraError(
                "camera.chan",
                f"{path.name} is not a .chan file of a camera.",
                f"Line {count}: {problem}.",
                f"Each line has to be: frame tx ty tz rx ry rz field-of-view. Export the camera again. {READABLE}",
            )
        numbers.add(round(row[0]))
        rows.append(row)
    if not rows:
        raise CameraError(
            "camera.chan", f"{path.name} is not a .chan file of a camera.", "It is empty.", "Export the camera again."
        )
    return rows


def _words(text: str) -> tuple[list[str], str]:
    """The numbers of a line, and what is wrong with it.

    Commas separate (`1,2.5,3`, `1, 2.5, 3`), or they are decimal (`1 2,5 3`). Where spaces separate as well, a comma
    inside of a word is taken for decimal: read as two, 12,345 would shift every column after it.
    """
    spaced = text.split()
    inside = [word for word in spaced if re.search(r"[^,],[^,]", word)]
    if inside and len(spaced) > 1:
        return [], f"{inside[0]!r} has a comma inside, and decimal signs have to be points"
    return text.replace(",", " ").split(), ""


def _rotation(angles: NDArray[np.float64], order: str) -> NDArray[np.float64]:
    """(3, 3) of turns about x, y and z by `angles` (radians), the first letter of `order` first."""
    c, s = np.cos(angles), np.sin(angles)
    about = {
        "X": np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]]),
        "Y": np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]]),
        "Z": np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]]),
    }
    turned: NDArray[np.float64] = about[order[2]] @ about[order[1]] @ about[order[0]]
    return turned
