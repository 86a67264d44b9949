# SPDX-License-Identifier: GPL-3.0-or-later
"""How the add-on knows again what it has made: by custom properties, never by name.

Every data-block carries the key of its solve and its role, so a second run updates it, a rename does no harm, and two
solves may live in one scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import bpy

SOLVE = "cvd_solve"
ROLE = "cvd_role"
FRAMES = "cvd_frames"  # of a sequence: the frames that have a file, as ranges
Data = bpy.types.Mesh | bpy.types.Camera | bpy.types.Light  # of objects that are made here
B = TypeVar("B", bound=bpy.types.ID)
SHARED = ""  # the key of what belongs to no single solve


def mark(block: bpy.types.ID | bpy.types.Node, key: str, role: str) -> None:
    """Note on a data-block, or a node, what it is."""
    block[SOLVE] = key
    block[ROLE] = role


def find(blocks: Iterable[B], key: str, role: str) -> B | None:
    """The data-block of this solve and role, or None."""
    # A copy that the user made carries the same mark; its name sorts behind the original's.
    found = [block for block in blocks if block.get(SOLVE) == key and block.get(ROLE) == role]
    return min(found, key=lambda block: block.name_full, default=None)


def ensure_object(
    scene: bpy.types.Scene,
    collection: bpy.types.Collection,
    key: str,
    role: str,
    name: str,
    make_data: Callable[[str], Data] | None,
) -> tuple[bpy.types.Object, bool]:
    """The object of this solve and role in `scene`; where there is none, it is made and put into `collection`.

    Args:
        make_data: makes the data of a new object by its name; None for an empty.

    Returns:
        The object, and whether it is new.
    """
    ob = find(scene.objects, key, role)
    if ob is not None:
        return ob, False
    ob = bpy.data.objects.new(name, make_data(name) if make_data else None)
    mark(ob, key, role)
    collection.objects.link(ob)
    return ob, True


def ensure_collection(
    scene: bpy.types.Scene, parent: bpy.types.Collection, key: str, role: str, name: str
) -> bpy.types.Collection:
    """The collection of this solve and role in `scene`; one of that name directly in `parent` is adopted."""
    collection = find(scene.collection.children_recursive, key, role)
    if collection is None:
        collection = parent.children.get(name)
        if collection is None:
            collection = bpy.data.collections.new(name)
            parent.children.link(collection)
        mark(collection, key, role)
    return collection
