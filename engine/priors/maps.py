"""Depth maps that the user brings: a sequence of EXR or PNG files with the plate's frame numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.pinhole import ToPinhole
from engine.clip.work import WorkClip
from engine.errors import CvdError, PriorError
from engine.footage.decode import read_exr, read_still
from engine.footage.sequence import Sequence, names_in, only_sequence, sequence_of
from engine.geometry.arrays import Lens
from engine.priors.source import Output, Predict, Source, half_size

SUFFIXES = (".exr", ".png")
NO_DEPTH = 1e9  # renderers write 1e10 or infinity where there is nothing
SHAPE_TOLERANCE_PX = 2.0  # in the map's pixels: sizes are rounded, often to even numbers
COVERED = 0.5  # share of a work pixel that needs values
LICENCE = "the user's own"


def maps(path: Path, kind: str) -> Source:
    """Maps of one sequence.

    Args:
        path: a folder with one sequence, or any file of it.
        kind: "depth" in any one unit, or "disparity" up to scale and shift.

    Raises:
        PriorError: `prior.not_found` or `prior.no_maps`.
    """
    sequence = _find(path)
    outputs: dict[str, Output] = {"depth": "units", "disparity": "disparity"}
    digest = hashlib.blake2b(digest_size=16)
    for number, name in sequence.files.items():
        with (sequence.folder / name).open("rb") as file:
            digest.update(f"{number}:".encode() + hashlib.file_digest(file, hashlib.blake2b).digest())

    def open_maps(clip: WorkClip, plate: Lens, _device: torch.device) -> Predict:
        numbers = [int(number) for number in clip.numbers]
        if not set(numbers) & set(sequence.files):
            raise _no_maps(
                f"None of the depth maps {sequence.pattern} belongs to this clip.",
                f"They are numbered {min(sequence.files)} to {max(sequence.files)}, the frames {numbers[0]} to "
                f"{numbers[-1]}.",
                "Number the maps as the plate's frames are; movies count from 1.",
            )

        def predict(row: int) -> NDArray[np.float32]:
            name = sequence.files.get(numbers[row])
            if name is None:
                return np.full(half_size(clip), np.nan, np.float32)
            return to_half_grid(read_map(sequence.folder / name), plate, half_size(clip), name)

        return predict

    name = f"{kind} maps {sequence.pattern}"
    return Source(name, LICENCE, False, outputs[kind], f"maps {kind} {digest.hexdigest()}", open_maps)


def read_map(path: Path) -> NDArray[np.float32]:
    """A stored map (H, W), NaN where it holds no value.

    EXR: the only channel, else one called Z, Depth, Y, V or R, in this order and in any layer. PNG: grey, 8 or 16 bit.

    Raises:
        PriorError: `prior.bad_map`, not readable, or a colour picture.
    """
    try:
        stored = read_exr(path, _depth_channel) if path.suffix.lower() == ".exr" else read_still(path)
    except (OSError, ValueError) as error:
        raise _bad_map(path, f"{error}") from error
    if not np.array_equal(stored, np.broadcast_to(stored[..., :1], stored.shape), equal_nan=True):
        raise _bad_map(path, "It is a colour picture: colours that stand for depth cannot be told apart from any other")
    values = stored[..., 0].astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.where((values > 0) & (values < NO_DEPTH), values, np.float32(np.nan))


def to_half_grid(values: NDArray[np.float32], plate: Lens, half: tuple[int, int], name: str) -> NDArray[np.float32]:
    """A map of the distorted plate on half the (undistorted) work grid.

    Args:
        values: (H, W) of the plate's shape, at any size; NaN = none.
        plate: the plate's lens.
        half: (h, w) of half the work grid.
        name: for the error.

    Returns:
        (h, w): means over each pixel, NaN where less than half of it has values.

    Raises:
        PriorError: `prior.map_size`, another shape than the plate's.
    """
    height, width = values.shape
    off = min(abs(width - height * plate.width / plate.height), abs(height - width * plate.height / plate.width))
    if off > SHAPE_TOLERANCE_PX:
        raise PriorError(
            "prior.map_size",
            f"The depth map {name} has another shape than the plate.",
            f"It is {width}x{height}, the plate {plate.width}x{plate.height}.",
            "Make the maps of the whole plate as it was shot, lens distortion included; any size will do.",
        )
    known = np.isfinite(values).astype(np.float32)
    filled = np.nan_to_num(values)
    to_pinhole = ToPinhole(plate.scaled(width, height))
    filled, known = (to_pinhole(part, border=cv2.BORDER_CONSTANT) for part in (filled, known))
    smaller = width > half[1]
    filled, known = (
        cv2.resize(part, half[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        for part in (filled, known)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known >= COVERED, filled / known, np.float32(np.nan)).astype(np.float32)


def _find(path: Path) -> Sequence:
    if not path.exists():
        raise PriorError(
            "prior.not_found",
            f"There are no depth maps at {path}.",
            "The file or folder does not exist, or its drive is not connected.",
            "Check the path.",
        )
    if not path.is_dir() and path.suffix.lower() not in SUFFIXES:
        raise _no_maps(
            f"{path.name} is not a depth map.", "Depth maps are EXR or PNG files.", "Convert them to one of these."
        )
    try:
        return only_sequence(path, SUFFIXES) if path.is_dir() else sequence_of(path, names_in(path.parent))
    except CvdError as error:
        raise _no_maps(error.what, error.why, error.fix) from error


def _depth_channel(names: list[str]) -> list[str]:
    if len(names) == 1:
        return names
    for wanted in ("z", "depth", "y", "v", "r"):
        found = [name for name in names if name.rsplit(".", 1)[-1].lower() == wanted]
        if found:
            return [found[0]]
    raise ValueError(f"no depth in it, only the channels {', '.join(names)}")


def _no_maps(what: str, why: str, fix: str) -> PriorError:
    return PriorError("prior.no_maps", what, why, fix)


def _bad_map(path: Path, why: str) -> PriorError:
    return PriorError(
        "prior.bad_map",
        f"The depth map {path.name} cannot be used.",
        f"{why[:1].upper()}{why[1:].rstrip('.')}.",
        "Export it again: EXR with one channel of floats, or grey PNG with 16 bits.",
    )
