"""Cameras that only turn: rotations, and the focal length of the clip or of every frame, without any translation.

Bundle adjustment of rotations over matched rays, as panoramas are made (Brown & Lowe, Automatic Panoramic Image
Stitching, IJCV 2007, section 4), with the focal lengths of a zoom held smooth over time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.poses.features import Matches
from engine.poses.parallax import rays_of, rotation_between, tolerance

_MATCHES_PER_PAIR = 40
_MIN_MATCHES = 15
_FOCALS = (0.5, 0.8, 1.2, 2.0, 3.5)
"""Focal lengths over the long side to start from."""
_COMMON_FOCAL, _FOCAL_SPREAD = 1.0, 0.7
"""What focal lengths are like where the pictures do not tell: over the long side, and its deviation in logarithm."""
_RADIAL_SPREAD = 0.1
_ZOOM_SPREAD = 0.003
"""Deviation of the second difference of a zoom's log focal length from frame to frame."""
_NOISE = 0.0007
"""Of the long side: standard deviation of a match, and where its weight begins to fall."""
_OPTIMISM = 3.0
"""The covariance takes all matches as independent and the lens model as exact; neither holds."""
_STEPS = 30

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Turning:
    """Cameras in one place.

    Attributes:
        images: (N,) ids of the images that hang together, in order.
        camera_from_world: (N, 3, 3) rotations.
        focal: (N,) pixels.
        k1: radial distortion.
        focal_std: one relative standard deviation of the focal lengths' common factor.
        share: of the matches that these cameras explain within `parallax.tolerance`.
        error_px: (N,) median error of the matches of each image.
        cost: what was minimised.
    """

    images: NDArray[np.int64]
    camera_from_world: Floats
    focal: Floats
    k1: float
    focal_std: float
    share: float
    error_px: Floats
    cost: float


@dataclass(frozen=True)
class _Problem:
    """Matches between cameras in one place: `first` and `second` (M,) rows, `a` and `b` (M, 2) pixels off the centre.

    `edges` holds where the matches of each pair begin.
    """

    count: int
    side: float
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    a: Floats
    b: Floats
    edges: NDArray[np.int64]


@dataclass(frozen=True)
class _State:
    """camera_from_world (N, 3, 3), log focal length (N,) and k1."""

    rotation: Floats
    log_focal: Floats
    k1: float


def solve_turning(matches: Matches, *, zooms: bool, focal: float | None = None) -> Turning | None:
    """Solve the rotations and the lens of a camera that stays in one place.

    Args:
        matches: verified matches.
        zooms: the focal length may change over time.
        focal: known, pixels of the pictures; None = estimate.

    Returns:
        The cameras of the largest group of images that hang together; None where there are fewer than three.
    """
    images = _largest_group(matches)
    if len(images) < 3:
        return None
    problem = _problem(matches, images)
    starts = [focal] if focal is not None else [ratio * matches.long_side for ratio in _FOCALS]
    tried = [_minimise(problem, _start(problem, start, zooms), zooms, focal is not None, 10) for start in starts]
    state, _ = min(tried, key=lambda found: found[1])
    state, cost = _minimise(problem, state, zooms, focal is not None, _STEPS)
    errors = np.linalg.norm(_residuals(problem, state), axis=1)
    both = np.concatenate([problem.first, problem.second]), np.concatenate([errors, errors])
    return Turning(
        images=np.array(images, np.int64),
        camera_from_world=state.rotation,
        focal=np.exp(state.log_focal),
        k1=state.k1,
        focal_std=0.0 if focal is not None else _focal_std(problem, state, zooms),
        share=float((errors < tolerance(problem.side)).mean()),
        error_px=np.array([np.median(both[1][both[0] == row]) for row in range(problem.count)]),
        cost=cost,
    )


def _largest_group(matches: Matches) -> list[int]:
    """Images that are joined by pairs with enough matches, in order."""
    label = {image: image for image in matches.images}
    joined = [pair for pair, found in matches.pairs.items() if len(found) >= _MIN_MATCHES]
    for _ in matches.images:
        before = dict(label)
        for i, j in joined:
            label[i] = label[j] = min(label[i], label[j])
        if label == before:
            break
    sizes = {name: sum(other == name for other in label.values()) for name in label.values()}
    largest = max(sizes, key=lambda name: (sizes[name], -name))
    return [image for image in matches.images if label[image] == largest]


