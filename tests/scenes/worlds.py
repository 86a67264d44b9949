"""The places where the test shots are taken: rooms, a street, a yard. Lengths in metres, z up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from tests.scenes.surfaces import NAMES, Bank
from training.raycast import BOX, CYLINDER, ELLIPSOID, Scene

Array = NDArray[np.float64]
Mover = tuple[list[int], Callable[[float], Array]]


@dataclass(frozen=True)
class World:
    """A scene, part of which may move by itself.

    Attributes:
        scene: what is there at frame 0.
        movers: solids (rows of the scene) and how far (3,) they have gone at a frame, which may lie between two.
    """

    scene: Scene
    movers: tuple[Mover, ...] = ()

    def at(self, time: float) -> Scene:
        """The scene at a time, in frames."""
        if not self.movers:
            return self.scene
        centre = self.scene.centre.clone()
        for rows, path in self.movers:
            centre[rows] += torch.tensor(path(time), dtype=torch.float32)
        return replace(self.scene, centre=centre)

    def moving(self) -> list[int]:
        """The solids that move by themselves."""
        return [row for rows, _ in self.movers for row in rows]


class Builder:
    """Collects solids; what is not told is random."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.solids: list[tuple[int, Array, Array, Array, int, float, Array]] = []

    def solid(
        self,
        kind: int,
        centre: list[float],
        half: list[float],
        texture: str,
        scale: float,
        turn: float = 0.0,
        axes: Array | None = None,
    ) -> int:
        """A solid of a texture with `scale` texture pixels a metre; returns its row.

        It is turned about the vertical by `turn`, or has its own `axes`: (3, 3), rows in the world, orthonormal.
        """
        tint = self.rng.uniform(0.7, 1.1) * self.rng.uniform(0.8, 1.0, 3)
        which = NAMES.index(texture)
        if axes is None:
            cos, sin = np.cos(turn), np.sin(turn)
            axes = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        self.solids.append((kind, np.array(centre, float), np.array(half, float), axes, which, scale, tint))
        return len(self.solids) - 1

    def box(
        self, x: float, y: float, z: float, size: list[float], texture: str, scale: float, turn: float = 0.0
    ) -> int:
        """A box of full `size` whose base's centre is at (x, y, z)."""
        half = [s / 2 for s in size]
        return self.solid(BOX, [x, y, z + half[2]], half, texture, scale, turn)

    def thing(self, x: float, y: float, z: float, size: float, textures: tuple[str, ...], scale: float) -> int:
        """Some object of about `size` that stands at (x, y, z)."""
        kind = int(self.rng.choice([BOX, BOX, ELLIPSOID, CYLINDER]))
        half = size * self.rng.uniform(0.25, 0.6, 3)
        if kind == CYLINDER:
            half[1] = half[0]
        texture = str(self.rng.choice(textures))
        return self.solid(kind, [x, y, z + half[2]], half.tolist(), texture, scale, float(self.rng.uniform(0, np.pi)))

    def table(self, x: float, y: float, size: list[float], things: int, textures: tuple[str, ...]) -> None:
        """A table with things on it."""
        self.box(x, y, size[2] - 0.05, [size[0], size[1], 0.05], textures[0], 300)
        for a in (-0.45, 0.45):
            for b in (-0.42, 0.42):
                self.box(x + a * size[0], y + b * size[1], 0, [0.06, 0.06, size[2] - 0.05], textures[0], 300)
        for _ in range(things):
            dx, dy = self.rng.uniform(-0.42, 0.42, 2)
            self.thing(x + dx * size[0], y + dy * size[1], size[2], self.rng.uniform(0.12, 0.4), textures, 600)

    def scene(self, bank: Bank, light: list[float], outdoors: bool) -> Scene:
        """What was collected, lit by a lamp or the sun at `light`."""
        kind, centre, half, axes, texture, scale, tint = zip(*self.solids, strict=True)

        def tensor(values: object) -> torch.Tensor:
            return torch.tensor(np.asarray(values), dtype=torch.float32)

        return Scene(
            kind=torch.tensor(kind),
            centre=tensor(centre),
            axes=tensor(axes),
            half=tensor(half),
            hollow=torch.zeros(len(kind), dtype=torch.bool),
            texture=torch.tensor(texture),
            texture_scale=tensor(scale),
            texture_shift=tensor(self.rng.uniform(0, 4096, (len(kind), 2))),
            tint=tensor(tint),
            gloss=torch.zeros(len(kind)),
            light=tensor(light),
            light_colour=tensor([0.8, 0.75, 0.65] if outdoors else [0.5, 0.47, 0.42]),
            ambient=tensor([0.42, 0.45, 0.52] if outdoors else [0.5, 0.5, 0.5]),
            sky=tensor([[0.85, 0.9, 0.95], [0.35, 0.55, 0.9]]),
            bank=bank,
        )


RICH = ("wood", "print", "fabric", "brick", "plaster")
POOR = ("plain",)


