"""Camera motion from where pixels were seen to go: weighted Gauss-Newton on SE(3) (Teed & Deng 2020, section 3.2).

Everything is differentiable. An edge is a frame whose depth is known and another frame in which its pixels were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.deepv2d import se3
from engine.geometry.tensors import project, transform

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
    residual, weight = _residual(moved, lens_matrix, target, weight)
    return _summed(_jacobian(view_from_key, points, moved, lens_matrix), residual, weight)


def _summed(J: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """H (B, n, n) and b (B, n) of J (B, H, W, 2, n), over all pixels."""
    weighted = (J * weight[..., None]).flatten(1, 3)
    J = J.flatten(1, 3)
    return weighted.transpose(1, 2) @ J, (weighted.transpose(1, 2) @ residual.flatten(1, 3)[..., None])[..., 0]


@dataclass(frozen=True)
class Sightings:
    """Where the pixels of one key frame were found in V views, and how far their depth may give way.

    Attributes:
        view_from_key: (V, 4, 4).
        points: (H, W, 3) of the pixels, in the key's camera, at the depth they have now.
        lens_matrix: (3, 3) of all frames.
        target: (V, H, W, 2) pixels of the views.
        weight: (V, H, W, 2) of the two coordinates, 0..1.
        drift: (H, W) by how much log inverse depth has left what was measured.
        trust: weight of what was measured, in pixels squared per log squared.
    """

    view_from_key: torch.Tensor
    points: torch.Tensor
    lens_matrix: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    drift: torch.Tensor
    trust: float

    def edges(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The arguments of `normal_equations`."""
        count = len(self.view_from_key)
        points, lens_matrix = self.points.expand(count, *self.points.shape), self.lens_matrix.expand(count, 3, 3)
        return self.view_from_key, points, lens_matrix, self.target, self.weight


def window_equations(seen: Sightings) -> tuple[torch.Tensor, torch.Tensor]:
    """Normal equations of a key frame's V edges together, in which every pixel's depth is free and eliminated.

    Depth that was measured at wrong poses fits these poses. Held fixed it holds them back, and the alternation creeps;
    free, it gives way (Schur complement, as Teed & Deng 2021, DROID-SLAM, section 3.2, solve for both).

    Returns:
        H (6 V + 1, 6 V + 1) and b (6 V + 1,) float64: six for each edge, then the logarithm of the focal length.
    """
    view_from_key, points, lens_matrix, target, weight = seen.edges()
    count = len(view_from_key)
    moved = transform(view_from_key, points)
    residual, weight = _residual(moved, lens_matrix, target, weight)
    J = _jacobian(view_from_key, points, moved, lens_matrix)
    D = _depth_column(view_from_key, points, moved, lens_matrix)
    alone_H, alone_b = (x.double() for x in _summed(J, residual, weight))
    H, b = alone_b.new_zeros(6 * count + 1, 6 * count + 1), alone_b.new_zeros(6 * count + 1)
    for k in range(count):
        own = torch.tensor([*range(6 * k, 6 * k + 6), 6 * count], device=b.device)
        H[own[:, None], own] += alone_H[k]
        b[own] += alone_b[k]
    mixed = ((weight * D)[..., None, :] @ J).reshape(count, -1, 7).double()
    both = torch.cat([mixed[..., :6].transpose(1, 2).flatten(0, 1), mixed[..., 6].sum(0)[None]])  # (6 V + 1, H W)
    curvature, slope = (x.flatten().double() for x in _depth_equation(seen, D, residual, weight))
    share = both / curvature
    return H - share @ both.T, b - share @ slope


def depth_step(seen: Sightings) -> torch.Tensor:
    """What `drift` becomes (H, W) at poses that have been moved."""
    view_from_key, points, lens_matrix, target, weight = seen.edges()
    moved = transform(view_from_key, points)
    residual, weight = _residual(moved, lens_matrix, target, weight)
    D = _depth_column(view_from_key, points, moved, lens_matrix)
    curvature, slope = _depth_equation(seen, D, residual, weight)
    return seen.drift + (slope / curvature).clamp(-LARGEST, LARGEST)


