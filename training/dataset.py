"""Shards of rendered pictures with their depth.

usage: python -m training.dataset --out DIR [--size small] [--first 0] [--shards 40] [--device cuda]

Small pictures cost a fifth of large ones: what scenes are like is learnt from many of them, outlines from a few large
ones. Shards lie in DIR/small and DIR/large.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.files import write_npy
from training.raycast import Scene, render
from training.scenes import random_shot, texture_bank

SIZES = {"small": (96, 72), "large": (192, 144)}  # width and height
SHOTS, VIEWS = 32, 2
FAREST = 3.0  # log depth relative to the picture's median: sky, too


def shard(number: int, size: str, device: torch.device) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Pictures (N, 3, H, W), display-referred, and log depth (N, H, W) relative to each picture's median."""
    width, height = SIZES[size]
    rng = np.random.default_rng([number, 1])
    bank = tuple(level.to(device) for level in texture_bank(rng, 48))
    pictures, depths = [], []
    for k in range(SHOTS):
        shot = random_shot(number * SHOTS + k, bank, width, height, VIEWS)
        scene = moved(shot.scene, device)
        for pose in shot.world_from_camera.to(device):
            colour, depth = render(scene, pose, shot.lens_matrix, width, height)
            log_depth = (depth / depth.median()).log().clamp(-FAREST, FAREST)
            if not worth_seeing(depth, log_depth):
                continue
            exposed = colour / colour.mean().clamp_min(1e-3) * rng.uniform(0.25, 0.5)
            pictures.append(((exposed.clamp(0, 1) ** (1 / 2.2)) * 255).round().byte().cpu().numpy())
            depths.append(log_depth.half().cpu().numpy())
    return np.stack(pictures), np.stack(depths)


def worth_seeing(depth: torch.Tensor, log_depth: torch.Tensor) -> bool:
    """Neither a wall from nearby nor mostly sky."""
    near, far = log_depth.flatten().float().quantile(torch.tensor([0.05, 0.95], device=depth.device)).tolist()
    return bool(depth.median() < 150 and depth.min() > 0.15 and far - near > 0.25)


def moved(scene: Scene, device: torch.device) -> Scene:
    """The scene on a device; its textures are there already."""
    tensors = {f.name: getattr(scene, f.name).to(device) for f in fields(scene) if f.name != "bank"}
    return replace(scene, **tensors)


def write_shard(folder: Path, number: int, size: str, device: torch.device) -> None:
    """Render a shard into `folder` unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _depth_path(folder, number).exists():
        pictures, depths = shard(number, size, device)
        write_npy(folder / f"picture-{number:05d}.npy", pictures)
        write_npy(_depth_path(folder, number), depths)


def load_shards(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """All complete shards of a folder, one after the other."""
    numbers = sorted(int(path.stem.split("-")[1]) for path in folder.glob("depth-*.npy"))
    pictures = [np.load(folder / f"picture-{number:05d}.npy", allow_pickle=False) for number in numbers]
    depths = [np.load(_depth_path(folder, number), allow_pickle=False) for number in numbers]
    return np.concatenate(pictures), np.concatenate(depths)


def _depth_path(folder: Path, number: int) -> Path:
    return folder / f"depth-{number:05d}.npy"


def main() -> None:
    """Render shards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for number in range(options.first, options.first + options.shards):
        write_shard(options.out / options.size, number, options.size, torch.device(options.device))
        print(f"shard {number}", flush=True)


if __name__ == "__main__":
    main()
