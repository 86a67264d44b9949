"""Weights that ship with the engine: safetensors, written for one architecture."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from engine.errors import DepthError

Network = TypeVar("Network", bound=nn.Module)


def with_weights(network: Network, architecture: str, path: Path, device: torch.device) -> Network:
    """`network` with the weights of a safetensors file, in float32 on `device`.

    Args:
        network: receives them.
        architecture: what the file's metadata must name.
        path: of the file.
        device: where to.

    Raises:
        DepthError: `depth.weights`, the file is missing, damaged, or of another architecture.
    """
    try:
        with safe_open(path, "pt") as file:
            made_for = (file.metadata() or {}).get("architecture")
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        if made_for != architecture:
            raise ValueError(f"it is for the architecture {made_for}")
        network.load_state_dict(weights)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise DepthError(
            "depth.weights",
            f"The weights of a network that ships with the engine cannot be used: {path.name}.",
            f"{error}.",
            "Install the engine again.",
        ) from error
    return network.to(device)
