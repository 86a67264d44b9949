"""A request is defined once, by its schema: whoever repeats or reads it is held to that here (docs/request.md)."""

import argparse
import dataclasses
import json
import re
import types
import typing
from pathlib import Path

import jsonschema
import pytest

from engine import request
from engine.cli import _parser, _request
from engine.request import SCHEMA, SOLVED, STAGES, Request, parse_request
from engine.schemas import choices, document_of, field, fields, options, placed, schema

FARM = Path(__file__).resolve().parents[2] / "farm"
PARTS = {name: hint for name, hint in typing.get_type_hints(Request).items() if dataclasses.is_dataclass(hint)}
OWN_OPTIONS = {"help", "what", "out", "until", "json"}  # of `solve`, beside those of the request


def solve_parser():
    commands = next(action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices["solve"]


def test_the_schema_is_one_and_each_of_its_defaults_is_valid() -> None:
    document = schema("request-1")
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$id"] == document["properties"]["schema"]["const"] == SCHEMA
    for each in fields():
        assert each.required or each.name == "schema" or "default" in each.entry, each.where
        assert each.name == "schema" or len(each.entry["description"]) > 20, each.where
        if "default" in each.entry:
            entry = {**each.entry, "$defs": document["$defs"]}
            jsonschema.validate(each.default, entry, jsonschema.Draft202012Validator)
        if each.goes_with is not None:
            name, values = each.goes_with
            assert set(values) < set(choices(f"{each.part}/{name}")) and each.default is None


def python_type(each):
    """What the classes have for a field of the schema."""
    names = {"enum": "string"} if "enum" in each.entry else {}
    found = [names["enum"]] if names else each.entry["type"]
    found = found if isinstance(found, list) else [found]
    plain = {"integer": int, "number": float, "string": str, "boolean": bool}
    kinds = {Path if each.format == "path" else plain[name] for name in found if name in plain}
    return kinds | ({types.NoneType} if "null" in found else set())


def test_the_classes_have_the_schemas_fields_types_and_defaults() -> None:
    """Forgotten in engine/request.py: a field of the schema, or one that the schema does not have."""
    there = {(part, name) for part, kind in PARTS.items() for name in typing.get_type_hints(kind)}
    there |= {("", name) for name in typing.get_type_hints(Request) if name not in PARTS}
    assert there == {(each.part, each.name) for each in fields()} - {("", "schema")}
    for each in fields():
        kind = PARTS[each.part] if each.part else Request
        if each.name == "schema":
            continue
        hint = typing.get_type_hints(kind)[each.name]
        hints = set(typing.get_args(hint)) if isinstance(hint, types.UnionType) else {hint}
        single = {h for h in hints if not dataclasses.is_dataclass(h) and typing.get_origin(h) is not tuple}
        assert single == python_type(each), each.where
        (own,) = (f for f in dataclasses.fields(kind) if f.name == each.name)
        assert own.default == (dataclasses.MISSING if each.required else each.default), each.where


def test_every_field_survives_writing_and_reading() -> None:
    document = json.loads(json.dumps(Request(request.FootageRequest(Path("/a.mp4")), Path("/a.solve")).as_json()))
    assert set(document) == set(schema("request-1")["properties"])
    for each in fields():
        assert each.name in (document[each.part] if each.part else document), each.where
    assert parse_request(document, "test").as_json() == document


def test_the_command_line_has_an_option_for_every_field_and_no_other() -> None:
    actions = {action.dest: action for action in solve_parser()._actions}
    optional = [each for each in fields() if not each.required]
    assert set(actions) == OWN_OPTIONS | {each.dest for each in optional}
    for each in optional:
        assert actions[each.dest].choices == each.entry.get("enum"), each.where
        assert actions[each.dest].default is None, each.where
    assert actions["until"].choices == STAGES


WORDS = {"integer": "7", "number": "2.5", "string": "a name"}


def words_for(each):
    """An option as it is typed, and the value that the field then has."""
    if isinstance(each.default, bool):
        return [f"--no-{each.option}" if each.default else f"--{each.option}"], not each.default
    if "enum" in each.entry:
        return [f"--{each.option}", each.entry["enum"][-1]], each.entry["enum"][-1]
    leaves = [*options._leaves(each.entry)]
    if len(leaves) > 1:
        typed = [WORDS[leaf["type"]] for leaf in leaves]
        numbers = iter([float(word) for word in typed])
        return [f"--{each.option}", *typed], options._nested(each.entry, numbers)
    kinds = each.entry["type"]
    word = WORDS[next(kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null")]
    return [f"--{each.option}", word], int(word) if word == "7" else float(word) if word == "2.5" else word


@pytest.mark.parametrize("where", [each.where for each in fields() if not each.required])
def test_each_option_sets_its_field(where) -> None:
    each = field(where)
    words, value = words_for(each)
    parsed = solve_parser().parse_args(["a.mp4", *words])
    assert options.given(parsed)[where] == value
    assert options.names(parsed) == [words[0]]


def test_what_the_command_line_says_is_in_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    typed = ["solve", "a.mp4", "--no-motion", "--allow-non-commercial", "--masks", "m", "--segmentation", "model"]
    typed += [
        "--prior",
        "transformers",
        "--prior-path",
        "owner/model",
        "--film-back",
        "24.9",
        "14",
        "--body",
        "Sony FX3",
    ]
    typed += ["--camera", "chan", "--camera-path", "a.chan", "--camera-metric", "--out", "b.solve", "--no-metadata"]
    asked = _request(_parser().parse_args(typed))
    assert (asked.footage.path, asked.output) == (tmp_path / "a.mp4", tmp_path / "b.solve")
    masks = request.MaskRequest(tmp_path / "m", str(tmp_path / "model"), False, True)
    assert asked.masks == masks, "what is a path is made absolute"
    assert asked.prior == request.PriorRequest("transformers", "owner/model", allow_non_commercial=True)
    assert asked.camera == request.CameraRequest("chan", tmp_path / "a.chan", (24.9, 14.0), metric=True)
    assert (asked.lens.camera, asked.lens.metadata) == ("Sony FX3", False)


def test_every_path_begins_at_the_folder(tmp_path: Path) -> None:
    settings = {each.where: "x" for each in fields() if each.format}
    document = placed(document_of(settings), tmp_path)
    for each in fields():
        if each.format:
            found = (document[each.part] if each.part else document)[each.name]
            assert found == (str(tmp_path / "x") if each.format == "path" else "x"), each.where


def test_cameras_that_are_solved_need_no_file() -> None:
    assert SOLVED == ("solve", "deepv2d")


def test_the_farms_templates_offer_every_preset() -> None:
    """Forgotten in farm/: a preset."""
    wanted = ["listed", *choices("preset")]
    template = (FARM / "openjd" / "template.yaml").read_text(encoding="utf-8")
    (openjd,) = re.findall(r"name: Preset.*?allowedValues: \[(.*?)\]", template, re.S)
    assert openjd.split(", ") == wanted
    script = (FARM / "flamenco" / "solve_shots.js").read_text(encoding="utf-8")
    (flamenco,) = re.findall(r'key: "preset".*?choices: (\[.*?\])', script, re.S)
    assert json.loads(flamenco) == wanted
