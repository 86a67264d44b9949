"""Plane sweep: depth of one frame from its neighbours, by matching alone.

Planes are equally spaced in inverse depth (Collins, CVPR 1996). The matching score is zero-mean normalised cross
correlation, of which the better half of the views counts, since a point is hidden in some of them. The volume is
regularised by semi-global matching (Hirschmueller, PAMI 2008).
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F  # noqa: N812

from engine.device import frugal
from engine.geometry.shapes import check_shapes
from engine.geometry.tensors import pixel_centres

NOISE_STD = 2.0 / 255.0  # below this contrast a window holds sensor noise only, and its correlation goes to zero
EDGE = 20.0  # per unit of intensity: a jump across black to white costs a twentieth
APART = 3  # planes: less than that is the same depth
MARGIN = 0.7  # of the summed cost: by so much another depth must be worse for full certainty
PLANES_AT_ONCE = 8  # keeps the working set of one source view within a CPU's cache


def sweep(
    reference: torch.Tensor,
    sources: torch.Tensor,
    lens_matrix: torch.Tensor,
    source_from_reference: torch.Tensor,
    inverse_depths: torch.Tensor,
    radius: int = 2,
    p1: float = 0.1,
    p2: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth and matching score of a frame.

    Args:
        reference: (H, W) grey in [0, 1].
        sources: (V, H, W) grey in [0, 1].
        lens_matrix: (3, 3), the same for all.
        source_from_reference: (V, 4, 4).
        inverse_depths: (D,) equally spaced.

    Returns:
        depth (H, W) and score (H, W): the mean correlation of the better half of the views at that depth, less where
        another depth explains the pictures nearly as well, as on plain surfaces and repeated texture.
    """
    check_shapes(
        "reference H W, sources V H W, lens_matrix 3 3, source_from_reference V 4 4, inverse_depths D",
        reference,
        sources,
        lens_matrix,
        source_from_reference,
        inverse_depths,
    )
    score = matching_scores(reference, sources, lens_matrix, source_from_reference, inverse_depths, radius)
    cost = 1.0 - score
    total = semi_global(cost, reference, p1, p2)
    best = total.argmin(0).clamp(1, len(inverse_depths) - 2)
    below, at, above = (total.gather(0, (best + k)[None])[0] for k in (-1, 0, 1))
    curvature = below - 2.0 * at + above
    offset = torch.where(curvature > 1e-6, 0.5 * (below - above) / curvature.clamp_min(1e-6), torch.zeros_like(at))
    step = inverse_depths[1] - inverse_depths[0]
    inverse = inverse_depths[best] + offset.clamp(-0.5, 0.5) * step
    return 1.0 / inverse, score.gather(0, best[None])[0] * _certainty(total, best)


def _certainty(total: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """0..1 (H, W): how much worse than the best plane every other depth is."""
    planes = torch.arange(len(total), device=total.device)[:, None, None]
    others = torch.where((planes - best).abs() > APART, total, torch.full_like(total, torch.inf))
    margin = others.amin(0) - total.gather(0, best[None])[0]
    return (margin / MARGIN).clamp(0.0, 1.0) ** 2


def box_mean(image: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over a (2 radius + 1)^2 window, border repeated: (..., H, W)."""
    height, width = image.shape[-2:]
    side = 2 * radius + 1
    padded = F.pad(image.reshape(-1, 1, height, width), (radius, radius, radius, radius), mode="replicate")
    rows = padded[:, :, :height].clone()
    for k in range(1, side):  # in place: a fresh large array per term costs more than the addition
        rows += padded[:, :, k : k + height]
    total = rows[..., :width].clone()
    for k in range(1, side):
        total += rows[..., k : k + width]
    return total.div_(side * side).reshape(image.shape)


def matching_scores(
    reference: torch.Tensor,
    sources: torch.Tensor,
    lens_matrix: torch.Tensor,
    source_from_reference: torch.Tensor,
    inverse_depths: torch.Tensor,
    radius: int,
) -> torch.Tensor:
    """Correlation volume (D, H, W): mean over the better half of the views, 0 where no view sees the plane."""
    height, width = reference.shape
    device, dtype = reference.device, reference.dtype
    u, v = pixel_centres(height, width, like=reference).unbind(-1)
    rays = torch.stack([u, v, torch.ones_like(u)], -1) @ torch.linalg.inv(lens_matrix).T
    # fold the scaling to grid_sample's [-1, 1] (align_corners=False: the image's edges) into the projection
    to_unit = torch.tensor(
        [[2.0 / width, 0.0, -1.0], [0.0, 2.0 / height, -1.0], [0.0, 0.0, 1.0]], device=device, dtype=dtype
    )
    projection = to_unit @ lens_matrix
    mean = box_mean(reference, radius)
    variance = (box_mean(reference * reference, radius) - mean * mean).clamp_min(0.0) + NOISE_STD**2
    keep = math.ceil(len(sources) / 2)
    volume = torch.empty(len(inverse_depths), height, width, device=device, dtype=dtype)
    at_once = 1 if frugal() else PLANES_AT_ONCE
    for start in range(0, len(inverse_depths), at_once):
        inverse = inverse_depths[start : start + at_once, None, None]
        best = [torch.full((len(inverse), height, width), -1.0, device=device, dtype=dtype) for _ in range(keep)]
        for source, transform in zip(sources, source_from_reference, strict=True):
            a = rays @ (projection @ transform[:3, :3]).T
            b = projection @ transform[:3, 3]
            z = a[..., 2] + b[2] * inverse
            scale = 1.0 / z.clamp_min(1e-6)
            grid = torch.stack([(a[..., 0] + b[0] * inverse) * scale, (a[..., 1] + b[1] * inverse) * scale], -1)
            warped = F.grid_sample(
                source.expand(len(inverse), 1, height, width), grid, padding_mode="border", align_corners=False
            )[:, 0]
            moments = box_mean(torch.stack([warped, warped * warped, warped * reference]), radius)
            spread = (moments[1] - moments[0] * moments[0]).clamp_min(0.0) + NOISE_STD**2
            score = (moments[2] - moments[0] * mean) * torch.rsqrt(spread * variance)
            seen = (grid.abs().amax(-1) <= 1.0) & (z > 1e-6)
            score = torch.where(seen, score, torch.full_like(score, -1.0))
            for rank in range(keep):
                best[rank], score = torch.maximum(best[rank], score), torch.minimum(best[rank], score)
        total = torch.zeros_like(best[0])
        count = torch.zeros_like(best[0])
        for layer in best:
            total += torch.where(layer > -1.0, layer, torch.zeros_like(layer))
            count += layer > -1.0
        volume[start : start + len(inverse)] = total / count.clamp_min(1.0)
    return volume


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
