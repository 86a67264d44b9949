# SPDX-License-Identifier: GPL-3.0-or-later
"""The depth mesh: one Geometry Nodes grid in camera space that reads the depth of the current frame from its EXR.

Of a frame only its camera is stored, so it costs little memory in the .blend, works without the add-on, and shows
nothing on a frame that has no depth. What an artist may choose (density, edges, smoothing, limits, a held frame) are
inputs of the modifier, and only there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from .. import compat, paths
from ..present import data_of, present
from ..solve_reader import Solve, frame_ranges
from . import owned, plate
from .camera import CV_FROM_BLENDER, assign_action, find_camera, find_root, set_keys
from .layers import ensure_collections
from .nodes import TreeBuilder, ensure_socket, tangential

GROUP_VERSION = 4
MODIFIER = "CVD Depth"
# The grid goes this many pixels beyond the image, so that the border closes also under the render's pixel filter.
RING_PX = 4.0
NEWTON_STEPS = 5
TANGENTIAL_STEPS = 3
VIEWPORT_STEP, RENDER_STEP = 4, 1
# Relative change of depth, per unit on the image plane at distance 1, above which neighbours are taken for different
# surfaces: the tangent of the angle at which a surface is seen (10: 84 degrees), the same at every resolution. Solved
# depth edges are ramps some pixels wide; at 25 they stay as streaks, seen on a solved room.
DEPTH_EDGE = 10.0
SOLID_ALPHA = 0.4  # in solid shading, so that the plate behind shows through
# Cosine of the angle at which a surface is seen, below which it is not smoothed: along the ray it would move too far.
LEAST_FACING = 0.1
# Variance, in squares of the grid's spacing, that one pass of Blur Attribute adds: each vertex is averaged with its
# four neighbours, two of which lie one spacing away along each axis.
PASS_VARIANCE = 0.4
ROTATION, FOCAL = "cvd_rotation", "cvd_focal"


@dataclass(frozen=True)
class Option:
    """An input of the modifier that belongs to the artist: a build sets it once and never again."""

    name: str
    kind: str
    default: Any
    description: str
    least: float = 0.0
    subtype: str = "NONE"
    needs: str = ""  # the option without which it does nothing


OPTIONS = (
    Option("Viewport Step", "Int", VIEWPORT_STEP, "In the viewport, a vertex on every n-th pixel of the depth maps", 1),
    Option("Render Step", "Int", RENDER_STEP, "In the render, a vertex on every n-th pixel of the depth maps", 1),
    Option("Cut Depth Edges", "Bool", True, "Leave out faces that span from a near surface to a far one"),
    Option(
        "Depth Edge",
        "Float",
        DEPTH_EDGE,
        "How steep a face must be to span two surfaces: relative jump of depth from vertex to vertex, over the angle "
        "between them. Smaller cuts more; 10 is a surface seen at 84 degrees",
        0.1,
    ),
    Option(
        "Smoothing",
        "Float",
        0.0,
        "Even the surface out over so many pixels of the depth maps. Planes and depth edges stay where they are",
    ),
    Option("Near", "Float", 0.0, "What is nearer to the camera is left out, in scene units", subtype="DISTANCE"),
    Option("Far", "Float", 0.0, "What is farther away is left out, in scene units. 0: no limit", subtype="DISTANCE"),
    Option(
        "Hold Frame",
        "Bool",
        False,
        "Show one frame's mesh at every frame, where that frame's camera saw it, such as to extend a set. The material "
        "goes on with the plate: give the mesh one whose image stays at the held frame",
    ),
    Option("Held Frame", "Int", 1, "The frame whose mesh is shown at every frame", -1048574, needs="Hold Frame"),
)
# What a build sets each time, from the solve.
SOLVED = (
    ("Image", "Depth"),
    ("Int", "Width"),
    ("Int", "Height"),
    ("Float", "Focal X"),
    ("Float", "Focal Y"),
    ("Float", "Center X"),
    ("Float", "Center Y"),
    ("Float", "K1"),
    ("Float", "K2"),
    ("Float", "P1"),
    ("Float", "P2"),
    ("Image", "Dynamic"),
    ("Bool", "Cut Moving"),
    ("Object", "Root"),
    ("Int", "First Frame"),
)


def find(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object | None:
    """The depth mesh of the solve, if it has been built."""
    return owned.find(scene.objects, solve.key, "depth_mesh")


def build(scene: bpy.types.Scene, solve: Solve, cut_moving: bool = False) -> bpy.types.Object:
    """Make or update the depth mesh that shows the solve in the viewport: cut at depth edges, textured by the plate.

    Args:
        cut_moving: leave out what moves by itself.
    """
    collection = ensure_collections(scene, solve).background
    name = f"CVD Depth Mesh {solve.name}"
    ob, new = ensure_mesh(scene, solve, collection, "depth_mesh", name, DEPTH_EDGE, cut_moving)
    if new:
        ob.hide_render = True  # the plate shows the same, and better
        compat.set_modifier_input(modifier_of(ob), "Material", plate_material(solve, "emission"))
    else:
        plate_material(solve, "emission")
    return ob


def ensure_mesh(
    scene: bpy.types.Scene,
    solve: Solve,
    collection: bpy.types.Collection,
    role: str,
    name: str,
    depth_edge: float,
    cut_moving: bool,
) -> tuple[bpy.types.Object, bool]:
    """One object with the grid, in the camera's space; the user's OPTIONS and material survive an update.

    Args:
        depth_edge: of a new object, as DEPTH_EDGE; 0 = uncut.
        cut_moving: leave out what moves by itself.

    Returns:
        The object, and whether it is new.
    """
    ob, new = owned.ensure_object(scene, collection, solve.key, role, name, bpy.data.meshes.new)
    if ob.parent is None:  # new, or the camera was deleted and made again
        ob.parent = find_camera(scene, solve)
    if new:
        modifier = compat.new_geometry_nodes(ob, MODIFIER, node_group())
        for option in OPTIONS:
            compat.set_modifier_input(modifier, option.name, option.default)
        compat.set_modifier_input(modifier, "Cut Depth Edges", depth_edge > 0.0)
        compat.set_modifier_input(modifier, "Depth Edge", depth_edge or DEPTH_EDGE)
    node_group()
    modifier = modifier_of(ob)
    if not solve.source.first <= compat.get_modifier_input(modifier, "Held Frame") <= solve.source.last:
        compat.set_modifier_input(modifier, "Held Frame", solve.depth_frames[0].number)
    # Depth may come at another size than the plate; the lens goes with it.
    scale_x, scale_y = solve.depth_width / solve.source.width, solve.depth_height / solve.source.height
    values: dict[str, Any] = {
        "Depth": depth_image(solve),
        "Width": solve.depth_width,
        "Height": solve.depth_height,
        "Focal X": solve.lens.fx * scale_x,
        "Focal Y": solve.lens.fy * scale_y,
        "Center X": solve.lens.cx * scale_x,
        "Center Y": solve.lens.cy * scale_y,
        "K1": solve.lens.k1,
        "K2": solve.lens.k2,
        "P1": solve.lens.p1,
        "P2": solve.lens.p2,
        "Cut Moving": cut_moving and bool(solve.dynamic_frames),
        "Root": find_root(scene, solve),
        "First Frame": solve.source.first,
    }
    if solve.dynamic_frames:
        values["Dynamic"] = dynamic_image(solve)
    for key, value in values.items():
        compat.set_modifier_input(modifier, key, value)
    _write_poses(data_of(ob, bpy.types.Mesh), solve, scale_x, scale_y)
    if solve.lens.focal_varies:
        _key_focal(ob, modifier, solve, role, scale_x, scale_y)
    ob.update_tag()
    return ob, new


def modifier_of(ob: bpy.types.Object) -> bpy.types.NodesModifier:
    """The modifier that makes the grid.

    Raises:
        AbsentError: the user has removed it.
    """
    return present(compat.geometry_nodes(ob, MODIFIER), f"modifier {MODIFIER} of {ob.name}")


def depth_image(solve: Solve) -> bpy.types.Image:
    """The depth EXR sequence as an image."""
    files = {frame.number: frame.depth for frame in solve.depth_frames if frame.depth is not None}
    return _sequence(solve, "depth", f"CVD Depth {solve.name}", files)


def dynamic_image(solve: Solve) -> bpy.types.Image:
    """The mattes of what moves by itself as an image; `solve.dynamic_frames` must not be empty."""
    files = {frame.number: frame.dynamic for frame in solve.dynamic_frames if frame.dynamic is not None}
    return _sequence(solve, "dynamic", f"CVD Dynamic {solve.name}", files)


def _sequence(solve: Solve, role: str, name: str, files: dict[int, Path]) -> bpy.types.Image:
    """A sequence of files by frame number, in order, as an image of values, loaded once and up to date."""
    path = files[min(files)]
    image = owned.find(bpy.data.images, solve.key, role)
    if image is None:
        image = bpy.data.images.load(str(path))
        owned.mark(image, solve.key, role)
        image.name = name
    paths.point(image, path)
    image[owned.FRAMES] = frame_ranges(tuple(files))
    image.source = "SEQUENCE"
    compat.colour_space(image).name = "Non-Color"
    return image


def plate_material(solve: Solve, kind: str) -> bpy.types.Material | None:
    """Material with the plate projected from the camera: `emission` as it is, `diffuse` lit; None without a plate."""
    image = plate.ensure_image(solve)
    if image is None:
        return None
    material = owned.find(bpy.data.materials, solve.key, kind)
    if material is None:
        material = bpy.data.materials.new(f"CVD Plate {kind} {solve.name}")
        owned.mark(material, solve.key, kind)
        material.diffuse_color[3] = SOLID_ALPHA
        compat.enable_nodes(material)
        tree = compat.nodes_of(material)
        tree.nodes.clear()
        build = TreeBuilder(tree)
        uv = build.node("ShaderNodeUVMap", uv_map="UVMap")
        texture = build.node("ShaderNodeTexImage", image=image, extension="EXTEND")
        build.put(uv.outputs[0], texture.inputs["Vector"])
        shader = build.node("ShaderNodeEmission" if kind == "emission" else "ShaderNodeBsdfDiffuse")
        build.put(texture.outputs["Color"], shader.inputs["Color"])
        build.put(shader.outputs[0], build.node("ShaderNodeOutputMaterial").inputs["Surface"])
        build.arrange()
    for node in compat.nodes_of(material).nodes:
        if isinstance(node, bpy.types.ShaderNodeTexImage) and node.image == image:
            plate.set_image_frames(node.image_user, solve)
    return material


def _write_poses(mesh: bpy.types.Mesh, solve: Solve, scale_x: float, scale_y: float) -> None:
    """Let the object's own mesh tell the grid of a held frame where its camera was: a vertex per frame, from the first.

    Positions and rotations are the camera's in the root's space, focal lengths in pixels of the depth maps.
    """
    count = solve.source.last - solve.source.first + 1
    locations: list[tuple[float, ...]] = [(0.0, 0.0, 0.0)] * count
    rotations: list[tuple[float, ...]] = [(1.0, 0.0, 0.0, 0.0)] * count
    focals: list[tuple[float, ...]] = [(0.0, 0.0, 0.0)] * count
    for frame in solve.registered:
        place = frame.number - solve.source.first
        location, rotation, _ = (Matrix(present(frame.world_from_camera, "pose")) @ CV_FROM_BLENDER).decompose()
        focal = frame.focal_px or solve.lens.fx
        locations[place], rotations[place] = location[:], rotation[:]
        focals[place] = (focal * scale_x, focal * solve.lens.fy / solve.lens.fx * scale_y, 0.0)
    mesh.clear_geometry()
    mesh.from_pydata(locations, [], [])
    for name, kind, key, values in (
        (ROTATION, "QUATERNION", "value", rotations),
        (FOCAL, "FLOAT_VECTOR", "vector", focals),
    ):
        attributes: Any = mesh.attributes  # which gives the class of the attribute's type
        attribute = attributes.new(name, kind, "POINT")
        attribute.data.foreach_set(key, [number for value in values for number in value])


def _key_focal(
    ob: bpy.types.Object, modifier: bpy.types.NodesModifier, solve: Solve, role: str, scale_x: float, scale_y: float
) -> None:
    """The grid follows a zooming lens by keys on its focal length."""
    action = owned.find(bpy.data.actions, solve.key, role)
    if action is None:
        action = bpy.data.actions.new(f"CVD Lens {solve.name}")
        owned.mark(action, solve.key, role)
    assign_action(ob, action)
    frames = [float(frame.number) for frame in solve.registered]
    for name, scale in (("Focal X", scale_x), ("Focal Y", scale_y * solve.lens.fy / solve.lens.fx)):
        lengths = [(frame.focal_px or solve.lens.fx) * scale for frame in solve.registered]
        set_keys(action, ob, compat.modifier_input_path(modifier, name), 0, frames, lengths)


def is_current(tree: bpy.types.NodeTree | None) -> bool:
    """The node group is there, and not of an older version of the add-on."""
    return tree is not None and tree.get("cvd_version") == GROUP_VERSION


def node_group() -> bpy.types.NodeTree:
    """The grid as a node group, shared by every solve; an older one is brought up to date."""
    tree = owned.find(bpy.data.node_groups, owned.SHARED, "depth_grid")
    if tree is not None and is_current(tree):
        return tree
    if tree is None:
        tree = compat.new_geometry_group("CVD Depth Grid")
        owned.mark(tree, owned.SHARED, "depth_grid")
    had = {item.name for in_out in ("INPUT", "OUTPUT") for item in compat.sockets(tree, in_out)}
    tree["cvd_version"] = GROUP_VERSION
    tree.nodes.clear()
    ensure_socket(tree, "OUTPUT", "NodeSocketGeometry", "Geometry")
    geometry = ensure_socket(tree, "INPUT", "NodeSocketGeometry", "Geometry")
    present(tree.interface, "interface").move(geometry, 0)  # where a modifier looks for it
    for kind, name in SOLVED:
        socket = ensure_socket(tree, "INPUT", f"NodeSocket{kind}", name)
        socket.description = "From the solve; a build sets it again"
        socket.hide_in_modifier = True
    for option in OPTIONS:
        socket = ensure_socket(tree, "INPUT", f"NodeSocket{option.kind}", option.name)
        socket.description, socket.default_value = option.description, option.default
        if option.kind != "Bool":
            socket.min_value = int(option.least) if option.kind == "Int" else option.least
            socket.subtype = option.subtype
    material = ensure_socket(tree, "INPUT", "NodeSocketMaterial", "Material")
    material.description = "Of the whole mesh; its UV map projects the plate"
    _fill(TreeBuilder(tree))
    if had:
        _bring_up_to_date(tree, had)
    return tree


def _bring_up_to_date(tree: bpy.types.NodeTree, had: set[str]) -> None:
    """Give every modifier with an older group, of any scene, the options that the group `had` not."""
    for modifier in (modifier for ob in bpy.data.objects for modifier in ob.modifiers):
        if not isinstance(modifier, bpy.types.NodesModifier) or modifier.node_group != tree:
            continue
        for option in OPTIONS:
            if option.name not in had:
                compat.set_modifier_input(modifier, option.name, option.default)
        if "Cut Depth Edges" not in had and compat.get_modifier_input(modifier, "Depth Edge") <= 0.0:
            # That was how to leave them uncut.
            compat.set_modifier_input(modifier, "Cut Depth Edges", False)
            compat.set_modifier_input(modifier, "Depth Edge", DEPTH_EDGE)


def _fill(build: TreeBuilder) -> None:
    """Write the grid's nodes."""
    inputs = build.node("NodeGroupInput").outputs
    switch = build.node("GeometryNodeSwitch", "Step", input_type="INT")
    build.put(build.node("GeometryNodeIsViewport").outputs[0], switch.inputs["Switch"])
    build.put(inputs["Render Step"], switch.inputs["False"])
    build.put(inputs["Viewport Step"], switch.inputs["True"])
    step = build.math("MAXIMUM", switch.outputs[0], 1.0)

    # One vertex on each step-th pixel centre, one on the last, and a ring around.
    counts = [
        build.math("ADD", build.math("CEIL", build.math("DIVIDE", build.math("SUBTRACT", side, 1.0), step)), 3.0)
        for side in (inputs["Width"], inputs["Height"])
    ]
    lasts = [build.math("SUBTRACT", count, 1.0) for count in counts]
    grid = build.node("GeometryNodeMeshGrid")
    for last, count, axis in zip(lasts, counts, "XY", strict=True):
        # One unit between vertices: a vertex' column and row are its position, which floats hold exactly.
        build.put(last, grid.inputs[f"Size {axis}"])
        build.put(count, grid.inputs[f"Vertices {axis}"])
    position = build.node("ShaderNodeSeparateXYZ")
    build.put(build.node("GeometryNodeInputPosition").outputs[0], position.inputs[0])
    column = build.math("ROUND", build.math("MULTIPLY_ADD", lasts[0], 0.5, position.outputs["X"]))
    row = build.math("ROUND", build.math("SUBTRACT", build.math("MULTIPLY", lasts[1], 0.5), position.outputs["Y"]))
    sampled_u, u = _pixel(build, column, lasts[0], step, inputs["Width"])
    sampled_v, v = _pixel(build, row, lasts[1], step, inputs["Height"])

    uv = build.node("ShaderNodeCombineXYZ", "UV")
    build.put(build.math("DIVIDE", sampled_u, inputs["Width"]), uv.inputs["X"])
    build.put(build.math("SUBTRACT", 1.0, build.math("DIVIDE", sampled_v, inputs["Height"])), uv.inputs["Y"])
    held = inputs["Hold Frame"]
    frame = _switch(
        build, "Frame", held, build.node("GeometryNodeInputSceneTime").outputs["Frame"], inputs["Held Frame"]
    )
    depth = _sample(build, inputs["Depth"], uv.outputs[0], frame)
    # What is left out is given no depth.
    still = build.math("LESS_THAN", _sample(build, inputs["Dynamic"], uv.outputs[0], frame), 0.5)
    depth = _switch(build, "Cut moving?", inputs["Cut Moving"], depth, build.math("MULTIPLY", depth, still))
    depth = _within(build, depth, inputs["Near"], inputs["Far"], inputs["Root"])

    pose = _pose(build, inputs["Geometry"], build.math("SUBTRACT", inputs["Held Frame"], inputs["First Frame"]))
    focal_x = _switch(build, "Focal X", held, inputs["Focal X"], pose.focal_x)
    focal_y = _switch(build, "Focal Y", held, inputs["Focal Y"], pose.focal_y)
    x = build.math("DIVIDE", build.math("SUBTRACT", u, inputs["Center X"]), focal_x)
    y = build.math("DIVIDE", build.math("SUBTRACT", v, inputs["Center Y"]), focal_y)
    x, y = _undistort(build, x, y, *(inputs[name] for name in ("K1", "K2", "P1", "P2")))
    point = build.node("ShaderNodeCombineXYZ", "Camera space")
    build.put(build.math("MULTIPLY", x, depth), point.inputs["X"])
    build.put(build.math("MULTIPLY", build.math("MULTIPLY", y, depth), -1.0), point.inputs["Y"])
    build.put(build.math("MULTIPLY", depth, -1.0), point.inputs["Z"])

    # Before the vertices move: UVs depend on where they are in the grid.
    store = build.node("GeometryNodeStoreNamedAttribute", data_type="FLOAT2", domain="CORNER")
    store.inputs["Name"].default_value = "UVMap"
    build.put(grid.outputs["Mesh"], store.inputs["Geometry"])
    build.put(uv.outputs[0], store.inputs["Value"])
    ring = build.node("GeometryNodeCaptureAttribute", domain="POINT")
    ring.capture_items.new("FLOAT", "Ring")
    build.put(store.outputs[0], ring.inputs["Geometry"])
    beyond = (_beyond(build, index, last) for index, last in zip((column, row), lasts, strict=True))
    build.put(_size(build, *beyond), ring.inputs["Ring"])
    moved = build.node("GeometryNodeSetPosition")
    build.put(ring.outputs["Geometry"], moved.inputs["Geometry"])
    build.put(point.outputs[0], moved.inputs["Position"])

    valued = _delete(build, "No depth", "POINT", moved.outputs[0], _compare(build, "GREATER_THAN", _z(build), -1e-6))
    jumps = _jumps(build, build.math("MULTIPLY", inputs["Depth Edge"], build.math("DIVIDE", step, focal_x)))
    # On a face this is the mean over its edges: one of four is enough.
    cut = _delete(build, "Depth edges", "FACE", valued, _compare(build, "GREATER_THAN", jumps, 0.01))
    mesh = _switch(build, "Cut?", inputs["Cut Depth Edges"], valued, cut, "GEOMETRY")
    spacings = build.math("DIVIDE", inputs["Smoothing"], step)
    smoothed = _smoothed(build, mesh, spacings, jumps, ring.outputs["Ring"])
    smooths = _compare(build, "GREATER_THAN", inputs["Smoothing"], 0.0)
    mesh = _switch(build, "Smooth?", smooths, mesh, smoothed, "GEOMETRY")
    mesh = _switch(build, "Held?", held, mesh, _placed(build, mesh, pose, inputs["Root"]), "GEOMETRY")

    material = build.node("GeometryNodeSetMaterial")
    build.put(mesh, material.inputs["Geometry"])
    build.put(inputs["Material"], material.inputs["Material"])
    build.put(material.outputs[0], build.node("NodeGroupOutput").inputs["Geometry"])
    build.arrange()


