# SPDX-License-Identifier: GPL-3.0-or-later
"""All or nothing: what a build that fails has made is removed, and what it has changed is set back.

Blender's own undo cannot do this: it may be switched off, it takes the file from under whoever called, and it has no
place in a script. So this remembers, before a build, which data-blocks there are and every setting that a build
touches, and keeps copies of the data-blocks that a build fills anew (meshes, actions, node groups, materials).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import bpy
from mathutils import Matrix

from .. import compat
from ..present import present
from ..solve_reader import SolveError
from . import owned

FILLED_ANEW = ("actions", "meshes", "node_groups", "materials")
OF_WINDOWS = ("window_managers", "workspaces", "screens")
# Not all: transforms follow from the animation and from each other.
OF_OBJECT = (
    *(
        "parent",
        "matrix_parent_inverse",
        "data",
        "hide_render",
        "hide_viewport",
        "hide_select",
        "is_holdout",
        "is_shadow_catcher",
    ),
    *("display_type", "rotation_mode", "visible_diffuse", "visible_glossy", "visible_transmission"),
    *("visible_volume_scatter", "visible_shadow"),
)
# An image's pixels are its file's; where the compositor is a group, reading whether it is used warns.
NO_SETTINGS = {"pixels"} | ({"use_nodes"} if compat.COMPOSITOR_IS_GROUP else set())
OF_LAYER_COLLECTION = ("exclude", "holdout", "indirect_only", "hide_viewport")


@contextmanager
def all_or_nothing(scene: bpy.types.Scene, key: str) -> Iterator[None]:
    """Whatever the block raises, the file is as it was before the block.

    Args:
        scene: the only scene in which the block builds.
        key: of the only solve for which it builds.

    Raises:
        SolveError: what the disk, the memory or Blender itself refused to the block.
    """
    before = _Before(scene, key)
    try:
        yield
    except BaseException as error:
        before.restore()
        if not isinstance(error, OSError | RuntimeError | MemoryError):
            raise
        why = f"{error}".strip() or type(error).__name__
        fix = "Nothing was changed. See whether the disks of solve and plate can be read, and try again."
        raise SolveError("The scene was not built.", f"{why}.", fix) from error
    before.forget()


class _Before:
    """The file as it is now, as far as a build of a solve can change it."""

    def __init__(self, scene: bpy.types.Scene, key: str) -> None:
        self.scene = scene
        self.blocks = {block.session_uid for block in _all_blocks()}
        self.settings = [(*at, _values(_struct(*at))) for at in _structs(scene, key)]
        ours = [ob for ob in scene.objects if _is_ours(ob, key)]
        self.objects = [_Object(ob) for ob in ours]
        self.backgrounds = [(data, len(data.background_images)) for data in _cameras(ours)]
        self.markers = [(mark.name, mark.frame, mark.select, mark.camera) for mark in scene.timeline_markers]
        self.layers = list(scene.view_layers)
        self.layer_collections = {
            (number, child.collection.session_uid): [getattr(child, name) for name in OF_LAYER_COLLECTION]
            for number, layer in enumerate(self.layers)
            for child in _layer_collections(layer.layer_collection)
        }
        self.members = [
            (collection, _marks(collection), {ob.session_uid for ob in collection.objects})
            for collection in (scene.collection, *scene.collection.children_recursive)
        ]
        files = (block for blocks in (bpy.data.images, bpy.data.movieclips) for block in blocks if _is_ours(block, key))
        self.files = [(block, _marks(block)) for block in files]
        tree = compat.compositor_tree(scene)
        self.tree = None if tree is None else _Tree(tree)
        # Last: all the rest speaks of what these were made of.
        filled = {block for name in FILLED_ANEW for block in getattr(bpy.data, name) if _is_ours(block, key)}
        filled |= {data for ob in ours if isinstance(data := ob.data, bpy.types.Mesh) and data.library is None}
        self.copies = [_Copy(block) for block in filled]

    def forget(self) -> None:
        """The build has succeeded."""
        bpy.data.batch_remove([copy.block for copy in self.copies])

    def restore(self) -> None:
        """The build has failed."""
        scene = self.scene
        for copy in self.copies:
            copy.take_the_place()
        known = {block.session_uid: block for block in _all_blocks()}
        known |= {copy.uid: copy.block for copy in self.copies}
        for remembered in self.objects:
            remembered.restore(known)
        if self.tree is not None:
            self.tree.restore_nodes()
        elif not compat.COMPOSITOR_IS_GROUP and scene.node_tree is not None:
            scene.node_tree.nodes.clear()  # the tree cannot be removed; without nodes it counts as none
        for data, count in self.backgrounds:
            for background in list(data.background_images)[count:]:
                data.background_images.remove(background)
        for layer in [layer for layer in scene.view_layers if layer not in self.layers]:
            scene.view_layers.remove(layer)
        # Only now that nothing uses it: with a mesh, Blender removes the objects that have it.
        kept = self.blocks | {copy.block.session_uid for copy in self.copies}
        bpy.data.batch_remove([block for block in _all_blocks() if block.session_uid not in kept])
        for copy in self.copies:
            copy.take_the_name()
        for block, marks in self.files:
            _set_marks(block, marks)
        for collection, marks, members in self.members:
            _set_marks(collection, marks)
            for ob in [ob for ob in collection.objects if ob.session_uid not in members]:
                collection.objects.unlink(ob)
        for again in (False, True):  # some settings move others, or cannot be what they were before others are
            for owner, path, values in self.settings:
                _set_values(_struct(owner, path), values, known, strict=again)
        for number, layer in enumerate(self.layers):
            for child in _layer_collections(layer.layer_collection):
                flags = self.layer_collections.get((number, child.collection.session_uid), ())
                for name, value in zip(OF_LAYER_COLLECTION, flags, strict=False):
                    if getattr(child, name) != value:
                        setattr(child, name, value)
        scene.timeline_markers.clear()
        for name, frame, select, camera in self.markers:
            marker = scene.timeline_markers.new(name, frame=frame)
            marker.select, marker.camera = select, camera
        for layer in self.layers:
            layer.update_render_passes()  # the sockets of its nodes follow
        if self.tree is not None:
            self.tree.restore_links()


@dataclass(frozen=True)
class _Ref:
    """A data-block, by what it is known by while Blender runs."""

    uid: int


class _Object:
    """One of our objects, its modifiers and its animation."""

    def __init__(self, ob: bpy.types.Object) -> None:
        self.ob = ob
        self.values = {name: _plain(getattr(ob, name)) for name in OF_OBJECT}
        self.marks = _marks(ob)
        self.inputs = {
            modifier.name: {name: _plain(value) for name, value in compat.modifier_inputs(modifier).items()}
            for modifier in ob.modifiers
            if isinstance(modifier, bpy.types.NodesModifier) and modifier.node_group is not None
        }
        self.animations = _animation(ob), _animation(ob.data)

    def restore(self, known: dict[int, bpy.types.ID]) -> None:
        """Set it back; `known` has the data-blocks by their `session_uid`."""
        ob = self.ob
        _set_values(ob, self.values, known)
        _set_marks(ob, self.marks)
        for title, inputs in self.inputs.items():
            modifier = present(compat.geometry_nodes(ob, title), f"modifier {title} of {ob.name}")
            for name, value in inputs.items():
                if _plain(compat.get_modifier_input(modifier, name)) != value:
                    compat.set_modifier_input(modifier, name, _real(value, known))
        for block, animation in zip((ob, ob.data), self.animations, strict=True):
            if block is not None and _animation(block) != animation:
                block.animation_data_clear()
                if animation is not None:
                    action, slot = animation
                    data = block.animation_data_create()
                    data.action = _real(action, known)
                    data.action_slot = next((found for found in data.action.slots if found.handle == slot), None)
        ob.update_tag()


class _Copy:
    """A data-block that a build fills anew, as it was."""

    def __init__(self, block: Any) -> None:
        self.uid, self.name, self.marks = block.session_uid, block.name, _marks(block)
        self.block = block.copy()
        _set_marks(self.block, {})  # the build must not find it

    def take_the_place(self) -> None:
        """Of what it was made of."""
        changed = next((block for block in _all_blocks() if block.session_uid == self.uid), None)
        if changed is not None:
            changed.user_remap(self.block)
            self.block.use_fake_user = changed.use_fake_user
            bpy.data.batch_remove([changed])
        _set_marks(self.block, self.marks)

    def take_the_name(self) -> None:
        """Once it is free."""
        self.block.name = self.name


class _Tree:
    """The scene's compositor, which is the user's: its nodes and links, and what our own nodes in it are told."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree
        self.nodes = set(tree.nodes.keys())
        self.links = _links(tree)
        self.inputs = [
            (node.name, socket.identifier, _plain(socket.default_value))
            for node in tree.nodes
            if node.type == "GROUP"
            for socket in node.inputs
            if hasattr(socket, "default_value")
        ]

    def restore_nodes(self) -> None:
        """Remove the nodes that were added."""
        for name in set(self.tree.nodes.keys()) - self.nodes:
            self.tree.nodes.remove(self.tree.nodes[name])

    def restore_links(self) -> None:
        """Links and values, once the groups are what they were."""
        now = _links(self.tree)
        for link in [link for link in self.tree.links if _ends(link) not in self.links]:
            self.tree.links.remove(link)
        for source, output, target, name in self.links - now:
            sockets = (
                next(socket for socket in sockets if socket.identifier == identifier)
                for sockets, identifier in (
                    (self.tree.nodes[source].outputs, output),
                    (self.tree.nodes[target].inputs, name),
                )
            )
            self.tree.links.new(*sockets)
        for node, identifier, value in self.inputs:
            inputs = self.tree.nodes[node].inputs
            socket: Any = next(socket for socket in inputs if socket.identifier == identifier)
            if _plain(socket.default_value) != value:
                socket.default_value = value


