# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows running solves and the queue from a timer, and picks them up again when a file is opened.

Nothing here is needed to end a solve well: the job lives in its folder, and `scene.cvd` says which folder that is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from . import compat, forecast, own_files, paths, preferences, properties, started, thumbnails
from .jobs import Job, StartError, Status, describe, duration
from .present import manager_of
from .scene import preview
from .shot_queue import Queue
from .solve_reader import Solve, SolveError, read

INTERVAL_S = 0.5
QUEUE, STARTED = "queue.json", "started"
_jobs: dict[Path, Job] = {}
_scenes: dict[Path, tuple[str, str]] = {}  # of the jobs that were started here: the .blend file and the scene's name


def folder_of(scene: bpy.types.Scene) -> Path | None:
    """The scene's solve folder, None while it has none."""
    return paths.absolute(properties.of(scene).solve_folder) if properties.of(scene).solve_folder else None


def result_of(scene: bpy.types.Scene) -> Path | None:
    """Folder of the finished solve that was built last, or else of the one in the scene's solve folder."""
    for name in (properties.of(scene).built_folder, properties.of(scene).solve_folder):
        folder = paths.absolute(name)
        if name and (folder / "solve.json").is_file():
            return folder
    return None


def read_result(scene: bpy.types.Scene) -> Solve:
    """The solve of `result_of`.

    Raises:
        SolveError: it is damaged, or gone since the button was drawn.
    """
    folder, cvd = result_of(scene), properties.of(scene)
    if folder is None:
        raise SolveError(
            "The solve cannot be found.",
            f"There is no solve.json in {cvd.built_folder or cvd.solve_folder} any more.",
            "Put the folder back, or import the solve from where it is now.",
        )
    return read(folder)


def job_of(scene: bpy.types.Scene) -> Job | None:
    """The scene's job: the one started here, or found by its folder."""
    folder = folder_of(scene)
    return _jobs.setdefault(folder, Job(folder)) if folder else None


def queue() -> Queue:
    """The queue of this computer's user."""
    return Queue(own_files.folder() / QUEUE, _jobs)


def follow(scene: bpy.types.Scene, job: Job) -> None:
    """Watch a job that was just started for `scene`."""
    _jobs[job.folder] = job
    _scenes[job.folder] = bpy.data.filepath, scene.name
    if bpy.data.filepath:
        clip = str(paths.absolute(properties.of(scene).clip_path))
        note = started.Started(str(job.folder), bpy.data.filepath, scene.name, clip)
        started.note(own_files.folder() / STARTED, note)
    properties.of(scene).job_running = True
    show(scene, Status("queued", message="starting the engine"))
    wake()


def attach(scene: bpy.types.Scene) -> None:
    """Watch the solve that is at work in the scene's solve folder, if one is."""
    folder = folder_of(scene)
    if folder is not None and not properties.of(scene).job_running and not Job(folder).poll().final:
        properties.of(scene).job_running = True
        wake()


def show(scene: bpy.types.Scene, status: Status) -> None:
    """Put a status where the panel finds it."""
    cvd = properties.of(scene)
    cvd.job_state = status.state
    cvd.job_fraction = status.fraction
    cvd.job_message = _with_time(status)
    cvd.job_stages = "\n".join(f"{stage.name} {stage.state} {stage.fraction:.3f}" for stage in status.stages)
    cvd.job_error = describe(status) if status.state == "failed" else ""
    cvd.job_running = not status.final


def _show_preview(scene: bpy.types.Scene, status: Status) -> None:
    """What the engine has found so far, while it works."""
    folder = None if status.final else folder_of(scene)
    properties.of(scene).job_picture = "" if folder is None else thumbnails.state(folder)
    if _rendering():
        return
    if folder is None:
        preview.remove(scene)
    else:
        preview.update(scene, folder)


def _rendering() -> bool:
    """Objects must not come and go while Blender renders them."""
    return not bpy.app.background and compat.is_job_running("RENDER")


def _with_time(status: Status) -> str:
    return status.message if status.eta_s is None else f"{status.message} · {duration(status.eta_s)} left"


def tick() -> float | None:
    """Look at every running job once; the next look is due after the seconds returned, None = no more."""
    queue_is_busy = step_queue()
    running = [scene for scene in bpy.data.scenes if properties.of(scene).job_running]
    for scene in running:
        job = job_of(scene)
        status = job.poll() if job else Status("cancelled")
        show(scene, status)
        _show_preview(scene, status)
        if status.final and job:
            _forget(job)
            started.drop(own_files.folder() / STARTED, job.folder)
            if status.state == "done":
                forecast.learn(job.folder)
                if properties.of(scene).import_when_done:
                    _import(scene)
    left_over = [scene for scene in bpy.data.scenes if not properties.of(scene).job_running and preview.find(scene)]
    for scene in left_over:  # of a solve that has ended meanwhile, or brought back by undo or an old file
        if not _rendering():
            preview.remove(scene)
    watched = {folder_of(scene) for scene in running}
    for job in [job for folder, job in _jobs.items() if folder not in watched]:
        if job.poll().final:  # of a file that is no longer open; its process is not to stay as a zombie
            _forget(job)
    _redraw()
    busy = queue_is_busy or _jobs or left_over or any(properties.of(scene).job_running for scene in bpy.data.scenes)
    return INTERVAL_S if busy else None


def step_queue() -> bool:
    """Look at the queue once: solve on, and show it. Returns whether there is more to come."""
    shots, news = queue(), dict[Path, Status]()
    if shots.busy:
        try:
            news = shots.step(preferences.engine_python(bpy.context), preferences.engine_root())
        except StartError as error:
            print(error)  # the queue's file cannot be written: it is tried again
    show_queue(shots)
    for folder, status in news.items():
        _show_in_queue(folder, status)
        for scene in bpy.data.scenes:
            if status.state == "queued" and folder_of(scene) == folder and not properties.of(scene).job_running:
                follow(scene, _jobs[folder])
        if status.state == "done":
            forecast.learn(folder)
    return shots.busy


