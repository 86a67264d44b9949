"""Which frames are doubtful, where, and the words for it."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from engine.depth.regions import GRID, Regions
from engine.export import stage
from engine.export.doubt import CAMERAS_PREDICT, find_doubt, where
from engine.export.report import frames_to_show
from engine.poses import worker

WORK = 384
FIGURES = {"registered_share": 1.0, "confident_share": 0.8, "dynamic_share": 0.0, "reprojection_px": 0.3}
RIGHT_HALF = np.broadcast_to(np.arange(GRID[1]) >= GRID[1] // 2, GRID)


def good(numbers):
    """A clip in which all is well."""
    full = np.ones((len(numbers), *GRID))
    return Regions(tuple(numbers), 0.9 * full, 0.8 * full, 0.0 * full, 0.3 * full, 0.01 * full)


def changed(regions, name, rows, part, value):
    values = getattr(regions, name).copy()
    for row in rows:
        values[row][part] = value
    return replace(regions, **{name: values})


def unmeasured(regions, rows, part):
    return changed(changed(regions, "measured", rows, part, 0.05), "right", rows, part, 0.2)


def test_nothing_is_doubtful_in_a_good_clip() -> None:
    doubt = find_doubt(good(range(10)), WORK)
    assert not doubt.frames and not doubt.runs and not doubt.sentences()
    assert doubt.right[3] == pytest.approx(0.8)
    assert not find_doubt(Regions.read({}), WORK).frames


def test_a_half_that_nothing_measures_is_named_with_its_frames() -> None:
    doubt = find_doubt(unmeasured(good(range(280, 320)), range(8, 25), RIGHT_HALF), WORK)
    assert doubt.sentences() == ["Depth is doubtful in frames 288-304: right half, little was measured there."]
    assert list(doubt.frames) == list(range(288, 305))
    (region,) = doubt.frames[288]
    assert region.document() == {
        "where": "right half", "reason": "measured", "share": 0.5, "box": [0.5, 0.0, 1.0, 1.0],
    }  # fmt: skip


def test_a_region_in_the_midst_of_what_is_measured_is_named() -> None:
    part = np.zeros(GRID, bool)
    part[2:4, 3:5] = True
    doubt = find_doubt(unmeasured(good([7, 8]), [1], part), WORK)
    assert doubt.sentences() == ["Depth is doubtful in frame 8: middle, little was measured there."]


def test_what_is_smaller_than_three_regions_is_not() -> None:
    part = np.zeros(GRID, bool)
    part[2, 3:5] = part[5, 0] = True
    assert not find_doubt(unmeasured(good([7]), [0], part), WORK).frames


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("right", 0.2, "matching is uncertain there"),
        ("flow_px", 4.0, "optical flow contradicts it"),
        ("tracks", 0.3, "tracks contradict it"),
    ],
)
def test_each_witness_has_its_reason(name: str, value: float, words: str) -> None:
    doubt = find_doubt(changed(good(range(5)), name, [2], RIGHT_HALF, value), WORK)
    assert doubt.sentences() == [f"Depth is doubtful in frame 2: right half, {words}."]


def test_a_clip_whose_flow_is_off_everywhere_contradicts_nothing_alone() -> None:
    loud = changed(good(range(5)), "flow_px", range(5), ..., 2.5)
    assert not find_doubt(loud, WORK).frames
    assert not find_doubt(changed(good(range(5)), "flow_px", [1], RIGHT_HALF, 1.6), WORK).frames, "less than .5 %"


def test_moving_objects_are_named_and_no_doubt() -> None:
    regions = unmeasured(changed(good([1, 2]), "moving", [1], RIGHT_HALF, 0.9), [1], RIGHT_HALF)
    doubt = find_doubt(regions, WORK)
    assert not doubt.frames
    assert [region.where for region in doubt.moving[2]] == ["right half"] and 1 not in doubt.moving


def test_runs_are_merged_over_two_frames_and_the_worst_come_first() -> None:
    part = np.zeros(GRID, bool)
    part[:2, :2] = True
    regions = unmeasured(good(range(100, 160)), [0, 1, 4, 20, 40], part)
    regions = unmeasured(regions, [30, 31], RIGHT_HALF)
    regions = unmeasured(regions, [50, 51], part)
    doubt = find_doubt(regions, WORK)
    assert [run.span for run in doubt.runs] == [
        "frames 130-131", "frames 100-104", "frames 150-151", "frame 120", "frame 140",
    ]  # fmt: skip
    assert doubt.sentences() == [
        "Depth is doubtful in frames 130-131: right half, little was measured there.",
        "Also in frames 100-104: upper left, little was measured there.",
        "Also in frames 150-151: upper left, little was measured there.",
        "2 further frames are doubtful.",
    ]
    assert doubt.warnings() == ["Depth is also doubtful in frames 120 and 140."]
    assert replace(doubt, runs=doubt.runs[:4]).warnings() == ["Depth is also doubtful in frame 120."]
    assert not replace(doubt, runs=doubt.runs[:3]).warnings()


def test_frames_that_are_missing_break_no_run() -> None:
    doubt = find_doubt(unmeasured(good([10, 20, 30]), [0, 1], RIGHT_HALF), WORK)
    assert doubt.runs[0].span == "frames 10-20"


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (slice(None), slice(None), "whole frame"),
        (slice(None), slice(0, 4), "left half"),
        (slice(None), slice(6, 8), "right edge"),
        (slice(0, 3), slice(None), "upper half"),
        (slice(4, 6), slice(None), "lower edge"),
        (slice(3, 6), slice(4, 8), "lower right"),
        (slice(0, 2), slice(0, 3), "upper left"),
        (slice(1, 5), slice(2, 6), "middle"),
    ],
)
def test_places_have_words(rows: slice, columns: slice, words: str) -> None:
    part = np.zeros(GRID, bool)
    part[rows, columns] = True
    assert where(part) == words


def test_the_verdict_is_solved_only_without_doubt() -> None:
    doubt = find_doubt(unmeasured(good(range(3)), [1], RIGHT_HALF), WORK)
    assert stage.verdict(FIGURES, [], doubt=find_doubt(good(range(3)), WORK)).startswith("Solved. ")
    said = stage.verdict(FIGURES, [], doubt=doubt)
    assert said.startswith("Solved with warnings. ")
    assert said.endswith("Depth is doubtful in frame 1: right half, little was measured there.")


def test_doubt_of_the_cameras_is_in_the_verdict() -> None:
    assert f'f"{CAMERAS_PREDICT}' in inspect.getsource(worker), "what the verdict goes by"
    said = stage.verdict(FIGURES, [f"{CAMERAS_PREDICT}42% of the tracks held out to test them and may be off."])
    assert said.endswith(" The camera solve is doubtful: it predicts only 42% of the validation tracks.")


def test_the_report_shows_doubtful_frames_first() -> None:
    assert frames_to_show([1, 2, 3, 4, 5], {2: 3.0, 4: 1.0}, [5, 4]) == [5, 4, 2, 1, 3]
