"""The solved cameras and sparse points of a clip: what the poses stage hands to every later one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.geometry.arrays import Lens


@dataclass(frozen=True)
class SparsePoints:
    """Triangulated points and where they were seen.

    Attributes:
        xyz: (P, 3) float64, world.
        rgb: (P, 3) uint8.
        error_px: (P,) mean reprojection error, plate pixels.
        observation_frame: (M,) plate frame numbers.
        observation_point: (M,) rows of `xyz`.
        observation_pixel: (M, 2) pixel coordinates on the (distorted) plate.
    """

    xyz: NDArray[np.float64]
    rgb: NDArray[np.uint8]
    error_px: NDArray[np.float64]
    observation_frame: NDArray[np.int64]
    observation_point: NDArray[np.int64]
    observation_pixel: NDArray[np.float64]


@dataclass(frozen=True)
class CameraTrack:
    """Cameras of a clip.

    Attributes:
        lens: shared intrinsics in plate pixels.
        lens_known: the focal length was given, not estimated.
        focal_std_pct: one standard deviation of the focal length in percent, None when unknown.
        world_from_camera: plate frame number -> (4, 4); only registered frames. World z is up.
        reasons: plate frame number -> why it was not registered.
        reprojection_px: plate frame number -> median reprojection error, plate pixels.
        up_estimated: world up was estimated from the cameras (False: assumed).
        points: sparse points.
        scale: of the world: "free" (may be multiplied), "own" (given with the cameras, in an unknown unit) or "metric".
        lens_origin: where the focal length comes from, in words.
        motion: of the camera: "travels", or without any parallax "turns" or "static"; then there are no points.
        focals: plate frame number -> fx, for a lens that zooms; empty for one that does not.
        focal_range: between which values `lens.fx` lies, plate pixels; None when unknown.
        filled: plate frame number -> (4, 4) of frames that could not be solved and were put between their neighbours;
            they are not registered, and get no depth.
    """

    lens: Lens
    lens_known: bool
    focal_std_pct: float | None
    world_from_camera: dict[int, NDArray[np.float64]]
    reasons: dict[int, str]
    reprojection_px: dict[int, float]
    up_estimated: bool
    points: SparsePoints
    scale: str = "free"
    lens_origin: str = "estimated from the pictures"
    motion: str = "travels"
    focals: dict[int, float] = field(default_factory=dict)
    focal_range: tuple[float, float] | None = None
    filled: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `track.json` and `points.npz` into `folder`."""
        document = {
            "lens": asdict(self.lens),
            "lens_known": self.lens_known,
            "focal_std_pct": self.focal_std_pct,
            "up_estimated": self.up_estimated,
            "world_from_camera": {str(n): pose.tolist() for n, pose in self.world_from_camera.items()},
            "reasons": {str(n): reason for n, reason in self.reasons.items()},
            "reprojection_px": {str(n): error for n, error in self.reprojection_px.items()},
            "scale": self.scale,
            "lens_origin": self.lens_origin,
            "motion": self.motion,
            "focals": {str(n): focal for n, focal in self.focals.items()},
            "focal_range": self.focal_range,
            "filled": {str(n): pose.tolist() for n, pose in self.filled.items()},
        }
        (folder / "track.json").write_text(json.dumps(document), encoding="utf-8")
        np.savez(folder / "points.npz", allow_pickle=False, **asdict(self.points))

    @classmethod
    def load(cls, folder: Path) -> CameraTrack:
        """Read what `save` wrote."""
        document = json.loads((folder / "track.json").read_text(encoding="utf-8"))
        with np.load(folder / "points.npz", allow_pickle=False) as arrays:
            points = SparsePoints(**{name: arrays[name] for name in SparsePoints.__dataclass_fields__})
        return cls(
            lens=Lens(**document["lens"]),
            lens_known=document["lens_known"],
            focal_std_pct=document["focal_std_pct"],
            world_from_camera={int(n): np.array(pose) for n, pose in document["world_from_camera"].items()},
            reasons={int(n): reason for n, reason in document["reasons"].items()},
            reprojection_px={int(n): error for n, error in document["reprojection_px"].items()},
            up_estimated=document["up_estimated"],
            points=points,
            scale=document["scale"],
            lens_origin=document["lens_origin"],
            motion=document["motion"],
            focals={int(n): focal for n, focal in document["focals"].items()},
            focal_range=None if document["focal_range"] is None else tuple(document["focal_range"]),
            filled={int(n): np.array(pose) for n, pose in document["filled"].items()},
        )

    def frames(self) -> list[int]:
        """Registered plate frame numbers, in order."""
        return sorted(self.world_from_camera)

    @property
    def measurable(self) -> bool:
        """Parallax measures depth: the camera travels, and its lens is one and the same for all frames."""
        return self.motion == "travels" and not self.focals

    def lens_at(self, number: int) -> Lens:
        """The lens of a plate frame: `lens`, at the focal length that a zoom has there."""
        return self.lens.zoomed(self.focals.get(number, self.lens.fx))

    def scaled(self, factor: float) -> CameraTrack:
        """The track in a world `factor` times as large (CVD eq. 3)."""
        poses = {number: _moved_away(pose, factor) for number, pose in self.world_from_camera.items()}
        filled = {number: _moved_away(pose, factor) for number, pose in self.filled.items()}
        points = replace(self.points, xyz=self.points.xyz * factor)
        return replace(self, world_from_camera=poses, filled=filled, points=points)


def _moved_away(pose: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    moved = pose.copy()
    moved[:3, 3] *= factor
    return moved
