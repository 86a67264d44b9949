"""Camera motion from where pixels were seen to go: weighted Gauss-Newton on SE(3) (Teed & Deng 2020, section 3.2).

Everything is differentiable. An edge is a frame whose depth is known and another frame in which its pixels were found.
"""

from __future__ import annotations

import torch

from engine.deepv2d import se3
from engine.geometry import project, transform

# Levenberg-Marquardt as published: H + EP I + LM diag(H), for pixels of the 1/4 grid; the focal length has its own.
EP, LM = 100.0, 1e-4
FOCAL_EP, FOCAL_LM = 100.0, 1e-3
LARGEST = 1.0  # component of an increment
NEAREST = 0.1  # units: closer points say nothing
MOST_RESIDUAL = 250.0  # pixels


def normal_equations(
    view_from_key: torch.Tensor,
    points: torch.Tensor,
    lens_matrix: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """H = sum w J^T J and b = sum w J^T r of every edge.

    Args:
        view_from_key: (B, 4, 4).
        points: (B, H, W, 3) of the key frame's pixels, in its camera.
        lens_matrix: (B, 3, 3), of both frames.
        target: (B, H, W, 2) pixels of the view where they were found.
        weight: (B, H, W, 2) of the two coordinates, 0..1.

    Returns:
        H (B, 7, 7) and b (B, 7): six for the left increment of `view_from_key` (eq. 7), then the logarithm of the focal
        length, which both frames share.
    """
    moved = transform(view_from_key, points)
    seen = project(moved, lens_matrix, NEAREST)
    residual = target - seen
    valid = (moved[..., 2:] > NEAREST) & torch.isfinite(residual).all(-1, True) & torch.isfinite(weight).all(-1, True)
    valid = valid & (residual.detach().abs() < MOST_RESIDUAL).all(-1, True)
    residual = torch.where(valid, residual, torch.zeros_like(residual))
    weight = torch.where(valid, weight, torch.zeros_like(weight))
    J = torch.cat([_motion_jacobian(moved, lens_matrix), _focal_column(view_from_key, points, moved, lens_matrix)], -1)
    weighted = (J * weight[..., None]).flatten(1, 3)
    J = J.flatten(1, 3)
    return weighted.transpose(1, 2) @ J, (weighted.transpose(1, 2) @ residual.flatten(1, 3)[..., None])[..., 0]


def _motion_jacobian(moved: torch.Tensor, lens_matrix: torch.Tensor) -> torch.Tensor:
    """d pixel / d xi (B, H, W, 2, 6) of points (B, H, W, 3) in the view's camera under exp(xi) from the left."""
    z = moved[..., 2].clamp_min(NEAREST)
    x, y, i = moved[..., 0] / z, moved[..., 1] / z, 1.0 / z
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    u = torch.stack([i, zero, -x * i, -x * y, one + x * x, -y], -1) * lens_matrix[:, 0, 0, None, None, None]
    v = torch.stack([zero, i, -y * i, -one - y * y, x * y, x], -1) * lens_matrix[:, 1, 1, None, None, None]
    return torch.stack([u, v], -2)


def _focal_column(
    view_from_key: torch.Tensor, points: torch.Tensor, moved: torch.Tensor, lens_matrix: torch.Tensor
) -> torch.Tensor:
    """d pixel / d log f (B, H, W, 2, 1): the view's lens, and that the key's rays come closer together."""
    flattened = points * points.new_tensor([-1.0, -1.0, 0.0])
    d = flattened @ view_from_key[:, None, :3, :3].transpose(-1, -2)
    z = moved[..., 2:].clamp_min(NEAREST)
    f = torch.stack([lens_matrix[:, 0, 0], lens_matrix[:, 1, 1]], -1)[:, None, None]
    image = moved[..., :2] / z
    return (f * (image + (d[..., :2] - image * d[..., 2:]) / z))[..., None]


def solve(H: torch.Tensor, b: torch.Tensor, ep: torch.Tensor, lm: torch.Tensor) -> torch.Tensor:
    """Increment of the damped system `(H + diag(ep + lm diag(H))) x = b`, in float64.

    What cannot be solved gives 0, and so does its gradient; components are limited to `LARGEST`.

    Args:
        H: (B, n, n).
        b: (B, n).
        ep: (n,).
        lm: (n,).
    """
    A, y = H.double(), b.double()
    A = A + torch.diag_embed(ep.double() + lm.double() * A.diagonal(dim1=-2, dim2=-1))
    usable = torch.isfinite(A).flatten(1).all(1) & torch.isfinite(y).all(1)
    A, y = _replaced(A, y, usable)
    A, y = _replaced(A, y, torch.linalg.cholesky_ex(A.detach()).info == 0)
    x = torch.cholesky_solve(y[..., None], torch.linalg.cholesky_ex(A).L)[..., 0]
    return x.clamp(-LARGEST, LARGEST).to(b.dtype)


def _replaced(A: torch.Tensor, y: torch.Tensor, usable: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    return torch.where(usable[:, None, None], A, identity), torch.where(usable[:, None], y, torch.zeros_like(y))


def keyframe_step(
    view_from_key: torch.Tensor,
    points: torch.Tensor,
    lens_matrix: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """One step for each edge by itself (keyframe mode): arguments as in `normal_equations`, new `view_from_key`."""
    H, b = normal_equations(view_from_key, points, lens_matrix, target, weight)
    x = solve(H[:, :6, :6], b[:, :6], b.new_full((6,), EP), b.new_full((6,), LM))
    return se3.exp(x) @ view_from_key


def global_step(
    camera_from_world: torch.Tensor,
    edges: torch.Tensor,
    H: torch.Tensor,
    b: torch.Tensor,
    fixed: int = 1,
    focal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step for all frames together (global mode).

    Args:
        camera_from_world: (N, 4, 4).
        edges: (E, 2) rows of key and view.
        H: (E, 7, 7), of `normal_equations`.
        b: (E, 7).
        fixed: so many first frames stay where they are.
        focal: the focal length is free as well.

    Returns:
        new camera_from_world (N, 4, 4), and log of the factor of the focal length, 0 unless `focal`.
    """
    count, size = len(camera_from_world), 6 * len(camera_from_world) + 1
    key, view = edges.unbind(1)
    view_from_key = camera_from_world[view] @ se3.inverse(camera_from_world[key])
    # T_view exp(xi_view), T_key exp(xi_key): view_from_key moves by xi_view - Ad xi_key
    identity = torch.eye(6, dtype=b.dtype, device=b.device).expand(len(edges), 6, 6)
    spread = b.new_zeros(len(edges), 7, 13)  # d (increment of the edge, log f) / d (xi_key, xi_view, log f)
    spread[:, :6, :6] = -se3.adjoint(view_from_key)
    spread[:, :6, 6:12] = identity
    spread[:, 6, 12] = 1.0
    step = torch.arange(6, device=edges.device)
    last = torch.full_like(key, size - 1)
    rows = torch.cat([6 * key[:, None] + step, 6 * view[:, None] + step, last[:, None]], 1)
    small_H, small_b = spread.transpose(1, 2) @ H @ spread, (spread.transpose(1, 2) @ b[..., None])[..., 0]
    flat = (rows[:, :, None] * size + rows[:, None, :]).flatten()
    A = b.new_zeros(size * size, dtype=torch.float64).index_add(0, flat, small_H.double().flatten()).reshape(size, size)
    y = b.new_zeros(size, dtype=torch.float64).index_add(0, rows.flatten(), small_b.double().flatten())
    free = torch.arange(6 * fixed, size if focal else size - 1, device=edges.device)
    ep, lm = y.new_full((size,), EP), y.new_full((size,), LM)
    ep[-1], lm[-1] = FOCAL_EP, FOCAL_LM
    x = y.new_zeros(size).index_add(0, free, solve(A[free][:, free][None], y[free][None], ep[free], lm[free])[0])
    moved = se3.exp(x[:-1].reshape(count, 6).to(b.dtype)) @ camera_from_world
    return moved, x[-1].to(b.dtype)
