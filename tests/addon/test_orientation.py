"""Origin, ground, axes and size: exact, again and again, everything together, and past another import."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Euler, Matrix, Vector

from cvd_blender_addon.present import data_of
from cvd_blender_addon.properties import of
from cvd_blender_addon.scene import camera, import_solve, orientation, owned
from cvd_blender_addon.solve_reader import Solve
from tests.addon.fused_scene import add_fused
from tests.addon.synthetic import Synthetic
from tests.addon.typed import array, camera_of, depth_of, ops, root_of, scene_now, the

TILT = Matrix.LocRotScale(Vector((0.7, -2.0, 1.3)), Euler((0.2, -0.15, 0.6)), Vector((1.7,) * 3))


@pytest.fixture
def solve(scene: bpy.types.Scene, synthetic: Synthetic) -> Iterator[Solve]:
    """Imported, and turned, moved and scaled away from where it belongs."""
    solve = import_solve(scene, synthetic.folder)
    root_of(scene, solve).matrix_world = TILT
    the(bpy.context.view_layer).update()
    yield solve


def now(scene: bpy.types.Scene, solve: Solve, point: tuple[float, float, float]) -> Vector:
    """Where a point of the solve's world is in the scene."""
    return root_of(scene, solve).matrix_world @ Vector(point)


def test_origin_ground_axis_and_distance(scene: bpy.types.Scene, solve: Solve) -> None:
    # Three points of the floor z = 0, two of them 2 units apart.
    for number, place in enumerate(((1.0, 2.0, 0.0), (1.0, 4.0, 0.0), (-1.0, 3.0, 0.0)), 1):
        orientation.pick(scene, solve, number, now(scene, solve, place))
    for _ in range(2):  # each can be set again
        orientation.set_ground(scene, solve)
        orientation.set_origin(scene, solve)
        orientation.set_axis(scene, solve, "X")
        orientation.set_distance(scene, solve, 5.0)
        assert now(scene, solve, (1.0, 2.0, 0.0)).length < 1e-4
        assert (now(scene, solve, (1.0, 4.0, 0.0)) - Vector((5.0, 0.0, 0.0))).length < 1e-4
        # Right-handed: what lay along +y is along +x now, so what lay along -x lies along +y; and up is up.
        assert (now(scene, solve, (-1.0, 2.0, 0.0)) - Vector((0.0, 5.0, 0.0))).length < 1e-4
        assert (now(scene, solve, (1.0, 2.0, 1.0)) - Vector((0.0, 0.0, 2.5))).length < 1e-4
    orientation.set_axis(scene, solve, "Y")
    assert (now(scene, solve, (1.0, 4.0, 0.0)) - Vector((0.0, 5.0, 0.0))).length < 1e-4


def test_everything_moves_together_and_another_import_leaves_it(
    scene: bpy.types.Scene, solve: Solve, synthetic: Synthetic
) -> None:
    orientation.pick(scene, solve, 1, now(scene, solve, (1.0, 2.0, 0.0)))
    orientation.pick(scene, solve, 2, now(scene, solve, (1.0, 4.0, 0.0)))
    orientation.set_distance(scene, solve, 0.5)
    root = root_of(scene, solve).matrix_world.copy()
    wanted = root @ Matrix(synthetic.world_from_camera(scene.frame_current).tolist()) @ camera.CV_FROM_BLENDER
    import_solve(scene, synthetic.folder)
    the(bpy.context.view_layer).update()
    assert np.allclose(array(root_of(scene, solve).matrix_world), array(root), atol=1e-6)
    assert np.allclose(array(camera_of(scene, solve).matrix_world), array(wanted), atol=1e-4)
    for ob in (depth_of(scene, solve), the(owned.find(scene.objects, solve.key, "points"))):
        top = ob
        while top.parent:
            top = top.parent
        assert top == camera.find_root(scene, solve)
    marker = the(owned.find(scene.objects, solve.key, "pick_2"))
    assert (marker.matrix_world.translation - now(scene, solve, (1.0, 4.0, 0.0))).length < 1e-4


