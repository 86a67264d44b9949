# SPDX-License-Identifier: GPL-3.0-or-later
"""The occlusion matte of the selected objects, for compositors who finish elsewhere."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import fields
from ..mixins import Result
from ..present import manager_of
from ..scene import compositor, matte
from ..solve_reader import Solve, SolveError
from .build import BuildStep


class CVD_OT_render_matte(BuildStep, bpy.types.Operator):
    """Render how much of the selected objects is seen of the real scene, as a sequence of grey images"""

    bl_idname = "cvd.render_matte"
    bl_label = "Render Occlusion Matte"
    bl_options = {"REGISTER"}  # the scene is left as it was

    directory = fields.string(name="Folder", description="Where the files go", subtype="DIR_PATH")
    file_format = fields.enum(
        name="Format",
        description="Of the files",
        items=(("PNG", "PNG", "16 bit, linear"), ("OPEN_EXR", "OpenEXR", "Half float")),
    )
    only_current = fields.boolean(name="This Frame Only", description="Not the whole range of the scene")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is something to render a matte of."""
        if not super().poll(context):
            return False
        if not context.selected_objects:
            cls.poll_message_set("Select the objects whose matte you want")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        """Ask for the folder."""
        manager_of(context).fileselect_add(self)
        return {"RUNNING_MODAL"}

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Render."""
        if compositor.find_group_node(scene, solve) is None:
            raise SolveError("There is no matte.", "The compositor group makes it.", "Build the compositor first.")
        frames = [scene.frame_current] if self.only_current else range(scene.frame_start, scene.frame_end + 1)
        window = manager_of(bpy.context)
        window.progress_begin(frames[0], frames[-1] + 1)
        try:
            folder = Path(bpy.path.abspath(self.directory))
            matte.render(
                scene, solve, bpy.context.selected_objects, folder, frames, self.file_format, window.progress_update
            )
        except RuntimeError as error:
            raise SolveError("The matte was not rendered.", str(error).strip(), "Check the folder.") from error
        finally:
            window.progress_end()


CLASSES = (CVD_OT_render_matte,)
