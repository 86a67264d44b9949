"""A logo holds features as well as anything else, and between neighbouring frames they move as little."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from engine.clip.track import CameraTrack
from engine.poses.overlay import drop_overlay
from engine.progress import Silent
from tests.engine.poses import walk_scene as scene

LOGO = np.s_[16:76, 20:110]


class Warned(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str, frames: Sequence[int] = ()) -> None:
        self.warnings.append(message)


@pytest.fixture(scope="module")
def with_logo(tmp_path_factory: pytest.TempPathFactory) -> tuple[CameraTrack, list[str], Path]:
    """Twelve frames of a walk with a logo that holds many features."""
    logo = scene.plane([0, 0, 0], [1, 0, 0], [0, 0, 1], 9).picture
    frames = {101 + k: scene.render(scene.room(), pose) for k, pose in enumerate(scene.travelling(12))}
    for frame in frames.values():
        frame[LOGO] = logo[:60, :90]
    folder, told = tmp_path_factory.mktemp("logo"), Warned()
    return scene.solved(folder, frames, progress=told), told.warnings, folder


def test_no_point_lies_on_what_stands_still_and_it_is_told(with_logo: tuple[CameraTrack, list[str], Path]) -> None:
    track, warnings, _ = with_logo
    points = track.points
    seen = [points.observation_pixel[points.observation_point == point] for point in range(len(points.xyz))]
    still = [pixels for pixels in seen if np.ptp(pixels, axis=0).max() < 1.0]
    rows, columns = LOGO
    assert len(track.frames()) == 12
    assert not [p for p in still if columns.start <= p[0, 0] < columns.stop and rows.start <= p[0, 1] < rows.stop]
    assert any("has a static overlay" in warning for warning in warnings)


def test_done_twice_it_is_done_once(with_logo: tuple[CameraTrack, list[str], Path]) -> None:
    database = with_logo[2] / "poses" / "database.db"
    with pycolmap.Database.open(database) as data:
        before = data.num_inlier_matches()
    again = drop_overlay(database, 960, "sequential")
    with pycolmap.Database.open(database) as data:
        assert data.num_inlier_matches() == before
    assert again > 0.01


def test_a_camera_that_does_not_move_has_no_overlay(tmp_path: Path) -> None:
    frame = scene.render(scene.room(), scene.travelling(2)[0])
    walker = scene.plane([0, 0, 0], [1, 0, 0], [0, 0, 1], 7).picture[:110, :110]
    frames = {}
    for k in range(10):
        frames[101 + k] = frame.copy()
        frames[101 + k][150:260, 30 + 30 * k : 140 + 30 * k] = walker
    told = Warned()
    scene.solved(tmp_path, frames, progress=told)
    assert not any("has a static overlay" in warning for warning in told.warnings)
