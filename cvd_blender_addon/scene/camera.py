# SPDX-License-Identifier: GPL-3.0-or-later
"""The solved camera: root empty, keys, lens, and the scene settings that go with the plate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
from mathutils import Matrix, Quaternion

from .. import compat
from ..present import data_of, present
from ..solve_reader import Lens, Solve
from . import owned
from .layers import ensure_collections

# Blender's camera looks along -z with y up, the solve's along +z with y down.
CV_FROM_BLENDER = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))
_INTERPOLATION: Any = bpy.types.Keyframe.bl_rna.properties["interpolation"]
LINEAR: int = _INTERPOLATION.enum_items["LINEAR"].value


@dataclass(frozen=True)
class BlenderLens:
    """A pinhole lens in Blender's terms: focal length in mm, shifts in units of the fitted side."""

    lens_mm: float
    shift_x: float
    shift_y: float


def blender_lens(
    lens: Lens, width: int, height: int, fit: str, sensor_mm: float, focal_px: float | None = None
) -> BlenderLens:
    """Blender's settings for a lens, together with `pixel_aspect`.

    Blender fits the sensor to the picture's width, or to its height in units of the pixels' width.

    Args:
        lens: intrinsics of the plate.
        width, height: plate size, pixels.
        fit: HORIZONTAL, VERTICAL or AUTO.
        sensor_mm: size of the fitted side of the sensor.
        focal_px: focal length of the frame where it varies.
    """
    squeeze = lens.fx / lens.fy
    den = {"HORIZONTAL": width, "VERTICAL": height * squeeze, "AUTO": max(width, height * squeeze)}[fit]
    focal = lens.fx if focal_px is None else focal_px
    return BlenderLens(focal / den * sensor_mm, (width / 2 - lens.cx) / den, (lens.cy - height / 2) * squeeze / den)


def pixel_aspect(lens: Lens) -> tuple[float, float]:
    """Width and height of the plate's pixels for the render settings, the smaller of the two being 1."""
    return max(lens.fy / lens.fx, 1.0), max(lens.fx / lens.fy, 1.0)


