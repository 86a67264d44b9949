"""Mattes of what moves at plate resolution, on the plate's own, distorted pixels, with soft edges."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clip.guided_filter import guided_filter
from engine.clip.plate_grid import PlateGrid
from engine.footage import FrameFiles
from engine.geometry.arrays import Lens
from engine.masks.artist import ArtistMasks
from engine.masks.files import load_dynamic, load_given, read_mask

REACH = 3.0  # cells of the coarse mask: how far its outline may be off
EPSILON = 4e-4  # variance of the picture below which there is no edge to follow
STEEPNESS = 2.5  # of the edge after filtering, which makes it as wide as the filter's window

Array = NDArray[np.float32]


class PlateMattes:
    """Makes the matte of one frame after another.

    An artist's mask is passed through as it is; what motion and the network found is brought onto the plate and its
    edges onto those of the picture.

    Args:
        motion: folder of the motion stage.
        given: folder of the masks stage.
        artist: the artist's own masks, None = there are none.
        plate: lens of the plate, distortion included.
        work: pinhole of the work grid.
    """

    def __init__(self, motion: Path, given: Path, artist: ArtistMasks | None, plate: Lens, work: Lens) -> None:
        self._motion, self._given, self._artist = motion, given, artist
        self._plate, self._work = plate, work
        self._grid = PlateGrid(plate, work)

    def exist(self) -> bool:
        """Anything moves in any frame."""
        return any((self._motion / "dynamic").glob("*.png"))

    def matte(self, frame: int, image: Array) -> NDArray[np.uint8]:
        """What moves in a plate frame (H, W): 255 = moves, 0 = does not, in between at soft edges.

        Args:
            frame: plate frame number.
            image: (H, W, 3) the plate, display-referred RGB in [0, 1].

        Raises:
            MaskError: the artist's mask cannot be read any more.
        """
        size = self._plate.width, self._plate.height
        rough = self._rough(frame)
        own = None if self._artist is None else self._artist.matte(frame)
        if own is not None and own.shape[::-1] != size:
            smaller = own.shape[1] > size[0]
            own = np.asarray(cv2.resize(own, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC))
        cell = self._plate.width / self._work.width
        if own is not None:
            # Beside an artist's mask the coarse copy of it must not stick out.
            rough[cv2.dilate((own > 0).astype(np.uint8), _disc(round(REACH * cell))) > 0] = 0.0
        matte = on_edges(rough, image, cell)
        if own is not None:
            matte = np.maximum(matte, own)
        return np.rint(matte.clip(0.0, 1.0) * 255.0).astype(np.uint8)

    def _rough(self, frame: int) -> Array:
        """Motion and given masks (H, W), 0..1, each enlarged from its own size."""
        shape = self._work.height, self._work.width
        found = load_dynamic(self._motion, frame, shape)
        given = load_given(self._given, frame, self._plate.scaled(*shape[::-1]))
        # The motion stage has united the two; the given part is finer in its own folder.
        alone = found & (cv2.dilate(given.astype(np.uint8), _disc(1)) == 0)
        rough = self._grid.enlarge(alone.astype(np.float32))
        path = FrameFiles(self._given, ".png").path(frame)
        if path.exists():
            finer = read_mask(path).astype(np.float32) / np.float32(255.0)
            size = self._plate.width, self._plate.height
            rough = np.maximum(rough, cv2.resize(finer, size, interpolation=cv2.INTER_LINEAR))
        return rough


def on_edges(rough: Array, image: Array, cell: float) -> Array:
    """A coarse mask (H, W), 0..1, with its outline moved onto edges of the picture nearby.

    Args:
        rough: of the size of the picture.
        image: (H, W, 3) in [0, 1].
        cell: how many pixels of the picture the coarse mask had one for.

    Returns:
        (H, W), exactly 0 or 1 farther from the outline than `REACH` cells.
    """
    radius = max(1, round(REACH * cell))
    outline = (cv2.dilate(rough, _disc(radius)) > 0) & (cv2.erode(rough, _disc(radius)) < 1)
    if not outline.any():
        return rough
    rows, columns = np.flatnonzero(outline.any(axis=1)), np.flatnonzero(outline.any(axis=0))
    margin = 2 * radius + 1  # what the filter looks at
    box = tuple(slice(max(0, found[0] - margin), found[-1] + margin + 1) for found in (rows, columns))
    grey = cv2.cvtColor(np.ascontiguousarray(image[box]), cv2.COLOR_RGB2GRAY)
    soft = guided_filter(grey, rough[box], radius, EPSILON)
    steep = (STEEPNESS * (soft - 0.5) + 0.5).clip(0.0, 1.0)
    result = rough.copy()
    result[box] = np.where(outline[box], steep, rough[box])
    return result


def _disc(radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