def room(bank: Bank, seed: int, style: str = "rich") -> World:
    """A furnished room of 7 x 8 m around (0, 0), 2.8 m high, a laid table in the middle.

    Args:
        bank: textures.
        seed: of all that is not told here.
        style: "rich"; "poor": plain walls, few plain things; "repetitive": the same small tiles everywhere.
    """
    b = Builder(seed)
    floor, walls, things = {
        "rich": ("wood", ("plaster", "brick", "print", "plaster"), RICH),
        "poor": ("plain", ("plain",) * 4, POOR),
        "repetitive": ("same_tiles", ("same_tiles",) * 4, ("same_tiles",)),
    }[style]
    # Tiles of one size everywhere; otherwise a wall shows its texture about once.
    scale = 230.0 if style == "repetitive" else 150.0
    b.box(0, 0, -0.2, [7.4, 8.4, 0.2], floor, scale)
    b.box(0, 0, 2.8, [7.4, 8.4, 0.2], "plain", 60)
    for k, (x, y, size) in enumerate(
        [(0, 4.1, [7.4, 0.2, 2.8]), (0, -4.1, [7.4, 0.2, 2.8]), (-3.6, 0, [0.2, 8, 2.8]), (3.6, 0, [0.2, 8, 2.8])]
    ):
        b.box(x, y, 0, size, walls[k], scale)
    if style == "poor":
        b.table(0, 0, [1.4, 0.9, 0.75], 4, POOR)
        b.box(-2, 3.7, 0, [1.2, 0.5, 1.9], "plain", 100)
        b.box(2.2, 3.2, 0, [0.8, 0.8, 0.9], "wood", 150)  # the one thing with a grain
        for x in (-0.8, 0.9):
            b.box(x, 3.98, 1.2, [0.5, 0.03, 0.4], "print", 220)
        return World(b.scene(bank, [0.8, -1.0, 2.6], outdoors=False))
    b.table(0, 0, [1.6, 1.0, 0.75], 12, things)
    b.table(2.4, 2.6, [1.5, 0.8, 0.75], 7, things)
    for x, y, turn in ((-0.9, -1.1, 0.3), (1.0, 1.1, 2.8), (-1.5, 0.6, 1.8)):  # chairs
        b.box(x, y, 0, [0.45, 0.45, 0.46], things[1 % len(things)], 400, turn)
        b.box(x - 0.2 * np.sin(turn), y + 0.2 * np.cos(turn), 0.46, [0.45, 0.05, 0.5], things[0], 400, turn)
    for side in (-1, 1):  # cupboards and pictures along the walls
        for y in (-2.6, -0.6, 1.7):
            size = [float(b.rng.uniform(0.3, 0.6)), float(b.rng.uniform(0.7, 1.5)), float(b.rng.uniform(0.6, 2.1))]
            b.box(side * (3.5 - size[0] / 2), y, 0, size, str(b.rng.choice(things)), 250)
        for x in (-2.6, -1.0, 0.8):
            size = [float(b.rng.uniform(0.5, 1.2)), 0.06, float(b.rng.uniform(0.4, 1.0))]
            b.box(x, side * 3.97, float(b.rng.uniform(1.0, 1.5)), size, things[1 % len(things)], 300)
        b.box(side * 1.9, 3.6, 0, [0.9, 0.6, float(b.rng.uniform(0.8, 1.8))], things[-1], 250)
    for _ in range(7):
        x, y = b.rng.uniform(-3, 3), b.rng.uniform(1.4, 3.4)
        b.thing(x, y, 0, float(b.rng.uniform(0.3, 0.8)), things, 350)
    return World(b.scene(bank, [0.8, -1.0, 2.6], outdoors=False))


