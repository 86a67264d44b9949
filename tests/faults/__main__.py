"""`python -m tests.faults [--every N] [--record FILE]`: the whole fault matrix as a table.

Exit code 1 if anything is lost. With a record, cases that an earlier run has tried are not tried again: the hours that
all of it takes can be spent in parts.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults import matrix
from tests.faults.matrix import Arena, Case


def cases(arena: Arena, every: int) -> Iterator[Case]:
    """All of them, or every N-th."""
    yield from matrix.real_disk(arena, (0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 12.0))
    for kind in ("kill", "full"):
        yield from matrix.at_every_write(arena, kind, matrix.STAGES, every)
        yield from matrix.in_the_worker(arena, kind, every)
    yield from matrix.at_any_time(arena, (0.1, 0.4, 1.5))
    yield from matrix.too_small_a_gpu(arena)


def _recorded(path: Path | None) -> list[Case]:
    """What an earlier run has written; cases that lost something are tried again."""
    if path is None or not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    last = {(row, name): Case(row, name, tuple(wrong)) for row, name, wrong in lines}
    return [case for case in last.values() if not case.wrong]


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="tests.faults", description="The fault matrix of the engine")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th write of each stage")
    parser.add_argument("--only", default="", metavar="WORDS", help='only rows that hold these, such as "pose worker"')
    parser.add_argument("--record", type=Path, help="file of the cases tried, to go on from")
    options = parser.parse_args()
    rows: dict[str, list[Case]] = {}
    for case in _recorded(options.record):
        rows.setdefault(case.row, []).append(case)
    with tempfile.TemporaryDirectory(prefix="cvd-faults-") as folder:
        arena = Arena(Path(folder))
        arena.prepare()
        arena.only = options.only
        arena.known = {(case.row, case.name) for done in rows.values() for case in done}
        for case in cases(arena, options.every):
            if case.row not in rows:
                print(f"... {case.row}", file=sys.stderr, flush=True)
            rows.setdefault(case.row, []).append(case)
            if options.record is not None:
                with options.record.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([case.row, case.name, list(case.wrong)]) + "\n")
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
