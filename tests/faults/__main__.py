"""`python -m tests.faults [--every N]`: the whole fault matrix as a table; exit code 1 if anything is lost."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults import matrix
from tests.faults.matrix import Arena, Case


def cases(arena: Arena, every: int) -> Iterator[Case]:
    """All of them, or every N-th."""
    for kind in ("kill", "full"):
        yield from matrix.at_every_write(arena, kind, matrix.STAGES, every)
        yield from matrix.in_the_worker(arena, kind, every)
    yield from matrix.at_any_time(arena, (0.1, 0.4, 1.5))
    yield from matrix.real_disk(arena, (0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0))
    yield from matrix.too_small_a_gpu(arena)


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="tests.faults", description="The fault matrix of the engine")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th write of each stage")
    options = parser.parse_args()
    rows: dict[str, list[Case]] = {}
    with tempfile.TemporaryDirectory(prefix="cvd-faults-") as folder:
        arena = Arena(Path(folder))
        arena.prepare()
        for case in cases(arena, options.every):
            if case.row not in rows:
                print(f"... {case.row}", file=sys.stderr, flush=True)
            rows.setdefault(case.row, []).append(case)
            for words in case.wrong:
                print(f"LOST  {case.row}, {case.name}: {words}", flush=True)
    lost = 0
    for row, done in rows.items():
        wrong = sum(bool(case.wrong) for case in done)
        lost += wrong
        print(f"{row:44} {len(done):5} tried {wrong:5} lost")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    print(f"{'all':44} {sum(map(len, rows.values())):5} tried {lost:5} lost, {seconds:.0f} CPU seconds")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
