"""Network and evidence made one depth map at the work size, several frames at a time."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

from engine.geometry.shapes import check_shapes

SPREAD = 10.0  # weight of a piece of surface against one pixel of sure evidence
BEND = 1000.0  # weight against a change of slope: surfaces go on straight where nothing is known
TRUST = 0.003  # weight of the network's own value
IMAGE_EDGE = 15.0  # per unit of intensity: surfaces end at edges of the picture
JUMP = 0.01  # of disparity, where the clip's median is 1: what differs by more belongs to two surfaces
OUTLIER = 0.2  # of disparity: evidence further from what its surroundings say loses its weight
ROUNDS, ITERATIONS = 3, 40
FINEST_ROUNDS, FINEST_ITERATIONS = 1, 25  # on the work grid, where the start is nearly right
KNOWN = 0.21  # weight, above a single sparse point, from which a pixel begins with what was measured there
RIDGE = 1e-4  # keeps slopes defined where nothing tells them
COARSEST = 16  # pixels
FARTHEST = 50.0  # times the clip's median depth

Weights = tuple[torch.Tensor, torch.Tensor]


def fuse(
    network_log: torch.Tensor, evidence_log: torch.Tensor, confidence: torch.Tensor, image: torch.Tensor
) -> torch.Tensor:
    """Log depth (B, H, W): the evidence, carried into its gaps as surfaces that go on straight and end at edges.

    Each frame is solved by itself. Together they cost less: on the coarse levels a frame is too small to keep a
    processor busy, the more so a GPU.

    Far from all evidence, and in a frame without any, the network decides.

    Disparity d and its slope g minimise sum c (d - evidence)^2 + TRUST (d - network)^2 + SPREAD sum w |grad d - g|^2 +
    BEND sum w' |grad g|^2: total generalised variation (Bredies et al. 2010) as Ferstl et al. (ICCV 2013) use it for
    depth, with squares reweighted in rounds instead of norms. A plane in space is linear in disparity, so it costs
    nothing. w and w' fall across edges of the picture; w also across jumps of d, and c where a value stands against its
    surroundings. Solved from coarse to fine.

    Args:
        network_log: (B, h, w) on a coarser grid, log depth relative to the clip's median.
        evidence_log: (B, H, W) likewise, on the work grid.
        confidence: (B, H, W), 0 where there is no evidence.
        image: (B, 3, H, W) in [0, 1].
    """
    check_shapes(
        "network_log B h w, evidence_log B H W, confidence B H W, image B 3 H W",
        network_log,
        evidence_log,
        confidence,
        image,
    )
    levels = [_level(network_log, evidence_log, confidence, image)]
    while min(levels[-1][0].shape[-2:]) > COARSEST:
        known, colours = (F.avg_pool2d(x, 2, ceil_mode=True) for x in levels[-1])
        levels.append((known, colours))
    known, colours = levels.pop()
    surface = torch.zeros_like(known)
    weight, total = known[:, 0].sum((1, 2)), known[:, 1].sum((1, 2))
    surface[:, 0] = (total / weight.clamp_min(1e-12))[:, None, None]
    surface = _solved(known, colours, surface, ROUNDS, ITERATIONS)
    for finer in range(len(levels) - 1, -1, -1):
        known, colours = levels[finer]
        surface = F.interpolate(surface, size=known.shape[-2:], mode="bilinear", align_corners=False)
        surface[:, 1:] *= 0.5  # slopes are per pixel
        surface[:, 0] = _where_known(known, surface[:, 0])
        finest = finer == 0
        rounds, iterations = (FINEST_ROUNDS, FINEST_ITERATIONS) if finest else (ROUNDS, ITERATIONS)
        surface = _solved(known, colours, surface, rounds, iterations)
    fused = -surface[:, 0].clamp_min(1.0 / FARTHEST).log()
    alone = F.interpolate(network_log[:, None], size=image.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return torch.where(confidence.amax((1, 2), keepdim=True) > 0, fused, alone)


def _level(
    network_log: torch.Tensor, evidence_log: torch.Tensor, confidence: torch.Tensor, image: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the work grid: weight, weight times evidence, network (B, 3, H, W); and the picture (B, 3, H, W)."""
    size = image.shape[2:]
    measured = torch.stack([confidence, confidence * (-evidence_log).exp()], 1)
    network = F.interpolate((-network_log).exp()[:, None], size=size, mode="bilinear", align_corners=False)
    return torch.cat([measured, network], 1), image


def _where_known(known: torch.Tensor, disparity: torch.Tensor) -> torch.Tensor:
    """Disparity (B, H, W), what was measured where anything was.

    From the coarser level, on which thin things and the gaps between them are one, they would look like outliers.
    """
    weight = known[:, 0]
    return torch.where(weight > KNOWN, known[:, 1] / weight.clamp_min(KNOWN), disparity)


