# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything the add-on keeps in a scene: `scene.cvd`."""

from __future__ import annotations

from collections.abc import Callable

import bpy

from . import camera_bodies, fields, paths
from .present import present
from .scene import occlusion
from .scene.occlusion import COMPOSITOR, DEPTH, FUSED, FUSED_HOLDOUT, HOLDOUT, ROUGHNESS

NAME, QUEUE = "cvd", "cvd_queue"  # of the scene, and of the window manager
# What else is done when the artist chooses another clip or folder. `registration` says it: who does it reads these
# properties, and is not known here.
when_clip_changes: list[Callable[[], None]] = []
when_folder_changes: list[Callable[[bpy.types.Scene], None]] = []


def of(scene: bpy.types.Scene | None) -> CvdProperties:
    """What the add-on keeps in the scene."""
    settings: CvdProperties = getattr(present(scene, "scene"), NAME)
    return settings


def queue_of(context: bpy.types.Context) -> CvdQueue:
    """The queue as the panels show it."""
    shown: CvdQueue = getattr(present(context.window_manager, "window manager"), QUEUE)
    return shown


def _forget_masked_frames(cvd: CvdProperties, _context: bpy.types.Context) -> None:
    cvd.mask_frames = ""


def _mirror(cvd: CvdProperties, _context: bpy.types.Context) -> None:
    if isinstance(cvd.id_data, bpy.types.Scene):
        occlusion.update_mirrors(cvd.id_data, cvd.solve_key, cvd.reflection, cvd.roughness)


def _take_clip(cvd: CvdProperties, context: bpy.types.Context) -> None:
    """Each clip has a solve folder of its own: another's result must not be replaced by it."""
    _forget_masked_frames(cvd, context)
    for listener in when_clip_changes:
        listener()
    if not cvd.job_running and not paths.moving():
        cvd.solve_folder = cvd.job_state = cvd.job_stages = cvd.job_picture = ""


def _take_folder(cvd: CvdProperties, _context: bpy.types.Context) -> None:
    """What was said of another folder is no news of this one; a solve that is at work there is followed."""
    if not paths.moving():
        cvd.job_error = cvd.job_in_the_way = ""
        if isinstance(cvd.id_data, bpy.types.Scene):
            for listener in when_folder_changes:
                listener(cvd.id_data)


class CvdQueuedShot(bpy.types.PropertyGroup):
    """A shot of the queue, for drawing; the queue's file is where it is really kept."""

    folder = fields.string(name="Solve Folder", description="Where the shot is solved")
    state = fields.string(name="State", description="What became of the shot")
    message = fields.string(name="Message", description="What the engine says about it")
    fraction = fields.number(name="Done", description="Share of the solve that is done")


class CvdQueue(bpy.types.PropertyGroup):
    """The queue, for drawing. It belongs to the window manager: no file and no undo changes it."""

    shots = fields.collection(type=CvdQueuedShot)
    index = fields.integer(name="Shot", description="The shot that the buttons beside the list are for")
    active = fields.boolean(name="Active", description="The shots that wait are solved one after another")


class CvdPlace(bpy.types.PropertyGroup):
    """A point of a depth hint."""

    place = fields.vector(name="Place", description="In the world of the solve, as the engine left it", size=3)


class CvdHint(bpy.types.PropertyGroup):
    """A region of the plate whose depth the artist knows."""

    enabled = fields.boolean(name="Enabled", description="Use this hint in the next solve", default=True)
    mask = fields.block(name="Mask", description="Where in the picture the hint counts", type=bpy.types.Mask)
    use_range = fields.boolean(
        name="Frame Range", description="Use the hint on these frames only; else wherever the mask covers something"
    )
    first = fields.integer(name="First", description="First plate frame of the hint", default=1)
    last = fields.integer(name="Last", description="Last plate frame of the hint, inclusive", default=1)
    kind = fields.enum(
        name="Depth",
        description="How the depth of the region is given",
        items=(
            ("DISTANCE", "Distance", "The same depth everywhere, along the optical axis"),
            ("PLANE", "Plane", "The plane through three or more points, such as a floor or a wall"),
            ("POINT", "As Near As", "The depth that a point has in each frame"),
        ),
    )
    distance = fields.number(
        name="Distance",
        description="From the camera along its optical axis, in the scene's unit",
        default=1.0,
        min=1e-4,
        subtype="DISTANCE",
        unit="LENGTH",
    )
    points = fields.collection(type=CvdPlace)


