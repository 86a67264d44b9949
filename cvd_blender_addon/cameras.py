# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scene knows of the camera, handed to the engine: a camera object, tracking markers, a camera's sensor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from . import compat, masks, paths, properties
from .jobs import SOLVED, StartError
from .present import data_of, tracking_camera, tracks_of

CAMERA, TRACKS = "camera.json", "tracks.json"
_SAME_PX = 0.05
# Blender's camera looks along -z with y up, the engine's along +z with y down.
BLENDER_FROM_CV = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))


def source(cvd: properties.CvdProperties, folder: Path) -> tuple[str, Path | None]:
    """Kind and path of a request's camera, as `scene.cvd` says; `folder` is the solve folder."""
    if cvd.camera_source == "SCENE":
        return "json", folder / CAMERA
    chosen = {"colmap": cvd.camera_folder, "chan": cvd.camera_chan}.get(cvd.camera_source, "")
    return cvd.camera_source, paths.absolute(chosen) if chosen else None


def provide(scene: bpy.types.Scene, clip: Path, folder: Path) -> None:
    """Write the scene's camera and the tracking markers into the solve folder, where `scene.cvd` asks for them.

    Raises:
        StartError: there are none, or they cannot be used.
    """
    cvd = properties.of(scene)
    if cvd.camera_source != "SCENE" and not uses_tracks(cvd):
        return
    numbers = masks.frames_to_solve(cvd, clip)
    size = plate_size(clip, cvd.stereo)
    if cvd.camera_source == "SCENE":
        shown = masks.showing(clip)
        block = masks.drawn_on(clip, cvd.mask_clip, "camera") if shown else None
        write_camera(scene, cvd.camera, block, numbers, size, cvd.camera_metric, folder / CAMERA)
    if uses_tracks(cvd):
        block = masks.drawn_on(clip, cvd.mask_clip, "tracking")
        # What a distance is measured between is placed best as a point of its own.
        only = None if cvd.use_tracks else (cvd.distance_a, cvd.distance_b)
        write_tracks(block, numbers, size, folder / TRACKS, only)


def uses_tracks(cvd: properties.CvdProperties) -> bool:
    """Tracking markers go into the solve, all of them or those of the known distance."""
    return bool(cvd.use_tracks or measures(cvd))


def measures(cvd: properties.CvdProperties) -> bool:
    """A distance is known, and counts: a given camera has a size of its own."""
    return bool(cvd.distance > 0.0 and cvd.camera_source in SOLVED)


def known_distance(cvd: properties.CvdProperties, clip: Path) -> dict[str, Any] | None:
    """What `scene.cvd` says of a distance, as a request has it; None where it says nothing.

    Raises:
        StartError: it is not known between which tracks, or they have no marker on a frame to solve.
    """
    if not measures(cvd):
        return None
    block = masks.drawn_on(clip, cvd.mask_clip, "tracking")
    numbers = masks.frames_to_solve(cvd, clip)
    return distance_between(
        block, (cvd.distance_a, cvd.distance_b), cvd.distance, numbers, plate_size(clip, cvd.stereo)
    )


