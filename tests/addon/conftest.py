"""Fixtures: synthetic solves with exact truth, a fresh scene, the registered add-on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.addon.synthetic import Synthetic, written_once

pytest.importorskip("bpy", reason="the add-on is tested in Blender's Python")
import bpy


@pytest.fixture(scope="session")
def make_solve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Synthetic]:
    return written_once(tmp_path_factory)


@pytest.fixture
def synthetic(make_solve: Callable[..., Synthetic]) -> Synthetic:
    return make_solve()


@pytest.fixture(scope="session")
def movie_solve(make_solve: Callable[..., Synthetic], tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """A solve of a movie: frames 1 to 6."""
    from tests.addon.rendering import make_movie  # needs bpy, which is asked for first

    truth = Synthetic(first=1, last=6, missing=(), unplaced=()).write(tmp_path_factory.mktemp("movie"))
    path = make_movie(truth, truth.folder.parent / "clip.mp4")
    document = json.loads((truth.folder / "solve.json").read_text())
    document["source"] |= {"path": str(path), "kind": "movie", "pattern": None}
    truth.write_json(document)
    return truth


@pytest.fixture
def own_solve(synthetic: Synthetic, tmp_path: Path) -> Path:
    """A copy of the solve folder that the test may damage."""
    return Path(shutil.copytree(synthetic.folder, tmp_path / "own.solve"))


@pytest.fixture(scope="session")
def depth_grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .blend with the node group of the depth mesh, as the add-on has written it in this Blender."""
    from cvd_blender_addon.scene import depth_mesh

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    path = tmp_path_factory.mktemp("grid") / "grid.blend"
    bpy.data.libraries.write(str(path), {depth_mesh.node_group()})
    return path


@pytest.fixture
def quick_grid(depth_grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of 670 nodes is taken from that file: to write it takes a second or more, each time."""
    from cvd_blender_addon.scene import depth_mesh, owned

    write = depth_mesh.node_group

    def node_group() -> bpy.types.NodeTree:
        if owned.find(bpy.data.node_groups, owned.SHARED, "depth_grid") is None:
            libraries: Any = bpy.data.libraries
            with libraries.load(str(depth_grid)) as (there, wanted):
                wanted.node_groups = there.node_groups
        return write()

    monkeypatch.setattr(depth_mesh, "node_group", node_group)


@pytest.fixture
def scene(quick_grid: None) -> bpy.types.Scene:
    """An empty scene that renders fast."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    from cvd_blender_addon import compat
    from cvd_blender_addon.present import scene_of

    scene = scene_of(bpy.context)
    compat.render_with_cycles(scene)
    cycles = compat.of_cycles(scene)
    cycles.samples = 16
    cycles.use_denoising = False
    scene.render.dither_intensity = 0.0
    return scene


@pytest.fixture
def addon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The add-on, registered; what it keeps for itself goes to the test's folder."""
    import cvd_blender_addon
    from cvd_blender_addon import own_files

    (tmp_path / "own files").mkdir()
    monkeypatch.setattr(own_files, "folder", lambda: tmp_path / "own files")
    cvd_blender_addon.register()
    yield
    cvd_blender_addon.unregister()
