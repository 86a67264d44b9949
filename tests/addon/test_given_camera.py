"""The scene's camera and the clip's tracking markers, as they are handed to the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from cvd_blender_addon import cameras, jobs, masks
from cvd_blender_addon.present import data_of, tracking_camera, tracks_of
from cvd_blender_addon.scene import camera as solved_camera
from cvd_blender_addon.scene import import_solve
from cvd_blender_addon.scene.camera import find_camera
from cvd_blender_addon.solve_reader import read
from tests.addon.synthetic import Synthetic
from tests.addon.typed import clip_of, in_view, the

SIZE = (320, 180)
ALEMBIC_ZOOMS = bpy.app.version >= (5, 1, 0)


def written(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def projected(document: dict[str, Any], frame: dict[str, Any], point: np.ndarray) -> np.ndarray:
    pose, lens = np.array(frame["world_from_camera"]), document["lens"]
    local = (point - pose[:3, 3]) @ pose[:3, :3]
    zoom = frame["focal_px"] / lens["fx"]
    pixel: np.ndarray = local[:2] / local[2] * (lens["fx"] * zoom, lens["fy"] * zoom) + (lens["cx"], lens["cy"])
    return pixel


@pytest.mark.every_blender
@pytest.mark.parametrize("fit", ["HORIZONTAL", "VERTICAL", "AUTO"])
def test_a_camera_that_is_driven_in_every_way_is_handed_over_as_it_plays(
    scene: bpy.types.Scene, tmp_path: Path, fit: str
) -> None:
    """Keys, a parent with scale, a constraint and a keyed lens: what counts is where the scene shows points."""
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = 1.0, 1.3
    target = bpy.data.objects.new("Target", None)
    parent = bpy.data.objects.new("Parent", None)
    data = bpy.data.cameras.new("Camera")
    camera = bpy.data.objects.new("Camera", data)
    for ob in (target, parent, camera):
        scene.collection.objects.link(ob)
    target.location, parent.scale, camera.parent = (0.0, 4.0, 1.0), (2.0, 2.0, 2.0), parent
    constraint: Any = camera.constraints.new("TRACK_TO")
    constraint.target = target
    setting: Any = data
    setting.sensor_fit, data.shift_x, data.shift_y = fit, 0.07, -0.04
    for number in (10, 20):
        camera.location = (0.1 * number, -2.0, 1.5)
        camera.keyframe_insert("location", frame=number)
        data.lens = 30.0 + number
        data.keyframe_insert("lens", frame=number)
    scene.frame_set(3)
    cameras.write_camera(scene, camera, None, [10, 13, 20], SIZE, True, tmp_path / "camera.json")
    assert scene.frame_current == 3
    document = written(tmp_path / "camera.json")
    assert [frame["frame"] for frame in document["frames"]] == [10, 13, 20]
    assert document["metric"] is True
    for frame in document["frames"]:
        scene.frame_set(frame["frame"])
        the(bpy.context.view_layer).update()
        for point in np.random.default_rng(1).uniform([-1, 3, 0], [1, 6, 2], (10, 3)):
            x, y = in_view(scene, camera, point)
            assert projected(document, frame, point) == pytest.approx([x * SIZE[0], (1 - y) * SIZE[1]], abs=0.01)


@pytest.mark.every_blender
def test_an_alembic_camera_that_zooms_is_handed_over(scene: bpy.types.Scene, tmp_path: Path) -> None:
    """Exported and imported by Blender: a camera that a cache moves, and whose lens is keyed."""
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    data = bpy.data.cameras.new("Shot")
    camera = bpy.data.objects.new("Shot", data)
    scene.collection.objects.link(camera)
    data.sensor_width, data.sensor_fit = 24.0, "HORIZONTAL"
    for number in (1, 5):
        camera.location, camera.rotation_euler = (0.2 * number, -2.0, 1.0), (1.4, 0.05 * number, 0.1 * number)
        data.lens = 30.0 + 2 * number
        for path in ("location", "rotation_euler"):
            camera.keyframe_insert(path, frame=number)
        data.keyframe_insert("lens", frame=number)
    numbers = range(1, 6)
    cameras.write_camera(scene, camera, None, numbers, SIZE, True, tmp_path / "own.json")
    scene.frame_start, scene.frame_end = 1, 5
    file = str(tmp_path / "shot.abc")
    assert bpy.ops.wm.alembic_export(filepath=file, start=1, end=5, as_background_job=False) == {"FINISHED"}
    bpy.data.objects.remove(camera)
    bpy.data.cameras.remove(data)
    assert bpy.ops.wm.alembic_import(filepath=file, as_background_job=False) == {"FINISHED"}
    (imported,) = (ob for ob in scene.objects if ob.type == "CAMERA")
    assert [constraint.type for constraint in imported.constraints] == ["TRANSFORM_CACHE"]
    cameras.write_camera(scene, imported, None, numbers, SIZE, True, tmp_path / "alembic.json")
    own, alembic = written(tmp_path / "own.json"), written(tmp_path / "alembic.json")
    for wanted, found in zip(own["frames"], alembic["frames"], strict=True):
        assert np.array(found["world_from_camera"]) == pytest.approx(np.array(wanted["world_from_camera"]), abs=1e-5)
    focals = [[frame["focal_px"] for frame in document["frames"]] for document in (own, alembic)]
    assert np.ptp(focals[0]) > 50
    if ALEMBIC_ZOOMS:
        assert focals[1] == pytest.approx(focals[0], rel=1e-4)
    else:
        # Blender's importer takes the first focal length alone: what the engine then says is that it does not fit.
        assert focals[1] == pytest.approx([focals[0][0]] * 5)


def test_a_camera_whose_shift_changes_is_refused(scene: bpy.types.Scene, tmp_path: Path) -> None:
    data = bpy.data.cameras.new("Shot")
    camera = bpy.data.objects.new("Shot", data)
    scene.collection.objects.link(camera)
    for number in (1, 3):
        data.shift_y = 0.02 * number
        data.keyframe_insert("shift_y", frame=number)
    with pytest.raises(jobs.StartError, match="shift"):
        cameras.write_camera(scene, camera, None, [1, 2, 3], SIZE, False, tmp_path / "camera.json")
    cameras.write_camera(scene, camera, None, [2], SIZE, False, tmp_path / "camera.json")


@pytest.mark.every_blender
def test_a_solved_camera_comes_back_as_it_was(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    solve = import_solve(scene, synthetic.folder)
    clip = clip_of(solve)
    clip.frame_start = 1  # the plate's 1001 is shown at 1, and the camera is keyed on 1001
    view = find_camera(scene, solve)
    cameras.write_camera(scene, view, None, [1001, 1005], SIZE, False, tmp_path / "camera.json")
    document = written(tmp_path / "camera.json")
    for frame in document["frames"]:
        assert np.array(frame["world_from_camera"]) == pytest.approx(
            synthetic.world_from_camera(frame["frame"]), abs=1e-5
        )
    lens = {name: document["lens"][name] for name in ("fx", "fy", "cx", "cy")}
    assert lens == pytest.approx({"fx": 300.0, "fy": 300.0, "cx": 171.0, "cy": 83.0}, rel=1e-6)
    # With the clip, plate frame 1001 is what the scene shows at frame 1, where the camera has not begun to move.
    cameras.write_camera(scene, view, clip, [1001, 1005], SIZE, False, tmp_path / "camera.json")
    first, later = (frame["world_from_camera"] for frame in written(tmp_path / "camera.json")["frames"])
    assert first == later


def test_cameras_that_cannot_be_used_say_why(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    solve = read(synthetic.folder)
    view = solved_camera.build(scene, solve)
    clip = clip_of(solve)
    path = tmp_path / "camera.json"
    with pytest.raises(jobs.StartError, match="No camera was chosen"):
        cameras.write_camera(scene, None, None, [1], SIZE, False, path)
    tracking_camera(clip).distortion_model = "POLYNOMIAL"
    tracking_camera(clip).k1, tracking_camera(clip).k3 = -0.05, 0.01
    with pytest.raises(jobs.StartError, match="does not know"):
        cameras.write_camera(scene, view, clip, [1001], SIZE, False, path)
    tracking_camera(clip).k3 = 0.0
    cameras.write_camera(scene, view, clip, [1001], SIZE, False, path)
    assert written(path)["lens"]["k1"] == pytest.approx(-0.05)
    data_of(view, bpy.types.Camera).type = "PANO"
    with pytest.raises(jobs.StartError, match="perspective"):
        cameras.write_camera(scene, view, None, [1001], SIZE, False, path)


def test_tracking_markers_are_handed_over_in_plate_pixels(
    synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path
) -> None:
    clip = clip_of(read(synthetic.folder))
    clip.frame_start = 50
    tracks = tracks_of(clip)
    good = tracks.new(name="Corner", frame=1)
    good.markers[0].co = (0.25, 0.75)
    good.markers.insert_frame(3, co=(0.5, 0.5))
    good.markers.insert_frame(5, co=(0.6, 0.4))
    good.markers.find_frame(5).mute = True
    good.offset = (0.1, 0.0)
    tracks.new(name="Seen once", frame=1)
    weak = tracks.new(name="Without weight", frame=1)
    weak.markers.insert_frame(2, co=(0.5, 0.5))
    weak.weight = 0.0
    cameras.write_tracks(clip, [1001, 1002, 1003, 1005], SIZE, tmp_path / "tracks.json")
    document = written(tmp_path / "tracks.json")
    assert (document["width"], document["height"]) == SIZE
    (track,) = document["tracks"]
    assert track["name"] == "Corner"
    # Frame 1 of the clip is its own file, plate frame 1001.
    assert track["markers"][0] == pytest.approx([1001, 0.35 * 320, 0.25 * 180], abs=1e-3)
    assert track["markers"][1] == pytest.approx([1003, 0.6 * 320, 0.5 * 180], abs=1e-3)
    assert len(track["markers"]) == 2
    assert masks.scene_frame(clip, 1003) == 52
    with pytest.raises(jobs.StartError, match="tracking markers"):
        cameras.write_tracks(clip, [1007, 1008], SIZE, tmp_path / "tracks.json")
