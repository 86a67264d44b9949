"""Which frames have doubtful depth, where, why, and how to say so.

A region is doubtful where few of its pixels are expected to be right, or where optical flow or tracks contradict its
depth. What moving objects cover is no geometry, and named as what it is. Thresholds: `bench/results/doubt.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.depth.regions import Regions

UNSURE = 0.4  # of a region's pixels expected to be right: less is doubtful
FLOW_TIMES, FLOW_SHARE = 5.0, 0.005  # times the clip's own distance, and of the frame's width, for a contradiction
TRACK_TIMES, TRACK_SHARE = 5.0, 0.1  # times the clip's own difference, and of the depth
LITTLE = 0.35  # of a region measured
MOVES = 0.5  # of a region
LEAST_REGIONS = 3  # that hang together: less is an object's outline
WHOLE = 0.75  # of the frame
BRIDGED = 2  # frames that a run goes on over
SPOKEN = 3  # runs in the verdict
OFTEN = 1 / 3  # of a run's frames in which a region is doubtful: it counts for where the run is doubtful

MEASURED, UNCERTAIN, FLOW, TRACKS = "measured", "uncertain", "flow", "tracks"
REASONS = {
    MEASURED: "little was measured there",
    UNCERTAIN: "matching is uncertain there",
    FLOW: "optical flow contradicts it",
    TRACKS: "tracks contradict it",
}

CAMERAS_PREDICT = "The cameras predict only "
"""How the warning of `engine/poses/worker.py` begins that says how many validation tracks the cameras predict."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A part of a frame.

    Attributes:
        where: in words, such as "right half".
        reason: a key of `REASONS`; "" of a moving object.
        share: of the frame.
        box: left, top, right, bottom in shares of the frame.
        mask: (rows, columns).
    """

    where: str
    reason: str
    share: float
    box: tuple[float, float, float, float]
    mask: Mask

    def document(self) -> dict[str, Any]:
        """For `solve.json`."""
        return {
            "where": self.where,
            "reason": self.reason,
            "share": round(self.share, 3),
            "box": [round(edge, 3) for edge in self.box],
        }


@dataclass(frozen=True)
class Run:
    """Doubtful frames one after another.

    Attributes:
        frames: their plate frame numbers, ascending.
        where: the part of the frame, in words, that is doubtful in at least `OFTEN` of them.
        reason: most frequent key of `REASONS`.
        worst: the frame most of which is doubtful.
        weight: share of the frame that is doubtful, summed over the frames.
    """

    frames: tuple[int, ...]
    where: str
    reason: str
    worst: int
    weight: float

    def document(self) -> dict[str, Any]:
        """For `solve.json`."""
        return {
            "first": self.frames[0],
            "last": self.frames[-1],
            "worst": self.worst,
            "where": self.where,
            "reason": self.reason,
        }

    @property
    def numbers(self) -> str:
        """Such as "288-304" or "7"."""
        first, last = self.frames[0], self.frames[-1]
        return f"{first}" if first == last else f"{first}-{last}"

    @property
    def span(self) -> str:
        """Such as "frames 288-304" or "frame 7"."""
        return f"frame{'s' * (len(self.frames) > 1)} {self.numbers}"


@dataclass(frozen=True)
class Doubt:
    """What is doubtful in a clip.

    Attributes:
        frames: plate frame number -> its doubtful regions, largest first; frames without any are left out.
        moving: plate frame number -> the parts that moving objects cover, likewise.
        runs: doubtful frames, worst first.
        right: plate frame number -> share of the static pixels expected to be right.
    """

    frames: Mapping[int, tuple[Region, ...]]
    moving: Mapping[int, tuple[Region, ...]]
    runs: tuple[Run, ...]
    right: Mapping[int, float]

    def sentences(self) -> list[str]:
        """For the verdict: at most `SPOKEN` runs, worst first; [] without doubt."""
        if not self.runs:
            return []
        first, *others = self.runs[:SPOKEN]
        spoken = [f"Depth is doubtful in {first.span}: {first.where}, {REASONS[first.reason]}."]
        spoken += [f"Also in {run.span}: {run.where}, {REASONS[run.reason]}." for run in others]
        rest = sum(len(run.frames) for run in self.runs[SPOKEN:])
        return [*spoken, f"{rest} further {'frames are' if rest > 1 else 'frame is'} doubtful."] if rest else spoken

    def warnings(self) -> list[str]:
        """What the verdict has no room for."""
        rest = sorted(self.runs[SPOKEN:], key=lambda run: run.frames)
        if not rest:
            return []
        *first, last = (run.numbers for run in rest)
        listed = f"{', '.join(first)} and {last}" if first else last
        return [f"Depth is also doubtful in frame{'s' * (listed != str(rest[0].frames[0]))} {listed}."]


def camera_sentence(warnings: Sequence[str]) -> list[str]:
    """Doubt of the cameras for the verdict, from what the solve warned of; [] where there is none."""
    for text in warnings:
        if text.startswith(CAMERAS_PREDICT):
            share = text.removeprefix(CAMERAS_PREDICT).split()[0]
            return [f"The camera solve is doubtful: it predicts only {share} of the validation tracks."]
    return []


def find_doubt(regions: Regions, work_width: int) -> Doubt:
    """Judge the regions of a clip.

    Args:
        regions: of all frames that have depth.
        work_width: of the grid whose pixels `regions.flow_px` counts.
    """
    if not regions.numbers:
        return Doubt({}, {}, (), {})
    moves = regions.moving >= MOVES
    unsure = (np.nan_to_num(regions.right, nan=1.0) < UNSURE) & ~moves
    flow = _contradicts(regions.flow_px, FLOW_TIMES, FLOW_SHARE * work_width) & ~moves
    tracks = _contradicts(regions.tracks, TRACK_TIMES, TRACK_SHARE) & ~moves
    frames, moving = {}, {}
    for row, number in enumerate(regions.numbers):
        found = _parts(unsure[row] | flow[row] | tracks[row], LEAST_REGIONS)
        told = [_told(part, regions.measured[row], unsure[row], flow[row]) for part in found]
        if told:
            frames[number] = tuple(told)
        covered = tuple(_region(part, "") for part in _parts(moves[row], 1))
        if covered:
            moving[number] = covered
    expected = {n: float(np.nanmean(regions.right[row])) for row, n in enumerate(regions.numbers) if _any(regions, row)}
    return Doubt(frames, moving, _runs(regions.numbers, frames), expected)


def _any(regions: Regions, row: int) -> bool:
    return bool(np.isfinite(regions.right[row]).any())


def _contradicts(values: NDArray[np.float64], times: float, least: float) -> Mask:
    """Where values are well above the clip's own."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(values.shape, bool)
    return np.nan_to_num(values) > max(times * float(np.median(known)), least)


