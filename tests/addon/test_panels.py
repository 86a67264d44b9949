"""Every section draws, in every state, with properties and operators that exist."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import bpy
import pytest

from cvd_blender_addon import panels


class Layout:
    """Takes what a panel draws, and insists that it exists."""

    def __init__(self, drawn: list[str]) -> None:
        self.drawn = drawn

    def _part(self, **_options: Any) -> Layout:
        return Layout(self.drawn)

    row = column = _part

    def prop(self, data: Any, name: str, **_options: Any) -> None:
        assert name in data.bl_rna.properties, name
        self.drawn.append(name)

    def operator(self, identifier: str, **_options: Any) -> None:
        getattr(bpy.ops.cvd, identifier.split(".")[1]).get_rna_type()  # raises where there is none
        self.drawn.append(identifier)

    def label(self, text: str, **_options: Any) -> None:
        self.drawn.append(text)

    def progress(self, factor: float, **_options: Any) -> None:
        self.drawn.append(f"progress {factor:.1f}")


def draw(scene: bpy.types.Scene, space: str) -> list[str]:
    drawn: list[str] = []
    context = SimpleNamespace(scene=scene, space_data=SimpleNamespace(type=space))
    for _, _, section in panels.SECTIONS:
        section(Layout(drawn), context)
    return drawn


@pytest.mark.parametrize("space", ["VIEW_3D", "CLIP_EDITOR"])
def test_idle(scene: bpy.types.Scene, addon: None, space: str) -> None:
    drawn = draw(scene, space)
    assert "cvd.solve_depth" in drawn and "cvd.cancel_solve" not in drawn
    assert ("cvd.use_clip" in drawn) == (space == "CLIP_EDITOR")


def test_cancel_takes_the_buttons_place(scene: bpy.types.Scene, addon: None) -> None:
    cvd = scene.cvd
    cvd.job_running, cvd.job_fraction, cvd.job_message = True, 0.4, "flow: 3 of 9 pairs · 5 min left"
    drawn = draw(scene, "VIEW_3D")
    assert "cvd.cancel_solve" in drawn and "cvd.solve_depth" not in drawn
    assert "progress 0.4" in drawn and cvd.job_message in drawn


def test_error_and_eevee_are_told(scene: bpy.types.Scene, addon: None) -> None:
    cvd = scene.cvd
    cvd.job_error, cvd.shadow_catcher = "failed: No camera. A tripod shot. Move it.", True
    scene.render.engine = "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"
    text = " ".join(draw(scene, "VIEW_3D"))
    assert "A tripod shot." in text and "EEVEE cannot catch shadows" in text


def test_lens_asks_for_what_is_known(scene: bpy.types.Scene, addon: None) -> None:
    asked = {}
    for kind in ("UNKNOWN", "MM", "BODY", "PX"):
        scene.cvd.lens = kind
        asked[kind] = {name for name in draw(scene, "VIEW_3D") if name.startswith(("focal", "sensor", "body"))}
    wanted = {"UNKNOWN": set(), "MM": {"focal_mm", "sensor_width"}, "BODY": {"body", "focal_mm"}, "PX": {"focal_px"}}
    assert asked == wanted
    scene.cvd.lens, scene.cvd.body = "BODY", "iPhone 15 Pro, main lens"
    assert "focal_mm" not in draw(scene, "VIEW_3D")
    scene.cvd.camera_source = "colmap"
    assert "lens" not in draw(scene, "VIEW_3D")


def test_what_else_is_known_of_the_lens_is_asked_for_when_it_is(scene: bpy.types.Scene, addon: None) -> None:
    among = {"pixel_aspect", "principal"}
    assert among & set(draw(scene, "VIEW_3D")) == set()
    scene.cvd.use_pixel_aspect = True
    assert among & set(draw(scene, "VIEW_3D")) == {"pixel_aspect"}
    scene.cvd.use_principal = True
    assert among < set(draw(scene, "VIEW_3D"))
    assert "cvd.lens_from_clip" in draw(scene, "VIEW_3D")


def test_a_known_distance_is_that_of_two_tracks(scene: bpy.types.Scene, addon: None) -> None:
    cvd = scene.cvd
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
        scene.cvd.camera_source = kind
        asked[kind] = among & set(draw(scene, "VIEW_3D"))
    assert asked == {
        "solve": set(),
        "deepv2d": set(),
        "SCENE": {"camera", "camera_metric"},
        "colmap": {"camera_folder", "camera_metric"},
        "chan": {"camera_chan", "rotation_order", "film_back", "camera_metric"},
    }


def test_each_kind_of_mask_and_prior_asks_for_its_own(scene: bpy.types.Scene, addon: None) -> None:
    cvd = scene.cvd

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
    cvd = scene.cvd
    assert "excludes paid work" not in " ".join(draw(scene, "VIEW_3D"))
    cvd.allow_non_commercial, cvd.mask_source = True, "BLENDER"
    cvd.mask_frames = "Masked: 2 of 8 frames (1001-1002)"
    text = " ".join(draw(scene, "VIEW_3D"))
    assert "excludes paid work" in text and cvd.mask_frames in text
    cvd.first = 1002  # what was found does not hold any more
    assert cvd.mask_frames == ""
