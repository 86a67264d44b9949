# SPDX-License-Identifier: GPL-3.0-or-later
"""Which solves were started from which .blend files, kept in the add-on's own folder. Knows nothing of Blender.

A file that was saved before *Solve Depth* was pressed does not say where its solve is: this does. One small file for
each solve, so that several Blenders never write the same one.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from . import jobs

SCHEMA = "cvd.started/1"


@dataclass(frozen=True)
class Started:
    """A solve that was started here: its folder, the .blend file and scene it is for, and the clip. Absolute paths."""

    folder: str
    blend: str
    scene: str
    clip: str


def note(where: Path, started: Started) -> None:
    """Remember a solve. Where that cannot be written, it is only forgotten sooner.

    Args:
        where: folder of these notes.
        started: the solve.
    """
    with suppress(OSError):
        where.mkdir(exist_ok=True)
        jobs.write_json(_path(where, started.folder), {"schema": SCHEMA, **asdict(started)})


def drop(where: Path, folder: Path) -> None:
    """Forget the solve in `folder`: its scene was told how it ended."""
    with suppress(OSError):
        _path(where, str(folder)).unlink(missing_ok=True)


def of_file(where: Path, blend: str) -> list[Started]:
    """Solves that were started from a .blend file, and whose folder is still there."""
    found = []
    for path in sorted(where.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            entry = Started(*(str(document[name]) for name in ("folder", "blend", "scene", "clip")))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if entry.blend == blend and Path(entry.folder).is_dir():
            found.append(entry)
    return found


def _path(where: Path, folder: str) -> Path:
    return where / f"{hashlib.sha256(folder.encode(errors='surrogateescape')).hexdigest()[:16]}.json"
