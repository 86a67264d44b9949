"""The add-on in Blender's window, by mouse: what the user sees, and what becomes of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import debian
import numpy as np
import pytest
from conftest import Blender, install, shared_footage
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "addon"))
from synthetic import Synthetic
from test_installer import UV


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
    wanted = {"FAKE_ENGINE": "succeed", "FAKE_SOLVE": str(synthetic.folder)}
    done = blender.run("--background", "--python-exit-code", "1", "--python-expr", script, **wanted)
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


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)


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
