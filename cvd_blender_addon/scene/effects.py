# SPDX-License-Identifier: GPL-3.0-or-later
"""What depth does to a picture, as compositor nodes: fog, depth of field, and light and shadow on what is real.

Every effect is exactly nothing at its default. Disparity is 1/z, with z planar and in scene units; 0 is infinitely far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import compat
from .nodes import TreeBuilder

# Blender's own depth of nothing.
FAR = 1e10
# Light that is nothing.
DARK = 1e-5
# What is nearer than the focus is blurred at most so many times as much as the infinitely far.
NEAR_LIMIT = 2.0


@dataclass(frozen=True)
class Rays:
    """The render's pinhole camera: coordinates at z = 1 per pixel, y upwards, and their change from pixel to pixel."""

    x: Any
    y: Any
    step_x: Any
    step_y: Any


def distance(build: TreeBuilder, disparity: Any) -> Any:
    """Planar z of a disparity, FAR where there is none."""
    return build.math("DIVIDE", 1.0, build.math("MAXIMUM", disparity, 1.0 / FAR))


def fog(build: TreeBuilder, image: Any, disparity: Any, density: Any, start: Any, colour: Any) -> Any:
    """Beer-Lambert fog over a premultiplied image: image t + colour alpha (1 - t), t = exp(-density (z - start))."""
    inside = build.math("MAXIMUM", build.math("SUBTRACT", distance(build, disparity), start), 0.0)
    through = build.math("EXPONENT", build.math("MULTIPLY", build.math("MULTIPLY", density, -1.0), inside))
    veil = _share(build, colour, alpha_of(build, image))
    return build.mix("MIX", build.math("SUBTRACT", 1.0, through, label="Fog"), image, veil)


def shadows(build: TreeBuilder, image: Any, caught: Any, without: Any) -> Any:
    """The image with what CG does to the light on it.

    Args:
        caught: where `without` is clear, what lies over the image; else what is real with the shadows of CG on it.
        without: what is real without CG.
    """
    caught_alpha, without_alpha = alpha_of(build, caught), alpha_of(build, without)
    is_factor = build.math("GREATER_THAN", without_alpha, 0.0)
    darkened = over(build, image, _share(build, caught, build.math("SUBTRACT", 1.0, is_factor)))
    # Both without their alpha; where both are dark the factor is 1.
    above = build.vector_math("ADD", build.vector_math("SCALE", caught, without_alpha), (DARK, DARK, DARK))
    below = build.vector_math("ADD", build.vector_math("SCALE", without, caught_alpha), (DARK, DARK, DARK))
    known = build.math("MULTIPLY", is_factor, build.math("GREATER_THAN", caught_alpha, 0.0))
    return build.mix("MULTIPLY", known, darkened, build.vector_math("DIVIDE", above, below))


def over(build: TreeBuilder, below: Any, above: Any) -> Any:
    """One premultiplied image over another."""
    node, background, foreground = compat.add_alpha_over(build.tree)
    build.put(below, background)
    build.put(above, foreground)
    return node.outputs[0]


def defocus(build: TreeBuilder, image: Any, disparity: Any, radius: Any, focus: Any) -> Any:
    """The picture through a lens that is focused on the planar depth `focus`.

    The circle of confusion of a thin lens is proportional to the difference of disparities (Potmesil and Chakravarty
    1981); `radius` is its radius, in pixels of the picture, for what is infinitely far. What is farther than the focus
    is blurred by itself, so that nothing sharp smears into it; what is nearer is laid over, blurred with its outline.
    """
    nearness = build.math("SUBTRACT", build.math("MULTIPLY", disparity, focus), 1.0)
    circle = build.math("MULTIPLY", radius, nearness, label="Circle of confusion")
    far = build.math("MAXIMUM", build.math("MULTIPLY", circle, -1.0), 0.0)
    widest = build.math("MULTIPLY", radius, NEAR_LIMIT)
    near = build.math("MINIMUM", build.math("MAXIMUM", circle, 0.0), widest)

    out_of_focus = build.math("MINIMUM", far, 1.0)
    blurred = _disc(build, _share(build, image, out_of_focus), far)
    weight = build.math("MAXIMUM", alpha_of(build, blurred), 1e-6)
    behind = build.vector_math("SCALE", blurred, build.math("DIVIDE", 1.0, weight))
    sharp = build.mix("MIX", out_of_focus, image, behind)

    # A pixel beside something near is within its blur.
    reach = compat.add_dilate(build.tree, 0)
    build.put(near, reach.inputs["Mask"])
    build.put(widest, reach.inputs["Size"])
    in_front = _disc(build, _share(build, image, build.math("MINIMUM", near, 1.0)), reach.outputs[0])
    return over(build, sharp, in_front)


