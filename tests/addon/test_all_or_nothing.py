"""An import that fails leaves the file exactly as it was, wherever it fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest

from cvd_blender_addon import compat
from cvd_blender_addon.scene import (
    camera,
    compositor,
    depth_mesh,
    doubt,
    fused,
    gaps,
    import_solve,
    nodes,
    occlusion,
    owned,
    plate,
    points,
)
from cvd_blender_addon.solve_reader import SolveError, read
from tests.addon.fused_scene import add_fused
from tests.addon.snapshot import changes, snapshot
from tests.addon.synthetic import Synthetic
from tests.addon.typed import camera_of, group_of, ops, render_with_eevee, the, tree_of

BUILDERS = (camera, gaps, doubt, plate, points, depth_mesh, fused, occlusion, compositor)


def quiet(_level: str, _message: str) -> None:
    pass


@pytest.fixture
def quick_grid() -> None:
    """Not here: an import may fail at each node that it writes."""


@pytest.fixture
def solve(make_solve: Callable[..., Synthetic], tmp_path: Path) -> Path:
    """A solve that uses all that a build knows: mattes, a fused mesh, a zoom, gaps, doubt, a lens with distortion."""
    focals, doubtful = {n: 300.0 + n - 1001 for n in range(1001, 1009)}, ((1002, 1003, 1002, "left half"),)
    truth = make_solve(k1=-0.1, moving=(1002, 1003), focals=focals, doubtful=doubtful)
    folder = Path(shutil.copytree(truth.folder, tmp_path / "shot.solve"))
    return add_fused(folder)


@pytest.fixture
def populated(scene: bpy.types.Scene) -> bpy.types.Scene:
    """A scene with an artist's work in it, of which a build changes as much as it can."""
    scene.camera = bpy.data.objects.new("Mine", bpy.data.cameras.new("Mine"))
    scene.collection.objects.link(scene.camera)
    for name in ("foreground", "background", "Props"):
        collection = bpy.data.collections.new(name)
        scene.collection.children.link(collection)
        lamp = bpy.data.objects.new(f"Lamp {name}", bpy.data.lights.new("Lamp", "POINT"))
        collection.objects.link(lamp)
    scene.frame_start, scene.frame_end, scene.frame_current = 2000, 3000, 2500
    scene.render.fps, scene.render.resolution_x = 50, 1234
    compat.view_settings(scene).look = "AgX - Punchy"
    scene.timeline_markers.new("Boom", frame=1005).select = False
    scene.view_layers[0].layer_collection.children["Props"].indirect_only = True
    tree, final = compat.new_compositor_tree(scene, "My Comp")
    layers, blur = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeBlur")
    tree.links.new(layers.outputs["Image"], blur.inputs["Image"])
    tree.links.new(blur.outputs["Image"], final)
    every_layer: Any = scene.view_layers
    every_layer.update()
    return scene


def other_result(folder: Path) -> None:
    """Another result of the same clip: cameras, lens, mattes and fused mesh have changed."""
    path = folder / "solve.json"
    document = json.loads(path.read_text())
    document["lens"] |= {"fx": 400.0, "fy": 400.0, "k1": 0.0, "focal_varies": False}
    document["frames"][0]["world_from_camera"][0][3] += 1.0
    for frame in document["frames"][5:]:
        frame |= {"registered": False, "world_from_camera": None, "depth": None, "dynamic": None}
    path.write_text(json.dumps(document))
    add_fused(folder, noise=0.01)


