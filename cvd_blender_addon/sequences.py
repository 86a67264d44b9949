# SPDX-License-Identifier: GPL-3.0-or-later
"""Which numbered files belong together. Knows nothing of Blender."""

from __future__ import annotations

import re
from pathlib import Path

_DIGITS = re.compile(r"(\d+)")


def numbered_files(path: Path) -> dict[int, Path]:
    """The files of an image sequence by frame number, in order; empty where there are none.

    The frame number is the group of digits that varies over the most files named alike, as the engine has it.

    Args:
        path: any file of the sequence, or a folder that holds one.
    """
    folder = path if path.is_dir() else path.parent
    names = sorted(file.name for file in folder.iterdir() if not file.name.startswith(".")) if folder.is_dir() else []
    numbered = (name for name in names if _DIGITS.search(Path(name).stem))
    name = next(numbered, "") if path.is_dir() else path.name
    parts = _DIGITS.split(name)
    split = [_DIGITS.split(name) for name in names]
    found: dict[int, Path] = {}
    # Backwards: where two groups have as many files, the last one is the number, and the 4 of mp4 is none.
    for group in reversed(range(1, len(_DIGITS.split(Path(name).stem)), 2)):
        alike = [p for p in split if len(p) == len(parts) and _without(p, group) == _without(parts, group)]
        files = {int(p[group]): folder / "".join(p) for p in alike}
        if len(files) > len(found):
            found = files
    return dict(sorted(found.items()))


def _without(parts: list[str], group: int) -> list[str]:
    return parts[:group] + parts[group + 1 :]
