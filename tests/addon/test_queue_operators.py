"""Queue, log and estimate from Blender, with a stand-in for the engine."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import bpy
import pytest

from cvd_blender_addon import forecast, monitor, own_files, preferences
from cvd_blender_addon.properties import of, queue_of
from tests.addon.synthetic import Synthetic
from tests.addon.typed import ops, scene_now, the

FAKE = Path(__file__).parent / "fake_engine"


@pytest.fixture
def ready(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> bpy.types.Scene:
    """A scene with a clip, and the stand-in in the engine's place."""
    monkeypatch.setattr(preferences, "engine_root", lambda: FAKE)
    monkeypatch.setattr(preferences, "engine_python", lambda _context: Path(sys.executable))
    monkeypatch.setattr(preferences, "cache_folder", lambda _context: tmp_path)
    monkeypatch.setenv("FAKE_SOLVE", str(synthetic.folder))
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    of(scene).clip_path = str(synthetic.folder.parent / "plate_1001.png")
    return scene


def shown() -> list[tuple[str, str]]:
    return [(item.name, item.state) for item in queue_of(bpy.context).shots]


def tick_until_idle() -> None:
    """What the timer does in a window."""
    deadline = time.monotonic() + 60
    while monitor.tick() is not None:
        assert time.monotonic() < deadline


def test_settings_are_frozen_when_a_shot_is_added(
    ready: bpy.types.Scene, movie_solve: Synthetic, tmp_path: Path
) -> None:
    cvd = of(ready)
    cvd.preset = "preview"
    assert ops.cvd.queue_add() == {"FINISHED"}
    first = cvd.solve_folder
    assert first == str(tmp_path / "plate.solve")
    cvd.clip_path = str(movie_solve.folder.parent / "clip.mp4")
    assert cvd.solve_folder == ""  # the next clip must not be solved into the first one's folder
    cvd.preset = "best"
    ops.cvd.queue_add()
    assert shown() == [("plate", "waiting"), ("clip", "waiting")]
    assert json.loads((Path(first) / "request.json").read_text())["preset"] == "preview"
    ops.cvd.queue_move(direction="UP")
    assert shown() == [("clip", "waiting"), ("plate", "waiting")]
    assert queue_of(bpy.context).index == 0  # the choice goes along
    ops.cvd.queue_remove()
    assert shown() == [("plate", "waiting")]


def test_background_solves_all_of_them(ready: bpy.types.Scene, capfd: pytest.CaptureFixture[str]) -> None:
    ops.cvd.queue_add()
    of(ready).solve_folder = str(Path(of(ready).solve_folder).with_name("other.solve"))
    ops.cvd.queue_add()
    assert ops.cvd.queue_start() == {"FINISHED"}
    assert shown() == [("plate", "done"), ("other", "done")]
    assert "other.solve: done" in capfd.readouterr().out
    with pytest.raises(RuntimeError, match="No shot waits"):
        ops.cvd.queue_start()
    with pytest.raises(RuntimeError, match="is not being solved"):
        ops.cvd.queue_stop()
    assert ops.cvd.queue_again() == {"FINISHED"}
    assert shown() == [("plate", "done"), ("other", "waiting")]
    with pytest.raises(RuntimeError, match="that has ended"):
        ops.cvd.queue_again()


def test_the_monitor_solves_the_queue_and_builds_the_scene_of_the_open_shot(ready: bpy.types.Scene) -> None:
    ops.cvd.queue_add()
    queue = monitor.queue()
    queue.start()
    monitor.show_queue(queue)
    with pytest.raises(RuntimeError, match="The queue is at work"):
        ops.cvd.solve_depth()
    monitor.tick()
    assert of(ready).job_running  # its progress is to be seen in the panel of its own scene
    tick_until_idle()
    assert shown() == [("plate", "done")]
    assert ready.camera is not None and of(ready).job_state == "done"


def test_the_queue_belongs_to_no_file(ready: bpy.types.Scene, tmp_path: Path) -> None:
    ops.cvd.queue_add()
    monitor.queue().start()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    monitor.reattach()
    tick_until_idle()
    assert shown() == [("plate", "done")]
    assert scene_now().camera is None  # nothing is built in a scene that knows nothing of it


def test_undo_does_not_change_the_queue(ready: bpy.types.Scene) -> None:
    bpy.ops.ed.undo_push(message="before")
    ops.cvd.queue_add()
    bpy.ops.ed.undo_push(message="after")
    bpy.ops.ed.undo()
    assert shown() == [("plate", "waiting")]


def test_no_engine_is_said_when_a_shot_is_added(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferences, "engine_python", lambda _context: None)
    with pytest.raises(RuntimeError, match="It is not installed"):
        ops.cvd.queue_add()
    assert shown() == []


def test_the_log_is_shown_in_one_text(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "fail")
    with pytest.raises(RuntimeError, match=r"No camera\."):
        ops.cvd.solve_depth()
    with pytest.raises(RuntimeError, match="Solve a clip or import a solve first"):
        of(ready).solve_folder = ""
        ops.cvd.show_log()
    of(ready).solve_folder = str(preferences.cache_folder(bpy.context) / "plate.solve")
    for _ in range(2):
        assert ops.cvd.show_log() == {"FINISHED"}
        assert ops.cvd.open_folder() == {"FINISHED"}
    (text,) = bpy.data.texts
    assert "about to fail" in text.as_string() and "engine_stdout.log" in text.as_string()
    text.name = "mine"
    ops.cvd.show_log()
    assert len(bpy.data.texts) == 1
    with pytest.raises(RuntimeError, match="The solve folder was not found"):
        ops.cvd.show_log(folder="/no/such.solve")


def test_the_estimate_is_of_the_frames_that_are_asked_for(ready: bpy.types.Scene) -> None:
    cvd = of(ready)
    assert forecast.forecast(ready) is None  # not looked at while a panel draws
    forecast.look_at(cvd.clip_path, cvd.solve_folder)
    whole = forecast.forecast(ready)
    assert whole is not None and whole.frames == 7 and "guess" in whole.known_from and whole.problem == ""
    cvd.step = 2
    assert the(forecast.forecast(ready)).frames == 4
    cvd.use_range, cvd.first, cvd.last = True, 2000, 3000
    assert "1001 to 1008" in the(forecast.forecast(ready)).problem
    assert len(bpy.data.movieclips) == 0
    cvd.clip_path = "/no/such.mp4"
    forecast.look_at(cvd.clip_path, cvd.solve_folder)
    assert "No frames were found" in the(forecast.forecast(ready)).problem


def test_finished_solves_are_learnt_from(ready: bpy.types.Scene, synthetic: Synthetic, tmp_path: Path) -> None:
    folder = tmp_path / "learn.solve"
    folder.mkdir()
    document = json.loads((synthetic.folder / "solve.json").read_text())
    document["engine"] |= {"solve_key": "k", "stages": {"poses": {"wall_s": 60.0}}}
    (folder / "solve.json").write_text(json.dumps(document))
    request = {"preset": "standard", "method": "cvd", "camera": {"kind": "solve"}, "prior": {"kind": "auto"}}
    (folder / "request.json").write_text(json.dumps(request))
    forecast.learn(folder)
    assert (own_files.folder() / forecast.PACES).is_file()
    forecast.look_at(of(ready).clip_path, of(ready).solve_folder)
    assert "as the last solve here went" in the(forecast.forecast(ready)).known_from
