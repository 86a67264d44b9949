"""Arrays of the wrong shape are refused at the door."""

import numpy as np
import pytest
import torch

from engine.depth.fuse import fuse
from engine.depth.losses import pair_losses
from engine.depth.sweep import Projection, sweep
from engine.geometry.shapes import check_shapes
from engine.geometry.tensors import project, sample, transform, unproject

Z = torch.zeros
PROJECTION = Projection(4, 5, torch.eye(3), torch.eye(4).expand(2, 4, 4))


def test_what_fits_passes() -> None:
    check_shapes("a B 1 H W, b B 3 3, c H W", Z(2, 1, 4, 5), Z(2, 3, 3), np.zeros((4, 5)))
    check_shapes("a B 3, b B 2", Z(4, 3), Z(1, 2))
    check_shapes("a B 3, b B 2", Z(1, 3), Z(4, 2))


@pytest.mark.parametrize(
    ("form", "shapes", "told"),
    [
        ("a H W, b H W", [(4, 5), (5, 4)], r"b has shape \(5, 4\); wanted: \(4, 5\)"),
        ("a B 3, b B 2", [(4, 3), (3, 2)], r"b has shape \(3, 2\); wanted: \(4, 2\)"),
        ("a H W 3, b H", [(4, 5), (4,)], r"a has shape \(4, 5\); wanted: \(H, W, 3\)"),
        ("a 3 3, b B", [(3, 4), (1,)], r"a has shape \(3, 4\); wanted: \(3, 3\)"),
    ],
)
def test_what_does_not_fit_is_named_with_both_shapes(form, shapes, told) -> None:
    with pytest.raises(ValueError, match=told):
        check_shapes(form, np.zeros(shapes[0]), np.zeros(shapes[1]))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: sample(Z(3, 4, 4), Z(1, 2, 2, 2)),
        lambda: unproject(Z(2, 4, 5), Z(2, 3, 3)),
        lambda: transform(Z(2, 3, 4), Z(2, 4, 5, 3)),
        lambda: project(Z(2, 4, 5, 2), Z(2, 3, 3)),
        lambda: fuse(Z(1, 4, 4), Z(1, 4, 4), Z(1, 4, 4), Z(1, 4, 4, 3)),
        lambda: Projection(4, 5, torch.eye(4), Z(2, 4, 4)),
        lambda: sweep(Z(4, 5), Z(2, 5, 4), Z(4, 5), PROJECTION, torch.arange(4.0), Z(4, 2) > 0),
        lambda: pair_losses(Z(1, 1, 4, 4), Z(1, 1, 4, 4), Z(1, 3, 3), Z(1, 4, 4), Z(1, 4, 4, 2), Z(1, 1, 4, 4)),
    ],
)
def test_public_doors_look_at_shapes(wrong) -> None:
    with pytest.raises(ValueError, match="has shape"):
        wrong()
