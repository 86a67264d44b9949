"""Network and evidence made one depth map at the work size."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

SPREAD = 10.0  # weight of a smooth correction against one pixel of sure evidence
TRUST = 0.001  # weight of the network's own value
IMAGE_EDGE = 15.0  # per unit of intensity: the correction does not cross edges of the picture
JUMP = 0.01  # of log depth: corrections that differ by more belong to two surfaces
OUTLIER = 0.2  # of log depth: evidence further from what its surroundings say loses its weight
ROUNDS = 3
ITERATIONS = 40


def fuse(
    network_log: torch.Tensor, evidence_log: torch.Tensor, confidence: torch.Tensor, image: torch.Tensor
) -> torch.Tensor:
    """Log depth (H, W): the network's, corrected towards the evidence, the correction carried into the gaps.

    The correction r minimises sum c (r - (evidence - network))^2 + TRUST r^2 + SPREAD sum w (r_p - r_q)^2 over
    neighbours p, q. w falls across edges of the picture and, reweighted in `ROUNDS` rounds, across jumps of r itself,
    which keeps the outlines that the sweep has found and the network has blurred. c falls in the same way where a value
    stands against its surroundings.

    Args:
        network_log: (h, w) half grid.
        evidence_log: (h, w) half grid.
        confidence: (h, w) half grid, 0 where there is no evidence.
        image: (H, W, 3) in [0, 1] on the work grid.
    """
    size = image.shape[:2]
    network = F.interpolate(network_log[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    evidence, weight = F.interpolate(torch.stack([evidence_log, confidence])[None], size=size, mode="nearest")[0]
    wanted = evidence - network
    across = SPREAD * torch.exp(-IMAGE_EDGE * (image[:, 1:] - image[:, :-1]).abs().mean(-1))
    down = SPREAD * torch.exp(-IMAGE_EDGE * (image[1:] - image[:-1]).abs().mean(-1))
    correction = torch.zeros_like(network)
    for round_ in range(ROUNDS):
        if round_ == 0:
            trusted, right_weight, down_weight = weight, across, down
        else:
            trusted = weight / (1.0 + ((correction - wanted) / OUTLIER) ** 2)
            right_weight = across / (1.0 + ((correction[:, 1:] - correction[:, :-1]) / JUMP) ** 2)
            down_weight = down / (1.0 + ((correction[1:] - correction[:-1]) / JUMP) ** 2)
        correction = _solve(trusted + TRUST, right_weight, down_weight, trusted * wanted, correction)
    return network + correction


def _solve(
    data: torch.Tensor, across: torch.Tensor, down: torch.Tensor, right: torch.Tensor, start: torch.Tensor
) -> torch.Tensor:
    """Conjugate gradients, preconditioned by the diagonal, on the weighted grid Laplacian plus `data`."""
    diagonal = data + F.pad(across, (1, 0)) + F.pad(across, (0, 1))
    diagonal = diagonal + F.pad(down, (0, 0, 1, 0)) + F.pad(down, (0, 0, 0, 1))

    def apply(r: torch.Tensor) -> torch.Tensor:
        out = diagonal * r
        out[:, 1:] -= across * r[:, :-1]
        out[:, :-1] -= across * r[:, 1:]
        out[1:] -= down * r[:-1]
        out[:-1] -= down * r[1:]
        return out

    x = start
    residual = right - apply(x)
    z = residual / diagonal
    direction = z
    product = (residual * z).sum()
    for _ in range(ITERATIONS):
        applied = apply(direction)
        step = product / (direction * applied).sum().clamp_min(1e-20)
        x = x + step * direction
        residual = residual - step * applied
        z = residual / diagonal
        next_product = (residual * z).sum()
        direction = z + next_product / product.clamp_min(1e-20) * direction
        product = next_product
    return x
