"""Cameras that only turn: rotations, and the focal length of the clip or of every frame, without any translation.

Bundle adjustment of rotations over matched rays, as panoramas are made (Brown & Lowe, Automatic Panoramic Image
Stitching, IJCV 2007, section 4), with the focal lengths of a zoom held smooth over time.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from engine.poses.features import Matches
from engine.poses.parallax import rays_of, rotation_between, tolerance

_MATCHES_PER_PAIR = 40
_MATCHES_TO_START, _FEWEST = 20_000, 8
"""Of all pairs, while the focal length to start from is chosen, but of each pair so many."""
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
_NEAREST = 0.05
"""Depth of a ray in the second camera below which it is not divided by: that match is wrong anyway."""
_STEPS = 30

Floats = NDArray[np.float64]
Sparse = Any  # of scipy, which tells no types


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
    problem = _problem(matches, images, _MATCHES_PER_PAIR)
    few = min(_MATCHES_PER_PAIR, max(_FEWEST, _MATCHES_TO_START // len(problem.edges)))
    thin = _problem(matches, images, few)
    starts = [focal] if focal is not None else [ratio * matches.long_side for ratio in _FOCALS]
    tried = [_minimise(thin, _start(thin, start, zooms), zooms, focal is not None, 10) for start in starts]
    state, _ = min(tried, key=lambda found: found[1])
    state, cost = _minimise(problem, state, zooms, focal is not None, _STEPS)
    errors = np.linalg.norm(_residuals(problem, state), axis=1)
    seen_in = np.concatenate([problem.first, problem.second])
    by_image = np.concatenate([errors, errors])[np.argsort(seen_in, kind="stable")]
    of_each = np.split(by_image, np.cumsum(np.bincount(seen_in, minlength=problem.count))[:-1])
    return Turning(
        images=np.array(images, np.int64),
        camera_from_world=state.rotation,
        focal=np.exp(state.log_focal),
        k1=state.k1,
        focal_std=0.0 if focal is not None else _focal_std(problem, state, zooms),
        share=float((errors < tolerance(problem.side)).mean()),
        error_px=np.array([np.median(of_one) for of_one in of_each]),
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
    sizes = Counter(label.values())
    largest = max(sizes, key=lambda name: (sizes[name], -name))
    return [image for image in matches.images if label[image] == largest]


def _problem(matches: Matches, images: Sequence[int], per_pair: int) -> _Problem:
    row = {image: index for index, image in enumerate(images)}
    first, second, a, b, edges = [], [], [], [], [0]
    centre = matches.centre
    for (i, j), found in matches.pairs.items():
        if i in row and j in row and len(found) >= _MIN_MATCHES:
            some = slice(None, None, max(1, len(found) // per_pair))
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
    of_image: list[list[int]] = [[] for _ in range(problem.count)]
    for best, (low, _) in enumerate(pairs):
        of_image[problem.first[low]].append(best)
        of_image[problem.second[low]].append(best)
    rotation = np.tile(np.eye(3), (problem.count, 1, 1))
    log_focal = np.full(problem.count, np.log(focal))
    placed = {int(problem.first[0])}
    waiting = list(of_image[problem.first[0]])
    heapq.heapify(waiting)
    while waiting:
        low, high = pairs[heapq.heappop(waiting)]
        i, j = int(problem.first[low]), int(problem.second[low])
        if i in placed and j in placed:
            continue
        a, b = problem.a[low:high], problem.b[low:high]
        growth = np.log(_growth(a, b)) if zooms else 0.0
        new = j if i in placed else i
        if new == j:
            log_focal[j] = log_focal[i] + growth
        else:
            log_focal[i] = log_focal[j] - growth
        x, y = rays_of(a, float(np.exp(log_focal[i])), 0.0), rays_of(b, float(np.exp(log_focal[j])), 0.0)
        turn = rotation_between(x, y, 2 * tolerance(problem.side) / focal)
        rotation[new] = turn @ rotation[i] if new == j else turn.T @ rotation[j]
        placed.add(new)
        for best in of_image[new]:
            heapq.heappush(waiting, best)
    return _State(rotation, log_focal, 0.0)


def _growth(a: Floats, b: Floats) -> float:
    """How much larger the picture has become from `a` to `b`: median over pairs of matches."""
    order = np.random.default_rng(0).permutation(len(a))
    before = np.linalg.norm(a - a[order], axis=1)
    after = np.linalg.norm(b - b[order], axis=1)
    far = before > np.median(before)
    return float(np.median(after[far] / before[far])) if far.any() else 1.0


@dataclass(frozen=True)
class _Sight:
    """How matches are seen by cameras that only turn.

    Attributes:
        ray: (M, 3) in the first camera, depth 1.
        second_from_first: (M, 3, 3).
        there: (M, 3) the ray in the second camera.
        depth: (M,) of `there`, not below `_NEAREST`.
        xy: (M, 2) where it would be seen without distortion, for a focal length of 1.
        focal: (M, 1) of the second camera.
        k1: radial distortion.
    """

    ray: Floats
    second_from_first: Floats
    there: Floats
    depth: Floats
    xy: Floats
    focal: Floats
    k1: float

    @classmethod
    def of(cls, problem: _Problem, state: _State) -> _Sight:
        """Of all matches of a problem."""
        seen = problem.a / np.exp(state.log_focal[problem.first])[:, None]
        ideal = seen
        for _ in range(6):
            ideal = seen / (1.0 + state.k1 * (ideal**2).sum(axis=1, keepdims=True))
        ray = np.column_stack([ideal, np.ones(len(ideal))])
        relative = state.rotation[problem.second[problem.edges]] @ np.moveaxis(
            state.rotation[problem.first[problem.edges]], 1, 2
        )
        relative = np.repeat(relative, np.diff(problem.edges, append=len(ray)), axis=0)
        there = np.einsum("mij,mj->mi", relative, ray)
        depth = np.maximum(there[:, 2], _NEAREST)
        focal = np.exp(state.log_focal[problem.second])[:, None]
        return cls(ray, relative, there, depth, there[:, :2] / depth[:, None], focal, state.k1)

    @property
    def pixels(self) -> Floats:
        """(M, 2) in the second image, off the centre."""
        seen: Floats = self.focal * _distorted(self.xy, self.k1)
        return seen

    def jacobian(self) -> Floats:
        """(M, 2, 9): how `pixels` change with turns of the first and second cameras, by `exp(change) @ rotation`, with
        their log focal lengths, and with k1.
        """
        by_xy = self.focal[..., None] * _by_xy(self.xy, self.k1)
        by_depth = -(by_xy @ self.xy[..., None]) * (self.there[:, 2] > _NEAREST)[:, None, None]
        by_there = np.concatenate([by_xy, by_depth], axis=2) / self.depth[:, None, None]
        by_ray = by_there @ self.second_from_first
        ideal = self.ray[:, :2]
        by_seen = by_ray[..., :2] @ _by_distorted(ideal, self.k1)
        undistorted = by_seen @ (ideal * (ideal**2).sum(axis=1, keepdims=True))[..., None]
        distorted = (self.focal * self.xy * (self.xy**2).sum(axis=1, keepdims=True))[..., None]
        return np.concatenate(
            [
                -np.cross(self.ray[:, None], by_ray),
                np.cross(self.there[:, None], by_there),
                -by_seen @ _distorted(ideal, self.k1)[..., None],
                self.pixels[..., None],
                distorted - undistorted,
            ],
            axis=2,
        )


def _distorted(xy: Floats, k1: float) -> Floats:
    seen: Floats = xy * (1.0 + k1 * (xy**2).sum(axis=1, keepdims=True))
    return seen


def _by_xy(xy: Floats, k1: float) -> Floats:
    """(M, 2, 2) derivative of `_distorted`."""
    growth = (1.0 + k1 * (xy**2).sum(axis=1))[:, None, None]
    derivative: Floats = growth * np.eye(2) + 2.0 * k1 * xy[:, :, None] * xy[:, None, :]
    return derivative


def _by_distorted(xy: Floats, k1: float) -> Floats:
    """(M, 2, 2) inverse of `_by_xy` (Sherman & Morrison 1950)."""
    square = (xy**2).sum(axis=1)[:, None, None]
    outer = 2.0 * k1 * xy[:, :, None] * xy[:, None, :] / (1.0 + 3.0 * k1 * square)
    inverse: Floats = (np.eye(2) - outer) / (1.0 + k1 * square)
    return inverse


def _residuals(problem: _Problem, state: _State) -> Floats:
    """(M, 2) pixels."""
    return _Sight.of(problem, state).pixels - problem.b


def _turned(rotation: Floats, vector: Floats) -> Floats:
    """exp(vector) @ rotation (N, 3, 3), for vectors (N, 3)."""
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


def _normal(problem: _Problem, state: _State, zooms: bool) -> tuple[Sparse, Floats]:
    """Normal equations (U, U), (U,) of the U = 4 N + 1 unknowns: three turns and a log focal length per image, k1."""
    unit, sight = _NOISE * problem.side, _Sight.of(problem, state)
    residuals, jacobian = (sight.pixels - problem.b) / unit, sight.jacobian() / unit
    weight = 1.0 / (1.0 + (residuals**2).sum(axis=1))
    weighted = np.moveaxis(jacobian * weight[:, None, None], 1, 2)
    blocks = np.add.reduceat(weighted @ jacobian, problem.edges)
    slopes = np.add.reduceat((weighted @ residuals[..., None])[..., 0], problem.edges)
    n = problem.count
    i, j = problem.first[problem.edges], problem.second[problem.edges]
    turns = [3 * i, 3 * i + 1, 3 * i + 2, 3 * j, 3 * j + 1, 3 * j + 2]
    place = np.column_stack([*turns, 3 * n + i, 3 * n + j, np.full(len(i), 4 * n)])
    rows, columns = np.broadcast_arrays(place[:, :, None], place[:, None, :])
    vector = np.zeros(4 * n + 1)
    np.add.at(vector, place, slopes)
    matrix = sparse.csc_array((blocks.ravel(), (rows.ravel(), columns.ravel())), shape=(4 * n + 1, 4 * n + 1))
    prior = np.zeros(4 * n + 1)
    prior[3 * n : 4 * n], prior[-1] = 1.0 / n / _FOCAL_SPREAD**2, 1.0 / _RADIAL_SPREAD**2
    matrix += sparse.diags_array(prior)
    vector[3 * n : 4 * n] += prior[3 * n : 4 * n] * (state.log_focal - np.log(_COMMON_FOCAL * problem.side))
    vector[-1] += prior[-1] * state.k1
    if zooms:
        bend = sparse.diags_array([1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(n - 2, n)) / _ZOOM_SPREAD
        turned, k1 = sparse.csc_array((3 * n, 3 * n)), sparse.csc_array((1, 1))
        matrix += sparse.block_diag([turned, bend.T @ bend, k1])
        vector[3 * n : 4 * n] += bend.T @ (bend @ state.log_focal)
    return matrix, vector


def _free(count: int, zooms: bool, held: bool) -> Sparse:
    """(4 N + 1, F): the changes of the unknowns that are allowed. The first camera stays where it is."""
    turns = sparse.eye_array(3 * count, format="csc")[:, 3:]
    if held:
        focals = sparse.csc_array((count, 0))
    else:
        focals = sparse.eye_array(count) if zooms else sparse.csc_array(np.ones((count, 1)))
    return sparse.block_diag([turns, focals, np.ones((1, 1))], format="csc")


def _solved(matrix: Sparse, vector: Floats) -> Floats:
    """`x` where `matrix x = vector`; sparse, since each camera shares matches with a few others only."""
    solution: Floats = splu(
        matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    ).solve(vector)
    return solution


def _minimise(problem: _Problem, state: _State, zooms: bool, held: bool, steps: int) -> tuple[_State, float]:
    """Levenberg-Marquardt with reweighting; the state and its cost."""
    n, free = problem.count, _free(problem.count, zooms, held)
    cost, damping = _cost(problem, _residuals(problem, state), state, zooms), 1e-3
    for _ in range(steps):
        matrix, vector = _normal(problem, state, zooms)
        matrix, vector = free.T @ matrix @ free, free.T @ vector
        while damping < 1e6:
            change = free @ _solved(matrix + damping * sparse.diags_array(matrix.diagonal()), -vector)
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
    mean = np.zeros(4 * n + 1)
    mean[3 * n : 4 * n] = 1.0 / n
    return _OPTIMISM * float(np.sqrt(mean @ free @ _solved(free.T @ matrix @ free, free.T @ mean)))
