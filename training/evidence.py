"""What the plane sweep would measure in a picture, imitated: holes, fat outlines, noise and wrong patches."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

# shares of the samples: without any evidence up to the first, with sparse points only up to the second
NONE, SPARSE = 0.6, 0.68
SKY = 2.5  # log depth beyond which nothing can be measured
SPARSE_CONFIDENCE = 0.2  # as in engine.depth.training


def smooth_noise(shape: tuple[int, int, int], cells: int, generator: torch.Generator) -> torch.Tensor:
    """(B, H, W) uniform noise in [0, 1], smooth over about a `cells`-th of the picture."""
    coarse = torch.rand((shape[0], 1, cells, cells), generator=generator)
    return F.interpolate(coarse, size=shape[1:], mode="bilinear", align_corners=False)[:, 0]


def simulate(grey: torch.Tensor, log_depth: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Evidence (B, 2, H, W) for pictures: log depth (0 where there is none) and confidence.

    Args:
        grey: (B, H, W) in [0, 1].
        log_depth: (B, H, W) true, relative to the unit.
        generator: decides everything.
    """
    batch, height, width = grey.shape
    shape = (batch, height, width)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand((batch, 1, 1), generator=generator)

    padded = F.pad(grey[:, None], (2, 2, 2, 2), mode="replicate")
    mean = F.avg_pool2d(padded, 5, 1)
    texture = (F.avg_pool2d(padded**2, 5, 1) - mean**2).clamp_min(0.0).sqrt()[:, 0]
    certain = texture / (texture + uniform(0.004, 0.02))

    # matching windows make what is in front fat; where nothing is to be matched, it runs on for many pixels
    fat = -F.max_pool2d(-log_depth[:, None], 3, 1, 1)[:, 0]
    run = -F.max_pool2d(-log_depth[:, None], (15, 15), 1, 7)[:, 0]
    measured = torch.where(torch.rand((batch, 1, 1), generator=generator) < 0.7, fat, log_depth)
    plain = certain < uniform(0.2, 0.7)
    measured = torch.where(plain & (smooth_noise(shape, 9, generator) > uniform(0.3, 0.9)), run, measured)
    lying = plain & (smooth_noise(shape, 12, generator) > uniform(0.7, 1.05))
    off = uniform(-0.4, 0.5) * (0.5 + smooth_noise(shape, 5, generator))
    measured = measured + lying * off
    grain = torch.randn(shape, generator=generator)
    measured = measured + uniform(0.0, 0.02) * grain + uniform(0.0, 0.06) * (smooth_noise(shape, 6, generator) - 0.5)

    # beside an object the background is seen from one side only
    reach = int(torch.randint(2, 9, (1,), generator=generator))
    side = 1 if torch.rand(1, generator=generator) < 0.5 else -1
    ends = (reach, 0, 0, 0) if side > 0 else (0, reach, 0, 0)
    nearer = -F.max_pool2d(-F.pad(log_depth[:, None], ends, mode="replicate"), (1, reach + 1), 1)[:, 0]
    hidden = log_depth - nearer > 0.05
    votes = (0.3 + 1.2 * smooth_noise(shape, 7, generator)).clamp_max(1.0)
    holes = smooth_noise(shape, 10, generator) + 0.6 * certain < uniform(0.2, 0.75)
    there = ~hidden & ~holes & (log_depth < SKY)
    border = (uniform(-0.05, 0.12) * width).long().clamp_min(0)
    column = torch.arange(width).expand(shape)
    there &= torch.where(
        torch.rand((batch, 1, 1), generator=generator) < 0.5, column >= border, column < width - border
    )
    confidence = (certain * votes) ** uniform(0.2, 0.9) * there

    points = (torch.rand(shape, generator=generator) < uniform(0.002, 0.03) * certain) & (log_depth < SKY)
    noisy = log_depth + 0.02 * grain
    draw = torch.rand((batch, 1, 1), generator=generator)
    dense = draw >= SPARSE
    confidence = torch.where(dense, confidence, torch.zeros_like(confidence))
    fill = points & (confidence == 0) & (draw >= NONE)
    measured = torch.where(fill, noisy, measured)
    confidence = torch.where(fill, torch.full_like(confidence, SPARSE_CONFIDENCE), confidence)
    return torch.stack([measured * (confidence > 0), confidence], 1)
