# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's Blender scene: the solved sample, a CG ball that rolls behind the armchair, composites and mattes.

Run by `build.py demo` in a Blender environment. Everything lands in --out:

    room.blend              the scene, with relative paths
    composite/000001.png    plate, ball and its shadow; composite.mp4 of them
    matte/COMPOSITOR|HOLDOUT/000004.png   visible share of the ball by each way of occlusion, where true depth is known
    ball.json               radius and centres of the ball in the truth's coordinates

What has been rendered from the same solve by the same code is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from cvd_blender_addon import compat
from cvd_blender_addon.scene import camera, compositor, depth_mesh, import_solve, layers, occlusion, print_report
from cvd_blender_addon.solve_reader import Solve, SolveError
from scripts import pictures
from scripts.render_sample import rgba

ROOT = Path(__file__).resolve().parent.parent
FRAME_STEP = 3  # every third frame is rendered, and shown for three
SAMPLES, SHADOW_SAMPLES = 10, 4

# The ball rolls along x over the rug, behind the armchair. Metres, coordinates of scripts/render_sample.py.
RADIUS = 0.36
RUG_TOP = 0.02
START_X, END_X, PATH_Y = -1.3, 1.2, 3.16
TILT = math.radians(35)
STRIPES = ("e8e4da", "d6402f", "e8e4da", "2a6fb0", "e8e4da", "e9b530")


def main() -> int:
    """Build and render. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--solve", type=Path, required=True, help="solve folder of the sample")
    parser.add_argument("--truth", type=Path, required=True, help="folder with the sample's truth.json")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    folder, out = options.solve.absolute(), options.out.absolute()
    truth = json.loads((options.truth / "truth.json").read_text(encoding="utf-8"))
    try:
        scene, solve = build_scene(folder, truth)
    except SolveError as error:
        print(f"error: {error.what}\n  why: {error.why}\n  fix: {error.fix}", file=sys.stderr)
        return 1
    clear_stale(out, key_of(folder))
    numbers = [frame["number"] for frame in truth["frames"]]
    write_ball(out / "ball.json", numbers)
    save(out / "room.blend")
    render_composites(scene, numbers[::FRAME_STEP], out / "composite")
    with_depth = [frame["number"] for frame in truth["frames"] if frame["depth"]]
    for mode in (occlusion.COMPOSITOR, occlusion.HOLDOUT):
        render_mattes(scene, solve, mode, with_depth, out / "matte" / mode)
    movie = out / "composite.mp4"
    if not movie.is_file():
        stills = [out / "composite" / f"{number:06d}.png" for number in numbers[::FRAME_STEP]]
        width, height, fps = scene.render.resolution_x, scene.render.resolution_y, scene.render.fps
        pictures.encode([still for still in stills for _ in range(FRAME_STEP)], movie, width, height, fps)
    return 0


# --- the scene ----------------------------------------------------------------------------------------------------


def build_scene(folder: Path, truth: dict[str, Any]) -> tuple[Any, Solve]:
    """The solve imported by the add-on, brought to the truth's metres, and the ball with its light.

    Raises:
        SolveError: the solve folder cannot be used.
    """
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene: Any = bpy.context.scene
    pictures.use_cycles(scene, truth["width"], truth["height"], 24, SAMPLES)
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces = 2, 1
    solve = import_solve(scene, folder, occlusion.COMPOSITOR, shadow_catcher=True)
    # The ball's shadow is soft and comes out the same from every second pixel of depth, in half the time.
    _, catcher = occlusion.build(scene, solve, occlusion.COMPOSITOR, True, print_report)
    compat.set_modifier_input(depth_mesh.modifier_of(catcher), "Render Step", 2)
    layers.background_layer(scene).samples = SHADOW_SAMPLES
    # What an artist does by hand: give the solve its true size and place. Camera, depth and all the rest follow.
    root: Any = camera.find_root(scene, solve)
    root.matrix_world = truth_from_solve(solve, truth)
    ball = add_ball()
    layers.ensure_collections(scene, solve).foreground.objects.link(ball)
    roll(ball, scene.frame_start, scene.frame_end)
    add_light(scene)
    return scene, solve


def truth_from_solve(solve: Solve, truth: dict[str, Any]) -> Matrix:
    """The similarity between the solved and the true cameras.

    The rotation comes from the cameras' rotations (positions on a near straight path leave the turn about it open),
    scale and shift from their positions, all by least squares.
    """
    true = {frame["number"]: np.array(frame["world_from_camera"]) for frame in truth["frames"]}
    solved = {frame.number: np.array(frame.world_from_camera) for frame in solve.registered}
    both = sorted(true.keys() & solved.keys())
    a, b = np.stack([solved[n] for n in both]), np.stack([true[n] for n in both])
    u, _, vt = np.linalg.svd(np.einsum("nij,nkj->ik", b[:, :3, :3], a[:, :3, :3]))
    rotation: NDArray[np.float64] = (u * [1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    from_centre = (a[:, :3, 3] - a[:, :3, 3].mean(0)) @ rotation.T
    to_centre = b[:, :3, 3] - b[:, :3, 3].mean(0)
    scale = float((from_centre * to_centre).sum() / (from_centre**2).sum())
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = b[:, :3, 3].mean(0) - scale * rotation @ a[:, :3, 3].mean(0)
    return Matrix(matrix.tolist())


def ball_centre(fraction: float) -> tuple[float, float, float]:
    """Centre of the ball at `fraction` 0..1 of the shot, in the truth's coordinates."""
    return START_X + (END_X - START_X) * fraction, PATH_Y, RUG_TOP + RADIUS


