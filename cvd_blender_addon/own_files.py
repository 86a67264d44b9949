# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the add-on keeps what belongs to no scene: the queue, and how fast this computer solves."""

from __future__ import annotations

from pathlib import Path

import bpy


def folder() -> Path:
    """The add-on's own folder, made where it is missing."""
    if str(__package__).startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(__package__, path="state", create=True))
    return Path(bpy.utils.user_resource("DATAFILES", path="cvd_state", create=True))