def _solved(
    known: torch.Tensor, colours: torch.Tensor, surface: torch.Tensor, rounds: int, iterations: int
) -> torch.Tensor:
    """The minimum on one level, from a start: disparity and its slopes along x and y (B, 3, H, W)."""
    weight, total, network = known.unbind(1)
    evidence = total / weight.clamp_min(1e-6)
    edge_x = torch.exp(-IMAGE_EDGE * colours.diff(dim=-1).abs().mean(1))
    edge_y = torch.exp(-IMAGE_EDGE * colours.diff(dim=-2).abs().mean(1))
    for _ in range(rounds):
        miss_x, miss_y = _misses(surface)
        trusted = weight / (1.0 + ((surface[:, 0] - evidence) / OUTLIER) ** 2)
        across = SPREAD * edge_x / (1.0 + (miss_x / JUMP) ** 2)
        down = SPREAD * edge_y / (1.0 + (miss_y / JUMP) ** 2)
        right = torch.zeros_like(surface)
        right[:, 0] = trusted * evidence + TRUST * network
        surface = _conjugate_gradients(
            trusted + TRUST, (across, down), (BEND * edge_x, BEND * edge_y), right, surface, iterations
        )
    return surface


def _misses(surface: torch.Tensor) -> Weights:
    """By how much neighbours differ from what the slope between them says, along x and along y."""
    d, slope_x, slope_y = surface.unbind(1)
    return (
        d.diff(dim=-1).sub_(slope_x[..., 1:] + slope_x[..., :-1], alpha=0.5),
        d.diff(dim=-2).sub_(slope_y[:, 1:] + slope_y[:, :-1], alpha=0.5),
    )


def _conjugate_gradients(
    data: torch.Tensor, first: Weights, second: Weights, right: torch.Tensor, start: torch.Tensor, iterations: int
) -> torch.Tensor:
    """Conjugate gradients, preconditioned by the diagonal, on the normal equations of the energy in `fuse`."""
    x = start
    ridge = torch.full_like(data, RIDGE)
    own = torch.stack([data, ridge, ridge], 1)
    second = second[0][:, None], second[1][:, None]  # the same for both slopes
    inverse = 1.0 / _diagonal(own, first, second)
    residual = right - _applied(x, own, first, second)
    z = residual * inverse
    direction = z
    product = _dot(residual, z)
    for _ in range(iterations):
        applied = _applied(direction, own, first, second)
        step = product / _dot(direction, applied).clamp_min(1e-20)
        x = torch.addcmul(x, step, direction)
        residual = torch.addcmul(residual, step, applied, value=-1.0)
        z = residual * inverse
        next_product = _dot(residual, z)
        direction = torch.addcmul(z, next_product / product.clamp_min(1e-20), direction)
        product = next_product
    return x


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Of each frame, (B, 1, 1, 1)."""
    return (a * b).sum((1, 2, 3), keepdim=True)


def _applied(x: torch.Tensor, own: torch.Tensor, first: Weights, second: Weights) -> torch.Tensor:
    miss_x, miss_y = _misses(x)
    pull_x, pull_y = first[0] * miss_x, first[1] * miss_y
    out = own * x
    _add(out[:, 0], pull_x, pull_y, -1.0)
    out[:, 1, :, 1:].sub_(pull_x, alpha=0.5)
    out[:, 1, :, :-1].sub_(pull_x, alpha=0.5)
    out[:, 2, 1:].sub_(pull_y, alpha=0.5)
    out[:, 2, :-1].sub_(pull_y, alpha=0.5)
    slopes = x[:, 1:]
    _add(out[:, 1:], second[0] * slopes.diff(dim=-1), second[1] * slopes.diff(dim=-2), -1.0)
    return out


def _diagonal(own: torch.Tensor, first: Weights, second: Weights) -> torch.Tensor:
    out = own.clone()
    _add(out[:, 0], *first, 1.0)
    _add(out[:, 1], 0.25 * first[0], torch.zeros_like(first[1]), 1.0)
    _add(out[:, 2], torch.zeros_like(first[0]), 0.25 * first[1], 1.0)
    _add(out[:, 1:], *second, 1.0)
    return out


def _add(out: torch.Tensor, across: torch.Tensor, down: torch.Tensor, sign: float) -> None:
    """What lies between two pixels is added to the second, and `sign` times it to the first."""
    out[..., 1:] += across
    out[..., :-1].add_(across, alpha=sign)
    out[..., 1:, :] += down
    out[..., :-1, :].add_(down, alpha=sign)
