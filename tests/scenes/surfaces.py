"""Surfaces of the test scenes: large tiling textures, full of detail unless they are poor on purpose."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Bank = tuple[torch.Tensor, ...]


def _fractal(rng: np.random.Generator, side: int, coarsest: int, falloff: float = 0.7, stretch: int = 1) -> Picture:
    """Tiling noise of several octaves (side, side) in [0, 1]; `stretch` makes it longer along the columns."""
    total, weight, cells = np.zeros((side, side), np.float32), 1.0, coarsest
    while cells <= side:
        grid = np.tile(rng.random((max(1, cells // stretch), cells)).astype(np.float32), (3, 3))
        middle = slice(side, 2 * side)
        wide = cv2.resize(grid, (3 * side, 3 * side), interpolation=cv2.INTER_CUBIC)
        total += weight * wide[middle, middle]
        cells, weight = 2 * cells, weight * falloff
    low, high = np.percentile(total, (0.5, 99.5))
    return np.asarray(((total - low) / (high - low)).clip(0, 1), np.float32)


def _between(dark: list[float], light: list[float], pattern: Picture) -> Picture:
    return np.asarray(np.array(dark) + (np.array(light) - np.array(dark)) * pattern[..., None], np.float32)


def _marks(rng: np.random.Generator, picture: Picture, count: int, largest: int) -> Picture:
    """Rectangles, ellipses, scratches and words of all sizes, as on things that people use."""
    canvas, side = np.ascontiguousarray(picture), len(picture)
    for _ in range(count):
        colour = tuple(float(c) for c in rng.uniform(0.05, 0.95, 3) * rng.uniform(0.4, 1.0))
        x, y = (int(c) for c in rng.integers(0, side, 2))
        w, h = (int(c) for c in rng.integers(4, largest, 2))
        shape = rng.random()
        if shape < 0.35:
            cv2.rectangle(canvas, (x, y), (x + w, y + h), colour, -1)
        elif shape < 0.55:
            cv2.ellipse(canvas, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        elif shape < 0.75:
            cv2.line(canvas, (x, y), (x + w, y + int(rng.integers(-h, h))), colour, int(rng.integers(1, 5)))
        else:
            word = "".join(chr(int(c)) for c in rng.integers(65, 91, int(rng.integers(2, 7))))
            cv2.putText(canvas, word, (x, y), int(rng.integers(0, 5)), float(rng.uniform(0.4, 2.0)), colour, 2)
    return canvas


def _plaster(rng: np.random.Generator, side: int) -> Picture:
    wall = _between([0.45, 0.42, 0.38], [0.85, 0.82, 0.75], _fractal(rng, side, 4, 0.75))
    return _marks(rng, wall, 60, side // 9)


def _wood(rng: np.random.Generator, side: int) -> Picture:
    boards = (np.arange(side) * 8 // side)[:, None] * np.ones(side, np.int64)
    grain = _fractal(rng, side, 32, 0.8, 8).T
    shade = rng.random((8, 1))[boards[:, 0]] * 0.5
    picture = _between([0.25, 0.14, 0.07], [0.75, 0.52, 0.32], np.asarray(0.5 * grain + shade, np.float32))
    picture[np.arange(side) % (side // 8) < side // 250] *= 0.4
    return _marks(rng, picture, 40, side // 16)


def _brick(rng: np.random.Generator, side: int) -> Picture:
    v, u = np.mgrid[0:side, 0:side]
    rows = v * 24 // side
    along = u * 12 / side + 0.5 * (rows % 2)
    each = rng.random((24, 13))[rows, np.floor(along).astype(int)]
    picture = _between([0.3, 0.1, 0.07], [0.75, 0.42, 0.3], np.asarray(0.6 * each + 0.4 * _fractal(rng, side, 64)))
    picture[(along % 1 < 0.05) | (v * 24 / side % 1 < 0.1)] = (0.62, 0.6, 0.56)
    return _marks(rng, picture, 14, side // 8)


def _asphalt(rng: np.random.Generator, side: int) -> Picture:
    ground = _between([0.12, 0.12, 0.13], [0.55, 0.54, 0.52], 0.6 * _fractal(rng, side, 8) + 0.4 * _speckle(rng, side))
    return _marks(rng, ground, 90, side // 14)


def _speckle(rng: np.random.Generator, side: int) -> Picture:
    return np.asarray(_fractal(rng, side, side // 8, 1.0) > 0.55, np.float32)


def _print(rng: np.random.Generator, side: int) -> Picture:
    return _marks(rng, _between([0.3, 0.3, 0.35], [0.9, 0.88, 0.8], _fractal(rng, side, 4)), 400, side // 8)


def _fabric(rng: np.random.Generator, side: int) -> Picture:
    blobs = np.round(4 * _fractal(rng, side, 16, 0.5)) / 4
    return _between([0.1, 0.15, 0.35], [0.9, 0.75, 0.5], np.asarray(0.8 * blobs + 0.2 * _fractal(rng, side, 128)))


def _leaves(rng: np.random.Generator, side: int) -> Picture:
    return _between([0.03, 0.09, 0.02], [0.45, 0.62, 0.2], _fractal(rng, side, 32, 0.9) ** 1.5)


def _facade(rng: np.random.Generator, side: int, alike: bool = False) -> Picture:
    """A front with windows; `alike`: every window is the same to the last pixel."""
    count = 8
    cell = side // count
    if alike:
        picture = np.tile(_between([0.55, 0.5, 0.42], [0.75, 0.7, 0.6], _fractal(rng, cell, 4)), (count, count, 1))
    else:
        picture = _between([0.4, 0.36, 0.3], [0.8, 0.74, 0.65], _fractal(rng, side, 8, 0.8))
    picture = np.ascontiguousarray(picture)
    for row in range(count):
        for column in range(count):
            x, y = column * cell + cell // 4, row * cell + cell // 5
            glass = (0.16, 0.2, 0.26) if alike else tuple(float(c) for c in rng.uniform(0.05, 0.55, 3))
            cv2.rectangle(picture, (x - 4, y - 4), (x + cell // 2 + 4, y + 3 * cell // 5 + 4), (0.9, 0.88, 0.82), -1)
            cv2.rectangle(picture, (x, y), (x + cell // 2, y + 3 * cell // 5), glass, -1)
            cv2.line(picture, (x + cell // 4, y), (x + cell // 4, y + 3 * cell // 5), (0.9, 0.88, 0.82), 3)
            if not alike and rng.random() < 0.6:  # curtains, plants, people
                a, b = (int(c) for c in rng.integers(4, cell // 4, 2))
                colour = tuple(float(c) for c in rng.uniform(0.2, 0.9, 3))
                cv2.rectangle(picture, (x + a, y + b), (x + a + b, y + 3 * cell // 5), colour, -1)
    return picture if alike else _marks(rng, picture, 30, side // 12)


def _same_facade(rng: np.random.Generator, side: int) -> Picture:
    return _facade(rng, side, alike=True)


def _same_tiles(rng: np.random.Generator, side: int) -> Picture:
    cell = side // 16
    tile = _marks(rng, _between([0.55, 0.58, 0.6], [0.75, 0.77, 0.8], _fractal(rng, cell, 4)), 5, cell // 2)
    tile[: cell // 16] = tile[:, : cell // 16] = 0.3
    return np.tile(tile, (16, 16, 1))


def _plain(rng: np.random.Generator, side: int) -> Picture:
    return _between([0.68, 0.67, 0.64], [0.72, 0.71, 0.68], _fractal(rng, side, 2, 0.3))


_MAKERS: dict[str, Callable[[np.random.Generator, int], Picture]] = {
    "plaster": _plaster,
    "wood": _wood,
    "brick": _brick,
    "asphalt": _asphalt,
    "print": _print,
    "fabric": _fabric,
    "leaves": _leaves,
    "facade": _facade,
    "same_facade": _same_facade,
    "same_tiles": _same_tiles,
    "plain": _plain,
}
NAMES = tuple(_MAKERS)


def bank(seed: int, side: int = 1024) -> Bank:
    """All textures in the order of `NAMES`, as `Scene.bank` wants them; `side` is a power of two from 256."""
    pictures = [np.clip(make(np.random.default_rng([seed, k]), side), 0, 1) for k, make in enumerate(_MAKERS.values())]
    levels = [torch.from_numpy(np.stack(pictures).astype(np.float32)).permute(0, 3, 1, 2)]
    while levels[-1].shape[-1] > side // 128:
        levels.append(torch.nn.functional.avg_pool2d(levels[-1], 2))
    return tuple(level.permute(0, 2, 3, 1).contiguous() for level in levels)