def fail_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, error: BaseException) -> None:
    """Let a function fail after it has done its work for the `call`-th time."""
    original, seen = getattr(owner, name), []

    def fails(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        seen.append(1)
        if len(seen) == call:
            raise error
        return result

    monkeypatch.setattr(owner, name, fails)


class BugError(Exception):
    pass


def run_into(scene: bpy.types.Scene, folder: Path, error: type[BaseException] = BugError) -> None:
    before = snapshot()
    with pytest.raises(error):
        import_solve(scene, folder, "HOLDOUT", True, report=quiet, surface="FUSED", reflection=0.3)
    assert changes(before, snapshot()) == []


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda module: module.__name__.split(".")[-1])
def test_after_each_step(
    populated: bpy.types.Scene, solve: Path, monkeypatch: pytest.MonkeyPatch, builder: Any
) -> None:
    fail_at(monkeypatch, builder, "build", 1, BugError())
    run_into(populated, solve)


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda module: module.__name__.split(".")[-1])
def test_after_each_step_of_another_import(
    populated: bpy.types.Scene, solve: Path, monkeypatch: pytest.MonkeyPatch, builder: Any
) -> None:
    import_solve(populated, solve, report=quiet)
    node, tree = group_of(populated, read(solve)), tree_of(populated)
    tree.links.new(node.outputs["Image"], tree.nodes["Blur"].inputs["Image"])
    node.inputs["Fog Density"].default_value = 0.25
    render_with_eevee(populated)
    other_result(solve)
    fail_at(monkeypatch, builder, "build", 1, BugError())
    run_into(populated, solve)


@pytest.mark.parametrize("call", [1, 40, 150, 300, 400, 600])
def test_in_the_middle_of_nodes(
    populated: bpy.types.Scene, solve: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    fail_at(monkeypatch, nodes.TreeBuilder, "put", call, BugError())
    run_into(populated, solve)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError("the disk is away")])
def test_in_an_empty_scene(
    scene: bpy.types.Scene, solve: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    fail_at(monkeypatch, occlusion, "build", 1, error)
    run_into(scene, solve, KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else SolveError)


def test_what_the_disk_refuses_is_told(scene: bpy.types.Scene, solve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, plate, "ensure_image", 1, OSError("the disk is away"))
    with pytest.raises(SolveError, match=r"not built.*the disk is away.*try again"):
        import_solve(scene, solve, report=quiet)


def test_an_import_after_a_failed_one_is_whole(
    populated: bpy.types.Scene, solve: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        fail_at(failing, compositor, "build", 1, BugError())
        run_into(populated, solve)
    import_solve(populated, solve, report=quiet)
    other_result(solve)
    with monkeypatch.context() as failing:
        fail_at(failing, compositor, "build", 1, BugError())
        run_into(populated, solve)
    whole = import_solve(populated, solve, report=quiet)
    view = camera_of(populated, whole)
    populated.frame_set(1001)
    assert view.matrix_world.translation.x == pytest.approx(the(whole.frames[0].world_from_camera)[0][3], abs=1e-5)
    kinds: list[Any] = [bpy.data.meshes, bpy.data.actions, bpy.data.node_groups, bpy.data.materials]
    for blocks in kinds:
        names = [(block.get(owned.ROLE), block.get(owned.SOLVE)) for block in blocks if owned.ROLE in block]
        assert len(names) == len(set(names)) or blocks is bpy.data.meshes
        # What was kept for the failure is gone: such copies have no role. Two roles may share a name.
        assert not [block.name for block in blocks if block.name.endswith(".001") and owned.ROLE not in block]


@pytest.mark.every_blender
def test_steps_are_whole_or_not_done_too(
    populated: bpy.types.Scene, solve: Path, monkeypatch: pytest.MonkeyPatch, addon: None
) -> None:
    ops.cvd.import_solve(directory=str(solve))
    other_result(solve)
    (solve / "fused.ply").write_bytes(b"ply\n")
    before = snapshot()
    with pytest.raises(RuntimeError, match=r"fused\.ply"):
        ops.cvd.build_fused()
    fail_at(monkeypatch, gaps, "build", 1, OSError("no space"))
    with pytest.raises(RuntimeError, match="not built"):
        ops.cvd.build_camera()
    with pytest.raises(RuntimeError, match=r"fused\.ply"):
        ops.cvd.import_solve(directory=str(solve))
    assert changes(before, snapshot()) == []
