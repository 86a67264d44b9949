"""The flow stage: pairs, flow both ways, masks, and which pairs overlap enough."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import files
from engine.depth.clip import WorkClip
from engine.errors import DepthError
from engine.flow.dense import Flow, FlowEngine, Mask, trusted
from engine.flow.pairs import hierarchical_pairs
from engine.geometry import pixel_centres, rigid_inverse
from engine.progress import Progress

MIN_OVERLAP = 0.2  # of the image, in both directions (CVD sec. 4)
MAX_EPIPOLAR_PX = 2.0  # flow further from the epipolar line than this is not motion of the camera


@dataclass(frozen=True)
class PairFlow:
    """Flow of a pair on the network's grid (half the work grid), both ways.

    Attributes:
        flow: (2, h, w, 2) float32 pixels of that grid: i to j, j to i.
        mask: (2, h, w) bool: where it can be believed.
    """

    flow: NDArray[np.float32]
    mask: NDArray[np.bool_]

    @classmethod
    def load(cls, folder: Path, i: int, j: int) -> PairFlow:
        """Read the pair (i, j) of plate frames from the stage's folder."""
        with np.load(folder / _pair_name(i, j), allow_pickle=False) as arrays:
            return cls(arrays["flow"].astype(np.float32), arrays["mask"])


def read_pairs(folder: Path) -> list[tuple[int, int]]:
    """Pairs (i, j) of plate frames that overlap enough, as `solve_flow` left them."""
    pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))["pairs"]
    return [(pair["i"], pair["j"]) for pair in pairs if pair["kept"]]


def solve_flow(clip: WorkClip, folder: Path, progress: Progress) -> None:
    """Compute flow for the pairs of a clip: writes `pairs.json` and one file a pair. Pairs already there are kept.

    Raises:
        DepthError: no pair of frames overlaps enough.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = hierarchical_pairs(clip.numbers.tolist())
    engine = FlowEngine()
    records = []
    for done, (i, j) in enumerate(pairs):
        path = folder / _pair_name(i, j)
        if not path.is_file():
            pair = _pair_flow(engine, clip, clip.index(i), clip.index(j))
            files.write_atomically(path, lambda temporary, pair=pair: _save(temporary, pair))
        overlap = [float(share) for share in PairFlow.load(folder, i, j).mask.mean(axis=(1, 2))]
        records.append({"i": i, "j": j, "overlap": overlap, "kept": min(overlap) >= MIN_OVERLAP})
        progress.step(done + 1, len(pairs), f"{done + 1} of {len(pairs)} pairs")
    if not any(record["kept"] for record in records):
        raise DepthError(
            "depth.no_overlap",
            "No two frames show enough of the same things.",
            f"Fewer than {MIN_OVERLAP:.0%} of the pixels can be followed from any frame to another: "
            "the picture changes too fast, is blurred, or has no texture.",
            "Shoot slower and sharper, or solve every frame rather than every few.",
        )
    files.write_json(folder / "pairs.json", {"pairs": records})
    progress.metric("pairs_kept", sum(record["kept"] for record in records))


def _pair_name(i: int, j: int) -> str:
    return f"{i:06d}_{j:06d}.npz"


def _save(path: Path, pair: PairFlow) -> None:
    np.savez(path, flow=pair.flow.astype(np.float16), mask=pair.mask)


def _pair_flow(engine: FlowEngine, clip: WorkClip, a: int, b: int) -> PairFlow:
    images = [clip.images[row] for row in (a, b)]
    greys = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images]
    homography = engine.homography(*greys)
    flows = [
        engine.flow(greys[0], greys[1], homography),
        engine.flow(greys[1], greys[0], np.linalg.inv(homography)),
    ]
    masks = [trusted(flows[k], flows[1 - k], images[k], images[1 - k]) for k in (0, 1)]
    for k, (source, target) in enumerate(((a, b), (b, a))):
        masks[k] &= epipolar_distance(flows[k], clip, source, target) < MAX_EPIPOLAR_PX
    halved = [_halve(flow, mask) for flow, mask in zip(flows, masks, strict=True)]
    return PairFlow(np.stack([flow for flow, _ in halved]), np.stack([mask for _, mask in halved]))


def epipolar_distance(flow: Flow, clip: WorkClip, source: int, target: int) -> NDArray[np.float64]:
    """Distance (H, W) in pixels of each flow vector's end from its epipolar line: what the cameras cannot explain.

    Args:
        flow: (H, W, 2) from row `source` to row `target` of the clip.
        clip: gives lens and cameras.
        source: row.
        target: row.
    """
    target_from_source = rigid_inverse(clip.world_from_camera[target]) @ clip.world_from_camera[source]
    x, y, z = target_from_source[:3, 3]
    essential = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]) @ target_from_source[:3, :3]
    inverse = np.linalg.inv(clip.lens.matrix())
    fundamental = inverse.T @ essential @ inverse
    pixels = pixel_centres(*flow.shape[:2])
    lines = np.concatenate([pixels, np.ones((*flow.shape[:2], 1))], axis=-1) @ fundamental.T
    ends = np.concatenate([pixels + flow, np.ones((*flow.shape[:2], 1))], axis=-1)
    return np.asarray(np.abs((lines * ends).sum(-1)) / np.maximum(np.linalg.norm(lines[..., :2], axis=-1), 1e-12))


def _halve(flow: Flow, mask: Mask) -> tuple[Flow, Mask]:
    """Flow and mask on the grid of half the size: a pixel counts when all four under it do."""
    size = (flow.shape[1] // 2, flow.shape[0] // 2)
    half = cv2.resize(flow, size, interpolation=cv2.INTER_AREA) * 0.5
    return half, np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99)

