"""The evidence stage: what the clip's own geometry says about depth, without any weights.

Each frame is swept against its neighbours; what neighbours confirm is kept and averaged, the rest is left open.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.depth_map import DepthFrames
from engine.clip.preview import show_depth
from engine.clip.views import choose_views, inverse_depth_range
from engine.clip.work import WorkClip
from engine.depth.settings import DepthSettings
from engine.depth.sweep import sweep
from engine.footage import FrameFiles
from engine.geometry.arrays import rigid_inverse
from engine.geometry.tensors import project, sample, transform, unproject
from engine.parallel import each
from engine.progress import Part, Progress

AGREE_DEPTH = 0.03  # relative
AGREE_PX = 1.0  # of the half grid, after going there and back
SPECKLE = 40  # pixels: smaller islands are dropped
SPECKLE_STEP = 0.05  # of log depth between neighbours of one island
SURE = 4  # agreeing neighbours for full confidence


@dataclass(frozen=True)
class HalfGrid:
    """The clip at half the work size, on a device: where sweep, flow and network live.

    Attributes:
        lens_matrix: (3, 3) float32.
        grey: (N, h, w) float32 in [0, 1].
    """

    lens_matrix: torch.Tensor
    grey: torch.Tensor

    @classmethod
    def of(cls, clip: WorkClip, device: torch.device) -> HalfGrid:
        """Halve the clip's pictures by averaging."""
        height, width = clip.images.shape[1] // 2, clip.images.shape[2] // 2
        grey = np.empty((len(clip.numbers), height, width), np.float32)
        for row, image in enumerate(clip.images):
            full = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
            cv2.resize(full, (width, height), dst=grey[row], interpolation=cv2.INTER_AREA)
        lens_matrix = torch.tensor(clip.half_lens.matrix(), dtype=torch.float32, device=device)
        return cls(lens_matrix, torch.from_numpy(grey).to(device))


def solve_evidence(
    clip: WorkClip, settings: DepthSettings, folder: Path, device: torch.device, progress: Progress
) -> None:
    """Measure depth where the clip allows it.

    Writes `depth/000101.npy` (h, w) float32 on half the work grid, in the clip's units, 0 where neighbours do not
    confirm a value, and `confidence/000101.npy`, 0..1. `raw/` keeps the unfiltered sweeps.

    Args:
        clip: undistorted frames with cameras and sparse points.
        settings: planes and views.
        folder: written to; what a killed run left there is used.
        device: where to compute.
        progress: receives progress; may cancel.

    Raises:
        Cancelled: the user stopped it.
    """
    grid = HalfGrid.of(clip, device)
    count = len(clip.numbers)
    views = [choose_views(clip, row, settings.views) for row in range(count)]

    def match(row: int) -> NDArray[np.float32] | None:
        raw, number = FrameFiles(folder / "raw", ".npy"), int(clip.numbers[row])
        if raw.path(number).exists():
            return None
        swept = _sweep(clip, grid, row, views[row], settings)
        raw.save(number, swept)
        return swept

    progress.step(0, count, "matching")
    for row, swept in each(match, range(count), device):
        if swept is not None:
            show_depth(swept[0], progress)
        progress.step(row + 1, count * 1.2, f"matched frame {clip.numbers[row]}")
    confirm(clip, grid, views, folder, Part(progress, 1.0 / 1.2, 1.0))
    progress.step(count, count, "matching")


def confirm(clip: WorkClip, grid: HalfGrid, views: list[NDArray[np.int64]], folder: Path, progress: Progress) -> None:
    """Keep what neighbours confirm of the depth that was measured in every frame.

    Reads `raw/000101.npy` (2, h, w), depth and score, and writes `depth/` and `confidence/` as `solve_evidence` does.

    Args:
        clip: frames with cameras, in the units of the depth.
        grid: of the same clip.
        views: rows of the views of each frame.
        folder: read from and written to; what a killed run left there is used.
        progress: receives progress; may cancel.
    """

    frames = DepthFrames(folder, clip.half_lens, "clip")

    def check(row: int) -> None:
        number = int(clip.numbers[row])
        if not frames.has(number):
            frames.save(number, *_confirmed(clip, grid, row, views[row], folder))

    for row, _ in each(check, range(len(clip.numbers)), grid.grey.device):
        progress.step(row + 1, len(clip.numbers), f"checked frame {clip.numbers[row]}")


