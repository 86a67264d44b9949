# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and check a solve folder (`cvd.solve/1`, see `docs/solve-folder.md`). Knows nothing of Blender.

Everything in the folder was written by another program, so nothing is believed before it is checked: the importer may
rely on every value of a `Solve`.
"""

from __future__ import annotations

import json
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from . import exr_file

SCHEMA = "cvd.solve"
MAJOR = 1
LENS_MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
RIGID_TOLERANCE = 1e-4
FRAMES = range(1_048_575)  # that a scene in Blender can have; other numbers would be taken for the first or the last
# What Blender takes: sides of a render, frames of a scene, its rate. It cuts off in silence what lies beyond.
SIDES = (4, 65536)
MOST_PIXELS = 2**28  # as many as 16K x 16K: a picture of more has no place in memory
RATES = (1e-3, 32767.0)
WHOLE = 2**31 - 1
LARGEST = 1e9  # of a length or a coordinate: float32 holds it, and squares of it
FOCAL_SHARES = (0.03, 1e4)  # focal length in sides of the picture: 173 degrees and a thousandth
OFF_CENTRE = 10.0  # principal point in sides of the picture
BENT_MOST = 1e6  # coefficients of distortion

Matrix4 = tuple[tuple[float, ...], ...]


class SolveError(Exception):
    """A solve folder that cannot be used.

    Args:
        what: what happened, one sentence.
        why: the cause.
        fix: what to do about it.
    """

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(f"{what} {why} {fix}")
        self.what = what
        self.why = why
        self.fix = fix


@dataclass(frozen=True)
class Source:
    """The plate.

    Attributes:
        path: the movie, or the first image of the sequence, as the engine saw it.
        sequence: an image sequence, not a movie.
        path_number: number in the file name of `path`; 1 for a movie.
        width, height: pixels.
        fps: numerator, denominator.
        first, last: plate frame numbers of the solve.
        linear: pixel values are scene-linear, not sRGB.
        content_id: identifies the plate's content.
    """

    path: Path
    sequence: bool
    path_number: int
    width: int
    height: int
    fps: tuple[int, int]
    first: int
    last: int
    linear: bool
    content_id: str


@dataclass(frozen=True)
class Lens:
    """Intrinsics in plate pixels: the image spans [0, W] x [0, H].

    Distortion is Brown's: `x_distorted = x (1 + k1 r2 + k2 r4) + 2 p1 x y + p2 (r2 + 2 x2)`, y alike with p1 and p2
    changed over. fx and fy differ where the plate's pixels are not square.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    k1: float
    k2: float
    p1: float
    p2: float
    focal_varies: bool
    known: bool
    uncertainty_pct: float | None

    @property
    def distorted(self) -> bool:
        """The plate differs from what a pinhole camera sees."""
        return any((self.k1, self.k2, self.p1, self.p2))

    @property
    def tangential(self) -> bool:
        """The lens is off its axis."""
        return self.p1 != 0.0 or self.p2 != 0.0


@dataclass(frozen=True)
class Frame:
    """One plate frame.

    Attributes:
        number: the plate's own frame number.
        world_from_camera: rigid 4x4 (x right, y down, z forward), or None where the frame could not be placed.
        reason: why it could not.
        focal_px: focal length where it varies.
        depth: existing depth file, or None.
        dynamic: existing matte of what moves by itself, or None where nothing does.
        confidence: existing confidence file, or None.
        measured_share: share of its pixels whose depth was measured, 0..1.
    """

    number: int
    world_from_camera: Matrix4 | None
    reason: str
    focal_px: float | None
    depth: Path | None
    dynamic: Path | None
    reprojection_px: float | None
    confidence: Path | None = None
    measured_share: float | None = None


@dataclass(frozen=True)
class DoubtfulRun:
    """Frames one after another whose depth is doubtful; `where` in words, `worst` the frame that most of it is of."""

    first: int
    last: int
    worst: int
    where: str

    @property
    def text(self) -> str:
        """Such as `Frames 288-304: right half`."""
        one = self.first == self.last
        return f"{'Frame' if one else 'Frames'} {frame_ranges(tuple(range(self.first, self.last + 1)))}: {self.where}"


