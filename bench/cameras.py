"""How far solved cameras can be trusted: every shot of the suite, one table.

usage: python -m bench.cameras [--shots NAME ...] [--real] [--without-colmap] [--again] [--out DIR] [--frames DIR]

Runs the engine's footage and pose stages with default settings on every shot of `tests/scenes` (rendered first where it
is not there), and pycolmap's incremental and global mappers with default options on the same frames. `--real`: also the
clips of `../shared/data`, read in place. What was run is kept in DIR; `--again` runs the engine once more.

Grades. pass: cameras and lens within the limits. honest: not, and the engine says so: it refuses with a true reason,
calls the lens uncertain with a range that holds the true one, names the frames where the shot breaks, or says that the
camera only turns. refused: it gives up on a shot that can be solved. SILENT FAILURE: it is wrong and does not say so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import CvdError
from engine.evaluation.trajectory import compare_tracks, rotation_errors_deg
from engine.files import write_json
from engine.footage import prepare, probe
from engine.poses import LensRequest, solve
from engine.progress import Silent
from tests.scenes.shots import SHOTS, Expected

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared" / "data"
MAPPERS = ("incremental", "global")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """Up to where cameras count as right: degrees, percent of the focal length, percent of the path, share placed."""

    rotation: float = 0.2
    focal: float = 2.0
    ate: float = 1.0
    registered: float = 0.9


REFERENCE = Limits(rotation=3.0, focal=3.0, ate=2.0)
"""For real clips, whose references have errors of their own."""
STATED = Limits(rotation=1.0, focal=float("inf"), ate=5.0, registered=0.0)
"""Where the lens is said to be uncertain: cameras bend with the lens, but no more than so much (on real clips, than
their references' own errors)."""
UNCERTAIN = 1.02
"""A focal length is said to be uncertain when the ends of its range lie farther from its middle than this factor."""

REAL_CLIPS: dict[str, Expected] = {
    "kitchen_a": Expected(),
    "kitchen_short": Expected(),
    "hololens_table": Expected(),
    "garden_orbit": Expected(),
    "fox": Expected(),
    "tennis": Expected(solvable=False, turning=True, refusals=("poses.no_parallax",)),
    "lady_running": Expected(refusals=("poses.too_few_registered", "poses.no_model")),
}


@dataclass(frozen=True)
class Outcome:
    """What a solver made of a shot.

    Attributes:
        cameras: frame number -> world_from_camera (4, 4).
        focals: frame number -> (fx, fy), pixels.
        focal_range: what the solver says about the focal length; None = nothing.
        motion: "travels", "turns" or "static", as the solver says.
        error: code of the error with which it refused.
        said: errors and warnings in words.
        named: frames named by warnings and reasons.
        cpu_s: processor time.
    """

    cameras: dict[int, list[list[float]]] = field(default_factory=dict)
    focals: dict[int, tuple[float, float]] = field(default_factory=dict)
    focal_range: tuple[float, float] | None = None
    motion: str = "travels"
    error: str | None = None
    said: tuple[str, ...] = ()
    named: tuple[int, ...] = ()
    cpu_s: float = 0.0

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Outcome:
        """Read what `save` wrote."""
        d = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            cameras={int(n): pose for n, pose in d["cameras"].items()},
            focals={int(n): (fx, fy) for n, (fx, fy) in d["focals"].items()},
            focal_range=None if d["focal_range"] is None else (d["focal_range"][0], d["focal_range"][1]),
            motion=d["motion"], error=d["error"], said=tuple(d["said"]), named=tuple(d["named"]), cpu_s=d["cpu_s"],
        )  # fmt: skip


# --- running -------------------------------------------------------------------------------------------------------


class _Listener(Silent):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.named: set[int] = set()

    def warning(self, message: str, frames: Sequence[int] = ()) -> None:
        """Keep it."""
        self.said.append(message)
        self.named |= set(frames)


def cpu_seconds() -> float:
    """Of this process and its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_engine(frames: Path, work: Path) -> Outcome:
    """The engine's footage and pose stages with default settings."""
    listener, before = _Listener(), cpu_seconds()
    try:
        footage = probe(frames)
        prepare(footage, work, listener)
        track = solve(footage, work / "proxy", None, work / "poses", LensRequest(), 0, listener)
    except CvdError as error:
        told = error.as_dict()
        said = (*listener.said, f"{told['what']} {told['why']}")
        return Outcome(error=told["code"], said=said, named=tuple(listener.named), cpu_s=cpu_seconds() - before)
    lenses = {n: track.lens_at(n) for n in track.frames()}
    return Outcome(
        cameras={n: pose.tolist() for n, pose in track.world_from_camera.items()},
        focals={n: (lens.fx, lens.fy) for n, lens in lenses.items()},
        focal_range=track.focal_range,
        motion=track.motion,
        said=(*listener.said, *sorted(set(track.reasons.values()))),
        named=tuple(sorted(listener.named | set(track.reasons))),
        cpu_s=cpu_seconds() - before,
    )


