# SPDX-License-Identifier: GPL-3.0-or-later
"""Origin, ground, axes and size of the scene: each can be set again, and everything of the solve moves together."""

from __future__ import annotations

import bpy

from .. import fields
from ..mixins import Result
from ..present import manager_of
from ..scene import orientation
from ..solve_reader import Solve
from .build import BuildStep


class CVD_OT_set_origin(BuildStep, bpy.types.Operator):
    """Move the scene until picked point 1 lies in the origin"""

    bl_idname = "cvd.set_origin"
    bl_label = "Set Origin"

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Orient, or raise: then nothing has moved."""
        orientation.set_origin(scene, solve)


class CVD_OT_set_ground(BuildStep, bpy.types.Operator):
    """Turn and lift the scene until the ground is level at height 0"""

    bl_idname = "cvd.set_ground"
    bl_label = "Set Ground"

    by = fields.enum(
        name="By",
        description="What the ground is",
        items=(
            ("PICKS", "Picked Points", "The plane of the three picked points"),
            ("ESTIMATE", "Estimate", "The lowest large level area of the fused mesh"),
        ),
    )

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Orient, or raise: then nothing has moved."""
        if self.by == "PICKS":
            orientation.set_ground(scene, solve)
        else:
            orientation.estimate_ground(scene, solve)


class CVD_OT_set_axis(BuildStep, bpy.types.Operator):
    """Turn the scene about the vertical until the way from picked point 1 to 2 runs along an axis"""

    bl_idname = "cvd.set_axis"
    bl_label = "Set Axis"

    axis = fields.enum(
        name="Axis", description="Along which axis", items=(("X", "X", "Along +X"), ("Y", "Y", "Along +Y"))
    )

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Orient, or raise: then nothing has moved."""
        orientation.set_axis(scene, solve, self.axis)


class CVD_OT_set_size(BuildStep, bpy.types.Operator):
    """Scale the scene by something whose size is known, so that one unit is a metre"""

    bl_idname = "cvd.set_size"
    bl_label = "Set Size"

    by = fields.enum(
        name="By",
        description="What is known",
        items=(
            ("DISTANCE", "Distance 1 to 2", "How far apart picked points 1 and 2 are"),
            ("HEIGHT", "Camera Height", "How high above the ground the camera of this frame is"),
        ),
    )
    metres = fields.number(
        name="Metres", description="What the distance or the height is", default=1.0, min=1e-4, unit="LENGTH"
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        """Ask for the size."""
        return manager_of(context).invoke_props_dialog(self)

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Orient, or raise: then nothing has moved."""
        if self.by == "DISTANCE":
            orientation.set_distance(scene, solve, self.metres)
        else:
            orientation.set_camera_height(scene, solve, self.metres)


class CVD_OT_reset_orientation(BuildStep, bpy.types.Operator):
    """Put the scene back to where the engine left it"""

    bl_idname = "cvd.reset_orientation"
    bl_label = "Reset"

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Orient, or raise: then nothing has moved."""
        orientation.reset(scene, solve)


CLASSES = (CVD_OT_set_origin, CVD_OT_set_ground, CVD_OT_set_axis, CVD_OT_set_size, CVD_OT_reset_orientation)
