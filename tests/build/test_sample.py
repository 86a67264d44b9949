"""The bundled sample: the clip, its cameras and its depth belong together."""

from __future__ import annotations

from tests import pictures

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "sample"


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SAMPLE / "truth.json").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def frames() -> dict[int, np.ndarray]:
    """Frames of the clip by number, (H, W, 3) uint8."""
    movie = cv2.VideoCapture(str(SAMPLE / "room.mp4"))
    found: dict[int, np.ndarray] = {}
    while True:
        there, frame = movie.read()
        if not there:
            return found
        found[len(found) + 1] = frame


def true_depth(truth: dict[str, Any], number: int) -> np.ndarray:
    frame = truth["frames"][number - 1]
    depth: np.ndarray = pictures.read(SAMPLE / frame["depth"], cv2.IMREAD_UNCHANGED) * truth["depth_to_unit"]
    return depth


def seen_from(truth: dict[str, Any], number: int, other: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Array coordinates in frame `other` (H, W, 2) and depth there of every pixel of frame `number`."""
    lens, depth = truth["lens"], true_depth(truth, number)
    v, u = np.mgrid[0 : truth["height"], 0 : truth["width"]] + 0.5
    x, y = (u - lens["cx"]) / lens["fx"] * depth, (v - lens["cy"]) / lens["fy"] * depth
    points = np.stack([x, y, depth, np.ones_like(depth)], axis=-1)
    a, b = (np.array(truth["frames"][n - 1]["world_from_camera"]) for n in (number, other))
    a[0, 3] += shift
    points = points @ (np.linalg.inv(b) @ a).T
    at = points[..., :2] / points[..., 2:3] * (lens["fx"], lens["fy"]) + (lens["cx"], lens["cy"])
    return (at - 0.5).astype(np.float32), points[..., 2]


def test_the_clip_has_the_frames_and_the_size_of_its_truth(
    truth: dict[str, Any], frames: dict[int, np.ndarray]
) -> None:
    assert [frame["number"] for frame in truth["frames"]] == sorted(frames)
    assert {frame.shape for frame in frames.values()} == {(truth["height"], truth["width"], 3)}


def test_truth_has_the_form_that_the_scorer_reads(truth: dict[str, Any]) -> None:
    assert set(truth) >= {"name", "width", "height", "lens", "metric", "dynamic", "depth_to_unit", "frames"}
    for frame in truth["frames"]:
        assert set(frame) == {"number", "file", "world_from_camera", "depth", "mask"}
        pose = np.array(frame["world_from_camera"])
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0, abs=1e-6)
        assert pose[2, 1] < -0.9, "the camera's y points down, the world's z up"


def test_there_is_parallax(truth: dict[str, Any]) -> None:
    centres = np.array([frame["world_from_camera"] for frame in truth["frames"]])[:, :3, 3]
    nearness = np.linalg.norm(centres[-1] - centres[0]) / np.median(true_depth(truth, 24))
    assert 0.12 < nearness < 0.25


@pytest.mark.parametrize(("number", "other"), [(4, 12), (24, 40), (48, 36)])
def test_cameras_and_depth_carry_one_frame_onto_another(
    truth: dict[str, Any], frames: dict[int, np.ndarray], number: int, other: int
) -> None:
    def difference(shift: float) -> float:
        at, depth = seen_from(truth, number, other, shift)
        there = cv2.remap(true_depth(truth, other), at, None, cv2.INTER_NEAREST, borderValue=0)
        visible = np.abs(there / depth - 1) < 0.01  # neither hidden there nor outside
        warped = cv2.remap(frames[other], at, None, cv2.INTER_LINEAR).astype(float)
        return float(np.abs(warped - frames[number]).mean(axis=-1)[visible].mean())

    assert difference(0.0) < 8.0
    assert difference(0.0) < 0.5 * difference(0.03), "three centimetres off have to show"


@pytest.mark.parametrize("number", [4, 24, 48])
def test_true_depth_covers_all_but_the_window(truth: dict[str, Any], number: int) -> None:
    depth = true_depth(truth, number)
    assert depth.shape == (truth["height"], truth["width"])
    inside = depth[depth > 0]
    assert inside.size > 0.98 * depth.size
    assert inside.min() > 1.0
    assert inside.max() < 8.0


def test_the_sample_stays_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 6e6