def normals(build: TreeBuilder, disparity: Any, rays: Rays, smoothing: Any) -> Any:
    """Unit normals in the camera's axes (x right, y up, -z ahead), towards the camera; 0 where there is no disparity.

    On a plane disparity w is linear in the ray (x, y, -1), and the normal is (w_x, w_y, x w_x + y w_y - w), turned
    towards the camera. Of the changes to both neighbours the smaller counts: across a depth edge it is the one on the
    same surface.
    """
    blur = build.node("CompositorNodeBlur")
    build.put(disparity, blur.inputs["Image"])
    build.put(smoothing, blur.inputs["Size"])
    smooth = build.math("MULTIPLY", blur.outputs[0], 1.0)  # one channel again
    slopes = []
    for axis, step in (("X", rays.step_x), ("Y", rays.step_y)):
        behind, ahead = (_neighbour(build, smooth, axis, side) for side in (1.0, -1.0))
        before, after = build.math("SUBTRACT", smooth, behind), build.math("MULTIPLY_ADD", smooth, -1.0, ahead)
        nearer = build.math("LESS_THAN", *(build.math("ABSOLUTE", change) for change in (before, after)))
        change = build.math("MULTIPLY_ADD", build.math("SUBTRACT", before, after), nearer, after)
        slopes.append(build.math("DIVIDE", change, step))
    tilt = build.math("MULTIPLY_ADD", rays.x, slopes[0], build.math("MULTIPLY", rays.y, slopes[1]))
    raw = build.vector(*(build.math("MULTIPLY", slope, -1.0) for slope in slopes), build.math("SUBTRACT", smooth, tilt))
    return build.vector_math("NORMALIZE", raw)


def rotate(build: TreeBuilder, vector: Any, quaternion_w: Any, quaternion_xyz: Any) -> Any:
    """A vector turned by a unit quaternion: v + 2 w (q x v) + 2 q x (q x v)."""
    once = build.vector_math("CROSS_PRODUCT", quaternion_xyz, vector)
    twice = build.vector_math("CROSS_PRODUCT", quaternion_xyz, once)
    double = build.vector_math("SCALE", once, build.math("MULTIPLY", quaternion_w, 2.0))
    return build.vector_math("ADD", vector, build.vector_math("ADD", double, build.vector_math("ADD", twice, twice)))


def relight(build: TreeBuilder, image: Any, normal: Any, direction: Any, colour: Any, strength: Any) -> Any:
    """A far lamp's diffuse light added in proportion to what is there: image (1 + strength colour max(0, n . l))."""
    towards = build.vector_math("NORMALIZE", direction)
    lit = build.math("MAXIMUM", build.vector_math("DOT_PRODUCT", normal, towards), 0.0)
    gain = build.vector_math("SCALE", colour, build.math("MULTIPLY", lit, strength))
    return build.mix("MULTIPLY", 1.0, image, build.vector_math("ADD", gain, (1.0, 1.0, 1.0)))


def alpha_of(build: TreeBuilder, image: Any) -> Any:
    """The alpha of an image."""
    channels = build.node("CompositorNodeSeparateColor")
    build.put(image, channels.inputs[0])
    return channels.outputs["Alpha"]


def rays(build: TreeBuilder, image: Any, sides: tuple[int, int], centres: Any, focals: Any) -> Rays:
    """Rays through the pixels of `image`.

    Args:
        sides: width and height of the plate, to which centres and focal lengths belong.
        centres: principal point, plate pixels from the bottom left.
        focals: focal lengths, plate pixels.
    """
    coordinates = build.node("CompositorNodeImageCoordinates")
    build.put(image, coordinates.inputs["Image"])
    at = build.node("ShaderNodeSeparateXYZ")
    build.put(coordinates.outputs["Normalized"], at.inputs[0])
    size = build.node("ShaderNodeSeparateXYZ")
    build.put(size_of(build, image), size.inputs[0])
    along, steps = [], []
    for axis, side, centre, focal in zip("XY", sides, centres, focals, strict=True):
        pixels = build.math("MULTIPLY_ADD", at.outputs[axis], float(side), -centre)
        along.append(build.math("DIVIDE", pixels, focal))
        steps.append(build.math("DIVIDE", build.math("DIVIDE", float(side), size.outputs[axis]), focal))
    return Rays(*along, *steps)


def _share(build: TreeBuilder, image: Any, share: Any) -> Any:
    """Part of an image, colour and alpha."""
    node = compat.add_multiply_alpha(build.tree)
    build.put(image, node.inputs["Image"])
    build.put(share, node.inputs["Alpha"])
    return node.outputs[0]


def _disc(build: TreeBuilder, image: Any, radius: Any) -> Any:
    """Each pixel the mean of those within its radius. Where that is 0 it costs nothing, unlike the node Defocus."""
    node = compat.add_disc_blur(build.tree)
    build.put(image, node.inputs["Image"])
    build.put(radius, node.inputs["Size"])
    return node.outputs[0]


def size_of(build: TreeBuilder, image: Any) -> Any:
    """Width and height of an image, pixels."""
    info = build.node("CompositorNodeImageInfo")
    build.put(image, info.inputs["Image"])
    return info.outputs["Dimensions"]


def _neighbour(build: TreeBuilder, value: Any, axis: str, side: float) -> Any:
    """The value of the pixel `side` before this one."""
    node = build.node("CompositorNodeTranslate")
    build.put(value, node.inputs["Image"])
    node.inputs[axis].default_value = side
    return node.outputs[0]
