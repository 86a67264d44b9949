"""A clip with exact cameras: that of the tests of the poses stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.footage import Footage, prepare, probe
from engine.progress import Silent
from tests.engine.poses import walk_scene


@pytest.fixture(scope="session")
def walk_poses() -> walk_scene.Frames:
    """True world_from_camera by frame number."""
    return dict(enumerate(walk_scene.travelling(walk_scene.COUNT), walk_scene.FIRST))


@pytest.fixture(scope="session")
def walk_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plate in `in` and what the footage stage makes of it in `proxy`."""
    folder = tmp_path_factory.mktemp("walk")
    footage = probe(walk_scene.write(folder / "in", walk_scene.walk_pictures(tmp_path_factory)))
    prepare(footage, folder, Silent())
    return folder


@pytest.fixture(scope="session")
def walk_footage(walk_folder: Path) -> Footage:
    return probe(walk_folder / "in")
