# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose folder a solve folder is, and how it is called when nobody says. Knows nothing of Blender.

The engine has the same rules (`engine/solve_folder.py`); both are tested against `tests/golden/solve_folders.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

_MARKS = {"status.json": "cvd.status/", "solve.json": "cvd.solve/", "events.jsonl": "cvd.event/"}
_REQUEST, _REQUEST_SCHEMA = "request.json", "cvd.request/"
_NO_SIGN = {"lock", "cancel"}  # what an engine leaves that was killed while it opened the folder
_RESULTS = {
    "depth", "confidence", "measured", "dynamic", "points.ply", "fused.ply", "depth.mp4", "side_by_side.mp4",
    "report.html",
}  # fmt: skip
_AT_WORK = {"preview", "unfinished", "cache", "engine.log", "engine.log.1"}
_FROM_BLENDER = {"masks", "camera.json", "tracks.json", "hints", "hints.json", "engine_stdout.log"}
_TAKEN = _RESULTS | _AT_WORK | _FROM_BLENDER | set(_MARKS)
_PASSING = re.compile(r"\.cvd-\d+-.+|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini", re.IGNORECASE)
"""Temporary files of an engine, and what file managers leave."""
_NUMBER = re.compile(r"[._ -]*[\d#]+(?=[^\d#]*$)")
"""The last number of a name, with what parts it from the rest."""
_NAME_BYTES = 200
_MOST = 2**26  # characters of a JSON file that is looked at for its schema


def in_the_way(folder: Path) -> list[str]:
    """Names of what a solve into this folder could replace although no engine has written it; empty: solve there.

    Raises:
        OSError: the folder cannot be read.
    """
    names = _names(folder)
    if any(_has_schema(folder / name, schema) for name, schema in _MARKS.items()):
        return []
    # A request that was put there by hand makes it a solve folder only where nothing is in the results' places.
    asked = _has_schema(folder / _REQUEST, _REQUEST_SCHEMA)
    return sorted(names & _TAKEN if asked else names - _NO_SIGN)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not _PASSING.fullmatch(path.name)}


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
    if not _names(folder):
        return True
    footage = _read(folder / _REQUEST).get("footage")
    if not _has_schema(folder / _REQUEST, _REQUEST_SCHEMA) or not isinstance(footage, dict):
        return False
    before = Path(str(footage.get("path", "")))
    return same_footage(before, clip, movies) or (before.name == clip.name and not before.exists())


def other_clip(folder: Path, clip: Path, movies: Container[str]) -> Path | None:
    """The footage of the finished solve in a folder, where it is not this clip and still lies where it was."""
    source = _read(folder / "solve.json").get("source")
    if not isinstance(source, dict):
        return None
    before = Path(str(source.get("path", "")))
    return before if before.exists() and not same_footage(before, clip, movies) else None


def same_footage(a: Path, b: Path, movies: Container[str]) -> bool:
    """Two paths name one clip: the same file, two pictures of a sequence, or a picture and its folder."""
    if a == b:
        return True
    if a.suffix.lower() in movies or b.suffix.lower() in movies:
        return False
    if a == b.parent or b == a.parent:
        return True
    return a.parent == b.parent and a.suffix == b.suffix and _NUMBER.sub("#", a.stem) == _NUMBER.sub("#", b.stem)


def _has_schema(path: Path, schema: str) -> bool:
    """The file is a JSON document of this schema, of any version."""
    return str(_read(path).get("schema", "")).startswith(schema)


def _read(path: Path) -> dict[str, Any]:
    """A JSON document, or the first one of a file with one a line; empty where there is none that can be read."""
    try:
        with path.open(encoding="utf-8") as file:
            document = json.loads(file.readline(_MOST) if path.suffix == ".jsonl" else file.read(_MOST))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
