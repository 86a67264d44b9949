"""Test-time training of the depth network on one clip (CVD section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.depth.clip import WorkClip
from engine.depth.evidence import load_evidence
from engine.depth.losses import anchor_loss, pair_losses, smoothness_loss
from engine.depth.network import DepthNetwork
from engine.depth.settings import DepthSettings
from engine.errors import DepthError
from engine.files import write_atomically
from engine.flow.stage import FlowPair, load_pair, load_pairs
from engine.geometry import rigid_inverse
from engine.progress import Progress

FIT_RATE = 1.5e-3
CVD_RATE = 4e-4
DISPARITY_WEIGHT = 0.1  # CVD, with the clip's median depth as the unit of length
PAIR_WEIGHT = 0.1  # per pixel of the half grid: a tenth of a pixel weighs as much as one percent of depth
SMOOTH_WEIGHT = 0.05
SPARSE_CONFIDENCE = 0.2  # a single wrong point must not outweigh the pixels around it
HIDE = 0.5  # share of the evidence hidden from the network's input while it learns
CHECKPOINT_EVERY = 20


@dataclass(frozen=True)
class TrainingData:
    """What a training step reads, all on the half grid and in units of the clip's median depth.

    Attributes:
        images: (N, 3, h, w) uint8.
        evidence: (N, 2, h, w) float16: log depth (0 where there is none) and confidence.
        lens_matrix: (3, 3).
        world_from_camera: (N, 4, 4) float64.
        unit: the clip's median depth in its own units.
        numbers: plate frame numbers.
        pairs: kept flow pairs.
        flow: folder of the flow stage.
    """

    images: torch.Tensor
    evidence: torch.Tensor
    lens_matrix: torch.Tensor
    world_from_camera: NDArray[np.float64]
    unit: float
    numbers: list[int]
    pairs: list[FlowPair]
    flow: Path

    @classmethod
    def load(cls, clip: WorkClip, flow: Path, prior: Path) -> TrainingData:
        """Gather from the stages before."""
        count, height, width = len(clip.numbers), clip.images.shape[1] // 2, clip.images.shape[2] // 2
        images = np.empty((count, 3, height, width), np.uint8)
        evidence = np.zeros((count, 2, height, width), np.float16)
        unit = float(np.median(np.concatenate([depth for _, depth in clip.sparse])))
        for row, number in enumerate(clip.numbers):
            small = cv2.resize(clip.images[row], (width, height), interpolation=cv2.INTER_AREA)
            images[row] = np.moveaxis(small, -1, 0)
            depth, confidence = load_evidence(prior, int(number))
            evidence[row, 0] = np.log(np.where(depth > 0, depth / unit, 1.0))
            evidence[row, 1] = confidence
            _add_sparse(evidence[row], clip, row, unit)
        poses = clip.world_from_camera.copy()
        poses[:, :3, 3] /= unit
        return cls(
            images=torch.from_numpy(images),
            evidence=torch.from_numpy(evidence),
            lens_matrix=torch.tensor(clip.lens.scaled(width, height).matrix(), dtype=torch.float32),
            world_from_camera=poses,
            unit=unit,
            numbers=[int(n) for n in clip.numbers],
            pairs=load_pairs(flow),
            flow=flow,
        )

    def inputs(self, rows: list[int], device: torch.device, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """Network input (B, 5, h, w): picture, and the evidence outside of `hidden` (B, 1, h, w)."""
        picture = self.images[rows].to(device).float() / 127.5 - 1.0
        evidence = self.evidence[rows].to(device).float()
        shown = (evidence[:, 1:] > 0).float()
        if hidden is not None:
            shown = shown * (1.0 - hidden.to(device))
        return torch.cat([picture, evidence[:, :1] * shown, shown], dim=1)


def _add_sparse(evidence: NDArray[np.float16], clip: WorkClip, row: int, unit: float) -> None:
    """Sparse points fill pixels where the sweep says nothing."""
    pixels, depth = clip.sparse[row]
    column, line = np.floor(pixels / 2.0).astype(int).T
    empty = evidence[1, line, column] == 0
    evidence[0, line[empty], column[empty]] = np.log(depth[empty] / unit)
    evidence[1, line[empty], column[empty]] = SPARSE_CONFIDENCE


def train(
    data: TrainingData, settings: DepthSettings, folder: Path, seed: int, device: torch.device, progress: Progress
) -> DepthNetwork:
    """Fit the network to the evidence, then make it consistent over the pairs.

    Every step draws from a generator seeded by `seed` and its own number, so training that resumes from the checkpoint
    in `folder` ends where uninterrupted training does.

    Raises:
        DepthError: the loss became infinite.
        Cancelled: the user stopped it.
    """
    torch.manual_seed(seed)
    network = DepthNetwork().to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=FIT_RATE)
    count = len(data.numbers)
    fit = max(settings.min_steps, round(settings.fit_steps * count))
    total = fit + max(settings.min_steps, round(settings.cvd_steps * count))
    checkpoint = folder / "checkpoint.pt"
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
    for step in range(start, total):
        progress.step(step, total, f"training, step {step + 1} of {total}")
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, fit, total)
        loss = step_loss(network, data, settings, seed, step, step >= fit, device)
        if not torch.isfinite(loss):
            raise DepthError(
                "depth.diverged",
                f"The training diverged at step {step + 1} of {total}.",
                "The loss is no longer a finite number: cameras and flow contradict each other grossly.",
                "Look at the camera track first; a known focal length or another seed may help.",
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == total:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            write_atomically(checkpoint, lambda temporary, s=state: torch.save(s, temporary))  # type: ignore[misc]
    return network


def _rate(step: int, fit: int, total: int) -> float:
    """Learning rate: constant with a short start while fitting, falling to a tenth while the pairs are at work."""
    if step < fit:
        return FIT_RATE * min(1.0, (step + 1) / 10) * (1.0 - 0.5 * step / fit)
    return CVD_RATE * (1.0 - 0.9 * (step - fit) / max(total - fit, 1))


def step_loss(
    network: DepthNetwork,
    data: TrainingData,
    settings: DepthSettings,
    seed: int,
    step: int,
    use_pairs: bool,
    device: torch.device,
) -> torch.Tensor:
    """Loss of one step on a batch of pairs drawn for (`seed`, `step`).

    The anchor to the evidence and smoothness always; with `use_pairs` CVD's losses over the pairs too. Part of the
    evidence is hidden from the input but not from the loss, so that the network learns to fill in rather than to copy.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    chosen = torch.randint(len(data.pairs), (settings.batch_pairs,), generator=generator).tolist()
    pairs = [data.pairs[k] for k in chosen]
    position = {number: row for row, number in enumerate(data.numbers)}
    first, second = [position[p.first] for p in pairs], [position[p.second] for p in pairs]
    rows = first + second
    coarse = (torch.rand((len(rows), 1, 6, 8), generator=generator) < HIDE).float()
    hidden = torch.nn.functional.interpolate(coarse, size=data.images.shape[-2:], mode="nearest")
    inputs = data.inputs(rows, device, hidden).contiguous(memory_format=torch.channels_last)
    log_depth = network(inputs)
    evidence = data.evidence[rows].to(device).float()
    loss = anchor_loss(log_depth, evidence[:, :1], evidence[:, 1:]).mean()
    loss = loss + SMOOTH_WEIGHT * smoothness_loss(log_depth, inputs[:, :3]).mean()
    if not use_pairs:
        return loss
    depth = log_depth.exp()
    flows = torch.from_numpy(np.stack([load_pair(data.flow, p.first, p.second) for p in pairs])).to(device).float()
    lens_matrix = data.lens_matrix.to(device).expand(len(pairs), 3, 3)
    here, there = depth[: len(pairs)], depth[len(pairs) :]
    for k, (a, b, this, other) in enumerate(((first, second, here, there), (second, first, there, here))):
        relative = rigid_inverse(data.world_from_camera[b]) @ data.world_from_camera[a]
        transform = torch.tensor(relative, dtype=torch.float32, device=device)
        spatial, disparity = pair_losses(this, other, lens_matrix, transform, flows[:, k, :2], flows[:, k, 2:])
        loss = loss + 0.5 * PAIR_WEIGHT * (spatial + DISPARITY_WEIGHT * disparity).mean()
    return loss
