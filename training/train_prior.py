"""Train the depth network that ships with the project, on rendered scenes.

usage: python -m training.train_prior --data DIR --out DIR [--minutes M] [--device cuda]

Small and large shards come from `python -m training.dataset`; new ones are read as they appear. Writes, every few
minutes and at the end, `OUT/checkpoint.pt`, from which the same command goes on, `OUT/prior.jsonl` (the log) and
`OUT/depth.safetensors` (what ships). The schedule follows the time that is spent of `--minutes`: a later run with
more minutes goes on where this one was, with the rate that belongs there.
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

import torch
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812

from engine.device import fast_in_half
from engine.files import write_atomically
from engine.networks.depth import ARCHITECTURE, DepthNetwork
from training.dataset import load_shards, write_shard
from training.evidence import simulate

SEED = 1
BATCH = 16
RATE = 1e-3
WARM_UP = 100  # steps
DECAY = 1e-2
AVERAGE = 0.998  # of the weights that are exported, per step
GRADIENT_WEIGHT = 0.25
# What a room is like is learnt from many small pictures, at a tenth of the cost; then outlines, at the size of use.
SHAPES = {
    "small": ((48, 64), (36, 64), (54, 64), (64, 48)),
    "large": ((96, 128), (144, 192), (108, 192), (128, 176), (192, 144)),
}
SMALL_UNTIL = 0.7  # of the time
CROP = 0.6  # the smallest part of a picture's side that is shown
HELD_OUT = (90_000, 90_001)  # shards never trained on
EVERY = 500  # steps


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    held_folder = options.out / "held-out"
    held_folder.mkdir(parents=True, exist_ok=True)
    for number in HELD_OUT:
        write_shard(held_folder, number, "large", device)
    train(options.data, options.out, Examples.load(held_folder), 60.0 * options.minutes, device)


@dataclass(frozen=True)
class Examples:
    """Pictures (N, 3, H, W) uint8, and log depth (N, H, W) float16 relative to each picture's median."""

    pictures: torch.Tensor
    log_depth: torch.Tensor

    @classmethod
    def load(cls, folder: Path) -> Examples:
        """All complete shards of a folder."""
        pictures, log_depth = load_shards(folder)
        return cls(torch.from_numpy(pictures), torch.from_numpy(log_depth))


def train(data: Path, out: Path, held: Examples, seconds: float, device: torch.device) -> None:
    """Train until `seconds` are spent, those before a checkpoint counted."""
    torch.manual_seed(SEED)
    # The stubs of PyTorch know `memory_format` only with a tensor.
    network = DepthNetwork().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    step, spent, running = 0, 0.0, 0.0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    examples, loaded = Examples.load(data / size_at(spent / seconds)), size_at(spent / seconds)
    while spent < seconds:
        began = time.monotonic()
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + step)
        done = spent / seconds
        if size_at(done) != loaded:
            examples, loaded = Examples.load(data / size_at(done)), size_at(done)
        inputs, true, absolute = batch(*draw(examples, SHAPES[loaded], generator), generator)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * done))
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_in_half(device)):
            predicted = network(inputs.to(device, memory_format=torch.channels_last))
        value = loss(predicted.float(), true.to(device), absolute.to(device))
        optimiser.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(AVERAGE, step / (step + 10))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1.0 - keep)
        running += float(value.detach())
        spent += time.monotonic() - began
        if step % EVERY == 0 or spent >= seconds:
            line = {"step": step, "spent_s": round(spent), "loss": round(running / ((step - 1) % EVERY + 1), 4)}
            line |= {"examples": len(examples.pictures)} | check(average, held, device)
            running = 0.0
            print(json.dumps(line), flush=True)
            with (out / "prior.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            state = {"network": network.state_dict(), "average": average.state_dict(),
                     "optimiser": optimiser.state_dict(), "step": step, "spent": spent}  # fmt: skip
            write_atomically(checkpoint, partial(torch.save, state))
            export(average, out / "depth.safetensors", step)
            examples = Examples.load(data / loaded)  # more may have been rendered meanwhile


def size_at(done: float) -> str:
    """Which shards a share of the time belongs to."""
    return "small" if done < SMALL_UNTIL else "large"


