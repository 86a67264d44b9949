"""Clips that several tests solve; each is rendered and solved once."""

from __future__ import annotations

import pytest
import walk_scene
from walk_scene import COUNT, FIRST, Frames, solved

from engine.clip.track import CameraTrack


@pytest.fixture(scope="session")
def walk_poses() -> Frames:
    """True world_from_camera by frame number."""
    return dict(enumerate(walk_scene.travelling(COUNT), FIRST))


@pytest.fixture(scope="session")
def walk(walk_poses: Frames) -> Frames:
    """Pictures by frame number."""
    room = walk_scene.room()
    return {n: walk_scene.render(room, pose) for n, pose in walk_poses.items()}


@pytest.fixture(scope="session")
def walk_track(walk: Frames, tmp_path_factory: pytest.TempPathFactory) -> CameraTrack:
    return solved(tmp_path_factory.mktemp("walk"), walk)
