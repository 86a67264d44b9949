"""Small clips with exactly known cameras: textured boxes of planes, rendered by ray casting."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.clip.track import CameraTrack
from engine.footage import frame_name, prepare, probe
from engine.poses import LensRequest, solve
from engine.progress import Progress, Silent
from tests.engine.poses.quick_solver import quick_solver
from tests.once import made_once

WIDTH, HEIGHT, FOCAL = 480, 320, 430.0
COUNT, FIRST = 8, 101

Frames = dict[int, np.ndarray]


@dataclass(frozen=True)
class Plane:
    """A textured rectangle: corner, two edges (world units), and its picture."""

    corner: np.ndarray
    edge_u: np.ndarray
    edge_v: np.ndarray
    picture: np.ndarray


def plane(corner: list[float], edge_u: list[float], edge_v: list[float], seed: int) -> Plane:
    """A rectangle with blobs of several sizes, which SIFT likes."""
    rng = np.random.default_rng(seed)
    edges = np.array(edge_u, float), np.array(edge_v, float)
    size = tuple(int(120 * np.linalg.norm(e)) for e in edges)
    picture = np.zeros((size[1], size[0], 3), np.float32)
    for cell, weight in ((14, 0.4), (34, 0.35), (90, 0.25)):
        noise = rng.random((size[1] // cell + 2, size[0] // cell + 2, 3), np.float32)
        picture += weight * cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
    picture = ((picture - 0.5) * 2.2 + 0.5).clip(0, 1)
    return Plane(np.array(corner, float), *edges, (255 * picture).astype(np.uint8))


def room() -> list[Plane]:
    """World z up: a back wall, a floor, a side wall and two boards that stand free."""
    return [
        plane([-4, 5, 0], [8, 0, 0], [0, 0, 4], 1),
        plane([-4, 0, 0], [8, 0, 0], [0, 5, 0], 2),
        plane([-3, 0, 0], [0, 5, 0], [0, 0, 4], 3),
        plane([-1.2, 3, 0], [1, 0.3, 0], [0, 0, 1.4], 4),
        plane([0.6, 2.2, 0], [0.9, -0.2, 0], [0, 0, 1.0], 5),
    ]


def wall() -> list[Plane]:
    """Nothing but one flat wall."""
    return [plane([-6, 5, -3], [12, 0, 0], [0, 0, 8], 6)]


def look(position: list[float], target: list[float]) -> np.ndarray:
    """world_from_camera (4, 4) with a level horizon; camera x right, y down, z forward."""
    forward = np.array(target, float) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = position
    return pose


def render(
    planes: list[Plane], pose: np.ndarray, width: int = WIDTH, height: int = HEIGHT, zoom: float = 1.0
) -> np.ndarray:
    """(H, W, 3) uint8, two by two samples a pixel; pixel (i, j) spans [j, j+1] x [i, i+1]."""
    fine = 2
    u, v = np.meshgrid((np.arange(fine * width) + 0.5) / fine, (np.arange(fine * height) + 0.5) / fine)
    focal = zoom * FOCAL * width / WIDTH
    rays = np.stack([(u - width / 2) / focal, (v - height / 2) / focal, np.ones_like(u)], -1) @ pose[:3, :3].T
    image = np.full((*u.shape, 3), 110, np.uint8)
    nearest = np.full(u.shape, np.inf)
    for p in planes:
        normal = np.cross(p.edge_u, p.edge_v)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = ((p.corner - pose[:3, 3]) @ normal) / (rays @ normal)
        hit = pose[:3, 3] + distance[..., None] * rays - p.corner
        s, t = hit @ p.edge_u / (p.edge_u @ p.edge_u), hit @ p.edge_v / (p.edge_v @ p.edge_v)
        seen = (distance > 0) & (distance < nearest) & (s >= 0) & (s < 1) & (t >= 0) & (t < 1)
        size = p.picture.shape[1::-1]
        x, y = (s * size[0] - 0.5).astype(np.float32), (t * size[1] - 0.5).astype(np.float32)
        colour = cv2.remap(p.picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        image[seen] = colour[seen]
        nearest = np.where(seen, distance, nearest)
    smaller: np.ndarray = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return smaller


def travelling(count: int) -> list[np.ndarray]:
    """A walk to the right and a little forward that looks around."""
    steps = np.linspace(0, 1, count)
    return [look([-1.0 + 1.8 * s, -1.2 + 0.6 * s, 1.5 + 0.2 * s], [0.3 * s, 4, 1.0]) for s in steps]


def turning(count: int) -> list[np.ndarray]:
    """A pan from a tripod."""
    return [look([0, -1, 1.5], [2.4 * s - 1.2, 4, 1.2 + 0.2 * s]) for s in np.linspace(0, 1, count)]


def write(folder: Path, frames: Frames) -> Path:
    """Frames under their numbers as `plate_0001.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in frames.items():
        cv2.imwrite(str(folder / f"plate_{frame_name(number)}.png"), frame)
    return folder


def walk_pictures(factory: pytest.TempPathFactory) -> Frames:
    """Pictures of `travelling` through the room, by frame number; rendered once a run."""

    def make(folder: Path) -> None:
        planes = room()
        for number, pose in enumerate(travelling(COUNT), FIRST):
            np.save(folder / f"{number}.npy", render(planes, pose))

    folder = made_once(factory, "walk", make)
    return {number: np.load(folder / f"{number}.npy") for number in range(FIRST, FIRST + COUNT)}


def solved(
    folder: Path,
    frames: Frames,
    lens: LensRequest | None = None,
    progress: Progress | None = None,
    masks: Path | None = None,
    own_process: bool = False,
) -> CameraTrack:
    """Write, prepare and solve a clip below `folder`; in this process, see `quick_solver`, unless in one of its own."""
    footage = probe(write(folder / "in", frames))
    prepare(footage, folder, Silent())
    with nullcontext() if own_process else quick_solver():
        return solve(footage, folder / "proxy", masks, folder / "poses", lens or LensRequest(), 0, progress or Silent())
