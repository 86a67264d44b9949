"""Frames without a camera are marked in the timeline."""

from __future__ import annotations

from collections.abc import Callable

import bpy
import pytest

from cvd_blender_addon.scene import import_solve
from tests.addon.synthetic import Synthetic


def markers(scene: bpy.types.Scene) -> list[tuple[int, str]]:
    return sorted((marker.frame, marker.name) for marker in scene.timeline_markers)


@pytest.mark.every_blender
def test_each_gap_has_a_beginning_and_an_end(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    truth = make_solve(missing=(1004, 1005), unplaced=(1007, 1008))
    import_solve(scene, truth.folder)
    wanted = [(1004, "No camera: 1004-1005"), (1006, "Camera"), (1007, "No camera: 1007-1008")]
    assert markers(scene) == wanted
    import_solve(scene, truth.folder)
    assert markers(scene) == wanted, "once"


def test_the_users_markers_stay(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    scene.timeline_markers.new("Camera", frame=1002)
    import_solve(scene, synthetic.folder)
    mine = next(marker for marker in scene.timeline_markers if marker.frame == 1004)
    mine.name = "lost here"
    import_solve(scene, synthetic.folder)
    assert (1002, "Camera") in markers(scene)
    assert (1004, "lost here") in markers(scene)


def test_no_gap_no_marker(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    import_solve(scene, make_solve(missing=(), unplaced=()).folder)
    assert markers(scene) == []
