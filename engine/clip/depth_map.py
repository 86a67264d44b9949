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
        representation: what the values are. Files hold depth.

    Raises:
        ValueError: the values do not fit the lens.
    """

    values: NDArray[np.float32]
    lens: Lens
    unit: Unit
    representation: Representation = "depth"

    def __post_init__(self) -> None:  # noqa: D105
        _require_grid(self.values, self.lens)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(h, w): there is a value."""
        return self.values > 0

    def inverse(self) -> DepthMap:
        """Depth as inverse depth, in which planes are linear, and the other way round."""
        other: Representation = "inverse depth" if self.representation == "depth" else "depth"
        return replace(self, values=inverse_of(self.values), representation=other)


def _require_grid(values: NDArray[np.float32], lens: Lens) -> None:
    if values.shape != (lens.height, lens.width):
        raise ValueError(f"depth of a grid {(lens.height, lens.width)} is wanted, got {values.shape}")


def inverse_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse depth (h, w) of depth, or depth of inverse depth; 0 = none stays 0."""
    known = values > 0
    return np.where(known, 1.0 / np.where(known, values, 1.0), 0.0).astype(np.float32)


@dataclass(frozen=True)
class DepthFrames:
    """Depth of the frames of a clip in the folder of a stage: `depth/000101.npy`, `confidence/`, `measured/`.

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
        return DepthMap(self._files("depth").load(number), self.lens, self.unit)

    def confidence(self, number: int) -> NDArray[np.float32]:
        """Probability that the depth of a plate frame is right: (h, w) 0..1, 0 where nobody says."""
        files = self._files("confidence")
        if not files.path(number).exists():
            return np.zeros((self.lens.height, self.lens.width), np.float32)
        return files.load(number)

    def measured(self, number: int) -> NDArray[np.bool_]:
        """Where the depth of a plate frame was measured and not guessed: (h, w), False where nobody says."""
        files = self._files("measured")
        if not files.path(number).exists():
            return np.zeros((self.lens.height, self.lens.width), bool)
        return files.load(number) > 0

    def save(
        self,
        number: int,
        values: NDArray[np.float32],
        confidence: NDArray[np.float32] | None = None,
        measured: NDArray[np.bool_] | None = None,
    ) -> None:
        """Write a frame; its depth comes last, by which it counts as done.

        Args:
            number: plate frame number.
            values: (h, w) planar depth, 0 = none.
            confidence: (h, w) 0..1; None = it has none, which reads as 0.
            measured: (h, w); None = nothing is, or nobody asks.

        Raises:
            ValueError: another shape than the grid's.
        """
        _require_grid(values, self.lens)
        if confidence is not None:
            self.save_confidence(number, confidence, measured)
        self._files("depth").save(number, values)

    def save_confidence(
        self, number: int, confidence: NDArray[np.float32], measured: NDArray[np.bool_] | None = None
    ) -> None:
        """Write the confidence (h, w) of a frame alone, and where it was measured (h, w).

        Raises:
            ValueError: another shape than the grid's.
        """
        _require_grid(confidence, self.lens)
        self._files("confidence").save(number, confidence)
        if measured is not None:
            self._files("measured").save(number, measured)

    def _files(self, kind: str) -> FrameFiles:
        return FrameFiles(self.folder / kind, ".npy")
