# SPDX-License-Identifier: GPL-3.0-or-later
"""Which numbered files belong together, and which of them Blender shows at which frame. Knows nothing of Blender.

The rule is the engine's (`engine/footage/sequence.py`); `tests/golden/sequences.json` holds both to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from .jobs import StartError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".bmp", ".webp", ".dpx")
LAST_FRAME = 1_048_574  # of a scene in Blender, which takes every greater number for this one
_SHOWN = 6  # sequences of a folder that holds several
_DIGITS = re.compile(r"[0-9]+")
_MINUS = re.compile(r"(^|[._])-$")  # "plate.-0005.png", but not "plate-0005.png"


@dataclass(frozen=True)
class _Sequence:
    """Frame number -> file name, and what stands before and behind the number in all names."""

    files: dict[int, str]
    head: str
    tail: str
    numbered: bool = True


def numbered_files(path: Path) -> dict[int, Path]:
    """The files of an image sequence by frame number, in order; empty where there are none.

    The frame number is the group of digits before the suffix that varies over the most files named alike. A picture
    without a number is frame 1. The time is linear in the number of files.

    Args:
        path: any file of the sequence, or a folder that holds one.

    Raises:
        StartError: `footage.several_sequences`, `.negative_numbers`, `.letter_case` or `.unreadable`.
    """
    found = _find(path)
    folder = path if path.is_dir() else path.parent
    return {number: folder / name for number, name in found.files.items()} if found else {}


def plate_numbers(path: Path) -> list[int]:
    """Frame numbers of a plate, in order.

    Raises:
        StartError: `footage.number_place`: Blender's clip, which goes by the last number in a name, would show other
            frames. Or what `numbered_files` raises.
    """
    found = _find(path)
    if found is None:
        return []
    name = next(iter(found.files.values()))
    behind = _DIGITS.findall(Path(name).stem, len(name) - len(found.tail))
    if behind:
        raise StartError(
            "footage.number_place",
            f"The frame number is not the last number in {name}.",
            f"Blender takes the last one, {behind[-1]}, for the frame number and would show other frames.",
            "Rename the files so that the frame number comes last, right before the suffix.",
        )
    return list(found.files)


def require_frames(numbers: Collection[int]) -> None:
    """Refuse numbers that no frame of a scene can have.

    Raises:
        StartError: `footage.number_limit`.
    """
    if max(numbers, default=0) > LAST_FRAME:
        raise StartError(
            "footage.number_limit",
            f"The frames are numbered up to {max(numbers)}.",
            f"Blender has no frames after {LAST_FRAME}; such numbers are often time codes or timestamps.",
            "Rename the files 0001, 0002, … in their order, or choose a frame range.",
        )


def shown_first(name: str) -> int:
    """Number of the frame that a clip opened from this file of a sequence shows first."""
    groups = _DIGITS.findall(Path(name).stem)
    return int(groups[-1]) if groups else 1


def _find(path: Path) -> _Sequence | None:
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        return None
    try:
        # In a folder a link that leads nowhere counts: its frame is to be missed when it is read.
        names = [file.name for file in folder.iterdir() if path == folder or file.is_file()]
    except OSError as error:
        raise StartError(
            "footage.unreadable",
            f"{folder} cannot be read.",
            f"{error.strerror or error}.",
            "Check the path, its permissions and its drive.",
        ) from error
    if path.is_dir():
        return _only_sequence(folder, names)
    return _sequence_of(folder, path.name, names) if path.name in names else None


def _only_sequence(folder: Path, names: Iterable[str]) -> _Sequence | None:
    """The one sequence of a folder; files without a number (posters, thumbnails) and hidden ones do not count."""
    left = []
    for name in sorted(names):
        if name[0] != "." and Path(name).suffix.lower() in SUFFIXES and _DIGITS.search(Path(name).stem):
            left.append(name)
    found: list[_Sequence] = []
    # No more than are shown: looking for each of thousands of unrelated pictures would take hours.
    while left and len(found) <= _SHOWN:
        found.append(_sequence_of(folder, left[0], left))
        taken = set(found[-1].files.values())
        left = [name for name in left if name not in taken]
    if len(found) > 1:
        shown = ", ".join(f"{next(iter(s.files.values()))} ({len(s.files)})" for s in found[:_SHOWN])
        more = len(found) > _SHOWN
        raise StartError(
            "footage.several_sequences",
            f"There are {f'more than {_SHOWN}' if more else len(found)} image sequences in {folder}.",
            f"They begin with these files: {shown}{', …' if more else ''}.",
            "Choose any one file of the sequence that you want.",
        )
    return found[0] if found else None


def _sequence_of(folder: Path, chosen: str, names: Collection[str]) -> _Sequence:
    found = _most_files(chosen, names)
    if found.numbered:
        _refuse_negative(folder, chosen, found, names)
        _refuse_letter_case(found, names)
    return found


def _most_files(chosen: str, names: Collection[str]) -> _Sequence:
    """The sequence by the group of digits that varies over the most files, the last of those that have as many."""
    best: _Sequence | None = None
    for group in _DIGITS.finditer(Path(chosen).stem):
        head, tail = chosen[: group.start()], chosen[group.end() :]
        siblings = [group[0], *_between(head, tail, names)]
        width = _padding(group[0], siblings)
        # Another padding ("1.png" beside "0001.png") is another sequence.
        files = {int(d): head + d + tail for d in siblings if str(int(d)).zfill(width) == d}
        if int(group[0]) in files and (best is None or len(files) >= len(best.files)):
            best = _Sequence(dict(sorted(files.items())), head, tail)
    return best or _Sequence({1: chosen}, chosen, "", numbered=False)


def _between(head: str, tail: str, names: Iterable[str]) -> list[str]:
    """The digits between `head` and `tail` of the names that have nothing else there."""
    found = (name[len(head) : len(name) - len(tail)] for name in names if name.startswith(head) and name.endswith(tail))
    return [digits for digits in found if _DIGITS.fullmatch(digits)]


def _padding(digits: str, siblings: list[str]) -> int:
    """How many digits the frame number is padded to: 1 means that it is not padded."""
    padded = [len(d) for d in siblings if d[0] == "0" and 1 < len(d) <= len(digits)]
    if digits[0] == "0" and len(digits) > 1:
        return len(digits)
    return max(padded, default=1)


def _refuse_negative(folder: Path, chosen: str, found: _Sequence, names: Iterable[str]) -> None:
    """The minus is no part of the number to Blender, nor to this rule: -0005 would be frame 5."""
    minus = f"{found.head}-"
    if _MINUS.search(found.head):
        negative = [chosen]
    elif _MINUS.search(minus):
        negative = [f"{minus}{digits}{found.tail}" for digits in _between(minus, found.tail, names)]
    else:
        negative = []
    if negative:
        raise StartError(
            "footage.negative_numbers",
            f"There are negative frame numbers in {folder}, such as that of {negative[0]}.",
            "Blender has no negative frames of an image sequence.",
            "Rename the files so that all numbers are 0 or greater, or move the negative ones to another folder.",
        )


def _refuse_letter_case(found: _Sequence, names: Iterable[str]) -> None:
    """Frames that are missing because the case of letters changes in the names."""
    head, tail = found.head.lower(), found.tail.lower()
    for name in names:
        if not (name.startswith(found.head) and name.endswith(found.tail)):
            digits = _between(head, tail, [name.lower()])
            if digits and int(digits[0]) not in found.files:
                raise StartError(
                    "footage.letter_case",
                    f"The names of the sequence of {next(iter(found.files.values()))} change between capital and small "
                    "letters.",
                    f"{name} would be left out.",
                    "Rename the files alike, or move those of another sequence to another folder.",
                )
