"""The add-on's own cost: importing a long solve, the .blend it makes, playing the depth mesh, and its estimates.

    python -m bench.addon make FOLDER               in the engine's environment: solves of a synthetic scene
    python -m bench.addon measure FOLDER            in Blender's Python (bpy): import and playback, one table
    python -m bench.addon estimates FOLDER...       in any Python: finished solves against what would have been said

Playback is what Blender evaluates for each frame (`frame_set`); drawing comes on top of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
LONG = "long_640x360"
SIZES = {LONG: (640, 360, 1000), "640x360": (640, 360, 100), "1280x720": (1280, 720, 100)}
DISTINCT = 100  # frames; of longer solves the rest are links
POINTS = 20_000


def make(folder: Path) -> None:
    """Write the solve folders of SIZES, with EXRs as the engine writes them."""
    import cv2

    from engine.files import write_exr
    from tests.addon.synthetic import Synthetic

    for name, (width, height, frames) in SIZES.items():
        clip = folder / name
        truth = Synthetic(
            width, height, 0.9 * width, width / 2, height / 2, first=1, last=frames, missing=(), unplaced=()
        )
        truth.folder = clip / "shot.solve"
        (truth.folder / "depth").mkdir(parents=True, exist_ok=True)
        for number in truth.frames:
            plate, depth = clip / f"plate_{number:04d}.png", truth.folder / "depth" / f"{number:06d}.exr"
            if depth.exists():
                continue
            if number > DISTINCT:
                same = (number - 1) % DISTINCT + 1
                os.link(clip / f"plate_{same:04d}.png", plate)
                os.link(truth.folder / "depth" / f"{same:06d}.exr", depth)
                continue
            cv2.imwrite(str(plate), truth.plate(number, supersample=1)[..., ::-1])
            write_exr(depth, truth.depth(number))
        _write_points(truth.folder / "points.ply")
        truth.write_json(truth.document(clip))


def _write_points(path: Path) -> None:
    xyz = np.random.default_rng(0).uniform(-4.0, 4.0, (POINTS, 3))
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {POINTS}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uchar {colour}\n" for colour in ("red", "green", "blue"))
    header += "property int track_length\nend_header\n"
    path.write_bytes(header.encode() + b"".join(struct.pack("<fffBBBi", *row, 200, 100, 50, 7) for row in xyz))


def measure(folder: Path) -> str:
    """Import and playback in this Blender, as Markdown."""
    import bpy

    lines = [
        f"Blender {bpy.app.version_string}",
        "",
        "| frames | import, CPU s | import again, CPU s | .blend, KB |",
        "|---|---|---|---|",
        _import(folder / LONG / "shot.solve", SIZES[LONG][2]),
        "",
        "| depth mesh | every n-th pixel | ms a frame | again | frames a second | MB for 100 frames |",
        "|---|---|---|---|---|---|",
    ]
    for name in SIZES:
        if name != LONG:
            lines += [_play(folder / name / "shot.solve", name, step) for step in (4, 2, 1)]
    return "\n".join(lines)


def _empty_scene() -> Any:
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    return bpy.context.scene


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _import(solve: Path, frames: int) -> str:
    import bpy

    from cvd_blender_addon.scene import import_solve

    scene = _empty_scene()
    first, again = (_seconds(lambda: import_solve(scene, solve, report=lambda *_: None)) for _ in range(2))
    blend = solve.parent / "imported.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=False)
    return f"| {frames} | {first:.2f} | {again:.2f} | {blend.stat().st_size / 1e3:.0f} |"


def _play(folder: Path, name: str, step: int) -> str:
    import bpy

    from cvd_blender_addon import compat
    from cvd_blender_addon.scene import depth_mesh, import_solve

    scene = _empty_scene()
    solve = import_solve(scene, folder, report=lambda *_: None)
    mesh: Any = depth_mesh.find(scene, solve)
    compat.set_modifier_input(mesh.modifiers[depth_mesh.MODIFIER], "Viewport Step", step)
    scene.frame_set(1)
    before, passes = _memory_mb(), []
    for _ in range(2):
        taken = []
        for number in range(1, 101):
            start = time.process_time()
            scene.frame_set(number)
            vertices = len(mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.vertices)
            taken.append(time.process_time() - start)
            assert vertices > 1000, "the mesh is empty"
        passes.append(statistics.median(taken))
    memory = _memory_mb() - before
    cells = (name, step, f"{1e3 * passes[0]:.0f}", f"{1e3 * passes[1]:.0f}", f"{1 / passes[1]:.0f}", f"{memory:.0f}")
    return "| " + " | ".join(map(str, cells)) + " |"


def _memory_mb() -> float:
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(text.split("VmRSS:")[1].split()[0]) / 1024
    except OSError:  # elsewhere: the most that has been used so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def estimates(folders: list[Path]) -> str:
    """CPU time and disk of finished solves against the add-on's model, as Markdown."""
    from cvd_blender_addon.estimate import Shot, disk_bytes, work

    head = "| clip | frames | size | preset | method | CPU s | model | off | MB | model | off |"
    lines, time_off, disk_off = [head, "|---" * 11 + "|"], [], []
    for folder in folders:
        solve = json.loads((folder / "solve.json").read_text(encoding="utf-8"))
        request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        frames = sum(frame["registered"] for frame in solve["frames"])
        size = solve["source"]["width"], solve["source"]["height"]
        choices = request["preset"], request["method"], request["camera"]["kind"], request["prior"]["kind"]
        shot = Shot(frames, *size, *choices)
        cpu = sum(cost["cpu_s"] for cost in solve["engine"]["stages"].values())
        disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        time_off.append(work(shot) / cpu - 1.0)
        disk_off.append(disk_bytes(shot) / disk - 1.0)
        cells = (
            folder.name.removesuffix(".solve"), frames, "x".join(map(str, size)), shot.preset, shot.method,
            f"{cpu:.0f}", f"{work(shot):.0f}", f"{time_off[-1]:+.0%}",
            f"{disk / 1e6:.0f}", f"{disk_bytes(shot) / 1e6:.0f}", f"{disk_off[-1]:+.0%}",
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    middle = [f"{statistics.median(map(abs, off)):.0%}" for off in (time_off, disk_off)]
    return "\n".join([*lines, "", f"Off in the middle: {middle[0]} (time), {middle[1]} (disk)."])


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "measure", "estimates"))
    parser.add_argument("folders", nargs="+", type=Path)
    options = parser.parse_args()
    if options.what == "make":
        make(options.folders[0])
    else:
        print(measure(options.folders[0]) if options.what == "measure" else estimates(options.folders))


if __name__ == "__main__":
    main()
