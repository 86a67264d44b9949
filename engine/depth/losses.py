"""The losses of test-time training: CVD's two over a pair of frames, the anchor to evidence, and smoothness."""

from __future__ import annotations

import torch

from engine.geometry.shapes import check_shapes
from engine.geometry.tensors import project, sample, transform, unproject

ROBUST_PX = 2.0  # at this distance a flow vector has lost three quarters of its pull
ROBUST_DISPARITY = 0.1  # the same for disparity, where the clip's median is 1
MIN_DEPTH = 1e-4


def pair_losses(
    depth: torch.Tensor,
    other_depth: torch.Tensor,
    lens_matrix: torch.Tensor,
    other_from_this: torch.Tensor,
    flow: torch.Tensor,
    mask: torch.Tensor,
    *,
    robust: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Spatial and disparity loss of pairs in one direction, CVD eq. 7-12.

    If `robust`, both distances pass through `bounded`, because a few percent of the flow vectors are wrong by many
    pixels; near zero that changes nothing. Otherwise they are as published. Pixels that the cameras see from behind do
    not count, and a pair without any counts as 0.

    Args:
        depth: (B, 1, H, W) of this frame, in units of the clip's median depth.
        other_depth: (B, 1, H, W) of the other frame.
        lens_matrix: (B, 3, 3).
        other_from_this: (B, 4, 4) camera to camera.
        flow: (B, 2, H, W) pixels, this to other.
        mask: (B, 1, H, W), 1 where the flow is believed.

    Returns:
        spatial (B,) in pixels, and disparity (B,): the difference of 1/z times the focal length, as in eq. 12.
    """
    check_shapes(
        "depth B 1 H W, other_depth B 1 H W, lens_matrix B 3 3, other_from_this B 4 4, flow B 2 H W, mask B 1 H W",
        depth,
        other_depth,
        lens_matrix,
        other_from_this,
        flow,
        mask,
    )
    points = unproject(depth, lens_matrix)
    moved = transform(other_from_this, points)
    pixels = project(points.detach(), lens_matrix)
    target = pixels + flow.permute(0, 2, 3, 1)
    front = (moved[..., 2] > MIN_DEPTH).detach()
    weight = mask[:, 0] * front
    share = weight / weight.sum(dim=(1, 2), keepdim=True).clamp_min(1.0)

    miss = project(moved, lens_matrix, MIN_DEPTH) - target
    distance = (miss.square().sum(-1) + 1e-12).sqrt()
    spatial = ((bounded(distance, ROBUST_PX) if robust else distance) * share).sum(dim=(1, 2))

    there = sample(1.0 / other_depth, target)[:, 0]
    gap = (1.0 / moved[..., 2].clamp_min(MIN_DEPTH) - there).abs()
    focal = lens_matrix.diagonal(dim1=1, dim2=2)[:, :2].mean(dim=1)
    disparity = focal * ((bounded(gap, ROBUST_DISPARITY) if robust else gap) * share).sum(dim=(1, 2))
    return spatial, disparity


def bounded(distance: torch.Tensor, scale: float) -> torch.Tensor:
    """`distance` near zero, at most `scale`: Geman and McClure's function of the root of the distance."""
    return distance * scale / (distance + scale)


def anchor_loss(log_depth: torch.Tensor, evidence: torch.Tensor, confidence: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference (B,) of log depth from `evidence`, all (B, 1, H, W), weighted by `confidence`."""
    check_shapes("log_depth B 1 H W, evidence B 1 H W, confidence B 1 H W", log_depth, evidence, confidence)
    return ((log_depth - evidence).abs() * confidence).sum(dim=(1, 2, 3)) / confidence.sum(dim=(1, 2, 3)).clamp_min(1.0)


def smoothness_loss(log_depth: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Second differences of log depth (B,), free across edges of `image` (B, 3, H, W): exp(-|dI|) weights.

    Second differences leave slanted surfaces alone.
    """
    check_shapes("log_depth B 1 H W, image B 3 H W", log_depth, image)
    total = torch.zeros(len(log_depth), dtype=log_depth.dtype, device=log_depth.device)
    for axis in (2, 3):
        length = log_depth.shape[axis]
        a, b, c = (log_depth.narrow(axis, k, length - 2) for k in (0, 1, 2))
        edge = (image.narrow(axis, 2, length - 2) - image.narrow(axis, 0, length - 2)).abs().mean(1, keepdim=True)
        total = total + ((a - 2.0 * b + c).abs() * torch.exp(-10.0 * edge)).mean(dim=(1, 2, 3))
    return total
