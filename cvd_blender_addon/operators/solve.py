# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and cancel a solve, and look at what it is asked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from .. import (
    camera_bodies,
    cameras,
    compat,
    fields,
    forecast,
    hints,
    jobs,
    masks,
    monitor,
    paths,
    preferences,
    properties,
    solve_folders,
    solve_request,
)
from ..mixins import Result
from ..present import manager_of, present, scene_of, tracks_of

WITH_LENS = ("json", "colmap")  # cameras that are given together with their lens


def shown_clip(context: bpy.types.Context) -> bpy.types.MovieClip | None:
    """The clip that the editor at hand shows, if it is a clip editor."""
    clip: bpy.types.MovieClip | None = getattr(context.space_data, "clip", None)
    return clip


class CVD_OT_use_clip(bpy.types.Operator):
    """Take the clip that the clip editor shows"""

    bl_idname = "cvd.use_clip"
    bl_label = "Use This Clip"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where a clip is open."""
        clip = shown_clip(context)
        if clip is None:
            cls.poll_message_set("Open a clip in the clip editor first")
        return clip is not None

    def execute(self, context: bpy.types.Context) -> Result:
        """Take its path, and its frame numbers for masks that are drawn on it."""
        cvd = properties.of(context.scene)
        clip = present(shown_clip(context), "clip")
        cvd.clip_path = clip.filepath
        cvd.mask_clip = clip
        return {"FINISHED"}


class CVD_OT_take_clip(bpy.types.Operator):
    """Take this movie or image sequence as the clip to solve"""

    bl_idname = "cvd.take_clip"
    bl_label = "Solve This Clip"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    filepath = fields.string(
        name="Clip", description="A movie, or any file of an image sequence", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Nothing is running."""
        if properties.of(context.scene).job_running:
            cls.poll_message_set("A solve is running")
        return not properties.of(context.scene).job_running

    def execute(self, context: bpy.types.Context) -> Result:
        """Take its path."""
        if not Path(bpy.path.abspath(self.filepath)).is_file():
            self.report(
                {"ERROR"},
                f"No clip was chosen. There is no file at '{self.filepath}'. Choose a movie or a sequence's picture.",
            )
            return {"CANCELLED"}
        properties.of(context.scene).clip_path = self.filepath
        return {"FINISHED"}


class CVD_FH_clip(bpy.types.FileHandler):
    """Drop a movie, or any file of an image sequence, onto the panels."""

    bl_idname = "CVD_FH_clip"
    bl_label = "Clip to Solve"
    bl_import_operator = CVD_OT_take_clip.bl_idname
    bl_file_extensions = ";".join(sorted(compat.MOVIES | compat.PICTURES))

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Over the sidebar; elsewhere a picture is dropped for other reasons."""
        region = context.region
        return region is not None and region.type == "UI" and str(region.active_panel_category) == "Depth"


class CVD_OT_lens_from_clip(bpy.types.Operator):
    """Take focal length, pixel aspect and optical centre from the clip's camera settings, where they are known"""

    bl_idname = "cvd.lens_from_clip"
    bl_label = "Take from Clip Settings"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """A clip is chosen, and some clip is open."""
        if not properties.of(context.scene).clip_path:
            cls.poll_message_set("Choose a clip first")
        elif not bpy.data.movieclips:
            cls.poll_message_set("Open the clip in the clip editor and set its lens there first")
        else:
            return True
        return False

    def execute(self, context: bpy.types.Context) -> Result:
        """Take them."""
        try:
            cameras.lens_from_clip(properties.of(context.scene), footage(properties.of(context.scene)))
        except jobs.StartError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class CVD_OT_distance_of_tracks(bpy.types.Operator):
    """The known distance is that between the two tracks that are selected. The solve is then in metres"""

    bl_idname = "cvd.distance_of_tracks"
    bl_label = "Between Selected Tracks"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Two tracks of the open clip are selected."""
        clip = shown_clip(context)
        if clip is None:
            cls.poll_message_set("Open the clip in the clip editor and track two points first")
            return False
        count = len(_selected_tracks(clip))
        if count != 2:
            cls.poll_message_set(f"Select the two tracks whose distance you know; {count} are selected")
        return count == 2

    def execute(self, context: bpy.types.Context) -> Result:
        """Remember their names."""
        cvd = properties.of(context.scene)
        cvd.distance_a, cvd.distance_b = _selected_tracks(present(shown_clip(context), "clip"))
        self.report({"INFO"}, f"{cvd.distance:g} m between {cvd.distance_a} and {cvd.distance_b}")
        return {"FINISHED"}


def _selected_tracks(clip: bpy.types.MovieClip) -> list[str]:
    """Names of the camera's tracks that are selected and to be seen."""
    return [track.name for track in tracks_of(clip) if track.select and not track.hide]


