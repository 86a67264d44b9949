"""Batches of training: every pair once an epoch."""

from itertools import islice

import pytest

from engine.depth.batches import Batch, published, shared

# Neighbours, every other pair two apart, and one that spans the clip, as the flow stage leaves them.
PAIRS = [(k, k + 1) for k in range(19)] + [(k, k + 2) for k in range(0, 18, 2)] + [(0, 19)]


def epochs(batches, count):
    """The pairs of each of `count` epochs, by the batches that hold them."""
    found: list[list[Batch]] = [[]]
    for batch in batches:
        if sum(len(b.pairs) for b in found[-1]) == len(PAIRS):
            if len(found) == count:
                return found
            found.append([])
        found[-1].append(batch)
    return found


@pytest.mark.parametrize("make", [published, shared])
def test_every_pair_comes_once_an_epoch_in_an_order_of_its_own(make) -> None:
    first, second = ([k for batch in epoch for k in batch.pairs] for epoch in epochs(make(PAIRS, 4, 7), 2))
    assert sorted(first) == sorted(second) == list(range(len(PAIRS)))
    assert first != second


@pytest.mark.parametrize("make", [published, shared])
def test_pairs_find_their_frames_among_the_rows(make) -> None:
    for batch in islice(make(PAIRS, 5, 7), 40):
        ends = [(batch.rows[a], batch.rows[b]) for a, b in zip(batch.first, batch.second, strict=True)]
        assert ends == [PAIRS[k] for k in batch.pairs]


@pytest.mark.parametrize("size", [2, 5, 8])
def test_shared_frames_come_once_and_no_more_than_asked_for(size) -> None:
    for batch in islice(shared(PAIRS, size, 7), 40):
        assert len(set(batch.rows)) == len(batch.rows) <= size


def test_sharing_saves_frames() -> None:
    passes = {make: sum(len(b.rows) for b in epochs(make(PAIRS, 5, 7), 1)[0]) for make in (published, shared)}
    assert passes[published] == 2 * len(PAIRS)
    assert passes[shared] < 0.7 * passes[published]


@pytest.mark.parametrize("make", [published, shared])
def test_the_seed_decides(make) -> None:
    assert list(islice(make(PAIRS, 5, 7), 30)) == list(islice(make(PAIRS, 5, 7), 30))
    assert list(islice(make(PAIRS, 5, 7), 30)) != list(islice(make(PAIRS, 5, 8), 30))
