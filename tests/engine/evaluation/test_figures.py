"""Figures of the evaluation on cases whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clip.track import CameraTrack, SparsePoints
from engine.evaluation import depth, mattes, trajectory
from engine.evaluation.stability import track_stability
from engine.geometry.arrays import Lens


def rotation(axis, angle):
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def walk(count, seed=0):
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, 3] = np.cumsum(rng.normal([0.2, 0.0, 0.0], 0.1, (count, 3)), axis=0)
    for pose in poses:
        pose[:3, :3] = rotation(rng.normal(size=3), 0.2)
    return poses


@given(st.floats(0.01, 100.0), st.floats(-3.0, 3.0), st.integers(0, 1000))
def test_a_similarity_transform_of_the_truth_has_no_error(scale, angle, seed) -> None:
    true = walk(12, seed)
    world = rotation([1, 2, 3], angle)
    estimated = true.copy()
    estimated[:, :3, :3] = world @ true[:, :3, :3]
    estimated[:, :3, 3] = scale * true[:, :3, 3] @ world.T + [5, -3, 1]
    figures = trajectory.compare_tracks(estimated, true)
    assert figures["ate_pct"] < 1e-6
    assert figures["rot_max_deg"] < 1e-4
    found = trajectory.align(true[:, :3, 3], estimated[:, :3, 3])
    assert found.scale == pytest.approx(scale)
    assert np.allclose(found.apply(true[:, :3, 3]), estimated[:, :3, 3], atol=1e-6 * scale)


def test_one_turned_camera_shows_as_the_largest_rotation_error() -> None:
    true = walk(21)
    estimated = true.copy()
    estimated[7, :3, :3] = estimated[7, :3, :3] @ rotation([0, 1, 0], np.radians(2.0))
    figures = trajectory.compare_tracks(estimated, true)
    assert figures["rot_max_deg"] == pytest.approx(2.0, abs=0.12)
    assert figures["rot_med_deg"] < 0.12


def test_aligning_cameras_that_do_not_move_is_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        trajectory.align(np.ones((5, 3)), walk(5)[:, :3, 3])


def test_depth_figures_of_a_known_error() -> None:
    true = np.random.default_rng(0).uniform(1.0, 5.0, (60, 80))
    solved = true / 4.0  # a wrong scale costs nothing
    solved[:15] *= 1.3  # a quarter of the picture is 30 % too far
    collected = depth.DepthErrors()
    collected.add(solved, true)
    assert collected.scale is not None
    assert collected.scale == pytest.approx(4.0)
    figures = depth.frame_errors(solved, true, collected.scale)
    assert figures["absrel"] == pytest.approx(0.25 * 0.3)
    assert figures["d125"] == pytest.approx(0.75)


def test_pixels_without_truth_or_value_do_not_count_but_lower_the_cover() -> None:
    true = np.full((40, 40), 2.0)
    true[:10] = 0.0
    solved = np.full((40, 40), 2.0)
    solved[10:25] = 0.0
    collected = depth.DepthErrors()
    collected.add(solved, true)
    assert collected.summary()["depth_cover"] == pytest.approx(0.5)
    assert depth.frame_errors(solved, true, 1.0)["absrel"] == 0.0


def test_flicker_is_the_spread_of_the_frames_scales() -> None:
    collected = depth.DepthErrors()
    for factor in (0.9, 1.1):
        collected.add(np.full((20, 20), 1.0), np.full((20, 20), factor))
    assert collected.summary()["flicker_pct"] == pytest.approx(10.0)


def test_sliding_of_a_depth_error_is_its_parallax_error() -> None:
    lens = (100.0, 100.0, 40.0, 30.0)
    here, there = np.eye(4), np.eye(4)
    there[0, 3] = 0.5
    true = np.full((60, 80), 5.0)
    assert depth.sliding_px(true, true, lens, lens, (here, there), (here, there)) == pytest.approx(0.0, abs=1e-9)
    # Parallax is fx * baseline / z: 10 px at 5 m, 8 px at 6.25 m.
    slid = depth.sliding_px(true * 1.25, true, lens, lens, (here, there), (here, there))
    assert slid == pytest.approx(2.0)


def test_mattes() -> None:
    a, b = np.zeros((50, 50), bool), np.zeros((50, 50), bool)
    a[10:30, 10:30] = True
    b[10:30, 20:40] = True
    assert mattes.intersection_over_union(a, b) == pytest.approx(1 / 3)
    assert mattes.intersection_over_union(a, a) == 1.0
    assert mattes.boundary_f(a, a) == 1.0
    shifted = np.roll(a, 1, axis=1)
    assert mattes.boundary_f(a, shifted) == 1.0, "one pixel is within the tolerance"
    assert mattes.boundary_f(a, np.roll(a, 20, axis=1)) < 0.5
    assert mattes.boundary_f(a, np.zeros_like(a)) == 0.0


def test_stability_is_zero_for_exact_depth_and_the_size_of_a_breathing_depth() -> None:
    lens = Lens("SIMPLE_PINHOLE", 640, 480, 500.0, 500.0, 320.0, 240.0)
    rng = np.random.default_rng(1)
    xyz = np.column_stack([rng.uniform(-1, 1, 40), rng.uniform(-1, 1, 40), rng.uniform(4, 8, 40)])
    poses, frames, rows, pixels, depths = {}, [], [], [], {}
    for frame in range(100, 108):
        pose = np.eye(4)
        pose[0, 3] = 0.05 * (frame - 100)
        poses[frame] = pose
        camera = xyz - pose[:3, 3]
        pixels.append(camera[:, :2] / camera[:, 2:] * 500.0 + [320.0, 240.0])
        frames.append(np.full(40, frame))
        rows.append(np.arange(40))
        depths[frame] = camera[:, 2]
    points = SparsePoints(
        xyz, np.zeros((40, 3), np.uint8), np.zeros(40), np.concatenate(frames), np.concatenate(rows),
        np.concatenate(pixels),
    )  # fmt: skip
    track = CameraTrack(lens, False, None, poses, {}, {}, True, points)
    exact = track_stability(track, lambda frame, _rays: depths[frame])
    assert exact["instability_pct"] < 1e-9
    breathing = track_stability(track, lambda frame, _rays: depths[frame] * (1.0 + 0.01 * (-1) ** frame))
    assert breathing["instability_pct"] == pytest.approx(2.0, rel=0.05)
    assert breathing["drift_pct"] == pytest.approx(1.07, rel=0.1)
