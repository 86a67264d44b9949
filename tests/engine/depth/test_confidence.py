"""What views say of a depth, and the probability that it is right."""

import numpy as np
import pytest
import torch

from engine.depth.agreement import agreement
from engine.depth.confidence import (
    MEASURED,
    features,
    guessed_probability,
    probability,
    probability_in_company,
)
from engine.geometry.arrays import Lens

LENS = Lens("PINHOLE", 40, 30, 40.0, 40.0, 20.0, 15.0)


def moved(x: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


POSES = np.stack([moved(x) for x in (-0.1, 0.0, 0.1)])


def asked(*depths: torch.Tensor):
    """Of the middle one of three frames side by side."""
    return agreement(lambda row: depths[row], 1, (0, 2), POSES, LENS)


def test_views_that_see_the_same_surface_agree_and_are_averaged() -> None:
    wall = torch.full((30, 40), 4.0)
    found = asked(wall * 1.02, wall, wall * 1.02)
    inner = np.s_[2:-2, 3:-3]
    assert (found.votes[inner] == 2).all()
    assert (found.seen[inner] == 2).all()
    assert found.depth[15, 20].item() == pytest.approx(4.0 * 3 / (1 + 2 / 1.02), rel=1e-3)


def test_a_view_that_sees_through_a_depth_speaks_against_it() -> None:
    wall = torch.full((30, 40), 4.0)
    found = asked(wall, torch.full((30, 40), 2.0), wall)
    assert (found.votes == 0).all()
    assert (found.seen[:, 5:-5] == 2).all()


def test_a_view_with_something_before_the_point_does_not_count() -> None:
    wall = torch.full((30, 40), 4.0)
    found = asked(torch.full((30, 40), 1.0), wall, wall)
    assert (found.votes[2:-2, 3:-3] == 1).all()
    assert (found.seen[2:-2, 3:-3] == 1).all()


def told(found, grey=None, score=0.6, depth=None):
    grey = torch.rand((30, 40), generator=torch.Generator().manual_seed(0)) if grey is None else grey
    depth = torch.full((30, 40), 4.0) if depth is None else depth
    return probability(features(grey, depth, torch.full((30, 40), score), found))[15, 20].item()


def test_agreeing_views_a_good_match_and_a_smooth_surface_make_a_depth_likely() -> None:
    wall = torch.full((30, 40), 4.0)
    agreed, alone = asked(wall, wall, wall), asked(wall, torch.full((30, 40), 2.0), wall)
    rough = 4.0 + torch.rand((30, 40), generator=torch.Generator().manual_seed(1))
    assert told(agreed) > MEASURED
    assert told(agreed) > told(alone)
    assert told(agreed) > told(agreed, score=0.1)
    assert told(agreed) > told(agreed, depth=rough)


def test_a_lone_match_is_less_likely_right_than_one_among_many() -> None:
    dense, lone = torch.full((1, 120, 160), 0.6), torch.zeros((1, 120, 160))
    lone[0, 60, 80] = 0.6
    among, alone = (probability_in_company(confidence)[0] for confidence in (dense, lone))
    assert among[60, 80] == pytest.approx(0.6, abs=0.06)
    assert alone[60, 80] < 0.2
    assert (alone > 0).sum() == 1


def test_a_guess_is_the_less_likely_the_farther_away_it_was_measured_and_the_more_the_network_differs() -> None:
    measured = torch.zeros((1, 30, 40), dtype=torch.bool)
    measured[:, :, :10] = True
    fused, network = torch.zeros((1, 30, 40)), torch.zeros((1, 30, 40))
    likely = guessed_probability(fused, network, measured)[0, 15]
    assert likely[10] > likely[11] > likely[13]
    assert (guessed_probability(fused, network + 0.3, measured)[0, 15, 11:] < likely[11:]).all()
    assert ((likely > 0) & (likely < 1)).all()
