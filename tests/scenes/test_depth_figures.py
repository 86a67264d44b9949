"""The table of depth figures: what it reads out of a solve folder, and how it prints."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.depth_figures import COLUMNS, is_rendered, measure, named_frames, tables
from engine.clip.track import CameraTrack, SparsePoints
from engine.files import write_exr
from engine.geometry.arrays import Lens

LENS = {"fx": 100.0, "fy": 100.0, "cx": 60.0, "cy": 30.0}


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("Solved.", []),
        ("Doubtful: frame 7.", [7]),
        ("frames 288-291: right half: nothing near", [288, 289, 290, 291]),
        ("Frames 3, 5-6 and 9 to 10 are doubtful; 49 frames between them", [3, 5, 6, 9, 10]),
        ("frames 1-2 are good. 3 frames. In frame 8 of 12", [1, 2, 8]),
    ],
)
def test_frames_that_words_name(said, named) -> None:
    assert sorted(named_frames(said)) == named


@pytest.fixture
def clip(tmp_path: Path):
    """A solve of a bar before a wall at half of the true scale, whose last frame is lost, and its truth."""
    solve, truth = tmp_path / "shot.solve", tmp_path / "truth"
    for folder in (solve / "depth", solve / "confidence", solve / "cache" / "poses-1", truth / "depth"):
        folder.mkdir(parents=True)
    true = np.full((60, 120), 4.0, np.float32)
    true[:, 40:44] = 1.0
    frames = []
    for number in range(1, 5):
        pose = np.eye(4)
        pose[:3, 3] = [0.1 * number, 0.01 * number**2, 0.0]
        cv2.imwrite(str(truth / "depth" / f"{number}.png"), np.round(true * 1000).astype(np.uint16))
        lost = np.where(np.arange(60)[:, None] < 40, 2.0, 0.5) if number == 4 else 0.5
        write_exr(solve / "depth" / f"{number:06d}.exr", (true * lost).astype(np.float32))
        write_exr(solve / "confidence" / f"{number:06d}.exr", np.full(true.shape, 0.875, np.float16))
        frames.append({"number": number, "world_from_camera": pose.tolist(), "depth": f"depth/{number}.png"})
    described = {"name": "bar", "width": 120, "height": 60, "lens": LENS, "metric": True, "depth_to_unit": 0.001}
    (truth / "truth.json").write_text(json.dumps({**described, "frames": frames}))
    solved = {}
    for number, frame in enumerate(frames, 1):
        solved[number] = np.array(frame["world_from_camera"])
        solved[number][:3, 3] *= 0.5
    document = {
        "source": {"width": 120, "height": 60},
        "lens": LENS,
        "frames": [{"frame": n, "registered": True, "world_from_camera": pose.tolist()} for n, pose in solved.items()],
        "quality": {"verdict": "Solved.", "warnings": [], "instability_pct": 0.5, "drift_pct": None},
    }
    (solve / "solve.json").write_text(json.dumps(document))
    # Two points on the wall, the second 25 % too far, as seen in frame 1.
    xyz = np.array([[0.05, 0.005, 2.0], [0.55, 0.005, 2.5]])
    pixels = np.array([[60.0, 30.0], [80.0, 30.0]])
    points = SparsePoints(xyz, np.zeros((2, 3), np.uint8), np.zeros(2), np.ones(2, int), np.arange(2), pixels)
    lens = Lens("SIMPLE_PINHOLE", 120, 60, **LENS)
    CameraTrack(lens, False, None, solved, {}, {}, True, points).save(solve / "cache" / "poses-1")
    return solve, truth


def test_a_solve_folder_is_measured_and_printed(clip) -> None:
    result = measure(*clip)
    assert result["clip"] == "bar" and result["worst_frame"] == 4 and result["unnamed"] == [4]
    assert result["bad_frames"] == 1.0 and result["worst_absrel"] == pytest.approx(2.0)
    assert result["thin_recall"] == pytest.approx(10 / 12) and result["near_share"] == pytest.approx(10 / 12)
    assert result["instability_pct"] == 0.5 and "drift_pct" not in result
    assert result["sparse_absrel"] == pytest.approx(0.1125), "about the scale between both points"
    assert result["reproj_px"] == pytest.approx(0.0, abs=1e-3)
    assert sum(pixels for pixels, _, _ in result["reliability"]) == 4 * 60 * 120
    text = tables([result])
    assert all(f"| {name} |" in text for name in COLUMNS) and "1, unnamed: 4" in text and "2 (4)" in text
    assert "1.00: 0.88 0.83" in text


def test_only_rendered_truth_tells_of_thin_things() -> None:
    root = Path(__file__).resolve().parents[2]
    assert is_rendered(root / "sample") and is_rendered(root / "build" / "shots" / "thin_chair")
    assert not is_rendered(root.parent / "shared" / "data" / "kitchen_a")
