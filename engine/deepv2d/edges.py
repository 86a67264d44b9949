"""The motion module at work: depth and pose say where a key frame's pixels are in a view, the network corrects it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from engine.deepv2d.gauss_newton import NEAREST
from engine.geometry.tensors import project, sample, transform, unproject
from engine.networks.deepv2d import Features

# `MotionModule`, or something that calls it
Motion = Callable[[Features, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Found:
    """Where pixels of the key were found in the view.

    Attributes:
        points: (B, h, w, 3) in the key's camera.
        target: (B, h, w, 2) pixels of the view, on the feature grid.
        weight: (B, h, w, 2) in 0..1.
    """

    points: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor

    def miss(self, view_from_key: torch.Tensor, lens_matrix: torch.Tensor) -> torch.Tensor:
        """Weighted mean distance (,), in pixels of the feature grid, between target and where the poses send it."""
        sent = project(transform(view_from_key, self.points), lens_matrix, NEAREST)
        weight = self.weight.mean(-1)
        miss: torch.Tensor = ((self.target - sent).norm(dim=-1) * weight).sum() / weight.sum().clamp_min(1e-6)
        return miss


def find(
    motion: Motion,
    key: Features,
    view: torch.Tensor,
    inverse_depth: torch.Tensor,
    lens_matrix: torch.Tensor,
    view_from_key: torch.Tensor,
) -> Found:
    """Warp the view's features (B, MATCH, h, w) by the key's inverse depth (B, 1, h, w) and the pose, and correct."""
    points = unproject(1.0 / inverse_depth.clamp_min(1e-3), lens_matrix)
    moved = transform(view_from_key, points)
    pixels = project(moved, lens_matrix, NEAREST)
    size = pixels.new_tensor([view.shape[-1], view.shape[-2]])
    seen = ((pixels > 0) & (pixels < size)).all(-1) & (moved[..., 2] > NEAREST)
    flow, weight = motion(key, sample(view, pixels), seen[:, None])
    return Found(points, pixels + flow, weight)
