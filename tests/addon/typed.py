"""What Blender's types leave open, and a test knows."""

from __future__ import annotations

from typing import Any, TypeVar

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

from cvd_blender_addon import compat
from cvd_blender_addon.scene import camera, compositor, depth_mesh, plate
from cvd_blender_addon.solve_reader import Solve

T = TypeVar("T")
ops: Any = bpy.ops
"""Operators, the add-on's among them."""


def the(value: T | None) -> T:
    """What is there."""
    assert value is not None
    return value


def scene_now() -> bpy.types.Scene:
    """The scene of the context; another one after undo."""
    return the(bpy.context.scene)


def root_of(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object:
    """The root empty, which has been built."""
    return the(camera.find_root(scene, solve))


def camera_of(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object:
    """The solved camera, which has been built."""
    return the(camera.find_camera(scene, solve))


def depth_of(scene: bpy.types.Scene, solve: Solve) -> bpy.types.Object:
    """The depth mesh, which has been built."""
    return the(depth_mesh.find(scene, solve))


def grid_of(ob: bpy.types.Object) -> bpy.types.NodesModifier:
    """The modifier that makes a depth mesh of it."""
    return the(compat.geometry_nodes(ob, depth_mesh.MODIFIER))


def tree_of(scene: bpy.types.Scene) -> bpy.types.NodeTree:
    """The compositor's nodes, of which there are some."""
    return the(compat.compositor_tree(scene))


def group_of(scene: bpy.types.Scene, solve: Solve) -> Any:
    """The node of the solve's group in the compositor."""
    return the(compositor.find_group_node(scene, solve))


def clip_of(solve: Solve) -> bpy.types.MovieClip:
    """The plate as a clip, whose files are there."""
    return the(plate.ensure_clip(solve))


def in_view(scene: bpy.types.Scene, camera: bpy.types.Object, point: Any) -> tuple[float, float]:
    """Where a camera shows a point: shares of the picture's width and height, from the left and the bottom."""
    place = world_to_camera_view(scene, camera, Vector(point))
    return place.x, place.y


def array(value: Any) -> np.ndarray:
    """A vector or matrix of Blender's, which its types do not say can be one of numpy's."""
    return np.array(value)


def render_with_eevee(scene: bpy.types.Scene) -> None:
    """Choose EEVEE, which has another name in 4.5."""
    render: Any = scene.render
    render.engine = "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"
