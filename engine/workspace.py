"""The solve folder while an engine works in it: lock, status, events, cancel, stage cache."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

from engine import files
from engine.errors import Cancelled, CvdError, WorkspaceError

Listener = Callable[[dict[str, Any]], None]
HEARTBEAT_S = 2.0
STATUS_INTERVAL_S = 0.25
SCHEMA_STATUS = "cvd.status/1"
SCHEMA_EVENT = "cvd.event/1"

log = logging.getLogger(__name__)


def explain_os_error(error: OSError, folder: Path) -> WorkspaceError:
    """The typed error for what the file system said while the engine wrote into `folder`."""
    if error.errno == errno.ENOSPC or "No space left" in str(error):
        return WorkspaceError(
            "workspace.disk_full",
            f"The disk that holds {folder} is full.",
            str(error),
            "Free some space and start the solve again: it goes on where it stopped.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return WorkspaceError(
            "workspace.not_writable",
            f"Cannot write into {folder}.",
            str(error),
            "Choose an output folder that you may write to.",
        )
    return WorkspaceError(
        "workspace.io",
        f"Reading or writing in {folder} failed.",
        str(error),
        "Check the disk, then start the solve again: it goes on where it stopped.",
    )


class FolderLock:
    """One engine at a time in a folder.

    The operating system holds the lock, so that a crashed engine can leave none behind. What the file says (pid, start
    time) is for people.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            WorkspaceError: another engine holds it.
        """
        file = self._path.open("a+", encoding="utf-8")
        try:
            _lock_file(file)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise WorkspaceError(
                "workspace.locked",
                f"Another engine is working in {self._path.parent}.",
                f"It holds the lock: {holder or 'no details'}.",
                "Wait for it, cancel it, or choose another output folder.",
            ) from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "started": time.time()}) + "\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            # Emptied, not removed: removing would let a third engine lock a new file while a second waits on this one.
            self._file.truncate(0)
            self._file.close()
            self._file = None


def _lock_file(file: IO[str]) -> None:
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True)
class Stage:
    """A stage of this solve: its name, its share of the work, and the key of its inputs and settings."""

    name: str
    key: str
    weight: float
    folder: Path

    @property
    def is_done(self) -> bool:
        """The stage's results are in the cache."""
        return (self.folder / "stage.json").is_file()


