"""What the solving process is asked, and what it hands back; both sides import this and nothing of each other."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.files import write_atomically, write_json

COMMON_FOCAL, COMMON_SPREAD = 0.9, 0.35
"""Focal length of video over the long side of the picture, and its deviation in logarithm."""


@dataclass(frozen=True)
class Job:
    """One run of `engine.poses.worker`.

    Attributes:
        images: folder of the pictures.
        names: their file names, in the order of the frames.
        masks: folder with `<name>` of pictures in which something moves, non-zero where it does; None = nothing does.
        width: of the plate, pixels; the solved model is given in plate pixels whatever the size of the pictures.
        height: of the plate, pixels; of `squared` pixels not always a whole number of them.
        work: folder for intermediate results, which persist over a kill, and for the model.
        model: COLMAP camera model, such as "SIMPLE_RADIAL"; "AUTO" = the simplest that explains the pictures.
        focal_px: known focal length in plate pixels, None = estimate.
        seed: of every random choice.
        start_px: a focal length in plate pixels that is likely but not trusted, None = no guess.
        tracks: a `cvd.tracks/1` file of points that the artist followed, None = none.
        pixel_aspect: known width of a plate pixel over its height, None = nearly 1.
        principal_px: known principal point in plate pixels, None = in the middle, or near it.
        cuts: names of pictures before which there seems to be a cut.
    """

    images: str
    names: list[str]
    masks: str | None
    width: int
    height: float
    work: str
    model: str
    focal_px: float | None
    seed: int
    start_px: float | None = None
    tracks: str | None = None
    pixel_aspect: float | None = None
    principal_px: tuple[float, float] | None = None
    cuts: tuple[str, ...] = ()

    def squared(self) -> Job:
        """The job in square pixels, as wide as the plate's: what is solved; `Model.on_plate` is the way back."""
        aspect = self.pixel_aspect or 1.0
        known = None if self.principal_px is None else (self.principal_px[0], self.principal_px[1] / aspect)
        return replace(self, height=self.height / aspect, principal_px=known)

    @property
    def centre(self) -> tuple[float, float]:
        """The principal point to start from, in the pixels of `width` and `height`."""
        return self.principal_px or (self.width / 2, self.height / 2)

    def save(self, path: Path) -> None:
        """Write the job as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read what `save` wrote."""
        document = json.loads(path.read_text(encoding="utf-8"))
        principal = document.get("principal_px")
        document["principal_px"] = None if principal is None else tuple(principal)
        return cls(**{**document, "cuts": tuple(document.get("cuts", ()))})


@dataclass(frozen=True)
class Model:
    """A solved model in plate pixels and a world of COLMAP's choosing. Errors are in pixels as wide as the plate's.

    Attributes:
        rows: (R,) registered frames, as positions in `Job.names`.
        world_from_camera: (R, 4, 4).
        motion: of the camera, (): "travels", "turns" or "static". Only one that travels has points.
        lens: (8,) fx, fy, cx, cy, k1, k2, p1, p2 in plate pixels; of the middle of a zoom.
        lens_model: (), COLMAP's name.
        focal: (R,) fx of each registered frame; all the same unless the lens zooms.
        focal_range: (2,) between which values fx lies, plate pixels; 0 and infinity where any could be.
        reasons: (N,) why a frame was not registered, or is not to be trusted; "" for the others.
        filled: (R,) true where the camera was not solved but put between its neighbours.
        xyz: (P, 3).
        rgb: (P, 3) uint8.
        error_px: (P,) mean reprojection error.
        observation_row: (M,) positions in `Job.names`.
        observation_point: (M,) rows of `xyz`.
        observation_pixel: (M, 2).
        frame_error: (R,) median reprojection error, NaN for a frame without points.
    """

    rows: NDArray[np.int64]
    world_from_camera: NDArray[np.float64]
    motion: NDArray[np.str_]
    lens: NDArray[np.float64]
    lens_model: NDArray[np.str_]
    focal: NDArray[np.float64]
    focal_range: NDArray[np.float64]
    reasons: NDArray[np.str_]
    filled: NDArray[np.bool_]
    xyz: NDArray[np.float64]
    rgb: NDArray[np.uint8]
    error_px: NDArray[np.float64]
    observation_row: NDArray[np.int64]
    observation_point: NDArray[np.int64]
    observation_pixel: NDArray[np.float64]
    frame_error: NDArray[np.float64]

    def on_plate(self, pixel_aspect: float | None) -> Model:
        """A model in square pixels (`Job.squared`) in those of the plate: y counts `pixel_aspect` times as many."""
        if pixel_aspect is None or pixel_aspect == 1.0:
            return self
        distorted = bool(self.lens[4:].any())
        return replace(
            self,
            lens=self.lens * [1.0, pixel_aspect, 1.0, pixel_aspect, 1.0, 1.0, 1.0, 1.0],
            lens_model=np.array("OPENCV" if distorted else "PINHOLE"),
            observation_pixel=self.observation_pixel * [1.0, pixel_aspect],
        )

    def save(self, path: Path) -> None:
        """Write the model as `.npz`."""
        write_atomically(path, lambda temporary: np.savez(temporary, allow_pickle=False, **asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})
