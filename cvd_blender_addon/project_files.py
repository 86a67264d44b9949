# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a project whole that is saved, moved, opened and rendered: what runs when Blender does one of these.

A render without a window ends with exit code 1 where the depth, the mattes or the plate that it needs are missing:
nobody is there to see the warning in the picture. Blender itself goes on whatever a handler raises.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

from . import compat, paths, properties
from .scene import depth_mesh, inputs, owned, plate
from .solve_reader import Solve, SolveError, read

_before: list[tuple[Any, str, str]] = []  # of what `keep` has changed: properties, name, text


def in_words(missing: inputs.Missing) -> str:
    """For a terminal."""
    error = missing.error
    return f"error: {error.what}\n  why: {error.why}\n  fix: {error.fix}"


def find_again(scene: bpy.types.Scene) -> None:
    """After the .blend was opened: look for a solve folder, and a plate, that have moved within the project.

    Only a folder that holds the very solve that was built counts.
    """
    cvd = properties.of(scene)
    if not cvd.solve_key or not cvd.built_folder:
        return
    folder = paths.absolute(cvd.built_folder)
    if (folder / "solve.json").is_file() and not inputs.missing(scene):
        return
    solve = next(_same_solve([folder, *_moved(folder)], cvd.solve_key), None)
    if solve is None:
        return
    if solve.folder != folder.resolve():
        if cvd.solve_folder and paths.absolute(cvd.solve_folder) == folder:
            cvd.solve_folder = paths.stored(solve.folder)
        cvd.built_folder = paths.stored(solve.folder)
    if owned.find(bpy.data.images, solve.key, "depth") is not None:
        depth_mesh.depth_image(solve)
    if owned.find(bpy.data.images, solve.key, "dynamic") is not None and solve.dynamic_frames:
        depth_mesh.dynamic_image(solve)
    plate.follow(solve)


def _same_solve(folders: list[Path], key: str) -> Iterator[Solve]:
    for folder in folders:
        if (folder / "solve.json").is_file():
            try:
                solve = read(folder)
            except SolveError:
                continue
            if solve.key == key:
                yield solve


def _moved(folder: Path) -> Iterator[Path]:
    """Where a folder may be after it, or the project around it and the .blend, has moved."""
    if not bpy.data.filepath:
        return
    home = Path(bpy.data.filepath).parent
    yield from plate.elsewhere(folder, home)
    for around in (home, home.parent):
        yield around / folder.name
        if around.is_dir():
            yield from (child / folder.name for child in sorted(around.iterdir()) if child.is_dir())


@compat.persistent
def opened(*_: Any) -> None:
    """Find what has moved, and without a window say what is missing."""
    for scene in bpy.data.scenes:
        find_again(scene)
        if bpy.app.background:
            for missing in inputs.missing(scene):
                print(in_words(missing), file=sys.stderr, flush=True)


@compat.persistent
def render_begins(scene: bpy.types.Scene, *_: Any) -> None:
    """Without a window: end here rather than render something wrong."""
    missing = inputs.missing_in_render(scene) if bpy.app.background else []
    if missing:
        for each in missing:
            print(in_words(each), file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # from within a render Python's own way to end hangs in 4.5


@compat.persistent
def keep(target: str, *_: Any) -> None:
    """Before a file is saved: what the paths in it are to be there."""
    _before.clear()
    wanted, old = paths.uses_relative(), bpy.data.filepath
    for group, name in _texts():
        text = getattr(group, name)
        if text.startswith("//"):
            if not old:
                continue
        elif not wanted or not paths.is_absolute(text):
            continue
        new = paths.relative(paths.absolute(text), Path(target).parent)
        if new != text:
            _before.append((group, name, text))
            paths.put(group, name, new)


@compat.persistent
def put_back(target: str, *_: Any) -> None:
    """After a copy was saved, or nothing: the file that is open lies where it lay."""
    if not bpy.data.filepath or Path(bpy.data.filepath) != Path(target):
        for group, name, text in _before:
            paths.put(group, name, text)
    _before.clear()


def _texts() -> Iterator[tuple[Any, str]]:
    """Every property of the add-on that holds a path."""
    for scene in (scene for scene in bpy.data.scenes if scene.library is None):
        for group in (properties.of(scene), properties.of(scene).delivery):
            for prop in group.bl_rna.properties:
                if prop.type == "STRING" and prop.subtype in ("FILE_PATH", "DIR_PATH"):
                    yield group, prop.identifier


_HANDLERS = {
    "load_post": opened,
    "save_pre": keep,
    "save_post": put_back,
    "save_post_fail": put_back,
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