def asked(context: bpy.types.Context, python: Path, replace: bool = False) -> dict[str, Any]:
    """The request for what the panels say, written into its solve folder with all that it speaks of: from now on
    nothing that happens in Blender changes it.

    Args:
        context: of the scene.
        python: the engine's interpreter.
        replace: the finished solve of other footage in the folder may be replaced.

    Raises:
        StartError: something that was chosen cannot be used, the folder cannot be written, or it holds the solve of
            other footage that is not to be replaced.
    """
    scene = scene_of(context)
    cvd = properties.of(scene)
    clip, folder = chosen(context)
    masks.require_plate(cvd, clip)
    other = None if replace else solve_folders.other_clip(folder, clip, compat.MOVIES)
    if other is not None:
        raise jobs.StartError(
            "engine.other_footage",
            "The engine was not started.",
            f"{folder} holds the solve of {other}, which would be replaced.",
            "Empty Solve Folder or choose another one, or press Solve Depth and confirm.",
        )
    request = _request(cvd, clip, folder, replace)
    # First, so that files are written into nothing but a solve folder.
    try:
        jobs.prepare(python, preferences.engine_root(), request)
    except jobs.StartError as error:
        cvd.job_in_the_way = str(folder) if error.error.code == "engine.busy" else ""
        raise
    cameras.provide(scene, clip, folder)
    if cvd.mask_source != "NONE":
        with progress(context) as show:
            masks.provide(cvd, clip, folder / masks.FOLDER, show)
    with progress(context) as show:
        hints.provide(scene, clip, folder, show)
    cvd.solve_folder = paths.stored(folder)
    return request


def chosen(context: bpy.types.Context) -> tuple[Path, Path]:
    """The clip, and the folder that its solve goes to: the chosen one, or its own beside the .blend or in the cache.

    Raises:
        StartError: there is no such clip.
    """
    clip = footage(properties.of(context.scene))
    parent = Path(bpy.data.filepath).parent if bpy.data.filepath else preferences.cache_folder(context)
    folder = monitor.folder_of(scene_of(context))
    return clip, folder or solve_folders.default_folder(clip.absolute(), parent, compat.MOVIES)


def confirm_replacing(operator: Any, context: bpy.types.Context, event: bpy.types.Event) -> Result:
    """Run an operator that has `replace`; where a solve of other footage would be replaced, ask first."""
    try:
        clip, folder = chosen(context)
        other = solve_folders.other_clip(folder, clip, compat.MOVIES)
    except jobs.StartError:
        other = None  # which the operator says itself
    if other is None:
        done: Result = operator.execute(context)
        return done
    operator.replace = True
    message = f"{folder.name} holds the solve of {other.name}. Solving {clip.name} there replaces it."
    return set(
        manager_of(context).invoke_confirm(
            operator, event, title="Replace Solve?", message=message, confirm_text="Replace", icon="WARNING"
        )
    )


