"""Train the networks of DeepV2D that ship with the project, on rendered scenes, in two stages as published.

usage: python -m training.train_deepv2d --data DIR --out DIR [--minutes M] [--batch B] [--device cuda]

Shards come from `python -m training.views`; new ones are read as they appear. First the motion module is trained with
true, coarse or constant depth; then both together, the depth module with the poses that the motion module found.
Writes, every few minutes and at the end, `OUT/checkpoint.pt`, from which the same command goes on, `OUT/deepv2d.jsonl`
(the log) and `OUT/deepv2d.safetensors` (what ships). The schedule follows the time that is spent of `--minutes`: a
later run with more minutes goes on where this one was, with the rate that belongs there.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812

from engine.deepv2d import se3
from engine.deepv2d.edges import find
from engine.deepv2d.gauss_newton import NEAREST, keyframe_step
from engine.device import fast_in_half
from engine.files import write_atomically
from engine.geometry.tensors import project, transform, unproject
from engine.networks.deepv2d import ARCHITECTURE, DeepV2D, Features, Matched
from training.dataset import FAREST
from training.views import ViewShots, write_shard

SEED = 1
PLANES = 24
RATE = 1.5e-3
WARM_UP = 100  # steps
DECAY = 1e-4
AVERAGE = 0.997  # of the weights that are exported, per step; less at first: about a tenth of all steps
MOTION_ONLY = 0.1  # of the time
STEPS = 2  # of Gauss-Newton for each time that the motion module looks
SHAPES = ((96, 128), (80, 112), (72, 128), (96, 96), (96, 80))
CROP = 0.65  # the smallest part of a picture's side that is shown
MOST_FLOW = 20.0  # pixels of the feature grid: what is missed by more counts no more
FLOW, SURE, POSE, DEPTH, PLANE, EARLY = 0.1, 0.05, 0.1, 2.0, 0.2, 0.5  # weights of the losses
HELD_OUT = (90_000,)  # shards never trained on
EVERY = 200  # steps


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=180.0)
    parser.add_argument("--batch", type=int, default=4, help="shots in a step: few on a CPU, more on a GPU")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    held_folder = options.out / "held-out"
    held_folder.mkdir(parents=True, exist_ok=True)
    for number in HELD_OUT:
        write_shard(held_folder, number, device)
    held = ViewShots.load(held_folder)
    train(options.data, options.out, held, 60.0 * options.minutes, options.batch, device)


@dataclass(frozen=True)
class Batch:
    """B shots of V views, the first of which is the key.

    Attributes:
        images: (B, V, 3, H, W) in [0, 1].
        inverse: (B, 1, H/2, W/2) true inverse depth of the key on the half grid.
        coarse: (B, 1, H/4, W/4) the same on the feature grid.
        lens: (B, 3, 3) of the feature grid.
        pose: (B, V - 1, 4, 4) view from key.
    """

    images: torch.Tensor
    inverse: torch.Tensor
    coarse: torch.Tensor
    lens: torch.Tensor
    pose: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """On a device."""
        return Batch(*(x.to(device) for x in (self.images, self.inverse, self.coarse, self.lens, self.pose)))


def draw(shots: ViewShots, rows: torch.Tensor, shape: tuple[int, int], generator: torch.Generator | None) -> Batch:
    """Shots cut out, scaled to `shape`, mirrored, and as cameras would see them; without generator whole and plain."""
    height, width = shape
    full_height, full_width = shots.depth.shape[-2:]
    part = min(full_height / height, full_width / width)
    if generator is not None:
        part *= CROP + (1.0 - CROP) * float(torch.rand(1, generator=generator))
    h, w = round(part * height), round(part * width)
    top, left = (full_height - h) // 2, (full_width - w) // 2
    if generator is not None:
        top = int(torch.randint(full_height - h + 1, (1,), generator=generator))
        left = int(torch.randint(full_width - w + 1, (1,), generator=generator))
    x = shots.picture[rows, :, :, top : top + h, left : left + w].float() / 255.0
    x = F.interpolate(x.flatten(0, 1), shape, mode="bilinear", align_corners=False, antialias=True)
    x = _per_shot(x, len(rows))
    near = (-shots.depth[rows, :1, top : top + h, left : left + w].float()).exp()
    lens = shots.lens[rows].clone()
    lens[:, 0, 2] -= left
    lens[:, 1, 2] -= top
    lens[:, 0] *= width / 4 / w
    lens[:, 1] *= height / 4 / h
    pose = shots.pose[rows, 1:].clone()
    if generator is not None:
        mirrored = torch.rand((len(rows), 1, 1, 1), generator=generator) < 0.5
        x = torch.where(mirrored[..., None], x.flip(-1), x)
        near = torch.where(mirrored, near.flip(-1), near)
        lens[:, 0, 2] = torch.where(mirrored[:, 0, 0, 0], width / 4 - lens[:, 0, 2], lens[:, 0, 2])
        flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
        pose = torch.where(mirrored, flip @ pose @ flip, pose)
        x = _seen_by_cameras(x, generator)
    half, coarse = (
        F.interpolate(near, (height // k, width // k), mode="bilinear", align_corners=False, antialias=True)
        for k in (2, 4)
    )
    return Batch(x, half, coarse, lens, pose)


def _seen_by_cameras(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Contrast and colour of a clip, exposure and noise of each of its pictures (B, V, 3, H, W)."""
    count, views = x.shape[:2]

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    x = x.clamp_min(1e-3) ** uniform(0.6, 1.5, count, 1, 1, 1, 1)
    x = x * uniform(0.7, 1.3, count, 1, 1, 1, 1) * uniform(0.85, 1.15, count, 1, 3, 1, 1)
    x = x * uniform(0.93, 1.07, count, views, 1, 1, 1)
    grey = x.mean(2, keepdim=True)
    x = grey + (x - grey) * uniform(0.0, 1.3, count, 1, 1, 1, 1)
    return (x + uniform(0.0, 0.025, count, 1, 1, 1, 1) * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def bounds(inverse: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Planes (B, D) between bounds as clips have them: from their depth, or the same for all (see `engine.deepv2d`)."""
    count = len(inverse)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    flat = inverse.flatten(1).cpu()
    far = flat.quantile(0.02, 1) / uniform(1.2, 2.5)
    near = flat.quantile(0.98, 1) * uniform(1.2, 2.0)
    plain = torch.rand(count, generator=generator) < 0.3
    far, near = torch.where(plain, 0.05, far), torch.where(plain, 3.0, near)
    step = torch.linspace(0.0, 1.0, PLANES)
    return (far[:, None] + (near - far)[:, None] * step).to(inverse.device)


def _per_shot(x: torch.Tensor, count: int) -> torch.Tensor:
    """(B V, ..) to (B, V, ..)."""
    return x.reshape(count, -1, *x.shape[1:])


def half(module: Any) -> Any:
    """A module that computes in 16 bits where that is fast. Geometry around it does not: it would be off by pixels."""
    device = next(module.parameters()).device

    def call(*inputs: Any) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_in_half(device)):
            return module(*inputs)

    return call


def motion_losses(
    network: DeepV2D,
    key: Features,
    views: torch.Tensor,
    batch: Batch,
    inverse: torch.Tensor,
    start: torch.Tensor,
    iterations: int,
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Loss of the motion module, the poses that it ends with (B, V - 1, 4, 4), and figures.

    Flow and confidence are told directly, since that needs far fewer pictures than through Gauss-Newton alone, and the
    pose through the flow it makes at the true depth, as published.

    Args:
        network: both modules.
        key: features of the keys.
        views: (B, V - 1, MATCH, h, w).
        batch: what is true.
        inverse: (B, 1, h, w) depth that the module is given.
        start: (B, V - 1, 4, 4) poses that it is given.
        iterations: of the module.
    """
    count = views.shape[1]

    def each(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(count, 0)

    keys, lens = Features(each(key.match), each(key.context)), each(batch.lens)
    true_points = unproject(1.0 / each(batch.coarse), lens)
    size = views.new_tensor([views.shape[-1], views.shape[-2]])

    def flow_of(pose: torch.Tensor) -> torch.Tensor:
        return project(transform(pose, true_points), lens, NEAREST)

    truth = flow_of(batch.pose.flatten(0, 1))
    there = ((truth > 0) & (truth < size)).all(-1, True).float()
    there = there / there.mean().clamp_min(1e-3)
    pose, total = start.flatten(0, 1), views.new_zeros(())
    figures: dict[str, torch.Tensor] = {}
    for _ in range(iterations):
        pose = pose.detach()
        found = find(half(network.motion), keys, views.flatten(0, 1), each(inverse), lens, pose)
        miss = (found.target - truth).abs()
        known = miss.detach().clamp_max(MOST_FLOW)
        sure = (known * found.weight - found.weight.clamp_min(1e-4).log()) * (found.weight > 0)
        for _ in range(STEPS):
            pose = keyframe_step(pose, found.points, lens, found.target, found.weight)
        moved = (flow_of(pose) - truth).abs().clamp_max(MOST_FLOW)
        flow_loss, pose_loss = (miss.clamp_max(MOST_FLOW) * there).mean(), (moved * there).mean()
        total = total + (FLOW * flow_loss + SURE * (sure * there).mean() + POSE * pose_loss) / iterations
        figures = {"flow": flow_loss.detach(), "pose": pose_loss.detach()}
    return total, pose.detach().reshape(-1, count, 4, 4), figures


def depth_loss(matched: Matched, planes: torch.Tensor, batch: Batch) -> torch.Tensor:
    """L1 of log depth, and cross entropy of the planes with the two around the true depth, for both outputs."""
    far, near = planes[:, :1, None, None], planes[:, -1:, None, None]
    true = batch.inverse.minimum(near).maximum(far)
    total = DEPTH * (matched.inverse_depth.clamp_min(1e-3).log() - true.log()).abs().mean()
    place = ((batch.coarse - far) / (near - far)).clamp(0.0, 1.0) * (PLANES - 1)
    below = place.floor().clamp(0, PLANES - 2)
    upper = place - below
    for logits, weight in zip(matched.logits, (EARLY, 1.0), strict=True):
        likely = logits.float().log_softmax(1)
        at, after = likely.gather(1, below.long()), likely.gather(1, below.long() + 1)
        total = total - weight * PLANE * ((1.0 - upper) * at + upper * after).mean()
    return total


def given_depth(coarse: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth for the motion module: true, coarsely wrong, or constant, as a solve begins; and (B,) if constant."""
    count = len(coarse)
    kind = torch.rand(count, generator=generator)
    noise = torch.randn((count, 1, 4, 5), generator=generator) * 0.2 * torch.rand((count, 1, 1, 1), generator=generator)
    smooth = F.interpolate(noise, coarse.shape[-2:], mode="bicubic", align_corners=False).to(coarse.device)
    wrong = torch.where((kind < 0.7)[:, None, None, None].to(coarse.device), coarse * smooth.exp(), coarse)
    constant = (kind < 0.35).to(coarse.device)
    return torch.where(constant[:, None, None, None], torch.ones_like(coarse), wrong), constant


def given_pose(pose: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Poses for the motion module: none (identity), or the true ones moved."""
    count = len(pose)
    amount = 0.08 * torch.rand((count, 1, 1), generator=generator) ** 2
    moved = se3.exp((amount * torch.randn((*pose.shape[:2], 6), generator=generator)).to(pose.device)) @ pose
    none = (torch.rand((count, 1, 1, 1), generator=generator) < 0.5).to(pose.device)
    return torch.where(none, torch.eye(4, device=pose.device), moved)


def losses(
    network: DeepV2D, batch: Batch, joint: bool, generator: torch.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss of a batch and figures: of the motion module, in stage two (`joint`) of both.

    One alternation, as published: the motion module with the depth it is given, then the depth module with the poses
    that this found or, half of the time, nearly true ones; then the motion module with the depth that came out.
    """
    count = len(batch.images)
    features = half(network.encoder)(batch.images.flatten(0, 1))
    match = _per_shot(features.match, count)
    views = match[:, 1:]
    key = Features(match[:, 0], _per_shot(features.context, count)[:, 0])
    inverse, constant = given_depth(batch.coarse, generator)
    total, pose, figures = motion_losses(network, key, views, batch, inverse, given_pose(batch.pose, generator), 1)
    if joint:
        # poses found with constant depth have another scale than the truth
        own = (torch.rand((count, 1, 1, 1), generator=generator) < 0.5).to(pose.device) & ~constant[:, None, None, None]
        slightly = se3.exp(0.002 * torch.randn((*pose.shape[:2], 6), generator=generator).to(pose.device)) @ batch.pose
        planes = bounds(batch.inverse, generator)
        chosen = 2 + int(torch.randint(views.shape[1] - 1, (1,), generator=generator))
        used = torch.where(own, pose, slightly)
        matched = half(network.depth)(key, views[:, :chosen], batch.lens, used[:, :chosen], planes)
        total = total + depth_loss(matched, planes, batch)
        # the next round's motion: with the errors that this depth has, not with those one thinks of
        measured = F.avg_pool2d(matched.inverse_depth.detach(), 2)
        again, _, later = motion_losses(network, key, views, batch, measured, used, 1)
        total = total + again
        figures |= {f"{name}_again": figure for name, figure in later.items()}
        figures["depth"] = (matched.inverse_depth.detach() / batch.inverse - 1.0).abs().mean()
    return total, figures


def train(data: Path, out: Path, held: ViewShots, seconds: float, size: int, device: torch.device) -> None:
    """Train on batches of `size` shots until `seconds` are spent, those before a checkpoint counted."""
    torch.manual_seed(SEED)
    network = DeepV2D().to(device)
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    step, spent = 0, 0.0
    running: dict[str, float] = {}
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    shots = ViewShots.load(data)
    while spent < seconds:
        began = time.monotonic()
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + step)
        done = spent / seconds
        rows = torch.randint(len(shots.pose), (size,), generator=generator)
        shape = SHAPES[int(torch.randint(len(SHAPES), (1,), generator=generator))]
        batch = draw(shots, rows, shape, generator).to(device)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * done))
        value, figures = losses(network, batch, done >= MOTION_ONLY, generator)
        optimiser.zero_grad()
        torch.autograd.backward(value)
        slope = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        if torch.isfinite(slope):
            optimiser.step()
        step += 1
        keep = min(AVERAGE, max(0.0, 1.0 - 10.0 / step))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1.0 - keep)
        for name, figure in {"loss": value.detach(), **figures}.items():
            running[name] = running.get(name, 0.0) + float(figure)
        spent += time.monotonic() - began
        if step % EVERY == 0 or spent >= seconds:
            steps = (step - 1) % EVERY + 1
            line: dict[str, float] = {"step": step, "spent_s": round(spent), "shots": len(shots.pose)}
            line |= {name: round(total / steps, 4) for name, total in running.items()}
            line |= check(average, held, device)
            running = {}
            print(json.dumps(line), flush=True)
            with (out / "deepv2d.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            state = {"network": network.state_dict(), "average": average.state_dict(),
                     "optimiser": optimiser.state_dict(), "step": step, "spent": spent}  # fmt: skip
            write_atomically(checkpoint, partial(torch.save, state))
            export(average, out / "deepv2d.safetensors", step)
            shots = ViewShots.load(data)  # more may have been rendered meanwhile


@torch.no_grad()
def check(network: DeepV2D, held: ViewShots, device: torch.device) -> dict[str, float]:
    """Errors on shots never trained on.

    Returns:
        `held_flow_start` and `held_flow`: median, over the views, of the flow that identity and the pose found with
        true depth in three iterations miss, in pixels of the feature grid; `held_depth`: AbsRel with true poses;
        `held_constant`: AbsRel of constant depth 1.
    """
    generator = torch.Generator().manual_seed(SEED)
    values: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(held.pose), 8):
        rows = torch.arange(start, min(start + 8, len(held.pose)))
        batch = draw(held, rows, (96, 128), None).to(device)
        count, number = batch.images.shape[:2]
        features = network.encoder(batch.images.flatten(0, 1))
        match = _per_shot(features.match, count)
        key = Features(match[:, 0], _per_shot(features.context, count)[:, 0])
        identity = torch.eye(4, device=device).expand_as(batch.pose)
        _, pose, _ = motion_losses(network, key, match[:, 1:], batch, batch.coarse, identity, 3)
        points = unproject(1.0 / batch.coarse, batch.lens)
        for view in range(number - 1):
            seen = [project(transform(p[:, view], points), batch.lens, NEAREST) for p in (identity, pose, batch.pose)]
            for name, miss in (("held_flow_start", seen[0] - seen[2]), ("held_flow", seen[1] - seen[2])):
                values.setdefault(name, []).append(miss.norm(dim=-1).flatten(1).mean(1))
        planes = bounds(batch.inverse, generator)
        matched = network.depth(key, match[:, 1:], batch.lens, batch.pose, planes)
        far = math.exp(-FAREST) * 1.2  # not the sky
        visible = batch.inverse > far
        for name, inverse in (("held_depth", matched.inverse_depth), ("held_constant", torch.ones_like(batch.inverse))):
            values.setdefault(name, []).append(
                (batch.inverse / inverse.clamp_min(1e-3) - 1.0).abs()[visible].mean()[None]
            )
    return {
        name: round(float(torch.cat(x).median() if "flow" in name else torch.cat(x).mean()), 4)
        for name, x in values.items()
    }


def export(network: DeepV2D, path: Path, steps: int) -> None:
    """Write the weights as float16 safetensors."""
    weights = {name: value.half().contiguous().cpu() for name, value in network.state_dict().items()}
    metadata = {"architecture": ARCHITECTURE, "steps": str(steps), "seed": str(SEED), "licence": "CC0-1.0"}
    write_atomically(path, lambda temporary: save_file(weights, temporary, metadata))


if __name__ == "__main__":
    main()
