# SPDX-License-Identifier: GPL-3.0-or-later
"""How large an OpenEXR file says that its picture is. Knows nothing of Blender."""

from __future__ import annotations

import struct
from pathlib import Path

MAGIC = b"\x76\x2f\x31\x01"
HEADER = 65536  # bytes in which the attributes of a depth file lie


def size(path: Path) -> tuple[int, int]:
    """Width and height of the data window, pixels.

    Raises:
        OSError: it cannot be read.
        ValueError: not such a file, or cut short.
    """
    with path.open("rb") as file:
        data = file.read(HEADER)
    if data[:4] != MAGIC:
        raise ValueError("it is no OpenEXR file")
    at = 8
    while data[at : at + 1] not in (b"", b"\0"):
        try:
            name_end = data.index(b"\0", at)
            kind_end = data.index(b"\0", name_end + 1)
            (length,) = struct.unpack_from("<i", data, kind_end + 1)
            if data[at:name_end] == b"dataWindow":
                left, top, right, bottom = struct.unpack_from("<4i", data, kind_end + 5)
                return right - left + 1, bottom - top + 1
        except (ValueError, struct.error) as error:
            raise ValueError("it is cut short") from error
        if length < 0:
            break
        at = kind_end + 5 + length
    raise ValueError("it does not say how large its picture is")
