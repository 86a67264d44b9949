"""The benchmark's grades: wrong and silent is told from wrong and said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cameras import Limits, Outcome, errors_of, frame_number, grade, holds_truth, summary, table
from tests.scenes.paths import handheld, turned
from tests.scenes.shots import Expected

NUMBERS = list(range(5, 17))
PATH = handheld(turned(lambda time: [0.1 * time, 0.0, 1.5], lambda time: 80.0 + 0.5 * time), 1)
TRUTH: dict[str, Any] = {
    "lens": {"fx": 400.0, "fy": 400.0},
    "frames": [{"number": n, "world_from_camera": PATH(float(n)).tolist(), "focal_px": 400.0} for n in NUMBERS],
}
EXACT = Outcome(
    cameras={f["number"]: f["world_from_camera"] for f in TRUTH["frames"]},
    focals=dict.fromkeys(NUMBERS, (400.0, 400.0)),
    focal_range=(398.0, 402.0),
)


def graded(outcome, **expected):
    return grade(outcome, TRUTH, Expected(**expected), Limits())


def with_focal(factor, reach):
    return replace(
        EXACT,
        focals=dict.fromkeys(NUMBERS, (400.0 * factor, 400.0 * factor)),
        focal_range=(400 * factor / reach, 400 * factor * reach),
    )


def only(numbers, outcome=EXACT):
    return replace(
        outcome,
        cameras={n: outcome.cameras[n] for n in numbers},
        focals={n: outcome.focals[n] for n in numbers},
        named=tuple(n for n in NUMBERS if n not in numbers),
    )


def bent(degrees):
    """The second half turned against the first."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]])
    cameras = {n: (np.array(p) @ turn).tolist() if n > 10 else p for n, p in EXACT.cameras.items()}
    return replace(EXACT, cameras=cameras)


def test_errors_are_measured_after_the_best_similarity() -> None:
    world = np.eye(4)
    world[:3, :3] = [[0, -3, 0], [3, 0, 0], [0, 0, 3]]
    world[:3, 3] = [4, 5, 6]
    shrunk = np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    moved = {n: (world @ pose @ shrunk).tolist() for n, pose in EXACT.cameras.items()}
    errors = errors_of(replace(EXACT, cameras=moved), TRUTH)
    assert errors.rotation_max == pytest.approx(0.0, abs=1e-5)
    assert errors.ate == pytest.approx(0.0, abs=1e-6)
    assert errors_of(bent(1.0), TRUTH).rotation_max == pytest.approx(0.5, abs=0.01)


def test_right_cameras_pass() -> None:
    assert graded(EXACT) == "pass"
    assert graded(with_focal(1.015, 1.001)) == "pass"
    assert graded(only(NUMBERS[:-1])) == "pass"  # 92 %


def test_wrong_cameras_without_a_word_fail() -> None:
    assert graded(with_focal(1.1, 1.01)) == "SILENT FAILURE"
    assert graded(with_focal(1.1, 1.05)) == "SILENT FAILURE"  # uncertain, but the range does not hold the truth
    assert graded(bent(1.0)) == "SILENT FAILURE"
    assert graded(replace(bent(5.0), focal_range=(300.0, 500.0))) == "SILENT FAILURE"
    assert graded(replace(only(NUMBERS[:8]), named=())) == "SILENT FAILURE"


def test_wrong_cameras_with_the_right_word_are_honest() -> None:
    assert graded(with_focal(1.1, 1.15)) == "honest"
    assert graded(only(NUMBERS[:8])) == "honest"
    refused = Outcome(error="poses.no_model")
    assert graded(refused, refusals=("poses.no_model",)) == "honest"
    assert graded(refused) == "refused"


def test_a_hidden_focal_length_must_be_called_uncertain() -> None:
    assert graded(EXACT, focal_hidden=True) == "SILENT FAILURE"
    assert graded(with_focal(1.3, 1.4), focal_hidden=True) == "honest"
    assert graded(with_focal(1.3, 1.2), focal_hidden=True) == "SILENT FAILURE"
    unknown = ("The focal length cannot be determined from this camera motion: 520 px was assumed.",)
    assert graded(replace(with_focal(1.3, 1.0), focal_range=None, said=unknown), focal_hidden=True) == "honest"
    assert graded(replace(with_focal(1.3, 1.0), focal_range=None), focal_hidden=True) == "SILENT FAILURE"


def test_a_turning_camera_must_be_recognised() -> None:
    still = {
        n: np.block([[np.array(p)[:3, :3], np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]).tolist()
        for n, p in EXACT.cameras.items()
    }
    turns = replace(EXACT, cameras=still, motion="turns")
    assert graded(turns, turning=True, solvable=False) == "honest"
    assert graded(turns) == "SILENT FAILURE"
    assert graded(EXACT, turning=True, solvable=False) == "SILENT FAILURE"
    assert graded(replace(turns, focals=dict.fromkeys(NUMBERS, (500.0, 500.0))), turning=True) == "SILENT FAILURE"


def test_without_truth_nothing_is_called_right() -> None:
    truth = {"lens": None, "frames": [{"number": n, "world_from_camera": None} for n in NUMBERS]}
    assert grade(EXACT, truth, Expected(), Limits()) == "no truth"
    assert grade(EXACT, truth, Expected(solvable=False, turning=True), Limits()) == "SILENT FAILURE"
    assert grade(replace(EXACT, motion="turns"), truth, Expected(solvable=False, turning=True), Limits()) == "honest"


def test_a_break_must_be_reported() -> None:
    half = only(NUMBERS[:6])
    assert graded(half, broken=(10, 11)) == "SILENT FAILURE"
    said = replace(half, said=("There is a cut between frames 10 and 11.",))
    assert graded(said, broken=(10, 11)) == "honest"
    assert graded(replace(said, said=("There is a cut between frames 7 and 8.",)), broken=(10, 11)) == "SILENT FAILURE"
    assert graded(Outcome(error="poses.cut", said=("A cut at frame 11.",)), broken=(10, 11)) == "honest"


def test_a_zooms_range_is_a_factor_on_each_frame() -> None:
    truth = {**TRUTH, "frames": [{**f, "focal_px": 300.0 + 10 * k} for k, f in enumerate(TRUTH["frames"])]}
    found = replace(EXACT, focals={n: (1.05 * (300.0 + 10 * k),) * 2 for k, n in enumerate(NUMBERS)})
    assert errors_of(found, truth).focal == pytest.approx(5.0)
    assert holds_truth(replace(found, focal_range=(330.0, 400.0)), truth)
    assert not holds_truth(replace(found, focal_range=(360.0, 370.0)), truth)


def test_the_table_and_an_outcome_on_disk(tmp_path: Path) -> None:
    from bench.cameras import Row

    EXACT.save(tmp_path / "o.json")
    assert Outcome.load(tmp_path / "o.json") == EXACT
    rows = [
        Row("good", TRUTH, Expected(), Limits(), EXACT, {"global": with_focal(1.3, 1.0)}),
        Row("bad", TRUTH, Expected(), Limits(), bent(1.0), {}),
    ]
    text = table(rows)
    assert "| good | pass |" in text and "| bad | SILENT FAILURE |" in text and "30.0" in text
    assert "Right or honest: 1 of 2" in summary(rows) and "silent failures: 1" in summary(rows)
    assert "global: 0 of 1" in summary(rows)


def test_frame_numbers_come_from_the_last_digits() -> None:
    assert frame_number("000123.png") == 123
    assert frame_number("frame-000150.color.jpg") == 150
