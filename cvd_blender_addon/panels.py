# SPDX-License-Identifier: GPL-3.0-or-later
"""The panels, in working order, in the sidebars of the 3-D viewport and of the clip editor."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bpy

from . import (
    camera_bodies,
    compat,
    forecast,
    hints,
    installer,
    jobs,
    plate_watch,
    preferences,
    properties,
    thumbnails,
)
from .operators import install
from .present import present, scene_of
from .scene import depth_mesh, doubt, occlusion, orientation, owned

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import IconItems

CHARACTER = 5.8  # width of an average one, in pixels of an interface that is not scaled
MARGINS, ICON, UNSEEN = 56, 24, 312  # of the sidebar and an icon; and a sidebar that nobody sees
RUNS = 5  # of doubtful frames that have a button
PRESETS = ("preview", "standard", "best")
STAGES = {
    "footage": "Frames",
    "masks": "Masks",
    "poses": "Camera",
    "flow": "Motion between frames",
    "motion": "What moves by itself",
    "prior": "First guess of depth",
    "scale": "Scale",
    "evidence": "Depth, measured",
    "depth": "Depth, complete",
    "hints": "Depth hints",
    "export": "Files",
}
PARTS = (("camera", "plate", "points"), ("depth_mesh", "fused", "compositor"))
QUEUE_ICONS: dict[str, IconItems] = {
    "waiting": "TIME",
    "running": "PLAY",
    "done": "CHECKMARK",
    "failed": "ERROR",
    "stopped": "PAUSE",
    "cancelled": "CANCEL",
}


def draw_import_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    """Entry of File > Import."""
    present(menu.layout, "layout").operator("cvd.import_solve", text="Consistent Video Depth (solve.json)")


def _text(layout: bpy.types.UILayout, text: str, icon: IconItems = "NONE") -> None:
    """Text of any length, wrapped to what the sidebar shows."""
    region = bpy.context.region
    width = region.width / present(bpy.context.preferences, "preferences").system.ui_scale if region else UNSEEN
    room = width - MARGINS - (ICON if icon != "NONE" else 0)
    column = layout.column(align=True)
    for number, line in enumerate(textwrap.wrap(text, max(int(room / CHARACTER), 12))):
        column.label(text=line, icon=icon if number == 0 else "BLANK1" if icon != "NONE" else "NONE")


def _switch(layout: bpy.types.UILayout, cvd: properties.CvdProperties, name: str) -> None:
    """A switch whose name needs the whole width."""
    row = layout.row()
    row.use_property_split = False
    row.prop(cvd, name)


def _in_clip_editor(context: bpy.types.Context) -> bool:
    return context.space_data is not None and context.space_data.type == "CLIP_EDITOR"


def _clip(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    layout.prop(properties.of(context.scene), "clip_path", text="")
    if _in_clip_editor(context):
        layout.operator("cvd.use_clip")


def _range(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = properties.of(context.scene)
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
    cvd = properties.of(context.scene)
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
    _switch(layout, cvd, "use_tracks")


def _lens(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = properties.of(context.scene)
    if cvd.camera_source in ("SCENE", "colmap"):
        _text(layout, "The lens comes with the camera")
        return
    layout.prop(cvd, "lens")
    if cvd.lens == "MM":
        layout.prop(cvd, "focal_mm")
        layout.prop(cvd, "sensor_width")
    elif cvd.lens == "BODY":
        layout.prop(cvd, "body")
        if camera_bodies.has_sensor(cvd.body):
            layout.prop(cvd, "focal_mm")
    elif cvd.lens == "PX":
        layout.prop(cvd, "focal_px")
    for known, name in (("use_pixel_aspect", "pixel_aspect"), ("use_principal", "principal")):
        _switch(layout, cvd, known)
        if getattr(cvd, known):
            layout.prop(cvd, name)
    layout.operator("cvd.lens_from_clip")


def _size(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = properties.of(context.scene)
    if cvd.camera_source not in jobs.SOLVED:
        _text(layout, "A given camera has a size of its own")
        return
    layout.prop(cvd, "camera_height")
    layout.prop(cvd, "distance")
    if cvd.distance > 0.0:
        layout.prop(cvd, "distance_a")
        layout.prop(cvd, "distance_b")
        if _in_clip_editor(context):
            layout.operator("cvd.distance_of_tracks")
        else:
            _text(layout, "Select two tracks in the clip editor, and press the button in its sidebar")


def _masks(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = properties.of(context.scene)
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


def _licence_switch(layout: bpy.types.UILayout, cvd: properties.CvdProperties) -> None:
    _switch(layout, cvd, "allow_non_commercial")
    if cvd.allow_non_commercial:
        _text(layout, "The licence of such weights excludes paid work; the result names it", "ERROR")


def _prior(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = properties.of(context.scene)
    layout.prop(cvd, "prior")
    if cvd.prior == "transformers":
        layout.prop(cvd, "prior_model")
    elif cvd.prior == "maps":
        layout.prop(cvd, "prior_maps")
        layout.prop(cvd, "maps")
    if cvd.prior in ("auto", "transformers"):
        _licence_switch(layout, cvd)


def _solve(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = properties.of(context.scene)
    if cvd.job_running:
        _running(layout, cvd)
        return
    if preferences.engine_python(context) is None:
        draw_engine(layout, context)
    row = layout.row(align=True)
    row.use_property_split = False
    for preset in PRESETS:
        row.prop_enum(cvd, "preset", preset)
    _takes(layout, scene_of(context))
    row = layout.row()
    row.scale_y = 1.5
    row.operator("cvd.solve_depth", icon="PLAY")
    layout.operator("cvd.queue_add", icon="ADD")
    if cvd.job_error:
        _text(layout, cvd.job_error, "ERROR")
        if cvd.job_in_the_way:
            row = layout.row(align=True)
            row.operator("cvd.attach_solve", icon="LINKED")
            row.operator("cvd.attach_solve", text="Cancel It", icon="CANCEL").cancel = True
        _log_buttons(layout, cvd.job_in_the_way)
    elif cvd.job_state == "cancelled":
        _text(layout, "Cancelled. Solving again goes on from there.", "INFO")
    elif cvd.job_state == "stopped":
        _text(layout, "Solved in part, as was asked. Solve Depth resumes.", "INFO")
    column = layout.column()
    column.prop(cvd, "solve_folder", text="Folder")
    column.prop(cvd, "import_when_done")


def draw_engine(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Whether there is an engine and what is wrong with it; Install, or its progress. Also in the preferences."""
    status = install.status()
    if status is not None and install.running():
        layout.progress(factor=status.fraction, type="BAR", text=f"{status.fraction:.0%}")
        left = "" if status.eta_s is None else f" · {jobs.duration(status.eta_s)} left"
        _text(layout, status.message + left)
        layout.operator("cvd.cancel_install", icon="CANCEL")
        return
    folder, python = preferences.engine_folder(), preferences.engine_python(context)
    text = "Install Engine"
    if python is None:
        _text(layout, "The engine, which solves, is not installed yet.", "INFO")
        if not bpy.app.online_access:
            _text(layout, "To install it, switch on Preferences > System > Allow Online Access.", "BLANK1")
    elif installer.outdated(folder, preferences.engine_root()) and python == installer.installed(folder):
        _text(layout, "The engine was installed by another version of this add-on.", "ERROR")
        text = "Update Engine"
    elif installer.checked(folder) == python:
        if installer.summary(folder):
            _text(layout, installer.summary(folder), "CHECKMARK")
        for found, fix in installer.problems(folder):
            _text(layout, f"{found}. {fix}", "ERROR")
    if installer.installed(folder) not in (None, python):
        _text(
            layout,
            "The Engine Python of the preferences is used, not the installed one. Empty it to change that.",
            "INFO",
        )
    row = layout.row()
    row.operator("cvd.install_engine", text=text, icon="IMPORT")
    if python is not None:
        row.operator("cvd.check_engine", icon="VIEWZOOM")
    if install.error_text():
        _text(layout, install.error_text(), "ERROR")
    elif status is not None and status.state == "cancelled":
        _text(layout, "Cancelled. What was downloaded is kept.", "INFO")