def _all_blocks() -> Iterator[bpy.types.ID]:
    for prop in bpy.data.bl_rna.properties:
        if prop.type == "COLLECTION" and prop.identifier not in OF_WINDOWS:
            yield from getattr(bpy.data, prop.identifier)


def _is_ours(block: bpy.types.ID, key: str) -> bool:
    return block.library is None and block.get(owned.SOLVE) in (key, owned.SHARED)


def _structs(scene: bpy.types.Scene, key: str) -> Iterator[tuple[Any, str]]:
    """Everything with settings that a build sets, as a struct that stays and the path from there."""
    yield from ((scene, path) for path in ("", "render", "view_settings"))
    if hasattr(scene, "cvd"):
        yield scene, "cvd"
    for layer in scene.view_layers:
        yield layer, ""
        if hasattr(layer, "cycles"):
            yield layer, "cycles"
    for clip in (clip for clip in bpy.data.movieclips if _is_ours(clip, key)):
        yield from ((clip, path) for path in ("", "tracking.camera", "colorspace_settings"))
    for image in (image for image in bpy.data.images if _is_ours(image, key)):
        yield from ((image, path) for path in ("", "colorspace_settings"))
    for data in _cameras([ob for ob in scene.objects if _is_ours(ob, key)]):
        yield data, ""
        yield from ((background, "clip_user") for background in data.background_images)


