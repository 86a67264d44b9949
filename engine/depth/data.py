"""What test-time training reads: pictures, what is known of their depth, cameras, pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.depth_map import DepthFrames
from engine.clip.views import choose_views
from engine.clip.work import WorkClip
from engine.flow.stage import FlowPair, load_pairs
from engine.masks.files import load_dynamic

SPARSE_CONFIDENCE = 0.2  # a single wrong point must not outweigh the pixels around it
PRIOR_WEIGHT = 0.1  # of another network's depth, or the user's, where nothing was measured
SOURCES = 4  # views that a frame is compared with photometrically
RING = 0.1  # of the picture's width: surroundings of what moves
MIN_WEIGHT = 1e-3  # less is nothing in half precision
NEARBY = 0.3  # of log depth: what in the ring may be what it stands on
STEADY = 3.0  # frames: standard deviation of the smoothing over time
LOG_DEPTH, WEIGHT, CONFIDENCE = 0, 1, 2  # channels of `TrainingData.evidence`


@dataclass(frozen=True)
class Found:
    """What the stages before have found.

    Attributes:
        flow: folder of the flow stage.
        motion: folder of the motion stage.
        prior: of the prior stage, None = no prior.
        fills: the prior has a say where nothing was measured: it is another network's depth, or the user's.
        evidence: of the evidence stage, None = nothing was measured.
        prior_scale: brings the prior to the clip's units, where something else than the prior has decided them.
    """

    flow: Path
    motion: Path
    prior: DepthFrames | None
    fills: bool
    evidence: DepthFrames | None
    prior_scale: float = 1.0


@dataclass(frozen=True)
class RightEye:
    """The other eye of a stereo clip: (N, 3, h, w) uint8 on the half grid, and (4, 4) camera to camera in units."""

    images: torch.Tensor
    right_from_left: torch.Tensor


@dataclass(frozen=True)
class TrainingData:
    """What a training step reads, all on the half grid and in units of the clip's median depth.

    Attributes:
        images: (N, 3, h, w) uint8.
        evidence: (N, 3, h, w) float16: log depth (0 where nothing is known); its weight as an anchor; and how far
            multi-view geometry decided it, 0..1.
        still: (N, 1, h, w) bool, False where something moves by itself.
        sparse: (N, M, 3) float32: pixel x, y on the half grid and depth of the sparse points, depth 0 = filling.
        sources: (N, S) rows of the views that a frame is compared with photometrically.
        lens_matrix: (3, 3).
        world_from_camera: (N, 4, 4) float64.
        unit: the clip's median depth in its own units.
        numbers: plate frame numbers.
        pairs: kept flow pairs.
        flow: folder of the flow stage.
        right: of a stereo clip.
    """

    images: torch.Tensor
    evidence: torch.Tensor
    still: torch.Tensor
    sparse: torch.Tensor
    sources: torch.Tensor
    lens_matrix: torch.Tensor
    world_from_camera: NDArray[np.float64]
    unit: float
    numbers: list[int]
    pairs: list[FlowPair]
    flow: Path
    right: RightEye | None = None

    @classmethod
    def load(cls, clip: WorkClip, found: Found) -> TrainingData:
        """Gather from the stages before."""
        count, height, width = len(clip.numbers), clip.images.shape[1] // 2, clip.images.shape[2] // 2
        images = np.empty((count, 3, height, width), np.uint8)
        evidence = np.zeros((count, 3, height, width), np.float16)
        moves = np.zeros((count, height, width), bool)
        guess = np.zeros((count, height, width), np.float32)  # log depth of the prior, NaN = none
        unit = float(np.median(np.concatenate([depth for _, depth in clip.sparse])))
        for row, number in enumerate(clip.numbers.tolist()):
            images[row] = np.moveaxis(_small(clip.images[row], (width, height)), -1, 0)
            mask = load_dynamic(found.motion, number, clip.images.shape[1:3])
            moves[row] = mask.reshape(height, 2, width, 2).any(axis=(1, 3))
            if found.evidence is not None:
                weight = found.evidence.confidence(number)
                log_depth = log_of(found.evidence.load(number).values, unit)
                evidence[row, LOG_DEPTH], evidence[row, WEIGHT] = _shrunk(log_depth, weight, (width, height))
                evidence[row, CONFIDENCE] = evidence[row, WEIGHT]
            evidence[row, :, moves[row]] = 0.0
            _add_sparse(evidence[row], clip, row, unit, moves[row])
            if found.prior is not None:
                prior = found.prior.load(number).values * found.prior_scale
                guess[row] = np.log(np.where(prior > 0, prior / unit, np.nan))
        if found.prior is not None:
            _add_prior(evidence, guess, moves, found.fills)
        poses = clip.world_from_camera.copy()
        poses[:, :3, 3] /= unit
        return cls(
            images=torch.from_numpy(images),
            evidence=torch.from_numpy(evidence),
            still=torch.from_numpy(~moves[:, None]),
            sparse=_padded(clip, unit),
            sources=torch.from_numpy(np.stack([_several(choose_views(clip, row, SOURCES)) for row in range(count)])),
            lens_matrix=torch.tensor(clip.half_lens.matrix(), dtype=torch.float32),
            world_from_camera=poses,
            unit=unit,
            numbers=[int(n) for n in clip.numbers],
            pairs=load_pairs(found.flow),
            flow=found.flow,
        )

    def with_right_eye(self, images: NDArray[np.uint8], right_from_left: NDArray[np.float64]) -> TrainingData:
        """The same for a stereo clip.

        Args:
            images: (N, H, W, 3) right eye on the work grid.
            right_from_left: (4, 4), in the clip's units.
        """
        height, width = self.images.shape[-2:]
        small = np.stack([np.moveaxis(_small(image, (width, height)), -1, 0) for image in images])
        rig = right_from_left.copy()
        rig[:3, 3] /= self.unit
        return replace(self, right=RightEye(torch.from_numpy(small), torch.tensor(rig, dtype=torch.float32)))

    def inputs(self, rows: list[int], device: torch.device, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """Network input (B, 5, h, w): picture, and what is known of its depth outside of `hidden` (B, 1, h, w)."""
        known = self.evidence[rows, :CONFIDENCE].to(device).float()
        if hidden is not None:
            known = known * (1.0 - hidden.to(device))
        return torch.cat([self.colours(rows, device) * 2.0 - 1.0, known], dim=1)

    def colours(self, rows: list[int], device: torch.device) -> torch.Tensor:
        """Pictures (B, 3, h, w) in [0, 1]."""
        return self.images[rows].to(device).float() / 255.0


def _small(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def log_of(depth: NDArray[np.float32], unit: float) -> NDArray[np.float32]:
    """Log depth in units of `unit`, 0 where there is none."""
    return np.log(np.where(depth > 0, depth / np.float32(unit), np.float32(1.0)))


def _shrunk(
    log_depth: NDArray[np.float32], weight: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What was measured on a finer grid, and its weight, as weighted means on the grid of `size` (width, height)."""
    mean_weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(log_depth * weight, size, interpolation=cv2.INTER_AREA)
    there = mean_weight > MIN_WEIGHT
    return (
        np.where(there, total / np.where(there, mean_weight, 1.0), 0.0).astype(np.float32),
        np.where(there, mean_weight, 0.0).astype(np.float32),
    )


