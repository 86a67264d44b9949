"""What to solve: the request, read from JSON (`cvd.request/1`) or built from command-line words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from engine.errors import RequestError
from engine.files import is_unicode, read_json

SCHEMA = "cvd.request/1"
SCHEMA_FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"


@dataclass(frozen=True)
class FootageRequest:
    """Which frames of which footage. Frame numbers are the plate's own; movies count from 1.

    `stereo` is "none", "side_by_side" or "two_files" (then `right` is the right eye's footage); `baseline` in metres.
    """

    path: Path
    first: int | None = None
    last: int | None = None
    step: int = 1
    colourspace: str = "auto"
    stereo: str = "none"
    right: Path | None = None
    baseline: float | None = None


@dataclass(frozen=True)
class LensRequest:
    """What is known about the lens; `focal_px` in plate pixels, None = estimate.

    A focal length in mm counts with the width of what the sensor records: `sensor_mm`, or that of the `camera` of
    `engine/cameras/database.json`. `pixel_aspect` is the width of a pixel over its height (of a plate from a lens that
    squeezes twice: 2), `principal_px` the principal point in plate pixels; None = estimate.
    """

    model: str = "AUTO"
    focal_px: float | None = None
    focal_mm: float | None = None
    sensor_mm: float | None = None
    camera: str | None = None
    metadata: bool = True
    pixel_aspect: float | None = None
    principal_px: tuple[float, float] | None = None


STAGES = ("footage", "masks", "poses", "flow", "motion", "prior", "scale", "evidence", "depth", "export")
"""Of a solve, in order; a request needs not every one (`pipeline.plan`)."""
SOLVED = ("solve", "deepv2d")  # kinds of camera that are found, not given
BY_DEEPV2D = ("deepv2d", "deepv2d+cvd")  # methods that measure depth with its network


@dataclass(frozen=True)
class CameraRequest:
    """Where the cameras come from: solved, or given by a file; see the schema for the words."""

    kind: str = "solve"
    path: Path | None = None
    film_back_mm: tuple[float, float] | None = None
    rotation_order: str = "ZXY"
    metric: bool = False


@dataclass(frozen=True)
class KnownDistance:
    """Two places picked on plate frames, each (frame, x, y) in plate pixels, and how far apart they are in metres."""

    metres: float
    a: tuple[int, float, float]
    b: tuple[int, float, float]


@dataclass(frozen=True)
class WorldRequest:
    """What is known about the size of the scene, in metres; either makes the solve metric."""

    camera_height: float | None = None
    distance: KnownDistance | None = None


@dataclass(frozen=True)
class MaskRequest:
    """What moves by itself: found by the artist, by a segmentation model (folder or name), by its motion."""

    path: Path | None = None
    segmentation: str | None = None
    motion: bool = True
    allow_non_commercial: bool = False


@dataclass(frozen=True)
class PriorRequest:
    """Where a first guess of depth comes from; see the schema for the words."""

    kind: str = "auto"
    path: str | None = None
    maps: str = "depth"
    allow_non_commercial: bool = False


@dataclass(frozen=True)
class Request:
    """One solve."""

    footage: FootageRequest
    output: Path
    lens: LensRequest = field(default_factory=LensRequest)
    camera: CameraRequest = field(default_factory=CameraRequest)
    tracks: Path | None = None
    world: WorldRequest = field(default_factory=WorldRequest)
    masks: MaskRequest = field(default_factory=MaskRequest)
    prior: PriorRequest = field(default_factory=PriorRequest)
    method: str = "cvd"
    preset: str = "standard"
    seed: int = 0
    device: str = "auto"
    replace: bool = False  # the finished solve of other footage in the output folder

    def as_json(self) -> dict[str, Any]:
        """The request as a `cvd.request/1` document."""
        document = asdict(self)
        document["footage"]["path"] = str(self.footage.path)
        document["footage"]["right"] = _text(self.footage.right)
        document["masks"]["path"] = _text(self.masks.path)
        document["camera"]["path"] = _text(self.camera.path)
        document["tracks"] = _text(self.tracks)
        document["output"] = str(self.output)
        return {"schema": SCHEMA, **document}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@cache
def schema(name: str) -> dict[str, Any]:
    """The JSON Schema `docs/schemas/<name>.json`, such as `request-1`."""
    document: dict[str, Any] = json.loads((SCHEMA_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


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
        jsonschema.Draft202012Validator(schema("request-1")).iter_errors(document)
    )
    if problem is not None:
        where = "/".join(str(part) for part in problem.absolute_path) or "the document"
        raise RequestError(
            "request.invalid",
            f"{origin} is not a valid request.",
            f"{where}: {problem.message}.",
            "Correct that field; docs/schemas/request-1.json describes all of them.",
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
    document = _whole_numbers(document)
    footage = FootageRequest(**_known(FootageRequest, _with_paths(document["footage"], "path", "right")))
    if footage.first is not None and footage.last is not None and footage.first > footage.last:
        raise RequestError(
            "request.empty_range",
            f"The frame range {footage.first}..{footage.last} is empty.",
            "Its first frame comes after its last.",
            "Swap the two.",
        )
    if (footage.stereo == "two_files") != (footage.right is not None):
        raise RequestError(
            "request.stereo",
            f"{origin} is not a valid request.",
            'footage/right is the right eye\'s footage: stereo "two_files" needs it, and nothing else uses it.',
            "Give both or neither.",
        )
    prior = PriorRequest(**_known(PriorRequest, document.get("prior", {})))
    if (prior.kind in ("transformers", "maps")) != (prior.path is not None):
        raise RequestError(
            "request.prior",
            f"{origin} is not a valid request.",
            f'prior/path says which model or maps to use: "transformers" and "maps" need it, "{prior.kind}" was '
            "asked for.",
            "Give a path together with one of these kinds.",
        )
    camera = _camera(document.get("camera", {}), origin)
    world = document.get("world", {})
    if camera.kind not in SOLVED and any(value is not None for value in world.values()):
        raise RequestError(
            "request.world",
            f"{origin} is not a valid request.",
            "world/ says how large a solved scene is, and a given camera has a size of its own.",
            "Leave one of them out; camera/metric says that a given camera is in metres.",
        )
    tracks = document.get("tracks")
    settings = {name: document[name] for name in ("method", "preset", "seed", "device", "replace") if name in document}
    if settings.get("method") in BY_DEEPV2D and settings.get("preset") == "cvd-2020":
        raise RequestError(
            "request.method",
            f"{origin} is not a valid request.",
            f"The preset cvd-2020 is CVD as it was published, and {settings['method']} is another method.",
            "Choose another preset, or method cvd.",
        )
    return Request(
        footage,
        Path(document["output"]),
        LensRequest(**_known(LensRequest, _with_pair(document.get("lens", {}), "principal_px"))),
        camera,
        None if tracks is None else Path(tracks),
        WorldRequest(**_known(WorldRequest, {**world, "distance": _distance(world.get("distance"))})),
        MaskRequest(**_known(MaskRequest, _with_paths(document.get("masks", {}), "path"))),
        prior,
        **settings,
    )


def _values(part: Any) -> Iterator[Any]:
    """Every value of a document."""
    if isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _values(inner)
    else:
        yield part


def _known(part: type, document: dict[str, Any]) -> dict[str, Any]:
    """The fields of a document that this version knows; others are a later one's."""
    names = {each.name for each in fields(part)}
    return {name: value for name, value in document.items() if name in names}


def _whole_numbers(document: dict[str, Any]) -> dict[str, Any]:
    """The document with frame numbers and seed as the integers that JSON Schema also sees in 3.0."""
    footage = dict(document["footage"])
    for name in ("first", "last", "step"):
        if footage.get(name) is not None:
            footage[name] = int(footage[name])
    return {**document, "footage": footage, "seed": int(document.get("seed", 0))}


def _camera(document: dict[str, Any], origin: str) -> CameraRequest:
    camera = CameraRequest(**_known(CameraRequest, _with_pair(_with_paths(document, "path"), "film_back_mm")))
    if (camera.kind in SOLVED) != (camera.path is None):
        raise RequestError(
            "request.camera",
            f"{origin} is not a valid request.",
            f'camera/path says where a given camera is: "{camera.kind}" was asked for '
            f"{'with' if camera.path else 'without'} one.",
            'Give a path together with "colmap", "chan" or "json", and none with "solve".',
        )
    return camera


def _distance(document: dict[str, Any] | None) -> KnownDistance | None:
    if document is None:
        return None
    return KnownDistance(document["metres"], tuple(document["a"]), tuple(document["b"]))


def _with_pair(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: tuple(value) if key == name and value is not None else value for key, value in values.items()}


def _with_paths(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: Path(value) if key in names and value is not None else value for key, value in values.items()}
