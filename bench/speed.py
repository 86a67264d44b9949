"""What a solve costs: each stage against length and size of the clip, and depth against the published training loop.

usage: python -m bench.speed growth [--out DIR] [--frames N,...] [--widths W,...] [--preset P] [--device D]
       python -m bench.speed loop [--out DIR] [--epochs N] [--device D] [CLIP ...]

`growth` solves the walk of `bench.long_clip`, at three times its pace and 1080p, cut off after N frames, and its first
frames at other widths (16:9), and prints for each stage CPU seconds per frame, wall seconds per frame, peak memory, and
how each grows: the exponent of its cost over the number of frames, 1 where it is linear. Solves that are there are not
made again.

`loop` trains CVD's published loop (its losses, rate, batches of pairs, from the same weights, over the same pairs) and
says when its loss over all pairs comes down to that of the default's depth, and what the default's depth had cost by
then. CLIP as in `bench.depth`. On a CPU seconds are of one thread's work; on a GPU they are wall seconds.
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
from torch.nn.functional import avg_pool2d

from bench.depth import Case, cases_of
from bench.long_clip import make
from engine.depth.data import TrainingData
from engine.depth.network import DepthNetwork, load_network
from engine.depth.settings import PRESETS, settings_of
from engine.depth.training import DISPARITY_WEIGHT, PUBLISHED_RATE, over_pairs, step_loss
from engine.footage import frame_name
from engine.pipeline import solve
from engine.priors.builtin import WEIGHTS
from engine.request import STAGES, FootageRequest, PriorRequest, Request

ROOT = Path(__file__).resolve().parent.parent
FULL_WIDTH = 1920
SHORT = 30  # frames, where the width changes
AROUND = 200.0  # frames for once around the room: a few frames must show depth
PAIRS_AT_ONCE = 8
LOOKS = 4  # at the loss over all pairs, in an epoch

Row = dict[str, Any]


# --- growth ---


def grown(out: Path, frames: int, width: int, preset: str, device: str) -> Row:
    """A solve of the walk's first frames at a width, and what its stages have cost."""
    folder = out / f"walk_{width}"
    make(folder, frames, width, width * 9 // 16, AROUND)
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


def of_result(folder: Path, data: TrainingData, device: torch.device) -> Callable[[list[int]], torch.Tensor]:
    """The depth that a depth stage left, for `loss_of_all_pairs`."""

    def depth(rows: list[int]) -> torch.Tensor:
        arrays = [
            np.load(folder / "depth" / f"{frame_name(data.numbers[row])}.npy", allow_pickle=False) for row in rows
        ]
        return avg_pool2d(torch.from_numpy(np.stack(arrays))[:, None].to(device) / data.unit, 2)

    return depth


def of_network(network: DepthNetwork, data: TrainingData, device: torch.device) -> Callable[[list[int]], torch.Tensor]:
    """The depth that the network says of pictures alone, for `loss_of_all_pairs`."""

    def depth(rows: list[int]) -> torch.Tensor:
        hidden = torch.ones((len(rows), 1, *data.images.shape[-2:]))
        return torch.as_tensor(network(data.inputs(rows, device, hidden)).exp())

    return depth


def compared(case: Case, epochs: int, device: torch.device) -> Row:
    """The published loop against the default's depth on a clip."""
    published = replace(PRESETS["cvd-2020"], published_epochs=epochs)
    data = case.data(settings_of(case.request))
    wanted = loss_of_all_pairs(of_result(case.stages["depth"], data, device), data, device)
    unit = "cpu_s" if device.type == "cpu" else "wall_s"
    ours = sum(_cost(case.stages[name], unit) for name in ("evidence", "depth"))
    data, now = case.data(published), clock(device)
    network = load_network(WEIGHTS, device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=PUBLISHED_RATE)
    per_epoch = -(-len(data.pairs) // published.batch_pairs)
    every = max(1, per_epoch // LOOKS)
    spent, curve = 0.0, [(0.0, loss_of_all_pairs(of_network(network, data, device), data, device))]
    for step in range(epochs * per_epoch):
        start = now()
        loss = step_loss(network, data, published, case.request.seed, step, "pairs", device)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        spent += now() - start
        if (step + 1) % every == 0:
            curve.append((spent, loss_of_all_pairs(of_network(network, data, device), data, device)))
            print(f"{case.name}: {spent:.1f} s, loss {curve[-1][1]:.3f} (default {wanted:.3f})", flush=True)
            if curve[-1][1] <= wanted:
                break
    reached = next((seconds for seconds, value in curve if value <= wanted), math.inf)
    return {
        "clip": case.name, "frames": len(data.numbers), "pairs": len(data.pairs), "default_s": ours,
        "default_loss": wanted, "start_loss": curve[0][1], "loop_s": min(reached, spent),
        "loop_loss": min(value for _, value in curve), "reached": math.isfinite(reached),
        "ratio": min(reached, spent) / ours, "epochs": len(curve[1:]) * every / per_epoch,
    }  # fmt: skip


def _cost(stage: Path, unit: str) -> float:
    return float(json.loads((stage / "stage.json").read_text(encoding="utf-8"))["cost"][unit])


def loop_table(rows: Sequence[Row]) -> str:
    """Rows of `compared` as Markdown."""
    lines = [
        "\n## Depth against the published loop\n",
        "| clip | frames, pairs | default: loss | seconds | loop: epochs | loss | seconds | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        sign = "" if row["reached"] else "> "
        lines.append(
            f"| {row['clip']} | {row['frames']}, {row['pairs']} | {row['default_loss']:.3f} | {row['default_s']:.0f} | "
            f"{row['epochs']:.1f} | {row['start_loss']:.3f} to {row['loop_loss']:.3f} | {row['loop_s']:.0f} | "
            f"{sign}{row['ratio']:.1f} |"
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
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_intermixed_args()  # clips come after the options too
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "loop":
        if options.device == "cpu":
            torch.set_num_threads(1)
        device = torch.device(options.device)
        print(loop_table([compared(case, options.epochs, device) for case in cases_of(options.clips, options.out)]))
        return
    shapes = [(SHORT, width) for width in options.widths] + [(frames, FULL_WIDTH) for frames in options.frames]
    rows = [grown(options.out, frames, width, options.preset, options.device) for frames, width in shapes]
    print(growth_tables(rows))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
