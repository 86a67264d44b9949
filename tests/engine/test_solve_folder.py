"""Whose folder a solve folder is: nothing is deleted or replaced that the engine has not written."""

import json
from pathlib import Path

import pytest

from engine import files
from engine.errors import WorkspaceError
from engine.footage.movies import MOVIE_SUFFIXES
from engine.solve_folder import (
    default_folder,
    default_name,
    refuse_foreign,
    remove_preview,
    remove_temporaries,
    same_footage,
)
from engine.workspace import open_workspace

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "solve_folders.json").read_text(encoding="utf-8"))


def make(root, tree):
    for name, contents in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if contents is None else contents if isinstance(contents, str) else json.dumps(contents))


def tree(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*"))


def ignore(_document):
    pass


@pytest.mark.parametrize("case", GOLDEN["folders"], ids=lambda case: case["what"])
def test_whose_folder_it_is(tmp_path: Path, case) -> None:
    make(tmp_path, case["files"])
    if not case["in_the_way"]:
        refuse_foreign(tmp_path)
        return
    before = tree(tmp_path)
    with pytest.raises(WorkspaceError) as caught, open_workspace(tmp_path, ignore):
        pass
    assert caught.value.code == "workspace.not_a_solve_folder"
    assert all(name in caught.value.why for name in case["in_the_way"][:3])
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [
        "depth/artist_paint.exr", "depth/backup/000001.exr", "dynamic/roto_v3.png", "confidence/000001.png",
        "preview/client.mov", "unfinished/wip.blend", "unfinished/depth/paint.exr", "report.html/index.html",
    ],
)  # fmt: skip
def test_a_solve_folder_with_an_artists_file_among_its_results_is_refused(tmp_path: Path, name) -> None:
    make(tmp_path, {"status.json": {"schema": "cvd.status/1"}, "depth/000001.exr": None, name: "of hours"})
    before = tree(tmp_path)
    with pytest.raises(WorkspaceError) as caught, open_workspace(tmp_path, ignore):
        pass
    assert caught.value.code == "workspace.foreign_files"
    assert name.removesuffix("/000001.exr").removesuffix("/index.html") in caught.value.what
    assert [path for path in before if not (tmp_path / path).exists()] == []
    assert (tmp_path / name).read_text() == "of hours"


def test_an_artists_files_beside_the_results_stay(tmp_path: Path) -> None:
    kept = [".backup.2026.json", "plates/.notes.12.txt", "wip.blend", "depth/.DS_Store", "cache/mine.txt"]
    make(tmp_path, {"status.json": {"schema": "cvd.status/1"}, **dict.fromkeys(kept)})
    with open_workspace(tmp_path, ignore):
        pass
    assert [name for name in kept if not (tmp_path / name).exists()] == []


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [".000101.4711.exr", ".depth.mp4.unfinished.mp4", "000101.exr", ".hidden", "cvd-4711-a.exr"]
    left = [files.temporary_of(Path(name)).name for name in ("000101.exr", "depth.mp4", "features")]
    make(tmp_path, {f"{folder}{name}": None for folder in ("", "depth/", "cache/poses-0/") for name in (*kept, *left)})
    make(tmp_path, {f"plates/{name}": None for name in (*kept, *left)})
    remove_temporaries(tmp_path)
    assert sorted(p.name for p in (tmp_path / "depth").iterdir()) == sorted(kept)
    assert sorted(p.name for p in (tmp_path / "cache" / "poses-0").iterdir()) == sorted(kept)
    assert [p.name for p in tmp_path.iterdir() if files.is_temporary(p.name)] == []
    assert len(list((tmp_path / "plates").iterdir())) == len(kept) + len(left), "no engine writes there"


def test_the_preview_goes_and_what_else_lies_there_stays(tmp_path: Path) -> None:
    make(tmp_path, {"preview/track.json": {}, "preview/depth.png": None, "preview/client.mov": None})
    remove_preview(tmp_path)
    assert tree(tmp_path) == ["preview", "preview/client.mov"]
    (tmp_path / "preview" / "client.mov").unlink()
    remove_preview(tmp_path)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("case", GOLDEN["names"], ids=lambda case: case["clip"])
def test_how_a_solve_folder_is_called(tmp_path: Path, case) -> None:
    clip = tmp_path / case["clip"]
    if case.get("is_folder"):
        clip.mkdir(parents=True)
    assert default_name(clip, MOVIE_SUFFIXES) == case["name"]


def test_a_long_name_is_cut_where_disks_allow_no_more(tmp_path: Path) -> None:
    folder = default_folder(tmp_path / f"{'ü' * 124}.mp4", tmp_path, MOVIE_SUFFIXES)
    folder.mkdir()  # 255 bytes are the most


@pytest.mark.parametrize(("a", "b", "same"), GOLDEN["same"])
def test_two_paths_of_one_clip(a, b, same) -> None:
    assert same_footage(Path("/", a), Path("/", b), MOVIE_SUFFIXES) is same


def test_the_default_folder_is_unique_for_each_clip(tmp_path: Path) -> None:
    clips = [tmp_path / name for name in ("a/take.mp4", "b/take.mp4", "a/take.0001.png", "a/take.mov")]
    found = []
    for clip in clips:
        make(tmp_path, {clip.relative_to(tmp_path).as_posix(): None})
        folder = default_folder(clip, tmp_path, MOVIE_SUFFIXES)
        make(folder, {"request.json": {"schema": "cvd.request/1", "footage": {"path": str(clip)}}})
        assert default_folder(clip, tmp_path, MOVIE_SUFFIXES) == folder, "it is found again"
        found.append(folder.name)
    assert found == ["take.solve", "take-2.solve", "take-3.solve", "take-4.solve"]


def test_a_folder_of_something_else_is_nobodys_default(tmp_path: Path) -> None:
    make(tmp_path, {"take.solve/notes.txt": None})
    assert default_folder(tmp_path / "take.mp4", tmp_path, MOVIE_SUFFIXES).name == "take-2.solve"


def test_a_clip_that_was_moved_along_finds_its_folder(tmp_path: Path) -> None:
    request = {"schema": "cvd.request/1", "footage": {"path": str(tmp_path / "old" / "take.mp4")}}
    make(tmp_path, {"new/take.mp4": None, "new/take.solve/request.json": request})
    clip = tmp_path / "new" / "take.mp4"
    assert default_folder(clip, clip.parent, MOVIE_SUFFIXES).name == "take.solve"
    make(tmp_path, {"old/take.mp4": None})
    assert default_folder(clip, clip.parent, MOVIE_SUFFIXES).name == "take-2.solve", "the old clip is still there"
