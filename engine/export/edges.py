"""Depth edges where the pictures have them, and where the neighbouring frames have them.

Matching with windows and a small network leave object outlines soft and a few pixels too wide. Near such an edge a
pixel belongs to the object or to what is behind it and to nothing in between; so both depths are tried, the nearest and
the farthest around, and the other frames decide which of the two explains the picture better. The decision is smoothed
along the edges of the picture by a guided filter, as in the cost-volume filtering of Rhemann et al. 2011.

A frame that decides alone decides a little differently from its neighbours, and the outline crawls. So the frames vote
in a second round: a neighbour in which the near surface stands where this pixel's near depth would be votes for near,
one that shows the far surface where the far depth would be votes for far (cross-view consistency as in the fusion of
Merrell et al. 2007, with two candidates).

What moves by itself looks the same from nowhere: there neither pictures nor neighbours vote, and the guided filter
alone moves the edge onto an edge of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clip.guided_filter import box_mean, guided_filter
from engine.clip.pinhole import ToPinhole
from engine.clip.views import choose_views
from engine.clip.work import WorkClip
from engine.footage import read_proxy
from engine.geometry.arrays import Lens, pixel_centres, rigid_inverse
from engine.parallel import Once

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

LONG_SIDE = 960  # of the pictures that decide
REACH = (2.4, 1.2)  # passes: how far an outline may be off, in cells of the network's grid
MIN_JUMP = 1.15  # far/near within the reach; below it is a slope
NEAR_ENOUGH = 0.1  # a depth this close to the chosen end (share of the jump, logarithmic) is kept as it is
VIEWS = 4
WINDOW = 1  # radius of the matching window, pixels
GUIDE_RADIUS = 2
GUIDE_EPSILON = 1e-3
WORST_MATCH = 0.12  # mean colour difference that says all there is to say; also for pixels another frame does not see
FAR_BIAS = 0.004  # colour difference; windows make objects too wide, so a draw goes to what is behind
PULL = 0.1  # colour difference that a moving pixel's own depth counts as
VOTERS = (-4, -2, -1, 1, 2, 4)  # neighbours that vote, frames away
OWN_VOTE = 1.5  # weight of a frame's own decision, a neighbour's is 1
AGREEMENT = 0.3  # share of the jump within which a neighbour's depth is that of the candidate
VOTE_RADIUS = 2  # of the guided filter over the votes
MEDIAN = 5  # side of the window that drops single pixels left over beside an edge
FRAMES_KEPT = 24


class EdgeSharpener:
    """Sharpens the depth of one frame after another, fastest in order; several threads may ask at a time.

    Args:
        proxies: folder with `000101.png`, the whole (distorted) plate at any size.
        plate: lens of the plate.
        clip: gives cameras and the grid of the depth that will be sharpened.
        depth: gives the planar depth (h, w) of a plate frame number on the work grid, 0 = none.
        moving: gives what moves by itself in a plate frame, (h, w) on the work grid; None: nothing does.
        known: gives where the depth of a plate frame is the artist's, (h, w) or None = nowhere: it stays as it is.
    """

    def __init__(
        self,
        proxies: Path,
        plate: Lens,
        clip: WorkClip,
        depth: Callable[[int], Array],
        moving: Callable[[int], Mask] | None = None,
        known: Callable[[int], Mask | None] = lambda _: None,
    ) -> None:
        self._known = known
        self._proxies, self._clip, self._depth, self._mask = proxies, clip, depth, moving
        factor = min(1.0, LONG_SIDE / max(plate.width, plate.height))
        distorted = plate.scaled(round(plate.width * factor), round(plate.height * factor))
        self._to_pinhole = ToPinhole(distorted)
        self.lens = self._to_pinhole.lens
        self._cell = 2.0 * self.lens.width / clip.lens.width
        pixels = pixel_centres(self.lens.height, self.lens.width)
        self._rays = np.concatenate(
            [
                (pixels - [self.lens.cx, self.lens.cy]) / [self.lens.fx, self.lens.fy],
                np.ones((*pixels.shape[:2], 1)),
            ],
            axis=-1,
        ).astype(np.float32)
        self._picture = Once(self._read, FRAMES_KEPT)
        self._moving = Once(self._enlarged_mask, FRAMES_KEPT)
        self._decided = Once(self._decide, FRAMES_KEPT)

    def sharpen(self, frame: int) -> Array:
        """Depth of a plate frame on the grid of `self.lens`, (H, W), with sharp edges; 0 = none."""
        own = self._decided(frame)
        if not (own > 0).all():
            return own
        near, far, jump = self._candidates(own, REACH[-1])
        if not jump.any():
            return own
        row, moving = self._clip.index(frame), self._moving(frame)
        height = np.log(np.maximum(far / near, MIN_JUMP))
        place = np.log(own / near) / height
        votes = np.where(place > 0.5, OWN_VOTE, -OWN_VOTE).astype(np.float32)
        for other in (row + step for step in VOTERS if 0 <= row + step < len(self._clip.numbers)):
            number, other_from_here = int(self._clip.numbers[other]), self._view_from(row, other)
            standing = np.where(self._moving(number), 0.0, self._decided(number)).astype(np.float32)
            vote = self._is_there(far, standing, other_from_here, height).astype(np.float32)
            vote -= self._is_there(near, standing, other_from_here, height)
            votes += np.where(moving, 0.0, vote).astype(np.float32)
        grey = cv2.cvtColor(self._picture(frame), cv2.COLOR_RGB2GRAY)
        is_far = guided_filter(grey, votes, VOTE_RADIUS, GUIDE_EPSILON) > 0
        result = _choose(own, near, far, jump, is_far)
        return self._as_given(frame, np.where(jump, cv2.medianBlur(result, MEDIAN), result))

    def reads(self, frame: int) -> list[int]:
        """The plate frames whose depth decides what `sharpen` makes of a frame, itself included."""
        row, count = self._clip.index(frame), len(self._clip.numbers)
        return [int(self._clip.numbers[row + step]) for step in (0, *VOTERS) if 0 <= row + step < count]

    def _decide(self, frame: int) -> Array:
        """Depth (H, W) with the edges that this frame decides for alone."""
        result = self._wide(frame)
        if not (self._depth(frame) > 0).all():
            return result
        row, moving = self._clip.index(frame), self._moving(frame)
        picture = self._picture(frame)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        views = [(self._standing(int(self._clip.numbers[v])), self._view_from(row, v)) for v in self._views(row)]
        for reach in REACH:
            near, far, jump = self._candidates(result, reach)
            if not jump.any():
                break
            worse_near = self._mismatch(near, picture, views) - self._mismatch(far, picture, views) + FAR_BIAS
            if moving.any():
                place = np.log(result / near) / np.log(np.maximum(far / near, MIN_JUMP))
                worse_near = np.where(moving, PULL * (place - 0.5), worse_near).astype(np.float32)
            is_far = guided_filter(grey, worse_near, GUIDE_RADIUS, GUIDE_EPSILON) > 0
            result = _choose(result, near, far, jump, is_far)
        return self._as_given(frame, result)

    def _wide(self, frame: int) -> Array:
        """The depth that will be sharpened, (H, W), interpolated by disparity; 0 = none."""
        depth = self._depth(frame)
        disparity = np.where(depth > 0, 1.0 / np.where(depth > 0, depth, 1.0), 0.0).astype(np.float32)
        wide = cv2.resize(disparity, (self.lens.width, self.lens.height), interpolation=cv2.INTER_LINEAR)
        return np.where(wide > 0, 1.0 / np.maximum(wide, 1e-9), 0.0).astype(np.float32)

    def _candidates(self, depth: Array, reach: float) -> tuple[Array, Array, Mask]:
        """Nearest and farthest depth within `reach` cells, and where the two are an edge rather than a slope."""
        radius = max(1, round(reach * self._cell))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        near, far = cv2.erode(depth, kernel), cv2.dilate(depth, kernel)
        return np.asarray(near, np.float32), np.asarray(far, np.float32), np.asarray(far > MIN_JUMP * near)

    def _is_there(self, depth: Array, standing: Array, other_from_here: Array, height: Array) -> Mask:
        """Whether another frame, of depth `standing`, shows a surface where this frame's `depth` would be in it."""
        x, y, z = self._carried(depth, other_from_here)
        seen = cv2.remap(standing, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0.0)
        off = np.abs(np.log(np.maximum(seen, 1e-9) / z))
        return np.asarray((seen > 0) & (off < AGREEMENT * height))

    def _carried(self, depth: Array, other_from_here: Array) -> tuple[Array, Array, Array]:
        """Where each pixel at `depth` (H, W) goes in another frame: array indices x and y, and its depth there."""
        points = self._rays * depth[..., None] @ other_from_here[:3, :3].T + other_from_here[:3, 3]
        z = np.maximum(points[..., 2], 1e-6)
        x = points[..., 0] / z * self.lens.fx + self.lens.cx - 0.5
        y = points[..., 1] / z * self.lens.fy + self.lens.cy - 0.5
        return x.astype(np.float32), y.astype(np.float32), z

    def _enlarged_mask(self, frame: int) -> Mask:
        if self._mask is None:
            return np.zeros((self.lens.height, self.lens.width), bool)
        return self._enlarged(self._mask(frame))

    def _enlarged(self, mask: Mask) -> Mask:
        size = (self.lens.width, self.lens.height)
        return np.asarray(cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)

    def _as_given(self, frame: int, depth: Array) -> Array:
        """`depth` with the artist's put back a cell inside of its border: planes are exact there, however scaled."""
        known = self._known(frame)
        if known is None:
            return depth
        inside = self._enlarged(cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        return np.where(inside, self._wide(frame), depth)

    def _standing(self, frame: int) -> Array:
        """The picture with what moves by itself out of the picture, as what lies outside of it is."""
        moving = self._moving(frame)
        if not moving.any():
            return self._picture(frame)
        wide = cv2.dilate(moving.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        return np.where(wide[..., None], np.float32(-1.0), self._picture(frame))

    def _views(self, row: int) -> list[int]:
        return [int(view) for view in choose_views(self._clip, row, VIEWS)]

    def _view_from(self, row: int, view: int) -> NDArray[np.float32]:
        poses = self._clip.world_from_camera
        return np.asarray(rigid_inverse(poses[view]) @ poses[row], np.float32)

    def _read(self, frame: int) -> Array:
        """RGB (H, W, 3) in [0, 1], undistorted, on the grid of `self.lens`."""
        stored = read_proxy(self._proxies, frame)
        picture = cv2.resize(stored, (self.lens.width, self.lens.height), interpolation=cv2.INTER_AREA)
        return np.asarray(self._to_pinhole(picture, cv2.INTER_CUBIC), np.float32) / np.float32(255.0)

    def _mismatch(self, depth: Array, picture: Array, views: list[tuple[Array, NDArray[np.float32]]]) -> Array:
        """Colour difference (H, W) at `depth`, mean over the better half of the views: others may not see the pixel."""
        costs = []
        for other, other_from_here in views:
            x, y, _ = self._carried(depth, other_from_here)
            seen = cv2.remap(
                other, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(-1.0, -1.0, -1.0)
            )
            cost = np.minimum(np.abs(seen - picture).mean(axis=-1), WORST_MATCH)
            cost[seen[..., 0] < -0.01] = WORST_MATCH
            costs.append(box_mean(cost, WINDOW))
        best = np.sort(np.stack(costs), axis=0)[: max(1, len(costs) // 2)]
        return np.asarray(best.mean(axis=0), np.float32)


def _choose(depth: Array, near: Array, far: Array, jump: Mask, is_far: Mask) -> Array:
    """The chosen end where there is a jump and `depth` is not near enough to it already."""
    place = np.log(depth / near) / np.log(np.maximum(far / near, MIN_JUMP))
    kept = np.where(is_far, place > 1.0 - NEAR_ENOUGH, place < NEAR_ENOUGH)
    return np.where(jump & ~kept, np.where(is_far, far, near), depth)
