"""Cameras of frames that could not be placed, from their neighbours in time."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.poses.job import Model

MAX_GAP = 8
"""Frames in a row that are filled: over a longer stretch a camera may do anything."""


def fill_gaps(model: Model) -> Model:
    """Put cameras between those that were solved, marked as `filled`.

    Positions and log focal lengths run straight, rotations at constant speed; frames before the first and after the
    last solved one are left alone, and so are those across a longer gap than `MAX_GAP`.
    """
    rows, poses, focals = [], [], []
    for k, (low, high) in enumerate(zip(model.rows[:-1].tolist(), model.rows[1:].tolist(), strict=True)):
        if not 1 < high - low <= MAX_GAP + 1:
            continue
        for row in range(low + 1, high):
            share = (row - low) / (high - low)
            rows.append(row)
            poses.append(_between(model.world_from_camera[k], model.world_from_camera[k + 1], share))
            focals.append(np.exp((1 - share) * np.log(model.focal[k]) + share * np.log(model.focal[k + 1])))
    if not rows:
        return model
    every = np.concatenate([model.rows, rows])
    order = np.argsort(every)
    return replace(
        model,
        rows=every[order],
        world_from_camera=np.concatenate([model.world_from_camera, poses])[order],
        focal=np.concatenate([model.focal, focals])[order],
        filled=np.concatenate([model.filled, np.ones(len(rows), bool)])[order],
        frame_error=np.concatenate([model.frame_error, np.full(len(rows), np.nan)])[order],
    )


def _between(a: NDArray[np.float64], b: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    turn, _ = cv2.Rodrigues(a[:3, :3].T @ b[:3, :3])
    pose = np.eye(4)
    pose[:3, :3] = a[:3, :3] @ cv2.Rodrigues(share * turn)[0]
    pose[:3, 3] = (1 - share) * a[:3, 3] + share * b[:3, 3]
    return pose
