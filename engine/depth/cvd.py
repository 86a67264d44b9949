"""The depth stage: the network trained on the clip, and what was measured in it, made one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d, interpolate

from engine.clip.depth_map import DepthFrames
from engine.clip.work import WorkClip
from engine.depth import regions
from engine.depth.confidence import MEASURED, guessed_probability, probability_in_company
from engine.depth.data import CONFIDENCE, LOG_DEPTH, WEIGHT, TrainingData, log_of
from engine.depth.fuse import fuse
from engine.depth.planes import plain_planes
from engine.depth.result import Made, write_frames
from engine.depth.settings import DepthSettings
from engine.depth.training import train
from engine.errors import DepthError
from engine.files import write_json
from engine.flow.stage import load_pair
from engine.geometry.arrays import rigid_inverse
from engine.geometry.tensors import project, transform, unproject
from engine.networks.depth import DepthNetwork
from engine.progress import Part, Progress

TRAINING_SHARE = 0.85
PLANE_WEIGHT = 0.3  # of a plane through a plain region, against measured pixels
AGREE_PX = 1.0  # work pixels: flow and depth say the same


@dataclass(frozen=True)
class Measured:
    """What was measured on a finer grid than the clip's.

    Attributes:
        clip: the same frames on that grid.
        evidence: of the evidence stage.
    """

    clip: WorkClip
    evidence: DepthFrames


def solve_depth(
    clip: WorkClip,
    measured: Measured | None,
    settings: DepthSettings,
    data: TrainingData,
    folder: Path,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train the network on the clip and write its depth, with the evidence fused in.

    Writes, in the clip's units and on the grid of `measured`, else on the work grid, `depth/000101.npy` (H, W) float32
    planar depth, full coverage; `confidence/000101.npy` (H, W) 0..1, the probability that it is right, or where nothing
    is swept, the share of the frame's pairs whose flow agrees to within a pixel with where depth and cameras send it;
    and `measured/000101.npy` (H, W) bool, where it is no guess. Last `consistency.json`:
    median distance, in work pixels, between where the flow and where depth and cameras send a pixel that stands still:
    {"frames": {plate frame number: over its pairs}, "distance": {frames between: over the pairs so far apart}}; and
    under "regions" the `Regions` of all frames.

    Args:
        clip: the clip after scale calibration (`clip.scaled(s)`).
        measured: is fused with what the network says; None = nothing was measured.
        settings: preset.
        data: what the network is trained on, of the same clip.
        folder: written to; what a killed run left there is used.
        seed: decides everything random.
        device: where to compute.
        progress: receives progress; may cancel.

    Raises:
        Cancelled: the user stopped it.
        DepthError: `depth.diverged` or `depth.not_finite`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = DepthFrames(folder, clip.lens if measured is None else measured.clip.lens, "clip")
    if (folder / "consistency.json").exists():
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        return
    if settings.consecutive:
        rank = {number: row for row, number in enumerate(data.numbers)}
        data = replace(data, pairs=[p for p in data.pairs if rank[p.second] - rank[p.first] == 1])
    try:
        network = train(data, settings, folder, seed, device, Part(progress, 0.0, TRAINING_SHARE))

        def predict(rows: list[int]) -> Made:
            return _predict(network, data, measured, settings, rows, device)

        write_frames(frames, data.numbers, predict, device, Part(progress, TRAINING_SHARE, 1.0))
    except DepthError:
        (folder / "checkpoint.pt").unlink(missing_ok=True)  # nothing is to be gone on with
        raise
    if measured is None:
        for number, confidence in _confirmed(clip, data, frames).items():
            frames.save_confidence(number, confidence, confidence > MEASURED)
    write_json(folder / "consistency.json", consistency(clip, data, frames))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    progress.step(1.0, 1.0, "depth")


@torch.no_grad()
def _predict(
    network: DepthNetwork,
    data: TrainingData,
    measured: Measured | None,
    settings: DepthSettings,
    rows: list[int],
    device: torch.device,
) -> Made:
    known = data.evidence[rows].to(device).float()
    unseen = torch.ones_like(known[:, :1]) if settings.published_epochs else None
    log_depth = network(data.inputs(rows, device, unseen))[:, 0]
    if measured is None:
        depth = (enlarged(log_depth).exp() * data.unit).cpu().numpy()
        return depth, np.zeros_like(depth), np.zeros(depth.shape, bool)
    evidence, weight, confidence = _fine_evidence(data, measured, rows, known)
    fused = fuse(log_depth, evidence, weight, measured.clip.colours(rows, device))
    alone = interpolate(log_depth[:, None], size=fused.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    there, measured_right = confidence > 0, probability_in_company(confidence)
    sure = torch.where(there, measured_right, guessed_probability(fused, alone, there))
    return (fused.exp() * data.unit).cpu().numpy(), sure.cpu().numpy(), (measured_right > MEASURED).cpu().numpy()


def _fine_evidence(
    data: TrainingData, measured: Measured, rows: list[int], known: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log depth, its weight and the confidence (B, H, W) on the grid of `measured`.

    What moves by itself counts as not measured. Where nothing was measured around, sparse points, the prior and what is
    said of moving objects are taken from `known` (B, 3, h, w); where there is none, planes through plain regions.
    """
    frames = measured.evidence
    depth = torch.from_numpy(np.stack([log_of(frames.load(data.numbers[r]).values, data.unit) for r in rows]))
    confidence = torch.from_numpy(np.stack([frames.confidence(data.numbers[r]) for r in rows])).to(known.device)
    size = confidence.shape[-2:]
    still = interpolate(data.still[rows].to(known), size=size, mode="nearest")[:, 0]
    confidence = confidence * still
    told = known[:, :CONFIDENCE] * (adaptive_max_pool2d(confidence[:, None], known.shape[-2:]) == 0)
    here = interpolate(told, size=size, mode="nearest")
    fill = (confidence == 0) & (here[:, WEIGHT] > 0)
    evidence = torch.where(fill, here[:, LOG_DEPTH], depth.to(known.device))
    weight = torch.where(fill, here[:, WEIGHT], confidence**2)
    on_plane, plane_weight = _planes(measured.clip.images[rows], evidence, confidence)
    flat = (weight == 0) & (still > 0) & (plane_weight > 0)
    return torch.where(flat, on_plane, evidence), torch.where(flat, PLANE_WEIGHT * plane_weight, weight), confidence


