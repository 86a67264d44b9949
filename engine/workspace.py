"""The solve folder while an engine works in it: lock, status, events, cancel, stage cache."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

from engine import files, solve_folder
from engine.errors import Cancelled, CvdError, Stopped, WorkspaceError

Listener = Callable[[dict[str, Any]], None]
HEARTBEAT_S = 2.0
STATUS_INTERVAL_S = 0.25
PREVIEW_INTERVAL_S = 2.0
_NEARLY = 0.99
"""Share of what is done but for the last word: 100 % is said of what has ended."""
_LITTLE_ROOM = 2**20
"""Bytes: with less than that nothing can be solved."""
LOG_BYTES = 8 * 2**20
"""Of `engine.log`, after which it becomes `engine.log.1`."""
_LOCK_BYTE = 1 << 30
"""Which byte is locked where files are locked by the byte: far behind what the file holds, so that this can be read."""
_LOCK_PATIENCE_S = 1.0
"""Whoever looks whether an engine is at work holds the lock for an instant (cvd_blender_addon/jobs.py)."""
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
SCHEMA_STATUS = "cvd.status/1"
SCHEMA_EVENT = "cvd.event/1"

log = logging.getLogger(__name__)


def explain_os_error(error: OSError, folder: Path) -> WorkspaceError:
    """The typed error for what the file system said while the engine wrote into `folder`."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)) or _is_no_room(str(error)):
        return WorkspaceError(
            "workspace.disk_full",
            f"The disk that holds {folder} is full.",
            str(error),
            "Free some space and start again: it goes on where it stopped.",
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
        "Check the disk, then start again: it goes on where it stopped.",
    )