@dataclass(frozen=True)
class _Pose:
    """Sockets with what `_write_poses` has written of a frame."""

    location: Any
    rotation: Any
    focal_x: Any
    focal_y: Any


def _pose(build: TreeBuilder, geometry: Any, index: Any) -> _Pose:
    def at(kind: str, value: Any) -> Any:
        sample = build.node("GeometryNodeSampleIndex", data_type=kind, domain="POINT")
        build.put(geometry, sample.inputs["Geometry"])
        build.put(value, sample.inputs["Value"])
        build.put(index, sample.inputs["Index"])
        return sample.outputs[0]

    def named(kind: str, name: str) -> Any:
        attribute = build.node("GeometryNodeInputNamedAttribute", data_type=kind)
        attribute.inputs["Name"].default_value = name
        return at(kind, attribute.outputs["Attribute"])

    focal = build.node("ShaderNodeSeparateXYZ")
    build.put(named("FLOAT_VECTOR", FOCAL), focal.inputs[0])
    location = at("FLOAT_VECTOR", build.node("GeometryNodeInputPosition").outputs[0])
    return _Pose(location, named("QUATERNION", ROTATION), focal.outputs["X"], focal.outputs["Y"])


def _placed(build: TreeBuilder, mesh: Any, pose: _Pose, root: Any) -> Any:
    """The mesh in the space of the camera that was, seen from that of the camera of now, which the object hangs on."""
    turned = build.node("FunctionNodeRotateVector")
    build.put(build.node("GeometryNodeInputPosition").outputs[0], turned.inputs["Vector"])
    build.put(pose.rotation, turned.inputs["Rotation"])
    info = build.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    build.put(root, info.inputs["Object"])
    transformed = build.node("FunctionNodeTransformPoint")
    build.put(_vector(build, "ADD", turned.outputs[0], pose.location), transformed.inputs["Vector"])
    build.put(info.outputs["Transform"], transformed.inputs["Transform"])
    placed = build.node("GeometryNodeSetPosition")
    build.put(mesh, placed.inputs["Geometry"])
    build.put(transformed.outputs[0], placed.inputs["Position"])
    return placed.outputs[0]


