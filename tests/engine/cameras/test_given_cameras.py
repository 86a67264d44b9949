"""Points in the world of given cameras, and points that the artist followed, on a clip with exact truth."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest

from engine.cameras.document import FollowedPoints, GivenCamera, named_lens
from engine.cameras.knowledge import LensKnowledge
from engine.cameras.tracks import join_tracks
from engine.clip.track import CameraTrack
from engine.errors import CvdError
from engine.footage import Footage
from engine.poses.features import extract_features, match, pictures, verified_matches
from engine.poses.job import Job
from engine.poses.place import place_points
from engine.progress import Silent
from engine.request import CameraRequest
from tests.engine.poses import walk_scene as scene
from tests.engine.poses.quick_solver import quick_solver

LENS = named_lens(
    scene.WIDTH, scene.HEIGHT, fx=scene.FOCAL, fy=scene.FOCAL, cx=scene.WIDTH / 2, cy=scene.HEIGHT / 2,
    k1=0.0, k2=0.0, p1=0.0, p2=0.0,
)  # fmt: skip


def far_away(poses: scene.Frames) -> scene.Frames:
    """The same cameras in another world: turned, moved, in centimetres."""
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    moved = {}
    for number, pose in poses.items():
        scaled = pose.copy()
        scaled[:3, 3] = 100.0 * pose[:3, 3] + [1000.0, -500.0, 30.0]
        moved[number] = turn @ scaled
    return moved


def placed(
    walk_folder: Path, footage: Footage, poses: scene.Frames, work: Path, own_process: bool = False
) -> CameraTrack:
    work.mkdir(exist_ok=True)
    GivenCamera(LENS, poses, False).save(work / "camera.json")
    request = CameraRequest("json", work / "camera.json")
    with nullcontext() if own_process else quick_solver():
        return place_points(
            footage, walk_folder / "proxy", None, work / "poses", request, LensKnowledge(), None, 0, Silent()
        )


@pytest.fixture(scope="session")
def given_track(
    walk_folder: Path, walk_footage: Footage, walk_poses: scene.Frames, tmp_path_factory: pytest.TempPathFactory
) -> CameraTrack:
    poses = far_away(walk_poses)
    del poses[scene.FIRST + 3]
    return placed(walk_folder, walk_footage, poses, tmp_path_factory.mktemp("given"), own_process=True)


def test_cameras_stay_as_they_were_given(given_track: CameraTrack, walk_poses: scene.Frames) -> None:
    given = far_away(walk_poses)
    assert given_track.lens == LENS
    assert given_track.lens_known
    assert given_track.scale == "own"
    assert given_track.lens_origin == "given with the camera"
    assert given_track.frames() == [n for n in given if n != scene.FIRST + 3]
    assert list(given_track.reasons) == [scene.FIRST + 3]
    for number, pose in given_track.world_from_camera.items():
        assert pose == pytest.approx(given[number], abs=1e-9)


def test_points_lie_on_the_surfaces_of_the_given_world(given_track: CameraTrack) -> None:
    points = given_track.points
    assert len(points.xyz) > 100
    turned = np.column_stack([points.xyz[:, 1], -points.xyz[:, 0], points.xyz[:, 2]])
    world = (turned - [1000.0, -500.0, 30.0]) / 100.0
    walls = [(world[:, 1] - 5), world[:, 2], world[:, 0] + 3]  # back wall, floor, side wall
    off = np.min(np.abs(walls), axis=0)
    assert np.median(off) < 0.02
    assert max(given_track.reprojection_px.values()) < 0.5
    assert points.rgb.std() > 10


def test_a_camera_of_another_shot_is_refused_with_the_figure(
    walk_folder: Path, walk_footage: Footage, walk_poses: scene.Frames, tmp_path: Path
) -> None:
    # Not merely shifted: this walk is even, and the same walk two frames later is a camera as good as the true one.
    backwards = dict(zip(walk_poses, reversed(walk_poses.values()), strict=True))
    with pytest.raises(CvdError) as error:
        placed(walk_folder, walk_footage, backwards, tmp_path)
    assert error.value.code == "camera.misfit"
    assert "px in the median" in error.value.why
    with pytest.raises(CvdError) as error:
        placed(walk_folder, walk_footage, {1: np.eye(4), 2: np.eye(4)}, tmp_path)
    assert error.value.code == "camera.frames"


def test_followed_points_join_what_was_matched(
    walk_folder: Path, walk_footage: Footage, walk_poses: scene.Frames, tmp_path: Path
) -> None:
    """Exact points are verified and kept, one that moves by itself is not, and twice is the same as once."""
    rng = np.random.default_rng(0)
    corners = rng.uniform([-1.5, 4.99, 0.6], [1.5, 4.99, 1.8], (12, 3))  # on the back wall
    tracks: list[dict[str, Any]] = [{"name": f"T{k}", "markers": []} for k in range(13)]
    for number, pose in walk_poses.items():
        local = (corners - pose[:3, 3]) @ pose[:3, :3]
        pixel = local[:, :2] / local[:, 2:] * scene.FOCAL + [scene.WIDTH / 2, scene.HEIGHT / 2]
        for k, (x, y) in enumerate(pixel.tolist()):
            tracks[k]["markers"].append([number, 2 * x, 2 * y])  # followed on a plate twice as large
        tracks[12]["markers"].append([number, 300.0 + 90.0 * (number % 3), 200.0 + 110.0 * (number % 2)])
    document = {"schema": "cvd.tracks/1", "width": 2 * scene.WIDTH, "height": 2 * scene.HEIGHT, "tracks": tracks}
    (tmp_path / "tracks.json").write_text(json.dumps(document))
    names = [f"{n:06d}.png" for n in walk_footage.numbers]
    job = Job(
        str(walk_folder / "proxy"), names, None, scene.WIDTH, scene.HEIGHT, str(tmp_path), "SIMPLE_RADIAL", None, 0
    )
    images, ratio = pictures(job)
    database = tmp_path / "database.db"
    with quick_solver():
        extract_features(job, database, images, ratio)
    match(job, database, exhaustive=False)
    points = FollowedPoints.load(tmp_path / "tracks.json")
    frames = dict(zip(names, walk_footage.numbers, strict=True))
    before = verified_matches(database)
    assert join_tracks(database, points, frames, 0) == 13 * len(names)
    once = verified_matches(database)
    join_tracks(database, points, frames, 0)
    twice = verified_matches(database)
    assert all(np.array_equal(once[pair], twice[pair]) for pair in once)
    with pycolmap.Database.open(database) as data:
        own = {i.image_id: data.num_descriptors_for_image(i.image_id) for i in data.read_all_images()}
        seen = data.read_keypoints(1)[own[1] :, :2] / ratio
    assert seen[0] == pytest.approx(np.array(tracks[0]["markers"][0][1:]) / 2, abs=1e-3)
    followed = [m[m[:, 0] >= own[a]][:, 0] - own[a] for (a, _), m in once.items()]
    kept = np.bincount(np.concatenate(followed), minlength=13)
    assert len(once) >= len(before)
    assert kept[:12].min() > 0.9 * len(once)
    assert kept[12] < 0.3 * len(once)
    match(job, database, exhaustive=True)  # pairs matched later meet features without descriptors
    assert len(verified_matches(database)) >= len(once)
