# SPDX-License-Identifier: GPL-3.0-or-later
"""Depth hints: Blender masks, and how far away what they show is, written to files that the engine reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
from mathutils import Vector

from . import masks, properties
from .jobs import StartError
from .scene import owned

FOLDER, FILE = "hints", "hints.json"
DISTANCE, PLANE, POINT = "DISTANCE", "PLANE", "POINT"
NEEDED = {DISTANCE: 0, PLANE: 3, POINT: 1}
"""How many points each kind takes at least."""


def enabled(cvd: properties.CvdProperties) -> list[properties.CvdHint]:
    """Those that count."""
    return [hint for hint in cvd.hints if hint.enabled]


def active(cvd: properties.CvdProperties) -> properties.CvdHint | None:
    """The one that the panel shows."""
    return cvd.hints[cvd.hint] if 0 <= cvd.hint < len(cvd.hints) else None


def find(scene: bpy.types.Scene, role: str) -> bpy.types.Object | None:
    """An object of the solve that was built last: "root" or "camera"."""
    return owned.find(scene.objects, properties.of(scene).solve_key, role)


def in_solve(scene: bpy.types.Scene, place: Vector) -> Vector:
    """A place of the scene in the world of the solve, where it stays when the solve is moved, turned or scaled."""
    root = find(scene, "root")
    return root.matrix_world.inverted() @ place if root else place.copy()


def depth_of(camera: bpy.types.Object, place: Vector) -> float:
    """How far a place of the scene lies before a camera, along its axis, in the scene's unit."""
    matrix = camera.matrix_world
    axis = -matrix.to_3x3().col[2].normalized()
    return float(axis.dot(place - matrix.translation))


def provide(scene: bpy.types.Scene, clip: Path, folder: Path, progress: masks.Progress) -> None:
    """Write the hints of `scene.cvd` as `folder/hints.json`, and their masks below `folder/hints`; nothing where none
    is enabled.

    Raises:
        StartError: a hint lacks something, or its mask covers nothing, or cannot be rendered.
    """
    cvd = properties.of(scene)
    hints = enabled(cvd)
    if not hints:
        return
    for hint in hints:
        _require_whole(hint)
    numbers = masks.frames_to_solve(cvd, clip)
    block = masks.drawn_on(clip, cvd.mask_clip)
    entries = []
    for place, hint in enumerate(hints, 1):
        on = [number for number in numbers if not hint.use_range or hint.first <= number <= hint.last]
        drawn = folder / FOLDER / str(place)
        assert hint.mask is not None  # required above
        if not masks.render(hint.mask, block, on, drawn, progress):
            raise _unusable(
                hint,
                "Its mask covers nothing on any of its frames.",
                "Check its frames, and that the mask is drawn on the clip chosen under Drawn On.",
            )
        entries.append({"name": hint.name, "mask": f"{FOLDER}/{place}", **_depth(scene, hint)})
    _write(folder / FILE, {"schema": "cvd.hints/1", "hints": entries})


def _require_whole(hint: properties.CvdHint) -> None:
    if hint.mask is None:
        raise _unusable(hint, "It has no mask.", "Draw a mask around the region in the clip editor, and choose it.")
    if len(hint.points) < NEEDED[hint.kind]:
        raise _unusable(
            hint,
            f"It has {len(hint.points)} of at least {NEEDED[hint.kind]} points.",
            "Select solved points in Edit Mode, or empties, and press From Selected.",
        )


def _depth(scene: bpy.types.Scene, hint: properties.CvdHint) -> dict[str, Any]:
    """The kind of a hint in the words of `cvd.hints/1`."""
    places = [list(point.place) for point in hint.points]
    if hint.kind == PLANE:
        return {"plane": places}
    if hint.kind == POINT:
        middle = sum((Vector(place) for place in places), Vector((0.0, 0.0, 0.0))) / len(places)
        return {"point": [middle.x, middle.y, middle.z]}
    root = find(scene, "root")
    return {"distance": hint.distance / (root.matrix_world.median_scale if root else 1.0)}


def _unusable(hint: properties.CvdHint, why: str, fix: str) -> StartError:
    return StartError("hints.unusable", f"The depth hint {hint.name} cannot be used.", why, f"{fix} Or disable it.")


def _write(path: Path, document: dict[str, Any]) -> None:
    try:
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StartError(
            "hints.write", f"{path} was not written.", f"{error.strerror}.", "Choose a solve folder you may write to."
        ) from error
