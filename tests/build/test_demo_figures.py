"""The figures of the demo: the exact ball, and the mattes that are compared with it."""

from __future__ import annotations

from tests import pictures

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.errors import EvaluationError
from scripts import demo_figures

WIDTH, HEIGHT, FOCAL, RADIUS, DISTANCE = 160, 90, 120.0, 0.3, 2.0
LENS = {"fx": FOCAL, "fy": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
TRUTH: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "lens": LENS}


def test_a_ball_straight_ahead_is_a_disc_of_the_size_that_geometry_gives() -> None:
    depth = demo_figures.ball_depth(TRUTH, np.eye(4), (0.0, 0.0, DISTANCE), RADIUS)
    assert depth[HEIGHT // 2, WIDTH // 2] == pytest.approx(DISTANCE - RADIUS, abs=1e-3)
    silhouette = FOCAL * RADIUS / np.sqrt(DISTANCE**2 - RADIUS**2)  # tangent rays, not the equator
    assert np.isfinite(depth).sum() == pytest.approx(np.pi * silhouette**2, rel=0.01)


def test_the_ball_is_where_the_camera_sees_it() -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]], (1.0, -2.0, 0.5)  # looks along +y
    depth = demo_figures.ball_depth(TRUTH, pose, (1.4, 1.0, 0.5), 0.1)
    rows, columns = np.nonzero(np.isfinite(depth))
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(
        (WIDTH / 2 + FOCAL * 0.4 / 3.0, HEIGHT / 2), abs=0.5
    )


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A finished demo of one frame: a wall at 1.5 m hides the left half of the ball, and both mattes are exact."""
    for folder in ("truth/depth", "solve", "out/matte/COMPOSITOR", "out/matte/HOLDOUT"):
        (tmp_path / folder).mkdir(parents=True)
    wall = np.full((HEIGHT, WIDTH), 5000, np.uint16)
    wall[:, : WIDTH // 2] = 1500
    frame = {"number": 4, "depth": "depth/000004.png", "world_from_camera": np.eye(4).tolist()}
    cv2.imwrite(str(tmp_path / "truth" / "depth" / "000004.png"), wall)
    (tmp_path / "truth" / "truth.json").write_text(json.dumps(TRUTH | {"depth_to_unit": 0.001, "frames": [frame]}))
    (tmp_path / "out" / "ball.json").write_text(json.dumps({"radius": RADIUS, "centres": {"4": [0.0, 0.0, DISTANCE]}}))
    lens = {"model": "SIMPLE_PINHOLE", **LENS, "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}
    (tmp_path / "solve" / "solve.json").write_text(
        json.dumps({"source": {"width": WIDTH, "height": HEIGHT}, "lens": lens})
    )
    exact = np.isfinite(demo_figures.ball_depth(TRUTH, np.eye(4), (0.0, 0.0, DISTANCE), RADIUS))
    exact[:, : WIDTH // 2] = False
    for way in demo_figures.WAYS:
        write_matte(tmp_path, way, exact)
    return tmp_path


def write_matte(demo: Path, way: str, mask: np.ndarray) -> None:
    cv2.imwrite(str(demo / "out" / "matte" / way / "000004.png"), mask.astype(np.uint16) * 65535)


def figures(demo: Path) -> dict[str, Any]:
    return demo_figures.matte_figures(demo / "solve", demo / "truth", demo / "out")


def test_an_exact_matte_scores_one_and_a_missing_quarter_shows(demo: Path) -> None:
    found = figures(demo)
    assert found["frames"]["000004"]["hidden"] == pytest.approx(0.5, abs=0.01)
    assert found["COMPOSITOR"]["iou"] == found["HOLDOUT"]["iou"] == 1.0
    mask = pictures.read(demo / "out" / "matte" / "HOLDOUT" / "000004.png", cv2.IMREAD_UNCHANGED) > 0
    mask[: HEIGHT // 2] = False
    write_matte(demo, "HOLDOUT", mask)
    found = figures(demo)
    assert found["COMPOSITOR"]["iou"] == 1.0
    assert found["HOLDOUT"]["iou"] == pytest.approx(0.5, abs=0.02)


def test_a_missing_matte_and_a_ball_that_is_never_hidden_are_errors_with_a_fix(demo: Path) -> None:
    (demo / "out" / "matte" / "HOLDOUT" / "000004.png").unlink()
    with pytest.raises(EvaluationError, match="Run the demo again"):
        figures(demo)
    (demo / "out" / "ball.json").write_text(json.dumps({"radius": RADIUS, "centres": {"4": [0.4, 0.0, 1.0]}}))
    with pytest.raises(EvaluationError, match="partly hidden"):
        figures(demo)