def _planes(
    images: NDArray[np.uint8], log_depth: torch.Tensor, confidence: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log depth of the planes through plain regions, and their weight (B, H, W) from 0 to 1."""
    disparity, there = ((-log_depth).exp().cpu().numpy(), confidence.cpu().numpy())
    found = [plain_planes(*frame) for frame in zip(images, disparity, there, strict=True)]
    value, weight = (torch.from_numpy(np.stack(maps)).to(log_depth) for maps in zip(*found, strict=True))
    return -value.clamp_min(1e-6).log(), weight


def enlarged(values: torch.Tensor) -> torch.Tensor:
    """Values (B, h, w) of the half grid on the work grid."""
    return interpolate(values[:, None], scale_factor=2.0, mode="bilinear", align_corners=False)[:, 0]


def consistency(clip: WorkClip, data: TrainingData, frames_of_depth: DepthFrames) -> dict[str, dict[str, Any]]:
    """What `solve_depth` writes to `consistency.json`, of that depth."""
    frames: dict[int, list[float]] = {number: [] for number in data.numbers}
    in_regions: dict[int, list[regions.Values]] = {number: [] for number in data.numbers}
    apart: dict[int, list[float]] = {}
    position = {number: row for row, number in enumerate(data.numbers)}
    for a, b, miss, believed in _misses(clip, data, frames_of_depth):
        if believed.any():
            median = float(miss[believed].median())
            frames[a].append(median)
            apart.setdefault(abs(position[b] - position[a]), []).append(median)
            in_regions[a].append(regions.flow_regions(miss.numpy(), believed.numpy()))
    figures = [_in_regions(clip, data, frames_of_depth, number, in_regions[number]) for number in data.numbers]
    return {
        "frames": {str(number): float(np.median(values)) for number, values in frames.items() if values},
        "distance": {str(distance): float(np.median(apart[distance])) for distance in sorted(apart)},
        "regions": regions.stack(data.numbers, figures).document(),
    }


def _in_regions(
    clip: WorkClip, data: TrainingData, frames: DepthFrames, number: int, flow_px: list[regions.Values]
) -> tuple[regions.Values, ...]:
    """What `regions.stack` takes of a frame; `flow_px`: of each of its pairs."""
    row = clip.index(number)
    depth, confidence, measured = frames.load(number).values, frames.confidence(number), frames.measured(number)
    still = data.still[data.numbers.index(number)].float()[None]
    moving = interpolate(still, size=depth.shape, mode="nearest")[0, 0].numpy() == 0
    pixels, own_depth = clip.sparse[row]
    return (
        *regions.frame_regions(confidence, measured, moving),
        regions.median_over(flow_px),
        regions.track_regions(depth, pixels / (clip.lens.width, clip.lens.height), own_depth),
    )


def _misses(
    clip: WorkClip, data: TrainingData, frames: DepthFrames
) -> Iterator[tuple[int, int, torch.Tensor, torch.Tensor]]:
    """Of each pair, both ways: frame, other frame, work pixels (h, w) between where the flow and where depth and
    cameras send each pixel, and where the flow is believed and nothing moves (h, w)."""
    position = {number: row for row, number in enumerate(data.numbers)}
    K = data.lens_matrix[None]
    for pair in data.pairs:
        arrays = torch.from_numpy(load_pair(data.flow, pair.first, pair.second)).float()
        for k, (a, b) in enumerate(((pair.first, pair.second), (pair.second, pair.first))):
            depth = torch.from_numpy(frames.load(a).values)
            half = adaptive_avg_pool2d(depth[None, None], (arrays.shape[2], arrays.shape[3]))
            relative = rigid_inverse(clip.world_from_camera[position[b]]) @ clip.world_from_camera[position[a]]
            points = unproject(half, K)
            moved = project(transform(torch.tensor(relative, dtype=torch.float32)[None], points), K)
            miss = (moved - project(points, K) - arrays[k, :2].permute(1, 2, 0))[0].norm(dim=-1)
            yield a, b, 2.0 * miss, (arrays[k, 2] > 0) & data.still[position[a], 0]


def _confirmed(clip: WorkClip, data: TrainingData, frames: DepthFrames) -> dict[int, NDArray[np.float32]]:
    """Confidence (H, W) of each frame: the share of its pairs in which the flow agrees with depth and cameras."""
    agreeing = {number: torch.zeros(data.images.shape[-2:]) for number in data.numbers}
    pairs = dict.fromkeys(data.numbers, 0)
    for a, _, miss, believed in _misses(clip, data, frames):
        agreeing[a] += believed & (miss < AGREE_PX)
        pairs[a] += 1
    return {number: enlarged(count[None] / max(pairs[number], 1))[0].numpy() for number, count in agreeing.items()}
