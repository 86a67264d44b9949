"""Scale calibration (CVD eq. 1-3)."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clip.depth_map import DepthFrames
from engine.clip.track import CameraTrack, SparsePoints
from engine.depth.scale import calibrate_scale, frame_scale, read_scale, robust_mean
from engine.errors import DepthError
from engine.files import write_npy
from engine.geometry.arrays import Lens
from engine.progress import Silent
from tests.engine.depth.scene import plane_clip


@given(st.floats(0.01, 100.0), st.integers(0, 2**31))
def test_a_known_factor_is_found_with_30_percent_outliers(factor, seed) -> None:
    rng = np.random.default_rng(seed)
    sfm = rng.uniform(1.0, 20.0, 400)
    prior = sfm * factor * rng.normal(1.0, 0.01, 400)
    prior[:120] *= rng.uniform(0.02, 50.0, 120)
    assert frame_scale(prior, sfm) == pytest.approx(factor, rel=0.02)


def test_points_without_depth_do_not_count() -> None:
    sfm = np.full(30, 2.0)
    prior = np.where(np.arange(30) < 15, 3.0, 0.0)
    assert frame_scale(prior, sfm) == pytest.approx(1.5)
    assert frame_scale(prior[10:], sfm[10:]) is None


@given(st.floats(0.01, 100.0), st.integers(0, 2**31))
def test_whole_frames_may_be_wrong(factor, seed) -> None:
    rng = np.random.default_rng(seed)
    scales = factor * rng.normal(1.0, 0.01, 40)
    scales[:12] *= rng.uniform(1.5, 20.0, 12)
    assert robust_mean(list(scales)) == pytest.approx(factor, rel=0.03)


def test_equal_frames_keep_their_value() -> None:
    assert robust_mean([2.5] * 5) == pytest.approx(2.5)


def _write_prior(folder, clip, depths, factor):
    (folder / "depth").mkdir(parents=True)
    for number, depth in zip(clip.numbers, depths, strict=True):
        half = depth.reshape(depth.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3)).astype(np.float32)
        write_npy(folder / "depth" / f"{number:06d}.npy", half * factor)


def test_the_cameras_come_to_the_units_of_the_prior(tmp_path: Path) -> None:
    clip, depths = plane_clip(4)
    _write_prior(tmp_path / "prior", clip, depths, 3.7)
    calibrate_scale(clip, DepthFrames(tmp_path / "prior", clip.half_lens, "solved"), None, tmp_path / "scale", Silent())
    scale = read_scale(tmp_path / "scale")
    assert scale == pytest.approx(3.7, rel=0.01)
    per_frame = json.loads((tmp_path / "scale" / "scale.json").read_text())["per_frame"]
    assert list(per_frame) == ["101", "102", "103", "104"]
    scaled = clip.scaled(scale)
    assert np.allclose(scaled.world_from_camera[:, :3, 3], clip.world_from_camera[:, :3, 3] * scale)
    assert np.allclose(scaled.sparse[0][1], clip.sparse[0][1] * scale)
    assert (scaled.world_from_camera[:, :3, :3] == clip.world_from_camera[:, :3, :3]).all()


def test_no_depth_at_any_point_is_a_typed_error(tmp_path: Path) -> None:
    clip, depths = plane_clip(3)
    _write_prior(tmp_path / "prior", clip, depths, 0.0)
    with pytest.raises(DepthError) as failure:
        calibrate_scale(
            clip, DepthFrames(tmp_path / "prior", clip.half_lens, "solved"), None, tmp_path / "scale", Silent()
        )
    assert failure.value.code == "depth.no_scale"
    assert not (tmp_path / "scale" / "scale.json").exists()


def test_a_known_scale_goes_before_the_prior(tmp_path: Path) -> None:
    clip, depths = plane_clip(3)
    _write_prior(tmp_path / "prior", clip, depths, 3.7)
    calibrate_scale(clip, DepthFrames(tmp_path / "prior", clip.half_lens, "solved"), 0.25, tmp_path / "scale", Silent())
    assert read_scale(tmp_path / "scale") == 0.25


def test_without_prior_and_known_scale_the_world_stays_as_it_is(tmp_path: Path) -> None:
    calibrate_scale(plane_clip(3)[0], None, None, tmp_path / "scale", Silent())
    assert read_scale(tmp_path / "scale") == 1.0


def test_a_scaled_track_projects_its_points_to_the_same_pixels() -> None:
    pose = np.eye(4)
    pose[:3, 3] = (1.0, 2.0, 3.0)
    points = SparsePoints(
        np.array([[0.0, 1.0, 8.0]]),
        np.zeros((1, 3), np.uint8),
        np.ones(1),
        np.array([7]),
        np.array([0]),
        np.ones((1, 2)),
    )
    track = CameraTrack(Lens("PINHOLE", 64, 48, 50, 50, 32, 24), True, None, {7: pose}, {}, {7: 0.1}, True, points)
    scaled = track.scaled(2.5)
    before = points.xyz[0] - pose[:3, 3]
    after = scaled.points.xyz[0] - scaled.world_from_camera[7][:3, 3]
    assert np.allclose(after, 2.5 * before)
    assert track.world_from_camera[7][0, 3] == 1.0
