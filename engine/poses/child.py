"""Runs the solving process: pycolmap is native code that may crash and cannot always be interrupted."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from engine.clip.preview import show_track
from engine.errors import PoseError
from engine.files import write_text
from engine.progress import Progress

_POLL_SECONDS = 0.2
_ROOT = Path(__file__).resolve().parents[2]
_DIED = "died"
_NATIVE = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGFPE, -signal.SIGILL, 0xC0000005, 0xC0000409, 3}
"""Exit codes of native code that died: signals, and on Windows access violation, fail-fast and abort."""


def run_worker(job: Path, log: Path, progress: Progress, module: str = "engine.poses.worker") -> None:
    """Run a solving process, the module of that name, on a job file, pass on what it reports, and wait until it ends.

    The process never outlives this call, nor this process: it is killed with its group on any exception, and it ends
    by itself when its standard input closes. Native code that dies takes the process with it: it is started again, and
    `left_out_after_a_crash` tells it what to leave out.

    Raises:
        PoseError: what the worker says; `poses.crashed` (by a signal, so that trying again may help) or `poses.defect`
            (by a defect, which trying again only repeats), with the end of its log.
        Cancelled: from `progress`.
    """
    died = job.with_name(_DIED)
    died.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    code = _run(job, log, progress, module)
    while code in _NATIVE and not died.exists():
        write_text(died, "")
        code = _run(job, log, progress, module)
    if code != 0:
        tail = " | ".join(log.read_text(encoding="utf-8", errors="replace").split("\n")[-6:]).strip(" |")
        raise _ended(code, f"The end of its log {log}: {tail or 'nothing was logged'}.")


def left_out_after_a_crash(work: Path) -> bool:
    """Whether the process before this one died, and what it was at is to be left out; says so once.

    Args:
        work: the job's work folder.
    """
    died = (work / _DIED).exists()
    (work / _DIED).unlink(missing_ok=True)
    return died


def _run(job: Path, log: Path, progress: Progress, module: str) -> int:
    """Run it once; its exit code."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        try:
            _follow(process, progress)
        finally:
            _kill(process)
    return int(process.returncode)


def _ended(code: int, why: str) -> PoseError:
    """The error of a worker that ended with an exit code and no word."""
    if not 0 < code < 256:  # Windows: native crashes are NTSTATUS values
        return PoseError(
            "poses.crashed",
            f"The camera solver crashed ({f'signal {-code}' if code < 0 else f'exit code {code:#x}'}).",
            why,
            "Start the solve again: it goes on where it stopped. If it crashes again, free some memory or "
            "report it with the log.",
        )
    return PoseError(
        "poses.defect",
        "The camera solver stopped because of a defect in it.",
        why,
        "Please report it with the log.",
    )


def _follow(process: subprocess.Popen[bytes], progress: Progress) -> None:
    """Hand on the worker's messages until it closes its output, and call `step` several times a second meanwhile."""
    assert process.stdout is not None
    messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process.stdout, messages), daemon=True).start()
    state: tuple[float, float, str] = (0.0, 1.0, "starting the camera solver")
    while True:
        try:
            message = messages.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            progress.step(*state)
            continue
        if message is None:
            break
        if "step" in message:
            done, total, text = message["step"]
            state = (max(state[0], float(done)), float(total), str(text))  # a second attempt does not go back
            progress.step(*state)
        elif "metric" in message:
            progress.metric(*message["metric"])
        elif "warning" in message:
            progress.warning(message["warning"])
        elif "preview" in message:
            show_track(message["preview"], progress)
        elif "error" in message:
            raise PoseError(**message["error"])
    process.wait()


def _read(stream: IO[bytes], messages: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    for line in stream:
        try:
            message = json.loads(line)
        except ValueError:  # native code may print as well
            continue
        if isinstance(message, dict):
            messages.put(message)
    messages.put(None)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