def find_root(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object | None:
    """The root empty of the solve, if it has been built."""
    return owned.find(scene.objects, solve.key, "root")


def find_camera(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object | None:
    """The solved camera, if it has been built."""
    return owned.find(scene.objects, solve.key, "camera")


def build(scene: bpy.types.Scene, solve: Solve, sensor_width: float = 36.0) -> bpy.types.Object:
    """Make or update root and camera, and set the scene to the plate's size, rate and range.

    Args:
        sensor_width: mm, for a new camera; one that is there keeps its sensor.

    Returns:
        The camera object.
    """
    set_scene(scene, solve)
    rig = ensure_collections(scene, solve).rig
    # The root is the user's: where it has been moved, turned or scaled it stays, and all the rest follows it.
    root, new = owned.ensure_object(scene, rig, solve.key, "root", f"CVD {solve.name}", None)
    if new:
        root.empty_display_type = "ARROWS"
    camera = find_camera(scene, solve)
    if camera is None:
        data = bpy.data.cameras.new(f"CVD Camera {solve.name}")
        data.sensor_fit = "HORIZONTAL"
        data.sensor_width = sensor_width
        data.clip_start = min(data.clip_start, solve.near * 0.05) if solve.near > 0.0 else data.clip_start
        data.clip_end = max(data.clip_end, solve.far * 10.0)
        camera, _ = owned.ensure_object(scene, rig, solve.key, "camera", data.name, lambda _: data)
        scene.camera = camera
    if camera.parent is None:  # new, or the root was deleted and made again
        camera.parent = root
    set_lens(data_of(camera, bpy.types.Camera), solve)
    _key(camera, solve)
    return camera


def set_scene(scene: bpy.types.Scene, solve: Solve) -> None:
    """Set a scene to the plate's size, rate and range."""
    render = scene.render
    render.resolution_x, render.resolution_y = solve.source.width, solve.source.height
    render.pixel_aspect_x, render.pixel_aspect_y = pixel_aspect(solve.lens)
    numerator, denominator = solve.source.fps
    rate = max(1, round(numerator / denominator))
    render.fps, render.fps_base = rate, rate * denominator / numerator
    # Plate frame number and scene frame are one and the same, wherever the plate starts.
    scene.frame_start, scene.frame_end = solve.source.first, solve.source.last
    if not scene.frame_start <= scene.frame_current <= scene.frame_end:
        scene.frame_set(scene.frame_start)


def set_lens(data: bpy.types.Camera, solve: Solve) -> None:
    """Set focal length (of the middle of a zoom) and shifts, whatever the camera's sensor is."""
    settings = _settings(data, solve, None)
    data.type = "PERSP"
    data.lens_unit = "MILLIMETERS"
    data.lens, data.shift_x, data.shift_y = settings.lens_mm, settings.shift_x, settings.shift_y


def _settings(data: bpy.types.Camera, solve: Solve, focal_px: float | None) -> BlenderLens:
    # AUTO measures both orientations by the sensor's width.
    sensor = data.sensor_height if data.sensor_fit == "VERTICAL" else data.sensor_width
    return blender_lens(solve.lens, solve.source.width, solve.source.height, data.sensor_fit, sensor, focal_px)


def _key(camera: bpy.types.Object, solve: Solve) -> None:
    action = owned.find(bpy.data.actions, solve.key, "camera")
    if action is None:
        action = bpy.data.actions.new(f"CVD Camera {solve.name}")
        owned.mark(action, solve.key, "camera")
    key_frames(camera, action, solve)


def key_frames(
    camera: bpy.types.Object, action: bpy.types.Action, solve: Solve, parent_from_solve: Matrix | None = None
) -> None:
    """One key per placed frame, on its own number; nothing in the gaps.

    Args:
        parent_from_solve: from the solve's world to that of the camera's parent; None where they are one. A scale moves
            the camera, and does not scale it.
    """
    camera.rotation_mode = "QUATERNION"
    assign_action(camera, action)
    moved = (parent_from_solve or Matrix.Identity(4)).to_4x4()
    frames = [float(frame.number) for frame in solve.registered]
    locations: list[tuple[float, ...]] = []
    rotations: list[tuple[float, ...]] = []
    previous: Quaternion | None = None
    for frame in solve.registered:
        location, rotation, _ = (moved @ Matrix(present(frame.world_from_camera, "pose")) @ CV_FROM_BLENDER).decompose()
        if previous is not None and previous.dot(rotation) < 0.0:
            # q and -q are the same rotation, but between them interpolation takes the long way round.
            rotation.negate()
        previous = rotation
        locations.append(location[:])
        rotations.append(rotation[:])
    for path, values in (("location", locations), ("rotation_quaternion", rotations)):
        for index in range(len(values[0])):
            set_keys(action, camera, path, index, frames, [value[index] for value in values])

    data = data_of(camera, bpy.types.Camera)
    if solve.lens.focal_varies:
        assign_action(data, action)
        lengths = [_settings(data, solve, frame.focal_px).lens_mm for frame in solve.registered]
        set_keys(action, data, "lens", 0, frames, lengths)
    else:
        compat.remove_fcurve(action, data, "lens")


def assign_action(block: bpy.types.ID, action: bpy.types.Action) -> None:
    """Let `action` animate `block`, unless it does already."""
    animation = compat.animation_of(block) or block.animation_data_create()
    if animation.action != action:
        animation.action = action


def set_keys(
    action: bpy.types.Action, block: bpy.types.ID, path: str, index: int, frames: list[float], values: list[float]
) -> None:
    """Replace the keys of one F-curve by linear ones."""
    curve = compat.ensure_fcurve(action, block, path, index)
    points = curve.keyframe_points
    points.clear()
    points.add(len(frames))
    points.foreach_set("co", [number for pair in zip(frames, values, strict=True) for number in pair])
    points.foreach_set("interpolation", [LINEAR] * len(frames))
    curve.update()
