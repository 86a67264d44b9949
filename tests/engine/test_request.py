"""Requests: what is accepted, what is refused, and with which words."""

import json
from pathlib import Path

import pytest

from engine import cli
from engine.cli import _parser, _request, main
from engine.errors import RequestError
from engine.request import (
    SCHEMA,
    FootageRequest,
    KnownDistance,
    Request,
    WorldRequest,
    parse_request,
    read_request,
)

GOOD = {"schema": SCHEMA, "footage": {"path": "/shots/a.mp4"}, "output": "/shots/a.solve"}


def test_a_request_survives_writing_and_reading(tmp_path: Path) -> None:
    request = Request(FootageRequest(Path("/shots/a.mp4"), first=3, step=2), Path("/out"), preset="best", seed=7)
    (tmp_path / "request.json").write_text(json.dumps(request.as_json()))
    assert read_request(tmp_path / "request.json") == request


def test_given_cameras_and_known_sizes_survive_as_well(tmp_path: Path) -> None:
    document = {
        **GOOD,
        "lens": {"focal_mm": 35.0, "sensor_mm": 24.9, "metadata": False, "principal_px": [900, 500.5]},
        "camera": {"kind": "chan", "path": "/a.chan", "film_back_mm": [24.9, 14.0], "rotation_order": "XYZ"},
        "tracks": "/tracks.json",
    }
    request = parse_request(document, "test")
    assert request.camera.film_back_mm == (24.9, 14.0)
    assert request.lens.principal_px == (900, 500.5)
    (tmp_path / "request.json").write_text(json.dumps(request.as_json()))
    assert read_request(tmp_path / "request.json") == request
    sized = parse_request({**GOOD, "world": {"distance": {"metres": 2, "a": [1, 3.5, 4], "b": [9, 8, 7]}}}, "test")
    assert sized.world.distance is not None
    assert sized.world.distance.b == (9, 8, 7)
    (tmp_path / "request.json").write_text(json.dumps(sized.as_json()))
    assert read_request(tmp_path / "request.json") == sized


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"camera": {"kind": "chan"}}, "request.camera"),
        ({"camera": {"path": "/a.chan"}}, "request.camera"),
        ({"camera": {"kind": "fbx", "path": "/a.fbx"}}, "request.invalid"),
        ({"camera": {"kind": "json", "path": "/a.json"}, "world": {"camera_height": 1.7}}, "request.world"),
        ({"world": {"distance": {"metres": 1, "a": [1, 2]}}}, "request.invalid"),
    ],
)
def test_cameras_that_do_not_add_up_are_refused(change, code) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({**GOOD, **change}, "test")
    assert caught.value.code == code


def test_what_the_command_line_says_of_lens_and_size_is_in_the_request() -> None:
    words = ["solve", "a.mp4", "--pixel-aspect", "2", "--principal", "900.5", "560", "--camera-height", "1.6"]
    words += ["--distance", "0.85", "12", "100.5", "200", "31", "640", "360.25"]
    request = _request(_parser().parse_args(words))
    assert (request.lens.pixel_aspect, request.lens.principal_px) == (2.0, (900.5, 560.0))
    assert request.world == WorldRequest(1.6, KnownDistance(0.85, (12, 100.5, 200.0), (31, 640.0, 360.25)))
    words[-3] = "30.5"
    with pytest.raises(RequestError, match="world/distance"):
        _request(_parser().parse_args(words))


def test_only_footage_and_output_are_needed() -> None:
    request = parse_request(GOOD, "test")
    assert (request.preset, request.lens.model, request.footage.step) == ("standard", "AUTO", 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"preset": "fastest"}, "preset"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**62}, "seed"),
        ({"footage": {"path": "/a.mp4", "step": 0}}, "footage/step"),
        ({"lens": {"focal_px": 0}}, "lens/focal_px"),
        ({"lens": {"pixel_aspect": 0}}, "lens/pixel_aspect"),
        ({"lens": {"principal_px": [5]}}, "lens/principal_px"),
        ({"output": 5}, "output"),
    ],
)
def test_a_wrong_field_is_named(change, named) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({**GOOD, **change}, "test")
    assert caught.value.code == "request.invalid"
    assert caught.value.why.startswith(named + ":")


@pytest.mark.parametrize("document", [None, [], "text", 3, {}, {"schema": 4}])
def test_anything_else_is_refused(document) -> None:
    with pytest.raises(RequestError):
        parse_request(document, "test")


def test_a_newer_version_is_refused_as_such() -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({**GOOD, "schema": "cvd.request/2"}, "test")
    assert caught.value.code == "request.version"


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(RequestError, match="empty"):
        parse_request({**GOOD, "footage": {"path": "/a.mp4", "first": 9, "last": 3}}, "test")


def test_options_beside_a_request_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(GOOD))
    assert main(["solve", str(path), "--preset", "best"]) == 2
    assert "preset" in capsys.readouterr().err


def test_documents_that_exhaust_the_reader_are_refused(tmp_path: Path) -> None:
    for number, text in enumerate(("[" * 100_000, '{"a":' * 200 + "1" + "}" * 200, '{"seed": NaN}', '{"seed": 1e999}')):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(RequestError) as caught:
            read_request(path)
        assert caught.value.code == "request.not_json"


@pytest.mark.parametrize("words", [["-x.mp4"], ["--weird.mp4"], ["--", "-x.mp4"], ["--out=x.mp4", "-x.mp4"]])
def test_footage_whose_name_begins_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-x.mp4", "--weird.mp4"):
        (tmp_path / name).write_bytes(b"")
    asked = []

    def solve(options):
        asked.append(cli._request(options))
        return 0

    monkeypatch.setattr(cli, "_solve", solve)
    assert main(["solve", *words]) == 0
    assert asked[0].footage.path == tmp_path / words[-1]
