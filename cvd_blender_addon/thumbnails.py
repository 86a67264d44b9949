# SPDX-License-Identifier: GPL-3.0-or-later
"""The depth of a running solve as a picture in the panel."""

from __future__ import annotations

from pathlib import Path

import bpy
import bpy.utils.previews

FILE = "preview/depth.png"
_pictures: bpy.utils.previews.ImagePreviewCollection | None = None


def state(folder: Path) -> str:
    """The picture of a solve folder as it is now, in words that `icon` knows; empty where there is none."""
    path = folder / FILE
    try:
        return f"{path.stat().st_mtime_ns} {path}"
    except OSError:
        return ""


def icon(picture: str) -> int:
    """The icon of a `state`; only the last one is kept."""
    global _pictures  # noqa: PLW0603
    if _pictures is None:
        _pictures = bpy.utils.previews.new()
    if picture not in _pictures:
        _pictures.clear()
        _pictures.load(picture, picture.split(" ", 1)[1], "IMAGE")
    return int(_pictures[picture].icon_id)


def unregister() -> None:
    """Forget the picture."""
    global _pictures  # noqa: PLW0603
    if _pictures is not None:
        bpy.utils.previews.remove(_pictures)
        _pictures = None
