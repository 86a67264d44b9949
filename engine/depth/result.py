"""What the depth stage leaves of a frame, whichever method made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.depth_map import DepthFrames
from engine.clip.preview import show_depth
from engine.errors import DepthError
from engine.parallel import each
from engine.progress import Progress

TOGETHER = 4
"""Frames worked out at a time: a frame costs two thirds of what it costs alone, and more of them are no cheaper."""

Made = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


def write_frames(
    frames: DepthFrames,
    numbers: Sequence[int],
    make: Callable[[list[int]], Made],
    device: torch.device,
    progress: Progress,
) -> None:
    """Write depth, confidence and what was measured of all frames, but those that a killed run has left.

    Args:
        frames: written to.
        numbers: plate frame numbers.
        make: gives depth, confidence and what was measured (B, H, W) of the frames at B places of `numbers`.
        device: where `make` computes.
        progress: receives progress and pictures; may cancel.

    Raises:
        Cancelled: the user stopped it.
        DepthError: `depth.not_finite`.
    """

    def written(rows: list[int]) -> NDArray[np.float32] | None:
        if all(frames.has(numbers[row]) for row in rows):
            return None
        depth, confidence, measured = make(rows)
        for place, row in enumerate(rows):
            _require_finite(numbers[row], depth[place], confidence[place])
            frames.save(numbers[row], depth[place], confidence[place], measured[place])
        last: NDArray[np.float32] = depth[-1]
        return last

    rows = list(range(len(numbers)))
    for some, depth in each(written, [rows[k : k + TOGETHER] for k in rows[::TOGETHER]], device):
        if depth is not None:
            show_depth(depth, progress)
        progress.step(some[-1] + 1, len(rows), f"depth of frame {numbers[some[-1]]}")


def _require_finite(number: int, depth: NDArray[np.float32], confidence: NDArray[np.float32]) -> None:
    if not (np.isfinite(depth).all() and np.isfinite(confidence).all()):
        raise DepthError(
            "depth.not_finite",
            f"The depth of frame {number} came out as no number.",
            "The network or what it is given has left the range of floating point.",
            "Look at the camera track first; another seed or another prior may help.",
        )
