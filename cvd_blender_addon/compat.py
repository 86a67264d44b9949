# SPDX-License-Identifier: GPL-3.0-or-later
"""Every difference between the Blender versions we support (4.5 to 5.2). No other module asks for a version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import bpy
from bpy_extras import anim_utils

F = TypeVar("F", bound=Callable[..., object])

# The compositor became a node group of its own in 5.0, and options of its nodes became menu sockets.
COMPOSITOR_IS_GROUP = bpy.app.version >= (5, 0, 0)
# Modifier inputs moved from item access to a property group in 5.2.
MODIFIER_INPUTS_ARE_PROPERTIES = bpy.app.version >= (5, 2, 0)
NEAREST_FILTER, LINEAR_FILTER = "Nearest", "Bilinear"
# Materials always have nodes from 5.0 on, and saying so warns.
MATERIALS_ALWAYS_HAVE_NODES = bpy.app.version >= (5, 0, 0)


def persistent(handler: F) -> F:
    """Keep a handler when another file is opened."""
    # Blender's own decorator has no type.
    marked: F = bpy.app.handlers.persistent(handler)
    return marked


def uses_eevee(scene: bpy.types.Scene) -> bool:
    """The scene renders with EEVEE (`BLENDER_EEVEE_NEXT` in 4.5)."""
    return scene.render.engine.startswith("BLENDER_EEVEE")


def enable_nodes(material: bpy.types.Material) -> None:
    """Give the material a node tree."""
    if not MATERIALS_ALWAYS_HAVE_NODES:
        material.use_nodes = True


def enable_world_nodes(world: bpy.types.World) -> None:
    """Give the world a node tree."""
    if not MATERIALS_ALWAYS_HAVE_NODES:
        world.use_nodes = True


# --- animation --------------------------------------------------------------------------------------------------------


def ensure_fcurve(action: bpy.types.Action, block: bpy.types.ID, path: str, index: int = 0) -> bpy.types.FCurve:
    """F-curve of `block` in the slotted `action`, which must already be assigned to it."""
    return action.fcurve_ensure_for_datablock(block, path, index=index)


def remove_fcurve(action: bpy.types.Action, block: bpy.types.ID, path: str) -> None:
    """Remove the F-curve of `path`, if there is one."""
    slot = block.animation_data.action_slot if block.animation_data else None
    bag = anim_utils.action_get_channelbag_for_slot(action, slot) if slot else None
    if bag is None:
        return
    curve = bag.fcurves.find(path)
    if curve is not None:
        bag.fcurves.remove(curve)


def clear_fcurves(action: bpy.types.Action) -> None:
    """Remove all F-curves of a slotted action; its slots stay."""
    for bag in (bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags):
        for curve in list(bag.fcurves):
            bag.fcurves.remove(curve)


# --- clips ------------------------------------------------------------------------------------------------------------


def nuke_distortion(lens: bpy.types.MovieTrackingCamera) -> tuple[float, ...]:
    """All terms of the distortion model Nuke; it has tangential ones from 5.2 on."""
    return tuple(getattr(lens, name) for name in ("nuke_k1", "nuke_k2", "nuke_p1", "nuke_p2") if hasattr(lens, name))


# --- geometry nodes ---------------------------------------------------------------------------------------------------


def _input_identifier(modifier: bpy.types.NodesModifier, name: str) -> str:
    for item in modifier.node_group.interface.items_tree:
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name:
            return str(item.identifier)
    raise KeyError(name)


def set_modifier_input(modifier: bpy.types.NodesModifier, name: str, value: Any) -> None:
    """Set the input called `name` of a Geometry Nodes modifier."""
    identifier = _input_identifier(modifier, name)
    if MODIFIER_INPUTS_ARE_PROPERTIES:
        getattr(modifier.properties.inputs, identifier).value = value
    else:
        modifier[identifier] = value


def modifier_inputs(modifier: bpy.types.NodesModifier) -> dict[str, Any]:
    """Values of all inputs of a Geometry Nodes modifier, by name."""
    return {
        item.name: get_modifier_input(modifier, item.name)
        for item in modifier.node_group.interface.items_tree
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.socket_type != "NodeSocketGeometry"
    }


def get_modifier_input(modifier: bpy.types.NodesModifier, name: str) -> Any:
    """Value of the input called `name` of a Geometry Nodes modifier."""
    identifier = _input_identifier(modifier, name)
    if MODIFIER_INPUTS_ARE_PROPERTIES:
        return getattr(modifier.properties.inputs, identifier).value
    return modifier[identifier]


def modifier_input_property(modifier: bpy.types.NodesModifier, name: str) -> tuple[Any, str]:
    """What `UILayout.prop` takes to draw the input called `name`: (data, property)."""
    identifier = _input_identifier(modifier, name)
    if MODIFIER_INPUTS_ARE_PROPERTIES:
        return getattr(modifier.properties.inputs, identifier), "value"
    return modifier, f'["{identifier}"]'


def modifier_input_path(modifier: bpy.types.NodesModifier, name: str) -> str:
    """Data path, from the object, by which the input called `name` is animated."""
    identifier = _input_identifier(modifier, name)
    if MODIFIER_INPUTS_ARE_PROPERTIES:
        return f'modifiers["{modifier.name}"].properties.inputs.{identifier}.value'
    return f'modifiers["{modifier.name}"]["{identifier}"]'


# --- compositor -------------------------------------------------------------------------------------------------------


def compositor_tree(scene: bpy.types.Scene) -> bpy.types.NodeTree | None:
    """The scene's compositor nodes, None when it has none."""
    if COMPOSITOR_IS_GROUP:
        return scene.compositing_node_group
    return scene.node_tree if scene.node_tree and scene.node_tree.nodes else None


