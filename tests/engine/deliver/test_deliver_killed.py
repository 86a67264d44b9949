"""A delivery that is killed at its writes, one after the other: what is to be seen is whole, and it goes on."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from engine.deliver.run import WORK, deliver
from tests.addon.synthetic import Synthetic
from tests.faults.inject import Fault

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")
KINDS = ["depth", "chan", "colmap", "points"]
EVERY = 13


def quiet(_document: dict) -> None:
    pass


def products(out: Path) -> dict[str, str]:
    """Path -> hash of everything that is to be seen: hidden files are not."""
    if not out.is_dir():
        return {}
    paths = (p for p in out.rglob("*") if p.is_file() and not any(part[0] == "." for part in p.relative_to(out).parts))
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def run(solve: Path, out: Path, fault: Fault, counted: Path) -> None:
    """Deliver in a process of its own, with a fault."""
    process = os.fork()
    if process == 0:
        try:
            fault.install()
            deliver(solve, out, KINDS, None, quiet)
        finally:
            fault.armed = False
            counted.write_text(str(fault.count))
            os._exit(0)
    os.waitpid(process, 0)


def test_killed_at_any_write_it_shows_nothing_unfinished_and_goes_on(synthetic: Synthetic, tmp_path: Path) -> None:
    solve, counted = synthetic.folder, tmp_path / "counted"
    run(solve, tmp_path / "whole", Fault(str(tmp_path / "whole")), counted)
    writes, whole = int(counted.read_text()), products(tmp_path / "whole")
    assert writes > 60 and len(whole) > 10
    for number in range(1, writes + 1, EVERY):
        out = tmp_path / f"out{number}"
        run(solve, out, Fault(str(out), "kill", number), counted)
        seen = products(out)
        assert seen.items() <= whole.items(), f"write {number}: something unfinished is to be seen"
        assert {name.split("/")[0] for name in seen} <= {name.split("/")[0] for name in whole}
        for folder in {name.split("/")[0] for name in seen}:
            assert {n for n in seen if n.startswith(folder)} == {n for n in whole if n.startswith(folder)}
        deliver(solve, out, KINDS, None, quiet)
        assert products(out) == whole, f"write {number}"
        left = [p.name for p in out.rglob(".*") if p.name != WORK]
        assert not left, f"write {number} leaves {left}"


def test_killed_while_it_replaces_an_earlier_delivery(synthetic: Synthetic, tmp_path: Path) -> None:
    solve, counted, earlier = synthetic.folder, tmp_path / "counted", [2.0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1]
    run(solve, tmp_path / "whole", Fault(str(tmp_path / "whole")), counted)
    whole = products(tmp_path / "whole")
    deliver(solve, tmp_path / "out", KINDS, earlier, quiet)
    before = products(tmp_path / "out")
    number = 40
    while True:
        run(solve, tmp_path / "out", Fault(str(tmp_path / "out"), "kill", number), tmp_path / "none")
        seen = products(tmp_path / "out")
        depth = {name: content for name, content in seen.items() if name.startswith("depth/")}
        assert depth.items() <= before.items() or depth.items() <= whole.items(), "a folder of two deliveries"
        if seen == whole:
            break
        number += 7
    assert number < 400


def test_the_first_of_two_deliveries_comes_back_after_the_second_was_killed(
    synthetic: Synthetic, tmp_path: Path
) -> None:
    solve, out, other = synthetic.folder, tmp_path / "out", [2.0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1]
    deliver(solve, out, ["chan"], None, quiet)
    first = products(out)
    for number in range(1, 40, 2):
        process = os.fork()
        if process == 0:
            Fault(str(out), "kill", number).install()
            deliver(solve, out, ["chan"], other, quiet)
            os._exit(0)
        os.waitpid(process, 0)
        deliver(solve, out, ["chan"], None, quiet)
        assert products(out) == first, f"write {number}"
