# SPDX-License-Identifier: GPL-3.0-or-later
"""The request for a solve, in the words of its schema. Knows nothing of Blender.

What a request may say is defined by the engine's `request-1.json`, which lies in the extension as it does in the
checkout: names, words, ranges and defaults are read there. Settings are named as errors name them: `lens/focal_px`,
`preset`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .jobs import StartError

SCHEMA = Path("engine", "schemas", "request-1.json")
PATH = "path"  # the schema's word for what is one
_WHAT = "The engine was not started."
_KINDS: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list, tuple),
}
_PAIRS = {
    "footage/right": (
        "A stereo clip in two files needs the right eye's footage, and nothing else uses it.",
        "Choose the right eye's footage under Stereo, or set Stereo to what the clip is.",
    ),
    "camera/path": (
        "The camera '{chosen}' and its path do not go together: a given camera has one, a solved one has none.",
        "Choose the file or folder under Camera, or set Camera to Solve.",
    ),
    "prior/path": (
        "The depth prior '{chosen}' and its path do not go together: a model and depth maps need one, nothing else "
        "uses one.",
        "Choose the model or the maps under Depth Prior, or another prior.",
    ),
}
"""In the panels' words: why a field and the one that it goes with are refused, and what to do."""


@dataclass(frozen=True)
class _Field:
    """A field as the schema has it: the object it stands in, its name, and the schema's words for it."""

    part: str
    name: str
    entry: dict[str, Any]

    @property
    def property_name(self) -> str:
        """What a property in Blender is called that holds its value as it is: like the engine's option."""
        return str(self.entry.get("x-option", self.name)).replace("-", "_")


@cache
def _schema() -> dict[str, Any]:
    package = Path(__file__).resolve().parent
    for folder in (package, package.parent):  # the extension, the checkout
        if (folder / SCHEMA).is_file():
            document: dict[str, Any] = json.loads((folder / SCHEMA).read_text(encoding="utf-8"))
            return document
    raise StartError(
        "engine.missing",
        _WHAT,
        f"There is no {SCHEMA.as_posix()} in {package}.",
        "Install the add-on from the zip that `build.py package` makes: it holds the engine.",
    )


@cache
def _fields() -> dict[str, _Field]:
    found: dict[str, _Field] = {}
    for name, entry in _schema()["properties"].items():
        if entry.get("type") == "object":
            found |= {f"{name}/{inner}": _Field(name, inner, words) for inner, words in entry["properties"].items()}
        elif "const" not in entry:
            found[name] = _Field("", name, entry)
    return found


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, and the schema's defaults for all that they do not say."""
    defaults = {where: each.entry["default"] for where, each in _fields().items() if "default" in each.entry}
    return {**defaults, **settings}


def of_properties(group: Any) -> dict[str, Any]:
    """The settings that are properties of `group`: those of the name that the engine's option has.

    A number that has to be above zero, and need not be known, is unknown at zero.
    """
    settings = {}
    for where, each in _fields().items():
        value = getattr(group, each.property_name, None)
        if isinstance(value, bool | int | float | str):
            unknown = value == 0 and not isinstance(value, bool) and each.entry.get("exclusiveMinimum") == 0
            settings[where] = None if unknown else value
    return settings


def make(clip: Path, folder: Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A `cvd.request/1` document with every field.

    Args:
        clip: a movie, a file of an image sequence, or a folder that holds one.
        folder: the solve folder.
        settings: all else that is asked for, as `lens/focal_px` or `preset`; paths may be relative, and `Path`s.

    Raises:
        StartError: a setting that the schema does not know or allow, or one that lacks the path that belongs to it.
    """
    given = complete({"footage/path": clip, "output": folder, **(settings or {})})
    document: dict[str, Any] = {"schema": _schema()["$id"]}
    for where, value in given.items():
        each = _fields().get(where)
        if each is None:
            raise _wrong(where, "the engine knows no such setting")
        files = where == "prior/path" and given["prior/kind"] == "maps"  # never the name of a model
        plain = _plain(PATH if files else each.entry.get("format"), value)
        problem = _problem(each.entry, plain)
        if problem:
            raise _wrong(where, problem)
        (document.setdefault(each.part, {}) if each.part else document)[each.name] = plain
    _require_pairs(given)
    return document


def _wrong(where: str, problem: str) -> StartError:
    return StartError("request.invalid", _WHAT, f"{where}: {problem}.", "Correct that setting.")


def _plain(kind: str | None, value: Any) -> Any:
    """The value as JSON has it, paths from the root; `kind` is the schema's word for a path."""
    if isinstance(value, tuple):
        return list(value)
    if kind is None or not isinstance(value, str | Path) or not str(value):
        return value
    # A model may also be named as it is in the user's cache.
    return str(Path(value).absolute()) if kind == PATH or Path(value).is_dir() else str(value)


def _problem(entry: Mapping[str, Any], value: Any) -> str:
    """What the schema has against a value; empty: nothing."""
    entry = _schema()["$defs"][entry["$ref"].rsplit("/", 1)[1]] if "$ref" in entry else entry
    if "enum" in entry:
        return "" if value in entry["enum"] else f"'{value}' is none of {', '.join(entry['enum'])}"
    names = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    if value is None:
        return "" if "null" in names else "it is missing"
    right = (each for name, each in _KINDS.items() if name in names)
    if isinstance(value, bool) != ("boolean" in names) or not any(isinstance(value, each) for each in right):
        return f"{value!r} is no {' or '.join(name for name in names if name != 'null')}"
    if isinstance(value, int | float) and not (
        math.isfinite(value)
        and entry.get("minimum", -math.inf) <= value <= entry.get("maximum", math.inf)
        and value > entry.get("exclusiveMinimum", -math.inf)
    ):
        return f"{value:g} is out of range"
    if isinstance(value, str) and len(value) < entry.get("minLength", 0):
        return "it is empty"
    if isinstance(value, dict):
        wrong = [name for name in entry["required"] if name not in value]
        inner = [_problem(words, value[name]) for name, words in entry["properties"].items() if name in value]
        return f"{wrong[0]} is missing" if wrong else next(filter(None, inner), "")
    if isinstance(value, list | tuple):
        items = entry["prefixItems"]
        if len(value) != len(items):
            return f"it has {len(value)} values instead of {len(items)}"
        return next(filter(None, map(_problem, items, value)), "")
    return ""


def _require_pairs(given: Mapping[str, Any]) -> None:
    """Refuse what lacks the path that belongs to it, or has one that nothing uses (`x-with` in the schema)."""
    for where, each in _fields().items():
        for name, values in each.entry.get("x-with", {}).items():
            chooser = _fields()[f"{each.part}/{name}"]
            chosen = given[f"{each.part}/{name}"]
            if (chosen in values) != (given[where] is not None):
                why, fix = _PAIRS.get(
                    where, (f"{where} is needed for {name} {' and '.join(values)} alone.", "Give both.")
                )
                raise StartError(f"request.{chooser.property_name}", _WHAT, why.format(chosen=chosen), fix)
