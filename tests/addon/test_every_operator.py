"""What holds for every operator, property and class of the add-on, those that will be added included."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import bpy
import pytest
from mathutils import Vector

import cvd_blender_addon
from cvd_blender_addon import camera_bodies, preferences
from cvd_blender_addon.present import manager_of, tracks_of
from cvd_blender_addon.properties import of
from cvd_blender_addon.scene import orientation
from cvd_blender_addon.solve_reader import read
from tests.addon.synthetic import Synthetic
from tests.addon.typed import camera_of, ops, scene_now

FAKE = Path(__file__).parent / "fake_engine"
NOT_RUN = {"install_engine", "check_engine"}  # they make things outside of Blender: test_install_operators
ADDS_EACH_TIME = {"drop_ball"}  # another one is what its user wants
# Of Blender's own keeping, or of the job, which undo does not take back.
PASSING = {"name_full", "session_uid", "tag", "users", "is_updated", "is_updated_data", "original", "is_evaluated"}
PASSING |= {"has_data", "is_dirty", "is_event_handling_break", "use_extra_user"}
PASSING.add("use_nodes")  # to ask for it warns from 5.0 on
TOGGLES = {"show_confidence"}  # the second time hides what the first has shown
OF_CLIPS = {"use_clip", "distance_of_tracks"}
OF_JOBS = ("job_", "mask_frames", "solve_folder")


def operators() -> list[str]:
    return sorted(name for name in dir(ops.cvd) if not name.startswith("_"))


def classes() -> list[type]:
    from cvd_blender_addon import registration

    return list(registration.CLASSES)


def flags(name: str) -> set[str]:
    identifier = getattr(ops.cvd, name).idname()
    cls = next(cls for cls in classes() if getattr(cls, "bl_idname", "") in (f"cvd.{name}", identifier))
    return set(getattr(cls, "bl_options", set()))


@pytest.fixture
def ready(
    scene: bpy.types.Scene,
    addon: None,
    make_solve: Callable[..., Synthetic],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state in which as many operators as possible can run; undo ends there."""
    synthetic = make_solve(unsure=True, doubtful=((1002, 1003, 1003, "right half"),))
    camera_bodies.items(None, None)  # read once, from the real engine
    monkeypatch.setattr(preferences, "engine_root", lambda: FAKE)
    monkeypatch.setattr(preferences, "engine_python", lambda _context: Path(sys.executable))
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    monkeypatch.setenv("FAKE_SOLVE", str(synthetic.folder))
    folder = Path(shutil.copytree(synthetic.folder, tmp_path / "shot.solve"))
    (folder / "request.json").write_text("{}")  # by which the add-on knows a solve folder

    ops.cvd.import_solve(directory=str(folder))
    cvd = of(bpy.context.scene)
    cvd.clip_path = str(synthetic.folder.parent / "plate_1003.png")
    cvd.solve_folder = str(folder)
    cvd.mask_source, cvd.mask_path = "SEQUENCE", cvd.clip_path
    ops.cvd.queue_add()
    for number, place in enumerate(((0.5, -0.5, 0.0), (1.8, -0.5, 0.1), (1.2, 0.5, 0.0)), 1):
        orientation.pick(scene_now(), read(folder), number, Vector(place))
    thing = bpy.data.objects.new("CG", bpy.data.meshes.new("CG"))
    bpy.data.collections["foreground"].objects.link(thing)
    thing.select_set(True)
    hint = cvd.hints.add()
    hint.kind, hint.enabled = "POINT", False
    camera = camera_of(scene_now(), read(folder)).matrix_world
    scene_now().cursor.location = camera @ Vector((0.0, 0.0, -1.0))
    for name in ("one", "two"):
        tracks_of(bpy.data.movieclips[0]).new(name=name, frame=1001).select = True
    bpy.ops.ed.undo_push(message="ready")


