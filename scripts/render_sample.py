# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the bundled sample clip: a hand-held shot of a furnished room, with its exact cameras and depth.

Run it in an environment with `bpy` (see requirements/blender-5.0.txt):

    python scripts/render_sample.py            # everything into sample/
    python scripts/render_sample.py --only 1 24 48 --out build/look   # three frames to look at

Rendered frames are kept in build/sample/ and not rendered again, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import struct
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the scripts run from anywhere

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from mathutils import Euler, Matrix, Vector  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from cvd_blender_addon.present import scene_of  # noqa: E402
from scripts import pictures  # noqa: E402

SEED = 20
FRAMES = 48
FPS = 24
WIDTH, HEIGHT = 640, 360
FOCAL_MM, SENSOR_MM = 30.0, 36.0
DEPTH_EVERY = 4
DEPTH_TO_UNIT = 0.0005  # metres per step of the 16-bit PNG: below 1e-4 of the nearest depth in the shot


# --- materials ---------------------------------------------------------------------------------------------------


class Material:
    """A Principled material made of procedural textures in object coordinates (metres)."""

    def __init__(self, name: str, roughness: float = 0.6) -> None:
        self.material = bpy.data.materials.new(name)
        self.tree: Any = pictures.node_tree(self.material)
        self.shader = self.tree.nodes["Principled BSDF"]
        self.shader.inputs["Roughness"].default_value = roughness
        coordinates = self.tree.nodes.new("ShaderNodeTexCoord")
        self.where = coordinates.outputs["Object"]

    def node(self, kind: str, **inputs: Any) -> Any:
        """A node with its inputs set to values or linked to sockets; `_` in a name stands for a space."""
        made = self.tree.nodes.new(kind)
        for name, value in inputs.items():
            socket = made.inputs[name.replace("_", " ")]
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, socket)
            else:
                socket.default_value = value
        return made

    def stretched(self, scale: Sequence[float]) -> Any:
        """Object coordinates multiplied by `scale`."""
        return self.node("ShaderNodeMapping", Vector=self.where, Scale=scale).outputs["Vector"]

    def noise(self, scale: float, detail: float = 6.0, vector: Any = None) -> Any:
        """Fractal noise, 0..1."""
        made = self.node("ShaderNodeTexNoise", Vector=vector or self.where, Scale=scale, Detail=detail)
        made.inputs["Roughness"].default_value = 0.65
        return made.outputs["Fac"]

    def ramp(self, factor: Any, stops: Sequence[tuple[float, str]]) -> Any:
        """Colour of `factor` along `stops` of (position, hex colour)."""
        made = self.node("ShaderNodeValToRGB", Fac=factor)
        elements = made.color_ramp.elements
        while len(elements) < len(stops):
            elements.new(0.5)
        for element, (position, colour) in zip(elements, stops, strict=True):
            element.position, element.color = position, rgba(colour)
        return made.outputs["Color"]

    def mix(self, factor: Any, first: Any, second: Any, blend: str = "MIX") -> Any:
        """Blend of two colours."""
        made = self.tree.nodes.new("ShaderNodeMix")
        made.data_type, made.blend_type = "RGBA", blend
        for socket, value in ((made.inputs[0], factor), (made.inputs[6], first), (made.inputs[7], second)):
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, socket)
            else:
                socket.default_value = value
        return made.outputs[2]

    def finish(self, colour: Any, bump: Any = None, strength: float = 0.2) -> bpy.types.Material:
        """Link the base colour, and a bump height where there is one."""
        self.tree.links.new(colour, self.shader.inputs["Base Color"])
        if bump is not None:
            made = self.node("ShaderNodeBump", Strength=strength, Distance=0.01, Height=bump)
            self.tree.links.new(made.outputs["Normal"], self.shader.inputs["Normal"])
        return self.material


