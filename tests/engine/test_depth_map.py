"""Depth as stages hand it to each other."""

from pathlib import Path

import numpy as np
import pytest

from engine.clip.depth_map import DepthFrames, DepthMap
from engine.geometry.arrays import Lens

LENS = Lens("SIMPLE_PINHOLE", 8, 6, 7.0, 7.0, 4.0, 3.0)
DEPTH = np.arange(48, dtype=np.float32).reshape(6, 8)


def test_inverse_depth_says_that_it_is_and_keeps_what_is_unknown() -> None:
    there = DepthMap(DEPTH, LENS, "clip").inverse()
    assert there.representation == "inverse depth"
    assert there.values[0, 0] == 0
    assert there.values[0, 2] == 0.5
    back = there.inverse()
    assert back.representation == "depth"
    assert back.values == pytest.approx(DEPTH)


def test_depth_of_another_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a grid"):
        DepthFrames(tmp_path, LENS, "clip").save(1, DEPTH.T)
    DepthFrames(tmp_path, LENS, "clip").save(1, DEPTH)
    with pytest.raises(ValueError, match="a grid"):
        DepthFrames(tmp_path, LENS.scaled(4, 3), "clip").load(1)


def test_a_frame_is_there_once_its_depth_is(tmp_path: Path) -> None:
    frames = DepthFrames(tmp_path, LENS, "clip")
    assert not frames.has(7)
    frames.save(7, DEPTH, (DEPTH / 48).astype(np.float32))
    assert frames.has(7)
    assert (frames.confidence(7) == DEPTH / 48).all()
    frames.save(8, DEPTH)
    assert not frames.confidence(8).any()