def show_queue(shots: Queue) -> None:
    """Put the queue where the panel finds it."""
    shown = properties.queue_of(bpy.context)
    shown.active = shots.active
    if [item.folder for item in shown.shots] != [str(shot.folder) for shot in shots.shots]:
        before = [item.folder for item in shown.shots]
        chosen = before[shown.index] if 0 <= shown.index < len(before) else ""
        shown.shots.clear()
        for shot in shots.shots:
            item = shown.shots.add()
            item.folder, item.name = str(shot.folder), shot.folder.name.removesuffix(".solve")
            if item.folder not in before:
                chosen = item.folder  # what has just been added
        folders = [item.folder for item in shown.shots]
        shown.index = folders.index(chosen) if chosen in folders else max(len(folders) - 1, 0)
    for item, shot in zip(shown.shots, shots.shots, strict=True):
        if item.state != shot.state:
            item.state, item.fraction = shot.state, 0.0
        if shot.message or not shot.running:
            item.message = shot.message


def _show_in_queue(folder: Path, status: Status) -> None:
    """Put how far a shot of the queue is where the panel finds it."""
    for item in properties.queue_of(bpy.context).shots:
        if item.folder == str(folder) and not status.final:
            item.fraction, item.message = status.fraction, _with_time(status)


def _forget(job: Job) -> None:
    _jobs.pop(job.folder, None)
    _scenes.pop(job.folder, None)


def _import(scene: bpy.types.Scene) -> None:
    # By the operator, so that the user can undo it. A timer has no window of its own.
    manager = manager_of(bpy.context)
    window = next((window for window in manager.windows if window.scene == scene), None)
    override: dict[str, Any] = {"window": window} if window else {"scene": scene}
    with bpy.context.temp_override(**override):
        try:
            compat.operator("cvd.import_solve")("EXEC_DEFAULT", True, directory=str(folder_of(scene)))
        except RuntimeError as error:  # how an operator's error report reaches Python
            properties.of(scene).job_error = str(error)


def _redraw() -> None:
    for window in manager_of(bpy.context).windows:
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "CLIP_EDITOR"):
                area.tag_redraw()


def wake() -> None:
    """Begin to look, unless that is done already."""
    if not bpy.app.background and not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, persistent=True)


@compat.persistent
def reattach(_file: str = "") -> None:
    """After a file has been opened: go on watching what was running when it was saved, or has been started since."""
    for folder, (file, _) in list(_scenes.items()):
        if not file or file != bpy.data.filepath:
            _scenes.pop(folder)  # of another file: it goes on by itself
    for entry in started.of_file(own_files.folder() / STARTED, bpy.data.filepath):
        scene = bpy.data.scenes.get(entry.scene)
        if scene is not None and _fits(scene, entry):
            _scenes[Path(entry.folder)] = entry.blend, entry.scene
    for scene in bpy.data.scenes:
        properties.of(scene).job_in_the_way = ""
        if properties.of(scene).job_error and not properties.of(scene).job_running:
            _look_again(scene)
        attach(scene)
    _find_scenes()
    wake()  # also for the queue, which belongs to no file


@compat.persistent
def after_undo(_scene: object = None) -> None:
    """Undo and redo bring back what a scene said of its job at another time; the job itself they do not touch."""
    _find_scenes()
    for scene in bpy.data.scenes:
        job = job_of(scene) if properties.of(scene).job_running or folder_of(scene) in _jobs else None
        if job is not None:
            status = job.poll()
            show(scene, status)
            if status.final:  # its result was built before, and maybe that is what was undone
                _forget(job)
    wake()  # also for a preview that does not belong there any more


def _fits(scene: bpy.types.Scene, entry: started.Started) -> bool:
    """A solve that was started after the file was saved is still what the scene is about."""
    cvd = properties.of(scene)
    if not cvd.clip_path:
        cvd.clip_path = entry.clip
    same_folder = folder_of(scene) in (None, Path(entry.folder))
    return same_folder and str(paths.absolute(cvd.clip_path)) == entry.clip


def _look_again(scene: bpy.types.Scene) -> None:
    """What a file said of its solve when it was saved may be long past."""
    folder = folder_of(scene)
    status = Job(folder).poll() if folder is not None and (folder / "status.json").is_file() else None
    properties.of(scene).job_error = describe(status) if status is not None and status.state == "failed" else ""


def _find_scenes() -> None:
    """Scenes know of the jobs that were started for them."""
    for folder, (_, name) in _scenes.items():
        scene = bpy.data.scenes.get(name)
        if scene is not None and folder_of(scene) != folder:
            properties.of(scene).solve_folder = paths.stored(folder)
        if scene is not None:
            properties.of(scene).job_running = True


_HANDLERS = {"load_post": reattach, "undo_post": after_undo, "redo_post": after_undo}


def register() -> None:
    """Watch for files being opened, and for undo; look whether the queue has work."""
    # Without a window there are no timers, and a handler left behind hangs the 4.5 module when Python ends.
    if not bpy.app.background:
        for name, handler in _HANDLERS.items():
            getattr(bpy.app.handlers, name).append(handler)
        wake()  # the queue may have work left from another time


def unregister() -> None:
    """Stop watching."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    for name, handler in _HANDLERS.items():
        if handler in getattr(bpy.app.handlers, name):
            getattr(bpy.app.handlers, name).remove(handler)
    _jobs.clear()
    _scenes.clear()
