"""The farm's way: one script from clip to picture."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cvd_blender_addon import solve_request
from tests.addon.rendering import load
from tests.addon.synthetic import Synthetic

ROOT = Path(__file__).parents[2]


def run(*arguments: object, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "scripts" / "headless.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )


@pytest.fixture
def fake_root(tmp_path: Path) -> Path:
    """A checkout with the stand-in for the engine."""
    root = tmp_path / "a checkout"
    shutil.copytree(ROOT / "cvd_blender_addon", root / "cvd_blender_addon")
    shutil.copytree(Path(__file__).parent / "fake_engine" / "engine", root / "engine")
    shutil.copytree(ROOT / "engine" / "schemas", root / "engine" / "schemas")
    (root / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "headless.py", root / "scripts")
    return root


@pytest.mark.every_blender
def test_solve_import_save_render(fake_root: Path, synthetic: Synthetic, tmp_path: Path) -> None:
    clip = synthetic.folder.parent / "plate_1001.png"
    arguments = (clip, "--out", tmp_path / "shot.solve", "--engine-python", sys.executable)
    outputs = ("--blend", tmp_path / "s.blend", "--render", "1002-1003", "--render-dir", tmp_path / "frames")
    done = run(*arguments, *outputs, root=fake_root, FAKE_ENGINE="succeed", FAKE_SOLVE=str(synthetic.folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 8 frames placed" in done.stdout
    assert (tmp_path / "s.blend").is_file()
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [
        "composite_1002.png",
        "composite_1003.png",
        "matte_1002.png",
        "matte_1003.png",
    ]
    plate = load(synthetic.folder.parent / "plate_1003.png")[..., :3]
    assert abs(load(tmp_path / "frames" / "composite_1003.png")[..., :3] - plate).max() < 2.5 / 255  # dithered


def test_failed_solve(fake_root: Path, synthetic: Synthetic, tmp_path: Path) -> None:
    clip = synthetic.folder.parent / "plate_1001.png"
    done = run(
        clip, "--out", tmp_path / "x.solve", "--engine-python", sys.executable, root=fake_root, FAKE_ENGINE="fail"
    )
    assert done.returncode == 1
    assert "error: No camera.\n  why: A tripod shot.\n  fix: Move it." in done.stderr
    assert not list(tmp_path.glob("*.blend"))


def test_damaged_solve(own_solve: Path, tmp_path: Path) -> None:
    (own_solve / "solve.json").write_text("{")
    done = run("--import-only", own_solve, "--blend", tmp_path / "s.blend")
    assert done.returncode == 1
    assert "error:" in done.stderr and "fix:" in done.stderr
    assert not (tmp_path / "s.blend").exists()


def test_options_reach_the_request(fake_root: Path, synthetic: Synthetic, tmp_path: Path) -> None:
    clip = synthetic.folder.parent / "plate_1001.png"
    asked: tuple[object, ...] = (
        "--method",
        "selfsup",
        "--preset",
        "cvd-2020",
        "--prior",
        "maps",
        "--prior-path",
        tmp_path / "maps",
    )
    asked += ("--maps", "disparity", "--allow-non-commercial", "--masks", tmp_path / "masks", "--no-motion")
    asked += ("--camera", "chan", "--camera-path", tmp_path / "a.chan", "--camera-metric")
    asked += ("--focal-mm", "35", "--sensor-mm", "24.9")
    asked += ("--segmentation", "owner/model", "--stereo", "two_files", "--right", tmp_path / "r_1001.png")
    arguments = (clip, "--out", tmp_path / "x.solve", "--engine-python", sys.executable, "--baseline", "0.1", *asked)
    assert run(*arguments, root=fake_root, FAKE_ENGINE="fail").returncode == 1
    request = json.loads((tmp_path / "x.solve" / "request.json").read_text())
    assert (request["method"], request["preset"]) == ("selfsup", "cvd-2020")
    maps = {"kind": "maps", "path": str(tmp_path / "maps"), "maps": "disparity", "allow_non_commercial": True}
    assert request["prior"] == maps
    masks = {"path": str(tmp_path / "masks"), "segmentation": "owner/model", "motion": False}
    assert request["masks"] == masks | {"allow_non_commercial": True}
    lens = {name: request["lens"][name] for name in ("focal_px", "focal_mm", "sensor_mm")}
    assert lens == {"focal_px": None, "focal_mm": 35.0, "sensor_mm": 24.9}
    assert (request["camera"]["kind"], request["camera"]["metric"]) == ("chan", True)
    assert request["camera"]["path"] == str(tmp_path / "a.chan")
    footage = request["footage"]
    assert [footage[name] for name in ("stereo", "right", "baseline")] == [
        "two_files",
        str(tmp_path / "r_1001.png"),
        0.1,
    ]


@pytest.mark.every_blender
def test_a_camera_of_the_blend_and_its_markers_are_handed_over(
    fake_root: Path, synthetic: Synthetic, tmp_path: Path
) -> None:
    """In the way of the farm: a .blend that is open already, here made by a script that runs before."""
    clip = synthetic.folder.parent / "plate_1001.png"
    before = tmp_path / "before.py"
    before.write_text(
        f"import bpy, runpy, sys\n"
        f"camera = bpy.data.objects.new('Shot', bpy.data.cameras.new('Shot'))\n"
        f"bpy.context.scene.collection.objects.link(camera)\n"
        f"clip = bpy.data.movieclips.load({str(clip)!r})\n"
        f"track = clip.tracking.objects[0].tracks.new(name='Corner', frame=1)\n"
        f"track.markers.insert_frame(2, co=(0.5, 0.5))\n"
        f"edge = clip.tracking.objects[0].tracks.new(name='Edge', frame=3)\n"
        f"edge.markers[0].co = (0.25, 0.25)\n"
        f"edge.markers.insert_frame(5, co=(0.25, 0.25))\n"
        f"sys.argv = sys.argv[1:]\n"
        f"runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    script = fake_root / "scripts" / "headless.py"
    asked = ["--scene-camera", "Shot", "--tracking-markers", "--engine-python", sys.executable]
    sized = ["--track-distance", "1.25", "Corner", "Edge", "--engine-python", sys.executable]
    for out, words in (("x.solve", asked), ("y.solve", sized)):
        subprocess.run(
            [sys.executable, str(before), str(script), str(clip), "--out", str(tmp_path / out), *words],
            env={**os.environ, "FAKE_ENGINE": "fail"},
            capture_output=True,
            check=False,
            timeout=300,
        )
    written = [
        json.loads((tmp_path / "x.solve" / f"{name}.json").read_text()) for name in ("request", "camera", "tracks")
    ]
    assert written[0]["camera"]["path"] == str(tmp_path / "x.solve" / "camera.json")
    assert written[0]["tracks"] == str(tmp_path / "x.solve" / "tracks.json")
    assert [frame["frame"] for frame in written[1]["frames"]] == [1001, 1002, 1003, 1005, 1006, 1007, 1008]
    assert [marker[0] for marker in written[2]["tracks"][0]["markers"]] == [1001, 1002]
    request = json.loads((tmp_path / "y.solve" / "request.json").read_text())
    distance = request["world"]["distance"]
    assert (distance["metres"], distance["a"][0], distance["b"]) == (1.25, 1002, [1005, 80.0, 135.0])
    assert request["tracks"] == str(tmp_path / "y.solve" / "tracks.json")


def test_sizes_and_lens_reach_the_request(fake_root: Path, synthetic: Synthetic, tmp_path: Path) -> None:
    clip = synthetic.folder.parent / "plate_1001.png"
    asked: tuple[object, ...] = (
        "--pixel-aspect",
        "1.5",
        "--principal",
        "150",
        "80.5",
        "--camera-height",
        "1.7",
        "--method",
        "deepv2d",
    )
    asked += ("--distance", "2.5", "1002", "10.5", "20", "1005", "300", "170", "--camera", "deepv2d")
    run(
        clip,
        "--out",
        tmp_path / "x.solve",
        "--engine-python",
        sys.executable,
        *asked,
        root=fake_root,
        FAKE_ENGINE="fail",
    )
    request = json.loads((tmp_path / "x.solve" / "request.json").read_text())
    assert (request["lens"]["pixel_aspect"], request["lens"]["principal_px"]) == (1.5, [150.0, 80.5])
    assert (request["camera"]["kind"], request["method"]) == ("deepv2d", "deepv2d")
    distance = {"metres": 2.5, "a": [1002, 10.5, 20.0], "b": [1005, 300.0, 170.0]}
    assert request["world"] == {"camera_height": 1.7, "distance": distance}


def test_the_script_has_an_option_for_every_field_of_a_request() -> None:
    from scripts import headless

    offered = {action.dest: action.choices for action in headless.make_parser()._actions}
    for where, field in solve_request._fields().items():
        if "default" in field.entry:
            assert offered[field.property_name] == field.entry.get("enum"), where


def test_usage() -> None:
    assert run().returncode == 2
    given = ("a.mp4", "--engine-python", "p", "--camera", "chan", "--camera-path", "a.chan")
    assert run(*given, "--camera-height", "2").returncode == 2
    assert run(*given[:3], "--track-distance", "far", "A", "B").returncode == 2


@pytest.mark.every_blender
def test_import_and_deliver(fake_root: Path, synthetic: Synthetic, tmp_path: Path) -> None:
    solve, out = synthetic.folder, tmp_path / "out"
    arguments = ("--import-only", solve, "--engine-python", sys.executable, "--blend", tmp_path / "s.blend")
    outputs = ("--deliver", out, "--deliver-as", "depth,chan", "--deliver-camera", "abc")
    done = run(*arguments, *outputs, root=fake_root, FAKE_ENGINE="succeed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / "camera.abc").is_file()
    asked = json.loads((out / ".deliver" / "asked.json").read_text())
    assert asked[:6] == ["deliver", str(solve), "--out", str(out), "--as", "depth,chan"]


def test_matte_of_an_object_that_is_not_there(own_solve: Path, tmp_path: Path) -> None:
    shot = ("--import-only", own_solve, "--blend", tmp_path / "s.blend")
    done = run(*shot, "--render", "1002", "--render-dir", tmp_path / "frames", "--matte", "Ball")
    assert done.returncode == 1
    assert "error: There is no Ball in the scene." in done.stderr
    assert run(*shot, "--matte", "Ball").returncode == 2, "of which frames?"
