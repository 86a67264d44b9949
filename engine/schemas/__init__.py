"""The formats of files that other programs read and write, as JSON Schemas; and what the fields of a request are.

Needs Python's own library only, so that scripts in Blender's Python can use it as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PATH, PATH_OR_NAME = "path", "path-or-name"


@cache
def schema(name: str) -> dict[str, Any]:
    """The JSON Schema `engine/schemas/<name>.json`, such as `request-1`."""
    text = Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@dataclass(frozen=True)
class Field:
    """A field of a request, as the schema has it.

    Attributes:
        part: the object that it stands in, such as "lens"; "" at the top.
        name: of the field itself.
        entry: the schema's words for it.
        required: a request without it is none.
    """

    part: str
    name: str
    entry: dict[str, Any]
    required: bool

    @property
    def where(self) -> str:
        """Part and name, as errors write them: `lens/focal_px`, `preset`."""
        return f"{self.part}/{self.name}" if self.part else self.name

    @property
    def option(self) -> str:
        """Its option on the command line, without dashes before it. Several fields may share one."""
        return str(self.entry.get("x-option", self.name.replace("_", "-")))

    @property
    def dest(self) -> str:
        """The option as the name of an attribute, and of the property in Blender."""
        return self.option.replace("-", "_")

    @property
    def default(self) -> Any:
        """What counts where nothing is said."""
        return self.entry["default"]

    @property
    def format(self) -> str | None:
        """`PATH`, `PATH_OR_NAME` or None."""
        found: str | None = self.entry.get("format")
        return found

    @property
    def goes_with(self) -> tuple[str, list[str]] | None:
        """(field of the same part, values): this field is given exactly when that one has one of these values."""
        return next(iter(self.entry.get("x-with", {}).items()), None)


@cache
def fields() -> tuple[Field, ...]:
    """Every field of a request, in the schema's order."""
    document = schema("request-1")
    found = []
    for name, entry in document["properties"].items():
        if entry.get("type") == "object":
            found += [Field(name, n, e, n in entry.get("required", ())) for n, e in entry["properties"].items()]
        else:
            found.append(Field("", name, entry, name in document["required"]))
    return tuple(found)


@cache
def field(where: str) -> Field:
    """The field of that part and name, such as `lens/focal_px` or `preset`."""
    return next(each for each in fields() if each.where == where)


def choices(where: str) -> tuple[str, ...]:
    """The words that a field may have."""
    return tuple(field(where).entry["enum"])


def document_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A request document of settings that are named as `Field.where` says."""
    document: dict[str, Any] = {"schema": schema("request-1")["$id"]}
    for where, value in settings.items():
        part, _, name = where.rpartition("/")
        (document.setdefault(part, {}) if part else document)[name] = value
    return document


def placed(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The request document with all paths that are relative beginning at `folder`.

    What may be the name of a model as well is a path where there is something of that name.
    """
    result = {name: dict(value) if isinstance(value, dict) else value for name, value in document.items()}
    for each in fields():
        part: Any = result.get(each.part) if each.part else result
        value = part.get(each.name) if isinstance(part, dict) else None
        if not isinstance(value, str) or not value:
            continue  # the check of the request says what is wrong with it
        if each.format == PATH or (each.format == PATH_OR_NAME and (folder / value).exists()):
            part[each.name] = str(folder / value)
    return result
