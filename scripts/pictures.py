# SPDX-License-Identifier: GPL-3.0-or-later
"""What both scripts that render need: the exact depth of a camera, and a movie of pictures. Needs `bpy`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy


def node_tree(block: bpy.types.Material | bpy.types.World) -> Any:
    """Nodes of a material or world; from Blender 5 on there are always some."""
    if bpy.app.version < (5, 0, 0):
        block.use_nodes = True
    return block.node_tree


def use_cycles(scene: Any, width: int, height: int, fps: int, samples: int) -> None:
    """Cycles on the CPU, denoised with albedo and normals, plain sRGB without dither."""
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.use_adaptive_sampling = "CPU", samples, False
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 3, 2
    cycles.sample_clamp_indirect = 4.0
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "FAST"
    cycles.caustics_reflective = cycles.caustics_refractive = False
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
    scene.render.fps, scene.render.fps_base = fps, 1.0
    scene.render.dither_intensity = 0.0
    scene.view_settings.view_transform = "Standard"


def render_picture(scene: Any, path: Path) -> None:
    """Render the current frame to an 8-bit PNG; under another name first, so that it is whole or absent."""
    settings = scene.render.image_settings
    settings.file_format, settings.color_depth, settings.color_mode = "PNG", "8", "RGB"
    part = path.with_name(f"{path.stem}.part.png")
    scene.render.filepath = str(part)
    bpy.ops.render.render(write_still=True, scene=scene.name)
    part.replace(path)


def render_depth(scene: Any, path: Path) -> None:
    """Render the exact planar depth of the current frame to an EXR, every channel the same, 0 where there is nothing.

    One ray through each pixel's centre; every surface glows with its distance along the optical axis.
    """
    glow = bpy.data.materials.get("planar depth") or bpy.data.materials.new("planar depth")
    tree = node_tree(glow)
    tree.nodes.clear()
    emission, output = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(tree.nodes.new("ShaderNodeCameraData").outputs["View Z Depth"], emission.inputs["Color"])
    tree.links.new(emission.outputs["Emission"], output.inputs["Surface"])
    settings, cycles, layer = scene.render.image_settings, scene.cycles, scene.view_layers[0]
    kept = cycles.samples, cycles.use_denoising, cycles.filter_width, cycles.max_bounces, scene.render.film_transparent
    layer.material_override = glow
    cycles.samples, cycles.use_denoising, cycles.filter_width, cycles.max_bounces = 1, False, 0.01, 0
    scene.render.film_transparent = True
    lights = [
        ob for ob in scene.objects if ob.type == "LIGHT" and not ob.hide_render
    ]  # an area light is seen as a surface
    for ob in lights:
        ob.hide_render = True
    settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR", "32", "ZIP"
    settings.color_mode = "RGB"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True, scene=scene.name)
    for ob in lights:
        ob.hide_render = False
    layer.material_override = None
    cycles.samples, cycles.use_denoising, cycles.filter_width, cycles.max_bounces, scene.render.film_transparent = kept


def encode(pictures: Sequence[Path], movie: Path, width: int, height: int, fps: int) -> None:
    """H.264 movie of `pictures` by Blender's own encoder. Replaces the file that is open."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene: Any = bpy.context.scene
    use_cycles(scene, width, height, fps, 1)
    scene.sequence_editor_create()
    strip: Any = scene.sequence_editor.strips.new_image("clip", str(pictures[0]), channel=1, frame_start=1)
    for picture in pictures[1:]:
        strip.elements.append(picture.name)
    scene.frame_start, scene.frame_end = 1, len(pictures)
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):  # from Blender 5
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    ffmpeg = scene.render.ffmpeg
    ffmpeg.format, ffmpeg.codec, ffmpeg.gopsize = "MPEG4", "H264", 12
    ffmpeg.constant_rate_factor, ffmpeg.ffmpeg_preset = "PERC_LOSSLESS", "BEST"
    scene.render.use_file_extension = False
    scene.render.filepath = str(movie)
    bpy.ops.render.render(animation=True)