class CVD_OT_solve_depth(bpy.types.Operator):
    """Solve camera and depth of the clip with the engine. Blender stays usable, and may be closed meanwhile"""

    bl_idname = "cvd.solve_depth"
    bl_label = "Solve Depth"
    bl_options = {"REGISTER"}

    engine_python = fields.string(
        name="Engine Python", description="Instead of the one in the preferences", options={"SKIP_SAVE", "HIDDEN"}
    )
    replace = fields.boolean(
        name="Replace", description="Replace the solve of other footage in the solve folder", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """A clip is chosen and nothing is running."""
        cvd = properties.of(context.scene)
        if not cvd.clip_path:
            cls.poll_message_set("Choose a clip first")
        elif cvd.job_running:
            cls.poll_message_set("A solve is running")
        elif properties.queue_of(context).active:
            cls.poll_message_set("The queue is at work: add this shot to it, or stop it first")
        else:
            return True
        return False

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        """Ask before another clip's solve is replaced."""
        return confirm_replacing(self, context, event)

    def execute(self, context: bpy.types.Context) -> Result:
        """Start the engine; without a window, also wait for it."""
        scene = scene_of(context)
        cvd = properties.of(scene)
        cvd.job_error = cvd.job_in_the_way = ""
        try:
            python = engine_python(context, self.engine_python)
            job = jobs.start(python, preferences.engine_root(), asked(context, python, self.replace))
        except jobs.StartError as error:
            cvd.job_error = str(error)
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not bpy.app.background:
            monitor.follow(scene, job)
            return {"FINISHED"}
        status = jobs.wait(job, lambda status: print(jobs.describe(status), flush=True))
        monitor.show(scene, status)
        if status.state == "done":
            forecast.learn(job.folder)
            return {"FINISHED"}
        self.report({"ERROR"}, jobs.describe(status))
        return {"CANCELLED"}


def engine_python(context: bpy.types.Context, instead: str = "") -> Path:
    """The engine's interpreter: `instead`, or the one of the preferences.

    Raises:
        StartError: none is set.
    """
    python = Path(instead) if instead else preferences.engine_python(context)
    if python is None:
        raise jobs.no_engine()
    return python


def _request(cvd: properties.CvdProperties, clip: Path, folder: Path, replace: bool) -> dict[str, Any]:
    """Most settings are properties of the same name; here is what depends on others, or is chosen in other ways."""
    with_focal = cvd.lens == "MM" or (cvd.lens == "BODY" and camera_bodies.has_sensor(cvd.body))
    camera, camera_path = cameras.source(cvd, folder)
    solved, knows_lens = camera in jobs.SOLVED, camera in WITH_LENS
    first, last = (cvd.first, cvd.last) if cvd.use_range else (None, None)
    prior_path = {"transformers": cvd.prior_model, "maps": cvd.prior_maps}.get(cvd.prior, "")
    mask_paths = {"NONE": None, "SEQUENCE": _path(cvd.mask_path), "BLENDER": folder / masks.FOLDER}
    settings = solve_request.of_properties(cvd) | {
        "footage/first": first,
        "footage/last": last,
        "footage/right": _path(cvd.right_path) if cvd.stereo == "two_files" else None,
        "lens/focal_px": cvd.focal_px if cvd.lens == "PX" else None,
        "lens/focal_mm": cvd.focal_mm if with_focal else None,
        "lens/sensor_mm": cvd.sensor_width if cvd.lens == "MM" else None,
        "lens/camera": cvd.body if cvd.lens == "BODY" else None,
        "lens/pixel_aspect": cvd.pixel_aspect if cvd.use_pixel_aspect and not knows_lens else None,
        "lens/principal_px": _pair(cvd.principal) if cvd.use_principal and not knows_lens else None,
        "camera/kind": camera,
        "camera/path": camera_path,
        "camera/metric": cvd.camera_metric and not solved,
        "camera/film_back_mm": _pair(cvd.film_back) if camera == "chan" and min(cvd.film_back) > 0.0 else None,
        "tracks": folder / cameras.TRACKS if cameras.uses_tracks(cvd) else None,
        "world/distance": cameras.known_distance(cvd, clip),
        "hints": folder / hints.FILE if hints.enabled(cvd) else None,
        "masks/path": mask_paths[cvd.mask_source],
        "masks/segmentation": bpy.path.abspath(cvd.segmentation) or None,
        "masks/motion": cvd.find_motion,
        "prior/path": bpy.path.abspath(prior_path) or None,
        "replace": replace,
    }
    if cvd.stereo == "none":
        settings["footage/baseline"] = None
    if not solved:
        settings["world/camera_height"] = None
    return solve_request.make(clip, folder, settings)


def _pair(values: Sequence[float]) -> tuple[float, float]:
    return values[0], values[1]


def _path(text: str) -> Path | None:
    return paths.absolute(text) if text else None


def footage(cvd: properties.CvdProperties) -> Path:
    """The clip's path.

    Raises:
        StartError: there is nothing.
    """
    clip = paths.absolute(cvd.clip_path)
    if not clip.exists():
        raise jobs.StartError(
            "footage.missing", "The clip was not found.", f"There is nothing at '{clip}'.", "Choose the clip again."
        )
    return clip


@contextmanager
def progress(context: bpy.types.Context) -> Iterator[masks.Progress]:
    """A progress figure at the mouse pointer for the time of the block."""
    manager = manager_of(context)
    manager.progress_begin(0, 1)
    try:
        yield lambda done, total: manager.progress_update(done / total)
    finally:
        manager.progress_end()


class CVD_OT_check_masks(bpy.types.Operator):
    """Find out which frames have a mask. A Blender mask is rendered for that, and the pictures thrown away"""

    bl_idname = "cvd.check_masks"
    bl_label = "Find Masked Frames"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """A clip and a kind of mask are chosen."""
        cvd = properties.of(context.scene)
        if not cvd.clip_path:
            cls.poll_message_set("Choose a clip first")
        elif cvd.mask_source == "NONE":
            cls.poll_message_set("Choose masks first")
        else:
            return True
        return False

    def execute(self, context: bpy.types.Context) -> Result:
        """Look, and say it in the panel."""
        cvd = properties.of(context.scene)
        try:
            with tempfile.TemporaryDirectory() as folder, progress(context) as show:
                masks.provide(cvd, footage(cvd), Path(folder), show)
        except jobs.StartError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, cvd.mask_frames)
        return {"FINISHED"}


