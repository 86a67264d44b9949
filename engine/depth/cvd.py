"""The depth stage: the network trained on the clip, and what was measured in it, made one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from engine.depth.clip import WorkClip
from engine.depth.data import CONFIDENCE, WEIGHT, TrainingData
from engine.depth.fuse import fuse
from engine.depth.network import DepthNetwork
from engine.depth.settings import DepthSettings
from engine.depth.training import train
from engine.files import write_json, write_npy
from engine.flow.stage import load_pair
from engine.footage import frame_name
from engine.geometry import project, rigid_inverse, transform, unproject
from engine.progress import Progress

TRAINING_SHARE = 0.85


class _Part:
    """Progress of a part of the stage, as a share of the whole."""

    def __init__(self, progress: Progress, start: float, end: float) -> None:
        self.progress, self.start, self.end = progress, start, end
        self.metric, self.warning = progress.metric, progress.warning

    def step(self, done: float, total: float, message: str) -> None:
        """Report within the part."""
        self.progress.step(self.start + (self.end - self.start) * done / max(total, 1), 1.0, message)


def solve_depth(
    clip: WorkClip,
    settings: DepthSettings,
    data: TrainingData,
    folder: Path,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train the network on the clip and write its depth, with the evidence fused in.

    Writes `depth/000101.npy` (H, W) float32 planar depth on the work grid in the clip's units, full coverage;
    `confidence/000101.npy` 0..1; and last `consistency.json`: median distance, in work pixels, between where the flow
    and where depth and cameras send a pixel that stands still: {"frames": {plate frame number: over its pairs},
    "distance": {frames between: over the pairs so far apart}}.

    Args:
        clip: the clip after scale calibration (`clip.scaled(s)`).
        settings: preset.
        data: what the network is trained on, of the same clip.
        folder: written to; what a killed run left there is used.
        seed: decides everything random.
        device: where to compute.
        progress: receives progress; may cancel.

    Raises:
        Cancelled: the user stopped it.
    """
    for name in ("depth", "confidence"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if (folder / "consistency.json").exists():
        return
    if settings.consecutive:
        rank = {number: row for row, number in enumerate(data.numbers)}
        data = replace(data, pairs=[p for p in data.pairs if rank[p.second] - rank[p.first] == 1])
    network = train(data, settings, folder, seed, device, _Part(progress, 0.0, TRAINING_SHARE))
    part = _Part(progress, TRAINING_SHARE, 1.0)
    for row, number in enumerate(data.numbers):
        part.step(row, len(data.numbers), f"depth of frame {number}")
        name = f"{frame_name(number)}.npy"
        if not (folder / "confidence" / name).exists():
            depth, confidence = _predict(network, data, clip, settings, row, device)
            write_npy(folder / "depth" / name, depth)
            write_npy(folder / "confidence" / name, confidence)
    write_json(folder / "consistency.json", consistency(clip, data, folder))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    progress.step(1.0, 1.0, "depth")


@torch.no_grad()
def _predict(
    network: DepthNetwork, data: TrainingData, clip: WorkClip, settings: DepthSettings, row: int, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    known = data.evidence[row].to(device).float()
    unseen = torch.ones_like(known[None, :1]) if settings.published_epochs else None
    log_depth = network(data.inputs([row], device, unseen))[0, 0]
    if settings.measured:
        image = torch.from_numpy(clip.images[row]).to(device).float() / 255.0
        log_depth = fuse(log_depth, known[0], known[WEIGHT], image)
    else:
        log_depth = _enlarged(log_depth)
    confidence = _enlarged(known[CONFIDENCE]) if settings.measured else torch.zeros_like(log_depth)
    return (log_depth.exp() * data.unit).cpu().numpy(), confidence.cpu().numpy()


def _enlarged(values: torch.Tensor) -> torch.Tensor:
    """From the half grid to the work grid."""
    return interpolate(values[None, None], scale_factor=2.0, mode="bilinear", align_corners=False)[0, 0]


def consistency(clip: WorkClip, data: TrainingData, folder: Path) -> dict[str, dict[str, float]]:
    """What `solve_depth` writes to `consistency.json`, of the depth in `folder`/depth."""
    frames: dict[int, list[float]] = {number: [] for number in data.numbers}
    apart: dict[int, list[float]] = {}
    position = {number: row for row, number in enumerate(data.numbers)}
    K = data.lens_matrix[None]
    for pair in data.pairs:
        arrays = torch.from_numpy(load_pair(data.flow, pair.first, pair.second)).float()
        for k, (a, b) in enumerate(((pair.first, pair.second), (pair.second, pair.first))):
            depth = np.load(folder / "depth" / f"{frame_name(a)}.npy", allow_pickle=False)
            half = torch.nn.functional.avg_pool2d(torch.from_numpy(depth)[None, None], 2)
            relative = rigid_inverse(clip.world_from_camera[position[b]]) @ clip.world_from_camera[position[a]]
            points = unproject(half, K)
            moved = project(transform(torch.tensor(relative, dtype=torch.float32)[None], points), K)
            miss = (moved - project(points, K) - arrays[k, :2].permute(1, 2, 0))[0].norm(dim=-1)
            believed = (arrays[k, 2] > 0) & data.still[position[a], 0]
            if believed.any():
                median = 2.0 * float(miss[believed].median())
                frames[a].append(median)
                apart.setdefault(position[pair.second] - position[pair.first], []).append(median)
    return {
        "frames": {str(number): float(np.median(values)) for number, values in frames.items() if values},
        "distance": {str(distance): float(np.median(apart[distance])) for distance in sorted(apart)},
    }
