"""Raw values to the clip's units: exact where the points are, steady where they are not, never wrong in silence."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import PriorError
from engine.priors.align import FAR, align


def points(count=60, frames=8, seed=0):
    """Depth (M,) at the sparse points of each frame."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(2.0, 12.0, count) for _ in range(frames)]


def numbers(frames):
    return list(range(101, 101 + len(frames)))


def relative_error(alignment, raws, depths):
    return max(
        np.abs(alignment.depth(row, raw) / z - 1).max() for row, (raw, z) in enumerate(zip(raws, depths, strict=True))
    )


@settings(max_examples=25, deadline=None)
@example(1.0, 5.0, 52)  # frames far apart in shift: even a weak tie between them showed
@given(st.floats(1e-3, 1e3), st.floats(-5.0, 5.0), st.integers(0, 1000))
def test_an_affine_of_disparity_comes_out_as_depth_whatever_each_frame_chose(scale, shift, seed) -> None:
    rng = np.random.default_rng(seed)
    depths = points(seed=seed)
    raws = [(1 / z - shift * rng.normal(1, 0.1)) / (scale * rng.uniform(0.7, 1.4)) for z in depths]
    assert (
        relative_error(align("disparity", numbers(depths), list(zip(raws, depths, strict=True))), raws, depths) < 1e-4
    )


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_depth_up_to_each_frames_own_scale(scale, seed) -> None:
    rng = np.random.default_rng(seed)
    depths = points(seed=seed)
    raws = [z / (scale * rng.uniform(0.7, 1.4)) for z in depths]
    assert relative_error(align("depth", numbers(depths), list(zip(raws, depths, strict=True))), raws, depths) < 1e-4


@pytest.mark.parametrize("output", ["disparity", "depth", "units"])
def test_a_quarter_of_the_points_may_be_anywhere(output) -> None:
    rng = np.random.default_rng(1)
    depths = points(200)
    raws = [3.0 / z + 1.0 if output == "disparity" else z / 3.0 for z in depths]
    seen = [np.where(np.arange(200) < 50, rng.permutation(z), z) for z in depths]
    assert relative_error(align(output, numbers(depths), list(zip(raws, seen, strict=True))), raws, depths) < 0.01


def test_maps_in_one_unit_keep_it_over_the_whole_clip() -> None:
    depths = points()
    raws = [z * 1000.0 * (1.1 if row == 3 else 1.0) for row, z in enumerate(depths)]
    samples = list(zip(raws, depths, strict=True))
    alignment = align("units", numbers(depths), samples)
    assert alignment.scale == pytest.approx(np.full(8, 0.001))
    assert align("depth", numbers(depths), samples).scale[3] == pytest.approx(0.001 / 1.1, rel=1e-4)


def test_metres_stay_metres() -> None:
    raw = np.array([[0.5, 80.0], [np.inf, np.nan], [0.0, -1.0]], np.float32)
    depth = align("metric", [1, 2], [(np.ones(3), np.full(3, 7.0))] * 2).depth(1, raw)
    assert depth.tolist() == [[0.5, 80.0], [0.0, 0.0], [0.0, 0.0]]
    assert depth.dtype == np.float32


def test_a_frame_without_points_goes_with_its_neighbours_by_frame_number() -> None:
    depths = points(frames=4)
    raws = [(1 / z - 0.02) / (0.1 * factor) for z, factor in zip(depths, (1.0, 1.0, 1.3, 1.6), strict=True)]
    samples = [
        pair if row != 2 else (np.zeros(0), np.zeros(0)) for row, pair in enumerate(zip(raws, depths, strict=True))
    ]
    # Frame 102 is two frames from 104 and 104 one from 105: a third and two thirds of the way.
    alignment = align("disparity", [101, 102, 104, 105], samples)
    assert alignment.scale == pytest.approx([0.1, 0.1, 0.1 + 0.06 * 2 / 3, 0.16], rel=1e-3)
    assert alignment.shift == pytest.approx(np.full(4, 0.02), abs=1e-3)


def test_beyond_the_farthest_point_disparity_is_held_at_a_far_limit() -> None:
    depths = points()
    raws = [1 / z for z in depths]
    alignment = align("disparity", numbers(depths), list(zip(raws, depths, strict=True)))
    far = FAR * np.quantile(np.concatenate(depths), 0.99)
    assert alignment.depth(0, np.array([0.0, -3.0, 1e-9])) == pytest.approx(np.full(3, far))
    assert alignment.depth(0, np.array([np.nan])) == 0


def test_values_that_are_not_there_do_not_count() -> None:
    depths = points()
    raws = [np.where(np.arange(60) % 2, z / 2.0, np.nan) for z in depths]
    assert align("depth", numbers(depths), list(zip(raws, depths, strict=True))).scale == pytest.approx(np.full(8, 2.0))


def noisy(jumps, seed=5):
    """Fit of frames of few points, 10 % off each, to a network whose scale is `jumps`; and each frame fitted alone."""
    rng = np.random.default_rng(seed)
    depths = points(30, len(jumps))
    raws = [(1 / z) / jump * rng.normal(1.0, 0.1, 30) for z, jump in zip(depths, jumps, strict=True)]
    alone = np.array([np.polyfit(raw, 1 / z, 1)[0] for raw, z in zip(raws, depths, strict=True)])
    return align("disparity", numbers(depths), list(zip(raws, depths, strict=True))), alone


def flicker(values):
    return np.abs(np.diff(values) / values[1:]).mean()


def test_a_steady_network_does_not_flicker_because_of_its_points() -> None:
    alignment, alone = noisy(np.ones(80))
    assert flicker(alone) > 0.05
    assert flicker(alignment.scale) < flicker(alone) / 5


def test_a_network_that_flickers_is_followed() -> None:
    jumps = np.random.default_rng(2).uniform(0.6, 1.6, 80)
    alignment, _ = noisy(jumps)
    ratio = alignment.scale / jumps
    assert np.abs(ratio / np.median(ratio) - 1).mean() < 0.1  # one number for the clip would give 0.25


@pytest.mark.parametrize("stored", [lambda z: z, lambda z: z * 0 + 3.0])
def test_what_is_no_disparity_is_found_out(stored) -> None:
    depths = points()
    with pytest.raises(PriorError, match="not disparity") as failure:
        align("disparity", numbers(depths), [(stored(z), z) for z in depths])
    assert failure.value.code == "prior.inverted"


def test_a_frame_that_is_inverted_takes_its_neighbours_fit() -> None:
    depths = points()
    raws = [-1 / z if row == 4 else 1 / z for row, z in enumerate(depths)]
    alignment = align("disparity", numbers(depths), list(zip(raws, depths, strict=True)))
    assert alignment.scale == pytest.approx(np.ones(8), rel=0.01)


@pytest.mark.parametrize("output", ["disparity", "depth", "units"])
def test_no_values_at_any_point(output) -> None:
    depths = points()
    with pytest.raises(PriorError) as failure:
        align(output, numbers(depths), [(np.full(60, np.nan), z) for z in depths])
    assert failure.value.code == "prior.no_points"
