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
ARCHITECTURE = "u-net 5 16-32-64-96-160-224"


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    # replicate padding: zeros would draw a frame around the depth
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, padding_mode="replicate"),
        nn.ELU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1, padding_mode="replicate"),
        nn.ELU(),
    )


class DepthNetwork(nn.Module):
    """U-Net from a picture, and what has been measured in it, to log depth.

    Input (B, 5, H, W), sides of any length: the picture (RGB in [-1, 1]), measured log depth relative to a unit of
    length (0 where there is none), and its confidence in [0, 1]. Output (B, 1, H, W): log depth relative to that unit.
    With nothing measured it is a single-image network, and the unit is whatever it likes.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = pairwise((INPUTS, *CHANNELS))
        self.down = nn.ModuleList(_block(a, b, 1 if level == 0 else 2) for level, (a, b) in enumerate(widths))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in pairwise(CHANNELS))
        self.head = nn.Conv2d(CHANNELS[0], 1, 3, 1, 1, padding_mode="replicate")
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 5, H, W) to log depth (B, 1, H, W)."""
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
