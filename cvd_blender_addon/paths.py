# SPDX-License-Identifier: GPL-3.0-or-later
"""How paths are kept in a .blend: relative to it where Blender's preference *Relative Paths* says so.

Blender moves the paths of its own data-blocks along when a file is saved elsewhere. Those of an add-on's properties it
does not know (measured in 4.5, 5.0 and 5.2), so `keep` and `put_back` do it around each saving.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import bpy

# Options of a property that holds a path: it may begin with //, and the file browser offers that.
OPTIONS = {"PATH_SUPPORTS_BLEND_RELATIVE"}
_before: list[tuple[Any, str, str]] = []  # of what `keep` has changed: properties, name, text
_moving: list[str] = []  # what `_set` is setting


def absolute(text: str) -> Path:
    """The path that a property's text means, without `..`."""
    return Path(os.path.normpath(bpy.path.abspath(text)))


def stored(path: Path) -> str:
    """A path as it is to be kept in the file that is open: relative where that is wanted and possible."""
    if bpy.data.filepath and bpy.context.preferences.filepaths.use_relative_paths:
        return relative(path, Path(bpy.data.filepath).parent)
    return str(path)


def point(block: bpy.types.Image | bpy.types.MovieClip, path: Path) -> None:
    """Let a data-block read a file, unless it does so already, and as its path is to be kept."""
    wanted = stored(path)
    if absolute(block.filepath) != path or (wanted.startswith("//") and not block.filepath.startswith("//")):
        block.filepath = wanted


def relative(path: Path, folder: Path) -> str:
    """A path from the folder of a .blend, beginning with //; absolute where it is on another drive."""
    try:
        # A solve folder's real place is known, the .blend may have been opened through a link.
        real = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
        textual = os.path.relpath(path, folder)
    except ValueError:
        return str(path)
    same = os.path.realpath(os.path.normpath(folder / real)) == os.path.realpath(path)
    return f"//{(real if same else textual).replace(os.sep, '/')}"


def moving() -> bool:
    """Paths are being rewritten: they go on meaning the same files."""
    return bool(_moving)


@bpy.app.handlers.persistent
def keep(target: str, *_: Any) -> None:
    """Before a file is saved: what the paths in it are to be there."""
    _before.clear()
    wanted, old = bpy.context.preferences.filepaths.use_relative_paths, bpy.data.filepath
    for properties, name in _texts():
        text = getattr(properties, name)
        if text.startswith("//"):
            if not old:
                continue
        elif not wanted or not _is_absolute(text):
            continue
        new = relative(absolute(text), Path(target).parent)
        if new != text:
            _before.append((properties, name, text))
            _set(properties, name, new)


@bpy.app.handlers.persistent
def put_back(target: str, *_: Any) -> None:
    """After a copy was saved, or nothing: the file that is open lies where it lay."""
    if not bpy.data.filepath or Path(bpy.data.filepath) != Path(target):
        for properties, name, text in _before:
            _set(properties, name, text)
    _before.clear()


def _texts() -> Iterator[tuple[Any, str]]:
    """Every property of the add-on that holds a path."""
    for scene in (scene for scene in bpy.data.scenes if scene.library is None):
        for properties in (scene.cvd, scene.cvd.delivery):
            for prop in properties.bl_rna.properties:
                if prop.type == "STRING" and prop.subtype in ("FILE_PATH", "DIR_PATH"):
                    yield properties, prop.identifier


def _is_absolute(text: str) -> bool:
    return Path(text).is_absolute() or bool(PureWindowsPath(text).drive)


def _set(properties: Any, name: str, text: str) -> None:
    _moving.append(name)
    try:
        setattr(properties, name, text)
    finally:
        _moving.pop()
