# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo against the known truth: camera, depth, and the mattes of the inserted object.

Runs in the engine's environment. Writes demo.json into --out and prints the figures and where everything is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import files
from engine.errors import CvdError, EvaluationError
from engine.evaluation.compare import evaluate
from engine.evaluation.mattes import boundary_f, intersection_over_union

WAYS = {"compare": "depth compare in the compositor", "holdout": "held-out depth mesh"}
PARTLY = 0.02  # a frame counts when at least this share of the object is hidden, and at least this share is not

FIGURES = (  # name in `evaluate`, words, unit
    ("registered", "frames placed", ""),
    ("ate_pct", "camera position (ATE)", "% of the path"),
    ("rot_max_deg", "camera rotation, worst", "degrees"),
    ("focal_err_pct", "focal length", "%"),
    ("absrel", "depth (AbsRel, one scale)", ""),
    ("d125", "depth within 25 %", ""),
    ("flicker_pct", "depth flicker", "%"),
    ("scale_gap_pct", "depth scale against camera scale", "%"),
    ("reproj_px", "sliding", "px"),
)


def main(arguments: Sequence[str]) -> int:
    """Measure and print. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solve", type=Path, required=True, help="solve folder of the sample")
    parser.add_argument("--truth", type=Path, required=True, help="folder with truth.json")
    parser.add_argument("--out", type=Path, required=True, help="where demo_scene.py wrote")
    options = parser.parse_args(arguments)
    try:
        solve_figures = evaluate(options.solve, options.truth)
        mattes = matte_figures(options.truth, options.out / "mattes")
    except CvdError as error:
        print(f"error: {error.what}\n  why: {error.why}\n  fix: {error.fix}", file=sys.stderr)
        return error.exit_code
    files.write_json(options.out / "demo.json", {"solve": solve_figures, "mattes": mattes})

    print("\nAgainst the known truth")
    for name, words, unit in FIGURES:
        if name in solve_figures:
            print(f"  {words:34} {solve_figures[name]:8.3f} {unit}")
    for way, words in WAYS.items():
        print(f"  matte by {words:25} {mattes[way]['iou']:8.3f} IoU (worst frame {mattes[way]['iou_worst']:.3f})")
    hidden = [frame["hidden"] for frame in mattes["frames"].values()]
    print(f"  (mattes: {len(hidden)} frames in which {min(hidden):.0%} to {max(hidden):.0%} of the object is hidden)")
    print("\nLook at")
    for words, path in (
        ("scene", options.out / "room.blend"),
        ("composite movie", options.out / "composite.mp4"),
        ("composite stills", options.out / "stills"),
        ("depth video", options.solve / "depth.mp4"),
        ("report", options.solve / "report.html"),
        ("figures", options.out / "demo.json"),
    ):
        print(f"  {words:18} {path}")
    return 0


def matte_figures(truth_folder: Path, mattes: Path) -> dict[str, Any]:
    """IoU and boundary F of the visible part of the object, for each way of occlusion.

    True: the object, rendered with the true camera, is nearer than the true depth. Estimated: at least half of the
    pixel shows the object, by the solved camera and depth. Frames in which it is not partly hidden do not count.

    Raises:
        EvaluationError: no frame counts, or a picture is missing.
    """
    truth = json.loads((truth_folder / "truth.json").read_text(encoding="utf-8"))
    frames: dict[str, dict[str, float]] = {}
    for frame in truth["frames"]:
        name = f"{frame['number']:06d}"
        if frame["depth"] is None or not (mattes / "compare" / f"{name}.png").is_file():
            continue
        real = read_png(truth_folder / frame["depth"]) * truth["depth_to_unit"]
        cg = files.read_exr(mattes / "truth" / f"{name}.exr")
        visible = (cg > 0) & (cg < real)
        hidden = 1.0 - visible.sum() / max((cg > 0).sum(), 1)
        if not PARTLY <= hidden <= 1.0 - PARTLY:
            continue
        frames[name] = {"hidden": float(hidden), "visible_px": float(visible.sum())}
        for way in WAYS:
            share = read_png(mattes / way / f"{name}.png")
            shown = share > np.iinfo(share.dtype).max // 2
            frames[name][f"{way}_iou"] = intersection_over_union(shown, visible)
            frames[name][f"{way}_boundary_f"] = boundary_f(shown, visible)
    if not frames:
        raise EvaluationError(
            "demo.never_hidden",
            "No frame shows the object partly hidden.",
            f"None that was placed and has true depth shows {PARTLY:.0%} to {1 - PARTLY:.0%} of it hidden.",
            "Look at the composites: the solve has probably placed too few frames.",
        )
    result: dict[str, Any] = {"frames": frames}
    for way in WAYS:
        ious = [frame[f"{way}_iou"] for frame in frames.values()]
        edges = [frame[f"{way}_boundary_f"] for frame in frames.values()]
        result[way] = {"iou": float(np.mean(ious)), "iou_worst": min(ious), "boundary_f": float(np.mean(edges))}
    return result


def read_png(path: Path) -> NDArray[np.unsignedinteger[Any]]:
    """First channel (H, W) of a PNG."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise EvaluationError(
            "demo.no_picture", f"Cannot read {path}.", "It is missing or damaged.", "Run the demo again."
        )
    return np.asarray(pixels.reshape(*pixels.shape[:2], -1)[..., 0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
