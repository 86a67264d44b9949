"""Gauss-Newton on SE(3): poses come back from where pixels went."""

import math

import pytest
import torch

from engine.deepv2d import gauss_newton, se3
from engine.deepv2d.gauss_newton import (
    Sightings,
    Window,
    depth_step,
    global_step,
    keyframe_step,
    solve,
    window_equations,
)
from engine.geometry.tensors import project, transform, unproject

HEIGHT, WIDTH = 24, 31
HELD = 1e12  # trust in a depth that is not to move
LENS = torch.tensor([[35.0, 0.0, 15.2], [0.0, 33.0, 12.4], [0.0, 0.0, 1.0]], dtype=torch.float64)


def depth_maps(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(count, 1, 3, 4, generator=generator, dtype=torch.float64)
    return 0.6 + 1.5 * torch.nn.functional.interpolate(rough, (HEIGHT, WIDTH), mode="bilinear", align_corners=True)


def lenses(count):
    return LENS.expand(count, 3, 3)


def poses(count, size, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return se3.exp(size * torch.randn(count, 6, generator=generator, dtype=torch.float64))


def angle_deg(a, b):
    return math.degrees(float(se3.log(a @ se3.inverse(b))[..., 3:].norm(dim=-1).max()))


def test_keyframe_mode_recovers_poses_from_perfect_flow_in_three_steps() -> None:
    points, truth = unproject(depth_maps(5), lenses(5)), poses(5, 0.08)
    target = project(transform(truth, points), lenses(5))
    pose = torch.eye(4, dtype=torch.float64).expand(5, 4, 4)
    for _ in range(3):
        pose = keyframe_step(pose, points, lenses(5), target, torch.ones_like(target))
    assert angle_deg(pose, truth) < 0.01
    assert float((pose - truth)[:, :3, 3].norm(dim=-1).max()) < 1e-3


def test_wrong_pixels_without_weight_do_no_harm() -> None:
    points, truth = unproject(depth_maps(2), lenses(2)), poses(2, 0.05)
    target = project(transform(truth, points), lenses(2))
    weight = torch.ones_like(target)
    target[:, :12], weight[:, :12] = target[:, :12] + 9.0, 0.0
    target[:, 13], weight[:, 14] = math.nan, math.nan
    pose = torch.eye(4, dtype=torch.float64).expand(2, 4, 4)
    for _ in range(4):
        pose = keyframe_step(pose, points, lenses(2), target, weight)
    assert angle_deg(pose, truth) < 0.01


def test_jacobians_are_those_of_the_projection() -> None:
    points, pose = unproject(depth_maps(1), lenses(1)), poses(1, 0.2)

    def seen(x):
        lens = lenses(1).clone()
        lens[:, 0, 0] = LENS[0, 0] * x[6].exp()
        lens[:, 1, 1] = LENS[1, 1] * x[6].exp()
        rays = unproject(depth_maps(1), lens)
        return project(transform(se3.exp(x[None, :6]) @ pose, rays), lens, gauss_newton.NEAREST)

    expected = torch.autograd.functional.jacobian(seen, torch.zeros(7, dtype=torch.float64))
    moved = transform(pose, points)
    found = gauss_newton._jacobian(pose, points, moved, lenses(1))
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_the_depth_column_is_that_of_the_projection() -> None:
    points, pose = unproject(depth_maps(1), lenses(1)), poses(1, 0.2)

    def seen(x):
        return project(transform(pose, points * (-x).exp()), lenses(1), gauss_newton.NEAREST)

    expected = torch.autograd.functional.jacobian(seen, torch.zeros((), dtype=torch.float64))
    found = gauss_newton._depth_column(pose, points, transform(pose, points), lenses(1))
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_gradient_through_the_solve() -> None:
    points, truth = unproject(depth_maps(1)[..., :5, :6], lenses(1)), poses(1, 0.05)
    target = project(transform(truth, points), lenses(1)).requires_grad_()
    weight = torch.rand(target.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    start = torch.eye(4, dtype=torch.float64)[None]

    def step(target, weight):
        return keyframe_step(start, points, lenses(1), target, weight)

    assert torch.autograd.gradcheck(step, (target, weight), atol=1e-6)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_cannot_be_solved_moves_nothing_and_has_no_gradient(broken) -> None:
    H = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    H[1, 0, 0] = broken
    H[2] = -1e6 * H[2]  # not positive, whatever the damping
    H.requires_grad_()
    b = torch.ones(3, 3, dtype=torch.float64, requires_grad=True)
    x = solve(H, b, torch.zeros(3), torch.zeros(3))
    assert torch.equal(x, torch.tensor([[1.0] * 3, [0.0] * 3, [0.0] * 3], dtype=torch.float64))
    x.sum().backward()
    assert H.grad is not None and b.grad is not None
    assert torch.isfinite(H.grad).all() and torch.isfinite(b.grad).all()
    assert float(b.grad[1:].abs().max()) == 0.0


def test_damping_is_as_published_and_steps_are_limited() -> None:
    H, b = torch.diag(torch.tensor([200.0, 1e6, 1.0]))[None], torch.tensor([[30.0, 10.0, 1e9]])
    x = solve(H, b, torch.full((3,), 100.0), torch.full((3,), 1e-4))
    torch.testing.assert_close(x[0], torch.tensor([30 / 300.02, 10 / (1e6 + 100 + 100), 1.0]))


def windows_of(pose, edges, depth, lens, truth, true_lens, drift=None, trust=HELD):
    """Of perfect flow; `drift` is brought up to date as well."""
    drift = torch.zeros(len(pose), HEIGHT, WIDTH, dtype=torch.float64) if drift is None else drift
    windows, after = [], []
    for key in sorted(set(edges[:, 0].tolist())):
        views = edges[edges[:, 0] == key, 1]
        many = len(views)
        there = unproject(depth[key : key + 1], true_lens[None]).expand(many, -1, -1, -1)
        target = project(transform(truth[views] @ se3.inverse(truth[key]), there), true_lens.expand(many, 3, 3))
        relative = pose[views] @ se3.inverse(pose[key])
        points = unproject(guess(depth, trust)[key : key + 1] * (-drift[key]).exp(), lens[None])[0]
        seen = Sightings(relative, points, lens, target, torch.ones_like(target), drift[key], trust)
        windows.append(Window(key, views, *window_equations(seen)))
        after.append(depth_step(seen))
    return windows, torch.stack(after)


def guess(depth, trust):
    """Held depth is right; depth that may move is 25 % off, more or less from place to place."""
    if trust == HELD:
        return depth
    wave = torch.sin(torch.arange(WIDTH, dtype=torch.float64) / 4.0) * torch.cos(torch.arange(HEIGHT) / 3.0)[:, None]
    return depth * (0.25 * wave).exp()


def test_keyframe_and_global_mode_agree_on_two_frames() -> None:
    depth, truth = depth_maps(2), torch.cat([torch.eye(4, dtype=torch.float64)[None], poses(1, 0.05)])
    start = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    windows, _ = windows_of(start, torch.tensor([[0, 1]]), depth, LENS, truth, LENS)
    together, _ = global_step(start, windows)
    points = unproject(depth[:1], lenses(1))
    target = project(transform(truth[1:], points), lenses(1))
    alone = keyframe_step(start[1:], points, lenses(1), target, torch.ones_like(target))
    torch.testing.assert_close(together[1:], alone, atol=1e-9, rtol=0)
    assert torch.equal(together[0], start[0])


def test_eliminating_depth_is_solving_for_it() -> None:
    """Against the dense system with one unknown for every pixel."""
    count, trust = 3, 0.4
    generator = torch.Generator().manual_seed(2)
    points = unproject(depth_maps(1)[..., :4, :5], lenses(1))[0]
    pose, drift = poses(count, 0.1), 0.1 * torch.rand(4, 5, generator=generator, dtype=torch.float64)
    target = project(transform(poses(count, 0.1, seed=8), points.expand(count, 4, 5, 3)), lenses(count))
    weight = torch.rand(target.shape, generator=generator, dtype=torch.float64)

    def seen(x):
        lens = lenses(count).clone()
        lens[:, :2, :2] *= x[6 * count].exp()
        lens[:, 0, 1] = 0.0
        z = points[..., 2] * (-x[6 * count + 1 :].reshape(4, 5)).exp()
        rays = unproject(z[None, None], lens[:1]).expand(count, 4, 5, 3)
        return project(transform(se3.exp(x[: 6 * count].reshape(count, 6)) @ pose, rays), lens, gauss_newton.NEAREST)

    zero = torch.zeros(6 * count + 1 + 20, dtype=torch.float64)
    J = torch.autograd.functional.jacobian(seen, zero).reshape(-1, len(zero))
    w, r = weight.flatten(), (target - seen(zero)).flatten()
    H, b = J.T @ (w[:, None] * J), J.T @ (w * r)
    H += torch.diag(torch.cat([torch.zeros(6 * count + 1), torch.full((20,), trust)]))
    b[6 * count + 1 :] -= trust * drift.flatten()
    n = 6 * count + 1
    expected = torch.linalg.solve(H, b)[:n]
    small_H, small_b = window_equations(Sightings(pose, points, LENS, target, weight, drift, trust))
    torch.testing.assert_close(torch.linalg.solve(small_H, small_b), expected, rtol=1e-6, atol=1e-9)


def test_poses_come_back_where_depth_may_move_and_not_where_it_is_held() -> None:
    count, edges = 4, pairs(4)
    depth, truth = depth_maps(count), chain(count)

    def miss(trust):
        pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
        drift = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.float64)
        for _ in range(12):
            windows, _ = windows_of(pose, edges, depth, LENS, truth, LENS, drift, trust)
            pose, _ = global_step(pose, windows)
            _, drift = windows_of(pose, edges, depth, LENS, truth, LENS, drift, trust)
        return angle_deg(pose, truth)

    def held_at_wrong_depth():
        pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
        for _ in range(12):
            windows, _ = windows_of(pose, edges, depth, LENS, truth, LENS, trust=2 * HELD)
            pose, _ = global_step(pose, windows)
        return angle_deg(pose, truth)

    assert miss(1e-3) < 0.02
    assert held_at_wrong_depth() > 0.2


def chain(count):
    truth = [torch.eye(4, dtype=torch.float64)]
    for step in poses(count - 1, 0.06, seed=5):
        truth.append(step @ truth[-1])
    return torch.stack(truth)


def pairs(count):
    return torch.tensor([(i, j) for i in range(count) for j in range(count) if 0 < abs(i - j) <= 2])


def test_global_mode_recovers_a_chain_of_poses() -> None:
    count, edges = 6, pairs(6)
    depth, truth = depth_maps(count), chain(count)
    pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for _ in range(6):
        windows, _ = windows_of(pose, edges, depth, LENS, truth, LENS)
        pose, factor = global_step(pose, windows)
        assert float(factor) == 0.0
    assert angle_deg(pose, truth) < 0.01
    assert float((pose - truth)[:, :3, 3].norm(dim=-1).max()) < 1e-3


def test_global_mode_recovers_the_focal_length() -> None:
    count, edges = 5, pairs(5)
    depth, truth = depth_maps(count), chain(count)
    lens = LENS.clone()
    lens[:2, :2] *= 1.15
    pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for _ in range(12):
        windows, _ = windows_of(pose, edges, depth, lens, truth, LENS)
        pose, factor = global_step(pose, windows, focal=True)
        lens[:2, :2] *= factor.exp()
    assert float(lens[0, 0]) == pytest.approx(35.0, rel=2e-3)
    assert angle_deg(pose, truth) < 0.05
