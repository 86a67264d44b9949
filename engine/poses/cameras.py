"""The cameras and sparse points of a clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clip.track import CameraTrack, SparsePoints
from engine.errors import PoseError
from engine.footage import Footage, FrameFiles, frame_name
from engine.geometry.arrays import Lens
from engine.poses.child import run_worker
from engine.poses.job import COMMON_SPREAD, Job, Model
from engine.poses.world import MEDIAN_DEPTH, scene_from_world
from engine.progress import Progress
from engine.request import LensRequest

UNSURE_FOCAL_PCT = 1.5
"""One standard deviation of the focal length from which on the user is warned."""
_SAYS_NOTHING = float(np.exp(4.0 * COMMON_SPREAD)) * 1.001
"""Upper over lower end of a range of focal lengths: a wider one is no more than is known of lenses without pictures."""
_SAME = 0.02
"""Pixels of the proxies: frames that are less apart are one picture, coded twice. Repeats in H.264 are up to .003
apart, the slowest move of a retimed clip .04."""

Value = TypeVar("Value")


def solve(
    footage: Footage,
    proxies: Path,
    masks: Path | None,
    folder: Path,
    lens: LensRequest,
    seed: int,
    progress: Progress,
    start_px: float | None = None,
    tracks: Path | None = None,
) -> CameraTrack:
    """Solve the cameras from the proxies; the result is also saved in `folder`.

    pycolmap runs in a child process. What it finished stays in `folder`, so a solve that was interrupted goes on.

    Args:
        footage: the clip; its frame numbers key the result, its size is that of the lens.
        proxies: folder with `<frame>.png` of every frame, of any one size. The `preflight.json` of the same pass
            beside it, where there is one, says where there are cuts and frames that repeat the one before.
        masks: folder with `<frame>.png` of frames in which something moves by itself, of the proxies' size, 255 where
            it does; no feature is taken from there. None = nothing is known to move.
        folder: for the result and the intermediate files.
        lens: what is known about the lens.
        seed: two solves with the same seed are equal bit for bit on one machine.
        progress: told about steps, metrics and warnings.
        start_px: a focal length that is likely but not trusted, plate pixels.
        tracks: a `cvd.tracks/1` file of points that the artist followed.

    Returns:
        Lens and pixels in plate pixels; a world with z up, the first camera looking along +y, the floor (5th percentile
        of the points) at z = 0, and a median sparse depth of `world.MEDIAN_DEPTH` units. A camera that does not travel
        is at the origin, and there are no points.

    Raises:
        PoseError: `poses.no_model`, `poses.too_few_registered`, `poses.unreliable` or `poses.crashed`.
        Cancelled: from `progress`; the child is killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    preflight = proxies.with_name("preflight.json")
    checks: dict[str, list[int]] = {"duplicates": [], "cuts": []}
    if preflight.exists():
        checks = json.loads(preflight.read_text(encoding="utf-8"))
    twins = find_twins(footage.numbers, checks["duplicates"], proxies)
    numbers = [number for number in footage.numbers if number not in twins]
    names = [frame_name(number, ".png") for number in numbers]
    job = Job(
        images=str(proxies),
        names=names,
        masks=None if masks is None else str(masks),
        width=footage.width,
        height=footage.height,
        work=str(folder),
        model=lens.model,
        focal_px=lens.focal_px,
        seed=seed,
        start_px=start_px,
        tracks=None if tracks is None else str(tracks),
        pixel_aspect=lens.pixel_aspect,
        principal_px=lens.principal_px,
        cuts=tuple(frame_name(twins.get(number, number), ".png") for number in checks["cuts"]),
    )
    job.save(folder / "job.json")
    model_path = folder / "model.npz"
    if not model_path.exists():
        run_worker(folder / "job.json", folder / "pycolmap.log", progress)
    track = with_twins(_track(footage, numbers, lens, Model.load(model_path)), twins)
    _report(footage, track, progress)
    track.save(folder)
    return track


