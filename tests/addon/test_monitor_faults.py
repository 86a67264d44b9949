"""Blender closed, crashed, file opened again, undo: the solve goes on, and the panel says what it does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest

from cvd_blender_addon import jobs, monitor, paths, preferences, solve_request
from cvd_blender_addon.properties import of
from tests.addon.test_jobs import FAKE, FAST, alive
from tests.addon.typed import ops, scene_now

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks and signals")


@pytest.fixture
def job(scene: bpy.types.Scene, addon: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[jobs.Job]:
    """A solve that runs for the scene, as the operator starts it in a Blender with a window."""
    monkeypatch.setenv("FAKE_ENGINE", "locking")
    (tmp_path / "clip.mp4").touch()
    request = solve_request.make(tmp_path / "clip.mp4", tmp_path / "a.solve")
    started = jobs.start(Path(sys.executable), FAKE, request)
    of(scene).solve_folder = str(started.folder)
    monitor.follow(scene, started)
    while started.poll().state == "queued":
        pass
    yield started
    started.cancel(grace_s=-1.0)
    assert jobs.wait(started, lambda _: None, FAST).final
    assert started._process is not None and not alive(started._process.pid)


def running() -> bool:
    monitor.tick()
    cvd = of(bpy.context.scene)
    return bool(cvd.job_running and cvd.job_state == "running")


def test_undo_to_before_the_solve_was_started_keeps_it_in_view(job: jobs.Job) -> None:
    cvd = of(bpy.context.scene)
    cvd.solve_folder, cvd.job_running, cvd.job_state = "", False, ""  # what undo brings back
    monitor.after_undo()
    assert monitor.folder_of(scene_now()) == job.folder
    assert running()


@pytest.mark.every_blender
def test_real_undo_of_an_object_keeps_the_solve_in_view(job: jobs.Job) -> None:
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    if ops.ed.undo.poll():
        bpy.ops.ed.undo()
    monitor.after_undo()
    assert running()
    assert monitor.folder_of(scene_now()) == job.folder


def test_undo_after_the_end_does_not_build_the_scene_again(job: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[bpy.types.Scene] = []
    monkeypatch.setattr(monitor, "_import", built.append)
    job.cancel(grace_s=-1.0)
    jobs.wait(job, lambda _: None, FAST)
    status = (job.folder / "status.json").read_text().replace('"running"', '"done"')
    (job.folder / "status.json").write_text(status)
    (job.folder / "cancel").unlink()
    monitor.tick()
    assert len(built) == 1 and not of(bpy.context.scene).job_running
    of(bpy.context.scene).job_running = True  # what undo brings back
    monitor.after_undo()
    assert monitor.tick() is None
    assert len(built) == 1 and not of(bpy.context.scene).job_running


def test_the_file_opened_again_finds_the_solve_also_if_it_was_saved_before(job: jobs.Job, tmp_path: Path) -> None:
    blend = str(tmp_path / "a.blend")
    cvd = of(bpy.context.scene)
    cvd.solve_folder, cvd.job_running = "", False
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    cvd.solve_folder = str(job.folder)
    monitor.follow(scene_now(), job)
    bpy.ops.wm.open_mainfile(filepath=blend)
    assert of(bpy.context.scene).solve_folder == "", "as it was saved"
    monitor.reattach()
    assert monitor.folder_of(scene_now()) == job.folder
    assert running()


def test_a_blender_that_crashed_finds_the_solve_by_its_folder(job: jobs.Job, tmp_path: Path) -> None:
    blend = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    monitor._jobs.clear()  # all that the crash takes along
    monitor._scenes.clear()
    bpy.ops.wm.open_mainfile(filepath=blend)
    of(bpy.context.scene).job_running = False
    monitor.reattach()
    assert running()


def crash() -> None:
    """All that a crash, or quitting, takes along."""
    monitor._jobs.clear()
    monitor._scenes.clear()


def saved_before_the_solve(job: jobs.Job, tmp_path: Path, clip: str = "") -> str:
    """A .blend that was saved before Solve Depth was pressed, and knows nothing of it."""
    blend = str(tmp_path / "a.blend")
    cvd = of(bpy.context.scene)
    cvd.job_running = False
    cvd.clip_path, cvd.solve_folder = clip, ""
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    cvd.clip_path = str(tmp_path / "clip.mp4")
    cvd.solve_folder = str(job.folder)
    monitor.follow(scene_now(), job)
    crash()
    return blend


@pytest.mark.parametrize("with_clip", [True, False])
def test_saved_solved_quit_opened_the_solve_is_found(job: jobs.Job, tmp_path: Path, with_clip: bool) -> None:
    blend = saved_before_the_solve(job, tmp_path, str(tmp_path / "clip.mp4") if with_clip else "")
    bpy.ops.wm.open_mainfile(filepath=blend)
    assert of(bpy.context.scene).solve_folder == "", "as it was saved"
    monitor.reattach()
    assert monitor.folder_of(scene_now()) == job.folder
    assert paths.absolute(of(bpy.context.scene).clip_path) == tmp_path / "clip.mp4"
    assert running()


def test_a_solve_that_ended_while_blender_was_closed_is_built_once(
    job: jobs.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blend = saved_before_the_solve(job, tmp_path, str(tmp_path / "clip.mp4"))
    job.cancel(grace_s=-1.0)
    jobs.wait(job, lambda _: None, FAST)
    status = (job.folder / "status.json").read_text().replace('"running"', '"done"')
    (job.folder / "status.json").write_text(status)
    built: list[bpy.types.Scene] = []
    monkeypatch.setattr(monitor, "_import", built.append)
    for _ in range(2):
        bpy.ops.wm.open_mainfile(filepath=blend)
        monitor.reattach()
        monitor.tick()
        crash()
    assert len(built) == 1


def test_a_scene_that_is_about_another_clip_by_now_is_left_alone(job: jobs.Job, tmp_path: Path) -> None:
    (tmp_path / "other.mp4").touch()
    blend = saved_before_the_solve(job, tmp_path, str(tmp_path / "other.mp4"))
    bpy.ops.wm.open_mainfile(filepath=blend)
    monitor.reattach()
    assert of(bpy.context.scene).solve_folder == ""
    assert not of(bpy.context.scene).job_running


def test_typing_the_folder_of_a_running_solve_follows_it_at_once(job: jobs.Job) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    crash()
    cvd = of(bpy.context.scene)
    cvd.job_error = "failed: long ago"
    cvd.solve_folder = str(job.folder)
    assert cvd.job_running and cvd.job_error == ""
    assert running()


def test_a_folder_that_is_at_work_offers_attach_and_cancel(
    job: jobs.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preferences, "engine_root", lambda: FAKE)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    crash()
    monkeypatch.setattr(preferences, "cache_folder", lambda _context: tmp_path)
    job.folder.rename(tmp_path / "clip.solve")  # the clip's own folder
    job.folder = tmp_path / "clip.solve"
    cvd = of(bpy.context.scene)
    cvd.clip_path = str(tmp_path / "clip.mp4")
    assert not ops.cvd.attach_solve.poll()
    with pytest.raises(RuntimeError, match="Another engine is at work"):
        ops.cvd.solve_depth(engine_python=sys.executable)
    assert not cvd.job_running
    assert ops.cvd.attach_solve.poll()
    assert ops.cvd.attach_solve(cancel=True) == {"FINISHED"}
    assert monitor.folder_of(scene_now()) == job.folder
    assert cvd.job_running and cvd.job_error == ""
    assert (job.folder / "cancel").exists()


def test_attach_keeps_the_folder_as_solve_depth_does_and_its_log_can_be_read(
    job: jobs.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    crash()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "copy.blend"))
    monkeypatch.setattr(paths, "uses_relative", lambda: True)
    cvd = of(bpy.context.scene)
    assert not ops.cvd.show_log.poll()
    cvd.job_in_the_way = str(job.folder)
    assert ops.cvd.show_log(folder=cvd.job_in_the_way) == {"FINISHED"}
    assert ops.cvd.attach_solve() == {"FINISHED"}
    assert cvd.solve_folder == "//a.solve"
    assert running()


def test_a_stale_error_goes_when_the_file_is_opened_and_a_true_one_stays(job: jobs.Job, tmp_path: Path) -> None:
    blend = str(tmp_path / "a.blend")
    cvd = of(bpy.context.scene)
    job.cancel(grace_s=-1.0)
    jobs.wait(job, lambda _: None, FAST)
    cvd.job_running, cvd.job_error = False, "failed: long ago"
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    told = {"code": "a.b", "what": "No camera.", "why": "A tripod shot.", "fix": "Move it."}
    running_status = json.loads((job.folder / "status.json").read_text())
    for state, error, shown in (("done", None, ""), ("failed", told, "failed: No camera. A tripod shot. Move it.")):
        (job.folder / "status.json").write_text(json.dumps({**running_status, "state": state, "error": error}))
        bpy.ops.wm.open_mainfile(filepath=blend)
        crash()
        monitor.reattach()
        assert of(bpy.context.scene).job_error == shown


def test_another_file_lets_the_solve_go_on_by_itself(job: jobs.Job) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    monitor.reattach()
    assert not of(bpy.context.scene).job_running
    assert of(bpy.context.scene).solve_folder == ""
    assert monitor.tick() == monitor.INTERVAL_S, "it is still looked after"
    assert job.poll().state == "running"


def test_an_engine_that_ends_while_no_scene_shows_it_leaves_no_zombie(job: jobs.Job) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    monitor.reattach()
    job.cancel(grace_s=-1.0)
    assert monitor.tick() is None
    assert job._process is not None and job._process.returncode is not None
