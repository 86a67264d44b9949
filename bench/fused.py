#!/usr/bin/env python3
"""How far the fused mesh of a solve lies from the true surfaces.

    python bench/fused.py SOLVE --truth FOLDER

The truth's depth is brought into the solve's world by the solved cameras and one scale for the clip, so that cameras
count for nothing. Distances are between vertices and the nearest true point (accuracy), and the other way about
(completeness), in the truth's unit. The solve must have a fused mesh: `python -m engine fuse SOLVE`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cvd_blender_addon.mesh_file import read_mesh  # noqa: E402
from engine import files  # noqa: E402
from engine.evaluation.compare import true_depth  # noqa: E402

FRAMES = 12
NEIGHBOUR_SHARE = 0.02  # of the median distance to the camera


def main() -> int:
    """Print the distances."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("solve", type=Path)
    parser.add_argument("--truth", type=Path, required=True, help="folder with truth.json")
    options = parser.parse_args()
    solve = json.loads((options.solve / "solve.json").read_text(encoding="utf-8"))
    truth = json.loads((options.truth / "truth.json").read_text(encoding="utf-8"))
    mesh = read_mesh(options.solve / solve["fused"]["file"])
    points, distance, scale = true_points(options.solve, solve, options.truth, truth)
    vertices = np.asarray(mesh.vertices, np.float64) / scale
    print(f"{len(mesh.faces)} faces, voxel {solve['fused']['voxel'] / scale:.4f}, median distance {distance:.2f}")
    for name, from_points, to_points in (("accuracy", vertices, points), ("completeness", points, vertices)):
        gaps = nearest(from_points.astype(np.float32), to_points.astype(np.float32))
        quantiles = ", ".join(f"{share} %: {np.percentile(gaps, share):.4f}" for share in (50, 75, 90, 95))
        print(f"{name}: {quantiles}; within 2 % of the distance: {(gaps < NEIGHBOUR_SHARE * distance).mean():.3f}")
    return 0


def true_points(
    folder: Path, solve: dict[str, Any], truth_folder: Path, truth: dict[str, Any]
) -> tuple[NDArray[np.float64], float, float]:
    """Points of the true surfaces (N, 3) in the solve's world, truth's unit; their median distance; the scale."""
    cameras = {f["frame"]: np.array(f["world_from_camera"]) for f in solve["frames"] if f["registered"]}
    shown = [frame for frame in truth["frames"] if frame["depth"] and frame["number"] in cameras]
    shown = shown[:: max(1, len(shown) // FRAMES)]
    ratios, seen = [], []
    for frame in shown:
        true = true_depth(truth_folder, truth, frame["depth"])
        solved = files.read_exr(folder / f"depth/{frame['number']:06d}.exr")
        solved = cv2.resize(solved, true.shape[::-1], interpolation=cv2.INTER_NEAREST)
        ratios.append(np.median((solved / np.maximum(true, 1e-9))[(true > 0) & (solved > 0)]))
        seen.append((cameras[frame["number"]], true))
    scale = float(np.median(ratios))
    clouds, distances = [], []
    lens = truth["lens"]
    for pose, depth in seen:
        v, u = np.nonzero(depth > 0)
        some = (u % 2 == 1) & (v % 2 == 1)
        u, v = u[some], v[some]
        x, y = (u + 0.5 - lens["cx"]) / lens["fx"], (v + 0.5 - lens["cy"]) / lens["fy"]
        rays = np.stack([x, y, np.ones_like(x)], 1) * depth[v, u][:, None]
        clouds.append(rays @ pose[:3, :3].T + pose[:3, 3] / scale)
        distances.append(np.linalg.norm(rays, axis=1))
    return np.concatenate(clouds), float(np.median(np.concatenate(distances))), scale


def nearest(from_points: NDArray[np.float32], to_points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of every seventh of `from_points` to the nearest of `to_points`."""
    index = cv2.flann.Index(to_points, {"algorithm": 4, "leaf_max_size": 20})  # one exact k-d tree
    _, squares = index.knnSearch(np.ascontiguousarray(from_points[::7]), 1, params={"checks": -1})
    return np.asarray(np.sqrt(squares[:, 0]), np.float32)


if __name__ == "__main__":
    sys.exit(main())
