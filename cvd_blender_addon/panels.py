# SPDX-License-Identifier: GPL-3.0-or-later
"""The panels, in working order, in the sidebars of the 3-D viewport and of the clip editor."""

from __future__ import annotations

import textwrap
from typing import Any

import bpy

from . import cameras, compat, jobs

CHARACTER = 6.3  # width of an average one, in pixels of an interface that is not scaled
MARGINS, ICON, UNSEEN = 56, 24, 336  # of the sidebar and an icon; and a sidebar that nobody sees


def draw_import_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    """Entry of File > Import."""
    menu.layout.operator("cvd.import_solve", text="Consistent Video Depth (solve.json)")


def _text(layout: bpy.types.UILayout, text: str, icon: str = "NONE") -> None:
    """Text of any length, wrapped to what the sidebar shows."""
    region = bpy.context.region
    width = region.width / bpy.context.preferences.system.ui_scale if region else UNSEEN
    room = width - MARGINS - (ICON if icon != "NONE" else 0)
    column = layout.column(align=True)
    for number, line in enumerate(textwrap.wrap(text, max(int(room / CHARACTER), 12))):
        column.label(text=line, icon=icon if number == 0 else "BLANK1" if icon != "NONE" else "NONE")


def _clip(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    layout.prop(context.scene.cvd, "clip_path", text="")
    if context.space_data.type == "CLIP_EDITOR":
        layout.operator("cvd.use_clip")


def _range(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = context.scene.cvd
    layout.prop(cvd, "use_range")
    row = layout.row(align=True)
    row.active = cvd.use_range
    row.prop(cvd, "first")
    row.prop(cvd, "last")
    layout.prop(cvd, "step")
    layout.prop(cvd, "preset")
    layout.prop(cvd, "method")
    layout.prop(cvd, "stereo")
    if cvd.stereo == "two_files":
        layout.prop(cvd, "right_path")
    if cvd.stereo != "none":
        layout.prop(cvd, "baseline")


def _camera(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = context.scene.cvd
    layout.prop(cvd, "camera_source")
    if cvd.camera_source == "SCENE":
        layout.prop(cvd, "camera")
    elif cvd.camera_source == "colmap":
        layout.prop(cvd, "camera_folder")
    elif cvd.camera_source == "chan":
        layout.prop(cvd, "camera_chan")
        layout.prop(cvd, "rotation_order")
        layout.prop(cvd, "film_back")
    if cvd.camera_source not in jobs.SOLVED:
        layout.prop(cvd, "camera_metric")
    layout.prop(cvd, "use_tracks")


def _lens(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = context.scene.cvd
    if cvd.camera_source in ("SCENE", "colmap"):
        _text(layout, "The lens comes with the camera")
        return
    layout.prop(cvd, "lens")
    if cvd.lens == "MM":
        layout.prop(cvd, "focal_mm")
        layout.prop(cvd, "sensor_width")
    elif cvd.lens == "BODY":
        layout.prop(cvd, "body")
        if cameras.has_sensor(cvd.body):
            layout.prop(cvd, "focal_mm")
    elif cvd.lens == "PX":
        layout.prop(cvd, "focal_px")
    for known, name in (("use_pixel_aspect", "pixel_aspect"), ("use_principal", "principal")):
        layout.prop(cvd, known)
        if getattr(cvd, known):
            layout.prop(cvd, name)
    layout.operator("cvd.lens_from_clip")


def _size(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = context.scene.cvd
    if cvd.camera_source not in jobs.SOLVED:
        _text(layout, "A given camera has a size of its own")
        return
    layout.prop(cvd, "camera_height")
    layout.prop(cvd, "distance")
    if cvd.distance > 0.0:
        layout.prop(cvd, "distance_a")
        layout.prop(cvd, "distance_b")
        if context.space_data.type == "CLIP_EDITOR":
            layout.operator("cvd.distance_of_tracks")
        else:
            _text(layout, "Select two tracks in the clip editor, and press the button in its sidebar")


def _masks(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = context.scene.cvd
    layout.prop(cvd, "mask_source")
    if cvd.mask_source == "SEQUENCE":
        layout.prop(cvd, "mask_path")
    elif cvd.mask_source == "BLENDER":
        layout.prop(cvd, "mask")
        layout.prop(cvd, "mask_clip")
    if cvd.mask_source != "NONE":
        layout.operator("cvd.check_masks")
        _text(layout, cvd.mask_frames)
    layout.prop(cvd, "find_motion")
    layout.prop(cvd, "segmentation")
    if cvd.segmentation:
        _licence_switch(layout, cvd)


def _licence_switch(layout: bpy.types.UILayout, cvd: bpy.types.PropertyGroup) -> None:
    layout.prop(cvd, "allow_non_commercial")
    if cvd.allow_non_commercial:
        _text(layout, "The licence of such weights excludes paid work; the result names it", "ERROR")


def _prior(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = context.scene.cvd
    layout.prop(cvd, "prior")
    if cvd.prior == "transformers":
        layout.prop(cvd, "prior_model")
    elif cvd.prior == "maps":
        layout.prop(cvd, "prior_maps")
        layout.prop(cvd, "maps")
    if cvd.prior in ("auto", "transformers"):
        _licence_switch(layout, cvd)


def _solve(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = context.scene.cvd
    column = layout.column()
    column.enabled = not cvd.job_running
    column.prop(cvd, "solve_folder", text="Folder")
    column.prop(cvd, "import_when_done")
    if cvd.job_running:
        layout.progress(factor=cvd.job_fraction, type="BAR", text=f"{cvd.job_fraction:.0%}")
        _text(layout, cvd.job_message)
        layout.operator("cvd.cancel_solve", icon="CANCEL")
        return
    row = layout.row()
    row.scale_y = 1.5
    row.operator("cvd.solve_depth", icon="PLAY")
    if cvd.job_error:
        _text(layout, cvd.job_error, "ERROR")
    elif cvd.job_state == "cancelled":
        _text(layout, "Cancelled. Solving again goes on from there.", "INFO")


def _result(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    layout.operator("cvd.import_solve", icon="IMPORT")
    for line in context.scene.cvd.result.splitlines():
        _text(layout, line)


def _build(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = context.scene.cvd
    column = layout.column(align=True)
    for step in ("camera", "plate", "points", "depth_mesh"):
        column.operator(f"cvd.build_{step}")
    layout.prop(cvd, "occlusion")
    layout.prop(cvd, "shadow_catcher")
    layout.prop(cvd, "cut_moving")
    if cvd.shadow_catcher and compat.uses_eevee(context.scene):
        _text(layout, "EEVEE cannot catch shadows: render with Cycles", "ERROR")
    column = layout.column(align=True)
    for step in ("occlusion", "compositor"):
        column.operator(f"cvd.build_{step}")


SECTIONS = (
    ("clip", "Clip", _clip),
    ("range", "Range and Quality", _range),
    ("camera", "Camera", _camera),
    ("lens", "Lens", _lens),
    ("size", "Scene Size", _size),
    ("masks", "Masks", _masks),
    ("prior", "Depth Prior", _prior),
    ("solve", "Solve Depth", _solve),
    ("result", "Result", _result),
    ("build", "Build", _build),
)

CLOSED = ("range", "camera", "lens", "size", "masks", "prior")


def _panel(space: str, region: str, order: int, identifier: str, label: str, draw: Any) -> type[bpy.types.Panel]:
    """One section as a panel of one editor."""

    def draw_panel(self: bpy.types.Panel, context: bpy.types.Context) -> None:
        self.layout.use_property_split = True
        self.layout.use_property_decorate = False
        draw(self.layout, context)

    name = f"CVD_PT_{space.lower()}_{identifier}"
    return type(
        name,
        (bpy.types.Panel,),
        {
            "bl_idname": name,
            "bl_label": label,
            "bl_space_type": space,
            "bl_region_type": region,
            "bl_category": "Depth",
            "bl_order": order,
            "bl_options": {"DEFAULT_CLOSED"} if identifier in CLOSED else set(),
            "draw": draw_panel,
        },
    )


CLASSES = tuple(
    _panel(space, "UI", order, identifier, label, draw)
    for space in ("VIEW_3D", "CLIP_EDITOR")
    for order, (identifier, label, draw) in enumerate(SECTIONS)
)
