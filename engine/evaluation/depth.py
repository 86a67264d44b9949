"""Depth against the truth, after one scale for the whole clip (per-frame scale only where the name says so)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.geometry.arrays import pixel_centres, rigid_inverse

Array = NDArray[np.floating]
RATIO_STRIDE = 7  # every 7th pixel is enough for a median over a clip


@dataclass
class DepthErrors:
    """Collects the frames of a clip one by one, holding one small sample of each in memory."""

    _ratios: list[Array] = field(default_factory=list)
    _frame_scale: list[float] = field(default_factory=list)
    _cover: list[float] = field(default_factory=list)

    def add(self, depth: Array, true: Array) -> None:
        """Look at a frame: (H, W) each, 0 = no value."""
        has_truth = true > 0
        valid = has_truth & np.isfinite(depth) & (depth > 0)
        self._cover.append(float(valid.sum() / max(int(has_truth.sum()), 1)))
        if valid.sum() < 100:
            return
        ratio = true[valid] / depth[valid]
        self._ratios.append(ratio[::RATIO_STRIDE])
        self._frame_scale.append(float(np.median(ratio)))

    @property
    def scale(self) -> float | None:
        """The one scale of the clip: median of true/solved depth. None before any frame has been seen."""
        return float(np.median(np.concatenate(self._ratios))) if self._ratios else None

    def summary(self) -> dict[str, float]:
        """flicker_pct (spread of the per-frame scale) and depth_cover (share of true pixels that have a value)."""
        if not self._frame_scale:
            return {}
        scales = np.array(self._frame_scale)
        return {
            "flicker_pct": 100.0 * float(scales.std() / scales.mean()),
            "depth_cover": float(np.mean(self._cover)),
        }


def frame_errors(depth: Array, true: Array, scale: float) -> dict[str, float]:
    """AbsRel, RMSE and delta<1.25 of one frame at the clip's `scale`; absrel_frame: at the frame's own scale.

    Empty when fewer than 100 pixels have both values.
    """
    valid = (true > 0) & np.isfinite(depth) & (depth > 0)
    if valid.sum() < 100:
        return {}
    solved, truth = depth[valid].astype(np.float64), true[valid].astype(np.float64)
    ratio = scale * solved / truth
    own = float(np.median(truth / solved))
    return {
        "absrel": float(np.abs(ratio - 1.0).mean()),
        "rmse": float(np.sqrt(((scale * solved - truth) ** 2).mean())),
        "d125": float((np.maximum(ratio, 1.0 / ratio) < 1.25).mean()),
        "absrel_frame": float(np.abs(own * solved / truth - 1.0).mean()),
    }


def mean_of(records: Iterable[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over the frames that have it."""
    collected: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.items():
            collected.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in collected.items()}


def carry_pixels(depth: Array, lens: tuple[float, float, float, float], target_from_source: Array) -> Array:
    """Where each pixel of a frame goes in another frame, (H, W, 2) pixels; NaN behind the camera.

    Args:
        depth: (H, W) planar depth of the source frame.
        lens: fx, fy, cx, cy of both frames, pixels.
        target_from_source: (4, 4) camera to camera.
    """
    fx, fy, cx, cy = lens
    pixels = pixel_centres(*depth.shape)
    ray = np.stack([(pixels[..., 0] - cx) / fx, (pixels[..., 1] - cy) / fy, np.ones(depth.shape)], -1)
    points = ray * depth[..., None] @ target_from_source[:3, :3].T + target_from_source[:3, 3]
    z = np.where(points[..., 2] > 1e-6, points[..., 2], np.nan)
    return np.stack([fx * points[..., 0] / z + cx, fy * points[..., 1] / z + cy], -1)


def sliding_px(
    depth: Array,
    true: Array,
    lens: tuple[float, float, float, float],
    true_lens: tuple[float, float, float, float],
    poses: tuple[Array, Array],
    true_poses: tuple[Array, Array],
) -> float | None:
    """Median distance between where the solve and the truth send the pixels of one frame in another: visible sliding.

    Args:
        depth: (H, W) solved planar depth of the first frame, in the solve's own units; `true` likewise of the truth.
        lens: solved fx, fy, cx, cy at that size; `true_lens` likewise.
        poses: `world_from_camera` (4, 4) of the first and the second frame; `true_poses` likewise.
    """
    valid = (true > 0) & np.isfinite(depth) & (depth > 0)
    solved = carry_pixels(depth, lens, rigid_inverse(poses[1]) @ poses[0])
    truth = carry_pixels(true, true_lens, rigid_inverse(true_poses[1]) @ true_poses[0])
    distance = np.linalg.norm(solved - truth, axis=-1)[valid]
    distance = distance[np.isfinite(distance)]
    return float(np.median(distance)) if len(distance) else None
