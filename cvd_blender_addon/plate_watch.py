# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the files of a scene's solve can be found, plate, depth and mattes, for the panel.

A panel may not read files while it draws, so they are looked for right after the drawing, and again from time to
time, as long as the panel is drawn.
"""

from __future__ import annotations

import time

import bpy

from . import paths, properties
from .present import manager_of
from .scene import inputs, owned, plate

AGAIN_S = 5.0
_found: dict[tuple[str, str], tuple[bool, float]] = {}  # by plate and solve folder: whether, and when it was looked for
_wanted: set[tuple[str, str]] = set()
_lost: dict[int, str] = {}  # by scene: what is missing of depth and mattes


def words(scene: bpy.types.Scene) -> str:
    """What happened to the plate of the solve that was built last, why, and what to do; empty when nothing did."""
    cvd = properties.of(scene)
    if not cvd.plate:
        return ""
    where = cvd.plate, cvd.built_folder
    lost = _lost.get(scene.session_uid, "")
    there, when = _found.get(where, (True, -AGAIN_S))
    if time.monotonic() - when >= AGAIN_S:
        _wanted.add(where)
        if not bpy.app.background and not bpy.app.timers.is_registered(_look_up):
            bpy.app.timers.register(_look_up, first_interval=0.0)
    if not there:
        return (
            f"The plate cannot be found: {paths.absolute(cvd.plate)}. It was moved or renamed, or its disk is not "
            "there. Put it back, or beside the solve folder, and press Build Again."
        )
    if owned.find(bpy.data.movieclips, cvd.solve_key, "plate") is None:
        return (
            "The scene was built without its plate, which could not be found then. It is there now: press Build Again."
        )
    return lost


def look_for(file: str, solve_folder: str) -> None:
    """Find out whether a plate is where it was, or beside its solve folder."""
    folder = paths.absolute(solve_folder)
    _found[file, solve_folder] = plate.find(paths.absolute(file), folder) is not None, time.monotonic()


def look_at(scene: bpy.types.Scene) -> None:
    """Find out whether depth and mattes of the solves in a scene are where it reads them."""
    lost = [str(missing.error) for missing in inputs.missing(scene) if missing.name != inputs.PLATE]
    _lost[scene.session_uid] = " ".join(lost)


def _look_up() -> None:
    before, lost_before = {where: there for where, (there, _) in _found.items()}, dict(_lost)
    looked = set(_wanted)
    while _wanted:
        look_for(*_wanted.pop())
    for scene in bpy.data.scenes:
        if (properties.of(scene).plate, properties.of(scene).built_folder) in looked:
            look_at(scene)
    if _lost != lost_before or any(_found[where][0] != before.get(where, True) for where in looked):
        for window in manager_of(bpy.context).windows:
            for area in window.screen.areas:
                area.tag_redraw()


def unregister() -> None:
    """Forget everything."""
    if bpy.app.timers.is_registered(_look_up):
        bpy.app.timers.unregister(_look_up)
    _found.clear()
    _wanted.clear()
    _lost.clear()