@dataclass(frozen=True)
class Point:
    """A sparse point: world position, colour 0..255, number of frames that saw it."""

    xyz: tuple[float, float, float]
    rgb: tuple[int, int, int]
    track_length: int


@dataclass(frozen=True)
class Solve:
    """A complete, checked solve folder."""

    folder: Path
    source: Source
    lens: Lens
    frames: tuple[Frame, ...]
    metric: bool
    unit: str
    depth_width: int
    depth_height: int
    near: float
    far: float
    method: str
    prior: str
    licence: str
    points_path: Path
    fused_path: Path | None
    verdict: str
    warnings: tuple[str, ...]
    doubtful: tuple[DoubtfulRun, ...] = ()

    @property
    def name(self) -> str:
        """Name for people: the folder without its `.solve`."""
        return self.folder.name.removesuffix(".solve") or "solve"

    @property
    def key(self) -> str:
        """Identifies the solve in a scene, also after its folder has moved."""
        return f"{self.name}:{self.source.content_id}"

    @property
    def registered(self) -> tuple[Frame, ...]:
        """Frames that were placed."""
        return tuple(frame for frame in self.frames if frame.world_from_camera is not None)

    @property
    def gaps(self) -> tuple[int, ...]:
        """Plate frame numbers that were asked for and could not be placed."""
        return tuple(frame.number for frame in self.frames if frame.world_from_camera is None)

    @property
    def depth_frames(self) -> tuple[Frame, ...]:
        """Frames that have a depth file."""
        return tuple(frame for frame in self.frames if frame.depth is not None)

    @property
    def measured_share(self) -> float | None:
        """Share of all pixels whose depth was measured; None in folders that do not tell."""
        shares = [frame.measured_share for frame in self.frames if frame.measured_share is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def dynamic_frames(self) -> tuple[Frame, ...]:
        """Frames that have a matte of what moves by itself."""
        return tuple(frame for frame in self.frames if frame.dynamic is not None)


def read(folder: Path) -> Solve:
    """Read `folder`, or the folder of a `solve.json`.

    Raises:
        SolveError: missing, unfinished, damaged, of a newer version, or pointing outside itself.
    """
    folder = folder.parent if folder.name == "solve.json" else folder
    document = _document(folder)
    _check_version(document)
    try:
        return _solve(folder, document)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"the entry {error} is missing" if isinstance(error, KeyError) else str(error)
        raise _damaged(folder, f"In solve.json {reason}.") from error


def read_points(path: Path) -> list[Point]:
    """Read the sparse points of a solve (binary little-endian PLY).

    Raises:
        SolveError: not such a file, or cut short.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(path.parent, f"{path.name} cannot be read: {error}.") from error
    try:
        return _parse_ply(data)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise _damaged(path.parent, f"{path.name} is not the point file it should be: {error}.") from error


def summary(solve: Solve) -> list[str]:
    """What came out, in lines for people."""
    errors = sorted(frame.reprojection_px for frame in solve.frames if frame.reprojection_px is not None)
    lens = solve.lens
    unknown = lens.uncertainty_pct is None
    sure = "" if unknown else f" ± {lens.uncertainty_pct:.1f} %"
    source = "known" if lens.known else "assumed, unknown" if unknown else "estimated"
    lines = [f"{len(solve.registered)} of {len(solve.frames)} frames placed"]
    if solve.gaps:
        lines.append(f"No camera: {frame_ranges(solve.gaps)}")
    if errors:
        lines.append(f"Reprojection: {errors[len(errors) // 2]:.2f} px")
    lines.append(f"Focal length: {lens.fx:.1f} px{sure} ({source})")
    lines.append(f"Scale: {'metric' if solve.metric else 'arbitrary'} ({solve.unit})")
    lines.append(f"Depth: {solve.method}, prior {solve.prior}, licence {solve.licence}")
    if solve.measured_share is not None:
        lines.append(f"Depth measured: {solve.measured_share:.0%} of the plate")
    if solve.dynamic_frames:
        lines.append(f"Something moves by itself in {len(solve.dynamic_frames)} frames")
    return [*lines, solve.verdict, *solve.warnings]


def frame_ranges(numbers: tuple[int, ...]) -> str:
    """Frame numbers as ranges, such as `5, 8-12`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)


