"""The work clip: sizes, intrinsics, undistortion, sparse depth."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clip.track import CameraTrack, SparsePoints
from engine.clip.work import WorkClip, work_size
from engine.errors import Cancelled, DepthError, FootageError
from engine.geometry.arrays import Lens, distort, pixel_centres
from engine.progress import Silent

LENS = Lens("SIMPLE_RADIAL", 320, 180, 300.0, 300.0, 166.0, 84.0, k1=0.08)


@given(st.integers(64, 5000), st.integers(64, 5000), st.integers(64, 1024))
def test_work_sizes_fit_the_network_and_keep_the_shape(width, height, long_side) -> None:
    size = work_size(width, height, long_side)
    factor = min(1.0, long_side / max(width, height))
    assert all(side % 32 == 0 and side > 0 for side in size)
    assert abs(size[0] - width * factor) <= 32
    assert abs(size[1] - height * factor) <= 32


def scene(point, poses, points=None):
    """A track that sees one point in every frame, and the pixel (N, 2) it is seen at on the distorted plate."""
    pixels = []
    for pose in poses.values():
        camera = (point - pose[:3, 3]) @ pose[:3, :3]
        x, y = distort(LENS, camera[0] / camera[2], camera[1] / camera[2])
        pixels.append((x * LENS.fx + LENS.cx, y * LENS.fy + LENS.cy))
    count = len(poses)
    sparse = SparsePoints(
        np.array([point]),
        np.zeros((1, 3), np.uint8),
        np.ones(1),
        np.array(list(poses)),
        np.zeros(count, int),
        np.array(pixels),
    )
    return CameraTrack(LENS, True, None, poses, {}, dict.fromkeys(poses, 0.1), True, sparse), np.array(pixels)


@pytest.fixture
def poses():
    poses = {}
    for k, number in enumerate((101, 102, 105)):
        poses[number] = np.eye(4)
        poses[number][:3, :3] = cv2.Rodrigues(np.array([0.02, 0.05 * k, 0.0]))[0]
        poses[number][:3, 3] = (0.3 * k, 0.1, 0.0)
    return poses


def write(folder, numbers, scale=1):
    rng = np.random.default_rng(0)
    for number in numbers:
        picture = cv2.GaussianBlur(rng.integers(0, 255, (180 * scale, 320 * scale, 3), np.uint8), (0, 0), 3)
        cv2.imwrite(str(folder / f"{number:06d}.png"), picture)


def test_sparse_points_land_where_the_pinhole_of_the_work_grid_projects_them(tmp_path: Path, poses) -> None:
    point = np.array([0.7, -0.4, 5.0])
    track, _ = scene(point, poses)
    write(tmp_path, poses)
    clip = WorkClip.load(tmp_path, track, 160, Silent())
    assert clip.images.shape == (3, 96, 160, 3)
    assert clip.numbers.tolist() == [101, 102, 105]
    assert clip.index(105) == 2
    for row, pose in enumerate(poses.values()):
        camera = (point - pose[:3, 3]) @ pose[:3, :3]
        expected = clip.lens.matrix() @ (camera / camera[2])
        pixels, depth = clip.sparse[row]
        assert np.abs(pixels - expected[:2]).max() < 1e-4
        assert depth == pytest.approx(camera[2])


def test_a_mark_on_the_distorted_plate_is_found_at_its_undistorted_pixel(tmp_path: Path, poses) -> None:
    track, pixels = scene(np.array([-0.9, 0.6, 5.0]), poses)
    grid = pixel_centres(180, 320)
    for number, pixel in zip(poses, pixels, strict=True):
        blob = 255 * np.exp(-((grid - pixel) ** 2).sum(-1) / (2 * 4.0**2))
        cv2.imwrite(str(tmp_path / f"{number:06d}.png"), np.repeat(blob[..., None], 3, -1).astype(np.uint8))
    clip = WorkClip.load(tmp_path, track, 320, Silent())
    for row in range(3):
        weight = clip.images[row, ..., 0].astype(float)
        centre = (pixel_centres(*weight.shape) * weight[..., None]).sum((0, 1)) / weight.sum()
        assert np.abs(centre - clip.sparse[row][0][0]).max() < 0.15


def test_a_lost_frame_changes_no_other(tmp_path: Path, poses) -> None:
    track, _ = scene(np.array([0.0, 0.0, 5.0]), poses)
    write(tmp_path, poses)
    whole = WorkClip.load(tmp_path, track, 160, Silent())
    del track.world_from_camera[102]
    less = WorkClip.load(tmp_path, track, 160, Silent())
    assert less.numbers.tolist() == [101, 105]
    assert (less.world_from_camera == whole.world_from_camera[[0, 2]]).all()
    assert (less.images == whole.images[[0, 2]]).all()


def test_points_behind_the_camera_and_outside_the_picture_are_left_out(tmp_path: Path, poses) -> None:
    track, _ = scene(np.array([0.0, 0.0, -5.0]), poses)
    write(tmp_path, poses)
    assert all(len(depth) == 0 for _, depth in WorkClip.load(tmp_path, track, 160, Silent()).sparse)


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_an_unreadable_proxy_is_a_typed_error(tmp_path: Path, poses, damage) -> None:
    track, _ = scene(np.array([0.0, 0.0, 5.0]), poses)
    write(tmp_path, poses)
    (tmp_path / "000102.png").unlink()
    if damage == "empty":
        (tmp_path / "000102.png").touch()
    with pytest.raises(FootageError) as failure:
        WorkClip.load(tmp_path, track, 160, Silent())
    assert failure.value.code == "footage.proxy_unreadable"


def test_one_frame_is_a_typed_error(tmp_path: Path, poses) -> None:
    track, _ = scene(np.array([0.0, 0.0, 5.0]), {101: poses[101]})
    with pytest.raises(DepthError) as failure:
        WorkClip.load(tmp_path, track, 160, Silent())
    assert failure.value.code == "depth.too_few_frames"


def test_reading_can_be_cancelled(tmp_path: Path, poses) -> None:
    class Impatient(Silent):
        def step(self, done, total, message):
            raise Cancelled

    track, _ = scene(np.array([0.7, -0.4, 5.0]), poses)
    write(tmp_path, poses)
    with pytest.raises(Cancelled):
        WorkClip.load(tmp_path, track, 160, Impatient())
