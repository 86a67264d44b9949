"""The Blender camera sees what solve.json says, to a hundredth of a pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat
from cvd_blender_addon.present import data_of
from cvd_blender_addon.scene import camera, import_solve
from cvd_blender_addon.solve_reader import Solve, read
from tests.addon.synthetic import Synthetic
from tests.addon.typed import camera_of, in_view, the

pytestmark = pytest.mark.every_blender

SIZES = {"landscape": (320, 180), "portrait": (180, 320), "square": (256, 256)}


def worst_error(scene: bpy.types.Scene, solve: Solve, truth: Synthetic) -> float:
    """Largest distance, in pixels, between Blender's image of points and the solve's, over all placed frames."""
    view = camera_of(scene, solve)
    rays = truth.rays(truth.first, distorted=False)[:: truth.height // 5, :: truth.width // 5].reshape(-1, 3)
    worst = 0.0
    for number in truth.placed:
        scene.frame_set(number)
        pose = truth.world_from_camera(number)
        for depth in (1.0, 7.0, 40.0):
            points = rays * depth @ pose[:3, :3].T + pose[:3, 3]
            pinhole = np.linalg.inv(pose)[:3]
            local = points @ pinhole[:, :3].T + pinhole[:, 3]
            focal = truth.focal(number)
            expected = local[:, :2] / local[:, 2:] * (focal, focal / truth.squeeze) + (truth.cx, truth.cy)
            for point, pixel in zip(points, expected, strict=True):
                x, y = in_view(scene, view, point)
                got = (x * truth.width, (1.0 - y) * truth.height)
                worst = max(worst, float(np.hypot(*(np.array(got) - pixel))))
    return worst


@pytest.mark.parametrize(
    ("shape", "squeeze"),
    [(shape, 1.0) for shape in SIZES] + [("landscape", 0.5), ("landscape", 2.0), ("square", 0.999)],
)
@pytest.mark.parametrize("fit", ["HORIZONTAL", "VERTICAL", "AUTO"])
def test_reprojection(
    make_solve: Callable[..., Synthetic], scene: bpy.types.Scene, fit: str, shape: str, squeeze: float
) -> None:
    """Square pixels, those of an anamorphic plate (twice as wide as high) and the other way about."""
    width, height = SIZES[shape]
    truth = make_solve(width=width, height=height, cx=width / 2 + 11.3, cy=height / 2 - 7.7, squeeze=squeeze)
    solve = read(truth.folder)
    ob = camera.build(scene, solve)
    # The user's choice of sensor stands, and the next update goes by it.
    data: Any = ob.data
    data.sensor_fit, data.sensor_width, data.sensor_height = fit, 23.5, 15.6
    camera.build(scene, solve)
    assert (data.sensor_fit, round(data.sensor_width, 3)) == (fit, 23.5)
    error = worst_error(scene, solve, truth)
    print(f"worst reprojection error {fit} {shape}: {error:.6f} px")
    assert error <= 0.01


def test_zoom_is_keyed(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    truth = make_solve(focals={number: 300.0 + 8.0 * (number - 1001) for number in range(1001, 1009)})
    solve = import_solve(scene, truth.folder)
    assert worst_error(scene, solve, truth) <= 0.01


def test_zoom_that_a_new_solve_takes_back(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    truth = make_solve(focals={number: 400.0 for number in range(1001, 1009)})
    zooming = read(truth.folder)
    camera.build(scene, zooming)
    fixed = replace(zooming, lens=replace(zooming.lens, focal_varies=False))
    ob = camera.build(scene, fixed)
    scene.frame_set(1003)
    assert data_of(ob, bpy.types.Camera).lens == pytest.approx(300.0 / 320 * 36.0, rel=1e-6)


def curves(ob: bpy.types.Object) -> list[bpy.types.FCurve]:
    action = the(the(ob.animation_data).action)
    paths = [("location", i) for i in range(3)] + [("rotation_quaternion", i) for i in range(4)]
    return [compat.ensure_fcurve(action, ob, path, index) for path, index in paths]


def test_one_linear_key_per_placed_frame_and_none_in_gaps(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    ob = camera.build(scene, read(synthetic.folder))
    for curve in curves(ob):
        assert [point.co.x for point in curve.keyframe_points] == synthetic.placed
        assert {point.interpolation for point in curve.keyframe_points} == {"LINEAR"}


def test_quaternions_do_not_flip(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    class Spinning(Synthetic):
        def world_from_camera(self, number: int) -> np.ndarray:
            pose = super().world_from_camera(number)
            angle = 0.9 * (number - self.first)  # more than a full turn
            c, s = np.cos(angle), np.sin(angle)
            pose[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ pose[:3, :3]
            return pose

    truth = Spinning()
    solve = read(make_solve().folder)
    frames = tuple(
        replace(frame, world_from_camera=tuple(map(tuple, truth.world_from_camera(frame.number).tolist())))
        if frame.world_from_camera
        else frame
        for frame in solve.frames
    )
    ob = camera.build(scene, replace(solve, frames=frames))
    keys = np.array([[point.co.y for point in curve.keyframe_points] for curve in curves(ob)[3:]]).T
    assert (keys[1:] * keys[:-1]).sum(1).min() > 0.0
    # Without the repair this turn would flip: the raw conversion keeps w positive.
    assert keys[:, 0].min() < 0.0


def test_scene_goes_with_the_plate(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    camera.build(scene, read(synthetic.folder))
    render = scene.render
    assert (render.resolution_x, render.resolution_y) == (320, 180)
    assert render.fps / render.fps_base == pytest.approx(30000 / 1001, rel=1e-6)
    assert (scene.frame_start, scene.frame_end, scene.frame_current) == (1001, 1008, 1001)
    assert the(scene.camera).get("cvd_role") == "camera"
