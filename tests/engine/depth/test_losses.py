"""The pair losses on a scene where everything is known."""

import numpy as np
import pytest
import torch

from engine.depth.losses import anchor_loss, pair_losses, smoothness_loss
from engine.geometry.arrays import Lens, rigid_inverse
from tests.engine.depth.scene import cameras, flow_between, plane_depth

Pair = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def pair() -> Pair:
    """Two views of the plane, float64: depths, matrix, pose, flow, mask (the pixels that stay in the picture)."""
    lens = Lens("PINHOLE", 64, 48, 70.0, 64.0, 35.0, 21.0)
    poses = cameras(2, step=0.3)
    depths = [plane_depth(lens, pose) for pose in poses]
    flow = flow_between(lens, depths[0], *poses)
    grid = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(48) + 0.5), -1) + flow
    # bilinear sampling needs all four neighbours
    mask = ((grid > 0.5) & (grid < (63.5, 47.5))).all(-1)
    assert mask.mean() > 0.8
    tensor = torch.tensor
    return (
        tensor(depths[0])[None, None],
        tensor(depths[1])[None, None],
        tensor(lens.matrix())[None],
        tensor(rigid_inverse(poses[1]) @ poses[0])[None],
        tensor(flow).permute(2, 0, 1)[None],
        tensor(mask.astype(float))[None, None],
    )


def test_a_perfect_slanted_plane_costs_nothing(pair: Pair) -> None:
    spatial, disparity = pair_losses(*pair)
    assert spatial.item() + disparity.item() < 1e-4


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_wrong_depth_costs(pair: Pair, factor) -> None:
    spatial, disparity = pair_losses(pair[0] * factor, *pair[1:])
    assert spatial.item() > 0.05
    assert disparity.item() > 0.05


def test_the_spatial_loss_is_the_distance_in_pixels(pair: Pair) -> None:
    shifted = pair[4] + torch.tensor([0.003, 0.004])[None, :, None, None]
    spatial, _ = pair_losses(*pair[:4], shifted, pair[5])
    assert spatial.item() == pytest.approx(0.005, rel=0.01)


def test_gradients_are_those_of_the_losses(pair: Pair) -> None:
    depth, other, matrix, pose, flow, mask = (t[..., 10:18, 10:20] if t.shape[-1] == 64 else t for t in pair)
    matrix = matrix.clone()
    matrix[:, 0, 2] -= 10.0
    matrix[:, 1, 2] -= 10.0
    torch.manual_seed(0)
    depth = (depth * (1 + 0.05 * torch.rand_like(depth))).requires_grad_()
    other = (other * (1 + 0.05 * torch.rand_like(other))).requires_grad_()

    def total(a, b):
        return sum(loss.sum() for loss in pair_losses(a, b, matrix, pose, flow, mask))

    assert torch.autograd.gradcheck(total, (depth, other), eps=1e-7, atol=1e-5)


def test_a_pair_without_a_believed_pixel_costs_zero(pair: Pair) -> None:
    depth = pair[0].clone().requires_grad_()
    spatial, disparity = pair_losses(depth, *pair[1:5], torch.zeros_like(pair[5]))
    assert spatial.item() == 0.0
    assert disparity.item() == 0.0
    (spatial + disparity).sum().backward()
    assert depth.grad is not None
    assert bool((depth.grad == 0).all())


def test_points_behind_the_other_camera_do_not_count_and_give_no_nan(pair: Pair) -> None:
    pose = pair[3].clone()
    pose[:, 2, 3] = -pair[0].mean()  # about half of the plane falls behind
    depth = pair[0].clone().requires_grad_()
    spatial, disparity = pair_losses(depth, pair[1], pair[2], pose, *pair[4:])
    (spatial + disparity).sum().backward()
    assert torch.isfinite(spatial).all()
    assert torch.isfinite(disparity).all()
    assert depth.grad is not None
    assert torch.isfinite(depth.grad).all()


def test_one_wild_flow_vector_hardly_matters(pair: Pair) -> None:
    flow = pair[4].clone()
    flow[0, :, 20, 20] += 500.0
    believed = pair[5].sum().item()
    spatial, _ = pair_losses(*pair[:4], flow, pair[5])
    assert 0.0 < spatial.item() < 3.0 / believed


def test_the_anchor_is_weighted_by_confidence() -> None:
    log_depth, evidence = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.1, 0.2], [9.0, 9.0]]]])
    confidence = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert anchor_loss(log_depth, evidence, confidence).item() == pytest.approx(0.15)
    assert anchor_loss(log_depth, evidence, torch.zeros_like(confidence)).item() == 0.0


def test_smoothness_leaves_slants_alone_and_is_free_at_edges() -> None:
    ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    image = torch.zeros(1, 3, 16, 16)
    assert smoothness_loss(ramp, image).item() < 1e-6
    step = (torch.arange(16) >= 8).float().expand(1, 1, 16, 16)
    flat = smoothness_loss(step, image)
    assert flat.item() > 0.05
    assert smoothness_loss(step, step.expand(1, 3, 16, 16)).item() < 0.01 * flat.item()
