"""What an artist chooses for the depth mesh does exactly that, and survives a build."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat
from cvd_blender_addon.present import data_of
from cvd_blender_addon.scene import camera, depth_mesh
from cvd_blender_addon.solve_reader import Solve, read
from tests.addon.synthetic import Synthetic
from tests.addon.typed import grid_of, root_of, the

BLENDER_FROM_CV = np.array([1.0, -1.0, -1.0])
# A quarter of the usual size, so that these are fast.
SMALL: dict[str, Any] = {"width": 96, "height": 54, "fx": 90.0, "cx": 51.0, "cy": 25.0}


def build(scene: bpy.types.Scene, truth: Synthetic, **options: Any) -> tuple[Solve, bpy.types.Object]:
    """The depth mesh with every pixel and uncut, but for what `options` say (with _ for blanks)."""
    solve = read(truth.folder)
    camera.build(scene, solve)
    ob = depth_mesh.build(scene, solve)
    change(ob, Viewport_Step=1, Cut_Depth_Edges=False, **options)
    return solve, ob


def change(ob: bpy.types.Object, **options: Any) -> None:
    for name, value in options.items():
        compat.set_modifier_input(grid_of(ob), name.replace("_", " "), value)
    ob.update_tag()


def evaluate(scene: bpy.types.Scene, ob: bpy.types.Object, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, 3) in the object's space at a frame, and faces (M, 4)."""
    scene.frame_set(number)
    mesh = data_of(ob.evaluated_get(bpy.context.evaluated_depsgraph_get()), bpy.types.Mesh)
    vertices = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", vertices)
    faces = np.array([list(polygon.vertices) for polygon in mesh.polygons], np.int64)
    return vertices.reshape(-1, 3), faces


def world(ob: bpy.types.Object, vertices: np.ndarray) -> np.ndarray:
    matrix = np.array(ob.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world)
    placed: np.ndarray = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    return placed


