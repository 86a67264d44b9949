# SPDX-License-Identifier: GPL-3.0-or-later
"""CG over the plate, hidden where the solved depth is nearer.

Depth is compared as disparity, 1/z: no value (0) is then infinitely far by itself. Two things keep edges soft. A
rendered depth is one sample per pixel, so on CG's own antialiased rim it may say "nothing here": there the depth of the
neighbours is used. And the yes-or-no result along an occluder's edge is antialiased before it multiplies CG.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .. import compat
from ..solve_reader import Solve
from . import depth_mesh, owned, plate
from .camera import assign_action, find_root, set_keys
from .layers import background_layer, foreground_layer
from .nodes import TreeBuilder, ensure_socket, tangential
from .occlusion import HOLDOUT
from .plate import Report

# Wider than any pixel filter reaches, so that the whole soft rim of CG finds a depth.
RIM_PX = 2
# A rendered depth beyond this is the sky.
SKY = 1e9
NO_HIT = 1e-8


def find_group_node(scene: bpy.types.Scene, solve: Solve) -> Any | None:
    """The group's node in the scene's compositor, if it has been built."""
    tree = compat.compositor_tree(scene)
    group = owned.find(bpy.data.node_groups, solve.key, "compositor")
    if tree is None or group is None:
        return None
    return next((node for node in tree.nodes if getattr(node, "node_tree", None) == group), None)


def build(scene: bpy.types.Scene, solve: Solve, mode: str, report: Report) -> Any | None:
    """Make or update the group and put it into the scene's compositor, which otherwise is left as it is.

    Args:
        mode: COMPOSITOR compares depths; HOLDOUT leaves the cutting to the held-out mesh.

    Returns:
        The group's node (inputs CG, CG Depth, Shadows, Depth Compare; outputs Image, Matte, Plate, Dynamic Matte);
        None without a plate.
    """
    clip = plate.ensure_clip(solve)
    if clip is None:
        report("WARNING", f"No compositor group: the plate {solve.source.path} is missing")
        return None
    group = _group(scene, solve, clip)
    scene.render.film_transparent = True
    foreground_layer(scene).use_pass_z = True
    node = find_group_node(scene, solve)
    if node is None:
        node = _place(scene, solve, group, report)
    set_mode(scene, solve, mode)
    if not compat.compositor_is_on(scene):
        report("WARNING", "The scene's compositor is switched off: the composite will not be rendered")
    return node


def set_mode(scene: bpy.types.Scene, solve: Solve, mode: str) -> None:
    """Let the group, if it has been built, compare depths or leave the cutting to the held-out mesh."""
    node = find_group_node(scene, solve)
    if node is not None:
        node.inputs["Depth Compare"].default_value = 0.0 if mode == HOLDOUT else 1.0


def write_matte(scene: bpy.types.Scene, solve: Solve, folder: Path) -> None:
    """Let every render also write the matte (visible share of CG, 0..1, linear) to `folder/matte_0001.png`, 16 bit.

    Raises:
        ValueError: the compositor group has not been built.
    """
    node = find_group_node(scene, solve)
    tree = compat.compositor_tree(scene)
    if node is None or tree is None:
        raise ValueError("build the compositor group first")
    for other in [other for other in tree.nodes if other.get(owned.ROLE) == "matte"]:
        tree.nodes.remove(other)
    output, socket = compat.add_grey_output(tree, folder, "matte", bits=16)
    owned.mark(output, solve.key, "matte")
    output.location = (node.location.x + 300, node.location.y - 300)
    tree.links.new(node.outputs["Matte"], socket)


def _place(scene: bpy.types.Scene, solve: Solve, group: bpy.types.NodeTree, report: Report) -> Any:
    """Put the group into the scene's tree, or into a new tree that ends in it."""
    tree = compat.compositor_tree(scene)
    final = None
    if tree is None:
        tree, final = compat.new_compositor_tree(scene, "CVD Compositing")
        scene.render.use_compositing = True
    build = TreeBuilder(tree)
    node = build.node("CompositorNodeGroup", node_tree=group)
    node.width = 200
    layers = []
    for layer in (foreground_layer(scene), background_layer(scene)):
        source = build.node("CompositorNodeRLayers", layer.name)
        source.scene, source.layer = scene, layer.name
        layers.append(source)
    build.put(layers[0].outputs["Image"], node.inputs["CG"])
    build.put(layers[0].outputs["Depth"], node.inputs["CG Depth"])
    build.put(layers[1].outputs["Image"], node.inputs["Shadows"])
    if final is not None:
        build.put(node.outputs["Image"], final)
        build.arrange()
        return node
    left = min(other.location.x for other in tree.nodes)
    bottom = min(other.location.y for other in tree.nodes) - 500
    for new, x, y in ((layers[0], left, bottom), (layers[1], left, bottom - 400), (node, left + 350, bottom)):
        new.location = (x, y)
    report("INFO", f"The compositor has nodes already: connect Image of the node {group.name} where you want it")
    return node


