"""Rigid motions and their six parameters: (translation, rotation), as a left increment `exp(xi) @ a_from_b`."""

from __future__ import annotations

import torch

_SMALL = 1e-3  # squared angle below which series are used: their next terms are below 1e-15


def hat(v: torch.Tensor) -> torch.Tensor:
    """Cross-product matrices (..., 3, 3) of vectors (..., 3)."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape[:-1], 3, 3)


def _coefficients(squared: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """sin(a)/a, (1 - cos(a))/a^2 and (a - sin(a))/a^3 of squared angles, smooth at zero."""
    small = squared < _SMALL
    s = torch.where(small, torch.ones_like(squared), squared)  # keeps the unused branch and its gradient finite
    a = s.sqrt()
    t = squared
    return (
        torch.where(small, 1 - t / 6 * (1 - t / 20 * (1 - t / 42)), a.sin() / a),
        torch.where(small, 0.5 - t / 24 * (1 - t / 30 * (1 - t / 56)), (1 - a.cos()) / s),
        torch.where(small, 1 / 6 - t / 120 * (1 - t / 42 * (1 - t / 72)), (a - a.sin()) / (s * a)),
    )


def exp(xi: torch.Tensor) -> torch.Tensor:
    """Rigid motions (..., 4, 4) of twists (..., 6); differentiable, at zero too."""
    v, w = xi[..., :3], xi[..., 3:]
    first, second, third = (c[..., None, None] for c in _coefficients((w * w).sum(-1)))
    W = hat(w)
    squared = W @ W
    identity = torch.eye(3, dtype=xi.dtype, device=xi.device)
    rotation = identity + first * W + second * squared
    translation = (identity + second * W + third * squared) @ v[..., None]
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=xi.dtype, device=xi.device).expand(*xi.shape[:-1], 1, 4)
    return torch.cat([torch.cat([rotation, translation], -1), last], -2)


def log(a_from_b: torch.Tensor) -> torch.Tensor:
    """Twists (..., 6) of rigid motions (..., 4, 4), rotations up to pi; the inverse of `exp`. Without gradient."""
    rotation, t = a_from_b[..., :3, :3].detach(), a_from_b[..., :3, 3].detach()
    w = _rotation_vector(rotation)
    squared = (w * w).sum(-1)
    first, second, _ = _coefficients(squared)
    # V^-1 = I - W/2 + (1/a^2) (1 - (sin a / a) / (2 (1 - cos a) / a^2)) W^2
    small = squared < _SMALL
    factor = torch.where(
        small,
        1 / 12 + squared / 720,
        (1 - first / (2 * second)) / torch.where(small, torch.ones_like(squared), squared),
    )
    W = hat(w)
    inverse = torch.eye(3, dtype=w.dtype, device=w.device) - 0.5 * W + factor[..., None, None] * (W @ W)
    return torch.cat([(inverse @ t[..., None])[..., 0], w], -1)


def _rotation_vector(rotation: torch.Tensor) -> torch.Tensor:
    """By the quaternion whose largest part is taken from the diagonal, so that half turns are exact as well."""
    d = rotation.diagonal(dim1=-2, dim2=-1)
    trace = d.sum(-1, keepdim=True)
    parts = torch.cat([1 + trace, 1 + 2 * d - trace], -1)  # 4 w^2, 4 x^2, 4 y^2, 4 z^2
    r = rotation
    wx, wy, wz = (r[..., i, j] - r[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    xy, xz, yz = (r[..., i, j] + r[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    ww, xx, yy, zz = parts.unbind(-1)
    rows = torch.stack(
        [
            torch.stack([ww, wx, wy, wz], -1),
            torch.stack([wx, xx, xy, xz], -1),
            torch.stack([wy, xy, yy, yz], -1),
            torch.stack([wz, xz, yz, zz], -1),
        ],
        -2,
    )
    largest = parts.argmax(-1)
    q = torch.take_along_dim(rows, largest[..., None, None], -2)[..., 0, :]
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., :1] < 0, -q, q)
    length = q[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(length, q[..., :1])
    return torch.where(length > 1e-12, angle / length.clamp_min(1e-12), torch.full_like(length, 2.0)) * q[..., 1:]


def adjoint(a_from_b: torch.Tensor) -> torch.Tensor:
    """(..., 6, 6) with `T exp(xi) = exp(adjoint(T) xi) T`."""
    rotation, t = a_from_b[..., :3, :3], a_from_b[..., :3, 3]
    top = torch.cat([rotation, hat(t) @ rotation], -1)
    return torch.cat([top, torch.cat([torch.zeros_like(rotation), rotation], -1)], -2)


def inverse(a_from_b: torch.Tensor) -> torch.Tensor:
    """Inverse of rigid motions (..., 4, 4)."""
    rotation = a_from_b[..., :3, :3].transpose(-1, -2)
    translation = -rotation @ a_from_b[..., :3, 3:]
    return torch.cat([torch.cat([rotation, translation], -1), a_from_b[..., 3:, :]], -2)