def distance_between(
    clip: bpy.types.MovieClip, names: tuple[str, str], metres: float, numbers: Sequence[int], size: tuple[int, int]
) -> dict[str, Any]:
    """A known distance between two tracks of the clip, as a request has it; each is taken in the middle of its markers.

    Args:
        clip: what was tracked.
        names: of the two tracks.
        metres: between them.
        numbers: plate frame numbers to solve.
        size: of the plate, pixels.

    Raises:
        StartError: there are no such tracks, or they have no marker on these frames.
    """
    places = []
    for name in names:
        track = tracks_of(clip).get(name) if name else None
        found: list[list[float]] = [] if track is None else markers_of(clip, track, numbers, size)
        if not found:
            raise StartError(
                "tracks.distance",
                f"The known distance of {metres:g} m cannot be used.",
                f"The track '{name}' has no marker on any of the frames to solve."
                if track is not None
                else f"There is no track '{name}' in {clip.name}."
                if name
                else "It is not known between which two tracks of the clip it is.",
                "Select two tracks in the clip editor and press Between Selected Tracks, or set the distance to 0.",
            )
        places.append(found[len(found) // 2])
    return {"metres": metres, "a": places[0], "b": places[1]}


def lens_from_clip(cvd: properties.CvdProperties, clip: Path) -> None:
    """Take focal length, pixel aspect and optical centre that the clip's tracking camera has.

    Raises:
        StartError: the clip is not open.
    """
    block = masks.drawn_on(clip, cvd.mask_clip, "lens")
    lens = tracking_camera(block)
    cvd.lens, cvd.focal_px = "PX", lens.focal_length_pixels
    cvd.use_pixel_aspect, cvd.pixel_aspect = True, lens.pixel_aspect
    # Of a picture with two eyes in it, the clip's centre lies between them and says nothing.
    cvd.use_principal = cvd.stereo != "side_by_side"
    if cvd.use_principal:
        x, y = lens.principal_point_pixels
        cvd.principal = (x, block.size[1] - y)  # Blender counts from the bottom


def plate_size(clip: Path, stereo: str) -> tuple[int, int]:
    """Width and height of the plate, of which a side-by-side picture holds two.

    Raises:
        StartError: Blender cannot read it.
    """
    with masks.opened(clip) as block:
        width, height = block.size if block is not None else (0, 0)
    if width < 1:
        raise StartError(
            "footage.size",
            "The camera of the scene cannot be handed over.",
            f"Blender cannot read the size of '{clip}'.",
            "Choose a file of the sequence instead of its folder.",
        )
    return (width // 2 if stereo == "side_by_side" else width), height


def write_camera(
    scene: bpy.types.Scene,
    camera: bpy.types.Object | None,
    clip: bpy.types.MovieClip | None,
    numbers: Sequence[int],
    size: tuple[int, int],
    metric: bool,
    path: Path,
) -> None:
    """Write a camera as the scene plays it, whatever moves it, as `cvd.camera/1`.

    Args:
        camera: the object.
        clip: tells at which scene frame a plate frame is shown, and the plate's distortion; None: plate frame and scene
            frame are one and the same, and the plate is not distorted.
        numbers: plate frame numbers.
        size: of the plate, pixels.
        metric: a unit of the scene is a metre.

    Raises:
        StartError: there is no camera, or none that an engine could use.
    """
    if camera is None or camera.type != "CAMERA":
        raise _unusable("No camera was chosen.", "Choose the camera under Camera, or set Camera to Solve.")
    if data_of(camera, bpy.types.Camera).type != "PERSP":
        raise _unusable(f"{camera.name} is not a perspective camera.", "Set its type to Perspective.")
    before = scene.frame_current, scene.frame_subframe
    frames, lenses = [], []
    try:
        for number in numbers:
            scene.frame_set(number if clip is None else masks.scene_frame(clip, number))
            evaluated = camera.evaluated_get(bpy.context.evaluated_depsgraph_get())
            # A camera's scale, and that of its parents, does not change what it sees.
            location, rotation, _ = evaluated.matrix_world.decompose()
            pose = Matrix.LocRotScale(location, rotation, None) @ BLENDER_FROM_CV
            lenses.append(lens_of(scene, data_of(evaluated, bpy.types.Camera), size))
            frames.append(
                {"frame": number, "world_from_camera": [list(row[:]) for row in pose[:]], "focal_px": lenses[-1]["fx"]}
            )
    finally:
        scene.frame_set(before[0], subframe=before[1])
    if not frames:
        raise _unusable("The clip has no frames in the range asked for.", "Choose another range.")
    if any(abs(lens[name] - lenses[0][name]) > _SAME_PX for lens in lenses for name in ("cx", "cy")):
        raise _unusable(
            f"The shift of {camera.name} changes over time, and a lens has one optical centre.",
            "Remove the keys of Shift X and Shift Y.",
        )
    _write(
        path,
        {
            "schema": "cvd.camera/1",
            "width": size[0],
            "height": size[1],
            "metric": metric,
            "lens": {**lenses[0], **distortion_of(clip)},
            "frames": frames,
        },
    )


def lens_of(scene: bpy.types.Scene, data: bpy.types.Camera, size: tuple[int, int]) -> dict[str, float]:
    """Intrinsics in plate pixels of a camera that renders the plate's size: `scene.camera.blender_lens` backwards."""
    width, height = size
    render = scene.render
    squeeze = render.pixel_aspect_y / render.pixel_aspect_x
    fit = data.sensor_fit
    side = {"HORIZONTAL": width, "VERTICAL": height * squeeze, "AUTO": max(width, height * squeeze)}[fit]
    sensor = data.sensor_height if fit == "VERTICAL" else data.sensor_width
    focal = data.lens / sensor * side
    return {
        "fx": focal,
        "fy": focal / squeeze,
        "cx": width / 2 - data.shift_x * side,
        "cy": height / 2 + data.shift_y * side / squeeze,
    }


def distortion_of(clip: bpy.types.MovieClip | None) -> dict[str, float]:
    """The lens distortion that the clip's tracking camera says the plate has.

    Raises:
        StartError: it is of a kind that the engine does not know.
    """
    if clip is None:
        return {}
    lens = tracking_camera(clip)
    known, unknown = {
        "POLYNOMIAL": ({"k1": lens.k1, "k2": lens.k2}, (lens.k3,)),
        "BROWN": ({"k1": lens.brown_k1, "k2": lens.brown_k2}, (lens.brown_k3, lens.brown_k4)),
        "DIVISION": ({}, (lens.division_k1, lens.division_k2)),
        "NUKE": ({}, compat.nuke_distortion(lens)),
    }[lens.distortion_model]
    if lens.distortion_model == "BROWN":
        # Blender has p1 and p2 the other way about, and y upwards.
        known |= {"p1": -lens.brown_p2, "p2": lens.brown_p1}
    if any(unknown):
        raise _unusable(
            f"The lens of the clip {clip.name} has a distortion that the engine does not know: "
            f"{lens.distortion_model.title()} with terms beyond k1 and k2.",
            "Solve the clip's lens again as Polynomial with k1 and k2 only, or use an undistorted plate.",
        )
    return known


def markers_of(
    clip: bpy.types.MovieClip, track: bpy.types.MovieTrackingTrack, numbers: Sequence[int], size: tuple[int, int]
) -> list[list[float]]:
    """Where a track is seen: plate frame number and x, y in plate pixels, for its markers that are not disabled."""
    number_at = {masks.scene_frame(clip, number): number for number in numbers}
    found = []
    for marker in track.markers:
        number = number_at.get(marker.frame + clip.frame_start - 1)
        if number is not None and not marker.mute:
            # The clip's picture may hold two eyes, of which the left one is the plate.
            x = (marker.co[0] + track.offset[0]) * clip.size[0]
            y = (1.0 - marker.co[1] - track.offset[1]) * clip.size[1]
            if x < size[0]:
                found.append([number, x, y])
    return found


def write_tracks(
    clip: bpy.types.MovieClip,
    numbers: Sequence[int],
    size: tuple[int, int],
    path: Path,
    only: Sequence[str] | None = None,
) -> None:
    """Write the clip's tracking markers as `cvd.tracks/1`.

    Those of the camera only, not of tracked objects; neither disabled markers nor tracks without weight.

    Args:
        clip: what was tracked.
        numbers: plate frame numbers to solve.
        size: of the plate, pixels.
        only: names of tracks; None = all of them.

    Raises:
        StartError: nothing is tracked on two of these frames.
    """
    tracks = []
    for track in tracks_of(clip):
        if track.weight > 0.0 and (only is None or track.name in only):
            markers = markers_of(clip, track, numbers, size)
            if len(markers) > 1:
                tracks.append({"name": track.name, "markers": markers})
    if not tracks:
        raise StartError(
            "tracks.none",
            "There are no tracking markers to use.",
            f"Nothing of {clip.name} is tracked over two or more of the frames to solve.",
            "Track some points in the clip editor, or turn Use Tracking Markers off.",
        )
    _write(path, {"schema": "cvd.tracks/1", "width": size[0], "height": size[1], "tracks": tracks})


def _write(path: Path, document: dict[str, Any]) -> None:
    """Write JSON; a file that would not change is left alone, so that a solve goes on where it stopped."""
    text = json.dumps(document)
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StartError(
            "camera.write",
            f"{path} was not written.",
            f"{error.strerror}.",
            "Choose a solve folder that can be written to.",
        ) from error


def _unusable(why: str, fix: str) -> StartError:
    return StartError("camera.scene", "The camera of the scene cannot be handed over.", why, fix)
