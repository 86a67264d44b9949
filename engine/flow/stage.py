"""The flow stage: pairs of frames, flow both ways, masks, and which pairs are worth keeping."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import files
from engine.clip.work import WorkClip
from engine.errors import DepthError
from engine.flow.dense import (
    Flow,
    Mask,
    estimate_flow,
    explained_by_cameras,
    find_homography,
    looks_alike,
    returns,
)
from engine.flow.pairs import hierarchical_pairs
from engine.geometry.arrays import rigid_inverse
from engine.parallel import each
from engine.progress import Progress

MIN_OVERLAP = 0.2  # CVD section 4, in both directions
MOST_FLOW = 3e4  # pixels: what float16 can hold
NEAREST = 0.5  # times the nearest sparse depth: what counts as in front of everything


@dataclass(frozen=True)
class FlowPair:
    """A kept pair of frames.

    Attributes:
        first: plate frame number.
        second: plate frame number, larger.
        overlap: smaller of the two shares of believed pixels.
    """

    first: int
    second: int
    overlap: float


def solve_flow(clip: WorkClip, folder: Path, progress: Progress) -> None:
    """Estimate the flow of every pair of the hierarchy and keep those that overlap.

    Writes `000101_000103.npy` per pair: (2, 3, h, w) float16 on half the work grid; first axis: first to second, second
    to first; second axis: flow x, flow y in pixels of the half grid, and 1 where it is believed. `pairs.json` is last.

    Args:
        clip: undistorted frames with cameras.
        folder: written to; what a killed run left there is used.
        progress: receives progress; may cancel.

    Raises:
        DepthError: no pair overlaps.
        Cancelled: the user stopped it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "pairs.json").exists():
        return
    numbers = [int(n) for n in clip.numbers]
    pairs = hierarchical_pairs(numbers)
    kept: list[FlowPair] = []

    def overlap_of(pair: tuple[int, int]) -> float:
        path = _path(folder, *pair)
        if not path.exists():
            files.write_npy(path, pair_flow(clip, clip.index(pair[0]), clip.index(pair[1])))
        return float(load_pair(folder, *pair)[:, 2].mean(axis=(1, 2), dtype=np.float64).min())

    for done, ((first, second), overlap) in enumerate(each(overlap_of, pairs)):
        progress.step(done + 1, len(pairs), f"flow {first} to {second}")
        if overlap >= MIN_OVERLAP:
            kept.append(FlowPair(first, second, overlap))
    if not kept:
        raise DepthError(
            "depth.no_overlap",
            "No two frames show enough of the same things.",
            f"Fewer than {MIN_OVERLAP:.0%} of the pixels can be followed from any frame to another: "
            "the picture changes too fast, is blurred, or has no texture.",
            "Shoot slower and sharper, or solve every frame rather than every few.",
        )
    alone = sorted(set(numbers) - {n for pair in kept for n in (pair.first, pair.second)})
    if alone:
        progress.warning("Frames that cannot be followed to any other: nothing ties their depth to the rest.", alone)
    progress.metric("pairs_kept", len(kept))
    files.write_json(folder / "pairs.json", [asdict(pair) for pair in kept])


def load_pairs(folder: Path) -> list[FlowPair]:
    """The kept pairs, in order."""
    return [FlowPair(**entry) for entry in json.loads((folder / "pairs.json").read_text(encoding="utf-8"))]


def load_pair(folder: Path, first: int, second: int) -> NDArray[np.float16]:
    """Flow and masks (2, 3, h, w) of a pair, see `solve_flow`."""
    return np.asarray(np.load(_path(folder, first, second), allow_pickle=False))


def pair_flow(clip: WorkClip, first: int, second: int) -> NDArray[np.float16]:
    """Flow and masks (2, 3, h, w) between two rows of the clip, see `solve_flow`."""
    grey = [np.asarray(cv2.cvtColor(clip.images[row], cv2.COLOR_RGB2GRAY)) for row in (first, second)]
    homography = find_homography(*grey)
    flow = estimate_flow(grey[0], grey[1], homography)
    back = estimate_flow(grey[1], grey[0], np.asarray(np.linalg.inv(homography), np.float64))
    there = _believed(clip, grey, first, second, flow, back)
    return np.stack([there, _believed(clip, grey[::-1], second, first, back, flow)])


def _believed(
    clip: WorkClip, grey: list[NDArray[np.uint8]], here: int, there: int, flow: Flow, back: Flow
) -> NDArray[np.float16]:
    mask = returns(flow, back)
    mask &= looks_alike(grey[0], grey[1], flow, mask)
    depth = clip.sparse[here][1]
    if len(depth):
        there_from_here = rigid_inverse(clip.world_from_camera[there]) @ clip.world_from_camera[here]
        nearest = NEAREST * float(np.percentile(depth, 1.0))
        mask &= explained_by_cameras(flow, clip.lens.matrix(), there_from_here, nearest)
    return _halved(flow, mask)


def _halved(flow: Flow, mask: Mask) -> NDArray[np.float16]:
    """Flow and mask (3, h, w) on half the grid: the mean of four vectors, believed where all four are."""
    height, width = mask.shape
    blocks: Flow = flow.reshape(height // 2, 2, width // 2, 2, 2).mean(axis=(1, 3)) / 2.0
    blocks = blocks.clip(-MOST_FLOW, MOST_FLOW)  # near a homography's horizon there is no end to it
    believed = np.asarray(mask.reshape(height // 2, 2, width // 2, 2).all(axis=(1, 3)))
    return np.concatenate([np.moveaxis(blocks, -1, 0), believed[None]]).astype(np.float16)


def _path(folder: Path, first: int, second: int) -> Path:
    return folder / f"{first:06d}_{second:06d}.npy"