def _group(scene: bpy.types.Scene, solve: Solve, clip: bpy.types.MovieClip) -> bpy.types.NodeTree:
    tree = owned.find(bpy.data.node_groups, solve.key, "compositor")
    if tree is None:
        tree = bpy.data.node_groups.new(f"CVD Composite {solve.name}", "CompositorNodeTree")
        owned.mark(tree, solve.key, "compositor")
    if tree.animation_data:
        tree.animation_data_clear()
    tree.nodes.clear()
    ensure_socket(tree, "INPUT", "NodeSocketColor", "CG", (0.0, 0.0, 0.0, 0.0))
    ensure_socket(tree, "INPUT", "NodeSocketFloat", "CG Depth", 1e10)
    ensure_socket(tree, "INPUT", "NodeSocketColor", "Shadows", (0.0, 0.0, 0.0, 0.0))
    ensure_socket(tree, "INPUT", "NodeSocketFloat", "Depth Compare", 1.0)
    ensure_socket(tree, "OUTPUT", "NodeSocketColor", "Image")
    ensure_socket(tree, "OUTPUT", "NodeSocketFloat", "Matte")
    ensure_socket(tree, "OUTPUT", "NodeSocketColor", "Plate")
    ensure_socket(tree, "OUTPUT", "NodeSocketFloat", "Dynamic Matte")
    build = TreeBuilder(tree)
    inputs = build.node("NodeGroupInput").outputs
    outputs = build.node("NodeGroupOutput").inputs

    source = build.node("CompositorNodeMovieClip", "Plate", clip=clip).outputs["Image"]
    distortion = _distortion(build, solve, source) if solve.lens.distorted else None
    plate_image = _to_render(build, distortion, source, compat.LINEAR_FILTER)
    visible = _visible(build, inputs["CG Depth"], _scene_disparity(build, scene, solve, distortion))
    kept = build.math("MAXIMUM", visible, build.math("SUBTRACT", 1.0, inputs["Depth Compare"]), label="Kept")

    cut = compat.add_multiply_alpha(tree)
    build.put(inputs["CG"], cut.inputs["Image"])
    build.put(kept, cut.inputs["Alpha"])
    shadowed, background, foreground = compat.add_alpha_over(tree)
    build.put(plate_image, background)
    build.put(inputs["Shadows"], foreground)
    over, background, foreground = compat.add_alpha_over(tree)
    build.put(shadowed.outputs[0], background)
    build.put(cut.outputs[0], foreground)
    alpha = build.node("CompositorNodeSeparateColor", "Matte")
    build.put(cut.outputs[0], alpha.inputs[0])

    build.put(over.outputs[0], outputs["Image"])
    build.put(alpha.outputs["Alpha"], outputs["Matte"])
    build.put(plate_image, outputs["Plate"])
    build.put(_dynamic_matte(build, solve, distortion) if solve.dynamic_frames else 0.0, outputs["Dynamic Matte"])
    build.arrange()
    return tree


def _distortion(build: TreeBuilder, solve: Solve, source: Any) -> Any:
    """Where on the distorted plate each pixel of a pinhole's image lies, as an image of UVs.

    Not the Movie Distortion node: measured in 4.5 to 5.2, it shifts an image by up to half a pixel.
    """
    lens, width, height = solve.lens, solve.source.width, solve.source.height
    coordinates = build.node("CompositorNodeImageCoordinates")
    build.put(source, coordinates.inputs["Image"])
    at = build.node("ShaderNodeSeparateXYZ")
    build.put(coordinates.outputs["Normalized"], at.inputs[0])
    focal = build.node("ShaderNodeValue", "Focal length, pixels")
    focal.name = "Focal"
    focal.outputs[0].default_value = lens.fx
    if lens.focal_varies:
        _key_focal(build.tree, solve)
    focals = (focal.outputs[0], build.math("MULTIPLY", focal.outputs[0], lens.fy / lens.fx))
    # UVs run upwards, so the principal point is measured from the bottom, and y and p1 change sign.
    centres = (lens.cx, height - lens.cy)
    ideal = [
        build.math("DIVIDE", build.math("MULTIPLY_ADD", at.outputs[axis], float(side), -centre), focal_length)
        for axis, side, centre, focal_length in zip("XY", (width, height), centres, focals, strict=True)
    ]
    r2 = build.math("MULTIPLY_ADD", ideal[0], ideal[0], build.math("MULTIPLY", ideal[1], ideal[1]))
    radial = build.math("MULTIPLY_ADD", r2, build.math("MULTIPLY_ADD", r2, lens.k2, lens.k1), 1.0, label="Distortion")
    bent = [build.math("MULTIPLY", value, radial) for value in ideal]
    if lens.tangential:
        shifts = tangential(build, ideal[0], ideal[1], r2, -lens.p1, lens.p2)
        bent = [build.math("ADD", value, shift) for value, shift in zip(bent, shifts, strict=True)]
    uv = build.node("ShaderNodeCombineXYZ")
    uv.inputs["Z"].default_value = 1.0  # Map UV takes it for alpha
    for socket, value, side, centre, focal_length in zip(
        uv.inputs, bent, (width, height), centres, focals, strict=False
    ):
        pixels = build.math("MULTIPLY_ADD", value, focal_length, centre)
        build.put(build.math("DIVIDE", pixels, float(side)), socket)
    return uv.outputs[0]


