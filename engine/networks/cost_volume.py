"""The plane sweep: how alike pictures look if a pixel were at each of several inverse depths."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

from engine.geometry.tensors import pixel_centres


def plane_grid(
    lens_matrix: torch.Tensor, view_from_key: torch.Tensor, planes: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the key's pixels lie in the view, for every plane.

    Args:
        lens_matrix: (B, 3, 3) of the grid.
        view_from_key: (B, 4, 4).
        planes: (B, D) inverse depths, 0 included: infinity.
        height: of the grid.
        width: of the grid.

    Returns:
        (B, D, H, W, 2) in `grid_sample`'s [-1, 1] (align_corners=False: from edge to edge), and (B, D, H, W) bool,
        whether it is inside of the view and before its camera.
    """
    device, dtype = planes.device, planes.dtype
    u, v = pixel_centres(height, width, like=planes).unbind(-1)
    pixels = torch.stack([u, v, torch.ones_like(u)])[None].flatten(2)
    to_unit = torch.tensor(
        [[2.0 / width, 0.0, -1.0], [0.0, 2.0 / height, -1.0], [0.0, 0.0, 1.0]], device=device, dtype=dtype
    )
    projection = to_unit @ lens_matrix
    turned = projection @ view_from_key[:, :3, :3] @ torch.linalg.inv(lens_matrix) @ pixels  # (B, 3, HW)
    shift = projection @ view_from_key[:, :3, 3:]  # (B, 3, 1)
    # a point at inverse depth q, times q: turned + q shift
    image = turned[:, None] + planes[:, :, None, None] * shift[:, None]
    z = image[:, :, 2]
    grid = torch.stack([image[:, :, 0], image[:, :, 1]], -1) / z.clamp_min(1e-4)[..., None]
    seen = (grid.detach().abs().amax(-1) <= 1.0) & (z > 1e-4)
    shape = (len(planes), planes.shape[1], height, width)
    return grid.reshape(*shape, 2), seen.reshape(shape)


def pooled_volume(
    key: torch.Tensor,
    views: torch.Tensor,
    lens_matrix: torch.Tensor,
    view_from_key: torch.Tensor,
    planes: torch.Tensor,
    groups: int,
) -> torch.Tensor:
    """Group-wise correlation (Guo et al., CVPR 2019, eq. 3) with the views, pooled over those that see a point.

    Args:
        key: (B, C, H, W) features.
        views: (B, V, C, H, W) features.
        lens_matrix: (B, 3, 3) of the feature grid.
        view_from_key: (B, V, 4, 4).
        planes: (B, D) inverse depths.
        groups: G, divides C.

    Returns:
        (B, 2 G + 1, D, H, W): mean over the views, best of them, and the share of them that see the point. Any number
        of views in any order gives a volume of this form.
    """
    with torch.autocast(key.device.type, enabled=False):  # coordinates in 16 bits are off by pixels
        return _pooled_volume(key.float(), views.float(), lens_matrix, view_from_key, planes, groups)


def _pooled_volume(
    key: torch.Tensor,
    views: torch.Tensor,
    lens_matrix: torch.Tensor,
    view_from_key: torch.Tensor,
    planes: torch.Tensor,
    groups: int,
) -> torch.Tensor:
    count, channels, height, width = key.shape
    shape = (count, groups, planes.shape[1], height, width)
    mine = key.reshape(count, groups, channels // groups, 1, height, width)
    total = key.new_zeros(shape)
    best = key.new_full(shape, -1.0)
    number = key.new_zeros(count, 1, *shape[2:])
    for k in range(views.shape[1]):
        grid, seen = plane_grid(lens_matrix, view_from_key[:, k], planes, height, width)
        warped = F.grid_sample(views[:, k], grid.flatten(1, 2), padding_mode="border", align_corners=False)
        alike = (mine * warped.reshape(count, groups, channels // groups, *shape[2:])).sum(2)
        there = seen[:, None].to(key.dtype)
        total = total + alike * there
        best = torch.maximum(best, torch.where(seen[:, None], alike, -torch.ones_like(alike)))
        number = number + there
    return torch.cat([total / number.clamp_min(1.0), torch.where(number > 0, best, torch.zeros_like(best)),
                      number / views.shape[1]], 1)  # fmt: skip


def soft_argmax(logits: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Expected inverse depth (B, 1, H, W) under softmax of logits (B, D, H, W) over planes (B, D)."""
    return (logits.softmax(1) * planes[:, :, None, None]).sum(1, keepdim=True)


def certainty(logits: torch.Tensor) -> torch.Tensor:
    """Probability (B, 1, H, W) of the best plane and its two neighbours (Yao et al., MVSNet, section 3.3)."""
    probability = logits.softmax(1)
    around = F.avg_pool1d(F.pad(probability.flatten(2).transpose(1, 2), (1, 1)), 3, 1) * 3.0
    return around.amax(-1).clamp_max(1.0).reshape(len(logits), 1, *logits.shape[2:])
