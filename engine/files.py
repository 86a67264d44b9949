"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
from numpy.typing import NDArray

EXR_ERRORS = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError)
"""What the OpenEXR library raises on damaged files: its own words are RuntimeErrors, the rest slips through."""

MAX_TEXT_BYTES = 128 << 20
"""Of a document that is read whole. A camera or a result of 100,000 frames has less."""
_MAX_DEPTH = 100
"""Of nesting: what is deeper exhausts the stack of whoever walks it, and no document here has more than ten levels."""
_NO_ROOM = 2**16  # bytes that are free on a disk that is full
_TEMPORARY = re.compile(r"\.cvd-\d+-.+")  # nobody else names files like that


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file under a temporary name beside `path`, flush it to disk and rename it.

    A kill at any instant leaves the old file, or none, never half of the new one. The temporary name keeps the suffix,
    since image writers choose the format by it.

    Raises:
        OSError: what the file system says; the temporary file is removed.
    """
    temporary = temporary_of(path)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        if shutil.disk_usage(path.parent).free < _NO_ROOM:  # which image and array writers do not say
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(path: Path, other: Path) -> None:
    """A file under another name as well, whole or not there; nothing happens where that name is taken.

    A link, where the disk knows them: no program may write into either of the two, only replace them.

    Raises:
        OSError: what the file system says.
    """
    if other.exists():
        return
    try:
        os.link(path, other)
    except OSError:
        write_atomically(other, lambda temporary: shutil.copy2(path, temporary))


def temporary_of(path: Path) -> Path:
    """Where this process writes a file before it takes its place: beside it, with the same suffix."""
    return path.with_name(f".cvd-{os.getpid()}-{path.name}")


def is_unicode(text: str) -> bool:
    """JSON, reports and image readers can hold it; names of files may hold bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_temporary(name: str) -> bool:
    """The file was being written; whole ones never have such a name."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_temporaries(root: Path) -> None:
    """Remove what killed writers left anywhere below `root`. For whoever knows that nobody writes there now."""
    for folder, _, _ in os.walk(root):
        remove_temporaries_in(Path(folder))


def remove_temporaries_in(folder: Path) -> None:
    """The same in a folder itself."""
    for path in folder.iterdir():
        if is_temporary(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, document: Any) -> None:
    """Write JSON atomically. NaN and infinity are refused: other readers choke on them."""
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON document of somebody else's making. Every number in it is finite and fits a float.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, not JSON, too large, too deeply nested, or holds a number that is not finite.
    """
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError("the file is too large for what it should be")
    try:
        document = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite, parse_int=_whole
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level = [document]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return document
    raise ValueError("it is nested too deeply")


def _finite(word: str) -> float:
    """The number that a word of JSON says; ValueError for NaN, Infinity and 1e999."""
    if not math.isfinite(float(word)):
        raise ValueError(f"{word[:20]} is not a finite number")
    return float(word)


def _whole(word: str) -> int:
    _finite(word)
    return int(word)


def write_npy(path: Path, values: NDArray[Any]) -> None:
    """Write an array atomically, without pickle."""
    write_atomically(path, lambda temporary: np.save(temporary, values, allow_pickle=False))


def write_exr(path: Path, values: NDArray[np.floating]) -> None:
    """Write an (H, W) float16 or float32 array as a one-channel EXR, ZIP compressed.

    The channel is called Y: Blender 4.5 and 5.0 read a lone Z channel as garbage.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    write_exr_channels(path, {"Y": values})


def write_exr_channels(path: Path, channels: dict[str, NDArray[np.floating]]) -> None:
    """Write (H, W) float16 or float32 arrays by the names of their channels as an EXR, ZIP compressed.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """

    def write(temporary: Path) -> None:
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        try:
            with OpenEXR.File(header, {name: np.ascontiguousarray(c) for name, c in channels.items()}) as file:
                file.write(str(temporary))
        except RuntimeError as error:  # OpenEXR reports every failure of the file system as a RuntimeError
            raise OSError(f"{path}: {error}") from error

    write_atomically(path, write)


def read_exr(path: Path) -> NDArray[np.float32]:
    """The only channel of an EXR file as (H, W) float32.

    Raises:
        OSError: not readable as an EXR file.
    """
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = file.channels()
            return np.asarray(channels["Y" if "Y" in channels else min(channels)].pixels, np.float32)
    except EXR_ERRORS as error:
        raise OSError(f"{path}: {error}") from error
