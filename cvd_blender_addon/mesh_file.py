# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the fused mesh of a solve folder (`fused.ply`, see `docs/solve-folder.md`). Knows nothing of Blender."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .solve_reader import LARGEST, SolveError

HEADER_END = b"end_header\n"
VERTEX = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [(name, "u1") for name in ("red", "green", "blue")]
)
FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
LAYOUT = [
    *(f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")),
    *(f"property uchar {name}" for name in ("red", "green", "blue")),
]


@dataclass(frozen=True)
class FusedMesh:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float32, world.
        colours: (V, 3) uint8, display-referred.
        faces: (F, 3) int32.
    """

    vertices: Any
    colours: Any
    faces: Any


def read_mesh(path: Path) -> FusedMesh:
    """Read and check the mesh: every face is a triangle of vertices that are there.

    Raises:
        SolveError: not such a file, or cut short.
    """
    try:
        return _parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SolveError(
            f"The mesh {path} cannot be used.", f"{error}.", "Make it again: python -m engine fuse SOLVE."
        ) from error


def _parse(data: bytes) -> FusedMesh:
    end = data.find(HEADER_END)
    if end < 0:
        raise ValueError("it is no PLY file")
    header = data[:end].decode("ascii", "replace").splitlines()
    wanted = ["ply", "format binary_little_endian 1.0", None, *LAYOUT, None, "property list uchar int vertex_indices"]
    if len(header) != len(wanted) or any(a != b for a, b in zip(header, wanted, strict=True) if b is not None):
        raise ValueError("it is not laid out as the engine writes it")
    vertex_count, face_count = (_count(header[line], kind) for line, kind in ((2, "vertex"), (12, "face")))
    start = end + len(HEADER_END)
    if len(data) - start != vertex_count * VERTEX.itemsize + face_count * FACE.itemsize:
        raise ValueError("it is cut short")
    rows = np.frombuffer(data, VERTEX, vertex_count, start)
    triangles = np.frombuffer(data, FACE, face_count, start + rows.nbytes)
    vertices = np.stack([rows[name] for name in "xyz"], 1)
    faces = np.ascontiguousarray(triangles["corners"])
    if not (np.abs(vertices) <= LARGEST).all():  # nor is one that is no number
        raise ValueError("a vertex is not finite")
    if (triangles["count"] != 3).any() or faces.min(initial=0) < 0 or faces.max(initial=0) >= max(vertex_count, 1):
        raise ValueError("a face is not a triangle of its vertices")
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]  # what has a vertex twice is no face to Blender
    return FusedMesh(vertices, np.stack([rows[name] for name in ("red", "green", "blue")], 1), faces)


def _count(line: str, kind: str) -> int:
    words = line.split()
    if words[:2] != ["element", kind] or len(words) != 3 or not words[2].isdigit():
        raise ValueError(f"it has no {kind} count")
    return int(words[2])
