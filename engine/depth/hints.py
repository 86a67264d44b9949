"""Hints from the artist: a region of the plate and how far away it is.

Read from a `cvd.hints/1` file (`engine/schemas/hints-1.json`, docs/hints.md); `engine.depth.hinted` applies them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import jsonschema
import numpy as np
from numpy.typing import NDArray

from engine.clip.pinhole import ToPinhole
from engine.clip.track import CameraTrack
from engine.errors import HintError, MaskError
from engine.files import read_json
from engine.geometry.arrays import Lens, array_from_pixel, pixel_centres, rigid_inverse, undistort_map
from engine.masks.artist import ArtistMasks
from engine.schemas import schema

SCHEMA = "cvd.hints/1"
KINDS = ("distance", "plane", "point")
HALF = 0.5
FLAT = 1e-6  # second extent over the first of points that lie on a line

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Region(Protocol):
    """Which part of the picture a hint is about."""

    def frames(self) -> tuple[int, int]:
        """First and last plate frame that it is drawn on."""
        ...

    def mask(self, number: int, grid: Grid) -> Mask | None:
        """(H, W) of the grid; None = nothing of that frame."""
        ...

    def content(self) -> str:
        """Changes with it."""
        ...


@dataclass(frozen=True)
class Grid:
    """An undistorted grid of a clip, and where its pixels lie on the distorted plate.

    Attributes:
        plate: lens of the plate, distortion included.
        lens: pinhole of the grid.
    """

    plate: Lens
    lens: Lens

    def on_plate(self) -> NDArray[np.float64]:
        """(H, W, 2) plate pixel x, y of each pixel's centre."""
        lens = self.plate.scaled(self.lens.width, self.lens.height)
        if lens.distortion().any():
            x, y = undistort_map(lens)
            places = np.stack([x, y], axis=-1).astype(np.float64) - array_from_pixel(np.zeros(2))
        else:
            places = pixel_centres(self.lens.height, self.lens.width)
        return np.asarray(places * (self.plate.width / self.lens.width, self.plate.height / self.lens.height))


@dataclass(frozen=True)
class Polygons:
    """An outline with key frames.

    Attributes:
        keys: plate frame number -> (P, 2) plate pixels, distortion included; ascending.
    """

    keys: Mapping[int, NDArray[np.float64]]

    def frames(self) -> tuple[int, int]:
        """The first and the last key frame."""
        return min(self.keys), max(self.keys)

    def outline(self, number: int) -> NDArray[np.float64]:
        """(P, 2) in a frame: linear between key frames, still before and after them."""
        before = max((key for key in self.keys if key <= number), default=min(self.keys))
        after = min((key for key in self.keys if key >= number), default=max(self.keys))
        share = (number - before) / (after - before) if after > before else 0.0
        return (1.0 - share) * self.keys[before] + share * self.keys[after]

    def mask(self, number: int, grid: Grid) -> Mask | None:
        """The pixels whose centre lies inside (even-odd rule)."""
        return inside(self.outline(number), grid.on_plate())

    def content(self) -> str:
        """The outlines as text."""
        return json.dumps({str(number): points.tolist() for number, points in self.keys.items()})


@dataclass(frozen=True)
class Drawn:
    """A sequence of masks."""

    masks: ArtistMasks

    def frames(self) -> tuple[int, int]:
        """The first and the last mask."""
        return min(self.masks.sequence.files), max(self.masks.sequence.files)

    def mask(self, number: int, grid: Grid) -> Mask | None:
        """The mask on the grid; None where the frame has none."""
        try:
            matte = self.masks.matte(number)
        except MaskError as error:
            raise HintError(error.code.replace("mask.", "hint.mask_"), error.what, error.why, error.fix) from error
        if matte is None:
            return None
        size = grid.lens.width, grid.lens.height
        smaller = matte.shape[1] > size[0]
        own = np.asarray(cv2.resize(matte, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR))
        to_pinhole = ToPinhole(grid.plate.scaled(*size))
        return np.asarray(to_pinhole(own, border=cv2.BORDER_CONSTANT) > HALF)

    def content(self) -> str:
        """A hash of the files."""
        return self.masks.content()