def pixels(truth: Synthetic, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column of each vertex, and whether it is inside of the image."""
    column = np.floor(vertices[:, 0] / -vertices[:, 2] * truth.fx + truth.cx).astype(int)
    row = np.floor(vertices[:, 1] / vertices[:, 2] * truth.fx + truth.cy).astype(int)
    inside = (column >= 0) & (column < truth.width) & (row >= 0) & (row < truth.height)
    return row, column, inside


def test_viewport_and_render_have_a_density_each(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    _, ob = build(scene, make_solve(**SMALL))
    change(ob, Viewport_Step=5, Render_Step=2)
    assert len(evaluate(scene, ob, 1001)[0]) == (20 + 2) * (12 + 2)


@pytest.mark.every_blender
def test_the_threshold_says_which_faces_are_cut(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    truth = make_solve(**SMALL)
    _, ob = build(scene, truth, Depth_Edge=3.0)
    whole, _ = evaluate(scene, ob, 1001)
    assert len(whole) == 98 * 56
    change(ob, Cut_Depth_Edges=True)
    left = {}
    for edge in (3.0, 60.0):
        change(ob, Depth_Edge=edge)
        vertices, faces = evaluate(scene, ob, 1001)
        row, column, inside = pixels(truth, vertices)
        within = faces[inside[faces].all(1)]
        left[edge] = {(r, c) for r, c in zip(row[within].min(1), column[within].min(1), strict=True)}
        depth = truth.depth(1001)
        across = np.abs(np.diff(depth, axis=1)) / np.minimum(depth[:, 1:], depth[:, :-1]) > edge / truth.fx
        down = np.abs(np.diff(depth, axis=0)) / np.minimum(depth[1:], depth[:-1]) > edge / truth.fx
        torn = across[1:] | across[:-1] | down[:, 1:] | down[:, :-1]
        assert left[edge] == set(zip(*np.nonzero(~torn), strict=True))
    assert left[3.0] < left[60.0]


def test_limits_are_in_scene_units(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    truth = make_solve(**SMALL)
    solve, ob = build(scene, truth)
    depth = truth.depth(1001)
    for scale in (1.0, 2.0):
        root_of(scene, solve).scale = (scale,) * 3
        for near, far in ((5.5, 0.0), (0.0, 8.0), (5.5, 8.0)):
            change(ob, Near=near * scale, Far=far * scale)
            vertices, _ = evaluate(scene, ob, 1001)
            row, column, inside = pixels(truth, vertices)
            wanted = (depth >= near) & (depth <= (far or np.inf))
            assert 0 < wanted.sum() < wanted.size
            got = np.zeros_like(wanted)
            got[row[inside], column[inside]] = True
            assert (got == wanted).all()
            assert inside.sum() == wanted.sum()


@pytest.mark.every_blender
def test_a_held_frame_stays_where_it_is(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    zoom = {number: 90.0 + 3.0 * (number - 1001) for number in range(1001, 1009)}
    truth = make_solve(**SMALL, focals=zoom)
    solve, ob = build(scene, truth, Hold_Frame=True, Held_Frame=1003)
    root_of(scene, solve).location = (1.0, 2.0, 3.0)
    _, expected, _ = truth.cast(1003, truth.rays(1003))
    for number in (1001, 1003, 1006, 1008):  # 1006 has no camera
        vertices = world(ob, evaluate(scene, ob, number)[0])
        got = vertices.reshape(98, 56, 3)[1:-1, 1:-1].transpose(1, 0, 2)[::-1]
        assert np.abs(got - expected - (1.0, 2.0, 3.0)).max() < 1e-4
    change(ob, Hold_Frame=False)
    vertices, _ = evaluate(scene, ob, 1008)
    expected = truth.rays(1008) * truth.depth(1008)[..., None] * BLENDER_FROM_CV
    assert np.abs(vertices.reshape(98, 56, 3)[1:-1, 1:-1].transpose(1, 0, 2)[::-1] - expected).max() < 1e-5


@pytest.mark.parametrize("cut", [False, True])
def test_smoothing_keeps_planes_and_depth_edges(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, cut: bool
) -> None:
    truth = make_solve(**SMALL)
    _, ob = build(scene, truth)
    change(ob, Cut_Depth_Edges=cut)
    before, faces_before = evaluate(scene, ob, 1001)
    change(ob, Smoothing=2.0)
    after, faces = evaluate(scene, ob, 1001)
    assert (faces == faces_before).all()
    moved = np.abs(after - before).max(1)
    # Three planes: only within reach of where floor and wall meet is there something to round off.
    depth, labels = truth.depth(1001), truth.cast(1001, truth.rays(1001))[2]
    jump = np.abs(np.diff(depth, axis=0)) / np.minimum(depth[1:], depth[:-1]) > depth_mesh.DEPTH_EDGE / truth.fx
    reach = int(np.ceil(2.0**2 / depth_mesh.PASS_VARIANCE)) + 2
    flat = np.ones(labels.shape, bool)
    for r, c in zip(*np.nonzero((labels[1:] != labels[:-1]) & ~jump), strict=True):
        flat[max(r + 1 - reach, 0) : r + 1 + reach, max(c - reach, 0) : c + reach + 1] = False
    row, column, inside = pixels(truth, before)
    on_plane = flat[row[inside], column[inside]]
    for surface in (0, 1, 2):
        assert (on_plane & (labels[row[inside], column[inside]] == surface)).sum() > 50
    assert moved[inside][on_plane].max() < 2e-5
    assert moved[~inside].max() == 0.0
    assert moved.max() > 0.01


def test_smoothing_takes_noise_away(scene: bpy.types.Scene, tmp_path: Any) -> None:
    class Noisy(Synthetic):
        def depth(self, number: int) -> np.ndarray:
            noise = np.random.default_rng(number).normal(0.0, 0.01, (self.height, self.width))
            return (super().depth(number) * (1.0 + noise)).astype(np.float32)

    truth = Noisy(**SMALL).write(tmp_path)
    assert isinstance(truth, Noisy)
    _, ob = build(scene, truth)
    exact = super(Noisy, truth).depth(1001)
    errors = {}
    for smoothing in (0.0, 2.0):
        change(ob, Smoothing=smoothing)
        vertices, _ = evaluate(scene, ob, 1001)
        row, column, inside = pixels(truth, vertices)
        error = -vertices[inside, 2] / exact[row[inside], column[inside]] - 1.0
        errors[smoothing] = np.median(np.abs(error))
    assert errors[2.0] < 0.5 * errors[0.0]


@pytest.mark.every_blender
def test_a_build_keeps_what_was_chosen(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    chosen = {"Viewport_Step": 3, "Render_Step": 2, "Cut_Depth_Edges": False, "Depth_Edge": 4.0, "Smoothing": 1.5}
    chosen |= {"Near": 0.5, "Far": 9.0, "Hold_Frame": True, "Held_Frame": 1005}
    assert {name.replace("_", " ") for name in chosen} == {option.name for option in depth_mesh.OPTIONS}
    solve, ob = build(scene, make_solve(**SMALL))
    change(ob, **chosen)
    depth_mesh.build(scene, solve)
    modifier = grid_of(ob)
    assert {name: compat.get_modifier_input(modifier, name.replace("_", " ")) for name in chosen} == chosen


@pytest.mark.every_blender
def test_a_file_with_the_older_group_is_brought_up_to_date(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene
) -> None:
    truth = make_solve(**SMALL)
    solve, ob = build(scene, truth)
    modifier, tree = grid_of(ob), depth_mesh.node_group()
    new = {"Geometry", "Root", "First Frame", "Cut Depth Edges", "Smoothing", "Near", "Far", "Hold Frame", "Held Frame"}
    for item in compat.sockets(tree, "INPUT"):
        if item.name in new:
            the(tree.interface).remove(item)
    tree["cvd_version"] = 3
    data_of(ob, bpy.types.Mesh).clear_geometry()
    change(ob, Viewport_Step=1, Depth_Edge=0.0)  # it was uncut
    depth_mesh.build(scene, solve)
    assert depth_mesh.node_group() == tree and grid_of(ob) == modifier
    values = {option.name: compat.get_modifier_input(modifier, option.name) for option in depth_mesh.OPTIONS}
    assert values == {option.name: option.default for option in depth_mesh.OPTIONS} | {
        "Viewport Step": 1,
        "Cut Depth Edges": False,
        "Held Frame": 1001,
    }
    vertices, _ = evaluate(scene, ob, 1008)
    expected = truth.rays(1008) * truth.depth(1008)[..., None] * BLENDER_FROM_CV
    assert np.abs(vertices.reshape(98, 56, 3)[1:-1, 1:-1].transpose(1, 0, 2)[::-1] - expected).max() < 1e-5


def test_every_option_says_what_it_is_for(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    build(scene, make_solve(**SMALL))
    for item in compat.sockets(depth_mesh.node_group(), "INPUT"):
        if item.name != "Geometry":
            assert item.description, item.name
