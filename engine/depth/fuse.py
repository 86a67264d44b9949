"""Network and evidence made one depth map at the work size."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

SPREAD = 10.0  # weight of a piece of surface against one pixel of sure evidence
BEND = 1000.0  # weight against a change of slope: surfaces go on straight where nothing is known
TRUST = 0.003  # weight of the network's own value
IMAGE_EDGE = 15.0  # per unit of intensity: surfaces end at edges of the picture
JUMP = 0.01  # of disparity, where the clip's median is 1: what differs by more belongs to two surfaces
OUTLIER = 0.2  # of disparity: evidence further from what its surroundings say loses its weight
ROUNDS, ITERATIONS = 3, 40
FINEST_ROUNDS, FINEST_ITERATIONS = 1, 25  # on the work grid, where the start is nearly right
COARSEST = 16  # pixels
FARTHEST = 50.0  # times the clip's median depth

Weights = tuple[torch.Tensor, torch.Tensor]


def fuse(
    network_log: torch.Tensor, evidence_log: torch.Tensor, confidence: torch.Tensor, image: torch.Tensor
) -> torch.Tensor:
    """Log depth (H, W): the evidence, carried into its gaps as surfaces that go on straight and end at edges.

    Far from all evidence, and in a frame without any, the network decides.

    Disparity d and its slope g minimise sum c (d - evidence)^2 + TRUST (d - network)^2 + SPREAD sum w |grad d - g|^2 +
    BEND sum w' |grad g|^2: total generalised variation (Bredies et al. 2010) as Ferstl et al. (ICCV 2013) use it for
    depth, with squares reweighted in rounds instead of norms. A plane in space is linear in disparity, so it costs
    nothing. w and w' fall across edges of the picture; w also across jumps of d, and c where a value stands against its
    surroundings. Solved from coarse to fine.

    Args:
        network_log: (h, w) half grid, log depth relative to the clip's median.
        evidence_log: (h, w) half grid.
        confidence: (h, w) half grid, 0 where there is no evidence.
        image: (H, W, 3) in [0, 1] on the work grid.
    """
    if not confidence.any():
        return F.interpolate(network_log[None, None], size=image.shape[:2], mode="bilinear", align_corners=False)[0, 0]
    levels = [_level(network_log, evidence_log, confidence, image)]
    while min(levels[-1][0].shape[-2:]) > COARSEST:
        levels.append(tuple(F.avg_pool2d(x[None], 2, ceil_mode=True)[0] for x in levels[-1]))  # type: ignore[arg-type]
    known, colours = levels.pop()
    surface = torch.zeros_like(known)
    surface[0] = known[1].sum() / known[0].sum()
    surface = _solved(known, colours, surface, ROUNDS, ITERATIONS)
    for finer in range(len(levels) - 1, -1, -1):
        known, colours = levels[finer]
        surface = F.interpolate(surface[None], size=known.shape[-2:], mode="bilinear", align_corners=False)[0]
        surface[1:] *= 0.5  # slopes are per pixel
        finest = finer == 0
        rounds, iterations = (FINEST_ROUNDS, FINEST_ITERATIONS) if finest else (ROUNDS, ITERATIONS)
        surface = _solved(known, colours, surface, rounds, iterations)
    return -surface[0].clamp_min(1.0 / FARTHEST).log()


def _level(
    network_log: torch.Tensor, evidence_log: torch.Tensor, confidence: torch.Tensor, image: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the work grid: weight, weight times evidence, weight times network (3, H, W); and the picture (3, H, W)."""
    size = image.shape[:2]
    evidence, weight = F.interpolate(torch.stack([(-evidence_log).exp(), confidence])[None], size=size, mode="nearest")[
        0
    ]
    network = F.interpolate((-network_log).exp()[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    return torch.stack([weight, weight * evidence, network]), image.permute(2, 0, 1)


def _solved(
    known: torch.Tensor, colours: torch.Tensor, surface: torch.Tensor, rounds: int, iterations: int
) -> torch.Tensor:
    """The minimum on one level, from a start: disparity and its slopes along x and y (3, H, W)."""
    weight, total, network = known
    evidence = total / weight.clamp_min(1e-6)
    edge_x = torch.exp(-IMAGE_EDGE * colours.diff(dim=2).abs().mean(0))
    edge_y = torch.exp(-IMAGE_EDGE * colours.diff(dim=1).abs().mean(0))
    for _ in range(rounds):
        miss_x, miss_y = _misses(surface)
        trusted = weight / (1.0 + ((surface[0] - evidence) / OUTLIER) ** 2)
        across = SPREAD * edge_x / (1.0 + (miss_x / JUMP) ** 2)
        down = SPREAD * edge_y / (1.0 + (miss_y / JUMP) ** 2)
        right = torch.zeros_like(surface)
        right[0] = trusted * evidence + TRUST * network
        surface = _conjugate_gradients(
            trusted + TRUST, (across, down), (BEND * edge_x, BEND * edge_y), right, surface, iterations
        )
    return surface


def _misses(surface: torch.Tensor) -> Weights:
    """By how much neighbours differ from what the slope between them says, along x and along y."""
    d, slope_x, slope_y = surface
    return (
        d.diff(dim=1) - 0.5 * (slope_x[:, 1:] + slope_x[:, :-1]),
        d.diff(dim=0) - 0.5 * (slope_y[1:] + slope_y[:-1]),
    )


def _conjugate_gradients(
    data: torch.Tensor, first: Weights, second: Weights, right: torch.Tensor, start: torch.Tensor, iterations: int
) -> torch.Tensor:
    """Conjugate gradients, preconditioned by the diagonal, on the normal equations of the energy in `fuse`."""
    x = start
    diagonal = _diagonal(data, first, second)
    residual = right - _applied(x, data, first, second)
    z = residual / diagonal
    direction = z
    product = (residual * z).sum()
    for _ in range(iterations):
        applied = _applied(direction, data, first, second)
        step = product / (direction * applied).sum().clamp_min(1e-20)
        x = x + step * direction
        residual = residual - step * applied
        z = residual / diagonal
        next_product = (residual * z).sum()
        direction = z + next_product / product.clamp_min(1e-20) * direction
        product = next_product
    return x


_RIDGE = 1e-4  # keeps slopes defined where nothing tells them


def _applied(x: torch.Tensor, data: torch.Tensor, first: Weights, second: Weights) -> torch.Tensor:
    miss_x, miss_y = _misses(x)
    pull_x, pull_y = first[0] * miss_x, first[1] * miss_y
    out = torch.stack([data * x[0], _RIDGE * x[1], _RIDGE * x[2]])
    _add(out[0], pull_x, pull_y, -1.0)
    out[1, :, 1:] -= 0.5 * pull_x
    out[1, :, :-1] -= 0.5 * pull_x
    out[2, 1:] -= 0.5 * pull_y
    out[2, :-1] -= 0.5 * pull_y
    for k in (1, 2):
        _add(out[k], second[0] * x[k].diff(dim=1), second[1] * x[k].diff(dim=0), -1.0)
    return out


def _diagonal(data: torch.Tensor, first: Weights, second: Weights) -> torch.Tensor:
    out = torch.stack([data, torch.full_like(data, _RIDGE), torch.full_like(data, _RIDGE)])
    _add(out[0], *first, 1.0)
    _add(out[1], 0.25 * first[0], torch.zeros_like(first[1]), 1.0)
    _add(out[2], torch.zeros_like(first[0]), 0.25 * first[1], 1.0)
    for k in (1, 2):
        _add(out[k], *second, 1.0)
    return out


def _add(out: torch.Tensor, across: torch.Tensor, down: torch.Tensor, sign: float) -> None:
    """What lies between two pixels is added to the second, and `sign` times it to the first."""
    out[:, 1:] += across
    out[:, :-1] += sign * across
    out[1:] += down
    out[:-1] += sign * down
