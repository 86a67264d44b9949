"""A finished solve, checked, in the world in which it is to be delivered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import jsonschema
import numpy as np
from numpy.typing import NDArray

from engine import files, footage
from engine.cameras.document import checked_pose
from engine.errors import DeliverError
from engine.export.lens import lenses_of
from engine.export.ply import VERTEX, read_mesh, read_vertices
from engine.footage.sequence import around_number
from engine.geometry.arrays import Lens
from engine.schemas import schema

_RIGID = 1e-4


@dataclass(frozen=True)
class Solved:
    """A finished solve.

    Attributes:
        root: the solve folder.
        document: its `solve.json`.
        content: of `solve.json`: another one is another solve.
        delivered_from_solve: (4, 4) similarity from the solve's world to the one that is delivered; z is up in both.
        scale: of it: lengths and depths are multiplied by it.
        lenses: plate frame number -> lens, of the frames that have a camera.
        world_from_camera: plate frame number -> (4, 4) rigid, in the delivered world.
        gaps: plate frame number -> why it has no camera.
    """

    root: Path
    document: dict[str, Any]
    content: str
    delivered_from_solve: NDArray[np.float64]
    scale: float
    lenses: dict[int, Lens]
    world_from_camera: dict[int, NDArray[np.float64]]
    gaps: dict[int, str]

    @property
    def name(self) -> str:
        """Name for people: the folder without its `.solve`."""
        return self.root.name.removesuffix(".solve") or "solve"

    @property
    def lens(self) -> Lens:
        """That of the first frame with a camera: of a lens that does not zoom, the lens."""
        return self.lenses[min(self.lenses)]

    @property
    def zooms(self) -> bool:
        """Frames have different lenses."""
        return len(set(self.lenses.values())) > 1

    @property
    def distorted(self) -> bool:
        """The plate differs from what a pinhole camera sees."""
        return any(self.lens.distortion())

    @property
    def unit(self) -> str:
        """Of all lengths that are delivered."""
        metric = self.document["world"]["scale"] == "metric"
        if self.scale != 1.0:
            return "the unit of the scene that the solve was placed in"
        return "metre" if metric else "scene unit (the solve's scale is arbitrary)"

    @property
    def depth_frames(self) -> list[int]:
        """Plate frame numbers that have depth, in order."""
        return [f["frame"] for f in self.document["frames"] if f["registered"] and f["depth"] is not None]

    def depth(self, number: int) -> NDArray[np.float64]:
        """Planar depth (H, W) of a plate frame on the plate's own pixels, in delivered units; 0 = no value.

        Raises:
            DeliverError: `deliver.depth`.
        """
        path = footage.FrameFiles(self.root / "depth", ".exr").path(number)
        lens = self.lenses[number]
        try:
            depth = files.read_exr(path)
            if depth.shape != (lens.height, lens.width):
                raise OSError(f"it is {depth.shape[1]}x{depth.shape[0]}, the plate {lens.width}x{lens.height}")
        except OSError as error:
            raise DeliverError(
                "deliver.depth",
                f"The depth of frame {number} cannot be read.",
                f"{error}.",
                "Solve the clip again (it takes what it can from the cache), or copy the solve folder again.",
            ) from error
        return np.where(np.isfinite(depth) & (depth > 0.0), depth, 0.0) * self.scale

    def points(self) -> NDArray[np.void]:
        """Sparse points, of the type `engine.export.ply.VERTEX`, in the delivered world.

        Raises:
            DeliverError: `deliver.points`.
        """
        try:
            vertices = read_vertices(self.root / "points.ply").astype(VERTEX)
        except OSError as error:
            raise DeliverError(
                "deliver.points",
                "The sparse points cannot be read.",
                f"{error}.",
                "Solve the clip again (it takes what it can from the cache), or copy the solve folder again.",
            ) from error
        xyz = np.stack([vertices[axis] for axis in "xyz"], -1).astype(np.float64)
        moved = xyz @ self.delivered_from_solve[:3, :3].T + self.delivered_from_solve[:3, 3]
        for index, axis in enumerate("xyz"):
            vertices[axis] = moved[:, index]
        return vertices

    def mesh(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
        """Of the fused mesh: vertices (V, 3) and normals (V, 3) in the delivered world, triangles (F, 3).

        Raises:
            DeliverError: `deliver.mesh`: there is none, or it cannot be read.
        """
        try:
            vertices, faces = read_mesh(self.root / "fused.ply")
        except OSError as error:
            raise DeliverError(
                "deliver.mesh",
                "The fused mesh cannot be read.",
                f"{error}.",
                "Make it: python -m engine fuse SOLVE. A camera that does not travel gives none; leave it out then.",
            ) from error
        xyz = np.stack([vertices[name] for name in "xyz"], -1).astype(np.float64)
        normals = np.stack([vertices[name] for name in ("nx", "ny", "nz")], -1).astype(np.float64)
        turned = self.delivered_from_solve[:3, :3]
        return xyz @ turned.T + self.delivered_from_solve[:3, 3], normals @ turned.T / self.scale, faces

    def picture_names(self) -> dict[int, str]:
        """Plate frame number -> file name of its picture; a movie's are called by their numbers."""
        source = self.document["source"]
        if not source.get("pattern"):
            return {number: footage.frame_name(number, ".png") for number in self.lenses}
        head, digits, tail = around_number(PureWindowsPath(source["path"]).name, source["pattern"])
        return {number: f"{head}{number:0{digits}d}{tail}" for number in self.lenses}