def _within(build: TreeBuilder, depth: Any, near: Any, far: Any, root: Any) -> Any:
    """Depth in the solve's unit, 0 where it is not between `near` and `far` in the scene's unit."""
    info = build.node("GeometryNodeObjectInfo", transform_space="ORIGINAL")
    build.put(root, info.inputs["Object"])
    scale = build.node("ShaderNodeSeparateXYZ")
    build.put(info.outputs["Scale"], scale.inputs[0])
    in_scene = build.math("MULTIPLY", depth, scale.outputs["X"])
    limit = _switch(build, "No limit?", _compare(build, "GREATER_THAN", far, 0.0), 1e30, far)
    outside = build.math(
        "MAXIMUM", build.math("LESS_THAN", in_scene, near), build.math("GREATER_THAN", in_scene, limit)
    )
    inside = build.math("MULTIPLY", depth, build.math("SUBTRACT", 1.0, outside))
    return _switch(build, "Limits?", _compare(build, "GREATER_THAN", _size(build, near, far), 0.0), depth, inside)


def _smoothed(build: TreeBuilder, mesh: Any, spacings: Any, jumps: Any, ring: Any) -> Any:
    """Move each vertex along its ray onto the plane that fits its surroundings: mean position and mean normal.

    Only what is connected within one surface counts as surroundings. Whichever those are, on a plane they leave it
    where it is, and since rays are kept, outlines and texture are too.

    Args:
        spacings: standard deviation of the mean, in spacings of the grid.
        jumps: as `_jumps`.
        ring: 1 on the vertices around the image: they repeat the border's depth, so they are not on its plane.
    """
    # Modes that keep all vertices, so that their numbers stay the same.
    apart = _compare(build, "GREATER_THAN", build.math("ADD", jumps, _on_edges(build, ring)), 0.01)
    surfaces = _delete(build, "Apart", "EDGE", mesh, apart, "EDGE_FACE")
    faces = build.node("GeometryNodeInputMeshEdgeNeighbors").outputs["Face Count"]
    # A loose vertex or edge has no normal.
    surfaces = _delete(build, "Loose", "EDGE", surfaces, _compare(build, "LESS_THAN", faces, 0.5), "EDGE_FACE")
    passes = build.math("CEIL", build.math("DIVIDE", build.math("MULTIPLY", spacings, spacings), PASS_VARIANCE))

    def mean(value: Any) -> Any:
        blur = build.node("GeometryNodeBlurAttribute", data_type="FLOAT_VECTOR")
        build.put(value, blur.inputs["Value"])
        build.put(passes, blur.inputs["Iterations"])
        return blur.outputs[0]

    position = build.node("GeometryNodeInputPosition").outputs[0]
    normal = mean(build.node("GeometryNodeInputNormal").outputs["Normal"])
    along = _vector(build, "DOT_PRODUCT", normal, position)
    factor = build.math("DIVIDE", _vector(build, "DOT_PRODUCT", normal, mean(position)), along)
    facing = build.math(
        "DIVIDE",
        build.math("ABSOLUTE", along),
        build.math("MULTIPLY", _vector(build, "LENGTH", normal), _vector(build, "LENGTH", position)),
    )
    faced = _compare(build, "GREATER_THAN", facing, LEAST_FACING)
    sample = build.node("GeometryNodeSampleIndex", data_type="FLOAT", domain="POINT")
    build.put(surfaces, sample.inputs["Geometry"])
    build.put(_switch(build, "Faces the camera?", faced, 1.0, factor), sample.inputs["Value"])
    build.put(build.node("GeometryNodeInputIndex").outputs[0], sample.inputs["Index"])
    scaled = build.node("ShaderNodeVectorMath", operation="SCALE")
    build.put(position, scaled.inputs[0])
    build.put(sample.outputs[0], scaled.inputs["Scale"])
    moved = build.node("GeometryNodeSetPosition")
    build.put(mesh, moved.inputs["Geometry"])
    build.put(scaled.outputs[0], moved.inputs["Position"])
    return moved.outputs[0]


