"""Which device computes."""

from __future__ import annotations

import torch

from engine.errors import RequestError


def choose_device(wanted: str) -> torch.device:
    """The device for `auto` (CUDA when there), `cpu` or `cuda`.

    Raises:
        RequestError: CUDA was asked for and is not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RequestError(
            "request.no_cuda",
            "CUDA was asked for, and there is none.",
            "No NVIDIA device was found, or this PyTorch was built without CUDA.",
            "Choose the device auto or cpu, or install a PyTorch build for your GPU in the engine's environment.",
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
