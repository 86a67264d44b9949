# SPDX-License-Identifier: GPL-3.0-or-later
"""From a clip to a rendered scene without a window: solve, import, save, render, deliver to other programs.

In Blender:                 blender -b --python-exit-code 1 --python scripts/headless.py -- CLIP --out shot.solve ...
With the bpy module:        python scripts/headless.py CLIP --out shot.solve ...

A .blend opened before (`blender -b my.blend --python ...`) is used as it is; otherwise an empty scene is made.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Blender runs this file from anywhere; the package lies beside it in the checkout.
sys.path.insert(0, str(ROOT))

import bpy  # noqa: E402

from cvd_blender_addon import cameras, compat, deliveries, jobs, masks, solve_request  # noqa: E402
from cvd_blender_addon.present import scene_of  # noqa: E402
from cvd_blender_addon.scene import camera_files, compositor, import_solve, inputs, matte, plate  # noqa: E402
from cvd_blender_addon.solve_reader import Solve, SolveError, summary  # noqa: E402
from engine.schemas.options import add_options, given  # noqa: E402 - Python's own library is all that it needs

SAMPLES = 32


class HeadlessError(Exception):
    """What happened, why, and what to do."""

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(f"error: {what}\n  why: {why}\n  fix: {fix}")


def main() -> int:
    """Run. Returns the exit code."""
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    options = parse(arguments)
    try:
        folder = options.import_only or _solve(options)
        solve = _import(folder, options)
        _save(options.blend or solve.folder.parent / f"{solve.name}.blend")
        if options.deliver is not None:
            _deliver(solve, options)
        if options.render:
            _check_files(solve)
            folder = options.render_dir or solve.folder.parent / f"{solve.name}_render"
            if options.matte:
                _render_matte(solve, options.render, folder, options.matte, options.matte_format)
            else:
                _render(solve, options.render, folder)
    except HeadlessError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Every option; those of the request are made from its schema."""
    parser = argparse.ArgumentParser(prog="headless.py", description=__doc__.splitlines()[0])
    parser.add_argument("clip", nargs="?", type=Path, help="a movie, or a file of an image sequence")
    parser.add_argument("--out", type=Path, help="solve folder (default: <clip>.solve beside the clip)")
    parser.add_argument("--engine-python", type=Path, help="python of the engine's environment; needed to solve")
    add_options(parser)
    parser.add_argument("--scene-camera", metavar="NAME", help="take this camera of the .blend instead of solving one")
    parser.add_argument("--tracking-markers", action="store_true", help="use what is tracked on the .blend's clip")
    parser.add_argument(
        "--track-distance",
        nargs=3,
        metavar=("METRES", "TRACK", "TRACK"),
        help="how far apart two tracks of the .blend's clip are",
    )
    parser.add_argument("--import-only", type=Path, metavar="SOLVE", help="import this solve instead of solving")
    parser.add_argument("--occlusion", choices=["COMPOSITOR", "HOLDOUT"], default="COMPOSITOR")
    parser.add_argument("--shadow-catcher", action="store_true")
    parser.add_argument("--cut-moving", action="store_true", help="no mesh where something moves by itself")
    parser.add_argument("--blend", type=Path, help="file to save (default: beside the solve folder)")
    parser.add_argument("--deliver", type=Path, metavar="FOLDER", help="write depth, camera, … for other programs")
    parser.add_argument("--deliver-as", metavar="KINDS", help="as of `engine deliver --as`; default: all the shot has")
    parser.add_argument(
        "--deliver-camera", metavar="KINDS", default=",".join(camera_files.FORMATS), help="default: %(default)s"
    )
    parser.add_argument("--render", metavar="FRAMES", help="a frame number, or FIRST-LAST")
    parser.add_argument("--render-dir", type=Path, help="folder for the composite and the matte")
    parser.add_argument(
        "--matte", nargs="+", metavar="OBJECT", help="with --render: the matte of these objects of the .blend alone"
    )
    parser.add_argument("--matte-format", choices=matte.FORMATS, default="PNG")
    return parser


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options; ends the program where they do not go together."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if (options.clip is None) == (options.import_only is None):
        parser.error("give either a CLIP to solve or --import-only SOLVE")
    if options.clip is not None and options.engine_python is None:
        parser.error("solving needs --engine-python")
    if options.deliver is not None and options.engine_python is None:
        parser.error("--deliver needs --engine-python")
    options.deliver_camera = [word for word in options.deliver_camera.split(",") if word]
    if not set(options.deliver_camera) <= set(camera_files.FORMATS):
        parser.error(f"--deliver-camera takes {', '.join(camera_files.FORMATS)}, with commas between them")
    if options.matte and not options.render:
        parser.error("--matte needs --render, for the frames")
    if options.scene_camera is not None and options.camera not in (None, "solve"):
        parser.error("--scene-camera and --camera are two answers to one question")
    sizes = [options.camera_height, options.distance, options.track_distance]
    if any(sizes) and (options.scene_camera or options.camera not in (None, *jobs.SOLVED)):
        parser.error("--camera-height, --distance and --track-distance are for cameras that are solved")
    if options.distance and options.track_distance:
        parser.error("--distance and --track-distance are two answers to one question")
    if options.track_distance and not _positive(options.track_distance[0]):
        parser.error("--track-distance begins with metres")
    return options


