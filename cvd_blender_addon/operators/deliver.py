# SPDX-License-Identifier: GPL-3.0-or-later
"""Deliver a finished solve to other programs."""

from __future__ import annotations

import bpy

from .. import deliveries, fields, jobs, monitor, paths, preferences, properties
from ..mixins import Result
from ..present import scene_of
from ..solve_reader import SolveError
from .solve import engine_python


class CVD_OT_deliver(bpy.types.Operator):
    """Write depth, camera, lens and points for other programs, placed as in this scene, with a README.txt"""

    bl_idname = "cvd.deliver"
    bl_label = "Deliver"
    bl_options = {"REGISTER"}

    engine_python = fields.string(
        name="Engine Python", description="Instead of the one in the preferences", options={"SKIP_SAVE", "HIDDEN"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is a finished solve, something is to be delivered, and nothing is being delivered."""
        shown = properties.of(context.scene).delivery
        if monitor.result_of(scene_of(context)) is None:
            cls.poll_message_set("Solve a clip or import a solve first")
        elif shown.running:
            cls.poll_message_set("A delivery is running")
        elif not (shown.passes or shown.files or shown.cameras):
            cls.poll_message_set("Choose what to deliver first")
        else:
            return True
        return False

    def execute(self, context: bpy.types.Context) -> Result:
        """Write the camera and start the engine; without a window, also wait for it."""
        scene = scene_of(context)
        shown = properties.of(scene).delivery
        shown.error = ""
        try:
            solve = monitor.read_result(scene)
            python = engine_python(context, self.engine_python)
            out = paths.absolute(shown.folder) if shown.folder else deliveries.default_folder(solve.folder)
            kinds = sorted(shown.passes | shown.files)
            if not solve.lens.distorted:
                kinds = [kind for kind in kinds if kind not in deliveries.OF_DISTORTED]
            root = preferences.engine_root()
            job, missing = deliveries.deliver(scene, solve, python, root, out, kinds, sorted(shown.cameras))
        except (jobs.StartError, SolveError) as error:
            shown.error = str(error)
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        shown.at = paths.stored(out)
        for sentence in missing:
            self.report({"WARNING"}, sentence)
        if not bpy.app.background:
            deliveries.follow(scene, job)
            return {"FINISHED"}
        status = jobs.wait(job, lambda status: print(jobs.describe(status), flush=True))
        deliveries.show(scene, status)
        if status.state == "done":
            self.report({"INFO"}, f"Delivered to {out}")
            return {"FINISHED"}
        self.report({"ERROR"}, jobs.describe(status))
        return {"CANCELLED"}


class CVD_OT_cancel_delivery(bpy.types.Operator):
    """Stop the running delivery. What is finished is kept, and delivering again goes on from there"""

    bl_idname = "cvd.cancel_delivery"
    bl_label = "Cancel"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Something is being delivered."""
        if not properties.of(context.scene).delivery.running:
            cls.poll_message_set("No delivery is running")
        return properties.of(context.scene).delivery.running

    def execute(self, context: bpy.types.Context) -> Result:
        """Ask the engine to stop; the timer sees to it that it does."""
        job = deliveries.job_of(scene_of(context))
        if job is not None:
            job.cancel()
            properties.of(context.scene).delivery.message = "stopping"
        return {"FINISHED"}


CLASSES = (CVD_OT_deliver, CVD_OT_cancel_delivery)
