"""Every section draws, in every state, with properties and operators that exist."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import bpy
import pytest

from cvd_blender_addon import camera_bodies, forecast, monitor, panels, plate_watch
from cvd_blender_addon.jobs import JobError, StageStatus, Status
from cvd_blender_addon.properties import of, queue_of
from cvd_blender_addon.scene import depth_mesh
from tests.addon.synthetic import Synthetic
from tests.addon.typed import ops, render_with_eevee, scene_now

pytestmark = pytest.mark.every_blender


class Layout:
    """Takes what a panel draws, and insists that it exists."""

    def __init__(self, drawn: list[str]) -> None:
        self.drawn = drawn

    def _part(self, **_options: Any) -> Layout:
        return Layout(self.drawn)

    row = column = box = _part

    def prop(self, data: Any, name: str, **_options: Any) -> None:
        if name.startswith("["):  # a modifier's input, up to 5.1
            assert name[2:-2] in data.keys(), name  # noqa: SIM118
        else:
            assert name in data.bl_rna.properties, name
        of_modifier = name == "value" or name.startswith("[")
        self.drawn.append(_options["text"] if of_modifier else name)

    def prop_enum(self, data: Any, name: str, value: str, **_options: Any) -> None:
        assert data.bl_rna.properties[name].enum_items.get(value), value
        self.drawn.append(f"{name} {value}")

    def operator(self, identifier: str, **_options: Any) -> Any:
        properties = getattr(ops.cvd, identifier.split(".")[1]).get_rna_type().properties  # raises if there is none
        self.drawn.append(identifier)
        return Settings(properties.keys())

    def template_icon(self, icon_value: int, **_options: Any) -> None:
        self.drawn.append("picture")

    def template_list(
        self, kind: str, _id: str, data: Any, name: str, active: Any, index: str, **_options: Any
    ) -> None:
        assert hasattr(bpy.types, kind) and name in data.bl_rna.properties and index in active.bl_rna.properties
        draw: Any = panels.CVD_UL_queue.draw_item  # it is given stand-ins
        for item in getattr(data, name):
            draw(None, None, self, data, item, 0, active, index)

    def label(self, text: str, icon: str = "", **_options: Any) -> None:
        self.drawn.append(f"{text} {icon}" if icon in ("CHECKMARK", "REMOVE") else text)

    def progress(self, factor: float, text: str, **_options: Any) -> None:
        self.drawn.append(f"progress {factor:.1f} {text}")


class Settings:
    """An operator's properties: takes only those that it has."""

    names: list[str]

    def __init__(self, names: list[str]) -> None:
        object.__setattr__(self, "names", names)

    def __setattr__(self, name: str, _value: object) -> None:
        assert name in self.names, name


def panel_of(section: str) -> Any:
    """The class of a section in the 3D view, as Blender knows it."""
    return getattr(bpy.types, f"CVD_PT_view_3d_{section}")


def draw(scene: bpy.types.Scene, space: str) -> list[str]:
    drawn: list[str] = []
    manager = bpy.context.window_manager
    context = SimpleNamespace(
        preferences=bpy.context.preferences, scene=scene, space_data=SimpleNamespace(type=space), window_manager=manager
    )
    sections: Any = panels.SECTIONS  # they are given stand-ins
    for _, _, section in sections:
        section(Layout(drawn), context)
    return drawn


@pytest.mark.parametrize("space", ["VIEW_3D", "CLIP_EDITOR"])
def test_idle(scene: bpy.types.Scene, addon: None, space: str) -> None:
    drawn = draw(scene, space)
    assert "cvd.solve_depth" in drawn and "cvd.cancel_solve" not in drawn
    assert ("cvd.use_clip" in drawn) == (space == "CLIP_EDITOR")


def test_cancel_takes_the_buttons_place(scene: bpy.types.Scene, addon: None) -> None:
    cvd = of(scene)
    cvd.job_running, cvd.job_fraction, cvd.job_message = True, 0.4, "flow: 3 of 9 pairs · 5 min left"
    drawn = draw(scene, "VIEW_3D")
    assert "cvd.cancel_solve" in drawn and "cvd.solve_depth" not in drawn
    assert "progress 0.4 40%" in drawn and cvd.job_message in drawn


def test_each_stage_has_a_tick_a_bar_or_a_dash(scene: bpy.types.Scene, addon: None) -> None:
    stages = (("footage", "done", 1.0), ("poses", "running", 0.25), ("depth", "waiting", 0.0))
    status = Status("running", stages=tuple(StageStatus(*stage) for stage in stages))
    monitor.show(scene, status)
    drawn = draw(scene, "VIEW_3D")
    at = drawn.index("Frames CHECKMARK")
    assert drawn[at : at + 3] == ["Frames CHECKMARK", "progress 0.2 Camera", "Depth, complete REMOVE"]
    assert drawn.index("cvd.cancel_solve") < at and "cvd.show_log" in drawn


