# SPDX-License-Identifier: GPL-3.0-or-later
"""One operator per build step, each of which can be run again."""

from __future__ import annotations

import bpy

from .. import fields, mixins, monitor, properties
from ..mixins import Result
from ..present import AbsentError, scene_of
from ..scene import camera, compositor, depth_mesh, doubt, fused, gaps, occlusion, owned, plate, points
from ..scene.transaction import all_or_nothing
from ..solve_reader import Solve, SolveError, read_points
from .import_solve import remember


class BuildStep(mixins.Operator):
    """Common to all steps: read the scene's solve, build, report."""

    bl_options = {"REGISTER", "UNDO"}
    needs_camera = True

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is a finished solve, and the camera that most steps hang on."""
        if monitor.result_of(scene_of(context)) is None:
            cls.poll_message_set("Solve a clip or import a solve first")
            return False
        if cls.needs_camera and not owned.find(
            scene_of(context).objects, properties.of(context.scene).solve_key, "camera"
        ):
            cls.poll_message_set("Build the camera first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> Result:
        """Build the step."""
        try:
            solve = monitor.read_result(scene_of(context))
            self.run(scene_of(context), solve)
            remember(scene_of(context), solve)
        except (SolveError, AbsentError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}

    def run(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Do the step."""
        self.build(scene, solve)

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """What the step does."""
        raise NotImplementedError

    def tell(self, level: plate.Level, message: str) -> None:
        """Report as the scene functions do."""
        self.report({level}, message)


class SceneStep(BuildStep):
    """A step of `import_solve`: done as a whole or not at all."""

    def run(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Do the step."""
        with all_or_nothing(scene, solve.key):
            self.build(scene, solve)


def apply_occlusion(scene: bpy.types.Scene, solve: Solve, report: plate.Report) -> None:
    """Build what hides CG and catches its shadows as the scene's settings say, and let the compositor go by it."""
    cvd = properties.of(scene)
    what_catches = cvd.cut_moving, cvd.surface, cvd.reflection, cvd.roughness
    occlusion.build(scene, solve, cvd.occlusion, cvd.shadow_catcher, report, *what_catches)
    # The group must not cut what the holdout cuts already.
    compositor.update(scene, solve, cvd.occlusion)


class CVD_OT_build_camera(SceneStep, bpy.types.Operator):
    """Make or update the camera, set the scene to the plate, mark frames without a camera or with doubtful depth"""

    bl_idname = "cvd.build_camera"
    bl_label = "Camera"
    needs_camera = False

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Build the step."""
        camera.build(scene, solve, properties.of(scene).sensor_width)
        gaps.build(scene, solve)
        doubt.build(scene, solve)


class CVD_OT_build_plate(SceneStep, bpy.types.Operator):
    """Show the plate behind the camera"""

    bl_idname = "cvd.build_plate"
    bl_label = "Plate"

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Build the step."""
        plate.build(scene, solve, self.tell)


class CVD_OT_build_points(SceneStep, bpy.types.Operator):
    """Make or update the sparse points"""

    bl_idname = "cvd.build_points"
    bl_label = "Points"

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Build the step."""
        points.build(scene, solve, read_points(solve.points_path))


class CVD_OT_build_depth_mesh(SceneStep, bpy.types.Operator):
    """Make or update the mesh that shows each frame's depth"""

    bl_idname = "cvd.build_depth_mesh"
    bl_label = "Depth Mesh"

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Build the step."""
        depth_mesh.build(scene, solve, properties.of(scene).cut_moving)


class CVD_OT_build_fused(SceneStep, bpy.types.Operator):
    """Make or update the one mesh of what stands still, and let CG with physics collide with it"""

    bl_idname = "cvd.build_fused"
    bl_label = "Fused Mesh"

    collide = fields.boolean(
        name="Collide", description="Make it a passive rigid body, on which CG with physics comes to rest", default=True
    )

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Build the step."""
        mesh = fused.build(scene, solve)
        if mesh is None:
            self.tell("WARNING", f"This solve has no fused mesh. With the engine: python -m engine fuse {solve.folder}")
        elif self.collide:
            fused.make_passive(scene, mesh)


class CVD_OT_build_occlusion(SceneStep, bpy.types.Operator):
    """Make or update holdout and shadow catcher, and let those render that are chosen"""

    bl_idname = "cvd.build_occlusion"
    bl_label = "Occlusion"

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Build the step."""
        apply_occlusion(scene, solve, self.tell)


class CVD_OT_build_compositor(SceneStep, bpy.types.Operator):
    """Make or update the compositor group that lays CG over the plate"""

    bl_idname = "cvd.build_compositor"
    bl_label = "Compositor"

    def build(self, scene: bpy.types.Scene, solve: Solve) -> None:
        """Build the step."""
        compositor.build(scene, solve, properties.of(scene).occlusion, self.tell)


CLASSES = (
    CVD_OT_build_camera,
    CVD_OT_build_plate,
    CVD_OT_build_points,
    CVD_OT_build_depth_mesh,
    CVD_OT_build_fused,
    CVD_OT_build_occlusion,
    CVD_OT_build_compositor,
)