def _damaged(folder: Path, why: str) -> SolveError:
    return SolveError(
        f"The solve in {folder} is damaged.",
        why,
        "Solve the clip again, or copy the folder again from where it was made.",
    )


def _document(folder: Path) -> dict[str, Any]:
    path = folder / "solve.json"
    if not _is_file(path):
        if _is_file(folder / "status.json"):
            raise SolveError(
                f"The solve in {folder} is not finished.",
                "It has a status.json but no solve.json, which is written last.",
                "Wait for the solve to end, or press Solve Depth again: it goes on where it stopped.",
            )
        raise SolveError(
            f"{folder} is not a solve folder.",
            "There is no solve.json in it.",
            "Choose the folder that the engine wrote; its name usually ends in .solve.",
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise SolveError(f"{path} cannot be read.", f"{error}.", "Check the permissions of the folder.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, f"solve.json is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise _damaged(folder, "solve.json does not hold an object.")
    return document


def _shown(value: Any) -> str:
    """A value of the document for a message: short, and text that any disk and any window takes."""
    text = value if isinstance(value, str) else "" if isinstance(value, dict | list) else str(value)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:80]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _check_version(document: dict[str, Any]) -> None:
    schema = _shown(document.get("schema", ""))
    name, _, version = schema.partition("/")
    if name == SCHEMA and version == str(MAJOR):
        return
    if name == SCHEMA and re.fullmatch(r"[1-9][0-9]*", version):
        raise SolveError(
            f"The solve was made by a newer engine ({schema}).",
            f"This add-on reads {SCHEMA}/{MAJOR}.",
            "Update the add-on.",
        )
    raise SolveError(
        "The solve.json is not one of this project.",
        f"Its schema is {schema!r}, not '{SCHEMA}/{MAJOR}'.",
        "Choose the folder that the engine wrote.",
    )


def _solve(folder: Path, document: dict[str, Any]) -> Solve:
    world, depth, quality = document["world"], document["depth"], document["quality"]
    if depth["planar"] is not True:
        raise ValueError("the depth is not planar")
    source = _source(document["source"])
    lens = _lens(document["lens"], source)
    frames = tuple(_frame(folder, entry, lens.focal_varies, source) for entry in document["frames"])
    numbers = [frame.number for frame in frames]
    _require_frames(numbers)
    if not numbers or numbers != sorted(set(numbers)):
        raise ValueError("the frames are not in order of their numbers")
    if numbers[0] < source.first or numbers[-1] > source.last:
        raise ValueError(f"frames lie outside the range {source.first} to {source.last}")
    if all(frame.world_from_camera is None for frame in frames):
        raise ValueError("no frame was placed")
    if all(frame.depth is None for frame in frames):
        raise ValueError("no frame has depth")
    _check_sequence([(frame.number, frame.depth) for frame in frames if frame.depth is not None])
    _check_sequence([(frame.number, frame.dynamic) for frame in frames if frame.dynamic is not None])
    _check_sequence([(frame.number, frame.confidence) for frame in frames if frame.confidence is not None])
    width, height = _size(depth)
    _check_exr(folder, next(frame.depth for frame in frames if frame.depth is not None), (width, height))
    near, far = _number(depth["near"]), _number(depth["far"])
    if not 0.0 <= near <= far:
        raise ValueError(f"depth goes from {near} to {far}")
    return Solve(
        folder=folder.resolve(),
        source=source,
        lens=lens,
        frames=frames,
        metric=world["scale"] == "metric",
        unit=_text(world["unit"]),
        depth_width=width,
        depth_height=height,
        near=near,
        far=far,
        method=_text(depth["method"]),
        prior=_text(depth["prior"]),
        licence=_text(depth["licence"]),
        points_path=_inside(folder, document["points"]),
        fused_path=_inside(folder, document["fused"]["file"]) if document.get("fused") is not None else None,
        verdict=_text(quality["verdict"]),
        warnings=_texts(quality["warnings"]),
        doubtful=tuple(_doubtful_run(entry, source) for entry in quality.get("doubtful") or ()),
    )


def _doubtful_run(entry: dict[str, Any], source: Source) -> DoubtfulRun:
    first, last, worst = (_integer(entry[name]) for name in ("first", "last", "worst"))
    if not source.first <= first <= worst <= last <= source.last:
        raise ValueError(f"frames {first} to {last} are no doubtful frames of the solve")
    return DoubtfulRun(first, last, worst, _text(entry["where"]))


def _source(entry: dict[str, Any]) -> Source:
    if entry["kind"] not in ("movie", "sequence"):
        raise ValueError(f"the kind of source {entry['kind']!r} is unknown")
    if entry["colourspace"] not in ("srgb", "linear"):
        raise ValueError(f"the colour space {entry['colourspace']!r} is unknown")
    sequence = entry["kind"] == "sequence"
    path = _plate_path(_text(entry["path"]))
    width, height = _size(entry)
    numerator, denominator = (_positive(value) for value in entry["fps"])
    if not RATES[0] <= numerator / denominator <= RATES[1]:
        raise ValueError(f"{numerator}/{denominator} frames a second are no rate of a clip")
    first, last = _integer(entry["first"]), _integer(entry["last"])
    _require_frames([first, last])
    if not 0 <= last - first < len(FRAMES):
        raise ValueError(f"{first} to {last} is no range of frames")
    return Source(
        path=path,
        sequence=sequence,
        path_number=_number_in_name(path, _text(entry.get("pattern") or "")) if sequence else 1,
        width=width,
        height=height,
        fps=(numerator, denominator),
        first=first,
        last=last,
        linear=entry["colourspace"] == "linear",
        content_id=_text(entry["content_id"]),
    )


def _require_frames(numbers: list[int]) -> None:
    """Refuse frame numbers that Blender does not have."""
    beyond = [number for number in numbers if number not in FRAMES]
    if beyond:
        raise SolveError(
            f"Frame {beyond[0]} of the solve cannot be shown.",
            f"Blender has frames {FRAMES[0]} to {FRAMES[-1]}.",
            "Rename the plate's files with smaller numbers, such as 0001, 0002, …, and solve the clip again.",
        )


def _plate_path(text: str) -> Path:
    """The plate's path. Two slashes in front are one to POSIX; to Blender they are the folder of the .blend."""
    if text.startswith("//") and os.name == "posix":
        text = "/" + text.lstrip("/")
    return Path(text)


def _size(entry: dict[str, Any]) -> tuple[int, int]:
    """Width and height of a picture, pixels."""
    width, height = _positive(entry["width"]), _positive(entry["height"])
    if min(width, height) < SIDES[0] or max(width, height) > SIDES[1] or width * height > MOST_PIXELS:
        raise ValueError(f"{width}x{height} pixels are no size of a picture that Blender takes")
    return width, height


def _number_in_name(path: Path, pattern: str) -> int:
    """Frame number in the name of a sequence's file: the last group of digits, by which Blender goes.

    Raises:
        SolveError: the pattern has its `#` in another place.
    """
    name = path.name
    groups = list(re.finditer("[0-9]+", path.stem))
    fits = [re.fullmatch(f"{re.escape(name[: g.start()])}#+{re.escape(name[g.end() :])}", pattern) for g in groups]
    if not any(fits):
        raise ValueError(f"the pattern {pattern!r} does not fit the file name {name!r}")
    if not fits[-1]:
        raise SolveError(
            f"The frame number is not the last number in {name}.",
            f"Blender takes the last one, {groups[-1][0]}, for the frame number and would show other frames.",
            "Rename the plate's files so that the frame number comes last, and solve the clip again.",
        )
    return int(groups[-1][0])


def _lens(entry: dict[str, Any], source: Source) -> Lens:
    if entry["model"] not in LENS_MODELS:
        raise ValueError(f"the lens model {entry['model']!r} is unknown")
    fx, fy = (_focal(entry[name], source) for name in ("fx", "fy"))
    centre = cx, cy = _number(entry["cx"]), _number(entry["cy"])
    sides = source.width, source.height
    if any(abs(value - side / 2) > OFF_CENTRE * side for value, side in zip(centre, sides, strict=True)):
        raise ValueError(f"the optical centre ({cx}, {cy}) lies far outside the picture")
    k1, k2, p1, p2 = (_number(entry[name], BENT_MOST) for name in ("k1", "k2", "p1", "p2"))
    uncertainty = entry["uncertainty_pct"]
    return Lens(
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        k1=k1,
        k2=k2,
        p1=p1,
        p2=p2,
        focal_varies=entry["focal_varies"] is True,
        known=entry["source"] == "known",
        uncertainty_pct=None if uncertainty is None else _number(uncertainty),
    )


def _focal(value: Any, source: Source) -> float:
    """A focal length in plate pixels."""
    focal, side = _number(value), max(source.width, source.height)
    if not FOCAL_SHARES[0] * side <= focal <= FOCAL_SHARES[1] * side:
        raise ValueError(f"{focal} px is no focal length of a picture of {source.width}x{source.height}")
    return focal


def _frame(folder: Path, entry: dict[str, Any], focal_varies: bool, source: Source) -> Frame:
    number = _integer(entry["frame"])
    registered = entry["registered"] is True
    matrix = entry["world_from_camera"]
    if registered != (matrix is not None):
        raise ValueError(f"frame {number} is registered without a camera, or the other way round")
    focal = entry["focal_px"]
    if registered and focal_varies and focal is None:
        raise ValueError(f"frame {number} has no focal length though it varies")
    error = entry["reprojection_px"]
    return Frame(
        number=number,
        world_from_camera=_rigid(matrix, number) if registered else None,
        reason=_text(entry["reason"] or ""),
        focal_px=None if focal is None else _focal(focal, source),
        depth=_inside(folder, entry["depth"]) if entry["depth"] is not None else None,
        dynamic=_inside(folder, entry["dynamic"]) if entry.get("dynamic") is not None else None,
        reprojection_px=None if error is None else _number(error),
        confidence=_there(folder, entry.get("confidence")),
        measured_share=None if entry.get("confident_share") is None else _number(entry["confident_share"], 1.0),
    )


def _rigid(rows: Any, number: int) -> Matrix4:
    """Check a rigid 4x4 transform."""
    if len(rows) != 4 or any(len(row) != 4 for row in rows):
        raise ValueError(f"the camera of frame {number} is not a 4x4 matrix")
    matrix = tuple(tuple(_number(value) for value in row) for row in rows)
    r = [row[:3] for row in matrix[:3]]
    products = [sum(a * b for a, b in zip(r[i], r[j], strict=True)) - (i == j) for i in range(3) for j in range(3)]
    determinant = (
        r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1])
        - r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0])
        + r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0])
    )
    last_row_off = max(abs(value - expected) for value, expected in zip(matrix[3], (0, 0, 0, 1), strict=True))
    if max(map(abs, products)) > RIGID_TOLERANCE or determinant < 0.0 or last_row_off > RIGID_TOLERANCE:
        raise ValueError(f"the camera of frame {number} is not a rotation and a translation")
    return matrix