def _positive(text: str) -> bool:
    try:
        return float(text) > 0.0
    except ValueError:
        return False


def _solve(options: argparse.Namespace) -> Path:
    clip: Path = options.clip
    markers = options.tracking_markers or options.track_distance
    folder: Path = options.out or clip.with_name(f"{clip.stem}.solve")
    settings = given(options)
    if options.scene_camera:
        settings |= {"camera/kind": "json", "camera/path": folder / cameras.CAMERA}
    if markers:
        settings["tracks"] = folder / cameras.TRACKS
    try:
        if options.track_distance:
            settings["world/distance"] = _distance(options)
        request = solve_request.make(clip, folder, settings)
        if options.scene_camera or markers:
            jobs.prepare(options.engine_python, ROOT, request)
            _hand_over(options, folder)
        job = jobs.start(options.engine_python, ROOT, request)
    except jobs.StartError as error:
        raise HeadlessError(error.error.what, error.error.why, error.error.fix) from error
    _wait(job, "solve")
    return folder


def _plate(options: argparse.Namespace) -> tuple[Path, list[int], tuple[int, int]]:
    """The clip, the plate frame numbers to solve, and the plate's size in pixels."""
    clip: Path = options.clip.absolute()
    asked = solve_request.complete(given(options))
    first, last, step, stereo = (asked[f"footage/{name}"] for name in ("first", "last", "step", "stereo"))
    return clip, masks.numbers_to_solve(clip, first, last, step), cameras.plate_size(clip, stereo)


def _hand_over(options: argparse.Namespace, folder: Path) -> None:
    """Write what the open .blend knows of the camera into the solve folder."""
    clip, numbers, size = _plate(options)
    shown = masks.showing(clip)
    if options.scene_camera:
        block = masks.drawn_on(clip, None, "camera") if shown else None
        camera = bpy.data.objects.get(options.scene_camera)
        cameras.write_camera(
            scene_of(bpy.context), camera, block, numbers, size, bool(options.camera_metric), folder / cameras.CAMERA
        )
    if options.tracking_markers or options.track_distance:
        only = None if options.tracking_markers else options.track_distance[1:]
        cameras.write_tracks(masks.drawn_on(clip, None, "tracking"), numbers, size, folder / cameras.TRACKS, only)


def _distance(options: argparse.Namespace) -> dict[str, Any]:
    """What is known between two tracks of the .blend's clip, as a request has it."""
    metres, a, b = options.track_distance
    clip, numbers, size = _plate(options)
    return cameras.distance_between(masks.drawn_on(clip, None, "tracking"), (a, b), float(metres), numbers, size)


