"""Plane sweep: depth of one frame from its neighbours, by matching alone.

Planes lie where a plan puts them, from infinity to as near as two views can see, each compared with the views that have
a good parallax there (Collins, CVPR 1996; Gallup et al., CVPR 2008). The score is a correlation of windows whose mean
and contrast have been taken out, of which the better half of the views counts, since a point is hidden in some of them
(Kang, Szeliski and Chai, CVPR 2001). The volume is regularised by semi-global matching (Hirschmueller, PAMI 2008).
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F  # noqa: N812

from engine.geometry.shapes import check_shapes
from engine.geometry.tensors import pixel_centres

NOISE_STD = 2.0 / 255.0  # below this contrast a window holds sensor noise only, and its correlation goes to zero
FLATTEST = 0.25  # share of a window's contrast that is left of it beside stronger contrast
RADIUS = 2  # of the matching window
FEW = 1.0  # views that agree by chance: the best of two does so more often than the better half of six
EDGE = 20.0  # per unit of intensity: a jump across black to white costs a twentieth
BEND, JUMP = 0.2, 2.5  # cost of a change by one plane, and of any other


def normalised(image: torch.Tensor, radius: int = RADIUS) -> torch.Tensor:
    """Grey picture (H, W) in [0, 1] less the mean of its window, over the window's contrast.

    The product of two of these, averaged over a window, is close to their normalised cross correlation and costs a
    third of it: mean and contrast are those around each pixel, and not those of the one window.
    """
    mean = box_mean(image, radius)
    variance = (box_mean(image * image, radius) - mean * mean).clamp_min(0.0)
    flat: torch.Tensor = (image - mean) * torch.rsqrt(variance + NOISE_STD**2)
    return flat * torch.rsqrt(box_mean(flat * flat, radius).clamp_min(FLATTEST))


class Projection:
    """Where the pixels of a frame are seen in V views, at any inverse depth.

    Args:
        height: of the grid.
        width: of the grid.
        lens_matrix: (3, 3), the same for all.
        view_from_frame: (V, 4, 4).
    """

    def __init__(self, height: int, width: int, lens_matrix: torch.Tensor, view_from_frame: torch.Tensor) -> None:
        check_shapes("lens_matrix 3 3, view_from_frame V 4 4", lens_matrix, view_from_frame)
        u, v = pixel_centres(height, width, like=lens_matrix).unbind(-1)
        rays = torch.stack([u, v, torch.ones_like(u)]).flatten(1)
        # fold the scaling to grid_sample's [-1, 1] (align_corners=False: the image's edges) into the projection
        to_unit = lens_matrix.new_tensor([[2.0 / width, 0.0, -1.0], [0.0, 2.0 / height, -1.0], [0.0, 0.0, 1.0]])
        projection = to_unit @ lens_matrix
        rotated = projection @ view_from_frame[:, :3, :3] @ torch.linalg.inv(lens_matrix)
        self._turned = (rotated @ rays).reshape(-1, 3, height, width)
        self._moved = (view_from_frame[:, :3, 3] @ projection.T)[:, :, None, None]

    def of(self, views: torch.Tensor) -> Projection:
        """Of some of the views only: (v,) int64 places."""
        part = object.__new__(Projection)
        part._turned, part._moved = self._turned[views], self._moved[views]
        return part

    def grid(self, inverse_depth: torch.Tensor) -> torch.Tensor:
        """What `grid_sample` wants (V, H, W, 2), for an inverse depth () or (H, W)."""
        moved = self._moved * inverse_depth
        scale = (self._turned[:, 2] + moved[:, 2]).clamp_min_(1e-6).reciprocal_()
        grid: torch.Tensor = scale.new_empty((*scale.shape, 2))
        torch.mul(self._turned[:, 0] + moved[:, 0], scale, out=grid[..., 0])
        torch.mul(self._turned[:, 1] + moved[:, 1], scale, out=grid[..., 1])
        return grid

    def inside(self, inverse_depth: torch.Tensor) -> torch.Tensor:
        """(V, H, W): whether a pixel lies within a view at an inverse depth () or (H, W)."""
        return (self.grid(inverse_depth).abs() < 1.0).all(dim=-1)


def seen_through(grid: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
    """Views (V, C, H, W) as a frame sees them through the grid (V, H, W, 2) of a `Projection`; 0 outside of a view."""
    return F.grid_sample(views, grid, padding_mode="zeros", align_corners=False)


def correlation(frame: torch.Tensor, seen: torch.Tensor, radius: int = RADIUS) -> torch.Tensor:
    """Correlation (V, H, W) of a frame with what it sees of other views.

    Args:
        frame: (H, W), `normalised`.
        seen: (V, H, W), `normalised`, is overwritten.
        radius: of the window.
    """
    return _box_sum(seen.mul_(frame / (2 * radius + 1) ** 2), radius)


def better_half(scores: torch.Tensor) -> torch.Tensor:
    """Mean (H, W) of the better half of V scores (V, H, W), less the fewer there are (`FEW`)."""
    keep = math.ceil(len(scores) / 2)
    best: list[torch.Tensor] = []
    for score in scores.unbind(0):
        for rank, better in enumerate(best):
            best[rank], score = torch.maximum(better, score), torch.minimum(better, score)  # noqa: PLW2901
        if len(best) < keep:
            best.append(score)
    return torch.stack(best).sum(0).div_(keep + FEW) if keep > 1 else best[0] / (1.0 + FEW)


def matching_scores(
    frame: torch.Tensor, views: torch.Tensor, projection: Projection, inverse_depths: torch.Tensor, used: torch.Tensor
) -> torch.Tensor:
    """Score volume (D, H, W): the better half of the views used at a plane.

    Args:
        frame: (H, W), `normalised`.
        views: (V, H, W), `normalised`.
        projection: of the V views.
        inverse_depths: (D,) ascending.
        used: (D, V) bool.
    """
    check_shapes("frame H W, views V H W, inverse_depths D, used D V", frame, views, inverse_depths, used)
    volume = frame.new_empty((len(inverse_depths), *frame.shape))
    before: torch.Tensor | None = None
    for plane, inverse in enumerate(inverse_depths):
        if before is None or not torch.equal(used[plane], before):
            before = used[plane]
            chosen = before.nonzero()[:, 0]
            here, pictures = projection.of(chosen), views[chosen, None]
        volume[plane] = better_half(correlation(frame, seen_through(here.grid(inverse), pictures)[:, 0]))
    return volume


def sweep(
    frame: torch.Tensor,
    views: torch.Tensor,
    grey: torch.Tensor,
    projection: Projection,
    inverse_depths: torch.Tensor,
    used: torch.Tensor,
) -> torch.Tensor:
    """Inverse depth (H, W) of a frame.

    Args:
        frame: (H, W), `normalised`.
        views: (V, H, W), `normalised`.
        grey: (H, W) in [0, 1], the frame's picture: surfaces end at its edges.
        projection: of the V views.
        inverse_depths: (D,) ascending, D >= 3.
        used: (D, V) bool.
    """
    cost = matching_scores(frame, views, projection, inverse_depths, used).neg_().add_(1.0)
    total = semi_global(cost, grey, BEND, JUMP)
    best = total.argmin(0)
    inner = best.clamp(1, len(inverse_depths) - 2)
    below, at, above = (total.gather(0, (inner + k)[None])[0] for k in (-1, 0, 1))
    curvature = below - 2.0 * at + above
    offset = torch.where(curvature > 1e-6, 0.5 * (below - above) / curvature.clamp_min(1e-6), torch.zeros_like(at))
    offset = torch.where(inner == best, offset.clamp(-0.5, 0.5), torch.zeros_like(offset))
    step = torch.where(
        offset > 0,
        inverse_depths[(best + 1).clamp_max(len(inverse_depths) - 1)] - inverse_depths[best],
        inverse_depths[best] - inverse_depths[(best - 1).clamp_min(0)],
    )
    inverse: torch.Tensor = inverse_depths[best] + offset * step
    return inverse


def box_mean(image: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over a (2 radius + 1)^2 window, border repeated: (..., H, W)."""
    height, width = image.shape[-2:]
    flat = image.reshape(-1, 1, height, width)
    padded = F.pad(flat, (radius, radius, radius, radius), mode="replicate")[:, 0]
    return _window_sums(padded, radius).div_((2 * radius + 1) ** 2).reshape(image.shape)


