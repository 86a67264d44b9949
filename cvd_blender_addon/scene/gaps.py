# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames without a camera, marked in the timeline: there Blender interpolates between keys, which is a guess."""

from __future__ import annotations

import bpy

from ..present import present
from ..solve_reader import Solve, frame_ranges
from . import markers
from .camera import find_root

MARKERS = "cvd_gap_markers"


def build(scene: bpy.types.Scene, solve: Solve) -> list[bpy.types.TimelineMarker]:
    """Make or update the markers: one where a gap begins, with its frames, and one where the camera is solved again.

    Markers that the user has renamed or moved are left alone.
    """
    lost, placed = set(solve.gaps), {frame.number for frame in solve.registered}
    wanted = []
    for number in sorted(lost):
        if number - 1 in lost:
            continue
        end = number
        while end + 1 in lost:
            end += 1
        text = frame_ranges(tuple(range(number, end + 1)))
        wanted.append((number, f"No camera: {text}"))
        if end + 1 in placed:
            wanted.append((end + 1, "Camera"))
    return markers.replace(scene, present(find_root(scene, solve), "root"), MARKERS, wanted)
