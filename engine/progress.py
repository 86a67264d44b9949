"""What a stage may tell its caller, and how it learns that it should stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """Handed to every stage. A stage calls `step` at least once a second."""

    def step(self, done: float, total: float, message: str) -> None:
        """Report `done` of `total` units.

        Raises:
            Cancelled: the user asked to stop; let it pass.
        """

    def metric(self, name: str, value: float) -> None:
        """Record a number about the result."""

    def warning(self, message: str, frames: Sequence[int] = ()) -> None:
        """Tell the user about something that degrades the result, and in which plate frames."""

    def preview(self, name: str, write: Callable[[Path], object]) -> None:
        """Show something unfinished (`engine.clip.preview`): `write` is called with the file's path, or not at all."""


class Silent:
    """A `Progress` that keeps quiet and never cancels: tests, notebooks."""

    def step(self, done: float, total: float, message: str) -> None:
        """Ignore."""

    def metric(self, name: str, value: float) -> None:
        """Ignore."""

    def warning(self, message: str, frames: Sequence[int] = ()) -> None:
        """Ignore."""

    def preview(self, name: str, write: Callable[[Path], object]) -> None:
        """Ignore."""


class Part:
    """Progress of a part of a stage, as a share of the whole."""

    def __init__(self, progress: Progress, start: float, end: float) -> None:
        self.progress, self.start, self.end = progress, start, end
        self.metric, self.warning, self.preview = progress.metric, progress.warning, progress.preview

    def step(self, done: float, total: float, message: str) -> None:
        """Report within the part."""
        self.progress.step(self.start + (self.end - self.start) * done / max(total, 1), 1.0, message)
