"""Depth without parallax: the prior's guess, where nothing in the clip can measure any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engine.clip.depth_map import DepthFrames
from engine.clip.work import WorkClip
from engine.depth.cvd import enlarged
from engine.depth.result import Made, write_frames
from engine.errors import DepthError
from engine.files import write_json
from engine.progress import Progress


def guess_depth(clip: WorkClip, prior: DepthFrames | None, scale: float, folder: Path, progress: Progress) -> None:
    """Write the prior's depth as the clip's, with a confidence of 0 everywhere; files as `solve_depth` leaves them.

    Args:
        clip: frames of a camera that does not travel, or zooms.
        prior: what the prior stage has made.
        scale: what the prior's depth is multiplied by.
        folder: written to.
        progress: receives progress; may cancel.

    Raises:
        DepthError: `depth.no_parallax`, there is no prior.
    """
    if prior is None:
        raise DepthError(
            "depth.no_parallax",
            "Depth cannot be measured in this shot, and no prior was asked for that could guess it.",
            "The camera does not travel, or zooms: the pictures alone do not tell how far away anything is.",
            "Choose a prior, or shoot with the camera moving sideways by a few percent of the distance to the scene.",
        )
    numbers = clip.numbers.tolist()

    def guess(rows: list[int]) -> Made:
        known = np.stack([prior.load(numbers[row]).values for row in rows])
        depth = enlarged(torch.from_numpy(known)).numpy() * np.float32(scale)
        return depth, np.zeros_like(depth), np.zeros(depth.shape, bool)

    write_frames(DepthFrames(folder, clip.lens, "clip"), numbers, guess, torch.device("cpu"), progress)
    write_json(folder / "consistency.json", {"frames": {}, "distance": {}, "regions": {}})
