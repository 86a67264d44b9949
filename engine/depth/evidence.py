"""The evidence stage: what the clip's own geometry says about depth, without any weights.

Each frame is swept against its neighbours, refined on a finer grid, and compared with what the neighbours say.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.depth_map import DepthFrames
from engine.clip.preview import show_depth
from engine.clip.views import SweepPlan, plan_sweep
from engine.clip.work import WorkClip
from engine.depth.agreement import Agreement, agreement
from engine.depth.confidence import LEAST, features, own_contrast, probability
from engine.depth.refine import Matcher, choose_for, refine
from engine.depth.settings import DepthSettings
from engine.depth.sweep import Projection, normalised, sweep
from engine.footage import FrameFiles
from engine.geometry.arrays import Lens, rigid_inverse
from engine.parallel import Once, each
from engine.progress import Part, Progress

RAW = "raw"
STEP = 1.4  # pixels of the swept grid between planes
MOST_PLANES = 160
REFINED = 4  # views
AROUND = (1, 2, 3)  # frames away: views that are asked whether they agree, besides those that were swept
ASKED = 8
FARTHEST = 50.0  # times the clip's median depth: what is further away counts as that far
KEPT = 80  # frames: views are up to 32 away, to either side
FAR = 2.0  # times the clip's median depth: what is claimed to be further must be seen were it as much nearer
UNTOLD = -1.0  # score of a depth that no view can tell from nearer ones
BEYOND = 4.0  # times the depth that 99 % of the clip's sparse points are nearer than: hardly anything is so far
STILL = 0.007  # of intensity: less contrast is codec blocks and dirt, which stand still as what is infinitely far does
GAP = 9  # pixels
BEYOND_SHARE = 0.01  # of the picture: less of it is a reflection, or chance
SPECKLE = 40  # pixels: smaller islands are dropped
SPECKLE_STEP = 0.05  # of log depth between neighbours of one island

Array = NDArray[np.float32]
Judge = Callable[[int, torch.Tensor, Agreement], torch.Tensor]
"""What a row, its depth and scores by itself (C, H, W) and its views make of its confidence (H, W), 0 = unknown."""


class Pictures:
    """The clip's pictures as windows are matched, on the work grid and on half of it."""

    def __init__(self, clip: WorkClip, device: torch.device) -> None:
        self._clip, self._device = clip, device
        self.grey = Once(self._grey, KEPT)
        self.half_grey = Once(self._half_grey, KEPT)
        self.fine: Once[int, torch.Tensor] = Once(lambda row: normalised(self.grey(row)), KEPT)
        self.half: Once[int, torch.Tensor] = Once(lambda row: normalised(self.half_grey(row)), KEPT)

    def _grey(self, row: int) -> torch.Tensor:
        grey = cv2.cvtColor(self._clip.images[row], cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255.0)
        return torch.from_numpy(grey).to(self._device)

    def _half_grey(self, row: int) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(self.grey(row)[None, None], 2)[0, 0]


