"""Rigid motions: exp, log, adjoint and inverse are what they are called."""

import math

import pytest
import torch

from engine.deepv2d import se3

TWISTS = torch.cat(
    [
        torch.zeros(1, 6, dtype=torch.float64),
        torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        1e-4 * torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    ]
)


def generator_matrix(xi):
    A = torch.zeros(*xi.shape[:-1], 4, 4, dtype=xi.dtype)
    A[..., :3, :3], A[..., :3, 3] = se3.hat(xi[..., 3:]), xi[..., :3]
    return A


def test_exp_is_the_matrix_exponential() -> None:
    torch.testing.assert_close(se3.exp(TWISTS), torch.linalg.matrix_exp(generator_matrix(TWISTS)), atol=1e-12, rtol=0)


def test_log_undoes_exp() -> None:
    torch.testing.assert_close(se3.log(se3.exp(TWISTS)), TWISTS, atol=1e-9, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.03, 0.04, math.pi - 1e-6, math.pi])
def test_log_of_every_angle(angle) -> None:
    axis = torch.tensor([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    xi = torch.cat([torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64).expand(3, 3), angle * axis], -1)
    motion = se3.exp(xi)
    torch.testing.assert_close(se3.exp(se3.log(motion)), motion, atol=1e-7, rtol=0)
    torch.testing.assert_close(
        se3.log(motion)[:, 3:].norm(dim=-1), torch.full((3,), angle, dtype=torch.float64), atol=1e-7, rtol=0
    )


def test_inverse_and_adjoint() -> None:
    T, xi = se3.exp(TWISTS[1:5]), TWISTS[5:9]
    torch.testing.assert_close(
        T @ se3.inverse(T), torch.eye(4, dtype=torch.float64).expand(4, 4, 4), atol=1e-12, rtol=0
    )
    moved = se3.exp((se3.adjoint(T) @ xi[..., None])[..., 0]) @ T
    torch.testing.assert_close(T @ se3.exp(xi), moved, atol=1e-12, rtol=0)


def test_exp_has_a_gradient_everywhere() -> None:
    points = TWISTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(se3.exp, (points,), atol=1e-7)
