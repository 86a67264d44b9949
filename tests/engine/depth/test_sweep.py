"""Plane sweep and prior on a slanted plane."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.clip.depth_map import DepthFrames
from engine.clip.views import choose_views, inverse_depth_range
from engine.depth.evidence import _without_speckles, solve_evidence
from engine.depth.settings import PRESETS
from engine.depth.sweep import box_mean, semi_global, sweep
from engine.errors import Cancelled
from engine.geometry.arrays import rigid_inverse
from engine.progress import Silent
from tests.engine.depth.scene import plane_clip


def test_box_mean_is_the_mean_of_the_window() -> None:
    image = torch.rand(2, 9, 11, dtype=torch.float64)
    mean = box_mean(image, 2)
    assert torch.allclose(mean[:, 4, 5], image[:, 2:7, 3:8].mean(dim=(1, 2)))
    assert torch.allclose(box_mean(torch.ones(5, 6), 2), torch.ones(5, 6))


def test_semi_global_matching_overrules_a_lone_pixel_but_not_an_edge() -> None:
    cost = torch.ones(8, 12, 12)
    cost[2, :, :6] = 0.0
    cost[6, :, 6:] = 0.0
    cost[:, 5, 3] = 1.0
    cost[7, 5, 3] = 0.9  # a little better than the surroundings' depth
    guide = torch.zeros(12, 12)
    guide[:, 6:] = 1.0
    best = semi_global(cost, guide, 0.1, 1.0).argmin(0)
    assert (best[:, :6] == 2).all()
    assert (best[:, 6:] == 6).all()


@pytest.fixture(scope="module")
def scene():
    return plane_clip(6, 192, 128)


def test_the_sweep_finds_a_slanted_plane(scene) -> None:
    clip, depths = scene
    grey = torch.tensor(clip.images.mean(axis=-1) / 255.0, dtype=torch.float32)
    row = 2
    views = choose_views(clip, row, 4)
    relative = rigid_inverse(clip.world_from_camera[views]) @ clip.world_from_camera[row]
    depth, score = sweep(
        grey[row],
        grey[views.tolist()],
        torch.tensor(clip.lens.matrix(), dtype=torch.float32),
        torch.tensor(relative, dtype=torch.float32),
        torch.linspace(*inverse_depth_range(clip, row), 48),
    )
    error = np.abs(depth.numpy() / depths[row] - 1.0)[4:-4, 4:-4]
    assert np.median(error) < 0.01
    assert (error < 0.05).mean() > 0.97
    assert np.median(score.numpy()) > 0.9


def test_views_lie_on_both_sides_and_never_are_the_frame_itself(scene) -> None:
    clip, _ = scene
    assert set(choose_views(clip, 2, 4)) <= {0, 1, 3, 4, 5}
    assert (choose_views(clip, 2, 4) < 2).sum() == 2
    assert list(choose_views(clip, 0, 3)) == sorted(set(choose_views(clip, 0, 3)))
    assert len(choose_views(clip, 0, 3)) == 3


def test_the_range_holds_the_scene(scene) -> None:
    clip, depths = scene
    far, near = inverse_depth_range(clip, 3)
    assert far < 1.0 / depths[3].max()
    assert near > 1.0 / depths[3].min()


class StopAfter(Silent):
    """Cancels, as a user would, after some steps."""

    def __init__(self, steps):
        self.left = steps

    def step(self, done, total, message):
        self.left -= 1
        if self.left < 0:
            raise Cancelled


def test_the_prior_is_right_where_it_is_sure_and_survives_a_kill(scene, tmp_path: Path) -> None:
    clip, depths = scene
    settings, device = PRESETS["preview"], torch.device("cpu")
    solve_evidence(clip, settings, tmp_path / "whole", device, Silent())
    for steps in (2, 6, 3):
        with pytest.raises(Cancelled):
            solve_evidence(clip, settings, tmp_path / "cut", device, StopAfter(steps))
    solve_evidence(clip, settings, tmp_path / "cut", device, Silent())
    for row, number in enumerate(clip.numbers):
        found = DepthFrames(tmp_path / "whole", clip.half_lens, "clip")
        again = DepthFrames(tmp_path / "cut", clip.half_lens, "clip").load(number)
        depth, confidence = found.load(number).values, found.confidence(number)
        assert (depth == again.values).all()
        truth = depths[row].reshape(64, 2, 96, 2).mean(axis=(1, 3))
        assert ((depth > 0) == (confidence > 0)).mean() > 0.999
        sure = confidence > 0.5
        assert sure.mean() > 0.5
        assert (np.abs(depth[sure] / truth[sure] - 1.0) < 0.05).mean() > 0.97


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_islands_are_dropped_and_surfaces_kept_in_any_unit(unit) -> None:
    depth = np.full((40, 60), 2.0 * unit, np.float32)
    depth[:, 30:] = 3.0 * unit
    depth[:, 28:31] = 0.0
    depth[10:13, 10:14] = 9.0 * unit
    kept, confidence = _without_speckles(depth, np.ones_like(depth))
    assert (kept[10:13, 10:14] == 0).all()
    assert (confidence[10:13, 10:14] == 0).all()
    outside = np.ones_like(depth, bool)
    outside[10:13, 10:14] = False
    assert (kept[outside] == depth[outside]).all()