def find_twins(numbers: Sequence[int], duplicates: Sequence[int], proxies: Path) -> dict[int, int]:
    """Frame -> earlier frame of the same picture, of frames that need not be solved: the camera is the same.

    Animation on twos and pulldown repeat every other or every fifth frame; to a solver such a pair says that the camera
    stood still for a moment.

    Args:
        numbers: of the frames, in order.
        duplicates: frames that hardly differ from the one before. Where many do, the camera may move all the same, by
            little at a time, so that each is compared with the first of them.
        proxies: folder of the pictures.

    Returns:
        Nothing where less than three frames would be left: then the camera stands still.
    """
    twins: dict[int, int] = {}
    for before, number in pairwise(numbers):
        first = twins.get(before, before)
        if (
            number in duplicates
            and _apart(*(_grey(FrameFiles(proxies, ".png").path(n)) for n in (first, number))) < _SAME
        ):
            twins[number] = first
    return twins if len(numbers) - len(twins) >= 3 else {}


def with_twins(track: CameraTrack, twins: dict[int, int]) -> CameraTrack:
    """The track with the cameras, errors and observations of `find_twins`: those of their earlier frames."""
    if not twins:
        return track

    def of_all(values: dict[int, Value]) -> dict[int, Value]:
        every = values | {number: values[first] for number, first in twins.items() if first in values}
        return dict(sorted(every.items()))

    points = track.points
    seen = {first: np.flatnonzero(points.observation_frame == first) for first in set(twins.values())}
    rows = np.concatenate([seen[first] for first in twins.values()])
    frames = np.repeat(list(twins), [len(seen[first]) for first in twins.values()])
    return replace(
        track,
        world_from_camera=of_all(track.world_from_camera),
        reasons=of_all(track.reasons),
        reprojection_px=of_all(track.reprojection_px),
        focals=of_all(track.focals),
        filled=of_all(track.filled),
        points=replace(
            points,
            observation_frame=np.concatenate([points.observation_frame, frames]),
            observation_point=np.concatenate([points.observation_point, points.observation_point[rows]]),
            observation_pixel=np.concatenate([points.observation_pixel, points.observation_pixel[rows]]),
        ),
    )


def _grey(path: Path) -> NDArray[np.float32]:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise OSError(f"cannot read {path}")
    return np.asarray(picture, np.float32)


