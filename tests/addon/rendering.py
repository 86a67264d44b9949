"""Render a CG ball into a synthetic scene, and what the result has to be; a clip editor to work in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bmesh
import bpy
import numpy as np

from cvd_blender_addon import compat
from cvd_blender_addon.present import manager_of
from cvd_blender_addon.scene import layers
from cvd_blender_addon.solve_reader import Solve
from tests.addon.synthetic import Synthetic
from tests.addon.typed import scene_now, the

SUPERSAMPLE = 6


def add_ball(
    scene: bpy.types.Scene, solve: Solve, centre: tuple[float, float, float], radius: float, glow: bool = True
) -> bpy.types.Object:
    """A red ball in the collection foreground; its own light unless it is to be lit."""
    mesh = bpy.data.meshes.new("Ball")
    shape = bmesh.new()
    bmesh.ops.create_uvsphere(shape, u_segments=96, v_segments=64, radius=radius)
    shape.to_mesh(mesh)
    shape.free()
    mesh.shade_smooth()
    material = bpy.data.materials.new("Ball")
    compat.enable_nodes(material)
    tree = compat.nodes_of(material)
    tree.nodes.clear()
    shader = compat.new_node(tree, "ShaderNodeEmission" if glow else "ShaderNodeBsdfDiffuse")
    shader.inputs["Color"].default_value = (0.8, 0.05, 0.05, 1.0)
    tree.links.new(shader.outputs[0], tree.nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    mesh.materials.append(material)
    ball = bpy.data.objects.new("Ball", mesh)
    ball.location = centre
    layers.ensure_collections(scene, solve).foreground.objects.link(ball)
    return ball


def render(scene: bpy.types.Scene, number: int, path: Path) -> np.ndarray:
    """Render a frame to a PNG and return it, (H, W, 4) in 0..1 as stored."""
    scene.frame_set(number)
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return load(path)


def load(path: Path) -> np.ndarray:
    """An image, (H, W, 4), values as stored, top row first."""
    image = bpy.data.images.load(str(path))
    compat.colour_space(image).name = "Non-Color"
    pixels = np.empty(len(compat.pixels_of(image)), np.float32)
    compat.pixels_of(image).foreach_get(pixels)
    pixels = pixels.reshape(image.size[1], image.size[0], -1)[::-1]
    bpy.data.images.remove(image)
    return pixels


def ball_coverage(
    truth: Synthetic, number: int, centre: tuple[float, float, float], radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Share of each pinhole pixel that the ball covers: (visible, ignoring what is in front)."""
    rays = truth.rays(number, distorted=False, supersample=SUPERSAMPLE)
    depth, _, _ = truth.cast(number, rays)
    pose = truth.world_from_camera(number)
    d, o = rays @ pose[:3, :3].T, pose[:3, 3] - np.array(centre)
    a, b, c = (d * d).sum(-1), (d * o).sum(-1), (o * o).sum() - radius**2
    discriminant = b * b - a * c
    hit = np.where(discriminant > 0, (-b - np.sqrt(np.maximum(discriminant, 0))) / a, np.inf)

    def share(mask: np.ndarray) -> np.ndarray:
        s = SUPERSAMPLE
        shares: np.ndarray = mask.astype(float).reshape(truth.height, s, truth.width, s).mean((1, 3))
        return shares

    return share(hit < depth), share(np.isfinite(hit))


def iou(matte: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two mattes at one half."""
    a, b = matte > 0.5, truth > 0.5
    return float((a & b).sum() / (a | b).sum())


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask grown by some pixels, square."""
    for _ in range(pixels):
        padded = np.pad(mask, 1)
        mask = np.any([padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)], 0)
    return mask


def make_movie(truth: Synthetic, path: Path) -> Path:
    """The plates of `truth` as a movie, frame 1 first, written by Blender."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = scene_now()
    clip = bpy.data.movieclips.load(str(truth.folder.parent / f"plate_{truth.first:04d}.png"))
    clip.frame_start = 1
    tree, final = compat.new_compositor_tree(scene, "Movie")
    node = compat.new_node(tree, "CompositorNodeMovieClip")
    node.clip = clip
    tree.links.new(node.outputs["Image"], final)
    ob = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(ob)
    scene.camera = ob
    settings: Any = scene.render.image_settings  # of which 4.5 has less
    if bpy.app.version >= (5, 0, 0):
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    ffmpeg = the(scene.render.ffmpeg)
    ffmpeg.format, ffmpeg.codec, ffmpeg.constant_rate_factor = "MPEG4", "H264", "HIGH"
    compat.view_settings(scene).view_transform = "Standard"
    compat.render_with_cycles(scene)
    compat.of_cycles(scene).samples = 1
    scene.render.resolution_x, scene.render.resolution_y = truth.width, truth.height
    scene.frame_start, scene.frame_end = 1, truth.last - truth.first + 1
    scene.render.use_file_extension = False
    scene.render.filepath = str(path)
    bpy.ops.render.render(animation=True)
    return path


@contextmanager
def clip_editor(clip: bpy.types.MovieClip) -> Iterator[None]:
    """As if the mouse were over a clip editor that shows the clip, ready for tracking."""
    window = manager_of(bpy.context).windows[0]
    area = window.screen.areas[0]
    kind, area.type = area.type, "CLIP_EDITOR"
    try:
        space: Any = area.spaces.active  # of a class that follows from the area's type
        space.clip, space.mode = clip, "TRACKING"
        region = next(region for region in area.regions if region.type == "WINDOW")
        with bpy.context.temp_override(window=window, area=area, region=region, space_data=space):
            yield
        space.clip = None
    finally:
        area.type = kind