def street(bank: Bank, seed: int, fronts: str = "facade", movers: tuple[str, ...] = ()) -> World:
    """A street along y, 12 m wide, houses on both sides and at its end, parked cars, trees and lamp posts.

    Args:
        bank: textures.
        seed: of all that is not told here.
        fronts: texture of the houses.
        movers: "car": one drives from left to right across y = 6; "crowd": people cross before it both ways.
    """
    b = Builder(seed)
    alike = fronts == "same_facade"
    b.box(0, 0, -1, [400, 400, 1], "asphalt", 60)
    for side in (-1, 1):
        b.box(side * 5.2, 0, 0, [1.6, 160, 0.15], "brick" if not alike else "same_tiles", 120)
        at = -30.0
        while at < 70:
            wide = 12.0 if alike else float(b.rng.uniform(7, 14))
            tall = 15.0 if alike else float(b.rng.uniform(7, 16))
            deep = 0.0 if alike else float(b.rng.uniform(0, 1.2))
            x = side * (6.2 + 4 + deep)
            b.box(x, at + wide / 2, 0, [8, wide - 0.3, tall], fronts, 55 if alike else float(b.rng.uniform(45, 80)))
            front = side * (6.2 + deep)
            if not alike:
                for _ in range(3):  # doors, balconies, signs
                    y, z = at + b.rng.uniform(1, wide - 1), float(b.rng.choice([0.0, 0.0, 3.0, 3.4]))
                    size = [
                        float(b.rng.uniform(0.2, 1.0)),
                        float(b.rng.uniform(0.8, 2.0)),
                        float(b.rng.uniform(0.6, 2.2)),
                    ]
                    b.box(front, y, z, size, str(b.rng.choice(RICH)), 150)
            at += wide
        for y in range(-20, 60, 9):
            b.solid(CYLINDER, [side * 4.7, y + 1.5, 2.6], [0.08, 0.08, 2.6], "plaster", 200)
            if not alike and b.rng.random() < 0.8:
                b.solid(CYLINDER, [side * 4.9, y + 5, 1.2], [0.16, 0.16, 1.2], "wood", 200)
                crown = b.rng.uniform(0.9, 1.5, 3)
                b.solid(ELLIPSOID, [side * 4.9, y + 5, 2.4 + 0.8 * crown[2]], crown.tolist(), "leaves", 120)
            if not alike or b.rng.random() < 0.4:
                _car(b, side * 3.3, y + float(b.rng.uniform(-1.5, 1.5)), along=True)
    b.box(0, 75, 0, [40, 6, 18], fronts, 50)
    moving: list[Mover] = []
    if "car" in movers:
        rows = [*_car(b, -4.0, 5.8, along=False, size=1.25), b.box(-4.2, 5.8, 0.5, [3.6, 1.75, 2.0], "print", 110)]
        moving.append((rows, lambda time: np.array([0.28 * time, 0.0, 0.0])))
    if "crowd" in movers:
        for k in range(13):
            way = 1 if k % 2 else -1
            x, y = -way * float(b.rng.uniform(-0.6, 2.6)), float(b.rng.uniform(2.6, 4.6))
            moving.append(
                (_person(b, x, y), _walk(way * float(b.rng.uniform(0.03, 0.055)), float(b.rng.uniform(0, 6))))
            )
    return World(b.scene(bank, [-160.0, -120.0, 260.0], outdoors=True), tuple(moving))


def _walk(speed: float, phase: float) -> Callable[[float], Array]:
    """Along x, bobbing."""
    return lambda time: np.array([speed * time, 0.0, 0.03 * np.sin(0.5 * time + phase)])


def _car(b: Builder, x: float, y: float, along: bool, size: float = 1.0) -> list[int]:
    turn = np.pi / 2 if along else 0.0
    rows = [
        b.box(x, y, 0.25, [4.2 * size, 1.75, 0.65 * size], "print", 130, turn),
        b.box(x, y, 0.25 + 0.65 * size, [2.3 * size, 1.6, 0.55 * size], "fabric", 160, turn),
    ]
    for wheel in (-1.3, 1.3):
        dx, dy = (0.0, wheel * size) if along else (wheel * size, 0.0)
        rows.append(b.box(x + dx, y + dy, 0.0, [0.6 * size, 1.8, 0.5], "asphalt", 300, turn))
    return rows


def _person(b: Builder, x: float, y: float) -> list[int]:
    tall = float(b.rng.uniform(1.55, 1.9))
    coat = str(b.rng.choice(["print", "fabric", "plaster"]))
    return [
        b.solid(CYLINDER, [x, y, 0.25 * tall], [0.16, 0.16, 0.25 * tall], "fabric", 300),
        b.solid(ELLIPSOID, [x, y, 0.66 * tall], [0.27, 0.2, 0.22 * tall], coat, 400),
        b.solid(ELLIPSOID, [x, y, 0.93 * tall], [0.1, 0.12, 0.13], "wood", 400),
    ]


def yard(bank: Bank, seed: int) -> World:
    """Open ground with a house, walls, trees and things around (0, 10)."""
    b = Builder(seed)
    b.box(0, 0, -1, [500, 500, 1], "leaves", 25)
    b.box(0, 10, 0, [30, 22, 0.05], "asphalt", 45)
    b.box(-4, 17, 0, [8, 6, 5.5], "brick", 110)
    b.box(-4, 17, 5.5, [9, 7, 0.6], "wood", 90)
    b.box(7, 19, 0, [6, 5, 3.5], "facade", 120)
    b.box(0, 30, 0, [60, 4, 9], "facade", 60)
    b.box(10, 10, 0, [0.3, 12, 1.8], "plaster", 120)
    for _ in range(26):
        x, y = b.rng.uniform(-11, 9), b.rng.uniform(2, 14)
        b.thing(x, y, 0.05, float(b.rng.uniform(0.5, 2.2)), RICH, 220)
    for _ in range(10):
        x, y, tall = b.rng.uniform(-14, 14), b.rng.uniform(5, 27), b.rng.uniform(2, 5)
        b.solid(CYLINDER, [x, y, tall / 2], [0.15, 0.15, tall / 2], "wood", 200)
        crown = b.rng.uniform(0.8, 1.8, 3)
        b.solid(ELLIPSOID, [x, y, tall + 0.7 * crown[2]], crown.tolist(), "leaves", 110)
    return World(b.scene(bank, [-150.0, -200.0, 240.0], outdoors=True))
