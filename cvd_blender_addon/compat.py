# SPDX-License-Identifier: GPL-3.0-or-later
"""Every difference between the Blender versions we support (4.5 to 5.2). No other module asks for a version.

The types that are checked against (fake-bpy-module) are those of 4.5: what later versions have goes by `_newer`. Also
here is what these types do not know at all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import bpy
from bpy_extras import anim_utils

from .present import present

F = TypeVar("F", bound=Callable[..., object])

# The compositor became a node group of its own in 5.0, and options of its nodes became menu sockets.
COMPOSITOR_IS_GROUP = bpy.app.version >= (5, 0, 0)
# Modifier inputs moved from item access to a property group in 5.2.
MODIFIER_INPUTS_ARE_PROPERTIES = bpy.app.version >= (5, 2, 0)
NEAREST_FILTER, LINEAR_FILTER = "Nearest", "Bilinear"
# Materials always have nodes from 5.0 on, and saying so warns.
MATERIALS_ALWAYS_HAVE_NODES = bpy.app.version >= (5, 0, 0)


def _newer(struct: object) -> Any:
    """The same, with names that came or changed after 4.5."""
    return struct


# --- what the types do not know ---------------------------------------------------------------------------------------

MOVIES: frozenset[str] = frozenset(vars(bpy.path)["extensions_movie"])
PICTURES: frozenset[str] = frozenset(vars(bpy.path)["extensions_image"])


def operator(name: str) -> Any:
    """An operator of an add-on, such as `cvd.import_solve`."""
    module, function = name.split(".")
    return getattr(getattr(bpy.ops, module), function)


def new_node(tree: bpy.types.NodeTree, idname: str) -> Any:
    """A new node. Which class it has follows from `idname`, and what it can be told from the version."""
    return tree.nodes.new(idname)


def sockets(tree: bpy.types.NodeTree, in_out: str) -> list[Any]:
    """The interface sockets of a node group, of a class for each type of socket; `in_out` INPUT or OUTPUT."""
    items = present(tree.interface, "interface").items_tree
    return [item for item in items if isinstance(item, bpy.types.NodeTreeInterfaceSocket) and item.in_out == in_out]


def colour_space(block: bpy.types.Image | bpy.types.MovieClip) -> Any:
    """How the colours of a file are to be read. Which names there are follows from the colour configuration."""
    return block.colorspace_settings


def view_settings(scene: bpy.types.Scene) -> Any:
    """How a render is shown. Which names there are follows from the colour configuration."""
    return scene.view_settings


def pixels_of(image: bpy.types.Image) -> Any:
    """All values of an image, in which the types see a single number."""
    return image.pixels


def of_cycles(struct: bpy.types.Scene | bpy.types.ViewLayer) -> Any:
    """What Cycles, an add-on, keeps there."""
    return struct.cycles


def is_job_running(kind: str) -> bool:
    """Blender is at a job such as RENDER."""
    app: Any = bpy.app
    return bool(app.is_job_running(kind))


# --- settings ---------------------------------------------------------------------------------------------------------


def persistent(handler: F) -> F:
    """Keep a handler when another file is opened."""
    # Blender's own decorator has no type.
    marked: F = bpy.app.handlers.persistent(handler)
    return marked


def uses_eevee(scene: bpy.types.Scene) -> bool:
    """The scene renders with EEVEE (`BLENDER_EEVEE_NEXT` in 4.5)."""
    return scene.render.engine.startswith("BLENDER_EEVEE")


def uses_cycles(scene: bpy.types.Scene) -> bool:
    """The scene renders with Cycles, which is an add-on to Blender's own engines."""
    return str(scene.render.engine) == "CYCLES"


def enable_nodes(material: bpy.types.Material) -> None:
    """Give the material a node tree."""
    if not MATERIALS_ALWAYS_HAVE_NODES:
        material.use_nodes = True


def enable_world_nodes(world: bpy.types.World) -> None:
    """Give the world a node tree."""
    if not MATERIALS_ALWAYS_HAVE_NODES:
        world.use_nodes = True


def nodes_of(block: bpy.types.Material | bpy.types.World) -> bpy.types.NodeTree:
    """The node tree of a material or world that has been given one."""
    return present(block.node_tree, "node tree")


