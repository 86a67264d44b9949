"""Random scenes: rooms, corridors, streets, table-tops and open ground, with cameras held by hand in them."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from training.raycast import BOX, CYLINDER, ELLIPSOID, Scene

TEXTURE_SIDE = 256
KINDS = ("room", "room", "room", "table_top", "table_top", "corridor", "street", "open_ground")
Array = NDArray[np.float64]
Bank = tuple[torch.Tensor, ...]


# --- textures -----------------------------------------------------------------------------------------------------


def _noise(rng: np.random.Generator, coarsest: int, stretch: int = 1) -> Array:
    """Tiling noise of several octaves, (S, S) in [0, 1]."""
    total = np.zeros((TEXTURE_SIDE, TEXTURE_SIDE))
    cells, weight = coarsest, 1.0
    falloff = rng.uniform(0.4, 0.8)
    while cells <= TEXTURE_SIDE:
        grid = rng.random((cells, max(1, cells // stretch)))
        tiled = np.tile(grid, (3, 3)).astype(np.float32)
        wide = cv2.resize(tiled, (3 * TEXTURE_SIDE, 3 * TEXTURE_SIDE), interpolation=cv2.INTER_CUBIC)
        total += weight * wide[TEXTURE_SIDE : 2 * TEXTURE_SIDE, TEXTURE_SIDE : 2 * TEXTURE_SIDE]
        cells, weight = cells * 2, weight * falloff
    low, high = total.min(), total.max()
    return np.asarray((total - low) / max(high - low, 1e-9))


def _colour(rng: np.random.Generator) -> Array:
    """A colour as things have: mostly dull, sometimes strong."""
    grey = rng.uniform(0.05, 0.95)
    return np.asarray(np.clip(grey + rng.normal(0, 0.25 if rng.random() < 0.3 else 0.06, 3), 0.02, 0.98))


def _mix(rng: np.random.Generator, pattern: NDArray[np.floating]) -> Array:
    a, b = _colour(rng), _colour(rng)
    return np.asarray(a * (1 - pattern[..., None]) + b * pattern[..., None])


def texture(rng: np.random.Generator) -> NDArray[np.float32]:
    """One tiling texture (3, S, S) in [0, 1]."""
    kind = rng.choice(["plain", "noise", "wood", "tiles", "stripes", "speckle", "print", "print"])
    side = TEXTURE_SIDE
    v, u = np.mgrid[0:side, 0:side]
    if kind == "plain":
        picture = np.ones((side, side, 1)) * _colour(rng) + 0.02 * _noise(rng, 4)[..., None]
    elif kind == "noise":
        picture = _mix(rng, _noise(rng, int(rng.choice([2, 4, 8, 16]))))
    elif kind == "wood":
        rings = np.sin(2 * np.pi * (rng.integers(2, 9) * u / side + rng.uniform(0.3, 2) * _noise(rng, 4, 4)))
        picture = _mix(rng, 0.5 + 0.35 * rings) * (0.8 + 0.2 * _noise(rng, 64, 8)[..., None])
    elif kind == "tiles":
        count = int(rng.choice([2, 4, 8, 16]))
        rows = v * count // side
        shifted = u * count / side + (0.5 * (rows % 2) if rng.random() < 0.5 else 0)
        gap = 0.03 + 0.08 * rng.random()
        joint = ((shifted % 1) < gap) | ((v * count / side % 1) < gap)
        each = rng.random((count, count + 1))[rows, np.floor(shifted).astype(int) % count]
        if rng.random() < 0.4:
            each = (rows + np.floor(shifted)) % 2
        picture = _mix(rng, each) * (0.85 + 0.15 * _noise(rng, 32)[..., None])
        picture[joint] = _colour(rng)
    elif kind == "stripes":
        count = int(rng.choice([2, 4, 8, 16, 32]))
        picture = _mix(rng, ((u if rng.random() < 0.5 else v) * count // side) % 2 * 1.0)
    elif kind == "speckle":
        spots = _noise(rng, 64) > rng.uniform(0.5, 0.8)
        picture = _mix(rng, spots * 1.0)
    else:
        canvas = np.ones((side, side, 3)) * _colour(rng)
        for _ in range(int(rng.integers(4, 40))):
            colour = tuple(float(c) for c in _colour(rng))
            x, y = (int(c) for c in rng.integers(0, side, 2))
            w, h = (int(c) for c in rng.integers(4, 90, 2))
            shape = rng.random()
            if shape < 0.5:
                cv2.rectangle(canvas, (x, y), (x + w, y + h // 2), colour, -1)
            elif shape < 0.7:
                cv2.ellipse(canvas, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1)
            else:
                for line in range(int(rng.integers(2, 9))):  # as printed words are
                    cv2.line(canvas, (x, y + 7 * line), (x + int(rng.integers(10, 90)), y + 7 * line), colour, 2)
        picture = canvas * (0.9 + 0.1 * _noise(rng, 8)[..., None])
    return np.ascontiguousarray(np.clip(picture, 0, 1).transpose(2, 0, 1), np.float32)


def texture_bank(rng: np.random.Generator, count: int) -> Bank:
    """`count` random textures as `Scene.bank` wants them."""
    levels = [torch.from_numpy(np.stack([texture(rng) for _ in range(count)]))]
    for _ in range(6):
        levels.append(torch.nn.functional.avg_pool2d(levels[-1], 2))
    return tuple(level.permute(0, 2, 3, 1).contiguous() for level in levels)


# --- solids -------------------------------------------------------------------------------------------------------


@dataclass
class _Builder:
    """Collects solids. Lengths in metres, z up."""

    rng: np.random.Generator
    textures: int
    rows: list[tuple[int, Array, Array, Array, bool, float]] = field(default_factory=list)

    def add(
        self, kind: int, centre: Array, half: Array, turn: float = 0.0, hollow: bool = False, scale: float = 0.0
    ) -> None:
        """A solid, turned about the vertical by `turn`; `scale` in texture pixels per metre (0 = random)."""
        cos, sin = np.cos(turn), np.sin(turn)
        axes = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        if not scale:
            scale = float(np.exp(self.rng.uniform(np.log(40), np.log(600))))
        self.rows.append((kind, np.asarray(centre), np.maximum(half, 0.004), axes, hollow, scale))

    def box(self, x: float, y: float, z: float, size: Array, turn: float = 0.0) -> None:
        """A box whose base's centre is at (x, y, z); `size` is full."""
        half = np.asarray(size) / 2
        self.add(BOX, np.array([x, y, z + half[2]]), half, turn)

    def thing(self, x: float, y: float, z: float, size: float) -> None:
        """Some small object of about `size`, standing at (x, y, z)."""
        rng = self.rng
        half = size * rng.uniform(0.25, 0.6, 3)
        kind = int(rng.choice([BOX, ELLIPSOID, CYLINDER]))
        if kind == CYLINDER:
            half[1] = half[0]
        if kind == BOX and rng.random() < 0.3:
            half[int(rng.integers(0, 3))] *= 0.15  # sheets, boards, books
        self.add(kind, np.array([x, y, z + half[2]]), half, rng.uniform(0, np.pi))

    def table(self, x: float, y: float, width: float, depth: float, height: float, turn: float, clutter: int) -> None:
        """A table with things on it."""
        rng = self.rng
        cos, sin = np.cos(turn), np.sin(turn)
        self.box(x, y, height - 0.04, np.array([width, depth, 0.04]), turn)
        for a in (-1, 1):
            for b in (-1, 1):
                dx, dy = a * (width / 2 - 0.06), b * (depth / 2 - 0.06)
                self.box(
                    x + cos * dx - sin * dy, y + sin * dx + cos * dy, 0, np.array([0.05, 0.05, height - 0.04]), turn
                )
        for _ in range(clutter):
            dx, dy = rng.uniform(-0.45, 0.45) * width, rng.uniform(-0.45, 0.45) * depth
            self.thing(x + cos * dx - sin * dy, y + sin * dx + cos * dy, height, rng.uniform(0.06, 0.4))

    def chair(self, x: float, y: float, turn: float) -> None:
        """A chair."""
        rng = self.rng
        cos, sin = np.cos(turn), np.sin(turn)
        seat = rng.uniform(0.4, 0.5)
        self.box(x, y, seat - 0.05, np.array([0.45, 0.45, 0.05]), turn)
        self.box(x - sin * 0.2, y + cos * 0.2, seat, np.array([0.45, 0.04, rng.uniform(0.3, 0.6)]), turn)
        for a in (-0.19, 0.19):
            for b in (-0.19, 0.19):
                self.box(x + cos * a - sin * b, y + sin * a + cos * b, 0, np.array([0.04, 0.04, seat]), turn)

    def scene(self, outdoor: bool, light: Array, bank: Bank) -> Scene:
        """The scene, lit."""
        rng = self.rng
        count = len(self.rows)
        warm = np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.6, 1.1)])
        sun, fill = (
            (rng.uniform(0.6, 1.4), rng.uniform(0.25, 0.6))
            if outdoor
            else (rng.uniform(0.2, 1.0), rng.uniform(0.3, 0.8))
        )
        blue = np.array([rng.uniform(0.5, 1.0), rng.uniform(0.7, 1.0), 1.0])
        sky = np.stack([np.full(3, rng.uniform(0.7, 1.2)), rng.uniform(0.5, 1.1) * blue])

        def tensor(values: object) -> torch.Tensor:
            return torch.tensor(np.asarray(values), dtype=torch.float32)

        return Scene(
            kind=torch.tensor([row[0] for row in self.rows]),
            centre=tensor([row[1] for row in self.rows]),
            half=tensor([row[2] for row in self.rows]),
            axes=tensor([row[3] for row in self.rows]),
            hollow=torch.tensor([row[4] for row in self.rows]),
            texture=torch.from_numpy(rng.integers(0, self.textures, count)),
            texture_scale=tensor([row[5] for row in self.rows]),
            texture_shift=tensor([row[1][:2] for row in self.rows]) * 37.0,
            tint=tensor(np.clip(rng.normal(0.8, 0.2, (count, 1)) + rng.normal(0, 0.08, (count, 3)), 0.1, 1.2)),
            gloss=tensor(np.where(rng.random(count) < 0.3, rng.uniform(0, 0.8, count), 0.0)),
            light=tensor(light),
            light_colour=tensor(sun * warm),
            ambient=tensor(fill * (1.0 + 0.1 * rng.normal(size=3))),
            sky=tensor(sky),
            bank=bank,
        )


