# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything the add-on keeps in a scene: `scene.cvd`."""

from __future__ import annotations

import bpy

from .scene.occlusion import COMPOSITOR, HOLDOUT


class CvdProperties(bpy.types.PropertyGroup):
    """What to solve, how it is going, and how to build it."""

    clip_path: bpy.props.StringProperty(
        name="Clip", description="A movie, or any file of an image sequence", subtype="FILE_PATH"
    )
    use_range: bpy.props.BoolProperty(name="Limit Range", description="Solve only part of the clip")
    first: bpy.props.IntProperty(name="First", description="First plate frame number", default=1)
    last: bpy.props.IntProperty(name="Last", description="Last plate frame number", default=100)
    step: bpy.props.IntProperty(name="Step", description="Solve every n-th frame", default=1, min=1)
    preset: bpy.props.EnumProperty(
        name="Quality",
        items=(
            ("preview", "Preview", "A quick look, coarse depth"),
            ("standard", "Standard", "For most shots"),
            ("best", "Best", "Slower, finer depth"),
        ),
        default="standard",
    )
    lens: bpy.props.EnumProperty(
        name="Lens",
        items=(
            ("UNKNOWN", "Estimate", "Estimate the focal length from the clip"),
            ("MM", "Millimetres", "The focal length and the width of the sensor are known"),
            ("PX", "Pixels", "The focal length in plate pixels is known"),
        ),
        default="UNKNOWN",
    )
    focal_mm: bpy.props.FloatProperty(name="Focal Length", description="mm", default=35.0, min=1.0)
    sensor_width: bpy.props.FloatProperty(name="Sensor Width", description="mm", default=36.0, min=1.0)
    focal_px: bpy.props.FloatProperty(name="Focal Length", description="Plate pixels", default=1500.0, min=1.0)

    solve_folder: bpy.props.StringProperty(
        name="Solve Folder", description="Empty: <clip>.solve beside the .blend", subtype="DIR_PATH"
    )
    import_when_done: bpy.props.BoolProperty(
        name="Build Scene when Done", description="Import the solve as soon as it is complete", default=True
    )

    # Of the job, for drawing; the solve folder is where it is really kept.
    job_running: bpy.props.BoolProperty()
    job_state: bpy.props.StringProperty()
    job_fraction: bpy.props.FloatProperty()
    job_message: bpy.props.StringProperty()
    job_error: bpy.props.StringProperty()

    # Of the solve that was built last.
    solve_key: bpy.props.StringProperty()
    result: bpy.props.StringProperty()

    occlusion: bpy.props.EnumProperty(
        name="Occlusion",
        items=(
            (COMPOSITOR, "Depth Compare", "Hide CG in the compositor, where the solved depth is nearer: fast"),
            (HOLDOUT, "Holdout Mesh", "Hide CG at render time by the depth mesh: right for glass, blur and smoke"),
        ),
        default=COMPOSITOR,
    )
    shadow_catcher: bpy.props.BoolProperty(
        name="Shadow Catcher", description="Also render the shadows of CG on what is real (Cycles)"
    )
