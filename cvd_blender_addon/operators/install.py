# SPDX-License-Identifier: GPL-3.0-or-later
"""Make, check and cancel the engine's environment. The work is done by a process of its own (`installer.py`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import bpy

from .. import fields, installer, jobs, preferences
from ..mixins import Result
from ..present import manager_of, present

INTERVAL_S = 0.5
INTERRUPTED = "engine.crashed"


class _Work:
    """The installation or check that this Blender follows; its folder is where it is really kept."""

    job: jobs.Job | None = None
    status: jobs.Status | None = None


def status() -> jobs.Status | None:
    """How the installation or check that was started last is going, None when there was none."""
    return _Work.status


def running() -> bool:
    """An installation or a check is at work."""
    return _Work.job is not None


def _follow(job: jobs.Job) -> None:
    _Work.job, _Work.status = job, job.poll()
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, persistent=True)


def tick() -> float | None:
    """Look at the process; the next look is due after the seconds returned, None = it has ended."""
    if _Work.job is None:
        return None
    _Work.status = _Work.job.poll()
    if _Work.status.final:
        _Work.job = None
    for window in manager_of(bpy.context).windows:
        for area in window.screen.areas:
            if area.type in ("PREFERENCES", "VIEW_3D", "CLIP_EDITOR"):
                area.tag_redraw()
    return INTERVAL_S if _Work.job else None


def register() -> None:
    """Go on following what was at work when Blender was closed."""
    job = jobs.Job(preferences.engine_folder())
    if not bpy.app.background and not job.poll().final:
        _follow(job)


def unregister() -> None:
    """Stop following; the process goes on."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    _Work.job = _Work.status = None


def error_text() -> str:
    """What went wrong in the installation or check that was started last; empty when nothing did."""
    error = _Work.status.error if _Work.status else None
    if error is None:
        return ""
    if error.code == INTERRUPTED:
        return f"The installation stopped before it was done. {error.why} Press Install Engine again."
    return f"{error.what} {error.why} {error.fix}"


def _run(operator: bpy.types.Operator, arguments: list[str]) -> Result:
    """Start the process; without a window, also wait for it."""
    try:
        job = installer.start(preferences.engine_folder(), preferences.engine_root(), arguments)
    except (jobs.StartError, OSError) as error:
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    if not bpy.app.background:
        _follow(job)
        return {"FINISHED"}
    _Work.status = jobs.wait(job, lambda status: print(jobs.describe(status), flush=True))
    if _Work.status.state == "done":
        return {"FINISHED"}
    operator.report({"ERROR"}, error_text() or "Cancelled")
    return {"CANCELLED"}


class CVD_OT_install_engine(bpy.types.Operator):
    """Make the engine's own Python environment, in the add-on's folder. Says first what it downloads"""

    bl_idname = "cvd.install_engine"
    bl_label = "Install Engine"
    bl_options = {"REGISTER"}

    torch = fields.enum(
        name="PyTorch",
        description="Which build of PyTorch is installed",
        items=(
            ("auto", "For This Computer", "The build that fits the graphics card and its driver, from pytorch.org"),
            ("cpu", "Without Graphics Card", "The small build, from pytorch.org: everything is computed by the CPU"),
            ("pypi", "From the Package Registry", "Where pytorch.org cannot be reached. On Linux for NVIDIA: large"),
        ),
        default="auto",
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Blender may go online, and nothing is at work."""
        if running():
            cls.poll_message_set("The engine is being installed or checked")
        elif not bpy.app.online_access:
            cls.poll_message_set("Switch on Allow Online Access (Preferences, System), or choose an Engine Python")
        else:
            return True
        return False

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        """Say what will happen."""
        return manager_of(context).invoke_props_dialog(self, width=420, confirm_text="Download and Install")

    def draw(self, context: bpy.types.Context) -> None:
        """What is fetched, from where, and what it takes."""
        folder = preferences.engine_folder()
        download, disk = installer.estimate_gb(self.torch)
        free = shutil.disk_usage(_existing(folder)).free / 1e9
        layout = present(self.layout, "layout")
        column = layout.column(align=True)
        column.label(text=f"Downloads about {download:g} GB: PyTorch, pycolmap, OpenCV and what they need,")
        column.label(text="from the Python package registry and pytorch.org; a Python if there is none.")
        column.label(text=f"Takes about {disk:g} GB of disk; {free:.0f} GB are free.", icon="DISK_DRIVE")
        column.label(text="Blender's own Python is left as it is. Everything goes into")
        column.label(text=str(folder))
        layout.prop(self, "torch")

    def execute(self, context: bpy.types.Context) -> Result:
        """Start."""
        return _run(self, ["--torch", self.torch])


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


class CVD_OT_check_engine(bpy.types.Operator):
    """Check whether the engine's Python has all it needs, and whether this computer can solve"""

    bl_idname = "cvd.check_engine"
    bl_label = "Check Engine"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is an engine."""
        if running():
            cls.poll_message_set("The engine is being installed or checked")
        elif preferences.engine_python(context) is None:
            cls.poll_message_set("Install the engine, or choose an Engine Python, first")
        else:
            return True
        return False

    def execute(self, context: bpy.types.Context) -> Result:
        """Start."""
        return _run(self, ["--check", str(preferences.engine_python(context))])


class CVD_OT_cancel_install(bpy.types.Operator):
    """Stop. What is downloaded is kept, and installing again goes on from there"""

    bl_idname = "cvd.cancel_install"
    bl_label = "Cancel"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Something is at work."""
        if not running():
            cls.poll_message_set("Nothing is being installed")
        return running()

    def execute(self, context: bpy.types.Context) -> Result:
        """Ask it to stop."""
        if _Work.job is not None:
            _Work.job.cancel()
        return {"FINISHED"}


CLASSES = (CVD_OT_install_engine, CVD_OT_check_engine, CVD_OT_cancel_install)
