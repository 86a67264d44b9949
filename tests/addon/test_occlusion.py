"""CG is hidden exactly where it should be, both ways; real surfaces catch its shadow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat
from cvd_blender_addon.present import data_of
from cvd_blender_addon.scene import camera, compositor, import_solve, layers, occlusion
from cvd_blender_addon.scene.layers import background_layer, ensure_collections, foreground_layer
from cvd_blender_addon.scene.nodes import TreeBuilder
from cvd_blender_addon.solve_reader import Solve, read
from tests.addon.fused_scene import TABLE, TABLE_TOP, add_fused
from tests.addon.rendering import add_ball, ball_coverage, grown, iou, load, render
from tests.addon.synthetic import Synthetic
from tests.addon.typed import grid_of, group_of, render_with_eevee, root_of, the, tree_of

BALL = (0.1, 1.5, 0.8)
RADIUS = 0.7
FRAME = 1002
SIZE = {"width": 480, "height": 270, "fx": 450.0, "cx": 256.0, "cy": 125.0}


@pytest.mark.every_blender
@pytest.mark.parametrize(
    ("mode", "k1", "root_scale"),
    [
        ("COMPOSITOR", 0.0, 1.0),
        ("HOLDOUT", 0.0, 1.0),
        ("COMPOSITOR", -0.08, 1.0),
        ("HOLDOUT", 0.08, 1.0),
        ("COMPOSITOR", 0.08, 2.5),
    ],
)
def test_matte(
    make_solve: Callable[..., Synthetic],
    scene: bpy.types.Scene,
    tmp_path: Path,
    mode: str,
    k1: float,
    root_scale: float,
) -> None:
    truth = make_solve(k1=k1, **SIZE)
    solve = import_solve(scene, truth.folder, occlusion_mode=mode)
    root_of(scene, solve).scale = (root_scale,) * 3
    add_ball(scene, solve, (root_scale * BALL[0], root_scale * BALL[1], root_scale * BALL[2]), root_scale * RADIUS)
    compositor.write_matte(scene, solve, tmp_path)
    composite = render(scene, FRAME, tmp_path / "composite.png")
    matte = load(tmp_path / f"matte_{FRAME}.png")[..., 0]
    visible, whole = ball_coverage(truth, FRAME, BALL, RADIUS)
    assert 0.2 < visible.sum() / whole.sum() < 0.8

    score = iou(matte, visible)
    rim = (visible == whole) & (visible > 0) & (visible < 1)
    error = matte - visible
    print(f"IoU {mode} k1={k1} scale={root_scale}: {score:.4f}, rim bias {error[rim].mean():.4f}")
    assert score >= 0.99
    # CG's own soft rim is all there. A hard compare loses its outer half: a bias of about -0.2.
    assert abs(error[rim].mean()) < 0.03
    # Away from any edge the matte is all or nothing, and right.
    edges = grown(visible > 0, 2) & grown(visible < 1, 2)
    assert np.abs(error[~edges]).max() < 0.02

    if k1 == 0.0:
        plate = load(truth.folder.parent / f"plate_{FRAME}.png")[..., :3]
        away = ~grown(whole > 0, 2)
        assert np.abs(composite[..., :3] - plate)[away].max() < 1.5 / 255


@pytest.mark.every_blender
def test_undistorted_plate_is_not_shifted(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, tmp_path: Path
) -> None:
    truth = make_solve(k1=-0.08, **SIZE)
    import_solve(scene, truth.folder)
    got = render(scene, FRAME, tmp_path / "plate.png")[..., :3].mean(-1)
    wanted = truth.plate(FRAME, distorted=False).mean(-1) / 255
    down, right = np.gradient(wanted)
    inner = np.s_[20:-20, 20:-20]
    slopes = np.stack([right[inner].ravel(), down[inner].ravel()], 1)
    shift = np.linalg.lstsq(slopes, (got - wanted)[inner].ravel(), rcond=None)[0]
    assert np.abs(shift).max() < 0.1  # pixels; half a pixel off would show as 0.5


def test_half_size_render_keeps_the_plate_whole(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, tmp_path: Path
) -> None:
    truth = make_solve(**SIZE)
    solve = import_solve(scene, truth.folder)
    add_ball(scene, solve, BALL, RADIUS)
    compositor.write_matte(scene, solve, tmp_path)
    scene.render.resolution_percentage = 50
    composite = render(scene, FRAME, tmp_path / "composite.png")[..., :3]
    visible, whole = ball_coverage(truth, FRAME, BALL, RADIUS)
    small = visible.reshape(135, 2, 240, 2).mean((1, 3))
    assert iou(load(tmp_path / f"matte_{FRAME}.png")[..., 0], small) >= 0.97
    plate = truth.plate(FRAME).reshape(135, 2, 240, 2, 3).mean((1, 3)) / 255
    away = ~grown(whole.reshape(135, 2, 240, 2).max((1, 3)) > 0, 2)
    assert np.abs(composite - plate)[away].mean() < 0.02


def test_frame_without_depth_shows_all_of_cg(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, tmp_path: Path
) -> None:
    truth = make_solve(**SIZE)
    solve = import_solve(scene, truth.folder)
    add_ball(scene, solve, BALL, RADIUS)
    compositor.write_matte(scene, solve, tmp_path)
    render(scene, 1006, tmp_path / "composite.png")
    _, whole = ball_coverage(truth, 1006, BALL, RADIUS)
    assert iou(load(tmp_path / "matte_1006.png")[..., 0], whole) >= 0.97


def write_dynamic_matte(scene: bpy.types.Scene, solve: Solve, folder: Path) -> None:
    """Let renders write the group's Dynamic Matte, as `dynamic_1002.png`."""
    tree, group = tree_of(scene), group_of(scene, solve)
    _output, socket = compat.add_grey_output(tree, folder, "dynamic", bits=16)
    # Of a picture without a size, which is one value everywhere, Blender writes no file.
    sized = TreeBuilder(tree).math("MULTIPLY_ADD", group.outputs["Matte"], 0.0, group.outputs["Dynamic Matte"])
    tree.links.new(sized, socket)