def run(name: str) -> set[str]:
    """What the operator answers, with its own undo step; where it refuses, why does not matter here."""
    operator = getattr(ops.cvd, name)
    folder = Path(of(bpy.context.scene).solve_folder)
    asked: dict[str, dict[str, Any]] = {
        "import_solve": {"directory": str(folder)},
        "take_clip": {"filepath": str(Path(of(bpy.context.scene).clip_path).with_name("plate_1002.png"))},
        "render_matte": {"directory": str(folder.parent / "matte"), "only_current": True},
    }
    try:
        with clip_editor() if name in OF_CLIPS else nullcontext():
            return set(operator("EXEC_DEFAULT", True, **asked.get(name, {}))) if operator.poll() else set()
    except RuntimeError:
        return {"CANCELLED"}


@contextmanager
def clip_editor() -> Iterator[None]:
    """A clip editor that shows the plate."""
    window = manager_of(bpy.context).windows[0]
    area = window.screen.areas[0]
    area.type = "CLIP_EDITOR"
    space: Any = area.spaces.active
    space.clip = bpy.data.movieclips[0]
    with bpy.context.temp_override(window=window, area=area):
        yield


def file_data() -> dict[str, dict[str, Any]]:
    """All that is in the file, by its data-blocks: their plain values and what they point to."""
    found: dict[str, dict[str, Any]] = {}
    for kind in bpy.data.bl_rna.properties.keys():  # noqa: SIM118
        blocks = getattr(bpy.data, kind)
        if kind in ("window_managers", "screens", "workspaces", "all_ids") or not hasattr(blocks, "foreach_get"):
            continue
        for block in blocks:
            if getattr(block, "type", "") == "RENDER_RESULT":  # Blender's own, of no file
                continue
            found[f"{kind} {block.name}"] = values(block)
            if kind == "objects":
                found[f"{kind} {block.name}"]["modifiers"] = [m.name for m in block.modifiers]
            if kind == "scenes":
                found[f"{kind} {block.name}"]["cvd"] = values(block.cvd)
                found[f"{kind} {block.name}"]["objects"] = sorted(ob.name for ob in block.objects)
            if kind == "texts":
                found[f"{kind} {block.name}"]["text"] = block.as_string()
    return found


