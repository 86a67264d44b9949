"""Frames placed by the points that other frames have: those between key frames, and those that mapping left out."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.poses.judge import lens_of

_MIN_POINTS, _MIN_SHARE = 30, 0.25
"""How many points a frame must see from one place, and which share of those that it is matched with."""


def place_others(
    model: pycolmap.Reconstruction,
    names: dict[int, str],
    pixels: dict[int, NDArray[np.float64]],
    pairs: dict[tuple[int, int], NDArray[np.int64]],
    max_error: float,
    seed: int,
) -> None:
    """Add the frames that a model lacks, those next to placed ones first, where enough of its points are seen.

    A frame gets the camera of the others; where these have one each (a zoom), one with the focal length between those
    of its neighbours.

    Args:
        model: cameras and points; changed.
        names: image id -> name, of all images that there should be, in the order of the frames.
        pixels: image id -> (n, 2) features, in the pixels of the model.
        pairs: (image id, later image id) -> (m, 2) matched features.
        max_error: pixels by which a point may be off.
        seed: of the random choices.
    """
    point_of = {i: np.full(len(pixels[i]), -1, np.int64) for i in names}
    for number, point in model.points3D.items():
        for element in point.track.elements:
            point_of[element.image_id][element.point2D_idx] = number
    partners: dict[int, list[tuple[int, NDArray[np.int64]]]] = {i: [] for i in names}
    for (a, b), found in pairs.items():
        partners[a].append((b, found))
        partners[b].append((a, found[:, ::-1]))
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error = max_error
    options.ransac.random_seed = seed
    placed = set(model.reg_image_ids())
    waiting = [i for i in names if i not in placed]
    progress = True
    while progress:
        progress = False
        for image in list(waiting):
            matched = [found for other, found in partners[image] if other in placed]
            points = [point_of[other][found[:, 1]] for other, found in partners[image] if other in placed]
            if not matched:
                continue
            feature, number = np.concatenate([f[:, 0] for f in matched]), np.concatenate(points)
            feature, first = np.unique(feature[number >= 0], return_index=True)
            number = number[number >= 0][first]
            if len(feature) < _MIN_POINTS:
                continue
            camera = _camera_for(image, model, placed)
            xyz = np.array([model.point3D(n).xyz for n in number.tolist()])
            seen = pixels[image][feature]
            found = pycolmap.estimate_and_refine_absolute_pose(seen, xyz, camera, options)
            if found is None or found["num_inliers"] < max(_MIN_POINTS, _MIN_SHARE * len(feature)):
                continue
            if not model.exists_camera(camera.camera_id):
                model.add_camera_with_trivial_rig(camera)
            added = pycolmap.Image(
                name=names[image], keypoints=pixels[image], camera_id=camera.camera_id, image_id=image
            )
            model.add_image_with_trivial_frame(added, found["cam_from_world"])
            good = np.asarray(found["inlier_mask"], bool)
            for f, n in zip(feature[good].tolist(), number[good].tolist(), strict=True):
                if point_of[image][f] < 0 and image not in {e.image_id for e in model.point3D(n).track.elements}:
                    model.add_observation(n, pycolmap.TrackElement(image, f))
                    point_of[image][f] = n
            placed.add(image)
            waiting.remove(image)
            progress = True


def _camera_for(image: int, model: pycolmap.Reconstruction, placed: set[int]) -> pycolmap.Camera:
    """The camera that all images share; one between its neighbours' where every image has its own."""
    if len(model.cameras) == 1:
        return next(iter(model.cameras.values()))
    near = sorted(placed)
    logs = [np.log(lens_of(model.image(i).camera)[0]) for i in near]
    other = model.image(min(near, key=lambda i: abs(i - image))).camera
    return pycolmap.Camera(
        camera_id=image,
        model=other.model,
        width=other.width,
        height=other.height,
        params=[float(np.exp(np.interp(image, near, logs))), *other.params[1:]],
    )
