"""The conventions of `engine.geometry`, each proven once."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.geometry import arrays, tensors
from engine.geometry.arrays import Lens

BARREL = Lens("SIMPLE_RADIAL", 640, 360, 500.0, 510.0, 330.0, 170.0, k1=-0.12)


def test_sampling_the_pixel_grid_gives_the_pixel_grid_back() -> None:
    # An image that holds its own pixel coordinates: wherever it is sampled, the answer must be the place asked for.
    grid = torch.from_numpy(arrays.pixel_centres(37, 53).astype(np.float32))
    image = grid.permute(2, 0, 1)[None]
    asked = torch.rand(1, 20, 30, 2) * torch.tensor([52.0, 36.0]) + 0.5
    sampled = tensors.sample(image, asked)
    assert (sampled[0].permute(1, 2, 0) - asked[0]).abs().max() < 1e-4


def test_projecting_what_was_unprojected_returns_the_pixel() -> None:
    matrix = torch.from_numpy(BARREL.matrix())[None]
    depth = torch.rand(1, 1, 360, 640, dtype=torch.float64) * 9.0 + 1.0
    pixels = tensors.project(tensors.unproject(depth, matrix), matrix)
    assert np.abs(pixels[0].numpy() - arrays.pixel_centres(360, 640)).max() < 1e-9


def test_resizing_keeps_the_ray_of_an_image_corner() -> None:
    small = BARREL.scaled(320, 90)
    corner = (BARREL.width - BARREL.cx) / BARREL.fx, (BARREL.height - BARREL.cy) / BARREL.fy
    assert ((320 - small.cx) / small.fx, (90 - small.cy) / small.fy) == pytest.approx(corner)


@given(st.floats(-0.6, 0.6), st.floats(-0.4, 0.4), st.floats(-0.15, 0.15))
def test_undistorting_inverts_distorting(x, y, k1) -> None:
    lens = Lens("SIMPLE_RADIAL", 640, 360, 500.0, 500.0, 320.0, 180.0, k1=k1)
    back = arrays.undistort(lens, *arrays.distort(lens, np.array([x]), np.array([y])))
    assert np.allclose(np.concatenate(back), [x, y], atol=1e-7)


def test_undistort_and_distort_maps_are_inverse_to_each_other() -> None:
    import cv2

    smooth = np.fromfunction(lambda v, u: np.sin(u / 40) + np.cos(v / 30), (360, 640)).astype(np.float32)
    ideal = cv2.remap(smooth, *arrays.undistort_map(BARREL), cv2.INTER_CUBIC)
    back = cv2.remap(ideal, *arrays.distort_map(BARREL, BARREL.undistorted()), cv2.INTER_CUBIC)
    # OpenCV rounds each map to 1/32 px; the picture's slope is below 0.06 per pixel.
    assert np.abs(back - smooth)[40:-40, 40:-40].max() < 2 * 0.06 / 32


def test_rigid_inverse() -> None:
    angle = 0.3
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    pose[:3, 3] = [1.0, -2.0, 3.0]
    assert np.allclose(arrays.rigid_inverse(pose) @ pose, np.eye(4))


@pytest.mark.parametrize("worker", ["engine.poses.worker", "engine.poses.place_worker"])
def test_the_processes_that_solve_cameras_do_without_torch(worker) -> None:
    code = f"import sys, {worker}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
