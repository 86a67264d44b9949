"""What is expensive to make is made once a run, by whichever process of it is first: a worker of pytest, a Blender."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

VARIABLE = "CVD_TESTS_SHARED"
"""Names a folder that all legs of a run share; build.py empties it."""
_LIMIT_S = 900.0  # for who waits: longer than anything takes on a busy computer


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills, at the same place for the whole run; nobody may change what is in it.

    Args:
        factory: of the session.
        name: of the folder; all that decides about its content is to be in it.
        make: called with the empty folder, in one process of the run.

    Raises:
        TimeoutError: whoever makes it has died, or takes very long.
    """
    folder = shared(factory) / name
    done, lock = folder.with_name(f"{name}.done"), folder.with_name(f"{name}.lock")
    until = time.monotonic() + _LIMIT_S
    while not done.exists():
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            if time.monotonic() > until:
                raise TimeoutError(f"{lock} is not given free") from None
            time.sleep(0.1)
            continue
        try:
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # half made
                folder.mkdir()
                make(folder)
                done.touch()
        finally:
            lock.unlink()
    return folder


def shared(factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of the run share."""
    named = os.environ.get(VARIABLE)
    base = factory.getbasetemp()
    beside = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # a worker has a folder of its own in it
    folder = Path(named) if named else beside / "shared"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
