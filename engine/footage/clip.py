"""A clip: what it is (`probe`) and its frames by their own numbers (`read_frames`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import FootageError
from engine.files import is_unicode, write_npy
from engine.footage.decode import (
    STILL_SUFFIXES,
    Image,
    Stored,
    display_referred,
    exr_layout,
    pictures_in,
    read_still,
)
from engine.footage.movies import (
    CUT_SHORT,
    MOVIE_SUFFIXES,
    Movie,
    TimestampError,
    frame_rate,
    movie_frames,
    survey,
)
from engine.footage.sequence import names_in, only_sequence, require_plate, sequence_of

MOST_MISSING = 100_000  # frames of a sequence
_FIX_DAMAGED = "Export or copy it again, or choose a frame range without it."


@dataclass(frozen=True)
class Footage:
    """A movie or an image sequence, and the frames of it that were asked for.

    Attributes:
        path: the movie, or the first image asked for of the sequence; absolute.
        kind: "movie" or "sequence".
        pattern: sequences: file name with a # for each digit of the number; None for movies.
        width: pixels of the plate, which of a side-by-side picture is one half.
        height: pixels.
        fps: numerator, denominator; image sequences do not say, so 24/1 for them.
        numbers: plate frame numbers present and asked for, in order; of movies those of Blender's clip, from 1.
        missing: numbers asked for, between the first and the last frame, that the sequence does not have.
        files: sequences: the file names, one for each of `numbers`; empty for movies.
        colourspace: of the stored values: "srgb" (display-referred) or "linear" (scene-linear).
        is_float: the stored values are floating-point numbers, not integers.
        content_id: a hash of the contents, the same wherever the footage lies; of a stereo clip, of both eyes.
        half: "left" or "right": the plate is this half of the stored pictures; None: it is the whole of them.
        right: the right eye of a stereo clip, whose left eye this is; None for every other footage.
        cut_short: how many frames the movie says that it has, where far fewer can be decoded; else None.
        remarks: sentences on a movie that people have to know before it is solved.
    """

    path: Path
    kind: str
    pattern: str | None
    width: int
    height: int
    fps: tuple[int, int]
    numbers: tuple[int, ...]
    missing: tuple[int, ...]
    files: tuple[str, ...]
    colourspace: str
    content_id: str
    is_float: bool = False
    half: str | None = None
    right: Footage | None = None
    cut_short: int | None = None
    remarks: tuple[str, ...] = ()

    @property
    def stereo(self) -> str:
        """How the two eyes are stored, as a request says it: "none", "side_by_side" or "two_files"."""
        if self.half is not None:
            return "side_by_side"
        return "none" if self.right is None else "two_files"


def frame_name(number: int, suffix: str = "") -> str:
    """A frame number as every file of the solve folder is named by: 101 -> "000101", with a suffix "000101.png"."""
    return f"{number:06d}{suffix}"


@dataclass(frozen=True)
class FrameFiles:
    """The files of a folder that hold one frame each.

    Attributes:
        folder: need not be there.
        suffix: such as ".png".
    """

    folder: Path
    suffix: str

    def path(self, number: int) -> Path:
        """The file of a plate frame."""
        return self.folder / frame_name(number, self.suffix)

    def save(self, number: int, values: NDArray[np.generic]) -> None:
        """Write an array, whole or not at all; the folder is made. Of files that numpy writes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_npy(self.path(number), values)

    def load(self, number: int) -> NDArray[np.float32]:
        """Read an array that `save` wrote."""
        values: NDArray[np.float32] = np.load(self.path(number), allow_pickle=False)
        return values


def read_proxy(proxies: Path, number: int) -> NDArray[np.uint8]:
    """The working copy (h, w, 3) RGB of a frame, display-referred, the whole plate at the proxies' size.

    Raises:
        FootageError: `footage.proxy_unreadable`.
    """
    path = FrameFiles(proxies, ".png").path(number)
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FootageError(
            "footage.proxy_unreadable",
            f"The working copy of a frame cannot be read: {path.name}.",
            "It is missing or damaged in the cache.",
            "Delete the cache folder of this solve and solve again.",
        )
    return np.ascontiguousarray(picture[..., ::-1])


