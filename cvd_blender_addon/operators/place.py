# SPDX-License-Identifier: GPL-3.0-or-later
"""Point at what is real: a test object to drop there, and points by which the scene is oriented."""

from __future__ import annotations

import bpy
from bpy_extras import view3d_utils
from mathutils import Vector

from .. import fields, properties
from ..mixins import Result
from ..present import manager_of, present
from ..scene import compositor, occlusion, orientation, place
from ..scene.surface import Hit, Ray, camera_ray, cast
from ..solve_reader import Solve, SolveError
from .build import BuildStep, apply_occlusion


class OnSurface(BuildStep):
    """Common to what is put on the surface under the mouse, or at a given place of the picture."""

    bl_label: str
    picture = fields.vector(
        name="In the Picture",
        description="Place in the camera's picture at the current frame: share of the width from the left, and of the "
        "height from the top",
        size=2,
        default=(0.5, 0.5),
        min=0.0,
        max=1.0,
        options={"SKIP_SAVE"},
    )
    ray_origin = fields.vector(size=3, options={"HIDDEN", "SKIP_SAVE"})
    ray_direction = fields.vector(size=3, options={"HIDDEN", "SKIP_SAVE"})
    ray_distance = fields.number(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is something to click at."""
        if context.area is not None and context.area.type == "CLIP_EDITOR":
            cls.poll_message_set("Surfaces are clicked at in a 3D viewport: use the button in its sidebar")
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        """Wait for a click on the surface."""
        if context.area is None or context.area.type != "VIEW_3D":
            self.report({"ERROR"}, "Nothing was picked: the mouse is not over a 3D viewport. Use the button there.")
            return {"CANCELLED"}
        present(context.window, "window").cursor_modal_set("EYEDROPPER")
        context.area.header_text_set(f"{self.bl_label}: click on a surface, Esc or right click to cancel")
        manager_of(context).modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        """Take the click; let the view be turned meanwhile."""
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self._end(context)
            return {"CANCELLED"}
        if event.type != "LEFTMOUSE" or event.value != "PRESS":
            return {"PASS_THROUGH"}
        region = None if context.area is None else _region_at(context.area, event.mouse_x, event.mouse_y)
        if region is not None and region.type == "UI":  # another button is pressed: this one gives way
            self._end(context)
            return {"CANCELLED", "PASS_THROUGH"}
        if region is None or region.type != "WINDOW":
            return {"PASS_THROUGH"}
        at = (event.mouse_x - region.x, event.mouse_y - region.y)
        view: bpy.types.RegionView3D = present(region.data, "view")
        self.ray_origin = view3d_utils.region_2d_to_origin_3d(region, view, at)[:]
        self.ray_direction = view3d_utils.region_2d_to_vector_3d(region, view, at)[:]
        self.ray_distance = 0.0 if view.is_perspective else view.view_distance
        self._end(context)
        return self.execute(context)

    def _end(self, context: bpy.types.Context) -> None:
        present(context.window, "window").cursor_modal_restore()
        if context.area is not None:
            context.area.header_text_set(None)

    def hit(self, scene: bpy.types.Scene, solve: Solve) -> Hit:
        """Where the click, or else the place in the picture, meets the surface.

        Raises:
            SolveError: nowhere.
        """
        if any(self.ray_direction):
            ray = Ray(Vector(self.ray_origin), Vector(self.ray_direction).normalized(), self.ray_distance)
        else:
            ray = camera_ray(scene, solve, *self.picture)
        found = cast(scene, solve, ray)
        if found is None:
            raise SolveError("Nothing was placed.", "There is no surface at that place.", "Choose another place.")
        return found


def _region_at(area: bpy.types.Area, x: int, y: int) -> bpy.types.Region | None:
    """The region of an editor at a place of the window. Sidebar and headers lie over the view, whose four parts in a
    quad view are regions of their own."""
    there = [r for r in area.regions if 0 <= x - r.x < r.width and 0 <= y - r.y < r.height]
    return min(there, key=lambda region: region.type == "WINDOW", default=None)


class CVD_OT_drop_ball(OnSurface, bpy.types.Operator):
    """Put a lit ball with a shadow on the surface under the mouse. Play, and it falls and rolls"""

    bl_idname = "cvd.drop_ball"
    bl_label = "Drop Test Ball"

    size = fields.number(
        name="Size",
        description="Radius as a share of the distance to the view",
        default=place.RADIUS_SHARE,
        min=0.001,
        max=1.0,
    )
    height = fields.number(
        name="Height", description="From how high above the surface it falls, in radii", default=2.0, min=0.0
    )

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Build the step."""
        hit = self.hit(scene, solve)
        place.drop(scene, solve, hit, self.size, self.height)
        cvd = properties.of(scene)
        cvd.shadow_catcher = True
        if solve.fused_path is not None:
            cvd.surface = occlusion.FUSED
        else:
            self.tell(
                "WARNING", f"It will not fall: no fused mesh. With the engine: python -m engine fuse {solve.folder}"
            )
        apply_occlusion(scene, solve, self.tell)
        if compositor.find_group_node(scene, solve) is None:
            compositor.build(scene, solve, cvd.occlusion, self.tell)


class CVD_OT_pick_point(OnSurface, bpy.types.Operator):
    """Mark a point of the surface under the mouse, to orient the scene by"""

    bl_idname = "cvd.pick_point"
    bl_label = "Pick Point"

    number = fields.integer(name="Number", description="Which point", default=1, min=1, max=orientation.PICKS)

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Build the step."""
        orientation.pick(scene, solve, self.number, self.hit(scene, solve).point)


CLASSES = (CVD_OT_drop_ball, CVD_OT_pick_point)
