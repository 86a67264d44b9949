# SPDX-License-Identifier: GPL-3.0-or-later
"""How paths are kept in a .blend: relative to it where Blender's preference *Relative Paths* says so.

Blender moves the paths of its own data-blocks along when a file is saved elsewhere. Those of an add-on's properties it
does not know (measured in 4.5, 5.0 and 5.2), so `project_files` does it around each saving.
"""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath
from typing import Any

import bpy

from .present import present

# Options of a property that holds a path: it may begin with //, and the file browser offers that.
OPTIONS = {"PATH_SUPPORTS_BLEND_RELATIVE"}
_moving: list[str] = []  # what `put` is setting


def uses_relative() -> bool:
    """Blender's preference *Relative Paths*."""
    return present(bpy.context.preferences, "preferences").filepaths.use_relative_paths


def absolute(text: str) -> Path:
    """The path that a property's text means, without `..`."""
    return Path(os.path.normpath(bpy.path.abspath(text)))


def stored(path: Path) -> str:
    """A path as it is to be kept in the file that is open: relative where that is wanted and possible."""
    if bpy.data.filepath and uses_relative():
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


def put(properties: Any, name: str, text: str) -> None:
    """Set a property to another text for the same file."""
    _moving.append(name)
    try:
        setattr(properties, name, text)
    finally:
        _moving.pop()


def is_absolute(text: str) -> bool:
    """The text is a whole path, of this system or of Windows."""
    return Path(text).is_absolute() or bool(PureWindowsPath(text).drive)
