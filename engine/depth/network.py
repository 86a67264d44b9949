"""The built-in depth network: small enough to be trained on the clip itself."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

CHANNELS = (16, 32, 64, 96, 128)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    # reflect padding: zeros would draw a frame around the depth
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, padding_mode="reflect"),
        nn.ELU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1, padding_mode="reflect"),
        nn.ELU(),
    )


class DepthNetwork(nn.Module):
    """U-Net from a picture to log depth relative to the clip's median.

    Args:
        inputs: channels of the input.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        widths = pairwise((inputs, *CHANNELS))
        self.down = nn.ModuleList(_block(a, b, 1 if level == 0 else 2) for level, (a, b) in enumerate(widths))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in pairwise(CHANNELS))
        self.head = nn.Conv2d(CHANNELS[0], 1, 3, 1, 1, padding_mode="reflect")
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to log depth (B, 1, H, W); sides are multiples of 16."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for block in reversed(self.up):
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([skip, x], dim=1))
        depth: torch.Tensor = self.head(x)
        return depth