def _walls(b: _Builder, width: float, length: float, height: float) -> None:
    """A closed room around (0, 0), floor at 0: inner faces, each with a texture of its own, and things on the walls."""
    rng, t = b.rng, 0.2
    scale = float(np.exp(rng.uniform(np.log(20), np.log(200))))
    b.add(BOX, np.array([0, 0, -t]), np.array([width, length, t]), scale=scale)
    b.add(BOX, np.array([0, 0, height + t]), np.array([width, length, t]), scale=20.0)
    same = b.rng.random() < 0.6
    for side in (-1, 1):
        for along_x in (True, False):
            w = float(np.exp(rng.uniform(np.log(10), np.log(150)))) if not same else scale
            centre = [0, side * (length / 2 + t), height / 2] if along_x else [side * (width / 2 + t), 0, height / 2]
            half = [width, t, height] if along_x else [t, length, height]
            b.add(BOX, np.array(centre), np.array(half), scale=w)
            for _ in range(int(rng.integers(0, 4))):  # doors, windows, pictures, boards, cupboards on the wall
                span = width if along_x else length
                size = np.array([rng.uniform(0.2, 1.6), rng.uniform(0.02, 0.4), rng.uniform(0.2, 1.8)])
                at = rng.uniform(-0.45, 0.45) * span
                base = rng.choice([0.0, rng.uniform(0.5, 1.7)])
                depth = (length if along_x else width) / 2 * side
                x, y = (at, depth) if along_x else (depth, at)
                b.box(x, y, base, size, 0.0 if along_x else np.pi / 2)


