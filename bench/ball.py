#!/usr/bin/env python3
"""A ball dropped on a solve, by the add-on's own button: where it comes to rest, and pictures of it.

    BPY_PYTHON bench/ball.py SOLVE OUT --at X Y [--frame N] [--frames N N N] [--samples N]

Needs a Python with bpy (`.venvs/blender-5.0`), and the solve's plate and fused mesh (`python -m engine fuse SOLVE`).
X and Y are shares of the picture's width and height; the ball is dropped on frame N and seen on the others.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import bpy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cvd_blender_addon  # noqa: E402
from cvd_blender_addon import compat, properties  # noqa: E402
from cvd_blender_addon.present import scene_of  # noqa: E402
from cvd_blender_addon.scene import owned  # noqa: E402


def main() -> int:
    """Drop the ball and render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("solve", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--at", type=float, nargs=2, metavar=("X", "Y"), required=True)
    parser.add_argument("--frame", type=int, help="default: the first")
    parser.add_argument("--frames", type=int, nargs="*", default=[], help="to render")
    parser.add_argument("--size", type=float, default=0.05, help="radius of the ball as a share of the distance")
    parser.add_argument("--height", type=float, default=2.0, help="from which it falls, in radii")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--percent", type=int, default=100, help="of the plate's size")
    options = parser.parse_args()

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    cvd_blender_addon.register()
    scene = scene_of(bpy.context)
    compat.render_with_cycles(scene)
    cycles = compat.of_cycles(scene)
    cycles.samples, cycles.use_denoising = options.samples, False
    scene.render.resolution_percentage = options.percent
    compat.operator("cvd.import_solve")(directory=str(options.solve.absolute()))
    scene.frame_set(options.frame or scene.frame_start)
    compat.operator("cvd.drop_ball")(picture=options.at, size=options.size, height=options.height)
    ball = owned.find(scene.objects, properties.of(scene).solve_key, "test_ball")
    assert ball is not None  # the operator raises where it cannot put one
    radius = ball.matrix_world.median_scale
    start = ball.matrix_world.translation.copy()
    options.out.mkdir(parents=True, exist_ok=True)
    before = start
    for number in range(scene.frame_current, scene.frame_end + 1):
        scene.frame_set(number)
        place = ball.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world.translation.copy()
        print(
            f"frame {number}: fallen {(start - place).z / radius:.2f} radii, aside "
            f"{(start - place).xy.length / radius:.2f}, step {(place - before).length / radius:.3f}"
        )
        before = place
        if number in options.frames:
            scene.render.filepath = str(options.out.absolute() / f"ball_{number:04d}.png")
            bpy.ops.render.render(write_still=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(options.out.absolute() / "ball.blend"))
    cvd_blender_addon.unregister()
    return 0


if __name__ == "__main__":
    sys.exit(main())