def draw(
    examples: Examples, shapes: tuple[tuple[int, int], ...], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pictures (B, 3, h, w) in [0, 1] and their log depth (B, h, w): cut out, scaled and mirrored."""
    rows = torch.randint(len(examples.pictures), (BATCH,), generator=generator)
    height, width = shapes[int(torch.randint(len(shapes), (1,), generator=generator))]
    full_height, full_width = examples.log_depth.shape[1:]
    largest = min(full_height / height, full_width / width)
    part = largest * (CROP + (1.0 - CROP) * float(torch.rand(1, generator=generator)))
    h, w = round(part * height), round(part * width)
    top = int(torch.randint(full_height - h + 1, (1,), generator=generator))
    left = int(torch.randint(full_width - w + 1, (1,), generator=generator))
    x = examples.pictures[rows, :, top : top + h, left : left + w].float() / 255.0
    y = examples.log_depth[rows, top : top + h, left : left + w].float()
    x = F.interpolate(x, (height, width), mode="bilinear", align_corners=False, antialias=True)
    y = F.interpolate(y[:, None], (height, width), mode="nearest-exact")[:, 0]
    mirrored = torch.rand((BATCH, 1, 1), generator=generator) < 0.5
    return torch.where(mirrored[..., None], x.flip(-1), x), torch.where(mirrored, y.flip(-1), y)


def batch(
    pictures: torch.Tensor, log_depth: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Network input (B, 5, H, W), true log depth (B, 1, H, W), and in which samples something is measured (B,)."""
    true = log_depth + 0.25 * torch.randn((len(pictures), 1, 1), generator=generator)
    x = augment(pictures, generator)
    evidence = simulate(x.mean(1), true, generator)
    measured = evidence[:, 1].amax(dim=(1, 2)) > 0
    return torch.cat([2.0 * x - 1.0, evidence], 1), true[:, None], measured


def augment(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What cameras do to pictures (B, 3, H, W): uneven light, exposure, white balance, contrast, blur, noise."""

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand((len(pictures), *(shape or (1, 1, 1))), generator=generator)

    x = pictures.clamp_min(1e-3) ** uniform(0.6, 1.5)
    light = F.interpolate(uniform(-1.0, 1.0, 1, 3, 3), x.shape[-2:], mode="bilinear", align_corners=True)
    x = x * uniform(0.7, 1.3) * uniform(0.85, 1.15, 3, 1, 1) * (1.0 + uniform(0.0, 0.4) * light)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0.0, 1.4)
    x = (x - 0.5) * uniform(0.7, 1.3) + 0.5
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = x + uniform(0.0, 1.0) * (soft - x)
    return (x + uniform(0.0, 0.03) * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def loss(predicted: torch.Tensor, true: torch.Tensor, absolute: torch.Tensor) -> torch.Tensor:
    """L1 of log depth (B, 1, H, W), free of scale where not `absolute` (B,), and of its gradients at three scales.

    The gradients at several scales are those of Li & Snavely, MegaDepth (CVPR 2018), eq. 4, on log depth.
    """
    miss = predicted - true
    middle = miss.detach().flatten(1).median(dim=1).values * ~absolute
    total = (miss - middle[:, None, None, None]).abs().mean()
    for scale in (1, 2, 4):
        small = F.avg_pool2d(miss, scale) if scale > 1 else miss
        across, down = small[..., 1:] - small[..., :-1], small[..., 1:, :] - small[..., :-1, :]
        total = total + GRADIENT_WEIGHT * (across.abs().mean() + down.abs().mean())
    return total


@torch.no_grad()
def check(network: DepthNetwork, held: Examples, device: torch.device) -> dict[str, float]:
    """Mean error of log depth on pictures never trained on (one missed sky would decide AbsRel).

    Returns:
        `alone`: without evidence, one scale per picture; `constant`: of constant depth, likewise. `measured`: with
        dense evidence, absolute; `evidence`: of that evidence where it is; `filled`: with its gaps filled from nearby.
    """
    generator = torch.Generator().manual_seed(SEED)
    errors: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(held.pictures), 16):
        true = held.log_depth[start : start + 16].float()
        x = held.pictures[start : start + 16].float() / 255.0
        evidence = simulate(x.mean(1), true, generator)
        dense = (evidence[:, 1] > 0).float().mean(dim=(1, 2)) > 0.15
        log_depth, confidence = evidence[dense].unbind(1)

        def predict(seen: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
            log_depth: torch.Tensor = network(torch.cat([2.0 * seen - 1.0, measured], 1).to(device))
            return log_depth[:, 0].cpu()

        alone = predict(x, torch.zeros_like(evidence)) - true
        for name, miss in (("alone", alone), ("constant", -true)):
            middle = miss.flatten(1).median(dim=1).values[:, None, None]
            errors.setdefault(name, []).append((miss - middle).abs().flatten())
        measured = predict(x[dense], evidence[dense]) - true[dense]
        filled = nearest_filled(log_depth, confidence > 0) - true[dense]
        there = (log_depth - true[dense])[confidence > 0]
        for name, miss in (("measured", measured), ("filled", filled), ("evidence", there)):
            errors.setdefault(name, []).append(miss.abs().flatten())
    return {name: round(float(torch.cat(values).mean()), 4) for name, values in errors.items()}


def nearest_filled(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """`values` (B, H, W), where not `known` the known value grown over it step by step; known somewhere in each."""
    values, known = values.clone(), known.clone()
    while not known.all():
        weight = F.avg_pool2d(known[:, None].float(), 3, 1, 1)[:, 0]
        total = F.avg_pool2d((values * known)[:, None], 3, 1, 1)[:, 0]
        new = ~known & (weight > 0)
        values[new] = (total / weight.clamp_min(1e-6))[new]
        known |= new
    return values


def export(network: DepthNetwork, path: Path, steps: int) -> None:
    """Write the weights as float16 safetensors."""
    weights = {name: value.half().contiguous().cpu() for name, value in network.state_dict().items()}
    metadata = {"architecture": ARCHITECTURE, "steps": str(steps), "seed": str(SEED), "licence": "CC0-1.0"}
    write_atomically(path, lambda temporary: save_file(weights, temporary, metadata))


if __name__ == "__main__":
    main()