def _several(views: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exactly `SOURCES` rows, some of them twice on a very short clip."""
    return np.resize(views, SOURCES)


def _add_sparse(evidence: NDArray[np.float16], clip: WorkClip, row: int, unit: float, moves: NDArray[np.bool_]) -> None:
    """Sparse points fill pixels where the sweep says nothing."""
    pixels, depth = clip.sparse[row]
    column, line = np.floor(pixels / 2.0).astype(int).T
    empty = (evidence[WEIGHT, line, column] == 0) & ~moves[line, column]
    evidence[LOG_DEPTH, line[empty], column[empty]] = np.log(depth[empty] / unit)
    evidence[WEIGHT:, line[empty], column[empty]] = SPARSE_CONFIDENCE


def _padded(clip: WorkClip, unit: float) -> torch.Tensor:
    points = torch.zeros(len(clip.sparse), max(1, *(len(depth) for _, depth in clip.sparse)), 3)
    for row, (pixels, depth) in enumerate(clip.sparse):
        points[row, : len(depth), :2] = torch.from_numpy(pixels / 2.0)
        points[row, : len(depth), 2] = torch.from_numpy(depth / unit)
    return points


def _add_prior(
    evidence: NDArray[np.float16], guess: NDArray[np.float32], moves: NDArray[np.bool_], fills: bool
) -> None:
    """The prior's word on what moves by itself, tied to the surroundings, and where nothing was measured if it `fills`.

    No other frame tells the depth of what moves. The prior does, up to an offset, which is measured where the prior
    and what stands still meet around it at about the same depth, and smoothed over time so that nothing swims.
    """
    offsets = _smoothed(np.array([_offset(*of_frame) for of_frame in zip(evidence, guess, moves, strict=True)]))
    for row in range(len(guess)):
        said = np.isfinite(guess[row])
        if fills:
            empty = said & (evidence[row, WEIGHT] == 0) & ~moves[row]
            evidence[row, LOG_DEPTH][empty] = guess[row][empty]
            evidence[row, WEIGHT][empty] = PRIOR_WEIGHT
        told = said & moves[row]
        evidence[row, LOG_DEPTH][told] = guess[row][told] + offsets[row]
        evidence[row, WEIGHT][told] = 1.0


def _offset(evidence: NDArray[np.float16], guess: NDArray[np.float32], moves: NDArray[np.bool_]) -> float:
    """Median of log depth measured minus the prior's, around what moves; NaN where nothing was measured there."""
    reach = max(2, round(RING * moves.shape[1]))
    around = cv2.dilate(moves.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    ring = around & ~moves & (evidence[CONFIDENCE] > 0) & np.isfinite(guess)
    inside = moves & np.isfinite(guess)
    if not ring.any() or not inside.any():
        return float("nan")
    near = ring & (np.abs(guess - np.median(guess[inside])) < NEARBY)
    chosen = near if near.sum() >= 20 else ring
    return float(np.median(evidence[LOG_DEPTH][chosen].astype(np.float32) - guess[chosen]))


def _smoothed(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """A Gaussian over time that passes over NaN; 0 where everything around is NaN."""
    there = np.isfinite(values)
    times = np.arange(len(values))
    kernel = np.exp(-0.5 * ((times[:, None] - times) / STEADY) ** 2) * there
    total = kernel.sum(axis=1)
    return np.where(total > 1e-6, kernel @ np.where(there, values, 0.0) / np.maximum(total, 1e-6), 0.0).astype(
        np.float32
    )
