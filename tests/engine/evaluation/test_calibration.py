"""The reliability diagram of pixels that can be counted."""

import numpy as np
import pytest

from engine.evaluation.calibration import BINS, Reliability


def told(confidence, right, true=2.0, wrong=3.0):
    """A row of pixels: confidence and which of them are right."""
    confidence, right = np.array([confidence], float), np.array([right], bool)
    reliability = Reliability()
    reliability.add(confidence, np.where(right, true, wrong) / 4.0, np.full(right.shape, true), 4.0)
    return reliability


def test_bins_hold_the_pixels_of_their_tenth() -> None:
    bins = told([0.0, 0.06, 0.55, 0.57, 0.59, 1.0], [0, 1, 1, 1, 0, 1]).bins()
    assert len(bins) == BINS and [b.pixels for b in bins] == [2, 0, 0, 0, 0, 3, 0, 0, 0, 1]
    assert (bins[0].confidence, bins[0].right) == pytest.approx((0.03, 0.5))
    assert (bins[5].confidence, bins[5].right) == pytest.approx((0.57, 2 / 3))
    assert (bins[9].confidence, bins[9].right) == (1.0, 1.0)


def test_five_percent_is_right_and_more_is_not() -> None:
    reliability = Reliability()
    reliability.add(np.full((1, 4), 0.95), np.array([[1.049, 0.951, 1.051, 0.949]]), np.ones((1, 4)), 1.0)
    assert reliability.bins()[9].right == 0.5


def test_the_error_of_what_is_sure_leaves_the_rest_out() -> None:
    figures = told([0.9, 0.51, 0.5, 0.1], [1, 0, 0, 0]).summary()
    assert figures["conf_absrel"] == pytest.approx(0.25)
    assert figures["conf_cover"] == 0.5
    assert "conf_absrel" not in told([0.5, 0.2], [1, 1]).summary()


def test_calibration_error_is_the_gap_between_what_is_said_and_what_is() -> None:
    right = np.arange(100) < 80
    assert told(np.full(100, 0.8), right).summary()["conf_error"] == pytest.approx(0.0)
    assert told(np.full(100, 0.5), right).summary()["conf_error"] == pytest.approx(0.3)


def test_the_sure_share_ends_where_fewer_than_95_of_100_are_right() -> None:
    confidence = np.repeat([0.9, 0.7, 0.3], [100, 100, 200])
    right = np.concatenate([np.arange(100) < 99, np.arange(100) < 91, np.arange(200) < 100])
    assert told(confidence, right).summary()["sure_share"] == pytest.approx(200 / 400)  # 190 of 200
    right[:2] = False
    assert told(confidence, right).summary()["sure_share"] == pytest.approx(100 / 400)  # 97 of 100, 188 of 200
    assert told(confidence, np.zeros(400)).summary()["sure_share"] == 0.0
    assert told(confidence, np.ones(400)).summary()["sure_share"] == 1.0


def test_holes_are_wrong_and_unsure_and_what_has_no_truth_does_not_count() -> None:
    reliability = Reliability()
    depth, true = np.array([[0.0, np.nan, 1.0, 1.0]]), np.array([[1.0, 1.0, 1.0, 0.0]])
    reliability.add(np.ones((1, 4)), depth, true, 1.0)
    bins = reliability.bins()
    assert (bins[0].pixels, bins[0].confidence, bins[0].right) == (2, 0.0, 0.0)
    assert (bins[9].pixels, bins[9].right) == (1, 1.0)
    assert reliability.summary()["sure_share"] == pytest.approx(1 / 3)
    assert Reliability().summary() == {}
