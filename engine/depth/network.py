"""The built-in depth network: small enough to be trained on the clip itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.errors import DepthError

CHANNELS = (16, 32, 64, 96, 160, 224)
INPUTS = 5  # colour, log depth measured, and how sure that is
ARCHITECTURE = "residual u-net 5+1 16-32-64-96-160-224"
_ELU_GAIN = 1.245  # keeps the size of a signal with unit variance through convolution and ELU


class _Block(nn.Module):
    """A convolution that changes size and channels, and one around which its result is passed on."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        # replicate padding: zeros would draw a frame around the depth
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, padding_mode="replicate")
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, padding_mode="replicate")
        # with PyTorch's own start a picture fades to nothing on the way to the coarsest level, and is never learnt from
        nn.init.normal_(self.first.weight, std=_ELU_GAIN / (9 * inputs) ** 0.5)
        for zero in (self.first.bias, self.second.weight, self.second.bias):
            nn.init.zeros_(zero)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.elu(self.first(x))
        return F.elu(x + self.second(x))


class DepthNetwork(nn.Module):
    """U-Net from a picture, and what has been measured in it, to log depth.

    Input (B, 5, H, W), sides of any length: the picture (RGB in [-1, 1]), measured log depth relative to a unit of
    length (0 where there is none), and its confidence in [0, 1]. Output (B, 1, H, W): log depth relative to that unit.
    With nothing measured it is a single-image network, and the unit is whatever it likes. How high a pixel stands in
    the picture is added to the input, since convolutions cannot tell and floors are below.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = pairwise((INPUTS + 1, *CHANNELS))
        self.down = nn.ModuleList(_Block(a, b, 1 if level == 0 else 2) for level, (a, b) in enumerate(widths))
        self.up = nn.ModuleList(_Block(a + b, a) for a, b in pairwise(CHANNELS))
        self.head = nn.Conv2d(CHANNELS[0], 1, 3, 1, 1, padding_mode="replicate")
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 5, H, W) to log depth (B, 1, H, W)."""
        count, _, height, width = x.shape
        rows = (torch.arange(height, device=x.device, dtype=x.dtype) + 0.5) * (2.0 / height) - 1.0
        x = torch.cat([x, rows[:, None].expand(count, 1, height, width)], dim=1)
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


def load_network(path: Path, device: torch.device) -> DepthNetwork:
    """The network with the weights of a safetensors file, in float32 on `device`.

    Raises:
        DepthError: `depth.weights`, the file is missing, damaged, or of another architecture.
    """
    network = DepthNetwork()
    try:
        with safe_open(path, "pt") as file:
            made_for = (file.metadata() or {}).get("architecture")
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        if made_for != ARCHITECTURE:
            raise ValueError(f"it is for the architecture {made_for}")
        network.load_state_dict(weights)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise DepthError(
            "depth.weights",
            f"The weights of the depth network cannot be used: {path.name}.",
            f"{error}.",
            "Install the engine again.",
        ) from error
    return network.to(device)
