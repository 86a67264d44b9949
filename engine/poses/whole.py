"""Which frames of a model hang together: frames that share nothing have no place in one world."""

from __future__ import annotations

from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy import sparse

SUPPORT = 15
"""So many points, each seen by two other frames of a part as well, tie a frame to that part. Frames of real clips that
belong there have hundreds, false matches leave none or a few."""
_MIN_TRACK = 3
_LEAP_DEPTHS, _LEAP_STEPS = 0.3, 10.0
"""A frame lies apart whose step from the frame before is longer than that share of the distance of what it sees, and
than that many times the usual step."""


Sparse = Any  # of scipy, which tells no types


def keep_whole(model: pycolmap.Reconstruction) -> list[int]:
    """Take the cameras out of a model that do not hang together with most others.

    Two rules: points tie them together (`connected_parts`), and no step between neighbouring frames leaps out of what
    they see (`without_leaps`). Cameras or points that are not finite go first.

    Args:
        model: changed.

    Returns:
        Ids of the images that were taken out.
    """
    before = sorted(model.reg_image_ids())
    _drop_not_finite(model)
    parts = connected_parts(model)
    _keep(model, parts[0] if parts else [])
    _keep(model, without_leaps(model))
    kept = set(model.reg_image_ids())
    return [i for i in before if i not in kept]


def connected_parts(model: pycolmap.Reconstruction) -> list[list[int]]:
    """Image ids of each part of a model that hangs together, the largest first; parts of fewer than three are none.

    A part grows from the image with most points: an image joins it that sees `SUPPORT` points of which each is seen by
    two images of the part already.
    """
    images = sorted(model.reg_image_ids())
    row = {image: index for index, image in enumerate(images)}
    tracks = [{row[e.image_id] for e in point.track.elements if e.image_id in row} for point in model.points3D.values()]
    tracks = [track for track in tracks if len(track) >= _MIN_TRACK]
    column = np.repeat(np.arange(len(tracks)), [len(track) for track in tracks])
    rows = np.array([index for track in tracks for index in track], np.int64)
    sees = sparse.csr_array((np.ones(len(rows), np.int64), (rows, column)), shape=(len(images), len(tracks)))
    waiting, parts = np.ones(len(images), bool), []
    while waiting.any():
        part = _grown(sees, waiting)
        waiting &= ~part
        if part.sum() >= 3:
            parts.append([images[i] for i in np.flatnonzero(part)])
    return sorted(parts, key=len, reverse=True)


def without_leaps(model: pycolmap.Reconstruction) -> list[int]:
    """Image ids of the longest way through a model, in the order of the frames, that does not leap.

    Images are numbered in the order of the frames. An image goes on with the first way whose last image is within
    reach, so that single images far off do not end the way of the others.
    """
    images = sorted(model.reg_image_ids())
    if len(images) < 3:
        return images
    centres = np.array([model.image(i).projection_center() for i in images])
    depths = _depths(model, images)
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1) / np.diff(images)
    usual = float(np.median(steps))
    ways: list[list[int]] = []
    for index in range(len(images)):
        for way in ways:
            last = way[-1]
            step = float(np.linalg.norm(centres[index] - centres[last])) / (images[index] - images[last])
            if step <= max(_LEAP_DEPTHS * min(depths[index], depths[last]), _LEAP_STEPS * usual):
                way.append(index)
                break
        else:
            ways.append([index])
    return [images[index] for index in max(ways, key=len)]


def _grown(sees: Sparse, waiting: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) the part that grows from that waiting image which sees most points; `sees` (N, P) holds 1 where it does."""
    part = np.zeros(len(waiting), bool)
    part[int(np.argmax(np.where(waiting, sees.sum(axis=1), -1)))] = True
    shared = np.where(waiting & ~part, sees @ (part @ sees), 0)
    if shared.max(initial=0) < SUPPORT:
        return part
    part[int(np.argmax(shared))] = True
    while True:
        support = sees @ (part @ sees >= 2).astype(np.int64)
        joins = waiting & ~part & (support >= SUPPORT)
        if not joins.any():
            return part
        part |= joins


def _depths(model: pycolmap.Reconstruction, images: list[int]) -> NDArray[np.float64]:
    """(N,) median distance of what each image sees; infinite where it sees nothing."""
    seen: dict[int, list[NDArray[np.float64]]] = {i: [] for i in images}
    for point in model.points3D.values():
        for element in point.track.elements:
            if element.image_id in seen:
                seen[element.image_id].append(point.xyz)
    depths = []
    for image, points in seen.items():
        away = np.linalg.norm(np.reshape(points, (-1, 3)) - model.image(image).projection_center(), axis=1)
        depths.append(float(np.median(away)) if len(away) else np.inf)
    return np.array(depths)


def _drop_not_finite(model: pycolmap.Reconstruction) -> None:
    for number in [n for n, point in model.points3D.items() if not np.isfinite(point.xyz).all()]:
        model.delete_point3D(number)
    finite = [
        i
        for i in model.reg_image_ids()
        if np.isfinite(model.image(i).cam_from_world().matrix()).all()
        and np.isfinite(model.image(i).camera.params).all()
    ]
    _keep(model, finite)


def _keep(model: pycolmap.Reconstruction, images: list[int]) -> None:
    for image in sorted(set(model.reg_image_ids()) - set(images)):
        model.deregister_frame(model.image(image).frame_id)
