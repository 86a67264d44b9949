"""Clips that several tests solve; each is rendered and solved once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import scene

from engine.footage import prepare, probe
from engine.poses import LensRequest, solve
from engine.progress import Progress, Silent
from engine.track import CameraTrack

COUNT = 8
FIRST = 101

Frames = dict[int, np.ndarray]


def solved(
    folder: Path, frames: Frames, lens: LensRequest | None = None, progress: Progress | None = None
) -> CameraTrack:
    """Write, prepare and solve a clip below `folder`."""
    footage = probe(scene.write(folder / "in", frames))
    prepare(footage, folder, Silent())
    return solve(footage, folder / "proxy", folder / "poses", lens or LensRequest(), 0, progress or Silent())


@pytest.fixture(scope="session")
def walk_poses() -> Frames:
    """True world_from_camera by frame number."""
    return dict(enumerate(scene.travelling(COUNT), FIRST))


@pytest.fixture(scope="session")
def walk(walk_poses: Frames) -> Frames:
    """Pictures by frame number."""
    room = scene.room()
    return {n: scene.render(room, pose) for n, pose in walk_poses.items()}


@pytest.fixture(scope="session")
def walk_track(walk: Frames, tmp_path_factory: pytest.TempPathFactory) -> CameraTrack:
    return solved(tmp_path_factory.mktemp("walk"), walk)
