# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames without a camera, marked in the timeline: there Blender interpolates between keys, which is a guess."""

from __future__ import annotations

import bpy

from ..solve_reader import Solve, frame_ranges
from .camera import find_root

MARKERS = "cvd_gap_markers"  # on the root: markers have no properties by which they could be known again


def build(scene: bpy.types.Scene, solve: Solve) -> list[bpy.types.TimelineMarker]:
    """Make or update the markers: one where a gap begins, with its frames, and one where the camera is solved again.

    Markers that the user has renamed or moved are left alone.
    """
    root = find_root(scene, solve)
    assert root is not None
    old = set(str(root.get(MARKERS, "")).split("\n"))
    for marker in [marker for marker in scene.timeline_markers if _line(marker) in old]:
        scene.timeline_markers.remove(marker)
    lost, placed = set(solve.gaps), {frame.number for frame in solve.registered}
    made = []
    for number in sorted(lost):
        if number - 1 in lost:
            continue
        end = number
        while end + 1 in lost:
            end += 1
        text = frame_ranges(tuple(range(number, end + 1)))
        made.append(scene.timeline_markers.new(f"No camera: {text}", frame=number))
        if end + 1 in placed:
            made.append(scene.timeline_markers.new("Camera", frame=end + 1))
    root[MARKERS] = "\n".join(_line(marker) for marker in made)
    return made


def _line(marker: bpy.types.TimelineMarker) -> str:
    return f"{marker.frame} {marker.name}"
