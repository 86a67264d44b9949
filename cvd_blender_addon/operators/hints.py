# SPDX-License-Identifier: GPL-3.0-or-later
"""Depth hints: add and remove them, and take distances and points from the scene."""

from __future__ import annotations

from typing import Any

import bpy
from mathutils import Vector

from .. import hints, mixins, properties
from ..mixins import Result
from ..present import scene_of


class CVD_OT_hint_add(bpy.types.Operator):
    """Add a region whose depth you know"""

    bl_idname = "cvd.hint_add"
    bl_label = "Add Depth Hint"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> Result:
        """Add it, with the mask at hand."""
        cvd = properties.of(context.scene)
        names = {hint.name for hint in cvd.hints}
        hint = cvd.hints.add()
        hint.name = next(name for name in (f"Hint {n}" for n in range(1, len(cvd.hints) + 1)) if name not in names)
        shown: Any = getattr(context.space_data, "mask", None)
        unused = [mask for mask in bpy.data.masks if all(other.mask != mask for other in cvd.hints)]
        hint.mask = shown or (unused[0] if len(unused) == 1 else None)
        hint.first = hint.last = scene_of(context).frame_current
        cvd.hint = len(cvd.hints) - 1
        return {"FINISHED"}


class OfHint(mixins.Operator):
    """Common to what is done to the hint that the panel shows."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is one."""
        if hints.active(properties.of(context.scene)) is None:
            cls.poll_message_set("Add a depth hint first")
            return False
        return True


class CVD_OT_hint_remove(OfHint, bpy.types.Operator):
    """Remove this depth hint. Its mask stays"""

    bl_idname = "cvd.hint_remove"
    bl_label = "Remove Depth Hint"

    def execute(self, context: bpy.types.Context) -> Result:
        """Remove it, and show the one before."""
        cvd = properties.of(context.scene)
        cvd.hints.remove(cvd.hint)
        cvd.hint = max(min(cvd.hint, len(cvd.hints) - 1), 0)
        return {"FINISHED"}


class OfSolvedHint(OfHint):
    """Common to what is taken from the scene: it has to be that of a solve."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is a hint, and the camera of a solve."""
        if not super().poll(context):
            return False
        if hints.find(scene_of(context), "camera") is None:
            cls.poll_message_set("Solve a clip or import a solve first")
            return False
        return True


class CVD_OT_hint_distance(OfSolvedHint, bpy.types.Operator):
    """Take the distance of the 3D cursor from the solved camera at this frame, along its optical axis"""

    bl_idname = "cvd.hint_distance"
    bl_label = "From 3D Cursor"

    def execute(self, context: bpy.types.Context) -> Result:
        """Take it."""
        scene = scene_of(context)
        camera, hint = hints.find(scene, "camera"), hints.active(properties.of(scene))
        assert camera is not None and hint is not None  # polled
        distance = hints.depth_of(camera, scene.cursor.location)
        if distance <= 0.0:
            self.report(
                {"ERROR"},
                "No distance was taken. The 3D cursor is behind the camera. Put it on the surface (Shift right click).",
            )
            return {"CANCELLED"}
        hint.distance = distance
        return {"FINISHED"}


class CVD_OT_hint_points(OfSolvedHint, bpy.types.Operator):
    """Take the selected points: vertices of the solved points in Edit Mode, or objects such as empties"""

    bl_idname = "cvd.hint_points"
    bl_label = "From Selected"

    def execute(self, context: bpy.types.Context) -> Result:
        """Take as many as there are, if they are enough."""
        scene = scene_of(context)
        hint = hints.active(properties.of(scene))
        assert hint is not None  # polled
        places = selected(context)
        needed = max(hints.NEEDED[hint.kind], 1)
        if len(places) < needed:
            self.report(
                {"ERROR"},
                f"No points were taken. {len(places)} of at least {needed} are selected. "
                "Select solved points in Edit Mode, or empties.",
            )
            return {"CANCELLED"}
        hint.points.clear()
        for place in places:
            solved = hints.in_solve(scene, place)
            hint.points.add().place = (solved.x, solved.y, solved.z)
        return {"FINISHED"}


def selected(context: bpy.types.Context) -> list[Vector]:
    """Places, world: of selected vertices in Edit Mode, else of selected objects."""
    if context.mode != "EDIT_MESH":
        return [ob.matrix_world.translation.copy() for ob in context.selected_objects]
    found = []
    for ob in context.objects_in_mode:
        ob.update_from_editmode()
        if isinstance(ob.data, bpy.types.Mesh):
            found += [ob.matrix_world @ vertex.co for vertex in ob.data.vertices if vertex.select]
    return found


CLASSES = (CVD_OT_hint_add, CVD_OT_hint_remove, CVD_OT_hint_distance, CVD_OT_hint_points)
