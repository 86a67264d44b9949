"""The add-on in Blender's window, by mouse: what the user sees, and what becomes of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from conftest import Blender

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
