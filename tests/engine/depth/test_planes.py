"""Planes through plain regions of a picture with a textured frame around them."""

import numpy as np
import pytest

from engine.depth.planes import plain_planes

HEIGHT, WIDTH = 120, 160
INSIDE = np.s_[30:90, 40:120]


def disparity_of(slope: float) -> np.ndarray:
    line, column = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray(1.0 + slope * (column - 80) + 0.5 * slope * (line - 60), np.float32)


def scene(slope: float = 0.004):
    """Picture, disparity and confidence: a plane, plain and not measured inside, textured and measured around."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    image[INSIDE] = (90, 140, 60)
    confidence = np.ones((HEIGHT, WIDTH), np.float32)
    confidence[34:86, 44:116] = 0.0  # windows reach a little into the plain
    disparity = disparity_of(slope)
    disparity += np.float32(0.005) * rng.normal(size=disparity.shape).astype(np.float32)
    return image, np.where(confidence > 0, disparity, np.float32(0.0)), confidence


MIDDLE = np.s_[40:80, 50:110]


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e3])
def test_a_plain_surface_is_flat_whatever_the_unit(unit) -> None:
    image, disparity, confidence = scene()
    found, weight = plain_planes(image, disparity * np.float32(unit), confidence)
    assert np.abs(found[MIDDLE] / unit / disparity_of(0.004)[MIDDLE] - 1.0).max() < 0.01
    assert weight[MIDDLE].min() > 0.8
    assert (weight[:20] == 0).all()


def test_what_stands_before_a_plane_does_not_bend_it() -> None:
    image, disparity, confidence = scene()
    disparity[80:86, 44:116], confidence[80:86, 44:116] = 2.5, 1.0  # the edge of something near, fattened
    found, weight = plain_planes(image, disparity, confidence)
    there = np.s_[40:75, 50:110]
    assert np.abs(found[there] / disparity_of(0.004)[there] - 1.0).max() < 0.02
    assert 0.5 < weight[there].max() < 0.95


def test_what_is_no_plane_gets_none() -> None:
    image, _, confidence = scene()
    line, column = np.mgrid[:HEIGHT, :WIDTH]
    round_ = (1.0 + 1.5 * np.hypot(line - 60, column - 80) / 60).astype(np.float32)
    _, weight = plain_planes(image, np.where(confidence > 0, round_, np.float32(0)), confidence)
    assert (weight == 0).all()


def test_a_plane_is_trusted_less_the_farther_away_it_was_measured() -> None:
    image, disparity, confidence = scene()
    confidence[:, 48:] = 0.0
    _, weight = plain_planes(image, disparity, confidence)
    row = weight[60, 50:118]
    assert row[0] > 0.5
    assert (np.diff(row) <= 1e-6).all()
    assert row[-1] < 0.5 * row[0]


def test_nothing_measured_is_no_plane() -> None:
    image, disparity, _ = scene()
    _, weight = plain_planes(image, disparity, np.zeros_like(disparity))
    assert (weight == 0).all()
