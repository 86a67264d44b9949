"""Solve real clips with default settings and score them against their truth: one table.

usage: python bench/real_clips.py [--out DIR] [--preset P] [CLIP ...]

Reads `../shared/data` and `../shared/score/score.py` in place. A clip solved before is taken from its folder's cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
CLIPS = ("kitchen_a", "hololens_table", "garden_orbit", "fox", "apple", "golf")
FIGURES = (
    "registered", "ate_pct", "rot_max_deg", "rot_med_deg", "focal_err_pct", "absrel", "d125", "absrel_frame",
    "flicker_pct", "scale_gap_pct", "reproj_px", "reproj_px_p90",
)  # fmt: skip


def bench(clip: str, out: Path, preset: str) -> dict[str, Any]:
    """Solve and score one clip. Returns the scorer's figures, our own, and what each stage cost."""
    truth, folder = SHARED / "data" / clip, out / f"{clip}.{preset}.solve"
    command = [sys.executable, "-m", "engine", "solve", str(truth / "frames"), "--out", str(folder), "--preset", preset]
    solved = subprocess.run(command, cwd=ROOT, check=False)
    if solved.returncode:
        return {"clip": clip, "failed": solved.returncode}
    score = subprocess.run(
        [sys.executable, str(SHARED / "score" / "score.py"), str(folder), str(truth), "--json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    solve = json.loads((folder / "solve.json").read_text(encoding="utf-8"))
    return {
        "clip": clip,
        "frames": sum(frame["registered"] for frame in solve["frames"]),  # gaps in the numbering cost nothing
        **json.loads(score.stdout),
        "quality": solve["quality"],
        "stages": solve["engine"]["stages"],
    }


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = ["| clip | " + " | ".join(FIGURES) + " | CPU s/frame | peak MB |", "|---" * (len(FIGURES) + 3) + "|"]
    for result in results:
        if "failed" in result:
            lines.append(f"| {result['clip']} | failed with exit code {result['failed']} |")
            continue
        stages = result["stages"].values()
        cpu = sum(stage["cpu_s"] for stage in stages) / result["frames"]
        peak = max(stage["peak_memory_mb"] for stage in stages)
        cells = [f"{result[name]:.4g}" if name in result else "-" for name in FIGURES]
        lines.append(f"| {result['clip']} | " + " | ".join(cells) + f" | {cpu:.2f} | {peak:.0f} |")
    return "\n".join(lines)


def stage_table(results: list[dict[str, Any]]) -> str:
    """CPU seconds per frame and peak memory of each stage, as Markdown."""
    solved = [result for result in results if "failed" not in result]
    names = list(solved[0]["stages"]) if solved else []
    lines = ["| clip | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for result in solved:
        cells = []
        for name in names:
            cost = result["stages"][name]
            cells.append(f"{cost['cpu_s'] / result['frames']:.2f} s, {cost['peak_memory_mb']:.0f} MB")
        lines.append(f"| {result['clip']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", default=CLIPS)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--preset", default="standard")
    options = parser.parse_args()
    if not (SHARED / "data").is_dir():
        sys.exit(f"{SHARED / 'data'} is absent: nothing to measure.")
    options.out.mkdir(parents=True, exist_ok=True)
    results = [bench(clip, options.out.absolute(), options.preset) for clip in options.clips]
    (options.out / f"real_clips.{options.preset}.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(table(results), stage_table(results), sep="\n\n")


if __name__ == "__main__":
    main()
