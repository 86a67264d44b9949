"""`cvd.camera/1` and `cvd.tracks/1`: the small JSON documents in which cameras and followed points are handed over.

`docs/cameras.md` describes both for people, `engine/schemas/{camera,tracks}-1.json` define them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from numpy.typing import NDArray

from engine.errors import CameraError
from engine.files import read_json, write_json
from engine.geometry.arrays import Lens
from engine.schemas import schema

CAMERA_SCHEMA, TRACKS_SCHEMA = "cvd.camera/1", "cvd.tracks/1"
LENS_PARTS = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")
READABLE = "Cameras are read from Nuke's .chan, from the folder of a COLMAP model and from cvd.camera/1 JSON."
MODEL_FOLDERS = ("", "0", "sparse/0", "sparse")
"""Where below the folder that is named a COLMAP model may lie."""
MAX_SHIFT = 2
"""Frames by which a camera may be late or early for that to be looked for."""
_SAME_SHAPE = 0.01
_ORTHOGONAL = 1e-3
FOCAL_RANGE = 0.01, 1000.0
"""Of the long side: 179 to .06 degrees. What lies outside is no lens, but a wrong unit or a damaged file."""
_FARTHEST = 1e12
"""Units from the origin, beyond which coordinates of single precision are all that is left of a position."""
_MOST_DISTORTION = 10.0
"""Share of its distance from the centre by which a corner may be shifted: far more than any lens does."""
_STEADY = 1.002
"""Longest over shortest focal length of a lens that does not zoom: what breathes less is as good as steady."""


@dataclass(frozen=True)
class GivenCamera:
    """A camera that is not to be solved.

    Attributes:
        lens: in pixels of the picture it was made for, which has the plate's shape but perhaps another size.
        world_from_camera: plate frame number -> (4, 4), camera x right, y down, z forward.
        metric: the world is in metres.
        focals: plate frame number -> fx, for a lens that zooms; empty for one that does not.
    """

    lens: Lens
    world_from_camera: dict[int, NDArray[np.float64]]
    metric: bool
    focals: dict[int, float] = field(default_factory=dict)

    def on_plate(self, width: int, height: int) -> GivenCamera:
        """The same camera with its lens in pixels of a plate of `width` x `height`.

        Raises:
            CameraError: `camera.shape`, where the plate has another shape.
        """
        if abs(width / height / (self.lens.width / self.lens.height) - 1.0) > _SAME_SHAPE:
            raise CameraError(
                "camera.shape",
                "The given camera does not belong to this plate.",
                f"It looks at pictures of {self.lens.width}x{self.lens.height}, the plate is {width}x{height}: "
                "another shape.",
                "Choose the camera of this very plate, or export it again with the plate's resolution.",
            )
        focals = {number: focal * width / self.lens.width for number, focal in self.focals.items()}
        return replace(self, lens=self.lens.scaled(width, height), focals=focals)

    def lens_at(self, number: int) -> Lens:
        """The lens of a plate frame, at the focal length that a zoom has there."""
        return self.lens.zoomed(self.focals.get(number, self.lens.fx))

    def checked(self, origin: str) -> GivenCamera:
        """The camera itself, if its lens is one that a camera can have, see `checked_lens`."""
        for number in self.focals or [next(iter(self.world_from_camera))]:
            checked_lens(self.lens_at(number), f"frame {number} of {origin}" if self.focals else origin)
        return self

    def save(self, path: Path) -> None:
        """Write a `cvd.camera/1` document."""
        lens = asdict(self.lens)
        document = {
            "schema": CAMERA_SCHEMA,
            "width": self.lens.width,
            "height": self.lens.height,
            "metric": self.metric,
            "lens": {name: lens[name] for name in LENS_PARTS},
            "frames": [
                {"frame": n, "world_from_camera": pose.tolist(), "focal_px": self.focals.get(n)}
                for n, pose in self.world_from_camera.items()
            ],
        }
        write_json(path, document)

    @classmethod
    def load(cls, path: Path) -> GivenCamera:
        """Read and check a `cvd.camera/1` document.

        Raises:
            CameraError: `camera.unreadable`, `.invalid`, `.lens`, `.pose` or `.twice`.
        """
        document = read_document(path, "camera-1")
        lens = {name: float(document["lens"].get(name, 0.0)) for name in LENS_PARTS}
        poses: dict[int, NDArray[np.float64]] = {}
        for entry in document["frames"]:
            number, pose = int(entry["frame"]), np.array(entry["world_from_camera"], np.float64)
            if number in poses:
                raise CameraError(
                    "camera.twice",
                    f"{path} cannot be used.",
                    f"It holds frame {number} twice.",
                    "Export the camera again, with each frame once.",
                )
            poses[number] = checked_pose(pose, f"frame {number} of {path}")
        said = {int(entry["frame"]): float(entry.get("focal_px") or lens["fx"]) for entry in document["frames"]}
        focal, focals = zoom_of(said)
        lens |= {"fx": focal, "fy": lens["fy"] * focal / lens["fx"]}
        camera = cls(
            named_lens(int(document["width"]), int(document["height"]), **lens),
            poses,
            bool(document.get("metric", False)),
            focals,
        )
        return camera.checked(str(path))


@dataclass(frozen=True)
class FollowedPoints:
    """Points of things that stand still, followed by the artist from frame to frame.

    Attributes:
        size: (width, height) of the pictures the pixels belong to.
        track: (M,) which point.
        frame: (M,) plate frame number; a point is met at most once in a frame.
        pixel: (M, 2) pixel coordinates on the (distorted) plate.
    """

    size: tuple[int, int]
    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    pixel: NDArray[np.float64]

    @classmethod
    def load(cls, path: Path) -> FollowedPoints:
        """Read and check a `cvd.tracks/1` document.

        Raises:
            CameraError: `camera.unreadable`, `.invalid` or `.twice`.
        """
        document = read_document(path, "tracks-1")
        rows = [
            (index, int(frame), float(x), float(y))
            for index, track in enumerate(document["tracks"])
            for frame, x, y in track["markers"]
        ]
        if len({row[:2] for row in rows}) < len(rows):
            raise CameraError(
                "camera.twice",
                f"{path} cannot be used.",
                "A point lies at two places of one frame.",
                "Export the tracking markers again.",
            )
        table = np.array(rows, np.float64).reshape(-1, 4)
        size = (int(document["width"]), int(document["height"]))
        return cls(size, table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:])


def named_lens(width: int, height: int, **parts: float) -> Lens:
    """A lens of `LENS_PARTS` under the name of the simplest of COLMAP's models that holds it."""
    fx, fy, cx, cy, k1, k2, p1, p2 = (parts[name] for name in LENS_PARTS)
    if p1 or p2 or (fx != fy and (k1 or k2)):
        model = "OPENCV"
    elif k1 or k2:
        model = "RADIAL" if k2 else "SIMPLE_RADIAL"
    else:
        model = "SIMPLE_PINHOLE" if fx == fy else "PINHOLE"
    return Lens(model, width, height, fx, fy, cx, cy, k1, k2, p1, p2)


