"""Solving from Blender, with a stand-in for the engine."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest

from cvd_blender_addon import jobs, monitor, panels, preferences, solve_request
from cvd_blender_addon.operators.solve import asked
from cvd_blender_addon.present import tracking_camera, tracks_of
from cvd_blender_addon.properties import CvdProperties, of
from cvd_blender_addon.scene import plate
from cvd_blender_addon.solve_reader import read
from tests.addon.rendering import clip_editor
from tests.addon.synthetic import Synthetic
from tests.addon.typed import ops, scene_now

FAKE = Path(__file__).parent / "fake_engine"


@pytest.fixture
def ready(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> bpy.types.Scene:
    """A scene with a clip, and the stand-in in the engine's place."""
    monkeypatch.setattr(preferences, "engine_root", lambda: FAKE)
    monkeypatch.setenv("FAKE_SOLVE", str(synthetic.folder))
    of(scene).clip_path = str(synthetic.folder.parent / "plate_1001.png")
    of(scene).solve_folder = str(tmp_path / "my.solve")
    return scene


def solve(mode: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.setenv("FAKE_ENGINE", mode)
    return set(ops.cvd.solve_depth(engine_python=sys.executable))


@pytest.mark.every_blender
def test_background_solve_blocks_and_prints(
    ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert solve("succeed", monkeypatch) == {"FINISHED"}
    assert "done" in capfd.readouterr().out
    assert (of(ready).job_state, of(ready).job_running) == ("done", False)
    assert (Path(of(ready).solve_folder) / "solve.json").is_file()
    assert ops.cvd.import_solve(directory=of(ready).solve_folder) == {"FINISHED"}


def test_request_is_what_the_panel_says(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    cvd = of(ready)
    cvd.use_range, cvd.first, cvd.last, cvd.step, cvd.preset = True, 1002, 1007, 2, "best"
    cvd.lens, cvd.focal_mm, cvd.sensor_width = "MM", 30.0, 36.0
    request = requested(cvd, monkeypatch)
    unasked = solve_request.make(Path(cvd.clip_path), Path("x.solve"))
    assert request["footage"] == unasked["footage"] | {"first": 1002, "last": 1007, "step": 2}
    assert request["lens"] == unasked["lens"] | {"focal_mm": 30.0, "sensor_mm": 36.0}
    assert request["world"] == {"camera_height": None, "distance": None}
    assert (request["camera"]["kind"], request["camera"]["path"], request["tracks"]) == ("solve", None, None)
    assert (request["method"], request["preset"]) == ("cvd", "best")
    assert request["masks"] == {"path": None, "segmentation": None, "motion": True, "allow_non_commercial": False}
    assert request["prior"] == {"kind": "auto", "path": None, "maps": "depth", "allow_non_commercial": False}
    assert len(bpy.data.movieclips) == 0


def requested(cvd: CvdProperties, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    solve("succeed", monkeypatch)
    document: dict[str, Any] = json.loads((Path(cvd.solve_folder) / "request.json").read_text())
    return document


def test_stereo_is_asked_for(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    cvd = of(ready)
    cvd.right_path, cvd.baseline = "/right/eye_1001.png", 0.065
    assert requested(cvd, monkeypatch)["footage"]["baseline"] is None  # not while there is one eye
    cvd.stereo = "side_by_side"
    footage = requested(cvd, monkeypatch)["footage"]
    assert (footage["stereo"], footage["right"]) == ("side_by_side", None)
    assert footage["baseline"] == pytest.approx(0.065)
    cvd.stereo, cvd.baseline = "two_files", 0.0
    footage = requested(cvd, monkeypatch)["footage"]
    assert (footage["stereo"], footage["right"], footage["baseline"]) == ("two_files", "/right/eye_1001.png", None)


def test_pixel_aspect_and_optical_centre_are_asked_for(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    cvd = of(ready)
    cvd.pixel_aspect, cvd.principal, cvd.camera_height = 2.0, (150.5, 80.0), 1.5
    assert requested(cvd, monkeypatch)["lens"]["principal_px"] is None  # not while they are not said to be known
    cvd.use_pixel_aspect = cvd.use_principal = True
    request = requested(cvd, monkeypatch)
    assert (request["lens"]["pixel_aspect"], request["lens"]["principal_px"]) == (2.0, [150.5, 80.0])
    assert request["world"]["camera_height"] == 1.5
    cvd.camera_source, cvd.camera_folder = "colmap", "/a/model"
    request = requested(cvd, monkeypatch)
    assert (request["lens"]["pixel_aspect"], request["lens"]["principal_px"]) == (None, None)
    assert request["world"]["camera_height"] is None


@pytest.mark.every_blender
def test_the_lens_of_the_clips_settings_is_taken(ready: bpy.types.Scene) -> None:
    cvd = of(ready)
    with pytest.raises(RuntimeError, match="Open the clip in the clip editor"):
        ops.cvd.lens_from_clip()
    clip = bpy.data.movieclips.load(cvd.clip_path)
    lens = tracking_camera(clip)
    lens.sensor_width, lens.focal_length, lens.pixel_aspect = 24.0, 36.0, 1.25
    lens.principal_point_pixels = (170.0, 80.0)
    assert ops.cvd.lens_from_clip() == {"FINISHED"}
    assert cvd.lens == "PX" and cvd.focal_px == pytest.approx(320 * 36 / 24)
    assert cvd.use_pixel_aspect and cvd.pixel_aspect == 1.25
    assert cvd.use_principal and tuple(cvd.principal) == pytest.approx((170, 100), abs=1e-3)  # from the top


@pytest.mark.every_blender
def test_a_solved_lens_comes_back_from_the_clip_that_was_built(ready: bpy.types.Scene, synthetic: Synthetic) -> None:
    clip = plate.ensure_clip(read(synthetic.folder))
    assert clip is not None
    ops.cvd.lens_from_clip()
    assert of(ready).focal_px == pytest.approx(300.0)
    assert tuple(of(ready).principal) == pytest.approx((171.0, 83.0), abs=1e-3)


def test_the_distance_between_two_selected_tracks_is_asked_for(
    ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    cvd = of(ready)
    cvd.distance = 0.8
    with pytest.raises(RuntimeError, match="not open in the clip editor"):
        solve("succeed", monkeypatch)
    clip = bpy.data.movieclips.load(cvd.clip_path)
    with pytest.raises(RuntimeError, match="Select two tracks in the clip editor"):
        solve("succeed", monkeypatch)
    for name, x in (("Door", 0.25), ("Window", 0.75), ("Lamp", 0.5)):
        track = tracks_of(clip).new(name=name, frame=1)
        track.markers[0].co = (x, 0.6)
        track.markers.insert_frame(2, co=(x + 0.05, 0.6))
        track.markers.insert_frame(3, co=(x + 0.1, 0.6))
        track.select = True
    with clip_editor(clip):
        with pytest.raises(RuntimeError, match="3 are selected"):
            ops.cvd.distance_of_tracks()
        tracks_of(clip)["Lamp"].select = False
        assert ops.cvd.distance_of_tracks() == {"FINISHED"}
    request = requested(cvd, monkeypatch)
    found = request["world"]["distance"]
    assert found["metres"] == pytest.approx(0.8)
    # The second of three markers, plate frame 1002 of 320 x 180 pixels.
    assert found["a"] == pytest.approx([1002, 0.3 * 320, 0.4 * 180], abs=1e-3)
    assert found["b"] == pytest.approx([1002, 0.8 * 320, 0.4 * 180], abs=1e-3)
    # The two are followed points of the solve as well, the third is not: the artist did not ask for all.
    tracks = json.loads(Path(request["tracks"]).read_text())["tracks"]
    assert [track["name"] for track in tracks] == ["Door", "Window"]
    cvd.use_tracks = True
    tracks = json.loads(Path(requested(cvd, monkeypatch)["tracks"]).read_text())["tracks"]
    assert [track["name"] for track in tracks] == ["Door", "Window", "Lamp"]
    cvd.camera_source, cvd.camera_folder, cvd.use_tracks = "colmap", "/a/model", False  # has a size of its own
    request = requested(cvd, monkeypatch)
    assert (request["world"]["distance"], request["tracks"]) == (None, None)


def test_prior_is_asked_for(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cvd = of(ready)
    cvd.prior_model, cvd.prior_maps, cvd.maps = "somebody/Depth-Small", str(tmp_path), "disparity"
    cvd.allow_non_commercial, cvd.find_motion, cvd.segmentation = True, False, str(tmp_path)
    cvd.method, cvd.preset = "selfsup", "cvd-2020"
    paths = {}
    for kind in ("auto", "builtin", "transformers", "maps", "none"):
        cvd.prior = kind
        request = requested(cvd, monkeypatch)
        assert request["prior"]["kind"] == kind
        assert (request["prior"]["maps"], request["prior"]["allow_non_commercial"]) == ("disparity", True)
        paths[kind] = request["prior"]["path"]
    nothing = dict.fromkeys(("auto", "builtin", "none"))
    assert paths == nothing | {"transformers": "somebody/Depth-Small", "maps": str(tmp_path)}
    assert request["masks"] == {
        "path": None,
        "segmentation": str(tmp_path),
        "motion": False,
        "allow_non_commercial": True,
    }
    assert (request["method"], request["preset"]) == ("selfsup", "cvd-2020")


CHOSEN_OTHERWISE = {
    "footage/path": {"clip_path"},
    "footage/first": {"use_range", "first"},
    "footage/last": {"use_range", "last"},
    "footage/right": {"right_path"},
    "lens/focal_px": {"lens", "focal_px"},
    "lens/focal_mm": {"lens", "focal_mm"},
    "lens/sensor_mm": {"lens", "sensor_width"},
    "lens/camera": {"lens", "body"},
    "lens/pixel_aspect": {"use_pixel_aspect", "pixel_aspect"},
    "lens/principal_px": {"use_principal", "principal"},
    "camera/kind": {"camera_source", "camera"},
    "camera/path": {"camera_folder", "camera_chan"},
    "camera/film_back_mm": {"film_back"},
    "tracks": {"use_tracks"},
    "world/distance": {"distance", "distance_a", "distance_b"},
    "masks/path": {"mask_source", "mask_path", "mask", "mask_clip"},
    "masks/segmentation": {"segmentation"},
    "masks/motion": {"find_motion"},
    "prior/path": {"prior_model", "prior_maps"},
    "hints": {"hints"},
    "output": {"solve_folder"},
}
"""What the panels ask for in other ways than by a property of the option's name and meaning (`solve._request`)."""
NOT_IN_PANELS = {"footage/colourspace", "lens/model", "lens/metadata", "seed", "device", "replace"}
"""Left to the command line; `replace` is asked when it comes up."""


def test_panels_ask_for_what_the_schema_knows(scene: bpy.types.Scene, addon: None) -> None:
    """Forgotten in properties.py or panels.py: a field of the request, a word, a default, a range."""
    known = solve_request._fields()
    assert CHOSEN_OTHERWISE.keys() | NOT_IN_PANELS <= known.keys()
    properties: Any = of(scene).bl_rna.properties
    drawn = (Path(jobs.__file__).parent / "panels.py").read_text()
    for where, field in known.items():
        if where in NOT_IN_PANELS:
            continue
        for name in CHOSEN_OTHERWISE.get(where, {field.property_name}):
            assert name in properties, f"{where}: no property {name}"
            assert f'"{name}"' in drawn, f"{name} is in no panel"
        if where in CHOSEN_OTHERWISE:
            continue
        property_, entry = properties[field.property_name], field.entry
        if "enum" in entry:
            assert [item.identifier for item in property_.enum_items] == entry["enum"], where
        elif property_.type in ("INT", "FLOAT"):
            assert property_.hard_min >= entry.get("minimum", entry.get("exclusiveMinimum", -math.inf)), where
            assert property_.hard_max <= entry.get("maximum", math.inf), where
        assert property_.default == (entry["default"] or type(property_.default)()), where


def test_choices_say_what_they_are_for(scene: bpy.types.Scene, addon: None) -> None:
    schema = {where: field.entry for where, field in solve_request._fields().items()}
    properties: Any = of(scene).bl_rna.properties
    for name in ("method", "camera_source", "preset", "prior"):
        said = [item.description for item in properties[name].enum_items]
        assert min(map(len, said)) > 10 and len(set(said)) == len(said), name
    for name, solved in (("method", schema["method"]["enum"]), ("camera_source", jobs.SOLVED)):
        for item in properties[name].enum_items:
            if item.identifier in solved:
                assert item.description.startswith(("Where ", "For ")), item.identifier  # when to choose it
    # A camera of the scene is written as cvd.camera/1, which is what the schema calls json.
    offered = [item.identifier for item in properties["camera_source"].enum_items]
    assert {"json" if kind == "SCENE" else kind for kind in offered} == set(schema["camera/kind"]["enum"])
    assert set(panels.PRESETS) <= set(schema["preset"]["enum"])


def test_failure_has_its_three_parts(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"No camera\. A tripod shot\. Move it\."):
        solve("fail", monkeypatch)
    assert "Move it." in of(ready).job_error
    assert not of(ready).job_running


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cvd: setattr(cvd, "clip_path", "/no/such/clip.mp4"), "The clip was not found"),
        (lambda cvd: setattr(cvd, "solve_folder", "/proc/x.solve"), "The engine was not started"),
        (lambda cvd: setattr(cvd, "prior", "transformers"), "model and depth maps need one"),
        (lambda cvd: setattr(cvd, "stereo", "two_files"), "needs the right eye's footage"),
        (lambda cvd: setattr(cvd, "camera_source", "chan"), "a given camera has one"),
        (lambda cvd: setattr(cvd, "camera_source", "SCENE"), "No camera was chosen"),
        (lambda cvd: setattr(cvd, "use_tracks", True), "is not open in the clip editor"),
        (lambda cvd: setattr(cvd, "mask_source", "SEQUENCE"), "no mask on any frame"),
        (lambda cvd: setattr(cvd, "mask_source", "BLENDER"), "no mask on any frame"),
    ],
)
def test_what_cannot_start_says_so(
    ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch, change: Callable[[CvdProperties], object], words: str
) -> None:
    change(of(ready))
    with pytest.raises(RuntimeError, match=words):
        solve("succeed", monkeypatch)


def test_no_engine_python_says_where_to_set_it(ready: bpy.types.Scene) -> None:
    with pytest.raises(RuntimeError, match="preferences"):
        ops.cvd.solve_depth()


def test_disabled_buttons_say_why(scene: bpy.types.Scene, addon: None) -> None:
    for operator, words in (
        ("solve_depth", "Choose a clip first"),
        ("check_masks", "Choose a clip first"),
        ("cancel_solve", "No solve is running"),
        ("lens_from_clip", "Choose a clip first"),
    ):
        with pytest.raises(RuntimeError, match=words):
            getattr(ops.cvd, operator)()
    with pytest.raises(RuntimeError, match="clip editor"):
        ops.cvd.use_clip()
    with pytest.raises(RuntimeError, match="track two points first"):
        ops.cvd.distance_of_tracks()


def test_two_clips_of_one_name_get_a_folder_each(
    ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    folders = []
    for shot in ("shot010", "shot020", "shot010"):
        clip = tmp_path / shot / "0001.png"
        clip.parent.mkdir(exist_ok=True)
        clip.touch()
        of(ready).clip_path = str(clip)
        request = asked(bpy.context, Path(sys.executable))
        folders.append(Path(request["output"]).name)
    assert folders == ["shot010.solve", "shot020.solve", "shot010.solve"]


def test_a_solve_of_other_footage_is_replaced_only_when_that_was_confirmed(
    ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(preferences, "engine_root", lambda: FAKE)
    before = (Path(of(ready).solve_folder), Path(of(ready).clip_path))
    other = tmp_path / "other.mp4"
    other.touch()
    folder = tmp_path / "shot.solve"
    folder.mkdir()
    source = {"schema": "cvd.solve/1", "source": {"path": str(before[1])}}
    (folder / "solve.json").write_text(json.dumps(source))
    of(ready).clip_path, of(ready).solve_folder = str(other), str(folder)
    with pytest.raises(jobs.StartError, match="holds the solve of"):
        asked(bpy.context, Path(sys.executable))
    assert not (folder / "request.json").exists()
    assert asked(bpy.context, Path(sys.executable), replace=True)["replace"] is True


def tick_until_done(scene: bpy.types.Scene) -> None:
    """What the timer does in a window."""
    deadline = time.monotonic() + 20
    while monitor.tick() is not None and time.monotonic() < deadline:
        pass
    assert not of(scene).job_running


def start_job(scene: bpy.types.Scene, mode: str, monkeypatch: pytest.MonkeyPatch) -> jobs.Job:
    """What the operator does in a window."""
    monkeypatch.setenv("FAKE_ENGINE", mode)
    request = solve_request.make(Path(of(scene).clip_path), Path(of(scene).solve_folder))
    job = jobs.start(Path(sys.executable), FAKE, request)
    monitor.follow(scene, job)
    return job


def test_monitor_follows_to_the_import(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    start_job(ready, "succeed", monkeypatch)
    assert of(ready).job_running and not ops.cvd.solve_depth.poll()
    tick_until_done(ready)
    assert of(ready).job_state == "done"
    assert ready.camera is not None and "6 of 8" in of(ready).result


def test_monitor_shows_a_failure(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    start_job(ready, "fail", monkeypatch)
    tick_until_done(ready)
    assert of(ready).job_error == "failed: No camera. A tripod shot. Move it."
    assert ready.camera is None


def test_cancel_button(ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    start_job(ready, "obedient", monkeypatch)
    while of(ready).job_state == "queued":
        monitor.tick()
    assert of(ready).job_fraction == pytest.approx(0.3)
    assert ops.cvd.cancel_solve() == {"FINISHED"}
    tick_until_done(ready)
    assert of(ready).job_state == "cancelled"


@pytest.mark.every_blender
def test_reopened_file_finds_its_job_again(
    ready: bpy.types.Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start_job(ready, "obedient", monkeypatch)
    while of(ready).job_state == "queued":
        monitor.tick()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    monitor.reattach()
    assert not of(bpy.context.scene).job_running
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    monitor.reattach()
    scene = scene_now()
    assert monitor.tick() is not None
    assert of(scene).job_state == "running"
    ops.cvd.cancel_solve()
    tick_until_done(scene)
    assert of(scene).job_state == "cancelled"
