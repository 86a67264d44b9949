"""Which frames are compared: CVD's hierarchy of pairs, O(N) of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise


def hierarchical_pairs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Unordered pairs (i, j), i < j, of plate frame numbers, CVD eq. 4-6.

    S_0 holds the consecutive frames, S_l those with |i - j| = 2^l and i mod 2^(l-1) = 0. Positions are counted from the
    first frame in units of the greatest common step, so that a clip solved on threes has pairs too and a lost frame
    changes no other pair. Across a gap in the numbering the two frames at its ends are a pair as well: without it the
    clip would fall into parts.

    Args:
        numbers: distinct plate frame numbers, ascending.
    """
    if any(b <= a for a, b in pairwise(numbers)):
        raise ValueError("frame numbers must be distinct and ascending")
    if len(numbers) < 2:
        return []
    first = numbers[0]
    step = math.gcd(*(n - first for n in numbers))
    positions = [(n - first) // step for n in numbers]
    present = set(positions)
    pairs = set(pairwise(positions))
    for level in range(1, positions[-1].bit_length()):
        stride = 2 ** (level - 1)
        gap = 2**level
        pairs.update((i, i + gap) for i in positions if i % stride == 0 and i + gap in present)
    return sorted((first + i * step, first + j * step) for i, j in pairs)
