#!/usr/bin/env python3
"""Whether engine and Blender show the same picture under the same frame number.

    python bench/same_picture.py FOLDER... --blender PYTHON [--blender PYTHON...] [--frames 12] [--only TEXT]

Every movie and image sequence below the folders is read by the engine (`footage.probe`, `read_frames`) and rendered by
Blender's compositor from a movie clip that is set up as the add-on does. Some frames are compared, the first and the
last ones among them: the engine's frame n has to be nearer to Blender's frame n than to Blender's frames n - 1 and
n + 1. For that both are made small and brought to one mean and contrast, so that colour management does not count;
the table also has the plain difference in 8-bit levels. Prints a Markdown table. Exit code 1: another picture is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SMALL = 240  # pixels along the long side at which frames are compared
TIE = 0.02  # of the contrast: a frame that stands still is as near to its neighbours
ALIKE = 0.35  # of the contrast: what differs more is another picture, whatever the neighbours are
FLAT = 0.02  # contrast below which there is only noise
LIMIT_S = 300
SKIPPED = {"_work", "depth", "mask", "masks", "ramp", "camera_files"}
Small = NDArray[np.float32]


@dataclass(frozen=True)
class Result:
    """Of one input in one Blender: size, frames, and what became of the comparison."""

    blender: str
    size: str
    frames: int
    verdict: str
    bad: bool


# --- the engine's side ------------------------------------------------------------------------------------------------


def inputs(folder: Path) -> Iterator[Path]:
    """Every movie, and the first file of every image sequence, below a folder."""
    from engine.errors import CvdError
    from engine.footage.decode import STILL_SUFFIXES
    from engine.footage.movies import MOVIE_SUFFIXES
    from engine.footage.sequence import sequence_of

    for place, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        left = sorted(name for name in names if Path(name).suffix.lower() in STILL_SUFFIXES and name[0] != ".")
        yield from (Path(place) / n for n in sorted(names) if Path(n).suffix.lower() in MOVIE_SUFFIXES)
        while left:
            yield Path(place) / left[0]
            try:
                taken = set(sequence_of(Path(place) / left[0], left).files.values())
            except CvdError:  # whoever reads it is told
                break
            left = [name for name in left if name not in taken]


def chosen(numbers: tuple[int, ...], count: int) -> list[int]:
    """Some of the numbers: the first and the last three, and others evenly between them."""
    places = {0, 1, 2, *np.linspace(0, len(numbers) - 1, count).astype(int).tolist(), *range(-3, 0)}
    return sorted({numbers[place] for place in places if -len(numbers) <= place < len(numbers)})


def small(picture: NDArray[Any]) -> Small:
    """Reduced by whole blocks, so that both sides do the same."""
    block = max(1, max(picture.shape[:2]) // SMALL)
    height, width = (side // block for side in picture.shape[:2])
    cut = picture[: height * block, : width * block, :3].astype(np.float32)
    return np.asarray(cut.reshape(height, block, width, block, 3).mean(axis=(1, 3)), np.float32)


def compare(ours: Small, theirs: dict[int, Small], number: int) -> tuple[float, float, int]:
    """(plain difference in levels, difference in contrasts, offset of Blender's nearest frame)."""

    def normal(picture: Small) -> Small:
        grey = picture.mean(axis=2)
        return np.asarray((grey - grey.mean()) / max(float(grey.std()), FLAT), np.float32)

    errors = {n: float(np.abs(normal(ours) - normal(other)).mean()) for n, other in theirs.items()}
    nearest = min(errors, key=errors.__getitem__)
    if errors[nearest] > errors[number] - TIE:
        nearest = number
    return float(np.abs(ours - theirs[number]).mean() * 255.0), errors[number], nearest - number


def examine(path: Path, blenders: list[Path], count: int, folder: Path) -> Iterator[Result]:
    """One input in every Blender."""
    from engine import footage
    from engine.errors import CvdError

    try:
        clip = footage.probe(path)
        numbers = chosen(clip.numbers, count)
        ours = {number: small(picture) for number, picture in footage.read_frames(clip, numbers)}
    except CvdError as error:
        yield Result("", "", 0, f"refused: {error.code}", False)
        return
    # Blender's clip counts from its own file: number 1 of a movie, the number in the name of a picture.
    around = sorted({n for number in numbers for n in (number - 1, number, number + 1)} & set(clip.numbers))
    job = {
        "path": str(clip.path),
        "start": clip.numbers[0],
        "sequence": clip.kind == "sequence",
        "linear": clip.colourspace == "linear",
        "numbers": around,
        "out": str(folder),
    }
    size = f"{clip.width}x{clip.height}"
    for blender in blenders:
        report = folder / "report.json"
        report.unlink(missing_ok=True)
        command = [str(blender), __file__, "--inside", json.dumps(job)]
        try:
            subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
            told = json.loads(report.read_text(encoding="utf-8"))
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            yield Result(blender.parents[1].name, size, len(clip.numbers), f"Blender failed: {error}", True)
            continue
        theirs = {n: np.load(folder / f"{n}.npy") for n in around}
        verdict, bad = judge(ours, theirs, told, clip)
        yield Result(told["version"], size, len(clip.numbers), verdict, bad)


def judge(ours: dict[int, Small], theirs: dict[int, Small], told: dict[str, Any], clip: Any) -> tuple[str, bool]:
    """What to say of one input in one Blender, and whether it is wrong."""
    if told["size"] != [clip.width, clip.height]:
        return f"**another size**: Blender {told['size'][0]}x{told['size'][1]}", True
    found = {number: compare(ours[number], theirs, number) for number in ours}
    off = {number: offset for number, (_, _, offset) in found.items() if offset}
    unlike = [number for number, (_, error, _) in found.items() if error > ALIKE]
    figures = f"{np.mean([f[0] for f in found.values()]):.1f} / {max(f[0] for f in found.values()):.1f}"
    span = clip.numbers[-1] - clip.numbers[0] + 1
    length = "" if told["frames"] == span else f"; Blender's clip has {told['frames']} frames"
    if off:
        where = ", ".join(f"{number}: {offset:+d}" for number, offset in list(off.items())[:4])
        return f"**another picture** at {len(off)} of {len(found)} frames ({where}) {figures}{length}", True
    if unlike:
        return f"**unlike** at {len(unlike)} of {len(found)} frames (first {unlike[0]}) {figures}{length}", True
    return f"same at {len(found)} frames, {figures}{length}", False


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--blender", type=Path, action="append", required=True, help="a Python that has bpy")
    parser.add_argument("--frames", type=int, default=12, help="how many frames of each input are compared")
    parser.add_argument("--only", default="", help="inputs whose path holds this")
    options = parser.parse_args()
    print("| input | size, frames | Blender | same picture? mean / worst frame, levels of 255 |\n|---|---|---|---|")
    bad = False
    for folder in options.folders:
        for path in inputs(folder.absolute()):
            if options.only not in str(path):
                continue
            name = str(path.relative_to(folder.absolute().parent)).replace("|", "\\|")
            name = name if len(name) < 100 else f"{name[:60]}…{name[-30:]}"
            with tempfile.TemporaryDirectory() as work:
                for result in examine(path, options.blender, options.frames, Path(work)):
                    bad |= result.bad
                    what = f"{result.size}, {result.frames}" if result.size else ""
                    print(f"| {name} | {what} | {result.blender} | {result.verdict} |", flush=True)
    return int(bad)


# --- Blender's side ---------------------------------------------------------------------------------------------------


def inside(job: dict[str, Any]) -> None:
    """Render frames of a clip as the add-on sets one up; runs in Blender's Python."""
    import bpy

    from cvd_blender_addon import compat
    from cvd_blender_addon.present import scene_of
    from cvd_blender_addon.scene import plate

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene, folder = scene_of(bpy.context), Path(job["out"])
    clip = bpy.data.movieclips.load(job["path"])
    clip.frame_start = job["start"] if job["sequence"] else 1
    compat.colour_space(clip).name = plate.LINEAR if job["linear"] else plate.SRGB
    tree, final = compat.new_compositor_tree(scene, "Same Picture")
    node = compat.new_node(tree, "CompositorNodeMovieClip")
    node.clip = clip
    tree.links.new(node.outputs["Image"], final)
    scene.render.resolution_x, scene.render.resolution_y = clip.size
    compat.view_settings(scene).view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(folder / "frame.png")
    for number in job["numbers"]:
        scene.frame_set(number)
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(str(folder / "frame.png"))
        compat.colour_space(image).name = "Non-Color"
        held = compat.pixels_of(image)
        pixels = np.empty(len(held), np.float32)
        held.foreach_get(pixels)
        np.save(folder / f"{number}.npy", small(pixels.reshape(image.size[1], image.size[0], -1)[::-1]))
        bpy.data.images.remove(image)
    report = {"version": bpy.app.version_string, "size": list(clip.size), "frames": clip.frame_duration}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    os._exit(0)  # Blender 4.5 may hang at the end of its interpreter


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(json.loads(sys.argv[2]))
    sys.exit(main())