@pytest.mark.every_blender
@pytest.mark.parametrize("k1", [0.0, -0.08])
def test_dynamic_matte_comes_out_of_the_group(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, tmp_path: Path, k1: float
) -> None:
    truth = make_solve(k1=k1, moving=(1002, 1003), **SIZE)
    solve = import_solve(scene, truth.folder)
    write_dynamic_matte(scene, solve, tmp_path)
    rays = truth.rays(1002, distorted=False)
    r2 = rays[..., 0] ** 2 + rays[..., 1] ** 2
    column = np.floor(rays[..., 0] * (1 + k1 * r2) * truth.fx + truth.cx).astype(int).clip(0, truth.width - 1)
    row = np.floor(rays[..., 1] * (1 + k1 * r2) * truth.fx + truth.cy).astype(int).clip(0, truth.height - 1)
    for number in (1002, 1003, 1005):  # 1005 has none: not the one before it
        render(scene, number, tmp_path / "composite.png")
        got = load(tmp_path / f"dynamic_{number}.png")[..., 0]
        wanted = truth.dynamic(number)[row, column] > 0
        if number == 1005:
            assert got.max() == 0.0
            continue
        assert iou(got, wanted) >= (0.99 if k1 == 0.0 else 0.97)
        edge = grown(wanted, 2) & grown(~wanted, 2)
        assert np.abs(got - wanted)[~edge].max() < 1e-3


def test_no_dynamic_matte_is_black(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, tmp_path: Path
) -> None:
    solve = import_solve(scene, make_solve(**SIZE).folder)
    write_dynamic_matte(scene, solve, tmp_path)
    render(scene, FRAME, tmp_path / "composite.png")
    assert load(tmp_path / f"dynamic_{FRAME}.png")[..., 0].max() == 0.0


def test_what_moves_hides_cg_and_catches_no_shadow(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene
) -> None:
    solve = read(make_solve(moving=(1002, 1003)).folder)
    camera.build(scene, solve)
    holdout, catcher = occlusion.build(scene, solve, "HOLDOUT", True, lambda level, message: None, cut_moving=True)
    cut = [compat.get_modifier_input(grid_of(ob), "Cut Moving") for ob in (holdout, catcher)]
    assert cut == [False, True]


