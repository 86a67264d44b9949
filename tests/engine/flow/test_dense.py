"""Flow on pictures whose true motion is known."""

import cv2
import numpy as np
import pytest

from engine.flow.dense import (
    estimate_flow,
    explained_by_cameras,
    find_homography,
    looks_alike,
    returns,
    sample_at,
    transfer,
)
from engine.geometry.arrays import pixel_centres

HEIGHT, WIDTH = 192, 256


def texture(seed, height=HEIGHT, width=WIDTH):
    """Smooth noise at several scales, uint8."""
    rng = np.random.default_rng(seed)
    picture = sum(cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), s) * s for s in (1.5, 3.0, 8.0))
    picture = (picture - picture.min()) / np.ptp(picture)
    return np.asarray(picture * 255, np.uint8)


def test_sampling_a_ramp_at_its_own_coordinates_gives_the_coordinates() -> None:
    grid = pixel_centres(HEIGHT, WIDTH)
    at = np.random.default_rng(0).uniform(1.0, HEIGHT - 1.0, (40, 50, 2)).astype(np.float32)
    assert np.abs(sample_at(grid.astype(np.float32), grid) - grid).max() < 1e-4
    # cv2.remap interpolates on a grid of 1/32 pixel
    assert np.abs(sample_at(grid.astype(np.float32), at) - at).max() < 1 / 32


@pytest.fixture(scope="module")
def rotated():
    """A pair related by a pure homography, as when the camera only turns."""
    first = texture(1)
    homography = np.array([[0.98, -0.09, 14.0], [0.08, 1.02, -11.0], [6e-5, -4e-5, 1.0]])
    back = transfer(np.linalg.inv(homography), pixel_centres(HEIGHT, WIDTH))
    second = cv2.remap(first, (back - 0.5).astype(np.float32), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return first, second, homography


def test_the_homography_of_a_turning_camera_is_found(rotated) -> None:
    first, second, homography = rotated
    grid = pixel_centres(HEIGHT, WIDTH)
    error = transfer(find_homography(first, second), grid) - transfer(homography, grid)
    assert np.abs(error).max() < 1.0


def test_alignment_is_composed_back_exactly(rotated) -> None:
    first, second, homography = rotated
    truth = transfer(homography, pixel_centres(HEIGHT, WIDTH)) - pixel_centres(HEIGHT, WIDTH)
    flow = estimate_flow(first, second, homography)
    back = estimate_flow(second, first, np.linalg.inv(homography))
    error = np.linalg.norm(flow - truth, axis=-1)[returns(flow, back)]
    assert error.size > 0.7 * HEIGHT * WIDTH
    assert np.median(error) < 0.05
    assert np.percentile(error, 95) < 0.2


def test_a_picture_without_features_gets_the_identity() -> None:
    flat = np.full((HEIGHT, WIDTH), 90, np.uint8)
    assert (find_homography(flat, texture(2)) == np.eye(3)).all()
    assert (find_homography(texture(3), texture(4)) == np.eye(3)).all()


def test_what_an_occluder_hides_is_masked() -> None:
    background, square = texture(5), texture(6)
    first, second = background.copy(), background.copy()
    first[60:130, 60:130] = square[60:130, 60:130]
    second[60:130, 70:140] = square[60:130, 60:130]
    flow, back = (estimate_flow(*pair, np.eye(3)) for pair in ((first, second), (second, first)))
    mask = returns(flow, back)
    mask &= looks_alike(first, second, flow, mask)
    assert mask[70:120, 131:139].mean() < 0.3  # hidden behind the square in the second picture
    assert mask[70:120, 70:120].mean() > 0.9
    assert np.abs(flow[70:120, 70:120] - (10, 0)).max(axis=-1)[mask[70:120, 70:120]].max() < 1.5
    assert mask[:, :40].mean() > 0.9


def test_the_brightness_check_rejects_what_looks_different_but_not_a_change_of_exposure() -> None:
    first = texture(7)
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    everywhere = np.ones((HEIGHT, WIDTH), bool)
    brighter = np.clip(first.astype(int) + 20, 0, 255).astype(np.uint8)
    assert looks_alike(first, brighter, flow, everywhere).mean() > 0.99
    brighter[50:80, 50:80] = 255 - brighter[50:80, 50:80] // 3
    assert looks_alike(first, brighter, flow, everywhere)[50:80, 50:80].mean() < 0.3


@pytest.fixture(scope="module")
def cameras():
    matrix = np.array([[300.0, 0, 120.0], [0, 310.0, 100.0], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([0.01, -0.03, 0.02]))[0]
    pose[:3, 3] = (0.3, 0.05, -0.04)
    return matrix, pose


def flow_at(depth, matrix, pose):
    grid = pixel_centres(HEIGHT, WIDTH)
    rays = np.concatenate([grid, np.ones((HEIGHT, WIDTH, 1))], -1) @ np.linalg.inv(matrix).T
    moved = (rays * depth) @ pose[:3, :3].T + pose[:3, 3]
    image = moved @ matrix.T
    return (image[..., :2] / image[..., 2:] - grid).astype(np.float32)


@pytest.mark.parametrize("depth", [1.0, 2.0, 5.0, 100.0])
def test_a_static_scene_is_explained_by_the_cameras(cameras, depth) -> None:
    matrix, pose = cameras
    assert explained_by_cameras(flow_at(depth, matrix, pose), matrix, pose, nearest=0.9).all()


def test_motion_across_and_along_the_epipolar_line_is_not_explained(cameras) -> None:
    matrix, pose = cameras
    still = flow_at(4.0, matrix, pose)
    along = flow_at(1.0, matrix, pose) - flow_at(1e6, matrix, pose)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    across = np.stack([-along[..., 1], along[..., 0]], -1)
    assert not explained_by_cameras(still + 5.0 * across, matrix, pose, nearest=0.9).any()
    # faster than the camera, the other way round: beyond infinity
    assert not explained_by_cameras(still - 40.0 * along, matrix, pose, nearest=0.9).any()


def test_a_camera_that_passes_the_near_limit_gives_no_nan(cameras) -> None:
    matrix, pose = cameras
    forward = pose.copy()
    forward[:3, 3] = (0.1, 0.0, -3.0)
    still = flow_at(10.0, matrix, forward)
    with np.errstate(all="raise"):
        assert explained_by_cameras(still, matrix, forward, nearest=1.0).all()
