"""A small part of the fault matrix; `python -m tests.faults` runs all of it."""

import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="it forks"),
]


def test_a_part_of_the_fault_matrix_loses_nothing(tmp_path: Path) -> None:
    from tests.faults import matrix

    arena = matrix.Arena(tmp_path)
    arena.prepare()
    cases = [
        *matrix.at_every_write(arena, "kill", ("footage", "flow", "prior", "evidence", "export"), every=45, first=8),
        *matrix.at_every_write(arena, "kill", ("depth",), every=60, first=6),
        *matrix.at_every_write(arena, "full", ("footage", "evidence", "export"), every=70, first=12),
        *matrix.real_disk(arena, (1.0,)),
    ]
    assert [case for case in cases if case.wrong] == []
    assert len(cases) >= 12