def solve_evidence(
    clip: WorkClip, settings: DepthSettings, folder: Path, device: torch.device, progress: Progress
) -> None:
    """Measure depth where the clip allows it.

    Writes `depth/000101.npy` (H, W) float32 on the work grid, in the clip's units, 0 where nothing was measured, and
    `confidence/000101.npy`, 0..1.

    Args:
        clip: undistorted frames with cameras and sparse points.
        settings: views.
        folder: written to; what a killed run left there is used.
        device: where to compute.
        progress: receives progress; may cancel.

    Raises:
        Cancelled: the user stopped it.
    """
    pictures, count = Pictures(clip, device), len(clip.numbers)
    plans = [plan_sweep(clip, clip.half_lens, row, settings.views // 2, STEP, MOST_PLANES) for row in range(count)]
    swept = FrameFiles(folder / RAW, ".npy")
    sweeping, checking = Part(progress, 0.0, 0.8), Part(progress, 0.8, 1.0)

    def measure(row: int) -> Array | None:
        number = int(clip.numbers[row])
        if swept.path(number).exists():
            return None
        raw = _measure(clip, pictures, row, plans[row])
        swept.save(number, raw)
        return raw

    if not _finished(clip, folder):
        for row, raw in each(measure, range(count), device):
            if raw is not None:
                show_depth(raw[0], sweeping)
            sweeping.step(row + 1, count, f"measured frame {clip.numbers[row]}")

    beyond = BEYOND * float(np.percentile(np.concatenate([depth for _, depth in clip.sparse]), 99.0))

    def judge(row: int, raw: torch.Tensor, found: Agreement) -> torch.Tensor:
        sure = probability(features(pictures.grey(row), raw[0], raw[1], found))
        good = (found.votes > 0) & (sure > LEAST) & (raw[1] > UNTOLD)
        far = good & (found.depth > beyond)
        stands_still = far & (own_contrast(pictures.grey(row)) < STILL)
        good &= ~stands_still & ~small_parts(far & ~stands_still, BEYOND_SHARE)
        return torch.where(good, sure, torch.zeros_like(sure))

    asked = [_asked(plan, row, count) for row, plan in enumerate(plans)]
    confirm(clip, clip.lens, asked, judge, folder, device, checking)
    shutil.rmtree(folder / RAW, ignore_errors=True)


def _finished(clip: WorkClip, folder: Path) -> bool:
    frames = DepthFrames(folder, clip.lens, "clip")
    return all(frames.has(int(number)) for number in clip.numbers)


def confirm(
    clip: WorkClip,
    lens: Lens,
    views: Sequence[Iterable[int]],
    judge: Judge,
    folder: Path,
    device: torch.device,
    progress: Progress,
) -> None:
    """Compare the frames in `raw/` with each other and write `depth/` and `confidence/`.

    Args:
        clip: as in `solve_evidence`.
        lens: pinhole of the grid.
        views: rows that each frame is compared with.
        judge: gives the confidence.
        folder: holds `raw/000101.npy` (C, H, W), depth and scores; what a killed run left there is used.
        device: where to compute.
        progress: receives progress; may cancel.
    """
    frames, files = DepthFrames(folder, lens, "clip"), FrameFiles(folder / RAW, ".npy")
    raw: Once[int, torch.Tensor] = Once(
        lambda row: torch.from_numpy(files.load(int(clip.numbers[row]))).to(device), KEPT
    )

    def check(row: int) -> None:
        number = int(clip.numbers[row])
        if frames.has(number):
            return
        found = agreement(lambda r: raw(r)[0], row, views[row], clip.world_from_camera, lens)
        confidence = judge(row, raw(row), found)
        depth, sure = (values.cpu().numpy() for values in (found.depth, confidence))
        frames.save(number, *without_speckles(np.where(sure > 0, depth, np.float32(0)), sure))

    for row, _ in each(check, range(len(clip.numbers)), device):
        progress.step(row + 1, len(clip.numbers), f"checked frame {clip.numbers[row]}")


def _measure(clip: WorkClip, pictures: Pictures, row: int, plan: SweepPlan) -> Array:
    """(2, H, W): depth and score of a frame by itself; the score is `UNTOLD` or from 0 to 1."""
    grey = pictures.grey(row)
    height, width = grey.shape
    unit = float(np.median(np.concatenate([depth for _, depth in clip.sparse])))
    inverse_depths = torch.tensor(plan.inverse_depths, dtype=grey.dtype, device=grey.device)
    used = torch.from_numpy(plan.used).to(grey.device)
    view_from_frame = torch.tensor(
        rigid_inverse(clip.world_from_camera[plan.views]) @ clip.world_from_camera[row],
        dtype=grey.dtype,
        device=grey.device,
    )
    coarse = sweep(
        pictures.half(row),
        torch.stack([pictures.half(int(view)) for view in plan.views]),
        pictures.half_grey(row),
        Projection(height // 2, width // 2, _matrix(clip.half_lens, grey), view_from_frame),
        inverse_depths,
        used,
    )
    chosen = choose_for(plan, row, coarse.cpu().numpy(), REFINED)
    projection = Projection(height, width, _matrix(clip.lens, grey), view_from_frame[chosen])
    matcher = Matcher(
        pictures.fine(row),
        torch.stack([pictures.fine(int(plan.views[place])) for place in chosen]),
        grey,
        torch.stack([pictures.grey(int(plan.views[place])) for place in chosen]),
        projection,
        inverse_depths,
        used[:, chosen],
    )
    inverse, score = refine(matcher, coarse, height, width)
    # Where only far depths lie within the views, nothing can show that they are wrong.
    told = (inverse > 1.0 / (FAR * unit)) | projection.inside(inverse.new_tensor(FAR / unit)).any(0)
    score = torch.where(told, score.clamp(0.0, 1.0), torch.full_like(score, UNTOLD))
    depth = 1.0 / inverse.clamp_min(1.0 / (FARTHEST * unit))
    return torch.stack([depth, score]).cpu().numpy()


def _matrix(lens: Lens, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(lens.matrix(), dtype=like.dtype, device=like.device)


def _asked(plan: SweepPlan, row: int, count: int) -> list[int]:
    """Rows to compare a frame with: its nearest neighbours, and the views that most planes are swept with."""
    near = [row + sign * step for step in AROUND for sign in (1, -1) if 0 <= row + sign * step < count]
    swept = [int(view) for view in plan.views[np.argsort(-plan.used.sum(axis=0), kind="stable")]]
    return sorted([*near, *(view for view in swept if view not in near)][:ASKED])


def small_parts(mask: torch.Tensor, share: float) -> torch.Tensor:
    """(H, W) bool: the parts of a mask (H, W) that cover less than a share of the picture. Gaps up to `GAP` join."""
    there = mask.cpu().numpy().astype(np.uint8)
    _, label = cv2.connectedComponents(cv2.dilate(there, np.ones((GAP, GAP), np.uint8)))
    small = np.bincount(label.ravel(), there.ravel()) < share * there.size
    return mask & torch.from_numpy(small[label]).to(mask.device)


def without_speckles(depth: Array, confidence: Array) -> tuple[Array, Array]:
    """Small islands of depth are views agreeing by chance: borders, repeated texture, noise."""
    there = depth > 0
    if not there.any():
        return depth, confidence
    levels = 1000.0 * np.log(depth / depth[there].min(), where=there, out=np.zeros_like(depth))
    islands = np.where(there, (levels + 1000.0).clip(1000, 32000), 0).astype(np.int16)  # OpenCV wants 16 bits, 0 = none
    cv2.filterSpeckles(islands, 0, SPECKLE, 1000.0 * SPECKLE_STEP)
    kept = islands > 0
    return np.where(kept, depth, np.float32(0)), np.where(kept, confidence, np.float32(0))
