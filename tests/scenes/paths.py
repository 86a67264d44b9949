"""How cameras move: `world_from_camera` as a smooth function of time, in frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.scenes import look

Array = NDArray[np.float64]
Path = Callable[[float], Array]
Place = Callable[[float], list[float]]


def aimed(position: Place, target: Place, roll: Callable[[float], float] = lambda time: 0.0) -> Path:
    """Stands at `position` and looks at `target`; `roll` in degrees, clockwise."""

    def pose(time: float) -> Array:
        here = np.array(position(time), float)
        x, y, z = np.array(target(time), float) - here
        return look(here, float(np.arctan2(y, x)), float(np.arctan2(z, np.hypot(x, y))), np.radians(roll(time)))

    return pose


def turned(position: Place, yaw: Callable[[float], float], pitch: Callable[[float], float] = lambda time: 0.0) -> Path:
    """Stands at `position` and looks along `yaw` (0 = +x, 90 = +y) and `pitch` (up), degrees."""

    def pose(time: float) -> Array:
        here = np.array(position(time), float)
        return look(here, np.radians(yaw(time)), np.radians(pitch(time)), 0.0)

    return pose


def handheld(path: Path, seed: int, shift: float = 0.01, turn: float = 0.35, fps: float = 24.0) -> Path:
    """`path` as a hand carries it: it sways by about `shift` metres and `turn` degrees, at 0.3 to 2.5 Hz."""
    rng = np.random.default_rng(seed)
    hertz = rng.uniform(0.3, 2.5, (6, 4))
    size = rng.normal(0.0, 1.0, (6, 4)) / (1.0 + hertz)
    phase = rng.uniform(0, 2 * np.pi, (6, 4))

    def pose(time: float) -> Array:
        sway = (size * np.sin(2 * np.pi * hertz * time / fps + phase)).sum(axis=1)
        a, b, c = np.radians(turn) * sway[3:]
        around_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        around_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        around_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        carried = path(time).copy()
        carried[:3, 3] += shift * sway[:3]
        carried[:3, :3] = carried[:3, :3] @ around_z @ around_y @ around_x
        return carried

    return pose


def eased(time: float, start: float, end: float) -> float:
    """0 before `start`, 1 after `end`, smooth between."""
    s = min(1.0, max(0.0, (time - start) / (end - start)))
    return s * s * (3.0 - 2.0 * s)
