"""Doubtful depth is marked in the timeline, named in the panel, and shown over the plate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat
from cvd_blender_addon.present import data_of, tracking_camera
from cvd_blender_addon.properties import of
from cvd_blender_addon.scene import doubt, import_solve
from cvd_blender_addon.solve_reader import SolveError, read, summary
from tests.addon.snapshot import changes, snapshot
from tests.addon.synthetic import Synthetic
from tests.addon.test_panels import draw
from tests.addon.typed import ops, the

RUNS = ((1007, 1008, 1008, "whole frame"), (1002, 1003, 1003, "right half"))
ALL = {"missing": (), "unplaced": ()}


@pytest.fixture
def doubted(make_solve: Callable[..., Synthetic], tmp_path: Path) -> Path:
    """A solve with doubtful frames and confidence."""
    truth = make_solve(doubtful=RUNS, unsure=True, k1=-0.1, **ALL)
    return Path(shutil.copytree(truth.folder, tmp_path / "shot.solve"))


def markers(scene: bpy.types.Scene) -> list[tuple[int, str]]:
    return sorted((marker.frame, marker.name) for marker in scene.timeline_markers)


def camera_data(scene: bpy.types.Scene) -> bpy.types.Camera:
    return data_of(the(scene.camera), bpy.types.Camera)


def changed_since(before: Any) -> list[str]:
    """Without where the node group of the quick grid has been taken from."""
    return [line for line in changes(before, snapshot()) if "library_weak_reference" not in line]


@pytest.mark.every_blender
def test_each_run_has_a_marker_where_it_begins(doubted: Path, scene: bpy.types.Scene) -> None:
    scene.timeline_markers.new("Depth doubtful: mine", frame=1002)
    import_solve(scene, doubted)
    wanted = [
        (1002, "Depth doubtful: mine"),
        (1002, "Depth doubtful: right half"),
        (1007, "Depth doubtful: whole frame"),
    ]
    assert markers(scene) == wanted
    import_solve(scene, doubted)
    assert markers(scene) == wanted, "once"
    document = json.loads((doubted / "solve.json").read_text())
    document["quality"]["doubtful"] = document["quality"]["doubtful"][1:]
    (doubted / "solve.json").write_text(json.dumps(document))
    import_solve(scene, doubted)
    assert markers(scene) == wanted[:2], "those of the old result are gone, the artist's stay"


def test_a_marker_that_the_artist_has_renamed_stays(doubted: Path, scene: bpy.types.Scene) -> None:
    import_solve(scene, doubted)
    next(marker for marker in scene.timeline_markers if marker.frame == 1007).name = "look here"
    import_solve(scene, doubted)
    assert (1007, "look here") in markers(scene)


def test_the_reader_knows_runs_shares_and_confidence(doubted: Path) -> None:
    solve = read(doubted)
    assert [run.text for run in solve.doubtful] == ["Frames 1007-1008: whole frame", "Frames 1002-1003: right half"]
    assert solve.measured_share == pytest.approx(0.75)
    assert "Depth measured: 75% of the plate" in summary(solve)
    shutil.rmtree(doubted / "confidence")
    assert all(frame.confidence is None for frame in read(doubted).frames), "a scene does without"


@pytest.mark.parametrize("wrong", [{"worst": 1}, {"first": 900}, {"last": 2000}, {"where": 7}, {"first": None}])
def test_runs_that_cannot_be_are_refused(doubted: Path, wrong: dict[str, object]) -> None:
    document = json.loads((doubted / "solve.json").read_text())
    document["quality"]["doubtful"][0] |= wrong
    (doubted / "solve.json").write_text(json.dumps(document))
    with pytest.raises(SolveError, match="damaged"):
        read(doubted)


def test_confidence_that_points_outside_is_refused(doubted: Path) -> None:
    document = json.loads((doubted / "solve.json").read_text())
    shutil.copy(doubted / "confidence" / "001001.exr", doubted.parent / "001001.exr")
    document["frames"][0]["confidence"] = "../001001.exr"
    (doubted / "solve.json").write_text(json.dumps(document))
    with pytest.raises(SolveError, match="outside"):
        read(doubted)


@pytest.mark.every_blender
def test_the_panel_names_the_runs_and_its_buttons_go_there(doubted: Path, scene: bpy.types.Scene, addon: None) -> None:
    ops.cvd.import_solve(directory=str(doubted))
    drawn = draw(scene, "VIEW_3D")
    assert drawn.count("cvd.go_to_frame") == 2 and "cvd.show_confidence" in drawn
    assert of(scene).result_doubtful.splitlines()[0] == "1008 Frames 1007-1008: whole frame"
    assert "Depth measured: 75% of the plate" in of(scene).result
    ops.cvd.go_to_frame(frame=1008)
    assert scene.frame_current == 1008


def test_without_doubt_there_is_no_button(synthetic: Synthetic, scene: bpy.types.Scene, addon: None) -> None:
    ops.cvd.import_solve(directory=str(synthetic.folder))
    assert "cvd.go_to_frame" not in draw(scene, "VIEW_3D")


@pytest.mark.every_blender
def test_confidence_lies_over_the_plate_and_goes_without_a_trace(
    doubted: Path, scene: bpy.types.Scene, addon: None
) -> None:
    ops.cvd.import_solve(directory=str(doubted))
    before = snapshot()
    data = camera_data(scene)
    data.show_background_images = False
    ops.cvd.show_confidence()
    overlay = the(doubt.find_overlay(scene, of(scene).solve_key))
    assert data.show_background_images and overlay.alpha == 0.5 and overlay.display_depth == "FRONT"
    clip = the(overlay.clip)
    assert tuple(clip.size) == (320, 180)
    assert clip.frame_start == 1001 and clip.frame_duration == 8
    assert overlay.clip_user.use_render_undistorted, "as the plate, whose lens distorts"
    assert tracking_camera(clip).k1 == pytest.approx(-0.1)
    assert compat.colour_space(clip).name == "sRGB", "a quarter is shown as a quarter"
    ops.cvd.show_confidence()
    assert doubt.find_overlay(scene, of(scene).solve_key) is None
    assert not data.show_background_images, "as it was"
    data.show_background_images = True
    assert changed_since(before) == []


def test_confidence_that_is_shown_outlasts_another_import(doubted: Path, scene: bpy.types.Scene, addon: None) -> None:
    ops.cvd.import_solve(directory=str(doubted))
    ops.cvd.show_confidence()
    moved = doubted.rename(doubted.parent / "sub.solve")
    moved = Path(shutil.move(moved, doubted))
    ops.cvd.import_solve(directory=str(moved))
    overlay = the(doubt.find_overlay(scene, of(scene).solve_key))
    assert len(camera_data(scene).background_images) == 2
    assert Path(bpy.path.abspath(the(overlay.clip).filepath)).is_file()


def test_a_solve_without_confidence_says_so(synthetic: Synthetic, scene: bpy.types.Scene, addon: None) -> None:
    ops.cvd.import_solve(directory=str(synthetic.folder))
    before = snapshot()
    with pytest.raises(RuntimeError, match="no confidence files"):
        ops.cvd.show_confidence()
    assert changed_since(before) == []


def test_blender_reads_confidence_as_it_is(doubted: Path, scene: bpy.types.Scene) -> None:
    image = bpy.data.images.load(str(doubted / "confidence" / "001001.exr"))
    compat.colour_space(image).name = "Non-Color"
    values = np.array(compat.pixels_of(image)).reshape(180, 320, -1)[..., 0]
    assert values[90, 10] == 1.0 and values[90, 310] == 0.25
