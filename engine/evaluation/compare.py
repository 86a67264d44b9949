"""`evaluate`: a solve folder against a folder of ground truth (`truth.json`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import files
from engine.errors import EvaluationError
from engine.evaluation import depth as depth_figures
from engine.evaluation import edges, mattes, trajectory
from engine.geometry.arrays import rigid_inverse

STEPS = (1, 4, 16)  # frame distances at which sliding is measured
NO_DEPTH = 65535  # some sensors write it for "no value"


def evaluate(solve_folder: Path, truth_folder: Path) -> dict[str, float]:
    """Every figure of the design's section 6 that the truth allows.

    Frames are matched by plate frame number. Figures: registered, ate_pct, rot_max_deg, rot_med_deg, jitter_pct,
    focal_err_pct, absrel, rmse, d125, absrel_frame, flicker_pct, depth_cover, scale_gap_pct, reproj_px, reproj_px_p90,
    matte_iou, matte_boundary_f, depth_boundary_f1, depth_boundary_f2, halo_share, edge_offset_px, edge_crawl_px.

    Raises:
        EvaluationError: either folder is incomplete or unreadable.
    """
    solve = _read(solve_folder / "solve.json", "Solve the clip first: solve.json is written when a solve is complete.")
    truth = _read(truth_folder / "truth.json", "Give the folder that holds truth.json.")
    solved = {f["frame"]: np.array(f["world_from_camera"]) for f in solve["frames"] if f["registered"]}
    true = {f["number"]: np.array(f["world_from_camera"]) for f in truth["frames"] if f["world_from_camera"]}
    figures = {"registered": sum(f["number"] in solved for f in truth["frames"]) / len(truth["frames"])}
    both = [number for number in sorted(true) if number in solved]
    similarity = None
    if len(both) >= 3:
        estimated_poses, true_poses = np.stack([solved[n] for n in both]), np.stack([true[n] for n in both])
        figures |= trajectory.compare_tracks(estimated_poses, true_poses)
        similarity = trajectory.align(estimated_poses[:, :3, 3], true_poses[:, :3, 3])
    to_truth = truth["width"] / solve["source"]["width"]
    lens = {name: solve["lens"][name] * to_truth for name in ("fx", "fy", "cx", "cy")}
    if truth["lens"]:
        figures["focal_err_pct"] = 100.0 * abs(lens["fx"] / truth["lens"]["fx"] - 1.0)
    figures |= _depth_figures(solve_folder, truth_folder, truth, similarity, true)
    if truth["lens"] and both:
        figures |= _sliding(solve_folder, truth_folder, truth, lens, (solved, true))
    return figures


def _read(path: Path, fix: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = files.read_json(path)
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise EvaluationError("evaluate.unreadable", f"Cannot read {path}.", f"{error}.", fix) from error
    return document


def _lens_of(truth: dict[str, Any]) -> tuple[float, float, float, float]:
    lens = truth["lens"]
    return lens["fx"], lens["fy"], lens["cx"], lens["cy"]


def true_depth(truth_folder: Path, truth: dict[str, Any], name: str) -> NDArray[np.float32]:
    """Planar depth (H, W) at the truth's size and in its unit, 0 = no value.

    Raises:
        EvaluationError: `evaluate.no_depth`.
    """
    raw = cv2.imread(str(truth_folder / name), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise EvaluationError(
            "evaluate.no_depth",
            f"Cannot read the true depth {truth_folder / name}.",
            "The file is missing or is not an image.",
            "Restore the truth folder.",
        )
    depth = np.where(raw == NO_DEPTH, 0, raw).astype(np.float32) * truth["depth_to_unit"]
    return _at_size(depth, truth)


def _at_size(depth: NDArray[np.float32], truth: dict[str, Any]) -> NDArray[np.float32]:
    size = (truth["width"], truth["height"])
    if depth.shape[::-1] == size:
        return depth
    return np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST), np.float32)


def _solved_depth(solve_folder: Path, truth: dict[str, Any], number: int) -> NDArray[np.float32] | None:
    path = solve_folder / "depth" / f"{number:06d}.exr"
    return _at_size(files.read_exr(path), truth) if path.is_file() else None


def _depth_figures(
    solve_folder: Path,
    truth_folder: Path,
    truth: dict[str, Any],
    similarity: trajectory.Similarity | None,
    poses: dict[int, NDArray[np.float64]],
) -> dict[str, float]:
    collected, with_depth = depth_figures.DepthErrors(), []
    for frame in truth["frames"]:
        depth = _solved_depth(solve_folder, truth, frame["number"]) if frame["depth"] else None
        if depth is not None:
            collected.add(depth, true_depth(truth_folder, truth, frame["depth"]))
            with_depth.append(frame)
    scale = collected.scale
    if scale is None:
        return {}
    records = []
    for frame in with_depth:
        depth = _solved_depth(solve_folder, truth, frame["number"])
        true = true_depth(truth_folder, truth, frame["depth"])
        if depth is not None:
            records.append(
                depth_figures.frame_errors(depth, true, scale)
                | mattes.plane_matte_errors(depth, true, scale)
                | edges.edge_figures(depth, true, scale)
            )
            number, later = frame["number"], frame["number"] + 1
            after = _solved_depth(solve_folder, truth, later)
            if after is not None and truth["lens"] and number in poses and later in poses:
                to_later = rigid_inverse(poses[later]) @ poses[number]
                records.append(edges.crawl_figures((depth, after), true, scale, _lens_of(truth), to_later))
    result = depth_figures.mean_of(records) | collected.summary()
    if similarity is not None and truth.get("metric"):
        result["scale_gap_pct"] = 100.0 * abs(scale / similarity.scale - 1.0)
    return result


def _sliding(
    solve_folder: Path,
    truth_folder: Path,
    truth: dict[str, Any],
    lens: dict[str, float],
    poses: tuple[dict[int, NDArray[np.float64]], dict[int, NDArray[np.float64]]],
) -> dict[str, float]:
    solved, true = poses
    depth_file = {f["number"]: f["depth"] for f in truth["frames"] if f["depth"]}
    order = [n for n in sorted(depth_file) if n in solved and n in true]
    estimated_lens = (lens["fx"], lens["fy"], lens["cx"], lens["cy"])
    true_lens = _lens_of(truth)
    distances = []
    for step in STEPS:
        for begin in range(0, len(order) - step, max(1, len(order) // 12)):
            i, j = order[begin], order[begin + step]
            depth = _solved_depth(solve_folder, truth, i)
            if depth is None:
                continue
            distance = depth_figures.sliding_px(
                depth,
                true_depth(truth_folder, truth, depth_file[i]),
                estimated_lens,
                true_lens,
                (solved[i], solved[j]),
                (true[i], true[j]),
            )
            if distance is not None:
                distances.append(distance)
    if not distances:
        return {}
    return {"reproj_px": float(np.median(distances)), "reproj_px_p90": float(np.percentile(distances, 90))}
