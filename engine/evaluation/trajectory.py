"""Camera tracks against the truth: ATE, rotation, jitter.

Sources: Umeyama 1991 (alignment); Sturm et al. 2012 (absolute trajectory error).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.geometry.shapes import check_shapes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """`target = scale * rotation @ source + translation`."""

    scale: float
    rotation: Array
    translation: Array

    def apply(self, points: Array) -> Array:
        """Points (N, 3) of the source frame in the target frame."""
        return self.scale * points @ self.rotation.T + self.translation

    def matrix(self) -> Array:
        """`target_from_source` (4, 4), scale included."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.scale * self.rotation
        matrix[:3, 3] = self.translation
        return matrix


def align(source: Array, target: Array) -> Similarity:
    """The similarity that brings points `source` (N, 3) closest to `target` (N, 3), least squares (Umeyama 1991).

    Raises:
        ValueError: fewer than three points, or all source points in one place.
    """
    check_shapes("source N 3, target N 3", source, target)
    if len(source) < 3:
        raise ValueError(f"align wants three points or more, got {len(source)}")
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    variance = float((a**2).sum(1).mean())
    if variance < 1e-18:
        raise ValueError("all source points coincide: no scale can be found")
    u, singular, vt = np.linalg.svd(b.T @ a / len(source))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / variance)
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def rotation_angles_deg(rotations: Array) -> Array:
    """Angle of each rotation (N, 3, 3), degrees."""
    cosine = (np.trace(rotations, axis1=-2, axis2=-1) - 1.0) / 2.0
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def rotation_errors_deg(estimated: Array, true: Array) -> Array:
    """Angles (N,) between cameras (N, 4, 4), degrees, after one world rotation found from the rotations themselves.

    Positions on a line, or in one point, do not fix that rotation.
    """
    check_shapes("estimated N 4 4, true N 4 4", estimated, true)
    u, _, vt = np.linalg.svd(np.einsum("nij,nkj->ik", true[:, :3, :3], estimated[:, :3, :3]))
    world = (u * [1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return rotation_angles_deg(np.swapaxes(true[:, :3, :3], 1, 2) @ world @ estimated[:, :3, :3])


def compare_tracks(estimated: Array, true: Array) -> dict[str, float]:
    """Errors of the cameras `estimated` against `true`, both (N, 4, 4) `world_from_camera` of the same frames.

    Returns:
        ate_pct (RMSE of positions after a similarity alignment, % of the true path length), rot_max_deg, rot_med_deg
        (see `rotation_errors_deg`), jitter_pct (RMS of the second difference of the position error, % of the path
        length per frame).

    Raises:
        ValueError: fewer than three cameras, or cameras that do not move.
    """
    similarity = align(estimated[:, :3, 3], true[:, :3, 3])
    error = true[:, :3, 3] - similarity.apply(estimated[:, :3, 3])
    path = float(np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum())
    angles = rotation_errors_deg(estimated, true)
    result = {
        "ate_pct": 100.0 * float(np.sqrt((error**2).sum(1).mean())) / path,
        "rot_max_deg": float(angles.max()),
        "rot_med_deg": float(np.median(angles)),
    }
    if len(error) >= 4:
        second = error[2:] - 2.0 * error[1:-1] + error[:-2]
        result["jitter_pct"] = 100.0 * float(np.sqrt((second**2).sum(1).mean())) / (path / (len(error) - 1))
    return result
