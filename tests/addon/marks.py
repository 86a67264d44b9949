"""A clip of marks whose places are known exactly, and what tracking them has to come to. Needs numpy alone.

Each mark is a group of soft spots that moves ever faster and turns, so that neither a wrong frame number nor half a
pixel goes unnoticed: a point beside the middle would run in a circle.
"""

from __future__ import annotations

from typing import Any

import numpy as np

WIDTH, HEIGHT = 320, 180
NUMBERS = (1001, 1002, 1003, 1004, 1005, 1007, 1008)
"""Plate frames; 1006 is missing."""
NAMES = ("Door", "Window", "Lamp", "Table")
_START = np.array([[60.3, 50.8], [205.6, 40.2], [90.4, 120.7], [230.1, 125.3]])
_SPEED = np.array([[3.1, 0.8], [2.3, 1.4], [4.2, -1.1], [1.7, -0.6]])
_GAIN = np.array([[0.7, 0.3], [-0.8, 0.4], [0.5, -0.4], [0.9, -0.5]])
_SPOTS = ((0, 0, 3.0, 0.3), (7, 2, 2.2, 0.5), (-5, 6, 2.6, -0.4), (-2, -8, 2.0, 0.5), (5, -5, 2.4, -0.3))
_TURN_DEG = 9.0


def place(mark: int, number: int) -> np.ndarray:
    """(x, y) of the middle of a mark, plate pixels."""
    time = number - NUMBERS[0]
    found: np.ndarray = _START[mark] + _SPEED[mark] * time + 0.5 * _GAIN[mark] * time**2
    return found


def picture(number: int) -> np.ndarray:
    """(H, W, 3) uint8."""
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    grey = np.full((HEIGHT, WIDTH), 0.45)
    turn = np.radians(_TURN_DEG * (number - NUMBERS[0]))
    for mark in range(len(NAMES)):
        centre = place(mark, number)
        for across, down, width, height in _SPOTS:
            u = centre[0] + np.cos(turn) * across - np.sin(turn) * down
            v = centre[1] + np.sin(turn) * across + np.cos(turn) * down
            grey += height * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * width**2))
    return np.repeat((255 * grey.clip(0, 1)).round().astype(np.uint8)[..., None], 3, 2)


def document() -> dict[str, Any]:
    """`cvd.tracks/1` of markers on the middle of each mark, but for two that are disabled or not there."""
    left_out = {(2, 1003), (3, 1001)}
    tracks = [
        {"name": name, "markers": [[n, *place(mark, n).tolist()] for n in NUMBERS if (mark, n) not in left_out]}
        for mark, name in enumerate(NAMES)
    ]
    return {"schema": "cvd.tracks/1", "width": WIDTH, "height": HEIGHT, "tracks": tracks}