def _sample(build: TreeBuilder, image: Any, uv: Any, frame: Any) -> Any:
    """Value of the picture of a frame; 0 where there is no such picture."""
    texture = build.node("GeometryNodeImageTexture", interpolation="Closest", extension="EXTEND")
    build.put(image, texture.inputs["Image"])
    build.put(uv, texture.inputs["Vector"])
    # Here, unlike in other image users, the frame is the number in the file's name.
    build.put(frame, texture.inputs["Frame"])
    # Not the node's grey value: its luminance weights do not add up to exactly one.
    channels = build.node("FunctionNodeSeparateColor")
    build.put(texture.outputs["Color"], channels.inputs[0])
    return channels.outputs["Red"]


def _pixel(build: TreeBuilder, index: Any, last: Any, step: Any, side: Any) -> tuple[Any, Any]:
    """Pixel coordinate of a column or row of the grid: (where depth is read, where the vertex lies)."""
    along = build.math("MULTIPLY_ADD", build.math("SUBTRACT", index, 1.0), step, 0.5)
    sampled = build.math("MINIMUM", build.math("MAXIMUM", along, 0.5), build.math("SUBTRACT", side, 0.5))
    return sampled, build.math("MULTIPLY_ADD", _beyond(build, index, last), RING_PX, sampled)


