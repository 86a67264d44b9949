"""Models with exactly known cameras and points, without pictures."""

from __future__ import annotations

import numpy as np
import pycolmap

from engine.poses.holdout import Tracks

WIDTH, HEIGHT, FOCAL = 640, 360, 500.0


def reconstruction(
    poses: list[np.ndarray], points: np.ndarray, focals: list[float] | None = None, seen: np.ndarray | None = None
) -> pycolmap.Reconstruction:
    """Cameras at `poses` (world_from_camera) that see `points` (P, 3).

    Args:
        poses: one of each image, which are numbered from 1.
        points: feature k of every image is of point k, whether it is seen or not.
        focals: of each image, which then has a camera of its own; None = one camera of `FOCAL`.
        seen: (N, P) which images see which points; None = all that lie ahead, in the picture or not.
    """
    model = pycolmap.Reconstruction()
    for index, pose in enumerate(poses):
        number = index + 1 if focals else 1
        if not model.exists_camera(number):
            focal = focals[index] if focals else FOCAL
            model.add_camera_with_trivial_rig(
                pycolmap.Camera(
                    camera_id=number, model="SIMPLE_RADIAL", width=WIDTH, height=HEIGHT,
                    params=[focal, WIDTH / 2, HEIGHT / 2, 0.0],
                )
            )  # fmt: skip
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        focal = float(model.camera(number).params[0])
        pixels = focal * local[:, :2] / local[:, 2:] + [WIDTH / 2, HEIGHT / 2]
        image = pycolmap.Image(name=f"{index + 1:06d}.png", keypoints=pixels, camera_id=number, image_id=index + 1)
        matrix = np.linalg.inv(pose)[:3]
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(matrix))
    for k, xyz in enumerate(points):
        track = pycolmap.Track()
        for index, pose in enumerate(poses):
            ahead = (xyz - pose[:3, 3]) @ pose[:3, 2] > 0
            if ahead if seen is None else seen[index, k]:
                track.add_element(index + 1, k)
        model.add_point3D(xyz, track, np.array([90, 90, 90], np.uint8))
    return model


def tracks(model: pycolmap.Reconstruction, every: int = 1) -> Tracks:
    """The observations of every so many points of a model, as tracks."""
    rows = [
        (k, e.image_id, e.point2D_idx)
        for k, (_, point) in enumerate(sorted(model.points3D.items())[::every])
        for e in sorted(point.track.elements, key=lambda e: e.image_id)
    ]
    return Tracks(*(np.array(column, np.int64) for column in zip(*rows, strict=True)))
