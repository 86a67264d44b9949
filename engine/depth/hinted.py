"""Depth with the artist's hints: the stage `hints`, which makes nothing anew but the frames that have one.

A hint is exact inside of its region. Around it the depth is completed again where nothing was measured: the fusion of
the depth stage, with and without the hint, and what differs between the two is added to the depth that is there. So a
frame without a hint stays as it is to the bit, and so does a pixel that no hint reaches, whatever method and training
have made them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.depth_map import DepthFrames
from engine.clip.preview import show_depth
from engine.clip.track import CameraTrack
from engine.clip.work import WorkClip
from engine.depth.cvd import consistency
from engine.depth.data import TrainingData
from engine.depth.fuse import FARTHEST, fuse
from engine.depth.hints import Array, Hint, Mask, depth_of_hints, told_by
from engine.errors import HintError
from engine.files import link_or_copy, write_json
from engine.footage import FrameFiles
from engine.geometry.arrays import Lens
from engine.masks.files import read_mask
from engine.progress import Progress

UNCHANGED = 0.005  # of log depth: what two fusions differ by where the hint does not reach
SCARCE = 1e-6  # weight of what is there where nothing was measured: the fusion wants some
MADE, HINTED, CONSISTENCY = "hints.json", "hinted", "consistency.json"


def _require_use(hints: Sequence[Hint], track: CameraTrack, lens: Lens, farthest: float) -> list[int]:
    """The frames that hints change.

    Raises:
        HintError: a hint changes none.
    """
    touched: set[int] = set()
    for hint in hints:
        frames = [number for number in track.frames() if hint.first <= number <= hint.last]
        told = {number: told_by(hint, track, lens, number, farthest) for number in frames}
        used = {number for number, depth in told.items() if depth is not None and (depth > 0).any()}
        if not used:
            if not frames:
                why = f"No frame of {hint.first} to {hint.last} has a camera."
            elif all(depth is None for depth in told.values()):
                why = "Its region lies outside of the picture, or is smaller than a pixel of depth, on all its frames."
            else:
                why = f"Seen through its region, the {hint.kind} lies behind the camera on all its frames."
            raise HintError(
                "hint.nothing",
                f"The depth hint {hint.name} changes nothing.",
                why,
                "Correct its frames, its region or its points. Points count in the world of solve.json.",
            )
        touched |= used
    return sorted(touched)


def apply_hints(
    hints: Sequence[Hint],
    clip: WorkClip,
    track: CameraTrack,
    base: DepthFrames,
    motion: Path | None,
    folder: Path,
    device: torch.device,
    progress: Progress,
) -> list[int]:
    """Write the depth of `base` with the hints: all files of the depth stage's folder, those of most frames as links,
    and `hinted/000101.npy` (H, W) bool of the frames with hints.

    Args:
        hints: one or more.
        clip: scaled, on the grid of `base`.
        track: scaled cameras.
        base: of the depth stage.
        motion: folder of the motion stage, None = nothing moves.
        folder: written to.
        device: where to compute.
        progress: receives progress; may cancel.

    Returns:
        The plate frame numbers that were made anew, also in `hints.json`.

    Raises:
        HintError: `hint.nothing`, or a mask that cannot be read.
        Cancelled: the user stopped it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = track.frames()
    middle = float(np.median(base.load(numbers[len(numbers) // 2]).values))
    farthest = FARTHEST * middle
    touched = _require_use(hints, track, base.lens, farthest)
    frames = DepthFrames(folder, base.lens, "clip")
    _take_over(base, folder, [number for number in numbers if number not in touched])
    for done, number in enumerate(touched):
        progress.step(done, len(touched), f"depth of frame {number}")
        if frames.has(number):
            continue
        hint = depth_of_hints(hints, track, base.lens, number, farthest)
        moving = None if motion is None else _moving(motion, number, base.lens)
        depth, confidence, measured = complete(base, number, hint, moving, clip, device)
        FrameFiles(folder / HINTED, ".npy").save(number, hint > 0)
        frames.save(number, depth, confidence, measured)
        show_depth(depth, progress)
    write_json(folder / MADE, {"frames": touched})
    return touched


def confirm(clip: WorkClip, data: TrainingData | None, base: DepthFrames, frames: DepthFrames) -> None:
    """Write `consistency.json`: the depth stage's, and anew for the frames with hints.

    Over distances between frames it stays what it was: a few frames move no median over all.

    Args:
        clip: scaled, on the work grid.
        data: pairs and cameras, None = nothing is compared.
        base: of the depth stage.
        frames: with hints, as `apply_hints` has left them.
    """
    found = json.loads((base.folder / CONSISTENCY).read_text(encoding="utf-8"))
    if data is not None:
        touched = _touched(frames.folder)
        pairs = [pair for pair in data.pairs if pair.first in touched or pair.second in touched]
        anew = consistency(clip, replace(data, pairs=pairs), frames)["frames"]
        found["frames"] |= {number: value for number, value in anew.items() if int(number) in touched}
    write_json(frames.folder / CONSISTENCY, found)


def digests(frames: DepthFrames) -> dict[int, str]:
    """Plate frame number -> a hash of its depth and confidence, of the frames that `apply_hints` has made anew."""
    result = {}
    for number in _touched(frames.folder):
        digest = hashlib.blake2b(digest_size=8)
        told = hinted_in(frames, number)
        assert told is not None  # it is one of those that were made anew
        for values in (frames.load(number).values, frames.confidence(number), frames.measured(number), told):
            digest.update(np.ascontiguousarray(values).tobytes())
        result[number] = digest.hexdigest()
    return result


def hinted_in(frames: DepthFrames, number: int) -> Mask | None:
    """Where hints have decided the depth of a plate frame, (h, w); None = nowhere."""
    files = FrameFiles(frames.folder / HINTED, ".npy")
    return files.load(number) > 0 if files.path(number).exists() else None


def _touched(folder: Path) -> list[int]:
    return [int(number) for number in json.loads((folder / MADE).read_text(encoding="utf-8"))["frames"]]


@torch.no_grad()
def complete(
    base: DepthFrames, number: int, hint: Array, moving: Mask | None, clip: WorkClip, device: torch.device
) -> tuple[Array, Array, Mask]:
    """Depth, confidence and what is measured (H, W) of a frame with a hint.

    Args:
        base: what there is without.
        number: plate frame number.
        hint: (H, W) planar depth, 0 = none.
        moving: (H, W) what moves by itself, which counts as known.
        clip: pictures on the same grid.
        device: where to compute.
    """
    own, confidence, measured = base.load(number).values, base.confidence(number), base.measured(number)
    told = hint > 0
    unit = np.float32(np.median(own))
    weight = np.where(measured, confidence**2, np.float32(SCARCE))
    if moving is not None:
        weight = np.where(moving, np.float32(1.0), weight)
    before = _tensor(np.log(own / unit), device)
    after = torch.where(_tensor(told, device), _tensor(np.log(np.where(told, hint, own) / unit), device), before)
    weights = _tensor(weight.clip(SCARCE), device)
    # In one call: frames of a batch do not see each other.
    fused = fuse(
        torch.cat([before, before]),
        torch.cat([before, after]),
        torch.cat([weights, torch.where(_tensor(told, device), 1.0, weights)]),
        clip.colours([clip.index(number)], device).expand(2, -1, -1, -1),
    )
    change = torch.nn.functional.softshrink(fused[1] - fused[0], UNCHANGED).cpu().numpy()
    depth = np.where(told, hint, own * np.exp(change)).astype(np.float32)
    return depth, np.where(told, np.float32(1.0), confidence), measured | told


def _tensor(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))[None].to(device)


def _moving(motion: Path, number: int, lens: Lens) -> Mask | None:
    path = FrameFiles(motion / "dynamic", ".png").path(number)
    if not path.exists():
        return None
    mask = cv2.resize(read_mask(path), (lens.width, lens.height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(mask > 127)


def _take_over(base: DepthFrames, folder: Path, numbers: Sequence[int]) -> None:
    """Frames as the depth stage has left them, in another folder as well."""
    for kind in ("depth", "confidence", "measured"):
        (folder / kind).mkdir(exist_ok=True)
        for number in numbers:
            path = FrameFiles(base.folder / kind, ".npy").path(number)
            if path.exists():
                link_or_copy(path, folder / kind / path.name)
