# SPDX-License-Identifier: GPL-3.0-or-later
"""Doubtful depth: marked in the timeline, and its confidence shown over the plate."""

from __future__ import annotations

import bpy

from .. import compat, paths
from ..present import data_of, present
from ..solve_reader import Solve, SolveError, frame_ranges
from . import markers, owned, plate
from .camera import find_camera, find_root

MARKERS = "cvd_doubt_markers"
ROLE = "confidence"
WAS_SHOWN = "cvd_backgrounds_shown"  # on the camera object, while confidence is shown
ALPHA = 0.5


def build(scene: bpy.types.Scene, solve: Solve) -> list[bpy.types.TimelineMarker]:
    """Make or update the markers, one where each doubtful run begins; shown confidence finds its files again."""
    if find_overlay(scene, solve.key) is not None:
        _clip(solve)
    wanted = sorted((run.first, f"Depth doubtful: {run.where}") for run in solve.doubtful)
    return markers.replace(scene, present(find_root(scene, solve), "root"), MARKERS, wanted)


def find_overlay(scene: bpy.types.Scene, key: str) -> bpy.types.CameraBackgroundImage | None:
    """What shows the confidence of a solve; None while it is not shown."""
    clip, camera = owned.find(bpy.data.movieclips, key, ROLE), owned.find(scene.objects, key, "camera")
    if clip is None or camera is None:
        return None
    return next((entry for entry in data_of(camera, bpy.types.Camera).background_images if entry.clip == clip), None)


def show(scene: bpy.types.Scene, solve: Solve) -> None:
    """Lay the confidence over the plate, half transparent: bright is certain, dark is doubtful.

    Raises:
        SolveError: the solve has none.
    """
    camera = present(find_camera(scene, solve), "camera")
    data = data_of(camera, bpy.types.Camera)
    overlay = find_overlay(scene, solve.key)
    clip = _clip(solve)
    if overlay is None:
        overlay = data.background_images.new()
        overlay.source = "MOVIE_CLIP"
        overlay.clip = clip
        camera[WAS_SHOWN] = data.show_background_images
    overlay.alpha = ALPHA
    overlay.display_depth = "FRONT"
    overlay.frame_method = "STRETCH"
    overlay.clip_user.use_render_undistorted = solve.lens.distorted
    data.show_background_images = True


def hide(scene: bpy.types.Scene, key: str) -> None:
    """Set everything back to what it was before `show`."""
    overlay, camera = find_overlay(scene, key), owned.find(scene.objects, key, "camera")
    if overlay is None or camera is None:
        return
    data = data_of(camera, bpy.types.Camera)
    data.background_images.remove(overlay)
    data.show_background_images = bool(camera.get(WAS_SHOWN, True))
    camera.pop(WAS_SHOWN, None)
    clip = owned.find(bpy.data.movieclips, key, ROLE)
    # Not `users`, from which a background that is removed does not take itself off.
    if clip is not None and not bpy.data.user_map(subset={clip})[clip]:
        bpy.data.movieclips.remove(clip)


def _clip(solve: Solve) -> bpy.types.MovieClip:
    """Confidence as a clip with the solved lens, as the plate is one: so both are undistorted in the same way."""
    files = {frame.number: frame.confidence for frame in solve.frames if frame.confidence is not None}
    if not files:
        raise SolveError(
            "The confidence cannot be shown.",
            f"There are no confidence files in {solve.folder}.",
            "Solve the clip again, or copy the folder again from where it was made.",
        )
    first = min(files)
    clip = owned.find(bpy.data.movieclips, solve.key, ROLE)
    if clip is None:
        clip = bpy.data.movieclips.load(str(files[first]))
        owned.mark(clip, solve.key, ROLE)
        clip.name = f"CVD Confidence {solve.name}"
    paths.point(clip, files[first])
    clip[owned.FRAMES] = frame_ranges(tuple(files))
    clip.frame_start, clip.frame_offset = first, 0
    compat.colour_space(clip).name = plate.SRGB  # values are shown as they are, not brightened
    plate.set_lens(clip, solve)
    return clip
