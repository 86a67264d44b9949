"""Test-time training of the depth network on one clip: photometric, on evidence, and over pairs (CVD section 5)."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import methodcaller
from pathlib import Path

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from engine.clip.preview import show_depth
from engine.depth.batches import Batch, published, shared
from engine.depth.data import CONFIDENCE, WEIGHT, TrainingData
from engine.depth.losses import anchor_loss, pair_losses, smoothness_loss
from engine.depth.optimiser import Optimiser
from engine.depth.photometric import disparity_smoothness, left_right_loss, photometric_loss, sparse_loss
from engine.depth.settings import DepthSettings
from engine.device import fast_in_half, frugal
from engine.errors import DepthError
from engine.files import write_atomically
from engine.flow.stage import load_pair
from engine.geometry.arrays import rigid_inverse
from engine.geometry.tensors import pixel_centres, sample
from engine.networks.depth import WEIGHTS, DepthNetwork, load_network
from engine.progress import Progress

DISPARITY_WEIGHT = 0.1  # CVD, with the clip's median depth as the unit of length
PAIR_WEIGHT = 0.1  # per pixel of the half grid: a tenth of a pixel weighs as much as one percent of depth
SMOOTH_WEIGHT = 0.05
PHOTO_SMOOTH_WEIGHT = 0.02
PHOTO_SPARSE_WEIGHT = 0.5
LEFT_RIGHT_WEIGHT = 0.05
PHOTO_FRAMES = 3  # per step
PAIR_FRAMES = 5  # per step with pairs
PAIR_SHARE = 0.1  # of the rates; more of it undoes what the phases before have found
HIDE = 0.5  # share of the evidence hidden from the network's input while it learns
CHECKPOINT_EVERY = 20
MOST_LOST = 5  # steps in a row whose loss or gradient is no finite number

Predict = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """How many steps each phase takes, one after the other."""

    photometric: int
    fit: int
    pairs: int

    @classmethod
    def of(cls, settings: DepthSettings, frames: int, pairs: int) -> Schedule:
        """For a clip of so many frames and kept pairs."""
        if settings.published_epochs:
            return cls(0, 0, settings.published_epochs * -(-pairs // settings.batch_pairs))

        def steps(per_frame: float) -> int:
            return max(settings.min_steps, round(per_frame * frames)) if per_frame else 0

        return cls(steps(settings.photometric_steps), steps(settings.fit_steps), steps(settings.pair_steps))

    @property
    def total(self) -> int:
        """Of all phases."""
        return self.photometric + self.fit + self.pairs

    def phase(self, step: int) -> str:
        """ "photometric", "fit" or "pairs"."""
        if step < self.photometric:
            return "photometric"
        return "fit" if step < self.photometric + self.fit else "pairs"


def train(
    data: TrainingData, settings: DepthSettings, folder: Path, seed: int, device: torch.device, progress: Progress
) -> DepthNetwork:
    """Train the network on the clip, phase after phase.

    Every step draws from a generator seeded by `seed` and its own number, so training that resumes from the checkpoint
    in `folder` ends where uninterrupted training does.

    Raises:
        DepthError: the loss stayed infinite, or the network's weights cannot be read.
        Cancelled: the user stopped it.
    """
    torch.manual_seed(seed)
    lost = 0  # steps one after the other
    network = load_network(WEIGHTS, device) if settings.pretrained else DepthNetwork().to(device)
    # The stubs of PyTorch know `memory_format` only with a tensor.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = Optimiser(network, bool(settings.published_epochs))
    predict: Predict = network if settings.published_epochs else in_mixed_precision(network, device)
    schedule = Schedule.of(settings, len(data.numbers), len(data.pairs))
    saved = folder / "checkpoint.pt"
    start = 0
    if saved.exists():
        state = torch.load(saved, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
    for step, batch in islice(enumerate(batches(data, settings, seed)), start, schedule.total):
        progress.step(step, schedule.total, f"training, step {step + 1} of {schedule.total}")
        loss = step_loss(predict, data, settings, batch, seed, step, schedule.phase(step), device)
        network.zero_grad()
        torch.autograd.backward(loss)
        # CVD does not limit its steps.
        limit = math.inf if settings.published_epochs else 1.0
        steepness = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
        if torch.isfinite(loss) and torch.isfinite(steepness):
            optimiser.step(_share(step, schedule, settings))
            lost = 0
        else:  # left out: it would turn every weight into no number
            lost += 1
        if lost == MOST_LOST:
            raise DepthError(
                "depth.diverged",
                f"The training diverged at step {step + 1} of {schedule.total}.",
                "The loss is no longer a finite number: cameras and flow contradict each other grossly.",
                "Look at the camera track first; a known focal length or another seed may help.",
            )
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == schedule.total:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            whole = io.BytesIO()  # PyTorch's own writer does not say that the disk is full
            torch.save(state, whole)
            write_atomically(saved, methodcaller("write_bytes", whole.getbuffer()))
            _show(network, data, settings, device, progress)
    return network


@torch.no_grad()
def _show(
    network: DepthNetwork, data: TrainingData, settings: DepthSettings, device: torch.device, progress: Progress
) -> None:
    """What the network says by now of the clip's middle frame, for people to see."""
    middle = len(data.numbers) // 2
    unseen = torch.ones_like(data.evidence[middle].float()[None, :1]).to(device) if settings.published_epochs else None
    log_depth = network(data.inputs([middle], device, unseen))[0, 0]
    show_depth(log_depth.exp().cpu().numpy(), progress)