def _beyond(build: TreeBuilder, index: Any, last: Any) -> Any:
    """-1 and 1 on the grid's first and last column or row, which lie beyond the image; else 0."""
    return build.math(
        "SUBTRACT",
        build.math("GREATER_THAN", index, build.math("SUBTRACT", last, 0.5)),
        build.math("LESS_THAN", index, 0.5),
    )


def _undistort(build: TreeBuilder, x: Any, y: Any, k1: Any, k2: Any, p1: Any, p2: Any) -> tuple[Any, Any]:
    """Ideal from distorted normalised coordinates.

    The tangential part is small and changes slowly: what it is at the last guess is taken off, and the radial part of
    the rest undone.
    """
    radial = _without_radial(build, x, y, k1, k2)
    ideal = radial
    for _ in range(TANGENTIAL_STEPS):
        r2 = build.math("ADD", *(build.math("MULTIPLY", value, value) for value in ideal))
        shifts = tangential(build, *ideal, r2, p1, p2)
        left_x, left_y = build.math("SUBTRACT", x, shifts[0]), build.math("SUBTRACT", y, shifts[1])
        ideal = _without_radial(build, left_x, left_y, k1, k2)
    off_axis = _compare(build, "GREATER_THAN", _size(build, p1, p2), 0.0)
    chosen = []
    for plain, full in zip(radial, ideal, strict=True):
        chosen.append(_switch(build, "Off its axis?", off_axis, plain, full))
    return chosen[0], chosen[1]


