"""The occlusion matte of one object among others, as files; the scene is left as it was."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat
from cvd_blender_addon.scene import compositor, import_solve, matte
from tests.addon.rendering import add_ball, ball_coverage, iou, load
from tests.addon.synthetic import Synthetic
from tests.addon.typed import ops, tree_of

pytestmark = pytest.mark.every_blender

BALL, RADIUS = (0.1, 1.5, 0.8), 0.7
FRAME = 1002


def state(scene: bpy.types.Scene) -> list[object]:
    """What a render of a matte must not change."""
    tree = tree_of(scene)
    return [
        {layer.name: layer.use for layer in scene.view_layers},
        {ob.name: ob.hide_render for ob in scene.objects},
        sorted(collection.name for collection in bpy.data.collections),
        {node.name: node.mute for node in tree.nodes},
        (scene.frame_current, scene.render.film_transparent, scene.render.use_compositing),
    ]


@pytest.mark.parametrize(("file_format", "suffix"), [("PNG", "png"), ("OPEN_EXR", "exr")])
def test_only_the_chosen_object_and_only_what_is_seen_of_it(
    synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path, file_format: str, suffix: str
) -> None:
    solve = import_solve(scene, synthetic.folder)
    ball = add_ball(scene, solve, BALL, RADIUS)
    # Others, in a collection and in none, in front of it: they are not part of its matte and hide nothing.
    add_ball(scene, solve, (0.3, -1.0, 1.0), 0.4).name = "Other"
    loose = bpy.data.objects.new("Loose", ball.data)
    loose.location = (1.2, -1.0, 1.0)
    scene.collection.objects.link(loose)
    compositor.write_matte(scene, solve, tmp_path / "whole")
    before = state(scene)
    matte.render(scene, solve, [ball], tmp_path, [FRAME], file_format)
    assert state(scene) == before
    assert not (tmp_path / "whole").exists(), "other outputs rest"
    visible, whole = ball_coverage(synthetic, FRAME, BALL, RADIUS)
    assert 0.2 < visible.sum() / whole.sum() < 0.8
    got = load(tmp_path / f"matte_{FRAME}.{suffix}")[..., 0]
    print(f"IoU {file_format}: {iou(got, visible):.4f}")
    assert iou(got, visible) >= 0.985
    assert ((got > 0.05) & (got < 0.95)).any(), "antialiased"
    assert np.abs(got - visible).mean() < 0.004


def test_the_operator_says_what_is_missing(scene: bpy.types.Scene, addon: None, synthetic: Synthetic) -> None:
    assert not ops.cvd.render_matte.poll()
    ops.cvd.import_solve(directory=str(synthetic.folder))
    bpy.ops.object.select_all(action="DESELECT")
    assert not ops.cvd.render_matte.poll(), "nothing is selected"


def test_the_operator_writes_the_frame(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, tmp_path: Path
) -> None:
    from cvd_blender_addon.solve_reader import read

    ops.cvd.import_solve(directory=str(synthetic.folder))
    compat.of_cycles(scene).samples = 1
    ball = add_ball(scene, read(synthetic.folder), BALL, RADIUS)
    scene.frame_set(FRAME)
    bpy.ops.object.select_all(action="DESELECT")
    ball.select_set(True)
    ops.cvd.render_matte("EXEC_DEFAULT", directory=str(tmp_path / "out"), only_current=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"matte_{FRAME}.png"]