def _sweep(
    clip: WorkClip, grid: HalfGrid, row: int, views: NDArray[np.int64], settings: DepthSettings
) -> NDArray[np.float32]:
    """(2, h, w): depth and score."""
    device = grid.grey.device
    there_from_here = rigid_inverse(clip.world_from_camera[views]) @ clip.world_from_camera[row]
    far, near = inverse_depth_range(clip, row)
    depth, score = sweep(
        grid.grey[row],
        grid.grey[views.tolist()],
        grid.lens_matrix,
        torch.tensor(there_from_here, dtype=torch.float32, device=device),
        torch.linspace(far, near, settings.planes, device=device),
    )
    return torch.stack([depth, score]).cpu().numpy()


def _confirmed(
    clip: WorkClip, grid: HalfGrid, row: int, views: NDArray[np.int64], folder: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    device = grid.grey.device

    def raw(r: int) -> torch.Tensor:
        return torch.from_numpy(FrameFiles(folder / "raw", ".npy").load(int(clip.numbers[r]))).to(device)

    mine, score = raw(row)
    K = grid.lens_matrix[None]
    points = unproject(mine[None, None], K)
    here = project(points, K)
    inverse_sum = 1.0 / mine
    votes = torch.zeros_like(mine)
    for view in views:
        there_from_here = rigid_inverse(clip.world_from_camera[view]) @ clip.world_from_camera[row]
        t = torch.tensor(there_from_here, dtype=torch.float32, device=device)[None]
        back = torch.tensor(rigid_inverse(there_from_here), dtype=torch.float32, device=device)[None]
        moved = transform(t, points)
        target = project(moved, K)
        theirs = sample(raw(int(view))[0][None, None], target, mode="nearest")[:, 0]
        height, width = mine.shape
        seen = (target > 0).all(-1) & (target[..., 0] < width) & (target[..., 1] < height) & (moved[..., 2] > 0)
        rays = torch.stack(
            [
                (target[..., 0] - K[:, 0, 2]) / K[:, 0, 0],
                (target[..., 1] - K[:, 1, 2]) / K[:, 1, 1],
                torch.ones_like(theirs),
            ],
            -1,
        )
        returned = transform(back, rays * theirs[..., None])
        agrees = (
            seen
            & ((theirs / moved[..., 2].clamp_min(1e-6) - 1.0).abs() < AGREE_DEPTH)
            & ((project(returned, K) - here).norm(dim=-1) < AGREE_PX)
        )[0]
        inverse_sum += torch.where(agrees, 1.0 / returned[0, ..., 2].clamp_min(1e-6), torch.zeros_like(mine))
        votes += agrees
    needed = min(2, len(views))
    depth = torch.where(votes >= needed, (votes + 1.0) / inverse_sum, torch.zeros_like(mine))
    confidence = (votes / SURE).clamp_max(1.0) * score.clamp(0.0, 1.0) * (depth > 0)
    return _without_speckles(depth.cpu().numpy(), confidence.cpu().numpy())


def _without_speckles(
    depth: NDArray[np.float32], confidence: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Small islands of depth are views agreeing by chance: borders, repeated texture, noise."""
    there = depth > 0
    if not there.any():
        return depth, confidence
    levels = 1000.0 * np.log(depth / depth[there].min(), where=there, out=np.zeros_like(depth))
    islands = np.where(there, (levels + 1000.0).clip(1000, 32000), 0).astype(np.int16)  # OpenCV wants 16 bits, 0 = none
    cv2.filterSpeckles(islands, 0, SPECKLE, 1000.0 * SPECKLE_STEP)
    kept = islands > 0
    return np.where(kept, depth, np.float32(0)), np.where(kept, confidence, np.float32(0))
