# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue: shots that are solved one after another."""

from __future__ import annotations

import time
from pathlib import Path

import bpy

from .. import fields, jobs, mixins, monitor, preferences, properties
from ..mixins import Result
from ..shot_queue import Queue
from .solve import asked, confirm_replacing, engine_python


def chosen_shot(context: bpy.types.Context) -> properties.CvdQueuedShot | None:
    """The shot that is chosen in the list."""
    shown = properties.queue_of(context)
    return shown.shots[shown.index] if 0 <= shown.index < len(shown.shots) else None


class QueueStep(mixins.Operator):
    """Common to all: change the queue, and show it."""

    bl_options = {"REGISTER", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> Result:
        """Do it."""
        queue = monitor.queue()
        try:
            self.change(context, queue)
        except jobs.StartError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        finally:
            monitor.show_queue(queue)
        monitor.wake()
        return {"FINISHED"}

    def change(self, context: bpy.types.Context, queue: Queue) -> None:
        """What the operator does."""
        raise NotImplementedError


class ChosenStep(QueueStep):
    """Common to those that are about the chosen shot."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """A shot is chosen."""
        if chosen_shot(context) is None:
            cls.poll_message_set("Add a shot to the queue and choose it in the list first")
            return False
        return True

    def change(self, context: bpy.types.Context, queue: Queue) -> None:
        """Do it to the chosen shot."""
        shot = chosen_shot(context)
        if shot is not None:
            self.change_shot(queue, Path(shot.folder))

    def change_shot(self, queue: Queue, folder: Path) -> None:
        """What the operator does."""
        raise NotImplementedError


class CVD_OT_queue_add(QueueStep, bpy.types.Operator):
    """Put this clip into the queue, with all settings as they are now. Then choose the next clip and add that"""

    bl_idname = "cvd.queue_add"
    bl_label = "Add to Queue"

    replace = fields.boolean(
        name="Replace", description="Replace the solve of other footage in the solve folder", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """A clip is chosen that is not being solved."""
        cvd = properties.of(context.scene)
        if not cvd.clip_path:
            cls.poll_message_set("Choose a clip first")
        elif cvd.job_running:
            cls.poll_message_set("This clip is being solved: choose another one")
        else:
            return True
        return False

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        """Ask before another clip's solve is replaced."""
        return confirm_replacing(self, context, event)

    def change(self, context: bpy.types.Context, queue: Queue) -> None:
        """Freeze the settings in the solve folder, and queue it."""
        request = asked(context, engine_python(context), self.replace)
        queue.add(Path(request["output"]))


class CVD_OT_queue_start(QueueStep, bpy.types.Operator):
    """Solve the shots that wait, one after another. Blender has to be open for the next one to begin"""

    bl_idname = "cvd.queue_start"
    bl_label = "Solve Queue"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Something waits."""
        if not any(shot.state == "waiting" for shot in properties.queue_of(context).shots):
            cls.poll_message_set("No shot waits in the queue: add one first")
            return False
        return True

    def change(self, context: bpy.types.Context, queue: Queue) -> None:
        """Start; without a window, also wait for all of them."""
        engine_python(context)
        queue.start()
        while bpy.app.background and queue.busy:
            for folder, status in queue.step(engine_python(context), preferences.engine_root()).items():
                print(f"{folder.name}: {jobs.describe(status)}", flush=True)
            time.sleep(monitor.INTERVAL_S)


class CVD_OT_queue_stop(QueueStep, bpy.types.Operator):
    """Stop solving the queue. What is finished is kept, and the shot in hand goes on from there when it is started"""

    bl_idname = "cvd.queue_stop"
    bl_label = "Stop Queue"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """It is at work."""
        if not properties.queue_of(context).active:
            cls.poll_message_set("The queue is not being solved")
        return properties.queue_of(context).active

    def change(self, context: bpy.types.Context, queue: Queue) -> None:
        """Stop."""
        queue.stop()


class CVD_OT_queue_remove(ChosenStep, bpy.types.Operator):
    """Take the chosen shot out of the queue. If it is being solved, it is cancelled; its solve folder stays"""

    bl_idname = "cvd.queue_remove"
    bl_label = "Remove from Queue"

    def change_shot(self, queue: Queue, folder: Path) -> None:
        """Remove."""
        queue.remove(folder)


class CVD_OT_queue_move(ChosenStep, bpy.types.Operator):
    """Solve the chosen shot sooner or later than the others"""

    bl_idname = "cvd.queue_move"
    bl_label = "Move in Queue"

    direction = fields.enum(
        name="Direction",
        description="Where to",
        items=(("UP", "Up", "Solve it sooner"), ("DOWN", "Down", "Solve it later")),
        options={"SKIP_SAVE"},
    )

    def change_shot(self, queue: Queue, folder: Path) -> None:
        """Move."""
        queue.move(folder, -1 if self.direction == "UP" else 1)


class CVD_OT_queue_again(ChosenStep, bpy.types.Operator):
    """Let the chosen shot wait again, after it has failed, was cancelled, or is done. It goes on where it stopped"""

    bl_idname = "cvd.queue_again"
    bl_label = "Solve Again"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The chosen shot has ended."""
        shot = chosen_shot(context)
        if shot is None or shot.state not in jobs.FINAL_STATES:
            cls.poll_message_set("Choose a shot in the list that has ended")
            return False
        return True

    def change_shot(self, queue: Queue, folder: Path) -> None:
        """Wait again."""
        queue.add(folder)


CLASSES = (
    CVD_OT_queue_add,
    CVD_OT_queue_start,
    CVD_OT_queue_stop,
    CVD_OT_queue_remove,
    CVD_OT_queue_move,
    CVD_OT_queue_again,
)