def add_ball() -> bpy.types.Object:
    """A striped beach ball, round to 0.0003 of its radius."""
    around, up = 120, 60
    points = [(0.0, 0.0, -RADIUS), (0.0, 0.0, RADIUS)]
    for i in range(1, up):
        polar = math.pi * i / up
        for k in range(around):
            turn = 2 * math.pi * k / around
            x, y = math.sin(polar) * math.cos(turn), math.sin(polar) * math.sin(turn)
            points.append((RADIUS * x, RADIUS * y, -RADIUS * math.cos(polar)))
    faces: list[tuple[int, ...]] = []
    stripe: list[int] = []
    for k in range(around):
        after = (k + 1) % around
        first, last = 2, 2 + (up - 2) * around
        faces += [(0, first + after, first + k), (1, last + k, last + after)]
        faces += [
            (row + k, row + after, row + around + after, row + around + k) for row in range(2, last, around)
        ]  # fmt: skip
        stripe += [k * len(STRIPES) // around] * up
    mesh = bpy.data.meshes.new("ball")
    mesh.from_pydata(points, [], faces)
    for colour in STRIPES:
        material = bpy.data.materials.new(f"ball {colour}")
        shader = pictures.node_tree(material).nodes["Principled BSDF"]
        shader.inputs["Base Color"].default_value = rgba(colour)
        shader.inputs["Roughness"].default_value = 0.35
        mesh.materials.append(material)
    mesh.polygons.foreach_set("material_index", stripe)
    mesh.shade_smooth()
    return bpy.data.objects.new("ball", mesh)


def roll(ball: Any, first: int, last: int) -> None:
    """Key the ball's way, evenly: it turns by as much as it travels."""
    action = bpy.data.actions.new("ball rolls")
    camera.assign_action(ball, action)
    frames = [float(first), float(last)]
    for axis, (start, end) in enumerate(zip(ball_centre(0.0), ball_centre(1.0), strict=True)):
        camera.set_keys(action, ball, "location", axis, frames, [start, end])
    for axis, (start, end) in enumerate(((TILT, TILT), (0.0, (END_X - START_X) / RADIUS), (0.0, 0.0))):
        camera.set_keys(action, ball, "rotation_euler", axis, frames, [start, end])


def add_light(scene: Any) -> None:
    """Light like the room's: a window on the left, a lamp above, and what the walls give back."""
    for name, energy, size, location, look, colour in (
        ("window", 430.0, (2.6, 1.6), (-2.8, 2.5, 1.75), (0.6, 3.2, 0.6), "eaf2ff"),
        ("ceiling light", 55.0, (1.4, 1.4), (0.2, 1.6, 2.75), (0.2, 1.8, 0.0), "ffe3bd"),
    ):
        lamp: Any = bpy.data.lights.new(name, "AREA")
        lamp.energy, lamp.shape, lamp.size, lamp.size_y, lamp.color = energy, "RECTANGLE", *size, rgba(colour)[:3]
        holder = bpy.data.objects.new(name, lamp)
        holder.location = location
        holder.rotation_euler = (Vector(look) - Vector(location)).to_track_quat("-Z", "Y").to_euler()
        scene.collection.objects.link(holder)
    world = bpy.data.worlds.new("room")
    background = pictures.node_tree(world).nodes["Background"]
    background.inputs["Color"].default_value = rgba("d8cdbd")
    background.inputs["Strength"].default_value = 0.6
    scene.world = world


# --- files --------------------------------------------------------------------------------------------------------


def key_of(folder: Path) -> str:
    """Hash of all that the pictures depend on: the solve, this code, the Blender version."""
    digest = hashlib.sha256(bpy.app.version_string.encode())
    sources = (Path(__file__), Path(pictures.__file__), *sorted((ROOT / "cvd_blender_addon").rglob("*.py")))
    for path in (folder / "solve.json", *sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def clear_stale(out: Path, key: str) -> None:
    """Remove what was rendered from another solve or by other code."""
    key_file = out / "rendered-from.txt"
    if not key_file.is_file() or key_file.read_text(encoding="utf-8") != key:
        for name in ("composite", "matte"):
            shutil.rmtree(out / name, ignore_errors=True)
        (out / "composite.mp4").unlink(missing_ok=True)
        key_file.write_text(key, encoding="utf-8")


def write_ball(path: Path, numbers: list[int]) -> None:
    """Say where the ball is in the truth's coordinates, frame by frame."""
    span = numbers[-1] - numbers[0]
    centres = {number: ball_centre((number - numbers[0]) / span) for number in numbers}
    path.write_text(json.dumps({"radius": RADIUS, "centres": centres}, indent=1) + "\n", encoding="utf-8")


def save(path: Path) -> None:
    """Save the scene with relative paths, so that the folder can be moved."""
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.file.make_paths_relative()
    bpy.ops.wm.save_mainfile()
    print(f"scene: {path}", flush=True)


def render_composites(scene: Any, numbers: list[int], folder: Path) -> None:
    """Render the full composite of some frames."""
    folder.mkdir(parents=True, exist_ok=True)
    for count, number in enumerate(numbers, 1):
        render(scene, number, folder / f"{number:06d}.png", f"composite {count}/{len(numbers)}")


def render_mattes(scene: Any, solve: Solve, mode: str, numbers: list[int], folder: Path) -> None:
    """Render the visible share of the ball by one way of occlusion."""
    folder.mkdir(parents=True, exist_ok=True)
    occlusion.build(scene, solve, mode, False, print_report)
    compositor.build(scene, solve, mode, print_report)
    work = folder / "work"
    compositor.write_matte(scene, solve, work)
    for count, number in enumerate(numbers, 1):
        matte = folder / f"{number:06d}.png"
        if not matte.is_file():
            render(scene, number, work / "picture.png", f"matte {mode} {count}/{len(numbers)}")
            (work / "picture.png").unlink()
            next(work.glob("matte*.png")).replace(matte)
    shutil.rmtree(work, ignore_errors=True)


def render(scene: Any, number: int, path: Path, what: str) -> None:
    """Render a frame to `path` and say so; one that is there is kept."""
    if path.is_file():
        return
    started = time.monotonic()
    scene.frame_set(number)
    pictures.render_picture(scene, path)
    print(f"{what}: frame {number}, {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are in every script
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
