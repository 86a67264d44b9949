# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a built scene reads whenever it is shown or rendered: plate, depth sequence, mattes.

None of them is in the .blend, so each may be lost. A lost depth sequence would hide nothing and say nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import bpy

from .. import compat, paths
from ..solve_reader import SolveError, frame_ranges
from . import owned

PLATE = "The plate"
MESHES = ("depth_mesh", "holdout", "catcher")  # objects that read depth while they render


@dataclass(frozen=True)
class Missing:
    """Something that a scene reads and that is not there.

    Attributes:
        name: for people.
        path: of its first file.
        frames: those that are missing, empty for all.
    """

    name: str
    path: Path
    frames: tuple[int, ...]

    @property
    def error(self) -> SolveError:
        """What happened, why, and what to do."""
        lost = f"frames {frame_ranges(self.frames)} of {self.path.parent}" if self.frames else str(self.path)
        return SolveError(
            f"{self.name} is missing: {lost}.",
            "It was moved, renamed or not copied along, or its disk is not there.",
            "Put it back, or import the solve from where it is now.",
        )


def missing(scene: bpy.types.Scene) -> list[Missing]:
    """What the solves that are built in a scene read, and is not there. Lists folders: not for drawing."""
    found = []
    for key in _keys(scene):
        blocks: tuple[tuple[bpy.types.Image | bpy.types.MovieClip | None, str], ...] = (
            (owned.find(bpy.data.images, key, "depth"), "The depth sequence"),
            (owned.find(bpy.data.images, key, "dynamic"), "The sequence of mattes of moving objects"),
            (owned.find(bpy.data.movieclips, key, "plate"), PLATE),
        )
        for block, name in blocks:
            if block is None:
                continue
            path = paths.absolute(bpy.path.abspath(block.filepath, library=block.library))
            frames = str(block.get(owned.FRAMES, ""))
            lost = _lost(path, _numbers(frames)) if frames else () if path.is_file() else None
            if lost is None or lost:
                found.append(Missing(name, path, lost or ()))
    return found


def missing_in_render(scene: bpy.types.Scene) -> list[Missing]:
    """As `missing`, where what is rendered needs them."""
    return missing(scene) if any(_rendered(scene, key) for key in _keys(scene)) else []


def _keys(scene: bpy.types.Scene) -> list[str]:
    """The solves that are built in a scene."""
    return sorted({str(ob[owned.SOLVE]) for ob in scene.objects if ob.get(owned.ROLE) == "camera"})


def _rendered(scene: bpy.types.Scene, key: str) -> bool:
    """The compositor lays CG over the plate of a solve, or a mesh of its depth renders."""
    tree, group = compat.compositor_tree(scene), owned.find(bpy.data.node_groups, key, "compositor")
    if group is not None and tree is not None and compat.compositor_is_on(scene):
        placed = any(getattr(node, "node_tree", None) == group and not node.mute for node in tree.nodes)
    else:
        placed = False
    meshes = (owned.find(scene.objects, key, role) for role in MESHES)
    return placed or any(ob is not None and not ob.hide_render for ob in meshes)


def _numbers(ranges: str) -> set[int]:
    """The opposite of `frame_ranges`."""
    ends = ([int(end) for end in part.split("-")] for part in ranges.split(", "))
    return {number for end in ends for number in range(end[0], end[-1] + 1)}


def _lost(path: Path, expected: set[int]) -> tuple[int, ...] | None:
    """Which files of a sequence are missing; None where all are."""
    match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", path.stem)
    if match is None or not path.parent.is_dir():
        return None
    name = re.compile(re.escape(match[1]) + r"([0-9]+)" + re.escape(match[3] + path.suffix))
    there = {int(found[1]) for file in path.parent.iterdir() if (found := name.fullmatch(file.name))}
    lost = expected - there
    return None if lost == expected else tuple(sorted(lost))
