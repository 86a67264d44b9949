"""The self-supervised losses on scenes where everything is known."""

import numpy as np
import pytest
import torch

from engine.depth.photometric import (
    disparity_smoothness,
    left_right_loss,
    photometric_error,
    photometric_loss,
    sparse_loss,
    ssim,
)
from engine.geometry.arrays import Lens, rigid_inverse
from tests.engine.depth.scene import cameras, plane_depth
from tests.engine.depth.smooth_scene import plane_picture


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def sideways(*shifts, dtype=torch.float64):
    """(S, 1, 4, 4): cameras moved right by `shifts`."""
    poses = torch.eye(4, dtype=dtype).repeat(len(shifts), 1, 1, 1)
    poses[:, 0, 0, 3] = -torch.tensor(shifts, dtype=dtype)
    return poses


@pytest.fixture(scope="module")
def plane():
    """The middle frame of the slanted plane as target, its neighbours as sources; float64."""
    return plane_views(Lens("PINHOLE", 128, 96, 130.0, 125.0, 67.0, 44.0))


def plane_views(lens, seed=0):
    cameras_of = cameras(5)
    images = torch.tensor(np.stack([plane_picture(lens, pose, seed) for pose in cameras_of])).permute(0, 3, 1, 2)
    around = [0, 1, 3, 4]
    poses = np.stack([rigid_inverse(cameras_of[k]) @ cameras_of[2] for k in around])
    return {
        "target": images[2:3],
        "sources": images[around][:, None],
        "depth": torch.tensor(plane_depth(lens, cameras_of[2]))[None, None],
        "lens_matrix": torch.tensor(lens.matrix())[None],
        "source_from_target": torch.tensor(poses)[:, None],
        "still": torch.ones(1, 1, 96, 128, dtype=torch.float64),
    }


