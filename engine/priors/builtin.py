"""The network that ships with the project."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.work import WorkClip
from engine.errors import PriorError
from engine.geometry.arrays import Lens
from engine.networks.depth import WEIGHTS, load_network
from engine.priors.source import Predict, Source, half_size

LICENCE = "CC0-1.0"


def builtin(weights: Path = WEIGHTS) -> Source:
    """The built-in prior.

    Raises:
        PriorError: `prior.not_found`, its weights are missing.
    """
    if not weights.is_file():
        raise PriorError(
            "prior.not_found",
            "The built-in depth network has no weights.",
            f"{weights.name} is missing from the engine: this copy of it is not complete.",
            "Install the engine again, or choose another prior.",
        )
    content = hashlib.blake2b(weights.read_bytes(), digest_size=16).hexdigest()

    def open_network(clip: WorkClip, _plate: Lens, device: torch.device) -> Predict:
        network = load_network(weights, device).eval()

        @torch.inference_mode()
        def predict(row: int) -> NDArray[np.float32]:
            height, width = half_size(clip)
            picture = cv2.resize(clip.images[row], (width, height), interpolation=cv2.INTER_AREA)
            colours = torch.from_numpy(picture).to(device).permute(2, 0, 1).float() / 127.5 - 1.0
            nothing_measured = torch.zeros_like(colours[:2])
            log_depth = network(torch.cat([colours, nothing_measured])[None])[0, 0]
            depth: NDArray[np.float32] = log_depth.exp().cpu().numpy()
            return depth

        return predict

    return Source("built-in network", LICENCE, False, "depth", f"builtin {content}", open_network)
