"""Depth by DeepV2D, for cameras that are known: the evidence stage of its methods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from engine.clip.views import choose_views
from engine.clip.work import WorkClip
from engine.deepv2d.alternate import STATE, Alternation, DeepV2DSettings
from engine.depth.agreement import Agreement
from engine.depth.evidence import RAW, confirm
from engine.footage import FrameFiles
from engine.networks.deepv2d import load_deepv2d
from engine.progress import Part, Progress

ALTERNATING_SHARE = 0.9
SURE = 4  # agreeing neighbours for full confidence


def solve_deepv2d(
    clip: WorkClip, settings: DeepV2DSettings, folder: Path, device: torch.device, progress: Progress
) -> None:
    """Depth of every frame by the depth module, for the clip's own cameras.

    Writes what `engine.depth.evidence.solve_evidence` writes, on half the work grid.

    Args:
        clip: undistorted frames with cameras and sparse points.
        settings: how much is done; the cameras stay as they are.
        folder: written to; what a killed run left there is used.
        device: where to compute.
        progress: receives progress; may cancel.

    Raises:
        Cancelled: the user stopped it.
        DepthError: the weights cannot be used.
    """
    (folder / RAW).mkdir(parents=True, exist_ok=True)
    still = replace(settings, looks=0)
    work = Alternation(load_deepv2d(device), clip, True, still, device)
    found = work.run(folder, Part(progress, 0.0, ALTERNATING_SHARE))
    for number, depth, certainty in zip(clip.numbers.tolist(), found.depth, found.certainty, strict=True):
        FrameFiles(folder / RAW, ".npy").save(number, np.stack([depth, certainty]))
    views = [choose_views(clip, row, settings.views) for row in range(len(clip.numbers))]
    checking = Part(progress, ALTERNATING_SHARE, 1.0)
    confirm(clip, clip.half_lens, views, _confidence, folder, device, checking)
    (folder / STATE).unlink(missing_ok=True)


def _confidence(_row: int, raw: torch.Tensor, found: Agreement) -> torch.Tensor:
    """(H, W): of the network, as far as at least two neighbours agree."""
    confirmed = found.votes >= found.seen.clamp(1.0, 2.0)
    return (found.votes / SURE).clamp_max(1.0) * raw[1].clamp(0.0, 1.0) * confirmed
