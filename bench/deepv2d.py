"""DeepV2D against `cvd`, against itself with fewer rounds and views, and with poses that are wrong. Prints its tables.

usage: python -m bench.deepv2d [--out DIR] [--frames N] [--full] [--only TABLE,...] [CLIP ...]

CLIP is a folder with `truth.json` and true depth, of `../shared/data` or `build/shots` (`python -m tests.scenes`).
Those that are not there are left out. Tables: `solves` (whole solves by the command line, each method in the same run,
scored by `engine evaluate`), `rounds` (error after each round, from true poses and from none), `views` (error with so
many views, at true poses) and `perturbed` (true poses moved by 2 degrees and 5 % of the depth, motion module off and
on). All but `solves` work on N frames with the truth at hand. Costs: CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.work import WorkClip, work_size
from engine.deepv2d import se3
from engine.deepv2d.alternate import Alternated, Alternation, DeepV2DSettings
from engine.evaluation.depth import DepthErrors, frame_errors, mean_of
from engine.evaluation.trajectory import compare_tracks
from engine.geometry.arrays import Lens
from engine.networks.deepv2d import load_deepv2d
from engine.progress import Silent

ROOT = Path(__file__).resolve().parent.parent
CLIPS = tuple(ROOT.parent / "shared" / "data" / name for name in ("kitchen_a", "kitchen_short", "hololens_table"))
SHOTS = tuple(ROOT / "build" / "shots" / name for name in ("orbit", "forward_walk", "sideways_walk"))
LONG_SIDE = 256
NO_DEPTH = 65535
SPARSE = 60  # true depths a frame has for sparse points
TURNED, MOVED = 2.0, 0.05  # degrees, and share of the median depth
METHODS: dict[str, tuple[str, ...]] = {
    "cvd": ("--method", "cvd"),
    "deepv2d": ("--method", "deepv2d"),
    "deepv2d+cvd": ("--method", "deepv2d+cvd"),
    "deepv2d, own cameras": ("--method", "deepv2d", "--camera", "deepv2d"),
}
SCORES = ("ate_pct", "rot_med_deg", "focal_err_pct", "absrel", "d125", "flicker_pct")
COST = "CPU s/frame"
FIGURES = ("absrel", "d125", "ate_pct", "rot_med_deg")

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A clip with its truth: `depth` (N, h, w) on the half grid, 0 = none."""

    name: str
    clip: WorkClip
    depth: NDArray[np.float32]


def load_case(folder: Path, count: int) -> Case:
    """`count` neighbouring frames of a clip with true pose and depth, from its middle."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    known = [f for f in truth["frames"] if f["world_from_camera"] is not None and f["depth"] is not None]
    start = max(0, (len(known) - count) // 2)
    chosen = known[start : start + count]
    given = truth["lens"]
    lens = Lens("PINHOLE", truth["width"], truth["height"], *(given[name] for name in ("fx", "fy", "cx", "cy")))
    width, height = work_size(lens.width, lens.height, LONG_SIDE)
    rng = np.random.default_rng(0)
    images, depths, sparse = [], [], []
    for frame in chosen:
        picture = cv2.imread(str(folder / frame["file"]))
        raw = cv2.imread(str(folder / frame["depth"]), cv2.IMREAD_UNCHANGED)
        assert picture is not None and raw is not None, f"{folder}: frame {frame['number']} cannot be read"
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        images.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
        clean = np.where(raw == NO_DEPTH, 0, raw).astype(np.float32) * truth["depth_to_unit"]
        depth = cv2.resize(clean, (width // 2, height // 2), interpolation=cv2.INTER_NEAREST)
        depths.append(depth)
        line, column = np.nonzero(depth)
        some = rng.choice(len(line), min(SPARSE, len(line)), replace=False)
        places = 2.0 * np.stack([column[some] + 0.5, line[some] + 0.5], -1)
        sparse.append((places, depth[line[some], column[some]].astype(np.float64)))
    clip = WorkClip(
        numbers=np.array([frame["number"] for frame in chosen]),
        images=np.stack(images).astype(np.uint8),
        lens=lens.scaled(width, height),
        world_from_camera=_orthonormal(np.array([frame["world_from_camera"] for frame in chosen])),
        sparse=tuple(sparse),
    )
    return Case(folder.name, clip, np.stack(depths).astype(np.float32))


def _orthonormal(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest rigid motions: some truth is written with few digits, and a thousandth there is a degree of angle."""
    u, _, vt = np.linalg.svd(poses[:, :3, :3])
    rigid = poses.copy()
    rigid[:, :3, :3] = u @ vt
    return rigid


def score(case: Case, found: Alternated) -> Row:
    """Depth after one scale for the clip, and cameras."""
    errors = DepthErrors()
    for depth, true in zip(found.depth, case.depth, strict=True):
        errors.add(depth, true)
    scale = errors.scale or 1.0
    frames = [frame_errors(depth, true, scale) for depth, true in zip(found.depth, case.depth, strict=True)]
    return {**mean_of(frames), **compare_tracks(found.world_from_camera, case.clip.world_from_camera)}