def rgba(colour: str) -> tuple[float, float, float, float]:
    """Linear colour of an sRGB hex string."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return float(linear[0]), float(linear[1]), float(linear[2]), 1.0


def bricks(name: str, first: str, second: str, mortar: str, swap: bool) -> bpy.types.Material:
    """Old painted brickwork; `swap` for walls along y."""
    m = Material(name, 0.85)
    axes = m.node("ShaderNodeSeparateXYZ", Vector=m.where).outputs
    plane = m.node("ShaderNodeCombineXYZ", X=axes["Y" if swap else "X"], Y=axes["Z"]).outputs["Vector"]
    brick = m.node(
        "ShaderNodeTexBrick", Vector=plane, Color1=rgba(first), Color2=rgba(second), Mortar=rgba(mortar), Scale=1.0
    )
    for socket, value in (("Mortar Size", 0.009), ("Brick Width", 0.26), ("Row Height", 0.085), ("Bias", -0.1)):
        brick.inputs[socket].default_value = value
    stains = m.ramp(m.noise(2.3), ((0.3, "8f8578"), (0.55, "ffffff"), (0.75, "c9b59b")))
    grain = m.ramp(m.noise(38.0), ((0.3, "9a9a9a"), (0.65, "ffffff")))
    colour = m.mix(0.75, m.mix(0.8, brick.outputs["Color"], stains, "MULTIPLY"), grain, "MULTIPLY")
    return m.finish(colour, brick.outputs["Fac"], -0.35)


def planks() -> bpy.types.Material:
    """Wooden floor boards along y."""
    m = Material("floor boards", 0.45)
    turned = m.node("ShaderNodeMapping", Vector=m.where, Rotation=(0.0, 0.0, math.pi / 2)).outputs["Vector"]
    board = m.node(
        "ShaderNodeTexBrick",
        Vector=turned,
        Color1=rgba("a87848"),
        Color2=rgba("6d4526"),
        Mortar=rgba("2a1a10"),
        Scale=1.0,
    )
    for socket, value in (("Mortar Size", 0.003), ("Brick Width", 1.1), ("Row Height", 0.13)):
        board.inputs[socket].default_value = value
    grain = m.ramp(m.noise(9.0, 8.0, m.stretched((6.0, 0.6, 1.0))), ((0.3, "6a513c"), (0.5, "ffffff"), (0.7, "b79a7d")))
    return m.finish(m.mix(0.85, board.outputs["Color"], grain, "MULTIPLY"), board.outputs["Fac"], -0.15)


def wood(name: str, dark: str, light: str, along: Sequence[float]) -> bpy.types.Material:
    """Planed wood with its grain across the large components of `along`."""
    m = Material(name, 0.4)
    grain = m.noise(7.0, 9.0, m.stretched(along))
    return m.finish(m.ramp(grain, ((0.33, dark), (0.48, light), (0.56, dark), (0.7, light))))


def fabric(name: str, colours: Sequence[str], cell: float) -> bpy.types.Material:
    """Printed upholstery: irregular cells of a few colours over a weave."""
    m = Material(name, 0.9)
    cells = m.node("ShaderNodeTexVoronoi", Vector=m.where, Scale=1.0 / cell)
    pick = m.node("ShaderNodeSeparateColor", Color=cells.outputs["Color"]).outputs[0]
    step = 1.0 / len(colours)
    printed = m.node("ShaderNodeValToRGB", Fac=pick)
    printed.color_ramp.interpolation = "CONSTANT"
    elements = printed.color_ramp.elements
    while len(elements) < len(colours):
        elements.new(0.5)
    for i, (element, colour) in enumerate(zip(elements, colours, strict=True)):
        element.position, element.color = i * step, rgba(colour)
    outline = m.ramp(cells.outputs["Distance"], ((0.0, "ffffff"), (0.55, "d8d0c4"), (0.7, "6f6a66")))
    weave = m.ramp(m.noise(120.0, 2.0), ((0.35, "8c8c8c"), (0.65, "ffffff")))
    colour = m.mix(1.0, m.mix(0.8, printed.outputs["Color"], outline, "MULTIPLY"), weave, "MULTIPLY")
    return m.finish(colour, m.noise(120.0, 2.0), 0.15)


def rug() -> bpy.types.Material:
    """Woven rug with rings and flecks."""
    m = Material("rug", 0.95)
    rings = m.tree.nodes.new("ShaderNodeTexWave")
    rings.wave_type, rings.rings_direction = "RINGS", "Z"
    m.tree.links.new(m.where, rings.inputs["Vector"])
    for socket, value in (("Scale", 1.7), ("Distortion", 1.2), ("Detail", 3.0), ("Detail Scale", 2.5)):
        rings.inputs[socket].default_value = value
    pattern = m.ramp(rings.outputs["Fac"], ((0.2, "7d2b2b"), (0.4, "d9c49a"), (0.6, "2f4a63"), (0.85, "b0603c")))
    flecks = m.ramp(m.noise(45.0, 4.0), ((0.35, "777777"), (0.62, "ffffff")))
    return m.finish(m.mix(0.9, pattern, flecks, "MULTIPLY"), m.noise(90.0, 2.0), 0.4)


def mottled(name: str, colours: Sequence[str], scale: float, roughness: float = 0.6) -> bpy.types.Material:
    """Plaster, stone, glaze, leaf: fractal blotches of a few colours."""
    m = Material(name, roughness)
    width = 0.5 / max(len(colours) - 1, 1)
    stops = [(0.25 + i * width, colour) for i, colour in enumerate(colours)]
    colour = m.mix(
        0.6,
        m.ramp(m.noise(scale, 9.0), stops),
        m.ramp(m.noise(scale * 9), ((0.35, "8a8a8a"), (0.6, "ffffff"))),
        "MULTIPLY",
    )
    return m.finish(colour, m.noise(scale * 4), 0.12)


def painting(name: str, colours: Sequence[str], offset: float) -> bpy.types.Material:
    """Abstract picture."""
    m = Material(name, 0.5)
    moved = m.node("ShaderNodeMapping", Vector=m.where, Location=(offset, offset * 2, 0.0)).outputs["Vector"]
    bent = m.node("ShaderNodeTexNoise", Vector=moved, Scale=2.5, Detail=3.0, Distortion=2.5).outputs["Fac"]
    stops = [(0.28 + 0.44 * i / (len(colours) - 1), colour) for i, colour in enumerate(colours)]
    strokes = m.ramp(m.noise(30.0, 5.0, moved), ((0.3, "909090"), (0.65, "ffffff")))
    return m.finish(m.mix(0.7, m.ramp(bent, stops), strokes, "MULTIPLY"))


def plain(name: str, colour: str, roughness: float = 0.5, glow: float = 0.0) -> bpy.types.Material:
    """One colour; with `glow`, a light source."""
    m = Material(name, roughness)
    m.shader.inputs["Base Color"].default_value = rgba(colour)
    if glow:
        m.shader.inputs["Emission Color"].default_value = rgba(colour)
        m.shader.inputs["Emission Strength"].default_value = glow
    return m.material


# --- furniture ---------------------------------------------------------------------------------------------------


def place(name: str, mesh: bpy.types.Mesh, material: bpy.types.Material, parent: bpy.types.Object | None = None) -> Any:
    """An object of `mesh` in the scene."""
    made: Any = bpy.data.objects.new(name, mesh)
    mesh.materials.append(material)
    made.parent = parent
    scene_of(bpy.context).collection.objects.link(made)
    return made


def box(
    name: str,
    centre: Sequence[float],
    size: Sequence[float],
    material: bpy.types.Material,
    parent: bpy.types.Object | None = None,
    bevel: float = 0.0,
    turn: float = 0.0,
) -> Any:
    """A box of `size` round `centre`, turned about z by `turn` degrees."""
    x, y, z = (s / 2 for s in size)
    corners = [(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(corners, [], faces)
    made = place(name, mesh, material, parent)
    made.location, made.rotation_euler[2] = centre, math.radians(turn)
    if bevel:
        modifier = made.modifiers.new("Bevel", "BEVEL")
        modifier.width, modifier.segments = bevel, 4
        mesh.shade_smooth()
    return made


def turned(
    name: str, profile: Sequence[tuple[float, float]], centre: Sequence[float], material: bpy.types.Material
) -> Any:
    """A vase, pot or fruit: `profile` of (radius, height) revolved about z."""
    steps = 32
    vertices = [
        (r * math.cos(2 * math.pi * k / steps), r * math.sin(2 * math.pi * k / steps), z)
        for r, z in profile
        for k in range(steps)
    ]
    faces = [
        (i * steps + k, i * steps + (k + 1) % steps, (i + 1) * steps + (k + 1) % steps, (i + 1) * steps + k)
        for i in range(len(profile) - 1)
        for k in range(steps)
    ]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices, [], faces)
    mesh.shade_smooth()
    made = place(name, mesh, material)
    made.location = centre
    made.modifiers.new("Smooth", "SUBSURF").render_levels = 1
    return made


def sphere_profile(radius: float) -> list[tuple[float, float]]:
    """Half circle from the bottom to the top."""
    angles = [math.pi * i / 10 for i in range(11)]
    return [(max(radius * math.sin(a), 0.001), radius - radius * math.cos(a)) for a in angles]


def leaves(
    name: str, foot: Sequence[float], count: int, length: float, material: bpy.types.Material, rng: random.Random
) -> None:
    """A pot plant: arched leaves out of one foot."""
    vertices: list[tuple[float, ...]] = []
    faces: list[tuple[int, ...]] = []
    for i in range(count):
        heading, steep = 2.4 * i + rng.uniform(-0.3, 0.3), rng.uniform(0.9, 1.45)
        reach, width = length * rng.uniform(0.6, 1.0), length * rng.uniform(0.09, 0.13)
        base = len(vertices)
        for s in range(7):
            t = s / 6
            out, up = reach * t * math.cos(steep) * (1 + t), reach * (t * math.sin(steep) - 0.45 * t * t * t)
            half = width * math.sin(math.pi * min(0.12 + 0.88 * t, 1.0))
            side = Vector((-math.sin(heading), math.cos(heading), 0.0)) * half
            spine = Vector((out * math.cos(heading), out * math.sin(heading), up))
            vertices += [(spine - side)[:], (spine + side)[:]]
        faces += [(base + 2 * s, base + 2 * s + 1, base + 2 * s + 3, base + 2 * s + 2) for s in range(6)]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices, [], faces)
    mesh.shade_smooth()
    place(name, mesh, material).location = foot


def books(
    name: str, start: Sequence[float], width: float, rng: random.Random, palette: Sequence[bpy.types.Material]
) -> None:
    """A row of books along x from `start`, spines towards -y."""
    x = 0.0
    while True:
        thick, high, deep = rng.uniform(0.025, 0.06), rng.uniform(0.19, 0.28), rng.uniform(0.15, 0.2)
        if x + thick > width:
            return
        centre = (start[0] + x + thick / 2, start[1] + deep / 2, start[2] + high / 2)
        box(name, centre, (thick * 0.94, deep, high), rng.choice(palette), turn=rng.uniform(-1.5, 1.5))
        x += thick + (rng.uniform(0.02, 0.12) if rng.random() < 0.12 else 0.0)


def armchair(centre: Sequence[float], turn: float) -> None:
    """The foreground object: an upholstered armchair, front towards -y before it is turned."""
    cloth = fabric("armchair cloth", ("b5482f", "e0b04a", "2e6e78", "efe3c8", "7c2f3a", "4d8a6a"), 0.055)
    seat = fabric("cushion cloth", ("efe3c8", "d8b56a", "b5482f", "315f68"), 0.04)
    legs = plain("chair legs", "2b1b12")
    root = bpy.data.objects.new("armchair", None)
    scene_of(bpy.context).collection.objects.link(root)
    root.location, root.rotation_euler[2] = centre, math.radians(turn)
    box("chair base", (0, 0, 0.25), (0.78, 0.72, 0.2), cloth, root, 0.03)
    box("chair cushion", (0, -0.04, 0.42), (0.54, 0.62, 0.15), seat, root, 0.05)
    back = box("chair back", (0, 0.32, 0.62), (0.78, 0.17, 0.72), cloth, root, 0.06)
    back.rotation_euler[0] = math.radians(-7)
    for side in (-1, 1):
        box("chair arm", (side * 0.335, -0.02, 0.42), (0.13, 0.7, 0.36), cloth, root, 0.05)
        for end in (-1, 1):
            box("chair leg", (side * 0.32, end * 0.28, 0.075), (0.05, 0.05, 0.15), legs, root)
    pillow = box("pillow", (0.03, 0.15, 0.66), (0.4, 0.13, 0.36), seat, root, 0.06)
    pillow.rotation_euler = Euler((math.radians(-16), math.radians(8), 0.0))


def build_room(rng: random.Random) -> None:
    """Walls, furniture and light. Metres, z up; the camera looks along +y from about the origin."""
    oak = wood("oak", "6b4424", "b98a55", (1.2, 9.0, 9.0))
    walnut = wood("walnut", "3a2316", "7a5233", (9.0, 9.0, 1.2))
    pairs = (
        "8c2f2a c96f4e, 2d4f6e 7fa3bd, d5c08a f1e7c9, 35583f 83a57d, b9772f e6b96a, "
        "4a3658 9a83a8, d8d2c4 a59c8b, 20282e 5c6a70"
    )
    palette = [
        mottled(f"book {colour}", (colour, pale, colour), 14.0, 0.5)
        for colour, pale in (pair.split() for pair in pairs.split(", "))
    ]
    ochre = mottled("plaster", ("c8b48c", "ddcfae", "b79f72", "e6dcc2"), 3.0, 0.9)

    box("floor", (0, 1.7, -0.05), (6.4, 8.4, 0.1), planks())
    box("rug", (-0.1, 3.0, 0.01), (2.9, 2.1, 0.02), rug())
    box("back wall", (0, 5.35, 1.4), (6.4, 0.1, 2.8), bricks("brick wall", "a4634a", "8a4a38", "c2b5a2", False))
    box("right wall", (2.45, 1.7, 1.4), (0.1, 8.4, 2.8), ochre)
    box("ceiling", (0, 1.7, 2.85), (6.4, 8.4, 0.1), plain("ceiling", "e9e4da", 0.9))
    box("wall behind", (0, -2.5, 1.4), (6.4, 0.1, 2.8), ochre)
    # The left wall has a window: its opening lets the daylight in.
    box("left wall front", (-2.45, -0.7, 1.4), (0.1, 3.6, 2.8), ochre)
    box("left wall end", (-2.45, 4.65, 1.4), (0.1, 1.5, 2.8), ochre)
    box("left wall below", (-2.45, 2.5, 0.4), (0.1, 2.8, 0.8), ochre)
    box("left wall above", (-2.45, 2.5, 2.6), (0.1, 2.8, 0.4), ochre)
    box("skirting", (0, 5.28, 0.06), (5.0, 0.03, 0.12), plain("skirting", "e8e0d0"))

    armchair((-0.32, 2.15, 0.0), 24.0)

    # Table on the right with things on it.
    box("table top", (1.25, 4.1, 0.74), (1.35, 0.8, 0.045), oak, bevel=0.008)
    for x in (0.65, 1.85):
        for y in (3.78, 4.42):
            box("table leg", (x, y, 0.36), (0.06, 0.06, 0.72), oak)
    box(
        "big box",
        (1.55, 4.2, 0.87),
        (0.36, 0.28, 0.22),
        mottled("cardboard", ("a9794a", "c79a66", "8f6238"), 9.0, 0.9),
        turn=18,
    )
    box(
        "tin", (1.5, 4.18, 1.04), (0.2, 0.16, 0.12), fabric("tin print", ("c8372d", "f0e2c0", "28546b"), 0.03), turn=-12
    )
    for i in range(4):
        box(
            "stacked book",
            (0.88, 4.0, 0.785 + 0.042 * i),
            (0.26, 0.19, 0.04),
            palette[(3 * i + 1) % 8],
            turn=rng.uniform(-14, 14),
        )
    glaze = mottled("glaze", ("27566b", "5e9aa3", "d9dcc4"), 7.0, 0.2)
    turned(
        "table vase",
        ((0.05, 0), (0.09, 0.06), (0.1, 0.14), (0.05, 0.24), (0.04, 0.28), (0.06, 0.31)),
        (1.2, 4.22, 0.762),
        glaze,
    )
    for x, y, colour in ((1.05, 3.86, "b8322a"), (1.15, 3.83, "d98c2b"), (1.11, 3.93, "7f9a35")):
        turned(
            "fruit",
            sphere_profile(0.045),
            (x, y, 0.762),
            mottled(f"fruit {colour}", (colour, "e2b84a", colour), 10.0, 0.4),
        )

    # Shelf on the left against the back wall.
    for x in (-1.95, -0.55):
        box("shelf side", (x, 5.12, 0.95), (0.04, 0.3, 1.9), walnut)
    for level in range(5):
        box("shelf board", (-1.25, 5.12, 0.12 + 0.44 * level), (1.4, 0.3, 0.035), oak)
        if level < 4:
            books("book", (-1.9, 5.0, 0.14 + 0.44 * level), 1.3 if level % 2 else 0.85, rng, palette)
    box("shelf box", (-0.8, 5.1, 0.24), (0.34, 0.24, 0.2), mottled("basket", ("8f6a3d", "c9a368", "6b4b28"), 16.0, 0.9))
    turned(
        "shelf jar",
        ((0.05, 0), (0.09, 0.05), (0.08, 0.16), (0.05, 0.2)),
        (-0.78, 5.1, 1.02),
        mottled("clay", ("9c4f32", "c98055", "7d3a25"), 8.0),
    )

    # Plants, a chest, pictures.
    green = mottled("leaf", ("2d5a2b", "5f8f3f", "8fb255"), 6.0, 0.45)
    clay = mottled("terracotta", ("a5583a", "c57b56", "8a452c"), 6.0, 0.9)
    turned(
        "floor pot",
        ((0.13, 0), (0.17, 0.2), (0.19, 0.32), (0.16, 0.32), (0.15, 0.28), (0.01, 0.28)),
        (0.18, 5.0, 0.0),
        clay,
    )
    leaves("floor plant", (0.18, 5.0, 0.28), 26, 0.75, green, rng)
    turned("table pot", ((0.06, 0), (0.08, 0.12), (0.06, 0.12), (0.01, 0.1)), (1.8, 3.95, 0.762), clay)
    leaves("table plant", (1.8, 3.95, 0.86), 16, 0.24, green, rng)
    box("chest", (-2.0, 3.75, 0.25), (0.6, 0.9, 0.5), wood("pine", "9a6c3c", "d8ad73", (9.0, 1.2, 9.0)), bevel=0.01)
    box(
        "chest blanket",
        (-1.98, 3.7, 0.53),
        (0.5, 0.6, 0.08),
        fabric("blanket", ("39607a", "e6ddc6", "a33d35", "d9a441"), 0.05),
        bevel=0.03,
        turn=6,
    )
    frame = plain("frame", "2a211b", 0.4)
    for i, (x, z, w, h) in enumerate(((0.5, 1.75, 0.7, 0.5), (1.35, 1.85, 0.5, 0.65), (2.0, 1.6, 0.4, 0.4))):
        colours = (
            ("1f3b57", "d9a441", "e9dcc0", "a33d2e"),
            ("35583f", "e4d6b0", "c0562f", "222831"),
            ("7c2f3a", "e0b04a", "efe3c8", "2e6e78"),
        )[i]
        box("picture frame", (x, 5.275, z), (w + 0.07, 0.05, h + 0.07), frame)
        box("picture", (x, 5.255, z), (w, 0.03, h), painting(f"picture {i}", colours, 3.1 * i))

    # Daylight through the window, a ceiling light, a little bounce.
    for name, energy, size, location, look, colour in (
        ("daylight", 430.0, (2.6, 1.6), (-2.8, 2.5, 1.75), (0.6, 3.2, 0.6), "eaf2ff"),
        ("ceiling light", 55.0, (1.4, 1.4), (0.2, 1.6, 2.75), (0.2, 1.8, 0.0), "ffe3bd"),
        ("fill", 30.0, (3.0, 2.0), (0.6, -1.9, 1.9), (0.2, 4.0, 0.8), "fff2e0"),
    ):
        lamp: Any = bpy.data.lights.new(name, "AREA")
        lamp.energy, lamp.shape, lamp.size, lamp.size_y, lamp.color = energy, "RECTANGLE", *size, rgba(colour)[:3]
        holder = bpy.data.objects.new(name, lamp)
        scene_of(bpy.context).collection.objects.link(holder)
        holder.location = location
        holder.rotation_euler = (Vector(look) - Vector(location)).to_track_quat("-Z", "Y").to_euler()
    world = bpy.data.worlds.new("room")
    background = pictures.node_tree(world).nodes["Background"]
    background.inputs["Color"].default_value = rgba("8fa3b8")
    background.inputs["Strength"].default_value = 0.15
    scene_of(bpy.context).world = world


# --- camera ------------------------------------------------------------------------------------------------------


def camera_path() -> list[Matrix]:
    """Hand-held sideways arc of about 0.65 m: camera-to-world in Blender axes for each frame."""
    rng = random.Random(SEED)  # noqa: S311 - a picture, not a secret
    waves = [
        [(rng.uniform(0.25, 2.2), rng.uniform(0, 2 * math.pi), rng.uniform(0.4, 1.0)) for _ in range(4)]
        for _ in range(6)
    ]

    def shake(axis: int, seconds: float) -> float:
        return sum(a * math.sin(2 * math.pi * f * seconds + p) / (1 + f) for f, p, a in waves[axis])

    poses = []
    for i in range(FRAMES):
        t, seconds = i / (FRAMES - 1), i / FPS
        ease = t * t * (3 - 2 * t) * 0.35 + t * 0.65
        position = Vector((-0.36 + 0.66 * ease, -0.34 + 0.16 * math.sin(math.pi * t), 1.43 + 0.07 * t))
        position += Vector([0.012 * shake(k, seconds) for k in range(3)])
        target = Vector((0.02 + 0.1 * t, 3.1, 0.78))
        rotation = (target - position).to_track_quat("-Z", "Y").to_matrix().to_4x4()
        wobble = Euler([math.radians(0.45 * shake(3 + k, seconds)) for k in range(3)]).to_matrix().to_4x4()
        poses.append(Matrix.Translation(position) @ rotation @ wobble)
    return poses


def add_camera() -> bpy.types.Object:
    """The scene's camera."""
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width, data.lens, data.clip_start = "HORIZONTAL", SENSOR_MM, FOCAL_MM, 0.05
    camera = bpy.data.objects.new("camera", data)
    scene_of(bpy.context).collection.objects.link(camera)
    scene_of(bpy.context).camera = camera
    return camera


