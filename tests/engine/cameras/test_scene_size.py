"""How large a scene is, by a known distance or the camera's height, on a scene with exact truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from engine.cameras.document import named_lens
from engine.cameras.size import known_scale, place
from engine.clip.track import CameraTrack, SparsePoints
from engine.errors import CameraError
from engine.geometry.arrays import distort
from engine.progress import Silent
from engine.request import KnownDistance, WorldRequest
from tests.engine.poses import walk_scene as scene

SCALE = 0.5  # metres in a unit of the track
PLAIN = {"k2": 0.0, "p1": 0.0, "p2": 0.0}
LENS = named_lens(960, 540, fx=800.0, fy=800.0, cx=470.0, cy=280.0, k1=-0.1, **PLAIN)


def pixels(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    x, y = distort(LENS, *(local[:, :2] / local[:, 2:]).T)
    return np.stack([x * LENS.fx + LENS.cx, y * LENS.fy + LENS.cy], 1)


@pytest.fixture(scope="module")
def track() -> CameraTrack:
    """A floor at z = 0 and a wall at y = 5, in metres divided by SCALE."""
    rng = np.random.default_rng(0)
    xyz = np.concatenate([rng.uniform([-3, 1, 0], [3, 5, 0], (400, 3)), rng.uniform([-3, 5, 0], [3, 5, 3], (400, 3))])
    poses = {n: scene.look([0.2 * n, -1, 1.6], [0.1 * n, 4, 0.8]) for n in range(1, 6)}
    seen = [(n, k, *uv) for n, pose in poses.items() for k, uv in enumerate(pixels(xyz, pose).tolist())]
    table = np.array([row for row in seen if 0 < row[2] < 960 and 0 < row[3] < 540])
    for pose in poses.values():
        pose[:3, 3] /= SCALE
    points = SparsePoints(
        xyz / SCALE, np.zeros((800, 3), np.uint8), np.zeros(800), table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64), table[:, 2:],
    )  # fmt: skip
    return CameraTrack(LENS, True, 0.0, poses, {}, {}, True, points)


def seen_at(track: CameraTrack, frame: int, point: list[float]) -> tuple[int, float, float]:
    pose = track.world_from_camera[frame].copy()
    pose[:3, 3] *= SCALE
    x, y = pixels(np.array([point]), pose)[0]
    return frame, float(x), float(y)


@pytest.mark.parametrize("point", [[0.4, 2.6, 0.0], [-0.9, 5.0, 1.1], [1.2, 5.0, 0.6]])
def test_a_picked_place_is_where_its_surface_is(track: CameraTrack, point: list[float]) -> None:
    for frame in (1, 4):
        found = SCALE * place(track, *seen_at(track, frame, point))
        assert found == pytest.approx(point, abs=0.02)


def test_a_known_distance_makes_the_scene_metric(track: CameraTrack) -> None:
    a, b = [-0.8, 3.0, 0.0], [0.9, 5.0, 1.3]
    known = float(np.linalg.norm(np.subtract(a, b)))
    world = WorldRequest(distance=KnownDistance(known, seen_at(track, 2, a), seen_at(track, 5, b)))
    assert known_scale(track, world, None, Silent()) == pytest.approx(SCALE, rel=0.01)
    assert known_scale(track, WorldRequest(), 0.0, Silent()) is None


def test_the_cameras_height_makes_the_scene_metric(track: CameraTrack) -> None:
    world = WorldRequest(camera_height=1.6)
    assert known_scale(track, world, 0.0, Silent()) == pytest.approx(SCALE)
    assert known_scale(track, world, -0.4, Silent()) == pytest.approx(1.6 / (3.2 + 0.4))
    for ground in (None, 9.0):
        with pytest.raises(CameraError) as error:
            known_scale(track, world, ground, Silent())
        assert error.value.code == "camera.no_ground"


def test_a_known_size_does_not_count_where_the_camera_only_turns(track: CameraTrack) -> None:
    class Listening(Silent):
        said = ""

        def warning(self, message: str, frames: Sequence[int] = ()) -> None:
            self.said += message

    turning, listening = replace(track, motion="turns"), Listening()
    assert known_scale(turning, WorldRequest(), None, listening) is None
    assert listening.said == ""
    assert known_scale(turning, WorldRequest(camera_height=1.6), None, listening) is None
    assert "does not travel" in listening.said


def test_a_point_that_was_picked_itself_counts_alone(track: CameraTrack) -> None:
    """Such as a marker on something thin, around which everything is farther away."""
    thin = [0.3, 2.0, 1.4]
    points, added = track.points, len(track.points.xyz)
    frame, x, y = seen_at(track, 2, thin)
    more = SparsePoints(
        np.vstack([points.xyz, np.array([thin]) / SCALE]), np.zeros((added + 1, 3), np.uint8), np.zeros(added + 1),
        np.append(points.observation_frame, frame), np.append(points.observation_point, added),
        np.vstack([points.observation_pixel, [x + 0.2, y]]),
    )  # fmt: skip
    found = place(replace(track, points=more), frame, x, y) * SCALE
    assert found == pytest.approx(thin, abs=0.002)
    assert np.linalg.norm(place(track, frame, x, y) * SCALE - thin) > 0.3


def test_places_without_points_or_camera_are_refused(track: CameraTrack) -> None:
    for frame, x, y in ((9, 480.0, 300.0), (1, 480.0, -400.0)):
        with pytest.raises(CameraError) as error:
            place(track, frame, x, y)
        assert error.value.code == "camera.place"
