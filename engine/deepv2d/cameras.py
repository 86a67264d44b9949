"""Cameras by DeepV2D: where nothing is known but the pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cameras.knowledge import LensKnowledge
from engine.clip.track import CameraTrack, SparsePoints
from engine.clip.work import WorkClip
from engine.deepv2d.alternate import STATE, Alternated, Alternation, DeepV2DSettings
from engine.footage import Footage
from engine.geometry.arrays import Lens
from engine.masks.files import load_given
from engine.networks.deepv2d import load_deepv2d
from engine.poses.world import scene_from_world
from engine.progress import Progress

LIKELY_FOCAL = 1.2  # times the picture's long side, where nothing is known
UNKNOWN_FOCAL_PCT = 25.0  # one standard deviation of a focal length that only the alternation has estimated
LOOKS_AT = 256  # pixels of the work size's long side for cameras: more makes poses hardly better
POINTS = (12, 9)  # columns and lines of the places that become sparse points in each frame
SURE = 0.5  # certainty of depth that becomes a point


def solve_deepv2d_cameras(
    footage: Footage,
    proxies: Path,
    masks: Path | None,
    folder: Path,
    known: LensKnowledge,
    device: torch.device,
    progress: Progress,
    settings: DeepV2DSettings | None = None,
) -> CameraTrack:
    """Cameras of the clip by motion and depth module in alternation, started from no poses at all.

    Args:
        footage: the clip.
        proxies: folder with `<frame>.png` of every frame.
        masks: folder with `<frame>.png`, 255 where something moves by itself, for frames in which something does; None
            = nothing is known to move.
        folder: for the result and the intermediate files; what a killed run left there is gone on with.
        known: what is known about the lens; without a known focal length it is estimated with the poses.
        device: where to compute.
        progress: receives progress; may cancel.
        settings: how much is done; None = six rounds.

    Returns:
        Every frame's camera, in a world as `engine.poses.solve` makes it, with sparse points taken from the depth; also
        saved in `folder`.

    Raises:
        Cancelled: the user stopped it.
        DepthError: the weights cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = settings or DeepV2DSettings(long_side=LOOKS_AT, focal=known.focal_px is None)
    aspect = known.pixel_aspect or 1.0
    focal = known.focal_px or known.start_px or LIKELY_FOCAL * max(footage.width, footage.height / aspect)
    middle = known.principal_px or (footage.width / 2, footage.height / 2)
    model = "SIMPLE_PINHOLE" if aspect == 1.0 else "PINHOLE"
    lens = Lens(model, footage.width, footage.height, focal, focal * aspect, *middle)
    start = CameraTrack(
        lens=lens,
        lens_known=known.focal_px is not None,
        focal_std_pct=0.0 if known.focal_px is not None else UNKNOWN_FOCAL_PCT,
        world_from_camera={number: np.eye(4) for number in footage.numbers},
        reasons={},
        reprojection_px={},
        up_estimated=False,
        points=_no_points(),
        lens_origin=known.origin,
    )
    clip = WorkClip.load(proxies, start, settings.long_side, progress)
    moves = None if masks is None else np.stack([load_given(masks, n, clip.lens) for n in footage.numbers])
    found = Alternation(load_deepv2d(device), clip, False, settings, device, moves).run(folder, progress)
    track = _upright(start, clip, found)
    progress.warning(
        "These cameras come from DeepV2D's motion module, which needs no features to follow. They are rough: CG will "
        "slide. Use them where the solver finds no cameras, or to see the depth of such a shot."
    )
    track.save(folder)
    (folder / STATE).unlink(missing_ok=True)
    return track


def _no_points() -> SparsePoints:
    return SparsePoints(
        np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64),
        np.zeros((0, 2)),
    )  # fmt: skip


def _upright(start: CameraTrack, clip: WorkClip, found: Alternated) -> CameraTrack:
    """The track of what was found, with points, in a world that stands upright."""
    points = _points(clip, found, start.lens)
    depth = np.array([
        found.world_from_camera[row, :3, 2] @ (xyz - found.world_from_camera[row, :3, 3])
        for row, xyz in zip(np.searchsorted(clip.numbers, points.observation_frame), points.xyz, strict=True)
    ])  # fmt: skip
    transform, scale = scene_from_world(found.world_from_camera, points.xyz, float(np.median(depth)))
    poses = found.world_from_camera.copy()
    poses[:, :3, 3] *= scale
    zoom = found.lens.fx / clip.lens.fx
    return replace(
        start,
        lens=replace(start.lens, fx=start.lens.fx * zoom, fy=start.lens.fy * zoom),
        world_from_camera={int(number): transform @ pose for number, pose in zip(clip.numbers, poses, strict=True)},
        reprojection_px={
            int(number): float(miss) * start.lens.width / clip.lens.width
            for number, miss in zip(clip.numbers, found.miss_px, strict=True)
        },
        points=replace(points, xyz=scale * points.xyz @ transform[:3, :3].T + transform[:3, 3]),
    )


def _points(clip: WorkClip, found: Alternated, lens: Lens) -> SparsePoints:
    """Places on a grid in every frame whose depth is sure, seen in that frame."""
    height, width = found.depth.shape[1:]
    columns, lines = (
        ((np.arange(n) + 0.5) / n * side).astype(int) for n, side in zip(POINTS, (width, height), strict=True)
    )
    column, line = (x.ravel() for x in np.meshgrid(columns, lines))
    pixel = np.stack([column + 0.5, line + 0.5], -1) * 2.0
    rays = np.concatenate([pixel, np.ones((len(pixel), 1))], 1) @ np.linalg.inv(found.lens.matrix()).T
    xyz: list[NDArray[np.float64]] = []
    rgb, frames, seen = [], [], []
    plate = pixel * (lens.width / clip.lens.width, lens.height / clip.lens.height)
    for row, number in enumerate(clip.numbers.tolist()):
        sure = found.certainty[row, line, column] >= min(SURE, float(np.median(found.certainty[row])))
        there = rays[sure] * found.depth[row, line, column][sure, None]
        pose = found.world_from_camera[row]
        xyz.append(there @ pose[:3, :3].T + pose[:3, 3])
        rgb.append(clip.images[row, 2 * line[sure], 2 * column[sure]])
        frames.append(np.full(len(there), number))
        seen.append(plate[sure])
    places = np.concatenate(xyz)
    errors = np.concatenate([np.full(len(x), miss) for x, miss in zip(xyz, found.miss_px, strict=True)])
    return SparsePoints(
        xyz=places,
        rgb=np.concatenate(rgb),
        error_px=errors * lens.width / clip.lens.width,
        observation_frame=np.concatenate(frames).astype(np.int64),
        observation_point=np.arange(len(places)),
        observation_pixel=np.concatenate(seen),
    )
