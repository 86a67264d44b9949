"""The prior stage: a first guess of depth for every frame, whoever makes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.depth_map import DepthFrames
from engine.clip.work import WorkClip
from engine.errors import PriorError
from engine.files import write_json
from engine.footage import FrameFiles
from engine.geometry.arrays import Lens
from engine.geometry.tensors import sample
from engine.priors import huggingface
from engine.priors.align import Samples, align
from engine.priors.builtin import builtin
from engine.priors.maps import maps
from engine.priors.source import Source
from engine.progress import Progress
from engine.request import PriorRequest

DOUBTFUL = 0.3  # median relative error at the sparse points, from which the artist is told


def choose_prior(request: PriorRequest) -> Source | None:
    """The prior that a request means. Loads no weights.

    Returns:
        The source; None for "none".

    Raises:
        PriorError: it is not there (`prior.not_found`, `.no_transformers`, `.incomplete`, `.no_maps`), not usable
            (`.unsupported`, `.pickle`, `.damaged`) or not allowed (`.non_commercial`).
    """
    if request.kind == "none":
        return None
    source = _source(request)
    if source.non_commercial and not request.allow_non_commercial:
        raise PriorError(
            "prior.non_commercial",
            f"{source.name} may not be used without your say.",
            f"The licence of its weights is {source.licence}, which is not known to allow commercial work.",
            "Allow non-commercial weights if that fits your work, or choose another prior.",
        )
    return source


def _source(request: PriorRequest) -> Source:
    if request.kind == "maps" and request.path is not None:
        return maps(Path(request.path), request.maps)
    if request.kind == "transformers" and request.path is not None:
        return huggingface.network(request.path)
    if request.kind == "auto" and huggingface.is_ready(huggingface.DEFAULT):
        return huggingface.network(huggingface.DEFAULT)
    return builtin()


def solve_prior(
    clip: WorkClip, plate: Lens, source: Source, folder: Path, device: torch.device, progress: Progress
) -> None:
    """Write the prior's depth of every frame.

    Writes `depth/000101.npy` (h, w) float32 on half the work grid: planar depth, 0 = none; in metres where the source
    is metric, else in the clip's units, fitted to its sparse points (`align`). Last, `prior.json`: {name, licence,
    metric}.

    Args:
        clip: undistorted frames with cameras and sparse points.
        plate: the plate's lens, with its distortion.
        source: from `choose_prior`.
        folder: written to; what a killed run left there is used.
        device: where to compute.
        progress: receives progress; may cancel.

    Raises:
        PriorError: weights or maps turn out to be unusable, or do not fit the clip.
        Cancelled: the user stopped it.
    """
    if (folder / "prior.json").exists():
        shutil.rmtree(folder / "raw", ignore_errors=True)  # killed after all but that
        return
    frames = DepthFrames(folder, clip.half_lens, "metres" if source.metric else "solved")
    raw, numbers, count = FrameFiles(folder / "raw", ".npy"), clip.numbers.tolist(), len(clip.numbers)
    progress.step(0, count * 1.1, f"loading {source.name}")
    left = [row for row in range(count) if not raw.path(numbers[row]).exists()]
    if left:
        predict = source.open(clip, plate, device)
        for row in left:
            progress.step(row, count * 1.1, f"{source.name}: frame {numbers[row]}")
            raw.save(numbers[row], predict(row))

    samples = []
    for row in range(count):
        progress.step(count + 0.05 * row, count * 1.1, f"fitting frame {numbers[row]}")
        samples.append(_at_points(clip, row, raw.load(numbers[row])))
    alignment = align(source.output, numbers, samples)
    errors, bare = [], []
    for row in range(count):
        progress.step(count * 1.05 + 0.05 * row, count * 1.1, f"fitting frame {numbers[row]}")
        depth = alignment.depth(row, raw.load(numbers[row]))
        frames.save(numbers[row], depth)
        if not depth.any():
            bare.append(numbers[row])
        there = alignment.depth(row, samples[row][0])
        errors.append(np.abs(there / samples[row][1] - 1.0)[there > 0])
    if bare:
        progress.warning(f"{source.name} says nothing about the depth of {len(bare)} frames.", bare)
    # Metres are another unit than the clip's until its scale is known; without points there is nothing to compare.
    if not source.metric and any(len(error) for error in errors):
        _report_fit(source, float(np.median(np.concatenate(errors))), progress)
    write_json(folder / "prior.json", {"name": source.name, "licence": source.licence, "metric": source.metric})
    shutil.rmtree(folder / "raw")


def _at_points(clip: WorkClip, row: int, raw: NDArray[np.float32]) -> Samples:
    """Raw values (M,), NaN = none, and depth (M,) at the sparse points of a frame."""
    pixels, depth = clip.sparse[row]
    where = torch.from_numpy(pixels * (raw.shape[1] / clip.lens.width, raw.shape[0] / clip.lens.height))
    values = sample(torch.from_numpy(raw).double()[None, None], where[None, None])[0, 0, 0]
    return values.numpy(), depth


def _report_fit(source: Source, error: float, progress: Progress) -> None:
    progress.metric("prior_error", error)
    if error > DOUBTFUL:
        progress.warning(
            f"{source.name} contradicts the cameras: half of its values at solved points are off by more than "
            f"{error:.0%}."
        )