def _without_radial(build: TreeBuilder, x: Any, y: Any, k1: Any, k2: Any) -> tuple[Any, Any]:
    """Newton's method on r (1 + k1 r2 + k2 r4) = r_distorted."""
    target = build.math("SQRT", build.math("ADD", build.math("MULTIPLY", x, x), build.math("MULTIPLY", y, y)))
    radius = target
    for _ in range(NEWTON_STEPS):
        r2 = build.math("MULTIPLY", radius, radius)
        value = build.math("MULTIPLY_ADD", r2, build.math("MULTIPLY_ADD", r2, k2, k1), 1.0)
        slope = build.math(
            "MULTIPLY_ADD",
            r2,
            build.math("MULTIPLY_ADD", r2, build.math("MULTIPLY", k2, 5.0), build.math("MULTIPLY", k1, 3.0)),
            1.0,
        )
        error = build.math("SUBTRACT", build.math("MULTIPLY", radius, value), target)
        radius = build.math("SUBTRACT", radius, build.math("DIVIDE", error, slope))
    scale = build.math("DIVIDE", radius, build.math("MAXIMUM", target, 1e-9))
    # A pinhole plate pays nothing.
    chosen = _switch(build, "Distorted?", _compare(build, "GREATER_THAN", _size(build, k1, k2), 0.0), 1.0, scale)
    return build.math("MULTIPLY", x, chosen), build.math("MULTIPLY", y, chosen)