def test_camera_height_and_clipping(scene: bpy.types.Scene, solve: Solve, synthetic: Synthetic) -> None:
    for number, place in enumerate(((1.0, 2.0, 0.0), (1.0, 4.0, 0.0), (-1.0, 3.0, 0.0)), 1):
        orientation.pick(scene, solve, number, now(scene, solve, place))
    orientation.set_ground(scene, solve)
    data = data_of(camera_of(scene, solve), bpy.types.Camera)
    before, scale = data.clip_end, root_of(scene, solve).matrix_world.median_scale
    orientation.set_camera_height(scene, solve, 60.0)
    height = camera_of(scene, solve).matrix_world.translation.z
    assert height == pytest.approx(60.0, rel=1e-5)
    grown = root_of(scene, solve).matrix_world.median_scale / scale
    assert grown == pytest.approx(60.0 / (1.5 * scale), rel=1e-4)
    assert data.clip_end == pytest.approx(before * grown, rel=1e-5)
    orientation.reset(scene, solve)
    assert np.allclose(array(root_of(scene, solve).matrix_world), array(Matrix()), atol=1e-6)


def test_what_cannot_be_done_moves_nothing(scene: bpy.types.Scene, solve: Solve) -> None:
    before = root_of(scene, solve).matrix_world.copy()
    with pytest.raises(orientation.OrientationError, match="Points 1 to 3 are needed"):
        orientation.set_ground(scene, solve)
    for number, x in ((1, 0.0), (2, 1.0), (3, 2.0)):
        orientation.pick(scene, solve, number, Vector((x, 0.0, 0.0)))
    with pytest.raises(orientation.OrientationError, match="line"):
        orientation.set_ground(scene, solve)
    orientation.pick(scene, solve, 2, Vector((0.0, 0.0, 3.0)))
    with pytest.raises(orientation.OrientationError, match="above"):
        orientation.set_axis(scene, solve, "X")
    with pytest.raises(orientation.OrientationError, match="fused"):
        orientation.estimate_ground(scene, solve)
    assert root_of(scene, solve).matrix_world == before


def test_the_ground_is_found_under_a_table(scene: bpy.types.Scene, synthetic: Synthetic, own_solve: Path) -> None:
    """A large floor, a table half as large above it, walls, noise: the floor is laid level at 0."""
    folder = add_fused(own_solve, noise=0.004)
    solve = import_solve(scene, folder)
    tilted = Matrix.LocRotScale(Vector((0.0, 0.0, 0.8)), Euler((math.radians(6), math.radians(-4), 0.3)), None)
    root_of(scene, solve).matrix_world = tilted
    the(bpy.context.view_layer).update()
    orientation.estimate_ground(scene, solve)
    matrix = root_of(scene, solve).matrix_world
    up = (matrix.to_3x3() @ Vector((0.0, 0.0, 1.0))).normalized()
    assert math.degrees(up.angle(Vector((0.0, 0.0, 1.0)))) < 0.2
    corners = [matrix @ Vector((x, y, 0.0)) for x in (-2.0, 2.0) for y in (-1.0, 3.0)]
    assert max(abs(corner.z) for corner in corners) < 0.01


@pytest.mark.every_blender
def test_operators_and_undo(scene: bpy.types.Scene, addon: None, synthetic: Synthetic) -> None:
    ops.cvd.import_solve(directory=str(synthetic.folder))
    key = of(scene).solve_key
    assert ops.cvd.set_origin.poll()
    with pytest.raises(RuntimeError, match="Point 1 is needed"):
        ops.cvd.set_origin()
    ops.cvd.pick_point("EXEC_DEFAULT", picture=(0.9, 0.9), number=1)
    marker = the(owned.find(scene.objects, key, "pick_1"))
    # The depth mesh is seen there, on the floor, every fourth pixel in the viewport: exact on a plane.
    assert abs(marker.matrix_world.translation.z) < 2e-3
    bpy.ops.ed.undo_push(message="before")
    before = the(owned.find(scene.objects, key, "root")).matrix_world.copy()
    ops.cvd.set_origin("EXEC_DEFAULT")
    assert the(owned.find(scene_now().objects, key, "root")).matrix_world != before
    bpy.ops.ed.undo_push(message="after")
    bpy.ops.ed.undo()
    assert the(owned.find(scene_now().objects, key, "root")).matrix_world == before
    ops.cvd.set_size("EXEC_DEFAULT", by="HEIGHT", metres=1.7)
    root = the(owned.find(scene_now().objects, key, "root"))
    assert root.matrix_world.median_scale == pytest.approx(1.7 / 1.5, rel=1e-4)
    ops.cvd.reset_orientation()
    assert np.allclose(array(root.matrix_world), array(Matrix()), atol=1e-6)
