"""The add-on in Blender's window, by mouse: what the user sees, and what becomes of it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import build
from tests.addon.fused_scene import TABLE_TOP, add_fused
from tests.addon.synthetic import Synthetic
from tests.addon.test_installer import UV
from tests.ui import debian
from tests.ui.conftest import Blender, install, shared_footage


@pytest.fixture(scope="session")
def synthetic(blender: Blender) -> Synthetic:
    """A solve with exact truth, where Blender can read it."""
    folder = blender.out / "clip"
    folder.mkdir(exist_ok=True)
    return Synthetic().write(folder)


def test_the_engine_is_installed_from_the_preferences(blender: Blender) -> None:
    uv = blender.out / "tools" / "uv"
    uv.parent.mkdir(exist_ok=True)
    uv.write_text(UV.replace(sys.executable, blender.python))
    uv.chmod(0o755)
    said = blender.out / "said"
    found = blender.play("install", PATH=f"{uv.parent}:{os.environ['PATH']}", UV_SAID=str(said))
    assert found["offline"] is False, "a grey button does nothing"
    assert found["cancelled"] == "cancelled"
    assert "could not be reached" in found["failed"]
    assert found["done"] == "done" and found["python"].endswith("engine/environment/bin/python")


def test_panels_in_every_state(blender: Blender, synthetic: Synthetic) -> None:
    found = blender.play(
        "panels",
        CLIP=str(next(synthetic.folder.parent.glob("*.png"))),
        PLAIN_PYTHON=blender.python,
        FAKE_SOLVE=str(synthetic.folder),
    )
    assert set(found) == {"view_3d", "clip_editor"}
    for editor, seen in found.items():
        assert not seen["no clip"], "a grey button does nothing"
        assert seen["running"] == "working"
        assert seen["cancelled"] == "cancelled"
        assert "A tripod shot." in seen["failed"]
        assert seen["camera"] == f"CVD Camera {editor}"


def test_every_section_in_both_editors(blender: Blender, on_a_table: Path) -> None:
    clip = next(on_a_table.parent.glob("*.png"))
    assert blender.play("sections", height=2000, SOLVE=str(on_a_table), CLIP=str(clip)) == {
        "view_3d": True,
        "clip_editor": False,
    }


def test_every_setting(blender: Blender, on_a_table: Path) -> None:
    assert blender.play("settings", height=2000, CLIP=str(next(on_a_table.parent.glob("*.png")))) == {}


HEADLESS = """
import pathlib, sys, bpy
sys.modules["bl_ext.user_default.consistent_video_depth.preferences"].engine_root = lambda: pathlib.Path({root!r})
cvd = bpy.context.scene.cvd
cvd.clip_path, cvd.solve_folder = {clip!r}, {folder!r}
print(bpy.ops.cvd.solve_depth(engine_python={python!r}))
"""


def test_without_a_window_the_operator_waits_for_the_engine(blender: Blender, synthetic: Synthetic) -> None:
    fake = Path(__file__).parents[1] / "addon" / "fake_engine"
    clip, folder = next(synthetic.folder.parent.glob("*.png")), blender.out / "headless.solve"
    script = HEADLESS.format(root=str(fake), clip=str(clip), folder=str(folder), python=blender.python)
    words = ("--background", "--python-exit-code", "1", "--python-expr", script)
    done = blender.run(*words, FAKE_ENGINE="succeed", FAKE_SOLVE=str(synthetic.folder))
    assert done.returncode == 0 and "{'FINISHED'}" in done.stdout, done.stdout + done.stderr


def test_a_blender_that_is_too_old_says_so() -> None:
    try:
        debian.ensure("trixie")
    except debian.NoDebianError as error:
        pytest.skip(str(error))
    old = Blender("debian-trixie", "blender", "trixie")  # 4.3
    old.out.mkdir(parents=True, exist_ok=True)
    done = install(old)
    print(done.stdout, done.stderr)
    assert "4.5.0" in done.stdout + done.stderr and "Installed" not in done.stdout


@pytest.mark.slow
def test_a_real_clip_becomes_a_composite(blender: Blender, engine_python: Path) -> None:
    footage = shared_footage()
    if footage is None:
        pytest.skip("no real footage beside the repository")
    frames = sorted((footage / "data/kitchen_short/frames").iterdir())
    found = blender.play("whole_flow", CLIP=str(frames[0]), ENGINE_PYTHON=str(engine_python))
    assert found["preset"] == "preview"
    assert found["state"] == "done", found["error"]
    (plate,) = [path for path in frames if int("".join(c for c in path.stem if c.isdigit())) == found["frame"]]
    composite = pixels(blender.out / "whole_flow" / "composite.png")
    difference = np.abs(composite - pixels(plate)).max(axis=2)
    assert np.median(difference) <= 4.0, "what is real stays as it was filmed"
    assert 0.003 < (difference > 40.0).mean() < 0.3, "the object is there"


def test_a_plate_that_goes_away_is_missed(blender: Blender) -> None:
    folder = blender.out / "lost"
    folder.mkdir(exist_ok=True)
    found = blender.play("lost_plate", SOLVE=str(Synthetic().write(folder).folder))
    assert found["there"] == "" and "cannot be found" in found["away"]


def test_what_is_dropped_is_taken(blender: Blender, on_a_table: Path) -> None:
    if blender.suite is None and subprocess.call(["python3", "-c", "import Xlib"]) != 0:
        pytest.skip("python3 has no Xlib (Debian: python3-xlib), which drags")
    clip = next(on_a_table.parent.glob("*.png"))
    found = blender.play("dropped", SOLVE=str(on_a_table), CLIP=str(clip))
    assert found == {"clip": str(clip), "solve": str(on_a_table), "camera": "CVD Camera shot"}


@pytest.mark.slow
def test_the_first_minute(blender: Blender) -> None:
    solve = build.BUILD / "demo" / "room.solve"
    if not (solve / "fused.ply").is_file():
        pytest.skip("the bundled clip is not solved: `python3 build.py demo` does that")
    found = blender.play("first_minute", SOLVE=str(solve), PLACE="[0.7, 0.84]")
    heights = np.array(found["heights"])  # in radii
    assert 1.5 < heights[0] - heights[-1] < 2.5, "it has fallen by the two radii that it was above the rug"
    assert np.ptp(heights[-6:]) < 0.05, "it rests"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)


@pytest.fixture(scope="session")
def on_a_table(blender: Blender) -> Path:
    """A solve with exact truth and a fused mesh, in which a table stands."""
    folder = blender.out / "table"
    folder.mkdir(exist_ok=True)
    return add_fused(Synthetic().write(folder).folder)


def test_a_ball_is_dropped_by_a_click(blender: Blender, on_a_table: Path) -> None:
    found = blender.play("drop", SOLVE=str(on_a_table), ON_TABLE="[0.7, 1.7, 0.9]")
    x, y, z, radius = found.pop("ball")
    # A pixel is a hundredth of a unit there, and ten times that along a surface which is seen so flat.
    assert abs(x - 0.7) < 0.03 and abs(y - 1.7) < 0.2
    assert abs(z - (TABLE_TOP + 3.0 * radius)) < 0.01, "two radii above the table"
    x, y, z, radius = found.pop("quad")
    assert abs(x - 0.7) < 0.1 and abs(y - 1.7) < 0.1 and radius < 2.0
    assert abs(z - (TABLE_TOP + 3.0 * radius)) < 0.01
    assert found == {
        "waits": ["CVD_OT_drop_ball"],
        "after esc": [[], None],
        "after click": [],
        "after undo": None,
        "only": [["CVD_OT_pick_point"], None],
        "after right": [[], None],
        "views": 4,
    }


FLOOR = [[0.5, -0.5, 0.0], [1.8, -0.5, 0.0], [1.2, 0.5, 0.0]]


def test_a_crooked_scene_is_put_straight_by_clicks(blender: Blender, on_a_table: Path) -> None:
    found = blender.play("orientation", SOLVE=str(on_a_table), POINTS=json.dumps(FLOOR))
    picks = np.array(found["picks"])
    assert np.abs(picks - FLOOR).max() < 0.05, "what was clicked at, in the solve's own space"

    def places(name: str) -> np.ndarray:
        matrix = np.array(found[name])
        placed: np.ndarray = picks @ matrix[:3, :3].T + matrix[:3, 3]
        return placed

    assert np.ptp(places("crooked")[:, 2]) > 0.1
    assert np.abs(places("set_ground")[:, 2]).max() < 1e-4
    assert np.abs(places("set_origin")[0]).max() < 1e-4
    along = places("set_axis")[1]
    assert along[0] > 1.0 and np.abs(along[1:]).max() < 1e-4
    assert np.abs(places("set_size")[1] - (1.0, 0.0, 0.0)).max() < 1e-4
    steps = ["crooked", "set_ground", "set_origin", "set_axis", "set_size"]
    for before, name in itertools.pairwise(steps):
        assert np.abs(np.array(found[f"before {name}"]) - np.array(found[before])).max() < 1e-6, f"undo of {name}"
    assert found["one pick less"] == [True, True, False]


def test_shots_are_queued_and_seen_while_they_are_solved(blender: Blender, synthetic: Synthetic) -> None:
    found = blender.play(
        "queue",
        CLIP=str(next(synthetic.folder.parent.glob("*.png"))),
        PLAIN_PYTHON=blender.python,
        FAKE_SOLVE=str(synthetic.folder),
    )
    assert found == {
        "waiting": ["waiting", "waiting"],
        "running": ["running", "waiting"],
        "stopped": ["waiting", "waiting"],
        "left": [],
    }


def leave(blender: Blender, synthetic: Synthetic) -> dict[str, Any]:
    """Quit a Blender whose solve goes on; returns what the stories after it are to know."""
    left = blender.out / "leave_it"
    left.mkdir(exist_ok=True)
    for old in left.glob("*.solve"):
        shutil.rmtree(old)
    known: dict[str, Any] = {
        "CLIP": str(next(synthetic.folder.parent.glob("*.png"))),
        "PLAIN_PYTHON": blender.python,
        "FAKE_SOLVE": str(synthetic.folder),
        "LEFT": str(left),
    }
    folder = blender.play("leave_it", **known)["folder"]
    assert is_alive(engine_in(folder)), "it goes on without Blender"
    return known | {"FOLDER": folder}


def engine_in(folder: str) -> int:
    """The process at work in a solve folder."""
    number: int = json.loads((Path(folder) / "status.json").read_text(encoding="utf-8"))["pid"]
    return number


def is_alive(process: int) -> bool:
    """It runs; one that has ended and that nobody has asked after does not."""
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


def test_a_solve_that_was_left_is_found_and_attached_to(blender: Blender, synthetic: Synthetic) -> None:
    known = leave(blender, synthetic)
    engine = engine_in(known["FOLDER"])
    found = blender.play("attach", **known)
    assert found.pop("found") == known["FOLDER"], "the file that it was started from follows it by itself"
    assert "Another engine is at work" in found.pop("error")
    assert found == {"copy": [False, ""], "attached": ["//plate.solve", "working · 40 s left", ""], "state": "done"}
    assert not is_alive(engine)


def test_a_solve_that_was_left_is_cancelled(blender: Blender, synthetic: Synthetic) -> None:
    known = leave(blender, synthetic)
    engine = engine_in(known["FOLDER"])
    found = blender.play("cancel_it", **known)
    assert found["ready"] == [True, "", ""]
    assert not is_alive(engine)
