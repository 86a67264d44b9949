"""Occlusion mattes: which pixels of the plate are nearer than a CG object."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def intersection_over_union(a: Mask, b: Mask) -> float:
    """|a and b| / |a or b|; 1 when both are empty."""
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def boundary_f(a: Mask, b: Mask, tolerance_px: int = 2) -> float:
    """F-measure of the boundaries of two masks: precision and recall within `tolerance_px` (Martin et al. 2004)."""
    return edge_f(_boundary(a), _boundary(b), tolerance_px)


def edge_f(edge_a: Mask, edge_b: Mask, tolerance_px: int, counted: Mask | None = None) -> float:
    """F-measure of two edge maps (H, W): precision and recall within `tolerance_px` (Martin et al. 2004).

    Args:
        counted: (H, W) where edges count; None: everywhere. Both maps may be matched outside of it.
    """
    of_a, of_b = (edge if counted is None else edge & counted for edge in (edge_a, edge_b))
    if not of_a.any() and not of_b.any():
        return 1.0
    if not of_a.any() or not of_b.any():
        return 0.0
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * tolerance_px + 1,) * 2)
    precision = (of_a & (cv2.dilate(edge_b.astype(np.uint8), kernel) > 0)).sum() / of_a.sum()
    recall = (of_b & (cv2.dilate(edge_a.astype(np.uint8), kernel) > 0)).sum() / of_b.sum()
    return float(2.0 * precision * recall / max(precision + recall, 1e-12))


def _boundary(mask: Mask) -> Mask:
    inside = mask.astype(np.uint8)
    return np.asarray(inside > cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1))


def plane_matte_errors(
    depth: NDArray[np.floating],
    true: NDArray[np.floating],
    scale: float,
    quantiles: tuple[float, ...] = (0.3, 0.5, 0.7),
) -> dict[str, float]:
    """IoU and boundary F of "nearer than this CG object" for upright cards at a few depths of the frame.

    The cards stand for CG objects: parallel to the image, at `quantiles` of the true depth.

    Args:
        depth: (H, W) solved planar depth; `true` likewise.
        scale: the clip's true/solved scale.

    Returns:
        matte_iou, matte_boundary_f; empty when fewer than 100 pixels have both values.
    """
    valid = (true > 0) & np.isfinite(depth) & (depth > 0)
    if valid.sum() < 100:
        return {}
    ious, fs = [], []
    for card in np.quantile(true[valid], quantiles):
        estimated, truth = (depth * scale < card) & valid, (true < card) & valid
        ious.append(intersection_over_union(estimated, truth))
        fs.append(boundary_f(estimated, truth))
    return {"matte_iou": float(np.mean(ious)), "matte_boundary_f": float(np.mean(fs))}