def render_with_cycles(scene: bpy.types.Scene) -> None:
    """Choose Cycles."""
    render: Any = scene.render
    render.engine = "CYCLES"


# --- animation --------------------------------------------------------------------------------------------------------


def animation_of(block: bpy.types.ID) -> bpy.types.AnimData | None:
    """The animation of a data-block; None where it has none, or is of a kind that cannot be animated."""
    data: bpy.types.AnimData | None = getattr(block, "animation_data", None)
    return data


def ensure_fcurve(action: bpy.types.Action, block: bpy.types.ID, path: str, index: int = 0) -> bpy.types.FCurve:
    """F-curve of `block` in the slotted `action`, which must already be assigned to it."""
    return action.fcurve_ensure_for_datablock(block, path, index=index)


def remove_fcurve(action: bpy.types.Action, block: bpy.types.ID, path: str) -> None:
    """Remove the F-curve of `path`, if there is one."""
    data = animation_of(block)
    slot = data.action_slot if data else None
    utils: Any = anim_utils
    bag = utils.action_get_channelbag_for_slot(action, slot) if slot else None
    if bag is None:
        return
    curve = bag.fcurves.find(path)
    if curve is not None:
        bag.fcurves.remove(curve)


def clear_fcurves(action: bpy.types.Action) -> None:
    """Remove all F-curves of a slotted action; its slots stay."""
    strips = (strip for layer in action.layers for strip in layer.strips)
    for bag in (
        bag for strip in strips if isinstance(strip, bpy.types.ActionKeyframeStrip) for bag in strip.channelbags
    ):
        for curve in list(bag.fcurves):
            bag.fcurves.remove(curve)


# --- clips ------------------------------------------------------------------------------------------------------------


def nuke_distortion(lens: bpy.types.MovieTrackingCamera) -> tuple[float, ...]:
    """All terms of the distortion model Nuke; it has tangential ones from 5.2 on."""
    return tuple(getattr(lens, name) for name in ("nuke_k1", "nuke_k2", "nuke_p1", "nuke_p2") if hasattr(lens, name))


# --- geometry nodes ---------------------------------------------------------------------------------------------------


def _input_identifier(modifier: bpy.types.NodesModifier, name: str) -> str:
    for item in sockets(present(modifier.node_group, "node group"), "INPUT"):
        if item.name == name:
            return str(item.identifier)
    raise KeyError(name)


def geometry_nodes(ob: bpy.types.Object, name: str) -> bpy.types.NodesModifier | None:
    """The Geometry Nodes modifier of that name."""
    modifier = ob.modifiers.get(name)
    return modifier if isinstance(modifier, bpy.types.NodesModifier) else None


def new_geometry_nodes(ob: bpy.types.Object, name: str, group: bpy.types.NodeTree) -> bpy.types.NodesModifier:
    """A new modifier with a node group; Blender may give it another name."""
    modifier: Any = ob.modifiers.new(name, "NODES")
    modifier.node_group = group
    made: bpy.types.NodesModifier = modifier
    return made


def new_geometry_group(name: str) -> bpy.types.NodeTree:
    """A new node group for modifiers."""
    tree: Any = bpy.data.node_groups.new(name, "GeometryNodeTree")  # of a class that follows from the second word
    tree.is_modifier = True
    made: bpy.types.NodeTree = tree
    return made


def set_modifier_input(modifier: bpy.types.NodesModifier, name: str, value: Any) -> None:
    """Set the input called `name` of a Geometry Nodes modifier."""
    identifier = _input_identifier(modifier, name)
    if MODIFIER_INPUTS_ARE_PROPERTIES:
        getattr(_newer(modifier).properties.inputs, identifier).value = value
    else:
        modifier[identifier] = value


def modifier_inputs(modifier: bpy.types.NodesModifier) -> dict[str, Any]:
    """Values of all inputs of a Geometry Nodes modifier, by name."""
    return {
        item.name: get_modifier_input(modifier, item.name)
        for item in sockets(present(modifier.node_group, "node group"), "INPUT")
        if item.socket_type != "NodeSocketGeometry"
    }