def _apart(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """By about how many pixels pictures (H, W) are shifted: how they differ, over how they change along a pixel."""
    slope = np.hypot(cv2.Sobel(a, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(a, cv2.CV_32F, 0, 1, scale=0.125))
    return float(np.abs(a - b).mean() / max(float(slope.mean()), 1e-6))


def _track(footage: Footage, numbers: Sequence[int], lens: LensRequest, model: Model) -> CameraTrack:
    """The model, of the frames `numbers`, by plate frame numbers, in a world that stands upright."""
    motion, travels = str(model.motion), str(model.motion) == "travels"
    if travels and len(model.xyz) == 0:
        raise PoseError(
            "poses.no_model",
            "No reliable point could be placed in this shot.",
            "Every point was seen from nearly one direction only, or with large errors.",
            "Use a shot in which the camera travels more, or a longer frame range.",
        )
    number_of = np.array(numbers)
    transform, scale = _scene(model) if travels else _upright(model.world_from_camera)
    solved: dict[int, NDArray[np.float64]] = {}
    filled: dict[int, NDArray[np.float64]] = {}
    for row, pose, is_filled in zip(model.rows.tolist(), model.world_from_camera, model.filled.tolist(), strict=True):
        scaled = pose.copy()
        scaled[:3, 3] *= scale
        (filled if is_filled else solved)[int(number_of[row])] = transform @ scaled
    fx, fy, cx, cy, k1, k2, p1, p2 = model.lens.tolist()
    low, high = model.focal_range.tolist()
    known = lens.focal_px is not None
    told = bool(high < _SAYS_NOTHING * low)
    return CameraTrack(
        lens=Lens(str(model.lens_model), footage.width, footage.height, fx, fy, cx, cy, k1, k2, p1, p2),
        lens_known=known,
        focal_std_pct=0.0 if known else 100.0 * float(np.log(high / low)) / 4.0 if told else None,
        world_from_camera=solved,
        reasons={int(number_of[row]): reason for row, reason in enumerate(model.reasons.tolist()) if reason},
        reprojection_px={
            int(number_of[row]): float(error)
            for row, error in zip(model.rows, model.frame_error, strict=True)
            if np.isfinite(error)
        },
        up_estimated=True,
        points=SparsePoints(
            xyz=scale * model.xyz @ transform[:3, :3].T + transform[:3, 3],
            rgb=model.rgb,
            error_px=model.error_px,
            observation_frame=number_of[model.observation_row].astype(np.int64),
            observation_point=model.observation_point,
            observation_pixel=model.observation_pixel,
        ),
        motion=motion,
        focals={
            int(number_of[row]): float(focal)
            for row, focal in zip(model.rows, model.focal, strict=True)
            if np.ptp(np.log(model.focal)) > 1e-9
        },
        focal_range=None if known or not told else (low, high),
        filled=filled,
    )


def _scene(model: Model) -> tuple[NDArray[np.float64], float]:
    """See `scene_from_world`."""
    pose_of_row = dict(zip(model.rows.tolist(), model.world_from_camera, strict=True))
    z = np.array(
        [
            (model.xyz[p] - pose_of_row[r][:3, 3]) @ pose_of_row[r][:3, 2]
            for r, p in zip(model.observation_row.tolist(), model.observation_point.tolist(), strict=True)
        ]
    )
    return scene_from_world(model.world_from_camera, model.xyz, float(np.median(z)))


def _upright(world_from_camera: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The world of cameras in one place, which is its origin: z up, the first camera looks along +y."""
    ahead = world_from_camera[:, :3, 3] + world_from_camera[:, :3, 2]
    transform, _ = scene_from_world(world_from_camera, ahead, MEDIAN_DEPTH)
    transform[:3, 3] = 0.0
    return transform, 1.0


def _report(footage: Footage, track: CameraTrack, progress: Progress) -> None:
    progress.metric("registered_share", len(track.world_from_camera) / len(footage.numbers))
    if track.reprojection_px:
        progress.metric("reprojection_px", float(np.median(list(track.reprojection_px.values()))))
    progress.metric("sparse_points", float(len(track.points.xyz)))
    if track.motion == "turns":
        progress.warning(
            "The camera only turns in this shot: near things do not shift against far ones, so nothing measures "
            "depth or tells how far the camera is from anything. Depth is the network's guess alone."
        )
    elif track.motion == "static":
        progress.warning(
            "The camera does not move in this shot: neither its lens nor depth can be measured. Depth is the "
            "network's guess alone; enter the focal length if you know it."
        )
    if track.reasons:
        count = len(track.reasons) - len(track.filled)
        between = f" {len(track.filled)} of them were put between their neighbours." if track.filled else ""
        progress.warning(
            f"{count + len(track.filled)} of {len(footage.numbers)} frames could not be placed.{between}",
            sorted(track.reasons),
        )
    if track.focals:
        low, high = min(track.focals.values()), max(track.focals.values())
        alike = (
            " Zooming in and moving ahead look nearly alike: the way of the camera may be off by several percent."
            if track.motion == "travels"
            else ""
        )
        progress.warning(f"The lens zooms in this shot: from {low:.0f} to {high:.0f} px of focal length.{alike}")
    if track.focal_range is None and not track.lens_known and track.motion != "static":
        progress.warning(
            f"The focal length cannot be determined from this camera motion: {track.lens.fx:.0f} px was assumed. Enter "
            "the real focal length if you know it."
        )
    if track.focal_range is not None and track.motion != "static":
        low, high = track.focal_range
        progress.metric("focal_low_px", low)
        progress.metric("focal_high_px", high)
        if track.focal_std_pct is not None and track.focal_std_pct > UNSURE_FOCAL_PCT:
            progress.warning(
                f"The focal length is uncertain: between {low:.0f} and {high:.0f} px ({track.lens.fx:.0f} px was "
                "taken); the camera's motion does not tell it better. Enter the real focal length if you know it."
            )
