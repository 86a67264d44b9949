"""The depth mesh lies where the surfaces are, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat
from cvd_blender_addon.present import data_of
from cvd_blender_addon.scene import camera, depth_mesh
from cvd_blender_addon.solve_reader import Solve, read
from tests.addon.synthetic import Synthetic
from tests.addon.typed import grid_of, root_of, the

pytestmark = pytest.mark.every_blender

BLENDER_FROM_CV = np.array([1.0, -1.0, -1.0])


def build(scene: bpy.types.Scene, truth: Synthetic, step: int = 1, edge: float = 0.0) -> tuple[Solve, bpy.types.Object]:
    solve = read(truth.folder)
    camera.build(scene, solve)
    ob = depth_mesh.build(scene, solve)
    modifier = grid_of(ob)
    compat.set_modifier_input(modifier, "Viewport Step", step)
    compat.set_modifier_input(modifier, "Cut Depth Edges", edge > 0.0)
    compat.set_modifier_input(modifier, "Depth Edge", edge or depth_mesh.DEPTH_EDGE)
    ob.update_tag()
    return solve, ob


def evaluate(scene: bpy.types.Scene, ob: bpy.types.Object, number: int) -> tuple[np.ndarray, bpy.types.Mesh]:
    """Vertices (N, 3) in the object's space at a frame, and the mesh."""
    scene.frame_set(number)
    mesh = data_of(ob.evaluated_get(bpy.context.evaluated_depsgraph_get()), bpy.types.Mesh)
    vertices = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", vertices)
    return vertices.reshape(-1, 3), mesh


