"""Masks of what moves by itself keep it from placing the cameras."""

from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from engine.errors import PoseError
from engine.poses import features as solver
from engine.poses.job import Job
from tests import pictures
from tests.engine.poses import walk_scene as scene
from tests.engine.poses.test_poses_solver import against
from tests.engine.poses.walk_scene import COUNT, FIRST, Frames, solved


def features(tmp_path: Path, masks: Path | None, name: str) -> list[np.ndarray]:
    """Of the pictures in `proxy`."""
    names = sorted(path.name for path in (tmp_path / "proxy").iterdir())
    height, width = pictures.read(tmp_path / "proxy" / names[0]).shape[:2]
    (tmp_path / name).mkdir()
    named = None if masks is None else str(masks)
    job = Job(str(tmp_path / "proxy"), names, named, width, height, str(tmp_path / name), "SIMPLE_RADIAL", None, 0)
    images, ratio = solver.pictures(job)
    solver.extract_features(job, tmp_path / name / "database.db", images, ratio)
    with pycolmap.Database.open(tmp_path / name / "database.db") as data:
        return [np.asarray(data.read_keypoints(i)[:, :2]) / ratio for i in range(1, len(names) + 1)]


@pytest.mark.parametrize("width", [320, 640])
def test_features_are_taken_outside_of_masks_and_nowhere_else_lost(tmp_path: Path, width: int) -> None:
    """For enlarged pictures as well, and for a mask of another size; the second picture has none."""
    picture = scene.render(scene.wall(), scene.look([0, 0, 1], [0, 5, 1]), width, width * 5 // 8)
    for folder in ("proxy", "masks", "none"):
        (tmp_path / folder).mkdir()
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / "proxy" / f"{number:06d}.png"), picture)
    mask = np.zeros((100, 160), np.uint8)
    mask[:, :80] = 255
    cv2.imwrite(str(tmp_path / "masks" / "000001.png"), mask)
    everywhere, _ = features(tmp_path, None, "a")
    for found in features(tmp_path, tmp_path / "none", "b"):
        assert np.array_equal(found, everywhere), "no file: nothing moves"
    kept, other = features(tmp_path, tmp_path / "masks", "c")
    assert np.array_equal(other, everywhere), "nothing moves in the picture without a mask"
    assert (everywhere[:, 0] < width / 2).sum() > 50
    assert kept[:, 0].min() > width / 2
    right = everywhere[everywhere[:, 0] > 0.53 * width]
    assert len(right) > 50
    assert set(map(tuple, right.tolist())) <= set(map(tuple, kept.tolist()))


def test_a_large_thing_that_moves_does_not_place_the_cameras(tmp_path: Path, walk_poses: Frames) -> None:
    """Somebody's patterned back, half of the picture, carried along before the camera."""
    pattern = scene.plane([0, 0, 0], [4, 0, 0], [0, 4, 0], 12).picture
    frames, masks = {}, tmp_path / "masks"
    masks.mkdir()
    for index, (number, pose) in enumerate(walk_poses.items()):
        corner = pose[:3, 3] + pose[:3, :3] @ [-0.6 + 0.03 * index, -0.45, 1.1]
        back = scene.Plane(corner, 0.6 * pose[:3, 0], 0.9 * pose[:3, 1], pattern)
        frames[number] = scene.render([*scene.room(), back], pose)
        white = scene.Plane(corner, back.edge_u, back.edge_v, np.full_like(pattern, 255))
        cv2.imwrite(str(masks / f"{number:06d}.png"), scene.render([white], pose)[..., 0] // 182 * 255)
    with pytest.raises(PoseError):
        solved(tmp_path / "without", frames)
    track = solved(tmp_path / "with", frames, masks=masks)
    assert track.frames() == list(range(FIRST, FIRST + COUNT))
    degrees, percent = against(track, walk_poses)
    assert degrees < 0.4
    assert percent < 1.0
    assert track.lens.fx == pytest.approx(scene.FOCAL, rel=0.04)
