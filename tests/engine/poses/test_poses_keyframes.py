"""Long clips: key frames, places seen again, and frames placed by the points of others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pycolmap
import pytest
from numpy.typing import NDArray

from engine.errors import PoseError
from engine.poses import adjust, worker
from engine.poses.features import Matches
from engine.poses.job import Job, Model
from engine.poses.judge import Candidate
from engine.poses.keyframes import key_frames, revisits
from engine.poses.register import place_others

WIDTH, HEIGHT, FOCAL = 1000, 600, 900.0


def sliding(steps: list[float]) -> Matches:
    """A clip whose picture moves by `steps` pixels from frame to frame; NaN = nothing is matched."""
    places = np.random.default_rng(0).uniform(0, 500, (60, 2))
    at = np.concatenate([[0.0], np.cumsum(np.nan_to_num(steps))])
    pixels = {i + 1: places + np.array([shift, 0.0]) for i, shift in enumerate(at)}
    same = np.repeat(np.arange(60)[:, None], 2, axis=1)
    pairs = {(i + 1, i + 2): same for i, step in enumerate(steps) if not np.isnan(step)}
    return Matches(WIDTH, HEIGHT, list(pixels), pixels, pairs, (WIDTH / 2, HEIGHT / 2))


def test_key_frames_follow_the_motion_of_the_picture() -> None:
    assert key_frames(sliding([10.0] * 8)) == [0, 4, 8]
    assert key_frames(sliding([50.0] * 4)) == [0, 1, 2, 3, 4]
    assert key_frames(sliding([0.0] * 20)) == [0, 8, 16, 20]


def test_both_sides_of_a_cut_are_key_frames() -> None:
    assert key_frames(sliding([1.0, 1.0, float("nan"), 1.0, 1.0])) == [0, 2, 3, 5]


def test_a_place_seen_again_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    count = 90
    places = [*range(count - 3), 2, 1, 0]
    worlds = rng.integers(0, 200, (count, 120, 128))
    database = tmp_path / "database.db"
    with pycolmap.Database.open(database) as data:
        camera = pycolmap.Camera(model="SIMPLE_PINHOLE", width=WIDTH, height=HEIGHT, params=[FOCAL, 500, 300])
        camera.camera_id = data.write_camera(camera)
        for k, place in enumerate(places):
            image = data.write_image(pycolmap.Image(name=f"{k:06d}.png", camera_id=camera.camera_id))
            data.write_keypoints(image, rng.uniform(0, 500, (120, 2)).astype(np.float32))
            descriptors = (worlds[place] + rng.integers(0, 8, (120, 128))).astype(np.uint8)
            data.write_descriptors(image, pycolmap.FeatureDescriptors(pycolmap.FeatureExtractorType.SIFT, descriptors))
    found = revisits(database, list(range(count)), 0)
    assert {(0, count - 1), (1, count - 2), (2, count - 3)} <= set(found)
    assert all(b - a >= 64 for a, b in found)


def walk(count: int) -> tuple[pycolmap.Reconstruction, dict[int, NDArray[np.float64]], dict[int, pycolmap.Rigid3d]]:
    """A model with all of `count` true cameras and points, what every image sees (features = points), and the poses."""
    points = np.random.default_rng(1).uniform([-4, -2, 4], [4, 2, 9], (200, 3))
    model, pixels, poses = pycolmap.Reconstruction(), {}, {}
    for i in range(1, count + 1):
        poses[i] = pycolmap.Rigid3d(np.column_stack([np.eye(3), [-0.1 * i, 0.02 * i, -0.05 * i]]))
        local = points + poses[i].translation
        focal = FOCAL * 1.02**i
        pixels[i] = focal * local[:, :2] / local[:, 2:] + [WIDTH / 2, HEIGHT / 2]
        model.add_camera_with_trivial_rig(
            pycolmap.Camera(
                camera_id=i, model="SIMPLE_RADIAL", width=WIDTH, height=HEIGHT, params=[focal, WIDTH / 2, HEIGHT / 2, 0]
            )
        )
        image = pycolmap.Image(name=f"{i:06d}.png", keypoints=pixels[i], camera_id=i, image_id=i)
        model.add_image_with_trivial_frame(image, poses[i])
    return model, pixels, poses


def test_left_out_frames_of_a_zoom_come_to_their_true_places() -> None:
    every, pixels, poses = walk(9)
    points = np.random.default_rng(1).uniform([-4, -2, 4], [4, 2, 9], (200, 3))
    model = pycolmap.Reconstruction()
    kept = [1, 4, 7, 9]
    for i in kept:
        model.add_camera_with_trivial_rig(every.camera(i))
        image = pycolmap.Image(name=f"{i:06d}.png", keypoints=pixels[i], camera_id=i, image_id=i)
        model.add_image_with_trivial_frame(image, poses[i])
    for number, point in enumerate(points):
        track = pycolmap.Track()
        for i in kept:
            track.add_element(i, number)
        model.add_point3D(point, track, np.zeros(3, np.uint8))
    same = np.repeat(np.arange(200)[:, None], 2, axis=1)
    wrong = same.copy()
    wrong[::4, 1] = wrong[::4, 1][::-1]  # a quarter of the matches are false
    pairs = {(i, i + 1): wrong if i == 4 else same for i in range(1, 9)}
    place_others(model, {i: f"{i:06d}.png" for i in pixels}, pixels, pairs, 4.0, 0)
    assert sorted(model.reg_image_ids()) == list(pixels)
    for i in (2, 3, 5, 6, 8):
        assert model.image(i).camera.params[0] == pytest.approx(FOCAL * 1.02**i, rel=1e-6)
        assert model.image(i).cam_from_world().matrix() == pytest.approx(poses[i].matrix(), abs=1e-4)
        assert model.image(i).num_points3D >= 150


@pytest.mark.parametrize("factorised", [200, 51], ids=["factorised", "gradients"])
def test_placed_frames_settle_where_they_were_taken(monkeypatch: pytest.MonkeyPatch, factorised: int) -> None:
    monkeypatch.setattr(adjust, "FACTORISED", factorised)
    model, _, poses = walk(60)
    rng = np.random.default_rng(2)
    for number, point in enumerate(np.random.default_rng(1).uniform([-4, -2, 4], [4, 2, 9], (200, 3))):
        track = pycolmap.Track()
        for i in poses:
            track.add_element(i, number)
        model.add_point3D(point + rng.normal(0, 3e-4, 3), track, np.zeros(3, np.uint8))
    for i in list(poses)[2:-1]:  # the first and the last say where the world is and how large
        shift = np.column_stack([np.eye(3), rng.normal(0, 3e-4, 3)])
        model.frame(i).rig_from_world = pycolmap.Rigid3d(shift) * poses[i]
    adjust.settle(model, 1.0)
    apart = np.linalg.norm(model.image(60).projection_center() - model.image(1).projection_center())
    true = np.linalg.norm(poses[60].inverse().translation - poses[1].inverse().translation)
    for i, pose in poses.items():
        assert model.image(i).cam_from_world().rotation.angle_to(pose.rotation) < 1e-5
        assert model.image(i).projection_center() * true / apart == pytest.approx(pose.inverse().translation, abs=1e-4)


def test_a_frame_that_sees_nothing_known_stays_out() -> None:
    every, pixels, _ = walk(4)
    names = {i: f"{i:06d}.png" for i in pixels} | {5: "000005.png"}
    pixels[5] = pixels[4]
    place_others(every, names, pixels, {(4, 5): np.zeros((0, 2), np.int64)}, 4.0, 0)
    assert sorted(every.reg_image_ids()) == [1, 2, 3, 4]


@pytest.mark.parametrize(("share", "doubted"), [(0.6, True), (0.9, False)])
def test_cameras_that_predict_little_are_doubted(monkeypatch: pytest.MonkeyPatch, share: float, doubted: bool) -> None:
    said: list[str] = []
    job = Job("", ["000001.png"] * 3, None, WIDTH, HEIGHT, "", "AUTO", None, 0)
    monkeypatch.setattr(worker, "say", lambda kind, value: said.append(value) if kind == "warning" else None)
    monkeypatch.setattr(worker, "tracks_of", lambda *_: None)
    made = cast(Model, SimpleNamespace(rows=np.arange(3)))
    monkeypatch.setattr(worker, "adjust", lambda *_: made)
    best = Candidate(pycolmap.Reconstruction(), 3, share, plausible=True)
    assert worker._travelling(job, 3, [best], sliding([1.0, 1.0]), Path(), []) is made
    assert any("Mask what moves" in text for text in said) == doubted


def test_where_adjusting_leaves_nothing_of_the_best_a_worse_one_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("", ["000001.png"] * 3, None, WIDTH, HEIGHT, "", "AUTO", None, 0)
    monkeypatch.setattr(worker, "say", lambda *_: None)
    monkeypatch.setattr(worker, "tracks_of", lambda *_: None)
    monkeypatch.setattr(worker, "adjust", lambda *_: None)
    found = [Candidate(pycolmap.Reconstruction(), 3, 0.9, plausible=plausible) for plausible in (True, False)]
    assert worker._travelling(job, 3, found, sliding([1.0, 1.0]), Path(), []) is None, "it may still only turn"
    with pytest.raises(PoseError):
        worker._travelling(job, 3, found[::-1], sliding([1.0, 1.0]), Path(), [])
