"""What a file says about the lens it was filmed with: EXIF of stills, QuickTime metadata of movies.

Both are read with bounds on everything, since a file may say anything; what is odd is taken as nothing said.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, UnidentifiedImageError

from engine.footage import Footage

_MOVIES = (".mov", ".mp4", ".m4v")
_EXIF = (".jpg", ".jpeg", ".tif", ".tiff", ".png", ".webp")
_MAX_BOXES = 10_000
_MAX_PAYLOAD = 1 << 20
_MAX_DEPTH = 4
_WITH_METADATA = (b"moov", b"trak", b"udta", b"meta")
_EQUIVALENT = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
_LENS, _MAKE, _MODEL = (
    "com.apple.quicktime.camera.lens_model",
    "com.apple.quicktime.make",
    "com.apple.quicktime.model",
)


@dataclass(frozen=True)
class Metadata:
    """What was found.

    Attributes:
        equivalent_mm: focal length on 35 mm film that shows as much, None = not said.
        focal_mm: real focal length, None = not said.
        model: of the camera.
        text: all of it in a few words.
    """

    equivalent_mm: float | None
    focal_mm: float | None
    model: str | None
    text: str


def read_metadata(footage: Footage) -> Metadata | None:
    """What the first file of the footage says about its lens; None where it says nothing of use."""
    suffix = footage.path.suffix.lower()
    try:
        if suffix in _MOVIES:
            return of_movie(footage.path)
        return of_picture(footage.path) if suffix in _EXIF else None
    except OSError:
        return None


def of_picture(path: Path) -> Metadata | None:
    """EXIF (CIPA DC-008) of a picture.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        with Image.open(path) as image:  # reads the header only
            exif = image.getexif()
            details = exif.get_ifd(ExifTags.IFD.Exif)
            model = _words(exif.get(ExifTags.Base.Model))
            equivalent = _length(details.get(ExifTags.Base.FocalLengthIn35mmFilm))
            focal = _length(details.get(ExifTags.Base.FocalLength))
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError, TypeError, SyntaxError, struct.error):
        return None
    return _metadata(equivalent, focal, model, None)


def of_movie(path: Path) -> Metadata | None:
    """QuickTime metadata (QuickTime File Format, "Metadata": `keys` and `ilst`) of a .mov or .mp4 file.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        said: dict[str, str | float] = {}
        for keys, values in _tables(file, 0, size):
            for index, value in values.items():
                if 0 < index <= len(keys):
                    said.setdefault(keys[index - 1], value)
    model, lens, equivalent = said.get(_MODEL), said.get(_LENS), said.get(_EQUIVALENT)
    # Apple writes the equivalent of a front camera with a minus sign.
    length = _length(abs(equivalent)) if isinstance(equivalent, float) else None
    return _metadata(length, None, _words(model), _words(lens))


def _metadata(equivalent: float | None, focal: float | None, model: str | None, lens: str | None) -> Metadata | None:
    if equivalent is None and focal is None and model is None:
        return None
    parts = [lens or model or ""]
    parts += [f"{focal:g} mm"] if focal is not None else []
    parts += [f"{equivalent:g} mm equivalent"] if equivalent is not None else []
    return Metadata(equivalent, focal, model, ", ".join(part for part in parts if part))


def _length(value: object) -> float | None:
    """A focal length in mm; 0 is EXIF's "unknown"."""
    try:
        # What float does not take is no length.
        length = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return length if math.isfinite(length) and 0.5 < length < 3000.0 else None


def _words(value: object) -> str | None:
    text = "".join(c for c in value if c.isprintable()).strip()[:80] if isinstance(value, str) else ""
    return text or None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the payload, end) of the boxes between two places; ends where something is odd."""
    for _ in range(_MAX_BOXES):
        if end - start < 8:
            return
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header[:8])
        body = start + 8
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack(">Q", header[8:])
            body = start + 16
        elif length == 0:
            length = end - start
        if start + length > end or start + length < body:
            return
        yield kind, body, start + length
        start += length


def _tables(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[tuple[list[str], dict[int, str | float]]]:
    """(names, number of the name -> value) of every metadata box, those of the movie before those of its tracks."""
    below = []
    for kind, body, stop in _boxes(file, start, end):
        if kind == b"meta":
            # As QuickTime has it without, and ISO 14496-12 with, four bytes of version before the boxes.
            file.seek(body)
            offset = 4 if file.read(8)[:4] == bytes(4) else 0
            parts = {name: (a, b) for name, a, b in _boxes(file, body + offset, stop)}
            if b"keys" in parts and b"ilst" in parts:
                yield _names(file, *parts[b"keys"]), _values(file, *parts[b"ilst"])
        elif kind in _WITH_METADATA and depth < _MAX_DEPTH:
            below.append((body, stop))
    for body, stop in below:
        yield from _tables(file, body, stop, depth + 1)


def _names(file: BinaryIO, start: int, end: int) -> list[str]:
    # Version and count before the entries, each a box of which the kind is the name space.
    return [_payload(file, body, stop).decode("utf-8", "replace") for _, body, stop in _boxes(file, start + 8, end)]


def _values(file: BinaryIO, start: int, end: int) -> dict[int, str | float]:
    values: dict[int, str | float] = {}
    for kind, body, stop in _boxes(file, start, end):
        for name, first, last in _boxes(file, body, stop):
            data = _payload(file, first, last)
            value = _value(data) if name == b"data" and len(data) >= 8 else None
            if value is not None:
                values[int.from_bytes(kind, "big")] = value
    return values


def _value(data: bytes) -> str | float | None:
    """A value by its well-known type: 1 text, 21 and 22 integers, 23 and 24 floats, 65 to 67 and 74 sized integers."""
    kind, value = int.from_bytes(data[:4], "big") & 0xFFFFFF, data[8:]
    if kind == 1:
        return value.decode("utf-8", "replace")
    if kind in (21, 65, 66, 67, 74) and 1 <= len(value) <= 8:
        return float(int.from_bytes(value, "big", signed=True))
    if kind == 22 and 1 <= len(value) <= 8:
        return float(int.from_bytes(value, "big"))
    sizes = {23: (4, ">f"), 24: (8, ">d")}
    if kind in sizes and len(value) == sizes[kind][0]:
        return float(struct.unpack(sizes[kind][1], value)[0])
    return None


def _payload(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(min(end - start, _MAX_PAYLOAD))
