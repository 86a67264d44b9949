"""Depth edges against the truth: where they lie, what lies on them, and whether they hold still.

The depth of a pixel beside an outline belongs to one of two surfaces. Four things can go wrong and each has its own
figure: the edge is missing or elsewhere (F-measure), it is a ramp or overshoots (halo), it lies too far in or out
(offset), and it moves against the picture from frame to frame (crawl).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.evaluation.mattes import edge_f

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

RATIOS = (1.05, 1.10, 1.15)  # far/near between neighbouring pixels that makes an edge
TOLERANCES_PX = (1, 2)
BAND_PX = 3  # halos are looked for this close to an edge
JUMP = 1.25  # far/near of the edges whose band and position are measured
MARGIN = 0.15  # of the jump, logarithmic: a depth this close to an end belongs to that end
REACH_PX = 8.0  # positions are searched this far to either side
STEP_PX = 0.25
MIN_PIXELS = 20


def depth_edges(depth: Array, ratio: float) -> Mask:
    """Pixels (H, W) with a 4-neighbour more than `ratio` times as far: the near side of every depth edge.

    The neighbour ratio is that of the boundary metrics of Bochkovskii et al. 2024 (Depth Pro, sec. 4). Depth 0 = no
    value, which makes no edge.
    """
    edges = np.zeros(depth.shape, bool)
    known = depth > 0
    for here, there in _neighbours():
        both = known[here] & known[there]
        edges[here] |= both & (depth[there] > ratio * depth[here])
    return edges


def depth_boundary_f(depth: Array, true: Array, tolerance_px: int) -> float:
    """F-measure of the depth edges, mean over `RATIOS`; matching within `tolerance_px` as in Martin et al. 2004.

    A ratio needs no scale. Pixels close to one without a value on either side do not count.
    """
    unknown = ((depth <= 0) | (true <= 0)).astype(np.uint8)
    kernel = np.ones((2 * tolerance_px + 3,) * 2, np.uint8)
    counted = cv2.dilate(unknown, kernel) == 0
    scores = [
        edge_f(depth_edges(depth, ratio), depth_edges(true, ratio), tolerance_px, counted=counted) for ratio in RATIOS
    ]
    return float(np.mean(scores))


def halo_share(depth: Array, true: Array, scale: float) -> float | None:
    """Share of the pixels within `BAND_PX` of a true edge whose depth lies between or beyond the two surfaces.

    Args:
        depth: (H, W) solved planar depth, 0 = none; `true` likewise.
        scale: the clip's true/solved scale.

    Returns:
        0..1, or None when the frame has (almost) no edge. An edge in the wrong place alone makes no halo.
    """
    side = 2 * BAND_PX + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    known = (true > 0) & (depth > 0)
    near = cv2.erode(np.where(known, true, np.finfo(np.float32).max).astype(np.float32), kernel)
    far = cv2.dilate(np.where(known, true, 0.0).astype(np.float32), kernel)
    band = known & (cv2.dilate(depth_edges(true, JUMP).astype(np.uint8), kernel) > 0) & (near < far / JUMP)
    if band.sum() < MIN_PIXELS:
        return None
    jump = np.log(far[band] / near[band])
    place, true_place = (np.log(z[band] / near[band]) / jump for z in (depth * scale, true))
    stepped = _at_an_end(true_place)
    return float((~_at_an_end(place[stepped])).mean()) if stepped.sum() >= MIN_PIXELS else None


def _at_an_end(place: Array) -> Mask:
    return np.asarray(np.minimum(np.abs(place), np.abs(place - 1.0)) < MARGIN)


@dataclass(frozen=True)
class Outline:
    """Points on the true depth edges of one frame, with what is needed to look for the edge there.

    Attributes:
        pixel: (N, 2) centre of the near-side pixel, pixel coordinates.
        normal: (N, 2) unit vector from the near to the far surface.
        near, far: (N,) depth of the two surfaces, in the truth's units.
    """

    pixel: NDArray[np.float64]
    normal: NDArray[np.float64]
    near: NDArray[np.float64]
    far: NDArray[np.float64]

    def carried(self, lens: tuple[float, float, float, float], target_from_source: Array) -> Outline:
        """The same points of the scene in another frame; lens as in `carry_pixels`, same size.

        The normal turns and the two surfaces come closer or go away with the camera. Outlines of round things are
        treated as fixed to the scene, which holds for neighbouring frames.
        """
        matrix = np.asarray(target_from_source, np.float64)
        here, near = _carry(self.pixel, self.near, lens, matrix)
        tip, _ = _carry(self.pixel + self.normal, self.near, lens, matrix)
        _, far = _carry(self.pixel + self.normal, self.far, lens, matrix)
        direction = tip - here
        length = np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
        return Outline(here, direction / length, near, far)


def true_outline(true: Array) -> Outline:
    """The clean steps among the depth edges of a true depth map (H, W): one surface inside, one outside.

    Thin things, corners where three surfaces meet and the border of the picture are left out: "how far off" has no
    clear meaning there.
    """
    logarithm = np.log(np.maximum(true, 1e-6)).astype(np.float32)
    smooth = cv2.GaussianBlur(logarithm, (0, 0), 1.5)
    rows, columns = np.nonzero(depth_edges(true, JUMP))
    slope = np.stack(
        [cv2.Sobel(smooth, cv2.CV_32F, 1, 0)[rows, columns], cv2.Sobel(smooth, cv2.CV_32F, 0, 1)[rows, columns]], 1
    ).astype(np.float64)
    normal = np.asarray(slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9), np.float64)
    pixel = np.asarray(np.stack([columns, rows], 1) + 0.5, np.float64)
    profile, inside = _profiles(true, pixel, normal)
    middle = profile.shape[1] // 2
    near, far = np.asarray(true[rows, columns], np.float64), profile[:, middle + round(2.0 / STEP_PX)]
    reference = Outline(pixel, normal, near, far)
    is_near = profile < _cut(reference)[:, None]
    clean = inside & (far > JUMP * near) & (profile > 0).all(axis=1)
    clean &= is_near[:, : middle + 1].all(axis=1) & (~is_near[:, middle + round(2.0 / STEP_PX) :]).all(axis=1)
    return Outline(pixel[clean], normal[clean], near[clean], far[clean])


def edge_positions(depth: Array, outline: Outline, scale: float) -> NDArray[np.float64]:
    """Where the edge lies along each normal of `outline`, px from its pixel, outwards positive; (N,), NaN = unknown.

    Counts the near depths along the normal within `REACH_PX`, so a ragged edge has a position as well.

    Args:
        depth: (H, W) planar depth of the outline's frame.
        scale: factor that brings it to the truth's units.
    """
    profile, inside = _profiles(depth, outline.pixel, outline.normal)
    usable = inside & (profile > 0).all(axis=1)
    count = (profile * scale < _cut(outline)[:, None]).sum(axis=1)
    return np.where(usable, (count - 0.5) * STEP_PX - REACH_PX, np.nan)


def edge_offsets(depth: Array, true: Array, outline: Outline, scale: float) -> NDArray[np.float64]:
    """How far the edges of `depth` lie outside the true ones, px, negative = inside; (N,), NaN = unknown."""
    return edge_positions(depth, outline, scale) - edge_positions(true, outline, 1.0)


def edge_crawl(
    depths: tuple[Array, Array],
    outline: Outline,
    scale: float,
    lens: tuple[float, float, float, float],
    second_from_first: Array,
) -> NDArray[np.float64]:
    """How far each edge moves against the scene from one frame to the next, px; (N,), NaN = unknown.

    Args:
        depths: (H, W) solved planar depth of both frames.
        outline: true outline of the first.
        scale: the clip's true/solved scale.
        lens: true fx, fy, cx, cy at that size.
        second_from_first: (4, 4) true camera to camera, in the truth's units.
    """
    before = edge_positions(depths[0], outline, scale)
    after = edge_positions(depths[1], outline.carried(lens, second_from_first), scale)
    return np.abs(after - before)


def edge_figures(depth: Array, true: Array, scale: float) -> dict[str, float]:
    """depth_boundary_f1 and _f2 (tolerance 1 and 2 px), halo_share and edge_offset_px (mean distance) of one frame.

    Args:
        depth: (H, W) solved planar depth, 0 = none; `true` likewise.
        scale: the clip's true/solved scale.

    Returns:
        Without what a frame (almost) without edges does not tell.
    """
    figures = {f"depth_boundary_f{t}": depth_boundary_f(depth, true, t) for t in TOLERANCES_PX}
    halo = halo_share(depth, true, scale)
    if halo is not None:
        figures["halo_share"] = halo
    return figures | _mean("edge_offset_px", np.abs(edge_offsets(depth, true, true_outline(true), scale)))


def crawl_figures(
    depths: tuple[Array, Array],
    true: Array,
    scale: float,
    lens: tuple[float, float, float, float],
    second_from_first: Array,
) -> dict[str, float]:
    """edge_crawl_px: mean of `edge_crawl` from a frame with `true` depth to the next; arguments likewise."""
    return _mean("edge_crawl_px", edge_crawl(depths, true_outline(true), scale, lens, second_from_first))


def _mean(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    known = values[np.isfinite(values)]
    return {name: float(known.mean())} if len(known) >= MIN_PIXELS else {}


def _neighbours() -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    every, first, last = slice(None), slice(None, -1), slice(1, None)
    pairs = [((every, first), (every, last)), ((first, every), (last, every))]
    return [*pairs, *((there, here) for here, there in pairs)]


def _cut(outline: Outline) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(outline.near * outline.far), np.float64)


def _profiles(
    depth: Array, pixel: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Mask]:
    """Depth along each normal, (N, 2 REACH/STEP + 1), nearest pixel; and whether all of it is in the picture."""
    along = np.arange(-REACH_PX, REACH_PX + STEP_PX / 2, STEP_PX)
    at = np.floor(pixel[:, None] + along[:, None] * normal[:, None]).astype(np.int64)
    size = np.array([depth.shape[1], depth.shape[0]])
    inside = np.asarray(((at >= 0) & (at < size)).all(axis=(1, 2)))
    at = np.clip(at, 0, size - 1)
    return np.asarray(depth[at[..., 1], at[..., 0]], np.float64), inside


def _carry(
    pixel: NDArray[np.float64], depth: NDArray[np.float64], lens: tuple[float, float, float, float], matrix: Array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    fx, fy, cx, cy = lens
    points = np.stack([(pixel[:, 0] - cx) / fx * depth, (pixel[:, 1] - cy) / fy * depth, depth], 1)
    moved = points @ matrix[:3, :3].T + matrix[:3, 3]
    z = np.maximum(moved[:, 2], 1e-6)
    return np.stack([fx * moved[:, 0] / z + cx, fy * moved[:, 1] / z + cy], 1), z