def _share(step: int, schedule: Schedule, settings: DepthSettings) -> float:
    """Of the full learning rates: high until the pairs are at work, then low and falling."""
    if settings.published_epochs:
        return 1.0
    before = schedule.photometric + schedule.fit
    if step < before:
        return min(1.0, (step + 1) / 10) * (1.0 - 0.5 * step / before)
    return PAIR_SHARE * (1.0 - 0.9 * (step - before) / max(schedule.pairs, 1))


def batches(data: TrainingData, settings: DepthSettings, seed: int) -> Iterator[Batch]:
    """The batch of each step, without end."""
    pairs = rows_of(data)
    if settings.published_epochs:
        return published(pairs, settings.batch_pairs, seed)
    return shared(pairs, PAIR_FRAMES, seed)


def rows_of(data: TrainingData) -> list[tuple[int, int]]:
    """The clip's pairs as rows."""
    row = {number: k for k, number in enumerate(data.numbers)}
    return [(row[pair.first], row[pair.second]) for pair in data.pairs]


def step_loss(
    predict: Predict,
    data: TrainingData,
    settings: DepthSettings,
    batch: Batch,
    seed: int,
    step: int,
    phase: str,
    device: torch.device,
) -> torch.Tensor:
    """Loss of one step; what is drawn in it is drawn for (`seed`, `step`). Photometric steps draw their own frames."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    if phase == "photometric":
        rows = torch.randint(len(data.numbers), (PHOTO_FRAMES,), generator=generator).tolist()
        return _photometric_step(predict, data, rows, device)
    if settings.published_epochs:
        return published_loss(predict, data, batch, device)
    return _evidence_step(predict, data, batch, generator, phase == "pairs", device)


def in_mixed_precision(network: DepthNetwork, device: torch.device) -> Predict:
    """The network as it is trained: its convolutions but the last in bfloat16 (Micikevicius et al. 2018), where fast.

    Weights, gradients of weights and losses stay in float32; bfloat16 has its range, so that no loss is scaled.
    """
    if not fast_in_half(device):
        return network

    def predict(inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            predicted: torch.Tensor = network(inputs)
        return predicted

    return predict


def _log_depth(predict: Predict, inputs: torch.Tensor) -> torch.Tensor:
    """(B, 5, h, w) to log depth (B, 1, h, w); where memory is short with the layers of one frame alone in it.

    Nothing is normalised over the batch, so the result is the same (Chen et al. 2016, gradient checkpointing).
    """
    if not frugal():
        return predict(inputs)
    return torch.cat([checkpoint(predict, inputs[row : row + 1], use_reentrant=False) for row in range(len(inputs))])


def _photometric_step(predict: Predict, data: TrainingData, rows: list[int], device: torch.device) -> torch.Tensor:
    """Self-supervised: neighbours brought into view by depth and cameras look like the frame (Zeng, eq. 1 and 2)."""
    inputs = data.inputs(rows, device).contiguous(memory_format=torch.channels_last)
    log_depth = _log_depth(predict, inputs)
    depth, target = log_depth.exp(), data.colours(rows, device)
    sources, relative, still = [], [], []
    for k in range(data.sources.shape[1]):
        others = data.sources[rows, k].tolist()
        sources.append(data.colours(others, device))
        relative.append(_between(data, rows, others, device))
        still.append(data.still[others].to(device).float())
    lens_matrix = data.lens_matrix.to(device).expand(len(rows), 3, 3)
    anchor = torch.zeros((), device=device)
    if data.right is not None:
        eye = data.right.images[rows].to(device).float() / 255.0
        rig = data.right.right_from_left.to(device).expand(len(rows), 4, 4)
        sources.append(eye)
        relative.append(rig)
        still.append(torch.ones_like(still[0]))  # both eyes see the same moment
        other = _log_depth(predict, torch.cat([eye * 2.0 - 1.0, torch.zeros_like(inputs[:, 3:])], dim=1)).exp()
        anchor = LEFT_RIGHT_WEIGHT * left_right_loss(depth, other, lens_matrix, rig).mean()
    loss = photometric_loss(
        target, torch.stack(sources), depth, lens_matrix, torch.stack(relative),
        data.still[rows].to(device).float(), torch.stack(still),
    ).mean()  # fmt: skip
    points = data.sparse[rows].to(device)
    loss = loss + PHOTO_SPARSE_WEIGHT * sparse_loss(log_depth, points[..., :2], points[..., 2]).mean()
    return loss + anchor + PHOTO_SMOOTH_WEIGHT * disparity_smoothness((-log_depth).exp(), target).mean()


def _evidence_step(
    predict: Predict,
    data: TrainingData,
    batch: Batch,
    generator: torch.Generator,
    use_pairs: bool,
    device: torch.device,
) -> torch.Tensor:
    """The anchor to what is known and smoothness always; with `use_pairs` CVD's losses over the pairs too.

    Part of what is known is hidden from the input but not from the loss, so that the network learns to fill in rather
    than to copy.
    """
    rows = batch.rows
    coarse = (torch.rand((len(rows), 1, 6, 8), generator=generator) < HIDE).float()
    hidden = torch.nn.functional.interpolate(coarse, size=data.images.shape[-2:], mode="nearest")
    inputs = data.inputs(rows, device, hidden).contiguous(memory_format=torch.channels_last)
    log_depth = _log_depth(predict, inputs)
    known = data.evidence[rows].to(device).float()
    loss = anchor_loss(log_depth, known[:, :1], known[:, WEIGHT:CONFIDENCE]).mean()
    loss = loss + SMOOTH_WEIGHT * smoothness_loss(log_depth, inputs[:, :3]).mean()
    if use_pairs:
        spatial, disparity = over_pairs(log_depth.exp(), data, batch, True, device)
        loss = loss + PAIR_WEIGHT * (spatial + DISPARITY_WEIGHT * disparity)
    return loss


def published_loss(predict: Predict, data: TrainingData, batch: Batch, device: torch.device) -> torch.Tensor:
    """CVD eq. 7-12 and nothing else, of pictures alone."""
    everything = torch.ones((len(batch.rows), 1, *data.images.shape[-2:]))
    inputs = data.inputs(batch.rows, device, everything).contiguous(memory_format=torch.channels_last)
    spatial, disparity = over_pairs(_log_depth(predict, inputs).exp(), data, batch, False, device)
    return spatial + DISPARITY_WEIGHT * disparity


def _between(data: TrainingData, rows: list[int], others: list[int], device: torch.device) -> torch.Tensor:
    """`other_from_this` (B, 4, 4)."""
    relative = rigid_inverse(data.world_from_camera[others]) @ data.world_from_camera[rows]
    return torch.tensor(relative, dtype=torch.float32, device=device)


def over_pairs(
    depth: torch.Tensor, data: TrainingData, batch: Batch, robust: bool, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Spatial and disparity loss, mean over the pairs and both directions, from the depth of the batch's rows."""
    pairs = [data.pairs[k] for k in batch.pairs]
    first, second = [batch.rows[k] for k in batch.first], [batch.rows[k] for k in batch.second]
    flows = torch.from_numpy(np.stack([load_pair(data.flow, p.first, p.second) for p in pairs])).to(device).float()
    lens_matrix = data.lens_matrix.to(device).expand(len(pairs), 3, 3)
    here, there = depth[batch.first], depth[batch.second]
    total_spatial, total_disparity = torch.zeros((), device=device), torch.zeros((), device=device)
    for k, (a, b, this, other) in enumerate(((first, second, here, there), (second, first, there, here))):
        flow, mask = flows[:, k, :2], flows[:, k, 2:]
        if robust:
            mask = mask * data.still[a].to(device) * _still_there(data, b, flow, device)
        spatial, disparity = pair_losses(
            this, other, lens_matrix, _between(data, a, b, device), flow, mask, robust=robust
        )
        total_spatial = total_spatial + 0.5 * spatial.mean()
        total_disparity = total_disparity + 0.5 * disparity.mean()
    return total_spatial, total_disparity


def _still_there(data: TrainingData, rows: list[int], flow: torch.Tensor, device: torch.device) -> torch.Tensor:
    """(B, 1, h, w): where the flow leads, nothing moves by itself."""
    height, width = flow.shape[-2:]
    target = pixel_centres(height, width, like=flow) + flow.permute(0, 2, 3, 1)
    return sample(data.still[rows].to(device).float(), target, mode="nearest")
