"""`evaluate`: a solve folder against a folder of ground truth (`truth.json`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import files
from engine.errors import EvaluationError
from engine.evaluation import depth as depth_figures
from engine.evaluation import edges, mattes, trajectory
from engine.evaluation.calibration import Bin, Reliability
from engine.evaluation.thin import Shares
from engine.geometry.arrays import rigid_inverse

STEPS = (1, 4, 16)  # frame distances at which sliding is measured
NO_DEPTH = 65535  # some sensors write it for "no value"
BAD_FRAME = 0.25  # AbsRel above which a frame is lost

DepthOf = Callable[[int], NDArray[np.floating] | None]
"""For a plate frame number (H, W) of any size, planar depth (0 = none) or confidence (0..1); None = no such frame."""


@dataclass(frozen=True)
class DepthReport:
    """Depth of a clip against the truth.

    Attributes:
        figures: see `evaluate_depth`.
        scale: the clip's true/solved scale; None where there is nothing to compare.
        absrel: of each frame.
        reliability: the reliability diagram; empty without confidence.
    """

    figures: dict[str, float]
    scale: float | None
    absrel: dict[int, float]
    reliability: list[Bin]

    def bad_frames(self) -> list[int]:
        """Frames whose AbsRel is above `BAD_FRAME`."""
        return [number for number, value in self.absrel.items() if value > BAD_FRAME]


def evaluate(solve_folder: Path, truth_folder: Path, report: DepthReport | None = None) -> dict[str, float]:
    """Every figure of the design's section 6 that the truth allows.

    Frames are matched by plate frame number. Figures: registered, ate_pct, rot_max_deg, rot_med_deg, jitter_pct,
    focal_err_pct, scale_gap_pct, reproj_px, reproj_px_p90, and those of `evaluate_depth`,
    which are taken from `report` where that has been made.

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
    report = report or report_of(solve_folder, truth_folder)
    figures |= report.figures
    if similarity is not None and report.scale is not None and truth.get("metric"):
        figures["scale_gap_pct"] = 100.0 * abs(report.scale / similarity.scale - 1.0)
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


def _at_size(depth: NDArray[np.floating], truth: dict[str, Any]) -> NDArray[np.float32]:
    size = (truth["width"], truth["height"])
    depth = np.asarray(depth, np.float32)
    if depth.shape[::-1] == size:
        return depth
    return np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST), np.float32)


def _solved_depth(solve_folder: Path, truth: dict[str, Any], number: int) -> NDArray[np.float32] | None:
    depth = _exr_of(solve_folder, "depth", number)
    return None if depth is None else _at_size(depth, truth)


def _exr_of(solve_folder: Path, kind: str, number: int) -> NDArray[np.float32] | None:
    path = solve_folder / kind / f"{number:06d}.exr"
    return files.read_exr(path) if path.is_file() else None


def report_of(solve_folder: Path, truth_folder: Path) -> DepthReport:
    """`evaluate_depth` of a solve folder's `depth` and, where there is one, `confidence`.

    Raises:
        EvaluationError: the truth is incomplete or unreadable.
    """
    return evaluate_depth(
        truth_folder,
        lambda number: _exr_of(solve_folder, "depth", number),
        lambda number: _exr_of(solve_folder, "confidence", number),
    )


def evaluate_depth(truth_folder: Path, depth_of: DepthOf, confidence_of: DepthOf | None = None) -> DepthReport:
    """Depth of any stage against the truth, after one scale for the clip; it is asked for each frame several times.

    Figures, as far as the truth allows: absrel, rmse, d125, absrel_frame, flicker_pct, depth_cover (`depth`);
    worst_absrel, bad_frames (how many are above `BAD_FRAME`); matte_iou, matte_boundary_f (`mattes`);
    depth_boundary_f1, depth_boundary_f2, halo_share, edge_offset_px, edge_crawl_px (`edges`); near_share, thin_recall,
    gap_share, gap_recall (`thin`); with confidence conf_absrel, conf_cover, sure_share, conf_error (`calibration`).
    What tells of outlines, thin things and gaps means something only where the truth is exact there.

    Raises:
        EvaluationError: the truth is incomplete or unreadable.
    """
    truth = _read(truth_folder / "truth.json", "Give the folder that holds truth.json.")
    poses = {f["number"]: np.array(f["world_from_camera"]) for f in truth["frames"] if f["world_from_camera"]}

    def solved(number: int, of: DepthOf | None = depth_of) -> NDArray[np.float32] | None:
        values = of(number) if of else None
        return None if values is None else _at_size(values, truth)

    collected, with_depth = depth_figures.DepthErrors(), {}
    for frame in truth["frames"]:
        depth = solved(frame["number"]) if frame["depth"] else None
        if depth is not None:
            collected.add(depth, true_depth(truth_folder, truth, frame["depth"]))
            with_depth[frame["number"]] = frame["depth"]
    scale = collected.scale
    if scale is None:
        return DepthReport({}, None, {}, [])
    records, shares, reliability = {}, Shares(), Reliability()
    for number, name in with_depth.items():
        depth, after, later = solved(number), solved(number + 1), number + 1
        true = true_depth(truth_folder, truth, name)
        if depth is None:
            continue
        records[number] = (
            depth_figures.frame_errors(depth, true, scale)
            | mattes.plane_matte_errors(depth, true, scale)
            | edges.edge_figures(depth, true, scale)
        )
        if after is not None and truth["lens"] and number in poses and later in poses:
            to_later = rigid_inverse(poses[later]) @ poses[number]
            records[number] |= edges.crawl_figures((depth, after), true, scale, _lens_of(truth), to_later)
        shares.add(depth, true, scale)
        confidence = solved(number, confidence_of)
        if confidence is not None:
            reliability.add(confidence, depth, true, scale)
    absrel = {number: record["absrel"] for number, record in records.items() if "absrel" in record}
    figures = depth_figures.mean_of(records.values()) | collected.summary() | shares.summary() | reliability.summary()
    if absrel:
        figures["worst_absrel"] = max(absrel.values())
        figures["bad_frames"] = float(sum(value > BAD_FRAME for value in absrel.values()))
    diagram = reliability.bins() if reliability.summary() else []
    return DepthReport(figures, scale, absrel, diagram)


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