# --- rendering ---------------------------------------------------------------------------------------------------


def read_depth(path: Path) -> NDArray[np.float32]:
    """Depth (H, W) of an EXR that `pictures.render_depth` wrote."""
    image: Any = bpy.data.images.load(str(path))
    values = np.empty(WIDTH * HEIGHT * 4, np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    return values.reshape(HEIGHT, WIDTH, 4)[::-1, :, 0]  # Blender's first row is the lowest


def write_png16(path: Path, values: NDArray[np.uint16]) -> None:
    """A 16-bit grey PNG, rows filtered by the difference to the row above (PNG specification, filter type 2)."""
    height, width = values.shape
    raw = values.astype(">u2").view(np.uint8).reshape(height, width * 2)
    above = np.vstack([np.zeros((1, width * 2), np.uint8), raw[:-1]])
    rows = np.hstack([np.full((height, 1), 2, np.uint8), raw - above])

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
    path.write_bytes(data)


def opencv_pose(pose: Matrix) -> NDArray[np.float64]:
    """Camera-to-world (4, 4) with x right, y down, z forward, of a Blender camera.

    Blender's single precision leaves the rotation orthogonal to 1e-7, which an angle between two rotations shows as
    0.05 degrees; the nearest exact rotation is 1e-7 away.
    """
    result = np.array(pose) @ np.diag([1.0, -1.0, -1.0, 1.0])
    u, _, vt = np.linalg.svd(result[:3, :3])
    result[:3, :3] = u @ vt
    return result


def truth(poses: Sequence[Matrix]) -> dict[str, Any]:
    """The clip's exact cameras: camera-to-world with x right, y down, z forward; pixels span [0,W] x [0,H]."""
    focal = FOCAL_MM * WIDTH / SENSOR_MM
    return {
        "name": "room",
        "width": WIDTH,
        "height": HEIGHT,
        "lens": {"fx": focal, "fy": focal, "cx": WIDTH / 2, "cy": HEIGHT / 2},
        "metric": True,
        "dynamic": False,
        "depth_to_unit": DEPTH_TO_UNIT,
        "frames": [
            {
                "number": number,
                "file": None,
                "world_from_camera": opencv_pose(pose).round(12).tolist(),
                "depth": f"depth/{number:06d}.png" if has_depth(number) else None,
                "mask": None,
            }
            for number, pose in enumerate(poses, 1)
        ],
    }


def has_depth(number: int) -> bool:
    """Whether the frame's depth is kept beside the clip."""
    return number % DEPTH_EVERY == 0


def main(arguments: Sequence[str]) -> None:
    """Render what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "sample")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "sample", help="where rendered frames are kept")
    parser.add_argument("--only", type=int, nargs="+", help="these frames, as pictures, and nothing else")
    parser.add_argument("--samples", type=int, default=10)
    options = parser.parse_args(arguments)

    bpy.ops.wm.read_factory_settings(use_empty=True)
    build_room(random.Random(SEED))  # noqa: S311
    scene: Any = scene_of(bpy.context)
    pictures.use_cycles(scene, WIDTH, HEIGHT, FPS, options.samples)
    scene.render.use_persistent_data = True
    camera, poses = add_camera(), camera_path()
    folder = options.out if options.only else options.work
    folder.mkdir(parents=True, exist_ok=True)
    rendered = []
    for number in options.only or range(1, FRAMES + 1):
        rendered.append(folder / f"{number:06d}.png")
        if not rendered[-1].exists():
            started = time.monotonic()
            camera.matrix_world, scene.cycles.seed = poses[number - 1], SEED + number
            pictures.render_picture(scene, rendered[-1])
            print(f"frame {number}/{FRAMES} {time.monotonic() - started:.1f} s", flush=True)
    if options.only:
        return
    (options.out / "depth").mkdir(parents=True, exist_ok=True)
    for number in filter(has_depth, range(1, FRAMES + 1)):
        camera.matrix_world = poses[number - 1]
        pictures.render_depth(scene, options.work / "depth.exr")
        depth = read_depth(options.work / "depth.exr")
        write_png16(options.out / "depth" / f"{number:06d}.png", np.round(depth / DEPTH_TO_UNIT).astype(np.uint16))
        print(f"depth {number}/{FRAMES}, {depth[depth > 0].min():.2f} to {depth.max():.2f} m", flush=True)
    (options.out / "truth.json").write_text(json.dumps(truth(poses), indent=1) + "\n", encoding="utf-8")
    pictures.encode(rendered, options.out / "room.mp4", WIDTH, HEIGHT, FPS)


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are in every script
        sys.stdout.reconfigure(errors="backslashreplace")
    main(sys.argv[1:])
