"""The shot list (`cvd.shots/1`): named requests, whose paths may begin at the list's own folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

from engine.errors import RequestError
from engine.files import read_json
from engine.request import SCHEMA, Request, parse_request
from engine.schemas import placed, schema

_FIX = "Correct the list; docs/farm.md and engine/schemas/shots-1.json describe it."
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::([1-9]\d*))?)?")


@dataclass(frozen=True)
class Shot:
    """One shot of a list.

    Attributes:
        number: its place in the list, from 1.
        name: fit for the name of a file.
        request: what to solve; all paths absolute.
        document: the request as it is written, which is the same on machines that reach the list by other paths.
    """

    number: int
    name: str
    request: Request
    document: dict[str, Any]


def read_shots(path: Path, preset: str | None = None) -> list[Shot]:
    """Read and check a shot list.

    Args:
        path: of the list.
        preset: for every shot, whatever its request says; None = as the requests say.

    Raises:
        RequestError: `shots.*` for the list, `request.*` for one of its requests.
    """
    path = path.absolute()
    document = _read_json(path)
    problem = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema("shots-1")).iter_errors(document))
    if problem is not None:
        where = "/".join(str(part) for part in problem.absolute_path) or "the document"
        raise RequestError("shots.invalid", f"{path} is not a valid shot list.", f"{where}: {problem.message}.", _FIX)
    shots = []
    for number, entry in enumerate(document["shots"], start=1):
        origin = path if isinstance(entry["request"], dict) else path.parent / entry["request"]
        written = entry["request"] if isinstance(entry["request"], dict) else _read_json(origin)
        if isinstance(written, dict):
            written = {"schema": SCHEMA, **written, **({"preset": preset} if preset is not None else {})}
        told = f"The request of the shot {entry['name']} in {path}"
        request = parse_request(placed(parse_request(written, told).as_json(), origin.parent), told)
        shots.append(Shot(number, entry["name"], request, written))
    _require_different(path, "name", [shot.name.casefold() for shot in shots])
    _require_different(path, "output", [str(shot.request.output).casefold() for shot in shots])
    return shots


def select(shots: list[Shot], words: str) -> list[Shot]:
    """The shots that words such as "2", "1-3,7" or "1-9:2" name: numbers, ranges, ranges with a step.

    Raises:
        RequestError: `shots.selection`.
    """
    numbers: list[int] = []
    for word in words.split(","):
        match = _RANGE.fullmatch(word.strip())
        if match is None:
            break
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= len(shots):
            break
        numbers.extend(range(first, last + 1, int(match[3] or 1)))
    else:
        return [shots[number - 1] for number in sorted(set(numbers))]
    raise RequestError(
        "shots.selection",
        f"There are no such shots: {words}.",
        f"The list has the shots 1 to {len(shots)}.",
        'Give numbers and ranges within that, such as "1-3,7".',
    )


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except OSError as error:
        raise RequestError("shots.unreadable", f"Cannot read {path}.", f"{error.strerror}.", _FIX) from error
    except ValueError as error:
        raise RequestError("shots.not_json", f"{path} is not a JSON document.", f"{error}.", _FIX) from error


def _require_different(path: Path, field: str, values: list[str]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise RequestError(
            "shots.twice",
            f"{path} is not a valid shot list.",
            f"Several shots have the {field} {twice[0]}: one would take the other's place.",
            "Give each shot a name and a solve folder of its own.",
        )
