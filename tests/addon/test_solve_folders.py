"""Whose folder a solve folder is, and how it is called: by the table that the engine is tested against too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cvd_blender_addon import jobs, solve_request
from cvd_blender_addon.solve_folders import default_folder, default_name, in_the_way, other_clip, same_footage

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "solve_folders.json").read_text(encoding="utf-8"))
MOVIES = {".mp4", ".mov"}
FAKE = Path(__file__).parent / "fake_engine"


def make(root: Path, tree: dict[str, Any]) -> None:
    for name, contents in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if contents is None else contents if isinstance(contents, str) else json.dumps(contents))


def contents(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("case", GOLDEN["folders"], ids=lambda case: case["what"])
def test_whose_folder_it_is(tmp_path: Path, case: dict) -> None:
    make(tmp_path, case["files"])
    assert in_the_way(tmp_path) == case["in_the_way"]


@pytest.mark.parametrize("name", ["masks/roto.png", "camera.json", "tracks.json", "engine_stdout.log"])
def test_what_the_addon_writes_itself_is_not_written_over_others(tmp_path: Path, name: str) -> None:
    make(tmp_path, {"request.json": {"schema": "cvd.request/1"}, name: None})
    assert in_the_way(tmp_path) == [Path(name).parts[0]]


def test_a_shot_folder_with_a_request_of_its_own_is_left_as_it_is(tmp_path: Path) -> None:
    make(tmp_path, {"clip.mp4": None, "request.json": {"schema": "cvd.request/1"}, "depth/artist_paint.exr": "hours"})
    before = contents(tmp_path)
    with pytest.raises(jobs.StartError, match="it holds depth"):
        jobs.prepare(Path(sys.executable), FAKE, solve_request.make(tmp_path / "clip.mp4", tmp_path))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("case", GOLDEN["names"], ids=lambda case: case["clip"])
def test_how_a_solve_folder_is_called(tmp_path: Path, case: dict) -> None:
    clip = tmp_path / case["clip"]
    if case.get("is_folder"):
        clip.mkdir(parents=True)
    assert default_name(clip, MOVIES) == case["name"]


@pytest.mark.parametrize(("a", "b", "same"), GOLDEN["same"])
def test_two_paths_of_one_clip(a: str, b: str, same: bool) -> None:
    assert same_footage(Path("/", a), Path("/", b), MOVIES) is same


def test_the_default_folder_is_unique_for_each_clip(tmp_path: Path) -> None:
    clips = [tmp_path / name for name in ("a/take.mp4", "b/take.mp4", "a/take.0001.png", "a/take.mov")]
    found = []
    for clip in clips:
        make(tmp_path, {clip.relative_to(tmp_path).as_posix(): None})
        folder = default_folder(clip, tmp_path, MOVIES)
        make(folder, {"request.json": {"schema": "cvd.request/1", "footage": {"path": str(clip)}}})
        assert default_folder(clip, tmp_path, MOVIES) == folder, "it is found again"
        found.append(folder.name)
    assert found == ["take.solve", "take-2.solve", "take-3.solve", "take-4.solve"]


def test_a_clip_that_was_moved_along_finds_its_folder(tmp_path: Path) -> None:
    request = {"schema": "cvd.request/1", "footage": {"path": str(tmp_path / "old" / "take.mp4")}}
    make(tmp_path, {"new/take.mp4": None, "new/take.solve/request.json": request})
    clip = tmp_path / "new" / "take.mp4"
    assert default_folder(clip, clip.parent, MOVIES).name == "take.solve"
    make(tmp_path, {"old/take.mp4": None})
    assert default_folder(clip, clip.parent, MOVIES).name == "take-2.solve", "the old clip is still there"


def test_a_finished_solve_of_other_footage_is_known(tmp_path: Path) -> None:
    make(tmp_path, {"a.mp4": None, "b.mp4": None})
    make(tmp_path, {"x.solve/solve.json": {"schema": "cvd.solve/1", "source": {"path": str(tmp_path / "a.mp4")}}})
    assert other_clip(tmp_path / "x.solve", tmp_path / "b.mp4", MOVIES) == tmp_path / "a.mp4"
    assert other_clip(tmp_path / "x.solve", tmp_path / "a.mp4", MOVIES) is None
    assert other_clip(tmp_path / "new.solve", tmp_path / "b.mp4", MOVIES) is None
