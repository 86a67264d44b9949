"""A lens that zooms while the camera travels: every frame has a focal length of its own."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.poses.judge import lens_of, pixels_in

ROUGH, SOLVED = 30.0, 0.5
"""Weights of the second differences of the log focal length over time (Whittaker's smoother): for the focal lengths
that pairs of frames tell, and for those of a bundle adjustment. These are off by a factor that all of them share, but
hardly by anything from frame to frame: more weight bends the curve where a zoom begins and ends."""
_LEAST, _CLEAR = 0.06, 4.0
"""Change of the focal length over the clip that is a zoom, and over its noise from frame to frame."""


def split_cameras(model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """A copy in which every image has a camera of its own, with one focal length and one radial term."""
    split, pixels = pycolmap.Reconstruction(), pixels_in(model)
    for image_id in sorted(model.reg_image_ids()):
        old = model.image(image_id)
        fx, fy, cx, cy, k1, *_ = lens_of(old.camera).tolist()
        camera = pycolmap.Camera(
            camera_id=image_id,
            model="SIMPLE_RADIAL",
            width=old.camera.width,
            height=old.camera.height,
            params=[float(np.sqrt(fx * fy)), cx, cy, k1],
        )
        split.add_camera_with_trivial_rig(camera)
        image = pycolmap.Image(
            name=old.name,
            keypoints=pixels[image_id],
            camera_id=image_id,
            image_id=image_id,
        )
        split.add_image_with_trivial_frame(image, old.cam_from_world())
    for _, point in sorted(model.points3D.items()):
        split.add_point3D(point.xyz, point.track, point.color)
    return split


def focals_of(split: pycolmap.Reconstruction) -> dict[int, float]:
    """Image -> focal length in pixels."""
    return {i: float(split.image(i).camera.params[0]) for i in sorted(split.reg_image_ids())}


def set_focals(split: pycolmap.Reconstruction, focals: dict[int, float]) -> None:
    """Give every image of `split_cameras` its focal length."""
    for image_id, focal in focals.items():
        camera = split.camera(split.image(image_id).camera_id)
        camera.params = np.array([focal, *camera.params[1:]])


def zoom_curve(focals: dict[int, float], smoothness: float) -> dict[int, float] | None:
    """The focal lengths of a zoom, smooth over time; None where they say that the lens does not zoom.

    Args:
        focals: image -> focal length solved for it alone; images are numbered in the order of the frames.
        smoothness: `ROUGH` or `SOLVED`.
    """
    if len(focals) < 5:
        return None
    images, values = list(focals), np.log(list(focals.values()))
    smooth = _smoothed(values, smoothness)
    noise = float(np.std(values - smooth))
    if np.ptp(smooth) < max(_LEAST, _CLEAR * noise):
        return None
    return dict(zip(images, np.exp(smooth).tolist(), strict=True))


def _smoothed(values: NDArray[np.float64], smoothness: float) -> NDArray[np.floating]:
    bend = np.diff(np.eye(len(values)), 2, axis=0)
    weight = np.ones(len(values))
    smooth: NDArray[np.floating] = values
    for _ in range(5):  # single frames may be far off
        smooth = np.linalg.solve(np.diag(weight) + smoothness * bend.T @ bend, weight * values)
        unit = 1.4826 * float(np.median(np.abs(values - smooth))) + 1e-9
        weight = 1.0 / (1.0 + ((values - smooth) / (2.0 * unit)) ** 2)
    return smooth
