"""Frames of the result that lies in the solve folder which another export would only make again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.files import link_or_copy, read_json, write_json
from engine.footage import frame_name
from engine.solve_folder import FRAMES

_LIST = "frames.json"
_SUFFIXES = {name: Path(pattern.pattern.replace("\\", "")).suffix for name, pattern in FRAMES.items()}


@dataclass(frozen=True)
class FrameKeys:
    """What decides the files of each frame.

    Attributes:
        cache: folder of the stages' folders.
        folder: of this export stage in it.
        keys: plate frame number -> changes with all that decides the frame's files.
    """

    cache: Path
    folder: Path
    keys: Mapping[int, str]

    def take_over(self, root: Path, made: Path) -> list[int]:
        """Put those of the result in `root` that are the same into the folder that the next one is `made` in.

        Files that somebody has touched since they were written are made anew.

        Returns:
            Plate frame numbers of what was taken.
        """
        try:
            key = str(read_json(root / "solve.json")["engine"]["solve_key"])
            before: dict[str, Any] = read_json(self.cache / f"export-{key}" / _LIST)
        except (OSError, ValueError, KeyError, TypeError):
            return []
        taken = []
        for frame, own in self.keys.items():
            files = _files(root, frame)
            if before.get(str(frame)) == {"key": own, "files": _stamps(files)}:
                for name, path in files.items():
                    (made / name).mkdir(exist_ok=True)
                    link_or_copy(path, made / name / path.name)
                taken.append(frame)
        return taken

    def save(self, made: Path) -> None:
        """Note what the complete result is made of; to be called before it takes its place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        entries = {str(frame): {"key": own, "files": _stamps(_files(made, frame))} for frame, own in self.keys.items()}
        write_json(self.folder / _LIST, entries)


def _files(root: Path, frame: int) -> dict[str, Path]:
    """A frame's files, by the name of their folder."""
    found = {name: root / name / frame_name(frame, _SUFFIXES[name]) for name in FRAMES}
    return {name: path for name, path in found.items() if path.is_file()}


def _stamps(files: Mapping[str, Path]) -> dict[str, list[int]]:
    return {name: [path.stat().st_size, path.stat().st_mtime_ns] for name, path in files.items()}
