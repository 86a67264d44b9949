"""The add-on in Blender's window, by mouse: what the user sees, and what becomes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import Blender

sys.path.insert(0, str(Path(__file__).parents[1] / "addon"))
from synthetic import Synthetic


@pytest.fixture(scope="session")
def synthetic(blender: Blender) -> Synthetic:
    """A solve with exact truth, where Blender can read it."""
    folder = blender.out / "clip"
    folder.mkdir(exist_ok=True)
    return Synthetic().write(folder)


def test_preferences_are_drawn(blender: Blender) -> None:
    blender.play("preferences")


def test_panels_in_every_state(blender: Blender, synthetic: Synthetic) -> None:
    plain = "/usr/bin/python3" if blender.suite else sys.executable
    found = blender.play(
        "panels",
        CLIP=str(next(synthetic.folder.parent.glob("*.png"))),
        PLAIN_PYTHON=plain,
        FAKE_SOLVE=str(synthetic.folder),
    )
    assert set(found) == {"view_3d", "clip_editor"}
    for editor, seen in found.items():
        assert not seen["no clip"], "a grey button does nothing"
        assert seen["running"] == "working"
        assert seen["cancelled"] == "cancelled"
        assert "A tripod shot." in seen["failed"]
        assert seen["camera"] == f"CVD Camera {editor}"
