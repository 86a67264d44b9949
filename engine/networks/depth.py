"""The built-in depth network: small enough to be trained on the clip itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.networks.loading import with_weights

WEIGHTS = Path(__file__).resolve().parent / "weights" / "depth.safetensors"
CHANNELS = (32, 64, 128, 192, 288)  # from half the resolution down to a thirty-second
INPUTS = 5  # colour, log depth measured, and how sure that is
GROUPS = 8
ARCHITECTURE = "filling group-norm u-net, unshuffled 2x2, 32-64-128-192-288"
_TRUST = 0.05  # a measured value of this confidence counts as much as what is around it
_SLOPE = 0.2  # of the activation below zero: units that saturate there die, and take the picture with them


class _Block(nn.Module):
    """A convolution that changes size and channels, and one that adds to its result, at first nothing.

    Signals are normalised (Wu & He 2018, Group normalization): without it they fade on the way down, or grow on the way
    up, and training ends at one depth for all pictures.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        # replicate padding: zeros would draw a frame around the depth
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, padding_mode="replicate", bias=False)
        self.first_norm = nn.GroupNorm(GROUPS, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, padding_mode="replicate", bias=False)
        self.second_norm = nn.GroupNorm(GROUPS, outputs)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.first_norm(self.first(x)), _SLOPE)
        return F.leaky_relu(x + self.second_norm(self.second(x)), _SLOPE)


class DepthNetwork(nn.Module):
    """U-Net from a picture, and what has been measured in it, to log depth.

    Input (B, 5, H, W), sides of any length: the picture (RGB in [-1, 1]), measured log depth relative to a unit of
    length (0 where there is none), and its confidence in [0, 1]. Output (B, 1, H, W): log depth relative to that unit.
    With nothing measured it is a single-image network, and the unit is whatever it likes. What is measured is carried
    into its gaps first, and the network says by how much that is wrong: another unit changes the result by its factor
    and no more. How high a pixel stands in the picture is added to the input, since convolutions cannot tell and floors
    are below. Two by two pixels are one position with four times the channels (Shi et al. 2016, sub-pixel convolution),
    at the input and at the output: a third of the cost, since full resolution is where convolutions are dear.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = pairwise((4 * (INPUTS + 1), *CHANNELS))
        self.down = nn.ModuleList(_Block(a, b, 1 if level == 0 else 2) for level, (a, b) in enumerate(widths))
        self.up = nn.ModuleList(_Block(a + b, a) for a, b in pairwise(CHANNELS))
        self.head = nn.Conv2d(CHANNELS[0], 4, 3, 1, 1, padding_mode="replicate")
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 5, H, W) to log depth (B, 1, H, W)."""
        count, _, height, width = x.shape
        picture, measured, confidence = torch.split(x, [3, 1, 1], dim=1)
        filled, middle = _carried_into_gaps(measured * confidence, confidence)
        rows = (torch.arange(height, device=x.device, dtype=x.dtype) + 0.5) * (2.0 / height) - 1.0
        rows = rows[:, None].expand(count, 1, height, width)
        x = torch.cat([picture, filled - middle, confidence, rows], dim=1)
        x = F.pixel_unshuffle(F.pad(x, (0, width % 2, 0, height % 2), mode="replicate"), 2)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for block in reversed(self.up):
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([skip, x], dim=1))
        with torch.autocast(x.device.type, enabled=False):  # 8 bits would be steps of depth
            correction = self.head(x.float())
        depth: torch.Tensor = filled + F.pixel_shuffle(correction, 2)[..., :height, :width]
        return depth


def _carried_into_gaps(total: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pull-push (Gortler et al. 1996, The Lumigraph, section 3.4): means of ever larger surroundings fill what is open.

    Args:
        total: (B, 1, H, W) values times their weights.
        weight: (B, 1, H, W) in [0, 1], 0 = open.

    Returns:
        values everywhere (B, 1, H, W), 0 if all is open, and the mean of them all (B, 1, 1, 1).
    """
    if total.shape[-2:] == (1, 1):
        mean = total / weight.clamp_min(1e-6)
        return mean, mean
    coarse_total, coarse_weight = (F.avg_pool2d(x, 2, ceil_mode=True) for x in (total, weight))
    # four points in a cell are as good as a measured cell
    gain = (4.0 * coarse_weight).clamp_max(1.0) / coarse_weight.clamp_min(1e-6)
    coarse, mean = _carried_into_gaps(coarse_total * gain, coarse_weight * gain)
    around = F.interpolate(coarse, size=total.shape[-2:], mode="bilinear", align_corners=False)
    return (total + _TRUST * around) / (weight + _TRUST), mean


def load_network(path: Path, device: torch.device) -> DepthNetwork:
    """The network with the weights of a safetensors file, in float32 on `device`.

    Raises:
        DepthError: `depth.weights`, the file is missing, damaged, or of another architecture.
    """
    return with_weights(DepthNetwork(), ARCHITECTURE, path, device)
