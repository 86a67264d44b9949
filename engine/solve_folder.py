"""What a solve folder holds, whose folder it is, and how it is called when nobody says.

A solve replaces results and removes temporaries, so it works in no folder that holds anything else under their names.
The add-on has the same rules (`cvd_blender_addon/solve_folders.py`); both are tested against one table,
`tests/golden/solve_folders.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine import files
from engine.errors import WorkspaceError

_PER_FRAME_EXR, _PER_FRAME_PNG = re.compile(r"-?\d{6,}\.exr"), re.compile(r"-?\d{6,}\.png")
FRAMES = {"depth": _PER_FRAME_EXR, "confidence": _PER_FRAME_EXR, "measured": _PER_FRAME_PNG, "dynamic": _PER_FRAME_PNG}
"""Results that are folders, and the names of the files in them."""
RESULTS = (*FRAMES, "points.ply", "fused.ply", "depth.mp4", "side_by_side.mp4", "report.html")
"""What a finished solve puts in the place of an earlier one's, besides `solve.json`."""
UNFINISHED, KEY, CLEARED = "unfinished", "key", "cleared"
"""Folder in which the result is made, and files in it that say of which solve it is, and that the old one is gone."""
PREVIEW, PREVIEW_TRACK, PREVIEW_DEPTH = "preview", "track.json", "depth.png"
_PREVIEWS = re.compile(f"{re.escape(PREVIEW_TRACK)}|{re.escape(PREVIEW_DEPTH)}")
_MARKS = {"status.json": "cvd.status/", "solve.json": "cvd.solve/", "events.jsonl": "cvd.event/"}
_REQUEST, _REQUEST_SCHEMA = "request.json", "cvd.request/"
_NO_SIGN = {"lock", "cancel"}  # what an engine leaves that was killed while it opened the folder
_TAKEN = {*RESULTS, *_MARKS, PREVIEW, UNFINISHED, "cache", "engine.log", "engine.log.1"}
_OF_FILE_MANAGERS = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini", re.IGNORECASE)
_TEMPORARIES_IN = (*FRAMES, PREVIEW, UNFINISHED, "cache", "lens", "undistorted", "making")
_NUMBER = re.compile(r"[._ -]*[\d#]+(?=[^\d#]*$)")
"""The last number of a name, with what parts it from the rest."""
_MOST = 2**26  # characters of a JSON file that is looked at for its schema
_NAME_BYTES = 200


def refuse_foreign(root: Path) -> None:
    """Refuse a folder that is neither free nor a solve folder, and one in which results would replace others' files.

    Raises:
        WorkspaceError: `workspace.not_a_solve_folder` or `workspace.foreign_files`.
        OSError: the folder cannot be read.
    """
    names = {path.name for path in root.iterdir() if not is_passing(path.name)}
    if not any(_is_ours(root / name, schema) for name, schema in _MARKS.items()):
        asked = _is_ours(root / _REQUEST, _REQUEST_SCHEMA)
        # A request that was put there by hand makes it a solve folder only where nothing is in the results' places.
        in_the_way = sorted(names & _TAKEN if asked else names - _NO_SIGN)
        if in_the_way:
            raise WorkspaceError(
                "workspace.not_a_solve_folder",
                f"{root} is not empty and is not a solve folder.",
                f"It holds {_listed(in_the_way)}, and a solve replaces files in its output folder.",
                "Choose a new or empty folder.",
            )
    refuse_foreign_files(root)


def refuse_foreign_files(root: Path) -> None:
    """Refuse to replace results among which lies something that no engine has written.

    Raises:
        WorkspaceError: `workspace.foreign_files`.
    """
    found = sorted(path.relative_to(root).as_posix() for path in _foreign(root))
    if found:
        raise WorkspaceError(
            "workspace.foreign_files",
            f"{root} holds files that the engine did not write: {_listed(found)}.",
            "A solve replaces these folders.",
            "Move these files elsewhere, or choose another output folder.",
        )


def _foreign(root: Path) -> Iterator[Path]:
    """What lies in the results' places and is no result."""
    unfinished = root / UNFINISHED
    for place in (root, unfinished):
        for name in RESULTS:
            if name not in FRAMES and (place / name).is_dir():
                yield place / name
        for name, pattern in FRAMES.items():
            yield from _others(place / name, pattern)
    yield from _others(root / PREVIEW, _PREVIEWS)
    known = re.compile("|".join(map(re.escape, (*RESULTS, "solve.json", KEY, CLEARED))))
    yield from _others(unfinished, known, with_folders=True)


