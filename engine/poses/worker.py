"""The solving process: `python -m engine.poses.worker JOB.json`. Only it and `engine.cameras` import pycolmap.

It reports on stdout, see `speech`; pycolmap's own log goes to stderr. It ends when its standard input closes, so that
it never outlives the engine.

Every step leaves its result in the job's work folder and is skipped when it is there: `features.done` and
`matches.done` (with `database.db`), one folder of models for each way of solving, and at last `model.npz`.

Determinism: feature extraction gives the same features whatever the number of threads, everything after it runs on one
thread with the seed, in the order of the frames.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.cameras.document import FollowedPoints
from engine.cameras.tracks import join_tracks
from engine.errors import CvdError, PoseError
from engine.poses.adjust import adjust
from engine.poses.attempt import attempted
from engine.poses.breaks import Break, blurred_frames, find_breaks, sharpness_of
from engine.poses.features import (
    MAPPED,
    TOTAL,
    Matches,
    extract_features,
    match,
    picture_size,
    pictures,
    tracks_of,
)
from engine.poses.fill import fill_gaps
from engine.poses.job import COMMON_SPREAD, Job, Model
from engine.poses.judge import GOOD_HELD_OUT, MIN_REGISTERED, NEARLY_ALL, POOR_HELD_OUT, Candidate
from engine.poses.keyframes import LONG, key_frames, match_long
from engine.poses.mapping import mapped
from engine.poses.motion import Motion, motion_of
from engine.poses.output import first_look, turning_model
from engine.poses.overlay import drop_overlay
from engine.poses.speech import end_with_parent, say
from engine.poses.turning import Turning

_EXHAUSTIVE_UP_TO = 60
"""When the steps do not suffice, clips of up to so many frames are matched each with each."""
_CONVINCING = 0.8
"""Share of held-out tracks that a travelling camera must predict where one that turns explains most as well."""


def main(arguments: list[str]) -> int:
    """Run the job file named in `arguments`; exit code 0 also where the answer is an error of the clip."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        solve(Job.load(Path(arguments[0])))
    except CvdError as error:
        say("error", error.as_dict())
    return 0


def solve(job: Job) -> None:
    """Do the job: pictures in, `model.npz` in the work folder out.

    Raises:
        PoseError: `poses.no_model`, `poses.too_few_registered` or `poses.unreliable`.
    """
    job, work = job.squared(), Path(job.work)
    pycolmap.set_random_seed(job.seed)
    images, ratio = pictures(job)
    database = work / "database.db"
    extract_features(job, database, images, ratio)
    sharpness = sharpness_of(images, job.names)
    exhaustive, found, long, asked = False, list[Candidate](), len(job.names) >= LONG, len(job.names)
    cuts = [row for row, name in enumerate(job.names) if name in job.cuts]
    overlay, long_side = 0.0, max(picture_size(images / job.names[0]))
    while True:
        if long:
            match_long(job, database)
        else:
            match(job, database, exhaustive)
        overlay = max(overlay, drop_overlay(database, long_side, "exhaustive" if exhaustive else "sequential"))
        if job.tracks is not None:
            frames = {name: int(Path(name).stem) for name in job.names}
            join_tracks(database, FollowedPoints.load(Path(job.tracks)), frames, job.seed)
        matches = Matches.load(database)
        breaks, longest = find_breaks(matches, sharpness, cuts)
        part, matches = replace(job, names=[job.names[i] for i in longest]), matches.only(longest)
        motion = motion_of(matches, None if job.focal_px is None else job.focal_px * ratio)
        if motion.kind == "travels":
            folder = work / ("exhaustive" if exhaustive else "sequential")
            keys = key_frames(matches) if long else range(len(part.names))
            asked = len(keys)
            some, turns = replace(part, names=[part.names[k] for k in keys]), motion.turning is not None
            found += mapped(some, database, matches.only(keys), images, folder, turns=turns)
            # With more matches the longest part may be another one.
            found = [c for c in found if set(matches.images).issuperset(c.reconstruction.reg_image_ids())]
            found.sort(key=Candidate.merit, reverse=True)
        if exhaustive or len(job.names) > _EXHAUSTIVE_UP_TO or motion.kind != "travels":
            break
        if found and found[0].plausible and found[0].registered >= NEARLY_ALL * asked:
            break
        exhaustive = True
    if overlay:
        say(
            "warning",
            "The plate has a static overlay, such as a logo or a timecode. No tracks were taken from it. Depth treats "
            "it as part of the scene: mask it, or use a clean plate.",
        )
    turning = motion.turning
    if motion.kind == "travels" and turning is not None:
        motion = _decided(turning, found, asked)
    model = None
    if motion.kind == "travels":
        model = _travelling(job, asked, found, matches, images, breaks)
        if model is None:
            motion = _turns(turning)
    if model is None:
        model = _standing(job, motion, ratio)
    model = _explained(job, model, breaks, longest, sharpness)
    fill_gaps(model).on_plate(job.pixel_aspect).save(work / "model.npz")
    say("step", [TOTAL, TOTAL, "cameras solved"])