def _depth_equation(
    seen: Sightings, D: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each pixel's own equation (H, W): curvature, and slope, of log inverse depth over all views."""
    curvature = seen.trust + (weight * D * D).sum((0, -1))
    return curvature, (weight * D * residual).sum((0, -1)) - seen.trust * seen.drift


def _residual(
    moved: torch.Tensor, lens_matrix: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (B, H, W, 2) that are missed by, and their weight; both 0 where they say nothing."""
    residual = target - project(moved, lens_matrix, NEAREST)
    valid = (moved[..., 2:] > NEAREST) & torch.isfinite(residual).all(-1, True) & torch.isfinite(weight).all(-1, True)
    valid = valid & (residual.detach().abs() < MOST_RESIDUAL).all(-1, True)
    nothing = torch.zeros_like(residual)
    return torch.where(valid, residual, nothing), torch.where(valid, weight, nothing)


def _jacobian(
    view_from_key: torch.Tensor, points: torch.Tensor, moved: torch.Tensor, lens_matrix: torch.Tensor
) -> torch.Tensor:
    """d pixel / d (xi, log f), (B, H, W, 2, 7)."""
    focal = _focal_column(view_from_key, points, moved, lens_matrix)
    return torch.cat([_motion_jacobian(moved, lens_matrix), focal[..., None]], -1)


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
    """d pixel / d log f (B, H, W, 2): the view's lens, and that the key's rays come closer together."""
    flattened = points * points.new_tensor([-1.0, -1.0, 0.0])
    f = torch.stack([lens_matrix[:, 0, 0], lens_matrix[:, 1, 1]], -1)[:, None, None]
    image = moved[..., :2] / moved[..., 2:].clamp_min(NEAREST)
    return f * image + _point_column(view_from_key, flattened, moved, lens_matrix)


def _depth_column(
    view_from_key: torch.Tensor, points: torch.Tensor, moved: torch.Tensor, lens_matrix: torch.Tensor
) -> torch.Tensor:
    """d pixel / d log inverse depth (B, H, W, 2): the point comes towards the key."""
    return _point_column(view_from_key, -points, moved, lens_matrix)


def _point_column(
    view_from_key: torch.Tensor, motion: torch.Tensor, moved: torch.Tensor, lens_matrix: torch.Tensor
) -> torch.Tensor:
    """How pixels (B, H, W, 2) of the view move with points that move by `motion` (B, H, W, 3) in the key's camera."""
    d = motion @ view_from_key[:, None, :3, :3].transpose(-1, -2)
    z = moved[..., 2:].clamp_min(NEAREST)
    f = torch.stack([lens_matrix[:, 0, 0], lens_matrix[:, 1, 1]], -1)[:, None, None]
    return f * (d[..., :2] - moved[..., :2] / z * d[..., 2:]) / z


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


@dataclass(frozen=True)
class Window:
    """What a key frame says of where its views are.

    Attributes:
        key: row of the frame.
        views: (V,) rows.
        H: (6 V + 1, 6 V + 1), of `window_equations`.
        b: (6 V + 1,).
    """

    key: int
    views: torch.Tensor
    H: torch.Tensor
    b: torch.Tensor


def global_step(
    camera_from_world: torch.Tensor, windows: Sequence[Window], fixed: int = 1, focal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step for all frames together (global mode).

    Args:
        camera_from_world: (N, 4, 4).
        windows: of key frames.
        fixed: so many first frames stay where they are.
        focal: the focal length is free as well.

    Returns:
        new camera_from_world (N, 4, 4), and log of the factor of the focal length, 0 unless `focal`.
    """
    count, size = len(camera_from_world), 6 * len(camera_from_world) + 1
    A = camera_from_world.new_zeros((size, size), dtype=torch.float64)
    y = camera_from_world.new_zeros(size, dtype=torch.float64)
    for window in windows:
        views = len(window.views)
        view_from_key = camera_from_world[window.views] @ se3.inverse(camera_from_world[window.key])
        # T_view exp(xi_view), T_key exp(xi_key): view_from_key moves by xi_view - Ad xi_key
        spread = y.new_zeros(6 * views + 1, 6 * views + 7)  # d (edges, log f) / d (views, log f, xi_key)
        spread[:, :-6] = torch.eye(6 * views + 1, dtype=y.dtype, device=y.device)
        spread[:-1, -6:] = -se3.adjoint(view_from_key).reshape(-1, 6).to(y.dtype)
        six = torch.arange(6, device=y.device)
        rows = torch.cat(
            [(6 * window.views[:, None] + six).flatten(), six.new_tensor([size - 1]), 6 * window.key + six]
        )
        A[rows[:, None], rows] += spread.T @ window.H.to(y.dtype) @ spread
        y[rows] += spread.T @ window.b.to(y.dtype)
    free = torch.arange(6 * fixed, size if focal else size - 1, device=y.device)
    ep, lm = y.new_full((size,), EP), y.new_full((size,), LM)
    ep[-1], lm[-1] = FOCAL_EP, FOCAL_LM
    x = y.new_zeros(size).index_add(0, free, solve(A[free][:, free][None], y[free][None], ep[free], lm[free])[0])
    moved = se3.exp(x[:-1].reshape(count, 6).to(camera_from_world.dtype)) @ camera_from_world
    return moved, x[-1].to(camera_from_world.dtype)
