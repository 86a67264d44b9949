"""Sparse points and the fused mesh as PLY, the format every 3-D tool opens."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import files
from engine.clip.track import SparsePoints
from engine.export.fused import Mesh

VERTEX = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("track_length", "<i4")]
)
MESH_VERTEX = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [(name, "u1") for name in ("red", "green", "blue")]
)
FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
TYPE_NAMES = {"<f4": "float", "|u1": "uchar", "<i4": "int"}


def write_points(path: Path, points: SparsePoints) -> None:
    """Write a binary little-endian PLY with position (world), colour and track length."""
    vertices = np.zeros(len(points.xyz), VERTEX)
    vertices["x"], vertices["y"], vertices["z"] = points.xyz.T
    vertices["red"], vertices["green"], vertices["blue"] = points.rgb.T
    vertices["track_length"] = np.bincount(points.observation_point, minlength=len(points.xyz))
    write_vertices(path, vertices)


def write_vertices(path: Path, vertices: NDArray[np.void]) -> None:
    """Write vertices of the type `VERTEX`."""
    _write(path, [f"element vertex {len(vertices)}", *_properties(VERTEX)], vertices.tobytes())


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Write a binary little-endian PLY with position (world), normal and colour of vertices, and triangles."""
    vertices = np.zeros(len(mesh.vertices), MESH_VERTEX)
    vertices["x"], vertices["y"], vertices["z"] = mesh.vertices.T
    vertices["nx"], vertices["ny"], vertices["nz"] = mesh.normals.T
    vertices["red"], vertices["green"], vertices["blue"] = mesh.colours.T
    faces = np.zeros(len(mesh.faces), FACE)
    faces["count"], faces["corners"] = 3, mesh.faces
    elements = [
        f"element vertex {len(vertices)}",
        *_properties(MESH_VERTEX),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
    ]
    _write(path, elements, vertices.tobytes() + faces.tobytes())


def read_mesh(path: Path) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """Vertices, of the type `MESH_VERTEX`, and triangles (F, 3) of a file that `write_mesh` has made.

    Raises:
        OSError: it cannot be read, or is another kind of file.
    """
    header, end, body = path.read_bytes().partition(b"end_header\n")
    counts = [int(count) for count in re.findall(rb"^element (?:vertex|face) (\d+)$", header, re.MULTILINE)]
    if not end or len(counts) != 2 or counts[0] * MESH_VERTEX.itemsize + counts[1] * FACE.itemsize != len(body):
        raise OSError(f"{path} is not the mesh that a solve has")
    faces = np.frombuffer(body, FACE, counts[1], counts[0] * MESH_VERTEX.itemsize)["corners"]
    if len(faces) and not 0 <= faces.min() <= faces.max() < counts[0]:
        raise OSError(f"{path} has triangles without corners")
    return np.frombuffer(body, MESH_VERTEX, counts[0]), faces


def _properties(layout: np.dtype[np.void]) -> list[str]:
    return [f"property {TYPE_NAMES[layout[name].str]} {name}" for name in layout.names or ()]


def _write(path: Path, elements: list[str], body: bytes) -> None:
    header = ["ply", "format binary_little_endian 1.0", *elements, "end_header"]
    content = "\n".join(header).encode() + b"\n" + body
    files.write_atomically(path, lambda temporary: temporary.write_bytes(content))


def read_vertices(path: Path) -> NDArray[np.void]:
    """The vertices, of the type `VERTEX`, of a file that `write_vertices` has made.

    Raises:
        OSError: it cannot be read, or is another kind of file.
    """
    header, end, body = path.read_bytes().partition(b"end_header\n")
    found = re.search(rb"^element vertex (\d+)$", header, re.MULTILINE)
    if not end or found is None or int(found[1]) * VERTEX.itemsize != len(body):
        raise OSError(f"{path} is not the point file that a solve has")
    return np.frombuffer(body, VERTEX)