def _parts(mask: Mask, least: int) -> list[Mask]:
    """What hangs together in (rows, columns) by sides, largest first, of at least so many regions."""
    parts, left = [], mask.copy()
    while left.any():
        part = np.zeros_like(mask)
        part.flat[int(np.flatnonzero(left)[0])] = True
        while True:
            wider = part.copy()
            wider[1:] |= part[:-1]
            wider[:-1] |= part[1:]
            wider[:, 1:] |= part[:, :-1]
            wider[:, :-1] |= part[:, 1:]
            wider &= mask
            if (wider == part).all():
                break
            part = wider
        left &= ~part
        if part.sum() >= least:
            parts.append(part)
    return sorted(parts, key=lambda part: -int(part.sum()))


def _told(part: Mask, measured: NDArray[np.float64], unsure: Mask, flow: Mask) -> Region:
    """A doubtful part with the reason that holds for most of it."""
    by_confidence = part & unsure
    if by_confidence.sum() * 2 >= part.sum():
        reason = MEASURED if np.nanmean(measured[by_confidence]) < LITTLE else UNCERTAIN
    else:
        reason = FLOW if (part & flow).sum() * 2 >= (part & ~unsure).sum() else TRACKS
    return _region(part, reason)


def _region(part: Mask, reason: str) -> Region:
    rows, columns = part.shape
    lines, across = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    left, right = float(across[0]) / columns, float(across[-1] + 1) / columns
    top, bottom = float(lines[0]) / rows, float(lines[-1] + 1) / rows
    return Region(where(part), reason, float(part.mean()), (left, top, right, bottom), part)


def where(part: Mask) -> str:
    """The words whose part of the frame is most like `part` (rows, columns)."""
    if part.mean() >= WHOLE:
        return "whole frame"
    y = ((np.arange(part.shape[0]) + 0.5) / part.shape[0])[:, None] + np.zeros(part.shape)
    x = ((np.arange(part.shape[1]) + 0.5) / part.shape[1])[None] + np.zeros(part.shape)
    left, right, upper, lower = x < 0.5, x > 0.5, y < 0.5, y > 0.5
    places = {
        "left half": left,
        "right half": right,
        "upper half": upper,
        "lower half": lower,
        "upper left": upper & left,
        "upper right": upper & right,
        "lower left": lower & left,
        "lower right": lower & right,
        "middle": (abs(x - 0.5) < 0.25) & (abs(y - 0.5) < 0.34),
        "left edge": x < 0.25,
        "right edge": x > 0.75,
        "upper edge": y < 0.34,
        "lower edge": y > 0.66,
    }
    return max(places, key=lambda name: float((places[name] & part).sum() / (places[name] | part).sum()))


def _runs(numbers: Sequence[int], frames: Mapping[int, tuple[Region, ...]]) -> tuple[Run, ...]:
    """Doubtful frames that follow each other, in the order of `numbers`, over at most `BRIDGED` others; worst first."""
    position = {number: row for row, number in enumerate(numbers)}
    groups: list[list[int]] = []
    for number in sorted(frames):
        if groups and position[number] - position[groups[-1][-1]] <= 1 + BRIDGED:
            groups[-1].append(number)
        else:
            groups.append([number])
    return tuple(sorted((_run(group, frames) for group in groups), key=lambda run: -run.weight))


def _run(group: list[int], frames: Mapping[int, tuple[Region, ...]]) -> Run:
    shares = {number: sum(region.share for region in frames[number]) for number in group}
    masks = [np.any([region.mask for region in frames[number]], axis=0) for number in group]
    often = np.mean(masks, axis=0) >= OFTEN
    weights: dict[str, float] = {}
    for number in group:
        for region in frames[number]:
            weights[region.reason] = weights.get(region.reason, 0.0) + region.share
    worst = max(group, key=lambda number: shares[number])
    return Run(
        frames=tuple(group),
        where=where(often if often.any() else frames[worst][0].mask),
        reason=max(weights, key=lambda reason: weights[reason]),
        worst=worst,
        weight=sum(shares.values()),
    )
