"""Renders the shot suite, or that of thin things.

usage: python -m tests.scenes [--out DIR] [--again] [--thin] [NAME ...]

A shot that is there already is kept. `--list` says what each is.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from tests.scenes.render import is_rendered, render_shot
from tests.scenes.shots import SHOTS
from tests.scenes.surfaces import bank
from tests.scenes.thin import THIN

FOLDER = Path(__file__).resolve().parents[2] / "build" / "shots"


def main(arguments: list[str]) -> int:
    """Render what was asked for; exit code 2 for a name that is no shot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="shots of either suite; none = a whole suite")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--again", action="store_true", help="also those that are there")
    parser.add_argument("--thin", action="store_true", help="the suite of thin things, for depth")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    shots = SHOTS | THIN
    unknown = sorted(set(options.names) - set(shots))
    if unknown:
        parser.error(f"no such shot: {', '.join(unknown)}; there are {', '.join(shots)}")
    if options.list:
        print("\n".join(f"{shot.name:24} {shot.about}" for shot in shots.values()))
        return 0
    torch.set_num_threads(1)
    wanted = [shots[name] for name in options.names or (THIN if options.thin else SHOTS)]
    wanted = [shot for shot in wanted if options.again or not is_rendered(shot, options.out / shot.name)]
    textures = bank(0) if wanted else ()
    for shot in wanted:
        start = time.process_time()
        options.out.mkdir(parents=True, exist_ok=True)
        render_shot(shot, textures, options.out / shot.name)
        print(f"{shot.name}: {len(shot.numbers)} frames, {time.process_time() - start:.0f} CPU s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
