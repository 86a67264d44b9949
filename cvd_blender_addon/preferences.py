# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences: where the engine's Python is, and where solves of unsaved files go."""

from __future__ import annotations

from pathlib import Path

import bpy

from . import installer

ROOT = Path(__file__).resolve().parent


class CvdPreferences(bpy.types.AddonPreferences):
    """Settings of the add-on."""

    bl_idname = __package__

    engine_python: bpy.props.StringProperty(
        name="Engine Python",
        description="The python of an environment that you made yourself, such as .venvs/engine/bin/python. Empty: the "
        "one that Install Engine makes",
        subtype="FILE_PATH",
    )
    cache_folder: bpy.props.StringProperty(
        name="Solves of Unsaved Files",
        description="Folder for solves as long as the .blend has not been saved; empty: Blender's own data folder",
        subtype="DIR_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        from .panels import draw_engine  # which needs the preferences itself

        draw_engine(self.layout, context)
        self.layout.separator()
        self.layout.prop(self, "engine_python")
        self.layout.prop(self, "cache_folder")


def _stored(context: bpy.types.Context) -> CvdPreferences | None:
    addon = context.preferences.addons.get(__package__)
    return addon.preferences if addon else None


def engine_python(context: bpy.types.Context) -> Path | None:
    """The engine's interpreter: the one that was chosen, else the one that was installed; None while there is none."""
    stored = _stored(context)
    if stored and stored.engine_python:
        return Path(bpy.path.abspath(stored.engine_python))
    return installer.installed(engine_folder())


def engine_folder() -> Path:
    """Where Install Engine puts the engine's environment."""
    if str(__package__).startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(__package__, path="engine", create=True))
    return Path(bpy.utils.user_resource("DATAFILES", path="cvd_engine", create=True))


def engine_root() -> Path:
    """The folder that holds the package `engine`: the extension itself, or the checkout around it."""
    return ROOT if (ROOT / "engine").is_dir() else ROOT.parent


def cache_folder(context: bpy.types.Context) -> Path:
    """Where solves of unsaved files go."""
    stored = _stored(context)
    if stored and stored.cache_folder:
        return Path(bpy.path.abspath(stored.cache_folder))
    if str(__package__).startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(__package__, path="solves", create=True))
    return Path(bpy.utils.user_resource("DATAFILES", path="cvd_solves", create=True))