@dataclass(frozen=True)
class Hint:
    """What the artist knows of a region.

    Attributes:
        name: for messages.
        region: on the plate.
        first: plate frame number it holds from.
        last: to which it holds, inclusive.
        kind: "distance", "plane" or "point".
        values: the distance; or x, y, z of a normal and what it gives for points of the plane; or x, y, z of a point.
            Unit and world are those of the scaled cameras, as in `solve.json`.
    """

    name: str
    region: Region
    first: int
    last: int
    kind: str
    values: tuple[float, ...]

    def depth(self, lens: Lens, world_from_camera: NDArray[np.float64], farthest: float) -> NDArray[np.float64]:
        """Planar depth (H, W) that the whole picture would have by it; 0 where it has none, such as behind the camera.

        Args:
            lens: pinhole of the grid.
            world_from_camera: (4, 4).
            farthest: what is further away counts as that far.
        """
        shape = lens.height, lens.width
        if self.kind == "distance":
            return np.full(shape, self.values[0])
        if self.kind == "point":
            camera_from_world = rigid_inverse(world_from_camera)
            of_point = float(camera_from_world[2, :3] @ self.values + camera_from_world[2, 3])
            return np.full(shape, max(of_point, 0.0))
        normal, constant = np.array(self.values[:3]), self.values[3]
        x, y = np.moveaxis((pixel_centres(*shape) - (lens.cx, lens.cy)) / (lens.fx, lens.fy), -1, 0)
        turned = world_from_camera[:3, :3].T @ normal
        # How fast a ray with z = 1 comes nearer to the plane, and how far there is to go.
        nearer = turned[0] * x + turned[1] * y + turned[2]
        way = constant - normal @ world_from_camera[:3, 3]
        meets = np.sign(nearer) * np.sign(way) > 0
        with np.errstate(over="ignore"):
            depth = way / np.where(meets, nearer, 1.0)
        return np.where(meets, np.minimum(depth, farthest), 0.0)

    def content(self) -> list[Any]:
        """Changes with what it does."""
        return [self.region.content(), self.first, self.last, self.kind, list(self.values)]


def inside(outline: NDArray[np.float64], places: NDArray[np.float64]) -> Mask:
    """Which places (..., 2) lie inside of a closed outline (P, 2), by the even-odd rule."""
    result = np.zeros(places.shape[:-1], bool)
    low, high = outline.min(axis=0), outline.max(axis=0)
    near = ((places >= low) & (places <= high)).all(axis=-1)
    x, y = places[near].T
    within = np.zeros(len(x), bool)
    for (ax, ay), (bx, by) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        within ^= crosses & (x < ax + (y - ay) * (bx - ax) / ((by - ay) or 1.0))
    result[near] = within
    return result


def read_hints(path: Path | None, numbers: Sequence[int], width: int, height: int) -> tuple[Hint, ...]:
    """The hints of a `cvd.hints/1` file; none of no file.

    Args:
        path: of the file.
        numbers: plate frame numbers that are solved.
        width: of the plate, pixels.
        height: of the plate, pixels.

    Raises:
        HintError: what is wrong with the file or one of its hints.
    """
    if path is None:
        return ()
    try:
        document: Any = read_json(path)
    except OSError as error:
        raise HintError(
            "hint.unreadable",
            f"The depth hints {path} cannot be read.",
            f"{error.strerror}.",
            "Check the path.",
        ) from error
    except ValueError as error:
        raise HintError(
            "hint.unreadable",
            f"The depth hints {path} cannot be read.",
            f"It is not a JSON document: {str(error).rstrip('.')}.",
            "Write the file again.",
        ) from error
    problem = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema("hints-1")).iter_errors(document))
    if problem is not None:
        where = "/".join(str(part) for part in problem.absolute_path) or "the document"
        raise HintError(
            "hint.invalid",
            f"The depth hints {path} cannot be used.",
            f"{where}: {problem.message[:300]}.",
            "Correct that field; engine/schemas/hints-1.json describes the file.",
        )
    found = [_read(entry, index, path) for index, entry in enumerate(document["hints"], 1)]
    result = []
    for entry, name, folder in found:
        hint = _hint(entry, name, _region(entry, name, folder, width, height))
        if not any(hint.first <= number <= hint.last for number in numbers):
            raise HintError(
                "hint.frames",
                f"The depth hint {name} is on no frame of this solve.",
                f"It holds on frames {hint.first} to {hint.last}; {min(numbers)} to {max(numbers)} are solved.",
                "Correct its frames, or leave it out.",
            )
        result.append(hint)
    return tuple(result)


def _read(entry: dict[str, Any], index: int, path: Path) -> tuple[dict[str, Any], str, Path]:
    given = {key: value for key, value in entry.items() if value is not None}
    return given, given.get("name") or str(index), path.parent


