"""How good the depth of finished solves is, and how honest: one table, and the reliability of their confidence.

usage: python -m bench.depth_figures [--json] SOLVE TRUTH [SOLVE TRUTH ...]

TRUTH is a folder with `truth.json`, of `../shared/data` or `build/shots` (`python -m tests.scenes --thin` renders thin
things). Everything is measured on all frames with true depth, at one scale for a clip, and read in place.

absrel: mean over the frames; worst: of the worst frame, and which; bad: frames over .25, and those of them that neither
verdict nor warnings name. near: of true pixels nearer than half of the frame's true median, the share within 10 %.
edge F: depth edges, tolerance 1 px. thin: of true pixels of things narrower than 13 px, the share whose depth is nearer
to the thing's than to that behind it (logarithmic). gaps: of true pixels seen through gaps narrower than 31 px, the
share within 10 %; gaps, far: the share whose depth is nearer to its own than to that of what bounds the gap. conf >.5:
mean relative error of the pixels of more than .5 confidence, and their share. at 95 %: the largest share of all pixels,
the most confident first, 95 % of which are within 5 %. conf error: expected calibration error. flicker, reproj: as the
scorer has them; instability, drift: as the solve says; crawl: of depth edges, px. sparse: mean relative error of the
points that the cameras were solved with, at a scale of their own. What is thin is told only where truth is rendered.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.clip.track import CameraTrack
from engine.evaluation.compare import DepthReport, evaluate, report_of, true_depth
from engine.geometry.arrays import array_from_pixel, rigid_inverse

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
EXACT = (
    "depth_boundary_f1", "depth_boundary_f2", "halo_share", "edge_offset_px", "edge_crawl_px", "matte_boundary_f",
    "matte_iou", "thin_recall", "gap_share", "gap_recall",
)  # fmt: skip
"""Figures that mean something only where the true depth is exact at outlines."""
DETAILS = ("worst_absrel", "bad_frames", "near_share", "thin_recall", "gap_share", "gap_recall", "depth_boundary_f1")
"""What tells variants of depth apart; without confidence, of which some have none."""

Result = dict[str, Any]


def is_rendered(truth: Path) -> bool:
    """The true depth of this folder is exact, outlines too."""
    return SHARED.resolve() not in truth.resolve().parents


def told(figures: dict[str, float], truth: Path) -> dict[str, float]:
    """Those figures that the truth can tell."""
    return {name: value for name, value in figures.items() if is_rendered(truth) or name not in EXACT}


def measure(solve: Path, truth: Path) -> Result:
    """All figures of a finished solve, its frames that are lost, and the reliability of its confidence."""
    document = json.loads((solve / "solve.json").read_text(encoding="utf-8"))
    quality = document["quality"]
    report = report_of(solve, truth)
    return {
        "clip": json.loads((truth / "truth.json").read_text(encoding="utf-8"))["name"],
        **{name: quality[name] for name in ("instability_pct", "drift_pct") if quality.get(name) is not None},
        **told(evaluate(solve, truth, report), truth),
        **sparse_error(solve, truth),
        **lost_frames(report, " ".join([quality["verdict"], *quality["warnings"]])),
        "reliability": [[b.pixels, b.confidence, b.right] for b in report.reliability],
    }


def lost_frames(report: DepthReport, said: str) -> Result:
    """worst_frame; unnamed: frames over .25 that the words `said` do not name."""
    if not report.absrel:
        return {}
    worst = max(report.absrel, key=lambda number: report.absrel[number])
    return {"worst_frame": worst, "unnamed": sorted(set(report.bad_frames()) - named_frames(said))}


def named_frames(said: str) -> set[int]:
    """The numbers that follow "frame" or "frames" in words: "frame 7", "frames 288-304, 310 and 312"."""
    number = r"\d+(?: ?(?:-|to) ?\d+)?"
    named = set()
    for found in re.finditer(rf"[Ff]rames? ({number}(?:(?:, and |, | and ){number})*)", said):
        for part in re.findall(number, found[1]):
            first, *last = (int(n) for n in re.findall(r"\d+", part))
            named |= set(range(first, (last or [first])[0] + 1))
    return named


def sparse_error(solve: Path, truth: Path) -> dict[str, float]:
    """sparse_absrel: mean relative error of the depth of the sparse points where they were seen; needs the cache."""
    folders = sorted((solve / "cache").glob("poses-*/track.json"), key=lambda path: path.stat().st_mtime)
    if not folders:
        return {}
    track, ratios = CameraTrack.load(folders[-1].parent), []
    described = json.loads((truth / "truth.json").read_text(encoding="utf-8"))
    points, size = track.points, np.array([described["width"], described["height"]])
    for frame in described["frames"]:
        seen = points.observation_frame == frame["number"]
        pose = track.world_from_camera.get(frame["number"])
        if frame["depth"] is None or pose is None or not seen.any():
            continue
        camera_from_world = rigid_inverse(pose)
        depth = points.xyz[points.observation_point[seen]] @ camera_from_world[2, :3] + camera_from_world[2, 3]
        scaled = points.observation_pixel[seen] * (size / [track.lens.width, track.lens.height])
        at = np.clip(np.round(array_from_pixel(scaled)).astype(int), 0, size - 1)
        true = true_depth(truth, described, frame["depth"])[at[:, 1], at[:, 0]]
        good = (true > 0) & (depth > 0)
        ratios.append(true[good] / depth[good])
    if not ratios or not sum(map(len, ratios)):
        return {}
    ratio = np.concatenate(ratios)
    return {"sparse_absrel": float(np.abs(np.median(ratio) / ratio - 1.0).mean())}


# --- tables ---


def _number(name: str) -> Callable[[Result], str]:
    return lambda result: f"{round(result[name], 4):.3g}" if name in result else "-"


def _worst(result: Result) -> str:
    return f"{result['worst_absrel']:.3g} ({result['worst_frame']})" if "worst_frame" in result else "-"


def _bad(result: Result) -> str:
    unnamed = result.get("unnamed", [])
    count = f"{result.get('bad_frames', 0.0):.0f}"
    return f"{count}, unnamed: {' '.join(map(str, unnamed))}" if unnamed else count


COLUMNS: dict[str, Callable[[Result], str]] = {
    "clip": lambda result: str(result["clip"]),
    "absrel": _number("absrel"),
    "worst": _worst,
    "bad": _bad,
    "near": _number("near_share"),
    "edge F": _number("depth_boundary_f1"),
    "thin": _number("thin_recall"),
    "gaps": _number("gap_share"),
    "gaps, far": _number("gap_recall"),
    "conf >.5": _number("conf_absrel"),
    "its share": _number("conf_cover"),
    "at 95 %": _number("sure_share"),
    "conf error": _number("conf_error"),
    "flicker %": _number("flicker_pct"),
    "instability %": _number("instability_pct"),
    "drift %": _number("drift_pct"),
    "reproj px": _number("reproj_px"),
    "crawl px": _number("edge_crawl_px"),
    "sparse": _number("sparse_absrel"),
}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(results: list[Result]) -> str:
    """A line for each solve."""
    return markdown(list(COLUMNS), [[show(result) for show in COLUMNS.values()] for result in results])


def reliability_table(results: list[Result]) -> str:
    """For each tenth of the confidence: share of the pixels, their mean confidence, the share within 5 %."""
    rows = []
    for result in results:
        total = sum(pixels for pixels, _, _ in result["reliability"])
        cells = [f"{pixels / total:.2f}: {conf:.2f} {right:.2f}" if pixels else "-"
                 for pixels, conf, right in result["reliability"]]  # fmt: skip
        rows += [[str(result["clip"]), *cells]] if cells else []
    return markdown(["clip", *(f"{k / 10:.1f}-{(k + 1) / 10:.1f}" for k in range(10))], rows)


def tables(results: list[Result]) -> str:
    """Both."""
    return f"{table(results)}\n\nShare of the pixels: confidence, right\n\n{reliability_table(results)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="SOLVE TRUTH")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if len(options.folders) % 2:
        parser.error("each solve folder needs its truth folder")
    pairs = zip(options.folders[::2], options.folders[1::2], strict=True)
    results = [measure(solve, truth) for solve, truth in pairs]
    print(json.dumps(results, indent=1) if options.json else tables(results))


if __name__ == "__main__":
    main()
