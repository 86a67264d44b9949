"""Importing updates, never duplicates, keeps what the user did, and is one undo."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import bpy
import pytest

from cvd_blender_addon import compat, monitor
from cvd_blender_addon.present import data_of
from cvd_blender_addon.properties import of
from cvd_blender_addon.scene import compositor, import_solve, owned
from cvd_blender_addon.solve_reader import SolveError
from tests.addon.synthetic import Synthetic
from tests.addon.typed import camera_of, depth_of, grid_of, group_of, ops, root_of, scene_now, the, tree_of

pytestmark = pytest.mark.every_blender

COLLECTIONS = (
    "objects",
    "meshes",
    "cameras",
    "materials",
    "node_groups",
    "actions",
    "images",
    "movieclips",
    "collections",
    "scenes",
)
STEPS = ("camera", "plate", "points", "depth_mesh", "occlusion", "compositor")


def census() -> dict[str, list[str]]:
    return {name: sorted(block.name for block in getattr(bpy.data, name)) for name in COLLECTIONS}


def test_twice_is_once(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    solve = import_solve(scene, synthetic.folder)
    before = census()
    nodes = len(tree_of(scene).nodes)
    import_solve(scene, synthetic.folder)
    assert census() == before
    assert len(tree_of(scene).nodes) == nodes
    assert len(scene.view_layers) == 2
    assert len(data_of(camera_of(scene, solve), bpy.types.Camera).background_images) == 1
    assert len(depth_of(scene, solve).modifiers) == 1


def test_the_users_changes_stay(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    solve = import_solve(scene, synthetic.folder)
    root, view, mesh = root_of(scene, solve), camera_of(scene, solve), depth_of(scene, solve)
    lens = data_of(view, bpy.types.Camera)
    root.location, root.scale = (1.0, 2.0, 3.0), (2.0, 2.0, 2.0)
    view.name = "Hero"
    the(lens.dof).use_dof = True
    lens.clip_end = 77.0
    mine = bpy.data.collections.new("Mine")
    scene.collection.children.link(mine)
    mine.objects.link(mesh)
    modifier = grid_of(mesh)
    compat.set_modifier_input(modifier, "Viewport Step", 2)
    compat.set_modifier_input(modifier, "Depth Edge", 0.2)
    mesh.modifiers.new("Bevel", "BEVEL")
    other = bpy.data.materials.new("Other")
    compat.set_modifier_input(modifier, "Material", other)
    tree = tree_of(scene)
    glare = tree.nodes.new("CompositorNodeGlare")
    tree.links.new(group_of(scene, solve).outputs["Image"], glare.inputs[0])

    import_solve(scene, synthetic.folder)
    assert tuple(root.location[:]) == (1.0, 2.0, 3.0) and tuple(root.scale[:]) == (2.0, 2.0, 2.0)
    assert (view.name, the(lens.dof).use_dof, lens.clip_end) == ("Hero", True, 77.0)
    assert mine.objects.get(mesh.name) is not None
    assert compat.get_modifier_input(modifier, "Viewport Step") == 2
    assert compat.get_modifier_input(modifier, "Depth Edge") == pytest.approx(0.2)
    assert compat.get_modifier_input(modifier, "Material") == other
    assert [entry.type for entry in mesh.modifiers] == ["NODES", "BEVEL"]
    assert the(glare.inputs[0].links)[0].from_node == compositor.find_group_node(scene, solve)


def test_what_the_user_deleted_comes_back_once(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    solve = import_solve(scene, synthetic.folder)
    bpy.data.objects.remove(camera_of(scene, solve))
    bpy.data.objects.remove(root_of(scene, solve))
    import_solve(scene, synthetic.folder)
    view = camera_of(scene, solve)
    assert view.parent == the(owned.find(scene.objects, solve.key, "points")).parent == root_of(scene, solve)
    assert depth_of(scene, solve).parent == view
    assert [ob.get("cvd_role") for ob in scene.objects].count("camera") == 1


def test_a_better_solve_of_the_same_clip_updates(own_solve: Path, scene: bpy.types.Scene) -> None:
    solve = import_solve(scene, own_solve)
    text = (own_solve / "solve.json").read_text()
    (own_solve / "solve.json").write_text(text.replace('"fx": 300.0, "fy": 300.0', '"fx": 310.0, "fy": 310.0'))
    before = census()
    import_solve(scene, own_solve)
    assert census() == before
    assert data_of(camera_of(scene, solve), bpy.types.Camera).lens == pytest.approx(310.0 / 320 * 36.0)
    modifier = grid_of(depth_of(scene, solve))
    assert compat.get_modifier_input(modifier, "Focal X") == pytest.approx(310.0)


def test_two_solves_live_in_one_scene(synthetic: Synthetic, tmp_path: Path, scene: bpy.types.Scene) -> None:
    first = import_solve(scene, synthetic.folder)
    second = import_solve(scene, Path(shutil.copytree(synthetic.folder, tmp_path / "second.solve")))
    cameras = {camera_of(scene, solve).name for solve in (first, second)}
    assert cameras == {"CVD Camera shot", "CVD Camera second"}
    groups = [compositor.find_group_node(scene, solve) for solve in (first, second)]
    assert None not in groups and groups[0] != groups[1]


def test_existing_compositor_tree_is_kept(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    tree, final = compat.new_compositor_tree(scene, "Mine")
    blur = tree.nodes.new("CompositorNodeBlur")
    layers = tree.nodes.new("CompositorNodeRLayers")
    tree.links.new(layers.outputs["Image"], blur.inputs["Image"])
    tree.links.new(blur.outputs["Image"], final)
    mine = set(tree.nodes.keys())
    said: list[str] = []
    solve = import_solve(scene, synthetic.folder, report=lambda level, message: said.append(message))
    assert compat.compositor_tree(scene) == tree
    assert mine < set(tree.nodes.keys())
    assert the(final.links)[0].from_node == blur and the(blur.inputs["Image"].links)[0].from_node == layers
    group = group_of(scene, solve)
    assert group.inputs["CG"].is_linked and group.inputs["CG Depth"].is_linked
    assert not any(socket.is_linked for socket in group.outputs)
    assert any("connect Image" in message for message in said)


def test_new_compositor_tree_ends_in_the_group(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    solve = import_solve(scene, synthetic.folder)
    (link,) = group_of(scene, solve).outputs["Image"].links
    assert link.to_node.bl_idname in ("CompositorNodeComposite", "NodeGroupOutput")
    assert scene.render.film_transparent and compat.compositor_is_on(scene)


def test_points(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    solve = import_solve(scene, synthetic.folder)
    ob = the(owned.find(scene.objects, solve.key, "points"))
    points = data_of(ob, bpy.types.Mesh)
    _, expected, _ = synthetic.cast(1001, synthetic.rays(1001)[::12, ::12])
    assert len(points.vertices) == expected.shape[0] * expected.shape[1]
    assert tuple(points.vertices[0].co[:]) == pytest.approx(tuple(expected[0, 0]), rel=1e-6)
    colours: Any = points.attributes["Colour"]
    assert tuple(colours.data[0].color_srgb)[:3] == pytest.approx((200 / 255, 100 / 255, 50 / 255))
    evaluated: Any = ob.evaluated_get(bpy.context.evaluated_depsgraph_get())
    geometry = evaluated.evaluated_geometry()
    assert len(geometry.pointcloud.points) == len(points.vertices)
    assert "Colour" in geometry.pointcloud.attributes
    assert ob.parent == root_of(scene, solve)


def test_operator_does_what_the_function_does(synthetic: Synthetic, scene: bpy.types.Scene, addon: None) -> None:
    import_solve(scene, synthetic.folder)
    expected = census()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert ops.cvd.import_solve(directory=str(synthetic.folder)) == {"FINISHED"}
    assert census() == expected
    cvd = of(bpy.context.scene)
    assert cvd.result.startswith("6 of 8 frames placed\nNo camera: 1004, 1006")
    assert Path(cvd.solve_folder) == synthetic.folder.resolve()


def test_an_imported_solve_brings_its_clip_and_outlives_the_choice_of_another(
    synthetic: Synthetic, scene: bpy.types.Scene, addon: None, tmp_path: Path
) -> None:
    cvd = of(scene)
    ops.cvd.import_solve(directory=str(synthetic.folder))
    assert cvd.clip_path == str(synthetic.folder.parent.resolve() / "plate_1001.png")
    cvd.clip_path = str(tmp_path / "other.mp4")
    assert ops.cvd.build_points() == {"FINISHED"}
    assert cvd.solve_folder == "", "the other clip must not be solved into the first one's folder"
    ops.cvd.import_solve(directory=str(synthetic.folder))
    assert (cvd.clip_path, cvd.solve_folder) == (str(tmp_path / "other.mp4"), "")


def test_a_solve_that_goes_away_between_button_and_click_is_told(
    synthetic: Synthetic, scene: bpy.types.Scene, addon: None
) -> None:
    ops.cvd.import_solve(directory=str(synthetic.folder))
    of(scene).built_folder = of(scene).solve_folder = "/no/such.solve"
    with pytest.raises(SolveError, match=r"cannot be found.*/no/such\.solve.*import the solve from where it is now"):
        monitor.read_result(scene)


def test_import_by_the_file_browser(synthetic: Synthetic, scene: bpy.types.Scene, addon: None) -> None:
    assert ops.cvd.import_solve(filepath=str(synthetic.folder / "solve.json")) == {"FINISHED"}
    assert scene.camera is not None


def test_import_is_one_undo(synthetic: Synthetic, scene: bpy.types.Scene, addon: None) -> None:
    before = census()
    bpy.ops.ed.undo_push(message="before")
    ops.cvd.import_solve("EXEC_DEFAULT", True, directory=str(synthetic.folder))
    assert census() != before
    bpy.ops.ed.undo()
    assert census() == before
    assert [layer.name for layer in scene_now().view_layers] == ["ViewLayer"]


def test_each_step_is_one_undo_and_can_be_run_again(synthetic: Synthetic, scene: bpy.types.Scene, addon: None) -> None:
    of(scene).solve_folder = str(synthetic.folder)
    for step in STEPS:
        operator = getattr(ops.cvd, f"build_{step}")
        before = census()
        bpy.ops.ed.undo_push(message="before")
        assert operator("EXEC_DEFAULT", True) == {"FINISHED"}
        made = census()
        assert made != before, step
        bpy.ops.ed.undo()
        assert census() == before, step
        operator("EXEC_DEFAULT", True)
        assert census() == made, step
        operator("EXEC_DEFAULT", True)
        assert census() == made, step


def test_steps_say_what_they_miss(synthetic: Synthetic, scene: bpy.types.Scene, addon: None) -> None:
    for step in STEPS:
        assert not getattr(ops.cvd, f"build_{step}").poll()
        with pytest.raises(RuntimeError, match="Solve a clip or import a solve first"):
            getattr(ops.cvd, f"build_{step}")()
    of(scene).solve_folder = str(synthetic.folder)
    assert ops.cvd.build_camera.poll()
    with pytest.raises(RuntimeError, match="Build the camera first"):
        ops.cvd.build_plate()


def test_failed_import_reports_and_makes_nothing(scene: bpy.types.Scene, addon: None, tmp_path: Path) -> None:
    before = census()
    with pytest.raises(RuntimeError, match=r"not a solve folder.*no solve\.json.*Choose the folder"):
        ops.cvd.import_solve(directory=str(tmp_path))
    assert census() == before


def test_unregister_leaves_nothing(scene: bpy.types.Scene) -> None:
    import cvd_blender_addon

    def residue() -> tuple[list[str], int, int]:
        types = sorted(name for name in dir(bpy.types) if name.startswith("CVD_") or "Cvd" in name)
        menu: Any = bpy.types.TOPBAR_MT_file_import
        return types, len(menu._dyn_ui_initialize()), len(bpy.app.handlers.load_post)

    before = residue()
    for _ in range(2):
        cvd_blender_addon.register()
        assert hasattr(bpy.types.Scene, "cvd") and "CVD_OT_solve_depth" in dir(bpy.types)
        cvd_blender_addon.unregister()
        assert residue() == before
        assert not hasattr(bpy.types.Scene, "cvd")
    assert before[0] == []
