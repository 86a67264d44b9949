"""A solve folder with exact truth: a front wall, a floor and a back wall, ray-cast by numpy.

World: z up, the camera looks along +y. Front wall: the part of y = 0 with -1.6 < x < -0.1 and z < 2.6.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pytest

FRONT_X = (-1.6, -0.1)
FRONT_TOP = 2.6
BACK_Y = 4.0


@dataclass
class Synthetic:
    """Parameters and truth of one synthetic solve."""

    width: int = 320
    height: int = 180
    fx: float = 300.0
    cx: float = 171.0
    cy: float = 83.0
    k1: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    squeeze: float = 1.0  # fx / fy
    first: int = 1001
    last: int = 1008
    missing: tuple[int, ...] = (1004,)  # no plate file
    unplaced: tuple[int, ...] = (1006,)  # plate but no camera
    moving: tuple[int, ...] = ()  # frames with a matte of something that moves by itself
    focals: dict[int, float] = field(default_factory=dict)
    doubtful: tuple[tuple[int, int, int, str], ...] = ()  # runs: first, last, worst, where
    unsure: bool = False  # with confidence files: 1 on the left half, .25 on the right
    folder: Path = Path()
    _plates: dict[tuple[int, bool, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def frames(self) -> list[int]:
        return list(range(self.first, self.last + 1))

    @property
    def placed(self) -> list[int]:
        return [n for n in self.frames if n not in self.missing and n not in self.unplaced]

    def focal(self, number: int) -> float:
        return self.focals.get(number, self.fx)

    def world_from_camera(self, number: int) -> np.ndarray:
        """Camera x right, y down, z forward."""
        t = number - self.first
        yaw = 0.01 * t
        base = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # columns: right, down, forward
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        pose = np.eye(4)
        pose[:3, :3] = turn @ base
        pose[:3, 3] = (-0.4 + 0.06 * t, -6.0 + 0.02 * t, 1.5)
        return pose

    def rays(self, number: int, distorted: bool = True, supersample: int = 1) -> np.ndarray:
        """(H, W, 3) camera rays with z = 1 through pixel centres of the (distorted) plate, or of the pinhole."""
        lens = (self.k1, self.p1, self.p2) if distorted else (0.0, 0.0, 0.0)
        size = (self.width, self.height, supersample)
        return _rays(size, self.focal(number), (self.cx, self.cy), self.squeeze, lens)

    def distort(self, ideal: np.ndarray) -> np.ndarray:
        """Brown's distortion of normalised coordinates (2, ...)."""
        return _distort(ideal, self.k1, self.p1, self.p2)

    def cast(self, number: int, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Planar depth (H, W), world points (H, W, 3), surface 0 floor / 1 back / 2 front."""
        pose = self.world_from_camera(number)
        d, o = rays @ pose[:3, :3].T, pose[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            floor = np.where(d[..., 2] < 0, -o[2] / d[..., 2], np.inf)
            back = np.where(d[..., 1] > 0, (BACK_Y - o[1]) / d[..., 1], np.inf)
            front = np.where(d[..., 1] > 0, -o[1] / d[..., 1], np.inf)
        p = o + front[..., None] * d
        on = (p[..., 0] > FRONT_X[0]) & (p[..., 0] < FRONT_X[1]) & (p[..., 2] < FRONT_TOP)
        front = np.where(on, front, np.inf)
        all_depths = np.stack([floor, back, front])
        surface = all_depths.argmin(0)
        depth = all_depths.min(0)
        return depth, o + depth[..., None] * d, surface

    def depth(self, number: int) -> np.ndarray:
        return self.cast(number, self.rays(number))[0].astype(np.float32)

    def confidence(self) -> np.ndarray:
        """(H, W) float32."""
        confidence = np.ones((self.height, self.width), np.float32)
        confidence[:, self.width // 2 :] = 0.25
        return confidence

    def dynamic(self, number: int) -> np.ndarray:
        """(H, W) uint8: a box that goes to the right, 255 = moves by itself."""
        matte = np.zeros((self.height, self.width), np.uint8)
        left = 60 + 10 * (number - self.first)
        matte[50:90, left : left + 40] = 255
        return matte

    def plate(self, number: int, distorted: bool = True, supersample: int = 3) -> np.ndarray:
        """(H, W, 3) uint8, antialiased."""
        key = (number, distorted, supersample)
        if key not in self._plates:
            self._plates[key] = self._plate(*key)
        return self._plates[key]

    def _plate(self, number: int, distorted: bool, s: int) -> np.ndarray:
        _, p, surface = self.cast(number, self.rays(number, distorted, s))
        checker = (np.floor(p[..., 0] * 2) + np.floor(p[..., 1] * 2) + np.floor(p[..., 2] * 2)) % 2
        base = np.array([[0.35, 0.4, 0.3], [0.25, 0.35, 0.6], [0.8, 0.5, 0.2]])[surface]
        colour = base * (0.7 + 0.3 * checker[..., None])
        colour = colour.reshape(self.height, s, self.width, s, 3).mean((1, 3))
        stored: np.ndarray = np.round(colour * 255).astype(np.uint8)
        return stored

    def write(self, folder: Path) -> Synthetic:
        """Write plate and solve folder below `folder`; `self.folder` is the solve folder then."""
        self.folder = folder / "shot.solve"
        (self.folder / "depth").mkdir(parents=True, exist_ok=True)
        for number in self.frames:
            if number not in self.missing:
                write_png(folder / f"plate_{number:04d}.png", self.plate(number))
            if number in self.placed:
                write_exr(self.folder / "depth" / f"{number:06d}.exr", self.depth(number))
            if self.unsure and number in self.placed:
                (self.folder / "confidence").mkdir(exist_ok=True)
                write_exr(self.folder / "confidence" / f"{number:06d}.exr", self.confidence())
            if number in self.moving:
                (self.folder / "dynamic").mkdir(exist_ok=True)
                write_png(self.folder / "dynamic" / f"{number:06d}.png", self.dynamic(number))
        self.write_points()
        self.write_json(self.document(folder))
        return self

    def write_points(self) -> None:
        _, points, _ = self.cast(self.first, self.rays(self.first)[::12, ::12])
        rows = points.reshape(-1, 3)
        header = "ply\nformat binary_little_endian 1.0\n" + f"element vertex {len(rows)}\n"
        header += "".join(f"property float {c}\n" for c in "xyz")
        header += "".join(f"property uchar {c}\n" for c in ("red", "green", "blue"))
        header += "property int track_length\nend_header\n"
        body = b"".join(struct.pack("<fffBBBi", *row, 200, 100, 50, 7) for row in rows)
        (self.folder / "points.ply").write_bytes(header.encode() + body)

    def write_json(self, document: dict[str, Any]) -> None:
        (self.folder / "solve.json").write_text(json.dumps(document))

    def document(self, folder: Path) -> dict[str, Any]:
        def entry(number: int) -> dict[str, Any]:
            placed = number in self.placed
            return {
                "frame": number,
                "registered": placed,
                "world_from_camera": self.world_from_camera(number).tolist() if placed else None,
                "reason": None if placed else "the plate has no such frame" if number in self.missing else "no match",
                "focal_px": self.focal(number) if placed else None,
                "depth": f"depth/{number:06d}.exr" if placed else None,
                "confidence": f"confidence/{number:06d}.exr" if placed and self.unsure else None,
                "confident_share": 0.75 if placed and self.unsure else None,
                "dynamic": f"dynamic/{number:06d}.png" if number in self.moving else None,
                "reprojection_px": 0.4 if placed else None,
                "consistency_px": 0.6 if placed else None,
            }

        return {
            "schema": "cvd.solve/1",
            "source": {
                "path": str(folder / f"plate_{self.first:04d}.png"),
                "kind": "sequence",
                "pattern": "plate_####.png",
                "width": self.width,
                "height": self.height,
                "fps": [30000, 1001],
                "first": self.first,
                "last": self.last,
                "colourspace": "srgb",
                "content_id": "synthetic",
            },
            "lens": {
                "model": "OPENCV" if self.p1 or self.p2 or self.squeeze != 1.0 else "SIMPLE_RADIAL",
                "fx": self.fx,
                "fy": self.fx / self.squeeze,
                "cx": self.cx,
                "cy": self.cy,
                "k1": self.k1,
                "k2": 0.0,
                "p1": self.p1,
                "p2": self.p2,
                "focal_varies": bool(self.focals),
                "source": "estimated",
                "uncertainty_pct": 0.5,
            },
            "frames": [entry(number) for number in self.frames],
            "world": {"up": "estimated", "scale": "arbitrary", "unit": "unit"},
            "depth": {
                "method": "cvd",
                "prior": "none",
                "licence": "none",
                "width": self.width,
                "height": self.height,
                "planar": True,
                "near": 5.0,
                "far": 11.0,
            },
            "points": "points.ply",
            "quality": {
                "verdict": "Exact by construction.",
                "warnings": [],
                "doubtful": [
                    {"first": first, "last": last, "worst": worst, "where": where, "reason": "measured"}
                    for first, last, worst, where in self.doubtful
                ],
            },
            "engine": {"versions": {"engine": "0"}, "device": "cpu", "stages": {}},
        }


@lru_cache(maxsize=6)
def _rays(
    size: tuple[int, int, int],
    focal: float,
    centre: tuple[float, float],
    squeeze: float,
    lens: tuple[float, float, float],
) -> np.ndarray:
    """See `Synthetic.rays`; most frames of a clip have the same ones."""
    width, height, s = size
    u, v = np.meshgrid((np.arange(width * s) + 0.5) / s, (np.arange(height * s) + 0.5) / s)
    x, y = (u - centre[0]) / focal, (v - centre[1]) / focal * squeeze
    if any(lens):
        ideal, step = np.stack([x, y]), np.full(2, np.inf)
        while np.abs(step).max() > 1e-13:
            step = np.stack([x, y]) - _distort(ideal, *lens)
            # By the slope along the radius, which comes there in a third of the steps.
            ideal += step / (1.0 + 3.0 * lens[0] * (ideal * ideal).sum(0))
        x, y = ideal
    rays = np.stack([x, y, np.ones_like(x)], -1)
    rays.flags.writeable = False
    return rays


def _distort(ideal: np.ndarray, k1: float, p1: float, p2: float) -> np.ndarray:
    x, y = ideal
    r2 = x * x + y * y
    across = np.stack([2 * p1 * x * y + p2 * (r2 + 2 * x * x), 2 * p2 * x * y + p1 * (r2 + 2 * y * y)])
    seen: np.ndarray = ideal * (1 + k1 * r2) + across
    return seen


def write_exr(path: Path, image: np.ndarray, display: tuple[int, int, int, int] | None = None) -> None:
    """An uncompressed scan-line EXR with one float channel Y (H, W), and a display window that may be another one."""
    height, width = image.shape

    def attribute(name: str, kind: str, value: bytes) -> bytes:
        return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value

    box = struct.pack("<iiii", 0, 0, width - 1, height - 1)
    header = struct.pack("<ii", 20000630, 2)
    header += attribute("channels", "chlist", b"Y\0" + struct.pack("<iBBBBii", 2, 0, 0, 0, 0, 1, 1) + b"\0")
    header += attribute("compression", "compression", b"\0")
    header += attribute("dataWindow", "box2i", box) + attribute(
        "displayWindow", "box2i", struct.pack("<iiii", *display) if display else box
    )
    header += attribute("lineOrder", "lineOrder", b"\0")
    header += attribute("pixelAspectRatio", "float", struct.pack("<f", 1.0))
    header += attribute("screenWindowCenter", "v2f", struct.pack("<ff", 0.0, 0.0))
    header += attribute("screenWindowWidth", "float", struct.pack("<f", 1.0)) + b"\0"
    line = 8 + 4 * width
    start = len(header) + 8 * height
    offsets = struct.pack(f"<{height}Q", *(start + y * line for y in range(height)))
    rows = image.astype("<f4")
    body = b"".join(struct.pack("<ii", y, 4 * width) + rows[y].tobytes() for y in range(height))
    path.write_bytes(header + offsets + body)


def write_png(path: Path, image: np.ndarray) -> None:
    """An 8-bit PNG, RGB (H, W, 3) or grey (H, W)."""
    height, width = image.shape[:2]
    colour_type = 2 if image.ndim == 3 else 0

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    raw = b"".join(b"\0" + row.tobytes() for row in image)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def written_once(factory: pytest.TempPathFactory) -> Callable[..., Synthetic]:
    """What writes a synthetic solve once per set of parameters; tests must not change it.

    It is computed once a run. Every process works with a copy of its own, whose paths are its own.
    """
    from tests.once import made_once  # bench/ uses the rest of this file

    made: dict[str, Synthetic] = {}

    def make(**parameters: Any) -> Synthetic:
        key = repr(sorted(parameters.items()))
        if key not in made:
            name = f"synthetic-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
            source = made_once(factory, name, lambda folder: Synthetic(**parameters).write(folder))
            folder = factory.mktemp("clip")
            shutil.copytree(source, folder, dirs_exist_ok=True)
            truth = Synthetic(**parameters, folder=folder / "shot.solve")
            truth.write_json(truth.document(folder))
            made[key] = truth
        return made[key]

    return make
