"""Sampling, projection and rigid motions in torch."""

from __future__ import annotations

import torch

from engine.geometry.shapes import check_shapes


def pixel_centres(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Pixel coordinates (H, W, 2) of all pixel centres, (0.5, 0.5) for the top-left one; type and device of `like`."""
    v, u = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=like.dtype) + 0.5,
        torch.arange(width, device=like.device, dtype=like.dtype) + 0.5,
        indexing="ij",
    )
    return torch.stack([u, v], dim=-1)


def sample(image: torch.Tensor, pixels: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """Value of `image` at pixel coordinates; outside the image the border value is repeated.

    Args:
        image: (B, C, H, W).
        pixels: (B, h, w, 2), pixel coordinates of `image` (centre of the first pixel: (0.5, 0.5)).

    Returns:
        (B, C, h, w).
    """
    check_shapes("image B C H W, pixels B h w 2", image, pixels)
    size = pixels.new_tensor([image.shape[-1], image.shape[-2]])
    # align_corners=False maps [-1, 1] to the image's edges, which is exactly our [0, W] x [0, H].
    return torch.nn.functional.grid_sample(
        image, pixels / size * 2.0 - 1.0, mode=mode, padding_mode="border", align_corners=False
    )


def unproject(depth: torch.Tensor, lens_matrix: torch.Tensor) -> torch.Tensor:
    """Camera points of every pixel centre, CVD eq. 8: `c(x) = D(x) K^-1 x~`.

    Args:
        depth: (B, 1, H, W) planar depth.
        lens_matrix: (B, 3, 3).

    Returns:
        (B, H, W, 3) in the camera frame.
    """
    check_shapes("depth B 1 H W, lens_matrix B 3 3", depth, lens_matrix)
    u, v = pixel_centres(depth.shape[-2], depth.shape[-1], like=depth).unbind(-1)
    x = (u - lens_matrix[:, 0, 2, None, None]) / lens_matrix[:, 0, 0, None, None]
    y = (v - lens_matrix[:, 1, 2, None, None]) / lens_matrix[:, 1, 1, None, None]
    return torch.stack([x, y, torch.ones_like(x)], dim=-1) * depth[:, 0, :, :, None]


def transform(a_from_b: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Points (B, H, W, 3) in frame b to frame a by (B, 4, 4)."""
    check_shapes("a_from_b B 4 4, points B H W 3", a_from_b, points)
    return points @ a_from_b[:, None, :3, :3].transpose(-1, -2) + a_from_b[:, None, None, :3, 3]


def project(points: torch.Tensor, lens_matrix: torch.Tensor, min_depth: float = 1e-4) -> torch.Tensor:
    """Pixel coordinates (B, H, W, 2) of camera points (B, H, W, 3), CVD eq. 10; depth is clamped at `min_depth`."""
    check_shapes("points B H W 3, lens_matrix B 3 3", points, lens_matrix)
    z = points[..., 2].clamp_min(min_depth)
    u = points[..., 0] / z * lens_matrix[:, 0, 0, None, None] + lens_matrix[:, 0, 2, None, None]
    v = points[..., 1] / z * lens_matrix[:, 1, 1, None, None] + lens_matrix[:, 1, 2, None, None]
    return torch.stack([u, v], dim=-1)
