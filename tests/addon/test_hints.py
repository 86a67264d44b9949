"""Depth hints: what the panel takes from the scene, and what the engine is handed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Vector

from cvd_blender_addon import hints, jobs, preferences
from cvd_blender_addon.properties import of
from cvd_blender_addon.solve_reader import Solve, read
from tests.addon.synthetic import Synthetic
from tests.addon.test_masks import SQUARE, pixels, square_mask
from tests.addon.typed import camera_of, ops, root_of, scene_now, the

FAKE = Path(__file__).parent / "fake_engine"


@pytest.fixture
def solved(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Solve]:
    """The synthetic solve, imported; its clip chosen."""
    monkeypatch.setattr(preferences, "engine_root", lambda: FAKE)
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    monkeypatch.setenv("FAKE_SOLVE", str(synthetic.folder))
    folder = Path(shutil.copytree(synthetic.folder, tmp_path / "shot.solve"))
    (folder / "request.json").write_text("{}")
    ops.cvd.import_solve(directory=str(folder))
    of(scene).clip_path = str(synthetic.folder.parent / "plate_1001.png")
    of(scene).solve_folder = str(folder)
    yield read(folder)


def add_hint(kind: str, **settings: Any) -> Any:
    assert ops.cvd.hint_add() == {"FINISHED"}
    hint = the(hints.active(of(scene_now())))
    hint.kind = kind
    for name, value in settings.items():
        setattr(hint, name, value)
    return hint


def empty_at(place: Vector, selected: bool = True) -> bpy.types.Object:
    ob = bpy.data.objects.new("Place", None)
    the(scene_now().collection).objects.link(ob)
    ob.location = place
    ob.select_set(selected)
    scene_now().view_layers[0].update()
    return ob


def solve_again() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The request, and the hints that it names."""
    assert ops.cvd.solve_depth(engine_python=sys.executable) == {"FINISHED"}
    folder = Path(of(scene_now()).solve_folder)
    request = json.loads((folder / "request.json").read_text())
    if request["hints"] is None:
        return request, []
    assert Path(request["hints"]) == folder / "hints.json"
    document = json.loads((folder / "hints.json").read_text())
    assert document["schema"] == "cvd.hints/1"
    return request, document["hints"]


def move_the_solve(solve: Solve) -> Matrix:
    root = root_of(scene_now(), solve)
    root.matrix_world = Matrix.Translation((3, -1, 2)) @ Matrix.Rotation(0.7, 4, "X") @ Matrix.Scale(2.5, 4)
    scene_now().view_layers[0].update()
    return root.matrix_world.copy()


@pytest.mark.every_blender
def test_a_mask_with_a_distance_is_handed_over(solved: Solve) -> None:
    mask = square_mask()
    hint = add_hint("DISTANCE", distance=5.0, use_range=True, first=1002, last=1003)
    assert hint.mask == mask, "the only one there is"
    move_the_solve(solved)
    request, found = solve_again()
    assert [(entry["name"], entry["mask"]) for entry in found] == [("Hint 1", "hints/1")]
    assert found[0]["distance"] == pytest.approx(2.0), "the scene is 2.5 times as large as the solve"
    drawn = Path(request["hints"]).parent / "hints" / "1"
    assert sorted(path.name for path in drawn.iterdir()) == ["001002.png", "001003.png"]
    left, top, right, bottom = SQUARE
    assert (pixels(drawn / "001002.png")[top + 1 : bottom - 1, left + 1 : right - 1] == 255).all()
    hint.enabled = False
    assert solve_again()[1] == []


