"""Given cameras that zoom, or stand in one place: on clips with exact truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.cameras.document import GivenCamera, named_lens
from engine.cameras.knowledge import LensKnowledge
from engine.clip.track import CameraTrack
from engine.errors import CvdError
from engine.footage import prepare, probe
from engine.poses.place import place_points
from engine.progress import Silent
from engine.request import CameraRequest
from tests.engine.poses import walk_scene as scene
from tests.engine.poses.quick_solver import quick_solver

LENS = named_lens(
    scene.WIDTH, scene.HEIGHT, fx=scene.FOCAL, fy=scene.FOCAL, cx=scene.WIDTH / 2, cy=scene.HEIGHT / 2,
    k1=0.0, k2=0.0, p1=0.0, p2=0.0,
)  # fmt: skip
COUNT = 6
NUMBERS = range(11, 11 + COUNT)
ZOOM = dict(zip(NUMBERS, np.geomspace(1.0, 1.4, COUNT).tolist(), strict=True))


class Listening(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str, frames: Sequence[int] = ()) -> None:
        self.warnings.append(message)


def shot(folder: Path, poses: list[np.ndarray], zooms: bool) -> Path:
    """The folder of a clip."""
    room = scene.room()
    frames = {n: scene.render(room, pose, zoom=ZOOM[n] if zooms else 1.0) for n, pose in enumerate(poses, NUMBERS[0])}
    prepare(probe(scene.write(folder / "in", frames)), folder, Silent())
    return folder


def placed(
    clip: Path, camera: GivenCamera, work: Path, progress: Silent | None = None, metric: bool = False
) -> CameraTrack:
    work.mkdir(exist_ok=True)
    camera.save(work / "camera.json")
    request = CameraRequest("json", work / "camera.json", metric=metric)
    footage = probe(clip / "in")
    with quick_solver():
        return place_points(
            footage, clip / "proxy", None, work / "poses", request, LensKnowledge(), None, 0, progress or Silent()
        )


@pytest.fixture(scope="module")
def zooming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shot(tmp_path_factory.mktemp("zoom"), scene.travelling(COUNT), zooms=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `pan` is placed by all tests: features are found and matched once."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def pan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shot(tmp_path_factory.mktemp("pan"), scene.turning(COUNT), zooms=False)


def test_points_are_placed_with_a_camera_that_zooms(zooming: Path, tmp_path: Path) -> None:
    poses = dict(zip(NUMBERS, scene.travelling(COUNT), strict=True))
    focals = {n: scene.FOCAL * zoom for n, zoom in ZOOM.items()}
    listening = Listening()
    track = placed(zooming, GivenCamera(LENS, poses, True, focals), tmp_path, listening)
    assert track.motion == "travels"
    assert track.scale == "metric"
    assert not track.measurable  # points are; pictures of different focal lengths are not swept for depth yet
    assert track.focals == pytest.approx(focals)
    for number, pose in poses.items():
        assert track.world_from_camera[number] == pytest.approx(pose, abs=1e-9)
    assert len(track.points.xyz) > 100
    x, y, z = track.points.xyz.T
    assert np.median(np.min(np.abs([y - 5, z, x + 3]), axis=0)) < 0.02  # back wall, floor, side wall
    assert max(track.reprojection_px.values()) < 0.5
    assert "zooms, from 430 to 602 px" in listening.warnings[0]
    # With one focal length for all frames the same camera does not fit.
    with pytest.raises(CvdError) as error:
        placed(zooming, GivenCamera(LENS, poses, True), tmp_path)  # features are there already
    assert error.value.code == "camera.misfit"


def test_a_camera_in_one_place_only_turns(pan: Path, work: Path) -> None:
    poses = dict(zip(NUMBERS, scene.turning(COUNT), strict=True))
    listening = Listening()
    track = placed(pan, GivenCamera(LENS, poses, True), work, listening)
    assert track.motion == "turns"
    assert track.scale == "own"  # in metres, but nothing relates the depth to them
    assert len(track.points.xyz) == 0
    assert not track.measurable
    for number, pose in poses.items():
        assert track.world_from_camera[number] == pytest.approx(pose, abs=1e-9)
    assert max(track.reprojection_px.values()) < 0.5
    assert "only turns" in listening.warnings[0]


def test_a_camera_that_trembles_in_its_place_only_turns_as_well(pan: Path, work: Path) -> None:
    rng = np.random.default_rng(0)
    poses = dict(zip(NUMBERS, scene.turning(COUNT), strict=True))
    for pose in poses.values():
        pose[:3, 3] += rng.normal(0, 0.001, 3)
    assert placed(pan, GivenCamera(LENS, poses, False), work).motion == "turns"


def test_a_turning_camera_that_does_not_fit_is_refused(pan: Path, work: Path) -> None:
    poses = dict(zip(NUMBERS, reversed(scene.turning(COUNT)), strict=True))
    with pytest.raises(CvdError) as error:
        placed(pan, GivenCamera(LENS, poses, False), work)
    assert error.value.code == "camera.misfit"


def test_a_camera_that_does_not_move_is_static(tmp_path: Path) -> None:
    poses = dict.fromkeys(NUMBERS[:3], scene.turning(3)[1])
    clip = shot(tmp_path, list(poses.values()), zooms=False)
    track = placed(clip, GivenCamera(LENS, poses, False), tmp_path / "work")
    assert (track.motion, len(track.points.xyz)) == ("static", 0)


def test_a_zoom_on_a_tripod_has_its_focal_lengths(tmp_path: Path) -> None:
    poses = scene.turning(COUNT)
    clip = shot(tmp_path, poses, zooms=True)
    focals = {n: scene.FOCAL * zoom for n, zoom in ZOOM.items()}
    given = GivenCamera(LENS, dict(zip(NUMBERS, poses, strict=True)), False, focals)
    track = placed(clip, given, tmp_path / "work")
    assert track.motion == "turns"
    assert track.focals == pytest.approx(focals)
    assert max(track.reprojection_px.values()) < 0.5


def test_a_camera_that_is_late_by_a_frame_is_refused_with_the_figures(tmp_path: Path) -> None:
    """Slow enough to pass as it stands; uneven, since an even walk fits as well at another time."""
    start, end = scene.travelling(2)
    speed = np.cumsum([0.0, 0.1, 0.25, 0.1, 0.3, 0.1, 0.2])
    poses = []
    for share in (0.5 * speed).tolist():
        pose = start.copy()
        pose[:3, 3] += share * (end[:3, 3] - start[:3, 3])
        poses.append(pose)
    clip = shot(tmp_path, poses[:COUNT], zooms=False)
    true = dict(enumerate(poses, NUMBERS[0]))
    late = {number - 1: pose for number, pose in true.items()}
    with pytest.raises(CvdError) as error:
        placed(clip, GivenCamera(LENS, late, False), tmp_path / "work")
    assert error.value.code == "camera.shifted"
    assert "1 frame" in error.value.what and "plus 1." in error.value.fix
    assert f"its frame {NUMBERS[0] - 1} is taken for the plate's frame {NUMBERS[0]}" in error.value.why
    heard = Listening()
    track = placed(clip, GivenCamera(LENS, true, False), tmp_path / "work", heard)
    assert track.frames() == list(NUMBERS) and not [said for said in heard.warnings if "off" in said]