def stage_key(name: str, settings: dict[str, Any], inputs: Sequence[str], version: str) -> str:
    """Key of a stage: changes with its settings, the keys of its inputs and the engine's version."""
    text = json.dumps([name, settings, list(inputs), version], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Workspace:
    """An open solve folder. Use `open_workspace`."""

    def __init__(self, root: Path, listener: Listener) -> None:
        self.root = root
        self.cache = root / "cache"
        self.warnings: list[str] = []
        self._tell_guard = threading.Lock()
        self._listener = listener
        self._cancelled = threading.Event()
        self._guard = threading.Lock()
        self._started = time.time()
        self._process = psutil.Process()
        self._peak_memory = 0
        self._stage_began = self._started, 0.0
        self._last_write = 0.0
        self._done_weight = 0.0
        self._todo_weight = 1.0
        self._stage: Stage | None = None
        self._status: dict[str, Any] = {
            "schema": SCHEMA_STATUS,
            "state": "running",
            "stage": None,
            "fraction": 0.0,
            "eta_s": None,
            "message": "starting",
            "pid": os.getpid(),
            "started": self._started,
            "updated": self._started,
            "error": None,
        }

    # -- what stages see (engine.progress.Progress) --

    def step(self, done: float, total: float, message: str) -> None:
        """See `Progress.step`."""
        self.check_cancelled()
        share = min(done / total, 1.0) if total > 0 else 1.0
        weight = self._stage.weight if self._stage else 0.0
        fraction = min((self._done_weight + weight * share) / self._todo_weight, 1.0)
        elapsed = time.time() - self._started
        with self._guard:
            self._status.update(
                fraction=fraction,
                eta_s=elapsed * (1.0 - fraction) / fraction if fraction > 0.02 and elapsed > 3.0 else None,
                message=f"{self._stage.name}: {message}" if self._stage else message,
            )
        if time.time() - self._last_write > STATUS_INTERVAL_S:
            self._write_status()

    def metric(self, name: str, value: float) -> None:
        """See `Progress.metric`."""
        self.event("metric", name=name, value=float(value))

    def warning(self, message: str, frames: Sequence[int] = ()) -> None:
        """See `Progress.warning`."""
        self.event("warning", message=message, frames=list(frames))

    # -- what the pipeline sees --

    def plan(self, stages: Sequence[Stage]) -> None:
        """Tell how much work lies ahead, for progress and ETA: stages in the cache cost nothing."""
        self._todo_weight = sum(stage.weight for stage in stages if not stage.is_done) or 1.0

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[Path]:
        """Run a stage: yields its folder; marks it done when the block ends without an exception.

        The folder survives a kill, so that a stage can keep checkpoints in it. Callers skip the block when
        `stage.is_done` and call `reuse` instead.
        """
        self.check_cancelled()
        self._stage = stage
        stage.folder.mkdir(parents=True, exist_ok=True)
        self._status["stage"] = stage.name
        self.event("stage_started")
        self._peak_memory = 0
        self._sample_memory()
        self._stage_began = time.time(), _cpu_seconds()
        warnings_before = len(self.warnings)
        self.step(0.0, 1.0, "starting")
        yield stage.folder
        cost = self.cost()
        record = {"key": stage.key, "warnings": self.warnings[warnings_before:], "cost": cost}
        files.write_json(stage.folder / "stage.json", record)
        self.event("stage_done", **cost)
        self._done_weight += stage.weight
        self._stage = None

    def cost(self) -> dict[str, float]:
        """What the stage in hand has cost so far: wall_s, cpu_s (with child processes), peak_memory_mb."""
        self._sample_memory()
        wall, cpu = self._stage_began
        return {
            "wall_s": round(time.time() - wall, 2),
            "cpu_s": round(_cpu_seconds() - cpu, 2),
            "peak_memory_mb": round(self._peak_memory / 2**20, 1),
        }

    def reuse(self, stage: Stage) -> None:
        """Say that the stage's results come from the cache, and repeat its warnings."""
        self._stage = stage
        self.event("stage_reused")
        for message in self.record(stage)["warnings"]:
            self._remember_warning(message)
        self._stage = None

    def record(self, stage: Stage) -> dict[str, Any]:
        """What a finished stage left behind: its `cost` and its `warnings`."""
        document: dict[str, Any] = json.loads((stage.folder / "stage.json").read_text(encoding="utf-8"))
        return document

    def event(self, kind: str, **data: Any) -> None:
        """Append an event to `events.jsonl` and tell the listener."""
        document = {
            "schema": SCHEMA_EVENT,
            "time": time.time(),
            "type": kind,
            "stage": self._stage.name if self._stage else None,
            "data": data,
        }
        if kind == "warning":
            self._remember_warning(data["message"])
        with (self.root / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")
        log.info("%s %s", kind, data)
        self._tell(document)

    def _remember_warning(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def cancel(self) -> None:
        """Ask the stage in hand to stop at its next step."""
        self._cancelled.set()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when somebody asked for it."""
        if self._cancelled.is_set():
            raise Cancelled

    # -- status --

    def finish(self, state: str, message: str, error: CvdError | None = None) -> None:
        """Write the last status."""
        with self._guard:
            self._status.update(state=state, message=message, eta_s=None, error=error.as_dict() if error else None)
            if state == "done":
                self._status.update(fraction=1.0, stage=None)
        self._write_status()

    def beat(self) -> None:
        """Heart-beat: refresh the status, look for the cancel file, sample the memory."""
        if (self.root / "cancel").exists():
            self._cancelled.set()
        self._sample_memory()
        self._write_status()

    def _write_status(self) -> None:
        with self._guard:
            self._last_write = self._status["updated"] = time.time()
            status = dict(self._status)
            try:
                files.write_json(self.root / "status.json", status)
            except OSError as error:  # a full disk must not hide the error that is being reported
                log.warning("cannot write the status: %s", error)
        self._tell(status)

    def _tell(self, document: dict[str, Any]) -> None:
        # The heart beats in a thread of its own: without the guard two lines of output could run into each other.
        with self._tell_guard:
            self._listener(document)

    def _sample_memory(self) -> None:
        used = 0
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                used += process.memory_info().rss
            except psutil.Error:
                continue
        self._peak_memory = max(self._peak_memory, used)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextmanager
def open_workspace(root: Path, listener: Listener) -> Iterator[Workspace]:
    """Open the solve folder for one solve: takes the lock, beats the heart, listens for cancel, reports the end.

    Whatever leaves the block decides the final status: nothing = done, `Cancelled` = cancelled, anything else = failed.

    Raises:
        WorkspaceError: the folder cannot be made or written, or another engine works in it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        _refuse_foreign_folder(root)
        lock = FolderLock(root / "lock")
        lock.acquire()
    except OSError as error:
        raise explain_os_error(error, root) from error
    workspace = Workspace(root, listener)
    stop = threading.Event()
    heart = threading.Thread(target=_beat_until, args=(workspace, stop), daemon=True)
    handlers = _on_signals(lambda _number, _frame: workspace.cancel())
    log_handler: logging.Handler | None = None
    try:
        (root / "cancel").unlink(missing_ok=True)
        log_handler = _log_to(root / "engine.log")
        workspace.beat()
        workspace.event("solve_started")
        heart.start()
        yield workspace
        workspace.finish("done", "done")
        workspace.event("solve_done")
    except Cancelled:
        workspace.finish("cancelled", "cancelled")
        _try_event(workspace, "solve_cancelled")
        (root / "cancel").unlink(missing_ok=True)
        raise
    except OSError as error:
        typed = explain_os_error(error, root)
        _fail(workspace, typed)
        raise typed from error
    except CvdError as error:
        _fail(workspace, error)
        raise
    except Exception as error:
        log.exception("defect")
        _fail(workspace, defect(error, root / "engine.log"))
        raise
    finally:
        stop.set()
        if heart.is_alive():
            heart.join()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if log_handler is not None:
            logging.getLogger().removeHandler(log_handler)
            log_handler.close()
        lock.release()


def _refuse_foreign_folder(root: Path) -> None:
    # A solve replaces depth/ and confidence/ in its folder: never do that to a folder that holds something else.
    if any(root.iterdir()) and not any((root / name).exists() for name in ("request.json", "status.json")):
        raise WorkspaceError(
            "workspace.not_a_solve_folder",
            f"{root} is not empty and is not a solve folder.",
            "A solve writes and replaces files in its output folder.",
            "Choose a new or empty folder.",
        )


def defect(error: Exception, log_file: Path) -> CvdError:
    """What the user is told about an exception that should never have escaped."""
    return CvdError(
        "engine.defect",
        "The engine stopped because of a defect in it.",
        f"{type(error).__name__}: {error}",
        f"Please report it with {log_file}. Solving again goes on where it stopped.",
    )


def _fail(workspace: Workspace, error: CvdError) -> None:
    workspace.finish("failed", error.what, error)
    _try_event(workspace, "solve_failed", **error.as_dict())


def _try_event(workspace: Workspace, kind: str, **data: Any) -> None:
    try:
        workspace.event(kind, **data)
    except OSError as error:
        log.warning("cannot write the event: %s", error)


def _beat_until(workspace: Workspace, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S / 4):
        workspace.beat()


def _on_signals(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    # Only the main thread may set handlers; a caller with threads of its own cancels through the file.
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}


def _log_to(path: Path) -> logging.Handler:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    return handler


def free_bytes(folder: Path) -> int:
    """Free space on the disk that holds `folder` (or its nearest existing parent)."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