@pytest.mark.every_blender
def test_a_distance_is_that_of_the_cursor_along_the_axis(solved: Solve) -> None:
    hint = add_hint("DISTANCE")
    move_the_solve(solved)
    scene = scene_now()
    camera = camera_of(scene, solved)
    scene.cursor.location = camera.matrix_world @ Vector((0.7, -0.4, -3.0))
    assert ops.cvd.hint_distance() == {"FINISHED"}
    assert hint.distance == pytest.approx(3.0 * 2.5, rel=1e-5)
    scene.cursor.location = camera.matrix_world @ Vector((0.0, 0.0, 1.0))
    with pytest.raises(RuntimeError, match="behind the camera"):
        ops.cvd.hint_distance()
    assert hint.distance == pytest.approx(7.5, rel=1e-5)


@pytest.mark.every_blender
def test_points_are_taken_in_the_world_of_the_solve(solved: Solve) -> None:
    square_mask()
    add_hint("PLANE")
    moved = move_the_solve(solved)
    bpy.ops.object.select_all(action="DESELECT")
    places = [Vector((0, 0, 0)), Vector((1, 0, 0.1))]
    for place in places:
        empty_at(moved @ place)
    with pytest.raises(RuntimeError, match="2 of at least 3 are selected"):
        ops.cvd.hint_points()
    places.append(Vector((0, 1, 0)))
    empty_at(moved @ places[-1])
    assert ops.cvd.hint_points() == {"FINISHED"}
    (entry,) = solve_again()[1]
    taken = np.array(sorted(entry["plane"]))
    assert np.allclose(taken, sorted([place.x, place.y, place.z] for place in places), atol=1e-5)


def test_vertices_of_the_points_are_taken_in_edit_mode(solved: Solve) -> None:
    square_mask()
    add_hint("POINT")
    scene = scene_now()
    cloud = the(next((ob for ob in scene.objects if ob.get("cvd_role") == "points"), None))
    move_the_solve(solved)
    data: Any = cloud.data
    for vertex in data.vertices:
        vertex.select = vertex.index == 3
    the(scene.view_layers[0].objects).active = cloud
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        assert ops.cvd.hint_points() == {"FINISHED"}
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
    (entry,) = solve_again()[1]
    assert entry["point"] == pytest.approx(list(data.vertices[3].co), abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"kind": "DISTANCE", "mask": None}, "It has no mask"),
        ({"kind": "PLANE"}, "0 of at least 3 points"),
        ({"kind": "POINT"}, "0 of at least 1 points"),
        ({"kind": "DISTANCE", "use_range": True, "first": 5, "last": 6}, "covers nothing on any of its frames"),
    ],
)
def test_a_hint_that_lacks_something_starts_nothing(settings: dict[str, Any], why: str, solved: Solve) -> None:
    square_mask()
    add_hint(**settings)
    with pytest.raises(RuntimeError, match=why):
        ops.cvd.solve_depth(engine_python=sys.executable)


@pytest.mark.every_blender
def test_hints_are_added_removed_and_undone(solved: Solve) -> None:
    bpy.ops.ed.undo_push(message="before")
    for _ in range(3):
        ops.cvd.hint_add("EXEC_DEFAULT", True)
    of(scene_now()).hint = 1
    bpy.ops.ed.undo_push(message="chosen")
    assert [hint.name for hint in of(scene_now()).hints] == ["Hint 1", "Hint 2", "Hint 3"]
    ops.cvd.hint_remove("EXEC_DEFAULT", True)
    assert [hint.name for hint in of(scene_now()).hints] == ["Hint 1", "Hint 3"]
    bpy.ops.ed.undo()
    assert [hint.name for hint in of(scene_now()).hints] == ["Hint 1", "Hint 2", "Hint 3"]
    ops.cvd.hint_remove()
    ops.cvd.hint_add()
    assert len({hint.name for hint in of(scene_now()).hints}) == 3


def test_the_words_of_a_refusal_say_what_to_do(solved: Solve, tmp_path: Path) -> None:
    add_hint("DISTANCE")
    with pytest.raises(jobs.StartError) as raised:
        hints.provide(scene_now(), Path(of(scene_now()).clip_path), tmp_path, lambda _done, _all: None)
    assert raised.value.error.code == "hints.unusable"
    assert "disable it" in raised.value.error.fix
