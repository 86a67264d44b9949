"""Fog, relighting and soft edges follow the solved depth exactly, and are nothing when they are off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat
from cvd_blender_addon.present import data_of
from cvd_blender_addon.scene import import_solve
from cvd_blender_addon.scene.nodes import TreeBuilder
from tests.addon.rendering import add_ball, ball_coverage, grown, iou
from tests.addon.synthetic import Synthetic
from tests.addon.typed import group_of, root_of, the, tree_of

pytestmark = pytest.mark.every_blender

FRAME = 1003  # the camera is turned a little
IN_FRONT, RADIUS = (1.0, -1.5, 1.3), 0.6
HALF_HIDDEN = (0.1, 1.5, 0.8)


class Comp:
    """The group in a scene, any of whose outputs can be rendered as it is."""

    def __init__(self, scene: bpy.types.Scene, truth: Synthetic, folder: Path, scale: float = 1.0) -> None:
        self.scene, self.truth, self.folder = scene, truth, folder
        self.solve = import_solve(scene, truth.folder)
        root_of(scene, self.solve).scale = (scale,) * 3
        compat.of_cycles(scene).samples = 4
        scene.render.image_settings.file_format = "OPEN_EXR"
        scene.render.image_settings.color_depth = "32"
        self.node = group_of(scene, self.solve)
        self.tree = tree_of(scene)
        self.final = self.node.outputs["Image"].links[0].to_socket

    def set(self, **values: Any) -> None:
        for name, value in values.items():
            self.node.inputs[name.replace("_", " ")].default_value = value

    def render(self, output: Any = "Image") -> np.ndarray:
        """(H, W, 4), top row first."""
        socket = self.node.outputs[output] if isinstance(output, str) else output
        self.tree.links.new(socket, self.final)
        self.scene.frame_set(FRAME)
        path = self.folder / "out.exr"
        self.scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(str(path))
        pixels = np.empty(len(compat.pixels_of(image)), np.float32)
        compat.pixels_of(image).foreach_get(pixels)
        pixels = pixels.reshape(image.size[1], image.size[0], -1)[::-1]
        bpy.data.images.remove(image)
        return pixels


def edges_of(surface: np.ndarray, pixels: int) -> np.ndarray:
    """Where the surface changes within some pixels."""
    changes = np.zeros(surface.shape, bool)
    changes[1:] |= surface[1:] != surface[:-1]
    changes[:, 1:] |= surface[:, 1:] != surface[:, :-1]
    return grown(changes, pixels)


def ball_depth(truth: Synthetic, centre: tuple[float, float, float]) -> np.ndarray:
    """Planar depth of the ball at pixel centres; inf beside it."""
    rays, pose = truth.rays(FRAME, distorted=False), truth.world_from_camera(FRAME)
    d, o = rays @ pose[:3, :3].T, pose[:3, 3] - np.array(centre)
    a, b, c = (d * d).sum(-1), (d * o).sum(-1), (o * o).sum() - RADIUS**2
    inside = b * b - a * c
    return np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)


def test_off_is_cg_over_the_plate_to_the_bit(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    comp = Comp(scene, synthetic, tmp_path)
    add_ball(scene, comp.solve, IN_FRONT, RADIUS)
    image = comp.render()
    over, background, foreground = compat.add_alpha_over(comp.tree)
    build = TreeBuilder(comp.tree)
    build.put(comp.node.outputs["Plate"], background)
    build.put(comp.node.inputs["CG"].links[0].from_socket, foreground)
    assert np.array_equal(image, comp.render(over.outputs[0]))
    assert image[..., 0].max() > 0.7, "the ball is there"


def test_fog_over_plate_and_cg(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    comp = Comp(scene, synthetic, tmp_path)
    add_ball(scene, comp.solve, IN_FRONT, RADIUS)
    clear = comp.render()[..., :3]
    density, start, colour = 0.15, 3.0, np.array([0.2, 0.4, 0.9])
    comp.set(Fog_Density=density, Fog_Start=start, Fog_Colour=(*colour, 1.0))
    foggy = comp.render()[..., :3]
    z = np.minimum(synthetic.depth(FRAME), ball_depth(synthetic, IN_FRONT))
    through = np.exp(-density * np.maximum(z - start, 0))[..., None]
    wanted = clear * through + colour * (1 - through)
    _, whole = ball_coverage(synthetic, FRAME, IN_FRONT, RADIUS)
    rim = grown((whole > 0) & (whole < 1), 1)
    assert np.abs(foggy - wanted)[(whole == 0) & ~rim].max() < 2e-5
    assert np.abs(foggy - wanted)[(whole == 1) & ~rim].max() < 3e-3  # its mesh is not quite a ball
    assert np.abs(foggy - wanted)[rim].mean() < 0.05  # no halo: a rim without fog would be off by 0.3
    depth = comp.render("Depth")[..., 0]
    assert np.abs(depth / z - 1)[~rim].max() < 2e-3


@pytest.mark.parametrize(
    ("k1", "scale", "percent", "worst"), [(0.0, 1.0, 100, 1e-3), (0.0, 2.5, 50, 0.01), (0.08, 1.0, 100, 0.1)]
)
def test_normals_and_light(
    make_solve: Callable[..., Synthetic],
    scene: bpy.types.Scene,
    tmp_path: Path,
    k1: float,
    scale: float,
    percent: int,
    worst: float,
) -> None:
    truth = make_solve(k1=k1) if k1 else make_solve()
    comp = Comp(scene, truth, tmp_path, scale)
    scene.render.resolution_percentage = percent
    step = 100 // percent
    _, _, surface = truth.cast(FRAME, truth.rays(FRAME, distorted=False))
    away = ~edges_of(surface, 12)
    away[:12] = away[-12:] = away[:, :12] = away[:, -12:] = False
    surface, away = surface[::step, ::step], away[::step, ::step]
    wanted = np.array([(0, 0, 1), (0, -1, 0), (0, -1, 0)])[surface]
    normal = comp.render("Normal")[..., :3]
    assert np.abs(normal - wanted)[away].max() < worst
    plate = comp.render()[..., :3]
    # From above: on the floor alone, in the light's colour.
    comp.set(Light_Strength=0.5, Light_Colour=(1.0, 0.5, 0.0, 1.0), Light_Direction=(0.0, 0.0, 3.0))
    gain = comp.render()[..., :3][away] / plate[away]
    floor = (surface[away] == 0)[:, None]
    assert np.abs(gain - np.where(floor, (1.5, 1.25, 1.0), 1.0)).max() < worst


def test_soft_edge(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    comp = Comp(scene, synthetic, tmp_path)
    add_ball(scene, comp.solve, HALF_HIDDEN, RADIUS)
    visible, whole = ball_coverage(synthetic, FRAME, HALF_HIDDEN, RADIUS)
    assert 0.2 < visible.sum() / whole.sum() < 0.8
    hard = comp.render("Matte")[..., 0]
    comp.set(Softness=3.0)
    soft = comp.render("Matte")[..., 0]
    assert iou(hard, visible) > 0.98 and iou(soft, visible) > 0.97
    inside = grown(whole == 1, 0) & ~grown(whole < 1, 4)
    between = [
        ((matte > 0.05) & (matte < 0.95) & inside).sum(axis=1)[inside.any(axis=1)].mean() for matte in (hard, soft)
    ]
    assert between[0] < 2.0 and 3.0 < between[1] < 8.0
    # Behind the wall no outline of the ball comes through.
    assert soft[(whole > 0) & ~grown(visible > 0, 7)].max() < 0.01


def test_depth_of_field(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    comp = Comp(scene, synthetic, tmp_path)
    sharp = comp.render()[..., :3]
    depth, _, surface = synthetic.cast(FRAME, synthetic.rays(FRAME))
    front, back = (np.median(depth[surface == number]) for number in (2, 1))
    inner = ~edges_of(surface, 12)
    inner[:12] = inner[-12:] = inner[:, :12] = inner[:, -12:] = False
    beside = (surface == 1) & ~grown(surface != 1, 1) & grown(surface == 2, 3) & ~grown(surface == 0, 12)
    radius = 6.0

    comp.set(Defocus=radius, Focus_Distance=front)
    far = comp.render()[..., :3]
    assert np.abs(far - sharp)[inner & (surface == 2)].max() < 1e-3
    # The back wall: each pixel the mean of a disc.
    size = radius * (1 - front / back)
    assert 2.0 < size < 3.0
    steps = [(y, x) for y in range(-3, 4) for x in range(-3, 4) if np.hypot(y, x) <= size]
    disc = np.mean([np.roll(sharp, step, (0, 1)) for step in steps], axis=0)
    blurred = np.abs(far - disc)[inner & (surface == 1)].mean()
    assert blurred < 0.2 * np.abs(sharp - disc)[inner & (surface == 1)].mean()
    # Nothing of the sharp orange wall in front smears into it.
    assert beside.sum() > 100 and far[beside, 0].max() < 0.12 < 0.4 < sharp[surface == 2, 0].max()

    comp.set(Focus_Distance=0.0)
    the(data_of(the(scene.camera), bpy.types.Camera).dof).focus_distance = back
    near = comp.render()[..., :3]
    assert np.abs(near - sharp)[inner & (surface == 1)].max() < 1e-3
    assert near[beside, 0].mean() > 0.1, "what is out of focus in front has a soft outline"

    add_ball(scene, comp.solve, IN_FRONT, RADIUS)
    comp.set(Defocus=0.0)
    sharp = comp.render()[..., :3]
    at = ball_depth(synthetic, IN_FRONT)
    comp.set(Defocus=radius, Focus_Distance=float(at.min()))
    focused = comp.render()[..., :3]
    _, whole = ball_coverage(synthetic, FRAME, IN_FRONT, RADIUS)
    assert np.abs(focused - sharp)[~grown(whole < 1, 3)].max() < 0.02
    assert np.abs(focused - sharp)[surface == 1].max() > 0.02
