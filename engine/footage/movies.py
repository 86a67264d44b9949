"""Movies: their pictures by the frame numbers of Blender's clip, and what has to be known before one is solved.

Blender's movie clip goes by time: frame n shows the picture of (n - 1) / rate seconds after the start of the stream,
whatever the number of that picture. So do the numbers here. A picture that is shown for longer than a frame has several
numbers, one that is shown for less may have none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from engine.footage.interlacing import are_combed

MOVIE_SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".mxf", ".wmv",
)  # fmt: skip
CUT_SHORT = 0.05  # of a movie's frames: containers often miscount by one or two
MOST_BACKWARDS = 0.02  # of the pictures, with timestamps before that of the picture before
LONGEST_PAUSE = 10_000  # frames that show one picture: more is a fault of the timestamps
FASTEST = 1000  # frames per second
# A playlist, a script or an address under the name of a movie must not open anything else.
_OPEN = {"protocol_whitelist": "file", "format_whitelist": "mov,matroska,avi,mpeg,mpegts,mxf,asf"}
_MOST_THREADS = 16  # each has pictures in memory
_AS_BLENDER = Interpolation.POINT | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
_HDR = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
_COMBED = 0.15  # of the pictures that can be judged: of film with pulldown it is 0.4
_JUDGED_IN_A_ROW, _THEN_EVERY, _ENOUGH = 12, 8, 48

Picture = NDArray[np.uint8] | NDArray[np.uint16]


class TimestampError(ValueError):
    """The movie's clock or rate makes no sense, so that nobody knows which picture a frame shows.

    Attributes:
        rate: frames per second that it may have.
    """

    def __init__(self, why: str, rate: Fraction) -> None:
        super().__init__(why)
        self.rate = rate


@dataclass(frozen=True)
class Movie:
    """What a movie is, as far as it was looked at.

    Attributes:
        width: pixels, upright.
        height: pixels.
        rate: frames per second.
        count: frames that were found, from 1.
        said: frames that it says that it has; 0 where it does not say.
        late: frames at the start that show the first picture although its time has not come: those before it are lost.
        repeats: later frames that show the picture of the frame before; not those after the last picture.
        unseen: pictures that no frame shows.
        judged: pictures in which enough moves to tell whether they are interlaced.
        combed: those of them whose two fields were taken at different times, whatever the file says of itself.
        hdr: transfer function "HLG" or "PQ"; None for all others.
        keyed: it has an alpha channel, and parts of its first picture are see-through.
        others: (place among the video streams, width, height) of streams that are larger than the first one, which is
            the one that is read, or are said to be the one to show where that is not.
    """

    width: int
    height: int
    rate: Fraction
    count: int
    said: int
    late: int
    repeats: tuple[int, ...]
    unseen: int
    judged: int
    combed: int
    hdr: str | None
    keyed: bool
    others: tuple[tuple[int, int, int], ...]

    @property
    def interlaced(self) -> bool:
        """Its frames, or many of them, hold two moments each."""
        return self.combed >= max(2, _COMBED * self.judged)


def survey(path: Path, last: int | None = None) -> Movie:
    """Decode a movie to `last` or to its end, since only that tells what it holds.

    Raises:
        ValueError: not a movie that can be read.
        TimestampError: its timestamps or its rate make no sense.
    """
    with _opened(path) as movie:
        first = shown = None
        late = unseen = judged = combed = number = 0
        repeats: list[int] = []
        held: list[int] = []
        grey: tuple[int, NDArray[np.uint8]] | None = None
        for number, time, picture in movie.frames():
            first = first or picture
            if picture is shown:
                if time > picture.time:
                    held.append(number)
            else:
                repeats, held = repeats + held, []
                unseen += max(0, picture.index - shown.index - 1) if shown else 0
                looks = picture.index < _JUDGED_IN_A_ROW or picture.index % _THEN_EVERY < 2
                if looks and judged < _ENOUGH:
                    before, grey = grey, (picture.index, _grey(picture.frame))
                    follows = before is not None and before[0] == picture.index - 1
                    fields = are_combed(before[1], grey[1]) if before is not None and follows else None
                    judged, combed = judged + (fields is not None), combed + bool(fields)
                shown = picture
            late += time < first.time
            if number == last:
                break
        if first is None:
            raise ValueError("no picture in it can be decoded")
        size = first.frame.width, first.frame.height
        width, height = size[::-1] if _quarters(first.frame) % 2 else size
        return Movie(
            width=width,
            height=height,
            rate=movie.rate,
            count=number,
            said=max(movie.length, movie.pictures),
            late=late,
            repeats=tuple(repeats),
            unseen=unseen,
            judged=judged,
            combed=combed,
            hdr=_HDR.get(first.frame.color_trc),
            keyed=_see_through(first.frame),
            others=movie.others(),
        )


def movie_frames(path: Path, wanted: Callable[[int], bool]) -> Iterator[tuple[int, Picture | None]]:
    """Decode a movie from its start, in order: seeking cannot be trusted. Rotation metadata is applied.

    Yields:
        (number, (H, W, 3) RGB), 8 bit, or 16 bit where the movie has more than 8; None for frames not wanted.

    Raises:
        ValueError: not a movie that can be read.
        TimestampError: its timestamps or its rate make no sense.
    """
    with _opened(path) as movie:
        for number, _, picture in movie.frames():
            yield number, rgb(picture.frame) if wanted(number) else None


def rgb(frame: VideoFrame) -> Picture:
    """A decoded picture, upright, (H, W, 3) RGB by its own colour matrix; 16 bit where it has more than 8.

    Of 8 bit the values are Blender's, which takes the chroma of a pixel from the sample that covers it.
    """
    deep = max(component.bits for component in frame.format.components) > 8
    unsited = _without_chroma_site(frame)
    picture: Any = unsited.to_ndarray(format="rgb48le" if deep else "rgb24", interpolation=int(_AS_BLENDER))
    upright: Picture = np.ascontiguousarray(np.rot90(picture, _quarters(frame)))
    return upright


def _see_through(frame: VideoFrame) -> bool:
    if not any(component.is_alpha for component in frame.format.components):
        return False
    return bool((frame.to_ndarray(format="rgba")[..., 3] < 255).any())


def _quarters(frame: VideoFrame) -> int:
    """Quarter turns, anticlockwise, that bring it upright; 0 for angles between them, which Blender leaves alone."""
    turns = round(frame.rotation / 90)
    return turns if abs(frame.rotation - 90 * turns) <= 1 else 0


def _without_chroma_site(frame: VideoFrame) -> VideoFrame:
    """The same picture without the note where its chroma lies, by which FFmpeg would move the chroma; where it can."""
    if frame.format.is_rgb or frame.format.chroma_width(frame.width) == frame.width:
        return frame
    try:
        plain = VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
    except (ValueError, AssertionError):  # rare layouts, odd sizes
        return frame
    plain.colorspace, plain.color_range = frame.colorspace, frame.color_range
    return plain


def frame_rate(value: float) -> tuple[int, int]:
    """A frame rate as the fraction it stands for: 29.97003 -> (30000, 1001); 24 fps when it is not known."""
    if not 0.1 < value < FASTEST:
        return 24, 1
    ntsc = round(value * 1.001)
    for exact in (Fraction(round(value)), Fraction(ntsc * 1000, 1001)):
        if exact > 0 and abs(value / float(exact) - 1) < 1e-5:
            return exact.numerator, exact.denominator
    nearest = Fraction(value).limit_denominator(1001)
    return nearest.numerator, nearest.denominator


@dataclass(frozen=True)
class _Decoded:
    """A picture as it comes out of the decoder: how many came before it, and its time in units of the stream."""

    index: int
    time: int
    frame: VideoFrame


class _Opened:
    """A movie that is open."""

    def __init__(self, container: InputContainer) -> None:
        self._container = container
        if not container.streams.video:
            raise ValueError("no video stream that can be decoded was found in it")
        # The first one, since that is what Blender shows.
        self._stream: VideoStream = container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._stream.thread_count = min(os.cpu_count() or 1, _MOST_THREADS)
        self.rate: Fraction = self._stream.guessed_rate or Fraction(24)
        if not 0 < self.rate < FASTEST:
            raise TimestampError(f"it says that it has {float(self.rate):.0f} frames per second", Fraction(25))
        self.length = self._length()

    def frames(self) -> Iterator[tuple[int, int, _Decoded]]:
        """(frame number, its time, the picture that it shows), times in units of the stream.

        Where two pictures are around a frame's time the earlier one is shown, before the first one that one, and after
        the last one that one to the end of the clip, unless so much is missing there that the movie is cut short.
        """
        stream = self._stream
        step = 1.0 / float(self.rate * (stream.time_base or Fraction(1, 1000)))
        pictures = self._pictures(step)
        earlier, picture = None, next(pictures, None)
        start = stream.start_time if stream.start_time is not None else picture.time if picture else 0
        number, most, longest = 0, self.length or math.inf, LONGEST_PAUSE * step
        while number < most:
            time = start + math.floor(number * step + 0.5)
            while picture is not None and picture.time < time:
                earlier, picture = picture, next(pictures, None)
            if picture is not None and picture.time - (time if earlier is None else earlier.time) > longest:
                raise TimestampError(f"nothing new is shown for {LONGEST_PAUSE} frames after frame {number}", self.rate)
            if picture is not None:
                shown = earlier if earlier is not None and earlier.time <= time < picture.time else picture
            elif earlier is None:
                return
            else:
                shown = earlier
                over = time >= earlier.time + min(earlier.frame.duration or step, longest)
                if over and (not self.length or self.length - number > max(2, CUT_SHORT * self.length)):
                    return
            number += 1
            yield number, time, shown

    def others(self) -> tuple[tuple[int, int, int], ...]:
        """As `Movie.others`."""
        used = self._stream
        found = []
        for place, stream in enumerate(self._container.streams.video):
            if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
                continue
            larger = stream.width * stream.height > used.width * used.height
            if larger or stream.disposition & ~used.disposition & Disposition.default:
                found.append((place, stream.width, stream.height))
        return tuple(found)

    @property
    def pictures(self) -> int:
        """How many pictures it says that it has; 0 where it does not, or where an edit list may hide some of them."""
        return 0 if self._container.format.name.startswith("mov") else self._stream.frames

    def _length(self) -> int:
        """Frames of Blender's clip; 0 where the movie does not say."""
        stream, container = self._stream, self._container
        if stream.duration is not None and stream.time_base is not None:
            seconds = stream.duration * stream.time_base
        elif container.duration is not None:
            seconds = Fraction(container.duration, av.time_base)
            sound = container.streams.audio
            if sound and (late := _start(stream) - _start(sound[0])) > 0:
                seconds -= late
        else:
            return stream.frames
        frames = math.floor(float(seconds * self.rate) + 0.5)
        return frames if 0 < frames < 1e9 else 0

    def _pictures(self, step: float) -> Iterator[_Decoded]:
        """All pictures that can be decoded; what is damaged is left out, as players do."""
        index, time, backwards = 0, -math.inf, 0
        for packet in self._packets():
            try:
                decoded = self._stream.decode(packet)
            except av.FFmpegError:
                continue
            for frame in decoded:
                stamp = frame.pts if frame.pts is not None else frame.dts
                before, time = time, float(stamp) if stamp is not None else time + step if index else 0.0
                backwards += time <= before
                if backwards > 1 + MOST_BACKWARDS * (index + 1):
                    why = f"{backwards} of its first {index + 1} pictures are said to come before their forerunners"
                    raise TimestampError(why, self.rate)
                yield _Decoded(index, round(time), frame)
                index += 1

    def _packets(self) -> Iterator[Packet[Any] | None]:
        """All that can be read; the last one, empty or None, has the decoder give out what it still holds."""
        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError:
            yield None


def _start(stream: av.stream.Stream) -> Fraction:
    return (stream.start_time or 0) * (stream.time_base or Fraction(0))


def _grey(frame: VideoFrame) -> NDArray[np.uint8]:
    """All lines, at most 640 pixels wide."""
    grey: Any = frame.to_ndarray(format="gray", width=min(frame.width, 640), height=frame.height)
    return np.asarray(grey, np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    try:
        with av.open(str(path), options=_OPEN, metadata_errors="replace") as container:
            yield _Opened(container)
    except av.ArgumentError as error:  # of a kind that `_OPEN` does not let in, or of none
        raise ValueError("what is in it is no movie of a kind that is read") from error
    except av.FFmpegError as error:
        raise ValueError(error.strerror or str(error)) from error