def _problem(matches: Matches, images: Sequence[int]) -> _Problem:
    row = {image: index for index, image in enumerate(images)}
    first, second, a, b, edges = [], [], [], [], [0]
    centre = matches.centre
    for (i, j), found in matches.pairs.items():
        if i in row and j in row and len(found) >= _MIN_MATCHES:
            some = slice(None, None, max(1, len(found) // _MATCHES_PER_PAIR))
            x, y = matches.pixels_of((i, j))
            a.append(x[some] - centre)
            b.append(y[some] - centre)
            first.append(np.full(len(a[-1]), row[i]))
            second.append(np.full(len(a[-1]), row[j]))
            edges.append(edges[-1] + len(a[-1]))
    return _Problem(
        len(images),
        float(matches.long_side),
        np.concatenate(first),
        np.concatenate(second),
        np.concatenate(a),
        np.concatenate(b),
        np.array(edges[:-1]),
    )


def _start(problem: _Problem, focal: float, zooms: bool) -> _State:
    """Rotations, and relative focal lengths of a zoom, chained along the pairs with the most matches."""
    ends = np.append(problem.edges[1:], len(problem.first))
    pairs = sorted(zip(problem.edges.tolist(), ends.tolist(), strict=True), key=lambda span: span[0] - span[1])
    rotation = np.tile(np.eye(3), (problem.count, 1, 1))
    log_focal = np.full(problem.count, np.log(focal))
    placed = {int(problem.first[0])}
    while len(placed) < problem.count:
        for low, high in pairs:
            i, j = int(problem.first[low]), int(problem.second[low])
            if (i in placed) == (j in placed):
                continue
            a, b = problem.a[low:high], problem.b[low:high]
            growth = np.log(_growth(a, b)) if zooms else 0.0
            if i in placed:
                log_focal[j] = log_focal[i] + growth
            else:
                log_focal[i] = log_focal[j] - growth
            x, y = rays_of(a, float(np.exp(log_focal[i])), 0.0), rays_of(b, float(np.exp(log_focal[j])), 0.0)
            turn = rotation_between(x, y, 2 * tolerance(problem.side) / focal)
            if i in placed:
                rotation[j] = turn @ rotation[i]
            else:
                rotation[i] = turn.T @ rotation[j]
            placed |= {i, j}
            break
    return _State(rotation, log_focal, 0.0)


def _growth(a: Floats, b: Floats) -> float:
    """How much larger the picture has become from `a` to `b`: median over pairs of matches."""
    order = np.random.default_rng(0).permutation(len(a))
    before = np.linalg.norm(a - a[order], axis=1)
    after = np.linalg.norm(b - b[order], axis=1)
    far = before > np.median(before)
    return float(np.median(after[far] / before[far])) if far.any() else 1.0


def _residuals(problem: _Problem, state: _State, small: Floats | None = None) -> Floats:
    """(M, 2) pixels; `small` (9,): turns of the first and second cameras, their log focals, and k1, each a change."""
    change = np.zeros(9) if small is None else small
    k1 = state.k1 + float(change[8])
    focal_a = np.exp(state.log_focal[problem.first] + change[6])[:, None]
    focal_b = np.exp(state.log_focal[problem.second] + change[7])[:, None]
    seen = problem.a / focal_a
    ideal = seen
    for _ in range(6):
        ideal = seen / (1.0 + k1 * (ideal**2).sum(axis=1, keepdims=True))
    ray = np.column_stack([ideal, np.ones(len(ideal))])
    world = np.einsum("mji,mj->mi", _turned(state.rotation, change[:3])[problem.first], ray)
    there = np.einsum("mij,mj->mi", _turned(state.rotation, change[3:6])[problem.second], world)
    xy = there[:, :2] / np.maximum(there[:, 2:], 0.05)
    residuals: Floats = focal_b * xy * (1.0 + k1 * (xy**2).sum(axis=1, keepdims=True)) - problem.b
    return residuals


def _turned(rotation: Floats, vector: Floats) -> Floats:
    """exp(vector) @ rotation, for small vectors (3,) or (N, 3); orthonormal again for all of them."""
    if not vector.any():
        return rotation
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)[..., None] + 1e-300
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([np.stack([zero, -z, y], -1), np.stack([z, zero, -x], -1), np.stack([-y, x, zero], -1)], -2)
    turn = np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * cross @ cross
    turned: Floats = turn @ rotation
    return turned


def _cost(problem: _Problem, residuals: Floats, state: _State, zooms: bool) -> float:
    """Cauchy's loss of the matches and the priors, in units of the noise."""
    unit = _NOISE * problem.side
    value = np.log1p((residuals**2).sum(axis=1) / unit**2).sum()
    gap = (state.log_focal - np.log(_COMMON_FOCAL * problem.side)) / _FOCAL_SPREAD
    value += (gap**2).mean() + (state.k1 / _RADIAL_SPREAD) ** 2
    if zooms:
        value += ((np.diff(state.log_focal, 2) / _ZOOM_SPREAD) ** 2).sum()
    return float(value)


def _normal(problem: _Problem, state: _State, zooms: bool) -> tuple[Floats, Floats]:
    """Normal equations (U, U), (U,) of the U = 4 N + 1 unknowns: three turns and a log focal length per image, k1."""
    residuals = _residuals(problem, state)
    unit, step = _NOISE * problem.side, 1e-6
    columns = [
        (_residuals(problem, state, step * axis) - _residuals(problem, state, -step * axis)) / (2 * step * unit)
        for axis in np.eye(9)
    ]
    jacobian = np.stack(columns, axis=-1)
    weight = 1.0 / (1.0 + (residuals**2).sum(axis=1) / unit**2)
    weighted = jacobian * weight[:, None, None]
    blocks = np.add.reduceat(np.einsum("mka,mkb->mab", weighted, jacobian), problem.edges)
    slopes = np.add.reduceat(np.einsum("mka,mk->ma", weighted, residuals / unit), problem.edges)
    n = problem.count
    i, j = problem.first[problem.edges], problem.second[problem.edges]
    turns = [3 * i, 3 * i + 1, 3 * i + 2, 3 * j, 3 * j + 1, 3 * j + 2]
    place = np.column_stack([*turns, 3 * n + i, 3 * n + j, np.full(len(i), 4 * n)])
    matrix, vector = np.zeros((4 * n + 1, 4 * n + 1)), np.zeros(4 * n + 1)
    np.add.at(matrix, (place[:, :, None], place[:, None, :]), blocks)
    np.add.at(vector, place, slopes)
    focals = slice(3 * n, 4 * n)
    gap = state.log_focal - np.log(_COMMON_FOCAL * problem.side)
    matrix[focals, focals] += np.eye(n) / n / _FOCAL_SPREAD**2
    vector[focals] += gap / n / _FOCAL_SPREAD**2
    matrix[-1, -1] += 1.0 / _RADIAL_SPREAD**2
    vector[-1] += state.k1 / _RADIAL_SPREAD**2
    if zooms:
        bend = np.diff(np.eye(n), 2, axis=0) / _ZOOM_SPREAD
        matrix[focals, focals] += bend.T @ bend
        vector[focals] += bend.T @ (bend @ state.log_focal)
    return matrix, vector


def _free(count: int, zooms: bool, held: bool) -> Floats:
    """(4 N + 1, F): the changes of the unknowns that are allowed. The first camera stays where it is."""
    basis = np.eye(4 * count + 1)[:, 3:]
    if zooms and not held:
        return basis
    fewer = np.delete(basis, np.s_[3 * count - 3 : 4 * count - 3], axis=1)
    together = basis[:, 3 * count - 3 : 4 * count - 3].sum(axis=1, keepdims=True)
    return fewer if held else np.hstack([fewer, together])


def _minimise(problem: _Problem, state: _State, zooms: bool, held: bool, steps: int) -> tuple[_State, float]:
    """Levenberg-Marquardt with reweighting; the state and its cost."""
    n, free = problem.count, _free(problem.count, zooms, held)
    cost, damping = _cost(problem, _residuals(problem, state), state, zooms), 1e-3
    for _ in range(steps):
        matrix, vector = _normal(problem, state, zooms)
        matrix, vector = free.T @ matrix @ free, free.T @ vector
        while damping < 1e6:
            change = free @ np.linalg.solve(matrix + damping * np.diag(np.diag(matrix)), -vector)
            tried = _State(
                _turned(state.rotation, change[: 3 * n].reshape(n, 3)),
                np.clip(state.log_focal + change[3 * n : 4 * n], np.log(0.2 * problem.side), np.log(20 * problem.side)),
                float(np.clip(state.k1 + change[-1], -0.5, 0.5)),
            )
            new = _cost(problem, _residuals(problem, tried), tried, zooms)
            if new < cost:
                break
            damping *= 5.0
        else:
            return state, cost
        gain, state, cost, damping = cost - new, tried, new, damping / 5.0
        if gain < 1e-5 * cost:
            break
    return state, cost


def _focal_std(problem: _Problem, state: _State, zooms: bool) -> float:
    """Relative standard deviation of the mean log focal length, by the inverse of the normal equations."""
    n, free = problem.count, _free(problem.count, zooms, held=False)
    matrix, _ = _normal(problem, state, zooms)
    covariance = np.linalg.inv(free.T @ matrix @ free)
    mean = np.zeros(4 * n + 1)
    mean[3 * n : 4 * n] = 1.0 / n
    return _OPTIMISM * float(np.sqrt(mean @ free @ covariance @ free.T @ mean))
