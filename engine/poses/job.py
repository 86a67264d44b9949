"""What the solving process is asked, and what it hands back; both sides import this and nothing of each other."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.files import write_atomically, write_json


@dataclass(frozen=True)
class Job:
    """One run of `engine.poses.worker`.

    Attributes:
        images: folder of the pictures.
        names: their file names, in the order of the frames.
        masks: folder with `<name>` of pictures in which something moves, non-zero where it does; None = nothing does.
        width: of the plate, pixels; the solved model is given in plate pixels whatever the size of the pictures.
        height: of the plate, pixels.
        work: folder for intermediate results, which persist over a kill, and for the model.
        model: COLMAP camera model, "SIMPLE_RADIAL" or "SIMPLE_PINHOLE".
        focal_px: known focal length in plate pixels, None = estimate.
        seed: of every random choice.
    """

    images: str
    names: list[str]
    masks: str | None
    width: int
    height: int
    work: str
    model: str
    focal_px: float | None
    seed: int

    def save(self, path: Path) -> None:
        """Write the job as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Model:
    """A solved model in plate pixels and a world of COLMAP's choosing.

    Attributes:
        rows: (R,) registered frames, as positions in `Job.names`.
        world_from_camera: (R, 4, 4).
        lens: (2,) focal length in plate pixels and k1; the principal point is the centre.
        focal_std_pct: (1,) one standard deviation, NaN when unknown.
        xyz: (P, 3).
        rgb: (P, 3) uint8.
        error_px: (P,) mean reprojection error.
        observation_row: (M,) positions in `Job.names`.
        observation_point: (M,) rows of `xyz`.
        observation_pixel: (M, 2).
        observation_error: (M,) reprojection error, pixels.
    """

    rows: NDArray[np.int64]
    world_from_camera: NDArray[np.float64]
    lens: NDArray[np.float64]
    focal_std_pct: NDArray[np.float64]
    xyz: NDArray[np.float64]
    rgb: NDArray[np.uint8]
    error_px: NDArray[np.float64]
    observation_row: NDArray[np.int64]
    observation_point: NDArray[np.int64]
    observation_pixel: NDArray[np.float64]
    observation_error: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write the model as `.npz`."""
        write_atomically(path, lambda temporary: np.savez(temporary, allow_pickle=False, **asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})