def test_presets_and_what_they_take_stand_above_the_button(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic
) -> None:
    of(scene).clip_path = str(synthetic.folder.parent / "plate_1001.png")
    forecast.look_at(of(scene).clip_path, of(scene).solve_folder)
    drawn = draw(scene, "VIEW_3D")
    texts = [text for text in drawn if text.startswith("7 frames. About")]
    assert drawn.index("preset preview") < drawn.index(texts[0]) < drawn.index("cvd.solve_depth")


def test_a_failure_offers_the_log(scene: bpy.types.Scene, addon: None) -> None:
    solve = draw(scene, "VIEW_3D")
    assert "cvd.show_log" not in solve
    monitor.show(scene, Status("failed", error=JobError("a.b", "No camera.", "A tripod shot.", "Move it.")))
    drawn = draw(scene, "VIEW_3D")
    assert {"cvd.show_log", "cvd.open_folder", "cvd.solve_depth"} <= set(drawn)


def test_the_queue_shows_each_shot_and_what_can_be_done(scene: bpy.types.Scene, addon: None) -> None:
    queue = queue_of(bpy.context)
    for state in ("waiting", "running", "done", "failed", "cancelled"):
        item = queue.shots.add()
        item.name, item.state, item.message, item.fraction = f"shot {state}", state, f"about {state}", 0.5
    queue.active = True
    offered = {}
    for index, item in enumerate(queue.shots):
        queue.index = index
        drawn = draw(scene, "VIEW_3D")
        assert f"about {item.state}" in " ".join(drawn)
        assert {"cvd.queue_stop", "cvd.queue_move", "progress 0.5 50%"} <= set(drawn)
        offered[item.state] = {"cvd.queue_again"} & set(drawn)
    again = {"cvd.queue_again"}
    assert offered == {"waiting": set(), "running": set(), "done": again, "failed": again, "cancelled": again}
    queue.active = False
    assert "cvd.queue_start" in draw(scene, "VIEW_3D")


def test_settings_lie_in_closed_panels_within_the_clip(addon: None) -> None:
    top = [name for name, _, _ in panels.SECTIONS if name not in panels.PARENTS]
    assert top[:2] == ["clip", "solve"]
    classes: list[Any] = [cls for cls in panels.CLASSES if issubclass(cls, bpy.types.Panel)]
    for cls in classes:
        within = getattr(cls, "bl_parent_id", "")
        assert "DEFAULT_CLOSED" in cls.bl_options or not within.endswith("_clip")
        assert not within or hasattr(bpy.types, within)


def test_an_empty_queue_is_not_shown(scene: bpy.types.Scene, addon: None) -> None:
    queue = panel_of("queue")
    assert not queue.poll(bpy.context)
    queue_of(bpy.context).shots.add()
    assert queue.poll(bpy.context) and "DEFAULT_CLOSED" not in queue.bl_options


def test_options_of_the_depth_mesh_are_shown_once_it_is_there(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic
) -> None:
    panel = panel_of("depth_mesh")
    options = [option.name for option in depth_mesh.OPTIONS]
    assert not panel.poll(bpy.context) and not set(options) & set(draw(scene, "VIEW_3D"))
    ops.cvd.import_solve(directory=str(synthetic.folder))
    assert panel.poll(bpy.context)
    assert [name for name in draw(scene_now(), "VIEW_3D") if name in options] == options
    depth_mesh.node_group()["cvd_version"] = 3
    drawn = draw(scene_now(), "VIEW_3D")
    assert not set(options) & set(drawn) and "bring it up to date" in " ".join(drawn)


