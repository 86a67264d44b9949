# SPDX-License-Identifier: GPL-3.0-or-later
"""What the solve that the panel asks for will take: the clip's size and length looked up, the estimate in words.

A panel may not read files while it draws, so a clip that is not known yet is looked at right after the drawing.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import bpy

from . import estimate, jobs, masks, own_files, paths, properties
from .present import manager_of
from .sequences import numbered_files, require_frames

PACES = "paces.json"


@dataclass(frozen=True)
class _Clip:
    """Of the footage: plate frame numbers, pixels, free bytes on the disk that the solve goes to; and why it cannot be
    solved, or empty."""

    numbers: tuple[int, ...]
    width: int
    height: int
    free_bytes: float
    problem: str


_clips: dict[tuple[str, str], _Clip] = {}  # by clip and solve folder
_wanted: set[tuple[str, str]] = set()
_paces: list[estimate.Pace] | None = None


@dataclass(frozen=True)
class Forecast:
    """For the panel.

    Attributes:
        frames: how many are solved.
        takes, known_from: time and disk, and where that is known from.
        problem: what stands against it, or empty.
    """

    frames: int
    takes: str = ""
    known_from: str = ""
    problem: str = ""


def forecast(scene: bpy.types.Scene) -> Forecast | None:
    """What solving `scene.cvd` will take; None where there is no clip, or it is not known yet."""
    cvd = properties.of(scene)
    if not cvd.clip_path:
        return None
    where = cvd.clip_path, cvd.solve_folder
    clip = _clips.get(where)
    if clip is None:
        _wanted.add(where)
        if not bpy.app.background and not bpy.app.timers.is_registered(_look_up):
            bpy.app.timers.register(_look_up, first_interval=0.0)
        return None
    first, last = (cvd.first, cvd.last) if cvd.use_range else (None, None)
    numbers = masks.chosen(clip.numbers, first, last, cvd.step)
    frames = len(numbers)
    if clip.problem:
        return Forecast(0, problem=clip.problem)
    if not clip.numbers:
        return Forecast(0, problem="No frames were found there. Choose a movie, or any file of an image sequence")
    if not frames:
        there = f"{clip.numbers[0]} to {clip.numbers[-1]}"
        return Forecast(0, problem=f"The clip has frames {there}: none of them lies in the range")
    try:
        require_frames(numbers)
    except jobs.StartError as error:
        return Forecast(0, problem=str(error))
    width = clip.width // 2 if cvd.stereo == "side_by_side" else clip.width
    shot = estimate.Shot(frames, width, clip.height, cvd.preset, cvd.method, cvd.camera_source, cvd.prior)
    found = estimate.estimate(shot, paces())
    takes, known_from = estimate.in_words(found, jobs.duration)
    free = clip.free_bytes
    problem = f"Only {estimate.size(free)} are free on that disk" if free < found.disk_bytes else ""
    return Forecast(frames, takes, known_from, problem)


def paces() -> list[estimate.Pace]:
    """How fast this computer was in the solves that it finished last."""
    global _paces  # noqa: PLW0603 - read once, so that drawing reads no file
    if _paces is None:
        _paces = estimate.Paces(own_files.folder() / PACES).load()
    return _paces


def learn(folder: Path) -> None:
    """Remember how long the finished solve in `folder` took."""
    global _paces  # noqa: PLW0603
    known = estimate.Paces(own_files.folder() / PACES)
    known.remember(folder)
    _paces = known.load()


def look_at(clip_path: str, solve_folder: str) -> None:
    """Find out length and size of a clip, and how full the disk is."""
    path = paths.absolute(clip_path)
    folder = paths.absolute(solve_folder or clip_path)
    free, problem = math.inf, ""
    try:
        numbers = tuple(masks.all_numbers(path))
        shown = path if path.is_file() else next(iter(numbered_files(path).values()), path)
        with masks.opened(shown) as block:
            width, height = tuple(block.size) if block is not None else (0, 0)
        there = next((parent for parent in (folder, *folder.parents) if parent.exists()), None)
        if there is not None:
            free = shutil.disk_usage(there).free
    except (OSError, jobs.StartError) as error:
        numbers, width, height = (), 0, 0
        problem = str(error) if isinstance(error, jobs.StartError) else ""
    _clips[clip_path, solve_folder] = _Clip(numbers if width > 0 else (), width, height, free, problem)


def forget() -> None:
    """Look at clips again: their files may have changed."""
    _clips.clear()


def _look_up() -> None:
    while _wanted:
        look_at(*_wanted.pop())
    for window in manager_of(bpy.context).windows:
        for area in window.screen.areas:
            area.tag_redraw()


def unregister() -> None:
    """Forget everything."""
    global _paces  # noqa: PLW0603
    if bpy.app.timers.is_registered(_look_up):
        bpy.app.timers.unregister(_look_up)
    _clips.clear()
    _wanted.clear()
    _paces = None
