"""The alternation on a clip with exact cameras and depth, and the stages made of it."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.clip.depth_map import DepthFrames
from engine.deepv2d.alternate import Alternation, DeepV2DSettings
from engine.deepv2d.evidence import solve_deepv2d
from engine.errors import DepthError
from engine.networks.deepv2d import load_deepv2d
from engine.progress import Silent
from tests.engine.depth.scene import plane_clip

CPU = torch.device("cpu")
HELD = DeepV2DSettings(rounds=1, views=3, looks=0)


class StoppedError(Exception):
    pass


class StopAfter(Silent):
    """Cancels when it has been asked `steps` times."""

    def __init__(self, steps):
        self.left = steps

    def step(self, done, total, message):
        self.left -= 1
        if self.left < 0:
            raise StoppedError


@pytest.fixture(scope="module")
def network():
    return load_deepv2d(CPU)


@pytest.fixture(scope="module")
def plane():
    clip, depth = plane_clip(5, width=96, height=64)
    return clip, depth.reshape(5, 32, 2, 48, 2).mean((2, 4))


def test_depth_of_every_frame_at_given_poses(network, plane, tmp_path: Path) -> None:
    clip, truth = plane
    found = Alternation(network, clip, True, HELD, CPU).run(tmp_path, Silent())
    assert found.depth.shape == found.certainty.shape == truth.shape
    assert np.abs(found.depth / truth - 1.0).mean() < 0.1
    assert found.certainty.min() >= 0.0 and found.certainty.max() <= 1.0
    np.testing.assert_allclose(found.world_from_camera, clip.world_from_camera, atol=1e-6)
    assert found.lens == clip.lens


def test_the_clips_unit_of_length_is_kept(network, plane, tmp_path: Path) -> None:
    clip, _ = plane
    (tmp_path / "large").mkdir()
    small = Alternation(network, clip, True, HELD, CPU).run(tmp_path, Silent())
    large = Alternation(network, clip.scaled(7.0), True, HELD, CPU).run(tmp_path / "large", Silent())
    np.testing.assert_allclose(large.depth, 7.0 * small.depth, rtol=1e-3)


def test_without_poses_every_frame_gets_one_and_a_common_scale(network, plane, tmp_path: Path) -> None:
    clip, _ = plane
    lost = replace(clip, world_from_camera=np.tile(np.eye(4), (5, 1, 1)), sparse=())
    settings = DeepV2DSettings(rounds=2, views=3)
    found = Alternation(network, lost, False, settings, CPU).run(tmp_path, Silent())
    assert np.median(1.0 / found.depth) == pytest.approx(1.0, rel=1e-3)
    rotation = found.world_from_camera[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.swapaxes(1, 2), np.tile(np.eye(3), (5, 1, 1)), atol=1e-4)
    np.testing.assert_allclose(found.world_from_camera[0], np.eye(4), atol=1e-6)
    places = found.world_from_camera[:, :3, 3]
    assert all(np.linalg.norm(b - a) > 1e-4 for a, b in itertools.pairwise(places))
    assert (found.miss_px > 0).all()


def test_a_killed_run_goes_on_where_it_was(network, plane, tmp_path: Path) -> None:
    clip, _ = plane
    settings = DeepV2DSettings(rounds=2, views=3, looks=1)
    (tmp_path / "whole").mkdir()
    expected = Alternation(network, clip, True, settings, CPU).run(tmp_path / "whole", Silent())
    with pytest.raises(StoppedError):
        Alternation(network, clip, True, settings, CPU).run(tmp_path, StopAfter(9))
    assert (tmp_path / "state.npz").exists()
    found = Alternation(network, clip, True, settings, CPU).run(tmp_path, Silent())
    assert np.array_equal(found.depth, expected.depth)
    assert np.array_equal(found.world_from_camera, expected.world_from_camera)


def test_the_stage_writes_evidence(network, plane, tmp_path: Path) -> None:
    clip, truth = plane
    solve_deepv2d(clip, HELD, tmp_path, CPU, Silent())
    misses = []
    for row, number in enumerate(clip.numbers.tolist()):
        found = DepthFrames(tmp_path, clip.half_lens, "clip")
        depth, confidence = found.load(number).values, found.confidence(number)
        assert depth.shape == confidence.shape == truth[row].shape
        assert ((depth > 0) == (confidence > 0)).all()
        misses.append((depth / truth[row] - 1.0)[depth > 0])
    misses = np.abs(np.concatenate(misses))
    assert misses.size > 0.02 * truth.size
    assert misses.mean() < 0.08


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(DepthError, match="cannot be used") as raised:
        load_deepv2d(CPU, tmp_path / "broken.safetensors")
    assert raised.value.code == "depth.weights"
