"""What to solve: the request, read from JSON (`cvd.request/1`) or built from command-line words.

What a request may say is defined by `engine/schemas/request-1.json`: names, words, ranges and defaults. The classes
here give its fields types (docs/request.md).
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import jsonschema

from engine import schemas
from engine.errors import RequestError
from engine.files import is_unicode, read_json
from engine.schemas import choices

SCHEMA = "cvd.request/1"
Part = TypeVar("Part")


def _default(where: str) -> Any:
    """What counts where a request does not say; stated in the schema alone."""
    return schemas.field(where).default


@dataclass(frozen=True)
class FootageRequest:
    """Which frames of which footage. Frame numbers are the plate's own; movies count from 1.

    `stereo` is "none", "side_by_side" or "two_files" (then `right` is the right eye's footage); `baseline` in metres.
    """

    path: Path
    first: int | None = _default("footage/first")
    last: int | None = _default("footage/last")
    step: int = _default("footage/step")
    colourspace: str = _default("footage/colourspace")
    stereo: str = _default("footage/stereo")
    right: Path | None = _default("footage/right")
    baseline: float | None = _default("footage/baseline")


@dataclass(frozen=True)
class LensRequest:
    """What is known about the lens; `focal_px` in plate pixels, None = estimate.

    A focal length in mm counts with the width of what the sensor records: `sensor_mm`, or that of the `camera` of
    `engine/cameras/database.json`. `pixel_aspect` is the width of a pixel over its height (of a plate from a lens that
    squeezes twice: 2), `principal_px` the principal point in plate pixels; None = estimate.
    """

    model: str = _default("lens/model")
    focal_px: float | None = _default("lens/focal_px")
    focal_mm: float | None = _default("lens/focal_mm")
    sensor_mm: float | None = _default("lens/sensor_mm")
    camera: str | None = _default("lens/camera")
    metadata: bool = _default("lens/metadata")
    pixel_aspect: float | None = _default("lens/pixel_aspect")
    principal_px: tuple[float, float] | None = _default("lens/principal_px")


STAGES = ("footage", "masks", "poses", "flow", "motion", "prior", "scale", "evidence", "depth", "hints", "export")
"""Of a solve, in order; a request needs not every one (`pipeline.plan`)."""
SOLVED = tuple(
    kind for kind in choices("camera/kind") if kind not in schemas.field("camera/path").entry["x-with"]["kind"]
)
"""Kinds of camera that are found, not given by a file."""
BY_DEEPV2D = ("deepv2d", "deepv2d+cvd")  # methods that measure depth with its network


@dataclass(frozen=True)
class CameraRequest:
    """Where the cameras come from: solved, or given by a file; see the schema for the words."""

    kind: str = _default("camera/kind")
    path: Path | None = _default("camera/path")
    film_back_mm: tuple[float, float] | None = _default("camera/film_back_mm")
    rotation_order: str = _default("camera/rotation_order")
    metric: bool = _default("camera/metric")


@dataclass(frozen=True)
class KnownDistance:
    """Two places picked on plate frames, each (frame, x, y) in plate pixels, and how far apart they are in metres."""

    metres: float
    a: tuple[int, float, float]
    b: tuple[int, float, float]


@dataclass(frozen=True)
class WorldRequest:
    """What is known about the size of the scene, in metres; either makes the solve metric."""

    camera_height: float | None = _default("world/camera_height")
    distance: KnownDistance | None = _default("world/distance")


@dataclass(frozen=True)
class MaskRequest:
    """What moves by itself: found by the artist, by a segmentation model (folder or name), by its motion."""

    path: Path | None = _default("masks/path")
    segmentation: str | None = _default("masks/segmentation")
    motion: bool = _default("masks/motion")
    allow_non_commercial: bool = _default("masks/allow_non_commercial")


@dataclass(frozen=True)
class PriorRequest:
    """Where a first guess of depth comes from; see the schema for the words."""

    kind: str = _default("prior/kind")
    path: str | None = _default("prior/path")
    maps: str = _default("prior/maps")
    allow_non_commercial: bool = _default("prior/allow_non_commercial")


@dataclass(frozen=True)
class Request:
    """One solve."""

    footage: FootageRequest
    output: Path
    lens: LensRequest = field(default_factory=LensRequest)
    camera: CameraRequest = field(default_factory=CameraRequest)
    tracks: Path | None = _default("tracks")
    world: WorldRequest = field(default_factory=WorldRequest)
    masks: MaskRequest = field(default_factory=MaskRequest)
    prior: PriorRequest = field(default_factory=PriorRequest)
    hints: Path | None = _default("hints")
    method: str = _default("method")
    preset: str = _default("preset")
    seed: int = _default("seed")
    device: str = _default("device")
    replace: bool = _default("replace")

    def as_json(self) -> dict[str, Any]:
        """The request as a `cvd.request/1` document."""
        return {"schema": SCHEMA, **_plain(asdict(self))}


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def read_request(path: Path) -> Request:
    """Read and check a request file.

    Raises:
        RequestError: not readable, not JSON, or not a `cvd.request/1` document.
    """
    fix = "Write the request again, or see docs/solve-folder.md for its form."
    try:
        document = read_json(path)
    except OSError as error:
        raise RequestError("request.unreadable", f"Cannot read {path}.", f"{error.strerror}.", fix) from error
    except ValueError as error:
        raise RequestError("request.not_json", f"{path} is not a JSON document.", f"{error}.", fix) from error
    return parse_request(document, str(path))


def parse_request(document: Any, origin: str) -> Request:
    """Check a request document and turn it into a `Request`.

    Raises:
        RequestError: the document does not follow the schema; the message names the field.
    """
    version = document.get("schema") if isinstance(document, dict) else None
    if isinstance(version, str) and version.startswith("cvd.request/") and version != SCHEMA:
        raise RequestError(
            "request.version",
            f"{origin} is a {version} request.",
            f"This engine reads {SCHEMA}.",
            "Update the engine, or write the request with the matching add-on.",
        )
    problem = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schemas.schema("request-1")).iter_errors(document)
    )
    if problem is not None:
        where = "/".join(str(part) for part in problem.absolute_path) or "the document"
        raise RequestError(
            "request.invalid",
            f"{origin} is not a valid request.",
            f"{where}: {problem.message}.",
            "Correct that field; engine/schemas/request-1.json describes all of them.",
        )
    for value in _values(document):
        wrong = (
            (isinstance(value, str) and not (is_unicode(value) and "\0" not in value))
            or (isinstance(value, int | float) and not abs(value) < 2.0**63)  # also what is no number
        )
        if wrong:
            raise RequestError(
                "request.invalid",
                f"{origin} is not a valid request.",
                f"{str(value)[:80]!r} is no number that can be reckoned with, and no text either.",
                "Correct that value.",
            )
    _require_pairs(document, origin)
    request = _part(Request, document)
    footage, camera = request.footage, request.camera
    if footage.first is not None and footage.last is not None and footage.first > footage.last:
        raise RequestError(
            "request.empty_range",
            f"The frame range {footage.first}..{footage.last} is empty.",
            "Its first frame comes after its last.",
            "Swap the two.",
        )
    if camera.kind not in SOLVED and request.world != WorldRequest():
        raise RequestError(
            "request.world",
            f"{origin} is not a valid request.",
            "world/ says how large a solved scene is, and a given camera has a size of its own.",
            "Leave one of them out; camera/metric says that a given camera is in metres.",
        )
    if request.method in BY_DEEPV2D and request.preset == "cvd-2020":
        raise RequestError(
            "request.method",
            f"{origin} is not a valid request.",
            f"The preset cvd-2020 is CVD as it was published, and {request.method} is another method.",
            "Choose another preset, or method cvd.",
        )
    return request


def _require_pairs(document: dict[str, Any], origin: str) -> None:
    """Refuse a request in which two fields that belong together do not (`x-with` in the schema)."""
    for each in schemas.fields():
        if each.goes_with is None:
            continue
        name, values = each.goes_with
        chooser, part = schemas.field(f"{each.part}/{name}"), document.get(each.part, {})
        chosen, value = part.get(name, chooser.default), part.get(each.name)
        if (chosen in values) != (value is not None):
            needing = " or ".join(f'"{word}"' for word in values)
            raise RequestError(
                f"request.{chooser.option}",
                f"{origin} is not a valid request.",
                f'{each.where} is needed where {chooser.where} is {needing}, and used nowhere else: "{chosen}" was '
                f"asked for {'without' if value is None else 'with'} one.",
                "Give both or neither.",
            )


def _part(kind: type[Part], document: dict[str, Any]) -> Part:
    """An object of a document that follows the schema. What this version does not know is a later one's."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: _typed(hints[name], value) for name, value in document.items() if name in hints})


def _typed(hint: Any, value: Any) -> Any:
    """A value as the type that the class has for it."""
    if value is None:
        return None
    if isinstance(hint, types.UnionType):
        (hint,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
    if isinstance(hint, type) and is_dataclass(hint):
        return _part(hint, value)
    if typing.get_origin(hint) is tuple:
        return tuple(_typed(each, inner) for each, inner in zip(typing.get_args(hint), value, strict=True))
    # An integer is also what JSON Schema sees as one, such as 3.0.
    return hint(value) if hint in (Path, int) else value


def _values(part: Any) -> Iterator[Any]:
    """Every value of a document."""
    if isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _values(inner)
    else:
        yield part
