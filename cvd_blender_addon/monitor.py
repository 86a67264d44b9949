# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows running solves from a timer, and picks them up again when a file is opened.

Nothing here is needed to end a solve well: the job lives in its folder, and `scene.cvd` says which folder that is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .jobs import Job, Status, describe, duration

INTERVAL_S = 0.5
_jobs: dict[Path, Job] = {}
_scenes: dict[Path, tuple[str, str]] = {}  # of the jobs that were started here: the .blend file and the scene's name


def folder_of(scene: bpy.types.Scene) -> Path | None:
    """The scene's solve folder, None while it has none."""
    return Path(bpy.path.abspath(scene.cvd.solve_folder)) if scene.cvd.solve_folder else None


def job_of(scene: bpy.types.Scene) -> Job | None:
    """The scene's job: the one started here, or found by its folder."""
    folder = folder_of(scene)
    return _jobs.setdefault(folder, Job(folder)) if folder else None


def follow(scene: bpy.types.Scene, job: Job) -> None:
    """Watch a job that was just started for `scene`."""
    _jobs[job.folder] = job
    _scenes[job.folder] = bpy.data.filepath, scene.name
    scene.cvd.job_running = True
    show(scene, Status("queued", message="starting the engine"))
    _start_timer()


def show(scene: bpy.types.Scene, status: Status) -> None:
    """Put a status where the panel finds it."""
    cvd = scene.cvd
    cvd.job_state = status.state
    cvd.job_fraction = status.fraction
    cvd.job_message = status.message if status.eta_s is None else f"{status.message} · {duration(status.eta_s)} left"
    cvd.job_error = describe(status) if status.state == "failed" else ""
    cvd.job_running = not status.final


def tick() -> float | None:
    """Look at every running job once; the next look is due after the seconds returned, None = no more."""
    running = [scene for scene in bpy.data.scenes if scene.cvd.job_running]
    for scene in running:
        job = job_of(scene)
        status = job.poll() if job else Status("cancelled")
        show(scene, status)
        if status.final and job:
            _forget(job)
            if status.state == "done" and scene.cvd.import_when_done:
                _import(scene)
    watched = {folder_of(scene) for scene in running}
    for job in [job for folder, job in _jobs.items() if folder not in watched]:
        if job.poll().final:  # of a file that is no longer open; its process is not to stay as a zombie
            _forget(job)
    _redraw()
    return INTERVAL_S if _jobs or any(scene.cvd.job_running for scene in bpy.data.scenes) else None


def _forget(job: Job) -> None:
    _jobs.pop(job.folder, None)
    _scenes.pop(job.folder, None)


def _import(scene: bpy.types.Scene) -> None:
    # By the operator, so that the user can undo it. A timer has no window of its own.
    manager = bpy.context.window_manager
    window = next((window for window in manager.windows if window.scene == scene), None)
    override: dict[str, Any] = {"window": window} if window else {"scene": scene}
    with bpy.context.temp_override(**override):
        try:
            bpy.ops.cvd.import_solve("EXEC_DEFAULT", True, directory=str(folder_of(scene)))
        except RuntimeError as error:  # how an operator's error report reaches Python
            scene.cvd.job_error = str(error)


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "CLIP_EDITOR"):
                area.tag_redraw()


def _start_timer() -> None:
    if not bpy.app.background and not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, persistent=True)


@bpy.app.handlers.persistent
def reattach(_file: str = "") -> None:
    """After a file has been opened: go on watching what was running when it was saved, or has been started since."""
    for folder, (file, _) in list(_scenes.items()):
        if not file or file != bpy.data.filepath:
            _scenes.pop(folder)  # of another file: it goes on by itself
    for scene in bpy.data.scenes:
        where = folder_of(scene)
        if where is not None and not scene.cvd.job_running:
            scene.cvd.job_running = not Job(where).poll().final
    _find_scenes()
    if any(scene.cvd.job_running for scene in bpy.data.scenes):
        _start_timer()


@bpy.app.handlers.persistent
def after_undo(_scene: object = None) -> None:
    """Undo and redo bring back what a scene said of its job at another time; the job itself they do not touch."""
    _find_scenes()
    for scene in bpy.data.scenes:
        job = job_of(scene) if scene.cvd.job_running or folder_of(scene) in _jobs else None
        if job is not None:
            status = job.poll()
            show(scene, status)
            if status.final:  # its result was built before, and maybe that is what was undone
                _forget(job)
    if any(scene.cvd.job_running for scene in bpy.data.scenes):
        _start_timer()


def _find_scenes() -> None:
    """Scenes know of the jobs that were started for them."""
    for folder, (_, name) in _scenes.items():
        scene = bpy.data.scenes.get(name)
        if scene is not None and folder_of(scene) != folder:
            scene.cvd.solve_folder = str(folder)
        if scene is not None:
            scene.cvd.job_running = True


_HANDLERS = {"load_post": reattach, "undo_post": after_undo, "redo_post": after_undo}


def register() -> None:
    """Watch for files being opened, and for undo."""
    # Without a window there are no timers, and a handler left behind hangs the 4.5 module when Python ends.
    if not bpy.app.background:
        for name, handler in _HANDLERS.items():
            getattr(bpy.app.handlers, name).append(handler)


def unregister() -> None:
    """Stop watching."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    for name, handler in _HANDLERS.items():
        if handler in getattr(bpy.app.handlers, name):
            getattr(bpy.app.handlers, name).remove(handler)
    _jobs.clear()
    _scenes.clear()