def _room(b: _Builder) -> tuple[Array, Array]:
    """Returns where cameras may be (low and high corner)."""
    rng = b.rng
    width, length, height = rng.uniform(2.5, 8), rng.uniform(2.5, 9), rng.uniform(2.2, 3.4)
    _walls(b, width, length, height)
    for _ in range(int(rng.integers(1, 4))):
        b.table(
            rng.uniform(-0.4, 0.4) * width, rng.uniform(-0.4, 0.4) * length, rng.uniform(0.6, 2.2),
            rng.uniform(0.5, 1.1), rng.uniform(0.4, 1.0), rng.uniform(0, np.pi), int(rng.integers(0, 7)),
        )  # fmt: skip
    for _ in range(int(rng.integers(0, 3))):
        b.chair(rng.uniform(-0.4, 0.4) * width, rng.uniform(-0.4, 0.4) * length, rng.uniform(0, 2 * np.pi))
    for _ in range(int(rng.integers(1, 6))):  # cupboards, sofas, shelves along the walls
        size = np.array([rng.uniform(0.4, 2.2), rng.uniform(0.3, 0.8), rng.uniform(0.3, 2.1)])
        if rng.random() < 0.5:
            b.box(rng.uniform(-0.4, 0.4) * width, rng.choice([-1, 1]) * (length / 2 - size[1] / 2), 0, size)
        else:
            b.box(rng.choice([-1, 1]) * (width / 2 - size[1] / 2), rng.uniform(-0.4, 0.4) * length, 0, size, np.pi / 2)
    for _ in range(int(rng.integers(0, 8))):
        b.thing(rng.uniform(-0.45, 0.45) * width, rng.uniform(-0.45, 0.45) * length, 0, rng.uniform(0.1, 0.8))
    return np.array([-0.45 * width, -0.45 * length, 0.7]), np.array([0.45 * width, 0.45 * length, 1.9])