def values(block: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for prop in block.bl_rna.properties:
        name = prop.identifier
        if name in PASSING or name.startswith(OF_JOBS):
            continue
        value = getattr(block, name)
        if prop.type == "POINTER":
            found[name] = getattr(value, "name", None)
        elif prop.type == "COLLECTION":
            found[name] = len(value)
        elif getattr(prop, "is_array", False):
            found[name] = tuple(round(v, 5) if isinstance(v, float) else str(v) for v in value)
        else:
            found[name] = value
    return found


def difference(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """For the message of a test that fails."""
    found: dict[str, Any] = {name: "gone" for name in before.keys() - after.keys()}
    found |= {name: "new" for name in after.keys() - before.keys()}
    for name in before.keys() & after.keys():
        for key, value in before[name].items():
            if after[name].get(key) != value:
                found[f"{name}.{key}"] = (value, after[name].get(key))
    return found


def test_undo_brings_back_what_each_operator_changes(ready: None) -> None:
    ran = set()
    before = file_data()
    for name in operators():
        if name in NOT_RUN:
            continue
        answer = run(name)
        changed = difference(before, file_data())
        if answer == {"FINISHED"}:
            ran.add(name)
        if "UNDO" not in flags(name):
            assert not changed, f"{name} changes the file, but cannot be undone: {changed}"
        elif answer == {"FINISHED"}:
            bpy.ops.ed.undo()
            left = difference(before, file_data())
            assert not left, f"undo after {name} leaves {left}"
        else:
            assert not changed, f"{name} was refused, but has changed {changed}"
    assert {name for name in operators() if "UNDO" in flags(name)} <= ran
    assert {"queue_remove", "deliver", "render_matte", "solve_depth"} <= ran


def test_twice_is_once(ready: None) -> None:
    for name in operators():
        if name in NOT_RUN | ADDS_EACH_TIME | TOGGLES or run(name) != {"FINISHED"}:
            continue
        once = file_data().keys()
        run(name)
        assert file_data().keys() == once, f"{name} makes something anew when it runs again"


def test_what_was_renamed_is_still_found(ready: None) -> None:
    kinds = ("objects", "collections", "meshes", "materials", "node_groups", "images", "movieclips", "actions")
    for kind in kinds:
        for number, block in enumerate(getattr(bpy.data, kind)):
            block.name = f"mine {kind} {number}"
    names = file_data().keys()
    for name in ("import_solve", *(name for name in operators() if name.startswith("build_"))):
        if run(name) == {"FINISHED"}:
            made = {made for made in file_data().keys() - names if made.split()[0] in kinds}
            assert not made, f"{name} does not find what was renamed: {made}"


@pytest.mark.every_blender
def test_every_grey_button_says_why(scene: bpy.types.Scene, addon: None) -> None:
    grey = [name for name in operators() if not getattr(ops.cvd, name).poll()]
    assert {"solve_depth", "queue_remove", "show_log", "build_camera"} <= set(grey)
    for name in grey:
        with pytest.raises(RuntimeError) as refused:
            getattr(ops.cvd, name)()
        assert "context is incorrect" not in str(refused.value), f"{name} does not say why it is disabled"


@pytest.mark.every_blender
def test_everything_has_a_tooltip(addon: None) -> None:
    for name in operators():
        rna = getattr(ops.cvd, name).get_rna_type()
        assert rna.description and rna.name, name
        for prop in rna.properties:
            if not (prop.is_hidden or prop.identifier == "rna_type"):
                assert prop.description, f"{name}.{prop.identifier}"
    for cls in classes():
        if issubclass(cls, bpy.types.PropertyGroup | bpy.types.AddonPreferences):
            properties: Any = cls.bl_rna.properties
            for identifier, prop in properties.items():
                shown = identifier in cls.__annotations__ and not identifier.startswith(
                    ("job_", "built_folder", "solve_key", "plate", "result")
                )
                if shown and identifier != "mask_frames" and prop.type != "COLLECTION":
                    says = prop.description or (prop.type == "ENUM" and all(i.description for i in prop.enum_items))
                    assert says, f"{cls.__name__}.{identifier}"


def registered() -> dict[str, Any]:
    """All that an add-on can leave behind."""
    found: list[Any] = [cls for base in BASES for cls in base.__subclasses__()]
    subclasses = [cls for cls in found if cls.__module__.startswith("cvd_")]
    handlers = {
        name: [f.__name__ for f in getattr(bpy.app.handlers, name)]
        for name in dir(bpy.app.handlers)
        if isinstance(getattr(bpy.app.handlers, name), list)
    }
    return {
        "classes": sorted(cls.__name__ for cls in subclasses if cls.is_registered),
        "operators": operators(),
        "handlers": handlers,
        "scene": sorted(set(dir(bpy.types.Scene))),
        "manager": sorted(set(dir(bpy.types.WindowManager))),
        "menus": {
            name: [getattr(f, "__module__", "") for f in getattr(getattr(bpy.types, name).draw, "_draw_funcs", [])]
            for name in dir(bpy.types)
            if "_MT_" in name and hasattr(getattr(bpy.types, name), "draw")
        },
    }


BASES = (
    bpy.types.Operator,
    bpy.types.Panel,
    bpy.types.UIList,
    bpy.types.PropertyGroup,
    bpy.types.AddonPreferences,
    bpy.types.FileHandler,
)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from cvd_blender_addon import own_files

    monkeypatch.setattr(own_files, "folder", lambda: tmp_path)
    yield


@pytest.mark.every_blender
def test_unregistering_leaves_nothing_behind(scene: bpy.types.Scene, own_folder: None) -> None:
    before = registered()
    assert before["operators"] == []
    for _ in range(2):
        cvd_blender_addon.register()
        during = registered()
        assert during["operators"] and during["menus"] != before["menus"] and during["manager"] != before["manager"]
        cvd_blender_addon.unregister()
        assert registered() == before
