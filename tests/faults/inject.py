"""Faults at the N-th write of a process, through Python's audit hooks (PEP 578): nothing in the engine knows of them.

Every file that the engine makes is opened, renamed or removed by Python, and each of these asks the hook first. What
native code does in between (OpenEXR, OpenCV, SQLite) lies between two of them; a disk that is really full is in
`matrix.real_disk`.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
UNCOUNTED = re.compile(r"\.?(status(\.\d+)?\.json|engine\.log|lock|cancel)")
"""Written by the heart-beat at any time: counting them would make no two runs alike."""
VARIABLE = "CVD_FAULT"


@dataclass
class Fault:
    """What happens at which write into a folder.

    Attributes:
        folder: writes elsewhere do not count.
        kind: "none" (only count), "kill" (SIGKILL before the write) or "full" (it and all after it find no room).
        number: at which write, from 1.
        armed: writes count from now on.
        count: of writes so far.
    """

    folder: str
    kind: str = "none"
    number: int = 0
    armed: bool = True
    count: int = 0
    seen: list[str] = field(default_factory=list)

    def install(self) -> None:
        """From now on, until the process ends: an audit hook cannot be removed."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        path, makes = _write(event, args)
        if path is None or not path.startswith(self.folder) or UNCOUNTED.fullmatch(os.path.basename(path)):  # noqa: PTH119
            return
        self.count += 1
        self.seen.append(f"{event} {path[len(self.folder) :]}")
        if self.kind == "kill" and self.count == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "full" and self.count >= self.number and makes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _write(event: str, args: tuple[Any, ...]) -> tuple[str | None, bool]:
    """(the file that is written, whether that needs room on the disk) of an audit event; (None, False): no write."""
    if event == "open" and isinstance(args[2], int) and args[2] & WRITES:
        return _text(args[0]), bool(args[2] & os.O_CREAT)
    if event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree"):
        return _text(args[0]), False
    if event == "os.mkdir":
        return _text(args[0]), True
    return None, False


def _text(path: object) -> str | None:
    return os.fsdecode(path) if isinstance(path, str | bytes | Path) else None


def from_environment() -> None:
    """Install the fault that the variable CVD_FAULT describes: for processes that the engine starts."""
    if VARIABLE in os.environ:
        kind, number, report, folder = os.environ[VARIABLE].split(":", 3)
        fault = Fault(folder, kind, int(number))
        fault.install()
        if report:
            import atexit

            atexit.register(lambda: Path(report).write_text(str(fault.count)))
