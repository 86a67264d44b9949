# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at doubtful depth: go to its frames, and lay the confidence over the plate."""

from __future__ import annotations

import bpy

from .. import fields, properties
from ..mixins import Result
from ..present import scene_of
from ..scene import doubt
from ..scene.transaction import all_or_nothing
from ..solve_reader import Solve
from .build import BuildStep


class CVD_OT_go_to_frame(bpy.types.Operator):
    """Go to the frame of this run that has the most doubtful depth"""

    bl_idname = "cvd.go_to_frame"
    bl_label = "Go to Frame"
    bl_options = {"REGISTER", "UNDO"}

    frame = fields.integer(name="Frame", description="Plate frame number", default=1)

    def execute(self, context: bpy.types.Context) -> Result:
        """Show the frame."""
        scene_of(context).frame_set(self.frame)
        return {"FINISHED"}


class CVD_OT_show_confidence(BuildStep, bpy.types.Operator):
    """Lay the confidence of the depth over the plate: bright is certain, dark is doubtful. Press again to hide it"""

    bl_idname = "cvd.show_confidence"
    bl_label = "Show Confidence"

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Show or hide it."""
        key = properties.of(scene).solve_key
        if doubt.find_overlay(scene, key) is not None:
            doubt.hide(scene, key)
            return
        with all_or_nothing(scene, solve.key):
            doubt.show(scene, solve)


CLASSES = (CVD_OT_go_to_frame, CVD_OT_show_confidence)
