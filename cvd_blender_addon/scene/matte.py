# SPDX-License-Identifier: GPL-3.0-or-later
"""The occlusion matte of chosen objects as files: which share of each pixel they cover and nothing real hides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from .. import compat
from ..solve_reader import Solve
from . import compositor, inputs
from .nodes import TreeBuilder

LAYER = "CVD Matte"
FORMATS = ("PNG", "OPEN_EXR")


def render(
    scene: bpy.types.Scene,
    solve: Solve,
    objects: Sequence[bpy.types.Object],
    folder: Path,
    frames: Iterable[int],
    file_format: str = "PNG",
    tell: Callable[[int], None] = lambda _frame: None,
) -> None:
    """Render `folder/matte_0001.png` (or .exr), linear 0..1, 16 bit, of each frame; the scene is left as it was.

    Other CG hides nothing. Edges are as in the composite: the compositor group makes them.

    Args:
        objects: whose matte; their children belong to them.
        frames: scene frame numbers, which are the plate's.
        file_format: PNG or OPEN_EXR.
        tell: told each frame that is done.

    Raises:
        ValueError: the compositor group has not been built.
        SolveError: the depth or the plate is missing.
        RuntimeError: what Blender says when it cannot render or write.
    """
    for lost in inputs.missing(scene):
        raise lost.error
    current = scene.frame_current
    with _set_up(scene, solve, objects, folder, file_format):
        for frame in frames:
            scene.frame_set(frame)
            bpy.ops.render.render(scene=scene.name)
            tell(frame)
    scene.frame_set(current)


@contextmanager
def _set_up(
    scene: bpy.types.Scene, solve: Solve, objects: Sequence[bpy.types.Object], folder: Path, file_format: str
) -> Iterator[None]:
    """A view layer of the objects alone, through the group, into files; every other output rests meanwhile."""
    tree, placed = compat.compositor_tree(scene), compositor.find_group_node(scene, solve)
    if tree is None or placed is None:
        raise ValueError("build the compositor group first")
    whole = {*objects, *(child for ob in objects for child in ob.children_recursive)}
    used = {layer.name: layer.use for layer in scene.view_layers}
    muted = {node.name: node.mute for node in tree.nodes if node.bl_idname == "CompositorNodeOutputFile"}
    # What lies in no collection is in every view layer.
    hidden = {ob: ob.hide_render for ob in scene.collection.objects if ob not in whole}
    film, composited = scene.render.film_transparent, scene.render.use_compositing
    layer = scene.view_layers.new(LAYER)
    collection = bpy.data.collections.new(LAYER)
    nodes: list[bpy.types.Node] = []
    try:
        for ob in whole:
            collection.objects.link(ob)
        scene.collection.children.link(collection)
        for child in layer.layer_collection.children:
            child.exclude = child.collection != collection
        for other in scene.view_layers:
            other.use = other == layer
            other.layer_collection.children[LAYER].exclude = other != layer
        for ob in hidden:
            ob.hide_render = True
        layer.use_pass_z = True
        scene.render.film_transparent = scene.render.use_compositing = True
        nodes = _nodes(scene, tree, placed, layer, folder, file_format)
        for name in muted:
            tree.nodes[name].mute = True
        yield
    finally:
        for node in nodes:
            tree.nodes.remove(node)
        for name, mute in muted.items():
            tree.nodes[name].mute = mute
        scene.render.film_transparent, scene.render.use_compositing = film, composited
        for ob, hide in hidden.items():
            ob.hide_render = hide
        for name, use in used.items():
            scene.view_layers[name].use = use
        scene.view_layers.remove(layer)
        bpy.data.collections.remove(collection)


def _nodes(
    scene: bpy.types.Scene,
    tree: bpy.types.NodeTree,
    placed: Any,
    layer: bpy.types.ViewLayer,
    folder: Path,
    file_format: str,
) -> list[bpy.types.Node]:
    build = TreeBuilder(tree)
    source = build.node("CompositorNodeRLayers", LAYER)
    source.scene, source.layer = scene, layer.name
    group = build.node("CompositorNodeGroup", LAYER, node_tree=placed.node_tree)
    group.inputs["Softness"].default_value = placed.inputs["Softness"].default_value
    build.put(source.outputs["Image"], group.inputs["CG"])
    build.put(source.outputs["Depth"], group.inputs["CG Depth"])
    output, socket = compat.add_grey_output(tree, folder, "matte", bits=16, file_format=file_format)
    build.put(group.outputs["Matte"], socket)
    return [source, group, output]
