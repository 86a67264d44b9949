"""Masks that the artist brings: an image sequence with the plate's frame numbers, white where something moves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import CvdError, MaskError
from engine.footage.decode import read_still
from engine.footage.sequence import Sequence, names_in, only_sequence, sequence_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".exr")
SHAPE_TOLERANCE_PX = 2.0  # in the mask's pixels: sizes are rounded, often to even numbers

Matte = NDArray[np.float32]


@dataclass(frozen=True)
class ArtistMasks:
    """A sequence of masks of a plate.

    Attributes:
        sequence: the files.
        width: of the plate, pixels.
        height: of the plate, pixels.
    """

    sequence: Sequence
    width: int
    height: int

    @classmethod
    def find(cls, path: Path, width: int, height: int) -> ArtistMasks:
        """The masks at `path`, a folder with one sequence or any file of it, of a plate of this size.

        Raises:
            MaskError: `mask.missing`, there is none or there are several.
        """
        try:
            if path.is_dir():
                return cls(only_sequence(path, SUFFIXES), width, height)
            if path.is_file() and path.suffix.lower() in SUFFIXES:
                return cls(sequence_of(path, names_in(path.parent)), width, height)
        except CvdError as error:
            raise MaskError("mask.missing", error.what, error.why, error.fix) from error
        raise MaskError(
            "mask.missing",
            f"There are no masks at {path}.",
            f"It is neither a folder nor a picture of a kind that the engine reads ({' '.join(SUFFIXES)}).",
            "Choose the folder that holds the masks, or any file of their sequence.",
        )

    def numbers(self, plate: Iterable[int]) -> list[int]:
        """The frames of the plate that have a mask.

        Raises:
            MaskError: `mask.missing`, none has.
        """
        frames, masks = sorted(plate), list(self.sequence.files)
        both = sorted(set(frames) & set(masks))
        if not both:
            raise MaskError(
                "mask.missing",
                f"None of the masks {self.sequence.pattern} belongs to this clip.",
                f"They are numbered {masks[0]} to {masks[-1]}, the frames {frames[0]} to {frames[-1]}.",
                "Number the masks as the plate's frames are; movies count from 1.",
            )
        return both

    def matte(self, number: int) -> Matte | None:
        """How far each pixel moves by itself (H, W), 0..1, at the mask's own size; None where the frame has no mask.

        Raises:
            MaskError: `mask.unreadable` or `mask.size`.
        """
        name = self.sequence.files.get(number)
        if name is None:
            return None
        try:
            matte = read_matte(self.sequence.folder / name)
        except (OSError, ValueError) as error:
            raise MaskError(
                "mask.unreadable",
                f"The mask {name} cannot be read.",
                f"{str(error).rstrip('.')}.",
                "Export or copy it again, or take it away: a frame without a mask is treated as if nothing moved.",
            ) from error
        height, width = matte.shape
        off = min(abs(width - height * self.width / self.height), abs(height - width * self.height / self.width))
        if off > SHAPE_TOLERANCE_PX:
            raise MaskError(
                "mask.size",
                f"The mask {name} has another shape than the plate.",
                f"It is {width}x{height}, the plate {self.width}x{self.height}.",
                "Make the masks of the whole plate as it was shot, lens distortion included; any size will do.",
            )
        return matte

    def content(self) -> str:
        """A hash of all files."""
        digest = hashlib.blake2b(digest_size=16)
        for number, name in self.sequence.files.items():
            with (self.sequence.folder / name).open("rb") as file:
                digest.update(f"{number}:".encode() + hashlib.file_digest(file, hashlib.blake2b).digest())
        return digest.hexdigest()


def read_matte(path: Path) -> Matte:
    """A mask (H, W), 0..1: the brightest of its colours times its alpha where it has one (in EXR colours have it in).

    Raises:
        ValueError: not a picture that can be read.
        OSError: the file cannot be opened.
    """
    if path.suffix.lower() == ".exr":
        stored = read_still(path)
    else:
        data = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if picture is None:
            raise ValueError("damaged, incomplete or not of the kind that its name says")
        stored = picture if picture.ndim == 3 else picture[..., None]
    scale = float(np.iinfo(stored.dtype).max) if np.issubdtype(stored.dtype, np.integer) else 1.0
    values = np.nan_to_num(stored.astype(np.float32) / scale).clip(0.0, 1.0)
    matte = values[..., :3].max(axis=-1) if values.shape[2] >= 3 else values[..., 0]
    if values.shape[2] in (2, 4):
        matte = matte * values[..., -1]
    return np.asarray(matte, np.float32)