def probe(
    path: Path,
    first: int | None = None,
    last: int | None = None,
    step: int = 1,
    colourspace: str = "auto",
    stereo: str = "none",
    right: Path | None = None,
) -> Footage:
    """Find out what the footage is. Reads a movie to `last` (or to its end) once, since only decoding tells its frames.

    Args:
        path: a movie, any file of an image sequence, or a folder that holds one sequence.
        first: first frame number wanted; None = first of the footage.
        last: last frame number wanted, inclusive; None = last of the footage.
        step: take every step-th number, counted from `first`.
        colourspace: of the stored values: "srgb", "linear" or "auto" (float pictures are scene-linear).
        stereo: "none"; "side_by_side": the left eye is the left half of each picture, at full width (a squeezed pair
            has to be widened first); "two_files": the right eye is in footage of its own, `right`.
        right: the right eye of "two_files", in any form that `path` may have.

    Returns:
        The footage; of a stereo clip its left eye, which knows its right one.

    Raises:
        FootageError: `footage.missing`, `.name`, `.unreadable`, `.empty`, `.unsupported`, `.not_video`, `.timestamps`,
            `.interlaced`, `.unreadable_frame`, `.no_frames`, `.several_sequences`, `.negative_numbers`,
            `.letter_case`, `.number_place`, `.number_limit`, `.gaps`, `.empty_range`, `.animation`,
            `.exr_window`, `.exr_layers`, `.exr_channels`, `.stereo_odd_width` or `.stereo_mismatch`.
    """
    footage = _probe_file(path, first, last, step, colourspace)
    if stereo == "side_by_side":
        return _halves(footage)
    if stereo == "two_files":
        if right is None:
            raise ValueError("two_files needs the right eye's footage")
        return _with_right(footage, _probe_file(right, first, last, step, colourspace))
    return footage


def _probe_file(path: Path, first: int | None, last: int | None, step: int, colourspace: str) -> Footage:
    path = Path(path).absolute()
    require_text(path.name if path.name else str(path), str(path))
    try:
        return _probe_existing(path, first, last, step, colourspace)
    except OSError as error:  # a folder that may not be read, a name too long for the disk, a drive that went away
        raise FootageError(
            "footage.unreadable",
            f"{path} cannot be read.",
            f"{error.strerror or error}.",
            "Check the path, its permissions and its drive.",
        ) from error


def require_text(name: str, path: str) -> None:
    """Refuse names that are no text: JSON, reports and image readers cannot hold them.

    Raises:
        FootageError: `footage.name`.
    """
    if not is_unicode(path):
        raise FootageError(
            "footage.name",
            f"The name {name.encode(errors='replace').decode()} cannot be used.",
            "It, or a folder above it, holds bytes that are no UTF-8 text.",
            "Rename it.",
        )


def _probe_existing(path: Path, first: int | None, last: int | None, step: int, colourspace: str) -> Footage:
    if "\0" in str(path) or not path.exists():
        raise FootageError(
            "footage.missing",
            f"There is no footage at {path}.",
            "The file or folder does not exist, or its drive is not connected.",
            "Check the path; relink the clip in Blender if it was moved.",
        )
    if path.is_dir():
        return _probe_sequence(path, first, last, step, colourspace)
    if path.stat().st_size == 0:
        raise FootageError(
            "footage.empty",
            f"{path} is empty (0 bytes).",
            "Its copy or export did not finish.",
            "Copy or export it again.",
        )
    suffix = path.suffix.lower()
    if suffix in STILL_SUFFIXES:
        return _probe_sequence(path, first, last, step, colourspace)
    if suffix in MOVIE_SUFFIXES:
        return _probe_movie(path, first, last, step, colourspace)
    if suffix == ".gif":
        raise _animation(path)
    raise FootageError(
        "footage.unsupported",
        f"{path.name} is not of a kind that the engine reads.",
        f"It reads movies ({' '.join(MOVIE_SUFFIXES)}) and image sequences ({' '.join(STILL_SUFFIXES)}).",
        "Convert it, for example to a PNG or EXR sequence, and choose that.",
    )


def _animation(path: Path) -> FootageError:
    return FootageError(
        "footage.animation",
        f"{path.name} holds {pictures_in(path)} pictures in one file.",
        "The engine reads movies, and image sequences with one picture in each file.",
        f'Convert it to an image sequence and choose that, for example: magick "{path.name}" -coalesce '
        f'"{path.stem}_frame_%04d.png"',
    )


