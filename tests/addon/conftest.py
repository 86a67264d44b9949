"""Fixtures: synthetic solves with exact truth, a fresh scene, the registered add-on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from synthetic import Synthetic

bpy = pytest.importorskip("bpy", reason="the add-on is tested in Blender's Python")


@pytest.fixture(scope="session")
def make_solve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Synthetic]:
    """Write a synthetic solve once per set of parameters; tests must not change it."""
    made: dict[str, Synthetic] = {}

    def make(**parameters: object) -> Synthetic:
        key = repr(sorted(parameters.items()))
        if key not in made:
            made[key] = Synthetic(**parameters).write(tmp_path_factory.mktemp("clip"))
        return made[key]

    return make


@pytest.fixture
def synthetic(make_solve: Callable[..., Synthetic]) -> Synthetic:
    return make_solve()


@pytest.fixture
def own_solve(synthetic: Synthetic, tmp_path: Path) -> Path:
    """A copy of the solve folder that the test may damage."""
    return Path(shutil.copytree(synthetic.folder, tmp_path / "own.solve"))


@pytest.fixture
def scene() -> bpy.types.Scene:
    """An empty scene that renders fast."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 16
    scene.cycles.use_denoising = False
    scene.render.dither_intensity = 0.0
    return scene


@pytest.fixture
def addon() -> Iterator[None]:
    """The add-on, registered."""
    import cvd_blender_addon

    cvd_blender_addon.register()
    yield
    cvd_blender_addon.unregister()
