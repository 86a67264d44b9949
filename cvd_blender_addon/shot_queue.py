# SPDX-License-Identifier: GPL-3.0-or-later
"""Shots that are solved one after another. Knows nothing of Blender.

A queued shot is a solve folder that holds its request: what was asked is frozen there. Which folders, in which order,
and how each has fared is kept in one file, so that neither another .blend, nor undo, nor a restart of Blender changes
it. The work itself is done by jobs (`jobs.start`); one that runs is found again by its folder.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from . import jobs
from .jobs import Job, StartError, Status

SCHEMA = "cvd.queue/1"
WAITING, RUNNING = "waiting", "running"
STATES = (WAITING, RUNNING, *jobs.FINAL_STATES)
TURN_S = 2.0
"""Another Blender's turn takes as long as it takes to start an engine."""


class QueueBusyError(StartError):
    """Another Blender is changing the queue."""


@dataclass(frozen=True)
class Shot:
    """A queued shot: its solve folder, what became of it (one of STATES), and a line about that."""

    folder: Path
    state: str = WAITING
    message: str = ""

    @property
    def running(self) -> bool:
        """An engine is at work on it."""
        return self.state == RUNNING


class Queue:
    """The queue of a file.

    Args:
        path: where it is kept.
        running: jobs by their folders, of which those of the queue become part.
    """

    def __init__(self, path: Path, running: MutableMapping[Path, Job]) -> None:
        self._path = path
        self._running = running
        self.shots: list[Shot] = []
        self.active = False
        self.load()

    def load(self) -> None:
        """Read the file again: another Blender may have changed it. A damaged one is an empty queue."""
        self.shots, self.active = [], False
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            shots = [_shot(entry) for entry in document["shots"]]
            self.shots = [shot for shot in shots if shot is not None]
            self.active = bool(document["active"])
        except (OSError, ValueError, KeyError, TypeError):
            return

    def _save(self) -> None:
        entries = [{"folder": str(s.folder), "state": s.state, "message": s.message} for s in self.shots]
        document = {"schema": SCHEMA, "active": self.active, "shots": entries}
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StartError:
        return StartError(
            "queue.write",
            "The queue was not changed.",
            f"{error}.",
            f"Check that {self._path.parent} can be written to and that the disk is not full.",
        )

    @property
    def busy(self) -> bool:
        """There is something to watch."""
        return self.active or any(shot.running for shot in self.shots)

    @contextmanager
    def _turn(self, wait_s: float | None = None) -> Iterator[None]:
        """No other Blender changes the queue meanwhile; begins with what the file says now.

        Raises:
            QueueBusyError: another one does, for longer than `wait_s`.
            StartError: nothing can be written beside the queue's file.
        """
        try:
            file = self._path.with_suffix(".lock").open("ab")
        except OSError as error:
            raise self._unwritable(error) from error
        with file:
            until = time.monotonic() + (TURN_S if wait_s is None else wait_s)
            while not _locked(file):
                if time.monotonic() >= until:
                    raise QueueBusyError(
                        "queue.busy",
                        "The queue was not changed.",
                        "Another Blender is changing it.",
                        "Try again; if that does not help, close the other Blender.",
                    )
                time.sleep(0.05)
            self.load()
            yield

    # Each of these has a turn, and ends with the file as it is to be. All raise StartError where it cannot be written.

    def add(self, folder: Path) -> None:
        """Put a solve folder with its request at the end; one that is queued already keeps its place and is solved
        again."""
        with self._turn():
            if any(shot.folder == folder for shot in self.shots):
                self.shots = [Shot(folder) if shot.folder == folder else shot for shot in self.shots]
            else:
                self.shots.append(Shot(folder))
            self._save()

    def remove(self, folder: Path) -> None:
        """Take a shot out. One that runs is cancelled; what it has made stays in its folder."""
        with self._turn():
            for shot in self.shots:
                if shot.folder == folder and shot.running:
                    self._job(folder).cancel()
            self.shots = [shot for shot in self.shots if shot.folder != folder]
            self._save()

    def move(self, folder: Path, by: int) -> None:
        """Move a shot up (negative) or down."""
        with self._turn():
            index = next((i for i, shot in enumerate(self.shots) if shot.folder == folder), None)
            if index is not None:
                shot = self.shots.pop(index)
                self.shots.insert(min(max(index + by, 0), len(self.shots)), shot)
                self._save()

    def start(self) -> None:
        """Solve what waits, one shot after another, as `step` is called."""
        with self._turn():
            self.active = True
            self._save()

    def stop(self) -> None:
        """Cancel the shot that runs, and let all wait."""
        with self._turn():
            self.active = False
            for shot in self.shots:
                if shot.running:
                    self._job(shot.folder).cancel()
            self._save()

    def step(self, engine_python: Path | None, engine_root: Path) -> dict[Path, Status]:
        """Look at the shot that runs; once none does, start the next. To be called every so often while `busy`. While
        another Blender does the same, nothing happens.

        Args:
            engine_python: interpreter of the engine, None where there is none: then the next shot fails and says so.
            engine_root: as for `jobs.start`.

        Returns:
            The status of each shot that runs or has just ended, by its folder.
        """
        try:
            with self._turn(0.0):
                return self._go_on(engine_python, engine_root)
        except QueueBusyError:
            return {}

    def _go_on(self, engine_python: Path | None, engine_root: Path) -> dict[Path, Status]:
        before, news = list(self.shots), dict[Path, Status]()
        was_active = self.active
        for index, shot in enumerate(self.shots):
            if shot.running:
                status = news[shot.folder] = self._job(shot.folder).poll()
                if status.final:
                    self.shots[index] = self._ended(shot, status)
        waiting = next((i for i, shot in enumerate(self.shots) if shot.state == WAITING), None)
        if self.active and waiting is not None and not any(shot.running for shot in self.shots):
            shot = self.shots[waiting]
            try:
                self._running[shot.folder] = _start(shot.folder, engine_python, engine_root)
                self.shots[waiting] = replace(shot, state=RUNNING, message="")
                news[shot.folder] = Status("queued", message="starting the engine")
            except StartError as error:
                self.shots[waiting] = replace(shot, state="failed", message=str(error))
                news[shot.folder] = Status("failed", error=error.error)
        self.active = self.active and any(shot.state in (WAITING, RUNNING) for shot in self.shots)
        if self.shots != before or self.active != was_active:
            self._save()
        return news

    def _ended(self, shot: Shot, status: Status) -> Shot:
        if status.state == "cancelled" and not self.active:
            return Shot(shot.folder)  # the queue was stopped: it goes on there when it is started again
        return replace(shot, state=status.state, message=jobs.describe(status))

    def _job(self, folder: Path) -> Job:
        return self._running.setdefault(folder, Job(folder))


def _locked(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; False: somebody else has. Where there are no locks everybody has them."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


def _start(folder: Path, engine_python: Path | None, engine_root: Path) -> Job:
    if engine_python is None:
        raise jobs.no_engine()
    try:
        request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        if not isinstance(request, dict) or "output" not in request:
            raise ValueError("it is no request")
    except (OSError, ValueError) as error:
        raise StartError(
            "queue.request",
            "The shot was not solved.",
            f"Its request in {folder} cannot be read: {error}.",
            "Remove the shot from the queue, choose its clip again, and add it again.",
        ) from error
    # Wherever the folder has been moved to since.
    return jobs.start(engine_python, engine_root, {**request, "output": str(folder)})


def _shot(entry: Any) -> Shot | None:
    """An entry of the file; None for one that makes no sense."""
    if not isinstance(entry, dict) or entry.get("state") not in STATES or not isinstance(entry.get("folder"), str):
        return None
    return Shot(Path(entry["folder"]), entry["state"], str(entry.get("message", "")))
