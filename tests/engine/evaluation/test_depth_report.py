"""Depth of any stage against a truth folder: what is given as functions and what lies in a solve folder."""

import json

import cv2
import numpy as np
import pytest

from engine.evaluation.compare import evaluate_depth, report_of
from engine.files import write_exr

SIZE = (60, 120)
FRAMES = (7, 8, 9)


@pytest.fixture
def truth(tmp_path):
    """Three frames of two bars before a wall; the last has no depth."""
    folder = tmp_path / "truth"
    (folder / "depth").mkdir(parents=True)
    frames = []
    for number in FRAMES:
        pose = np.eye(4)
        pose[0, 3] = 0.01 * number
        name = f"depth/{number:06d}.png" if number != FRAMES[-1] else None
        if name:
            cv2.imwrite(str(folder / name), np.round(true_depth() * 1000).astype(np.uint16))
        frames.append({"number": number, "world_from_camera": pose.tolist(), "depth": name, "mask": None})
    lens = {"fx": 100.0, "fy": 100.0, "cx": 60.0, "cy": 30.0}
    described = {"width": SIZE[1], "height": SIZE[0], "lens": lens, "metric": True, "depth_to_unit": 0.001}
    (folder / "truth.json").write_text(json.dumps({**described, "frames": frames}))
    return folder


def true_depth():
    depth = np.full(SIZE, 4.0, np.float32)
    depth[:, 40:44] = depth[:, 60:64] = 1.0
    return depth


def test_exact_depth_of_a_function(truth) -> None:
    report = evaluate_depth(truth, lambda number: true_depth() / 3.0, lambda number: np.full(SIZE, 0.97))
    assert report.scale == pytest.approx(3.0)
    assert report.absrel == pytest.approx({7: 0.0, 8: 0.0}, abs=1e-6)
    for name in ("near_share", "thin_recall", "gap_share", "sure_share", "depth_boundary_f1"):
        assert report.figures[name] == 1.0, name
    for name in ("worst_absrel", "bad_frames", "conf_absrel", "absrel", "flicker_pct"):
        assert report.figures[name] == pytest.approx(0.0, abs=1e-5), name
    assert [b.pixels for b in report.reliability] == [0] * 9 + [2 * SIZE[0] * SIZE[1]]
    assert report.bad_frames() == []


def test_the_worst_frame_is_named(truth) -> None:
    bad = true_depth()
    bad[:20] *= 2.0
    report = evaluate_depth(truth, lambda number: bad if number == 8 else true_depth())
    assert report.figures["worst_absrel"] == report.absrel[8] == pytest.approx(1 / 3)
    assert report.figures["bad_frames"] == 1 and report.bad_frames() == [8]
    assert report.reliability == [] and "sure_share" not in report.figures


def test_a_stage_with_holes_and_missing_frames(truth) -> None:
    holes = true_depth()
    holes[:30] = 0.0
    report = evaluate_depth(truth, lambda number: holes if number == 7 else None)
    assert list(report.absrel) == [7] and report.figures["absrel"] == pytest.approx(0.0, abs=1e-6)
    assert report.figures["near_share"] == report.figures["gap_share"] == report.figures["depth_cover"] == 0.5
    assert evaluate_depth(truth, lambda number: None).scale is None


def test_a_solve_folder_is_read_with_its_confidence(truth, tmp_path) -> None:
    solve = tmp_path / "shot.solve"
    for kind, values in (("depth", true_depth()[::2, ::2]), ("confidence", np.full(SIZE, 0.25, np.float16))):
        (solve / kind).mkdir(parents=True)
        for number in FRAMES:
            write_exr(solve / kind / f"{number:06d}.exr", values)
    report = report_of(solve, truth)
    assert report.figures["depth_cover"] == 1.0
    assert report.reliability[2].pixels == 2 * SIZE[0] * SIZE[1]
    assert "conf_absrel" not in report.figures
