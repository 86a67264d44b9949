"""A project that is saved elsewhere or moved as a whole goes on; what is missing is seen and told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat, monitor, paths, plate_watch, project_files
from cvd_blender_addon.properties import of
from cvd_blender_addon.scene import compositor, import_solve, inputs, matte, owned
from cvd_blender_addon.solve_reader import SolveError, read
from tests.addon.rendering import add_ball, load, render
from tests.addon.synthetic import Synthetic
from tests.addon.typed import ops, scene_now, the

ROOT = Path(__file__).parents[2]
FRAME = 1003
MAGENTA = (1.0, 0.0, 1.0)


@pytest.fixture
def project(synthetic: Synthetic, tmp_path: Path) -> Path:
    """A project folder: plates, solves and scenes in folders of their own."""
    root = tmp_path / "old place" / "project"
    (root / "plates" / "sh010").mkdir(parents=True)
    (root / "scenes").mkdir()
    for file in synthetic.folder.parent.glob("plate_*.png"):
        shutil.copy(file, root / "plates" / "sh010")
    folder = Path(shutil.copytree(synthetic.folder, root / "solves" / "shot.solve"))
    document = json.loads((folder / "solve.json").read_text())
    document["source"]["path"] = str(root / "plates" / "sh010" / "plate_1001.png")
    (folder / "solve.json").write_text(json.dumps(document))
    return root


def built(scene: bpy.types.Scene, project: Path, save_first: bool = False) -> bpy.types.Scene:
    """The project's scene, built, with a ball behind the front wall, and saved."""
    blend = str(project / "scenes" / "shot.blend")
    compat.of_cycles(scene).samples = 1
    scene.render.resolution_percentage = 50
    if save_first:
        bpy.ops.wm.save_as_mainfile(filepath=blend)
    ops.cvd.import_solve(directory=str(project / "solves" / "shot.solve"))
    add_ball(scene, read(project / "solves" / "shot.solve"), (-0.1, 1.0, 1.0), 0.8)
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    return scene


def opened(blend: Path) -> bpy.types.Scene:
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    return scene_now()


def moved(project: Path, to: str = "new place") -> Path:
    there = project.parent.parent / to / "renamed"
    there.parent.mkdir()
    shutil.move(project, there)
    return there


@pytest.mark.every_blender
@pytest.mark.parametrize("save_first", [False, True])
def test_a_moved_project_renders_as_before(
    scene: bpy.types.Scene, project: Path, addon: None, tmp_path: Path, save_first: bool
) -> None:
    expected = render(built(scene, project, save_first), FRAME, tmp_path / "before.png")
    there = moved(project)
    scene = opened(there / "scenes" / "shot.blend")
    assert inputs.missing(scene) == []
    assert np.array_equal(render(scene, FRAME, tmp_path / "after.png"), expected)
    assert monitor.result_of(scene) == monitor.folder_of(scene) == there / "solves" / "shot.solve"
    assert paths.absolute(of(scene).clip_path) == there / "plates" / "sh010" / "plate_1001.png"
    assert not [block.filepath for block in (*bpy.data.images, *bpy.data.movieclips) if str(project) in block.filepath]
    ops.cvd.import_solve(directory=str(there / "solves" / "shot.solve"))
    assert np.array_equal(render(scene, FRAME, tmp_path / "again.png"), expected)


