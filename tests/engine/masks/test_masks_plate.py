"""Mattes at plate resolution: the artist's untouched, those found on the picture's edges."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.geometry.arrays import Lens, pixel_centres, undistort_map
from engine.masks.artist import ArtistMasks
from engine.masks.plate import PlateMattes, on_edges

PLATE = Lens("SIMPLE_RADIAL", 384, 256, 330.0, 330.0, 192.0, 128.0, k1=-0.12)
WORK = PLATE.scaled(96, 64).undistorted()
CENTRE, RADIUS = np.array([230.0, 110.0]), 52.0


def disc(lens=PLATE):
    """A disc of the plate, on the grid of `lens`."""
    scale = lens.width / PLATE.width
    return np.linalg.norm(pixel_centres(lens.height, lens.width) / scale - CENTRE, axis=-1) < RADIUS


def picture():
    """Red disc on a grey wall, with noise of a camera."""
    image = np.where(disc()[..., None], [0.7, 0.2, 0.15], [0.45, 0.45, 0.5])
    return (image + np.random.default_rng(0).normal(0, 0.01, image.shape)).clip(0, 1).astype(np.float32)


def write(folder, mask):
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "000012.png"), mask.astype(np.uint8) * 255)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.fixture
def motion(tmp_path: Path):
    """The disc on the undistorted work grid, a cell too large, as the motion stage writes it."""
    small = cv2.remap(disc().astype(np.float32), *undistort_map(PLATE), cv2.INTER_LINEAR)
    small = cv2.resize(small, (WORK.width, WORK.height), interpolation=cv2.INTER_AREA) > 0.5
    write(tmp_path / "motion" / "dynamic", cv2.dilate(small.astype(np.uint8), np.ones((3, 3), np.uint8)))
    return tmp_path / "motion"


def test_a_coarse_mask_comes_onto_the_edges_of_the_distorted_plate(tmp_path: Path, motion) -> None:
    mattes = PlateMattes(motion, tmp_path / "given", None, PLATE, WORK)
    assert mattes.exist()
    found = mattes.matte(12, picture())
    assert found.shape == (256, 384)
    assert found.dtype == np.uint8
    before = mattes._rough(12) > 0.5
    assert iou(before, disc()) < 0.9
    assert iou(found > 127, disc()) > 0.95
    inside = cv2.erode(disc().astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    assert (found[inside] == 255).all()
    assert (found[cv2.dilate(disc().astype(np.uint8), np.ones((51, 51), np.uint8)) == 0] == 0).all()


def test_frames_and_clips_without_motion_have_empty_mattes(tmp_path: Path, motion) -> None:
    assert not PlateMattes(motion, tmp_path, None, PLATE, WORK).matte(13, picture()).any()
    assert not PlateMattes(tmp_path / "nothing", tmp_path, None, PLATE, WORK).exist()


def test_an_artists_mask_is_passed_through(tmp_path: Path, motion) -> None:
    soft = cv2.GaussianBlur(disc().astype(np.float32), (0, 0), 1.5)
    (tmp_path / "own").mkdir()
    cv2.imwrite(str(tmp_path / "own" / "roto_0012.png"), np.rint(soft * 255).astype(np.uint8))
    write(tmp_path / "given", soft > 0.5)
    own = ArtistMasks.find(tmp_path / "own", PLATE.width, PLATE.height)
    mattes = PlateMattes(motion, tmp_path / "given", own, PLATE, WORK)
    assert np.array_equal(mattes.matte(12, picture()), np.rint(soft * 255).astype(np.uint8))


def test_motion_elsewhere_is_added_to_an_artists_mask(tmp_path: Path) -> None:
    work = np.zeros((WORK.height, WORK.width), bool)
    work[4:20, 4:20] = True
    write(tmp_path / "motion" / "dynamic", work)
    own = np.zeros((PLATE.height, PLATE.width), np.uint8)
    own[150:220, 200:300] = 255
    write(tmp_path / "own", own > 0)
    write(tmp_path / "given", own > 0)
    masks = ArtistMasks.find(tmp_path / "own", PLATE.width, PLATE.height)
    found = PlateMattes(tmp_path / "motion", tmp_path / "given", masks, PLATE, WORK).matte(12, picture())
    assert (found[155:215, 205:295] == 255).all()
    assert (found[40:60, 40:60] == 255).all()
    assert not found[100:140, 200:300].any()


def test_nothing_and_everything_stay_as_they_are() -> None:
    for value in (0.0, 1.0):
        rough = np.full((40, 50), value, np.float32)
        assert (on_edges(rough, np.zeros((40, 50, 3), np.float32), 3.0) == value).all()