class CvdDelivery(bpy.types.PropertyGroup):
    """What to hand to other programs, and how that is going."""

    folder = fields.string(
        name="Folder",
        description="A new or empty folder, or an earlier delivery. Empty: <name>.delivery beside the solve folder",
        subtype="DIR_PATH",
        options=paths.OPTIONS,
    )
    passes = fields.flags(
        name="Passes",
        description="EXR sequences on the plate's own pixels and frame numbers",
        items=(
            ("depth", "Depth", "Planar depth in the scene's unit, along the optical axis"),
            ("inverse-depth", "1/Z", "One over planar depth, as Nuke has it"),
            ("distance", "Distance", "Length of the ray from the camera"),
            ("normals", "Normals", "Normals of the surface, in the world"),
            ("position", "Position", "Positions of the surface, in the world: large files"),
        ),
        default={"depth", "inverse-depth"},
    )
    files = fields.flags(
        name="Files",
        description="What else to hand over",
        items=(
            ("nuke", "Nuke Script", "Plate, depth, camera and lens, and a place for CG that the depth cuts out"),
            ("chan", "Camera .chan", "Position, rotation and field of view, a line for each frame"),
            ("points", "Points", "The sparse points as PLY"),
            ("mesh", "Mesh", "One mesh of what stands still as OBJ, for shadows and physics, where the solve has one"),
            ("colmap", "COLMAP Model", "Cameras and points, for photogrammetry and splats"),
            ("stmaps", "ST-Maps", "Undistort and redistort, for Nuke, Fusion and After Effects"),
            ("plate", "Undistorted Plate", "The plate as a camera without distortion sees it"),
        ),
        default={"nuke", "chan", "points", "colmap", "stmaps"},
    )
    cameras = fields.flags(
        name="Camera",
        description="The camera as it stands in the scene, by Blender's own exporters",
        items=(
            ("abc", "Alembic", "For Maya, Houdini, Nuke, Fusion and most others"),
            ("usd", "USD", "For Houdini, Maya, Unreal and Nuke"),
            ("fbx", "FBX", "For Fusion, Unreal, Cinema 4D and others"),
        ),
        default={"abc", "usd", "fbx"},
    )
    at = fields.string(
        name="Delivered To", description="Where the last delivery went", subtype="DIR_PATH", options=paths.OPTIONS
    )

    # Of the job, for drawing; the delivery's folder is where it is really kept.
    running = fields.boolean(name="Running", description="A delivery is being made")
    state = fields.string(name="State", description="What became of the delivery")
    fraction = fields.number(name="Done", description="Share of the delivery that is done")
    message = fields.string(name="Message", description="What is being made")
    error = fields.string(name="Error", description="Why nothing was delivered, and what to do")