def grid(vertices: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """(rows, columns, 3) from the top, without the ring."""
    return vertices.reshape(columns + 2, rows + 2, 3)[1:-1, 1:-1].transpose(1, 0, 2)[::-1]


@pytest.mark.parametrize(
    "lens", [{}, {"k1": -0.08}, {"k1": 0.08}, {"k1": -0.08, "p1": 0.006, "p2": -0.004, "squeeze": 1.3}], ids=str
)
def test_vertices_are_the_truth(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, lens: dict[str, float]
) -> None:
    truth = make_solve(**lens)
    _, ob = build(scene, truth)
    for number in (1001, 1008, 1003):
        vertices, _ = evaluate(scene, ob, number)
        expected = truth.rays(number) * truth.depth(number)[..., None] * BLENDER_FROM_CV
        got = grid(vertices, truth.width, truth.height)
        assert np.abs(got - expected).max() < 1e-5


def test_world_position_follows_the_camera_and_the_root(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    solve, ob = build(scene, synthetic)
    root_of(scene, solve).scale = (2.0, 2.0, 2.0)
    vertices, _ = evaluate(scene, ob, 1008)
    matrix = np.array(ob.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world)
    world = grid(vertices, synthetic.width, synthetic.height) @ matrix[:3, :3].T + matrix[:3, 3]
    _, expected, _ = synthetic.cast(1008, synthetic.rays(1008))
    assert np.abs(world - 2.0 * expected).max() < 1e-4


def test_zoom_moves_the_mesh(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    truth = make_solve(focals={number: 300.0 + 8.0 * (number - 1001) for number in range(1001, 1009)})
    _, ob = build(scene, truth)
    vertices, _ = evaluate(scene, ob, 1007)
    expected = truth.rays(1007) * truth.depth(1007)[..., None] * BLENDER_FROM_CV
    assert np.abs(grid(vertices, truth.width, truth.height) - expected).max() < 1e-5


def test_coarse_grid_keeps_to_pixels_and_to_the_border(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    _, ob = build(scene, synthetic, step=7)
    vertices, _ = evaluate(scene, ob, 1001)
    columns = [*range(0, 319, 7), 319]
    rows = [*range(0, 179, 7), 179]
    got = grid(vertices, len(columns), len(rows))
    expected = synthetic.rays(1001) * synthetic.depth(1001)[..., None] * BLENDER_FROM_CV
    assert np.abs(got - expected[np.ix_(rows, columns)]).max() < 1e-5
    # The ring goes beyond the image on every side.
    u = vertices[:, 0] / -vertices[:, 2] * synthetic.fx + synthetic.cx
    v = vertices[:, 1] / vertices[:, 2] * synthetic.fx + synthetic.cy
    assert u.min() < -1 and u.max() > 321 and v.min() < -1 and v.max() > 181


def test_every_pixel_is_rendered(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    _, ob = build(scene, synthetic, step=4)
    modifier = grid_of(ob)
    assert compat.get_modifier_input(modifier, "Render Step") == 1


@pytest.mark.parametrize("number", [1004, 1006])
def test_no_mesh_on_a_frame_without_depth(synthetic: Synthetic, scene: bpy.types.Scene, number: int) -> None:
    _, ob = build(scene, synthetic)
    assert len(evaluate(scene, ob, 1003)[0]) > 0
    assert len(evaluate(scene, ob, number)[0]) == 0
    assert len(evaluate(scene, ob, 1005)[0]) > 0


def test_pixels_without_depth_are_left_out(scene: bpy.types.Scene, tmp_path: Path) -> None:
    class Holed(Synthetic):
        def depth(self, number: int) -> np.ndarray:
            depth = super().depth(number)
            depth[60:80, 100:140] = 0.0
            return depth

    truth = Holed().write(tmp_path)
    _, ob = build(scene, truth)
    vertices, _ = evaluate(scene, ob, 1001)
    assert len(vertices) == 322 * 182 - 20 * 40
    assert (-vertices[:, 2]).min() > 1.0


def test_what_moves_can_be_cut(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    truth = make_solve(moving=(1002, 1003))
    solve, ob = build(scene, truth)

    def cut_out(number: int) -> int:
        return 322 * 182 - len(evaluate(scene, ob, number)[0])

    assert cut_out(1002) == 0
    depth_mesh.build(scene, solve, cut_moving=True)
    vertices, _ = evaluate(scene, ob, 1003)
    column = np.floor(vertices[:, 0] / -vertices[:, 2] * truth.fx + truth.cx).astype(int)
    row = np.floor(vertices[:, 1] / vertices[:, 2] * truth.fx + truth.cy).astype(int)
    inside = (column >= 0) & (column < truth.width) & (row >= 0) & (row < truth.height)
    assert not truth.dynamic(1003)[row[inside], column[inside]].any()
    # A frame without a matte has nothing to cut, also right after one that has.
    assert [cut_out(number) for number in (1002, 1003, 1005, 1002)] == [1600, 1600, 0, 1600]
    depth_mesh.build(scene, solve, cut_moving=False)
    assert cut_out(1002) == 0


def test_nothing_to_cut_where_nothing_moves(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    solve, ob = build(scene, synthetic)
    depth_mesh.build(scene, solve, cut_moving=True)
    assert len(evaluate(scene, ob, 1002)[0]) == 322 * 182


def test_stretched_faces_are_cut(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    _, ob = build(scene, synthetic, edge=depth_mesh.DEPTH_EDGE)
    _, mesh = evaluate(scene, ob, 1001)
    depth = np.array([-vertex.co.z for vertex in mesh.vertices])
    faces = np.array([list(polygon.vertices) for polygon in mesh.polygons])
    corners = depth[faces]
    steps = np.abs(corners - np.roll(corners, 1, axis=1)) / np.minimum(corners, np.roll(corners, 1, axis=1))
    edge = depth_mesh.DEPTH_EDGE / synthetic.fx  # relative change from pixel to pixel
    assert steps.max() <= edge
    # What is gone are the faces along the front wall's outline, and no others.
    truth = synthetic.depth(1001)
    horizontal = np.abs(np.diff(truth, axis=1)) / np.minimum(truth[:, 1:], truth[:, :-1]) > edge
    vertical = np.abs(np.diff(truth, axis=0)) / np.minimum(truth[1:], truth[:-1]) > edge
    torn = horizontal[1:] | horizontal[:-1] | vertical[:, 1:] | vertical[:, :-1]
    assert torn.sum() > 100
    removed = 321 * 181 - len(faces)
    assert torn.sum() <= removed <= torn.sum() + 20  # the ring repeats the image's border


def test_texture_is_projected_from_the_camera(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    solve, ob = build(scene, synthetic)
    vertices, mesh = evaluate(scene, ob, 1001)
    uv = np.empty(len(mesh.loops) * 2, np.float32)
    mesh.uv_layers["UVMap"].uv.foreach_get("vector", uv)
    corner = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corner)
    p = vertices[corner]
    u = (p[:, 0] / -p[:, 2] * synthetic.fx + synthetic.cx) / synthetic.width
    v = 1.0 - (p[:, 1] / p[:, 2] * synthetic.fx + synthetic.cy) / synthetic.height
    inside = (u > 0) & (u < 1) & (v > 0) & (v < 1)
    assert np.abs(uv.reshape(-1, 2) - np.stack([u, v], -1))[inside].max() < 1e-5
    shown = {the(mesh.materials[polygon.material_index]).name for polygon in mesh.polygons}
    assert shown == {the(depth_mesh.plate_material(solve, "emission")).name}
