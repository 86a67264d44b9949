"""The fused mesh of a solve folder: `fused.ply` from the depth, confidence and mattes that lie there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import files, footage
from engine.export import ply
from engine.export.fused import View, fuse, spread
from engine.export.lens import lenses_of, read_solve
from engine.footage import Footage

NAME = "fused.ply"
_SURE = 0.05  # of folders before 0.8: confidence below which nothing but the network decided
_MOVING = 128  # of 255
_BESIDE = 5  # pixels beside what moves are left out as well


def add_fused(solve: Path, tell: Callable[[int, int], None]) -> dict[str, Any] | None:
    """Make the mesh of a finished solve, also of one that an older engine made, and say so in its `solve.json`.

    Args:
        solve: the solve folder.
        tell: told how many frames of how many are done.

    Returns:
        What `solve.json` says of the mesh; None where too little is known for one.

    Raises:
        WorkspaceError: `lens.no_solve`.
        FootageError: the plate cannot be read.
        OSError: a depth file cannot be read, or the folder cannot be written.
    """
    document = read_solve(solve)
    source = document["source"]
    stereo = "side_by_side" if source.get("stereo") == "side_by_side" else "none"
    path, first, last = Path(source["path"]), int(source["first"]), int(source["last"])
    clip = footage.probe(path, first, last, colourspace=source["colourspace"], stereo=stereo)
    made = write_fused(solve, document, clip, tell)
    files.write_json(solve / "solve.json", document | {"fused": made})
    return made


def write_fused(
    folder: Path, document: dict[str, Any], clip: Footage, tell: Callable[[int, int], None]
) -> dict[str, Any] | None:
    """Write `fused.ply` beside the files that a solve document names.

    Args:
        folder: holds the files.
        document: of schema `cvd.solve/1`.
        clip: the plate, for the colours.
        tell: told how many frames of how many are done; may raise.

    Returns:
        The document's entry `fused`; None where too little is known for a mesh.

    Raises:
        OSError: a file cannot be read or written.
    """
    entries = {frame["frame"]: frame for frame in document["frames"] if frame["depth"] and frame["confidence"]}
    lenses = dict(lenses_of(document))

    def view(number: int) -> View:
        entry = entries[number]
        depth = files.read_exr(folder / entry["depth"])
        trust = files.read_exr(folder / entry["confidence"])
        trust[_guessed(folder, entry.get("measured"), trust) | _moving(folder, entry.get("dynamic"), depth.shape)] = 0.0
        return View(lenses[number], np.array(entry["world_from_camera"]), depth, trust)

    mesh = fuse(spread(sorted(entries)), view, lambda numbers: footage.read_frames(clip, numbers), tell=tell)
    if mesh is None:
        return None
    ply.write_mesh(folder / NAME, mesh)
    return {"file": NAME, "vertices": len(mesh.vertices), "faces": len(mesh.faces), "voxel": mesh.voxel}


def _guessed(folder: Path, name: str | None, confidence: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Two frames need not agree there."""
    measured = None if name is None else cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
    return confidence < _SURE if measured is None else np.asarray(measured == 0)


def _moving(folder: Path, name: str | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    matte = None if name is None else cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
    if matte is None:
        return np.zeros(shape, bool)
    side = 2 * _BESIDE + 1
    return np.asarray(cv2.dilate(matte, np.ones((side, side), np.uint8)) >= _MOVING)