def _key_focal(tree: bpy.types.NodeTree, solve: Solve) -> None:
    action = owned.find(bpy.data.actions, solve.key, "compositor")
    if action is None:
        action = bpy.data.actions.new(f"CVD Distortion {solve.name}")
        owned.mark(action, solve.key, "compositor")
    assign_action(tree, action)
    frames = [float(frame.number) for frame in solve.registered]
    lengths = [frame.focal_px or solve.lens.fx for frame in solve.registered]
    set_keys(action, tree, 'nodes["Focal"].outputs[0].default_value', 0, frames, lengths)


def _to_render(build: TreeBuilder, distortion: Any | None, image: Any, filtering: str) -> Any:
    """Bring an image on the plate's grid to what the camera sees: no distortion, render size."""
    if distortion is not None:
        mapped = compat.add_map_uv(build.tree, filtering)
        build.put(image, mapped.inputs["Image"])
        build.put(distortion, mapped.inputs["UV"])
        image = mapped.outputs[0]
    scale = compat.add_scale_to_render(build.tree)
    build.put(image, scale.inputs["Image"])
    return scale.outputs[0]


def _scene_disparity(build: TreeBuilder, scene: bpy.types.Scene, solve: Solve, distortion: Any | None) -> Any:
    """Disparity of what is real, in scene units; 0 where depth has no value."""
    depth = _values(build, solve, "Depth", depth_mesh.depth_image(solve))
    disparity = build.math(
        "DIVIDE", build.math("GREATER_THAN", depth, 1e-6), build.math("MAXIMUM", depth, 1e-6), label="Disparity"
    )
    # Nearest: between two surfaces there is no depth that would be right.
    disparity = _to_render(build, distortion, disparity, compat.NEAREST_FILTER)
    return build.math("DIVIDE", disparity, _root_scale(build, scene, solve))


def _dynamic_matte(build: TreeBuilder, solve: Solve, distortion: Any | None) -> Any:
    """What moves by itself, 0..1; 0 on a frame without a matte."""
    matte = _values(build, solve, "Dynamic Matte", depth_mesh.dynamic_image(solve))
    return _to_render(build, distortion, matte, compat.LINEAR_FILTER)


def _values(build: TreeBuilder, solve: Solve, label: str, image: bpy.types.Image) -> Any:
    """The one channel of a sequence of the solve, on the plate's grid; 0 on a frame without a file."""
    node = build.node("CompositorNodeImage", label, image=image)
    plate.set_image_frames(node, solve)
    channels = build.node("CompositorNodeSeparateColor")
    build.put(node.outputs["Image"], channels.inputs[0])
    return channels.outputs["Red"]


def _root_scale(build: TreeBuilder, scene: bpy.types.Scene, solve: Solve) -> Any:
    """The scale of the root, by a driver: depth is in the units of the solve, CG in those of the scene."""
    node = build.node("ShaderNodeValue", "Scale of the root")
    node.name = "Root Scale"
    node.outputs[0].default_value = 1.0
    driver = build.tree.driver_add('nodes["Root Scale"].outputs[0].default_value').driver
    variable = driver.variables.new()
    variable.name = "scale"
    variable.type = "TRANSFORMS"
    variable.targets[0].id = find_root(scene, solve)
    variable.targets[0].transform_type = "SCALE_AVG"
    variable.targets[0].transform_space = "WORLD_SPACE"
    driver.expression = "scale"  # a lone name needs no permission to run scripts
    return node.outputs[0]


def _visible(build: TreeBuilder, cg_depth: Any, scene_disparity: Any) -> Any:
    """Share of each pixel, 0..1, in which CG is not hidden; 1 where there is no CG."""
    hit = build.math("LESS_THAN", cg_depth, SKY)
    own = build.math("DIVIDE", hit, build.math("MAXIMUM", cg_depth, 1e-6), label="CG disparity")
    dilate = compat.add_dilate(build.tree, RIM_PX)
    build.put(own, dilate.inputs["Mask"])
    rim = build.math("MULTIPLY", dilate.outputs[0], build.math("SUBTRACT", 1.0, hit))
    disparity = build.math("ADD", own, rim, label="with rim")
    hidden = build.math(
        "MULTIPLY",
        build.math("GREATER_THAN", scene_disparity, disparity),
        build.math("GREATER_THAN", disparity, NO_HIT),
        label="Hidden",
    )
    smooth = build.node("CompositorNodeAntiAliasing")
    build.put(build.math("SUBTRACT", 1.0, hidden), smooth.inputs["Image"])
    channels = build.node("CompositorNodeSeparateColor")
    build.put(smooth.outputs[0], channels.inputs[0])
    return channels.outputs["Red"]