def test_absolute_paths_of_a_moved_project_are_found_again(
    scene: bpy.types.Scene, project: Path, addon: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(the(bpy.context.preferences).filepaths, "use_relative_paths", False)
    expected = render(built(scene, project, True), FRAME, tmp_path / "before.png")
    assert Path(of(scene).built_folder).is_absolute() and Path(of(scene).clip_path).is_absolute()
    there = moved(project)
    scene = opened(there / "scenes" / "shot.blend")
    assert monitor.result_of(scene) == there / "solves" / "shot.solve"
    assert np.array_equal(render(scene, FRAME, tmp_path / "after.png"), expected)


def test_a_solve_that_moved_within_the_project_is_found_again(
    scene: bpy.types.Scene, project: Path, addon: None, tmp_path: Path
) -> None:
    expected = render(built(scene, project), FRAME, tmp_path / "before.png")
    (project / "archive").mkdir()
    shutil.move(project / "solves" / "shot.solve", project / "archive" / "shot.solve")
    scene = opened(project / "scenes" / "shot.blend")
    assert inputs.missing(scene) == []
    assert monitor.result_of(scene) == project / "archive" / "shot.solve"
    assert np.array_equal(render(scene, FRAME, tmp_path / "after.png"), expected)


def test_another_solve_of_that_name_is_not_taken(scene: bpy.types.Scene, project: Path, addon: None) -> None:
    built(scene, project)
    other = project / "scenes" / "shot.solve"
    shutil.move(project / "solves" / "shot.solve", other)
    document = json.loads((other / "solve.json").read_text())
    document["source"]["content_id"] = "another clip"
    (other / "solve.json").write_text(json.dumps(document))
    scene = opened(project / "scenes" / "shot.blend")
    assert monitor.result_of(scene) is None
    assert [each.name for each in inputs.missing(scene)] == ["The depth sequence"]


def test_saving_elsewhere_moves_the_paths_along(scene: bpy.types.Scene, project: Path, addon: None) -> None:
    cvd = of(built(scene, project))
    assert cvd.solve_folder == cvd.built_folder == "//../solves/shot.solve"
    assert cvd.clip_path == cvd.plate == "//../plates/sh010/plate_1001.png"
    cvd.prior_model, cvd.segmentation = "owner/model", "//../models/people"
    (project / "deep" / "er").mkdir(parents=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "deep" / "er" / "copy.blend"), copy=True)
    assert cvd.built_folder == "//../solves/shot.solve", "the open file lies where it lay"
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "shot.blend"))
    assert (cvd.built_folder, cvd.solve_folder) == ("//solves/shot.solve", "//solves/shot.solve")
    assert (cvd.prior_model, cvd.segmentation) == ("owner/model", "//models/people")
    with pytest.raises(RuntimeError):
        bpy.ops.wm.save_as_mainfile(filepath=str(project / "no" / "such" / "folder.blend"))
    assert cvd.built_folder == "//solves/shot.solve"
    scene = opened(project / "deep" / "er" / "copy.blend")
    assert of(scene).built_folder == "//../../solves/shot.solve"
    assert inputs.missing(scene) == []