def alternate(case: Case, clip: WorkClip, posed: bool, settings: DeepV2DSettings, folder: Path) -> Row:
    """Figures of an alternation and its CPU seconds per frame; it goes on from what is in `folder`."""
    device = torch.device("cpu")
    start = time.process_time()
    found = Alternation(load_deepv2d(device), clip, posed, settings, device).run(folder, Silent())
    cost = (time.process_time() - start) / len(clip.numbers)
    return {"clip": case.name, **score(case, found), COST: cost}


def rounds(case: Case, full: bool) -> list[Row]:
    """Error after so many rounds; each goes on from the one before, and its cost is its own."""
    lost = replace(case.clip, world_from_camera=np.tile(np.eye(4), (len(case.clip.numbers), 1, 1)), sparse=())
    rows = []
    for start, clip, posed in (("true poses", case.clip, True), ("identity", lost, False)):
        with tempfile.TemporaryDirectory() as folder:
            for count in range(1, 9 if full else 7):
                settings = DeepV2DSettings(rounds=count)
                rows.append({"start": start, "rounds": count, **alternate(case, clip, posed, settings, Path(folder))})
    return rows


def views(case: Case, full: bool) -> list[Row]:
    """Error against the number of views, at true poses."""
    rows = []
    for count in range(1, 9) if full else (1, 2, 4, 8):
        settings = DeepV2DSettings(rounds=1, views=count, looks=0)
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"views": count, **alternate(case, case.clip, True, settings, Path(folder))})
    return rows


def perturbed(case: Case, full: bool) -> list[Row]:
    """Poses turned by 2 degrees and moved by 5 % of the median depth, each frame its own way; motion off and on."""
    rng = np.random.default_rng(0)
    count = len(case.clip.numbers)
    depth = float(np.median(np.concatenate([values for _, values in case.clip.sparse])))
    way = rng.normal(size=(2, count, 3))
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    twist = torch.from_numpy(np.concatenate([MOVED * depth * way[0], np.radians(TURNED) * way[1]], -1))
    moved = replace(case.clip, world_from_camera=case.clip.world_from_camera @ se3.exp(twist).numpy())
    still, moving = DeepV2DSettings(rounds=1, looks=0), DeepV2DSettings(rounds=8 if full else 5)
    rows = []
    for name, clip, settings in (
        ("true, motion off", case.clip, still),
        ("true, motion on", case.clip, moving),
        ("perturbed, motion off", moved, still),
        ("perturbed, motion on", moved, moving),
    ):
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"poses": name, **alternate(case, clip, True, settings, Path(folder))})
    return rows


def solves(folder: Path, out: Path, preset: str) -> list[Row]:
    """Whole solves by each method."""
    rows = []
    for name, words in METHODS.items():
        solved = out / f"{folder.name}.{name.replace(', ', '-').replace(' ', '-')}.solve"
        command = ["-m", "engine", "solve", str(folder / "frames"), "--out", str(solved), "--preset", preset, *words]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            rows.append({"clip": folder.name, "method": name, "failed": f"exit code {done.returncode}"})
            continue
        evaluate = ["-m", "engine", "evaluate", str(solved), "--truth", str(folder), "--json"]
        scored = subprocess.run([sys.executable, *evaluate], cwd=ROOT, check=True, capture_output=True, text=True)
        frames = json.loads((solved / "solve.json").read_text(encoding="utf-8"))["frames"]
        figures = json.loads(scored.stdout)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows.append({
            "clip": folder.name, "method": name,
            **{figure: figures[figure] for figure in SCORES if figure in figures},
            COST: cpu / sum(frame["registered"] for frame in frames),
        })  # fmt: skip
    return rows


def table(title: str, rows: list[Row]) -> str:
    """Rows as Markdown, with every column that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if not isinstance(rows[0].get(name), float) or name in (*SCORES, *FIGURES, COST)]
    lines = [f"\n## {title}\n", "| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in rows:
        cells = [row.get(name, "-") for name in names]
        lines.append("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[Case, bool], list[Row]]] = {"rounds": rounds, "views": views, "perturbed": perturbed}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, default=[*CLIPS, *SHOTS])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench_deepv2d")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--preset", default="preview")
    parser.add_argument("--full", action="store_true", help="every number of rounds and views")
    parser.add_argument("--only", help="tables, separated by commas")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = options.only.split(",") if options.only else ["solves", *TABLES]
    folders = [folder for folder in options.clips if (folder / "truth.json").exists()]
    options.out.mkdir(parents=True, exist_ok=True)
    if "solves" in wanted:
        print(table("solves", [row for folder in folders for row in solves(folder, options.out, options.preset)]))
    for name, measure in TABLES.items():
        if name in wanted:
            found = [row for folder in folders for row in measure(load_case(folder, options.frames), options.full)]
            print(table(name, found), flush=True)


if __name__ == "__main__":
    main()
