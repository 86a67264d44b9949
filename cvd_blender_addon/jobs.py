# SPDX-License-Identifier: GPL-3.0-or-later
"""Start, watch and stop the engine. Knows nothing of Blender.

The engine is a detached process that outlives Blender; all that is known about it is read from its solve folder, so a
job can be picked up again by its folder alone (`Job(folder)`).
"""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .solve_folders import in_the_way

HEARTBEAT_S = 60.0
CANCEL_GRACE_S = 10.0
LOG_NAME = "engine_stdout.log"
LOG_BYTES = 16 * 2**20
LOG_TAIL_BYTES = 16 * 2**10
SHOWN_LOG_BYTES = 256 * 2**10
STATUS_BYTES = 2**16
MOST_STAGES = 50
LOCK_BYTE = 1 << 30  # the engine's (engine/workspace.py)
DELIVERY = ".deliver"  # the folder in a delivery where it is at work (engine/deliver/run.py)
SOLVED = ("solve", "deepv2d")  # cameras that are not given
FINAL_STATES = ("done", "failed", "stopped", "cancelled")


@dataclass(frozen=True)
class JobError:
    """What happened, why, and what to do."""

    code: str
    what: str
    why: str
    fix: str


class StartError(Exception):
    """The engine was not started: what happened, why, and what to do."""

    def __init__(self, code: str, what: str, why: str, fix: str) -> None:
        super().__init__(f"{what} {why} {fix}")
        self.error = JobError(code, what, why, fix)


@dataclass(frozen=True)
class StageStatus:
    """A stage of a solve: `state` is waiting, running or done, `fraction` how far it is, 0..1."""

    name: str
    state: str
    fraction: float


@dataclass(frozen=True)
class Status:
    """What a job is doing: `status.json`, checked, or what its absence means.

    Attributes:
        state: queued, running, cancelled, failed, stopped (after the stage asked for) or done.
        fraction: share of the whole solve that is done, 0..1.
        eta_s: estimated seconds to the end, None while unknown.
        message: one line for people.
        stages: all of this solve, in order; empty while they are not planned.
        error: present exactly when failed.
    """

    state: str
    stage: str = ""
    fraction: float = 0.0
    eta_s: float | None = None
    message: str = ""
    pid: int = 0
    updated: float = 0.0
    stages: tuple[StageStatus, ...] = ()
    error: JobError | None = None

    @property
    def final(self) -> bool:
        """The job has ended."""
        return self.state in FINAL_STATES


