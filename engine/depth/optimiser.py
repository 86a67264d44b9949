"""What moves the network's weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from engine.depth.network import DepthNetwork

# Full rates, chosen by how soon CVD's loss falls on two clips.
FILTER_RATE = 0.03
RATE = 2e-3
MOMENTUM = 0.8
PUBLISHED_RATE = 4e-4  # CVD section 5 and its code, constant


class Optimiser:
    """Muon (Jordan et al. 2024) for the filters of the convolutions, Adam for what else there is.

    Muon's step is of equal length in all directions of a filter bank. The losses over pairs hardly pull at most of
    them, and Adam takes several times as many steps to the same loss.

    Args:
        network: in channels-last memory.
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
            muon = torch.optim.Muon(
                [matrix for _, matrix in self._filters],
                lr=FILTER_RATE, momentum=MOMENTUM, weight_decay=0.0, adjust_lr_fn="match_rms_adamw",
            )  # fmt: skip
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
