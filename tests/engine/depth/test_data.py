"""What training reads: measured depth, the prior where nothing was measured, and on what moves by itself."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.clip.depth_map import DepthFrames
from engine.depth.data import (
    CONFIDENCE,
    LOG_DEPTH,
    PRIOR_WEIGHT,
    SOURCES,
    SPARSE_CONFIDENCE,
    WEIGHT,
    Found,
    TrainingData,
)
from engine.files import write_json, write_npy
from tests.engine.depth.scene import plane_clip

HIDDEN = np.s_[20:30, 20:36]  # half grid: where the sweep found nothing
MOVING = np.s_[10:18, 40:52]  # half grid
FLAW = 1.3  # of the prior: it is this much too far everywhere


@pytest.fixture(scope="module")
def clip_and_depth():
    clip, depths = plane_clip(5)
    return clip, depths.reshape(5, 48, 2, 64, 2).mean(axis=(2, 4)).astype(np.float32)


@pytest.fixture
def found(clip_and_depth, tmp_path: Path):
    clip, depths = clip_and_depth
    for name in ("flow", "motion/dynamic", "prior/depth", "evidence/depth", "evidence/confidence"):
        (tmp_path / name).mkdir(parents=True)
    write_json(tmp_path / "flow" / "pairs.json", [])
    for row, number in enumerate(clip.numbers):
        name = f"{number:06d}"
        measured = depths[row].copy()
        measured[HIDDEN] = 0.0
        object_depth = FLAW * depths[row]
        object_depth[MOVING] *= 0.8  # the prior sees an object in front
        write_npy(tmp_path / "prior" / "depth" / f"{name}.npy", object_depth)
        write_npy(tmp_path / "evidence" / "depth" / f"{name}.npy", measured)
        write_npy(tmp_path / "evidence" / "confidence" / f"{name}.npy", np.float32(0.7) * (measured > 0))
        mask = np.zeros((96, 128), np.uint8)
        mask[2 * MOVING[0].start : 2 * MOVING[0].stop, 2 * MOVING[1].start : 2 * MOVING[1].stop] = 255
        cv2.imwrite(str(tmp_path / "motion" / "dynamic" / f"{name}.png"), mask)
    prior, measured = (DepthFrames(tmp_path / name, clip.half_lens, "clip") for name in ("prior", "evidence"))
    return Found(tmp_path / "flow", tmp_path / "motion", prior, True, measured)


@pytest.fixture
def data(clip_and_depth, found):
    return TrainingData.load(clip_and_depth[0], found)


def test_measured_depth_is_kept_with_its_confidence(clip_and_depth, data) -> None:
    log_depth, weight, confidence = data.evidence[2].numpy().astype(np.float32)
    still = np.s_[35:45]
    assert np.allclose(np.exp(log_depth[still]) * data.unit, clip_and_depth[1][2][still], rtol=2e-3)
    assert np.allclose(weight[still], 0.7, atol=1e-3)
    assert np.allclose(confidence[still], 0.7, atol=1e-3)


def test_a_prior_that_may_fill_speaks_where_nothing_was_measured_and_is_no_geometry(clip_and_depth, data) -> None:
    log_depth, weight, confidence = data.evidence[2].numpy().astype(np.float32)
    filled = weight[HIDDEN] != np.float16(SPARSE_CONFIDENCE)
    assert filled.mean() > 0.8
    assert np.allclose(
        np.exp(log_depth[HIDDEN][filled]) * data.unit, FLAW * clip_and_depth[1][2][HIDDEN][filled], rtol=2e-3
    )
    assert np.allclose(weight[HIDDEN][filled], PRIOR_WEIGHT, atol=1e-3)
    assert not confidence[HIDDEN][filled].any()


def test_a_prior_that_may_not_fill_is_silent_there(clip_and_depth, found) -> None:
    silent = Found(found.flow, found.motion, found.prior, False, found.evidence)
    weight = TrainingData.load(clip_and_depth[0], silent).evidence[2, WEIGHT].numpy()
    assert set(np.unique(weight[HIDDEN])) <= {np.float16(0), np.float16(SPARSE_CONFIDENCE)}


def test_what_moves_has_the_priors_depth_tied_to_its_surroundings(clip_and_depth, data) -> None:
    for row in range(5):
        log_depth, weight, confidence = data.evidence[row].numpy().astype(np.float32)
        # the prior's own error of 1.3 is measured beside the object and taken away; the 0.8 in front of it stays
        assert np.allclose(np.exp(log_depth[MOVING]) * data.unit, 0.8 * clip_and_depth[1][row][MOVING], rtol=0.02)
        assert (weight[MOVING] == 1.0).all()
        assert not confidence[MOVING].any()
        assert not data.still[row, 0].numpy()[MOVING].any()
    assert data.still[:, 0, 30:].all()


def test_without_a_prior_nothing_is_said_of_what_moves(clip_and_depth, found) -> None:
    alone = Found(found.flow, found.motion, None, False, found.evidence)
    evidence = TrainingData.load(clip_and_depth[0], alone).evidence.numpy()
    assert not evidence[(slice(None), slice(None), *MOVING)].any()


def test_an_offset_that_jumps_in_one_frame_is_smoothed(clip_and_depth, found) -> None:
    clip, depths = clip_and_depth
    path = found.prior.folder / "depth" / f"{clip.numbers[2]:06d}.npy"
    write_npy(path, np.load(path) * np.where(np.arange(64) < 55, 1.0, 1.2).astype(np.float32))
    evidence = TrainingData.load(clip, found).evidence[:, LOG_DEPTH].numpy().astype(np.float32)
    levels = [np.median(evidence[row][MOVING] - np.log(depths[row][MOVING])) for row in range(5)]
    assert np.ptp(levels) < 0.05


def test_every_frame_has_as_many_photometric_sources(data) -> None:
    assert data.sources.shape == (5, SOURCES)
    assert all(row not in sources for row, sources in enumerate(data.sources.tolist()))


def test_sparse_points_lie_where_they_are_on_the_half_grid(clip_and_depth, data) -> None:
    pixels, depth = clip_and_depth[0].sparse[1]
    assert np.allclose(data.sparse[1, : len(depth), :2], pixels / 2.0)
    assert np.allclose(data.sparse[1, : len(depth), 2] * data.unit, depth)
    assert data.evidence[0, CONFIDENCE].max() <= 1.0


def test_the_right_eye_comes_to_the_same_grid_and_unit(clip_and_depth, data) -> None:
    clip = clip_and_depth[0]
    rig = np.eye(4)
    rig[0, 3] = -0.2
    stereo = data.with_right_eye(clip.images, rig)
    assert (stereo.right.images == data.images).all()
    assert stereo.right.right_from_left[0, 3].item() == pytest.approx(-0.2 / data.unit)


def test_the_prior_follows_cameras_that_were_scaled_by_something_else(clip_and_depth, found, data) -> None:
    # twice as large a world, in which only the prior's files still are in the old units
    scaled = replace(found, evidence=None, prior_scale=2.0)
    evidence = TrainingData.load(clip_and_depth[0].scaled(2.0), scaled).evidence.numpy()
    filled = (evidence[:, WEIGHT] == np.float16(PRIOR_WEIGHT)) & (
        data.evidence[:, WEIGHT].numpy() == np.float16(PRIOR_WEIGHT)
    )
    assert filled.any()
    assert np.allclose(evidence[:, LOG_DEPTH][filled], data.evidence[:, LOG_DEPTH].numpy()[filled], atol=2e-3)
