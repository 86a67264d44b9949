"""What a solve costs: each stage against length and size of the clip, and training against the published loop.

usage: python -m bench.speed growth [--out DIR] [--frames N,...] [--widths W,...] [--preset P] [--device D]
       python -m bench.speed loop [--out DIR] [--epochs N] [--own-epochs N] [--device D] [CLIP ...]

`growth` solves the walk of `bench.long_clip`, at three times its pace and 1080p, cut off after N frames, and its first
frames at other widths (16:9), and prints for each stage CPU seconds per frame, wall seconds per frame, peak memory, and
how each grows: the exponent of its cost over the number of frames, 1 where it is linear. Solves that are there are not
made again.

`loop` trains the built-in network by CVD's published loop (its rate and batches of pairs) and by the engine's own
(batches of frames that share pairs, Muon, a falling rate, bfloat16 where that is fast): the same losses, weights, pairs
and pictures. It says what each costs, and when the engine's comes down to the lowest loss over all pairs that the
published one was seen at. CLIP as in `bench.depth`. On a CPU seconds are of one thread's work; on a GPU they are wall
seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.depth import Case, cases_of
from bench.long_clip import make
from engine.depth.batches import Batch, published
from engine.depth.data import TrainingData
from engine.depth.optimiser import Optimiser
from engine.depth.settings import PRESETS
from engine.depth.training import batches, in_mixed_precision, published_loss, rows_of
from engine.networks.depth import WEIGHTS, DepthNetwork, load_network
from engine.request import STAGES

ROOT = Path(__file__).resolve().parent.parent
FULL_WIDTH = 1920
SHORT = 30  # frames, where the width changes
AROUND = 200.0  # frames for once around the room: a few frames must show depth
PAIRS_AT_ONCE = 8
LOOKS = 20  # at the loss over all pairs

Row = dict[str, Any]


# --- growth ---


def grown(out: Path, frames: int, width: int, preset: str, device: str) -> Row:
    """A solve of the walk's first frames at a width, and what its stages have cost."""
    folder = out / f"walk_{width}"
    make(folder, frames, width, width * 9 // 16, AROUND)
    target = out / f"walk_{width}_{frames}_{preset}.solve"
    if not (target / "solve.json").is_file():
        # A process of its own: memory that another solve has left behind does not count.
        command = [sys.executable, "-m", "engine", "solve", str(folder / "frames"), "--out", str(target)]
        options = ["--last", str(frames), "--preset", preset, "--prior", "builtin", "--device", device]
        subprocess.run([*command, *options], cwd=ROOT, check=True)
    document = json.loads((target / "solve.json").read_text(encoding="utf-8"))
    solved = sum(frame["registered"] for frame in document["frames"])
    return {"frames": frames, "width": width, "solved": solved, "stages": document["engine"]["stages"]}


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
def loss_of_all_pairs(network: DepthNetwork, data: TrainingData, device: torch.device) -> float:
    """CVD's loss (eq. 7-12, unbounded), mean over all pairs and both directions, of pictures alone."""
    total = 0.0
    # each pair once, a few at a time, in any order
    for batch in islice(published(rows_of(data), PAIRS_AT_ONCE, 0), -(-len(data.pairs) // PAIRS_AT_ONCE)):
        total += len(batch.pairs) * float(published_loss(network, data, batch, device))
    return total / len(data.pairs)


def trained(
    name: str,
    data: TrainingData,
    as_published: bool,
    work: Sequence[Batch],
    share: Callable[[int], float],
    device: torch.device,
) -> list[tuple[float, float]]:
    """Seconds of training and the loss over all pairs by then, at `LOOKS` points and the start.

    Args:
        name: of the clip.
        data: of the clip.
        as_published: by CVD's optimiser and in float32, not as the engine does it.
        work: the batches, one step each.
        share: of the full rates, in each step.
        device: where to compute.
    """
    now = clock(device)
    # The stubs of PyTorch know `memory_format` only with a tensor.
    network = load_network(WEIGHTS, device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    predict = network if as_published else in_mixed_precision(network, device)
    optimiser = Optimiser(network, as_published)
    looks = {round(len(work) * (k + 1) / LOOKS) for k in range(LOOKS)}
    spent, curve = 0.0, [(0.0, loss_of_all_pairs(network, data, device))]
    for step, batch in enumerate(work):
        start = now()
        loss = published_loss(predict, data, batch, device)
        network.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step(share(step))
        spent += now() - start
        if step + 1 in looks:
            curve.append((spent, loss_of_all_pairs(network, data, device)))
            print(f"{name}: step {step + 1}, {spent:.1f} s, loss {curve[-1][1]:.4f}", flush=True)
    return curve


def compared(case: Case, epochs: int, own_epochs: int, device: torch.device) -> Row:
    """The published loop and the engine's on a clip."""
    as_published = replace(PRESETS["cvd-2020"], published_epochs=epochs)
    data, seed = case.data(as_published), case.request.seed
    steps = epochs * -(-len(data.pairs) // as_published.batch_pairs)
    loop = list(islice(batches(data, as_published, seed), steps))
    theirs = trained(case.name, data, True, loop, lambda _step: 1.0, device)
    own = replace(as_published, published_epochs=0)
    work, seen = [], 0
    for batch in batches(data, own, seed):
        if seen >= own_epochs * len(data.pairs):
            break
        work.append(batch)
        seen += len(batch.pairs)
    ours = trained(case.name, data, False, work, lambda step: 1.0 - 0.9 * step / len(work), device)
    wanted, needed = min((loss, seconds) for seconds, loss in theirs)
    reached = next((seconds for seconds, loss in ours if loss <= wanted), None)
    return {
        "clip": case.name, "frames": len(data.numbers), "pairs": len(data.pairs), "start_loss": theirs[0][1],
        "epochs": epochs, "loss": wanted, "seconds": needed,
        "own_epochs": own_epochs, "own_loss": ours[-1][1], "own_seconds": ours[-1][0],
        "ratio": None if reached is None else needed / reached,
    }  # fmt: skip


def loop_table(rows: Sequence[Row]) -> str:
    """Rows of `compared` as Markdown."""
    lines = [
        "\n## Training against the published loop\n",
        "| clip | frames, pairs | loss before | published: epochs | lowest loss | by seconds "
        "| own: epochs | loss | seconds | published / own at equal loss |",
        "|" + "---|" * 10,
    ]
    for row in rows:
        ratio = "not reached" if row["ratio"] is None else f"{row['ratio']:.1f}"
        lines.append(
            f"| {row['clip']} | {row['frames']}, {row['pairs']} | {row['start_loss']:.3f} | {row['epochs']} | "
            f"{row['loss']:.4f} | {row['seconds']:.0f} | {row['own_epochs']} | {row['own_loss']:.4f} | "
            f"{row['own_seconds']:.0f} | {ratio} |"
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
    parser.add_argument("--own-epochs", type=int, default=6)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_intermixed_args()  # clips come after the options too
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "loop":
        if options.device == "cpu":
            torch.set_num_threads(1)
        device = torch.device(options.device)
        cases = cases_of(options.clips, options.out)
        print(loop_table([compared(case, options.epochs, options.own_epochs, device) for case in cases]))
        return
    shapes = [(SHORT, width) for width in options.widths] + [(frames, FULL_WIDTH) for frames in options.frames]
    rows = [grown(options.out, frames, width, options.preset, options.device) for frames, width in shapes]
    print(growth_tables(rows))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
