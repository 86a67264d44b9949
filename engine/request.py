"""What to solve: the request, read from JSON (`cvd.request/1`) or built from command-line words."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from engine.errors import RequestError

SCHEMA = "cvd.request/1"
SCHEMA_FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"


@dataclass(frozen=True)
class FootageRequest:
    """Which frames of which footage. Frame numbers are the plate's own; movies count from 1."""

    path: Path
    first: int | None = None
    last: int | None = None
    step: int = 1
    colourspace: str = "auto"


@dataclass(frozen=True)
class LensRequest:
    """What is known about the lens; `focal_px` in plate pixels, None = estimate."""

    model: str = "SIMPLE_RADIAL"
    focal_px: float | None = None


@dataclass(frozen=True)
class Request:
    """One solve."""

    footage: FootageRequest
    output: Path
    lens: LensRequest = field(default_factory=LensRequest)
    method: str = "cvd"
    preset: str = "standard"
    seed: int = 0
    device: str = "auto"

    def as_json(self) -> dict[str, Any]:
        """The request as a `cvd.request/1` document."""
        document = asdict(self)
        document["footage"]["path"] = str(self.footage.path)
        document["output"] = str(self.output)
        return {"schema": SCHEMA, **document}


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
        document = json.loads(path.read_text(encoding="utf-8"))
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
    footage = FootageRequest(**{**document["footage"], "path": Path(document["footage"]["path"])})
    if footage.first is not None and footage.last is not None and footage.first > footage.last:
        raise RequestError(
            "request.empty_range",
            f"The frame range {footage.first}..{footage.last} is empty.",
            "Its first frame comes after its last.",
            "Swap the two.",
        )
    settings = {name: document[name] for name in ("method", "preset", "seed", "device") if name in document}
    return Request(footage, Path(document["output"]), LensRequest(**document.get("lens", {})), **settings)