def _import(folder: Path, options: argparse.Namespace) -> Solve:
    if not bpy.data.filepath:
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        compat.render_with_cycles(scene_of(bpy.context))  # on a machine without a GPU far faster than EEVEE
        compat.of_cycles(scene_of(bpy.context)).samples = SAMPLES
    try:
        solve = import_solve(
            scene_of(bpy.context), folder, options.occlusion, options.shadow_catcher, cut_moving=options.cut_moving
        )
    except SolveError as error:
        raise HeadlessError(error.what, error.why, error.fix) from error
    print("\n".join(summary(solve)))
    return solve


def _save(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(path.absolute()))
    except (OSError, RuntimeError) as error:
        raise HeadlessError(
            f"{path} was not saved.", f"{error}".strip(), "Choose another place with --blend."
        ) from error
    print(f"scene: {path}")


def _deliver(solve: Solve, options: argparse.Namespace) -> None:
    out: Path = options.deliver.absolute()
    kinds = None if options.deliver_as is None else [word for word in options.deliver_as.split(",") if word]
    try:
        job, missing = deliveries.deliver(
            scene_of(bpy.context), solve, options.engine_python, ROOT, out, kinds, options.deliver_camera
        )
    except jobs.StartError as error:
        raise HeadlessError(error.error.what, error.error.why, error.error.fix) from error
    for sentence in missing:
        print(f"WARNING: {sentence}")
    _wait(job, "delivery")
    print(f"delivered: {out}")


def _wait(job: jobs.Job, name: str) -> None:
    status = jobs.wait(job, lambda status: print(jobs.describe(status), flush=True))
    if status.error is not None:
        raise HeadlessError(status.error.what, status.error.why, status.error.fix)
    if status.state != "done":
        raise HeadlessError(
            f"The {name} was cancelled.", "Somebody asked it to stop.", "Run again: it goes on from there."
        )


def _range(frames: str) -> range:
    first, _, last = frames.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        raise HeadlessError(
            f"{frames!r} is no range of frames.", "It has to be a number or FIRST-LAST.", "Correct --render."
        )
    return range(int(first), int(last or first) + 1)


def _check_files(solve: Solve) -> None:
    """Nothing is rendered that lacks the plate or the depth."""
    if plate.find_file(solve) is None:
        raise HeadlessError(
            "Nothing was rendered: the plate is missing.",
            f"There is no {solve.source.path}, and no {solve.source.path.name} beside the solve folder.",
            "Put the plate beside the solve folder.",
        )
    for lost in inputs.missing(scene_of(bpy.context)):
        raise HeadlessError(lost.error.what, lost.error.why, lost.error.fix)


def _render_matte(solve: Solve, frames: str, folder: Path, names: list[str], file_format: str) -> None:
    objects = [ob for ob in scene_of(bpy.context).objects if ob.name in names]
    missing = sorted(set(names) - {ob.name for ob in objects})
    if missing:
        raise HeadlessError(f"There is no {missing[0]} in the scene.", "--matte names it.", "Correct --matte.")
    try:
        matte.render(scene_of(bpy.context), solve, objects, folder.absolute(), _range(frames), file_format)
    except (RuntimeError, ValueError) as error:
        raise HeadlessError("The matte was not rendered.", f"{error}".strip(), "Check --render-dir.") from error
    print(f"matte of {', '.join(names)}: {folder}", flush=True)


def _render(solve: Solve, frames: str, folder: Path) -> None:
    scene = scene_of(bpy.context)
    if compositor.find_group_node(scene, solve) is not None:
        compositor.write_matte(scene, solve, folder.absolute())
    for number in _range(frames):
        scene.frame_set(number)
        path = folder.absolute() / f"composite_{number:04d}.png"
        scene.render.filepath = str(path)
        try:
            bpy.ops.render.render(write_still=True)
        except RuntimeError as error:
            raise HeadlessError(
                f"Frame {number} was not rendered.", f"{error}".strip(), "Check --render-dir."
            ) from error
        if not path.is_file():
            raise HeadlessError(f"Frame {number} was not written.", f"{path} is missing.", "Check --render-dir.")
        print(f"rendered: {path}", flush=True)


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are in every script
        sys.stdout.reconfigure(errors="backslashreplace")
    # Blender carries on after a script, unless it is told to exit.
    sys.exit(main())