def _travelling(
    job: Job, asked: int, found: Sequence[Candidate], matches: Matches, images: Path, breaks: Sequence[Break]
) -> Model | None:
    """The best of what mapping made of the `asked` frames, adjusted; where that fails, the next best.

    Returns:
        None where adjusting left too little of all of them.

    Raises:
        PoseError: `poses.no_model`, `poses.too_few_registered` or `poses.unreliable`.
    """
    numbers = [int(Path(name).stem) for name in job.names]
    broken = "".join(f" Also, {gap.words(numbers)}." for gap in breaks)
    database = Path(job.work) / "database.db"
    if not found:
        raise _no_model(broken)
    for candidate in found:
        problem = _problem(job, candidate, asked, broken)
        if problem is not None and candidate is found[0]:
            raise problem
        if problem is not None:
            continue
        say("metric", ["held_out_share", candidate.held_out_share])
        say("preview", first_look(candidate.reconstruction))
        say("step", [MAPPED, TOTAL, "refining cameras and lens"])
        adjusted = partial(adjust, job, candidate, matches, tracks_of(database, job.seed), images)
        model = attempted("adjusting the cameras", adjusted, None)
        if model is None or len(model.rows) < MIN_REGISTERED * asked:
            continue
        if candidate.held_out_share < GOOD_HELD_OUT:
            say(
                "warning",
                f"The cameras predict only {candidate.held_out_share:.0%} of the tracks held out to test them and may "
                "be off: something large moves by itself, or much repeats. Mask what moves by itself and solve again.",
            )
        return model
    return None


def _problem(job: Job, candidate: Candidate, asked: int, broken: str) -> PoseError | None:
    """Why a candidate for `asked` frames is no solve, see `_travelling`; None where it is one."""
    if not (candidate.plausible or job.focal_px):
        return _no_model(broken)
    if candidate.registered < max(3, MIN_REGISTERED * asked):
        return PoseError(
            "poses.too_few_registered",
            f"Only {candidate.registered} of {asked} frames could be placed.",
            f"The shot falls apart for the solver: a stretch of blur, or a large thing that moves by itself.{broken}",
            "Mask what moves by itself, or solve a frame range without the blurred part.",
        )
    if candidate.held_out_share < POOR_HELD_OUT:
        return PoseError(
            "poses.unreliable",
            f"Cameras were found, but they predict only {candidate.held_out_share:.0%} of the tracks held out to test "
            "them.",
            f"Much in the shot moves by itself, repeats, or is blurred.{broken}",
            "Mask what moves by itself, or use a sharper shot or a frame range with more of what stands still in view.",
        )
    return None


def _no_model(broken: str) -> PoseError:
    return PoseError(
        "poses.no_model",
        "No camera could be solved for this shot.",
        "Too few points can be followed from frame to frame: blur, bare walls, a picture that mostly moves by "
        f"itself, or too large steps between the frames.{broken}",
        "Use a sharper or slower shot with texture in view, a smaller step, or a longer frame range without cuts.",
    )


def _decided(turning: Turning, found: Sequence[Candidate], frames: int) -> Motion:
    """How a camera moves that for the most part may only turn, once mapping has been tried.

    Raises:
        PoseError: `poses.unreliable`: it cannot be told.
    """
    best = found[0] if found else None
    if best is not None and best.sound(frames):
        if best.held_out_share >= _CONVINCING:
            return Motion("travels", None)
        raise PoseError(
            "poses.unreliable",
            "It cannot be told whether the camera travels or only turns.",
            f"A camera that turns explains {turning.share:.0%} of what moves in the picture, one that travels "
            f"{best.held_out_share:.0%}: something large moves by itself.",
            "Mask what moves by itself.",
        )
    return _turns(turning)


def _turns(turning: Turning | None) -> Motion:
    """The camera is taken to turn only, where nothing better was found.

    Raises:
        PoseError: `poses.no_model` where it does not.
    """
    if turning is None:
        raise PoseError(
            "poses.no_model",
            "No reliable point could be placed in this shot.",
            "Every point was seen from nearly one direction only, or with large errors.",
            "Use a shot in which the camera travels more, or a longer frame range.",
        )
    say(
        "warning",
        f"A camera that only turns explains {turning.share:.0%} of what moves in the picture and is taken for it. If "
        "the camera travels, mask what moves by itself, or shoot with more sideways motion.",
    )
    return Motion("turns", turning)


def _standing(job: Job, motion: Motion, ratio: float) -> Model:
    """Cameras in one place."""
    turning = motion.turning
    if motion.kind == "static" or turning is None:
        count, side = len(job.names), (job.start_px or max(job.width, job.height)) * ratio
        turning = Turning(
            images=np.arange(1, count + 1),
            camera_from_world=np.tile(np.eye(3), (count, 1, 1)),
            focal=np.full(count, side if job.focal_px is None else job.focal_px * ratio),
            k1=0.0,
            focal_std=0.0 if job.focal_px is not None else COMMON_SPREAD,
            share=1.0,
            error_px=np.zeros(count),
            cost=0.0,
        )
        return turning_model(job, turning, 1.0 / ratio, "static")
    return turning_model(job, turning, 1.0 / ratio, "turns")


def _explained(
    job: Job, model: Model, breaks: Sequence[Break], longest: range, sharpness: NDArray[np.float64]
) -> Model:
    """The model with the reason why each frame without a camera has none."""
    numbers = [int(Path(name).stem) for name in job.names]
    blurred, placed = set(blurred_frames(sharpness)), set(model.rows.tolist())
    reasons = [""] * len(job.names)
    for row in range(len(job.names)):
        if row in placed:
            continue
        if row in blurred:
            reasons[row] = "Too blurred: too few of its points could be matched with frames that were placed."
        else:
            reasons[row] = "Too few of its points could be matched with frames that were placed."
        if row not in longest:
            span = range(min(row, longest.start), max(row, longest.stop))
            between = [gap for gap in breaks if gap.before in span or gap.before < row < gap.after]
            if between:
                reasons[row] = f"It lies apart from the part that was solved: {between[0].words(numbers)}."
    for gap in breaks:
        say(
            "warning",
            f"The shot falls apart: {gap.words(numbers)}. Only frames {numbers[longest.start]} to "
            f"{numbers[longest.stop - 1]} were solved; solve the others as a shot of its own.",
        )
    return replace(model, reasons=np.array(reasons))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
