"""Image sequences: which files of a folder belong together, and which number each frame has.

The add-on follows the same rule (`cvd_blender_addon/sequences.py`); `tests/golden/sequences.json` holds both to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import FootageError

LAST_FRAME = 1_048_574  # of a scene in Blender, which takes every greater number for this one
_SHOWN = 6  # sequences of a folder that holds several
_DIGITS = re.compile(r"[0-9]+")
_MINUS = re.compile(r"(^|[._])-$")  # "plate.-0005.png", but not "plate-0005.png"


@dataclass(frozen=True)
class Sequence:
    """Numbered files of one folder.

    Attributes:
        folder: where the files are.
        pattern: file name with a # for each digit of the frame number, such as `plate_####.png`.
        files: frame number -> file name, in the order of the numbers.
        head: what stands before the number in the files' names.
        tail: what stands behind it.
        numbered: the names hold a number; else it is one picture, frame 1.
    """

    folder: Path
    pattern: str
    files: dict[int, str]
    head: str
    tail: str
    numbered: bool = True


def names_in(folder: Path) -> list[str]:
    """Names of the files of a folder.

    Raises:
        OSError: the folder cannot be read.
    """
    return [path.name for path in folder.iterdir() if path.is_file()]


def sequence_of(file: Path, names: Collection[str]) -> Sequence:
    """The sequence that `file` belongs to; a picture without a number is frame 1.

    The frame number is the group of digits before the suffix that varies over the files named alike. Where several
    groups vary (`shot01_0001` beside `shot02_0001`) the others stay as they are in `file` and the group with the most
    files counts, the last one of those that have as many. The time is linear in the number of names.

    Args:
        file: a file of the sequence.
        names: all file names of its folder.

    Raises:
        FootageError: `footage.negative_numbers` or `footage.letter_case`.
    """
    found = _most_files(file, names)
    if found.numbered:
        _refuse_negative(file.name, found, names)
        _refuse_letter_case(found, names)
    return found


def only_sequence(folder: Path, suffixes: Iterable[str]) -> Sequence:
    """The one sequence in `folder`; files without a number (posters, thumbnails) and hidden ones do not count.

    Raises:
        FootageError: `footage.no_frames`, `footage.several_sequences`, or what `sequence_of` raises.
        OSError: the folder cannot be read.
    """
    wanted = set(suffixes)
    # A link that leads nowhere counts: its frame is to be missed when it is read.
    images = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in wanted and not p.name.startswith("."))
    if not images:
        raise FootageError(
            "footage.no_frames",
            f"There is no image sequence in {folder}.",
            "The folder holds no picture files the engine can read.",
            "Choose the folder that holds the frames, or choose the movie file itself.",
        )
    left = [name for name in images if _DIGITS.search(Path(name).stem)]
    if not left:
        raise FootageError(
            "footage.no_frames",
            f"There is no image sequence in {folder}.",
            f"The names of its pictures, such as {images[0]}, hold no number.",
            "Rename the files 0001, 0002, … in the order in which they were taken.",
        )
    found: list[Sequence] = []
    # No more than are shown: looking for each of thousands of unrelated pictures would take hours.
    while left and len(found) <= _SHOWN:
        found.append(sequence_of(folder / left[0], left))
        taken = set(found[-1].files.values())
        left = [name for name in left if name not in taken]
    if len(found) > 1:
        shown = ", ".join(f"{s.pattern} ({len(s.files)} file{'s' if len(s.files) > 1 else ''})" for s in found[:_SHOWN])
        more = len(found) > _SHOWN
        raise FootageError(
            "footage.several_sequences",
            f"There are {f'more than {_SHOWN}' if more else len(found)} image sequences in {folder}.",
            f"They are {shown}{', …' if more else ''}.",
            "Choose any one file of the sequence that you want.",
        )
    return found[0]


def require_plate(sequence: Sequence, numbers: Collection[int]) -> None:
    """Refuse what Blender would show at other frames than the engine solves.

    Blender's clip takes the last group of digits before the suffix for the frame number, whatever varies.

    Args:
        sequence: the plate.
        numbers: those of its frames that are solved.

    Raises:
        FootageError: `footage.number_place` or `footage.number_limit`.
    """
    name = next(iter(sequence.files.values()))
    behind = _DIGITS.findall(Path(name).stem, len(name) - len(sequence.tail))
    if behind:
        raise FootageError(
            "footage.number_place",
            f"The frame number is not the last number in {name}.",
            f"Blender takes the last one, {behind[-1]}, for the frame number and would show other frames.",
            "Rename the files so that the frame number comes last, right before the suffix.",
        )
    if max(numbers) > LAST_FRAME:
        raise FootageError(
            "footage.number_limit",
            f"The frames of {sequence.pattern} are numbered up to {max(numbers)}.",
            f"Blender has no frames after {LAST_FRAME}; such numbers are often time codes or timestamps.",
            "Rename the files 0001, 0002, … in their order, or choose a frame range.",
        )


def around_number(name: str, pattern: str) -> tuple[str, int, str]:
    """What stands before the frame number in a file's name, how many digits it has at least, and what stands behind.

    Args:
        name: any file of the sequence. A # of its own cannot be told from one of the pattern's without it.
        pattern: of the sequence.

    Raises:
        ValueError: the pattern is not that of the file's sequence.
    """
    for group in reversed(list(_DIGITS.finditer(name))):
        head, tail = name[: group.start()], name[group.end() :]
        digits = len(pattern) - len(head) - len(tail)
        if digits > 0 and pattern == head + "#" * digits + tail:
            return head, digits, tail
    raise ValueError(f"{pattern!r} is not the pattern of {name!r}")


def _most_files(file: Path, names: Collection[str]) -> Sequence:
    """The sequence of `file` by the group of digits that varies over the most files."""
    stem = file.stem
    best: Sequence | None = None
    for group in _DIGITS.finditer(stem):
        head, tail = file.name[: group.start()], file.name[group.end() :]
        siblings = [group[0], *_between(head, tail, names)]
        width = _padding(group[0], siblings)
        # Another padding ("1.png" beside "0001.png") is another sequence.
        files = {int(d): head + d + tail for d in siblings if str(int(d)).zfill(width) == d}
        if int(group[0]) in files and (best is None or len(files) >= len(best.files)):
            hashes = "#" * max(width, min(len(str(number)) for number in files))
            best = Sequence(file.parent, head + hashes + tail, dict(sorted(files.items())), head, tail)
    return best or Sequence(file.parent, file.name, {1: file.name}, file.name, "", numbered=False)


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


def _refuse_negative(name: str, found: Sequence, names: Iterable[str]) -> None:
    """The minus is no part of the number to Blender, nor to this rule: -0005 would be frame 5."""
    minus = f"{found.head}-"
    if _MINUS.search(found.head):
        negative = [name]
    elif _MINUS.search(minus):
        negative = [f"{minus}{digits}{found.tail}" for digits in _between(minus, found.tail, names)]
    else:
        negative = []
    if negative:
        raise FootageError(
            "footage.negative_numbers",
            f"There are negative frame numbers in {found.folder}, such as that of {negative[0]}.",
            "Blender has no negative frames of an image sequence.",
            "Rename the files so that all numbers are 0 or greater, or move the negative ones to another folder.",
        )


def _refuse_letter_case(found: Sequence, names: Collection[str]) -> None:
    """Frames that are missing because the case of letters changes in the names."""
    head, tail = found.head.lower(), found.tail.lower()
    for name in names:
        if not (name.startswith(found.head) and name.endswith(found.tail)):
            digits = _between(head, tail, [name.lower()])
            if digits and int(digits[0]) not in found.files:
                raise FootageError(
                    "footage.letter_case",
                    f"The names of the sequence {found.pattern} change between capital and small letters.",
                    f"{name} would be left out.",
                    "Rename the files alike, or move those of another sequence to another folder.",
                )
