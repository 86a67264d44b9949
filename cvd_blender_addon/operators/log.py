# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine wrote about a solve: its log in Blender's text editor, and the solve folder."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import fields, mixins, monitor, properties
from ..jobs import Job
from ..mixins import Result
from ..present import manager_of, present, scene_of
from ..scene import owned

ROLE = "log"


class OfFolder(mixins.Operator):
    """Common to both: a solve folder, the scene's own unless another is named."""

    folder = fields.string(
        name="Solve Folder",
        description="Empty: the one of this scene",
        subtype="DIR_PATH",
        options={"SKIP_SAVE", "HIDDEN"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is a solve folder: of the scene, in the queue, or one whose solve is in the way."""
        named = properties.queue_of(context).shots or properties.of(context.scene).job_in_the_way
        if monitor.folder_of(scene_of(context)) is None and not named:
            cls.poll_message_set("Solve a clip or import a solve first")
            return False
        return True

    def where(self, context: bpy.types.Context) -> Path | None:
        """The folder; None, and an error is reported, where there is none."""
        folder = Path(bpy.path.abspath(self.folder)) if self.folder else monitor.folder_of(scene_of(context))
        if folder is not None and folder.is_dir():
            return folder
        self.report(
            {"ERROR"},
            f"The solve folder was not found. There is nothing at '{folder or ''}'. Solve the clip again, or choose "
            "the folder where it is now.",
        )
        return None


class CVD_OT_show_log(OfFolder, bpy.types.Operator):
    """Open what the engine wrote about this solve in Blender's text editor"""

    bl_idname = "cvd.show_log"
    bl_label = "Show Log"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Result:
        """Read it anew into the one text that shows logs."""
        folder = self.where(context)
        if folder is None:
            return {"CANCELLED"}
        text = owned.find(bpy.data.texts, owned.SHARED, ROLE)
        if text is None:
            text = bpy.data.texts.new("CVD Log")
            owned.mark(text, owned.SHARED, ROLE)
        text.clear()
        text.write(Job(folder).log_text() or f"The engine has not written anything into {folder} yet.")
        text.cursor_set(0)
        if not bpy.app.background:
            _show(context, text)
        return {"FINISHED"}


def _show(context: bpy.types.Context, text: bpy.types.Text) -> None:
    """In a text editor that is open, else in a window of its own."""
    areas = [area for area in present(context.window, "window").screen.areas if area.type == "TEXT_EDITOR"]
    if not areas:
        bpy.ops.wm.window_new()
        areas = [max(manager_of(context).windows[-1].screen.areas, key=lambda area: area.width * area.height)]
        areas[0].type = "TEXT_EDITOR"
    space = areas[0].spaces.active
    if isinstance(space, bpy.types.SpaceTextEditor):
        space.text, space.show_word_wrap = text, True


class CVD_OT_open_folder(OfFolder, bpy.types.Operator):
    """Open the solve folder in the system's file browser"""

    bl_idname = "cvd.open_folder"
    bl_label = "Open Folder"
    bl_options = {"REGISTER"}

    def execute(self, context: bpy.types.Context) -> Result:
        """Open it."""
        folder = self.where(context)
        if folder is None:
            return {"CANCELLED"}
        if not bpy.app.background:
            bpy.ops.wm.path_open(filepath=str(folder))
        return {"FINISHED"}


CLASSES = (CVD_OT_show_log, CVD_OT_open_folder)