def _takes(layout: bpy.types.UILayout, scene: bpy.types.Scene) -> None:
    """What the solve will take, before it is started."""
    expected = forecast.forecast(scene)
    if expected is None:
        return
    column = layout.column(align=True)
    if expected.takes:
        _text(column, f"{expected.frames} frames. {expected.takes}", "TIME")
        _text(column, f"({expected.known_from})", "BLANK1")
    if expected.problem:
        _text(column, expected.problem, "ERROR")


def _running(layout: bpy.types.UILayout, cvd: properties.CvdProperties) -> None:
    """Progress of each stage, and Cancel in the button's place."""
    layout.progress(factor=cvd.job_fraction, type="BAR", text=f"{cvd.job_fraction:.0%}")
    _text(layout, cvd.job_message)
    row = layout.row()
    row.scale_y = 1.5
    row.operator("cvd.cancel_solve", icon="CANCEL")
    if cvd.job_picture:
        layout.template_icon(thumbnails.icon(cvd.job_picture), scale=7.0)
    column = layout.column(align=True)
    for line in cvd.job_stages.splitlines():
        name, state, fraction = line.split()
        label = STAGES.get(name, name)
        if state == "running":
            column.progress(factor=float(fraction), type="BAR", text=label)
        else:
            column.label(text=label, icon="CHECKMARK" if state == "done" else "REMOVE")
    _log_buttons(layout)


