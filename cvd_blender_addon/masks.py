# SPDX-License-Identifier: GPL-3.0-or-later
"""The artist's masks: which frames have one, and a Blender mask rendered to files that the engine reads."""

from __future__ import annotations

import re
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from . import compat, properties
from .jobs import StartError
from .sequences import numbered_files, plate_numbers, require_frames, shown_first
from .solve_reader import frame_ranges

FOLDER = "masks"
_RENDERED = re.compile(r"-?\d{6,}\.png")
STAMPS = "use_stamp_"
BLACK = array("f", (0.0, 0.0, 0.0, 1.0)).tobytes()
Progress = Callable[[int, int], None]


@contextmanager
def opened(clip: Path) -> Iterator[bpy.types.MovieClip | None]:
    """The movie or picture as a clip for the time of the block; None where Blender cannot read it."""
    try:
        block = bpy.data.movieclips.load(str(clip)) if clip.is_file() else None
    except RuntimeError:
        block = None
    try:
        # Of a file it cannot read, Blender gives a made-up size, but no frames.
        yield block if block is not None and block.frame_duration > 0 and block.size[0] > 0 else None
    finally:
        if block is not None:
            bpy.data.movieclips.remove(block)


def frames_to_solve(cvd: properties.CvdProperties, clip: Path) -> list[int]:
    """Plate frame numbers that `scene.cvd` asks for.

    Args:
        clip: a movie, a file of an image sequence, or a folder that holds one.

    Raises:
        StartError: Blender would show the sequence at other frames, or the clip cannot be read.
    """
    first, last = (cvd.first, cvd.last) if cvd.use_range else (None, None)
    return numbers_to_solve(clip, first, last, cvd.step)


def numbers_to_solve(clip: Path, first: int | None, last: int | None, step: int) -> list[int]:
    """Plate frame numbers from `first` to `last`, None for the clip's own, every `step`-th of them."""
    numbers = chosen(all_numbers(clip), first, last, step)
    require_frames(numbers)
    return numbers


def require_plate(cvd: properties.CvdProperties, clip: Path) -> None:
    """Refuse an image sequence that Blender would show at other frames than the engine solves.

    Raises:
        StartError: as `frames_to_solve`.
    """
    if clip.suffix.lower() not in compat.MOVIES:
        frames_to_solve(cvd, clip)


def all_numbers(clip: Path) -> list[int]:
    """Plate frame numbers of the whole clip."""
    if clip.suffix.lower() in compat.MOVIES:
        with opened(clip) as block:
            return list(range(1, 1 + (block.frame_duration if block else 0)))
    return plate_numbers(clip)


def chosen(numbers: Sequence[int], first: int | None, last: int | None, step: int) -> list[int]:
    """Those from `first` to `last`, None for all, every `step`-th of them."""
    within = [n for n in numbers if (first is None or n >= first) and (last is None or n <= last)]
    start = within[0] if first is None and within else first or 0
    return [number for number in within if (number - start) % step == 0]


def provide(cvd: properties.CvdProperties, clip: Path, folder: Path, progress: Progress) -> None:
    """Note in `scene.cvd` which frames have a mask; a Blender mask is rendered, as `folder/000101.png`.

    Args:
        clip: the footage, as for `frames_to_solve`.
        folder: where a Blender mask goes; what was there of an earlier one is replaced.
        progress: told how many frames of how many are rendered.

    Raises:
        StartError: no frame to solve has a mask, or it is not known which, or it cannot be rendered.
    """
    cvd.mask_frames = ""
    numbers = frames_to_solve(cvd, clip)
    if cvd.mask_source == "SEQUENCE":
        given = numbered_files(Path(bpy.path.abspath(cvd.mask_path))) if cvd.mask_path else {}
        masked = [number for number in numbers if number in given]
        fix = "Choose a file of a mask sequence whose file names carry the plate's frame numbers."
    else:
        masked = render(cvd.mask, drawn_on(clip, cvd.mask_clip), numbers, folder, progress) if cvd.mask else []
        fix = "Choose a mask that covers what moves on the frames to solve, and under Drawn On the clip it belongs to."
    if not masked:
        raise StartError(
            "masks.none",
            "There is no mask on any frame to solve.",
            f"The frames to solve are {frame_ranges(tuple(numbers)) or 'none'}; none of them has a mask that covers "
            "anything.",
            f"{fix} Or set Masks to None.",
        )
    cvd.mask_frames = f"Masked: {len(masked)} of {len(numbers)} frames ({frame_ranges(tuple(masked))})"


def drawn_on(clip: Path, chosen: bpy.types.MovieClip | None, what: str = "mask") -> bpy.types.MovieClip:
    """The clip data-block that tells which plate frame a scene frame shows.

    Args:
        clip: the footage to solve.
        chosen: the user's choice, None to take the one that shows `clip`.
        what: belongs to the clip, for the error's words.

    Raises:
        StartError: the choice shows something else, or there is none, or there are several that disagree.
    """
    clips = showing(clip)
    if chosen is not None:
        clips = [block for block in clips if block == chosen]
    if len({scene_frame(block, 0) for block in clips}) == 1:
        return clips[0]
    raise StartError(
        "masks.clip",
        f"It is not known which frame of the clip the {what} belongs to.",
        f"{len(clips)} open clips show {clip.name} with different frame numbers."
        if clips
        else f"The clip chosen under Drawn On does not show {clip.name}."
        if chosen is not None
        else f"{clip.name} is not open in the clip editor.",
        "Open the clip in the clip editor and press Use This Clip, or, for a mask, choose it under Drawn On.",
    )


