"""Delivering from Blender: the camera files are read back by Blender itself, the rest by the stand-in engine's word."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import addon_utils
import bpy
import numpy as np
import pytest
from mathutils import Matrix, Vector

from cvd_blender_addon import deliveries, jobs, preferences
from cvd_blender_addon.present import data_of
from cvd_blender_addon.properties import of
from cvd_blender_addon.scene import camera_files, import_solve
from cvd_blender_addon.solve_reader import read
from tests.addon.synthetic import Synthetic
from tests.addon.typed import array, in_view, ops, root_of, scene_now, the

FAKE = Path(__file__).parent / "fake_engine"
PLACED = Matrix.LocRotScale(Vector((3.0, -1.0, 0.5)), Matrix.Rotation(0.7, 3, Vector((0.36, 0.48, 0.8))), (2.5,) * 3)
ZOOM = {number: 250.0 + 9.0 * (number - 1001) for number in range(1001, 1009)}


def blocks() -> dict[str, list[str]]:
    kinds = ("scenes", "objects", "cameras", "actions", "collections", "meshes")
    return {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in kinds}


def read_back(path: Path, truth: Synthetic) -> bpy.types.Object:
    """The only camera of a file, in an otherwise empty Blender with the plate's size and rate."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = scene_now()
    scene.render.resolution_x, scene.render.resolution_y = truth.width, truth.height
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = max(1 / truth.squeeze, 1.0), max(truth.squeeze, 1.0)
    scene.render.fps, scene.render.fps_base = (24, 1.0) if path.suffix == ".fbx" else (30, 1.001)
    if path.suffix == ".abc":
        bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    elif path.suffix == ".usda":
        bpy.ops.wm.usd_import(filepath=str(path))
    else:
        addon_utils.enable("io_scene_fbx")
        bpy.ops.import_scene.fbx(filepath=str(path), anim_offset=0.0)
    (found,) = (ob for ob in bpy.data.objects if ob.type == "CAMERA")
    return found


@pytest.fixture
def read_homefile_after() -> Iterator[None]:
    yield
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


@pytest.mark.every_blender
@pytest.mark.parametrize("name", ["abc", "usd", "fbx"])
@pytest.mark.parametrize("parameters", [{}, {"focals": ZOOM}], ids=["prime", "zoom"])
def test_camera_files_are_the_placed_camera(
    make_solve: Callable[..., Synthetic],
    scene: bpy.types.Scene,
    read_homefile_after: None,
    tmp_path: Path,
    name: str,
    parameters: dict,
) -> None:
    truth = make_solve(**parameters)
    solve = read(truth.folder)
    if name == "fbx":  # the file is right, but Blender reads 29.97 frames as if they were 30
        solve = replace(solve, source=replace(solve.source, fps=(24, 1)))
    was = blocks()
    path = camera_files.write(solve, PLACED, name, tmp_path, tmp_path)
    assert blocks() == was, "nothing is left of the scene that was exported"
    ob = read_back(path, truth)
    rays = truth.rays(truth.first, distorted=False)[::60, ::80].reshape(-1, 3)
    # Before 5.1 Blender reads only the first focal length of an Alembic camera.
    zoom_is_read = not (name == "abc" and parameters and bpy.app.version < (5, 1))
    for number in truth.placed:
        scene_now().frame_set(number)
        evaluated = ob.evaluated_get(bpy.context.evaluated_depsgraph_get())
        wanted = np.array(PLACED) @ truth.world_from_camera(number) @ np.diag([1.0, -1.0, -1.0, 1.0])
        wanted[:3, :3] /= 2.5
        assert np.array(evaluated.matrix_world) == pytest.approx(wanted, abs=2e-5)
        if not zoom_is_read:
            continue
        lens = data_of(evaluated, bpy.types.Camera)
        assert lens.lens / lens.sensor_width == pytest.approx(truth.focal(number) / truth.width)
        points = rays * 7.0 @ truth.world_from_camera(number)[:3, :3].T + truth.world_from_camera(number)[:3, 3]
        pixels = rays[:, :2] * truth.focal(number) + (truth.cx, truth.cy)
        for point, pixel in zip(points, pixels, strict=True):
            x, y = in_view(scene_now(), evaluated, PLACED @ Vector(point))
            assert (x * truth.width, (1.0 - y) * truth.height) == pytest.approx(tuple(pixel), abs=0.01)


@pytest.mark.every_blender
def test_fbx_is_written_where_its_add_on_is_off_and_leaves_it_off(
    synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path
) -> None:
    addon_utils.disable("io_scene_fbx")
    try:
        camera_files.write(read(synthetic.folder), Matrix.Identity(4), "fbx", tmp_path, tmp_path)
        assert addon_utils.check("io_scene_fbx")[1] is False
    finally:
        addon_utils.enable("io_scene_fbx")