def _halves(footage: Footage) -> Footage:
    """The left eye of footage whose pictures hold both."""
    if footage.width % 2:
        raise FootageError(
            "footage.stereo_odd_width",
            f"{footage.path.name} cannot be two pictures side by side: it is {footage.width} pixels wide.",
            "Two halves of one size need an even width.",
            "Set the clip to one eye, or export it with an even width.",
        )
    content = hashlib.blake2b(f"side_by_side:{footage.content_id}".encode(), digest_size=16).hexdigest()
    eye = replace(footage, width=footage.width // 2, content_id=content)
    return replace(eye, half="left", right=replace(eye, half="right"))


def _with_right(left: Footage, right: Footage) -> Footage:
    """The left eye of two pieces of footage, checked against the right one."""
    problem = None
    if (left.width, left.height) != (right.width, right.height):
        problem = (
            f"One is {left.width}x{left.height}, the other {right.width}x{right.height}.",
            "Export both eyes at one size.",
        )
    elif left.numbers != right.numbers:
        alone = sorted(set(left.numbers) ^ set(right.numbers))
        problem = (
            f"Frames that only one of them has: {', '.join(map(str, alone[:6]))}{', …' if len(alone) > 6 else ''}.",
            "Choose a frame range that both have; image sequences must be numbered alike.",
        )
    elif left.content_id == right.content_id:
        problem = "Both hold the same pictures.", "Choose the right eye's own footage."
    if problem is not None:
        what = f"{left.path.name} and {right.path.name} are not the two eyes of one clip."
        raise FootageError("footage.stereo_mismatch", what, *problem)
    content = hashlib.blake2b(f"two_files:{left.content_id}:{right.content_id}".encode(), digest_size=16).hexdigest()
    return replace(left, content_id=content, right=right)


def read_frames(footage: Footage, numbers: Sequence[int] | None = None) -> Iterator[tuple[int, Image]]:
    """Stream frames in the order of their numbers, one in memory at a time.

    Args:
        footage: what `probe` found, or its right eye.
        numbers: which of `footage.numbers`; None = all.

    Yields:
        (plate frame number, (H, W, 3) float32 RGB in [0, 1], display-referred).

    Raises:
        FootageError: `footage.unreadable_frame`, `.size_changes` or `.samples_change`, naming the frame.
        KeyError: a number that is not one of `footage.numbers`.
    """
    start = footage.width if footage.half == "right" else 0
    for number, stored in read_stored(footage, footage.numbers if numbers is None else numbers):
        eye = stored[:, start : start + footage.width]
        yield number, display_referred(eye, footage.colourspace == "linear")


def read_stored(footage: Footage, numbers: Iterable[int]) -> Iterator[tuple[int, Stored]]:
    """Stream frames as they are stored, (H, W, 3) RGB; of a side-by-side picture both halves.

    Arguments and errors are those of `read_frames`.
    """
    wanted = sorted(set(numbers))
    unknown = set(wanted) - set(footage.numbers)
    if unknown:
        raise KeyError(f"not frames of {footage.path.name}: {sorted(unknown)}")
    frames = _movie_frames(footage, wanted) if footage.kind == "movie" else _sequence_frames(footage, wanted)
    whole = footage.width * (1 if footage.half is None else 2)
    for number, stored in frames:
        height, width = stored.shape[:2]
        if (width, height) != (whole, footage.height):
            raise FootageError(
                "footage.size_changes",
                f"Frame {number} is {width}x{height}, the footage is {whole}x{footage.height}.",
                "All frames of a shot must have one size, since they share one lens.",
                "Export the shot again at one size, or choose a frame range of one size.",
            )
        if np.issubdtype(stored.dtype, np.floating) != footage.is_float:
            this, others = ("integer", "floating-point") if footage.is_float else ("floating-point", "integer")
            raise FootageError(
                "footage.samples_change",
                f"Frame {number} stores {this} values, the first frame {others} ones.",
                "Floating-point pictures are scene-linear, the others as they look, so one of both would be read "
                "wrongly.",
                "Export the shot again in one format, or choose a frame range of one format.",
            )
        yield number, stored


def _sequence_frames(footage: Footage, wanted: Sequence[int]) -> Iterator[tuple[int, Stored]]:
    files = dict(zip(footage.numbers, footage.files, strict=True))
    for number in wanted:
        try:
            yield number, read_still(footage.path.parent / files[number])
        except (OSError, ValueError) as error:
            raise _unreadable(number, files[number], str(error)) from error


def _movie_frames(footage: Footage, wanted: Sequence[int]) -> Iterator[tuple[int, Stored]]:
    left = set(wanted)
    try:
        for number, frame in movie_frames(footage.path, left.__contains__):
            if frame is not None:
                yield number, frame
                left.remove(number)
            if not left:
                return
    except ValueError as error:
        raise _unreadable(min(left), footage.path.name, str(error)) from error
    if left:
        raise _unreadable(min(left), footage.path.name, "the movie ends before it")


def _unreadable(number: int, name: str, why: str) -> FootageError:
    return FootageError(
        "footage.unreadable_frame",
        f"Frame {number} ({name}) cannot be read.",
        f"{why[:1].upper()}{why[1:].rstrip('.')}.",
        _FIX_DAMAGED,
    )


def _probe_sequence(path: Path, first: int | None, last: int | None, step: int, colourspace: str) -> Footage:
    sequence = only_sequence(path, STILL_SUFFIXES) if path.is_dir() else sequence_of(path, names_in(path.parent))
    numbers, missing = _selection(list(sequence.files), first, last, step, sequence.pattern)
    require_plate(sequence, numbers)
    files = tuple(sequence.files[n] for n in numbers)
    if len(sequence.files) == 1 and pictures_in(sequence.folder / files[0]) > 1:
        raise _animation(sequence.folder / files[0])
    content = hashlib.blake2b(digest_size=16)
    require_text(files[0], "".join(files))
    # Everything is hashed: a frame may be replaced by another of the same size that differs in its middle only.
    for number, name in zip(numbers, files, strict=True):
        file = sequence.folder / name
        if file.stat().st_size == 0:
            raise _unreadable(number, name, "the file is empty (0 bytes)")
        if file.suffix.lower() == ".exr":
            _require_plain_exr(number, file)
        content.update(f"{number}:{file.stat().st_size}:".encode() + _file_hash(file))
    start = sequence.folder / files[0]
    try:
        picture = read_still(start)
    except (OSError, ValueError) as error:
        raise _unreadable(numbers[0], files[0], str(error)) from error
    is_float = np.issubdtype(picture.dtype, np.floating)
    return Footage(
        path=start,
        kind="sequence",
        pattern=sequence.pattern,
        width=picture.shape[1],
        height=picture.shape[0],
        fps=(24, 1),
        numbers=numbers,
        missing=missing,
        files=files,
        colourspace=("linear" if is_float else "srgb") if colourspace == "auto" else colourspace,
        is_float=bool(is_float),
        content_id=content.hexdigest(),
    )


def _require_plain_exr(number: int, file: Path) -> None:
    """Refuse EXR files of which Blender's clip shows something else.

    Blender 4.5, 5.0 and 5.2 show the data window as if it were the whole picture, and of layers, parts or views memory
    that was never written; so do 4.5 and 5.0 of a lone channel that is not called R, V or Y.
    """
    try:
        layout = exr_layout(file)
    except (OSError, ValueError) as error:
        raise _unreadable(number, file.name, str(error)) from error
    if layout.layers:
        raise FootageError(
            "footage.exr_layers",
            f"Frame {number} ({file.name}) holds layers, parts or views: {', '.join(layout.layers[:6])}.",
            "Blender cannot show such a file as a clip.",
            "Export the picture alone as R, G and B without a layer's name, such as by oiiotool --ch R,G,B.",
        )
    if len(layout.channels) == 1 and layout.channels[0] not in ("R", "V", "Y"):
        raise FootageError(
            "footage.exr_channels",
            f"Frame {number} ({file.name}) holds the channel {layout.channels[0]} alone.",
            "Blender cannot show it as a clip.",
            "Choose the footage with the picture in it; a grey picture has to be called Y.",
        )
    if layout.data != layout.display:
        (x0, y0, x1, y1), (u0, v0, u1, v1) = layout.display, layout.data
        raise FootageError(
            "footage.exr_window",
            f"Frame {number} ({file.name}) has overscan or is cropped: its display window is {x0}, {y0} to {x1}, {y1}, "
            f"its data window {u0}, {v0} to {u1}, {v1}.",
            "Blender shows the data window as if it were the whole picture.",
            "Export it again so that both windows are the same, such as by oiiotool --croptofull.",
        )


def _probe_movie(path: Path, first: int | None, last: int | None, step: int, colourspace: str) -> Footage:
    try:
        movie = survey(path, last)
    except TimestampError as error:
        raise FootageError(
            "footage.timestamps",
            f"It is not known which picture a frame of {path.name} shows.",
            f"Its timestamps are damaged: {error}.",
            "Write them anew at a constant frame rate, for example: "
            + _ffmpeg(
                path, f"-vf setpts=N*{error.rate.denominator}/{error.rate.numerator}/TB -r {error.rate}", "constant"
            ),
        ) from error
    except ValueError as error:
        raise FootageError(
            "footage.not_video",
            f"{path} cannot be opened as a movie.",
            f"{str(error)[:1].upper()}{str(error)[1:]}: damaged, unfinished, or not a movie.",
            "Play it in a media player to check it; export it again, or convert it to an image sequence.",
        ) from error
    if movie.interlaced:
        command = _ffmpeg(path, "-vf bwdif=send_frame", "progressive")
        raise FootageError(
            "footage.interlaced",
            f"{path.name} is interlaced: each of its frames is combed of two moments.",
            f"In {movie.combed} of {movie.judged} frames that move, the even lines were taken at another time than the "
            "odd ones, and no camera fits both.",
            f"Deinterlace it and solve what comes out, for example: {command} (film with pulldown: with -vf "
            "fieldmatch=combmatch=full,decimate).",
        )
    numbers, missing = _selection(range(1, movie.count + 1), first, last, step, path.name)
    whole = movie.said if last is None else min(movie.said, last)  # of what was asked for
    return Footage(
        path=path,
        kind="movie",
        pattern=None,
        width=movie.width,
        height=movie.height,
        fps=frame_rate(float(movie.rate)),
        numbers=numbers,
        missing=missing,
        files=(),
        colourspace="srgb" if colourspace == "auto" else colourspace,
        content_id=_file_hash(path).hex(),
        cut_short=movie.said if whole - movie.count > max(2, CUT_SHORT * whole) else None,
        remarks=_remarks(path, movie),
    )


def _remarks(path: Path, movie: Movie) -> tuple[str, ...]:
    """What to tell of a movie that can be solved."""
    remarks = []
    name = path.name
    if movie.late:
        frames = "first frame has" if movie.late == 1 else f"first {movie.late} frames have"
        remarks.append(
            f"The {frames} no picture in {name} that can be decoded, as where a recording begins without a key frame. "
            f"As in Blender, frame {movie.late + 1} is shown there."
        )
    if movie.repeats or movie.unseen:
        remarks.append(
            f"The frame rate of {name} varies. As in Blender, frames are numbered by time at {float(movie.rate):.2f} "
            f"fps: {len(movie.repeats)} of {movie.count} repeat the picture before, and {movie.unseen} pictures are "
            "not shown."
        )
    if movie.keyed:
        remarks.append(
            f"{name} has an alpha channel, which is ignored. Transparent areas are solved from their colour. Export "
            "the alpha as masks to leave them out."
        )
    if movie.hdr is not None:
        remarks.append(
            f"{name} is HDR ({movie.hdr}) and is solved, and shown in Blender, as if it were sRGB: it looks flat. "
            "Convert it to SDR or to scene-linear EXR to see its own colours."
        )
    for place, width, height in movie.others:
        command = _ffmpeg(path, f"-map 0:v:{place} -c copy", f"stream{place}", path.suffix)
        remarks.append(
            f"{name} holds several video streams. The first one is solved ({movie.width}x{movie.height}), since "
            f"Blender shows that one. To solve the one of {width}x{height}, take it out: {command}"
        )
    return tuple(remarks)


def _ffmpeg(path: Path, options: str, word: str, suffix: str = ".mov") -> str:
    """A command that people can paste; without an encoder in `options` the loss is not visible."""
    encoder = "" if "-c" in options.split() else " -c:v prores_ks -profile:v 3"
    return f'ffmpeg -i "{path.name}" {options}{encoder} "{path.stem}_{word}{suffix}"'


def _selection(
    present: Sequence[int], first: int | None, last: int | None, step: int, name: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(numbers asked for that are there, numbers asked for that are missing between first and last of those there)."""
    if not present:
        raise FootageError("footage.not_video", f"{name} holds no frames.", "No picture can be decoded.", _FIX_DAMAGED)
    start = present[0] if first is None else first
    end = present[-1] if last is None else min(last, present[-1])
    numbers = tuple(n for n in present if start <= n <= end and (n - start) % step == 0)
    if not numbers:
        raise FootageError(
            "footage.empty_range",
            f"{name} has no frames in the range asked for ({start} to {end if last is None else last}).",
            f"Its frames are numbered {present[0]} to {present[-1]}.",
            "Choose a range within these numbers.",
        )
    if (numbers[-1] - numbers[0]) // step - len(numbers) > MOST_MISSING:
        raise FootageError(
            "footage.gaps",
            f"Nearly all frames of {name} are missing: it has {len(numbers)} between {numbers[0]} and {numbers[-1]}.",
            "The numbers in the names of its files seem to be no frame numbers but timestamps.",
            "Rename the files 0001, 0002, … in their order, or choose a frame range.",
        )
    have = set(numbers)
    return numbers, tuple(n for n in range(numbers[0], numbers[-1] + 1, step) if n not in have)


def _file_hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
