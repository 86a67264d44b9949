"""What the viewport and the panel show of a solve that still runs."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from cvd_blender_addon import jobs, monitor, solve_request, thumbnails
from cvd_blender_addon.present import data_of
from cvd_blender_addon.properties import of
from cvd_blender_addon.scene import owned, preview
from tests.addon.synthetic import Synthetic, write_png
from tests.addon.typed import ops, scene_now, the

FAKE = Path(__file__).parent / "fake_engine"


def document(cameras: int, points: int = 50) -> dict[str, Any]:
    poses = {str(1000 + i): (np.eye(4) + np.eye(4, k=3) * i).tolist() for i in range(cameras)}
    return {"schema": "cvd.preview/1", "cameras": poses, "points": [[i, 2.0, 3.0, 255, 0, 9] for i in range(points)]}


def engine_finds(folder: Path, found: Any) -> None:
    (folder / "preview").mkdir(exist_ok=True)
    time_before = (folder / preview.FILE).stat().st_mtime_ns if (folder / preview.FILE).exists() else 0
    while True:  # a file system may tell times coarsely
        temporary = folder / "preview" / "new.json"
        temporary.write_text(found if isinstance(found, str) else json.dumps(found))
        temporary.replace(folder / preview.FILE)
        if (folder / preview.FILE).stat().st_mtime_ns != time_before:
            return


def content() -> dict[str, set[str]]:
    """Names of everything in the file that a preview could have made."""
    kinds = ("objects", "meshes", "collections", "materials", "node_groups")
    return {kind: {block.name for block in getattr(bpy.data, kind)} for kind in kinds}


@pytest.fixture
def job(scene: bpy.types.Scene, addon: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[jobs.Job]:
    """A solve that runs for the scene."""
    monkeypatch.setenv("FAKE_ENGINE", "obedient")
    (tmp_path / "clip.mp4").touch()
    request = solve_request.make(tmp_path / "clip.mp4", tmp_path / "a.solve")
    started = jobs.start(Path(sys.executable), FAKE, request)
    of(scene).solve_folder = str(started.folder)
    monitor.follow(scene, started)
    while started.poll().state == "queued":
        pass
    yield started
    started.cancel()
    jobs.wait(started, lambda _: None, 0.02)


@pytest.mark.every_blender
def test_cameras_and_points_appear_are_replaced_and_go(scene: bpy.types.Scene, job: jobs.Job) -> None:
    before = content()
    monitor.tick()
    assert content() == before
    for cameras in (3, 7):
        engine_finds(job.folder, document(cameras))
        monitor.tick()
        collection = preview.find(scene)
        assert collection is not None and len(collection.objects) == 2
        meshes = [data_of(ob, bpy.types.Mesh) for ob in collection.objects]
        assert sorted(len(mesh.vertices) for mesh in meshes) == sorted([5 * cameras, 50])
        (frames,) = (mesh for mesh in meshes if len(mesh.edges))
        assert tuple(frames.vertices[5].co[:]) == pytest.approx((1.0, 0.0, 0.0))
        assert frames.vertices[6].co.z == pytest.approx(preview.CAMERA_LENGTH)  # they look along +z
        assert all(ob.hide_render and ob.hide_select for ob in collection.objects)
    same = {ob.as_pointer() for ob in the(collection).objects}
    monitor.tick()
    assert {ob.as_pointer() for ob in the(preview.find(scene)).objects} == same  # nothing new: nothing is touched
    ops.cvd.cancel_solve()
    deadline = time.monotonic() + 20
    while monitor.tick() is not None:
        assert time.monotonic() < deadline
    assert content() == before


@pytest.mark.parametrize(
    "found",
    [
        "",
        "[]",
        "{}",
        json.dumps(document(0)),
        json.dumps(document(2))[:-30],
        json.dumps(document(2) | {"schema": "cvd.preview/2"}),
        json.dumps(document(2) | {"cameras": {"1": [[1, 2], [3]]}}),
        json.dumps(document(2) | {"cameras": {"x": np.eye(4).tolist()}}),
        json.dumps(document(2) | {"points": [[1, 2, 3]]}),
        json.dumps(document(2) | {"points": [[1, 2, float("nan"), 1, 1, 1]]}),
        json.dumps(document(2) | {"points": [[1, 2, 3, 1, 1, 999]]}),
    ],
)
def test_what_is_no_preview_is_not_shown(scene: bpy.types.Scene, tmp_path: Path, found: str) -> None:
    before = content()
    engine_finds(tmp_path, found)
    preview.update(scene, tmp_path)
    assert content() == before


def test_what_the_user_puts_there_stays(scene: bpy.types.Scene, tmp_path: Path) -> None:
    engine_finds(tmp_path, document(3))
    preview.update(scene, tmp_path)
    collection = the(preview.find(scene))
    collection.name = "mine"
    own = bpy.data.objects.new("Own", None)
    collection.objects.link(own)
    preview.remove(scene)
    assert [ob.name for ob in scene.objects] == ["Own"]


@pytest.mark.every_blender
def test_undo_and_old_files_bring_no_preview_back(scene: bpy.types.Scene, job: jobs.Job, tmp_path: Path) -> None:
    engine_finds(job.folder, document(3))
    monitor.tick()
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "running.blend"), copy=True)
    ops.cvd.cancel_solve()
    while monitor.tick() is not None:
        pass
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="another")
    bpy.ops.ed.undo()
    monitor.after_undo()
    monitor.tick()
    assert preview.find(scene_now()) is None and "Cube" in bpy.data.objects
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "running.blend"))
    monitor.reattach()
    assert preview.find(scene_now()) is not None
    monitor.tick()
    assert preview.find(scene_now()) is None and "Cube" in bpy.data.objects


def test_the_result_takes_the_previews_place(scene: bpy.types.Scene, job: jobs.Job, synthetic: Synthetic) -> None:
    engine_finds(job.folder, document(3))
    monitor.tick()
    job.cancel()  # else the stand-in, which is told nothing of its success, would go on for ever
    jobs.wait(job, lambda _: None, 0.02)
    shutil.copytree(synthetic.folder, job.folder, dirs_exist_ok=True)
    status = json.loads((job.folder / "status.json").read_text())
    (job.folder / "status.json").write_text(json.dumps(status | {"state": "done", "error": None}))
    monitor.tick()
    assert preview.find(scene_now()) is None
    assert owned.find(scene_now().objects, of(bpy.context.scene).solve_key, "points") is not None


def test_the_panel_shows_the_depth(scene: bpy.types.Scene, job: jobs.Job) -> None:
    from tests.addon.test_panels import draw

    assert "picture" not in draw(scene, "VIEW_3D")
    (job.folder / "preview").mkdir()
    write_png(job.folder / "preview" / "depth.png", np.zeros((90, 160, 3), np.uint8))
    monitor.tick()
    assert "picture" in draw(scene, "VIEW_3D")
    assert thumbnails.icon(of(scene).job_picture) >= 0