def get_modifier_input(modifier: bpy.types.NodesModifier, name: str) -> Any:
    """Value of the input called `name` of a Geometry Nodes modifier."""
    identifier = _input_identifier(modifier, name)
    if MODIFIER_INPUTS_ARE_PROPERTIES:
        return getattr(_newer(modifier).properties.inputs, identifier).value
    return modifier[identifier]


def modifier_input_property(modifier: bpy.types.NodesModifier, name: str) -> tuple[Any, str]:
    """What `UILayout.prop` takes to draw the input called `name`: (data, property)."""
    identifier = _input_identifier(modifier, name)
    if MODIFIER_INPUTS_ARE_PROPERTIES:
        return getattr(_newer(modifier).properties.inputs, identifier), "value"
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
        tree: bpy.types.NodeTree | None = _newer(scene).compositing_node_group
        return tree
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
        group = bpy.data.node_groups.new(name, "CompositorNodeTree")
        present(group.interface, "interface").new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        _newer(scene).compositing_node_group = group
        return group, group.nodes.new("NodeGroupOutput").inputs["Image"]
    scene.use_nodes = True
    tree = present(scene.node_tree, "compositor")
    tree.nodes.clear()  # the two nodes that switching on has just made
    return tree, tree.nodes.new("CompositorNodeComposite").inputs["Image"]


def add_dilate(tree: bpy.types.NodeTree, size: int) -> Any:
    """Node that takes the maximum over `size` pixels around each."""
    node = new_node(tree, "CompositorNodeDilateErode")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Type"].default_value = "Steps"
    else:
        node.mode = "STEP"
    node.inputs["Size"].default_value = size
    return node


def add_disc_blur(tree: bpy.types.NodeTree) -> Any:
    """Node that takes the mean over a disc; its input Size may be an image of radii."""
    node = new_node(tree, "CompositorNodeBlur")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Type"].default_value = "Flat"
    else:
        node.filter_type = "FLAT"
    return node


def add_map_uv(tree: bpy.types.NodeTree, filtering: str) -> Any:
    """Node that looks an image up at UVs, by NEAREST_FILTER or LINEAR_FILTER."""
    node = new_node(tree, "CompositorNodeMapUV")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Interpolation"].default_value = filtering
    else:
        node.filter_type = {NEAREST_FILTER: "NEAREST", LINEAR_FILTER: "ANISOTROPIC"}[filtering]
    return node


def add_scale_to_render(tree: bpy.types.NodeTree) -> Any:
    """Node that stretches an image to the size of the render."""
    node = new_node(tree, "CompositorNodeScale")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Type"].default_value = "Render Size"
        node.inputs["Frame Type"].default_value = "Stretch"
        # Otherwise a resampled border is half transparent; 4.5 has no such choice.
        node.inputs["Extension X"].default_value = node.inputs["Extension Y"].default_value = "Extend"
    else:
        node.space = "RENDER_SIZE"
        node.frame_method = "STRETCH"
    return node


def add_multiply_alpha(tree: bpy.types.NodeTree) -> Any:
    """Node that multiplies an image, colour and alpha, by its input Alpha."""
    node = new_node(tree, "CompositorNodeSetAlpha")
    if COMPOSITOR_IS_GROUP:
        node.inputs["Type"].default_value = "Apply Mask"
    else:
        node.mode = "APPLY"
    return node


def add_alpha_over(tree: bpy.types.NodeTree) -> tuple[Any, bpy.types.NodeSocket, bpy.types.NodeSocket]:
    """Node that lays one premultiplied image over another: (node, background socket, foreground socket)."""
    node = new_node(tree, "CompositorNodeAlphaOver")
    background, foreground = (0, 1) if COMPOSITOR_IS_GROUP else (1, 2)
    return node, node.inputs[background], node.inputs[foreground]


def add_grey_output(
    tree: bpy.types.NodeTree, folder: Path, name: str, bits: int, file_format: str = "PNG"
) -> tuple[Any, bpy.types.NodeSocket]:
    """Node that writes values as they are to `folder/name_0001.png`, 8 or 16 bit, on render: (node, its input).

    `file_format` PNG or OPEN_EXR (16 bit: half floats).
    """
    node = new_node(tree, "CompositorNodeOutputFile")
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
