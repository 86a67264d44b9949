# SPDX-License-Identifier: GPL-3.0-or-later
"""Import a finished solve."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import fields, paths, properties
from .. import scene as scene_builder
from ..mixins import Result
from ..present import manager_of, scene_of
from ..scene import plate
from ..solve_reader import Solve, SolveError, summary


def remember(scene: bpy.types.Scene, solve: Solve) -> None:
    """Note in the scene which solve it shows."""
    cvd = properties.of(scene)
    cvd.built_folder, cvd.solve_key = paths.stored(solve.folder), solve.key
    cvd.plate = paths.stored(plate.find_file(solve) or solve.source.path)
    cvd.result = "\n".join(summary(solve))
    cvd.result_doubtful = "\n".join(f"{run.worst} {run.text}" for run in solve.doubtful)


def _look(scene: bpy.types.Scene) -> None:
    """In windows with the scene: look through its camera, at its plate and at its frames."""
    for window in (window for window in manager_of(bpy.context).windows if window.scene == scene):
        views = [area for area in window.screen.areas if area.type == "VIEW_3D"]
        if views:
            view = max(views, key=lambda area: area.width * area.height).spaces.active
            if isinstance(view, bpy.types.SpaceView3D) and view.region_3d is not None:
                view.region_3d.view_perspective = "CAMERA"
        for space in (area.spaces.active for area in window.screen.areas):
            if isinstance(space, bpy.types.SpaceClipEditor):
                space.clip = space.clip or scene.active_clip
        for area in (area for area in window.screen.areas if area.ui_type == "TIMELINE"):
            region = next(region for region in area.regions if region.type == "WINDOW")
            with bpy.context.temp_override(window=window, area=area, region=region):
                bpy.ops.action.view_all()


class CVD_OT_import_solve(bpy.types.Operator):
    """Build camera, plate, points, depth mesh, occlusion and compositor from a solve folder. Needs no engine"""

    bl_idname = "cvd.import_solve"
    bl_label = "Import Solve"
    bl_options = {"REGISTER", "UNDO"}

    directory = fields.string(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    filepath = fields.string(subtype="FILE_PATH", options={"SKIP_SAVE", "HIDDEN"})
    filter_glob = fields.string(default="solve.json", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        """Ask for the folder, unless it has been dropped onto the window."""
        if self.filepath or self.directory:
            return self.execute(context)
        manager_of(context).fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> Result:
        """Build everything, or nothing."""
        folder = self._folder()
        cvd = properties.of(context.scene)
        camera = scene_of(context).camera
        try:
            solve = scene_builder.import_solve(
                scene_of(context),
                folder,
                cvd.occlusion,
                cvd.shadow_catcher,
                cvd.sensor_width,
                lambda level, message: self.report({level}, message),
                cvd.cut_moving,
                cvd.surface,
                cvd.reflection,
                cvd.roughness,
            )
        except SolveError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        remember(scene_of(context), solve)
        if not cvd.clip_path:  # of a clip that has been chosen the solve folder stays
            file = plate.find_file(solve)
            cvd.clip_path = "" if file is None else paths.stored(file)
            cvd.solve_folder = paths.stored(solve.folder)
        if scene_of(context).camera != camera and not bpy.app.background:
            _look(scene_of(context))
        self.report({"INFO"}, summary(solve)[0])
        return {"FINISHED"}

    def _folder(self) -> Path:
        """The file browser gives file and directory, and the directory alone when no file is picked; of a folder that
        is dropped, Blender gives its own path as the file's."""
        path = Path(bpy.path.abspath(self.filepath))
        if self.filepath and path.exists():
            return path if path.is_dir() else path.parent
        return Path(bpy.path.abspath(self.directory)) if self.directory else path.parent


class CVD_FH_solve(bpy.types.FileHandler):
    """Drop a solve.json, or a folder that ends in .solve, onto the window."""

    bl_idname = "CVD_FH_solve"
    bl_label = "Consistent Video Depth"
    bl_import_operator = CVD_OT_import_solve.bl_idname
    bl_file_extensions = ".json;.solve"

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Where the panels are."""
        return context.area is not None and context.area.type in ("VIEW_3D", "CLIP_EDITOR")


CLASSES = (CVD_OT_import_solve, CVD_FH_solve)
