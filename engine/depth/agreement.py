"""Whether the views of a clip agree on a frame's depth: there and back again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.geometry.arrays import Lens, rigid_inverse
from engine.geometry.tensors import pixel_centres, project, sample, transform, unproject

AGREE_DEPTH = 0.03  # relative
AGREE_SHARE = 0.004  # of the grid's width, after going there and back


@dataclass(frozen=True)
class Agreement:
    """What the views say of a frame's depth.

    Attributes:
        depth: (H, W) mean over the frame and the views that agree with it.
        votes: (H, W) views that agree.
        seen: (H, W) views whose picture holds the point with nothing before it.
    """

    depth: torch.Tensor
    votes: torch.Tensor
    seen: torch.Tensor


def agreement(
    depth_of: Callable[[int], torch.Tensor],
    row: int,
    views: Iterable[int],
    world_from_camera: NDArray[np.float64],
    lens: Lens,
) -> Agreement:
    """Compare a frame's depth with that of other frames.

    A view agrees where its own depth at the point's pixel is within `AGREE_DEPTH` of the point's, and, carried back, is
    seen within `AGREE_SHARE` of where it came from (Merrell et al., ICCV 2007).

    Args:
        depth_of: planar depth (H, W) of a row, above 0, on the grid of `lens`.
        row: the frame.
        views: rows.
        world_from_camera: (N, 4, 4).
        lens: pinhole of the grid.
    """
    mine = depth_of(row)
    height, width = mine.shape
    K = torch.tensor(lens.matrix(), dtype=mine.dtype, device=mine.device)[None]
    points = unproject(mine[None, None], K)
    here = pixel_centres(height, width, like=mine)[None]
    inverse_sum, votes, seen_by = 1.0 / mine, torch.zeros_like(mine), torch.zeros_like(mine)
    for view in views:
        view_from_row = rigid_inverse(world_from_camera[view]) @ world_from_camera[row]
        there, back = (
            torch.tensor(matrix, dtype=mine.dtype, device=mine.device)[None]
            for matrix in (view_from_row, rigid_inverse(view_from_row))
        )
        moved = transform(there, points)
        target = project(moved, K)
        theirs = sample(depth_of(view)[None, None], target, mode="nearest")[:, 0]
        x, y = target.unbind(-1)
        seen = (x > 0) & (y > 0) & (x < width) & (y < height) & (moved[..., 2] > 0)
        rays = torch.stack([(x - K[:, 0, 2]) / K[:, 0, 0], (y - K[:, 1, 2]) / K[:, 1, 1], torch.ones_like(x)], -1)
        returned = transform(back, rays * theirs[..., None])
        # A view whose own surface is nearer does not see the point, and says nothing of it.
        seen &= theirs > (1.0 - 2.0 * AGREE_DEPTH) * moved[..., 2]
        agrees = (
            seen
            & ((theirs / moved[..., 2].clamp_min(1e-6) - 1.0).abs() < AGREE_DEPTH)
            & ((project(returned, K) - here).norm(dim=-1) < AGREE_SHARE * width)
        )[0]
        inverse_sum += torch.where(agrees, 1.0 / returned[0, ..., 2].clamp_min(1e-6), torch.zeros_like(mine))
        votes += agrees
        seen_by += seen[0]
    return Agreement((votes + 1.0) / inverse_sum, votes, seen_by)
