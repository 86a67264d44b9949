"""The clip as the dense stages see it: undistorted frames at the work size, with their cameras and sparse depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.clip.pinhole import ToPinhole
from engine.clip.track import CameraTrack
from engine.errors import DepthError
from engine.footage import read_proxy
from engine.geometry.arrays import Lens, normalised_from_pixel, rigid_inverse
from engine.parallel import each
from engine.progress import Progress

SIDE_MULTIPLE = 32  # four halvings in the network, which itself runs at half the work size
Sparse = tuple[NDArray[np.float64], NDArray[np.float64]]


def work_size(width: int, height: int, long_side: int) -> tuple[int, int]:
    """Work size (width, height): long side at most `long_side` and the plate's, both multiples of `SIDE_MULTIPLE`."""
    factor = min(1.0, long_side / max(width, height))
    return (
        max(SIDE_MULTIPLE, round(width * factor / SIDE_MULTIPLE) * SIDE_MULTIPLE),
        max(SIDE_MULTIPLE, round(height * factor / SIDE_MULTIPLE) * SIDE_MULTIPLE),
    )


@dataclass(frozen=True)
class WorkClip:
    """The registered frames of a clip at the work size.

    Attributes:
        numbers: (N,) int64 plate frame numbers, ascending.
        images: (N, H, W, 3) uint8 RGB, undistorted.
        lens: pinhole of the work grid (fx and fy differ slightly, because both sides are rounded).
        world_from_camera: (N, 4, 4) float64.
        sparse: per frame the undistorted pixels (M, 2) of its sparse points, and their planar depth (M,).
    """

    numbers: NDArray[np.int64]
    images: NDArray[np.uint8]
    lens: Lens
    world_from_camera: NDArray[np.float64]
    sparse: tuple[Sparse, ...]

    @classmethod
    def load(cls, proxies: Path, track: CameraTrack, long_side: int, progress: Progress) -> WorkClip:
        """Read the registered frames of `track` from `proxies` and bring them to the work grid.

        Args:
            proxies: folder with `000101.png`, 8-bit sRGB, the whole plate at any size.
            track: solved cameras.
            long_side: upper limit of the work size in pixels.
            progress: is told what is done, not how far it is: no stage is this alone.

        Raises:
            DepthError: fewer than two registered frames.
            FootageError: a proxy that cannot be read.
            Cancelled: the user stopped it.
        """
        numbers = track.frames()
        if len(numbers) < 2:
            raise DepthError(
                "depth.too_few_frames",
                f"Depth needs at least two frames with a camera; this solve has {len(numbers)}.",
                "Depth is measured from how pictures differ between camera positions.",
                "Use a longer shot, or one in which the camera moves more.",
            )
        width, height = work_size(track.lens.width, track.lens.height, long_side)
        return cls(
            numbers=np.array(numbers, np.int64),
            images=work_images(proxies, track, width, height, progress),
            lens=track.lens.undistorted().scaled(width, height),
            world_from_camera=np.stack([track.world_from_camera[n] for n in numbers]),
            sparse=_sparse(track, numbers, width, height),
        )

    @property
    def half_lens(self) -> Lens:
        """Pinhole of half the work grid, where sweep, flow and networks live."""
        return self.lens.scaled(self.lens.width // 2, self.lens.height // 2)

    def index(self, number: int) -> int:
        """Row of a plate frame number."""
        return int(np.searchsorted(self.numbers, number))

    def colours(self, rows: list[int], device: torch.device) -> torch.Tensor:
        """Pictures (B, 3, H, W) in [0, 1]."""
        return torch.from_numpy(self.images[rows]).to(device).permute(0, 3, 1, 2).float() / 255.0

    def scaled(self, factor: float) -> WorkClip:
        """The same clip in a world `factor` times as large (CVD eq. 3)."""
        poses = self.world_from_camera.copy()
        poses[:, :3, 3] *= factor
        return replace(
            self,
            world_from_camera=poses,
            sparse=tuple((pixels, depth * factor) for pixels, depth in self.sparse),
        )


def work_images(proxies: Path, track: CameraTrack, width: int, height: int, progress: Progress) -> NDArray[np.uint8]:
    """The registered frames of `track` on the work grid: (N, height, width, 3) uint8 RGB, undistorted.

    Args:
        proxies: folder with `000101.png`, 8-bit sRGB, the whole plate at any size; of either eye, as both eyes of a
            rectified pair have one lens.
        track: solved cameras.
        width: of the work grid.
        height: of the work grid.
        progress: is told what is done, not how far it is: no stage is this alone.

    Raises:
        FootageError: a proxy that cannot be read.
        Cancelled: the user stopped it.
    """
    numbers = track.frames()
    images = np.empty((len(numbers), height, width, 3), np.uint8)
    shape = read_proxy(proxies, numbers[0]).shape
    # Undistort at the proxy's own size: resizing afterwards hides the second interpolation.
    to_pinhole = ToPinhole(track.lens.scaled(shape[1], shape[0]))

    def bring(row: int) -> None:
        picture = to_pinhole(read_proxy(proxies, numbers[row]), cv2.INTER_CUBIC)
        cv2.resize(picture, (width, height), dst=images[row], interpolation=cv2.INTER_AREA)

    for _ in each(bring, range(len(numbers))):
        progress.step(0.0, 1.0, "reading the frames")
    return images


def _sparse(track: CameraTrack, numbers: list[int], width: int, height: int) -> tuple[Sparse, ...]:
    points, lens = track.points, track.lens
    pixel = points.observation_pixel
    x, y = normalised_from_pixel(lens, pixel).T
    pinhole = lens.undistorted().scaled(width, height)
    pixels = np.stack([x * pinhole.fx + pinhole.cx, y * pinhole.fy + pinhole.cy], axis=-1)
    inside = np.asarray(((pixels > 0) & (pixels < (width, height))).all(axis=1))
    sparse: list[Sparse] = []
    by_frame = np.argsort(points.observation_frame, kind="stable")
    first, end = (np.searchsorted(points.observation_frame, numbers, side, by_frame) for side in ("left", "right"))
    for k, number in enumerate(numbers):
        rows = by_frame[first[k] : end[k]]
        rows = rows[inside[rows]]
        xyz = points.xyz[points.observation_point[rows]]
        camera_from_world = rigid_inverse(track.world_from_camera[number])
        depth = xyz @ camera_from_world[2, :3] + camera_from_world[2, 3]
        sparse.append((pixels[rows][depth > 0], depth[depth > 0]))
    return tuple(sparse)
