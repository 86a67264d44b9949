"""What a solve will take: against solves that were measured, and what is remembered of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cvd_blender_addon import estimate, jobs
from cvd_blender_addon.estimate import Pace, Paces, Shot

# Clips, the last engine and for DeepV2D 0.4: shot, CPU seconds, MB of the solve folder.
MEASURED = (
    (Shot(48, 640, 360), 187.0, 362),
    (Shot(45, 540, 360), 206.0, 310),
    (Shot(35, 640, 480, "preview", "deepv2d"), 83.8, 143),
    (Shot(35, 640, 480, "preview", "deepv2d+cvd"), 95.1, 143),
    (Shot(35, 640, 480, "preview", "deepv2d", "deepv2d"), 181.1, 105),
)


@pytest.mark.parametrize(("shot", "cpu_s", "megabytes"), MEASURED)
def test_measured_solves_lie_within_what_is_said(shot: Shot, cpu_s: float, megabytes: float) -> None:
    assert cpu_s / estimate.SPREAD < estimate.work(shot) < cpu_s * estimate.SPREAD
    assert megabytes * 0.7 < estimate.disk_bytes(shot) / 1e6 < megabytes * 1.4


def test_more_costs_more() -> None:
    shot = Shot(100, 1920, 1080)
    worse = (
        Shot(200, 1920, 1080),
        Shot(100, 3840, 2160),
        Shot(100, 1920, 1080, "best"),
        Shot(100, 1920, 1080, method="selfsup"),
        Shot(100, 1920, 1080, "cvd-2020"),
        Shot(100, 1920, 1080, prior="none"),
    )
    assert all(estimate.work(other) > estimate.work(shot) for other in worse)
    assert estimate.work(Shot(100, 1920, 1080, "preview")) < estimate.work(shot)
    assert estimate.disk_bytes(worse[0]) == pytest.approx(2 * estimate.disk_bytes(shot))


def test_without_experience_the_range_is_wide_and_says_that_it_is_a_guess() -> None:
    found = estimate.estimate(Shot(100, 640, 480), [])
    assert found.high_s > 4 * found.low_s and found.solves == 0
    takes, known_from = estimate.in_words(found, jobs.duration)
    assert takes.startswith("About 3 min to 14 min, 1.0 GB")
    assert "guess" in known_from


def test_experience_narrows_it_and_that_of_like_solves_counts_most() -> None:
    shot = Shot(100, 640, 480)
    paces = [Pace("a", "standard", "cvd", 3.0), Pace("b", "standard", "cvd", 3.2), Pace("c", "preview", "cvd", 9.0)]
    found = estimate.estimate(shot, paces)
    assert found.solves == 2
    assert found.high_s - estimate.START_S == pytest.approx(3.1 * estimate.SPREAD * estimate.work(shot))
    assert found.low_s - estimate.START_S == pytest.approx(3.1 / estimate.SPREAD * estimate.work(shot))
    other = estimate.estimate(Shot(100, 640, 480, "best"), paces)
    assert other.solves == 3 and other.high_s / other.low_s > found.high_s / found.low_s
    assert "last 2 solves" in estimate.in_words(found, jobs.duration)[1]


def solved(folder: Path, key: str, wall_s: float) -> Path:
    frames = [{"registered": True}] * 80 + [{"registered": False}] * 5
    source = {"width": 640, "height": 480}
    stages = {"poses": {"wall_s": wall_s / 2}, "depth": {"wall_s": wall_s / 2}}
    solve = {"frames": frames, "source": source, "engine": {"solve_key": key, "stages": stages}}
    request = {"preset": "standard", "method": "cvd", "camera": {"kind": "solve"}, "prior": {"kind": "auto"}}
    folder.mkdir(exist_ok=True)
    (folder / "solve.json").write_text(json.dumps(solve))
    (folder / "request.json").write_text(json.dumps(request))
    return folder


def test_what_was_solved_is_remembered_once_and_not_for_ever(tmp_path: Path) -> None:
    paces = Paces(tmp_path / "paces.json")
    assert paces.load() == []
    twice = 2.0 * estimate.work(Shot(80, 640, 480))
    for _ in range(2):
        paces.remember(solved(tmp_path / "a.solve", "a", twice))
    (pace,) = paces.load()
    assert (pace.key, pace.preset, pace.method) == ("a", "standard", "cvd") and pace.ratio == pytest.approx(2.0)
    for number in range(30):
        paces.remember(solved(tmp_path / "a.solve", str(number), twice))
    assert [pace.key for pace in paces.load()] == [str(n) for n in range(30 - estimate.REMEMBERED, 30)]
    assert estimate.estimate(Shot(10, 640, 480), paces.load()).solves > 0


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"key": "a"}]', "[[]]", '[{"key":"a","preset":"b"}]', "\x00"])
def test_a_damaged_memory_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "paces.json").write_text(content)
    paces = Paces(tmp_path / "paces.json")
    assert paces.load() == []
    paces.remember(tmp_path / "nothing.solve")
    paces.remember(solved(tmp_path / "a.solve", "a", 100.0))
    assert len(paces.load()) == 1


@pytest.mark.parametrize(
    "change", [{"frames": []}, {"engine": {}}, {"source": {"width": "a", "height": 1}}, {"frames": 3}]
)
def test_a_solve_that_does_not_tell_is_not_learnt_from(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = solved(tmp_path / "a.solve", "a", 100.0)
    document = json.loads((folder / "solve.json").read_text())
    (folder / "solve.json").write_text(json.dumps(document | change))
    paces = Paces(tmp_path / "paces.json")
    paces.remember(folder)
    assert paces.load() == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "10 s"), (44, "40 s"), (100, "2 min"), (1750, "29 min"), (2000, "35 min"), (10000, "2 h 45 min")],
)
def test_times_are_as_round_as_they_are_uncertain(seconds: float, words: str) -> None:
    found = estimate.Estimate(seconds, seconds, 2.54e9, 1)
    assert estimate.in_words(found, jobs.duration) == (f"About {words}, 2.5 GB of disk", "as the last solve here went")
