"""What moves the network's weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from engine.device import fast_in_half
from engine.networks.depth import DepthNetwork

# Full rates, chosen by how soon CVD's loss falls on two clips.
FILTER_RATE = 0.03
RATE = 2e-3
MOMENTUM = 0.8
PUBLISHED_RATE = 4e-4  # CVD section 5 and its code, constant
_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: singular values come to .5 to 1.5 in five iterations
_ITERATIONS = 5
_SMALLEST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made (nearly) orthogonal (Jordan et al. 2024), as long as an AdamW step (Liu et al. 2025).

    `torch.optim.Muon` without weight decay, but for the number format: that one orthogonalises in bfloat16 on every
    device, which takes twenty times as long as the rest of a training step on CPUs that have no units for it.

    Args:
        matrices: 2-D parameters.
        lr: rate of an AdamW step of the same length.
        momentum: share of the earlier gradients (Nesterov).
        dtype: what the orthogonalisation computes in.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, momentum: float, dtype: torch.dtype) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})
        self._dtype = dtype

    # PyTorch's may take a function that computes the loss, and return it; nothing here needs that.
    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            momentum = group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                average = state["momentum_buffer"].lerp_(matrix.grad, 1.0 - momentum)
                direction = orthogonalised(matrix.grad.lerp(average, momentum), self._dtype)
                matrix.add_(direction, alpha=-group["lr"] * 0.2 * math.sqrt(max(matrix.shape)))


def orthogonalised(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The (m, n) matrix with singular values brought to about 1, .5 to 1.5 (Newton-Schulz), computed in `dtype`."""
    a, b, c = _QUINTIC
    wide = matrix.to(dtype)
    if matrix.shape[0] > matrix.shape[1]:
        wide = wide.T
    wide = wide / wide.norm().clamp(min=_SMALLEST_NORM)
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


class Optimiser:
    """Muon for the filters of the convolutions, Adam for what else there is.

    Muon's step is of equal length in all directions of a filter bank. The losses over pairs hardly pull at most of
    them, and Adam takes several times as many steps to the same loss.

    Args:
        network: in channels-last memory, on the device that computes.
        published: Adam alone, at CVD's rate.
    """

    def __init__(self, network: DepthNetwork, published: bool = False) -> None:
        filters = [] if published else [p for p in network.parameters() if p.ndim == 4 and p is not network.head.weight]
        held = {id(weight) for weight in filters}
        rest = [p for p in network.parameters() if id(p) not in held]
        rate = PUBLISHED_RATE if published else RATE
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [(torch.optim.Adam(rest, lr=rate), rate)]
        # Muon takes matrices: the same memory seen as such, which fails where it is not channels-last.
        self._filters = [(p, nn.Parameter(p.detach().permute(0, 2, 3, 1).view(len(p), -1))) for p in filters]
        if filters:
            device = filters[0].device
            # CPUs with units for bfloat16 take .24 s for all filters in it and .14 s in float32, those without 3.8 s.
            dtype = torch.bfloat16 if device.type == "cuda" and fast_in_half(device) else torch.float32
            muon = Muon([matrix for _, matrix in self._filters], FILTER_RATE, MOMENTUM, dtype)
            self._parts.append((muon, FILTER_RATE))

    def step(self, share: float) -> None:
        """Along the gradients that the network holds, at this share of the full rates."""
        for weight, matrix in self._filters:
            matrix.grad = None if weight.grad is None else weight.grad.permute(0, 2, 3, 1).reshape(matrix.shape)
        for part, rate in self._parts:
            for group in part.param_groups:
                group["lr"] = rate * share
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """To go on from."""
        return {"parts": [part.state_dict() for part, _ in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        for (part, _), held in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(held)
