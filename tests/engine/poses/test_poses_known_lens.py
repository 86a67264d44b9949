"""A pixel aspect and a principal point that are known: the solver holds them, and answers in plate pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.clip.track import CameraTrack
from engine.poses import LensRequest
from engine.poses.adjust import _alternatives
from engine.poses.features import Matches, pictures
from engine.poses.job import Job, Model
from engine.poses.motion import motion_of
from engine.poses.turning import solve_turning
from tests import pictures as tests_pictures
from tests.engine.poses import walk_scene as scene

ASPECT, PRINCIPAL = 1.5, (148.0, 178.0)
WIDTH, HEIGHT, FX = 320, 320, 430.0 / ASPECT


def plate(room: list[scene.Plane], pose: np.ndarray) -> np.ndarray:
    """Pixels one and a half times as wide as high: an off-centre crop of a larger picture, squeezed."""
    size, width, height = 600, round(WIDTH * ASPECT), HEIGHT
    larger = scene.render(room, pose, size, size * 2 // 3)
    zoom = FX * ASPECT / (scene.FOCAL * size / scene.WIDTH)
    larger = cv2.warpAffine(
        larger,
        # Array coordinates: half a pixel less than pixel coordinates, before and after.
        np.array([
            [zoom, 0.0, PRINCIPAL[0] * ASPECT - 0.5 - zoom * (size / 2 - 0.5)],
            [0.0, zoom, PRINCIPAL[1] - 0.5 - zoom * (size / 3 - 0.5)],
        ]),
        (width, height),
        flags=cv2.INTER_CUBIC,
    )  # fmt: skip
    smaller: np.ndarray = cv2.resize(larger, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return smaller


@pytest.fixture(scope="module")
def squeezed(walk_poses: scene.Frames, tmp_path_factory: pytest.TempPathFactory) -> CameraTrack:
    room = scene.room()
    frames = {number: plate(room, pose) for number, pose in walk_poses.items()}
    lens = LensRequest(pixel_aspect=ASPECT, principal_px=PRINCIPAL)
    return scene.solved(tmp_path_factory.mktemp("squeezed"), frames, lens)


def test_a_squeezed_and_cropped_plate_is_solved_exactly(squeezed: CameraTrack, walk_poses: scene.Frames) -> None:
    lens = squeezed.lens
    assert (lens.width, lens.height) == (WIDTH, HEIGHT)
    assert lens.fx == pytest.approx(FX, rel=0.01)
    assert lens.fy / lens.fx == pytest.approx(ASPECT, rel=1e-9)
    assert (lens.cx, lens.cy) == pytest.approx(PRINCIPAL, abs=1e-6)
    assert lens.model == "OPENCV"
    assert squeezed.frames() == list(walk_poses)
    first = scene.FIRST
    for number, pose in walk_poses.items():
        found = squeezed.world_from_camera[first][:3, :3].T @ squeezed.world_from_camera[number][:3, :3]
        apart = found.T @ walk_poses[first][:3, :3].T @ pose[:3, :3]
        assert np.degrees(np.linalg.norm(cv2.Rodrigues(apart)[0])) < 0.1


def test_its_points_are_seen_where_lens_and_cameras_say(squeezed: CameraTrack) -> None:
    points, lens = squeezed.points, squeezed.lens
    errors = []
    for frame, point, pixel in zip(
        points.observation_frame.tolist(), points.observation_point.tolist(), points.observation_pixel, strict=True
    ):
        pose = squeezed.world_from_camera[frame]
        x, y, z = pose[:3, :3].T @ (points.xyz[point] - pose[:3, 3])
        r2 = (x * x + y * y) / z**2
        radial = 1.0 + r2 * (lens.k1 + r2 * lens.k2)
        errors.append(
            np.hypot(lens.fx * x / z * radial + lens.cx - pixel[0], lens.fy * y / z * radial + lens.cy - pixel[1])
        )
    assert len(errors) > 500
    assert np.median(errors) < 0.5
    assert points.observation_pixel.max(axis=0) == pytest.approx([WIDTH, HEIGHT], rel=0.1)


def job(tmp_path: Path, pixel_aspect: float | None = None, principal_px: tuple[float, float] | None = None) -> Job:
    return Job(
        str(tmp_path), ["1.png"], None, 480, 320, str(tmp_path / "work"), "AUTO", None, 0,
        pixel_aspect=pixel_aspect, principal_px=principal_px,
    )  # fmt: skip


def test_pictures_are_made_square(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((320, 480, 3), np.uint8))
    for aspect, size in ((None, (960, 640)), (1.5, (720, 320)), (0.5, (480, 640))):
        for made in (tmp_path / "work").glob("enlarged/*"):
            made.unlink()
        folder, ratio = pictures(job(tmp_path, pixel_aspect=aspect).squared())
        height, width = tests_pictures.read(folder / "1.png").shape[:2]
        assert (width, height) == size
        assert ratio == size[0] / 480


def test_squared_and_back_again(tmp_path: Path) -> None:
    square = job(tmp_path, pixel_aspect=1.5, principal_px=PRINCIPAL).squared()
    assert (square.width, square.height) == pytest.approx((480, 320 / 1.5))
    assert square.centre == pytest.approx((PRINCIPAL[0], PRINCIPAL[1] / 1.5))
    assert job(tmp_path).squared().centre == (240, 160)
    square.save(tmp_path / "job.json")
    assert Job.load(tmp_path / "job.json") == square
    none: Any = np.zeros(0)  # of whatever type
    lens = np.array([500.0, 500.0, *square.centre, -0.1, 0, 0, 0])
    model = Model(
        none, none, np.array("travels"), lens, np.array("SIMPLE_RADIAL"), none, none, none, none, none, none, none,
        none, none, np.array([[10.0, 20.0]]), none,
    )  # fmt: skip
    found = model.on_plate(ASPECT)
    assert found.lens[:4] == pytest.approx([500, 750, *PRINCIPAL])
    assert found.observation_pixel.tolist() == [[10, 30]]
    assert str(found.lens_model) == "OPENCV"
    assert model.on_plate(None) is model


def test_what_is_known_is_no_alternative(tmp_path: Path) -> None:
    def tried(**known: Any) -> set[tuple[str, bool]]:
        return {(kind.model, kind.off_centre) for kind in _alternatives(job(tmp_path, **known))}

    assert {("OPENCV", True), ("SIMPLE_RADIAL", True)} <= tried()
    assert tried(principal_px=PRINCIPAL) == {("SIMPLE_PINHOLE", False), ("RADIAL", False), ("OPENCV", False)}
    assert tried(pixel_aspect=1.0) == {("SIMPLE_PINHOLE", False), ("RADIAL", False), ("SIMPLE_RADIAL", True)}


def test_a_turning_camera_turns_about_its_known_principal_point() -> None:
    rng = np.random.default_rng(0)
    rays = rng.normal(size=(6000, 3)) * (1.0, 0.5, 1.0)
    principal, pixels, seen = np.array([150.0, 210.0]), {}, {}
    for i in range(10):
        local = rays @ cv2.Rodrigues(np.radians([2.0 * np.sin(i), 4.0 * i - 18.0, 1.0 * i]))[0].T
        p = 500.0 * local[:, :2] / local[:, 2:] + principal
        seen[i] = (local[:, 2] > 0.2) & (p > 0).all(1) & (p < [480, 320]).all(1)
        pixels[i + 1] = p + rng.normal(0, 0.2, p.shape)
    pairs = {}
    for i in range(10):
        for j in (i + 1, i + 2, i + 4):
            both = np.flatnonzero(seen[i] & seen[j]) if j < 10 else np.zeros(0, int)
            if len(both):
                pairs[i + 1, j + 1] = np.stack([both, both], axis=1)
    known = Matches(480, 320, list(range(1, 11)), pixels, pairs, tuple(principal))
    assert motion_of(known, None).kind == "turns"
    found = solve_turning(known, zooms=False)
    assert found is not None
    assert found.focal[0] == pytest.approx(500.0, rel=0.005)
    assert abs(found.k1) < 0.01
