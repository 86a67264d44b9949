"""From a prior's raw values to depth in the clip's own units, through the sparse points of the solved cameras.

A single-image network leaves scale (and shift, where it gives disparity) open, and chooses them anew for each frame.
Fitting them frame by frame to a few noisy points makes the depth flicker; one fit for the whole clip leaves the
network's own jumps in. So all frames are fitted at once, as a random walk: the parameters of neighbouring frames are
tied together as strongly as the clip itself says they agree (variance of the points' residuals over the variance of
the parameters from frame to frame, with what the points' noise explains taken off). Exact points tie nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import PriorError
from engine.priors.source import Output

Array = NDArray[np.float64]
Samples = tuple[Array, Array]  # of one frame: raw values and planar depth at its sparse points, (M,) each

MIN_POINTS = 10  # in the whole clip
FAR = 10.0  # times the farthest sparse point: farther than this, disparity says nothing
ITERATIONS = 10
TUKEY = 4.685  # residual, in standard deviations, from which a point has no weight: 95 % efficient on clean data
SMALLEST = 1e-6  # standard deviation of residuals: below it they are rounding
LOOSE = 1e-9  # points' worth: ties that only carry parameters into frames without points
STIFF = 1e6  # points' worth: hardly any difference between frames
EXPLAINED = 0.95  # of the variance from frame to frame, at most, is put down to the points' noise
MIN_SLOPE = 0.1  # of the clip's median: below it a frame's points do not show which way its disparity goes


@dataclass(frozen=True)
class Alignment:
    """Scale and shift of each frame.

    Attributes:
        output: what the raw values are.
        scale: (N,).
        shift: (N,), of disparity; 0 for every other output.
        far: depth that disparity is clamped to.
    """

    output: Output
    scale: Array
    shift: Array
    far: float

    def depth(self, row: int, raw: NDArray[np.floating]) -> NDArray[np.float32]:
        """Planar depth of raw values of frame `row`, of any shape; 0 where there is none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            value = self.scale[row] * raw.astype(np.float64)
            if self.output == "disparity":
                value = 1.0 / np.maximum(value + self.shift[row], 1.0 / self.far)
            return np.where(np.isfinite(value) & (value > 0), value, 0.0).astype(np.float32)


def align(output: Output, numbers: Sequence[int], samples: Sequence[Samples]) -> Alignment:
    """Fit raw values to the sparse depth of a clip.

    Args:
        output: what the raw values are.
        numbers: (N,) plate frame numbers, ascending.
        samples: per frame, raw values (NaN = none) and planar depth at its sparse points.

    Raises:
        PriorError: `prior.no_points`, too few points have a value; `prior.inverted`, near is small in what should be
            disparity.
    """
    count = len(numbers)
    ones, zeros = np.ones(count), np.zeros(count)
    sfm = np.concatenate([depth for _, depth in samples])
    far = FAR * float(np.quantile(sfm, 0.99)) if len(sfm) else np.inf
    if output == "metric":
        return Alignment(output, ones, zeros, far)
    if len(sfm) == 0:  # a camera that does not travel has no points: the prior's own unit stays
        return Alignment(output, ones, zeros, np.inf)
    usable = [_usable(output, *pair) for pair in samples]
    if sum(len(raw) for raw, _ in usable) < MIN_POINTS:
        raise PriorError(
            "prior.no_points",
            "The prior's depth could not be related to the cameras.",
            f"Fewer than {MIN_POINTS} sparse points of the clip have a value in it.",
            "Check that the maps belong to this clip, or choose another prior.",
        )
    if output == "disparity":
        return Alignment(output, *_affine(numbers, usable), far)
    # Depth up to scale: the logarithms differ by one number.
    differences = [np.log(depth) - np.log(raw) for raw, depth in usable]
    if output == "units":
        offset = _random_walk([0], [_Frame.level(np.concatenate(differences))])[0, 0] * ones
    else:
        offset = _random_walk(numbers, [_Frame.level(each) for each in differences])[:, 0]
    return Alignment(output, np.exp(offset), zeros, far)


def _usable(output: Output, raw: Array, depth: Array) -> Samples:
    good = np.isfinite(raw) & (depth > 0)
    if output != "disparity":
        good &= raw > 0
    return raw[good].astype(np.float64), depth[good].astype(np.float64)


def _affine(numbers: Sequence[int], samples: Sequence[Samples]) -> tuple[Array, Array]:
    """Scale and shift (N,) each, from raw disparity to the clip's."""
    raw = np.concatenate([x for x, _ in samples])
    unit = float(np.median(np.concatenate([1.0 / z for _, z in samples])))
    # Centred and scaled, so that slope and level hardly depend on each other and can be tied separately.
    centre, spread = float(np.median(raw)), float(raw.std()) or 1.0
    frames = [_Frame.line((x - centre) / spread, 1.0 / (z * unit)) for x, z in samples]
    slope, level = _random_walk(numbers, frames).T
    middle = float(np.median(slope))
    if middle <= 0:
        raise PriorError(
            "prior.inverted",
            "The prior is not disparity: what is near does not have larger values than what is far.",
            "Over the sparse points of the clip, its values fall, or stay the same, where disparity rises.",
            "If these are depth maps, say that they hold depth; else choose another prior.",
        )
    wrong = slope < MIN_SLOPE * middle
    if wrong.any():
        frames = [_Frame.line(*np.zeros((2, 0))) if bad else frame for frame, bad in zip(frames, wrong, strict=True)]
        slope, level = _random_walk(numbers, frames).T
    scale = slope * unit / spread
    return scale, level * unit - scale * centre


