"""Requests as the add-on makes them: every field there, checked at the door by what the schema says."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from cvd_blender_addon import jobs, solve_request

SCHEMA = json.loads((Path(__file__).parents[2] / "engine/schemas/request-1.json").read_text())["properties"]


def refusal(settings: dict) -> jobs.JobError:
    with pytest.raises(jobs.StartError) as caught:
        solve_request.make(Path("clip.mp4"), Path("x.solve"), settings)
    error = caught.value.error
    assert all(len(part) > 10 for part in (error.what, error.why, error.fix))
    return error


def test_a_request_has_every_field_of_the_schema() -> None:
    request = solve_request.make(Path("clip.mp4"), Path("a.solve"), {"footage/first": 3, "lens/focal_px": 900.0})
    assert set(request) == set(SCHEMA)
    for part, value in request.items():
        if isinstance(value, dict):
            assert set(value) == set(SCHEMA[part]["properties"])
    assert (request["footage"]["first"], request["footage"]["last"], request["lens"]["focal_px"]) == (3, None, 900.0)
    assert request["preset"] == SCHEMA["preset"]["default"]
    assert Path(request["output"]).is_absolute() and Path(request["footage"]["path"]).is_absolute()


@pytest.mark.parametrize(
    "choice",
    [
        {"footage/stereo": "two_files"},
        {"footage/stereo": "side_by_side", "footage/right": Path("/r.mp4")},
        {"prior/kind": "maps"},
        {"prior/kind": "transformers"},
        {"prior/kind": "auto", "prior/path": "/maps"},
        {"camera/kind": "chan"},
        {"camera/kind": "deepv2d", "camera/path": Path("/a.chan")},
    ],
)
def test_choices_and_paths_belong_together(choice: dict) -> None:
    part = next(iter(choice)).split("/")[0]
    assert refusal(choice).code == {"footage": "request.stereo"}.get(part, f"request.{part}")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lens/focal": 900.0}, "lens/focal: the engine knows no such setting"),
        ({"schema": "cvd.request/2"}, "schema: "),
        ({"preset": "fastest"}, "'fastest' is none of preview"),
        ({"footage/step": 0}, "footage/step: 0 is out of range"),
        ({"footage/step": 1.5}, "1.5 is no integer"),
        ({"footage/step": None}, "it is missing"),
        ({"lens/focal_px": 0.0}, "lens/focal_px: 0 is out of range"),
        ({"lens/focal_px": float("nan")}, "nan is out of range"),
        ({"lens/pixel_aspect": 11.0}, "11 is out of range"),
        ({"lens/principal_px": (5.0,)}, "it has 1 values instead of 2"),
        ({"camera/film_back_mm": (24.0, 0.0)}, "0 is out of range"),
        ({"masks/motion": 1}, "1 is no boolean"),
        ({"seed": True}, "True is no integer"),
        ({"world/distance": {"metres": 1.0, "a": (1, 2.0, 3.0)}}, "b is missing"),
        ({"world/distance": {"metres": 1.0, "a": (1, 2.0, 3.0), "b": (1.5, 2.0, 3.0)}}, "1.5 is no integer"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused_at_the_door(settings: dict, words: str) -> None:
    error = refusal(settings)
    assert error.code == "request.invalid"
    assert words in error.why


def test_a_model_is_a_folder_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)

    def path(name: str, prior: str) -> object:
        settings = {"prior/kind": prior, "prior/path": name}
        return solve_request.make(Path("c.mp4"), Path("x"), settings)["prior"]["path"]

    assert path("model", "transformers") == str(tmp_path / "model")
    assert path("owner/Depth-Small", "transformers") == "owner/Depth-Small"
    assert path("maps/0001.exr", "maps") == str(tmp_path / "maps" / "0001.exr")


def test_properties_of_the_options_names_are_taken() -> None:
    group = SimpleNamespace(preset="best", baseline=0.0, camera_height=1.5, step=2, camera=object(), surface="DEPTH")
    taken = {"preset": "best", "footage/baseline": None, "world/camera_height": 1.5, "footage/step": 2}
    assert solve_request.of_properties(group) == taken
    group = SimpleNamespace(allow_non_commercial=True)
    both = {"masks/allow_non_commercial": True, "prior/allow_non_commercial": True}
    assert solve_request.of_properties(group) == both


def test_an_addon_without_its_engine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve_request, "SCHEMA", Path("nowhere.json"))
    solve_request._schema.cache_clear()
    solve_request._fields.cache_clear()
    assert refusal({}).code == "engine.missing"
