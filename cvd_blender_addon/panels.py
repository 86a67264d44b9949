# SPDX-License-Identifier: GPL-3.0-or-later
"""The panels, in working order, in the sidebars of the 3-D viewport and of the clip editor."""

from __future__ import annotations

import textwrap
from typing import Any

import bpy

from . import compat

LINE = 44


def draw_import_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    """Entry of File > Import."""
    menu.layout.operator("cvd.import_solve", text="Consistent Video Depth (solve.json)")


def _text(layout: bpy.types.UILayout, text: str, icon: str = "NONE") -> None:
    """Text of any length, wrapped."""
    column = layout.column(align=True)
    for number, line in enumerate(textwrap.wrap(text, LINE)):
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


def _lens(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = context.scene.cvd
    layout.prop(cvd, "lens")
    if cvd.lens == "MM":
        layout.prop(cvd, "focal_mm")
        layout.prop(cvd, "sensor_width")
    elif cvd.lens == "PX":
        layout.prop(cvd, "focal_px")


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
    if cvd.shadow_catcher and compat.uses_eevee(context.scene):
        _text(layout, "EEVEE cannot catch shadows: render with Cycles", "ERROR")
    column = layout.column(align=True)
    for step in ("occlusion", "compositor"):
        column.operator(f"cvd.build_{step}")


SECTIONS = (
    ("clip", "Clip", _clip),
    ("range", "Range and Quality", _range),
    ("lens", "Lens", _lens),
    ("solve", "Solve Depth", _solve),
    ("result", "Result", _result),
    ("build", "Build", _build),
)


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
            "bl_options": {"DEFAULT_CLOSED"} if identifier in ("range", "lens") else set(),
            "draw": draw_panel,
        },
    )


CLASSES = tuple(
    _panel(space, "UI", order, identifier, label, draw)
    for space in ("VIEW_3D", "CLIP_EDITOR")
    for order, (identifier, label, draw) in enumerate(SECTIONS)
)
