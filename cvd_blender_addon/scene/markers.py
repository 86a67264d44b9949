# SPDX-License-Identifier: GPL-3.0-or-later
"""Timeline markers of a solve, which a later build replaces. Those that the artist has made or changed stay."""

from __future__ import annotations

from collections.abc import Iterable

import bpy


def replace(
    scene: bpy.types.Scene, root: bpy.types.Object, key: str, wanted: Iterable[tuple[int, str]]
) -> list[bpy.types.TimelineMarker]:
    """Remove the markers that the last call made and put the wanted ones, (frame, name), in their place.

    Args:
        root: of the solve. Markers have no properties by which they could be known again: it remembers them.
        key: under which it does.
    """
    old = set(str(root.get(key, "")).split("\n"))
    for marker in [marker for marker in scene.timeline_markers if _line(marker) in old]:
        scene.timeline_markers.remove(marker)
    made = [scene.timeline_markers.new(name, frame=frame) for frame, name in wanted]
    root[key] = "\n".join(_line(marker) for marker in made)
    return made


def _line(marker: bpy.types.TimelineMarker) -> str:
    return f"{marker.frame} {marker.name}"
