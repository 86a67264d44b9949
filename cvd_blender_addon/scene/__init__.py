# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that is built in a scene from a solve folder. `import_solve` does it all, registered add-on or not."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..solve_reader import Solve, frame_ranges, read, read_points
from . import camera, compositor, depth_mesh, doubt, fused, gaps, occlusion, plate, points
from .occlusion import COMPOSITOR, DEPTH, ROUGHNESS
from .plate import Report
from .transaction import all_or_nothing


def print_report(level: str, message: str) -> None:
    """Report to standard output."""
    print(f"{level}: {message}")


def import_solve(
    scene: bpy.types.Scene,
    folder: Path,
    occlusion_mode: str = COMPOSITOR,
    shadow_catcher: bool = False,
    sensor_width: float = 36.0,
    report: Report = print_report,
    cut_moving: bool = False,
    surface: str = DEPTH,
    reflection: float = 0.0,
    roughness: float = ROUGHNESS,
) -> Solve:
    """Build or update everything a solve gives: camera, plate, points, depth mesh, occlusion, compositor.

    Args:
        scene: where to build.
        folder: the solve folder.
        occlusion_mode: COMPOSITOR, HOLDOUT or FUSED_HOLDOUT.
        shadow_catcher: render CG's shadows on what is real.
        sensor_width: mm, of a new camera.
        report: takes (level, message), level INFO or WARNING.
        cut_moving: leave what moves by itself out of the depth mesh and the shadow catcher.
        surface: DEPTH or FUSED: the mesh that catches shadows.
        reflection, roughness: by which that mesh mirrors CG (Cycles).

    Raises:
        SolveError: the folder cannot be used, or Blender cannot build; the file is as it was.
    """
    solve = read(folder)
    cloud = read_points(solve.points_path)
    with all_or_nothing(scene, solve.key):
        fused.load(solve)  # first, since it is the last that may be damaged
        camera.build(scene, solve, sensor_width)
        gaps.build(scene, solve)
        doubt.build(scene, solve)
        plate.build(scene, solve, report)
        points.build(scene, solve, cloud)
        depth_mesh.build(scene, solve, cut_moving)
        fused.build(scene, solve)
        occlusion.build(
            scene, solve, occlusion_mode, shadow_catcher, report, cut_moving, surface, reflection, roughness
        )
        compositor.build(scene, solve, occlusion_mode, report)
    if solve.gaps:
        # Between the keys around a gap Blender interpolates; that is a guess, and the user has to know.
        report("WARNING", f"No camera for {len(solve.gaps)} frames: {frame_ranges(solve.gaps)}")
    return solve
