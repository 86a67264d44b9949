"""Figures of depth edges on steps whose place is known."""

import numpy as np
import pytest

from engine.evaluation import edges

NEAR, FAR = 2.0, 5.0
LENS = (200.0, 200.0, 100.0, 60.0)


def step(column, rows=120, columns=200):
    """A card on the left of `column` before a wall."""
    return np.where(np.arange(columns) < column, NEAR, FAR)[None].repeat(rows, axis=0).astype(np.float32)


def disc(radius):
    y, x = np.mgrid[:161, :161] - 80
    return np.where(x * x + y * y < radius * radius, NEAR, FAR).astype(np.float32)


def test_an_edge_is_the_near_side_of_a_jump_and_a_hole_makes_none() -> None:
    depth = step(80)
    depth[:, :20] = 0.0
    expected = np.zeros(depth.shape, bool)
    expected[:, 79] = True
    assert (edges.depth_edges(depth, 1.25) == expected).all()
    assert not edges.depth_edges(depth, 2.6).any()


@pytest.mark.parametrize(("shift", "tolerance", "expected"), [(0, 1, 1.0), (1, 1, 1.0), (2, 1, 0.0), (2, 2, 1.0)])
def test_boundary_f_counts_an_edge_within_the_tolerance(shift, tolerance, expected) -> None:
    assert edges.depth_boundary_f(3.0 * step(80 + shift), step(80), tolerance) == expected


def test_boundary_f_is_two_thirds_when_one_of_two_edges_is_missing() -> None:
    both = np.minimum(step(60), step(40)[:, ::-1])
    assert edges.depth_boundary_f(step(60), both, 1) == pytest.approx(2.0 / 3.0)


def test_a_ramp_loses_precision_though_its_middle_is_right() -> None:
    ramp = np.interp(np.arange(200), [70, 90], [NEAR, FAR])[None].repeat(120, axis=0)
    assert edges.depth_boundary_f(ramp, step(80), 1) < 0.5


def test_halo_counts_depth_between_and_beyond_but_not_a_shifted_edge() -> None:
    true, between, beyond = step(80), step(80), step(80)
    assert edges.halo_share(2.0 * step(81), true, 0.5) == 0.0
    band = 2 * edges.BAND_PX  # columns: three to either side of the edge
    between[:, 80] = 3.2
    assert edges.halo_share(between, true, 1.0) == pytest.approx(1.0 / band)
    beyond[:, 80:82] = 7.0
    assert edges.halo_share(beyond, true, 1.0) == pytest.approx(2.0 / band)
    assert edges.halo_share(true, np.full_like(true, FAR), 1.0) is None


@pytest.mark.parametrize("shift", [-3, 0, 2, 5])
def test_offset_is_the_shift_of_the_edge(shift) -> None:
    true = step(80)
    offsets = edges.edge_offsets(step(80 + shift) * 4.0, true, edges.true_outline(true), 0.25)
    assert np.isfinite(offsets).all()
    assert np.allclose(offsets, shift)


def test_offset_is_measured_across_a_round_outline() -> None:
    offsets = edges.edge_offsets(disc(44), disc(40), edges.true_outline(disc(40)), 1.0)
    assert np.isfinite(offsets).mean() > 0.9
    assert np.nanmean(offsets) == pytest.approx(4.0, abs=0.25)


def test_a_thin_thing_has_no_offset() -> None:
    post = np.where(np.abs(np.arange(200) - 100) < 3, NEAR, FAR)[None].repeat(120, axis=0)
    assert len(edges.true_outline(post).pixel) == 0


def moved_by(pixels):
    """The camera goes left, so that near things go right by that many pixels."""
    transform = np.eye(4)
    transform[0, 3] = pixels * NEAR / LENS[0]
    return transform


@pytest.mark.parametrize("slip", [-2, 0, 1, 3])
def test_crawl_is_what_the_edge_moves_beyond_the_camera(slip) -> None:
    outline = edges.true_outline(step(80))
    crawl = edges.edge_crawl((step(82), step(82 + 6 + slip)), outline, 1.0, LENS, moved_by(6))
    assert np.isfinite(crawl).all()
    assert np.allclose(crawl, abs(slip)), "a constant error does not crawl"


def test_the_figures_of_a_frame_without_edges_leave_out_what_it_cannot_tell() -> None:
    flat = np.full((120, 200), FAR, np.float32)
    assert edges.edge_figures(flat, flat, 1.0) == {"depth_boundary_f1": 1.0, "depth_boundary_f2": 1.0}
    assert edges.crawl_figures((flat, flat), flat, 1.0, LENS, moved_by(2)) == {}
    assert edges.edge_figures(step(83), step(80), 1.0)["edge_offset_px"] == pytest.approx(3.0)
