"""How well cameras predict where a track is seen in frames that had no part in placing it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_MAX_TRACKS = 3000
_MIN_LENGTH = 4


@dataclass(frozen=True)
class Tracks:
    """Features matched over frames, straight from the verified matches and so the same for every model.

    Attributes:
        track: (M,) track of each observation, ascending.
        image: (M,) image of each observation, ascending within a track.
        feature: (M,) feature of that image.
    """

    track: NDArray[np.int64]
    image: NDArray[np.int64]
    feature: NDArray[np.int64]


def build_tracks(matches: dict[tuple[int, int], NDArray[np.int64]], counts: dict[int, int], seed: int) -> Tracks:
    """Join pairwise matches to tracks; tracks that meet an image twice or in fewer than four images are dropped.

    Args:
        matches: (image, image) -> (n, 2) features of the one and the other.
        counts: image -> number of features.
        seed: picks at most 3000 of the tracks.
    """
    images = sorted(counts)
    start = dict(zip(images, np.cumsum([0] + [counts[i] for i in images[:-1]]).tolist(), strict=True))
    owner = np.repeat(images, [counts[i] for i in images])
    edges = np.concatenate(
        [m + np.array([start[i], start[j]]) for (i, j), m in sorted(matches.items())] or [np.zeros((0, 2), np.int64)]
    )
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(len(owner), len(owner)))
    label = connected_components(graph, directed=False)[1]
    parent = np.unique(label, return_index=True)[1][label]  # the first of its observations
    node = np.flatnonzero(np.bincount(parent, minlength=len(parent))[parent] >= _MIN_LENGTH)
    node = node[np.lexsort((owner[node], parent[node]))]
    root, image = parent[node], owner[node]
    twice = np.unique(root[1:][(root[1:] == root[:-1]) & (image[1:] == image[:-1])])
    roots = np.setdiff1d(root, twice)
    if len(roots) > _MAX_TRACKS:
        roots = np.sort(np.random.default_rng(seed).choice(roots, _MAX_TRACKS, replace=False))
    keep = np.isin(root, roots)
    root, image, node = root[keep], image[keep], node[keep]
    return Tracks(np.searchsorted(roots, root), image, node - np.array([start[i] for i in image], dtype=np.int64))


def held_out_errors(
    track: NDArray[np.int64],
    rays: NDArray[np.float64],
    camera_from_world: NDArray[np.float64],
    focal: float | NDArray[np.float64],
) -> NDArray[np.float64]:
    """Reprojection error of every other observation of each track, after triangulation from the others.

    Args:
        track: (M,) track of each observation, ascending.
        rays: (M, 2) undistorted normalised image coordinates; NaN where a lens cannot have made that pixel.
        camera_from_world: (M, 3, 4) of the image of each observation.
        focal: pixels, one for all or (M,).

    Returns:
        Errors in pixels of the observations that `is_held_out`; infinite behind a camera, where nothing can be
        triangulated, and where rays, cameras or focal length are not finite.
    """
    scale = np.broadcast_to(focal, len(track))
    finite = np.isfinite(rays).all(axis=1) & np.isfinite(camera_from_world).all(axis=(1, 2)) & np.isfinite(scale)
    rays = np.where(finite[:, None], rays, 0.0)
    camera_from_world = np.where(finite[:, None, None], camera_from_world, 0.0)
    used = (_position(track) % 2 == 0) & finite
    # Linear triangulation (Hartley & Zisserman, Multiple View Geometry, 12.2), by the normal equations of each track.
    rows = rays[:, :, None] * camera_from_world[:, 2:3, :] - camera_from_world[:, :2, :]
    normal = np.einsum("mij,mik->mjk", rows, rows)
    total = np.zeros((int(track.max(initial=-1)) + 1, 4, 4))
    np.add.at(total, track[used], normal[used])
    # Numbers as large as those of a camera that ran away may overflow in the sums.
    point = np.linalg.eigh(np.where(np.isfinite(total), total, 0.0))[1][:, :, 0]
    determined = np.bincount(track[used], minlength=len(total)) >= 2
    held = is_held_out(track)
    local = np.einsum("mij,mj->mi", camera_from_world[held], point[track[held]])
    in_front = local[:, 2] * np.sign(point[track[held], 3]) > 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = np.linalg.norm(local[:, :2] / local[:, 2:] - rays[held], axis=1) * scale[held]
    return np.where(in_front & finite[held] & determined[track[held]] & np.isfinite(error), error, np.inf)


def is_held_out(track: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(M,) whether an observation is held out: every other one of its track, where at least two remain."""
    position = _position(track)
    used = position % 2 == 0
    seen = np.bincount(track[used], minlength=int(track.max(initial=-1)) + 1)
    held: NDArray[np.bool_] = ~used & (seen[track] >= 2)
    return held


def _position(track: NDArray[np.int64]) -> NDArray[np.int64]:
    """(M,) place of each observation within its track."""
    return np.arange(len(track)) - np.searchsorted(track, track)
