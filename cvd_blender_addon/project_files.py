# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a project whole that is saved, moved, opened and rendered: what runs when Blender does one of these.

A render without a window ends with exit code 1 where the depth, the mattes or the plate that it needs are missing:
nobody is there to see the warning in the picture. Blender itself goes on whatever a handler raises.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

import bpy

from . import paths
from .scene import inputs


def in_words(missing: inputs.Missing) -> str:
    """For a terminal."""
    error = missing.error
    return f"error: {error.what}\n  why: {error.why}\n  fix: {error.fix}"


@bpy.app.handlers.persistent
def opened(*_: Any) -> None:
    """Find what has moved, and without a window say what is missing."""
    for scene in bpy.data.scenes:
        inputs.find_again(scene)
        if bpy.app.background:
            for missing in inputs.missing(scene):
                print(in_words(missing), file=sys.stderr, flush=True)


@bpy.app.handlers.persistent
def render_begins(scene: bpy.types.Scene, *_: Any) -> None:
    """Without a window: end here rather than render something wrong."""
    missing = inputs.missing_in_render(scene) if bpy.app.background else []
    if missing:
        for each in missing:
            print(in_words(each), file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # from within a render Python's own way to end hangs in 4.5


_HANDLERS = {
    "load_post": opened,
    "save_pre": paths.keep,
    "save_post": paths.put_back,
    "save_post_fail": paths.put_back,
    "render_init": render_begins,
}


def register() -> None:
    """Begin."""
    for name, handler in _HANDLERS.items():
        getattr(bpy.app.handlers, name).append(handler)
    atexit.register(unregister)  # one that is left behind hangs the 4.5 module when Python ends


def unregister() -> None:
    """Stop."""
    atexit.unregister(unregister)
    for name, handler in _HANDLERS.items():
        if handler in getattr(bpy.app.handlers, name):
            getattr(bpy.app.handlers, name).remove(handler)