def prepare(engine_python: Path, engine_root: Path, request: dict[str, Any]) -> Path:
    """Make sure that the engine can be started on `request`, and make its output folder a solve folder.

    Args:
        engine_python: interpreter of the engine's own environment.
        engine_root: folder that holds the package `engine`.
        request: a `cvd.request/1`; it is written to `request.json` in its own output folder.

    Returns:
        The solve folder. What else the request speaks of, such as masks, may be written there before `start`.

    Raises:
        StartError: no such interpreter, no engine, an engine is at work in the folder, or the folder cannot be written
            or holds something else than a solve.
    """
    what = "The engine was not started."
    _check_engine(engine_python, engine_root)
    folder = Path(request["output"])
    if not Job(folder).poll().final:
        raise StartError(
            "engine.busy",
            what,
            f"Another engine is at work in {folder}.",
            "Wait for it, cancel it, or choose another solve folder.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The request makes it a solve folder, in which the engine replaces depth/ and more: never make one of others'.
        others = in_the_way(folder)
        if others:
            shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
            raise StartError(
                "engine.folder",
                what,
                f"{folder} is not a solve folder: it holds {shown}, and a solve replaces files in its folder.",
                "Choose a new or an empty folder.",
            )
        # What an earlier engine said must not be taken for news of this one. The status also marks a solve folder.
        (folder / "cancel").unlink(missing_ok=True)
        write_json(folder / "status.json", _status("cancelled", "not started yet"))
        write_json(folder / "request.json", request)
    except OSError as error:
        raise _cannot_start(error) from error
    return folder


def _check_engine(engine_python: Path, engine_root: Path) -> None:
    what = "The engine was not started."
    if not engine_python.is_file():
        raise StartError(
            "engine.python",
            what,
            f"There is no Python interpreter at '{engine_python}'.",
            "Set Engine Python in the add-on's preferences to the python of the engine's environment.",
        )
    if not (engine_root / "engine" / "__init__.py").is_file():
        raise StartError(
            "engine.missing",
            what,
            f"There is no engine in {engine_root}.",
            "Install the add-on from the zip that `build.py package` makes: it holds the engine.",
        )


def start(engine_python: Path, engine_root: Path, request: dict[str, Any]) -> Job:
    """Start the engine on `request` as a detached process; arguments as for `prepare`.

    Raises:
        StartError: as `prepare`, or the interpreter cannot be run.
    """
    folder = prepare(engine_python, engine_root, request)
    command = [str(engine_python), "-u", "-m", "engine", "solve", str(folder / "request.json")]
    return launch(folder, command, engine_root)


def prepare_delivery(engine_python: Path, engine_root: Path, out: Path) -> Path:
    """Make sure that the engine can deliver into `out`, and make that an (empty) delivery.

    Returns:
        The folder in it in which a delivery is at work, where `Job` finds its status.

    Raises:
        StartError: no such interpreter, no engine, a delivery is at work in the folder, or the folder cannot be written
            or holds something else than a delivery.
    """
    what = "Nothing was delivered."
    _check_engine(engine_python, engine_root)
    folder = out / DELIVERY
    if not Job(folder).poll().final:
        raise StartError("deliver.busy", what, f"A delivery into {out} is running.", "Wait for it, or cancel it.")
    try:
        if out.is_dir() and not folder.is_dir() and any(out.iterdir()):
            raise StartError(
                "deliver.folder",
                what,
                f"{out} is not empty and is no earlier delivery, whose files may be replaced.",
                "Choose a new or an empty folder.",
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("status.json", "cancel"):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_start(error) from error
    return folder


def deliver(
    engine_python: Path,
    engine_root: Path,
    solve: Path,
    out: Path,
    kinds: Sequence[str] | None = None,
    placed: Sequence[float] | None = None,
) -> Job:
    """Start the engine to deliver a finished solve to other programs, as a detached process.

    Args:
        engine_python, engine_root: as for `prepare`.
        solve: the solve folder.
        out: the delivery's folder.
        kinds: what to deliver, in the engine's words; None = all that the shot has.
        placed: 16 numbers, row by row, of the matrix from the solve's world to the one to deliver.

    Raises:
        StartError: as `prepare_delivery`, or the interpreter cannot be run.
    """
    folder = prepare_delivery(engine_python, engine_root, out)
    arguments = ["deliver", str(solve.absolute()), "--out", str(out.absolute())]
    if kinds is not None:
        arguments += ["--as", ",".join(kinds)]
    if placed is not None:
        arguments += ["--placed", *(f"{number:.9g}" for number in placed)]
    return launch(folder, [str(engine_python), "-u", "-m", "engine", *arguments], engine_root)


def launch(folder: Path, command: Sequence[str], where: Path) -> Job:
    """Start a detached process that says in `folder` how it goes, as the engine does.

    Args:
        folder: is there; what an earlier process said in it is gone.
        command: the program and its arguments.
        where: the folder that it runs in.

    Raises:
        StartError: it cannot be run, or nothing can be written.
    """
    try:
        (folder / LOG_NAME).unlink(missing_ok=True)
        # Whoever finds the folder before the engine has said a word, such as a Blender that opens the file again.
        write_json(folder / "status.json", _status("queued", "starting the engine"))
        with (folder / LOG_NAME).open("ab") as log:
            process = subprocess.Popen(
                list(command),
                cwd=where,
                env=_engine_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **_detached(),
            )
    except OSError as error:
        _end_queued(folder, Status("cancelled", message="not started"))
        raise _cannot_start(error) from error
    return Job(folder, process)


def _end_queued(folder: Path, ended: Status) -> None:
    """Of an engine that ended before it had said a word, or never began: nothing is to wait for it."""
    status = _read_status(folder)
    if status is not None and status.state == "queued":
        with suppress(OSError):
            write_json(folder / "status.json", _status(ended.state, ended.message, ended.error))


def _status(state: str, message: str, error: JobError | None = None) -> dict[str, Any]:
    """A `cvd.status/1` of a solve whose engine has not written its own."""
    words = {"state": state, "stage": None, "message": message}
    now = time.time()
    times = {"fraction": 0.0, "eta_s": None, "pid": 0, "started": now, "updated": now}
    return {"schema": "cvd.status/1", **words, **times, "error": None if error is None else dataclasses.asdict(error)}


def _cannot_start(error: OSError) -> StartError:
    return StartError(
        "engine.start",
        "The engine was not started.",
        f"{error}.",
        "Check that the solve folder can be written to and that Engine Python can be run.",
    )


def no_engine() -> StartError:
    """Nobody has said where the engine's Python is."""
    return StartError(
        "engine.python",
        "The engine was not started.",
        "It is not installed.",
        "Press Install Engine, or choose an Engine Python in the add-on's preferences.",
    )


def wait(job: Job, show: Callable[[Status], None], interval_s: float = 0.5) -> Status:
    """Block until `job` has ended; Ctrl-C cancels it.

    Args:
        show: called with each status that differs from the one before.
        interval_s: seconds between two looks.

    Returns:
        The final status.
    """
    # Blender's own handler would end Blender and leave the engine running.
    previous = signal.signal(signal.SIGINT, lambda _number, _frame: job.cancel())
    try:
        shown: Status | None = None
        while True:
            status = job.poll()
            if shown is None or (status.state, status.message) != (shown.state, shown.message):
                show(status)
                shown = status
            if status.final:
                return status
            time.sleep(interval_s)
    finally:
        # A Blender without a window has set one that Python does not know, and cannot set again.
        signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)


def describe(status: Status) -> str:
    """One line about a status."""
    if status.error is not None:
        return f"failed: {status.error.what} {status.error.why} {status.error.fix}"
    left = "" if status.eta_s is None else f", {duration(status.eta_s)} left"
    share = f" {status.fraction:.0%}{left}" if status.state == "running" else ""
    return f"{status.state}{share}: {status.message}"


def duration(seconds: float) -> str:
    """Seconds as `40 s`, `12 min` or `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Job:
    """A solve in a folder, started here (`process` given) or found there."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.folder = folder
        self._process = process
        self._kill_at: float | None = None
        self._killed = False
        self._news = 0.0, time.monotonic()  # time of the last status, and when it was first seen

    def poll(self) -> Status:
        """What the job is doing now. Also ends an engine that did not heed `cancel` in time."""
        # Life is looked at before the file: whatever an ended engine had to say is in the file by then.
        exit_code = self._process.poll() if self._process is not None else None
        locked = _locked(self.folder)
        status = _read_status(self.folder)
        if status is not None and status.final:
            return status
        self._bound_log()
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self._kill(status, locked)
        if self._killed:
            return Status("cancelled", message="stopped by force; what was finished is kept")
        # Locked by another engine although ours has ended: that one goes on.
        ours_gone = exit_code is not None and not locked
        if ours_gone or (self._process is None and not _at_work(status, locked)):
            ended = Status("failed", message="the engine ended", error=self._crash(exit_code))
            if (self.folder / "cancel").exists():  # its own word on that did not come any more
                ended = Status("cancelled", message="stopped; what was finished is kept")
            _end_queued(self.folder, ended)
            return ended
        if status is None:
            return Status("queued", message="starting the engine")
        if self._quiet_s(status) > HEARTBEAT_S:
            return dataclasses.replace(status, eta_s=None, message="no sign of life from the engine; cancel ends it")
        return status

    def cancel(self, grace_s: float = CANCEL_GRACE_S) -> None:
        """Ask the engine to stop; `poll` ends it by force once `grace_s` have passed."""
        locked = _locked(self.folder)
        status = _read_status(self.folder)
        if status is not None and status.final:
            return
        with suppress(OSError):
            (self.folder / "cancel").touch()
        self._kill_at = time.monotonic() + grace_s
        pid = self._pid(status, locked)
        if pid:
            with suppress(OSError):
                if sys.platform == "win32":
                    # Reaches only a group that this Blender started; for any other the `cancel` file has to do.
                    os.kill(pid, signal.CTRL_BREAK_EVENT)
                else:
                    os.kill(pid, signal.SIGTERM)

    def log_tail(self, lines: int = 8) -> str:
        """The last lines that the engine printed, as far as they are text."""
        text = self._tail(LOG_NAME, LOG_TAIL_BYTES)
        return "\n".join(_clean(line) for line in text.splitlines()[-lines:])

    def log_text(self) -> str:
        """The end of what the engine wrote about the solve, of what it printed, and of what went wrong."""
        parts = []
        for name in (LOG_NAME, "engine.log"):
            tail = self._tail(name, SHOWN_LOG_BYTES)
            if tail:
                parts.append(f"--- {self.folder / name} ---\n\n{tail}")
        return "\n\n".join(parts)

    def _tail(self, name: str, size: int) -> str:
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - size))
                return file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def _bound_log(self) -> None:
        """An engine that floods its output must not fill the disk."""
        path = self.folder / LOG_NAME
        with suppress(OSError):
            if path.stat().st_size > LOG_BYTES:
                os.truncate(path, 0)  # it is written at its end, wherever that is

    def _quiet_s(self, status: Status) -> float:
        """Seconds since the status last changed, by a clock that nobody sets."""
        if status.updated != self._news[0]:
            self._news = status.updated, time.monotonic()
        return time.monotonic() - self._news[1]

    def _pid(self, status: Status | None, locked: bool | None) -> int:
        """Process to signal: our own child, or a foreign one that is known to be the engine of this folder; else 0."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else 0
        if status is None:
            return 0
        if locked is None:  # no lock to tell by
            return status.pid if not _silent(status) and _alive(status.pid) else 0
        return status.pid if locked and _holder(self.folder) == (status.pid, socket.gethostname()) else 0

    def _kill(self, status: Status | None, locked: bool | None) -> None:
        pid = self._pid(status, locked)
        if not pid and self._process is None and locked:
            return  # on another computer: it will find the `cancel` file
        self._killed = True
        if not pid:
            return
        with suppress(OSError):
            if sys.platform == "win32":
                os.kill(pid, signal.SIGTERM)  # TerminateProcess
            elif os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)  # an engine started here leads its own group
            else:
                os.kill(pid, signal.SIGKILL)  # one started in a terminal; its children end with it
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(CANCEL_GRACE_S)

    def _crash(self, exit_code: int | None) -> JobError:
        tail = self.log_tail()
        ended = "The engine ended without a word" if exit_code is None else f"The engine ended with code {exit_code}"
        return JobError(
            "engine.crashed",
            "The solve stopped before it was done.",
            f"{ended}; the last it printed: {tail}" if tail else f"{ended} and printed nothing.",
            f"Press Solve Depth again: it goes on where it stopped. If it ends again, read {LOG_NAME} and engine.log.",
        )


def _detached() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _engine_environment() -> dict[str, str]:
    # Settings made for Blender's Python would lead the engine's interpreter to Blender's packages, or away from the
    # folder that the engine is started in.
    for_blender = {"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"}
    environment = {name: value for name, value in os.environ.items() if name not in for_blender}
    # The engine may lie in Blender's extension folder, where nothing is to be written.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write JSON so that it is either whole or not there."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _read_status(folder: Path) -> Status | None:
    """`status.json`, or None where there is none that makes sense (yet)."""
    try:
        with (folder / "status.json").open("rb") as file:
            document = json.loads(file.read(STATUS_BYTES).decode("utf-8"))
        state = document["state"]
        if state not in ("queued", "running", *FINAL_STATES):
            return None
        eta = document["eta_s"]
        error = document["error"]
        return Status(
            state=state,
            stage=_clean(str(document["stage"] or "")),
            fraction=min(max(_finite(document["fraction"]), 0.0), 1.0),
            eta_s=None if eta is None else max(_finite(eta), 0.0),
            message=_clean(str(document["message"])),
            pid=int(document["pid"]) if 0 < int(document["pid"]) < 2**31 else 0,
            updated=_finite(document["updated"]),
            stages=tuple(_stage(entry) for entry in document.get("stages", ())[:MOST_STAGES]),
            error=_error(error) if state == "failed" else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _stage(entry: dict[str, Any]) -> StageStatus:
    state = entry["state"] if entry["state"] in ("waiting", "running", "done") else "waiting"
    return StageStatus(_clean(str(entry["name"])), state, min(max(_finite(entry["fraction"]), 0.0), 1.0))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no time and no share")
    return number


def _clean(text: str) -> str:
    """What a label can show: one line of printable text, not longer than a screen."""
    return "".join(c for c in text[:400] if c.isprintable())


def _error(entry: dict[str, Any] | None) -> JobError:
    fields = entry or {}

    def part(name: str, otherwise: str) -> str:
        return _clean(str(fields.get(name, otherwise)))

    return JobError(
        part("code", "engine.unknown"),
        part("what", "The solve failed."),
        part("why", "The engine did not say why."),
        part("fix", "Read engine.log in the solve folder."),
    )


def _at_work(status: Status | None, locked: bool | None) -> bool:
    """An engine works in the folder, or has just been started for it."""
    if locked or status is None:
        return bool(locked)
    if status.state == "queued":
        return not _silent(status)
    return locked is None and not _silent(status) and _alive(status.pid)


def _locked(folder: Path) -> bool | None:
    """An engine holds the folder's lock, as the operating system knows it; None where it does not say.

    The one sign of life that outlives neither a crash nor a reboot, and that other processes of the same number, other
    computers' process numbers and clocks that are set do not confuse.
    """
    try:
        file = (folder / "lock").open("rb")
    except OSError:
        return None
    with file:
        try:
            if sys.platform == "win32":
                import msvcrt

                file.seek(LOCK_BYTE)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                file.seek(LOCK_BYTE)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return True if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK) else None
    return False


def _holder(folder: Path) -> tuple[int, str]:
    """(process number, computer) that the lock file names."""
    try:
        entry = json.loads((folder / "lock").read_text(encoding="utf-8"))
        return int(entry["pid"]), str(entry["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""


def _silent(status: Status) -> bool:
    return abs(time.time() - status.updated) > HEARTBEAT_S


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _alive_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _alive_windows(pid: int) -> bool:
    import ctypes

    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - absent from the stubs of other systems
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == 259  # STILL_ACTIVE
