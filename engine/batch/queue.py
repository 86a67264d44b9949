"""Solves shots, each in a process of its own: `python -m engine solve`. One that fails stops none of the others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from engine import files
from engine.batch.records import Record, key_of, read_record, result_of, stamp_of, write_record
from engine.batch.shots import Shot
from engine.errors import Cancelled, CvdError
from engine.request import STAGES
from engine.workspace import explain_os_error

GRACE_S = 10.0
"""Between asking an engine to stop and killing it."""
RETRY_WAIT_S = 10.0
_POLL_S = 0.5
_ROOT = Path(__file__).resolve().parents[2]
_ENGINE = (sys.executable, "-m", "engine")
_LOCKED = "workspace.locked"
PASSING = frozenset(
    {_LOCKED, "workspace.io", "workspace.moved", "workspace.disk_full", "engine.memory", "poses.crashed", "batch.died"}
)
"""Errors that are not the clip's: trying again, later or on another machine, may help."""


@dataclass(frozen=True)
class Outcome:
    """How a shot ended.

    Attributes:
        state: "done"; "stopped", with the stages done that were asked for; "failed"; "cancelled".
        error: of a failed shot: code, what, why, fix.
    """

    state: str
    error: dict[str, str] | None = None

    @property
    def may_pass(self) -> bool:
        """Trying again may help."""
        return self.error is not None and self.error["code"] in PASSING


