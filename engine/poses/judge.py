"""How good solved cameras are, by tracks that are held out to test them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.poses.features import Pixels
from engine.poses.holdout import Tracks, held_out_errors, is_held_out
from engine.poses.whole import keep_whole

GOOD_HELD_OUT, POOR_HELD_OUT = 0.7, 0.5
_CHANCE = 0.1
"""Share of held-out observations that cameras which are wrong altogether predict at most."""
_HELD_OUT_PX = 2.0
MIN_REGISTERED, NEARLY_ALL = 0.5, 0.9
"""Shares of the frames: fewer is no solve, so many need no second attempt."""
_CLIPPED = 3.0
"""Held-out errors count up to so many times their median: beyond it a match is wrong, whatever the lens."""


@dataclass(frozen=True)
class Candidate:
    """What one way of solving made.

    Attributes:
        reconstruction: its largest model.
        registered: how many frames it placed.
        held_out_share: share of held-out observations within `_HELD_OUT_PX`.
        plausible: its focal length and distortion are such as cameras have.
        focal_std_pct: of a focal length that was tried and not solved for, infinite where any fits; None otherwise.
        zooms: every image has a camera of its own.
    """

    reconstruction: pycolmap.Reconstruction
    registered: int
    held_out_share: float
    plausible: bool
    focal_std_pct: float | None = None
    zooms: bool = False

    def merit(self) -> tuple[bool, bool, int, float]:
        """The more the better: a possible lens, more than half of the held-out observations predicted, frames placed,
        and at last how many observations are predicted.
        """
        return self.plausible, self.held_out_share >= POOR_HELD_OUT, self.registered, self.held_out_share

    def sound(self, frames: int) -> bool:
        """Worth handing on: a possible lens, enough frames placed, most held-out observations predicted."""
        return self.plausible and self.registered >= MIN_REGISTERED * frames and self.held_out_share >= POOR_HELD_OUT

    def good(self, frames: int) -> bool:
        """So good that nothing else need be tried."""
        return self.plausible and self.registered == frames and self.held_out_share >= GOOD_HELD_OUT


def judged(models: Path, tracks: Tracks, pixels: dict[int, Pixels], *, zooms: bool = False) -> list[Candidate]:
    """The largest of the models in a folder, judged; nothing when there is none that is better than chance.

    Only the frames of a model count that hang together; the others are taken out of it.

    Args:
        models: folder of COLMAP models of one database.
        tracks: of that database.
        pixels: image id -> (n, 2) pixels of its features.
        zooms: every image has a camera of its own.
    """
    made = [pycolmap.Reconstruction(path) for path in sorted(models.iterdir())]
    for model in made:
        if apart := keep_whole(model):
            print(f"{models.name}: images {apart} do not hang together with the others", file=sys.stderr)
    made = [m for m in made if m.num_reg_images() >= 3]
    if not made:
        print(f"{models.name}: dropped, nothing hangs together or is finite", file=sys.stderr)
        return []
    model = max(made, key=lambda m: (m.num_reg_images(), m.num_points3D()))
    found = judged_model(model, models.name, tracks, pixels, zooms=zooms)
    return [] if found is None else [found]


def judged_model(
    model: pycolmap.Reconstruction, name: str, tracks: Tracks, pixels: dict[int, Pixels], *, zooms: bool = False
) -> Candidate | None:
    """A model as a candidate; None where it is no better than chance. See `judged`; `name`: for the log."""
    errors = prediction_errors(model, tracks, pixels)[1]
    share = float((errors < _HELD_OUT_PX).mean()) if len(errors) else 0.0
    cameras = [model.image(i).camera for i in model.reg_image_ids()]
    focal = float(np.median([camera.mean_focal_length() for camera in cameras]))
    chance = share < _CHANCE
    print(
        f"{name}: {len(cameras)} images, focal length {focal:.1f} of {cameras[0].width} pixels, {share:.1%} of what "
        f"was held out predicted{', as chance does: dropped' if chance else ''}",
        file=sys.stderr,
    )
    plausible = bool(np.mean([_plausible(camera) for camera in cameras]) > 0.9)
    return None if chance else Candidate(model, model.num_reg_images(), share, plausible, zooms=zooms)


def _plausible(camera: pycolmap.Camera) -> bool:
    fx, fy, _, _, k1, *_ = lens_of(camera)
    return bool(0.3 < fx / max(camera.width, camera.height) < 8.0 and abs(k1) < 0.5 and 0.4 < fx / fy < 2.5)


def prediction_errors(
    model: pycolmap.Reconstruction, tracks: Tracks, pixels: dict[int, Pixels]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How well the cameras of a model predict where tracks are seen that are held out.

    Args:
        model: cameras in any pixels.
        tracks: of the database that the model was made from.
        pixels: image id -> (n, 2) its features in the pixels of the cameras.

    Returns:
        (track (M,), error (M,) in pixels of the cameras) of every observation held out; see `held_out_errors`.
    """
    images = {i: model.image(i) for i in model.reg_image_ids()}
    poses = {i: image.cam_from_world().matrix() for i, image in images.items()}
    known = np.isin(tracks.image, list(poses))
    number, track = np.unique(tracks.track[known], return_inverse=True)
    image, feature = tracks.image[known], tracks.feature[known]
    rays, focal = np.zeros((len(image), 2)), np.ones(len(image))
    for i in np.unique(image).tolist():
        seen = image == i
        rays[seen] = images[i].camera.cam_from_img(pixels[i][feature[seen]])
        focal[seen] = images[i].camera.mean_focal_length()
    camera_from_world = np.array([poses[i] for i in image.tolist()], np.float64).reshape(-1, 3, 4)
    return number[track[is_held_out(track)]], held_out_errors(track, rays, camera_from_world, focal)


def predictive_error(errors: NDArray[np.float64]) -> float:
    """One figure for how well cameras predict, pixels: the mean of the errors, each clipped; infinite when empty."""
    if len(errors) == 0:
        return float("inf")
    return float(np.minimum(errors, _CLIPPED * np.median(errors)).mean())


def lens_of(camera: pycolmap.Camera) -> NDArray[np.float64]:
    """(8,) fx, fy, cx, cy, k1, k2, p1, p2 of a camera of any model that this solver uses."""
    values = dict(zip(camera.params_info.split(", "), camera.params.tolist(), strict=True))
    fx = values.get("f", values.get("fx", 0.0))
    rest = [values.get("cx", 0.0), values.get("cy", 0.0), values.get("k1", values.get("k", 0.0))]
    return np.array([fx, values.get("fy", fx), *rest, *(values.get(name, 0.0) for name in ("k2", "p1", "p2"))])


def pixels_in(model: pycolmap.Reconstruction) -> dict[int, NDArray[np.float64]]:
    """Image -> (n, 2) its features, of all registered images; asking for them one by one copies all each time."""
    return {
        i: np.array([point.xy for point in model.image(i).points2D], np.float64).reshape(-1, 2)
        for i in sorted(model.reg_image_ids())
    }