def test_a_missing_plate_is_told_with_a_button(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops.cvd.import_solve(directory=str(synthetic.folder))
    imports = draw(scene_now(), "VIEW_3D").count("cvd.import_solve")
    monkeypatch.setattr(plate_watch, "words", lambda _scene: "The plate is gone.")
    drawn = draw(scene_now(), "VIEW_3D")
    assert "The plate is gone." in drawn and drawn.count("cvd.import_solve") == imports + 1


def test_error_and_eevee_are_told(scene: bpy.types.Scene, addon: None) -> None:
    cvd = of(scene)
    cvd.job_error, cvd.shadow_catcher = "failed: No camera. A tripod shot. Move it.", True
    cvd.reflection = 0.5
    render_with_eevee(scene)
    text = " ".join(draw(scene, "VIEW_3D"))
    assert "A tripod shot." in text and "no reflections" in text


def test_lens_asks_for_what_is_known(scene: bpy.types.Scene, addon: None) -> None:
    for kept in (camera_bodies._database, camera_bodies._items):  # perhaps those of a stand-in for the engine
        kept.cache_clear()
    asked = {}
    for kind in ("UNKNOWN", "MM", "BODY", "PX"):
        of(scene).lens = kind
        asked[kind] = {name for name in draw(scene, "VIEW_3D") if name.startswith(("focal", "sensor", "body"))}
    wanted = {"UNKNOWN": set(), "MM": {"focal_mm", "sensor_width"}, "BODY": {"body", "focal_mm"}, "PX": {"focal_px"}}
    assert asked == wanted
    of(scene).lens, of(scene).body = "BODY", "iPhone 15 Pro, main lens"
    assert "focal_mm" not in draw(scene, "VIEW_3D")
    of(scene).camera_source = "colmap"
    assert "lens" not in draw(scene, "VIEW_3D")


def test_what_else_is_known_of_the_lens_is_asked_for_when_it_is(scene: bpy.types.Scene, addon: None) -> None:
    among = {"pixel_aspect", "principal"}
    assert among & set(draw(scene, "VIEW_3D")) == set()
    of(scene).use_pixel_aspect = True
    assert among & set(draw(scene, "VIEW_3D")) == {"pixel_aspect"}
    of(scene).use_principal = True
    assert among < set(draw(scene, "VIEW_3D"))
    assert "cvd.lens_from_clip" in draw(scene, "VIEW_3D")


def test_a_known_distance_is_that_of_two_tracks(scene: bpy.types.Scene, addon: None) -> None:
    cvd = of(scene)
    assert "distance" in draw(scene, "CLIP_EDITOR") and "distance_a" not in draw(scene, "CLIP_EDITOR")
    cvd.distance = 2.0
    assert {"distance_a", "distance_b", "cvd.distance_of_tracks"} < set(draw(scene, "CLIP_EDITOR"))
    assert "in the clip editor" in " ".join(draw(scene, "VIEW_3D"))
    cvd.camera_source = "chan"
    assert "distance" not in draw(scene, "CLIP_EDITOR")


def test_each_kind_of_camera_asks_for_its_own(scene: bpy.types.Scene, addon: None) -> None:
    among = {"camera", "camera_folder", "camera_chan", "rotation_order", "film_back", "camera_metric"}
    asked = {}
    for kind in ("solve", "deepv2d", "SCENE", "colmap", "chan"):
        of(scene).camera_source = kind
        asked[kind] = among & set(draw(scene, "VIEW_3D"))
    assert asked == {
        "solve": set(),
        "deepv2d": set(),
        "SCENE": {"camera", "camera_metric"},
        "colmap": {"camera_folder", "camera_metric"},
        "chan": {"camera_chan", "rotation_order", "film_back", "camera_metric"},
    }


def test_each_kind_of_mask_and_prior_asks_for_its_own(scene: bpy.types.Scene, addon: None) -> None:
    cvd = of(scene)

    def asked(name: str, kind: str, among: set[str]) -> set[str]:
        setattr(cvd, name, kind)
        return among & set(draw(scene, "VIEW_3D"))

    masks = {"mask_path", "mask", "mask_clip", "cvd.check_masks"}
    assert asked("mask_source", "NONE", masks) == set()
    assert asked("mask_source", "SEQUENCE", masks) == {"mask_path", "cvd.check_masks"}
    assert asked("mask_source", "BLENDER", masks) == {"mask", "mask_clip", "cvd.check_masks"}
    priors = {"prior_model", "prior_maps", "maps", "allow_non_commercial"}
    assert asked("prior", "builtin", priors) == asked("prior", "none", priors) == set()
    assert asked("prior", "transformers", priors) == {"prior_model", "allow_non_commercial"}
    assert asked("prior", "maps", priors) == {"prior_maps", "maps"}
    stereo = {"right_path", "baseline"}
    assert asked("stereo", "none", stereo) == set()
    assert asked("stereo", "side_by_side", stereo) == {"baseline"}
    assert asked("stereo", "two_files", stereo) == {"right_path", "baseline"}


def test_non_commercial_weights_and_masked_frames_are_told(scene: bpy.types.Scene, addon: None) -> None:
    cvd = of(scene)
    assert "excludes paid work" not in " ".join(draw(scene, "VIEW_3D"))
    cvd.allow_non_commercial, cvd.mask_source = True, "BLENDER"
    cvd.mask_frames = "Masked: 2 of 8 frames (1001-1002)"
    text = " ".join(draw(scene, "VIEW_3D"))
    assert "excludes paid work" in text and cvd.mask_frames in text
    cvd.first = 1002  # what was found does not hold any more
    assert cvd.mask_frames == ""
