"""DeepV2D's depth at the work size: the depth stage of method `deepv2d`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from engine.clip.depth_map import DepthFrames
from engine.clip.work import WorkClip
from engine.depth.cvd import consistency, enlarged
from engine.depth.data import CONFIDENCE, LOG_DEPTH, WEIGHT, TrainingData
from engine.depth.evidence import RAW
from engine.depth.fuse import fuse
from engine.depth.result import Made, write_frames
from engine.files import write_json
from engine.footage import FrameFiles
from engine.progress import Progress


def finish_deepv2d(
    clip: WorkClip, data: TrainingData, measured: Path, folder: Path, device: torch.device, progress: Progress
) -> None:
    """Depth at the work size from what `solve_deepv2d` left in `measured`: the depth stage of method `deepv2d`.

    What neighbours confirm is carried on along surfaces; elsewhere the depth module is believed. Writes what
    `engine.depth.cvd.solve_depth` writes.

    Raises:
        Cancelled: the user stopped it.
    """

    def finish(rows: list[int]) -> Made:
        found = FrameFiles(measured / RAW, ".npy")
        raw = np.stack([found.load(data.numbers[row])[0] for row in rows])
        believed = (torch.from_numpy(raw).to(device) / data.unit).log()
        known = data.evidence[rows].to(device).float()
        colours = clip.colours(rows, device)
        told = interpolate(known[:, :CONFIDENCE], size=colours.shape[-2:], mode="nearest")
        fused = fuse(believed, told[:, LOG_DEPTH], told[:, WEIGHT], colours)
        confidence = enlarged(known[:, CONFIDENCE]).cpu().numpy()
        return (fused.exp() * data.unit).cpu().numpy(), confidence, confidence > 0

    frames = DepthFrames(folder, clip.lens, "clip")
    write_frames(frames, data.numbers, finish, device, progress)
    write_json(folder / "consistency.json", consistency(clip, data, frames))
    progress.step(1.0, 1.0, "depth")
