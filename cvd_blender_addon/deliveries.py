# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands a solve to other programs: the engine writes passes and points, Blender the camera.

Follows running deliveries from a timer. Like a solve, a delivery lives in its folder and outlasts Blender.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bpy
from mathutils import Matrix

from . import compat, jobs, paths, properties
from .jobs import DELIVERY, Job, Status, describe, duration
from .present import manager_of
from .scene import camera, camera_files
from .solve_reader import Solve

INTERVAL_S = 0.5
OF_DISTORTED = ("stmaps", "plate")  # what a shot without distortion has no use for
_jobs: dict[Path, Job] = {}


def default_folder(solve: Path) -> Path:
    """`<name>.delivery` beside the solve folder."""
    return solve.parent / f"{solve.name.removesuffix('.solve') or 'solve'}.delivery"


def deliver(
    scene: bpy.types.Scene,
    solve: Solve,
    engine_python: Path,
    engine_root: Path,
    out: Path,
    kinds: Sequence[str] | None,
    cameras: Sequence[str],
) -> tuple[Job, list[str]]:
    """Write the camera, and start the engine on the rest.

    All of it is where the root of the solve stands in the scene, or in the solve's own world where there is none.

    Args:
        kinds: what the engine is to write, in its own words; None = all that the shot has.
        cameras: of `camera_files.FORMATS`.

    Returns:
        The job, and what could not be written, in sentences.

    Raises:
        StartError: the engine cannot be started, the folder cannot be used, or the camera cannot be written.
    """
    root = camera.find_root(scene, solve)
    placed = root.matrix_world.copy() if root is not None else Matrix.Identity(4)
    folder = jobs.prepare_delivery(engine_python, engine_root, out)
    missing = []
    for name in cameras:
        if camera_files.available(name):
            camera_files.write(solve, placed, name, folder, out)
        else:
            missing.append(f"This Blender was built without {camera_files.FORMATS[name].label}: no {name} camera.")
    numbers = [value for row in placed[:] for value in row[:]]
    return jobs.deliver(engine_python, engine_root, solve.folder, out, kinds, numbers), missing


def folder_of(scene: bpy.types.Scene) -> Path | None:
    """Where the scene has last delivered to, None while it has not."""
    folder = properties.of(scene).delivery.at
    return paths.absolute(folder) if folder else None


def job_of(scene: bpy.types.Scene) -> Job | None:
    """The scene's delivery at work: the one started here, or found by its folder."""
    folder = folder_of(scene)
    return _jobs.setdefault(folder / DELIVERY, Job(folder / DELIVERY)) if folder else None


def follow(scene: bpy.types.Scene, job: Job) -> None:
    """Watch a delivery that was just started for `scene`."""
    _jobs[job.folder] = job
    show(scene, Status("queued", message="starting the engine"))
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, persistent=True)


def show(scene: bpy.types.Scene, status: Status) -> None:
    """Put a status where the panel finds it."""
    shown = properties.of(scene).delivery
    left = "" if status.eta_s is None else f" · {duration(status.eta_s)} left"
    shown.fraction, shown.message = status.fraction, f"{status.message}{left}"
    shown.error = describe(status) if status.state == "failed" else ""
    shown.running, shown.state = not status.final, status.state


def tick() -> float | None:
    """Look at every running delivery once; the next look is due after the seconds returned, None = no more."""
    running = [scene for scene in bpy.data.scenes if properties.of(scene).delivery.running]
    for scene in running:
        job = job_of(scene)
        show(scene, job.poll() if job else Status("cancelled"))
    for folder, job in list(_jobs.items()):
        if job.poll().final:
            del _jobs[folder]
    for window in manager_of(bpy.context).windows if running else ():
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "CLIP_EDITOR"):
                area.tag_redraw()
    return INTERVAL_S if _jobs or any(properties.of(scene).delivery.running for scene in bpy.data.scenes) else None


@compat.persistent
def reattach(_file: object = "") -> None:
    """After a file has been opened: go on watching what was running when it was saved."""
    for scene in bpy.data.scenes:
        if properties.of(scene).delivery.running:
            job = job_of(scene)
            if job is not None:
                follow(scene, job)


def register() -> None:
    """Watch for files being opened."""
    if not bpy.app.background:  # without a window there are no timers
        bpy.app.handlers.load_post.append(reattach)


def unregister() -> None:
    """Stop watching."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    if reattach in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(reattach)
    _jobs.clear()