def test_an_exporter_that_fails_says_so_and_leaves_nothing(
    synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path
) -> None:
    was = blocks()
    with pytest.raises(jobs.StartError) as caught:
        camera_files.write(read(synthetic.folder), Matrix.Identity(4), "fbx", tmp_path / "none", tmp_path)
    assert caught.value.error.code == "deliver.camera"
    assert blocks() == was


@pytest.fixture
def ready(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> bpy.types.Scene:
    """An imported solve, and the stand-in in the engine's place."""
    monkeypatch.setattr(preferences, "engine_root", lambda: FAKE)
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    solve = import_solve(scene, synthetic.folder)
    of(scene).solve_folder = str(solve.folder)
    of(scene).delivery.folder = str(tmp_path / "out")
    of(scene).delivery.cameras = set()
    return scene


def deliver() -> set[str]:
    return set(ops.cvd.deliver(engine_python=sys.executable))


@pytest.mark.every_blender
def test_the_engine_is_asked_for_what_is_chosen_where_the_scene_stands(
    ready: bpy.types.Scene, synthetic: Synthetic, tmp_path: Path
) -> None:
    root = root_of(ready, read(synthetic.folder))
    root.matrix_world = PLACED
    the(bpy.context.view_layer).update()
    delivery = of(ready).delivery
    delivery.passes, delivery.files, delivery.cameras = {"depth", "normals"}, {"chan", "stmaps"}, {"usd"}
    assert deliver() == {"FINISHED"}
    out = tmp_path / "out"
    asked = json.loads((out / ".deliver" / "asked.json").read_text())
    assert asked[:5] == ["deliver", str(synthetic.folder), "--out", str(out), "--as"]
    assert asked[5].split(",") == ["chan", "depth", "normals"], "a lens without distortion has no ST-maps"
    assert asked[6] == "--placed"
    assert [float(word) for word in asked[7:]] == pytest.approx(array(PLACED).ravel().tolist(), abs=1e-5)
    assert (out / "camera.usda").is_file()
    assert (delivery.state, delivery.running, delivery.at, delivery.error) == ("done", False, str(out), "")


def test_a_delivery_goes_beside_the_solve_where_no_folder_is_chosen(ready: bpy.types.Scene, own_solve: Path) -> None:
    of(ready).solve_folder, of(ready).delivery.folder = str(own_solve), ""
    assert deliver() == {"FINISHED"}
    assert of(ready).delivery.at == str(own_solve.resolve().parent / "own.delivery")


def test_what_fails_is_shown(ready: bpy.types.Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(RuntimeError, match="no earlier delivery"):
        deliver()
    assert "no earlier delivery" in of(ready).delivery.error
    assert not (tmp_path / "out" / ".deliver").exists()
    (tmp_path / "out" / "thesis.txt").unlink()
    monkeypatch.setenv("FAKE_ENGINE", "fail")
    with pytest.raises(RuntimeError, match="A tripod shot"):
        deliver()
    assert (of(ready).delivery.state, of(ready).delivery.running) == ("failed", False)
    with pytest.raises(RuntimeError, match="The engine was not started"):
        ops.cvd.deliver()
    monkeypatch.setattr(camera_files, "available", lambda _name: False)
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    of(ready).delivery.cameras = {"abc"}
    assert deliver() == {"FINISHED"}
    assert not (tmp_path / "out" / "camera.abc").exists()


def test_buttons_say_why_they_are_off(ready: bpy.types.Scene) -> None:
    delivery = of(ready).delivery
    assert ops.cvd.deliver.poll()
    assert not ops.cvd.cancel_delivery.poll()
    delivery.passes, delivery.files = set(), set()
    with pytest.raises(RuntimeError, match="Choose what to deliver"):
        deliver()
    delivery.passes, delivery.running = {"depth"}, True
    with pytest.raises(RuntimeError, match="A delivery is running"):
        deliver()
    assert ops.cvd.cancel_delivery.poll()
    delivery.running, of(ready).solve_folder = False, ""
    with pytest.raises(RuntimeError, match="import a solve first"):
        deliver()


def test_a_running_delivery_is_followed_cancelled_and_let_go(
    ready: bpy.types.Scene, synthetic: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "obedient")
    solve = read(synthetic.folder)
    job, _ = deliveries.deliver(ready, solve, Path(sys.executable), FAKE, tmp_path / "out", ["depth"], [])
    of(ready).delivery.at = str(tmp_path / "out")
    deliveries.follow(ready, job)
    try:
        while of(ready).delivery.message != "working":
            assert deliveries.tick() is not None
        assert of(ready).delivery.running
        with pytest.raises(jobs.StartError) as caught:
            deliveries.deliver(ready, solve, Path(sys.executable), FAKE, tmp_path / "out", ["depth"], [])
        assert caught.value.error.code == "deliver.busy"
        assert ops.cvd.cancel_delivery() == {"FINISHED"}
        while of(ready).delivery.running:
            deliveries.tick()
        assert of(ready).delivery.state == "cancelled"
        assert deliveries.tick() is None
    finally:
        job.cancel(0.0)
        while not job.poll().final:
            pass
