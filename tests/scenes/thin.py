"""Shots of thin things before a background that is three to seven times as far: what depth is lost on.

Each is taken by hand, sideways and a little forward. At the distance of the thing a pixel is about 1.6 mm.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from tests.scenes.imaging import Camera
from tests.scenes.paths import Path, aimed, handheld
from tests.scenes.shots import Shot, lens, numbered
from tests.scenes.surfaces import Bank
from tests.scenes.worlds import RICH, Array, Builder, World
from training.raycast import BOX, CYLINDER, ELLIPSOID

WIDTH, HEIGHT, FOCAL = 854, 480, 700.0
COUNT = 16
_AT = 1.15
"""Distance of the things from where the camera starts, at (0, 0)."""
_CORNERS = tuple(((x + 0.5) / 4, (y + (x + 0.5) / 4) / 4) for y in range(4) for x in range(4))
"""Sixteen rays in each pixel on an outline: a bar may be two pixels wide."""


def _bar(b: Builder, kind: int, ends: tuple[Array, Array], wide: float, deep: float, texture: str) -> None:
    """A rod, or a board that shows its width to who looks along y, from end to end."""
    start, end = (np.asarray(e, float) for e in ends)
    along = (end - start) / np.linalg.norm(end - start)
    across = np.cross(along, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(along, across), along])
    half = [wide / 2, deep / 2, float(np.linalg.norm(end - start)) / 2]
    b.solid(kind, ((start + end) / 2).tolist(), half, texture, 600, axes=axes)


def _rod(b: Builder, points: list[Array], thick: float, texture: str) -> None:
    """A bent rod; its pieces overlap by a quarter of its thickness, so that no bend is open."""
    for start, end in pairwise(points):
        more = 0.25 * thick * (end - start) / np.linalg.norm(end - start)
        _bar(b, CYLINDER, (start - more, end + more), thick, thick, texture)


def _hall(b: Builder) -> None:
    """Floor, walls and furniture, none of it nearer than 3.4 m to (0, 0, 1.2) where a camera looks along y."""
    b.box(0, 3, -0.2, [12, 12, 0.2], "wood", 150)
    b.box(0, 3, 2.9, [12, 12, 0.2], "plaster", 100)
    b.box(0, 6.3, 0, [12, 0.2, 2.9], "brick", 150)
    for side in (-1, 1):
        b.box(side * 4.6, 3, 0, [0.2, 12, 2.9], "print", 150)
    for k in range(6):
        x = -3.9 + 1.55 * k + float(b.rng.uniform(-0.2, 0.2))
        size = [float(b.rng.uniform(0.6, 1.2)), float(b.rng.uniform(0.4, 0.6)), float(b.rng.uniform(0.7, 2.1))]
        b.box(x, 5.8, 0, size, str(b.rng.choice(RICH)), 220)
        b.box(x + 0.7, 6.17, 1.4, [0.5, 0.06, float(b.rng.uniform(0.4, 0.8))], "print", 260)
    b.table(-1.0, 4.4, [1.6, 0.9, 0.75], 7, RICH)
    b.table(1.6, 4.9, [1.2, 0.8, 0.7], 5, RICH)
    for _ in range(6):
        x, y = float(b.rng.uniform(-3.4, 3.4)), float(b.rng.uniform(3.9, 5.2))
        b.thing(x, y, 0, float(b.rng.uniform(0.3, 0.8)), RICH, 300)


def _chair(b: Builder) -> None:
    """The backs of two chairs: slats of 7 to 15 mm, gaps of 14 to 45 mm; the second chair stands askew behind."""
    for x, y, turn in ((-0.12, _AT, 0.12), (0.5, _AT + 0.45, -0.35)):
        side = np.array([np.cos(turn), np.sin(turn), 0.0])
        foot = np.array([x, y, 0.0])

        def at(u: float, z: float, side: Array = side, foot: Array = foot) -> Array:
            return np.asarray(foot + u * side + [0.0, 0.0, z])

        for u in (-0.24, 0.24):
            _bar(b, BOX, (at(u, 0.0), at(u, 1.5)), 0.03, 0.03, "wood")
        for z, tall in ((1.47, 0.06), (0.92, 0.04)):
            b.solid(BOX, at(0, z).tolist(), [0.24, 0.012, tall / 2], "wood", 600, turn)
        u = -0.225
        while (u := u + float(b.rng.uniform(0.014, 0.045))) < 0.21:
            wide = float(b.rng.uniform(0.007, 0.015))
            _bar(b, BOX, (at(u + wide / 2, 0.93), at(u + wide / 2, 1.45)), wide, 0.012, str(b.rng.choice(RICH[:3])))
            u += wide
        seat = [x + 0.2 * float(np.sin(turn)), y - 0.2 * float(np.cos(turn)), 0.72]
        b.solid(BOX, seat, [0.25, 0.24, 0.02], "fabric", 500, turn)


def _lattice(b: Builder) -> None:
    """Crossed bars of 5 to 8 mm, 24 and 34 mm apart, in a frame; one in sixteen is broken out."""
    low, high, left, right = 0.85, 1.6, -0.62, 0.6
    for way in (1, -1):
        apart = 0.048 if way > 0 else 0.034
        for k in range(-40, 41):
            u = k * apart
            ends = [np.array([u + way * z, _AT + 0.01 * way, 1.22 + z]) for z in (-0.9, 0.9)]
            clipped = _inside(ends[0], ends[1], (left, low), (right, high))
            if clipped is not None and b.rng.random() < 0.94:
                texture = str(b.rng.choice(("wood", "plaster")))
                _bar(b, BOX, clipped, float(b.rng.uniform(0.005, 0.008)), 0.006, texture)
    for start, end in (((left, low), (left, high)), ((right, low), (right, high)), ((left, high), (right, high))):
        ends = [np.array([x, _AT, z]) for x, z in (start, end)]
        _bar(b, BOX, (ends[0], ends[1]), 0.03, 0.04, "wood")


def _inside(a: Array, c: Array, low: tuple[float, float], high: tuple[float, float]) -> tuple[Array, Array] | None:
    """The part of a line whose x and z lie between `low` and `high`."""
    way, first, last = c - a, 0.0, 1.0
    for axis, lo, hi in ((0, low[0], high[0]), (2, low[1], high[1])):
        t = sorted(((lo - a[axis]) / way[axis], (hi - a[axis]) / way[axis]))
        first, last = max(first, t[0]), min(last, t[1])
    return (a + first * way, a + last * way) if last - first > 0.02 else None


def _wheel(b: Builder) -> None:
    """Two wheels of a bicycle, one behind the other: spokes of 4 to 6 mm, a rim, a tyre."""
    for x, y, turn, radius, spokes in ((-0.2, _AT + 0.05, 0.15, 0.36, 18), (0.62, _AT + 0.35, -0.3, 0.33, 24)):
        side, up, middle = np.array([np.cos(turn), np.sin(turn), 0.0]), np.array([0.0, 0.0, 1.0]), np.array([x, y, 1.2])

        def on(r: float, angle: float, side: Array = side, up: Array = up, middle: Array = middle) -> Array:
            return np.asarray(middle + r * (np.cos(angle) * side + np.sin(angle) * up))

        circle = np.linspace(0, 2 * np.pi, 41)
        _rod(b, [on(radius, a) for a in circle], 0.036, "asphalt")
        _rod(b, [on(radius - 0.024, a) for a in circle], 0.014, "plaster")
        thick = 0.004 if spokes > 20 else 0.006
        for k in range(spokes):
            angle = 2 * np.pi * k / spokes
            lean = 0.35 * (-1) ** k
            _bar(b, CYLINDER, (on(0.03, angle + lean), on(radius - 0.03, angle)), thick, thick, "print")
        axle = np.cross(side, up)
        b.solid(CYLINDER, middle.tolist(), [0.035, 0.035, 0.04], "fabric", 600, axes=np.stack([side, up, axle]))


def _plant(b: Builder) -> None:
    """Two plants: stems, and leaves of 2.5 to 7 cm by 1 to 3 cm that hang every way."""
    for x, y, leaves in ((-0.2, _AT, 200), (0.42, _AT + 0.3, 110)):
        b.solid(CYLINDER, [x, y, 0.72], [0.13, 0.13, 0.11], "brick", 400)
        stems = []
        for _ in range(9):
            lean, heading = b.rng.uniform(0.1, 0.5), b.rng.uniform(0, 2 * np.pi)
            away = np.array([np.cos(heading), 0.6 * np.sin(heading), 0.0])
            tall = b.rng.uniform(0.4, 0.75)
            stems.append([np.array([x, y, 0.8]) + t * tall * np.array([0, 0, 1.0]) + lean * t**2 * 0.7 * away
                          for t in np.linspace(0, 1, 6)])  # fmt: skip
            _rod(b, stems[-1], 0.005, "wood")
        for _ in range(leaves):
            stem = stems[int(b.rng.integers(len(stems)))]
            k, t = int(b.rng.integers(1, 5)), float(b.rng.random())
            foot = stem[k] * (1 - t) + stem[k + 1] * t
            long, normal = b.rng.normal(0, 1, 3), b.rng.normal([0.0, -0.8, 0.8], 1.0)
            long /= np.linalg.norm(long)
            normal -= (normal @ long) * long
            normal /= np.linalg.norm(normal)
            size = float(b.rng.uniform(0.013, 0.035))
            half = [size, size * float(b.rng.uniform(0.3, 0.5)), 0.002]
            axes = np.stack([long, np.cross(normal, long), normal])
            b.solid(ELLIPSOID, (foot + 0.9 * size * long).tolist(), half, "leaves", 900, axes=axes)


def _cables(b: Builder) -> None:
    """Cables of 3 to 6.5 mm that hang between two posts and down from above, some across others."""
    for x in (-0.66, 0.7):
        _bar(b, CYLINDER, (np.array([x, _AT + 0.1, 0.0]), np.array([x, _AT + 0.1, 2.9])), 0.05, 0.05, "wood")
    t = np.linspace(0, 1, 15)
    for _ in range(9):
        a, c = b.rng.uniform(0.95, 1.6, 2)
        sag, ends = b.rng.uniform(0.02, 0.25), _AT + b.rng.uniform(-0.05, 0.25, 2)
        hanging = a + (c - a) * t - 4 * sag * t * (1 - t)
        points = np.stack([-0.66 + 1.36 * t, ends[0] + (ends[1] - ends[0]) * t, hanging], 1)
        _rod(b, list(points), float(b.rng.uniform(0.003, 0.0065)), str(b.rng.choice(("asphalt", "print", "fabric"))))
    for _ in range(5):
        x, y, swing = b.rng.uniform(-0.55, 0.6), _AT + b.rng.uniform(0.0, 0.3), b.rng.uniform(-0.12, 0.12)
        z = np.linspace(2.0, b.rng.uniform(0.8, 1.15), 15)
        points = np.stack([x + swing * np.sin(4 * t), y + 0.05 * np.sin(3 * t), z], 1)
        _rod(b, list(points), float(b.rng.uniform(0.003, 0.006)), str(b.rng.choice(("asphalt", "print", "fabric"))))


def _world(thing: Callable[[Builder], None], seed: int) -> Callable[[Bank], World]:
    def make(bank: Bank) -> World:
        b = Builder(seed)
        _hall(b)
        thing(b)
        return World(b.scene(bank, [0.8, 1.5, 2.7], outdoors=False))

    return make


def _past(seed: int, way: float) -> Path:
    """Past the thing by hand: 34 cm to the right (`way` 1) or to the left (-1), and 8 cm nearer."""

    def place(time: float) -> list[float]:
        s = time / COUNT
        return [way * (0.34 * s - 0.17), 0.08 * s, 1.25 - 0.03 * s]

    return handheld(aimed(place, lambda time: [way * (0.1 * time / COUNT - 0.05), 3.0, 1.1]), seed, 0.008, 0.4)


THIN: dict[str, Shot] = {
    f"thin_{name}": Shot(
        f"thin_{name}", about, _world(thing, seed),
        Camera(lens(FOCAL, WIDTH, HEIGHT), _past(seed, way), corners=_CORNERS),
        numbered(1, COUNT), depth_unit=0.0002, seed=seed,
    )
    for seed, (name, about, thing, way) in enumerate((
        ("chair", "the slatted backs of two chairs", _chair, 1.0),
        ("lattice", "a lattice of crossed bars", _lattice, -1.0),
        ("wheel", "two wheels with spokes", _wheel, 1.0),
        ("plant", "two plants with small leaves", _plant, -1.0),
        ("cables", "hanging cables", _cables, 1.0),
    ), 41)
}  # fmt: skip
"""Shots that can be solved, with exact depth in every frame."""