class FolderLock:
    """One engine at a time in a folder.

    The operating system holds the lock, so that a crashed engine can leave none behind, whatever becomes of its process
    number or of the clock. What the file says (pid, host, start time) is for people, and for who wants to signal it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            WorkspaceError: another engine holds it, or the disk knows no locks.
        """
        file = self._path.open("a+", encoding="utf-8")
        until = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                _lock_file(file)
                break
            except OSError as error:
                if error.errno in _HELD and time.monotonic() < until:
                    time.sleep(_LOCK_PATIENCE_S / 20)
                    continue
                file.seek(0)
                holder = file.read().strip()
                file.close()
                raise self._refused(error, holder) from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": time.time()}) + "\n")
        file.flush()
        self._file = file

    def _refused(self, error: OSError, holder: str) -> WorkspaceError:
        if error.errno in _HELD:
            return WorkspaceError(
                "workspace.locked",
                f"Another engine is working in {self._path.parent}.",
                f"It holds the lock: {holder or 'no details'}.",
                "Wait for it, cancel it, or choose another output folder.",
            )
        return WorkspaceError(
            "workspace.no_locks",
            f"Files cannot be locked in {self._path.parent}.",
            f"{error}: without a lock two engines could destroy each other's work there.",
            "Choose a folder on another disk, or have the share mounted with locks.",
        )

    @property
    def in_place(self) -> bool:
        """The lock file that is held is still the one in the folder: nobody has moved or deleted it meanwhile."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except OSError:
            return False

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

        file.seek(_LOCK_BYTE)
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


def stage_key(name: str, version: int, settings: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Key of a stage: changes with its version, its settings and the keys of its inputs."""
    text = json.dumps([name, version, dict(settings), list(inputs)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Pace:
    """When the work will be done, from how much of it is and what is expected of it.

    At first most of the time has gone into starting things, so what a solve lasts as a rule counts as if a tenth of it
    had been done at that pace, and less and less from there on. The end follows a changed pace slowly: a figure that
    jumps tells nothing.
    """

    _MIN_SECONDS, _MIN_SHARE = 3.0, 0.02
    _TRUST, _FADING = 0.1, 4
    _LAG_S, _LAG_SHARE = 3.0, 0.1

    def __init__(self, now: float, expected_s: float | None) -> None:
        self._began = self._seen = now
        self._expected_s = expected_s
        self._end: float | None = None

    def reached(self, fraction: float, now: float) -> None:
        """That share of the work is done."""
        passed = now - self._began
        if self._expected_s is None:
            if fraction < self._MIN_SHARE:
                return
            whole = passed / fraction
        else:
            trust = self._TRUST * (1.0 - fraction) ** self._FADING
            whole = (trust * self._expected_s + passed) / max(trust + fraction, 1e-9)
        left = whole * (1.0 - fraction)
        lag = self._LAG_S + self._LAG_SHARE * left
        share = 1.0 if self._end is None else 1.0 - math.exp(-(now - self._seen) / lag)
        self._end = now + left if self._end is None else self._end + share * (now + left - self._end)
        self._seen = now

    def left(self, now: float) -> float | None:
        """Seconds to the end; None where nobody can tell: at first, and once the end should have come."""
        if self._end is None or now - self._began < self._MIN_SECONDS or self._end - now < 1.0:
            return None
        return self._end - now


class Workspace:
    """An open solve folder. Use `open_workspace`."""

    def __init__(self, root: Path, lock: FolderLock, listener: Listener) -> None:
        self.root = root
        self._lock = lock
        self.cache = root / "cache"
        self.warnings: list[str] = []
        self._tell_guard = threading.Lock()
        self._listener = listener
        self._cancelled = threading.Event()
        self._guard = threading.Lock()
        self._began = time.monotonic()  # what lasts is measured by it: the clock of the day may be set
        self._process = psutil.Process()
        self._peak_memory = 0
        self._stage_began = self._began, 0.0
        self._last_write = self._began - STATUS_INTERVAL_S
        self._pace = Pace(self._began, None)
        self._done_weight = 0.0
        self._todo_weight = 1.0
        self._stage: Stage | None = None
        self._status_written = False
        self._shown: dict[str, float] = {}  # when each preview was written
        self._status: dict[str, Any] = {
            "schema": SCHEMA_STATUS,
            "state": "running",
            "stage": None,
            "fraction": 0.0,
            "eta_s": None,
            "message": "starting",
            "pid": os.getpid(),
            "started": time.time(),
            "updated": time.time(),
            "stages": [],
            "error": None,
        }

    # -- what stages see (engine.progress.Progress) --

    def step(self, done: float, total: float, message: str) -> None:
        """See `Progress.step`."""
        self.check_cancelled()
        share = min(done / total, 1.0) if total > 0 else 1.0
        weight = self._stage.weight if self._stage else 0.0
        fraction = min((self._done_weight + weight * share) / self._todo_weight, _NEARLY)
        with self._guard:
            self._pace.reached(fraction, time.monotonic())
            self._status.update(
                fraction=fraction,
                message=f"{self._stage.name}: {message}" if self._stage else message,
            )
            self._set_stage("running", share)
        if time.monotonic() - self._last_write > STATUS_INTERVAL_S:
            self._write_status()

    def metric(self, name: str, value: float) -> None:
        """See `Progress.metric`."""
        self.event("metric", name=name, value=float(value))

    def warning(self, message: str, frames: Sequence[int] = ()) -> None:
        """See `Progress.warning`."""
        self.event("warning", message=message, frames=list(frames))

    def preview(self, name: str, write: Callable[[Path], object]) -> None:
        """See `Progress.preview`. Each at most every other second; no solve fails for want of one."""
        now = time.monotonic()
        if now - self._shown.get(name, -PREVIEW_INTERVAL_S) < PREVIEW_INTERVAL_S:
            return
        self._shown[name] = now
        try:
            (self.root / solve_folder.PREVIEW).mkdir(exist_ok=True)
            write(self.root / solve_folder.PREVIEW / name)
        except OSError as error:
            log.warning("cannot write the preview: %s", error)

    # -- what the pipeline sees --

    def plan(self, stages: Sequence[Stage], seconds_per_weight: float | None = None) -> None:
        """Tell how much work lies ahead, for progress and ETA: stages in the cache cost nothing.

        Args:
            stages: of this solve, in order.
            seconds_per_weight: how long a unit of their weights lasts as a rule; None = nobody knows beforehand.
        """
        self._todo_weight = sum(stage.weight for stage in stages if not stage.is_done) or 1.0
        expected = None if seconds_per_weight is None else self._todo_weight * seconds_per_weight
        with self._guard:
            self._pace = Pace(time.monotonic(), expected)
            self._status["stages"] = [{"name": stage.name, "state": "waiting", "fraction": 0.0} for stage in stages]

    def _set_stage(self, state: str, fraction: float) -> None:
        """Say of the stage in hand how far it is. For who holds the guard."""
        name = self._stage.name if self._stage else None
        # A new list: the old one may be on its way to the file.
        self._status["stages"] = [
            {"name": name, "state": state, "fraction": fraction} if entry["name"] == name else entry
            for entry in self._status["stages"]
        ]

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
        self._stage_began = time.monotonic(), _cpu_seconds()
        warnings_before = len(self.warnings)
        self.step(0.0, 1.0, "starting")
        yield stage.folder
        cost = self.cost()
        record = {"key": stage.key, "warnings": self.warnings[warnings_before:], "cost": cost}
        files.write_json(stage.folder / "stage.json", record)
        self.event("stage_done", **cost)
        self._done_weight += stage.weight
        with self._guard:
            self._set_stage("done", 1.0)
        self._stage = None

    def cost(self) -> dict[str, float]:
        """What the stage in hand has cost so far: wall_s, cpu_s (with child processes), peak_memory_mb."""
        self._sample_memory()
        wall, cpu = self._stage_began
        return {
            "wall_s": round(time.monotonic() - wall, 2),
            "cpu_s": round(_cpu_seconds() - cpu, 2),
            "peak_memory_mb": round(self._peak_memory / 2**20, 1),
        }

    def reuse(self, stage: Stage) -> None:
        """Say that the stage's results come from the cache, and repeat its warnings."""
        self._stage = stage
        self.event("stage_reused")
        with self._guard:
            self._set_stage("done", 1.0)
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
        """Raise `Cancelled` when somebody asked for it, `WorkspaceError` when the folder is no longer where it was."""
        if self._cancelled.is_set():
            raise Cancelled
        if not self._lock.in_place:
            raise moved(self.root)

    # -- status --

    def finish(self, state: str, message: str, error: CvdError | None = None) -> None:
        """Write the last status."""
        with self._guard:
            self._status.update(state=state, message=message, eta_s=None, error=error.as_dict() if error else None)
            if state == "done":
                self._status.update(fraction=1.0, stage=None)
        self._write_status()
        if not self._status_written and self._lock.in_place:
            # Where the disk has no room for a second file, the first has room for what says so.
            self._overwrite_status()

    def beat(self) -> None:
        """Heart-beat: refresh the status, look for the cancel file, sample the memory."""
        if (self.root / "cancel").exists():
            self._cancelled.set()
        self._sample_memory()
        self._write_status()

    def _write_status(self) -> None:
        with self._guard:
            self._last_write, self._status["updated"] = time.monotonic(), time.time()
            if self._status["state"] == "running":
                self._status["eta_s"] = self._pace.left(self._last_write)
            status = dict(self._status)
            self._status_written = False
            if self._lock.in_place:  # else the folder is another's by now
                try:
                    files.write_json(self.root / "status.json", status)
                    self._status_written = True
                except OSError as error:  # a full disk must not hide the error that is being reported
                    log.warning("cannot write the status: %s", error)
        self._tell(status)

    def _overwrite_status(self) -> None:
        with self._guard:
            text = json.dumps(self._status, indent=1).encode() + b"\n"
            try:
                with (self.root / "status.json").open("r+b") as file:
                    file.write(text)
                    file.truncate()
            except OSError as error:
                log.warning("cannot write the status: %s", error)

    def _tell(self, document: dict[str, Any]) -> None:
        # The heart beats in a thread of its own: without the guard two lines of output could run into each other.
        with self._tell_guard:
            try:
                self._listener(document)
            except (OSError, ValueError) as error:  # who listened has gone, and closed the pipe; the solve goes on
                log.warning("nobody listens any more: %s", error)
                self._listener = _unheard

    def _sample_memory(self) -> None:
        used = 0
        try:
            children = self._process.children(recursive=True)
        except psutil.Error:  # one ended while they were counted
            children = []
        for process in [self._process, *children]:
            try:
                used += process.memory_info().rss
            except psutil.Error:
                continue
        self._peak_memory = max(self._peak_memory, used)


def _unheard(_document: dict[str, Any]) -> None:
    pass


def moved(root: Path) -> WorkspaceError:
    """The error of a solve whose folder was taken away."""
    return WorkspaceError(
        "workspace.moved",
        f"The solve folder is no longer at {root}.",
        "It was moved, renamed or deleted while the engine worked in it.",
        "Start the solve again into the folder where it is now: it goes on where it stopped.",
    )


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextmanager
def open_workspace(root: Path, listener: Listener) -> Iterator[Workspace]:
    """Open the solve folder for one solve: takes the lock, beats the heart, listens for cancel, reports the end.

    Whatever leaves the block decides the final status: nothing = done, `Stopped` = stopped, `Cancelled` = cancelled,
    anything else = failed.

    Raises:
        WorkspaceError: the folder cannot be made or written, or another engine works in it.
    """
    require_unicode(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        solve_folder.refuse_foreign(root)
        lock = FolderLock(root / "lock")
        lock.acquire()
    except OSError as error:
        raise explain_os_error(error, root) from error
    workspace = Workspace(root, lock, listener)
    stop = threading.Event()
    heart = threading.Thread(target=_beat_until, args=(workspace, stop), daemon=True)
    handlers = _on_signals(lambda _number, _frame: workspace.cancel())
    log_handler: logging.Handler | None = None
    try:
        _drop_old_cancel(root / "cancel")
        solve_folder.remove_temporaries(root)
        solve_folder.remove_preview(root)
        _mend_events(root / "events.jsonl")
        log_handler = _log_to(root / "engine.log")
        workspace.beat()
        workspace.event("solve_started")
        heart.start()
        yield workspace
        workspace.finish("done", "done")
        _try_event(workspace, "solve_done")
    except Stopped as stopped:
        workspace.finish("stopped", str(stopped))
        _try_event(workspace, "solve_stopped")
        raise
    except Cancelled as cancelled:
        workspace.finish("cancelled", str(cancelled) or "cancelled")
        _try_event(workspace, "solve_cancelled")
        (root / "cancel").unlink(missing_ok=True)
        raise
    except Exception as error:
        typed = explain(error, root) if lock.in_place else moved(root)
        if typed.code == "engine.defect":
            log.exception("defect")
        _fail(workspace, typed)
        if typed is error:
            raise
        raise typed from error
    finally:
        if lock.in_place:
            solve_folder.remove_preview(root)
        stop.set()
        if heart.is_alive():
            heart.join()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if log_handler is not None:
            logging.getLogger().removeHandler(log_handler)
            with suppress(OSError):  # a full disk
                log_handler.close()
        lock.release()


def require_unicode(path: Path) -> None:
    """Refuse a path whose name is no text: JSON, reports and image writers cannot hold it.

    Raises:
        WorkspaceError: `workspace.name`.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="replace").decode()
        raise WorkspaceError(
            "workspace.name",
            f"The name of the folder {shown} cannot be used.",
            "It holds bytes that are no UTF-8 text.",
            "Rename it, or choose another output folder.",
        ) from error


def explain(error: Exception, root: Path) -> CvdError:
    """The typed error for whatever stopped a solve in `root`."""
    if isinstance(error, CvdError):
        if error.code not in ("poses.crashed", "poses.defect"):
            return error
        # Of a process that died on a full disk not always a word remains, but the disk is still full.
        if _is_no_room(error.why) or free_bytes(root) < _LITTLE_ROOM:
            return explain_os_error(OSError(errno.ENOSPC, error.why), root)
        return _out_of_memory(error.why) if _is_no_memory(error.why) else error
    if isinstance(error, OSError):
        return explain_os_error(error, root)
    if isinstance(error, MemoryError) or _is_no_memory(str(error)):
        return _out_of_memory(f"{type(error).__name__}: {error}")
    return defect(error, root / "engine.log")


def _is_no_room(words: str) -> bool:
    """Native code (SQLite, OpenEXR) has met a full disk, as its own words or those of the system tell."""
    return "No space left" in words or "disk is full" in words


def _is_no_memory(words: str) -> bool:
    return any(sign in words.lower() for sign in _NO_MEMORY)


def _out_of_memory(why: str) -> CvdError:
    return CvdError(
        "engine.memory",
        "There was not enough memory for this solve.",
        why,
        "Close other programs, or solve fewer frames or with a lighter preset: it goes on where it stopped.",
    )


_NO_MEMORY = (
    "memoryerror", "not enough memory", "can't allocate memory", "cannot allocate memory", "insufficient memory",
    "out of memory", "bad_alloc",
)  # fmt: skip
"""How Python, PyTorch, OpenCV, the system and C++ say it, in a message or at the end of a log."""


def defect(error: Exception, log_file: Path) -> CvdError:
    """What the user is told about an exception that should never have escaped."""
    return CvdError(
        "engine.defect",
        "The engine stopped because of a defect in it.",
        f"{type(error).__name__}: {error}",
        f"Please report it with {log_file}. Starting again goes on where it stopped.",
    )


def _fail(workspace: Workspace, error: CvdError) -> None:
    workspace.finish("failed", error.what, error)
    if error.code != "workspace.moved":
        _try_event(workspace, "solve_failed", **error.as_dict())


def _drop_old_cancel(path: Path) -> None:
    """Remove a wish to cancel an engine before this one; one that came while this one was starting stays."""
    if path.exists() and path.stat().st_mtime < psutil.Process().create_time() - 1.0:
        path.unlink(missing_ok=True)


def _mend_events(path: Path) -> None:
    """Drop the line that a killed engine was writing: the next one would be appended to its half."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 2**20)
        file.seek(start)
        end = start + file.read().rfind(b"\n") + 1
        if end < size:
            file.truncate(end)


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
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace")
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
