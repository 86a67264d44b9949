"""Blender closed, crashed, file opened again, undo: the solve goes on, and the panel says what it does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from test_jobs import FAKE, FAST, alive

from cvd_blender_addon import jobs, monitor

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks and signals")


@pytest.fixture
def job(scene: bpy.types.Scene, addon: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[jobs.Job]:
    """A solve that runs for the scene, as the operator starts it in a Blender with a window."""
    monkeypatch.setenv("FAKE_ENGINE", "locking")
    (tmp_path / "clip.mp4").touch()
    request = jobs.make_request(tmp_path / "clip.mp4", tmp_path / "a.solve")
    started = jobs.start(Path(sys.executable), FAKE, request)
    scene.cvd.solve_folder = str(started.folder)
    monitor.follow(scene, started)
    while started.poll().state == "queued":
        pass
    yield started
    started.cancel(grace_s=-1.0)
    assert jobs.wait(started, lambda _: None, FAST).final
    assert started._process is not None and not alive(started._process.pid)


def running() -> bool:
    monitor.tick()
    cvd = bpy.context.scene.cvd
    return bool(cvd.job_running and cvd.job_state == "running")


def test_undo_to_before_the_solve_was_started_keeps_it_in_view(job: jobs.Job) -> None:
    cvd = bpy.context.scene.cvd
    cvd.solve_folder, cvd.job_running, cvd.job_state = "", False, ""  # what undo brings back
    monitor.after_undo()
    assert monitor.folder_of(bpy.context.scene) == job.folder
    assert running()


def test_real_undo_of_an_object_keeps_the_solve_in_view(job: jobs.Job) -> None:
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    if bpy.ops.ed.undo.poll():
        bpy.ops.ed.undo()
    monitor.after_undo()
    assert running()
    assert monitor.folder_of(bpy.context.scene) == job.folder


def test_undo_after_the_end_does_not_build_the_scene_again(job: jobs.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[bpy.types.Scene] = []
    monkeypatch.setattr(monitor, "_import", built.append)
    job.cancel(grace_s=-1.0)
    jobs.wait(job, lambda _: None, FAST)
    status = (job.folder / "status.json").read_text().replace('"running"', '"done"')
    (job.folder / "status.json").write_text(status)
    (job.folder / "cancel").unlink()
    monitor.tick()
    assert len(built) == 1 and not bpy.context.scene.cvd.job_running
    bpy.context.scene.cvd.job_running = True  # what undo brings back
    monitor.after_undo()
    assert monitor.tick() is None
    assert len(built) == 1 and not bpy.context.scene.cvd.job_running


def test_the_file_opened_again_finds_the_solve_also_if_it_was_saved_before(job: jobs.Job, tmp_path: Path) -> None:
    blend = str(tmp_path / "a.blend")
    cvd = bpy.context.scene.cvd
    cvd.solve_folder, cvd.job_running = "", False
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    cvd.solve_folder = str(job.folder)
    monitor.follow(bpy.context.scene, job)
    bpy.ops.wm.open_mainfile(filepath=blend)
    assert bpy.context.scene.cvd.solve_folder == "", "as it was saved"
    monitor.reattach()
    assert monitor.folder_of(bpy.context.scene) == job.folder
    assert running()


def test_a_blender_that_crashed_finds_the_solve_by_its_folder(job: jobs.Job, tmp_path: Path) -> None:
    blend = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    monitor._jobs.clear()  # all that the crash takes along
    monitor._scenes.clear()
    bpy.ops.wm.open_mainfile(filepath=blend)
    bpy.context.scene.cvd.job_running = False
    monitor.reattach()
    assert running()


def test_another_file_lets_the_solve_go_on_by_itself(job: jobs.Job) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    monitor.reattach()
    assert not bpy.context.scene.cvd.job_running
    assert bpy.context.scene.cvd.solve_folder == ""
    assert monitor.tick() == monitor.INTERVAL_S, "it is still looked after"
    assert job.poll().state == "running"


def test_an_engine_that_ends_while_no_scene_shows_it_leaves_no_zombie(job: jobs.Job) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    monitor.reattach()
    job.cancel(grace_s=-1.0)
    assert monitor.tick() is None
    assert job._process is not None and job._process.returncode is not None