def zoom_of(focals: dict[int, float]) -> tuple[float, dict[int, float]]:
    """The focal length in the middle, and those of the frames where the lens zooms; none of them where it does not.

    Args:
        focals: plate frame number -> fx.
    """
    middle, steady = float(np.median(list(focals.values()))), max(focals.values()) < _STEADY * min(focals.values())
    return middle, {} if steady else focals


def checked_lens(lens: Lens, origin: str) -> Lens:
    """The lens itself, if it is one that a camera can have.

    Args:
        lens: in pixels of its picture.
        origin: of the lens, for people.

    Raises:
        CameraError: `camera.lens`.
    """
    side, wrong = max(lens.width, lens.height), ""
    low, high = (side * share for share in FOCAL_RANGE)
    if min(lens.width, lens.height) < 1:
        wrong = "the picture has no size"
    elif not (low <= lens.fx <= high and low <= lens.fy <= high):  # also what is no number
        wrong = f"the focal length is {lens.fx:g} x {lens.fy:g} px"
    elif not (abs(lens.cx) <= 10.0 * side and abs(lens.cy) <= 10.0 * side):
        wrong = f"the principal point is {lens.cx:g}, {lens.cy:g}"
    else:
        radius = float(np.hypot(lens.width / lens.fx, lens.height / lens.fy) / 2.0)
        terms = np.abs([lens.k1 * radius**2, lens.k2 * radius**4, lens.p1 * radius, lens.p2 * radius])
        if not (terms <= _MOST_DISTORTION).all():
            wrong = "the distortion shifts the corners by more than ten times their distance from the centre"
    if wrong:
        raise CameraError(
            "camera.lens",
            f"The lens of {origin} cannot be used.",
            f"In pictures of {lens.width}x{lens.height}, {wrong}, which no lens has.",
            "Export the camera again, with the focal length in pixels or the field of view in degrees.",
        )
    return lens


def checked_pose(pose: NDArray[np.float64], origin: str) -> NDArray[np.float64]:
    """A camera-to-world matrix with its rotation made exactly orthogonal.

    Raises:
        CameraError: `camera.pose`, where the matrix is not finite, scales, shears or mirrors.
    """
    if not np.isfinite(pose).all() or np.abs(pose).max() > _FARTHEST:  # before any algebra, which would not end
        raise CameraError(
            "camera.pose",
            "The given camera cannot be used.",
            f"The matrix of {origin} holds a value that is not finite, or is beyond {_FARTHEST:.0e}.",
            "Export the camera again.",
        )
    rotation = pose[:3, :3]
    u, sizes, vt = np.linalg.svd(rotation)
    if np.abs(sizes - 1.0).max() > _ORTHOGONAL or np.linalg.det(rotation) < 0 or not np.allclose(pose[3], (0, 0, 0, 1)):
        raise CameraError(
            "camera.pose",
            "The given camera cannot be used.",
            f"The matrix of {origin} is not that of a camera: it scales, shears or mirrors.",
            "Apply the camera's scale (and that of its parents) before exporting it.",
        )
    exact = pose.copy()
    exact[:3, :3] = u @ vt
    return exact


def read_document(path: Path, name: str) -> dict[str, Any]:
    """A JSON document that follows the schema `engine/schemas/<name>.json`.

    Raises:
        CameraError: `camera.unreadable` or `camera.invalid`; the message names the field.
    """
    try:
        document: dict[str, Any] = read_json(path)
    except OSError as error:
        raise unreadable(path, f"{error.strerror}.") from error
    except ValueError as error:
        what = READABLE if name == "camera-1" else ""
        raise unreadable(path, f"It is not a JSON document: {str(error).rstrip('.')}.", what) from error
    problem = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema(name)).iter_errors(document))
    if problem is not None:
        where = "/".join(str(part) for part in problem.absolute_path) or "the document"
        raise CameraError(
            "camera.invalid",
            f"{path} cannot be used.",
            f"{where}: {problem.message[:300]}.",
            f"Write it again; engine/schemas/{name}.json describes its form.",
        )
    return document


def unreadable(path: Path, why: str, also: str = "") -> CameraError:
    """The error for a file of camera or tracks that cannot be read."""
    return CameraError(
        "camera.unreadable",
        f"{path} cannot be read.",
        why,
        f"Check the path, and that the file is whole. {also}".strip(),
    )
