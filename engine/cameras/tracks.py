"""Points that the artist followed, as features and matches beside the solver's own. For the solving process only.

They lie behind the features of each picture, which have descriptors; they have none and are never matched by looks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.cameras.document import FollowedPoints

_KEYPOINT_COLUMNS = 2
_MIN_MATCHES = 15
"""Verified matches that make a pair of pictures count, as in COLMAP's mappers."""


def join_tracks(database: Path, points: FollowedPoints, numbers: dict[str, int], seed: int) -> int:
    """Add followed points to a database of features and matches; every pair that shares some is verified again.

    Verification treats them like every other match: a point on something that moves by itself is left out.
    Doing it twice is the same as doing it once.

    Args:
        database: of pictures that have been matched.
        points: what was followed.
        numbers: name of a picture -> plate frame number.
        seed: of the verification.

    Returns:
        The number of observations added.
    """
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = seed
    added = 0
    with pycolmap.Database.open(database) as data:
        cameras = {camera.camera_id: camera for camera in data.read_all_cameras()}
        rows: dict[int, tuple[int, dict[int, int]]] = {}
        pixels: dict[int, NDArray[np.float64]] = {}
        images = {image.image_id: image for image in data.read_all_images()}
        for image_id, image in sorted(images.items()):
            camera = cameras[image.camera_id]
            seen = np.flatnonzero(points.frame == numbers[image.name])
            own = data.num_descriptors_for_image(image_id)
            keypoints = data.read_keypoints(image_id)[:own]
            scale = np.array([camera.width, camera.height]) / points.size
            extra = np.zeros((len(seen), max(keypoints.shape[1], _KEYPOINT_COLUMNS)), np.float32)
            extra[:, :2] = points.pixel[seen] * scale
            merged = np.concatenate([keypoints.reshape(-1, extra.shape[1]), extra])
            data.update_keypoints(image_id, merged)
            rows[image_id] = own, dict(zip(points.track[seen].tolist(), range(own, own + len(seen)), strict=True))
            pixels[image_id] = merged[:, :2].astype(np.float64)
            added += len(seen)
        pairs, matches = data.read_all_matches()
        for pair, features in zip(pairs, matches, strict=True):
            a, b = pycolmap.pair_id_to_image_pair(pair)
            (own_a, seen_a), (own_b, seen_b) = rows[a], rows[b]
            shared = [(seen_a[track], seen_b[track]) for track in sorted(set(seen_a) & set(seen_b))]
            if not shared:
                continue
            by_looks = np.asarray(features, np.uint32).reshape(-1, 2)
            by_looks = by_looks[(by_looks[:, 0] < own_a) & (by_looks[:, 1] < own_b)]
            every = np.concatenate([by_looks, np.array(shared, np.uint32)])
            data.delete_matches(a, b)
            data.write_matches(a, b, every)
            if data.exists_two_view_geometry(a, b):
                data.delete_two_view_geometry(a, b)
            if len(every) >= _MIN_MATCHES:
                geometry = pycolmap.estimate_two_view_geometry(
                    cameras[images[a].camera_id], pixels[a], cameras[images[b].camera_id], pixels[b], every, options
                )
                data.write_two_view_geometry(a, b, geometry)
    return added
