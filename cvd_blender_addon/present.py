# SPDX-License-Identifier: GPL-3.0-or-later
"""What Blender's types say may be missing although the add-on cannot work without it."""

from __future__ import annotations

from typing import TypeVar

import bpy

T = TypeVar("T")
D = TypeVar("D", bound=bpy.types.ID)


class AbsentError(RuntimeError):
    """Blender has nothing where the add-on needs something. A RuntimeError, as Blender raises for its own refusals."""


def present(value: T | None, what: str) -> T:
    """The value, which is there in all that the add-on does.

    Args:
        value: what Blender gave.
        what: its name, for the error.

    Raises:
        AbsentError: it is None.
    """
    if value is None:
        raise AbsentError(f"Blender has no {what} here")
    return value


def scene_of(context: bpy.types.Context) -> bpy.types.Scene:
    """The context's scene."""
    return present(context.scene, "scene")


def manager_of(context: bpy.types.Context) -> bpy.types.WindowManager:
    """The context's window manager."""
    return present(context.window_manager, "window manager")


def tracking_camera(clip: bpy.types.MovieClip) -> bpy.types.MovieTrackingCamera:
    """The lens that a clip knows."""
    return present(present(clip.tracking, "tracking").camera, "tracking camera")


def tracks_of(clip: bpy.types.MovieClip) -> bpy.types.MovieTrackingObjectTracks:
    """The tracks of a clip's camera, which is the first of the objects that are tracked."""
    return present(clip.tracking, "tracking").objects[0].tracks


def data_of(ob: bpy.types.Object, kind: type[D]) -> D:
    """The data of an object of a known kind, such as a mesh.

    Raises:
        AbsentError: it is of another kind.
    """
    data = ob.data
    if not isinstance(data, kind):
        raise AbsentError(f"{ob.name} is not a {kind.__name__}")
    return data
