"""Depth as stages hand it to each other: one type, one kind of file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.footage import FrameFiles
from engine.geometry.arrays import Lens

Unit = Literal["solved", "clip", "metres"]
"""Of length: the cameras' as `poses` has left them, the cameras' after `scale`, or metres."""
Representation = Literal["depth", "inverse depth"]


@dataclass(frozen=True)
class DepthMap:
    """Planar depth of one frame, or its inverse.

    Attributes:
        values: (h, w) float32, 0 = none.
        lens: the pinhole that its grid is seen through, of that size.
        unit: of length.
        confidence: (h, w) 0..1: how far geometry has decided it.
        representation: what the values are. Files hold depth.

    Raises:
        ValueError: values or confidence do not fit the lens.
    """

    values: NDArray[np.float32]
    lens: Lens
    unit: Unit
    confidence: NDArray[np.float32]
    representation: Representation = "depth"

    def __post_init__(self) -> None:  # noqa: D105
        shape = (self.lens.height, self.lens.width)
        for values in (self.values, self.confidence):
            if values.shape != shape:
                raise ValueError(f"depth of a grid {shape} is wanted, got {values.shape}")

    @property
    def known(self) -> NDArray[np.bool_]:
        """(h, w): there is a value."""
        return self.values > 0

    def inverse(self) -> DepthMap:
        """Depth as inverse depth, in which planes are linear, and the other way round."""
        other: Representation = "inverse depth" if self.representation == "depth" else "depth"
        return replace(self, values=inverse_of(self.values), representation=other)


def inverse_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse depth (h, w) of depth, or depth of inverse depth; 0 = none stays 0."""
    known = values > 0
    return np.where(known, 1.0 / np.where(known, values, 1.0), 0.0).astype(np.float32)


@dataclass(frozen=True)
class DepthFrames:
    """Depth of the frames of a clip in the folder of a stage: `depth/000101.npy`, `confidence/000101.npy`.

    Attributes:
        folder: of the stage.
        lens: the pinhole of the grid.
        unit: of the depth.
    """

    folder: Path
    lens: Lens
    unit: Unit

    def has(self, number: int) -> bool:
        """A frame has been saved."""
        return self._files("depth").path(number).exists()

    def load(self, number: int) -> DepthMap:
        """Depth of a plate frame."""
        depth, confidence = self._files("depth").load(number), self._files("confidence")
        sure = confidence.load(number) if confidence.path(number).exists() else np.zeros_like(depth)
        return DepthMap(depth, self.lens, self.unit, sure)

    def save(self, number: int, values: NDArray[np.float32], confidence: NDArray[np.float32] | None = None) -> None:
        """Write a frame; its depth comes last, by which it counts as done.

        Args:
            number: plate frame number.
            values: (h, w) planar depth, 0 = none.
            confidence: (h, w) 0..1; None = it has none, which reads as 0.

        Raises:
            ValueError: another shape than the grid's.
        """
        depth = DepthMap(values, self.lens, self.unit, np.zeros_like(values) if confidence is None else confidence)
        if confidence is not None:
            self._files("confidence").save(number, depth.confidence)
        self._files("depth").save(number, depth.values)

    def _files(self, kind: str) -> FrameFiles:
        return FrameFiles(self.folder / kind, ".npy")
