"""Where the pixels of one frame would be seen in another if nothing but the camera moved.

Everything here lives on half the work grid, as the flow does, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clip.work import WorkClip
from engine.flow.dense import Flow, Grey, Mask, looks_alike, returns, transfer
from engine.flow.pairs import hierarchical_pairs
from engine.flow.stage import NEAREST, load_pair
from engine.geometry.arrays import pixel_centres, rigid_inverse

FARTHEST = 4  # places between two frames whose flow is asked; farther on, flow on things that move is mostly wrong
FAR = (4, 6, 8, 12, 16, 24, 32)  # places away from which frames are asked what is behind
MIN_BELIEVED = 0.1  # share of the frame below which the flow to another frame says nothing
FIT_STEPS = 6
FIT_NOISE_PX = 0.3  # flow error from which on a frame counts less in the fit of depth
HOMOGRAPHY_PX = 0.5
HOMOGRAPHY_STRIDE = 5  # every fifth pixel is enough to fit eight numbers

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """One frame as seen from another.

    Attributes:
        other: row of the other frame.
        grey: (h, w) the other frame.
        seen: (h, w, 2) where the flow sees each pixel in the other frame.
        still: (h, w, 2) where it would be seen there if it stood still.
        believed: (h, w) the flow returns, and looks alike at both ends.
    """

    other: int
    grey: Grey
    seen: Flow
    still: Flow
    believed: Mask

    def distance(self) -> Array:
        """How far the pixel is from where it would be if it stood still (h, w), pixels."""
        return np.asarray(np.linalg.norm(self.seen - self.still, axis=-1), np.float32)


class Still(Protocol):
    """A clip in which everything but the camera stands still, as far as its flow allows that."""

    def views(self, row: int) -> list[View]:
        """The frame as its neighbours see it."""

    def positions(self, row: int, moves: Mask) -> Iterator[tuple[int, Flow]]:
        """For each farther frame: its row, and where in it the pixels of `row` would be seen (H, W, 2), work grid.

        Args:
            row: of the clip.
            moves: (h, w) what is suspected to move: what lies behind it is filled in from around it.
        """


def still_world(clip: WorkClip, flow: Path) -> Still:
    """By the cameras, or where the camera only turns (such a solve has no sparse points) by homographies."""
    travels = any(len(depth) for _, depth in clip.sparse)
    return StillByCameras(clip, flow) if travels else StillByTurning(clip, flow)


class StillByCameras:
    """One depth per pixel must explain the flow to all neighbours; cameras are known.

    In each pair that depth is free along the epipolar line, but only between the nearest thing and infinity, and it is
    one depth for all pairs. So motion across the line shows, along it beyond its ends, and along it out of step with
    the camera. What moves along the line in step with the camera looks like a still thing at another depth, to anyone.

    Args:
        clip: undistorted frames with cameras and sparse points.
        flow: folder of the flow stage.
    """

    def __init__(self, clip: WorkClip, flow: Path) -> None:
        self._clip, self._flow = clip, flow
        self._neighbours = _neighbours(clip)
        self._shape = clip.images.shape[1] // 2, clip.images.shape[2] // 2
        self._half = clip.lens.scaled(*self._shape[::-1]).matrix()
        self._inverse_depth: dict[int, NDArray[np.float16]] = {}

    def views(self, row: int) -> list[View]:
        """See `Still`; remembers the depth found."""
        flows = [_flow(self._clip, self._flow, row, other) for other in self._neighbours[row]]
        flows = [found for found in flows if found.believed.mean() >= MIN_BELIEVED]
        if not flows:
            self._inverse_depth[row] = np.zeros(self._shape, np.float16)
            return []
        moves = [self._motion(row, found.other, self._half, *self._shape) for found in flows]
        inverse = _common_inverse_depth(
            [f.seen for f in flows], [f.believed for f in flows], moves, self._farthest(row)
        )
        self._inverse_depth[row] = inverse.astype(np.float16)
        return [
            View(f.other, f.grey, f.seen, _project(motion, inverse), f.believed)
            for f, motion in zip(flows, moves, strict=True)
        ]

    def positions(self, row: int, moves: Mask) -> Iterator[tuple[int, Flow]]:
        """See `Still`."""
        height, width = self._clip.images.shape[1:3]
        behind = _filled(self._inverse_depth[row].astype(np.float32), moves)
        inverse = cv2.resize(behind, (width, height), interpolation=cv2.INTER_LINEAR)
        for other in _far_rows(len(self._clip.numbers), row):
            yield other, _project(self._motion(row, other, self._clip.lens.matrix(), height, width), inverse)

    def _farthest(self, row: int) -> float:
        """Inverse depth of what is nearer than everything."""
        depth = self._clip.sparse[row][1]
        if not len(depth):
            depth = np.concatenate([depth for _, depth in self._clip.sparse])
        return 1.0 / (NEAREST * float(np.percentile(depth, 1.0)))

    def _motion(
        self, row: int, other: int, matrix: NDArray[np.float64], height: int, width: int
    ) -> tuple[Array, NDArray[np.float32]]:
        """(infinity (H, W, 3), shift (3,)): the other frame sees homogeneous `infinity + inverse depth * shift`."""
        poses = self._clip.world_from_camera
        there_from_here = rigid_inverse(poses[other]) @ poses[row]
        rays = np.concatenate([pixel_centres(height, width), np.ones((height, width, 1))], axis=-1)
        turned = matrix @ there_from_here[:3, :3] @ np.linalg.inv(matrix)
        return (rays @ turned.T).astype(np.float32), (matrix @ there_from_here[:3, 3]).astype(np.float32)


class StillByTurning:
    """A camera that only turns: a homography for each pair, fitted to the flow; depth plays no part.

    Args:
        clip: frames; their cameras are not used.
        flow: folder of the flow stage.
    """

    def __init__(self, clip: WorkClip, flow: Path) -> None:
        self._clip, self._flow = clip, flow
        self._neighbours = _neighbours(clip)
        height, width = clip.images.shape[1:3]
        self._grid = pixel_centres(height // 2, width // 2)
        self._full_grid = pixel_centres(height, width)
        # A picture pixel is two pixels of the half grid, so the pixel at x is at x/2 there.
        self._halve = np.diag([0.5, 0.5, 1.0])
        self._next: dict[int, NDArray[np.float64]] = {}

    def views(self, row: int) -> list[View]:
        """See `Still`."""
        views = []
        for other in self._neighbours[row]:
            found = _flow(self._clip, self._flow, row, other)
            if found.believed.mean() < MIN_BELIEVED:
                continue
            homography = _fitted_homography(self._grid, found)
            still = transfer(homography, self._grid).astype(np.float32)
            views.append(View(other, found.grey, found.seen, still, found.believed))
        return views

    def positions(self, row: int, moves: Mask) -> Iterator[tuple[int, Flow]]:
        """See `Still`."""
        for other in _far_rows(len(self._clip.numbers), row):
            homography = np.linalg.inv(self._halve) @ self._chain(row, other) @ self._halve
            yield other, transfer(homography, self._full_grid).astype(np.float32)

    def _chain(self, row: int, other: int) -> NDArray[np.float64]:
        if other < row:
            return np.asarray(np.linalg.inv(self._chain(other, row)), np.float64)
        homography = np.eye(3)
        for step in range(row, other):
            if step not in self._next:
                self._next[step] = _fitted_homography(self._grid, _flow(self._clip, self._flow, step, step + 1))
            homography = self._next[step] @ homography
        return homography


@dataclass(frozen=True)
class _Flow:
    other: int
    grey: Grey
    seen: Flow
    believed: Mask


def _flow(clip: WorkClip, folder: Path, row: int, other: int) -> _Flow:
    """The stored flow from one row to another, believed by the flow's own checks and not by those of the cameras."""
    first, second = sorted((row, other))
    arrays = load_pair(folder, int(clip.numbers[first]), int(clip.numbers[second])).astype(np.float32)
    flow, back = (np.ascontiguousarray(np.moveaxis(a[:2], 0, -1)) for a in (arrays if row == first else arrays[::-1]))
    here, there = half_grey(clip.images[row]), half_grey(clip.images[other])
    believed = returns(flow, back)
    believed &= looks_alike(here, there, flow, believed)
    seen = (pixel_centres(*here.shape) + flow).astype(np.float32)
    return _Flow(other, there, seen, believed)


