"""Which picture of a movie a frame shows: Blender decides it, and the engine agrees (tests/engine/footage)."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat, masks
from cvd_blender_addon.scene import plate
from cvd_blender_addon.solve_reader import Solve
from tests.addon.rendering import render

pytestmark = pytest.mark.every_blender

MOVIES = Path(__file__).resolve().parents[1] / "movies"
PICTURES: dict[str, list[int]] = json.loads((MOVIES / "pictures.json").read_text())
BITS = 6


def shown(scene: bpy.types.Scene, number: int, path: Path) -> int:
    """The number that is drawn into the picture at a scene frame (tests/movies/make_movies.py)."""
    bars = render(scene, number, path)[..., :3].mean(axis=(0, 2)).reshape(BITS, -1).mean(axis=1) > 0.45
    return sum(int(bar) << bit for bit, bar in enumerate(bars))


def set_up(scene: bpy.types.Scene, kind: str, clip: bpy.types.MovieClip) -> Any:
    tree, final = compat.new_compositor_tree(scene, "Movie")
    node = tree.nodes.new(kind)
    tree.links.new(node.outputs["Image"], final)
    scene.render.resolution_x, scene.render.resolution_y = clip.size
    compat.view_settings(scene).view_transform = "Standard"
    return node


@pytest.mark.parametrize("name", sorted(PICTURES))
@pytest.mark.parametrize("used", ["clip", "image"])
def test_a_frame_shows_the_picture_that_the_engine_solves(
    scene: bpy.types.Scene, tmp_path: Path, name: str, used: str
) -> None:
    expected = PICTURES[name]
    clip = bpy.data.movieclips.load(str(MOVIES / name))
    if used == "clip":
        set_up(scene, "CompositorNodeMovieClip", clip).clip = clip
    else:
        node = set_up(scene, "CompositorNodeImage", clip)
        node.image = bpy.data.images.load(str(MOVIES / name))
        source = SimpleNamespace(first=1, last=len(expected))
        plate.set_image_frames(node, cast(Solve, SimpleNamespace(source=source)))
    assert [shown(scene, n, tmp_path / "a.png") for n in range(1, len(expected) + 1)] == expected
    jumps = [len(expected), 2, len(expected) // 2, 1]
    assert [shown(scene, n, tmp_path / "a.png") for n in jumps] == [expected[n - 1] for n in jumps]


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_the_add_on_asks_for_the_frames_that_the_engine_finds(scene: bpy.types.Scene, name: str) -> None:
    assert masks.all_numbers(MOVIES / name) == list(range(1, len(PICTURES[name]) + 1))
    assert np.all(np.diff(PICTURES[name]) >= 0)
