"""Shards of rendered views that see the same scene, with their depth, cameras and lens.

usage: python -m training.views --out DIR [--first 0] [--shards 20] [--device cuda]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.files import write_npy
from training.dataset import FAREST, moved, worth_seeing
from training.raycast import render
from training.scenes import Shot, look, random_shot, texture_bank

WIDTH, HEIGHT = 160, 120
SHOTS, VIEWS = 24, 5  # the first view is the keyframe
BASELINE = (0.02, 0.3)  # from keyframe to view, of the keyframe's median depth
STRAY = 0.35  # how far the steps of a hand-held camera stray from one direction
TURN = 4.0  # degrees about each axis, besides what keeps the scene in the picture
INSIDE = 0.1  # of the keyframe's median depth: nearer than that the camera is in something
NAMES = ("picture", "depth", "lens", "pose")  # in the order of writing: with its poses a shard is complete
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ViewShots:
    """S shots, each of one scene from V cameras.

    Attributes:
        picture: (S, V, 3, H, W) uint8, display-referred.
        depth: (S, V, H, W) float16, log of planar depth in units of the keyframe's median depth; sky at `FAREST`.
        lens: (S, 3, 3) float32.
        pose: (S, V, 4, 4) float32, view from keyframe, in the same units; the first is the keyframe itself.
    """

    picture: torch.Tensor
    depth: torch.Tensor
    lens: torch.Tensor
    pose: torch.Tensor

    @classmethod
    def load(cls, folder: Path) -> ViewShots:
        """All complete shards of a folder."""
        numbers = sorted(int(path.stem.split("-")[1]) for path in folder.glob("pose-*.npy"))

        def column(name: str) -> torch.Tensor:
            arrays = [np.load(_path(folder, name, number), allow_pickle=False) for number in numbers]
            return torch.from_numpy(np.concatenate(arrays))

        return cls(*(column(name) for name in NAMES))


def shard(number: int, device: torch.device) -> dict[str, NDArray[np.generic]]:
    """Shots as `ViewShots` describes them, by name. The same number gives the same shots."""
    rng = np.random.default_rng([number, 2])
    bank = tuple(level.to(device) for level in texture_bank(rng, 48))
    shots: list[tuple[NDArray[np.generic], ...]] = []
    seed = 10_000_000 + 1000 * number
    while len(shots) < SHOTS:
        seed += 1
        seen = _shot(random_shot(seed, bank, WIDTH, HEIGHT, 1), rng, device)
        if seen is not None:
            shots.append(seen)
    return dict(zip(NAMES, map(np.stack, zip(*shots, strict=True)), strict=True))


def _shot(start: Shot, rng: np.random.Generator, device: torch.device) -> tuple[NDArray[np.generic], ...] | None:
    """Picture, depth, lens and pose of the views of a shot; None where they are not worth seeing."""
    scene, lens = moved(start.scene, device), start.lens_matrix

    def seen(pose: Array) -> tuple[torch.Tensor, torch.Tensor]:
        return render(scene, torch.tensor(pose, dtype=torch.float32, device=device), lens, WIDTH, HEIGHT)

    key = start.world_from_camera[0].double().numpy()
    colour, depth = seen(key)
    unit = float(depth.median())
    if not worth_seeing(depth, (depth / unit).log().clamp(-FAREST, FAREST)):
        return None
    exposure = float(rng.uniform(0.25, 0.5)) / float(colour.mean().clamp_min(1e-3))
    colours, depths, poses = [colour], [depth], [key]
    for view_from_key in _steps(rng):
        view_from_key[:3, 3] *= unit
        poses.append(key @ np.linalg.inv(view_from_key))
        colour, depth = seen(poses[-1])
        if depth.min() < INSIDE * unit:
            return None
        colours.append(colour)
        depths.append(depth)
    picture = (torch.stack(colours) * exposure).clamp(0, 1) ** (1 / 2.2)
    relative = np.stack([np.linalg.inv(pose) @ key for pose in poses])
    relative[:, :3, 3] /= unit
    return (
        (picture * 255).round().byte().cpu().numpy(),
        (torch.stack(depths) / unit).log().clamp(-FAREST, FAREST).half().cpu().numpy(),
        lens.numpy(),
        relative.astype(np.float32),
    )


def _steps(rng: np.random.Generator) -> Iterator[Array]:
    """View from keyframe, in units of the keyframe's median depth: a camera moved by hand, both ways from it."""
    way = rng.normal(size=3) * (1.0, 0.6, 0.7)
    way /= np.linalg.norm(way)
    pace = np.exp(rng.uniform(*np.log(BASELINE)))
    tracks = rng.uniform(0.0, 1.0)  # how far the camera turns to what it sees
    for k in range(1, VIEWS):
        side = 1.0 if k % 2 else -1.0
        place = pace * rng.uniform(0.5, 1.0) * (side * way + STRAY * rng.normal(size=3) / 3**0.5)
        yaw, pitch, roll = np.radians(TURN * rng.normal(size=3))
        turned = look(np.zeros(3), yaw + tracks * place[0], pitch + tracks * place[1], roll)
        key_from_view = np.eye(4)
        key_from_view[:3, :3] = _AHEAD.T @ turned[:3, :3]
        key_from_view[:3, 3] = place
        yield np.asarray(np.linalg.inv(key_from_view))


_AHEAD = look(np.zeros(3), 0.0, 0.0, 0.0)[:3, :3]  # `look`'s world from a camera that is not turned


def _path(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}-{number:05d}.npy"


def write_shard(folder: Path, number: int, device: torch.device) -> None:
    """Render a shard into `folder` unless it is there."""
    if not _path(folder, NAMES[-1], number).exists():
        for name, array in shard(number, device).items():
            write_npy(_path(folder, name, number), array)


def main() -> None:
    """Render shards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.shards):
        write_shard(options.out, number, torch.device(options.device))
        print(f"shard {number}", flush=True)


if __name__ == "__main__":
    main()
