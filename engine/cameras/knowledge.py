"""What is known about the lens before the solve, and who says so.

The artist comes first: a focal length in pixels, or in mm with a sensor width of theirs or of a camera in the database.
Such a focal length is held. What the footage's metadata says comes second: it is a start for the solver and is not
trusted, since movies are cropped and stabilised, lenses adapted, and files re-exported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from engine.cameras.document import FOCAL_RANGE
from engine.cameras.metadata import Metadata, read_metadata
from engine.errors import RequestError
from engine.footage import Footage
from engine.request import LensRequest

_FULL_FRAME_MM, _FULL_FRAME_DIAGONAL_MM = 36.0, 43.267
_MIN_RATIO, _MAX_RATIO = 0.2, 20.0
"""Focal length over width: beyond these, what the file says is not about this picture."""


@dataclass(frozen=True)
class LensKnowledge:
    """The lens, as far as it is known, in plate pixels.

    Attributes:
        focal_px: known, and to be held; None = not known.
        start_px: a guess to start from and to compare the result with; None = no guess, or not needed.
        origin: where it comes from, for people.
        said_by: who says `start_px`, for people.
        pixel_aspect: known width of a pixel over its height; None = not known.
        principal_px: known principal point; None = not known.
    """

    focal_px: float | None = None
    start_px: float | None = None
    origin: str = "estimated from the pictures"
    said_by: str = ""
    pixel_aspect: float | None = None
    principal_px: tuple[float, float] | None = None


@cache
def database() -> dict[str, dict[str, Any]]:
    """The cameras of `database.json` by name: {"sensor_mm": [width, height]} and/or {"equivalent_mm": focal length}."""
    text = (Path(__file__).parent / "database.json").read_text(encoding="utf-8")
    cameras: dict[str, dict[str, Any]] = json.loads(text)["cameras"]
    return cameras


def what_is_known(lens: LensRequest, footage: Footage) -> LensKnowledge:
    """What artist, database and metadata say about the focal length, in this order; the rest the artist alone.

    Raises:
        RequestError: `request.lens`: a focal length in mm without a sensor, or that no lens has; a camera that is not
            in the database; a principal point outside of the plate.
    """
    if lens.principal_px is not None:
        x, y = lens.principal_px
        if not (0.0 < x < footage.width and 0.0 < y < footage.height):
            raise RequestError(
                "request.lens",
                f"The principal point {x:g}, {y:g} does not lie on the plate.",
                f"The plate is {footage.width}x{footage.height} pixels, counted from its top left corner.",
                "Give it in plate pixels, with y downwards.",
            )
    found = _focal(lens, footage)
    low, high = (share * max(footage.width, footage.height) for share in FOCAL_RANGE)
    if found.focal_px is not None and not low <= found.focal_px <= high:
        raise RequestError(
            "request.lens",
            f"A focal length of {found.focal_px:g} px is not that of a lens.",
            f"In pictures of {footage.width}x{footage.height} it lies between {low:.0f} and {high:.0f} px.",
            "Give it in pixels of the plate, or in mm with the width of the sensor in mm.",
        )
    return replace(found, pixel_aspect=lens.pixel_aspect, principal_px=lens.principal_px)


def _focal(lens: LensRequest, footage: Footage) -> LensKnowledge:
    height = footage.height / (lens.pixel_aspect or 1.0)  # in pixels as high as they are wide
    entry = _entry(lens.camera)
    if lens.focal_px is not None:
        return LensKnowledge(focal_px=lens.focal_px, origin=f"given: {lens.focal_px:.1f} px")
    sensor = lens.sensor_mm or (float(entry["sensor_mm"][0]) if "sensor_mm" in entry else None)
    if lens.focal_mm is not None:
        if sensor is None:
            raise RequestError(
                "request.lens",
                f"A focal length of {lens.focal_mm:g} mm alone says nothing about the picture.",
                "What it shows depends on the width of the sensor, which is not given.",
                "Give the sensor's width, or choose a camera of which it is known.",
            )
        focal = lens.focal_mm / sensor * footage.width
        body = f" ({lens.camera})" if lens.camera and lens.sensor_mm is None else ""
        return LensKnowledge(focal, None, f"given: {lens.focal_mm:g} mm on a sensor {sensor:g} mm wide{body}")
    if "equivalent_mm" in entry:
        main = equivalent_px(float(entry["equivalent_mm"]), footage.width, height)
        return _guessed(main, f"the lens of {lens.camera}")
    found = read_metadata(footage) if lens.metadata else None
    start = None if found is None else _start(found, sensor, footage.width, height)
    if found is None or start is None:
        return LensKnowledge()
    return _guessed(start, f"the file ({found.text})")


def _guessed(start_px: float, said_by: str) -> LensKnowledge:
    return LensKnowledge(None, start_px, f"estimated from the pictures; {said_by} says {start_px:.0f} px", said_by)


def equivalent_px(equivalent_mm: float, width: float, height: float) -> float:
    """Focal length in pixels of a "35 mm equivalent", which compares the pictures' diagonals (CIPA DCG-001)."""
    return float(equivalent_mm / _FULL_FRAME_DIAGONAL_MM * (width**2 + height**2) ** 0.5)


def _entry(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    if name not in database():
        words = set(name.lower().split())
        alike = [known for known in database() if words & set(known.lower().split())]
        raise RequestError(
            "request.lens",
            f"The camera {name!r} is not in the database.",
            f"Cameras named like it: {', '.join(alike[:6]) or 'none'}.",
            "Choose a name from engine/cameras/database.json, or give the sensor's width.",
        )
    return database()[name]


def _start(found: Metadata, sensor: float | None, width: float, height: float) -> float | None:
    focal = None
    if found.equivalent_mm is not None:
        focal = equivalent_px(found.equivalent_mm, width, height)
    elif found.focal_mm is not None and sensor is not None:
        focal = found.focal_mm / sensor * width
    elif (by_name := _by_model(found.model)) is not None:
        focal = equivalent_px(by_name, width, height)
    return focal if focal is not None and _MIN_RATIO < focal / max(width, height) < _MAX_RATIO else None


def _by_model(model: str | None) -> float | None:
    """35 mm equivalent of the main lens of a phone, whose files often name the phone only."""
    entry = {} if model is None else database().get(f"{model}, main lens", {})
    return float(entry["equivalent_mm"]) if "equivalent_mm" in entry else None
