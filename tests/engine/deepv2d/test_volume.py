"""The plane sweep: exact places, the right plane, soft-argmax."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from engine.deepv2d import se3
from engine.geometry.tensors import project, sample, transform, unproject
from engine.networks.cost_volume import certainty, plane_grid, pooled_volume, soft_argmax


def lens(height, width):
    return torch.tensor([[0.9 * width, 0.0, 0.52 * width], [0.0, 0.95 * width, 0.47 * height], [0.0, 0.0, 1.0]])


def pattern(points):
    """Sixteen smooth functions of a place in space (..., 3), as a texture that every camera sees the same."""
    generator = torch.Generator().manual_seed(0)
    waves = 4.0 * torch.randn(3, 16, generator=generator)
    return F.normalize((points @ waves + 6.0 * torch.rand(16, generator=generator)).sin(), dim=-1)


def plane_seen_from(pose, inverse_depth, height, width):
    """Features of the plane z = 1 / inverse_depth (in the key's camera) as seen at `view from key` (4, 4)."""
    rays = unproject(torch.ones(1, 1, height, width), lens(height, width)[None])[0]
    key_from_view = se3.inverse(pose)
    direction, origin = rays @ key_from_view[:3, :3].T, key_from_view[:3, 3]
    points = origin + direction * ((1.0 / inverse_depth - origin[2]) / direction[..., 2])[..., None]
    return pattern(points).permute(2, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(24, 32), (17, 23)])
def test_the_sweep_peaks_at_the_true_depth(height, width) -> None:
    planes = torch.linspace(0.2, 2.0, 19)
    generator = torch.Generator().manual_seed(2)
    poses = se3.exp(torch.randn(3, 6, generator=generator) * torch.tensor([0.15, 0.15, 0.05, 0.05, 0.05, 0.05]))
    for true in (6, 11):
        key = plane_seen_from(torch.eye(4), planes[true], height, width)
        views = torch.stack([plane_seen_from(pose, planes[true], height, width) for pose in poses])
        volume = pooled_volume(key[None], views[None], lens(height, width)[None], poses[None], planes[None], 4)
        best = volume[0, :4].mean(0).argmax(0)
        inside = volume[0, -1, true] == 1.0
        assert inside.float().mean() > 0.4
        assert (best == true)[inside].float().mean() > 0.9
        assert ((best - true).abs() <= 1)[inside].float().mean() > 0.99


def test_the_fast_volume_is_the_plain_one() -> None:
    """Plane by plane and view by view with the project's own geometry."""
    height, width, groups = 9, 14, 2
    generator = torch.Generator().manual_seed(1)
    key = torch.randn(2, 6, height, width, generator=generator)
    views = torch.randn(2, 3, 6, height, width, generator=generator)
    poses = se3.exp(0.2 * torch.randn(2, 3, 6, generator=generator))
    K = torch.stack([lens(height, width), lens(height, width) * torch.tensor([[1.2], [1.0], [1.0]])])
    planes = torch.stack([torch.linspace(0.1, 2.0, 5), torch.linspace(0.3, 1.0, 5)])
    volume = pooled_volume(key, views, K, poses, planes, groups)
    size = torch.tensor([width, height])
    for k in range(planes.shape[1]):
        scores, seen = [], []
        points = unproject((1.0 / planes[:, k])[:, None, None, None].expand(2, 1, height, width), K)
        for v in range(3):
            moved = transform(poses[:, v], points)
            pixels = project(moved, K)
            product = key * sample(views[:, v], pixels)
            scores.append(product.reshape(2, groups, -1, height, width).sum(2))
            seen.append(((pixels >= 0) & (pixels <= size)).all(-1) & (moved[..., 2] > 0))
        there = torch.stack(seen, 1)[:, :, None]
        score = torch.stack(scores, 1)
        count = there.sum(1)
        mean = (score * there).sum(1) / count.clamp_min(1)
        best = torch.where(there, score, -torch.ones_like(score)).amax(1).clamp_min(-1.0)
        expected = torch.cat([mean, torch.where(count > 0, best, torch.zeros_like(best)), count / 3], 1)
        torch.testing.assert_close(volume[:, :, k], expected, atol=2e-4, rtol=1e-3)


def test_more_views_in_any_order_give_a_volume_of_the_same_form() -> None:
    generator = torch.Generator().manual_seed(1)
    key, views = torch.randn(1, 8, 7, 9, generator=generator), torch.randn(1, 4, 8, 7, 9, generator=generator)
    poses, planes = se3.exp(0.1 * torch.randn(1, 4, 6, generator=generator)), torch.linspace(0.2, 1.0, 6)[None]
    K = lens(7, 9)[None]
    order = [2, 0, 3, 1]
    first = pooled_volume(key, views, K, poses, planes, 4)
    torch.testing.assert_close(first, pooled_volume(key, views[:, order], K, poses[:, order], planes, 4))
    assert pooled_volume(key, views[:, :1], K, poses[:, :1], planes, 4).shape == first.shape


def test_pixel_centres_stay_where_they_are_without_motion() -> None:
    grid, seen = plane_grid(lens(6, 8)[None], torch.eye(4)[None], torch.tensor([[0.0, 1.0, 5.0]]), 6, 8)
    x, y = (torch.arange(8) + 0.5) / 8 * 2 - 1, (torch.arange(6) + 0.5) / 6 * 2 - 1
    expected = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(1, 3, 6, 8, 2)
    torch.testing.assert_close(grid, expected, atol=1e-5, rtol=0)
    assert seen.all()


def test_soft_argmax_of_one_hot_is_the_plane() -> None:
    planes = torch.tensor([[0.1, 0.5, 0.9, 1.3]])
    hot = torch.tensor([[[0, 3], [2, 1]]])
    logits = 1e4 * F.one_hot(hot, 4).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(soft_argmax(logits, planes)[0, 0], planes[0][hot[0]])
    assert torch.equal(certainty(logits), torch.ones(1, 1, 2, 2))
    torch.testing.assert_close(certainty(torch.zeros(1, 12, 2, 3)), torch.full((1, 1, 2, 3), 0.25))
