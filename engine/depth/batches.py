"""Which frames and pairs a training step sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

Pair = tuple[int, int]


@dataclass(frozen=True)
class Batch:
    """A step's work.

    Attributes:
        rows: frames of the clip that go through the network.
        pairs: which of the clip's pairs are compared.
        first: for each pair, where in `rows` its first frame stands.
        second: and its second.
    """

    rows: list[int]
    pairs: list[int]
    first: list[int]
    second: list[int]


def published(pairs: Sequence[Pair], size: int, seed: int) -> Iterator[Batch]:
    """CVD's batches, without end: every pair once an epoch, in an order drawn for it; each brings its own two frames.

    Args:
        pairs: rows of the clip.
        size: pairs in a batch; the last of an epoch may hold fewer.
        seed: decides the orders.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(pairs), generator=generator).tolist()
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            rows = [pairs[k][0] for k in chosen] + [pairs[k][1] for k in chosen]
            count = len(chosen)
            yield Batch(rows, chosen, list(range(count)), list(range(count, 2 * count)))


def shared(pairs: Sequence[Pair], size: int, seed: int) -> Iterator[Batch]:
    """Batches of frames that share pairs, without end: every pair once an epoch, each frame once in a batch.

    The network is what costs, and it sees a frame once for all of the pairs that it is in. A batch begins with a pair
    drawn at random; then the frame joins that completes most pairs, as long as there is one.

    Args:
        pairs: rows of the clip.
        size: frames in a batch, at least 2; where frames have too few pairs, fewer.
        seed: decides the order.
    """
    generator = torch.Generator().manual_seed(seed)
    of_row: dict[int, list[int]] = {}
    for k, pair in enumerate(pairs):
        for row in pair:
            of_row.setdefault(row, []).append(k)
    while True:
        left = set(range(len(pairs)))
        for start in torch.randperm(len(pairs), generator=generator).tolist():
            if start not in left:
                continue
            rows, chosen = list(pairs[start]), [start]
            left.remove(start)
            while len(rows) < size:
                closing: dict[int, list[int]] = {}  # for each frame outside, the pairs with those inside
                for row in rows:
                    for k in of_row[row]:
                        if k in left:
                            closing.setdefault(sum(pairs[k]) - row, []).append(k)
                if not closing:
                    break
                most = max(len(found) for found in closing.values())
                best = sorted(row for row, found in closing.items() if len(found) == most)
                row = best[int(torch.randint(len(best), (1,), generator=generator))]
                rows.append(row)
                chosen += closing[row]
                left.difference_update(closing[row])
            place = {row: k for k, row in enumerate(rows)}
            yield Batch(rows, chosen, [place[pairs[k][0]] for k in chosen], [place[pairs[k][1]] for k in chosen])
