"""`doctor`: is this computer able to solve? One fix for each thing that is wrong."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MIN_PYTHON = (3, 11)
MIN_FREE_GB = 5.0
MIN_MEMORY_GB = 6.0
PACKAGES = ("numpy", "cv2", "torch", "pycolmap", "OpenEXR", "jsonschema", "psutil", "safetensors", "PIL")
INSTALL = "Run `python3 build.py env`, or point the add-on's preferences at the Python it made."


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, whether it is good enough, and what to do if not."""

    name: str
    ok: bool
    found: str
    fix: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For `doctor --json`."""
        return asdict(self)


def examine() -> list[Check]:
    """Look at Python, the packages, the device, disk and memory."""
    checks = [_python(), *(_package(name) for name in PACKAGES)]
    broken = {check.name for check in checks if not check.ok}
    later: dict[str, Callable[[], Check]] = {"torch": _device, "psutil": _memory, "numpy": _disk, "cv2": _priors}
    return checks + [look() for needs, look in later.items() if needs not in broken]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(
        "Python", sys.version_info >= MIN_PYTHON, version, f"Use Python {MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer."
    )


def _package(name: str) -> Check:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a broken binary package may raise anything
        return Check(name, False, f"cannot be imported: {error}", INSTALL)
    return Check(name, True, str(getattr(module, "__version__", "present")))


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        _, total = torch.cuda.mem_get_info()
        return Check("device", True, f"CUDA: {torch.cuda.get_device_name()}, {total / 2**30:.0f} GiB")
    return Check("device", True, f"CPU, {torch.get_num_threads()} threads (no CUDA device that this PyTorch can use)")


def _priors() -> Check:
    """Optional, so nothing about it is wrong."""
    from engine.models import is_installed
    from engine.priors.huggingface import ready_models

    if not is_installed():
        return Check("priors", True, "the built-in network (transformers is not installed; requirements/priors.txt)")
    models = ", ".join(ready_models()) or "no known depth model"
    version = importlib.metadata.version("transformers")
    return Check("priors", True, f"the built-in network; transformers {version}, with {models} in this user's cache")


def _memory() -> Check:
    import psutil

    total = psutil.virtual_memory().total / 2**30
    return Check(
        "memory", total >= MIN_MEMORY_GB, f"{total:.0f} GiB", "Use the preview preset, or a computer with more memory."
    )


def _disk() -> Check:
    from engine.workspace import free_bytes

    folder = Path(tempfile.gettempdir())
    free = free_bytes(folder) / 1e9
    return Check("disk", free >= MIN_FREE_GB, f"{free:.0f} GB free in {folder}", "Free some space before solving.")
