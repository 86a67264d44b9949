"""How good the built-in depth network is on clips it never saw, a single picture at a time: one table.

usage: python -m bench.prior [--weights FILE]

Nothing is measured in the clips and nothing is trained on them. Compared with one depth everywhere, which is what an
untrained network says. Reads `../shared/data` in place (clips that are not there are left out) and the bundled sample.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.evaluation.depth import DepthErrors, frame_errors, mean_of
from engine.networks.depth import WEIGHTS, load_network

ROOT = Path(__file__).resolve().parent.parent
CLIPS = tuple(ROOT.parent / "shared" / "data" / name for name in ("kitchen_a", "kitchen_short", "hololens_table"))
SAMPLE = ROOT / "sample"
LONG_SIDE = 192  # as in a solve with the default preset
NO_DEPTH = 65535
FIGURES = ("absrel", "d125", "absrel_frame")

Frame = tuple[NDArray[np.uint8], NDArray[np.float32]]


def frames_with_depth(folder: Path) -> Iterator[Frame]:
    """Pictures (h, w, 3) RGB and true depth (h, w), 0 = none, both scaled to the size that the network works at."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    movies = sorted(folder.glob("*.mp4"))
    movie = None if truth["frames"][0]["file"] else cv2.VideoCapture(str(movies[0]))
    for frame in truth["frames"]:
        picture = movie.read()[1] if movie else cv2.imread(str(folder / frame["file"]))
        if frame["depth"] is None:
            continue
        raw = cv2.imread(str(folder / frame["depth"]), cv2.IMREAD_UNCHANGED)
        assert picture is not None and raw is not None, f"{folder}: frame {frame['number']} cannot be read"
        factor = LONG_SIDE / max(picture.shape[:2])
        size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
        small = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
        depth = cv2.resize(np.where(raw == NO_DEPTH, 0, raw), size, interpolation=cv2.INTER_NEAREST)
        yield np.asarray(small, np.uint8), np.asarray(depth, np.float32)


@torch.inference_mode()
def score(folder: Path, weights: Path | None) -> dict[str, float]:
    """Figures of a clip after one scale for all of it; without weights, those of constant depth."""
    network = load_network(weights, torch.device("cpu")).eval() if weights else None
    pairs = []
    errors = DepthErrors()
    for picture, true in frames_with_depth(folder):
        depth = np.ones_like(true)
        if network:
            colours = torch.from_numpy(picture).permute(2, 0, 1).float() / 127.5 - 1.0
            inputs = torch.cat([colours, torch.zeros_like(colours[:2])])[None]
            depth = network(inputs)[0, 0].exp().numpy()
        errors.add(depth, true)
        pairs.append((depth, true))
    scale = errors.scale
    assert scale is not None
    return mean_of(frame_errors(depth, true, scale) for depth, true in pairs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| clip | depth from | " + " | ".join(FIGURES) + " |\n" + "|---" * (len(FIGURES) + 2) + "|")
    for folder in (*CLIPS, SAMPLE):
        if (folder / "truth.json").is_file():
            for name, weights in (("constant", None), ("built-in network", options.weights)):
                figures = score(folder, weights)
                print(
                    f"| {folder.name} | {name} | " + " | ".join(f"{figures[f]:.3f}" for f in FIGURES) + " |", flush=True
                )


if __name__ == "__main__":
    main()
