"""The networks of DeepV2D: half-pixel conventions, window search, any size, shipped weights."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from engine.deepv2d import se3
from engine.deepv2d.edges import find
from engine.networks.deepv2d import (
    GROUPS,
    MATCH,
    RADIUS,
    DeepV2D,
    Encoder,
    Features,
    enlarged,
    padded,
    window_correlation,
    window_offsets,
)


def seeded(module):
    torch.manual_seed(3)
    return module().eval()


def test_a_feature_lies_in_the_middle_of_its_four_pixels() -> None:
    """A mirrored picture gives, with mirrored filters, mirrored features: nothing is off by a fraction of a pixel."""
    encoder = seeded(Encoder)
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    expected = encoder(picture).match.flip(-1)
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.copy_(module.weight.flip(-1))
    torch.testing.assert_close(encoder(picture.flip(-1)).match, expected, atol=2e-5, rtol=0)


def test_the_window_search_is_the_plain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    mine, theirs = torch.randn(2, 5, 7, 9, generator=generator), torch.randn(2, 5, 7, 9, generator=generator)
    found = window_correlation(mine, theirs, 2)
    around = F.pad(theirs, (2, 2, 2, 2))
    for k, (x, y) in enumerate(window_offsets(2, mine).int().tolist()):
        moved = around[..., 2 + y : 2 + y + 7, 2 + x : 2 + x + 9]
        torch.testing.assert_close(found[:, k], (mine * moved).sum(1))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (61, 83), (40, 36)])
def test_any_height_and_width(height, width) -> None:
    network = seeded(DeepV2D)
    images = torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = network.encoder(padded(images))
        h, w = -(-height // 4), -(-width // 4)
        assert features.match.shape == (3, MATCH, h, w)
        torch.testing.assert_close(features.match.square().sum(1), torch.full((3, h, w), float(GROUPS)))
        key = Features(features.match[:1], features.context[:1])
        K = torch.tensor([[[w, 0.0, w / 2], [0.0, w, h / 2], [0.0, 0.0, 1.0]]])
        pose = se3.exp(0.05 * torch.randn(1, 2, 6, generator=torch.Generator().manual_seed(1)))
        planes = torch.linspace(0.1, 2.0, 11)[None]
        matched = network.depth(key, features.match[None, 1:], K, pose, planes)
        assert matched.inverse_depth.shape == (1, 1, 2 * h, 2 * w)
        assert (matched.inverse_depth >= planes[0, 0]).all() and (matched.inverse_depth <= planes[0, -1]).all()
        found = find(network.motion, key, features.match[1:2], torch.ones(1, 1, h, w), K, pose[:, 0])
        assert found.target.shape == found.weight.shape == (1, h, w, 2)
        assert (found.weight >= 0).all() and (found.weight <= 1).all()


def test_enlarging_keeps_a_constant_and_takes_what_the_weights_say() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 36, 5, 6, generator=generator)
    torch.testing.assert_close(enlarged(torch.full((1, 1, 5, 6), 0.7), weights), torch.full((1, 1, 10, 12), 0.7))
    values = torch.rand(1, 1, 5, 6, generator=generator)
    middle = torch.zeros(1, 9, 4, 5, 6)
    middle[:, 4] = 1e4
    nearest = F.interpolate(values, scale_factor=2, mode="nearest")
    torch.testing.assert_close(enlarged(values, middle.reshape(1, 36, 5, 6)), nearest)


def test_what_lies_outside_of_the_view_has_no_weight() -> None:
    network = seeded(DeepV2D)
    features = network.encoder(torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0)))
    key = Features(features.match[:1], features.context[:1])
    K = torch.tensor([[[16.0, 0.0, 8.0], [0.0, 16.0, 6.0], [0.0, 0.0, 1.0]]])
    aside = torch.eye(4)[None].clone()
    aside[:, 0, 3] = 0.5  # eight of sixteen columns further right
    found = find(network.motion, key, features.match[1:], torch.ones(1, 1, 12, 16), K, aside)
    assert (found.weight[:, :, 8:] == 0).all() and (found.weight[:, :, :8] > 0).all()


def test_the_search_reaches_as_far_as_it_says() -> None:
    assert window_offsets(RADIUS, torch.zeros(1)).abs().max() == RADIUS
