"""Edge sharpening on a card in front of a wall, whose outline is known exactly."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.clip.guided_filter import guided_filter
from engine.clip.track import CameraTrack, SparsePoints
from engine.clip.work import WorkClip
from engine.evaluation.mattes import intersection_over_union
from engine.export.edges import EdgeSharpener
from engine.geometry.arrays import Lens, distort_map
from engine.parallel import Once
from engine.progress import Silent

CARD_Z, WALL_Z = 2.0, 5.0
CARD = (-0.35, -0.45, 0.4, 0.3)  # left, top, right, bottom in the plane of the card
TEXEL = 0.004


def textures():
    rng = np.random.default_rng(5)
    made = []
    for tint in ((0.9, 0.6, 0.5), (0.5, 0.7, 0.9)):
        noise = rng.uniform(0, 1, (1600, 1600, 3)).astype(np.float32)
        rough = cv2.GaussianBlur(noise, (0, 0), 4)
        made.append(np.clip((rough - 0.5) * 8 + 0.5, 0, 1) * np.array(tint, np.float32))
    return made


def scene(lens, camera_x, images):
    """Picture (H, W, 3) and true depth (H, W) from a camera moved sideways, looking along z."""
    pinhole = lens.undistorted()
    u, v = np.meshgrid(np.arange(lens.width), np.arange(lens.height))
    x, y = (u + 0.5 - lens.cx) / lens.fx, (v + 0.5 - lens.cy) / lens.fy
    layers = []
    for z, texture in zip((CARD_Z, WALL_Z), images, strict=True):
        across, down = (((a * z + c) / TEXEL + 800).astype(np.float32) for a, c in ((x, camera_x), (y, 0.0)))
        layers.append(cv2.remap(texture, across, down, cv2.INTER_AREA, borderMode=cv2.BORDER_WRAP))
    px, py = x * CARD_Z + camera_x, y * CARD_Z
    card = (px > CARD[0]) & (px < CARD[2]) & (py > CARD[1]) & (py < CARD[3])
    picture = np.where(card[..., None], layers[0], layers[1])
    depth = np.where(card, CARD_Z, WALL_Z).astype(np.float32)
    if lens.distortion().any():
        maps = distort_map(lens, pinhole)
        picture = cv2.remap(picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return picture, depth


def film(folder, lens, mover=None):
    """Seven frames, written as proxies, and what is true of them: clip, true depth by frame."""
    images, numbers = textures(), range(11, 18)
    poses, truth = {}, {}
    for number in numbers:
        camera_x = 0.06 * (number - 14)
        picture, truth[number] = scene(lens, camera_x, images)
        if mover is not None:
            picture[mover] = np.random.default_rng(number).uniform(0, 1, (*picture[mover].shape[:2], 3))
        cv2.imwrite(str(folder / f"{number:06d}.png"), np.rint(picture[..., ::-1] * 255).astype(np.uint8))
        poses[number] = np.eye(4)
        poses[number][0, 3] = camera_x
    points = SparsePoints(
        np.array([[0.0, 0.0, 3.0]]), np.zeros((1, 3), np.uint8), np.zeros(1), np.array(numbers),
        np.zeros(7, np.int64), np.tile([240.0, 144.0], (7, 1)),
    )  # fmt: skip
    return WorkClip.load(folder, CameraTrack(lens, True, None, poses, {}, {}, True, points), 256, Silent()), truth


def fat_and_soft(truth, clip):
    size = (clip.lens.width, clip.lens.height)
    fat = cv2.erode(cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST), np.ones((7, 7)))
    return cv2.GaussianBlur(fat, (0, 0), 1.5)


CUT = np.sqrt(CARD_Z * WALL_Z)


@pytest.mark.parametrize("k1", [0.0, -0.1])
def test_a_soft_and_fat_outline_comes_back_to_the_true_one(tmp_path: Path, k1) -> None:
    lens = Lens("SIMPLE_RADIAL", 480, 288, 420.0, 420.0, 240.0, 144.0, k1=k1)
    clip, truth = film(tmp_path, lens)
    soft = {number: fat_and_soft(depth, clip) for number, depth in truth.items()}

    sharp = EdgeSharpener(tmp_path, lens, clip, soft.__getitem__).sharpen(14)

    assert sharp.shape == truth[14].shape
    before = cv2.resize(soft[14], sharp.shape[::-1], interpolation=cv2.INTER_LINEAR)
    assert intersection_over_union(before < CUT, truth[14] < CUT) < 0.93, "nothing to mend"
    assert intersection_over_union(sharp < CUT, truth[14] < CUT) > 0.97
    between = (sharp > 1.15 * CARD_Z) & (sharp < WALL_Z / 1.15)
    assert between.mean() < 0.005, "no depth where nothing is"


def test_neighbours_outvote_a_frame_that_is_wrong_alone(tmp_path: Path) -> None:
    lens = Lens("SIMPLE_PINHOLE", 480, 288, 420.0, 420.0, 240.0, 144.0)
    clip, truth = film(tmp_path, lens)
    size = (clip.lens.width, clip.lens.height)
    given = {n: cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST) for n, depth in truth.items()}
    sharpener = EdgeSharpener(tmp_path, lens, clip, given.__getitem__)
    decided = {number: sharpener._decided(number) for number in truth}
    decided[14] = cv2.erode(truth[14], np.ones((7, 7)))  # three pixels too wide
    sharpener._decided = Once(decided.__getitem__, len(decided))
    assert intersection_over_union(decided[14] < CUT, truth[14] < CUT) < 0.97
    assert intersection_over_union(sharpener.sharpen(14) < CUT, truth[14] < CUT) > 0.985


def test_what_moves_is_left_to_the_picture_and_says_nothing_about_the_rest(tmp_path: Path) -> None:
    lens = Lens("SIMPLE_PINHOLE", 480, 288, 420.0, 420.0, 240.0, 144.0)
    mover = np.s_[90:200, 150:210]  # noise, another in every frame, across the left edge of the card
    clip, truth = film(tmp_path, lens, mover)
    mask = np.zeros((288, 480), np.uint8)
    mask[mover] = 1
    small = cv2.resize(mask, (clip.lens.width, clip.lens.height), interpolation=cv2.INTER_NEAREST) > 0
    size = (clip.lens.width, clip.lens.height)
    given = {n: cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST) for n, depth in truth.items()}
    blind = EdgeSharpener(tmp_path, lens, clip, given.__getitem__).sharpen(14)
    knowing = EdgeSharpener(tmp_path, lens, clip, given.__getitem__, lambda _: small).sharpen(14)
    inside = cv2.erode(mask, np.ones((9, 9))) > 0
    wrong = [float(((z < CUT) != (truth[14] < CUT))[inside].mean()) for z in (blind, knowing)]
    assert wrong[1] < 0.05
    assert wrong[0] > 4.0 * wrong[1], "the noise misleads who does not know of it"


def test_a_slope_without_edges_is_left_alone(tmp_path: Path) -> None:
    lens = Lens("SIMPLE_PINHOLE", 256, 160, 200.0, 200.0, 128.0, 80.0)
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / f"{number:06d}.png"), np.full((160, 256, 3), 90, np.uint8))
    poses = {n: np.eye(4) for n in (1, 2, 3)}
    empty = SparsePoints(
        np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0), np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2))
    )
    clip = WorkClip.load(tmp_path, CameraTrack(lens, True, None, poses, {}, {}, True, empty), 256, Silent())
    slope = np.linspace(3.0, 5.0, 160, dtype=np.float32)[:, None].repeat(256, axis=1)
    assert np.allclose(EdgeSharpener(tmp_path, lens, clip, lambda _: slope).sharpen(2), slope, rtol=1e-5)


def test_the_guided_filter_keeps_an_edge_of_its_guide_and_smooths_elsewhere() -> None:
    rng = np.random.default_rng(0)
    guide = np.zeros((60, 80), np.float32)
    guide[:, 40:] = 1.0
    noisy = guide + rng.normal(0, 0.3, guide.shape).astype(np.float32)
    smooth = guided_filter(guide, noisy, 6, 1e-3)
    assert np.abs(smooth - guide).max() < 0.15
    assert np.abs(np.diff(smooth[30, 30:39])).max() < 0.05
