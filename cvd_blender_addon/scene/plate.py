# SPDX-License-Identifier: GPL-3.0-or-later
"""The plate: as a clip behind the camera and in the compositor, and as an image for materials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import bpy

from .. import compat, paths
from ..present import data_of, tracking_camera
from ..solve_reader import Solve, frame_ranges
from . import owned
from .camera import find_camera

P = TypeVar("P", bpy.types.MovieClip, bpy.types.Image)
P_co = TypeVar("P_co", covariant=True)
Level = Literal["INFO", "WARNING"]
Report = Callable[[Level, str], None]

LEVELS = 8  # folders upwards in which a moved file is looked for
SRGB = "sRGB"
LINEAR = "Linear Rec.709"


class _Files(Protocol[P_co]):
    """`bpy.data.movieclips` or `.images`."""

    def __iter__(self) -> Iterator[P_co]: ...

    def load(self, filepath: str) -> P_co: ...


def find(file: Path, folder: Path) -> Path | None:
    """A plate's file: where the engine saw it, or after the project has moved, beside the solve folder or as before."""
    for path in (file, folder.parent / file.name, *elsewhere(file, folder)):
        try:
            if path.is_absolute() and path.is_file():
                return path
        except OSError:  # a name that is too long for the disk
            continue
    return None


def elsewhere(path: Path, near: Path) -> Iterator[Path]:
    """Where a file or folder may be after it has moved together with `near`: at the end of its path, a folder and a
    name at least, below one of the folders that hold `near`."""
    parts = path.parts[1:]
    for start in range(1, len(parts) - 1):
        for parent in list(near.parents)[:LEVELS]:
            yield parent.joinpath(*parts[start:])


def find_file(solve: Solve) -> Path | None:
    """The plate's file of a solve."""
    return find(solve.source.path, solve.folder)


def _ensure(collection: _Files[P], solve: Solve) -> P | None:
    """The solve's plate in `bpy.data.movieclips` or `.images`, loaded once and up to date; None without its file."""
    plate = owned.find(collection, solve.key, "plate")
    path = find_file(solve)
    if path is None and plate is not None and paths.absolute(plate.filepath).is_file():
        path = paths.absolute(plate.filepath)  # it has moved with the .blend, or was found by hand
    if path is None:
        return None
    if plate is None:
        plate = collection.load(str(path))
        owned.mark(plate, solve.key, "plate")
    paths.point(plate, path)
    return plate


def follow(solve: Solve) -> None:
    """Let the plate that is built find its file, where that has moved."""
    if owned.find(bpy.data.movieclips, solve.key, "plate") is not None:
        _ensure(bpy.data.movieclips, solve)
    if owned.find(bpy.data.images, solve.key, "plate") is not None:
        _ensure(bpy.data.images, solve)


def ensure_clip(solve: Solve) -> bpy.types.MovieClip | None:
    """The plate as a clip that shows plate frame n at scene frame n and knows the solved lens; None without file."""
    clip = _ensure(bpy.data.movieclips, solve)
    if clip is None:
        return None
    # A clip counts from its own first file, whatever that file's number.
    clip.frame_start = solve.source.path_number
    if solve.source.sequence:
        clip[owned.FRAMES] = frame_ranges(tuple(frame.number for frame in solve.registered))
    clip.frame_offset = 0
    compat.colour_space(clip).name = LINEAR if solve.source.linear else SRGB
    set_lens(clip, solve)
    return clip


def set_lens(clip: bpy.types.MovieClip, solve: Solve) -> None:
    """Tell a clip of the plate's size the solved lens."""
    lens, camera = solve.lens, tracking_camera(clip)
    camera.pixel_aspect = lens.fy / lens.fx
    camera.units = "PIXELS"
    camera.focal_length_pixels = lens.fx
    # Blender measures the principal point from the bottom.
    camera.principal_point_pixels = (lens.cx, solve.source.height - lens.cy)
    if lens.tangential:
        camera.distortion_model = "BROWN"
        camera.brown_k1, camera.brown_k2, camera.brown_k3, camera.brown_k4 = lens.k1, lens.k2, 0.0, 0.0
        # Blender has p1 and p2 the other way about, and y upwards.
        camera.brown_p1, camera.brown_p2 = lens.p2, -lens.p1
    else:
        camera.distortion_model = "POLYNOMIAL"
        camera.k1, camera.k2, camera.k3 = lens.k1, lens.k2, 0.0


def ensure_image(solve: Solve) -> bpy.types.Image | None:
    """The plate as an image (sequence or movie) for materials; None without its file."""
    image = _ensure(bpy.data.images, solve)
    if image is None:
        return None
    image.source = "SEQUENCE" if solve.source.sequence else "MOVIE"
    compat.colour_space(image).name = LINEAR if solve.source.linear else SRGB
    return image


def set_image_frames(user: Any, solve: Solve) -> None:
    """Let an image user, or a node that is one, show plate frame n at scene frame n.

    Blender shows the file number `frame - frame_start + 1 + frame_offset` and stops after `frame_duration` files.
    """
    user.frame_start = solve.source.first
    user.frame_offset = solve.source.first - 1
    user.frame_duration = solve.source.last - solve.source.first + 1
    user.use_auto_refresh = True


def build(scene: bpy.types.Scene, solve: Solve, report: Report) -> bpy.types.MovieClip | None:
    """Show the plate behind the solved camera, with its distortion taken out, and leave its colours alone."""
    camera = find_camera(scene, solve)
    clip = ensure_clip(solve)
    if camera is None or clip is None:
        report("WARNING", f"The plate {solve.source.path} is missing: put it beside the solve folder and build again")
        return None
    size = (solve.source.width, solve.source.height)
    if tuple(clip.size) != size:
        report(
            "WARNING",
            f"{clip.filepath} is not the plate of this solve, or cannot be read: it is not {size[0]}x{size[1]}",
        )
    elif not solve.source.sequence and clip.frame_duration < solve.source.last:
        report(
            "WARNING",
            f"{clip.filepath} has {clip.frame_duration} frames, the solve goes to {solve.source.last}: it is another "
            "version of the plate, or this Blender reads it differently",
        )
    scene.active_clip = clip
    data = data_of(camera, bpy.types.Camera)
    backgrounds = data.background_images
    background = next((entry for entry in backgrounds if entry.clip == clip), None)
    if background is None:
        background = backgrounds.new()
        background.source = "MOVIE_CLIP"
        background.clip = clip
        background.alpha = 1.0
        background.display_depth = "BACK"
        background.frame_method = "STRETCH"
        data.show_background_images = True
    # CG is seen by a pinhole camera, so the plate has to be, too.
    background.clip_user.use_render_undistorted = solve.lens.distorted
    # Under AgX or Filmic a plate comes out of the render with other colours than it went in (mean error 2-3 %).
    view = compat.view_settings(scene)
    if view.view_transform != "Standard":
        report("INFO", f"View transform changed from {view.view_transform} to Standard: the plate keeps its colours")
        view.look = "None"
        view.view_transform = "Standard"
    return clip