@pytest.mark.every_blender
def test_shadow_falls_on_the_floor(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, tmp_path: Path
) -> None:
    truth = make_solve(**SIZE)
    solve = import_solve(scene, truth.folder, shadow_catcher=True)
    centre, radius = (1.2, 1.0, 1.0), 0.6
    add_ball(scene, solve, centre, radius, glow=False)
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))  # shines straight down
    data_of(sun, bpy.types.SunLight).energy = 3.0
    scene.collection.objects.link(sun)
    composite = render(scene, FRAME, tmp_path / "composite.png")[..., :3]
    plate = load(truth.folder.parent / f"plate_{FRAME}.png")[..., :3]
    _, points, surface = truth.cast(FRAME, truth.rays(FRAME))
    _, whole = ball_coverage(truth, FRAME, centre, radius)
    free = ~grown(whole > 0, 2)
    away = np.hypot(points[..., 0] - centre[0], points[..., 1] - centre[1])
    shadow = free & (surface == 0) & (away < 0.8 * radius)
    assert shadow.sum() > 100
    assert (composite[shadow] / plate[shadow]).mean() < 0.5
    # Neither the mesh nor its own lighting shows: elsewhere the plate is as it was.
    lit = free & (away > 1.5 * radius)
    edges = grown((np.abs(np.diff(surface, axis=0, prepend=0)) + np.abs(np.diff(surface, axis=1, prepend=0))) > 0, 2)
    assert np.abs(composite - plate)[lit & ~edges].mean() < 0.005


@pytest.mark.every_blender
def test_shadow_in_eevee_and_back(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, tmp_path: Path) -> None:
    truth = make_solve(width=160, height=90, fx=150.0, cx=85.0, cy=42.0)
    solve = import_solve(scene, truth.folder, shadow_catcher=True)
    centre, radius = (1.2, 1.0, 1.0), 0.6
    add_ball(scene, solve, centre, radius, glow=False)
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    # Among CG, which is left out of one of the renders; its light must not be.
    ensure_collections(scene, solve).foreground.objects.link(sun)
    render_with_eevee(scene)
    the(scene.eevee).taa_render_samples = 4
    plate = load(truth.folder.parent / f"plate_{FRAME}.png")[..., :3]
    _, points, surface = truth.cast(FRAME, truth.rays(FRAME))
    _, whole = ball_coverage(truth, FRAME, centre, radius)
    away = np.hypot(points[..., 0] - centre[0], points[..., 1] - centre[1])
    free = ~grown(whole > 0, 2) & (surface == 0)
    for engine, choose in (("EEVEE", render_with_eevee), ("CYCLES", compat.render_with_cycles)):
        choose(scene)
        occlusion.build(scene, solve, "COMPOSITOR", True, lambda level, message: None)
        compositor.update(scene, solve, "COMPOSITOR")
        composite = render(scene, FRAME, tmp_path / f"{engine}.png")[..., :3]
        shadow, lit = free & (away < 0.7 * radius), free & (away > 1.6 * radius) & (points[..., 1] < 3.5)
        assert shadow.sum() > 20
        assert (composite[shadow] / plate[shadow]).mean() < 0.5, engine
        assert np.abs(composite - plate)[lit].mean() < 0.006, engine
        ball = whole == 1
        assert composite[ball][:, 0].mean() > 3 * composite[ball][:, 2].mean(), "CG is seen, not the mesh"
    occlusion.build(scene, solve, "COMPOSITOR", False, lambda level, message: None)
    compositor.update(scene, solve, "COMPOSITOR")
    assert not the(compositor.find_group_node(scene, solve)).inputs["Shadows"].is_linked