def compositor_is_on(scene: bpy.types.Scene) -> bool:
    """The scene's compositor nodes are used when rendering."""
    return bool(scene.render.use_compositing and (COMPOSITOR_IS_GROUP or scene.use_nodes))


def new_compositor_tree(scene: bpy.types.Scene, name: str) -> tuple[bpy.types.NodeTree, bpy.types.NodeSocket]:
    """Give a scene without compositor nodes an empty tree.

    Returns:
        The tree, and the socket that takes the final image.
    """
    if COMPOSITOR_IS_GROUP:
        tree = bpy.data.node_groups.new(name, "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        scene.compositing_node_group = tree
        return tree, tree.nodes.new("NodeGroupOutput").inputs["Image"]
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()  # the two nodes that switching on has just made
    return tree, tree.nodes.new("CompositorNodeComposite").inputs["Image"]


def add_dilate(tree: bpy.types.NodeTree, size: int) -> bpy.types.Node:
    """Node that takes the maximum over `size` pixels around each."""
    node = tree.nodes.new("CompositorNodeDilateErode")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Type"].default_value = "Steps"
    else:
        node.mode = "STEP"
    node.inputs["Size"].default_value = size
    return node


def add_disc_blur(tree: bpy.types.NodeTree) -> bpy.types.Node:
    """Node that takes the mean over a disc; its input Size may be an image of radii."""
    node = tree.nodes.new("CompositorNodeBlur")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Type"].default_value = "Flat"
    else:
        node.filter_type = "FLAT"
    return node


def add_map_uv(tree: bpy.types.NodeTree, filtering: str) -> bpy.types.Node:
    """Node that looks an image up at UVs, by NEAREST_FILTER or LINEAR_FILTER."""
    node = tree.nodes.new("CompositorNodeMapUV")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Interpolation"].default_value = filtering
    else:
        node.filter_type = {NEAREST_FILTER: "NEAREST", LINEAR_FILTER: "ANISOTROPIC"}[filtering]
    return node


def add_scale_to_render(tree: bpy.types.NodeTree) -> bpy.types.Node:
    """Node that stretches an image to the size of the render."""
    node = tree.nodes.new("CompositorNodeScale")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Type"].default_value = "Render Size"
        node.inputs["Frame Type"].default_value = "Stretch"
        # Otherwise a resampled border is half transparent; 4.5 has no such choice.
        node.inputs["Extension X"].default_value = node.inputs["Extension Y"].default_value = "Extend"
    else:
        node.space = "RENDER_SIZE"
        node.frame_method = "STRETCH"
    return node


def add_multiply_alpha(tree: bpy.types.NodeTree) -> bpy.types.Node:
    """Node that multiplies an image, colour and alpha, by its input Alpha."""
    node = tree.nodes.new("CompositorNodeSetAlpha")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Type"].default_value = "Apply Mask"
    else:
        node.mode = "APPLY"
    return node


def add_alpha_over(tree: bpy.types.NodeTree) -> tuple[bpy.types.Node, bpy.types.NodeSocket, bpy.types.NodeSocket]:
    """Node that lays one premultiplied image over another: (node, background socket, foreground socket)."""
    node = tree.nodes.new("CompositorNodeAlphaOver")
    background, foreground = (0, 1) if COMPOSITOR_IS_GROUP else (1, 2)
    return node, node.inputs[background], node.inputs[foreground]


def add_grey_output(
    tree: bpy.types.NodeTree, folder: Path, name: str, bits: int, file_format: str = "PNG"
) -> tuple[bpy.types.Node, bpy.types.NodeSocket]:
    """Node that writes values as they are to `folder/name_0001.png`, 8 or 16 bit, on render: (node, its input).

    `file_format` PNG or OPEN_EXR (16 bit: half floats).
    """
    node = tree.nodes.new("CompositorNodeOutputFile")
    # Without the #, 5.x leaves the number out of stills.
    file_name = f"{name}_####"
    if COMPOSITOR_IS_GROUP:
        node.directory = str(folder)
        node.file_name = ""
        node.format.media_type = "IMAGE"
        node.file_output_items.clear()
        node.file_output_items.new("FLOAT", file_name)
    else:
        node.base_path = str(folder)
        node.file_slots.clear()
        node.file_slots.new(file_name)
    node.format.file_format = file_format
    node.format.color_mode = "BW"
    node.format.color_depth = str(bits)
    return node, node.inputs[0]
