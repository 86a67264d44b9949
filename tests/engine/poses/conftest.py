"""Clips that several tests solve; each is rendered and solved once."""

from __future__ import annotations

import pytest

from engine.clip.track import CameraTrack
from tests.engine.poses import walk_scene
from tests.engine.poses.walk_scene import COUNT, FIRST, Frames, solved
from tests.once import made_once


@pytest.fixture(scope="session")
def walk_poses() -> Frames:
    """True world_from_camera by frame number."""
    return dict(enumerate(walk_scene.travelling(COUNT), FIRST))


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Pictures by frame number."""
    return walk_scene.walk_pictures(tmp_path_factory)


@pytest.fixture(scope="session")
def walk_track(walk: Frames, tmp_path_factory: pytest.TempPathFactory) -> CameraTrack:
    """What the engine makes of them, in a process of its own."""
    folder = made_once(tmp_path_factory, "walk_track", lambda folder: solved(folder, walk, own_process=True))
    return CameraTrack.load(folder / "poses")
