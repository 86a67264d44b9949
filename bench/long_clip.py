"""A long clip of any size with exact cameras, quickly made: a walk around a furnished room of flat, painted surfaces.

usage: python -m bench.long_clip --out DIR [--frames 500] [--width 1920] [--height 1080]

For time and memory against length and size, and for drift: the shots of `tests/scenes` are short, small and slow to
render. Writes `frames/` and `truth.json` in the form of the project's other ground truth, with the depth of every
`DEPTH_EVERY`-th frame. The same command makes the same clip; frames that are there are kept.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.files import write_atomically, write_json
from tests.scenes.paths import aimed, handheld

SEED = 7
ROOM = np.array([9.0, 7.0, 3.2])  # metres
TEXELS = 450.0  # of a painted surface, per metre
FIELD = 0.85  # focal length over the long side
AROUND = 600.0  # frames for once around the room, at 30 per second an amble
DEPTH_EVERY = 10
DEPTH_UNIT = 0.0005  # metres
Array = NDArray[np.float64]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Surface:
    """A painted rectangle in the world, metres: a corner, the two edges from there, and its picture (right = u)."""

    corner: Array
    u: Array
    v: Array
    picture: Picture


def room(seed: int = SEED) -> list[Surface]:
    """Four walls, floor, ceiling, and boxes of several sizes that stand on the floor."""
    rng = np.random.default_rng(seed)
    x, y, _ = ROOM
    surfaces = _box(np.zeros(3), ROOM, rng, sides="xXyYzZ")
    for k in range(7):
        angle = 2.0 * np.pi * (k + 0.5 * rng.uniform()) / 7
        size = rng.uniform((0.5, 0.5, 0.4), (1.1, 1.1, 1.6))
        middle = np.array([x / 2 + 0.36 * x * np.cos(angle), y / 2 + 0.36 * y * np.sin(angle), 0.0])
        surfaces += _box(middle - size * (0.5, 0.5, 0.0), size, rng, sides="xXyYZ")
    return surfaces


def _box(low: Array, size: Array, rng: np.random.Generator, sides: str) -> list[Surface]:
    """Faces of a box along the axes; small letters are the lower faces of their axis, capitals the upper ones."""
    made = []
    for side in sides:
        axis = "xyz".index(side.lower())
        first, second = (np.eye(3)[k] * size[k] for k in range(3) if k != axis)
        corner = low + (np.eye(3)[axis] * size[axis] if side.isupper() else 0.0)
        shape = round(TEXELS * float(second.sum())), round(TEXELS * float(first.sum()))
        made.append(Surface(corner, first, second, painted(rng, *shape)))
    return made


def painted(rng: np.random.Generator, height: int, width: int) -> Picture:
    """A picture with detail of every size, as plaster, wood and cloth have it."""
    picture = np.full((height, width, 3), rng.uniform(70, 170, 3), np.float32)
    tint = rng.uniform(0.6, 1.4, 3)
    for octave in range(2, 10):
        grain = 2.0 * 2**octave
        if grain > min(height, width):
            break
        coarse = rng.normal(size=(int(height / grain) + 2, int(width / grain) + 2)).astype(np.float32)
        noise = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        picture += 11.0 * noise[..., None] * (tint if octave % 2 else tint[::-1])
    return picture.clip(0, 255).astype(np.uint8)


def view(
    surfaces: list[Surface], world_from_camera: Array, lens: Array, width: int, height: int
) -> tuple[Picture, NDArray[np.float32]]:
    """What a pinhole camera sees: picture (H, W, 3) and planar depth (H, W) in metres.

    A ray `r` through pixel `p` meets a plane at `z = n (corner - centre) / n r`: where it lies on the rectangle is
    projective in `p`, so that each surface is one warp.
    """
    rays = world_from_camera[:3, :3] @ np.linalg.inv(lens)  # of pixel corners; a pixel's centre is at +0.5
    rays = rays @ np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    centre = world_from_camera[:3, 3]
    column, row = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    picture, nearest = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
    for surface in surfaces:
        normal = np.cross(surface.u, surface.v)
        ahead = float(normal @ (surface.corner - centre))
        texels = surface.picture.shape[1::-1]
        along = [
            count * ((edge @ (centre - surface.corner)) * (normal @ rays) + ahead * (edge @ rays)) / (edge @ edge)
            for edge, count in zip((surface.u, surface.v), texels, strict=True)
        ]
        inverse = (normal @ rays) / ahead  # of depth, affine in the pixel
        texel_from_pixel = np.array([*along, normal @ rays])
        texel_from_pixel[:2] -= 0.5 * texel_from_pixel[2]
        near = inverse[0].astype(np.float32) * column + inverse[1].astype(np.float32) * row + np.float32(inverse[2])
        on = np.full(surface.picture.shape[:2], 255, np.uint8)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        covered = cv2.warpPerspective(
            on, texel_from_pixel, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        )
        seen = (covered > 0) & (near > nearest)
        if seen.any():
            colour = cv2.warpPerspective(
                surface.picture, texel_from_pixel, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
            )
            picture[seen] = colour[seen]
            nearest[seen] = near[seen]
    return picture, (1.0 / np.maximum(nearest, 1e-6)).astype(np.float32)


def make(folder: Path, frames: int, width: int, height: int, around: float = AROUND) -> None:
    """Write the clip into `folder`; once around the room takes `around` frames."""
    surfaces = room()
    lens = np.array([[FIELD * width, 0, width / 2], [0, FIELD * width, height / 2], [0, 0, 1.0]])
    x, y, _ = ROOM

    def place(time: float) -> list[float]:
        angle = 2.0 * np.pi * time / around
        return [x / 2 + 1.3 * np.cos(angle), y / 2 + 1.0 * np.sin(angle), 1.6]

    def target(time: float) -> list[float]:
        angle = 2.0 * np.pi * time / around + 0.9
        return [x / 2 + 4.0 * np.cos(angle), y / 2 + 3.0 * np.sin(angle), 1.1]

    path = handheld(aimed(place, target), SEED, fps=30.0)
    for name in ("frames", "depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(1, frames + 1):
        pose, name = path(float(number)), f"{number:06d}"
        measured = number % DEPTH_EVERY == 1
        if not (folder / "frames" / f"{name}.jpg").exists():
            picture, depth = view(surfaces, pose, lens, width, height)
            if measured:
                steps = (depth / DEPTH_UNIT).clip(0, 65534).round().astype(np.uint16)
                write_atomically(folder / "depth" / f"{name}.png", cv2.imencode(".png", steps)[1].tofile)
            coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
            write_atomically(folder / "frames" / f"{name}.jpg", coded.tofile)
        entries.append(
            {
                "number": number,
                "file": f"frames/{name}.jpg",
                "world_from_camera": pose.tolist(),
                "depth": f"depth/{name}.png" if measured else None,
                "mask": None,
                "focal_px": FIELD * width,
            }
        )
    document = {
        "name": f"long_{frames}_{width}",
        "width": width,
        "height": height,
        "lens": {"fx": FIELD * width, "fy": FIELD * width, "cx": width / 2, "cy": height / 2}
        | dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
        "metric": True,
        "dynamic": False,
        "depth_to_unit": DEPTH_UNIT,
        "frames": entries,
    }
    write_json(folder / "truth.json", document)


def main() -> None:
    """Make a clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    options = parser.parse_args()
    make(options.out, options.frames, options.width, options.height)


if __name__ == "__main__":
    main()