def _switch(build: TreeBuilder, label: str, on: Any, off_value: Any, on_value: Any, kind: str = "FLOAT") -> Any:
    """One of two values; where `on` is a single value, only the one that is taken is evaluated."""
    node = build.node("GeometryNodeSwitch", label, input_type=kind)
    build.put(on, node.inputs["Switch"])
    build.put(off_value, node.inputs["False"])
    build.put(on_value, node.inputs["True"])
    return node.outputs[0]


def _delete(build: TreeBuilder, label: str, domain: str, mesh: Any, selection: Any, mode: str = "ALL") -> Any:
    node = build.node("GeometryNodeDeleteGeometry", label, domain=domain, mode=mode)
    build.put(mesh, node.inputs["Geometry"])
    build.put(selection, node.inputs["Selection"])
    return node.outputs[0]


def _vector(build: TreeBuilder, operation: str, *values: Any) -> Any:
    node = build.node("ShaderNodeVectorMath", operation=operation)
    for value, socket in zip(values, node.inputs, strict=False):
        build.put(value, socket)
    return node.outputs["Value" if operation in ("DOT_PRODUCT", "LENGTH") else "Vector"]


def _size(build: TreeBuilder, a: Any, b: Any) -> Any:
    return build.math("ADD", build.math("ABSOLUTE", a), build.math("ABSOLUTE", b))