def layers():
    """A near square in front of a far wall, seen by a camera and by one on either side, all exact to the pixel.

    Focal length 16 px and a baseline of 1: disparity 2 px on the wall (depth 8), 8 px on the square (depth 2).

    Returns:
        (pictures (3, 3, H, W): here, from the right, from the left; depths (3, 1, H, W); lens matrix).
    """
    height, width = 24, 64
    wall, square = noise(3, height, width + 32, seed=1), noise(3, 10, 14, seed=2)
    pictures, depths = [], []
    for side in (0, 1, -1):  # a camera moved right sees things move left
        picture = wall[:, :, 16 + 2 * side : 16 + 2 * side + width].clone()
        depth = torch.full((1, height, width), 8.0, dtype=torch.float64)
        start = 26 - 8 * side
        picture[:, 7:17, start : start + 14] = square
        depth[:, 7:17, start : start + 14] = 2.0
        pictures.append(picture)
        depths.append(depth)
    matrix = torch.tensor([[[16.0, 0.0, 32.0], [0.0, 16.0, 12.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    return torch.stack(pictures), torch.stack(depths), matrix


def test_ssim_is_that_of_the_formula_in_a_box_of_three() -> None:
    a, b = noise(1, 1, 3, 3, seed=3), noise(1, 1, 3, 3, seed=4)
    x, y = a.numpy().ravel(), b.numpy().ravel()
    expected = (2 * x.mean() * y.mean() + 0.01**2) * (2 * np.cov(x, y, bias=True)[0, 1] + 0.03**2)
    expected /= (x.mean() ** 2 + y.mean() ** 2 + 0.01**2) * (x.var() + y.var() + 0.03**2)
    assert ssim(a, b)[0, 0, 1, 1].item() == pytest.approx((1 - expected) / 2)
    assert ssim(a, a).max().item() < 1e-12
    assert 0 <= ssim(a, 1 - a).min().item() <= ssim(a, 1 - a).max().item() <= 1


def test_error_is_85_percent_structure_and_15_percent_difference() -> None:
    flat = torch.full((1, 3, 6, 6), 0.5, dtype=torch.float64)
    brighter = flat + 0.2
    expected = 0.85 * (1 - (2 * 0.5 * 0.7 + 1e-4) / (0.25 + 0.49 + 1e-4)) / 2 + 0.15 * 0.2
    error = photometric_error(brighter, flat)
    assert error.shape == (1, 1, 6, 6)
    assert error.numpy() == pytest.approx(expected, rel=1e-4)


def test_true_depth_costs_next_to_nothing_and_wrong_depth_costs_more_the_more_wrong_it_is(plane) -> None:
    true = photometric_loss(**plane).item()
    costs = [photometric_loss(**{**plane, "depth": plane["depth"] * f}).item() for f in (1.03, 1.1, 1.3)]
    nearer = [photometric_loss(**{**plane, "depth": plane["depth"] * f}).item() for f in (0.97, 0.9, 0.75)]
    assert true < 0.0005
    assert 2 * true < costs[0] < costs[1] < costs[2]
    assert 2 * true < nearer[0] < nearer[1] < nearer[2]


def test_wrong_depth_is_pulled_towards_the_truth(plane) -> None:
    for factor in (0.95, 1.05):
        depth = (plane["depth"] * factor).requires_grad_()
        photometric_loss(**{**plane, "depth": depth}).backward()
        assert torch.sign(depth.grad.sum()) == np.sign(factor - 1)


def test_frames_of_a_batch_and_order_of_sources_do_not_mix(plane) -> None:
    other = plane_views(Lens("PINHOLE", 128, 96, 170.0, 150.0, 60.0, 50.0), seed=1)
    other["depth"] = other["depth"] * 1.05
    both = {name: torch.cat([plane[name], other[name]], dim=1 if name.startswith("source") else 0) for name in plane}
    assert photometric_loss(**both).numpy() == pytest.approx(
        [photometric_loss(**plane).item(), photometric_loss(**other).item()], rel=0.01
    )


def test_gradients_are_those_of_the_loss() -> None:
    torch.manual_seed(0)
    target, sources = noise(1, 3, 6, 7, seed=5), noise(2, 1, 3, 6, 7, seed=6)
    depth = (2.0 + noise(1, 1, 6, 7, seed=7)).requires_grad_()
    matrix = torch.tensor([[[7.0, 0.0, 3.5], [0.0, 7.0, 3.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    poses, still = sideways(0.13, -0.11), torch.ones(1, 1, 6, 7, dtype=torch.float64)

    def loss(d):
        return photometric_loss(target, sources, d, matrix, poses, still).sum()

    assert torch.autograd.gradcheck(loss, (depth,), eps=1e-7, atol=1e-5)
    assert torch.autograd.grad(loss(depth), depth)[0].abs().max() > 1e-3


def test_what_one_source_hides_another_shows() -> None:
    pictures, depths, matrix = layers()
    still = torch.ones(1, 1, 24, 64, dtype=torch.float64)

    def loss(views, sides):
        return photometric_loss(
            pictures[:1], pictures[views][:, None], depths[:1], matrix, sideways(*sides), still
        ).item()

    assert loss([1, 2], (1, -1)) == pytest.approx(0, abs=1e-6)
    assert loss([1], (1,)) > 0.01
    assert loss([2], (-1,)) > 0.01


def test_what_stands_still_in_the_picture_gives_no_gradient() -> None:
    """A thing that travels with the camera: any depth but infinity explains it worse than no motion at all."""
    pictures, depths, matrix = layers()
    pictures[1:, :, 2:22, 40:60] = pictures[0, :, 2:22, 40:60]
    depth = depths[:1].clone().requires_grad_()
    still = torch.ones(1, 1, 24, 64, dtype=torch.float64)
    photometric_loss(pictures[:1], pictures[1:][:, None], depth * 1.05, matrix, sideways(1, -1), still).backward()
    inner = depth.grad[0, 0, 4:20, 42:58]
    assert (inner == 0).all()
    assert (depth.grad[0, 0, 4:20, 4:20] != 0).float().mean() > 0.5


def test_moving_pixels_do_not_count_in_target_or_source() -> None:
    pictures, depths, matrix = layers()
    poses, ones = sideways(1.0), torch.ones(1, 1, 24, 64, dtype=torch.float64)
    clean = photometric_loss(pictures[:1], pictures[2:][:, None], depths[:1], matrix, sideways(-1.0), ones)

    moved = pictures.clone()
    moved[0, :, 8:14, 5:12] = 0.0
    still = ones.clone()
    still[..., 8:14, 5:12] = 0.0
    seen = photometric_loss(moved[:1], moved[2:][:, None], depths[:1], matrix, sideways(-1.0), still)
    blind = photometric_loss(moved[:1], moved[2:][:, None], depths[:1], matrix, sideways(-1.0), ones)
    assert blind.item() > seen.item() + 0.005
    assert seen.item() == pytest.approx(clean.item(), rel=0.15)

    hidden = ones.clone()  # the square stands at 18..32 in the right picture; what it hides is mover's business here
    hidden[..., 7:17, 18:32] = 0.0
    wall = torch.full_like(depths[:1], 8.0)
    source = pictures[1:2][:, None]
    target = pictures[:1].clone()
    target[..., 26:40] = 0.5
    still[...] = 1.0
    still[..., 26:40] = 0.0
    assert photometric_loss(target, source, wall, matrix, poses, still, hidden[None]).item() == pytest.approx(
        0, abs=1e-6
    )
    assert photometric_loss(target, source, wall, matrix, poses, still).item() > 0.005


def test_pixels_that_no_source_sees_do_not_count_and_give_no_nan(plane) -> None:
    poses = plane["source_from_target"].clone()
    poses[..., 2, 3] = -10.0  # everything is behind the cameras
    depth = plane["depth"].clone().requires_grad_()
    loss = photometric_loss(**{**plane, "depth": depth, "source_from_target": poses})
    loss.backward()
    assert loss.item() == 0.0
    assert (depth.grad == 0).all()
    poses[..., 2, 3] = -plane["depth"].mean()  # about half of it
    depth.grad = None
    loss = photometric_loss(**{**plane, "depth": depth, "source_from_target": poses})
    loss.backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(depth.grad).all()


def test_pixels_that_leave_the_picture_do_not_count() -> None:
    wall = noise(3, 12, 60, seed=8)
    target, source = wall[None, :, :, :40], wall[None, None, :, :, 20:]  # half of the target is out of the source
    matrix = torch.tensor([[[16.0, 0.0, 20.0], [0.0, 16.0, 6.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    depth, still = torch.full((1, 1, 12, 40), 0.8, dtype=torch.float64), torch.ones(1, 1, 12, 40, dtype=torch.float64)
    assert photometric_loss(target, source, depth, matrix, sideways(1.0), still).item() == pytest.approx(0, abs=1e-6)


def test_smoothness_is_cheaper_along_picture_edges() -> None:
    """The sign of the exponent: as printed by Zeng, the aligned step would cost e^2 times more instead of less."""
    step = 1.0 + (torch.arange(16) >= 8).float().expand(1, 1, 16, 16)
    grey, edge = torch.zeros(1, 3, 16, 16), (step - 1.0).expand(1, 3, 16, 16)
    flat, aligned = disparity_smoothness(step, grey).item(), disparity_smoothness(step, edge).item()
    assert flat == pytest.approx(1 / 1.5 / 15)
    assert aligned == pytest.approx(flat * np.exp(-1.0))
    beside = (torch.arange(16) >= 4).float().expand(1, 3, 16, 16)
    assert disparity_smoothness(step, beside).item() == pytest.approx(flat)


def test_smoothness_does_not_depend_on_the_unit_and_sees_both_directions() -> None:
    disparity = 0.5 + noise(2, 1, 9, 11)
    image = noise(2, 3, 9, 11, seed=1)
    cost = disparity_smoothness(disparity, image)
    assert disparity_smoothness(disparity * 40.0, image).numpy() == pytest.approx(cost.numpy(), rel=1e-5)
    assert disparity_smoothness(disparity.mT, image.mT).numpy() == pytest.approx(cost.numpy())
    assert (disparity_smoothness(torch.ones_like(disparity), image) == 0).all()


def test_sparse_points_pull_by_log_depth_at_their_pixels() -> None:
    log_depth = torch.zeros(2, 1, 4, 6, dtype=torch.float64)
    log_depth[0, 0, :, 2] = 0.2
    log_depth.requires_grad_()
    pixels = torch.tensor([[[2.5, 1.5], [3.0, 1.5], [9.0, 9.0]], [[0.0, 0.0]] * 3], dtype=torch.float64)
    depth = torch.tensor([[1.0, 1.0, 0.0], [0.0] * 3], dtype=torch.float64)
    loss = sparse_loss(log_depth, pixels, depth)
    assert loss[0].item() == pytest.approx((0.2 / 1.4 + 0.1 / 1.2) / 2)  # on the column, and half way to the next
    assert loss[1].item() == 0.0
    assert torch.autograd.gradcheck(lambda x: sparse_loss(x + 0.01, pixels, depth), (log_depth,), eps=1e-7)
    loss.sum().backward()
    assert log_depth.grad is not None
    assert log_depth.grad[1].abs().sum() == 0


def test_a_wild_sparse_point_pulls_little() -> None:
    log_depth = torch.zeros(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    pixels = torch.tensor([[[0.5, 0.5], [2.5, 2.5]]], dtype=torch.float64)
    sparse_loss(log_depth, pixels, torch.tensor([[1.05, 20.0]], dtype=torch.float64)).sum().backward()
    assert log_depth.grad is not None
    assert abs(log_depth.grad[0, 0, 0, 0]) > 20 * abs(log_depth.grad[0, 0, 2, 2])


def test_left_and_right_maps_of_one_scene_cost_nothing_where_an_eye_sees_less() -> None:
    _, depths, matrix = layers()
    assert left_right_loss(depths[:1], depths[1:2], matrix, sideways(1.0)[0]).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("which", ["left", "right"])
@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_contradiction_of_left_and_right_costs_its_disparity_once(which, factor) -> None:
    """A wall with 2 px of disparity."""
    depth = torch.full((1, 1, 8, 40), 8.0, dtype=torch.float64)
    matrix = torch.tensor([[[16.0, 0.0, 20.0], [0.0, 16.0, 4.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    wrong = depth * factor
    left, right = (wrong, depth) if which == "left" else (depth, wrong)
    cost = left_right_loss(left, right, matrix, sideways(1.0)[0]).item()
    assert cost == pytest.approx(2.0 * abs(1 / factor - 1), rel=1e-6)


def test_points_behind_the_other_eye_do_not_count() -> None:
    """Not even the one on its axis, which every depth projects into the picture."""
    depth = torch.full((1, 1, 8, 40), 8.0, dtype=torch.float64)
    matrix = torch.tensor([[[16.0, 0.0, 20.5], [0.0, 16.0, 4.5], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)[None].clone()
    pose[:, 2, 3] = -10.0
    far = depth * 100  # the other way round every point is seen, and nothing is seen through
    assert left_right_loss(depth, far, matrix, pose).item() == 0.0


def test_left_right_gradients_pull_both_maps_together() -> None:
    depths = [(3.0 + noise(1, 1, 6, 8, seed=s)).requires_grad_() for s in (1, 2)]
    matrix = torch.tensor([[[7.0, 0.0, 4.0], [0.0, 7.0, 3.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    pose = sideways(0.13)[0]
    assert torch.autograd.gradcheck(
        lambda a, b: left_right_loss(a, b, matrix, pose), tuple(depths), eps=1e-7, atol=1e-5
    )
    near, far = torch.full((1, 1, 8, 40), 6.0), torch.full((1, 1, 8, 40), 8.0)
    near.requires_grad_()
    far.requires_grad_()
    matrix = torch.tensor([[[16.0, 0.0, 20.0], [0.0, 16.0, 4.0], [0.0, 0.0, 1.0]]])
    left_right_loss(near, far, matrix, sideways(1.0, dtype=torch.float32)[0]).sum().backward()
    assert near.grad is not None and far.grad is not None
    assert near.grad.sum() < 0 < far.grad.sum()