def _inside(folder: Path, name: Any) -> Path:
    """Path of an existing file of the folder; refuses absolute paths and any way out."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"{name!r} is not a file name")
    pure = PurePosixPath(name)
    if pure.is_absolute() or PureWindowsPath(name).drive or "\\" in name or ".." in pure.parts:
        raise SolveError(
            "The solve points outside its own folder.",
            f"solve.json names the file {name!r}.",
            "Do not use this solve unless you trust who made it; solve the clip again.",
        )
    path = folder.joinpath(*pure.parts)
    if not _is_file(path):
        raise _damaged(folder, f"The file {name[:200]} is missing.")
    real = path.resolve()
    if not real.is_relative_to(folder.resolve()):
        raise SolveError(
            "The solve points outside its own folder.",
            f"{name} is a link to another place.",
            "Do not use this solve unless you trust who made it; solve the clip again.",
        )
    return real


def _there(folder: Path, name: Any) -> Path | None:
    """Path of a file that a scene does without where it is missing."""
    return None if name is None or (isinstance(name, str) and not _is_file(folder / name)) else _inside(folder, name)


def _check_sequence(files: list[tuple[int, Path]]) -> None:
    """Blender reads a sequence by the name of its first file: all lie in one folder and differ by their number only."""
    if not files:
        return
    first = files[0][1]
    head, digits, tail = _split(first)
    for number, path in files:
        if path.name != f"{head}{number:0{len(digits)}d}{tail}" or path.parent != first.parent:
            raise ValueError(f"{path.name} is not the name of frame {number} beside {first.name}")


def _split(path: Path) -> tuple[str, str, str]:
    """A file name around the last digits of its stem."""
    match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", path.stem)
    if match is None:
        raise ValueError(f"{path.name} has no frame number")
    return match[1], match[2], match[3] + path.suffix


def _check_exr(folder: Path, path: Path, expected: tuple[int, int]) -> None:
    try:
        width, height = exr_file.size(path)
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{path.name} cannot be used: {error}.") from error
    if (width, height) != expected:
        raise ValueError(f"depth is {expected[0]}x{expected[1]}, but {path.name} is {width}x{height}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for the disk
        return False


def _text(value: Any) -> str:
    """Text that can be written as UTF-8, to a disk and into a .blend."""
    if not isinstance(value, str):
        raise TypeError(f"{_shown(value)!r} stands where text should be")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{_shown(value)!r} is no text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{_shown(values)!r} stands where a list should be")
    return tuple(_text(value) for value in values)


def _number(value: Any, most: float = LARGEST) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        raise ValueError(f"{_shown(value)} stands where a finite number should be")
    return float(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -WHOLE <= value <= WHOLE:
        raise ValueError(f"{_shown(value)} stands where a whole number should be")
    return value


def _positive(value: Any) -> int:
    number = _integer(value)
    if number < 1:
        raise ValueError(f"{number} stands where a positive number should be")
    return number


PLY_TYPES = {
    "char": "b",
    "int8": "b",
    "uchar": "B",
    "uint8": "B",
    "short": "h",
    "int16": "h",
    "ushort": "H",
    "uint16": "H",
    "int": "i",
    "int32": "i",
    "uint": "I",
    "uint32": "I",
    "float": "f",
    "float32": "f",
    "double": "d",
    "float64": "d",
}


POINT_TYPES = dict.fromkeys("xyz", "fd") | dict.fromkeys(("red", "green", "blue"), "B") | {"track_length": "bBhHiI"}


def _parse_ply(data: bytes) -> list[Point]:
    end = data.index(b"end_header\n") + len(b"end_header\n")
    header = data[:end].decode("ascii").splitlines()
    if header[0] != "ply" or "format binary_little_endian 1.0" not in header:
        raise ValueError("it is not a binary little-endian PLY")
    elements = [line.split() for line in header if line.startswith("element ")]
    if len(elements) != 1 or elements[0][1] != "vertex":
        raise ValueError("it holds something else than vertices")
    count = int(elements[0][2])
    properties = [line.split() for line in header if line.startswith("property ")]
    kinds = {words[2]: PLY_TYPES[words[1]] for words in properties}
    names = [words[2] for words in properties]
    layout = struct.Struct("<" + "".join(PLY_TYPES[words[1]] for words in properties))
    body = data[end : end + count * layout.size]
    if count < 0 or len(body) != count * layout.size:
        raise ValueError("it is cut short")
    x, y, z, red, green, blue, length = (
        names.index(name) for name in ("x", "y", "z", "red", "green", "blue", "track_length")
    )
    if any(kinds[name] not in wanted for name, wanted in POINT_TYPES.items()):
        raise ValueError("its properties are not of the types that the engine writes")
    points = [
        Point((row[x], row[y], row[z]), (row[red], row[green], row[blue]), row[length])
        for row in layout.iter_unpack(body)
    ]
    if not all(-LARGEST <= value <= LARGEST for point in points for value in point.xyz):
        raise ValueError("a point is not finite")
    if not all(0 <= point.track_length <= WHOLE for point in points):
        raise ValueError("a point is seen in no number of frames")
    return points