def _corridor(b: _Builder) -> tuple[Array, Array]:
    rng = b.rng
    width, length, height = rng.uniform(1.2, 3), rng.uniform(8, 30), rng.uniform(2.2, 4)
    _walls(b, width, length, height)
    for _ in range(int(rng.integers(2, 14))):
        b.thing(rng.choice([-0.45, 0.45]) * width, rng.uniform(-0.5, 0.5) * length, 0, rng.uniform(0.2, 1.8))
    return np.array([-0.3 * width, -0.48 * length, 1.0]), np.array([0.3 * width, 0.48 * length, 1.9])


def _table_top(b: _Builder) -> tuple[Array, Array]:
    rng = b.rng
    _walls(b, rng.uniform(3, 7), rng.uniform(3, 7), 2.6)
    width, height = rng.uniform(0.8, 2.5), rng.uniform(0.5, 1.0)
    b.table(0, 0, width, rng.uniform(0.6, 1.4), height, rng.uniform(0, np.pi), int(rng.integers(3, 16)))
    for _ in range(int(rng.integers(0, 4))):
        b.chair(rng.uniform(-1.4, 1.4), rng.choice([-1, 1]) * rng.uniform(0.7, 1.3), rng.uniform(0, 2 * np.pi))
    return np.array([-1.3, -1.3, height + 0.15]), np.array([1.3, 1.3, height + 1.0])


def _street(b: _Builder) -> tuple[Array, Array]:
    rng = b.rng
    width = rng.uniform(4, 18)
    b.add(BOX, np.array([0, 0, -0.5]), np.array([300.0, 300.0, 0.5]), scale=float(rng.uniform(4, 40)))
    for side in (-1, 1):
        at = -40.0
        while at < 60:
            size = np.array([rng.uniform(3, 15), rng.uniform(4, 10), rng.uniform(2.5, 18)])
            if rng.random() < 0.85:
                x = side * (width / 2 + size[1] / 2 + rng.uniform(0, 1.5))
                b.add(
                    BOX,
                    np.array([x, at + size[0] / 2, size[2] / 2]),
                    size[[1, 0, 2]] / 2,
                    scale=float(rng.uniform(8, 60)),
                )
            at += size[0] + (rng.uniform(0, 6) if rng.random() < 0.4 else 0)
    for _ in range(int(rng.integers(0, 6))):  # cars and vans
        x, y, long = rng.choice([-1, 1]) * width * rng.uniform(0.2, 0.45), rng.uniform(-30, 40), rng.uniform(3.2, 5.5)
        b.box(x, y, 0.3, np.array([1.8, long, 0.6]))
        b.box(x, y, 0.9, np.array([1.6, long * rng.uniform(0.4, 0.8), rng.uniform(0.5, 1.2)]))
    _greens(b, width)
    for _ in range(int(rng.integers(0, 6))):
        b.thing(rng.uniform(-0.5, 0.5) * width, rng.uniform(-15, 30), 0, rng.uniform(0.3, 1.8))
    return np.array([-0.4 * width, -25, 1.2]), np.array([0.4 * width, 10, 2.0])


