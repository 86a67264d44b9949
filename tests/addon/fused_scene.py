"""A fused mesh of a floor, a table and a wall, written into a synthetic solve folder as the engine does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cvd_blender_addon.mesh_file import FACE, LAYOUT, VERTEX

TABLE_TOP = 0.9
TABLE = (-0.1, 1.5, 1.0, 2.5)  # least and greatest x, least and greatest y
CELL = 0.1


def _sheet(corner: tuple[float, float, float], along: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A grid of triangles from a corner along two vectors, facing along x across."""
    n, m = (max(int(np.linalg.norm(side) / CELL), 1) for side in (along, across))
    u, v = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, m + 1), indexing="ij")
    points = np.array(corner) + u[..., None] * along + v[..., None] * across
    first = (np.arange(n)[:, None] * (m + 1) + np.arange(m)).ravel()
    quads = np.stack([first, first + m + 1, first + m + 2, first + 1], 1)
    return points.reshape(-1, 3), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def add_fused(folder: Path, noise: float = 0.0) -> Path:
    """Write `fused.ply` and name it in `solve.json`."""
    x, y, z = np.eye(3)
    left, right, front, back = TABLE
    sheets = [
        _sheet((-4.0, -3.0, 0.0), 8.0 * x, 7.0 * y),
        _sheet((left, front, TABLE_TOP), (right - left) * x, (back - front) * y),
        _sheet((-4.0, 4.0, 0.0), 8.0 * x, 3.0 * z),
    ]
    starts = np.cumsum([0, *(len(points) for points, _ in sheets)])
    points = np.concatenate([points for points, _ in sheets])
    faces = np.concatenate([faces + start for (_, faces), start in zip(sheets, starts, strict=False)])
    points = points + np.random.default_rng(1).normal(0.0, noise, points.shape) if noise else points
    rows = np.zeros(len(points), VERTEX)
    rows["x"], rows["y"], rows["z"] = points.T
    rows["nz"], rows["red"], rows["green"], rows["blue"] = 1.0, 200, 150, 100
    triangles = np.zeros(len(faces), FACE)
    triangles["count"], triangles["corners"] = 3, faces
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}", *LAYOUT]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    data = "\n".join(header).encode() + b"\n" + rows.tobytes() + triangles.tobytes()
    (folder / "fused.ply").write_bytes(data)
    document = json.loads((folder / "solve.json").read_text())
    document["fused"] = {"file": "fused.ply", "vertices": len(rows), "faces": len(faces), "voxel": CELL}
    (folder / "solve.json").write_text(json.dumps(document))
    return folder
