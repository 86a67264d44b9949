"""Pairs against the equations, at every small length and with gaps."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.flow.pairs import hierarchical_pairs


def equations(count):
    """CVD eq. 4-6 as they stand, for frames 0 .. count-1."""
    pairs = set()
    for level in range(math.floor(math.log2(count - 1)) + 1):
        for i in range(count):
            for j in range(count):
                if abs(i - j) == 2**level and (level == 0 or i % 2 ** (level - 1) == 0):
                    pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)


@pytest.mark.parametrize("count", range(2, 41))
def test_pairs_are_those_of_the_equations(count) -> None:
    assert hierarchical_pairs(range(count)) == equations(count)


def test_counting_starts_at_the_first_frame() -> None:
    assert hierarchical_pairs(range(101, 121)) == [(i + 101, j + 101) for i, j in equations(20)]


@pytest.mark.parametrize("step", [2, 3, 7])
def test_a_clip_solved_with_a_step_has_the_pairs_of_its_own_frames(step) -> None:
    assert hierarchical_pairs(range(1001, 1001 + 20 * step, step)) == [
        (1001 + i * step, 1001 + j * step) for i, j in equations(20)
    ]


@given(st.sets(st.integers(0, 60), min_size=2))
def test_a_lost_frame_changes_no_other_pair_and_the_clip_stays_in_one_piece(kept) -> None:
    numbers = sorted(kept | {0, 1})
    pairs = hierarchical_pairs(numbers)
    whole = set(equations(max(numbers) + 1))
    neighbours = set(pairwise(numbers))
    assert set(pairs) == {(i, j) for i, j in whole if {i, j} <= set(numbers)} | neighbours


def test_pairs_grow_linearly() -> None:
    assert len(hierarchical_pairs(range(400))) < 3 * 400


def test_one_frame_has_no_pair() -> None:
    assert hierarchical_pairs([5]) == []


def test_frames_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="ascending"):
        hierarchical_pairs([3, 2])