class CVD_OT_cancel_solve(bpy.types.Operator):
    """Stop the running solve. What is finished is kept, and solving again goes on from there"""

    bl_idname = "cvd.cancel_solve"
    bl_label = "Cancel"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Something is running."""
        if not properties.of(context.scene).job_running:
            cls.poll_message_set("No solve is running")
        return properties.of(context.scene).job_running

    def execute(self, context: bpy.types.Context) -> Result:
        """Ask the engine to stop; the monitor sees to it that it does."""
        job = monitor.job_of(scene_of(context))
        if job is not None:
            job.cancel()
            properties.of(context.scene).job_message = "stopping"
        return {"FINISHED"}


class CVD_OT_attach_solve(bpy.types.Operator):
    """Follow the solve that is at work in this clip's folder, and build the scene when it is done"""

    bl_idname = "cvd.attach_solve"
    bl_label = "Attach"
    bl_options = {"REGISTER"}

    # Its name is that of a method which Blender calls of a modal operator; this one is none, and scripts know the name.
    cancel = fields.boolean(name="Cancel", description="Stop it as well", options={"SKIP_SAVE"})  # type: ignore[assignment]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Solve Depth has met an engine at work."""
        if not properties.of(context.scene).job_in_the_way:
            cls.poll_message_set("No other solve is in the way")
        return bool(properties.of(context.scene).job_in_the_way)

    def execute(self, context: bpy.types.Context) -> Result:
        """Choose its folder, which is to follow it."""
        cvd = properties.of(context.scene)
        cvd.solve_folder = paths.stored(Path(cvd.job_in_the_way))
        if not cvd.job_running:
            self.report({"INFO"}, "That solve has ended meanwhile")
        elif self.cancel:
            compat.operator("cvd.cancel_solve")()
        return {"FINISHED"}


CLASSES = (
    CVD_OT_use_clip,
    CVD_OT_take_clip,
    CVD_FH_clip,
    CVD_OT_lens_from_clip,
    CVD_OT_distance_of_tracks,
    CVD_OT_check_masks,
    CVD_OT_solve_depth,
    CVD_OT_attach_solve,
    CVD_OT_cancel_solve,
)
