"""Image sequences: which files of a folder belong together, and which number each frame has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import FootageError

_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class Sequence:
    """Numbered files of one folder.

    Attributes:
        folder: where the files are.
        pattern: file name with a # for each digit of the frame number, such as `plate_####.png`.
        files: frame number -> file name, in the order of the numbers.
    """

    folder: Path
    pattern: str
    files: dict[int, str]


def sequence_of(file: Path, names: Iterable[str]) -> Sequence:
    """The sequence that `file` belongs to.

    The frame number is the group of digits that varies over the files named alike; where several groups vary
    (`shot01_0001` beside `shot02_0001`) the others stay as they are in `file` and the group with the most files counts.

    Args:
        file: a file of the sequence.
        names: all file names of its folder.
    """
    parts = _DIGITS.split(file.name)
    split = [_DIGITS.split(name) for name in names]
    candidates = []
    for group in range(1, len(parts), 2):
        alike = [p for p in split if len(p) == len(parts) and p[:group] + p[group + 1 :] == _without(parts, group)]
        width = _padding(parts[group], [p[group] for p in alike])
        # Another padding ("1.png" beside "0001.png") is another sequence.
        files = {int(p[group]): "".join(p) for p in alike if str(int(p[group])).zfill(width) == p[group]}
        if file.name not in files.values():
            continue
        hashes = "#" * max(width, min(len(str(number)) for number in files))
        pattern = "".join(parts[:group]) + hashes + "".join(parts[group + 1 :])
        candidates.append(Sequence(file.parent, pattern, dict(sorted(files.items()))))
    if not candidates:
        return Sequence(file.parent, file.name, {1: file.name})
    return max(reversed(candidates), key=lambda sequence: len(sequence.files))


def only_sequence(folder: Path, suffixes: Iterable[str]) -> Sequence:
    """The one sequence in `folder`; files without a number (posters, thumbnails) do not count.

    Raises:
        FootageError: `footage.no_frames` or `footage.several_sequences`.
    """
    wanted = set(suffixes)
    images = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in wanted and not p.name.startswith("."))
    if not images:
        raise FootageError(
            "footage.no_frames",
            f"There is no image sequence in {folder}.",
            "The folder holds no picture files the engine can read.",
            "Choose the folder that holds the frames, or choose the movie file itself.",
        )
    left = [name for name in images if _DIGITS.search(Path(name).stem)] or images
    found = []
    while left:
        found.append(sequence_of(folder / left[0], left))
        taken = set(found[-1].files.values())
        left = [name for name in left if name not in taken]
    if len(found) > 1:
        shown = ", ".join(f"{s.pattern} ({len(s.files)} files)" for s in found[:6])
        raise FootageError(
            "footage.several_sequences",
            f"There are {len(found)} image sequences in {folder}.",
            f"They are {shown}{', …' if len(found) > 6 else ''}.",
            "Choose any one file of the sequence that you want.",
        )
    return found[0]


def _without(parts: list[str], group: int) -> list[str]:
    return parts[:group] + parts[group + 1 :]


def _padding(digits: str, siblings: list[str]) -> int:
    """How many digits the frame number is padded to: 1 means that it is not padded."""
    padded = [len(d) for d in siblings if d[0] == "0" and 1 < len(d) <= len(digits)]
    if digits[0] == "0" and len(digits) > 1:
        return len(digits)
    return max(padded, default=1)
