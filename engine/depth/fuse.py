"""Network and evidence made one depth map at the work size."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

ITERATIONS = 80


def fuse(
    network_log: torch.Tensor,
    evidence_log: torch.Tensor,
    confidence: torch.Tensor,
    image: torch.Tensor,
    spread: float = 4.0,
    edge: float = 15.0,
    trust: float = 0.02,
) -> torch.Tensor:
    """Log depth (H, W): the network's, corrected towards the evidence, the correction spread within image regions.

    Least squares in the correction r: sum c (r - (evidence - network))^2 + trust r^2 + spread sum w (r_p - r_q)^2 with
    w = exp(-edge |dI|), solved by conjugate gradients.

    Args:
        network_log: (h, w) half grid.
        evidence_log: (h, w) half grid.
        confidence: (h, w) half grid, 0 where there is no evidence.
        image: (H, W, 3) in [0, 1] on the work grid.
    """
    height, width = image.shape[:2]
    base = F.interpolate(network_log[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    half = torch.stack([evidence_log, confidence])[None]
    wide = F.interpolate(half, size=(height, width), mode="nearest")[0]
    weight = wide[1]
    target = wide[0] - base
    across = spread * torch.exp(-edge * (image[:, 1:] - image[:, :-1]).abs().mean(-1))
    down = spread * torch.exp(-edge * (image[1:] - image[:-1]).abs().mean(-1))
    diagonal = weight + trust
    diagonal = diagonal + F.pad(across, (1, 0)) + F.pad(across, (0, 1))
    diagonal = diagonal + F.pad(down, (0, 0, 1, 0)) + F.pad(down, (0, 0, 0, 1))

    def apply(r: torch.Tensor) -> torch.Tensor:
        out = diagonal * r
        out[:, 1:] -= across * r[:, :-1]
        out[:, :-1] -= across * r[:, 1:]
        out[1:] -= down * r[:-1]
        out[:-1] -= down * r[1:]
        return out

    return base + conjugate_gradients(apply, weight * target, diagonal)


def conjugate_gradients(apply, right: torch.Tensor, diagonal: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Solve apply(x) = right, preconditioned by the diagonal."""
    x = torch.zeros_like(right)
    residual = right.clone()
    z = residual / diagonal
    direction = z.clone()
    rz = (residual * z).sum()
    for _ in range(ITERATIONS):
        ap = apply(direction)
        alpha = rz / (direction * ap).sum().clamp_min(1e-20)
        x += alpha * direction
        residual -= alpha * ap
        z = residual / diagonal
        rz_next = (residual * z).sum()
        direction = z + (rz_next / rz.clamp_min(1e-20)) * direction
        rz = rz_next
    return x
