"""Figures of each region of a frame."""

import json

import numpy as np
import pytest

from engine.depth import regions
from engine.depth.regions import GRID, Regions

ROWS, COLUMNS = GRID
SHAPE = (ROWS * 10, COLUMNS * 10)


def test_shares_count_static_pixels_only() -> None:
    measured, moving = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    confidence = np.full(SHAPE, 0.4, np.float32)
    measured[:10, :5] = True
    moving[:10, 5:8] = True
    confidence[moving] = 0.0
    moving[-10:, -10:] = True
    got_measured, right, moves = regions.frame_regions(confidence, measured, moving)
    assert got_measured[0, 0] == pytest.approx(5 / 7)
    assert right[0, 0] == pytest.approx(0.4)
    assert moves[0, 0] == pytest.approx(0.3)
    assert np.isnan(got_measured[-1, -1]) and np.isnan(right[-1, -1]) and moves[-1, -1] == 1.0
    assert got_measured[1, 1] == 0.0


def test_flow_is_a_median_where_enough_is_believed() -> None:
    miss, believed = np.zeros(SHAPE), np.ones(SHAPE, bool)
    miss[:10, :10] = 3.0
    miss[0, 0] = 1e6
    believed[:10, 10:20] = False
    believed[0, 10] = True
    found = regions.flow_regions(miss, believed)
    assert found[0, 0] == 3.0
    assert np.isnan(found[0, 1])
    assert found[0, 2] == 0.0


def test_tracks_are_compared_with_the_depth_of_their_pixels() -> None:
    depth = np.full(SHAPE, 2.0, np.float32)
    depth[:10, :10] = 4.0
    depth[5, 65] = 0.0
    pixels = np.array([[0.01, 0.01]] * 3 + [[0.5, 0.5]] * 2 + [[1.0, 1.0]] * 3 + [[0.82, 0.09]] * 3)
    found = regions.track_regions(depth, pixels, np.array([2.0] * 8 + [1.0] * 3))
    assert found[0, 0] == pytest.approx(1.0)
    assert found[-1, -1] == 0.0
    assert np.isfinite(found).sum() == 2, "two tracks are too few, and no depth is no difference"


def test_the_median_over_pairs_passes_over_those_that_know_nothing() -> None:
    one, two = np.full(GRID, 1.0), np.full(GRID, 3.0)
    one[0, 0] = two[0, 0] = np.nan
    two[0, 1] = np.nan
    found = regions.median_over([one, two])
    assert np.isnan(found[0, 0]) and found[0, 1] == 1.0 and found[1, 1] == 2.0
    assert np.isnan(regions.median_over([])).all()


def test_what_is_written_is_read_again() -> None:
    values = np.arange(2 * ROWS * COLUMNS, dtype=np.float64).reshape(2, ROWS, COLUMNS) / 128.0
    values[1, 2, 3] = np.nan
    made = regions.stack([7, 12], [[frame] * 5 for frame in values])
    read = Regions.read(json.loads(json.dumps(made.document(), allow_nan=False)))
    assert read.numbers == (7, 12)
    np.testing.assert_allclose(read.tracks, values, atol=1e-4)
    assert Regions.read({}).numbers == ()
