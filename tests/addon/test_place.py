"""The fused mesh in the scene, and the test ball that comes to rest on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from mathutils import Vector

from cvd_blender_addon.mesh_file import read_mesh
from cvd_blender_addon.present import data_of
from cvd_blender_addon.properties import of
from cvd_blender_addon.scene import compositor, fused, import_solve, occlusion, owned
from cvd_blender_addon.scene.layers import background_layer
from cvd_blender_addon.scene.points import COLOUR
from cvd_blender_addon.scene.surface import Ray, camera_ray, cast
from cvd_blender_addon.solve_reader import SolveError, read
from tests.addon.fused_scene import TABLE_TOP, add_fused
from tests.addon.rendering import render
from tests.addon.synthetic import Synthetic
from tests.addon.typed import ops, root_of, scene_now, the

ON_TABLE = Vector((0.7, 1.7, TABLE_TOP))


def in_picture(scene: bpy.types.Scene, truth: Synthetic, point: Vector) -> tuple[float, float]:
    """Place of a world point in the picture of the current frame, as shares of its width and height."""
    pose = truth.world_from_camera(scene.frame_current)
    x, y, z = pose[:3, :3].T @ (np.array(point) - pose[:3, 3])
    return (truth.fx * x / z + truth.cx) / truth.width, (truth.fx * y / z + truth.cy) / truth.height


def test_the_fused_mesh_comes_as_it_is_and_once(scene: bpy.types.Scene, own_solve: Path) -> None:
    folder = add_fused(own_solve)
    stored = read_mesh(folder / "fused.ply")
    solve = import_solve(scene, folder)
    ob = the(fused.find(scene, solve))
    data = data_of(ob, bpy.types.Mesh)
    got = np.array([vertex.co for vertex in data.vertices])
    assert np.array_equal(got.astype(np.float32), stored.vertices)
    assert [tuple(face.vertices) for face in data.polygons] == [tuple(row) for row in stored.faces.tolist()]
    assert ob.parent == root_of(scene, solve)
    assert ob.hide_render
    colours: Any = data.attributes[COLOUR]
    colour = colours.data[0].color_srgb
    assert [round(255 * value) for value in colour[:3]] == [200, 150, 100]
    ob.name = "Mine"
    counts = len(scene.objects), len(bpy.data.meshes), len(bpy.data.materials)
    import_solve(scene, folder)
    assert (len(scene.objects), len(bpy.data.meshes), len(bpy.data.materials)) == counts
    assert the(fused.find(scene, solve)).name == "Mine"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-5], "cut short"),
        (lambda data: data.replace(b"float nx", b"float qx"), "not laid out"),
        (lambda data: b"PK" + data, "not laid out"),
        (lambda data: data[:-4] + b"\xff\xff\xff\x7f", "not a triangle"),
        (lambda data: data.replace(b"end_header\n", b"end_header\n" + b"\x00\x00\xc0\x7f")[:-4], "not finite"),
        (lambda _: b"", "no PLY"),
    ],
)
def test_a_damaged_mesh_is_refused(own_solve: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = add_fused(own_solve) / "fused.ply"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SolveError, match=message):
        read_mesh(path)


def test_a_mesh_outside_the_folder_is_refused(own_solve: Path) -> None:
    folder = add_fused(own_solve)
    (folder / "solve.json").write_text((folder / "solve.json").read_text().replace("fused.ply", "../fused.ply"))
    with pytest.raises(SolveError, match="outside"):
        read(folder)


def test_rays_meet_the_mesh_and_else_the_depth(scene: bpy.types.Scene, synthetic: Synthetic, own_solve: Path) -> None:
    folder = add_fused(own_solve)
    solve = import_solve(scene, folder)
    the(bpy.context.view_layer).update()
    hit = the(cast(scene, solve, camera_ray(scene, solve, *in_picture(scene, synthetic, ON_TABLE))))
    assert (hit.point - ON_TABLE).length < 1e-3
    assert (hit.normal - Vector((0.0, 0.0, 1.0))).length < 1e-3
    place_of_camera = Vector(synthetic.world_from_camera(scene.frame_current)[:3, 3].tolist())
    assert hit.distance == pytest.approx((ON_TABLE - place_of_camera).length, rel=1e-4)
    from_above = the(cast(scene, solve, Ray(ON_TABLE + Vector((0.0, 0.0, 500.0)), Vector((0.0, 0.0, -1.0)), 3.0)))
    assert (from_above.point - ON_TABLE).length < 1e-3 and from_above.distance == 3.0, "an orthographic view"
    assert from_above.normal.z > 0.999, "of what is near, not of all within a share of 500"
    # The front wall is in the depth mesh alone. It stands at y = 0; rays through it end beyond in the fused mesh.
    bpy.data.objects.remove(the(fused.find(scene, solve)))
    on_wall = Vector((-0.8, 0.0, 1.2))
    hit = the(cast(scene, solve, camera_ray(scene, solve, *in_picture(scene, synthetic, on_wall))))
    assert (hit.point - on_wall).length < 1e-2
    assert cast(scene, solve, Ray(Vector((0.0, 0.0, 50.0)), Vector((0.0, 0.0, 1.0)))) is None


@pytest.mark.every_blender
@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_the_ball_falls_and_rests_on_the_table(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, own_solve: Path, scale: float
) -> None:
    ops.cvd.import_solve(directory=str(add_fused(own_solve)))
    scene.frame_end = 1060
    key = of(scene).solve_key
    the(owned.find(scene.objects, key, "root")).scale = (scale,) * 3
    the(bpy.context.view_layer).update()
    ops.cvd.drop_ball(picture=in_picture(scene, synthetic, ON_TABLE), size=0.03, height=2.0)
    ball = the(owned.find(scene.objects, key, "test_ball"))
    radius = ball.matrix_world.median_scale
    the(owned.find(scene.objects, key, "depth_mesh")).hide_viewport = True  # it would only take time
    heights = []
    for number in range(scene.frame_current, scene.frame_current + 40):
        scene.frame_set(number)
        heights.append(ball.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world.translation.z)
    assert heights[0] == pytest.approx(scale * TABLE_TOP + 3.0 * radius, rel=1e-3)
    assert heights[2] < heights[0] - 0.1 * radius, "it falls"
    assert heights[-1] == pytest.approx(scale * TABLE_TOP + radius, abs=0.05 * radius), "it rests, and does not float"
    assert abs(heights[-1] - heights[-10]) < 0.01 * radius


@pytest.mark.every_blender
def test_the_ball_is_lit_and_its_shadow_is_on_the_table(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, own_solve: Path, tmp_path: Path
) -> None:
    ops.cvd.import_solve(directory=str(add_fused(own_solve)))
    solve = read(own_solve)
    ops.cvd.drop_ball(picture=in_picture(scene, synthetic, ON_TABLE), size=0.03, height=0.0)
    assert of(scene).surface == "FUSED"
    assert not the(owned.find(scene.objects, solve.key, "fused_catcher")).hide_render
    assert background_layer(scene).use
    ball = the(owned.find(scene.objects, solve.key, "test_ball"))
    compositor.update(scene, solve, occlusion.HOLDOUT)  # the table is in the mesh alone, not in the depth
    lit = render(scene, scene.frame_current, tmp_path / "lit.png")
    ball.hide_render = True
    empty = render(scene, scene.frame_current, tmp_path / "empty.png")
    rows, columns = np.mgrid[: synthetic.height, : synthetic.width]
    x, y = in_picture(scene, synthetic, ball.matrix_world.translation)
    off = np.hypot(columns + 0.5 - x * synthetic.width, rows + 0.5 - y * synthetic.height)
    size = synthetic.fx * ball.matrix_world.median_scale / 7.7
    change = (lit - empty)[..., :3].mean(-1)
    around = (off > 1.2 * size) & (off < 3.0 * size)
    assert change[around].min() < -0.08, "a shadow"
    assert np.abs(change[off > 8.0 * size]).max() < 0.05
    assert lit[off < 0.8 * size][:, 0].min() > 0.15, "no side is black"


def test_twice_is_one_ball_and_undo_takes_it_away(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, own_solve: Path
) -> None:
    ops.cvd.import_solve(directory=str(add_fused(own_solve)))
    key = of(scene).solve_key
    bpy.ops.ed.undo_push(message="before")
    before = {ob.name for ob in scene.objects}
    ops.cvd.drop_ball(picture=in_picture(scene, synthetic, ON_TABLE))
    after = {ob.name for ob in scene.objects}
    assert len(after - before) == 3  # ball, sun, catcher
    ops.cvd.drop_ball(picture=in_picture(scene, synthetic, ON_TABLE + Vector((0.1, 0.2, 0.0))))
    assert {ob.name for ob in scene.objects} == after
    bpy.ops.ed.undo_push(message="after")
    bpy.ops.ed.undo()
    scene = scene_now()
    assert {ob.name for ob in scene.objects} == before
    assert scene.rigidbody_world is None
    assert owned.find(scene.objects, key, "test_ball") is None


def test_without_a_fused_mesh_the_ball_lies_there_and_says_so(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, capfd: pytest.CaptureFixture[str]
) -> None:
    ops.cvd.import_solve(directory=str(synthetic.folder))
    ops.cvd.drop_ball(picture=in_picture(scene, synthetic, Vector((0.5, 1.0, 0.0))), height=0.0)
    ball = the(owned.find(scene.objects, of(scene).solve_key, "test_ball"))
    assert ball.rigid_body is None
    assert ball.matrix_world.translation.z == pytest.approx(ball.matrix_world.median_scale, rel=0.01)
    assert "engine fuse" in capfd.readouterr().out


def test_gravity_fits_the_size_of_the_scene(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, own_solve: Path
) -> None:
    ops.cvd.import_solve(directory=str(add_fused(own_solve)))
    ops.cvd.drop_ball(picture=in_picture(scene, synthetic, ON_TABLE))
    ball = the(owned.find(scene.objects, of(scene).solve_key, "test_ball"))
    # Of unknown size: the ball counts as a football.
    assert scene.gravity[2] == pytest.approx(-9.81 * ball.matrix_world.median_scale / 0.11, rel=1e-4)
    ops.cvd.set_size("EXEC_DEFAULT", by="HEIGHT", metres=1.5)
    ops.cvd.drop_ball(picture=in_picture(scene, synthetic, ON_TABLE))
    assert scene.gravity[2] == pytest.approx(-9.81, rel=1e-4)
