"""The trajectory figures against those of evo 1.38.1 on recorded trajectories."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.evaluation.trajectory import align, compare_tracks, rotation_angles_deg

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data" / "traj_eval"
EXPECTED = FOLDER / "expected_evo.json"
PAIRS = json.loads(EXPECTED.read_text())["files"] if EXPECTED.is_file() else {}
pytestmark = pytest.mark.skipif(not PAIRS, reason="the shared trajectories are not here")


def read_tum(path):
    """Timestamps (N,) and world_from_camera (N, 4, 4)."""
    rows = np.loadtxt(path)
    x, y, z, w = (rows[:, 4:] / np.linalg.norm(rows[:, 4:], axis=1, keepdims=True)).T
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], 1)
    poses[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], 1)
    poses[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], 1)
    poses[:, :3, 3] = rows[:, 1:4]
    return rows[:, 0], poses


def matched(pair):
    """Poses of both trajectories at the same times: nearest, at most 10 ms apart."""
    (times, estimated), (true_times, true) = (read_tum(FOLDER / name) for name in pair.split(" vs "))
    nearest = np.abs(times[:, None] - true_times).argmin(axis=1)
    close = np.abs(times - true_times[nearest]) <= 0.01
    return estimated[close], true[nearest[close]]


@pytest.mark.parametrize("pair", PAIRS)
def test_alignment_and_errors_are_those_of_evo(pair) -> None:
    estimated, true = matched(pair)
    expected = PAIRS[pair]["sim3"]
    assert len(estimated) == expected["n"]
    similarity = align(estimated[:, :3, 3], true[:, :3, 3])
    assert similarity.scale == pytest.approx(expected["scale"], abs=2e-6)
    np.testing.assert_allclose(similarity.rotation, expected["R"], atol=2e-6)
    np.testing.assert_allclose(similarity.translation, expected["t"], atol=2e-6)
    error = np.linalg.norm(true[:, :3, 3] - similarity.apply(estimated[:, :3, 3]), axis=1)
    assert np.median(error) == pytest.approx(expected["ape_trans_m"]["median"], abs=2e-6)
    assert error.max() == pytest.approx(expected["ape_trans_m"]["max"], abs=2e-6)
    path = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum()
    rmse = compare_tracks(estimated, true)["ate_pct"] / 100 * path
    assert rmse == pytest.approx(expected["ape_trans_m"]["rmse"], abs=2e-6)


@pytest.mark.parametrize("pair", PAIRS)
def test_rotation_errors_are_those_of_evo_under_its_alignment(pair) -> None:
    estimated, true = matched(pair)
    expected = PAIRS[pair]["sim3"]["ape_rot_deg"]
    world = align(estimated[:, :3, 3], true[:, :3, 3]).rotation
    angles = rotation_angles_deg(np.swapaxes(true[:, :3, :3], 1, 2) @ world @ estimated[:, :3, :3])
    assert angles.max() == pytest.approx(expected["max"], abs=2e-5)
    assert np.median(angles) == pytest.approx(expected["median"], abs=2e-5)
    own = compare_tracks(estimated, true)
    assert own["rot_med_deg"] <= np.median(angles) + 0.05  # the best world rotation is found from the rotations
    assert own["rot_max_deg"] < expected["max"] + 0.5


@pytest.mark.parametrize("pair", PAIRS)
def test_relative_rotations_are_those_of_evo(pair) -> None:
    estimated, true = matched(pair)
    expected = PAIRS[pair]["sim3"]["rpe_rot_deg_delta1frame"]
    steps = [np.swapaxes(p[:-1, :3, :3], 1, 2) @ p[1:, :3, :3] for p in (estimated, true)]
    angles = rotation_angles_deg(np.swapaxes(steps[1], 1, 2) @ steps[0])
    assert np.sqrt((angles**2).mean()) == pytest.approx(expected["rmse"], abs=2e-5)
    assert angles.max() == pytest.approx(expected["max"], abs=2e-5)
