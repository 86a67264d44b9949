"""The poses stage with everything that is known beforehand: solves the cameras, or takes those that are given."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import poses
from engine.cameras.knowledge import LensKnowledge
from engine.cameras.size import known_scale
from engine.clip.track import CameraTrack
from engine.deepv2d.cameras import solve_deepv2d_cameras
from engine.footage import Footage
from engine.poses.place import content_of, place_points
from engine.poses.world import upright
from engine.progress import Progress
from engine.request import SOLVED, Request

_SURE_DEG = 10.0
"""How far up may be off, one standard deviation, to count as estimated."""
_AGREES = 0.1


def identity(request: Request, known: LensKnowledge) -> dict[str, Any]:
    """What the result of `solve_cameras` depends on besides the pictures, for the cache key.

    Raises:
        CameraError: `camera.unreadable`.
    """
    return {
        "lens": asdict(request.lens),
        "known": asdict(known),
        "camera": {**asdict(request.camera), "path": content_of(request.camera.path)},
        "tracks": content_of(request.tracks),
        "world": asdict(request.world),
        "seed": request.seed,
    }


def solve_cameras(
    footage: Footage,
    proxies: Path,
    masks: Path | None,
    folder: Path,
    request: Request,
    known: LensKnowledge,
    device: torch.device,
    progress: Progress,
) -> CameraTrack:
    """Cameras, lens and sparse points of the clip; the result is also saved in `folder`.

    Args:
        footage: the clip.
        proxies: folder with `<frame>.png` of every frame.
        masks: folder with `<frame>.png`, 255 where something moves by itself; None = nothing does.
        folder: for the result and the intermediate files.
        request: which camera, what is known about lens and world, followed points, seed.
        known: what `what_is_known` says about the lens.
        device: where networks compute.
        progress: told about steps, metrics and warnings.

    Raises:
        CameraError: given cameras or places cannot be used.
        PoseError: the cameras could not be solved, or do not fit the plate.
        Cancelled: from `progress`.
    """
    if request.camera.kind not in SOLVED:
        return place_points(
            footage, proxies, masks, folder, request.camera, known, request.tracks, request.seed, progress
        )
    if request.camera.kind == "deepv2d":
        track = solve_deepv2d_cameras(footage, proxies, masks, folder, known, device, progress)
    else:
        lens = replace(request.lens, focal_px=known.focal_px)
        track = poses.solve(
            footage,
            proxies,
            masks,
            folder,
            lens,
            request.seed,
            progress,
            start_px=known.start_px,
            tracks=request.tracks,
        )
    _compare(track, known, progress)
    found = upright(np.array([track.world_from_camera[n] for n in track.frames()]), track.points.xyz)
    progress.metric("up_std_deg", found.std_deg)
    scale = known_scale(track, request.world, found.ground, progress)
    if scale is not None:
        track = replace(track.scaled(scale), scale="metric")
    track = replace(track, lens_origin=known.origin, up_estimated=found.std_deg < _SURE_DEG)
    track.save(folder)
    return track


def _compare(track: CameraTrack, known: LensKnowledge, progress: Progress) -> None:
    """Say so where the pictures and the file disagree about the focal length."""
    if known.start_px is None:
        return
    ratio = track.lens.fx / known.start_px
    progress.metric("focal_over_metadata", ratio)
    if abs(np.log(ratio)) > _AGREES and not track.lens_known:
        progress.warning(
            f"The pictures say that the focal length is {track.lens.fx:.0f} px, and {known.said_by} that it is "
            f"{known.start_px:.0f} px. Video is often cropped or stabilised, so the pictures were followed; give the "
            "focal length if you know it."
        )