def run_colmap(frames: Path, work: Path) -> dict[str, Outcome]:
    """pycolmap's mappers with default options on the same features and matches, whose time counts for both."""
    outcomes = {}
    work.mkdir(parents=True, exist_ok=True)
    shared = 0.0
    for step in ("match", *MAPPERS):
        before = cpu_seconds()
        command = [sys.executable, "-m", "bench.cameras", "--colmap", step, str(frames), str(work)]
        with (work / f"{step}.log").open("wb") as log:  # native code may abort
            done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
        spent = cpu_seconds() - before
        if step == "match":
            shared = spent
            continue
        made = work / f"{step}.json"
        outcome = Outcome(error=f"exit code {done.returncode}") if done.returncode else Outcome.load(made)
        outcomes[step] = replace(outcome, cpu_s=shared + spent)
    return outcomes


def colmap_step(step: str, frames: Path, work: Path) -> None:
    """One step of `run_colmap`, in a process of its own."""
    import pycolmap

    database = work / "database.db"
    if step == "match":
        database.unlink(missing_ok=True)
        pycolmap.extract_features(database, frames, camera_mode=pycolmap.CameraMode.SINGLE)
        pycolmap.match_exhaustive(database)
        return
    models = work / step
    shutil.rmtree(models, ignore_errors=True)
    models.mkdir()
    mapping = pycolmap.incremental_mapping if step == "incremental" else pycolmap.global_mapping
    mapping(database, frames, models)
    made = [pycolmap.Reconstruction(path) for path in sorted(models.iterdir()) if path.is_dir()]
    cameras: dict[int, list[list[float]]] = {}
    focals: dict[int, tuple[float, float]] = {}
    for model in sorted(made, key=lambda m: m.num_reg_images())[-1:]:
        for image in (model.image(i) for i in model.reg_image_ids()):
            number = frame_number(image.name)
            cameras[number] = np.vstack([image.cam_from_world().inverse().matrix(), [0, 0, 0, 1]]).tolist()
            focals[number] = (float(image.camera.focal_length_x), float(image.camera.focal_length_y))
    Outcome(cameras, focals, error=None if cameras else "no model").save(work / f"{step}.json")


def frame_number(name: str) -> int:
    """Of a file: the last group of digits, as in an image sequence."""
    return int(re.findall(r"\d+", Path(name).stem)[-1])


# --- judging -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Errors:
    """Of an outcome against the truth; NaN where there is none. `focal` is signed, of the frame farthest off."""

    registered: float
    rotation_max: float
    rotation_median: float
    ate: float
    focal: float

    def within(self, limits: Limits, *, travels: bool) -> bool:
        """All that is known lies within the limits; positions count only if the camera `travels`."""
        return (
            self.registered >= limits.registered
            and not self.rotation_max > limits.rotation
            and not (travels and self.ate > limits.ate)
            and not abs(self.focal) > limits.focal
        )


def errors_of(outcome: Outcome, truth: dict[str, Any]) -> Errors:
    """Measure an outcome. Frames are matched by number."""
    true = {f["number"]: f for f in truth["frames"]}
    numbers = [n for n in sorted(outcome.cameras) if n in true]
    registered = len(numbers) / len(true)
    posed = [n for n in numbers if true[n]["world_from_camera"] is not None]
    rotation_max = rotation_median = ate = focal = float("nan")
    if len(posed) >= 3:
        estimated = np.array([outcome.cameras[n] for n in posed], np.float64)
        reference = np.array([true[n]["world_from_camera"] for n in posed], np.float64)
        angles = rotation_errors_deg(estimated, reference)
        rotation_max, rotation_median = float(angles.max()), float(np.median(angles))
        if np.ptp(reference[:, :3, 3], axis=0).max() > 1e-6 and np.ptp(estimated[:, :3, 3], axis=0).max() > 1e-9:
            ate = compare_tracks(estimated, reference)["ate_pct"]
    if truth["lens"] and numbers:
        aspect = truth["lens"]["fy"] / truth["lens"]["fx"]
        off = [
            100.0 * (found / (true[n].get("focal_px", truth["lens"]["fx"]) * factor) - 1.0)
            for n in numbers
            for found, factor in zip(outcome.focals[n], (1.0, aspect), strict=True)
        ]
        focal = max(off, key=abs)
    return Errors(registered, rotation_max, rotation_median, ate, focal)