def test_paths_stay_absolute_where_the_preference_says_so(
    scene: bpy.types.Scene, project: Path, addon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(the(bpy.context.preferences).filepaths, "use_relative_paths", False)
    cvd = of(built(scene, project, save_first=True))
    assert cvd.built_folder == str(project / "solves" / "shot.solve")
    image = the(owned.find(bpy.data.images, cvd.solve_key, "depth"))
    assert image.filepath == str(project / "solves" / "shot.solve" / "depth" / "001001.exr")


def test_a_path_through_a_link_leads_to_the_same_place(tmp_path: Path) -> None:
    (tmp_path / "disk" / "project" / "scenes").mkdir(parents=True)
    (tmp_path / "disk" / "project" / "solves").mkdir()
    (tmp_path / "show").symlink_to(tmp_path / "disk" / "project")
    (tmp_path / "mine").symlink_to(tmp_path / "disk" / "project" / "scenes")
    solves = tmp_path / "disk" / "project" / "solves"
    assert paths.relative(solves, tmp_path / "show" / "scenes") == "//../solves"
    assert paths.relative(solves, tmp_path / "mine") == "//../disk/project/solves"


def warned(picture: np.ndarray) -> np.ndarray:
    """(H, W): which pixels are magenta."""
    there: np.ndarray = np.isclose(picture[..., :3], MAGENTA, atol=0.01).all(-1)
    return there


@pytest.mark.every_blender
@pytest.mark.parametrize("lost", ["depth", "plate", "one"])
def test_what_is_missing_is_seen_in_the_picture(
    scene: bpy.types.Scene, project: Path, addon: None, tmp_path: Path, lost: str
) -> None:
    scene = built(scene, project)
    solve = read(project / "solves" / "shot.solve")
    where = {
        "depth": project / "solves",
        "plate": project / "plates",
        "one": project / "solves" / "shot.solve" / "depth" / f"{FRAME:06d}.exr",
    }[lost]
    compositor.write_matte(scene, solve, tmp_path)
    scene.frame_set(FRAME)
    whole = render(scene, FRAME, tmp_path / "whole.png")
    assert not warned(whole).any() and load(tmp_path / "matte_1003.png")[..., 0].max() > 0.5
    where.rename(tmp_path / "away")
    bpy.ops.wm.save_mainfile()
    scene = opened(project / "scenes" / "shot.blend")
    project_files.unregister()  # it would end this process, which has no window
    shown = render(scene, FRAME, tmp_path / "lost.png")
    assert shown.shape == whole.shape and warned(shown).all() and shown[..., 3].min() == 1.0
    assert load(tmp_path / "matte_1003.png")[..., 0].max() == 0.0
    in_gap = render(scene, 1006, tmp_path / "gap.png")
    assert not warned(in_gap).any(), "a frame that was not solved lacks nothing"
    with pytest.raises(SolveError, match="is missing"):
        matte.render(scene, solve, [bpy.data.objects["Ball"]], tmp_path, [FRAME])


def test_what_is_missing_is_told_in_the_panel(scene: bpy.types.Scene, project: Path, addon: None) -> None:
    scene = built(scene, project)

    def said() -> str:
        plate_watch.look_for(of(scene).plate, of(scene).built_folder)
        plate_watch.look_at(scene)
        return plate_watch.words(scene)

    assert said() == ""
    depth = project / "solves" / "shot.solve" / "depth"
    (depth / "001002.exr").rename(depth / "away")
    assert "The depth sequence is missing: frames 1002 of" in said() and "Put it back" in said()
    depth.rename(depth.with_name("away"))
    assert f"The depth sequence is missing: {depth / '001001.exr'}" in said()


RENDER = """
import sys
sys.path.insert(0, {root!r})
import bpy
import cvd_blender_addon
from pathlib import Path
from cvd_blender_addon import own_files
own_files.folder = lambda: Path({own!r})
cvd_blender_addon.register()
bpy.ops.wm.open_mainfile(filepath={blend!r})
scene = bpy.context.scene
scene.frame_start, scene.frame_end, scene.render.filepath = 1002, 1003, {out!r}
scene.render.use_compositing = {composited}
bpy.ops.render.render(animation=True)
cvd_blender_addon.unregister()
"""


def test_a_render_without_a_window_fails(scene: bpy.types.Scene, project: Path, addon: None, tmp_path: Path) -> None:
    built(scene, project)

    def rendered(composited: bool = True) -> tuple[int, str, list[str]]:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        code = RENDER.format(
            root=str(ROOT),
            own=str(tmp_path),
            blend=str(project / "scenes" / "shot.blend"),
            out=f"{out}/f_",
            composited=composited,
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
        return done.returncode, done.stderr, sorted(file.name for file in out.glob("*")) if out.exists() else []

    assert rendered()[::2] == (0, ["f_1002.png", "f_1003.png"])
    depth = project / "solves" / "shot.solve" / "depth"
    depth.rename(depth.with_name("away"))
    code, words, frames = rendered()
    assert (code, frames) == (1, [])
    assert "error: The depth sequence is missing" in words and "why: It was moved" in words and "fix: Put it" in words
    assert rendered(composited=False)[::2] == (0, ["f_1002.png", "f_1003.png"]), "CG alone needs no depth"


def test_headless_does_not_render_without_the_plate(project: Path, tmp_path: Path) -> None:
    shutil.rmtree(project / "plates")
    arguments: tuple[object, ...] = (
        "--import-only",
        project / "solves" / "shot.solve",
        "--blend",
        tmp_path / "s.blend",
    )
    arguments += ("--render", "1002", "--render-dir", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "headless.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 1
    assert "error: Nothing was rendered: the plate is missing." in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_scene_built_without_the_add_on_shows_what_is_missing_too(scene: bpy.types.Scene, project: Path) -> None:
    solve = import_solve(scene, project / "solves" / "shot.solve", report=lambda *_: None)
    assert inputs.missing(scene) == []
    (project / "solves" / "shot.solve" / "depth").rename(project / "away")
    (lost,) = inputs.missing_in_render(scene)
    assert lost.path == solve.depth_frames[0].depth and lost.frames == ()