def _z(build: TreeBuilder) -> Any:
    separate = build.node("ShaderNodeSeparateXYZ")
    build.put(build.node("GeometryNodeInputPosition").outputs[0], separate.inputs[0])
    return separate.outputs["Z"]


def _compare(build: TreeBuilder, operation: str, a: Any, b: Any) -> Any:
    node = build.node("FunctionNodeCompare", data_type="FLOAT", operation=operation)
    build.put(a, node.inputs["A"])
    build.put(b, node.inputs["B"])
    return node.outputs[0]


def _on_edges(build: TreeBuilder, value: Any) -> Any:
    node = build.node("GeometryNodeFieldOnDomain", data_type="FLOAT", domain="EDGE")
    build.put(value, node.inputs[0])
    return node.outputs[0]


def _jumps(build: TreeBuilder, threshold: Any) -> Any:
    """1 on edges along which depth changes by more than `threshold`, relative to the nearer end, else 0."""
    ends = build.node("GeometryNodeInputMeshEdgeVertices")
    depths = []
    for end in ("Position 1", "Position 2"):
        separate = build.node("ShaderNodeSeparateXYZ")
        build.put(ends.outputs[end], separate.inputs[0])
        depths.append(build.math("ABSOLUTE", separate.outputs["Z"]))
    change = build.math("ABSOLUTE", build.math("SUBTRACT", depths[0], depths[1]))
    relative = build.math("DIVIDE", change, build.math("MAXIMUM", build.math("MINIMUM", *depths), 1e-9))
    return _on_edges(build, build.math("GREATER_THAN", relative, threshold))
