"""Cameras of a COLMAP model, by plate frame, and a model made of them.

Imports pycolmap, which is native code, to write one: for the solving process, and for deliveries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path, PureWindowsPath

import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.cameras.document import (
    LENS_PARTS,
    MAX_SHIFT,
    GivenCamera,
    checked_lens,
    checked_pose,
    named_lens,
    zoom_of,
)
from engine.cameras.model import ModelCamera, ModelImage, read_model
from engine.errors import CameraError
from engine.geometry.arrays import Lens, rigid_inverse

_PARAMETERS = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


def read_colmap(
    folder: Path, plate_names: dict[str, int], plate_folders: list[str], numbers: list[int], metric: bool
) -> GivenCamera:
    """The cameras of a COLMAP model, binary or text.

    A picture of the model belongs to the plate frame whose file has its name; else, where no name is the same, to the
    frame whose number is the last one in its name. Of pictures in several folders (the eyes of a rig) those count that
    lie in one called like the plate's.

    Args:
        folder: holds cameras.bin or cameras.txt, images and points; or is the project folder above it.
        plate_names: file name -> plate frame number, empty for movies.
        plate_folders: how a folder of the plate's pictures may be called.
        numbers: plate frame numbers to place.
        metric: the model is in metres.

    Raises:
        CameraError: `camera.unreadable`, `.lens_model`, `.lens`, `.pose`, `.several_lenses`, `.twice` or `.frames`.
    """
    placed = read_model(folder)
    eye = [image for image in placed if PureWindowsPath(image.name).parent.name in plate_folders]
    images: dict[int, ModelImage] = {}
    for number, image in _numbered(eye or placed, plate_names):
        if number in images:
            raise CameraError(
                "camera.twice",
                f"The COLMAP model in {folder} cannot be used.",
                f"Two of its pictures belong to frame {number}: {images[number].name} and {image.name}.",
                "Leave one of the two out of the model. Of a rig, put the plate into a folder that is called like its "
                "own in the model.",
            )
        images[number] = image
    # Frames just beside the range tell whether the model is late by a frame.
    images = {n: i for n, i in sorted(images.items()) if numbers[0] - MAX_SHIFT <= n <= numbers[-1] + MAX_SHIFT}
    if not images.keys() & set(numbers):
        raise CameraError(
            "camera.frames",
            f"The COLMAP model in {folder} has no camera for any frame of the plate.",
            f"Its pictures are called like {', '.join(image.name for image in placed[:3]) or 'nothing'}; the frames "
            f"to solve are {numbers[0]} to {numbers[-1]}.",
            "Choose the model of this plate; its pictures need the plate's names or its frame numbers.",
        )
    lens, focals = _lens(folder, {n: image.camera for n, image in images.items()})
    poses = {
        n: checked_pose(np.asarray(rigid_inverse(i.camera_from_world), np.float64), f"{i.name} in {folder}")
        for n, i in images.items()
    }
    return GivenCamera(lens, poses, metric, focals)


def _numbered(images: list[ModelImage], plate_names: dict[str, int]) -> Iterator[tuple[int, ModelImage]]:
    """Frame numbers and pictures."""
    names = [_base(image.name) for image in images]
    if any(name in plate_names for name in names):
        yield from (
            (plate_names[name], image) for name, image in zip(names, images, strict=True) if name in plate_names
        )
        return
    for name, image in zip(names, images, strict=True):
        found = _NUMBER.search(name.rpartition(".")[0] or name)
        if found is not None and len(found[1]) < 10:
            yield int(found[1]), image


def write_colmap(
    folder: Path,
    world_from_camera: dict[int, NDArray[np.float64]],
    lenses: dict[int, Lens],
    names: dict[int, str],
    xyz: NDArray[np.floating],
    rgb: NDArray[np.uint8],
) -> None:
    """Write a binary COLMAP model into an existing folder.

    Args:
        folder: where cameras.bin, images.bin, points3D.bin and what belongs to them go.
        world_from_camera: plate frame number -> (4, 4).
        lenses: of these frames; one camera for all where they are the same, else one for each picture.
        names: plate frame number -> name of its picture.
        xyz: (P, 3) points, world. Where they were seen is not known any more, so they have no tracks.
        rgb: (P, 3).
    """
    model = pycolmap.Reconstruction()
    cameras: dict[Lens, int] = {}
    for index, (number, pose) in enumerate(sorted(world_from_camera.items()), 1):
        lens = lenses[number]
        if lens not in cameras:
            cameras[lens] = len(cameras) + 1
            model.add_camera_with_trivial_rig(_camera(lens, cameras[lens]))
        image = pycolmap.Image(name=names[number], camera_id=cameras[lens], image_id=index)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(rigid_inverse(pose)[:3]))
    for point, colour in zip(xyz, rgb, strict=True):
        model.add_point3D(point.astype(np.float64), pycolmap.Track(), colour)
    model.write_binary(folder)


def _camera(lens: Lens, key: int) -> pycolmap.Camera:
    parts = {name: getattr(lens, name) for name in LENS_PARTS}
    model = named_lens(lens.width, lens.height, **parts).model
    values = [parts["fx" if name == "f" else name] for name in _PARAMETERS[model]]
    return pycolmap.Camera(camera_id=key, model=model, width=lens.width, height=lens.height, params=values)


def _base(name: str) -> str:
    return PureWindowsPath(name).name  # takes both slashes


def _lens(folder: Path, cameras: dict[int, ModelCamera]) -> tuple[Lens, dict[int, float]]:
    """The lens in the middle of a zoom, and fx of each frame where it zooms."""
    parts: dict[int, Lens] = {}
    none = dict.fromkeys(LENS_PARTS, 0.0)
    for number, camera in cameras.items():
        model = camera.model
        if model == "FULL_OPENCV" and not camera.params[len(_PARAMETERS["OPENCV"]) :].any():
            model = "OPENCV"
        names = _PARAMETERS.get(model)
        if names is None:
            raise CameraError(
                "camera.lens_model",
                f"The COLMAP model in {folder} cannot be used.",
                f"Its lens model is {model}; known are {', '.join(_PARAMETERS)}.",
                "Undistort the pictures (colmap image_undistorter) and use these as the plate, or solve with one of "
                "the known models.",
            )
        values = dict(zip(names, camera.params.tolist(), strict=False))  # more of them are zero
        focal = values.pop("f", None)
        fx, fy = values.pop("fx", focal), values.pop("fy", focal)
        lens = named_lens(camera.width, camera.height, **{**none, **values, "fx": fx, "fy": fy})
        parts[number] = checked_lens(lens, f"frame {number} of {folder}")
    focal, focals = zoom_of({number: part.fx for number, part in parts.items()})
    middle = min(parts.values(), key=lambda part: abs(part.fx - focal))
    for part in parts.values():
        # A zoom changes the focal length and nothing else.
        a, b = asdict(replace(part, fx=middle.fx, fy=part.fy * middle.fx / part.fx)), asdict(middle)
        if (part.width, part.height) != (middle.width, middle.height) or any(
            abs(a[name] - b[name]) > 0.01 * (middle.fx if name in ("cx", "cy", "fy") else 1.0)
            for name in ("fy", "cx", "cy", "k1", "k2", "p1", "p2")
        ):
            raise CameraError(
                "camera.several_lenses",
                f"The COLMAP model in {folder} cannot be used.",
                "Its pictures were solved with different lenses or sizes; a plate has one, of which only the focal "
                "length may change.",
                "Solve it again with one camera for all pictures (ImageReader.single_camera 1).",
            )
    return middle, focals