def half_grey(image: Image) -> Grey:
    """A picture (H, W, 3) in grey on the half grid (h, w)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    size = image.shape[1] // 2, image.shape[0] // 2
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _neighbours(clip: WorkClip) -> list[list[int]]:
    """For each row the rows its flow is known to, at most `FARTHEST` places away."""
    near: list[list[int]] = [[] for _ in clip.numbers]
    for first, second in hierarchical_pairs([int(n) for n in clip.numbers]):
        a, b = clip.index(first), clip.index(second)
        if b - a <= FARTHEST:
            near[a].append(b)
            near[b].append(a)
    return near


def _far_rows(count: int, row: int) -> list[int]:
    """Frames far enough away for what moves to have left its place, near enough to show the same place."""
    return [row + far * sign for far in FAR for sign in (-1, 1) if 0 <= row + far * sign < count]


def _common_inverse_depth(
    seen: list[Flow], believed: list[Mask], motions: list[tuple[Array, NDArray[np.float32]]], farthest: float
) -> Array:
    """Inverse depth (h, w), 0..`farthest`, that explains the flow to all frames best, robustly.

    Linear triangulation along a known ray (Hartley & Zisserman 12.2, with the one unknown left), reweighted by the
    distance in pixels (Cauchy).
    """
    weights = [mask.astype(np.float32) for mask in believed]
    inverse = np.zeros(believed[0].shape, np.float32)
    for _ in range(FIT_STEPS):
        above, below = np.zeros_like(inverse), np.full_like(inverse, 1e-9)
        for target, weight, (infinity, shift) in zip(seen, weights, motions, strict=True):
            # target * (infinity + d shift)_z = (infinity + d shift)_xy, one unknown d and two equations
            slope = target * shift[2] - shift[:2]
            rest = infinity[..., :2] - target * infinity[..., 2:]
            above += weight * (slope * rest).sum(axis=-1)
            below += weight * (slope * slope).sum(axis=-1)
        inverse = np.clip(above / below, 0.0, farthest)
        weights = [
            mask / (FIT_NOISE_PX**2 + ((_project(motion, inverse) - target) ** 2).sum(axis=-1))
            for target, mask, motion in zip(seen, believed, motions, strict=True)
        ]
    return inverse


def _project(motion: tuple[Array, NDArray[np.float32]], inverse_depth: Array) -> Flow:
    infinity, shift = motion
    points = infinity + inverse_depth[..., None] * shift
    # What is behind the other camera is sent far outside of its picture.
    return np.asarray(points[..., :2] / np.maximum(points[..., 2:], 1e-3), np.float32)


def _filled(values: Array, hole: Mask) -> Array:
    """`values` with the hole filled from around it, near surroundings first."""
    known = ~hole
    filled = np.where(known, values, np.float32(0))
    weighted, weight = filled.copy(), known.astype(np.float32)
    for sigma in (2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
        total = cv2.GaussianBlur(weight, (0, 0), sigma)
        new = ~known & (total > 0.05)
        filled[new] = (cv2.GaussianBlur(weighted, (0, 0), sigma) / np.maximum(total, 1e-6))[new]
        known |= new
    return filled


def _fitted_homography(grid: NDArray[np.float64], flow: _Flow) -> NDArray[np.float64]:
    """The homography that most of the believed flow follows; identity when there is none."""
    chosen = np.flatnonzero(flow.believed)[::HOMOGRAPHY_STRIDE]
    if len(chosen) < 4:
        return np.eye(3)
    cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's global generator
    source, target = grid.reshape(-1, 2)[chosen], flow.seen.reshape(-1, 2)[chosen]
    homography, _ = cv2.findHomography(source, target, cv2.RANSAC, HOMOGRAPHY_PX)
    return np.eye(3) if homography is None else np.asarray(homography, np.float64)
