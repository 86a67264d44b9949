"""The parts of the poses stage that need no solver."""

from itertools import pairwise

import numpy as np
import pytest

from engine.poses.holdout import build_tracks, held_out_errors
from engine.poses.parallax import rotation_share
from engine.poses.world import MEDIAN_DEPTH, scene_from_world, up_direction
from tests.engine.poses import walk_scene as scene


def rotation(degrees: float, axis: list[float]) -> np.ndarray:
    a = np.array(axis, float) / np.linalg.norm(axis)
    k: np.ndarray = np.array([[0, -a[2], a[1]], [a[2], 0, -a[0]], [-a[1], a[0], 0]])
    t = np.radians(degrees)
    turn: np.ndarray = np.eye(3) + np.sin(t) * k + (1 - np.cos(t)) * k @ k
    return turn


def tilted_world(poses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The same cameras in a world that lies askew, and what is up in it."""
    turn = np.eye(4)
    turn[:3, :3] = rotation(130, [1, 2, -0.5])
    return np.array([turn @ p for p in poses]), turn[:3, 2]


def test_up_is_found_although_every_camera_looks_down() -> None:
    poses = [
        scene.look([4 * np.cos(a), 4 * np.sin(a), 3], [4 * np.cos(a + 2.5), 4 * np.sin(a + 2.5), 0])
        for a in np.linspace(0, 1.2, 15)
    ]
    cameras, up = tilted_world(poses)
    assert np.degrees(np.arccos(min(1.0, up_direction(cameras) @ up))) < 2.0


def test_up_without_a_turn_is_the_mean_up_of_the_cameras() -> None:
    poses = [scene.look([x, 0, 1], [x, 5, 1]) for x in np.linspace(0, 2, 9)]
    cameras, up = tilted_world(poses)
    assert up_direction(cameras) @ up == pytest.approx(1, abs=1e-9)


def test_scene_stands_upright_with_the_floor_at_zero() -> None:
    cameras, _ = tilted_world([scene.look([x, -3, 1.5], [2 * x, 5, 1.5]) for x in np.linspace(-2, 2, 9)])
    true = np.random.default_rng(0).uniform([-2, 0, 0], [2, 6, 3], (2000, 3))
    turn = cameras[0] @ np.linalg.inv(scene.look([-2, -3, 1.5], [-4, 5, 1.5]))
    points = true @ turn[:3, :3].T + turn[:3, 3]
    transform, scale = scene_from_world(cameras, points, median_depth=7.5)
    assert scale == pytest.approx(MEDIAN_DEPTH / 7.5)
    stood = scale * points @ transform[:3, :3].T + transform[:3, 3]
    assert np.linalg.det(transform[:3, :3]) == pytest.approx(1)
    forward = transform[:3, :3] @ cameras[0][:3, 2]
    assert forward[0] == pytest.approx(0, abs=1e-6)
    assert forward[1] > 0.9
    assert np.corrcoef(stood[:, 2], true[:, 2])[0, 1] > 0.9999
    assert np.percentile(stood[:, 2], 5) == pytest.approx(0, abs=1e-9)
    assert np.median(stood[:, :2], axis=0) == pytest.approx([0, 0], abs=1e-9)


def project(points: np.ndarray, pose: np.ndarray, focal: float, radial: float = 0.0) -> np.ndarray:
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    xy = local[:, :2] / local[:, 2:]
    xy = xy * (1 + radial * (xy**2).sum(1, keepdims=True))
    pixels: np.ndarray = focal * xy + [480, 270]
    return pixels


@pytest.mark.parametrize(("focal", "radial"), [(500.0, -0.12), (900.0, 0.0), (2500.0, 0.05)])
def test_rotation_explains_a_pan_through_any_lens(focal: float, radial: float) -> None:
    rng = np.random.default_rng(1)
    poses = scene.turning(8)
    reach = 300 / focal
    pairs = []
    for a, b in pairwise(poses):
        rays = np.column_stack([rng.uniform(-reach, reach, (120, 2)), np.ones(120)]) * rng.uniform(1, 30, (120, 1))
        points = rays @ a[:3, :3].T + a[:3, 3]
        pairs.append((project(points, a, focal, radial), project(points, b, focal, radial) + rng.normal(0, 0.3, 2)))
    assert rotation_share(pairs, 960, 540) > 0.95


@pytest.mark.parametrize("flat", [True, False])
def test_rotation_does_not_explain_a_camera_that_travels(flat: bool) -> None:
    """A flat wall too: one homography explains that, one rotation does not."""
    rng = np.random.default_rng(2)
    points = rng.uniform([-3, 5, -1], [3, 5 if flat else 8, 3], (300, 3))
    poses = scene.travelling(8)
    pairs = [(project(points, poses[i], 800), project(points, poses[i + 3], 800)) for i in range(5)]
    assert rotation_share(pairs, 960, 540) < 0.6


def test_tracks_join_matches_and_drop_contradictions() -> None:
    matches = {
        (1, 2): np.array([[0, 3], [1, 1], [2, 2]]),
        (2, 3): np.array([[3, 4], [1, 0], [2, 1]]),
        (3, 4): np.array([[4, 0], [0, 1]]),
        (1, 4): np.array([[1, 2]]),  # feature 1 of image 1 would be features 1 and 2 of image 4
    }
    tracks = build_tracks(matches, {1: 5, 2: 5, 3: 5, 4: 5}, seed=0)
    assert list(zip(tracks.track.tolist(), tracks.image.tolist(), tracks.feature.tolist(), strict=True)) == [
        (0, 1, 0),
        (0, 2, 3),
        (0, 3, 4),
        (0, 4, 0),
    ]


def test_held_out_errors_are_zero_for_true_cameras_and_tell_a_wrong_one() -> None:
    points = np.random.default_rng(3).uniform([-1, 3, 0], [1, 6, 2], (40, 3))
    poses = np.array(scene.travelling(6))
    track = np.repeat(np.arange(40), 6)
    cameras = np.tile(np.linalg.inv(poses)[:, :3], (40, 1, 1))
    local = np.einsum("mij,mj->mi", cameras[:, :, :3], np.repeat(points, 6, axis=0)) + cameras[:, :, 3]
    rays = local[:, :2] / local[:, 2:]
    errors = held_out_errors(track, rays, cameras, 800.0)
    assert errors.shape == (120,)
    assert errors.max() < 1e-6
    wrong = cameras.copy()
    wrong[3::6, 0, 3] += 0.05
    shares = held_out_errors(track, rays, wrong, 800.0).reshape(40, 3) > 5
    assert shares[:, 1].all()
    assert not shares[:, [0, 2]].any()
