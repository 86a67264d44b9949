"""What can be seen of a solve while it runs: `preview/track.json` and `preview/depth.png` in the solve folder.

Nothing reads them but people and the add-on; they are replaced as the solve goes on and are gone when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import files
from engine.clip.pictures import colour_depth, shrink
from engine.progress import Progress
from engine.solve_folder import PREVIEW_DEPTH, PREVIEW_TRACK

SCHEMA = "cvd.preview/1"
MOST_POINTS = 3000
LONG_SIDE = 256


def track_document(
    world_from_camera: Mapping[int, NDArray[np.float64]], xyz: NDArray[np.float64], rgb: NDArray[np.uint8]
) -> dict[str, Any]:
    """`cvd.preview/1`: cameras and some of the points, in a world that later stages may still move.

    Args:
        world_from_camera: plate frame number -> (4, 4).
        xyz: (P, 3), same world.
        rgb: (P, 3).
    """
    some = slice(None, None, max(1, -(-len(xyz) // MOST_POINTS)))
    points = [[*map(float, p), *map(int, c)] for p, c in zip(np.round(xyz[some], 4), rgb[some], strict=True)]
    cameras = {str(n): np.round(world_from_camera[n], 6).tolist() for n in sorted(world_from_camera)}
    return {"schema": SCHEMA, "cameras": cameras, "points": points}


def show_track(document: dict[str, Any], progress: Progress) -> None:
    """Let the user see cameras and points."""
    progress.preview(PREVIEW_TRACK, lambda path: files.write_json(path, document))


def show_depth(depth: NDArray[np.floating], progress: Progress) -> None:
    """Let the user see planar depth (H, W), 0 = none, in any unit: near is bright."""

    def write(path: Path) -> None:
        known = depth[depth > 0]
        near, far = np.percentile(known, (2.0, 98.0)) if len(known) else (1.0, 2.0)
        picture = shrink(colour_depth(depth, float(near), float(max(far, near * 1.01))), LONG_SIDE)
        files.write_atomically(path, lambda temporary: _write_png(temporary, picture))

    progress.preview(PREVIEW_DEPTH, write)


def _write_png(path: Path, picture: NDArray[np.generic]) -> None:
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"cannot write {path}")
