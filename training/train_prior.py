"""Train the depth network that ships with the project, on rendered scenes.

usage: python -m training.train_prior --data DIR --out DIR [--steps N] [--device cuda]

Goes on from `OUT/checkpoint.pt` when it is there. Writes `OUT/prior.jsonl` (the log) and `OUT/builtin.safetensors`.
Shards come from `python -m training.dataset`; new ones are read as they appear.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812

from engine.depth.network import ARCHITECTURE, DepthNetwork
from engine.files import write_atomically
from training.dataset import load_shards, shard
from training.evidence import simulate

SEED = 1
BATCH = 8
RATE = 1.2e-3
WARM_UP = 100
DECAY = 1e-4
AVERAGE = 0.998  # of the weights that are exported, per step
GRADIENT_WEIGHT = 0.5
SHAPES = ((144, 192), (144, 192), (112, 192), (128, 176), (144, 144), (144, 108))
CHECK_SHARDS = (90_000, 90_001)  # never trained on
EVERY = 250


def augment(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Exposure, white balance, contrast, saturation, blur and noise (B, 3, H, W) in [0, 1]."""

    def uniform(low: float, high: float, channels: int = 1) -> torch.Tensor:
        return low + (high - low) * torch.rand((len(pictures), channels, 1, 1), generator=generator)

    x = pictures.clamp_min(1e-3) ** uniform(0.6, 1.5)
    x = x * uniform(0.7, 1.3) * uniform(0.85, 1.15, 3)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0.0, 1.4)
    x = (x - 0.5) * uniform(0.7, 1.3) + 0.5
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = x + uniform(0.0, 1.0) * (soft - x)
    return (x + uniform(0.0, 0.03) * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def batch(
    pictures: torch.Tensor, log_depth: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Network input (B, 5, H, W), true log depth (B, 1, H, W), and which samples are absolute (B,)."""
    shift = 0.25 * torch.randn((len(pictures), 1, 1), generator=generator)
    true = log_depth + shift
    x = augment(pictures, generator)
    evidence = simulate(x.mean(1), true, generator)
    measured = evidence[:, 1].amax(dim=(1, 2)) > 0
    return torch.cat([2.0 * x - 1.0, evidence], 1), true[:, None], measured


def loss(predicted: torch.Tensor, true: torch.Tensor, absolute: torch.Tensor) -> torch.Tensor:
    """L1 of log depth, free of scale where nothing was measured, and of its gradients at three scales."""
    miss = predicted - true
    middle = miss.detach().flatten(1).median(dim=1).values * ~absolute
    total = (miss - middle[:, None, None, None]).abs().mean()
    for scale in (1, 2, 4):
        small = F.avg_pool2d(miss, scale) if scale > 1 else miss
        across, down = small[..., 1:] - small[..., :-1], small[..., 1:, :] - small[..., :-1, :]
        total = total + GRADIENT_WEIGHT * (across.abs().mean() + down.abs().mean())
    return total


@torch.no_grad()
def check(network: DepthNetwork, pictures: torch.Tensor, log_depth: torch.Tensor) -> dict[str, float]:
    """AbsRel on pictures never trained on: without evidence, with it, of constant depth, and of the evidence itself."""
    generator = torch.Generator().manual_seed(SEED)
    errors: dict[str, list[torch.Tensor]] = {"alone": [], "measured": [], "constant": [], "evidence": []}
    for start in range(0, len(pictures), 16):
        true = log_depth[start : start + 16]
        x = pictures[start : start + 16]
        evidence = simulate(x.mean(1), true, generator)
        dense = (evidence[:, 1] > 0).float().mean(dim=(1, 2)) > 0.15
        alone = network(torch.cat([2 * x - 1, torch.zeros_like(evidence)], 1))[:, 0]
        errors["alone"].append(_absrel(alone, true))
        errors["constant"].append(_absrel(torch.zeros_like(true), true))
        if dense.any():
            chosen = evidence[dense]
            filled = network(torch.cat([2 * x[dense] - 1, chosen], 1))[:, 0]
            errors["measured"].append((filled - true[dense]).exp().sub(1).abs().mean(dim=(1, 2)))
            there = chosen[:, 1] > 0
            miss = (chosen[:, 0] - true[dense]).exp().sub(1).abs() * there
            errors["evidence"].append(miss.sum(dim=(1, 2)) / there.sum(dim=(1, 2)))
    return {name: round(float(torch.cat(values).mean()), 4) for name, values in errors.items()}


def _absrel(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    miss = predicted - true
    return (miss - miss.flatten(1).median(dim=1).values[:, None, None]).exp().sub(1).abs().mean(dim=(1, 2))


def export(network: DepthNetwork, path: Path, steps: int) -> None:
    """Write the weights as float16 safetensors."""
    weights = {name: value.half().contiguous().cpu() for name, value in network.state_dict().items()}
    metadata = {"architecture": ARCHITECTURE, "steps": str(steps), "seed": str(SEED), "licence": "CC0-1.0"}
    write_atomically(path, lambda temporary: save_file(weights, temporary, metadata))


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    held = [shard(number, torch.device("cpu")) for number in CHECK_SHARDS]
    check_pictures = torch.from_numpy(np.concatenate([h[0] for h in held])).float() / 255.0
    check_depths = torch.from_numpy(np.concatenate([h[1] for h in held])).float()

    torch.manual_seed(SEED)
    network = DepthNetwork().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    start, checkpoint = 0, options.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
    began, running = time.monotonic(), 0.0
    pictures, depths = load_shards(options.data)
    for step in range(start, options.steps):
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + step)
        if step % EVERY == 0:
            pictures, depths = load_shards(options.data)  # more may have been rendered meanwhile
        rows = torch.randint(len(pictures), (BATCH,), generator=generator).tolist()
        height, width = SHAPES[step % len(SHAPES)]
        top = int(torch.randint(pictures.shape[2] - height + 1, (1,), generator=generator))
        left = int(torch.randint(pictures.shape[3] - width + 1, (1,), generator=generator))
        x = torch.from_numpy(pictures[rows][..., top : top + height, left : left + width]).float() / 255.0
        y = torch.from_numpy(depths[rows][..., top : top + height, left : left + width]).float()
        if torch.rand(1, generator=generator) < 0.5:
            x, y = x.flip(-1), y.flip(-1)
        inputs, true, absolute = batch(x, y, generator)
        warm = min(1.0, (step + 1) / WARM_UP)
        for group in optimiser.param_groups:
            group["lr"] = RATE * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / options.steps)))
        with torch.autocast(device.type, torch.bfloat16):
            predicted = network(inputs.to(device, memory_format=torch.channels_last))
        value = loss(predicted.float(), true.to(device), absolute.to(device))
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        keep = min(AVERAGE, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1.0 - keep)
        running += float(value.detach())
        if (step + 1) % EVERY == 0 or step + 1 == options.steps:
            seconds, running = round(time.monotonic() - began), running / EVERY
            line = {"step": step + 1, "loss": round(running, 4), "pictures": len(pictures), "seconds": seconds}
            line |= check(average, check_pictures, check_depths)
            running = 0.0
            print(json.dumps(line), flush=True)
            with (options.out / "prior.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            state = {"network": network.state_dict(), "average": average.state_dict(),
                     "optimiser": optimiser.state_dict(), "step": step + 1}  # fmt: skip
            write_atomically(checkpoint, lambda temporary, s=state: torch.save(s, temporary))  # type: ignore[misc]
            export(average, options.out / "builtin.safetensors", step + 1)


if __name__ == "__main__":
    main()
