# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a solve will take and how much disk, before it starts. Knows nothing of Blender.

`work` and `disk_bytes` model what a solve costs on the computer that the figures in `bench/results/` were measured on;
how long that takes on this computer is learnt from the solves that it finishes (`Paces`). Until it has finished one,
the range is wide and says so. How far both are off on finished solves: `bench/results/addon.md`.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REMEMBERED = 20
UNKNOWN_PACE = (0.4, 2.0)
"""Seconds for each CPU second of the model, on computers that have not solved anything yet: from one with several fast
cores to a slow or busy one."""
SPREAD = 1.4
"""Shots differ by about so much either way from what the model says (camera solving most)."""
START_S = 5.0
"""Until the engine is there, which no stage counts."""


@dataclass(frozen=True)
class _Preset:
    """The engine's settings as far as they cost (`engine/depth/settings.py`): steps are for each frame."""

    long_side: int
    measured_side: int
    views: int
    photometric_steps: float
    fit_steps: float
    pair_steps: float
    min_steps: int
    epochs: int = 0


PRESETS = {
    "preview": _Preset(256, 512, 4, 2.0, 0.2, 0.3, 10),
    "standard": _Preset(384, 768, 6, 4.0, 0.3, 0.5, 20),
    "best": _Preset(512, 1280, 8, 8.0, 2.0, 3.0, 120),
    "cvd-2020": _Preset(384, 0, 0, 0.0, 0.0, 0.0, 0, epochs=20),
}


@dataclass(frozen=True)
class Shot:
    """What decides the cost of a solve.

    Attributes:
        frames: how many are solved.
        width, height: plate pixels.
        preset, method, prior: the words of the request.
        camera: where the cameras come from, likewise.
    """

    frames: int
    width: int
    height: int
    preset: str = "standard"
    method: str = "cvd"
    camera: str = "solve"
    prior: str = "auto"


@dataclass(frozen=True)
class Pace:
    """How fast this computer was in one solve: seconds for each CPU second of the model."""

    key: str
    preset: str
    method: str
    ratio: float


@dataclass(frozen=True)
class Estimate:
    """What a solve will take.

    Attributes:
        low_s, high_s: between how many seconds.
        disk_bytes: the solve folder, with everything that a later solve can go on from.
        solves: how many finished solves of this computer the time is learnt from; 0: it is a guess.
    """

    low_s: float
    high_s: float
    disk_bytes: float
    solves: int


def work(shot: Shot) -> float:
    """CPU seconds of the whole solve on the computer of the benchmarks (engine 0.4.0, no GPU)."""
    preset = PRESETS[shot.preset]
    plate, small, fine = _megapixels(shot)
    footage = 0.02 + 0.05 * plate
    poses = {"solve": 1.4, "deepv2d": 3.2}.get(shot.camera, 0.9)
    by_deepv2d = shot.method.startswith("deepv2d")
    swept = _swept(shot)
    evidence = 5.8 * small if by_deepv2d and not preset.epochs else 0.0
    if swept:
        evidence = (0.6 + 0.45 * preset.views) * fine
    depth = 0.16 + (2.0 * fine if swept else 1.6 * small)
    export = float(1.2 * plate**0.7)
    per_frame = footage + poses + 3.0 * small + 0.85 * small + 0.03 + evidence + depth + export
    return shot.frames * per_frame + _training(shot, preset, small)


def _training(shot: Shot, preset: _Preset, megapixels: float) -> float:
    """CPU seconds of what is trained on the clip, where anything is (`engine.depth.settings.settings_of`)."""
    if preset.epochs:
        return 6.0 * preset.epochs * 0.9 * megapixels * shot.frames
    photometric = fit = pairs = 0.0
    if shot.method == "selfsup" or shot.prior == "none":
        photometric = preset.photometric_steps
    if shot.method == "deepv2d+cvd":
        fit, pairs = preset.fit_steps, preset.pair_steps
    elif shot.method == "selfsup":
        pairs = preset.pair_steps
    elif shot.method == "cvd" and shot.prior == "none":
        fit, pairs = preset.fit_steps + 0.3, preset.pair_steps

    def steps(each: float) -> float:
        return max(each * shot.frames, preset.min_steps) if each else 0.0

    return megapixels * (4.8 * steps(photometric) + 6.0 * (steps(fit) + steps(pairs)))


def disk_bytes(shot: Shot) -> float:
    """Bytes of the solve folder when it is complete."""
    plate, small, fine = _megapixels(shot)
    features = 0.5e6 if shot.camera == "deepv2d" else 2.1e6
    depth = 17.0e6 * fine if _swept(shot) else 2.5e6 * small
    return shot.frames * (features + 16.0e6 * small + depth + 3.8e6 * plate)


