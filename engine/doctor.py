"""`doctor`: is this computer able to solve? One fix for each thing that is wrong."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MIN_PYTHON = (3, 11)
MIN_FREE_GB = 5.0
MIN_MEMORY_GB = 6.0
PACKAGES = ("numpy", "cv2", "av", "torch", "pycolmap", "OpenEXR", "jsonschema", "psutil", "safetensors", "PIL")
INSTALL = "Press Install Engine in the add-on's preferences, or run `python3 build.py env engine`."
LIBRARY = re.compile(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file")


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
    later: dict[str, Callable[[], Check]] = {"torch": _device, "psutil": _memory, "cv2": _priors}
    return [*checks, _disk(), *(look() for needs, look in later.items() if needs not in broken)]


def report(as_json: bool) -> int:
    """Print what `examine` finds. Returns the exit code: 0 when nothing is wrong."""
    checks = examine()
    if as_json:
        print(json.dumps({"ok": all(c.ok for c in checks), "checks": [c.as_dict() for c in checks]}, indent=1))
    else:
        for check in checks:
            print(f"{'ok ' if check.ok else 'BAD'} {check.name}: {check.found}")
            if not check.ok:
                print(f"    fix: {check.fix}")
    return 0 if all(check.ok for check in checks) else 1


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(
        "Python", sys.version_info >= MIN_PYTHON, version, f"Use Python {MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer."
    )


def _package(name: str) -> Check:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a broken binary package may raise anything
        missing = LIBRARY.search(str(error))
        fix = f"Install the system library {missing[1]}: your package manager knows it." if missing else INSTALL
        return Check(name, False, f"cannot be imported: {error}", fix)
    return Check(name, True, str(getattr(module, "__version__", "present")))


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        _, total = torch.cuda.mem_get_info()
        return Check("device", True, f"CUDA: {torch.cuda.get_device_name()}, {total / 2**30:.0f} GiB")
    return Check("device", True, f"CPU, {torch.get_num_threads()} threads (no CUDA device that this PyTorch can use)")


def _priors() -> Check:
    """Optional, so nothing about it is wrong."""
    from engine.networks.pretrained import is_installed
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
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free / 1e9
    return Check("disk", free >= MIN_FREE_GB, f"{free:.0f} GB free in {folder}", "Free some space before solving.")