def showing(clip: Path) -> list[bpy.types.MovieClip]:
    """The clips of this file that show the footage, whichever frame of it they start from."""
    clip = _plain(clip)
    wanted = {clip} if clip.suffix.lower() in compat.MOVIES else {clip, *numbered_files(clip).values()}
    return [block for block in bpy.data.movieclips if _plain(Path(bpy.path.abspath(block.filepath))) in wanted]


def _plain(path: Path) -> Path:
    """The path without detours; a file that is a link keeps its own name and number."""
    return path.parent.resolve() / path.name


def scene_frame(clip: bpy.types.MovieClip, number: int) -> int:
    """Scene frame at which `clip` shows plate frame `number`."""
    # A clip counts from its own file, whatever that file's number.
    first = shown_first(Path(bpy.path.abspath(clip.filepath)).name) if clip.source == "SEQUENCE" else 1
    return int(number - first + clip.frame_start - clip.frame_offset)


def render(
    mask: bpy.types.Mask, clip: bpy.types.MovieClip, numbers: Sequence[int], folder: Path, progress: Progress
) -> list[int]:
    """Render a Blender mask at the size of its clip: `folder/000101.png`, 8 bit, white = masked.

    It is Blender's compositor that renders, in a scene of its own, so feather, shapes, tracking and blending are those
    that the artist sees. Frames on which the mask covers nothing get no file. A file that would not change is left
    alone, so that a solve goes on where it stopped.

    Args:
        mask: the mask, drawn on `clip`.
        clip: tells the size, and which scene frame shows which plate frame.
        numbers: plate frame numbers.
        folder: made where it is missing; masks of other frames that were rendered there before are removed.
        progress: told how many frames of how many are done.

    Returns:
        The plate frame numbers that have a mask.

    Raises:
        StartError: Blender or the file system refused.
    """
    masked = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as temporary,
            _mask_scene(mask, (clip.size[0], clip.size[1]), Path(temporary)) as scene,
        ):
            for done, number in enumerate(numbers):
                progress(done, len(numbers))
                scene.frame_set(scene_frame(clip, number))
                with bpy.context.temp_override(scene=scene):
                    bpy.ops.render.render()
                (made,) = Path(temporary).iterdir()
                if not _is_black(made):
                    masked.append(number)
                    _replace(made, folder / f"{number:06d}.png")
                made.unlink(missing_ok=True)
        for file in folder.glob("*.png"):
            if _RENDERED.fullmatch(file.name) and int(file.stem) not in masked:
                file.unlink()
    except (OSError, RuntimeError, ValueError) as error:
        raise StartError(
            "masks.render",
            f"The mask {mask.name} was not rendered.",
            f"{str(error).strip()}.",
            "Check that the solve folder can be written to, that the disk is not full, and that the clip can be read.",
        ) from error
    return masked


@contextmanager
def _mask_scene(mask: bpy.types.Mask, size: tuple[int, int], folder: Path) -> Iterator[bpy.types.Scene]:
    """A scene whose render writes the mask into `folder`; nothing of it is left after the block."""
    # A compositor tree is a node group or part of its scene, and a render makes itself an image to show.
    collections: tuple[Any, ...] = (bpy.data.images, bpy.data.node_groups)
    before = [set(collection) for collection in collections]
    scene = bpy.data.scenes.new("CVD Masks")
    try:
        settings = scene.render
        settings.resolution_x, settings.resolution_y = size
        for name in dir(settings):
            if name.startswith(STAMPS):  # the date in a file would make it another one
                setattr(settings, name, False)
        tree, _final = compat.new_compositor_tree(scene, "CVD Masks")
        source = compat.new_node(tree, "CompositorNodeMask")
        source.mask = mask
        _node, socket = compat.add_grey_output(tree, folder, "mask", bits=8)
        tree.links.new(source.outputs[0], socket)
        yield scene
    finally:
        bpy.data.scenes.remove(scene)
        for collection, old in zip(collections, before, strict=True):
            for block in set(collection) - old:
                collection.remove(block)


def _is_black(path: Path) -> bool:
    image = bpy.data.images.load(str(path))
    try:
        compat.colour_space(image).name = "Non-Color"
        held = compat.pixels_of(image)
        pixels = array("f", bytes(4 * len(held)))
        held.foreach_get(pixels)
    finally:
        bpy.data.images.remove(image)
    return pixels.tobytes() == BLACK * (len(pixels) // 4)


def _replace(new: Path, path: Path) -> None:
    if not path.is_file() or path.read_bytes() != new.read_bytes():
        new.replace(path)
