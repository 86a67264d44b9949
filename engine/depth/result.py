"""What the depth stage leaves of a frame, whichever method made it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import DepthError
from engine.files import write_npy
from engine.footage import frame_name


def write_frame(folder: Path, number: int, depth: NDArray[np.float32], confidence: NDArray[np.float32]) -> None:
    """Write `confidence/000101.npy`, then `depth/000101.npy`, by which a frame counts as done.

    Args:
        folder: of the stage.
        number: the plate's frame number.
        depth: (H, W) planar, 0 = none.
        confidence: (H, W) 0..1.

    Raises:
        DepthError: `depth.not_finite`, something in it is no number; nothing is written.
    """
    if not (np.isfinite(depth).all() and np.isfinite(confidence).all()):
        raise DepthError(
            "depth.not_finite",
            f"The depth of frame {number} came out as no number.",
            "The network or what it is given has left the range of floating point.",
            "Look at the camera track first; another seed or another prior may help.",
        )
    name = f"{frame_name(number)}.npy"
    write_npy(folder / "confidence" / name, confidence)
    write_npy(folder / "depth" / name, depth)