def read_solved(root: Path, placed: Sequence[float] | None) -> Solved:
    """Read a finished solve.

    Args:
        root: the solve folder.
        placed: the 16 numbers of `delivered_from_solve`, row by row; None leaves the solve's own world.

    Raises:
        DeliverError: `deliver.no_solve`, `.damaged` or `.placed`.
        CameraError: `camera.pose`.
    """
    delivered_from_solve, scale = similarity(placed)
    path = root / "solve.json"
    try:
        text = path.read_bytes()
        document = files.read_json(path)
    except (OSError, ValueError) as error:
        raise DeliverError(
            "deliver.no_solve",
            f"{root} is not a finished solve.",
            f"Its solve.json cannot be read: {error}.",
            "Give the folder of a solve that is done.",
        ) from error
    problem = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema("solve-1")).iter_errors(document))
    if problem is not None:
        where = "/".join(str(part) for part in problem.absolute_path) or "the document"
        raise _damaged(path, f"{where}: {problem.message[:300]}")
    pattern = document["source"].get("pattern")
    if pattern:
        try:
            around_number(PureWindowsPath(document["source"]["path"]).name, pattern)
        except ValueError as error:
            raise _damaged(path, f"source/pattern: {error}") from error
    lenses = dict(lenses_of(document))
    if not lenses:
        raise _damaged(path, "no frame has a camera")
    poses = {}
    for entry in document["frames"]:
        if entry["registered"]:
            pose = checked_pose(np.array(entry["world_from_camera"], np.float64), f"frame {entry['frame']} of {path}")
            moved = delivered_from_solve @ pose
            moved[:3, :3] /= scale
            poses[int(entry["frame"])] = moved
    return Solved(
        root=root,
        document=document,
        content=hashlib.sha256(text).hexdigest(),
        delivered_from_solve=delivered_from_solve,
        scale=scale,
        lenses=lenses,
        world_from_camera=poses,
        gaps={f["frame"]: str(f["reason"] or "no reason given") for f in document["frames"] if not f["registered"]},
    )


def similarity(numbers: Sequence[float] | None) -> tuple[NDArray[np.float64], float]:
    """(4, 4) of 16 numbers, row by row, and its scale.

    Raises:
        DeliverError: `deliver.placed`: it is no turn, shift and even scale.
    """
    if numbers is None:
        return np.eye(4), 1.0
    matrix = np.array(numbers, np.float64).reshape(4, 4)
    finite = bool(np.isfinite(matrix).all())
    volume = float(np.linalg.det(matrix[:3, :3])) if finite else 0.0
    scale = abs(volume) ** (1.0 / 3.0)
    turn = matrix[:3, :3] / scale if scale > 0.0 else np.zeros((3, 3))
    even = np.allclose(turn @ turn.T, np.eye(3), atol=_RIGID) and np.allclose(matrix[3], (0, 0, 0, 1), atol=_RIGID)
    if volume <= 0.0 or not even:
        raise DeliverError(
            "deliver.placed",
            "The solve cannot be delivered where it was placed.",
            "Its root is scaled by different amounts along its axes, sheared or mirrored.",
            "Give the root (and its parents) one scale for all three axes, and no negative one.",
        )
    scale = 1.0 if abs(scale - 1.0) < 1e-6 else scale  # what Blender's single precision makes of 1
    u, _, vt = np.linalg.svd(turn)
    exact = np.eye(4)
    exact[:3, :3], exact[:3, 3] = scale * (u @ vt), matrix[:3, 3]
    return exact, scale


def _damaged(path: Path, why: str) -> DeliverError:
    return DeliverError(
        "deliver.damaged",
        f"{path} cannot be used.",
        f"{why[:1].upper()}{why[1:].rstrip('.')}.",
        "Solve the clip again, or copy the solve folder again from where it was made.",
    )