@pytest.mark.every_blender
def test_floor_mirrors_cg(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, tmp_path: Path) -> None:
    truth = make_solve(width=160, height=90, fx=150.0, cx=85.0, cy=42.0)
    solve = import_solve(scene, truth.folder, shadow_catcher=True)
    scene.world = bpy.data.worlds.new("White")
    scene.world.color = (1.0, 1.0, 1.0)
    centre, radius = (1.2, 2.0, 1.0), 0.6
    add_ball(scene, solve, centre, radius)  # red, and it glows
    plate = load(truth.folder.parent / f"plate_{FRAME}.png")[..., :3]
    occlusion.build(scene, solve, "COMPOSITOR", True, lambda level, message: None, reflection=0.5, roughness=0.0)
    compositor.update(scene, solve, "COMPOSITOR")
    composite = render(scene, FRAME, tmp_path / "mirror.png")[..., :3]
    # The mirror image is that of a ball below the floor.
    _, mirrored = ball_coverage(truth, FRAME, (centre[0], centre[1], -centre[2]), radius)
    _, _, surface = truth.cast(FRAME, truth.rays(FRAME))
    _, whole = ball_coverage(truth, FRAME, centre, radius)
    floor = (surface == 0) & ~grown(whole > 0, 2)
    image = floor & ~grown(mirrored < 1, 1)
    assert image.sum() > 100
    redder = (composite[..., 0] / composite[..., 2]) / (plate[..., 0] / plate[..., 2])
    assert redder[image].mean() > 1.5
    assert np.abs(composite - plate)[:, :40][floor[:, :40]].mean() < 0.02
    occlusion.update_mirrors(scene, solve.key, 0.0, 0.0)
    composite = render(scene, FRAME, tmp_path / "dull.png")[..., :3]
    redder = (composite[..., 0] / composite[..., 2]) / (plate[..., 0] / plate[..., 2])
    assert redder[image].mean() < 1.3


@pytest.mark.every_blender
def test_fused_mesh_holds_out(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, tmp_path: Path) -> None:
    truth = make_solve(width=160, height=90, fx=150.0, cx=85.0, cy=42.0)
    folder = add_fused(Path(shutil.copytree(truth.folder, tmp_path / "own.solve")))
    solve = import_solve(scene, folder, occlusion_mode="FUSED_HOLDOUT")
    # Behind the table, which is in the fused mesh alone.
    left, right, _, back = TABLE
    ball = add_ball(scene, solve, ((left + right) / 2, back + 0.6, TABLE_TOP - 0.3), 0.5)
    compositor.write_matte(scene, solve, tmp_path)
    render(scene, FRAME, tmp_path / "a.png")
    held = load(tmp_path / f"matte_{FRAME}.png")[..., 0].sum()
    occlusion.build(scene, solve, "HOLDOUT", False, lambda level, message: None)
    render(scene, FRAME, tmp_path / "b.png")
    whole = load(tmp_path / f"matte_{FRAME}.png")[..., 0].sum()
    assert ball.name in scene.objects and 0.05 * whole < held < 0.9 * whole


@pytest.mark.every_blender
def test_who_renders_what(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    solve = read(synthetic.folder)
    camera.build(scene, solve)
    said: list[str] = []

    def build(mode: str, catch: bool) -> tuple[bool, bool, bool]:
        holdout, catcher = occlusion.build(scene, solve, mode, catch, lambda level, message: said.append(message))
        assert holdout.is_holdout and catcher.is_shadow_catcher
        return holdout.hide_render, catcher.hide_render, background_layer(scene).use

    assert build("COMPOSITOR", False) == (True, True, False)
    assert build("HOLDOUT", False) == (False, True, False)
    assert build("HOLDOUT", True) == (False, False, True)
    assert said == []
    assert not occlusion.engine_changed(scene)
    render_with_eevee(scene)
    assert occlusion.engine_changed(scene)
    assert build("COMPOSITOR", True) == (True, False, True)
    assert not occlusion.engine_changed(scene) and said == []
    assert scene.view_layers[layers.WITHOUT_CG].use
    compat.render_with_cycles(scene)
    assert occlusion.engine_changed(scene)
    build("COMPOSITOR", True)
    assert not scene.view_layers[layers.WITHOUT_CG].use
    # Without a fused mesh the depth mesh stands in, and it is said.
    assert build("FUSED_HOLDOUT", False) == (False, True, False)
    assert "No fused mesh" in said[0]


@pytest.mark.every_blender
def test_layers_and_collections(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    mine = bpy.data.collections.new("My CG")
    scene.collection.children.link(mine)
    solve = import_solve(scene, synthetic.folder)
    assert [layer.name for layer in scene.view_layers] == ["Foreground", "Background"]
    assert foreground_layer(scene).use_pass_z
    background = background_layer(scene).layer_collection.children
    assert background["foreground"].indirect_only and background["My CG"].indirect_only
    assert not background["background"].indirect_only
    assert background["background"].children["holdout"].exclude
    assert {ob.get("cvd_role") for ob in ensure_collections(scene, solve).background.all_objects} == {
        "depth_mesh",
        "holdout",
        "catcher",
    }
