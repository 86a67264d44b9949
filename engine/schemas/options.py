"""Command-line options for the fields of a request, made from the schema. Needs Python's own library only."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from engine.schemas import Field, fields, schema

_TYPES = {"integer": int, "number": float, "string": str}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field that is not required: the caller asks for footage and output in its own way.

    What is not given is None: the schema's defaults are for whoever reads the request.
    """
    known = set()
    for each in fields():
        if each.required or each.option in known:
            continue
        known.add(each.option)
        words = _in_words(each.entry["description"])
        if isinstance(each.default, bool):
            name = f"--no-{each.option}" if each.default else f"--{each.option}"
            words = f"Switches off: {words}" if each.default else words
            parser.add_argument(name, dest=each.dest, action="store_const", const=not each.default, help=words)
            continue
        if each.default is not None:
            words += f" Default: {each.default}."
        parser.add_argument(f"--{each.option}", dest=each.dest, help=words, **_values(each))


def _in_words(description: str) -> str:
    """A description for people at a command line, which has no null and takes relative paths."""
    for json_word, word in (
        ("null = ", "not given: "),
        ("absolute path", "path"),
        ("Absolute path", "Path"),
        ("%", "%%"),
    ):
        description = description.replace(json_word, word)
    return description


def _values(each: Field) -> dict[str, Any]:
    """How argparse reads the option's values."""
    if "enum" in each.entry:
        return {"choices": each.entry["enum"]}
    leaves = [*_leaves(each.entry)]
    if len(leaves) > 1:
        return {"type": float, "nargs": len(leaves), "metavar": tuple(leaf["title"] for leaf in leaves)}
    (kind,) = (name for name in _as_list(each.entry["type"]) if name != "null")
    return {"type": _TYPES[kind]}


def given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as options, named as `Field.where` says."""
    settings = {}
    for each in fields():
        value = None if each.required else getattr(options, each.dest)
        if value is not None:
            settings[each.where] = _nested(each.entry, iter(value)) if isinstance(value, list) else value
    return settings


def names(options: argparse.Namespace) -> list[str]:
    """The options that were given, as they are written."""
    found = (
        f"--no-{each.option}" if each.default is True else f"--{each.option}"
        for each in fields()
        if not each.required and getattr(options, each.dest) is not None
    )
    return list(dict.fromkeys(found))


def _leaves(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The single values that a field is made of, in order."""
    inner = _inner(entry)
    if inner is None:
        yield entry
    else:
        for each in inner.values():
            yield from _leaves(each)


def _nested(entry: dict[str, Any], words: Iterator[float]) -> Any:
    """A field's value from its single values, in order."""
    inner = _inner(entry)
    if inner is None:
        word = next(words)
        # What is no whole number stays as it is, so that the check of the request names the field.
        return int(word) if entry["type"] == "integer" and word.is_integer() else word
    values = {name: _nested(each, words) for name, each in inner.items()}
    return values if "properties" in _resolved(entry) else list(values.values())


def _inner(entry: dict[str, Any]) -> dict[Any, dict[str, Any]] | None:
    """What an object or an array is made of; None of a single value."""
    entry = _resolved(entry)
    if "properties" in entry:
        properties: dict[Any, dict[str, Any]] = entry["properties"]
        return properties
    return dict(enumerate(entry["prefixItems"])) if "prefixItems" in entry else None


def _resolved(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry, or the one under `$defs` that it names."""
    if "$ref" not in entry:
        return entry
    found: dict[str, Any] = schema("request-1")["$defs"][entry["$ref"].rsplit("/", 1)[1]]
    return found


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