class Batch:
    """Solves shots of a list.

    Args:
        report: the report's folder, where the records are kept.
        until: the last stage to do.
        retries: how often a shot is tried again whose error may pass.
        parallel: how many shots are solved at a time.
        task: this is a task of a farm's job, one of several for each shot: a shot that failed in an earlier group of
            stages is left alone.
        say: told every line for people.
        progress: told the share 0..1 of the shot in hand; with several at a time, of any of them.
        engine: the command of the engine, to which `solve REQUEST --json` is added.
        retry_wait_s: before the first retry, twice that before the second, and so on.
    """

    def __init__(
        self,
        report: Path,
        *,
        until: str = STAGES[-1],
        retries: int = 2,
        parallel: int = 1,
        task: bool = False,
        say: Callable[[str], None] = print,
        progress: Callable[[float], None] = lambda _: None,
        engine: Sequence[str] = _ENGINE,
        retry_wait_s: float = RETRY_WAIT_S,
    ) -> None:
        self._report = report
        self._until = until
        self._retries = retries
        self._parallel = parallel
        self._task = task
        self._say = say
        self._progress = progress
        self._engine = engine
        self._retry_wait_s = retry_wait_s
        self._stop = threading.Event()
        self._stop_asked = 0.0
        self._running: dict[str, subprocess.Popen[str]] = {}

    def run(self, shots: Sequence[Shot]) -> dict[str, Outcome]:
        """Solve the shots. What is finished already is left as it is.

        SIGINT and SIGTERM stop the engines; running again goes on where they stopped.

        Returns:
            Name of the shot -> how it ended; shots that were not begun before a stop are missing.

        Raises:
            CvdError: the report's folder cannot be written.
            Cancelled: stopped.
        """
        outcomes: dict[str, Outcome] = {}

        def work(shot: Shot) -> None:
            if not self._stop.is_set():
                outcomes[shot.name] = self._solve(shot)

        with _on_signals(self.cancel), ThreadPoolExecutor(self._parallel) as pool:
            futures = [pool.submit(work, shot) for shot in shots]
            while wait(futures, timeout=_POLL_S).not_done:
                if self._stop.is_set() and time.monotonic() > self._stop_asked + GRACE_S:
                    self._kill()
        for future in futures:
            try:
                future.result()
            except OSError as error:
                raise explain_os_error(error, self._report) from error
        if self._stop.is_set():
            raise Cancelled
        return outcomes

    def cancel(self) -> None:
        """Ask all engines to stop; `run` then raises `Cancelled`. May be called from a signal handler."""
        self._stop_asked = time.monotonic()
        self._stop.set()
        for process in list(self._running.values()):
            process.terminate()

    def _kill(self) -> None:
        for process in list(self._running.values()):
            try:
                family = psutil.Process(process.pid)
                for member in [*family.children(recursive=True), family]:
                    member.kill()
            except psutil.NoSuchProcess:
                continue

    def _solve(self, shot: Shot) -> Outcome:
        outcome = Outcome("cancelled")
        for trial in range(self._retries + 1):
            if trial:
                self._say(f"{shot.name}: is tried again in {trial * self._retry_wait_s:.0f} s")
                if self._stop.wait(trial * self._retry_wait_s):
                    break
            stamp = stamp_of(shot)
            known = read_record(self._report, shot)  # anew each time: another machine may have solved it meanwhile
            if known is not None and known["stamp"] != stamp:
                known = None
            settled = None if known is None else self._settled(shot, known)
            if settled is not None:
                return settled
            attempts = [] if known is None else known["attempts"]
            outcome = self._attempt(shot, {"stamp": stamp, "until": self._until, "attempts": attempts})
            if not outcome.may_pass:
                break
        return outcome

    def _settled(self, shot: Shot, known: Record) -> Outcome | None:
        """How the shot has ended already, where nothing is left to do."""
        if known["state"] == "done" and known["solve_key"] == key_of(result_of(shot)) is not None:
            self._say(f"{shot.name}: already done")
            return Outcome("done")
        if self._task and known["state"] == "failed" and not known["may_pass"] and self._later(known["until"]):
            self._say(f"{shot.name}: has failed before the stage {known['until']} was done")
            return Outcome("failed", known["error"])
        return None

    def _later(self, until: str) -> bool:
        """What is to be done goes on from the stage `until`."""
        return STAGES.index(self._until) > STAGES.index(until)

    def _attempt(self, shot: Shot, record: Record) -> Outcome:
        """Solve once, and record it unless another engine has the shot: then the record is that one's."""
        began = time.monotonic()
        self._say(f"{shot.name}: {shot.request.footage.path}")
        try:
            # Where there is a folder, the engine also writes into it why it could not begin.
            shot.request.output.mkdir(parents=True, exist_ok=True)
            outcome = self._engine_run(shot, record)
        except OSError as refused:
            outcome = Outcome("failed", explain_os_error(refused, shot.request.output).as_dict())
        error = outcome.error
        if error is not None:
            self._say(f"{shot.name}: error: {error['what']}\n  why: {error['why']}\n  fix: {error['fix']}")
        else:
            self._say(f"{shot.name}: {outcome.state}")
        if error is None or error["code"] != _LOCKED:
            wall = round(time.monotonic() - began, 1)
            host = socket.gethostname()
            record["attempts"] = [
                *record["attempts"],
                {"host": host, "until": self._until, "end": outcome.state, "wall_s": wall},
            ]
            key = key_of(result_of(shot)) if outcome.state == "done" else None
            end = {"state": outcome.state, "error": error, "may_pass": outcome.may_pass, "solve_key": key}
            write_record(self._report, shot, record | end | {"host": host})
        return outcome

    def _engine_run(self, shot: Shot, record: Record) -> Outcome:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
        if self._parallel > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self._parallel)))
        with (
            tempfile.TemporaryDirectory(prefix="cvd-batch-") as folder,
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        ):
            request = Path(folder) / "request.json"
            files.write_json(request, shot.request.as_json())
            with subprocess.Popen(
                [*self._engine, "solve", str(request), "--until", self._until, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=environment,
            ) as process:
                self._running[shot.name] = process
                try:
                    if self._stop.is_set():  # which came before the process was in the list
                        process.terminate()
                    assert process.stdout is not None
                    error = self._follow(shot, record, process.stdout)
                    code = process.wait()
                except BaseException:
                    process.kill()
                    raise
                finally:
                    del self._running[shot.name]
            if code == 0:
                return Outcome("done" if self._until == STAGES[-1] else "stopped")
            if code == Cancelled.exit_code or self._stop.is_set():
                return Outcome("cancelled")
            return Outcome("failed", error or _died(code, errors))

    def _follow(self, shot: Shot, record: Record, output: IO[str]) -> dict[str, str] | None:
        """Pass on what an engine says until it ends. Returns its error."""
        error: dict[str, str] | None = None
        at_work = False
        for line in output:
            try:
                document: Any = json.loads(line)
                kind, stage = document.get("type"), document.get("stage")
            except (ValueError, AttributeError):  # a library's own words
                continue
            if document.get("schema") == "cvd.status/1":
                if not at_work:  # the engine has the folder now, so the record is this one's to write
                    at_work = True
                    write_record(self._report, shot, record | {"state": "running", "host": socket.gethostname()})
                error = document["error"] or error
                self._progress(document["fraction"])
            elif kind in ("stage_started", "stage_reused"):
                self._say(f"{shot.name}: {stage}{' …' if kind == 'stage_started' else ': taken from the cache'}")
            elif kind == "warning":
                self._say(f"{shot.name}: warning: {document['data']['message']}")
            elif kind == "solve_failed":
                error = document["data"]
        return error


def _died(code: int, errors: IO[str]) -> dict[str, str]:
    """The error of an engine that ended without saying one."""
    errors.seek(0)
    tail = " | ".join(errors.read().strip().splitlines()[-4:])[-600:]
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return CvdError(
        "batch.died",
        f"The engine ended before its time ({how}).",
        f"It was killed, often because memory ran out, or it could not start. Its last words: {tail or 'none'}.",
        "Run the batch again: it goes on where it stopped. If memory ran out, solve fewer shots at a time.",
    ).as_dict()


@contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    earlier = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