def _region(entry: dict[str, Any], name: str, folder: Path, width: int, height: int) -> Region:
    if ("polygons" in entry) == ("mask" in entry):
        raise HintError(
            "hint.region",
            f"The depth hint {name} has {'two regions' if 'mask' in entry else 'no region'}.",
            "A hint has a region of the plate: either polygons or a mask.",
            "Give one of the two.",
        )
    if "mask" in entry:
        try:
            masks = ArtistMasks.find(folder / entry["mask"], width, height)
        except MaskError as error:
            raise HintError(
                "hint.mask_missing", f"The depth hint {name} has no mask. {error.what}", error.why, error.fix
            ) from error
        return Drawn(masks)
    keys = {int(key["frame"]): np.array(key["points"], np.float64).reshape(-1, 2) for key in entry["polygons"]}
    wrong = ""
    if not keys:
        wrong = "It has no key frame."
    elif len(keys) < len(entry["polygons"]):
        wrong = "It has two outlines on one frame."
    elif min(map(len, keys.values())) < 3:
        number = min(keys, key=lambda key: len(keys[key]))
        wrong = f"On frame {number} it has {len(keys[number])} of at least 3 points."
    elif len({len(points) for points in keys.values()}) > 1:
        wrong = "Its number of points changes between key frames, so nothing lies between them."
    if wrong:
        raise HintError(
            "hint.polygon",
            f"The outline of the depth hint {name} cannot be used.",
            wrong,
            "Draw three or more points, as many on each key frame.",
        )
    return Polygons(dict(sorted(keys.items())))


def _hint(entry: dict[str, Any], name: str, region: Region) -> Hint:
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        other = sorted(entry.keys() - {"name", "first", "last", "polygons", "mask", *KINDS})
        said = " and ".join(kinds) or (f"{', '.join(other)}, which this engine does not know" if other else "none")
        raise HintError(
            "hint.kind",
            f"The depth hint {name} does not say how far away its region is.",
            f"It needs one of distance, plane and point, and has {said}.",
            "Give exactly one of the three.",
        )
    (kind,) = kinds
    values: tuple[float, ...]
    if kind == "plane":
        values = _plane(entry[kind], name)
    else:
        values = tuple(map(float, entry[kind])) if kind == "point" else (float(entry[kind]),)
    if kind == "distance" and not values[0] > 0.0:
        raise HintError(
            "hint.distance",
            f"The depth hint {name} has a distance of {values[0]:g}.",
            "Only what lies before the camera can be seen.",
            "Give a distance above 0, along the optical axis.",
        )
    begin, end = region.frames()
    return Hint(name, region, entry.get("first", begin), entry.get("last", end), kind, values)


def _plane(points: Sequence[Sequence[float]], name: str) -> tuple[float, ...]:
    """Unit normal, and what it gives for points of the plane: the best one through the points."""
    places = np.array(points, np.float64).reshape(-1, 3)
    middle = places.mean(axis=0) if len(places) else np.zeros(3)
    extents, axes = np.linalg.svd(places - middle)[1:] if len(places) >= 3 else (np.zeros(2), np.eye(3))
    if not extents[1] > FLAT * extents[0]:
        raise HintError(
            "hint.plane",
            f"The points of the depth hint {name} do not lie on one plane alone.",
            f"There are {len(places)}." if len(places) < 3 else "They lie on a line, or on top of each other.",
            "Pick three or more points that span the surface.",
        )
    normal = axes[2]
    return (*map(float, normal), float(normal @ middle))


def content_of(hints: Sequence[Hint]) -> str:
    """A hash of the hints, for the cache key."""
    text = json.dumps([hint.content() for hint in hints])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def depth_of_hints(hints: Sequence[Hint], track: CameraTrack, lens: Lens, number: int, farthest: float) -> Array:
    """Planar depth (H, W) of a frame by its hints, the last one of each pixel; 0 where there is none.

    Args:
        hints: in their order.
        track: scaled cameras, in the world of the hints.
        lens: pinhole of the grid.
        number: plate frame number, with a camera.
        farthest: what is further away counts as that far.
    """
    result = np.zeros((lens.height, lens.width), np.float32)
    for hint in hints:
        told = told_by(hint, track, lens, number, farthest)
        if told is not None:
            result = np.where(told > 0, told, result)
    return result


def told_by(hint: Hint, track: CameraTrack, lens: Lens, number: int, farthest: float) -> Array | None:
    """Planar depth (H, W) of a frame by one hint, 0 outside of it; None where its region is not to be seen."""
    region = hint.region.mask(number, Grid(track.lens, lens)) if hint.first <= number <= hint.last else None
    if region is None or not region.any():
        return None
    own = track.lens_at(number).undistorted().scaled(lens.width, lens.height)
    return np.where(region, hint.depth(own, track.world_from_camera[number], farthest), 0.0).astype(np.float32)