def _greens(b: _Builder, width: float) -> None:
    """Poles, trees and bushes."""
    rng = b.rng
    for _ in range(int(rng.integers(0, 9))):
        x, y, tall = rng.uniform(-0.8, 0.8) * width, rng.uniform(-30, 50), rng.uniform(2, 8)
        thick = rng.uniform(0.04, 0.25)
        b.add(CYLINDER, np.array([x, y, tall / 2]), np.array([thick, thick, tall / 2]))
        for _ in range(int(rng.integers(0, 4))):
            crown = rng.uniform(0.4, 2.0, 3)
            b.add(ELLIPSOID, np.array([x, y, tall]) + rng.normal(0, 0.6, 3), crown)
        if rng.random() < 0.4:
            b.add(ELLIPSOID, np.array([x + rng.normal(), y + rng.normal(), 0.3]), rng.uniform(0.3, 1.2, 3))


def _open_ground(b: _Builder) -> tuple[Array, Array]:
    rng = b.rng
    b.add(BOX, np.array([0, 0, -0.5]), np.array([400.0, 400.0, 0.5]), scale=float(rng.uniform(4, 80)))
    for _ in range(int(rng.integers(6, 24))):
        far = np.exp(rng.uniform(np.log(1.5), np.log(60)))
        angle = rng.uniform(0, 2 * np.pi)
        b.thing(far * np.cos(angle), far * np.sin(angle), 0, rng.uniform(0.3, 4))
    _greens(b, 30)
    return np.array([-4.0, -4.0, 0.6]), np.array([4.0, 4.0, 2.2])


_MAKERS = {
    "room": _room,
    "corridor": _corridor,
    "table_top": _table_top,
    "street": _street,
    "open_ground": _open_ground,
}


@dataclass(frozen=True)
class Shot:
    """A scene and cameras in it.

    Attributes:
        scene: what is there.
        lens_matrix: (3, 3).
        world_from_camera: (V, 4, 4).
    """

    scene: Scene
    lens_matrix: torch.Tensor
    world_from_camera: torch.Tensor


def random_shot(seed: int, bank: Bank, width: int, height: int, views: int) -> Shot:
    """A scene with `views` cameras that stand and look in different ways. The same seed gives the same shot."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(KINDS))
    builder = _Builder(rng, len(bank[0]))
    low, high = _MAKERS[kind](builder)
    outdoor = kind in ("street", "open_ground")
    if outdoor:
        light = np.array([*rng.uniform(-1, 1, 2), rng.uniform(0.3, 1.5)]) * 400
    else:
        light = np.array([*rng.uniform(low[:2], high[:2]), rng.uniform(1.9, 2.15)])
    scene = builder.scene(outdoor, light, bank)
    focal = max(width, height) / 2 / np.tan(np.radians(rng.uniform(32, 80)) / 2)
    lens_matrix = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    poses = []
    for _ in range(views):
        place = rng.uniform(low, high)
        target = rng.uniform(-0.5, 0.5, 2) if kind == "table_top" else rng.uniform(low[:2], high[:2])
        away = target - place[:2]
        yaw = np.arctan2(away[1], away[0]) + rng.normal(0, 0.3)
        down = np.arctan2(place[2] - 0.7, max(float(np.linalg.norm(away)), 0.4)) if kind == "table_top" else 0.0
        pitch = -down + np.radians(rng.normal(-6, 12))
        poses.append(look(place, yaw, pitch, np.radians(rng.normal(0, 4))))
    return Shot(
        scene,
        torch.tensor(lens_matrix, dtype=torch.float32),
        torch.tensor(np.stack(poses), dtype=torch.float32),
    )


def look(place: Array, yaw: float, pitch: float, roll: float) -> Array:
    """`world_from_camera` (4, 4) of a camera at `place`: yaw from +x to +y, pitch up, roll clockwise; radians."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    pose[:3, 1] = -np.sin(roll) * right + np.cos(roll) * down
    pose[:3, 2] = forward
    pose[:3, 3] = place
    return pose
