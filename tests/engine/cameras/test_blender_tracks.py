"""What the add-on writes of Blender's tracking markers joins the solver's features exactly where the marks are seen.

`tests/addon/test_tracking_markers.py` holds the add-on to the same document.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from engine.cameras.document import FollowedPoints
from engine.cameras.tracks import join_tracks
from engine.footage import frame_name
from engine.poses.features import extract_features, match, pictures
from engine.poses.job import Job
from tests.addon import marks


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> FollowedPoints:
    path = tmp_path_factory.mktemp("tracks") / "tracks.json"
    path.write_text(json.dumps(marks.document()))
    return FollowedPoints.load(path)


def test_markers_lie_where_the_marks_are_seen(points: FollowedPoints) -> None:
    """By the pictures themselves: on average over all marks, what is bright or dark lies about the marker."""
    assert points.size == (marks.WIDTH, marks.HEIGHT)
    assert sorted(set(points.frame.tolist())) == list(marks.NUMBERS)
    assert len(points.track) == len(marks.NAMES) * len(marks.NUMBERS) - 2
    y, x = np.mgrid[: marks.HEIGHT, : marks.WIDTH] + 0.5
    offsets = []
    for frame, pixel in zip(points.frame.tolist(), points.pixel, strict=True):
        grey = marks.picture(frame)[..., 0].astype(float) - 0.45 * 255
        near = np.exp(-((x - pixel[0]) ** 2 + (y - pixel[1]) ** 2) / (2 * 2.0**2)) * np.abs(grey)
        offsets.append([(near * (x - pixel[0])).sum() / near.sum(), (near * (y - pixel[1])).sum() / near.sum()])
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.2


@pytest.mark.parametrize("aspect", [None, 2.0])
def test_they_join_the_features_exactly(points: FollowedPoints, tmp_path: Path, aspect: float | None) -> None:
    names = [frame_name(number, ".png") for number in marks.NUMBERS]
    for name, number in zip(names, marks.NUMBERS, strict=True):
        cv2.imwrite(str(tmp_path / name), marks.picture(number))
    (tmp_path / "work").mkdir()
    job = Job(
        str(tmp_path), names, None, marks.WIDTH, marks.HEIGHT, str(tmp_path / "work"), "AUTO", None, 0,
        pixel_aspect=aspect,
    ).squared()  # fmt: skip
    images, _ = pictures(job)
    database = tmp_path / "work" / "database.db"
    extract_features(job, database, images, 1.0)
    match(job, database, exhaustive=False)
    added = join_tracks(database, points, dict(zip(names, marks.NUMBERS, strict=True)), 0)
    assert added == len(points.track)
    with pycolmap.Database.open(database) as data:
        stored = {image.name: image for image in data.read_all_images()}
        camera = data.read_all_cameras()[0]
        scale = np.array([camera.width / marks.WIDTH, camera.height / marks.HEIGHT])
        assert scale == pytest.approx([2.0, 2.0] if aspect is None else [2.0, 1.0])
        rows = {}
        for name, number in zip(names, marks.NUMBERS, strict=True):
            own = data.num_descriptors_for_image(stored[name].image_id)
            seen = data.read_keypoints(stored[name].image_id)[own:, :2] / scale
            here = np.flatnonzero(points.frame == number)
            assert seen == pytest.approx(points.pixel[here], abs=1e-3)
            assert seen == pytest.approx(np.array([marks.place(mark, number) for mark in points.track[here]]), abs=1e-3)
            rows[stored[name].image_id] = {int(mark): own + k for k, mark in enumerate(points.track[here])}
        pairs, matches = data.read_all_matches()
        for pair, found in zip(pairs, matches, strict=True):
            a, b = pycolmap.pair_id_to_image_pair(pair)
            shared = {(rows[a][mark], rows[b][mark]) for mark in set(rows[a]) & set(rows[b])}
            assert shared <= {tuple(row) for row in found.tolist()}
            assert len(found) >= len(shared) >= 2
