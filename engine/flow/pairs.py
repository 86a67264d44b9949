"""Frame pairs that the flow is computed for."""

from __future__ import annotations

import math
from collections.abc import Sequence


def hierarchical_pairs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of plate frames: neighbours, and ever sparser ones at distances 2, 4, 8 ... (CVD eq. 4-6).

    Distances and remainders count from the first frame by frame number, so a lost frame changes no other pair. Frames
    on either side of a gap are paired as well, or the clip would fall apart there.

    Args:
        numbers: plate frame numbers with a camera, ascending. A clip taken with a step has that step as its unit.
    """
    if len(numbers) < 2:
        return []
    unit = min(b - a for a, b in zip(numbers, numbers[1:], strict=False))
    present = set(numbers)
    first, last = numbers[0], numbers[-1]
    pairs = set(zip(numbers, numbers[1:], strict=False))
    for level in range(int(math.log2(max((last - first) // unit, 1))) + 1):
        distance = unit * 2**level
        start_step = unit * 2 ** max(level - 1, 0)
        pairs |= {
            (i, i + distance)
            for i in range(first, last - distance + 1, start_step)
            if i in present and i + distance in present
        }
    return sorted(pairs)
