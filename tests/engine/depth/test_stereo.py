"""The baseline of a rectified pair whose truth is known."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.clip.track import CameraTrack, SparsePoints
from engine.clip.work import WorkClip, work_images
from engine.depth.photometric import left_right_loss, photometric_loss
from engine.depth.stereo import StereoRig, estimate_rig
from engine.errors import DepthError
from engine.footage import prepare, probe
from engine.geometry.arrays import Lens, rigid_inverse
from engine.progress import Silent
from tests.engine.depth.scene import cameras, plane_depth
from tests.engine.depth.smooth_scene import plane_picture

BASELINE = 0.23
LENS = Lens("PINHOLE", 256, 192, 270.0, 262.0, 134.0, 91.0)


def right_eye(pose, baseline=BASELINE):
    return pose @ StereoRig(-baseline, 0, 0, 0).right_from_left()  # left from right


def picture(pose, lens=LENS):
    return np.round(plane_picture(lens, pose) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pair():
    """(WorkClip of the left eye, right pictures) of the slanted plane, 4 frames, 80 points each."""
    poses, rng = cameras(4, step=0.2), np.random.default_rng(0)
    sparse = []
    for pose in poses:
        line, column = rng.integers(0, 192, 80), rng.integers(0, 256, 80)
        sparse.append((np.stack([column + 0.5, line + 0.5], -1), plane_depth(LENS, pose)[line, column]))
    images = np.stack([picture(pose) for pose in poses])
    return (
        WorkClip(np.arange(4) + 1, images, LENS, poses, tuple(sparse)),
        np.stack([picture(right_eye(pose)) for pose in poses]),
    )


def test_baseline_is_found_to_a_fraction_of_a_percent(pair) -> None:
    rig = estimate_rig(*pair)
    assert rig.baseline == pytest.approx(BASELINE, rel=2e-3)
    assert rig.vertical_px < 0.1
    assert rig.spread_pct < 2.0
    assert rig.points > 200


def test_it_is_in_the_units_of_the_clip_and_gives_metres(pair) -> None:
    clip, right = pair
    rig = estimate_rig(clip.scaled(7.0), right)
    assert rig.baseline == pytest.approx(7 * BASELINE, rel=2e-3)
    assert rig.metres_per_unit(0.065) == pytest.approx(0.065 / (7 * BASELINE), rel=2e-3)


def test_the_right_eye_stands_where_the_matrix_says(pair) -> None:
    """With the true depth, the estimated rig brings the right picture into the left view."""
    clip, right = pair
    rig = estimate_rig(clip, right)
    left_from_world, right_from_world = (
        rigid_inverse(pose) for pose in (clip.world_from_camera[0], right_eye(clip.world_from_camera[0]))
    )
    assert rig.right_from_left() == pytest.approx(right_from_world @ rigid_inverse(left_from_world), abs=1e-3)
    depths = [
        torch.tensor(plane_depth(LENS, pose))[None, None]
        for pose in (clip.world_from_camera[0], right_eye(clip.world_from_camera[0]))
    ]
    target, source = (torch.tensor(images[:1] / 255.0).permute(0, 3, 1, 2) for images in (clip.images, right))
    matrix, pose = torch.tensor(LENS.matrix())[None], torch.tensor(rig.right_from_left())[None]
    still = torch.ones_like(depths[0])

    def photometric(relative):
        return photometric_loss(target, source[None], depths[0], matrix, relative[None], still).item()

    def consistency(relative):
        return left_right_loss(depths[0], depths[1], matrix, relative).item()

    wider = pose.clone()
    wider[:, 0, 3] *= 1.1
    assert photometric(pose) < 0.2 * photometric(wider)
    assert consistency(pose) < 0.05  # pixels
    assert consistency(wider) > 4 * consistency(pose)


def test_one_point_in_five_may_be_wrong(pair) -> None:
    clip, right = pair
    rng = np.random.default_rng(1)
    sparse = tuple(
        (pixels, np.where(rng.random(len(depth)) < 0.2, depth * rng.uniform(0.3, 3.0, len(depth)), depth))
        for pixels, depth in clip.sparse
    )
    assert estimate_rig(replace(clip, sparse=sparse), right).baseline == pytest.approx(BASELINE, rel=0.01)


def test_a_wide_baseline_is_followed(pair) -> None:
    clip, _ = pair
    right = np.stack([picture(right_eye(pose, 0.4)) for pose in clip.world_from_camera])  # a tenth of the width
    assert estimate_rig(clip, right).baseline == pytest.approx(0.4, rel=2e-3)


def failure(clip, right):
    with pytest.raises(DepthError) as error:
        estimate_rig(clip, right)
    return error.value


def moved(images, x, y, turn=0.0):
    matrix = cv2.getRotationMatrix2D((128, 96), turn, 1.0) + np.array([[0, 0, x], [0, 0, y]])
    return np.stack([cv2.warpAffine(i, matrix, (256, 192), borderMode=cv2.BORDER_REPLICATE) for i in images])


@pytest.mark.parametrize(("y", "turn"), [(2.0, 0.0), (-1.5, 0.0), (0.0, 2.0)])
def test_a_pair_that_is_not_rectified_is_refused(pair, y, turn) -> None:
    assert failure(pair[0], moved(pair[1], 0, y, turn)).code == "depth.stereo_not_rectified"


@pytest.mark.parametrize(("shift", "way"), [(-8, "right"), (8, "left")])
def test_a_shifted_pair_is_refused_and_the_shift_is_named(pair, shift, way) -> None:
    error = failure(pair[0], moved(pair[1], shift, 0))
    assert error.code == "depth.stereo_shifted"
    share = float(error.what.split("by ")[1].split(" %")[0])
    assert share == pytest.approx(100 * 8 / 256, abs=0.4)
    assert f"pictures {way} by" in error.fix


def test_swapped_eyes(pair) -> None:
    clip, _ = pair
    right = np.stack([picture(right_eye(pose, -BASELINE)) for pose in clip.world_from_camera])
    assert failure(clip, right).code == "depth.stereo_swapped"


def test_the_left_eye_twice(pair) -> None:
    assert failure(pair[0], pair[0].images).code == "depth.stereo_same"


def test_pictures_of_something_else_and_pictures_of_nothing(pair) -> None:
    assert failure(pair[0], np.full_like(pair[1], 90)).code == "depth.stereo_points"
    noise = np.random.default_rng(2).integers(0, 256, pair[1].shape, dtype=np.uint8)
    assert failure(pair[0], noise).code in ("depth.stereo_points", "depth.stereo_not_rectified")


def test_too_few_points(pair) -> None:
    sparse = tuple((pixels[:5], depth[:5]) for pixels, depth in pair[0].sparse)
    error = failure(replace(pair[0], sparse=sparse), pair[1])
    assert error.code == "depth.stereo_points"
    assert "Only 20 points" in error.what


def test_from_a_side_by_side_file_to_metres(tmp_path: Path, pair) -> None:
    """Footage, proxies, work grid and rig together, at a work size below the plate's."""
    clip, right = pair
    for number, eyes in enumerate(zip(clip.images, right, strict=True), 11):
        cv2.imwrite(str(tmp_path / f"pair_{number:03d}.png"), np.hstack(eyes)[..., ::-1])
    footage = probe(tmp_path / "pair_011.png", stereo="side_by_side")
    prepare(footage, tmp_path, Silent())
    pixels, owners = np.concatenate([p for p, _ in clip.sparse]), np.repeat(np.arange(4), 80)
    world = []
    for (pixel, depth), pose in zip(clip.sparse, clip.world_from_camera, strict=True):
        rays = np.column_stack([pixel, np.ones(80)]) @ np.linalg.inv(LENS.matrix()).T
        world.append(rays * depth[:, None] @ pose[:3, :3].T + pose[:3, 3])
    points = SparsePoints(
        np.concatenate(world), np.zeros((320, 3), np.uint8), np.zeros(320), owners + 11, np.arange(320), pixels
    )
    poses = dict(enumerate(clip.world_from_camera, 11))
    track = CameraTrack(LENS, True, None, poses, {}, dict.fromkeys(poses, 0.1), True, points)
    work = WorkClip.load(tmp_path / "proxy", track, 192, Silent())
    assert work.images.shape == (4, 128, 192, 3)
    rig = estimate_rig(work, work_images(tmp_path / "proxy_right", track, 192, 128, Silent()))
    assert rig.baseline == pytest.approx(BASELINE, rel=3e-3)
