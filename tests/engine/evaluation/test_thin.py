"""Near things, thin things and gaps on arrays whose answer can be counted."""

import numpy as np
import pytest

from engine.evaluation import thin

NEAR, FAR = 1.0, 4.0


def bars(*spans, rows=60, columns=200):
    """Bars over the whole height at these (first, behind the last) columns, before a wall."""
    depth = np.full((rows, columns), FAR, np.float32)
    for first, end in spans:
        depth[:, first:end] = NEAR
    return depth


def columns(mask):
    """Columns of a mask that is the same in every row."""
    assert (mask == mask[:1]).all()
    return np.flatnonzero(mask[0]).tolist()


def shares(depth, true, scale=1.0):
    counted = thin.Shares()
    counted.add(depth, true, scale)
    return counted.summary()


@pytest.mark.parametrize(("wide", "found"), [(1, True), (12, True), (13, False), (40, False)])
def test_a_thing_is_thin_below_thirteen_pixels(wide, found) -> None:
    mask, behind = thin.thin_things(bars((80, 80 + wide)))
    assert columns(mask) == (list(range(80, 80 + wide)) if found else [])
    assert not found or (behind[mask] == FAR).all()


@pytest.mark.parametrize(("wide", "found"), [(1, True), (30, True), (31, False), (60, False)])
def test_a_gap_is_narrow_below_thirty_one_pixels(wide, found) -> None:
    mask, before = thin.gaps(bars((20, 80), (80 + wide, 190)))
    assert columns(mask) == (list(range(80, 80 + wide)) if found else [])
    assert not found or (before[mask] == NEAR).all()


def test_width_is_measured_across_whichever_way_a_thing_goes() -> None:
    y, x = np.mgrid[:120, :120]
    for width, found in ((11.0, 1.0), (15.0, 0.0)):
        bar = np.abs(x - y) < width / 2 * np.sqrt(2)
        mask, _ = thin.thin_things(np.where(bar, NEAR, FAR).astype(np.float32))
        inner = (slice(20, -20),) * 2
        assert mask[inner][bar[inner]].mean() == pytest.approx(found, abs=0.02)


def test_a_slope_is_neither_thin_nor_a_gap_and_what_has_no_value_bounds_nothing() -> None:
    slope = np.geomspace(1.0, 1000.0, 200)[None].repeat(60, axis=0).astype(np.float32)
    assert not thin.thin_things(slope)[0].any() and not thin.gaps(slope)[0].any()
    holes = np.full((60, 200), FAR, np.float32)
    holes[:, 50:55] = 0.0
    assert not thin.thin_things(holes)[0].any() and not thin.gaps(holes)[0].any()
    assert not thin.thin_things(np.zeros((60, 200)))[0].any() and not thin.gaps(np.zeros((60, 200)))[0].any()


def test_near_is_what_is_nearer_than_half_of_the_median() -> None:
    true = np.array([[0.0, 0.9, 1.1, 2.0, 2.0, 2.0, 5.0]], np.float32)  # median of the known: 2
    assert thin.near_things(true).tolist() == [[False, True, False, False, False, False, False]]
    assert not thin.near_things(np.zeros((2, 2))).any()


def test_exact_depth_has_every_share_whatever_its_scale() -> None:
    true = bars((60, 64), (80, 84), (100, 104))
    assert shares(true / 7.0, true, 7.0) == {"near_share": 1, "thin_recall": 1, "gap_share": 1, "gap_recall": 1}


def test_a_slab_in_place_of_bars_recalls_the_bars_and_loses_the_gaps() -> None:
    true, slab = bars((60, 64), (80, 84)), bars((60, 84))
    assert shares(slab, true) == {"near_share": 1, "thin_recall": 1, "gap_share": 0, "gap_recall": 0}


def test_a_wall_in_place_of_bars_loses_the_bars_and_sees_through_the_gaps() -> None:
    true, wall = bars((60, 64), (80, 84)), bars()
    assert shares(wall, true) == {"near_share": 0, "thin_recall": 0, "gap_share": 1, "gap_recall": 1}


def test_between_two_surfaces_the_nearer_in_the_logarithm_counts_and_right_is_ten_percent() -> None:
    true = bars((60, 64), (80, 84))
    for depth, recalled in ((1.9, 1.0), (2.1, 0.0)):
        assert shares(np.where(true == NEAR, depth, true), true)["thin_recall"] == recalled
    for depth, seen, right in ((1.9, 0.0, 0.0), (2.1, 1.0, 0.0), (3.7, 1.0, 1.0), (4.5, 1.0, 0.0)):
        found = shares(np.where(true == FAR, depth, true), true)
        assert (found["gap_recall"], found["gap_share"]) == (seen, right)


def test_holes_are_wrong_and_frames_count_by_their_pixels() -> None:
    true = bars((60, 64), (80, 84))
    half = true.copy()
    half[:30] = 0.0
    half[:3] = np.nan
    assert set(shares(half, true).values()) == {0.5}
    counted = thin.Shares()
    counted.add(true, true, 1.0)
    counted.add(np.zeros((20, 200)), true[:20], 1.0)
    assert counted.summary()["thin_recall"] == pytest.approx(60 / 80)


def test_a_plain_wall_has_no_shares() -> None:
    assert shares(bars(), bars()) == {}
