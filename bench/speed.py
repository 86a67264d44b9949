"""What a solve costs: each stage against length and size of the clip, and depth against the published training loop.

usage: python -m bench.speed growth [--out DIR] [--frames N,...] [--widths W,...] [--preset P] [--device D]
       python -m bench.speed loop [--out DIR] [--device D] [CLIP ...]

`growth` solves the walk of `bench.long_clip` at 1080p, cut off after N frames, and its first frames at other widths
(16:9), and prints for each stage CPU seconds per frame, wall seconds per frame, peak memory, and how each grows: the
exponent of its cost over the number of frames, 1 where it is linear. Solves that are there are not made again.

`loop` trains CVD's published loop to its end (its losses, constant rate, batches of four pairs, 20 epochs over all of
them, from the weights that ship, seeing pictures alone) and the engine's own (which `--method deepv2d+cvd` and others
end with: the network sees what was measured, and learns from it and from the same pairs) until its loss, of the
published form over all pairs, is as low. The engine's seconds count the plane sweep that it starts from. CLIP as in
`bench.depth`. On a CPU seconds are of one thread's work; on a GPU they are wall seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.depth import Case, cases_of
from bench.long_clip import make
from engine.depth.data import TrainingData
from engine.depth.network import load_network
from engine.depth.settings import PRESETS, DepthSettings
from engine.depth.training import DISPARITY_WEIGHT, PUBLISHED_RATE, TUNE_RATE, over_pairs, step_loss
from engine.pipeline import solve
from engine.priors.builtin import WEIGHTS
from engine.request import STAGES, FootageRequest, PriorRequest, Request

ROOT = Path(__file__).resolve().parent.parent
FULL_WIDTH = 1920
SHORT = 30  # frames, where the width changes
PAIRS_AT_ONCE = 8
LOOK_EVERY = 6  # steps, at the loss of the engine's own loop over all pairs

Row = dict[str, Any]


# --- growth ---


def grown(out: Path, frames: int, width: int, preset: str, device: str) -> Row:
    """A solve of the walk's first frames at a width, and what its stages have cost."""
    folder = out / f"walk_{width}"
    make(folder, frames, width, width * 9 // 16)
    target = out / f"walk_{width}_{frames}_{preset}.solve"
    if not (target / "solve.json").is_file():
        plate = FootageRequest(folder / "frames", last=frames)
        solve(Request(plate, target, preset=preset, prior=PriorRequest("builtin"), device=device), _tell)
    document = json.loads((target / "solve.json").read_text(encoding="utf-8"))
    solved = sum(frame["registered"] for frame in document["frames"])
    return {"frames": frames, "width": width, "solved": solved, "stages": document["engine"]["stages"]}


def _tell(event: dict[str, Any]) -> None:
    if event.get("type") in ("stage_started", "stage_done"):
        print(event.get("stage"), event["type"], event.get("data"), flush=True)


def growth_tables(rows: Sequence[Row]) -> str:
    """Cost per frame of each stage, peak memory, and exponents over the number of frames."""
    names = [name for name in STAGES if any(name in row["stages"] for row in rows)]
    lines = []
    for title, unit in (("CPU seconds a frame", "cpu_s"), ("Wall seconds a frame", "wall_s")):
        lines += [f"\n## {title}\n", *_heading(names)]
        for row in rows:
            costs = [row["stages"].get(name, {}).get(unit, 0.0) / row["frames"] for name in names]
            lines.append(_line(row, [f"{cost:.3f}" for cost in (*costs, sum(costs))]))
    lines += ["\n## Peak memory, MB\n", *_heading(names)]
    for row in rows:
        peaks = [row["stages"].get(name, {}).get("peak_memory_mb", 0.0) for name in names]
        lines.append(_line(row, [f"{peak:.0f}" for peak in (*peaks, max(peaks))]))
    lines += ["\n## Growth: exponent of CPU seconds over the number of frames\n", "| stage | exponent |", "|---|---|"]
    full = [row for row in rows if row["width"] == FULL_WIDTH]
    for name in names:
        points = [(row["frames"], row["stages"][name]["cpu_s"]) for row in full if name in row["stages"]]
        if len(points) > 1 and all(cost > 0 for _, cost in points):
            lengths, costs = np.log(np.array(points)).T
            slope = float(np.polyfit(lengths, costs, 1)[0])
            lines.append(f"| {name} | {slope:.2f} |")
    return "\n".join(lines)


def _heading(names: Sequence[str]) -> list[str]:
    return ["| frames | width | solved | " + " | ".join(names) + " | all |", "|---" * (len(names) + 4) + "|"]


def _line(row: Row, cells: Sequence[str]) -> str:
    return f"| {row['frames']} | {row['width']} | {row['solved']} | " + " | ".join(cells) + " |"


# --- the published loop ---


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds: of this process on a CPU, of the wall on a GPU."""
    if device.type == "cpu":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.monotonic()

    return now


@torch.no_grad()
def loss_of_all_pairs(depth: Callable[[list[int]], torch.Tensor], data: TrainingData, device: torch.device) -> float:
    """CVD's loss (eq. 7-12, unbounded), mean over all pairs and both directions.

    Args:
        depth: gives the depth (B, 1, h, w) of rows of the clip on the half grid, in units of its median.
        data: of the clip.
        device: where to compute.
    """
    row = {number: k for k, number in enumerate(data.numbers)}
    total = 0.0
    for start in range(0, len(data.pairs), PAIRS_AT_ONCE):
        chosen = list(range(len(data.pairs)))[start : start + PAIRS_AT_ONCE]
        pairs = [data.pairs[k] for k in chosen]
        both = torch.cat([depth([row[p.first] for p in pairs]), depth([row[p.second] for p in pairs])])
        spatial, disparity = over_pairs(both, data, chosen, False, device)
        total += len(chosen) * float(spatial + DISPARITY_WEIGHT * disparity)
    return total / len(data.pairs)


def trained(
    case: Case, settings: DepthSettings, steps: int, every: int, device: torch.device, enough: float = -math.inf
) -> list[tuple[int, float, float]]:
    """(step, seconds, loss over all pairs) `every` so many steps of a training, until the loss is `enough`."""
    data, now = case.data(settings), clock(device)
    network = load_network(WEIGHTS, device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=PUBLISHED_RATE if settings.published_epochs else TUNE_RATE)

    def depth(rows: list[int]) -> torch.Tensor:
        hidden = torch.ones((len(rows), 1, *data.images.shape[-2:])) if settings.published_epochs else None
        return torch.as_tensor(network(data.inputs(rows, device, hidden)).exp())

    spent, curve = 0.0, [(0, 0.0, loss_of_all_pairs(depth, data, device))]
    while curve[-1][0] < steps and curve[-1][2] > enough:
        start = now()
        for step in range(curve[-1][0], min(curve[-1][0] + every, steps)):
            loss = step_loss(network, data, settings, case.request.seed, step, "pairs", device)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), math.inf if settings.published_epochs else 1.0)
            optimiser.step()
        spent += now() - start
        curve.append((step + 1, spent, loss_of_all_pairs(depth, data, device)))
        print(f"{case.name}: step {step + 1}, {spent:.1f} s, loss {curve[-1][2]:.4f}", flush=True)
    return curve


def compared(case: Case, device: torch.device) -> Row:
    """The published loop against the engine's own on a clip."""
    published, own = PRESETS["cvd-2020"], replace(PRESETS["standard"], photometric_steps=0.0)
    pairs = len(case.data(published).pairs)
    epoch = -(-pairs // published.batch_pairs)
    steps = published.published_epochs * epoch
    theirs = trained(case, published, steps, epoch, device)
    final = theirs[-1][2]
    ours = trained(case, own, steps, LOOK_EVERY, device, final)
    record = json.loads((case.stages["evidence"] / "stage.json").read_text(encoding="utf-8"))
    sweep = float(record["cost"]["cpu_s" if device.type == "cpu" else "wall_s"])
    return {
        "clip": case.name,
        "frames": len(case.numbers),
        "pairs": pairs,
        "sweep_s": sweep,
        "start": (theirs[0][2], ours[0][2]),
        "theirs": theirs[-1],
        "ours": ours[-1],
        "reached": ours[-1][2] <= final,
        "ratio": theirs[-1][1] / (sweep + ours[-1][1]),
    }


def loop_table(rows: Sequence[Row]) -> str:
    """Rows of `compared` as Markdown."""
    lines = [
        "\n## The published loop and the engine's own, to the same loss\n",
        "| clip | frames, pairs | published: steps | loss | seconds | own: steps | loss | sweep + seconds | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        (their_steps, their_s, their_loss), (steps, seconds, loss) = row["theirs"], row["ours"]
        before, start = row["start"]
        ratio = f"{row['ratio']:.1f}" if row["reached"] else "not reached"
        lines.append(
            f"| {row['clip']} | {row['frames']}, {row['pairs']} | {their_steps} | {before:.3f} to {their_loss:.3f} | "
            f"{their_s:.0f} | {steps} | {start:.3f} to {loss:.3f} | {row['sweep_s']:.0f} + {seconds:.0f} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("growth", "loop"))
    parser.add_argument("clips", nargs="*", default=["room", "kitchen_short"])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench_speed")
    parser.add_argument("--frames", type=_numbers, default=(30, 100, 300, 1000))
    parser.add_argument("--widths", type=_numbers, default=(854, 1280, 3840))
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_intermixed_args()  # clips come after the options too
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "loop":
        if options.device == "cpu":
            torch.set_num_threads(1)
        device = torch.device(options.device)
        print(loop_table([compared(case, device) for case in cases_of(options.clips, options.out)]))
        return
    shapes = [(SHORT, width) for width in options.widths] + [(frames, FULL_WIDTH) for frames in options.frames]
    rows = [grown(options.out, frames, width, options.preset, options.device) for frames, width in shapes]
    print(growth_tables(rows))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
