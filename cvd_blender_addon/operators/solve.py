# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and cancel a solve."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bpy

from .. import jobs, monitor, preferences


def default_folder(clip: Path, blend_folder: Path | None, cache: Path) -> Path:
    """`<clip>.solve` beside the .blend, or in the cache folder; a sequence goes by its name without the number."""
    stem = re.sub(r"[._-]*\d+$", "", clip.stem) or clip.stem
    return (blend_folder or cache) / f"{stem}.solve"


class CVD_OT_use_clip(bpy.types.Operator):
    """Take the clip that the clip editor shows"""

    bl_idname = "cvd.use_clip"
    bl_label = "Use This Clip"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where a clip is open."""
        clip = getattr(context.space_data, "clip", None)
        if clip is None:
            cls.poll_message_set("Open a clip in the clip editor first")
        return clip is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy the path."""
        context.scene.cvd.clip_path = context.space_data.clip.filepath
        return {"FINISHED"}


class CVD_OT_solve_depth(bpy.types.Operator):
    """Solve camera and depth of the clip with the engine. Blender stays usable, and may be closed meanwhile"""

    bl_idname = "cvd.solve_depth"
    bl_label = "Solve Depth"
    bl_options = {"REGISTER"}

    engine_python: bpy.props.StringProperty(
        name="Engine Python", description="Instead of the one in the preferences", options={"SKIP_SAVE", "HIDDEN"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """A clip is chosen and nothing is running."""
        cvd = context.scene.cvd
        if not cvd.clip_path:
            cls.poll_message_set("Choose a clip first")
        elif cvd.job_running:
            cls.poll_message_set("A solve is running")
        else:
            return True
        return False

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the engine; without a window, also wait for it."""
        scene = context.scene
        cvd = scene.cvd
        cvd.job_error = ""
        try:
            clip = Path(bpy.path.abspath(cvd.clip_path))
            if not clip.exists():
                raise jobs.StartError(
                    jobs.JobError(
                        "footage.missing",
                        "The clip was not found.",
                        f"There is nothing at '{clip}'.",
                        "Choose the clip again.",
                    )
                )
            python = self.engine_python or preferences.engine_python(context)
            if not python:
                raise jobs.StartError(
                    jobs.JobError(
                        "engine.python",
                        "The engine was not started.",
                        "No Engine Python is set.",
                        "Set it in the add-on's preferences, to the python of the engine's environment.",
                    )
                )
            folder = monitor.folder_of(scene) or self._default_folder(context, clip)
            job = jobs.start(Path(python), preferences.engine_root(), self._request(cvd, clip, folder))
        except jobs.StartError as error:
            cvd.job_error = str(error)
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        cvd.solve_folder = str(folder)
        if not bpy.app.background:
            monitor.follow(scene, job)
            return {"FINISHED"}
        status = jobs.wait(job, lambda status: print(jobs.describe(status), flush=True))
        monitor.show(scene, status)
        if status.state == "done":
            return {"FINISHED"}
        self.report({"ERROR"}, jobs.describe(status))
        return {"CANCELLED"}

    @staticmethod
    def _default_folder(context: bpy.types.Context, clip: Path) -> Path:
        blend = Path(bpy.data.filepath).parent if bpy.data.filepath else None
        return default_folder(clip, blend, preferences.cache_folder(context))

    @staticmethod
    def _request(cvd: Any, clip: Path, folder: Path) -> dict[str, Any]:
        focal = {
            "UNKNOWN": lambda: None,
            "MM": lambda: cvd.focal_mm / cvd.sensor_width * plate_width(clip),
            "PX": lambda: cvd.focal_px,
        }[cvd.lens]()
        first, last = (cvd.first, cvd.last) if cvd.use_range else (None, None)
        return jobs.make_request(clip, folder, first, last, cvd.step, focal, cvd.preset)


def plate_width(clip: Path) -> int:
    """Width of a movie or an image, pixels.

    Raises:
        StartError: Blender cannot read it.
    """
    width = 0
    if clip.is_file():
        try:
            block = bpy.data.movieclips.load(str(clip))
        except RuntimeError:
            block = None
        if block is not None:
            # Of a file it cannot read, Blender gives a made-up size, but no frames.
            width = block.size[0] if block.frame_duration > 0 else 0
            bpy.data.movieclips.remove(block)
    if width < 1:
        raise jobs.StartError(
            jobs.JobError(
                "footage.size",
                "The focal length cannot be turned into pixels.",
                f"Blender cannot read the size of '{clip}'.",
                "Choose a file of the sequence instead of its folder, or give the focal length in pixels.",
            )
        )
    return width


class CVD_OT_cancel_solve(bpy.types.Operator):
    """Stop the running solve. What is finished is kept, and solving again goes on from there"""

    bl_idname = "cvd.cancel_solve"
    bl_label = "Cancel"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Something is running."""
        if not context.scene.cvd.job_running:
            cls.poll_message_set("No solve is running")
        return context.scene.cvd.job_running

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the engine to stop; the monitor sees to it that it does."""
        job = monitor.job_of(context.scene)
        if job is not None:
            job.cancel()
            context.scene.cvd.job_message = "stopping"
        return {"FINISHED"}


CLASSES = (CVD_OT_use_clip, CVD_OT_solve_depth, CVD_OT_cancel_solve)