def _swept(shot: Shot) -> bool:
    """Depth is measured by plane sweep, and comes out on the finer grid."""
    return not PRESETS[shot.preset].epochs and shot.method not in ("selfsup", "deepv2d", "deepv2d+cvd")


def _megapixels(shot: Shot) -> tuple[float, float, float]:
    """Of the plate, of the size that the dense stages work at, and of that at which depth is measured."""
    plate, preset = shot.width * shot.height / 1e6, PRESETS[shot.preset]
    scales = (min(1.0, side / max(shot.width, shot.height, 1)) for side in (preset.long_side, preset.measured_side))
    small, fine = (plate * scale**2 for scale in scales)
    return plate, small, fine


def estimate(shot: Shot, paces: Sequence[Pace]) -> Estimate:
    """What `shot` will take on a computer that has solved at these paces before."""
    alike = [pace for pace in paces if (pace.preset, pace.method) == (shot.preset, shot.method)]
    used = (alike or list(paces))[-REMEMBERED // 2 :]
    if used:
        middle = statistics.median(pace.ratio for pace in used)
        # Of another preset or method less is known.
        spread = SPREAD if alike else SPREAD**2
        low, high = middle / spread, middle * spread
    else:
        low, high = UNKNOWN_PACE
    cost = work(shot)
    return Estimate(START_S + cost * low, START_S + cost * high, disk_bytes(shot), len(used))


def pace_of(solve: dict[str, Any], request: dict[str, Any]) -> Pace | None:
    """The pace of a finished solve, by its `solve.json` and `request.json`; None where they do not tell.

    Stages that came from the cache count as they did when they were made.
    """
    try:
        # Frames that the footage lacks cost nothing.
        frames = sum(bool(frame["registered"]) for frame in solve["frames"])
        camera, prior = request["camera"]["kind"], request["prior"]["kind"]
        source = solve["source"]
        shot = Shot(frames, source["width"], source["height"], request["preset"], request["method"], camera, prior)
        wall_s = sum(float(cost["wall_s"]) for cost in solve["engine"]["stages"].values())
        ratio = wall_s / work(shot)
        key = str(solve["engine"]["solve_key"])
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        return None
    return Pace(key, shot.preset, shot.method, ratio) if frames and math.isfinite(ratio) and ratio > 0.0 else None


class Paces:
    """The paces of the last solves that this computer has finished, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> list[Pace]:
        """The oldest first; none where the file is absent or damaged, since they only serve a guess."""
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
            paces = [Pace(str(e["key"]), str(e["preset"]), str(e["method"]), float(e["ratio"])) for e in entries]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [pace for pace in paces if math.isfinite(pace.ratio) and pace.ratio > 0.0][-REMEMBERED:]

    def remember(self, folder: Path) -> None:
        """Learn from the finished solve in `folder`. What cannot be read or written is not learnt."""
        try:
            solve = json.loads((folder / "solve.json").read_text(encoding="utf-8"))
            request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
            pace = pace_of(solve, request)
            if pace is None:
                return
            kept = [known for known in self.load() if known.key != pace.key]
            temporary = self.path.with_name(self.path.name + ".tmp")
            temporary.write_text(json.dumps([asdict(p) for p in [*kept, pace][-REMEMBERED:]]), encoding="utf-8")
            temporary.replace(self.path)
        except (OSError, ValueError, TypeError, AttributeError):
            return


def in_words(found: Estimate, duration: Any) -> tuple[str, str]:
    """The estimate for people: what it takes, and what that is known from.

    Args:
        duration: seconds in words (`jobs.duration`).
    """
    low, high = duration(_round(found.low_s)), duration(_round(found.high_s))
    time = f"About {high}" if low == high else f"About {low} to {high}"
    known = {0: "a guess: this computer has not finished a solve yet", 1: "as the last solve here went"}
    from_ = known.get(found.solves, f"as the last {found.solves} solves here went")
    return f"{time}, {size(found.disk_bytes)} of disk", from_


def size(count: float) -> str:
    """Bytes as `90 MB` or `1.2 GB`."""
    return f"{count / 1e6:.0f} MB" if count < 0.95e9 else f"{count / 1e9:.1f} GB"


def _round(seconds: float) -> float:
    """To what a guess can mean: tens of seconds, then minutes, then fives of them."""
    step = 10.0 if seconds < 90.0 else 60.0 if seconds < 1800.0 else 300.0
    return max(step, step * round(seconds / step))
