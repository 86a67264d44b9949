"""Motion and depth in alternation over a whole clip.

Every frame is a key frame with a window of views around it, chosen by how the camera moved. Windows overlap, and one
Gauss-Newton system holds all of them (global mode), so that there is one scale and depth for every frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from engine.clip.views import choose_views, inverse_depth_range
from engine.clip.work import WorkClip
from engine.deepv2d import se3
from engine.deepv2d.edges import Found, find
from engine.deepv2d.gauss_newton import Sightings, Window, depth_step, global_step, window_equations
from engine.files import write_atomically
from engine.geometry.arrays import Lens
from engine.geometry.tensors import unproject
from engine.networks.deepv2d import CELL, DeepV2D, Features, padded
from engine.progress import Progress

PLANES = 32
BOUNDS = (0.05, 3.0)  # inverse depth in units of the median depth, where nothing is known; as in training
NEIGHBOURS = (1, 2)  # frames that a solve without poses starts with
FIRST_LOOKS = 4  # of the motion module, before there is any depth
STEPS = 2  # of Gauss-Newton for each look, as in training
TRUST = 0.02  # in the depth that was measured, while poses move: see `Sightings`
ENCODED_AT_ONCE = 8
STATE = "state.npz"  # what a killed run goes on from


@dataclass(frozen=True)
class DeepV2DSettings:
    """How much is done.

    Attributes:
        long_side: work size in pixels; features live at a quarter of it, depth at half.
        rounds: alternations of motion and depth.
        views: in a window.
        looks: of the motion module in a round; 0 = poses stay as they are, and one round is all there is.
        focal: the focal length is free.
    """

    long_side: int = 256
    rounds: int = 6
    views: int = 4
    looks: int = 2
    focal: bool = False


@dataclass(frozen=True)
class Alternated:
    """What came out, in the units of the poses that were given; without these the clip's median depth is 1.

    Attributes:
        world_from_camera: (N, 4, 4) float64.
        lens: of the work grid.
        depth: (N, H/2, W/2) float32 on the half grid.
        certainty: (N, H/2, W/2) float32 in 0..1.
        miss_px: (N,) weighted mean distance, in work pixels, between where a frame's pixels were found in its views and
            where depth and poses send them; 0 where the poses were not to be moved.
    """

    world_from_camera: NDArray[np.float64]
    lens: Lens
    depth: NDArray[np.float32]
    certainty: NDArray[np.float32]
    miss_px: NDArray[np.float32]


@dataclass(frozen=True)
class _State:
    """What a round hands to the next, all in units of the clip's median depth.

    Attributes:
        pose: (N, 4, 4) camera from world.
        inverse: (N, 1, 2 h, 2 w) inverse depth on the half grid, padded; 1 before there is any.
        certainty: (N, 1, h, w).
        miss: (N,) what `Alternated.miss_px` is, in pixels of the feature grid, as the motion module last saw it.
        zoom: (,) factor of the focal length that the clip came with.
        done: (,) half rounds that are done: motion, then depth.
    """

    pose: torch.Tensor
    inverse: torch.Tensor
    certainty: torch.Tensor
    miss: torch.Tensor
    zoom: torch.Tensor
    done: torch.Tensor

    def save(self, path: Path) -> None:
        arrays = {name: getattr(self, name).cpu().numpy() for name in self.__dataclass_fields__}
        write_atomically(path, lambda temporary: np.savez(temporary, allow_pickle=False, **arrays))

    @classmethod
    def load(cls, path: Path, device: torch.device) -> _State:
        with np.load(path, allow_pickle=False) as arrays:
            return cls(*(torch.from_numpy(arrays[name]).to(device) for name in cls.__dataclass_fields__))


class Alternation:
    """A clip, the networks, and what is asked of them.

    Args:
        network: see `load_deepv2d`.
        clip: undistorted frames at the work size; their poses and sparse points count only if `posed`.
        posed: the clip's poses are a start, and its sparse points say over which depths to search.
        settings: how much is done.
        device: where to compute.
        moves: (N, H, W) bool on the work grid, what moves by itself and says nothing about the camera; None = nothing.
    """

    def __init__(
        self,
        network: DeepV2D,
        clip: WorkClip,
        posed: bool,
        settings: DeepV2DSettings,
        device: torch.device,
        moves: NDArray[np.bool_] | None = None,
    ) -> None:
        self.network, self.clip, self.posed, self.settings, self.device = network, clip, posed, settings, device
        self.unit = float(np.median(np.concatenate([depth for _, depth in clip.sparse]))) if posed else 1.0
        height, width = clip.images.shape[1:3]
        self.grid = -(-height // CELL), -(-width // CELL)
        # padding is to the right and below: the lens of the feature grid is that of the picture, divided
        lens = clip.lens.matrix()
        lens[:2] /= CELL
        self.lens_matrix = torch.tensor(lens, dtype=torch.float32, device=device)
        still = torch.ones(len(clip.numbers), 1, height, width, dtype=torch.float32)
        if moves is not None:
            still = 1.0 - torch.from_numpy(moves)[:, None].float()
        # a cell counts if nothing in it moves
        self.still = -F.max_pool2d(-still, CELL, ceil_mode=True)[:, 0].to(device)

    @torch.no_grad()
    def run(self, folder: Path, progress: Progress) -> Alternated:
        """Alternate; what a killed run left in `folder` is gone on with.

        Raises:
            Cancelled: the user stopped it.
        """
        features = self._encode(progress)
        path = folder / STATE
        state = _State.load(path, self.device) if path.exists() else self._start()
        halves = 2 * self.settings.rounds if self.settings.looks else 2
        for half in range(int(state.done), halves):
            before = state
            if half % 2 == 0:
                if self.settings.looks and (half > 0 or not self.posed):
                    state = self._move(features, state, half, halves, progress)
            else:
                state = self._measure(features, state, half, halves, progress)
                progress.metric(f"deepv2d_change_{half // 2 + 1}", _change(before, state))
            state = replace(state, done=torch.tensor(half + 1))
            state.save(path)
        return self._result(state)

    def _encode(self, progress: Progress) -> Features:
        images, parts = self.clip.images, []
        for start in range(0, len(images), ENCODED_AT_ONCE):
            progress.step(0, 1, f"features of frame {self.clip.numbers[start]}")
            batch = torch.from_numpy(images[start : start + ENCODED_AT_ONCE]).to(self.device)
            found = self.network.encoder(padded(batch.permute(0, 3, 1, 2).float() / 255.0))
            parts.append((found.match.half(), found.context.half()))
        match, context = (torch.cat(x) for x in zip(*parts, strict=True))
        return Features(match, context)

    def _start(self) -> _State:
        count, (h, w) = len(self.clip.numbers), self.grid
        pose = torch.eye(4, device=self.device).repeat(count, 1, 1)
        if self.posed:
            given = torch.tensor(self.clip.world_from_camera, device=self.device)
            given[:, :3, 3] /= self.unit
            pose = se3.inverse(given).float()
        one = torch.ones(count, 1, h, w, device=self.device)
        half = torch.ones(count, 1, 2 * h, 2 * w, device=self.device)
        zero = torch.zeros(count, device=self.device)
        return _State(pose, half, torch.zeros_like(one), zero, torch.tensor(1.0), torch.tensor(0))

    def _lens(self, state: _State) -> torch.Tensor:
        """(3, 3) of the feature grid."""
        lens = self.lens_matrix.clone()
        lens[0, 0] *= state.zoom
        lens[1, 1] *= state.zoom
        return lens

    def _windows(self, state: _State, count: int) -> list[NDArray[np.int64]]:
        """Rows of the views of each frame, by the poses and depth that there are."""
        zoom = float(state.zoom)
        lens = replace(self.clip.lens, fx=self.clip.lens.fx * zoom, fy=self.clip.lens.fy * zoom)
        middle = 1.0 / state.inverse.flatten(1).median(1).values.cpu().double().numpy()
        sparse = tuple((np.zeros((1, 2)), np.array([depth])) for depth in middle)
        poses = se3.inverse(state.pose.double()).cpu().numpy()
        clip = replace(self.clip, lens=lens, world_from_camera=poses, sparse=sparse)
        return [choose_views(clip, row, count) for row in range(len(clip.numbers))]

    def _move(self, features: Features, state: _State, half: int, halves: int, progress: Progress) -> _State:
        """Poses of all frames from where their pixels are found in their views."""
        count = len(self.clip.numbers)
        first = half == 0 and not self.posed
        if first:
            near = [[row + sign * d for d in NEIGHBOURS for sign in (-1, 1)] for row in range(count)]
            rows_of = [np.array([r for r in rows if 0 <= r < count], np.int64) for rows in near]
        else:
            rows_of = [
                np.union1d(views, [r for r in (row - 1, row + 1) if 0 <= r < count]).astype(np.int64)
                for row, views in enumerate(self._windows(state, self.settings.views - 1))
            ]
        windows = [torch.from_numpy(views).to(self.device) for views in rows_of]
        measured = F.avg_pool2d(state.inverse, 2)
        drift = torch.zeros_like(measured)
        looks = FIRST_LOOKS if first else self.settings.looks
        miss = torch.zeros_like(state.miss)
        for look in range(looks):
            lens, inverse = self._lens(state), measured * drift.exp()
            found = []
            for row, views in enumerate(windows):
                done = half + (look + row / count) / looks
                progress.step(done, halves, f"motion {half // 2 + 1}, frame {self.clip.numbers[row]}")
                key = torch.full_like(views, row)
                relative = state.pose[views] @ se3.inverse(state.pose[key])
                lenses = lens.expand(len(views), 3, 3)
                seen = find(
                    self.network.motion,
                    Features(features.match[key].float(), features.context[key].float()),
                    features.match[views].float(),
                    inverse[key],
                    lenses,
                    relative,
                )
                seen = replace(seen, weight=seen.weight * self.still[row, :, :, None])
                miss[row] = seen.miss(relative, lenses)
                found.append(seen)
            # the focal length shows once there is depth that is not the same everywhere
            focal = self.settings.focal and not first
            for _ in range(STEPS):
                state, drift = self._step(state, measured, drift, windows, found, focal)
        return replace(state, miss=miss)

    def _step(
        self,
        state: _State,
        measured: torch.Tensor,
        drift: torch.Tensor,
        windows: list[torch.Tensor],
        found: list[Found],
        focal: bool,
    ) -> tuple[_State, torch.Tensor]:
        """Poses, and by how much log inverse depth has left what was measured, after one step of Gauss-Newton."""
        lens = self._lens(state)
        points = unproject(1.0 / (measured * drift.exp()), lens.expand(len(drift), 3, 3))

        def seen_at(pose: torch.Tensor) -> list[Sightings]:
            return [
                Sightings(
                    pose[views] @ se3.inverse(pose[row]),
                    points[row],
                    lens,
                    seen.target,
                    seen.weight,
                    drift[row, 0],
                    TRUST,
                )
                for row, (views, seen) in enumerate(zip(windows, found, strict=True))
            ]

        equations = [
            Window(row, views, *window_equations(seen))
            for row, (views, seen) in enumerate(zip(windows, seen_at(state.pose), strict=True))
        ]
        pose, change = global_step(state.pose, equations, focal=focal)
        after = torch.stack([depth_step(seen) for seen in seen_at(pose)])
        return replace(state, pose=pose, zoom=state.zoom * change.exp().cpu()), after[:, None]

    def _measure(self, features: Features, state: _State, half: int, halves: int, progress: Progress) -> _State:
        """Depth of every frame from its views at their poses, in units of what its median then is."""
        count = len(self.clip.numbers)
        lens = self._lens(state)[None]
        inverse, sure = torch.empty_like(state.inverse), torch.empty_like(state.certainty)
        for row, views in enumerate(self._windows(state, self.settings.views)):
            done = half + row / count
            progress.step(done, halves, f"depth {half // 2 + 1}, frame {self.clip.numbers[row]}")
            views_t = torch.from_numpy(views).to(self.device)
            relative = state.pose[views_t] @ se3.inverse(state.pose[row])
            far, near = BOUNDS
            if self.posed:
                far, near = (bound * self.unit for bound in inverse_depth_range(self.clip, row))
            matched = self.network.depth(
                Features(features.match[row : row + 1].float(), features.context[row : row + 1].float()),
                features.match[views_t].float()[None],
                lens,
                relative[None],
                torch.linspace(far, near, PLANES, device=self.device)[None],
            )
            inverse[row], sure[row] = matched.inverse_depth[0], matched.certainty[0]
        scale = self._scale(inverse) if self.settings.looks else 1.0
        pose = state.pose.clone()
        pose[:, :3, 3] *= scale
        return replace(state, pose=pose, inverse=inverse / scale, certainty=sure)

    def _scale(self, inverse: torch.Tensor) -> float:
        """Median of inverse depth; where sparse points were given, relative to theirs: the scale must not drift."""
        if not self.posed:
            return float(inverse.median())
        ratios = []
        for row, (pixels, depth) in enumerate(self.clip.sparse):
            if len(depth):
                column, line = torch.from_numpy(np.floor(pixels / 2.0).astype(np.int64)).to(self.device).T
                known = torch.from_numpy(depth / self.unit).to(self.device)
                ratios.append(inverse[row, 0, line, column] * known)
        return float(torch.cat(ratios).median())

    def _result(self, state: _State) -> Alternated:
        height, width = self.clip.images.shape[1] // 2, self.clip.images.shape[2] // 2
        sure = F.interpolate(state.certainty, scale_factor=2.0, mode="bilinear", align_corners=False)
        zoom = float(state.zoom)
        poses = se3.inverse(state.pose.double()).cpu().numpy()
        poses[:, :3, 3] *= self.unit
        return Alternated(
            world_from_camera=poses,
            lens=replace(self.clip.lens, fx=self.clip.lens.fx * zoom, fy=self.clip.lens.fy * zoom),
            depth=(self.unit / state.inverse[:, 0, :height, :width]).cpu().numpy(),
            certainty=sure[:, 0, :height, :width].cpu().numpy(),
            miss_px=(CELL * state.miss).cpu().numpy(),
        )


def _change(before: _State, after: _State) -> float:
    """By how much depth changed, median over all pixels of all frames."""
    return float((after.inverse.log() - before.inverse.log()).abs().median())
