"""Scale calibration: cameras brought to the units of the prior depth (CVD eq. 1-3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.clip.depth_map import DepthFrames
from engine.clip.work import WorkClip
from engine.errors import DepthError
from engine.files import write_json
from engine.progress import Progress

MIN_POINTS = 10


def calibrate_scale(
    clip: WorkClip, prior: DepthFrames | None, metres_per_unit: float | None, folder: Path, progress: Progress
) -> None:
    """Find the factor of the cameras, and write `scale.json`.

    `scale.json`: {"scale": s, "per_frame": {plate frame number: s_i}}; s multiplies camera translations and points, s_i
    (CVD eq. 1) tells how the prior's own scale varies. A known scale goes before the prior's.

    Args:
        clip: frames with sparse depth.
        prior: what the prior stage has made; None = there is no prior.
        metres_per_unit: known, as from a stereo clip's baseline; None = unknown.
        folder: written to.
        progress: receives progress; may cancel.

    Raises:
        DepthError: no frame has prior depth at its sparse points, and nothing else tells the scale.
    """
    folder.mkdir(parents=True, exist_ok=True)
    per_frame = {} if prior is None else _scales(clip, prior, progress)
    without_points = not any(len(depth) for _, depth in clip.sparse)  # of a camera that does not travel
    if metres_per_unit is None and prior is not None and not per_frame and not without_points:
        raise DepthError(
            "depth.no_scale",
            "The depth could not be related to the cameras.",
            "No frame has both sparse points and prior depth at them.",
            "The camera moves too little, or the pictures have too little texture: use a longer or sharper shot.",
        )
    scale = metres_per_unit or (robust_mean(list(per_frame.values())) if per_frame else 1.0)
    progress.metric("depth_scale", scale)
    write_json(folder / "scale.json", {"scale": scale, "per_frame": per_frame})


def _scales(clip: WorkClip, prior: DepthFrames, progress: Progress) -> dict[int, float]:
    """Plate frame number -> s_i, for the frames that have enough points."""
    scales: dict[int, float] = {}
    for row, number in enumerate(clip.numbers.tolist()):
        progress.step(row, len(clip.numbers), f"scale of frame {number}")
        depth = prior.load(number).values
        pixels, sparse = clip.sparse[row]
        size = np.array([depth.shape[1], depth.shape[0]])
        column, line = np.floor(pixels * size / (clip.lens.width, clip.lens.height)).astype(int).T
        scale = frame_scale(depth[line, column], sparse)
        if scale is not None:
            scales[number] = scale
    return scales


def frame_scale(prior: NDArray[np.floating], sfm: NDArray[np.floating]) -> float | None:
    """s_i = median(D_prior / D_sfm), CVD eq. 1, over points where both exist; None when there are too few.

    Args:
        prior: (M,) prior depth, 0 = none.
        sfm: (M,) depth of the sparse points.
    """
    both = (prior > 0) & (sfm > 0)
    return float(np.median(prior[both] / sfm[both])) if both.sum() >= MIN_POINTS else None


def robust_mean(values: Sequence[float]) -> float:
    """Mean (CVD eq. 2) of the values within three robust standard deviations of their median."""
    array = np.asarray(values, np.float64)
    middle = np.median(array)
    spread = 1.4826 * np.median(np.abs(array - middle))
    return float(array[np.abs(array - middle) <= 3.0 * spread + 1e-9 * abs(middle)].mean())


def read_scale(folder: Path) -> float:
    """The factor that `calibrate_scale` found."""
    return float(json.loads((folder / "scale.json").read_text(encoding="utf-8"))["scale"])


def units_per_prior(folder: Path) -> float:
    """Units of the cameras in one of the prior's, by what `calibrate_scale` measured; 1 where nothing was."""
    per_frame = json.loads((folder / "scale.json").read_text(encoding="utf-8"))["per_frame"]
    return 1.0 / robust_mean(list(per_frame.values())) if per_frame else 1.0