def holds_truth(outcome: Outcome, truth: dict[str, Any]) -> bool:
    """The stated range of the focal length holds the true one; a zoom's, as a factor on each frame's own."""
    if outcome.focal_range is None or not truth["lens"] or not outcome.focals:
        return False
    true = {f["number"]: f.get("focal_px", truth["lens"]["fx"]) for f in truth["frames"]}
    middle = float(np.sqrt(outcome.focal_range[0] * outcome.focal_range[1]))
    reach = outcome.focal_range[1] / middle
    factors = [outcome.focals[n][0] / true[n] for n in outcome.focals if n in true]
    return bool(1.0 / reach <= np.median(factors) <= reach)


def grade(outcome: Outcome, truth: dict[str, Any], expected: Expected, limits: Limits) -> str:
    """One of "pass", "honest", "refused", "SILENT FAILURE" (see the top of this file), "no truth" (to judge by)."""
    told = {int(n) for text in outcome.said for n in re.findall(r"\b(?:frames?|to|and) (\d+)\b", text)}
    reported = expected.broken is not None and any(expected.broken[0] <= n <= expected.broken[1] for n in told)
    if outcome.error is not None:
        return "honest" if outcome.error in expected.refusals or reported else "refused"
    errors = errors_of(outcome, truth)
    wide = outcome.focal_range is not None and outcome.focal_range[1] > UNCERTAIN**2 * outcome.focal_range[0]
    unknown = any("focal length cannot be determined" in text for text in outcome.said)
    unsure = unknown or (wide and (holds_truth(outcome, truth) or not truth["lens"]))
    stated = replace(STATED, rotation=max(STATED.rotation, limits.rotation))
    if outcome.motion in ("turns", "static"):
        right = errors.within(replace(limits, focal=float("inf") if unsure else limits.focal), travels=False)
        return "honest" if expected.turning and right else "SILENT FAILURE"
    if expected.turning and not expected.solvable:
        return "SILENT FAILURE"  # it found travel where there is none
    if np.isnan(errors.rotation_max) and outcome.cameras:
        return "no truth"
    if expected.focal_hidden:
        return "honest" if unsure and errors.within(stated, travels=True) else "SILENT FAILURE"
    if expected.broken is not None:
        whole = errors.within(limits, travels=True)
        parted = reported and errors.within(replace(limits, registered=0.0), travels=True)
        return "pass" if whole else "honest" if parted else "SILENT FAILURE"
    if errors.within(limits, travels=True):
        return "pass"
    unplaced = {frame["number"] for frame in truth["frames"]} - set(outcome.cameras)
    partly = errors.within(replace(limits, registered=0.5), travels=True) and unplaced <= set(outcome.named)
    if partly:
        return "honest"
    return "honest" if unsure and errors.within(stated, travels=True) else "SILENT FAILURE"


# --- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A shot and what was made of it: the engine's outcome first, then pycolmap's by mapper."""

    name: str
    truth: dict[str, Any]
    expected: Expected
    limits: Limits
    engine: Outcome
    colmap: dict[str, Outcome]


def _number(value: float, digits: int = 2) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _figures(outcome: Outcome, truth: dict[str, Any]) -> list[str]:
    if outcome.error is not None:
        return [outcome.error, "", "", "", f"{outcome.cpu_s:.0f}"]
    e = errors_of(outcome, truth)
    rotation = f"{_number(e.rotation_max)} / {_number(e.rotation_median)}"
    return [f"{e.registered:.0%}", rotation, _number(e.ate), _number(e.focal, 1), f"{outcome.cpu_s:.0f}"]


def _verdict(outcome: Outcome) -> str:
    if outcome.error is not None:
        return "refused"
    return outcome.motion + (" (warned)" if outcome.said else "")


def _range(outcome: Outcome) -> str:
    if outcome.focal_range is None or not outcome.focals:
        return "-"
    low, high = outcome.focal_range
    return f"±{100 * (np.sqrt(high / low) - 1):.1f} %"


