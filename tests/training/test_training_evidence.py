"""The imitated plane sweep."""

import torch

from training.evidence import NONE, SPARSE, SPARSE_CONFIDENCE, simulate

COUNT = 400


def pictures(count=COUNT, height=48, width=64):
    """Textured left halves, nearly plain right halves; a nearer square before a slope."""
    generator = torch.Generator().manual_seed(0)
    grey = torch.full((count, height, width), 0.5)
    strength = torch.where(torch.arange(width) < width // 2, 0.3, 0.02)
    grey += strength * (torch.rand((count, height, width), generator=generator) - 0.5)
    log_depth = torch.linspace(0.3, -0.3, height)[None, :, None].expand(count, height, width).clone()
    log_depth[:, 15:30, 8:20] = -0.8
    return grey, log_depth


GREY, LOG_DEPTH = pictures()
EVIDENCE = simulate(GREY, LOG_DEPTH, torch.Generator().manual_seed(1))
KNOWN = EVIDENCE[:, 1] > 0
COVER = KNOWN.float().mean(dim=(1, 2))
DENSE = COVER > 0.15


def test_shares_of_nothing_sparse_and_dense() -> None:
    nothing = float((COVER == 0).float().mean())
    sparse = KNOWN & (EVIDENCE[:, 1] == SPARSE_CONFIDENCE)
    only_sparse = (COVER > 0) & (sparse.sum(dim=(1, 2)) == KNOWN.sum(dim=(1, 2)))
    assert abs(nothing - NONE) < 0.08
    assert abs(float(only_sparse.float().mean()) - (SPARSE - NONE)) < 0.05
    assert float(DENSE.float().mean()) > 0.25


def test_no_value_without_confidence_and_confidence_in_range() -> None:
    assert (EVIDENCE[:, 0][~KNOWN] == 0).all()
    assert EVIDENCE[:, 1].min() >= 0 and EVIDENCE[:, 1].max() <= 1


def test_values_are_near_the_truth_but_not_it() -> None:
    miss = (EVIDENCE[:, 0] - LOG_DEPTH)[DENSE][KNOWN[DENSE]].abs()
    assert 0.002 < float(miss.median()) < 0.04
    assert 0.01 < float((miss > 0.15).float().mean()) < 0.25


def test_surer_and_truer_where_there_is_texture() -> None:
    half = GREY.shape[2] // 2
    confidence, miss = EVIDENCE[:, 1][DENSE], (EVIDENCE[:, 0] - LOG_DEPTH)[DENSE].abs()
    known = KNOWN[DENSE]
    assert confidence[..., :half].mean() > 1.3 * confidence[..., half + 3 :].mean()
    left = miss[..., 22:half][known[..., 22:half]].mean()
    right = miss[..., half + 3 :][known[..., half + 3 :]].mean()
    assert right > left


def test_background_beside_an_object_is_missing() -> None:
    beside = KNOWN[DENSE][:, 17:28, 21].float().mean() + KNOWN[DENSE][:, 17:28, 6].float().mean()
    away = 2 * KNOWN[DENSE][:, 17:28, 27].float().mean()
    assert beside < 0.75 * away


def test_same_seed_same_evidence() -> None:
    again = simulate(GREY, LOG_DEPTH, torch.Generator().manual_seed(1))
    other = simulate(GREY, LOG_DEPTH, torch.Generator().manual_seed(2))
    assert torch.equal(again, EVIDENCE) and not torch.equal(other, EVIDENCE)
