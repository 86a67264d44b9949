# SPDX-License-Identifier: GPL-3.0-or-later
"""The solved camera as a file for other programs, by Blender's own exporters: one plain camera, y up, a key a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import addon_utils
import bpy
from mathutils import Matrix

from ..jobs import StartError
from ..solve_reader import Solve
from . import camera

FILM_BACK_MM = 36.0
NAME = "solved_camera"
FBX = "io_scene_fbx"


@dataclass(frozen=True)
class Format:
    """A kind of camera file: its name for people, its file, and how the current scene is written."""

    label: str
    file: str
    write: Callable[[str, Solve], object]


def _alembic(path: str, solve: Solve) -> object:
    first, last = solve.source.first, solve.source.last
    return bpy.ops.wm.alembic_export(filepath=path, start=first, end=last, as_background_job=False)


def _usd(path: str, _solve: Solve) -> object:
    return bpy.ops.wm.usd_export(
        filepath=path,
        export_animation=True,
        convert_orientation=True,
        export_global_forward_selection="NEGATIVE_Z",
        export_global_up_selection="Y",
    )


def _fbx(path: str, _solve: Solve) -> object:
    with _fbx_enabled():
        return bpy.ops.export_scene.fbx(
            filepath=path,
            object_types={"CAMERA"},
            bake_anim=True,
            bake_anim_use_all_actions=False,
            bake_anim_use_nla_strips=False,
            bake_anim_simplify_factor=0.0,
        )


FORMATS = {
    "abc": Format("Alembic", "camera.abc", _alembic),
    "usd": Format("USD", "camera.usda", _usd),
    "fbx": Format("FBX", "camera.fbx", _fbx),
}


def available(name: str) -> bool:
    """This Blender can write the format: some Linux distributions build theirs without."""
    options = bpy.app.build_options
    known = {"abc": options.alembic, "usd": options.usd}
    return known[name] if name in known else FBX in _addons()


def _addons() -> set[str]:
    """Names of the modules of the add-ons that this Blender has."""
    utils: Any = addon_utils  # whose types do not say what it returns
    return {module.__name__ for module in utils.modules()}


def write(solve: Solve, world_from_solve: Matrix, name: str, making: Path, out: Path) -> Path:
    """Write the camera as it stands in the scene.

    Args:
        solve: whose camera.
        world_from_solve: where the solve's root stands; a scale of it moves the camera, and does not scale it.
        name: of `FORMATS`.
        making: folder on the same disk in which the file is made.
        out: folder in which it is put once it is whole.

    Returns:
        The file.

    Raises:
        StartError: it could not be written.
    """
    kind = FORMATS[name]
    made, path = making / kind.file, out / kind.file
    try:
        with (
            _lone_camera(solve, world_from_solve) as scene,
            bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0]),
        ):
            kind.write(str(made), solve)
        made.replace(path)
    except (RuntimeError, OSError) as error:
        raise StartError(
            "deliver.camera",
            f"The camera was not written as {kind.label}.",
            f"{error}".strip(),
            "Check that the folder can be written to and that the disk has room.",
        ) from error
    return path


@contextmanager
def _lone_camera(solve: Solve, world_from_solve: Matrix) -> Iterator[bpy.types.Scene]:
    """A scene with nothing but the camera, gone afterwards."""
    scene = bpy.data.scenes.new("CVD delivery")
    data = bpy.data.cameras.new(NAME)
    ob = bpy.data.objects.new(NAME, data)
    action = bpy.data.actions.new(NAME)
    try:
        scene.collection.objects.link(ob)
        scene.camera = ob
        camera.set_scene(scene, solve)
        data.sensor_fit, data.sensor_width = "HORIZONTAL", FILM_BACK_MM
        camera.set_lens(data, solve)
        camera.key_frames(ob, action, solve, world_from_solve)
        yield scene
    finally:
        bpy.data.scenes.remove(scene)
        bpy.data.objects.remove(ob)
        bpy.data.cameras.remove(data)
        bpy.data.actions.remove(action)


@contextmanager
def _fbx_enabled() -> Iterator[None]:
    """Blender's FBX add-on, which the user may have switched off."""
    _, was_on = addon_utils.check(FBX)
    if not was_on:
        addon_utils.enable(FBX, default_set=False)
    try:
        yield
    finally:
        if not was_on:
            addon_utils.disable(FBX, default_set=False)