def _others(folder: Path, known: re.Pattern[str], with_folders: bool = False) -> Iterator[Path]:
    """Entries of a folder that are not called so; folders are never known but `with_folders`."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in folder.iterdir():
        is_known = known.fullmatch(path.name) is not None and (with_folders or not path.is_dir())
        if not (is_known or is_passing(path.name)):
            yield path


def remove_temporaries(root: Path) -> None:
    """Remove what killed writers left where an engine writes. For whoever knows that nobody writes there now."""
    files.remove_temporaries_in(root)
    for name in _TEMPORARIES_IN:
        files.remove_temporaries(root / name)


def remove_preview(root: Path) -> None:
    """Remove what could be seen of a solve while it ran, and nothing else that lies there."""
    folder = root / PREVIEW
    with suppress(OSError):  # not there, or something else is left in it
        for path in folder.iterdir():
            if _PREVIEWS.fullmatch(path.name) or files.is_temporary(path.name):
                path.unlink(missing_ok=True)
        folder.rmdir()


def _is_ours(path: Path, schema: str) -> bool:
    """The file is a JSON document of this schema, of any version."""
    document = _read(path)
    return str(document.get("schema", "")).startswith(schema)


def _read(path: Path) -> dict[str, Any]:
    """A JSON document, or the first one of a file with one a line; empty where there is none that can be read."""
    try:
        with path.open(encoding="utf-8") as file:
            document = json.loads(file.readline(_MOST) if path.suffix == ".jsonl" else file.read(_MOST))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def is_passing(name: str) -> bool:
    """A temporary file of an engine, or what a file manager leaves: nobody's work."""
    return files.is_temporary(name) or _OF_FILE_MANAGERS.fullmatch(name) is not None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


# --- which clip, and its default folder ---------------------------------------------------------------------------


def default_folder(clip: Path, parent: Path, movies: Container[str]) -> Path:
    """The solve folder of a clip where nobody says: `<name>.solve`, or `<name>-2.solve` where that is another clip's.

    Args:
        clip: a movie, a picture of an image sequence, or a folder that holds one; absolute.
        parent: folder to put it in.
        movies: suffixes of movies, such as ".mp4".
    """
    name = default_name(clip, movies)
    number = 1
    while True:
        folder = parent / (f"{name}.solve" if number == 1 else f"{name}-{number}.solve")
        if not folder.exists() or (folder.is_dir() and belongs_to(folder, clip, movies)):
            return folder
        number += 1


def default_name(clip: Path, movies: Container[str]) -> str:
    """A movie's or folder's own name; a picture's without its frame number, or its folder's where nothing is left."""
    name = clip.name
    if clip.suffix.lower() in movies:
        name = clip.stem
    elif not clip.is_dir():
        name = _NUMBER.sub("", clip.stem) or clip.parent.name
    return name.encode()[:_NAME_BYTES].decode(errors="ignore") or "clip"


def belongs_to(folder: Path, clip: Path, movies: Container[str]) -> bool:
    """The folder is free, or a solve folder of this clip as far as paths tell.

    A clip that is no longer where it was when it was solved, and is called the same, has been moved along.
    """
    if all(is_passing(path.name) for path in folder.iterdir()):
        return True
    footage = _read(folder / _REQUEST).get("footage")
    if not _is_ours(folder / _REQUEST, _REQUEST_SCHEMA) or not isinstance(footage, dict):
        return False
    before = Path(str(footage.get("path", "")))
    return same_footage(before, clip, movies) or (before.name == clip.name and not before.exists())


def same_footage(a: Path, b: Path, movies: Container[str]) -> bool:
    """Two paths name one clip: the same file, two pictures of a sequence, or a picture and its folder."""
    if a == b:
        return True
    if a.suffix.lower() in movies or b.suffix.lower() in movies:
        return False
    if a == b.parent or b == a.parent:
        return True
    return a.parent == b.parent and a.suffix == b.suffix and _NUMBER.sub("#", a.stem) == _NUMBER.sub("#", b.stem)
