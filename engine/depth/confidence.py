"""How likely a measured depth is right.

A logistic regression on what tells a right match from a wrong one, fitted to clips with true depth: each of them is
foretold by weights fitted to the others with a mean error of .03 to .11.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from engine.depth.agreement import Agreement
from engine.depth.sweep import box_mean

RIGHT = 0.05  # relative error of a depth that is right
MEASURED = 0.5  # a depth that is more likely right than wrong is measured
LEAST = 0.35  # one that is likelier than this is still better than none
LIKE = 0.04  # of intensity: a pixel of the same surface
RADIUS = 2
MOST_VOTES = 6.0
CONTRAST = (1e-3, 0.01, 0.05)  # least, unit, most
ROUGHNESS = (1e-3, 0.01, 0.1)
WEIGHTS = (-1.483, 1.385, 1.673, 1.57, 0.04, -0.316)
"""Constant, score, share of the views that agree, how many of them, logarithms of contrast and roughness."""
AROUND = 0.026  # of the grid's width: as far to each side counts what was measured around
LEAST_AROUND = 3e-3
COMPANY_WEIGHTS = (0.6, 0.8, 0.8)
"""Constant, logarithm of the odds by itself, logarithm of the mean confidence around."""
DISTANCE = (1e-3, 0.01, 0.1)
GAP = (3e-3, 0.03, 1.0)
GUESS_WEIGHTS = (-1.2, -0.455, -0.379, -0.374)
"""Constant, logarithms of distance to what was measured (widths), gap to the network (of log depth), roughness."""


def features(grey: torch.Tensor, depth: torch.Tensor, score: torch.Tensor, found: Agreement) -> torch.Tensor:
    """(5, H, W), in the order of `WEIGHTS` after the constant.

    Args:
        grey: (H, W) in [0, 1].
        depth: (H, W) of the frame by itself.
        score: (H, W) of the match.
        found: what the views say.
    """
    return torch.stack(
        [
            score.clamp(0.0, 1.0),
            found.votes / found.seen.clamp_min(1.0),
            found.votes.clamp_max(MOST_VOTES) / MOST_VOTES,
            _logarithm(own_contrast(grey), CONTRAST),
            _logarithm(_roughness(depth.log()), ROUGHNESS),
        ]
    )


def probability(told: torch.Tensor) -> torch.Tensor:
    """Probability (H, W) that a depth is within `RIGHT` of the truth, from its `features` (5, H, W)."""
    weights = told.new_tensor(WEIGHTS)
    return torch.sigmoid(weights[0] + (weights[1:, None, None] * told).sum(0))


def probability_in_company(confidence: torch.Tensor) -> torch.Tensor:
    """Probability (B, H, W) that what was measured is right, from that of each pixel by itself (B, H, W), 0 = not
    measured, and from how much was measured around: lone matches are wrong far more often than they look.
    """
    constant, by_itself, around = COMPANY_WEIGHTS
    company = box_mean(confidence, round(AROUND * confidence.shape[-1])).clamp_min(LEAST_AROUND).log()
    sure = torch.sigmoid(constant + by_itself * torch.logit(confidence, 1e-3) + around * company)
    return torch.where(confidence > 0, sure, torch.zeros_like(sure))


def guessed_probability(fused_log: torch.Tensor, network_log: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    """Probability (B, H, W) that a depth that was not measured is within `RIGHT` of the truth.

    It falls with the distance to what was measured, with the gap between what surroundings and network say, and where
    depth changes fast. Clips differ more in this than in what is measured; the constant is on the doubtful side.

    Args:
        fused_log: (B, H, W) log depth.
        network_log: (B, H, W) what the network says.
        measured: (B, H, W) bool.
    """
    width = fused_log.shape[-1]
    open_ = (~measured).cpu().numpy().astype(np.uint8)
    distance = np.stack([cv2.distanceTransform(frame, cv2.DIST_L2, 3) for frame in open_]) / np.float32(width)
    weights = fused_log.new_tensor(GUESS_WEIGHTS)
    told = torch.stack(
        [
            _logarithm(torch.from_numpy(distance).to(fused_log), DISTANCE),
            _logarithm((fused_log - network_log).abs(), GAP),
            _logarithm(torch.stack([_roughness(frame) for frame in fused_log]), ROUGHNESS),
        ]
    )
    return torch.sigmoid(weights[0] + (weights[1:, None, None, None] * told).sum(0))


def own_contrast(grey: torch.Tensor) -> torch.Tensor:
    """Standard deviation (H, W) of the pixels around that look like the one in the middle.

    Beside the edge of another surface a plain one matches as well as the edge does. That says nothing of its own depth.
    """
    height, width = grey.shape
    padded = F.pad(grey[None, None], (RADIUS, RADIUS, RADIUS, RADIUS), mode="replicate")[0, 0]
    weight, first, second = (torch.zeros_like(grey) for _ in range(3))
    for line in range(2 * RADIUS + 1):
        for column in range(2 * RADIUS + 1):
            apart = padded[line : line + height, column : column + width] - grey
            alike = torch.exp(-((apart / LIKE) ** 2))
            weight += alike
            first += alike * apart
            second += alike * apart * apart
    return (second / weight - (first / weight) ** 2).clamp_min(0.0).sqrt()


def _roughness(log_depth: torch.Tensor) -> torch.Tensor:
    """Gradient (H, W) of log depth (H, W) a pixel."""
    padded = F.pad(log_depth[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    smooth_x = padded[:-2] + 2.0 * padded[1:-1] + padded[2:]
    smooth_y = padded[:, :-2] + 2.0 * padded[:, 1:-1] + padded[:, 2:]
    return torch.hypot(smooth_x[:, 2:] - smooth_x[:, :-2], smooth_y[2:] - smooth_y[:-2]) / 8.0


def _logarithm(values: torch.Tensor, scale: tuple[float, float, float]) -> torch.Tensor:
    least, unit, most = scale
    return (values.clamp(least, most) / unit).log()