@dataclass(frozen=True)
class _Frame:
    """Linear equations of one frame: columns (M, K) times parameters (K,) = target (M,), each with a weight (M,)."""

    columns: Array
    target: Array
    weight: Array

    @classmethod
    def level(cls, target: Array) -> _Frame:
        return cls(np.ones((len(target), 1)), target, np.ones(len(target)))

    @classmethod
    def line(cls, x: Array, y: Array) -> _Frame:
        # Between absolute and relative errors: near points are predicted worse, far ones must not rule.
        return cls(np.stack([x, np.ones_like(x)], axis=1), y, (2.0 / (1.0 + y)) ** 2)

    def residual(self, parameters: Array) -> Array:
        """Weighted, (M,)."""
        return (self.columns @ parameters - self.target) * np.sqrt(self.weight)


def _random_walk(numbers: Sequence[int], frames: Sequence[_Frame]) -> Array:
    """Robust parameters (N, K) of frames whose neighbours are tied as strongly as they turn out to agree."""
    where = np.asarray(numbers, np.float64)
    gaps = np.diff(where)
    size = frames[0].columns.shape[1]
    free, sigma, information = _iterate(frames, gaps, np.full(size, LOOSE))
    sure = np.array([len(frame.target) >= MIN_POINTS for frame in frames])
    if sure.sum() < 2:  # nothing to learn from how frames differ: one value for all of them
        return _iterate(frames, gaps, np.full(size, STIFF))[0]
    steps = np.abs(np.diff(free[sure], axis=0)) / np.sqrt(np.diff(where[sure]))[:, None]
    spread = (np.quantile(steps, 0.9, axis=0) / 1.645) ** 2  # variance of a normal one, whatever the last tenth is
    covariance = np.linalg.inv(information[sure] + LOOSE * np.eye(size))
    noise = 2.0 * sigma**2 * np.median(np.diagonal(covariance, axis1=1, axis2=2), axis=0)
    own = np.maximum(spread - noise, (1.0 - EXPLAINED) * np.maximum(spread, noise))
    return _iterate(frames, gaps, np.maximum(sigma**2 / own, LOOSE))[0]


def _iterate(frames: Sequence[_Frame], gaps: Array, ties: Array) -> tuple[Array, float, Array]:
    """Iteratively reweighted least squares: absolute residuals first, which find the majority, then Tukey's biweight.

    Returns:
        Parameters (N, K), standard deviation of the clip's residuals, information (N, K, K) of each frame's points.
    """
    weights = [frame.weight for frame in frames]
    parameters, information = _solve(frames, weights, gaps, ties)
    sigma = 0.0
    for iteration in range(2 * ITERATIONS):
        residuals = [np.abs(frame.residual(own)) for frame, own in zip(frames, parameters, strict=True)]
        sigma = _deviation(np.concatenate(residuals))
        weights = []
        for frame, residual in zip(frames, residuals, strict=True):
            own = max(sigma, _deviation(residual))  # a frame that is worse than the clip keeps its points
            if iteration < ITERATIONS:
                factor = own / np.maximum(residual, 0.1 * own)
            else:
                factor = np.maximum(1.0 - (residual / (TUKEY * own)) ** 2, 0.0) ** 2
            weights.append(frame.weight * factor)
        parameters, information = _solve(frames, weights, gaps, ties)
    return parameters, sigma, information


def _deviation(residuals: Array) -> float:
    """Robust standard deviation of absolute residuals."""
    return max(1.4826 * float(np.median(residuals)), SMALLEST) if len(residuals) else SMALLEST


def _solve(frames: Sequence[_Frame], weights: Sequence[Array], gaps: Array, ties: Array) -> tuple[Array, Array]:
    """Minimise the weighted squares plus `ties` times the squared steps over their gaps: block tridiagonal (Thomas).

    Returns:
        Parameters (N, K), information (N, K, K) of each frame's points.
    """
    count, size = len(frames), len(ties)
    information = np.stack([(f.columns * w[:, None]).T @ f.columns for f, w in zip(frames, weights, strict=True)])
    right = np.stack([(f.columns * w[:, None]).T @ f.target for f, w in zip(frames, weights, strict=True)])
    links = [np.diag(ties / gap) for gap in gaps]
    blocks = information + 1e-12 * np.eye(size)
    for row, link in enumerate(links):
        blocks[row] += link
        blocks[row + 1] += link
    for row, link in enumerate(links):  # eliminate downwards
        factor = link @ np.linalg.inv(blocks[row])
        blocks[row + 1] -= factor @ link
        right[row + 1] += factor @ right[row]
    parameters = np.empty((count, size))
    parameters[-1] = np.linalg.solve(blocks[-1], right[-1])
    for row in range(count - 2, -1, -1):
        parameters[row] = np.linalg.solve(blocks[row], right[row] + links[row] @ parameters[row + 1])
    return parameters, information