class CvdProperties(bpy.types.PropertyGroup):
    """What to solve, how it is going, and how to build it."""

    clip_path = fields.string(
        name="Clip",
        description="A movie, or any file of an image sequence. Choosing another one empties Solve Folder",
        subtype="FILE_PATH",
        options=paths.OPTIONS,
        update=_take_clip,
    )
    use_range = fields.boolean(
        name="Limit Range", description="Solve only part of the clip", update=_forget_masked_frames
    )
    first = fields.integer(
        name="First", description="First plate frame number", default=1, update=_forget_masked_frames
    )
    last = fields.integer(name="Last", description="Last plate frame number", default=100, update=_forget_masked_frames)
    step = fields.integer(
        name="Step", description="Solve every n-th frame", default=1, min=1, update=_forget_masked_frames
    )
    preset = fields.enum(
        name="Quality",
        items=(
            ("preview", "Preview", "A quick look, coarse depth"),
            ("standard", "Standard", "For most shots"),
            ("best", "Best", "Slower, finer depth"),
            ("cvd-2020", "CVD 2020", "The published recipe of Consistent Video Depth, for comparison: very slow"),
        ),
        default="standard",
    )
    method = fields.enum(
        name="Method",
        description="How depth is made",
        items=(
            (
                "cvd",
                "Geometry",
                "For most shots. Depth is measured in the clip and carried on by a network, so that all frames agree",
            ),
            (
                "selfsup",
                "Self-supervised",
                "Where Geometry fails, and for stereo clips. A network is trained on how the pictures look from frame "
                "to frame: much slower",
            ),
            (
                "deepv2d",
                "DeepV2D",
                "Where Geometry leaves holes (little texture, few frames), as an experiment. A network matches the "
                "frames; nothing is trained on the clip: rough",
            ),
            (
                "deepv2d+cvd",
                "DeepV2D, Refined",
                "Where DeepV2D comes close but frames disagree. What it says is the start from which the network is "
                "trained on the clip: slower",
            ),
        ),
        default="cvd",
    )
    stereo = fields.enum(
        name="Stereo",
        items=(
            ("none", "None", "One eye"),
            ("side_by_side", "Side by Side", "Both eyes in one picture, the left eye in its left half; rectified"),
            ("two_files", "Two Files", "The clip is the left eye, the right one has footage of its own; rectified"),
        ),
        default="none",
    )
    right_path = fields.string(
        name="Right Eye",
        description="The right eye's footage, with the same frame numbers",
        subtype="FILE_PATH",
        options=paths.OPTIONS,
    )
    baseline = fields.number(
        name="Baseline",
        description="Metres between the eyes, which makes the solve metric; 0: unknown",
        min=0.0,
        precision=4,
        unit="LENGTH",
    )
    camera_source = fields.enum(
        name="Camera",
        description="Where the camera comes from. One that is given is not moved: only points and depth are solved, in "
        "its own world",
        items=(
            ("solve", "Solve", "For most shots. Solve the camera from points that are followed through the clip"),
            (
                "deepv2d",
                "Solve by DeepV2D",
                "Where Solve finds too little to hold on to. A network solves camera and depth in turns, without "
                "points: rough, CG will slide",
            ),
            ("SCENE", "From the Scene", "A camera of this scene, however it moves: keys, constraints, Alembic, USD"),
            ("colmap", "COLMAP Model", "A folder with cameras, images and points, binary or text"),
            ("chan", "Nuke .chan", "Frame, position, rotation and vertical field of view, a line for each frame"),
        ),
        default="solve",
    )
    camera = fields.block(
        name="Object",
        description="The camera through which the clip was filmed",
        type=bpy.types.Object,
        poll=lambda _cvd, ob: ob.type == "CAMERA",
    )
    camera_folder = fields.string(
        name="Folder", description="Of the COLMAP model", subtype="DIR_PATH", options=paths.OPTIONS
    )
    camera_chan = fields.string(name="File", description="The .chan file", subtype="FILE_PATH", options=paths.OPTIONS)
    camera_metric = fields.boolean(name="In Metres", description="One unit of the given camera's world is a metre")
    film_back = fields.vector(
        name="Film Back",
        description="Width and height in mm that the vertical field of view belongs to. 0: it has the plate's shape",
        size=2,
        min=0.0,
    )
    rotation_order = fields.enum(
        name="Rotation Order",
        description="The axis turned about first comes first",
        items=tuple((order, order, "") for order in ("XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX")),
        default="ZXY",
    )
    use_tracks = fields.boolean(
        name="Use Tracking Markers",
        description="What you tracked in the clip editor joins what the solver follows by itself. Track only what "
        "stands still",
    )
    lens = fields.enum(
        name="Lens",
        items=(
            ("UNKNOWN", "Estimate", "Estimate the focal length from the clip, starting from what the file says"),
            ("MM", "Millimetres", "The focal length and the width of the sensor are known"),
            ("BODY", "Camera", "The camera is known, and the focal length if its lenses can be changed"),
            ("PX", "Pixels", "The focal length in plate pixels is known"),
        ),
        default="UNKNOWN",
    )
    focal_mm = fields.number(
        name="Focal Length",
        description="Millimetres, of the lens itself",
        default=35.0,
        min=1.0,
        subtype="DISTANCE_CAMERA",
    )
    sensor_width = fields.number(
        name="Sensor Width",
        description="Millimetres, of the part of the sensor that was filmed with",
        default=36.0,
        min=1.0,
        subtype="DISTANCE_CAMERA",
    )
    body = fields.enum(name="Camera", description="For the width of its sensor", items=camera_bodies.items)
    focal_px = fields.number(name="Focal Length", description="Plate pixels", default=1500.0, min=1.0, subtype="PIXEL")
    use_pixel_aspect = fields.boolean(
        name="Known Pixel Aspect",
        description="For plates from a lens that squeezes, or with pixels that are not square. Else they count as "
        "square, unless the solve says otherwise",
    )
    pixel_aspect = fields.number(
        name="Pixel Aspect",
        description="Width of a pixel over its height, as in the clip's own settings: 2 for a lens that squeezes twice",
        default=1.0,
        min=0.1,
        max=10.0,
        precision=4,
    )
    use_principal = fields.boolean(
        name="Known Optical Centre",
        description="For plates that were cropped off centre, or shifted lenses. Else it lies in the middle, unless "
        "the solve says otherwise",
    )
    principal = fields.vector(
        name="Optical Centre",
        description="Plate pixels from the top left corner (the clip's own settings count from the bottom)",
        size=2,
        default=(960.0, 540.0),
        min=0.0,
    )

    camera_height = fields.number(
        name="Camera Height",
        description="Metres from the ground up to the camera, about the middle of the clip; 0: unknown",
        min=0.0,
        precision=3,
        unit="LENGTH",
    )
    distance = fields.number(
        name="Known Distance",
        description="Metres between two tracks of the clip; 0: unknown",
        min=0.0,
        precision=3,
        unit="LENGTH",
    )
    distance_a = fields.string(name="From", description="A track of the clip")
    distance_b = fields.string(name="To", description="Another track of the clip")

    mask_source = fields.enum(
        name="Masks",
        description="Your own masks of what moves by itself",
        items=(
            ("NONE", "None", "No masks of your own"),
            ("SEQUENCE", "Image Sequence", "White moves by itself, black stands still"),
            ("BLENDER", "Blender Mask", "A mask drawn in the clip editor, rendered into the solve folder"),
        ),
        default="NONE",
        update=_forget_masked_frames,
    )
    mask_path = fields.string(
        name="Files",
        description="Any file of the mask sequence, or its folder; the file names carry the plate's frame numbers, and "
        "frames without a file have no mask",
        subtype="FILE_PATH",
        options=paths.OPTIONS,
        update=_forget_masked_frames,
    )
    mask = fields.block(
        name="Mask",
        description="Covers what moves by itself, in every shape it has over time",
        type=bpy.types.Mask,
        update=_forget_masked_frames,
    )
    mask_clip = fields.block(
        name="Drawn On",
        description="The clip on which the mask is drawn. Empty: the one that is open",
        type=bpy.types.MovieClip,
        update=_forget_masked_frames,
    )
    mask_frames = fields.string()  # for drawing: which frames have a mask
    find_motion = fields.boolean(
        name="Find Motion",
        description="Also mask what moves in ways that the solved camera cannot explain",
        default=True,
    )
    segmentation = fields.string(
        name="Segmentation",
        description="Folder of a segmentation model for transformers, or the name of one in your cache: people, "
        "animals and vehicles that it finds are masked. Nothing is downloaded. Empty: none",
        subtype="DIR_PATH",
        options=paths.OPTIONS,
    )

    prior = fields.enum(
        name="Prior",
        description="Where a first guess of depth comes from: it counts where geometry is not sure, and on what moves",
        items=(
            (
                "auto",
                "Automatic",
                "Depth Anything V2 Small (Apache-2.0) where it is in your cache, else the built-in network (CC0-1.0)",
            ),
            ("builtin", "Built-in Network", "The network that comes with the engine (CC0-1.0)"),
            (
                "transformers",
                "Model",
                "A depth network from a folder or your cache. Depth Anything V2 Small, Depth Anything 1: Apache-2.0; "
                "DPT, MiDaS: Apache-2.0 or MIT; ZoeDepth: MIT. Not for commercial work: Depth Anything V2 Base and "
                "Large (CC-BY-NC-4.0), Depth Pro (apple-amlr)",
            ),
            ("maps", "Depth Maps", "Your own maps, EXR or PNG, with the plate's frame numbers"),
            ("none", "None", "The clip alone, by the self-supervised method"),
        ),
        default="auto",
    )
    prior_model = fields.string(
        name="Model",
        description="Folder of a depth network for transformers, or the name of one in your cache. Nothing is "
        "downloaded",
        subtype="DIR_PATH",
        options=paths.OPTIONS,
    )
    prior_maps = fields.string(
        name="Files",
        description="Any file of the sequence of maps, or its folder",
        subtype="FILE_PATH",
        options=paths.OPTIONS,
    )
    maps = fields.enum(
        name="They Hold",
        items=(
            ("depth", "Depth", "Planar depth in any one unit: near is small"),
            ("disparity", "Disparity", "Inverse depth, up to scale and shift: near is large"),
        ),
        default="depth",
    )
    allow_non_commercial = fields.boolean(
        name="Allow Non-Commercial Weights",
        description="Also use networks whose licence excludes commercial work or is not known. What is made with them "
        "must not be sold or used for paid work",
    )

    hints = fields.collection(name="Depth Hints", description="Regions whose depth you know", type=CvdHint)
    hint = fields.integer(name="Depth Hint", description="The hint that is shown below the list")

    solve_folder = fields.string(
        name="Solve Folder",
        description="Leave empty to use <clip>.solve beside the .blend. A solve that is running there is followed",
        subtype="DIR_PATH",
        update=_take_folder,
        options=paths.OPTIONS,
    )
    import_when_done = fields.boolean(
        name="Build when Done", description="Build the scene from the solve as soon as it is complete", default=True
    )

    # Of the job, for drawing; the solve folder is where it is really kept.
    job_running = fields.boolean()
    job_in_the_way = fields.string()  # folder in which Solve Depth has met an engine at work
    job_state = fields.string()
    job_fraction = fields.number()
    job_message = fields.string()
    job_picture = fields.string()  # what `thumbnails.state` says
    job_stages = fields.string()  # a line for each: name, state, percent
    job_error = fields.string()

    # Of the solve that was built last. The solve folder may belong to another clip by now.
    built_folder = fields.string(subtype="DIR_PATH", options=paths.OPTIONS)
    solve_key = fields.string()
    plate = fields.string(subtype="FILE_PATH", options=paths.OPTIONS)
    result = fields.string()
    result_doubtful = fields.string()  # a line for each run of doubtful frames, worst first: worst frame, words

    occlusion = fields.enum(
        name="Occlusion",
        items=(
            (COMPOSITOR, "Depth Compare", "Hide CG in the compositor, where the solved depth is nearer: fast"),
            (HOLDOUT, "Holdout Mesh", "Hide CG at render time by the depth mesh: right for glass, blur and smoke"),
            (
                FUSED_HOLDOUT,
                "Holdout Fused Mesh",
                "Hide CG at render time by the fused mesh: steady edges where nothing moves by itself",
            ),
        ),
        default=COMPOSITOR,
    )
    shadow_catcher = fields.boolean(name="Shadow Catcher", description="Also render the shadows of CG on what is real")
    reflection = fields.number(
        name="Reflection",
        description="Share of light by which what is real mirrors CG, with Shadow Catcher and in Cycles. "
        "A waxed table: 0.1; a mirror: 1",
        min=0.0,
        max=1.0,
        update=_mirror,
    )
    roughness = fields.number(
        name="Roughness",
        description="How blurred those reflections are. 0: as in a mirror",
        default=ROUGHNESS,
        min=0.0,
        max=1.0,
        update=_mirror,
    )
    surface = fields.enum(
        name="Shadows On",
        description="Which mesh catches the shadows",
        items=(
            (DEPTH, "Depth Mesh", "The depth of each frame: shadows lie where the frame's own depth has the surface"),
            (FUSED, "Fused Mesh", "One mesh for all frames: shadows hold still, and meet what rests on it by physics"),
        ),
        default=DEPTH,
    )
    cut_moving = fields.boolean(
        name="Cut Moving Things",
        description="Leave what moves by itself out of the depth mesh and the shadow catcher, such as for physics. It "
        "still hides CG that is behind it",
    )

    delivery = fields.group(name="Delivery", description="What to hand to other programs", type=CvdDelivery)
