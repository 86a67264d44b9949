# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences: where the engine's Python is, and where solves of unsaved files go."""

from __future__ import annotations

from pathlib import Path

import bpy

from . import fields, installer, mixins
from .present import present

PACKAGE = str(__package__)  # by which Blender knows the add-on
ROOT = Path(__file__).resolve().parent


class Settings(mixins.AddonPreferences):
    """What the preferences keep; `panels` draws them."""

    engine_python = fields.string(
        name="Engine Python",
        description="The python of an environment that you made yourself, such as .venvs/engine/bin/python. Empty: the "
        "one that Install Engine makes",
        subtype="FILE_PATH",
    )
    cache_folder = fields.string(
        name="Solves of Unsaved Files",
        description="Folder for solves as long as the .blend has not been saved; empty: Blender's own data folder",
        subtype="DIR_PATH",
    )


def _stored(context: bpy.types.Context) -> Settings | None:
    addon = present(context.preferences, "preferences").addons.get(PACKAGE)
    stored = addon.preferences if addon else None
    return stored if isinstance(stored, Settings) else None


def engine_python(context: bpy.types.Context) -> Path | None:
    """The engine's interpreter: the one that was chosen, else the one that was installed; None while there is none."""
    stored = _stored(context)
    if stored and stored.engine_python:
        return Path(bpy.path.abspath(stored.engine_python))
    return installer.installed(engine_folder())


def engine_folder() -> Path:
    """Where Install Engine puts the engine's environment."""
    if PACKAGE.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(PACKAGE, path="engine", create=True))
    return Path(bpy.utils.user_resource("DATAFILES", path="cvd_engine", create=True))


def engine_root() -> Path:
    """The folder that holds the package `engine`: the extension itself, or the checkout around it."""
    return ROOT if (ROOT / "engine").is_dir() else ROOT.parent


def cache_folder(context: bpy.types.Context) -> Path:
    """Where solves of unsaved files go."""
    stored = _stored(context)
    if stored and stored.cache_folder:
        return Path(bpy.path.abspath(stored.cache_folder))
    if PACKAGE.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(PACKAGE, path="solves", create=True))
    return Path(bpy.utils.user_resource("DATAFILES", path="cvd_solves", create=True))