def table(rows: list[Row]) -> str:
    """The results as Markdown."""
    ours = [
        "shot",
        "grade",
        "verdict",
        "registered",
        "rotation max / median deg",
        "ATE %",
        "focal %",
        "stated",
        "CPU s",
    ]
    theirs = ["registered", "rotation", "ATE", "focal", "s"]
    head = [*ours, *(f"{mapper[:4]}. {name}" for mapper in MAPPERS for name in theirs)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        registered, rotation, ate, focal, seconds = _figures(row.engine, row.truth)
        cells = [row.name, grade(row.engine, row.truth, row.expected, row.limits), _verdict(row.engine)]
        cells += [registered, rotation, ate, focal, _range(row.engine), seconds]
        for mapper in MAPPERS:
            cells += _figures(row.colmap[mapper], row.truth) if mapper in row.colmap else [""] * len(theirs)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(rows: list[Row]) -> str:
    """Shares and medians."""
    grades = [grade(row.engine, row.truth, row.expected, row.limits) for row in rows]
    count = {name: grades.count(name) for name in ("pass", "honest", "refused", "SILENT FAILURE")}
    lines = [
        f"Right or honest: {count['pass'] + count['honest']} of {sum(count.values())} "
        f"({count['pass']} within the limits, {count['honest']} honest); refused though solvable: {count['refused']}; "
        f"silent failures: {count['SILENT FAILURE']}."
    ]
    solvable = [
        row for row in rows if row.expected.solvable and not row.expected.focal_hidden and not row.expected.broken
    ]
    for name in ("engine", *MAPPERS):
        made = [(row, row.engine if name == "engine" else row.colmap.get(name)) for row in solvable]
        ran = [(row, outcome) for row, outcome in made if outcome is not None]
        if not ran:
            continue
        errors = [errors_of(outcome, row.truth) for row, outcome in ran if outcome.error is None]
        right = sum(
            outcome.error is None and errors_of(outcome, row.truth).within(row.limits, travels=True)
            for row, outcome in ran
        )
        values = np.array([[e.rotation_max, e.rotation_median, e.ate, abs(e.focal)] for e in errors])
        medians = np.nanmedian(values, axis=0) if len(values) else np.full(4, np.nan)
        lines.append(
            f"{name}: {right} of {len(ran)} solvable shots within the limits; medians: rotation max {medians[0]:.3f} "
            f"deg, median {medians[1]:.3f} deg, ATE {medians[2]:.3f} %, focal {medians[3]:.2f} %, "
            f"{np.median([outcome.cpu_s for _, outcome in ran]):.0f} CPU s."
        )
    return "\n".join(f"- {line}" for line in lines)


def messages(rows: list[Row]) -> str:
    """What the engine said about each shot."""
    return "\n".join(f"- {row.name}: {' / '.join(row.engine.said)}" for row in rows if row.engine.said)


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", nargs="*", default=None, metavar="NAME")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--without-colmap", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench_cameras")
    parser.add_argument("--frames", type=Path, default=ROOT / "build" / "shots", help="rendered shots")
    parser.add_argument("--colmap", nargs=3, metavar=("STEP", "FRAMES", "WORK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.colmap:
        step, frames, work = options.colmap
        return colmap_step(step, Path(frames), Path(work))
    wanted = list(SHOTS) if options.shots is None else options.shots
    clips = {name: (options.frames / name, SHOTS[name].expected, Limits()) for name in wanted}
    if options.real:
        clips |= {name: (REAL / name, expected, REFERENCE) for name, expected in REAL_CLIPS.items()}
    absent = [name for name in wanted if not (options.frames / name / "truth.json").is_file()]
    if absent:
        subprocess.run([sys.executable, "-m", "tests.scenes", "--out", options.frames, *absent], cwd=ROOT, check=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name, (folder, _, _) in clips.items():
        kept = options.out / name
        if options.again or not (kept / "engine.json").is_file():
            shutil.rmtree(kept / "engine", ignore_errors=True)
            start = time.monotonic()
            run_engine(folder / "frames", kept / "engine").save(kept / "engine.json")
            shutil.rmtree(kept / "engine", ignore_errors=True)
            print(f"{name}: engine, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    rows = []
    for name, (folder, expected, limits) in clips.items():
        kept, truth = options.out / name, json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        made = {mapper: kept / f"colmap_{mapper}.json" for mapper in MAPPERS}
        if not options.without_colmap and not all(path.is_file() for path in made.values()):
            for mapper, outcome in run_colmap(folder / "frames", kept / "colmap").items():
                outcome.save(made[mapper])
            shutil.rmtree(kept / "colmap", ignore_errors=True)
        colmap = {mapper: Outcome.load(path) for mapper, path in made.items() if path.is_file()}
        rows.append(Row(name, truth, expected, limits, Outcome.load(kept / "engine.json"), colmap))
    print(table(rows), summary(rows), messages(rows), sep="\n\n")
    return None


if __name__ == "__main__":
    main()