def _cameras(objects: list[bpy.types.Object]) -> Iterator[bpy.types.Camera]:
    """What the cameras among objects have as data."""
    for ob in objects:
        if isinstance(ob.data, bpy.types.Camera):
            yield ob.data


def _struct(owner: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        owner = getattr(owner, name)
    return owner


def _values(struct: Any) -> dict[str, Any]:
    """Every setting of a struct itself that can be set."""
    found = {}
    for prop in struct.bl_rna.properties:
        if prop.is_readonly or prop.type == "COLLECTION" or prop.identifier in NO_SETTINGS:
            continue
        value = getattr(struct, prop.identifier)
        if prop.type != "POINTER" or value is None or isinstance(value, bpy.types.ID):
            found[prop.identifier] = _plain(value)
    return found


def _set_values(struct: Any, values: dict[str, Any], known: dict[int, bpy.types.ID], strict: bool = True) -> None:
    for name, value in values.items():
        if _plain(getattr(struct, name)) != value:
            with nullcontext() if strict else suppress(TypeError):
                setattr(struct, name, _real(value, known))


def _plain(value: Any) -> Any:
    """A value that does not change with what it was read from."""
    if isinstance(value, bpy.types.ID):
        return _Ref(value.session_uid)
    if isinstance(value, Matrix):
        return value.copy()
    return value if isinstance(value, str | set) or not hasattr(value, "__len__") else tuple(value)


def _real(value: Any, known: dict[int, bpy.types.ID]) -> Any:
    return known.get(value.uid) if isinstance(value, _Ref) else value


def _marks(block: bpy.types.ID) -> dict[str, Any]:
    """Our own properties of a data-block."""
    return {name: value for name, value in block.items() if name.startswith("cvd_")}


def _set_marks(block: bpy.types.ID, marks: dict[str, Any]) -> None:
    for name in set(_marks(block)) - set(marks):
        del block[name]
    for name, value in marks.items():
        block[name] = value


def _animation(block: bpy.types.ID | None) -> tuple[_Ref, int] | None:
    """Action and slot, None where there is no action."""
    data = compat.animation_of(block) if block is not None else None
    return (_Ref(data.action.session_uid), data.action_slot_handle) if data and data.action else None


def _layer_collections(parent: bpy.types.LayerCollection) -> Iterator[bpy.types.LayerCollection]:
    for child in parent.children:
        yield child
        yield from _layer_collections(child)


def _ends(link: bpy.types.NodeLink) -> tuple[str, str, str, str]:
    ends: Any = link  # which has all four
    return ends.from_node.name, ends.from_socket.identifier, ends.to_node.name, ends.to_socket.identifier


def _links(tree: bpy.types.NodeTree) -> set[tuple[str, str, str, str]]:
    return {_ends(link) for link in tree.links}
