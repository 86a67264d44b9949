"""Consistency of depth over time where there is no truth: sparse tracks lifted to 3-D by the solved depth.

A static scene point must land in one place whatever frame it is seen from. How far it steps from frame to frame is the
instability; how far it wanders over its whole track is the drift (after the error measures of Luo et al. 2020, sec. 6).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.clip.track import CameraTrack
from engine.geometry.arrays import normalised_from_pixel

MIN_TRACK = 5


def track_stability(
    track: CameraTrack, depth_at: Callable[[int, NDArray[np.float64]], NDArray[np.floating]]
) -> dict[str, float]:
    """instability_pct and drift_pct of the sparse tracks, in percent of their depth.

    Args:
        track: cameras and sparse points.
        depth_at: for a plate frame number and ideal normalised image coordinates (M, 2), the solved depth (M,), 0 =
            none.

    Returns:
        Empty when fewer than ten tracks are long enough.
    """
    lifted, depths, rows, frames = [], [], [], []
    points = track.points
    for frame in track.frames():
        seen = points.observation_frame == frame
        if not seen.any():
            continue
        ray = np.asarray(normalised_from_pixel(track.lens, points.observation_pixel[seen]), np.float64)
        depth = np.asarray(depth_at(frame, ray), np.float64)
        good = np.isfinite(depth) & (depth > 0)
        camera = np.concatenate([ray, np.ones((len(ray), 1))], axis=1)[good] * depth[good, None]
        pose = track.world_from_camera[frame]
        lifted.append(camera @ pose[:3, :3].T + pose[:3, 3])
        depths.append(depth[good])
        rows.append(points.observation_point[seen][good])
        frames.append(np.full(int(good.sum()), frame))
    if not rows:
        return {}
    position, depth, row = np.concatenate(lifted), np.concatenate(depths), np.concatenate(rows)
    order = np.lexsort((np.concatenate(frames), row))
    position, depth, row = position[order], depth[order], row[order]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    steps, spreads = [], []
    for begin, end in zip(starts, np.append(starts[1:], len(row)), strict=True):
        if end - begin < MIN_TRACK:
            continue
        spot, scale = position[begin:end], float(np.median(depth[begin:end]))
        steps.append(float(np.linalg.norm(np.diff(spot, axis=0), axis=1).mean()) / scale)
        spreads.append(float(np.sqrt(np.linalg.eigvalsh(np.cov(spot.T))[-1])) / scale)
    if len(steps) < 10:
        return {}
    return {"instability_pct": 100.0 * float(np.median(steps)), "drift_pct": 100.0 * float(np.median(spreads))}
