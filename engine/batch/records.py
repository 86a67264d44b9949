"""What became of each shot: one small file a shot in the report's folder, written by whoever solves the shot.

No file is written by two shots, each is replaced whole, and what a shot is to come to lies in its own locked solve
folder; so any number of machines may work into one report's folder on shared storage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine
from engine import files
from engine.batch.shots import Shot
from engine.footage.decode import STILL_SUFFIXES

SCHEMA_RECORD = "cvd.shot/1"
Record = dict[str, Any]
_FIELDS = {"stamp", "state", "until", "attempts"}


def read_record(report: Path, shot: Shot) -> Record | None:
    """What is known of a shot; None = nothing, or nothing that this version can read."""
    try:
        record: Any = files.read_json(_path(report, shot))
    except (OSError, ValueError):
        return None
    readable = isinstance(record, dict) and record.get("schema") == SCHEMA_RECORD and record.keys() >= _FIELDS
    return record if readable else None


def write_record(report: Path, shot: Shot, record: Record) -> None:
    """Replace what is known of a shot.

    Raises:
        OSError: the report's folder cannot be written.
    """
    path = _path(report, shot)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"schema": SCHEMA_RECORD, **record})


def stamp_of(shot: Shot) -> str:
    """Changes with the request, the engine's version, and any file that the shot is solved from (name, size, time).

    Footage is not read for it: the engine itself, which does, is started wherever the stamp has changed.
    """
    request = shot.request
    inputs = [request.footage.path, request.footage.right, request.camera.path, request.tracks, request.masks.path]
    inputs.append(request.hints)
    inputs += [Path(name) for name in (request.prior.path, request.masks.segmentation) if name is not None]
    found = [_stat(path) for given in inputs if given is not None for path in _files(given)]
    text = json.dumps([shot.document, engine.__version__, found], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def result_of(shot: Shot) -> dict[str, Any] | None:
    """The shot's `solve.json`; None = there is none."""
    try:
        document: Any = files.read_json(shot.request.output / "solve.json")
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def key_of(result: dict[str, Any] | None) -> str | None:
    """What tells a result from another that was solved into the same folder."""
    made = None if result is None else result.get("engine")
    return made.get("solve_key") if isinstance(made, dict) else None


def _path(report: Path, shot: Shot) -> Path:
    return report / "shots" / f"{shot.name}.json"


def _files(path: Path) -> Iterator[Path]:
    if path.suffix.lower() in STILL_SUFFIXES and not path.is_dir():
        yield from sorted(each for each in path.parent.glob(f"*{path.suffix}"))
    elif path.is_dir():
        yield from sorted(each for each in path.iterdir() if each.is_file())
    else:
        yield path


def _stat(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError:
        return [path.name]
    return [path.name, status.st_size, int(status.st_mtime)]  # finer times are not the same on all shares
