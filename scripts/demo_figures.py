# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo against the known truth: camera, depth, and the mattes of the inserted ball.

Runs in the engine's environment. Writes demo.json into --out and prints the figures and where everything is.
"""

from __future__ import annotations

import argparse
import io
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
from engine.evaluation.mattes import Mask, boundary_f, intersection_over_union
from engine.geometry.arrays import Lens, distort_map, pixel_centres

WAYS = {"COMPOSITOR": "depth compare", "HOLDOUT": "held-out depth mesh"}
PARTLY = 0.05  # a frame counts when at least this share of the ball is hidden, and at least this share is not

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
        mattes = matte_figures(options.solve, options.truth, options.out)
    except CvdError as error:
        print(f"error: {error.what}\n  why: {error.why}\n  fix: {error.fix}", file=sys.stderr)
        return error.exit_code
    files.write_json(options.out / "demo.json", {"solve": solve_figures, "mattes": mattes})

    print("\nAgainst the known truth")
    for name, words, unit in FIGURES:
        if name in solve_figures:
            print(f"  {words:34} {solve_figures[name]:8.3f} {unit}")
    for way, words in WAYS.items():
        figure = mattes[way]
        spread = f"frame by frame {figure['iou_frame_mean']:.3f} on average, {figure['iou_frame_worst']:.3f} at worst"
        print(f"  matte by {words:25} {figure['iou']:8.3f} IoU ({spread})")
    hidden = [frame["hidden"] for frame in mattes["frames"].values()]
    print(f"  (mattes: {len(hidden)} frames in which {min(hidden):.0%} to {max(hidden):.0%} of the ball is hidden)")
    print("\nLook at")
    for words, path in (
        ("scene", options.out / "room.blend"),
        ("composite movie", options.out / "composite.mp4"),
        ("composite stills", options.out / "composite"),
        ("depth video", options.solve / "depth.mp4"),
        ("report", options.solve / "report.html"),
        ("figures", options.out / "demo.json"),
    ):
        print(f"  {words:18} {path}")
    return 0


def matte_figures(solve_folder: Path, truth_folder: Path, out: Path) -> dict[str, Any]:
    """IoU and boundary F of the visible part of the ball, for each way of occlusion.

    `iou` is over the pixels of all frames that count together, `iou_frame_*` over the frames one by one, in which a
    sliver of the ball counts as much as a half.

    True: the exact ball, seen by the true camera, is nearer than the true depth. Estimated: at least half of the pixel
    shows the ball, as rendered by the solved camera and depth. Frames in which it is not partly hidden do not count.

    Raises:
        EvaluationError: no frame counts, or a picture is missing.
    """
    truth = json.loads((truth_folder / "truth.json").read_text(encoding="utf-8"))
    ball = json.loads((out / "ball.json").read_text(encoding="utf-8"))
    lens = solved_lens(solve_folder)
    frames: dict[str, dict[str, float]] = {}
    visible_all: list[Mask] = []
    shown_all: dict[str, list[Mask]] = {way: [] for way in WAYS}
    for frame in truth["frames"]:
        if frame["depth"] is None:
            continue
        name = f"{frame['number']:06d}"
        real = read_png(truth_folder / frame["depth"]) * truth["depth_to_unit"]
        real = np.where(real > 0, real, np.inf)  # out of the window
        cg = ball_depth(
            truth, np.array(frame["world_from_camera"]), ball["centres"][str(frame["number"])], ball["radius"]
        )
        visible = cg < real
        hidden = 1.0 - visible.sum() / max(np.isfinite(cg).sum(), 1)
        if not PARTLY <= hidden <= 1.0 - PARTLY:
            continue
        frames[name] = {"hidden": float(hidden), "visible_px": float(visible.sum())}
        visible_all.append(visible)
        for way in WAYS:
            shown = on_plate(read_png(out / "matte" / way / f"{name}.png"), lens) > 0.5
            shown_all[way].append(shown)
            frames[name][f"{way}_iou"] = intersection_over_union(shown, visible)
            frames[name][f"{way}_boundary_f"] = boundary_f(shown, visible)
    if not frames:
        raise EvaluationError(
            "demo.never_hidden",
            "No frame shows the ball partly hidden.",
            f"None that has true depth shows {PARTLY:.0%} to {1 - PARTLY:.0%} of it hidden.",
            "Restore the folder sample/ and run the demo again.",
        )
    result: dict[str, Any] = {"frames": frames}
    for way in WAYS:
        ious = [frame[f"{way}_iou"] for frame in frames.values()]
        edges = [frame[f"{way}_boundary_f"] for frame in frames.values()]
        result[way] = {
            "iou": intersection_over_union(np.stack(shown_all[way]), np.stack(visible_all)),
            "iou_frame_mean": float(np.mean(ious)),
            "iou_frame_worst": min(ious),
            "boundary_f": float(np.mean(edges)),
        }
    return result


def solved_lens(solve_folder: Path) -> Lens:
    """The solved lens of the plate."""
    document = json.loads((solve_folder / "solve.json").read_text(encoding="utf-8"))
    size = {name: document["source"][name] for name in ("width", "height")}
    return Lens(**size, **{name: document["lens"][name] for name in Lens.__dataclass_fields__ if name not in size})


def on_plate(matte: NDArray[np.unsignedinteger[Any]], lens: Lens) -> NDArray[np.float32]:
    """A rendered matte (H, W), which shows no lens distortion, on the pixels of the plate, 0..1."""
    share = matte.astype(np.float32) / np.iinfo(matte.dtype).max
    return np.asarray(cv2.remap(share, *distort_map(lens, lens.undistorted()), cv2.INTER_LINEAR), np.float32)


def ball_depth(
    truth: dict[str, Any], world_from_camera: NDArray[np.float64], centre: Sequence[float], radius: float
) -> NDArray[np.float64]:
    """Exact planar depth (H, W) of a ball, one ray through each pixel's centre; infinite where it is not hit."""
    lens = truth["lens"]
    pixels = pixel_centres(truth["height"], truth["width"])
    x, y = (pixels[..., 0] - lens["cx"]) / lens["fx"], (pixels[..., 1] - lens["cy"]) / lens["fy"]
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    middle = world_from_camera[:3, :3].T @ (np.array(centre) - world_from_camera[:3, 3])
    # |depth * ray - middle| = radius, the nearer solution.
    along, square = rays @ middle, (rays**2).sum(axis=-1)
    root = along**2 - square * (middle @ middle - radius**2)
    return np.where(root > 0, (along - np.sqrt(np.maximum(root, 0))) / square, np.inf)


def read_png(path: Path) -> NDArray[np.unsignedinteger[Any]]:
    """First channel (H, W) of a PNG."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise EvaluationError(
            "demo.no_picture", f"Cannot read {path}.", "It is missing or damaged.", "Run the demo again."
        )
    return np.asarray(pixels.reshape(*pixels.shape[:2], -1)[..., 0])


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are in every script
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
