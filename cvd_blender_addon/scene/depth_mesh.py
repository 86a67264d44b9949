# SPDX-License-Identifier: GPL-3.0-or-later
"""The depth mesh: one Geometry Nodes grid in camera space that reads the depth of the current frame from its EXR.

Nothing is stored per frame, so it costs no memory in the .blend, works without the add-on, and shows nothing on a frame
that has no depth.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .. import compat
from ..solve_reader import Solve
from . import owned, plate
from .camera import assign_action, find_camera, set_keys
from .layers import ensure_collections
from .nodes import TreeBuilder, ensure_socket, tangential

GROUP_VERSION = 3
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
        compat.set_modifier_input(ob.modifiers[MODIFIER], "Material", plate_material(solve, "emission"))
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
    """One object with the grid, in the camera's space; the user's steps, edge and material survive an update.

    Args:
        depth_edge: as DEPTH_EDGE; 0 = uncut.
        cut_moving: leave out what moves by itself.

    Returns:
        The object, and whether it is new.
    """
    ob, new = owned.ensure_object(scene, collection, solve.key, role, name, bpy.data.meshes.new)
    if ob.parent is None:  # new, or the camera was deleted and made again
        ob.parent = find_camera(scene, solve)
    if new:
        modifier = ob.modifiers.new(MODIFIER, "NODES")
        modifier.node_group = node_group()
        compat.set_modifier_input(modifier, "Viewport Step", VIEWPORT_STEP)
        compat.set_modifier_input(modifier, "Render Step", RENDER_STEP)
        compat.set_modifier_input(modifier, "Depth Edge", depth_edge)
    node_group()
    modifier = ob.modifiers[MODIFIER]
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
    }
    if solve.dynamic_frames:
        values["Dynamic"] = dynamic_image(solve)
    for key, value in values.items():
        compat.set_modifier_input(modifier, key, value)
    if solve.lens.focal_varies:
        _key_focal(ob, modifier, solve, role, scale_x, scale_y)
    ob.update_tag()
    return ob, new


def depth_image(solve: Solve) -> bpy.types.Image:
    """The depth EXR sequence as an image."""
    return _sequence(solve, "depth", f"CVD Depth {solve.name}", solve.depth_frames[0].depth)


def dynamic_image(solve: Solve) -> bpy.types.Image:
    """The mattes of what moves by itself as an image; `solve.dynamic_frames` must not be empty."""
    return _sequence(solve, "dynamic", f"CVD Dynamic {solve.name}", solve.dynamic_frames[0].dynamic)


def _sequence(solve: Solve, role: str, name: str, file: Path | None) -> bpy.types.Image:
    """The sequence that `file` is part of, as an image of values, loaded once and up to date."""
    path = str(file)
    image = owned.find(bpy.data.images, solve.key, role)
    if image is None:
        image = bpy.data.images.load(path)
        owned.mark(image, solve.key, role)
        image.name = name
    elif bpy.path.abspath(image.filepath) != path:
        image.filepath = path
    image.source = "SEQUENCE"
    image.colorspace_settings.name = "Non-Color"
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
        compat.enable_nodes(material)
        material.node_tree.nodes.clear()
        build = TreeBuilder(material.node_tree)
        uv = build.node("ShaderNodeUVMap", uv_map="UVMap")
        texture = build.node("ShaderNodeTexImage", image=image, extension="EXTEND")
        build.put(uv.outputs[0], texture.inputs["Vector"])
        shader = build.node("ShaderNodeEmission" if kind == "emission" else "ShaderNodeBsdfDiffuse")
        build.put(texture.outputs["Color"], shader.inputs["Color"])
        build.put(shader.outputs[0], build.node("ShaderNodeOutputMaterial").inputs["Surface"])
        build.arrange()
    for node in material.node_tree.nodes:
        if node.type == "TEX_IMAGE" and node.image == image:
            plate.set_image_frames(node.image_user, solve)
    return material


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


def node_group() -> bpy.types.NodeTree:
    """The grid as a node group, shared by every solve; an older one is brought up to date."""
    tree = owned.find(bpy.data.node_groups, owned.SHARED, "depth_grid")
    if tree is not None and tree.get("cvd_version") == GROUP_VERSION:
        return tree
    if tree is None:
        tree = bpy.data.node_groups.new("CVD Depth Grid", "GeometryNodeTree")
        owned.mark(tree, owned.SHARED, "depth_grid")
        tree.is_modifier = True
    tree["cvd_version"] = GROUP_VERSION
    tree.nodes.clear()
    ensure_socket(tree, "OUTPUT", "NodeSocketGeometry", "Geometry")
    for kind, name in (
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
        ("Int", "Viewport Step"),
        ("Int", "Render Step"),
        ("Float", "Depth Edge"),
        ("Material", "Material"),
        ("Image", "Dynamic"),
        ("Bool", "Cut Moving"),
    ):
        ensure_socket(tree, "INPUT", f"NodeSocket{kind}", name)
    _fill(TreeBuilder(tree))
    return tree


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
    depth = _sample(build, inputs["Depth"], uv.outputs[0])
    still = build.math("LESS_THAN", _sample(build, inputs["Dynamic"], uv.outputs[0]), 0.5)
    # What is left out is given no depth. A switch on a single value evaluates one side only.
    choose = build.node("GeometryNodeSwitch", "Cut moving?", input_type="FLOAT")
    build.put(inputs["Cut Moving"], choose.inputs["Switch"])
    build.put(depth, choose.inputs["False"])
    build.put(build.math("MULTIPLY", depth, still), choose.inputs["True"])
    depth = choose.outputs[0]

    x = build.math("DIVIDE", build.math("SUBTRACT", u, inputs["Center X"]), inputs["Focal X"])
    y = build.math("DIVIDE", build.math("SUBTRACT", v, inputs["Center Y"]), inputs["Focal Y"])
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
    moved = build.node("GeometryNodeSetPosition")
    build.put(store.outputs[0], moved.inputs["Geometry"])
    build.put(point.outputs[0], moved.inputs["Position"])

    valued = build.node("GeometryNodeDeleteGeometry", "No depth", domain="POINT")
    build.put(moved.outputs[0], valued.inputs["Geometry"])
    build.put(_compare(build, "GREATER_THAN", _z(build), -1e-6), valued.inputs["Selection"])

    cut = build.node("GeometryNodeDeleteGeometry", "Depth edges", domain="FACE")
    build.put(valued.outputs[0], cut.inputs["Geometry"])
    spacing = build.math("DIVIDE", step, inputs["Focal X"])
    build.put(_depth_edges(build, build.math("MULTIPLY", inputs["Depth Edge"], spacing)), cut.inputs["Selection"])
    choose = build.node("GeometryNodeSwitch", "Cut?", input_type="GEOMETRY")
    build.put(_compare(build, "GREATER_THAN", inputs["Depth Edge"], 0.0), choose.inputs["Switch"])
    build.put(valued.outputs[0], choose.inputs["False"])
    build.put(cut.outputs[0], choose.inputs["True"])

    material = build.node("GeometryNodeSetMaterial")
    build.put(choose.outputs[0], material.inputs["Geometry"])
    build.put(inputs["Material"], material.inputs["Material"])
    build.put(material.outputs[0], build.node("NodeGroupOutput").inputs["Geometry"])
    build.arrange()


def _sample(build: TreeBuilder, image: Any, uv: Any) -> Any:
    """Value of the picture of the current frame; 0 where there is no such picture."""
    texture = build.node("GeometryNodeImageTexture", interpolation="Closest", extension="EXTEND")
    build.put(image, texture.inputs["Image"])
    build.put(uv, texture.inputs["Vector"])
    # Here, unlike in other image users, the frame is the number in the file's name.
    build.put(build.node("GeometryNodeInputSceneTime").outputs["Frame"], texture.inputs["Frame"])
    # Not the node's grey value: its luminance weights do not add up to exactly one.
    channels = build.node("FunctionNodeSeparateColor")
    build.put(texture.outputs["Color"], channels.inputs[0])
    return channels.outputs["Red"]


def _pixel(build: TreeBuilder, index: Any, last: Any, step: Any, side: Any) -> tuple[Any, Any]:
    """Pixel coordinate of a column or row of the grid: (where depth is read, where the vertex lies)."""
    along = build.math("MULTIPLY_ADD", build.math("SUBTRACT", index, 1.0), step, 0.5)
    sampled = build.math("MINIMUM", build.math("MAXIMUM", along, 0.5), build.math("SUBTRACT", side, 0.5))
    beyond = build.math(
        "SUBTRACT",
        build.math("GREATER_THAN", index, build.math("SUBTRACT", last, 0.5)),
        build.math("LESS_THAN", index, 0.5),
    )
    return sampled, build.math("MULTIPLY_ADD", beyond, RING_PX, sampled)


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
        choose = build.node("GeometryNodeSwitch", "Off its axis?", input_type="FLOAT")
        build.put(off_axis, choose.inputs["Switch"])
        build.put(plain, choose.inputs["False"])
        build.put(full, choose.inputs["True"])
        chosen.append(choose.outputs[0])
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
    # A switch on a single value evaluates one side only, so a pinhole plate pays nothing.
    choose = build.node("GeometryNodeSwitch", "Distorted?", input_type="FLOAT")
    build.put(_compare(build, "GREATER_THAN", _size(build, k1, k2), 0.0), choose.inputs["Switch"])
    choose.inputs["False"].default_value = 1.0
    build.put(scale, choose.inputs["True"])
    return build.math("MULTIPLY", x, choose.outputs[0]), build.math("MULTIPLY", y, choose.outputs[0])


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


def _depth_edges(build: TreeBuilder, threshold: Any) -> Any:
    """Faces with an edge along which depth changes by more than `threshold`, relative to the nearer end."""
    ends = build.node("GeometryNodeInputMeshEdgeVertices")
    depths = []
    for end in ("Position 1", "Position 2"):
        separate = build.node("ShaderNodeSeparateXYZ")
        build.put(ends.outputs[end], separate.inputs[0])
        depths.append(build.math("ABSOLUTE", separate.outputs["Z"]))
    change = build.math("ABSOLUTE", build.math("SUBTRACT", depths[0], depths[1]))
    relative = build.math("DIVIDE", change, build.math("MAXIMUM", build.math("MINIMUM", *depths), 1e-9))
    on_edges = build.node("GeometryNodeFieldOnDomain", data_type="FLOAT", domain="EDGE")
    build.put(build.math("GREATER_THAN", relative, threshold), on_edges.inputs[0])
    # On a face this is the mean over its edges: one of four is enough.
    return _compare(build, "GREATER_THAN", on_edges.outputs[0], 0.01)