def _box_sum(image: torch.Tensor, radius: int) -> torch.Tensor:
    """Sum over a (2 radius + 1)^2 window, 0 outside: (V, H, W)."""
    return _window_sums(F.pad(image, (radius, radius, radius, radius)), radius)


def _window_sums(padded: torch.Tensor, radius: int) -> torch.Tensor:
    """Sums over windows of (V, H + 2 radius, W + 2 radius): (V, H, W)."""
    side = 2 * radius + 1
    height, width = padded.shape[-2] - 2 * radius, padded.shape[-1] - 2 * radius
    rows = padded[:, :height].clone()
    for k in range(1, side):  # in place: a fresh large array per term costs more than the addition
        rows += padded[:, k : k + height]
    total = rows[..., :width].clone()
    for k in range(1, side):
        total += rows[..., k : k + width]
    return total


def semi_global(cost: torch.Tensor, guide: torch.Tensor, p1: float, p2: float) -> torch.Tensor:
    """Cost volume (D, H, W) summed over the paths from left, right, above and below.

    A change by one plane costs `p1`, a jump up to `p2`, less across edges of `guide` (H, W).
    """
    total = torch.zeros_like(cost)
    for axis in (1, 2):
        volume = cost.movedim(axis, 0).movedim(1, -1).contiguous()  # (along the path, across it, D)
        picture = guide.movedim(axis - 1, 0)
        jump = (p2 / (1.0 + EDGE * (picture[1:] - picture[:-1]).abs())).clamp_min(2.0 * p1)
        summed = _path_costs(volume, jump, p1) + _path_costs(volume.flip(0), jump.flip(0), p1).flip(0)
        total += summed.movedim(-1, 0).movedim(1, axis)
    return total


def _path_costs(volume: torch.Tensor, jump: torch.Tensor, p1: float) -> torch.Tensor:
    """Hirschmueller's recursion along the first axis of (L, M, D); `jump` (L - 1, M) is P2 between neighbours."""
    costs = volume.clone()
    for k in range(1, len(volume)):
        previous = costs[k - 1]
        lowest = previous.amin(-1, keepdim=True)
        padded = F.pad(previous, (1, 1), value=math.inf)
        neighbour = torch.minimum(padded[:, :-2], padded[:, 2:]) + p1
        costs[k] += torch.minimum(torch.minimum(previous, neighbour), lowest + jump[k - 1, :, None]) - lowest
    return costs