def _log_buttons(layout: bpy.types.UILayout, folder: str = "") -> None:
    row = layout.row(align=True)
    buttons: tuple[tuple[str, IconItems], ...] = (("cvd.show_log", "TEXT"), ("cvd.open_folder", "FILE_FOLDER"))
    for operator, icon in buttons:
        row.operator(operator, icon=icon).folder = folder


class CVD_UL_queue(bpy.types.UIList):
    """The queue: a shot a line."""

    bl_idname = "CVD_UL_queue"

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: object,
        item: Any,
        icon: int | None,
        active_data: object,
        active_property: str | None,
        index: int | None = 0,
        flt_flag: int | None = 0,
    ) -> None:
        """Name and state of a shot."""
        shot: properties.CvdQueuedShot = item
        row = layout.row()
        row.label(text=shot.name, icon=QUEUE_ICONS.get(shot.state, "QUESTION"))
        if shot.state == "running":
            row.progress(factor=shot.fraction, type="BAR", text=f"{shot.fraction:.0%}")
        else:
            row.label(text=shot.state)


def _queue(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    queue = properties.queue_of(context)
    row = layout.row()
    row.template_list(CVD_UL_queue.bl_idname, "", queue, "shots", queue, "index", rows=3)
    column = row.column(align=True)
    column.operator("cvd.queue_add", text="", icon="ADD")
    column.operator("cvd.queue_remove", text="", icon="REMOVE")
    moves: tuple[tuple[str, IconItems], ...] = (("UP", "TRIA_UP"), ("DOWN", "TRIA_DOWN"))
    for direction, icon in moves:
        column.operator("cvd.queue_move", text="", icon=icon).direction = direction
    if queue.active:
        layout.operator("cvd.queue_stop", icon="CANCEL")
    else:
        layout.operator("cvd.queue_start", icon="PLAY")
    if not 0 <= queue.index < len(queue.shots):
        return
    shot = queue.shots[queue.index]
    if shot.message:
        _text(layout, shot.message, "ERROR" if shot.state == "failed" else "NONE")
    if shot.state == "done":
        _import_known(layout, "Import This Shot", shot.folder)
    if shot.state in jobs.FINAL_STATES:
        layout.operator("cvd.queue_again", icon="FILE_REFRESH")
    _log_buttons(layout, shot.folder)


def _import_known(layout: bpy.types.UILayout, text: str, folder: str) -> None:
    """Which folder is known: the file browser takes no part."""
    layout.operator_context = "EXEC_DEFAULT"
    layout.operator("cvd.import_solve", text=text, icon="IMPORT").directory = folder
    layout.operator_context = "INVOKE_DEFAULT"


def _result(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    layout.operator("cvd.import_solve", icon="IMPORT")
    without_plate = plate_watch.words(scene_of(context))
    if without_plate:
        _text(layout, without_plate, "ERROR")
        _import_known(layout, "Build Again", properties.of(context.scene).built_folder)
    for line in properties.of(context.scene).result.splitlines():
        _text(layout, line)
    _doubtful(layout, context)


def _doubtful(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The frames whose depth is doubtful, worst first: each button goes to the worst frame of its run."""
    scene, cvd = scene_of(context), properties.of(context.scene)
    runs = [line.partition(" ") for line in cvd.result_doubtful.splitlines()]
    if runs:
        layout.label(text="Doubtful depth, worst first:")
        column = layout.column(align=True)
        for worst, _, text in runs[:RUNS]:
            column.operator("cvd.go_to_frame", text=text, icon="ERROR").frame = int(worst)
        if len(runs) > RUNS:
            _text(layout, f"And {len(runs) - RUNS} more, marked in the timeline")
    if cvd.solve_key:
        shown = doubt.find_overlay(scene, cvd.solve_key) is not None
        layout.operator("cvd.show_confidence", icon="OVERLAY", depress=shown)


class CVD_UL_hints(bpy.types.UIList):
    """The depth hints: one a line."""

    bl_idname = "CVD_UL_hints"

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: object,
        item: Any,
        icon: int | None,
        active_data: object,
        active_property: str | None,
        index: int | None = 0,
        flt_flag: int | None = 0,
    ) -> None:
        """Whether it counts, and its name."""
        row = layout.row(align=True)
        row.prop(item, "enabled", text="")
        row.prop(item, "name", text="", emboss=False)


def _hints(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = properties.of(context.scene)
    row = layout.row()
    row.template_list(CVD_UL_hints.bl_idname, "", cvd, "hints", cvd, "hint", rows=3)
    column = row.column(align=True)
    column.operator("cvd.hint_add", text="", icon="ADD")
    column.operator("cvd.hint_remove", text="", icon="REMOVE")
    hint = hints.active(cvd)
    if hint is None:
        _text(layout, "Draw a mask around what has the wrong depth, then add a hint", "INFO")
        return
    layout.prop(hint, "mask")
    layout.prop(cvd, "mask_clip")
    layout.prop(hint, "use_range")
    if hint.use_range:
        row = layout.row(align=True)
        row.prop(hint, "first")
        row.prop(hint, "last")
    layout.prop(hint, "kind")
    if hint.kind == hints.DISTANCE:
        layout.prop(hint, "distance")
        layout.operator("cvd.hint_distance")
    else:
        layout.operator("cvd.hint_points")
        count, needed = len(hint.points), hints.NEEDED[hint.kind]
        _text(layout, f"{count} points" if count >= needed else f"{count} of at least {needed} points")
    row = layout.row()
    row.scale_y = 1.5
    row.operator("cvd.solve_depth", text="Solve Again", icon="FILE_REFRESH")


def _orientation(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    layout.label(text="Points on real surfaces:")
    scene, row = scene_of(context), layout.row(align=True)
    for number in range(1, orientation.PICKS + 1):
        picked = orientation.find_pick(scene, properties.of(scene).solve_key, number)
        icon: IconItems = "CHECKMARK" if picked else "EYEDROPPER"
        row.operator("cvd.pick_point", text=f"Pick {number}", icon=icon).number = number
    layout.label(text="Move, turn and scale the scene:")
    column = layout.column(align=True)
    row = column.row(align=True)
    row.operator("cvd.set_ground", text="Ground by 1, 2, 3").by = "PICKS"
    row.operator("cvd.set_ground", text="Estimate Ground").by = "ESTIMATE"
    column.operator("cvd.set_origin", text="Origin at 1")
    row = column.row(align=True)
    for axis in ("X", "Y"):
        row.operator("cvd.set_axis", text=f"{axis} from 1 to 2").axis = axis
    column.operator("cvd.set_size", text="Set Size...")
    column.operator("cvd.reset_orientation")


def _build(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    cvd = properties.of(context.scene)
    row = layout.row()
    row.scale_y = 1.5
    row.operator("cvd.drop_ball", icon="SPHERE")
    layout.prop(cvd, "occlusion")
    layout.prop(cvd, "shadow_catcher")
    for name in ("surface", "reflection", "roughness"):
        row = layout.row()
        row.active = cvd.shadow_catcher and (name != "roughness" or cvd.reflection > 0.0)
        row.prop(cvd, name)
    layout.prop(cvd, "cut_moving")
    if occlusion.engine_changed(scene_of(context)):
        _text(layout, "The render engine was changed: apply Occlusion and Shadows again", "ERROR")
    elif cvd.shadow_catcher and cvd.reflection > 0.0 and compat.uses_eevee(scene_of(context)):
        _text(layout, "EEVEE catches shadows, but no reflections", "INFO")
    layout.operator("cvd.build_occlusion", text="Apply Occlusion and Shadows")
    layout.operator("cvd.render_matte", icon="IMAGE_ALPHA")
    layout.label(text="Make or update:")
    column = layout.column(align=True)
    for steps in PARTS:
        row = column.row(align=True)
        for step in steps:
            row.operator(f"cvd.build_{step}")


def _depth_mesh_of(context: bpy.types.Context) -> bpy.types.Object | None:
    return owned.find(scene_of(context).objects, properties.of(context.scene).solve_key, "depth_mesh")


def _depth_mesh(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The inputs of the modifier themselves: there is no other place for them."""
    ob = _depth_mesh_of(context)
    modifier = compat.geometry_nodes(ob, depth_mesh.MODIFIER) if ob else None
    if modifier is None or not depth_mesh.is_current(modifier.node_group):
        _text(layout, "Press Depth Mesh above to make it or bring it up to date", "INFO")
        return
    for option in depth_mesh.OPTIONS:
        data, name = compat.modifier_input_property(modifier, option.name)
        row = layout.row()
        row.active = option.needs == "" or bool(compat.get_modifier_input(modifier, option.needs))
        row.prop(data, name, text=option.name)


def _deliver(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    delivery = properties.of(context.scene).delivery
    if delivery.running:
        layout.progress(factor=delivery.fraction, type="BAR", text=f"{delivery.fraction:.0%}")
        _text(layout, delivery.message)
        layout.operator("cvd.cancel_delivery", icon="CANCEL")
        return
    layout.use_property_split = False
    for part in ("passes", "files", "cameras"):
        column = layout.column(align=True)
        column.label(text=delivery.bl_rna.properties[part].name)
        column.prop(delivery, part)
    layout.use_property_split = True
    layout.prop(delivery, "folder")
    layout.operator("cvd.deliver", icon="EXPORT")
    if delivery.error:
        _text(layout, delivery.error, "ERROR")
    elif delivery.state == "cancelled":
        _text(layout, "Cancelled. Delivering again goes on from there.", "INFO")
    elif delivery.state == "done":
        _text(layout, f"Delivered to {delivery.at}", "CHECKMARK")
        layout.operator("cvd.open_folder", icon="FILE_FOLDER").folder = delivery.at


SECTIONS = (
    ("clip", "Clip", _clip),
    ("range", "Range and Method", _range),
    ("camera", "Camera", _camera),
    ("lens", "Lens", _lens),
    ("size", "Scene Size", _size),
    ("masks", "Masks", _masks),
    ("prior", "Depth Prior", _prior),
    ("solve", "Solve Depth", _solve),
    ("queue", "Queue", _queue),
    ("result", "Result", _result),
    ("hints", "Depth Hints", _hints),
    ("orientation", "Scene", _orientation),
    ("build", "Build", _build),
    ("depth_mesh", "Depth Mesh", _depth_mesh),
    ("deliver", "Deliver", _deliver),
)

# What few shots need lies in closed panels within the one that all need.
PARENTS = {name: "clip" for name in ("range", "camera", "lens", "size", "masks", "prior")}
PARENTS |= {"queue": "solve", "hints": "result", "depth_mesh": "build"}
CLOSED = ("range", "camera", "lens", "size", "masks", "prior", "hints", "depth_mesh", "deliver")


def _has_queue(context: bpy.types.Context) -> bool:
    return len(properties.queue_of(context).shots) > 0


def _has_hints(context: bpy.types.Context) -> bool:
    cvd = properties.of(context.scene)
    return bool(cvd.solve_key) or len(cvd.hints) > 0


# Nobody needs an empty one.
SHOWN_IF: dict[str, Callable[[bpy.types.Context], bool]] = {
    "queue": _has_queue,
    "hints": _has_hints,
    "depth_mesh": lambda context: _depth_mesh_of(context) is not None,
}


def _panel(space: str, region: str, order: int, identifier: str, label: str, draw: Any) -> type[bpy.types.Panel]:
    """One section as a panel of one editor."""

    def draw_panel(self: bpy.types.Panel, context: bpy.types.Context) -> None:
        layout = present(self.layout, "layout")
        layout.use_property_split = True
        layout.use_property_decorate = False
        draw(layout, context)

    name = f"CVD_PT_{space.lower()}_{identifier}"
    parent, shown_if = PARENTS.get(identifier), SHOWN_IF.get(identifier)
    return type(
        name,
        (bpy.types.Panel,),
        ({"bl_parent_id": f"CVD_PT_{space.lower()}_{parent}"} if parent else {})
        | ({"poll": classmethod(lambda _cls, context: shown_if(context))} if shown_if else {})
        | {
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


class CvdPreferences(preferences.Settings, bpy.types.AddonPreferences):
    """Settings of the add-on."""

    bl_idname = preferences.PACKAGE

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        layout = present(self.layout, "layout")
        draw_engine(layout, context)
        layout.separator()
        layout.prop(self, "engine_python")
        layout.prop(self, "cache_folder")


CLASSES: tuple[type, ...] = (CVD_UL_queue, CVD_UL_hints)
CLASSES += tuple(
    _panel(space, "UI", order, identifier, label, draw)
    for space in ("VIEW_3D", "CLIP_EDITOR")
    for order, (identifier, label, draw) in enumerate(SECTIONS)
)
