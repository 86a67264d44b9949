# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the engine's environment, as a process of its own. Knows nothing of Blender, needs Python's own library only.

`python -m <this package>.installer FOLDER ENGINE_ROOT [--torch auto|cpu|pypi]` makes `FOLDER/environment`,
`... --check PYTHON` only looks whether that interpreter can run the engine. Either says how it goes as the engine does:
`status.json`, a lock, and a `cancel` file in FOLDER, so that `jobs.Job` can follow it; what the engine's `doctor` finds
is written to `FOLDER/doctor.json`.

The work is done by uv, which chooses the PyTorch build that fits the computer's graphics card, and finds or fetches a
Python. It is taken from PATH, or else installed by the pip of any Python there is, with its hash. All packages have the
versions and hashes of `requirements/locked/`; only PyTorch itself has none where it comes from its own index, which has
other files than the registry.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from . import jobs

ENVIRONMENT, MADE_FROM, DOCTOR = "environment", "made-from.json", "doctor.json"
DISK_FULL = "install.disk_full"
PYTHONS = ">=3.11,<3.15"
REQUIREMENTS = ("engine.txt", "priors.txt")
LOCKED, LOCKED_CUDA, LOCKED_UV = "locked/engine.txt", "locked/engine-cuda.txt", "locked/lock.txt"
OLDEST_UV = (0, 7)  # knows --torch-backend
TICK_S, STOP_S = 0.25, 5.0
PATIENCE_S = 1.0  # whoever looks whether something is at work holds the lock for an instant (jobs.py)
SIZE_TICKS = 4  # files are counted that seldom
STAGES = (("uv", 0.05), ("python", 0.1), ("packages", 0.95), ("doctor", 1.0))  # each with the fraction at its end
CPU_GB, CUDA_GB = (0.5, 1.6), (3.0, 7.0)  # to download; on disk
# Other extensions lie beside ours: none of them is to be taken for a module of Python's library.
LAUNCH = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
PIP = """
import importlib.util, pathlib, sys
if sys.version_info < (3, 9):
    sys.exit(1)
if importlib.util.find_spec("pip"):
    print("-")
else:  # Blender's own Python may have none, but brings its wheel along
    import ensurepip
    print(max(pathlib.Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")))
"""
PIP_OF_WHEEL = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('pip', alter_sys=True)"


class InstallError(Exception):
    """The environment was not made: what happened, why, and what to do."""

    def __init__(self, code: str, what: str, why: str, fix: str) -> None:
        super().__init__(f"{what} {why} {fix}")
        self.error = jobs.JobError(code, what, why, fix)


class CancelledError(Exception):
    """The user asked to stop."""


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def installed(folder: Path) -> Path | None:
    """The interpreter of the environment in `folder`, None where there is none that was finished."""
    environment = folder / ENVIRONMENT
    return python_of(environment) if (environment / MADE_FROM).is_file() else None


def outdated(folder: Path, engine_root: Path) -> bool:
    """The environment in `folder` was made for another version of the engine."""
    try:
        made_from = json.loads((folder / ENVIRONMENT / MADE_FROM).read_text(encoding="utf-8"))
        return bool(made_from["requirements"] != fingerprint(engine_root / "requirements"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def fingerprint(requirements: Path) -> str:
    """A hash of everything that says what is installed."""
    digest = hashlib.sha256()
    for name in (*REQUIREMENTS, LOCKED, LOCKED_CUDA):
        digest.update((requirements / name).read_bytes())
    return digest.hexdigest()


def estimate_gb(torch: str) -> tuple[float, float]:
    """(GB to download, GB on disk), roughly; what is really chosen is uv's business."""
    linux = sys.platform == "linux"
    nvidia = shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()
    return CUDA_GB if (torch == "auto" and nvidia) or (torch == "pypi" and linux) else CPU_GB


def start(folder: Path, engine_root: Path, arguments: Sequence[str]) -> jobs.Job:
    """Start this module as a process; `arguments` are the options above.

    Raises:
        StartError: another one is at work in `folder`, or it cannot be started.
    """
    if not jobs.Job(folder).poll().final:
        raise jobs.StartError(
            "install.busy",
            "Nothing was started.",
            f"An installation is at work in {folder}.",
            "Wait for it, or cancel it.",
        )
    package = Path(__file__).resolve().parent
    module = f"{package.name}.{Path(__file__).stem}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("status.json", "cancel"):
        (folder / name).unlink(missing_ok=True)
    python = [sys.executable, "-I", "-B", "-u", "-X", "utf8", "-c", LAUNCH, str(package.parent), module]
    return jobs.launch(folder, [*python, str(folder), str(engine_root), *arguments], folder)


# --- the process --------------------------------------------------------------------------------------------------


class Reporter:
    """Says how it goes, and learns that it should stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.time()
        self._stop = threading.Event()
        self._stage, self._from, self._to = "", 0.0, 0.0
        for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: self._stop.set())

    def stage(self, name: str, message: str) -> None:
        """A stage begins."""
        ends = dict(STAGES)
        before = [end for other, end in STAGES if end < ends[name]]
        self._stage, self._from, self._to = name, max(before, default=0.0), ends[name]
        self.step(0.0, message)

    def step(self, share: float, message: str, eta_s: float | None = None) -> None:
        """`share` of the stage is done.

        Raises:
            CancelledError: the user asked to stop.
        """
        self.check()
        fraction = self._from + (self._to - self._from) * min(max(share, 0.0), 1.0)
        self.say("running", fraction, message, eta_s=eta_s)

    def check(self) -> None:
        """Raises CancelledError when the user asked to stop."""
        if self._stop.is_set() or (self.folder / "cancel").exists():
            raise CancelledError

    def say(
        self,
        state: str,
        fraction: float,
        message: str,
        error: jobs.JobError | None = None,
        eta_s: float | None = None,
    ) -> None:
        """Write the status, as engine/schemas/status-1.json has it."""
        document = {
            "schema": "cvd.status/1",
            "state": state,
            "stage": self._stage or None,
            "fraction": fraction,
            "eta_s": eta_s,
            "message": message,
            "pid": os.getpid(),
            "started": self.started,
            "updated": time.time(),
            "error": None if error is None else vars(error),
        }
        with suppress(PermissionError):  # on Windows, while somebody reads the old one
            jobs.write_json(self.folder / "status.json", document)


def make(folder: Path, engine_root: Path, torch: str, reporter: Reporter) -> None:
    """Make `folder/environment`. One that is there already stays until the new one is whole.

    Raises:
        InstallError: it could not be made.
        CancelledError: the user asked to stop; what was downloaded is kept for the next time.
    """
    requirements = engine_root / "requirements"
    needed = estimate_gb(torch)[1] + 0.5
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise _disk_full(folder, f"About {needed:.0f} GB are needed and {free:.1f} GB are free.")
    reporter.stage("uv", "looking for uv, which installs packages")
    uv = _uv(folder, requirements, reporter)
    reporter.stage("python", f"looking for Python {PYTHONS}, or fetching one")
    new = folder / f"{ENVIRONMENT}.new"
    try:
        shutil.rmtree(new, ignore_errors=True)  # half made
        _run([uv, "venv", "--python", PYTHONS, "--relocatable", new], folder, reporter)
        reporter.stage("packages", "finding packages")
        versions = folder / "constraints.txt"
        versions.write_text(constraints(requirements, torch), encoding="utf-8")
        command: list[str | Path] = [uv, "pip", "install", "--python", new, "--only-binary", ":all:"]
        for name in REQUIREMENTS:
            command += ["--requirement", requirements / name]
        command += ["--constraint", versions, *([] if torch == "pypi" else ["--torch-backend", torch])]
        _run(command, folder, reporter, Downloads(folder, reporter))
        checks = check(engine_root, python_of(new), reporter)
        jobs.write_json(new / MADE_FROM, {"requirements": fingerprint(requirements), "torch": torch})
        _replace(new, folder / ENVIRONMENT)
        note(folder, python_of(folder / ENVIRONMENT), checks)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)  # what it held is in the environment


def constraints(requirements: Path, torch: str) -> str:
    """Versions and hashes of everything that may be installed.

    PyTorch's own index has files of its own, and other CUDA packages for each backend: of these only the version of
    PyTorch is given, in requirements/engine.txt.
    """
    text = (requirements / LOCKED).read_text(encoding="utf-8")
    if torch == "pypi":
        return text + (requirements / LOCKED_CUDA).read_text(encoding="utf-8")
    return "".join(entry for entry in _entries(text) if not entry.startswith("torch=="))


def _entries(text: str) -> Iterator[str]:
    """Each package of a locked file with its hashes."""
    yield from re.findall(r"^[^\s#].*\n(?:[ \t].*\n)*", text, re.MULTILINE)


def _replace(new: Path, old: Path) -> None:
    aside = old.with_name(f"{old.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        if old.exists():
            old.rename(aside)
        new.rename(old)
    except OSError as error:
        raise InstallError(
            "install.in_use",
            "The new environment could not take the old one's place.",
            f"{error}.",
            "Cancel solves that are running, then press Install Engine again.",
        ) from error
    shutil.rmtree(aside, ignore_errors=True)


def check(engine_root: Path, python: Path, reporter: Reporter) -> list[dict[str, Any]]:
    """What the engine's doctor says of an interpreter.

    Raises:
        InstallError: the interpreter does not run, or is too old.
    """
    reporter.stage("doctor", "checking the engine")
    output = _run([python, "-m", "engine", "doctor", "--json"], engine_root, reporter, may_fail=True)
    try:
        report = json.loads(output[output.index("{") :])
        checks = [entry for entry in report["checks"] if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise InstallError(
            "install.doctor",
            "The engine does not start.",
            f"{python} said: {output.strip()[-300:] or 'nothing'}.",
            "Choose a Python 3.11 or newer with the engine's packages, or press Install Engine.",
        ) from error
    return checks


def note(folder: Path, python: Path, checks: list[dict[str, Any]]) -> None:
    """Keep what the doctor said of an interpreter for `checked`, `problems` and `summary`."""
    jobs.write_json(folder / DOCTOR, {"python": str(python), "checks": checks})


def checked(folder: Path) -> Path | None:
    """The interpreter that the doctor looked at last."""
    try:
        return Path(json.loads((folder / DOCTOR).read_text(encoding="utf-8"))["python"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def problems(folder: Path) -> list[tuple[str, str]]:
    """(what was found, what to do) for each problem that the doctor found last; those with one cure are one."""
    found: dict[str, list[str]] = {}
    for check in _checks(folder):
        if not check["ok"]:
            found.setdefault(check["fix"], []).append(f"{check['name']}: {check['found']}")
    return [("; ".join(several), fix) for fix, several in found.items()]


def summary(folder: Path) -> str:
    """What the doctor found last, in a line; empty where it has not looked, or there is no PyTorch."""
    found = {check["name"]: check["found"] for check in _checks(folder) if check["ok"]}
    if not {"Python", "torch"} <= set(found):
        return ""
    return f"Python {found['Python']}, PyTorch {found['torch']}. {found.get('device', '')}"


def _checks(folder: Path) -> list[dict[str, Any]]:
    try:
        checks = json.loads((folder / DOCTOR).read_text(encoding="utf-8"))["checks"]
        return [
            {"name": str(c["name"]), "ok": bool(c["ok"]), "found": str(c["found"]), "fix": str(c["fix"])}
            for c in checks
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


# --- uv -----------------------------------------------------------------------------------------------------------


def _uv(folder: Path, requirements: Path, reporter: Reporter) -> Path:
    """A uv that is new enough: on PATH, installed by an earlier run, or by pip now."""
    found = shutil.which("uv")
    if found and _version(Path(found)) >= OLDEST_UV:
        return Path(found)
    locked = requirements / LOCKED_UV
    tools = folder / "tools"
    own = tools / ("bin/uv.exe" if os.name == "nt" else "bin/uv")
    if _version(own) >= OLDEST_UV:
        return own
    python, wheel = _python_with_pip()
    reporter.step(0.3, "fetching uv, which installs packages (about 25 MB)")
    shutil.rmtree(tools, ignore_errors=True)
    pip: list[str | Path] = [python, "-m", "pip"] if wheel is None else [python, "-c", PIP_OF_WHEEL, wheel]
    safe = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", *safe, "--target", tools, "--requirement", locked], folder, reporter)
    return own


def _version(uv: Path) -> tuple[int, ...]:
    """Its version, () where it does not run."""
    try:
        answer = subprocess.run([uv, "--version"], capture_output=True, encoding="utf-8", timeout=30, check=True)
        words = answer.stdout.split()
        return tuple(int(part) for part in words[1].split(".")[:2])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return ()


def _python_with_pip() -> tuple[Path, Path | None]:
    """An interpreter that can run pip: ours, or one on PATH; and the wheel that pip is in where it is not installed."""
    names = [f"python3.{minor}" for minor in (11, 12, 13, 14)] + ["python3", "python"]
    found = [sys.executable, *(path for path in map(shutil.which, names) if path)]
    for python in dict.fromkeys(found):
        try:
            answer = subprocess.run(
                [python, "-I", "-X", "utf8", "-c", PIP], capture_output=True, encoding="utf-8", timeout=30, check=True
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError, ValueError):
            continue
        return Path(python), None if answer == "-" else Path(answer)
    raise InstallError(
        "install.pip",
        "The engine was not installed.",
        "There is neither uv on this computer nor a Python with pip.",
        "Install uv (docs.astral.sh/uv) or Python with pip (Debian: python3-pip), then press Install Engine again.",
    )


class Downloads:
    """Turns what uv says into progress: how much of what it takes on disk is there."""

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self._folder, self._reporter = folder, reporter
        self._started = time.monotonic()
        self._total = CPU_GB[1] * 1e9
        self._message = "finding packages"
        self._ticks = 0
        self._size = 0.0

    def line(self, text: str) -> None:
        """Something that uv said."""
        found = re.match(r"\s*(Downloading|Prepared|Installed) (.+)", text)
        if found:
            self._message = f"{found[1].lower()} {found[2]}"
            if found[2].startswith(("nvidia-", "triton")):
                self._total = CUDA_GB[1] * 1e9

    def tick(self) -> None:
        """Say how far it is."""
        if self._ticks % SIZE_TICKS == 0:
            self._size = float(_size(self._folder / "cache"))
        self._ticks += 1
        share = min(self._size / self._total, 0.95)
        passed = time.monotonic() - self._started
        eta = passed * (1 - share) / share if share > 0.05 and passed > 5 else None
        self._reporter.step(share, self._message, eta)


def _size(folder: Path) -> int:
    """Bytes of all files below a folder, while others write there."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(where, name).lstat().st_size
    return total


def _run(
    command: Sequence[str | Path],
    folder: Path,
    reporter: Reporter,
    downloads: Downloads | None = None,
    *,
    may_fail: bool = False,
) -> str:
    """Run a program in `folder` to its end, and stop it when the user wants that. Returns what it printed.

    Raises:
        InstallError: it could not be started, or failed.
        CancelledError: the user asked to stop.
    """
    own = reporter.folder
    variables = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    # Nothing is written outside of our folder, and nothing is linked to what may vanish.
    variables |= {"UV_CACHE_DIR": str(own / "cache"), "UV_PYTHON_INSTALL_DIR": str(own / "python"), "PYTHONUTF8": "1"}
    variables |= {"UV_PYTHON_INSTALL_BIN": "0", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise InstallError(
            "install.start",
            f"{Path(words[0]).name} could not be started.",
            f"{error}.",
            "Choose another Engine Python, or press Install Engine again.",
        ) from error
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(process.stdout, lines, downloads), daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            reporter.check()
            if downloads is not None:
                downloads.tick()
            with suppress(subprocess.TimeoutExpired):
                process.wait(TICK_S)
    finally:
        _stop(process)
    reader.join(STOP_S)
    output = "\n".join(lines)
    if process.returncode != 0 and not may_fail:
        raise explain(output, own)
    return output


def _read(pipe: IO[bytes], lines: list[str], downloads: Downloads | None) -> None:
    for raw in pipe:
        text = raw.decode("utf-8", errors="replace").rstrip()
        print(text, flush=True)
        lines.append(text)
        if downloads is not None:
            downloads.line(text)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- what went wrong ----------------------------------------------------------------------------------------------

_WORDS = 300
Explanation = Callable[[str, Path], InstallError]


def explain(output: str, folder: Path) -> InstallError:
    """The error for what uv or pip said when it failed."""
    said = output.lower()
    for signs, explanation in EXPLANATIONS:
        if any(sign in said for sign in signs):
            return explanation(_last_words(output, signs), folder)
    return InstallError(
        "install.failed",
        "The engine was not installed.",
        _last_words(output),
        f"Press Install Engine again; if it fails again, read {folder / jobs.LOG_NAME}.",
    )


def _last_words(output: str, signs: Sequence[str] = ()) -> str:
    """The error itself, without what led to it; of what has room, the line that tells."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if re.match(r"(error|cause)", line, re.IGNORECASE)]
    told = " ".join(lines[errors[0] :] if errors else lines[-2:]).removeprefix("error: ")
    telling = [line for line in lines if any(sign in line.lower() for sign in signs)]
    return (told if len(told) <= _WORDS or not telling else telling[0])[:_WORDS]


def _disk_full(folder: Path, why: str) -> InstallError:
    return InstallError(
        DISK_FULL,
        f"There is too little room on the disk that holds {folder}.",
        why,
        "Free some space, then press Install Engine again.",
    )


def _network(words: str, _folder: Path) -> InstallError:
    index = "/whl/" in words  # where PyTorch's own index lies; a package registry has none
    where = "PyTorch's own package index" if index else "The package registry"
    other = " or choose PyTorch from the registry," if index else ""
    return InstallError(
        "install.network",
        f"{where} could not be reached.",
        words,
        f"Check the network and its proxy settings,{other} then press Install Engine again.",
    )


def _other_hash(words: str, _folder: Path) -> InstallError:
    return InstallError(
        "install.hash",
        "A package is not the file that this version was tested with, and was not installed.",
        words,
        "Check whether a proxy or a package mirror changes files, then press Install Engine again.",
    )


def _no_python(words: str, _folder: Path) -> InstallError:
    return InstallError(
        "install.python",
        "No Python for the engine was found, and none could be fetched.",
        words,
        "Install Python 3.12 (python.org or your package manager), then press Install Engine again.",
    )


def _refused(words: str, _folder: Path) -> InstallError:
    return InstallError(
        "install.refused",
        "The package registry, or a proxy before it, refused to hand out packages.",
        words,
        LOG_IN,
    )


def _not_there(words: str, _folder: Path) -> InstallError:
    return InstallError(
        "install.index",
        "What answered for the package registry does not have the engine's packages.",
        f"It may be the login page of this network, or a mirror that lacks them. {words}",
        LOG_IN,
    )


def _no_build(words: str, _folder: Path) -> InstallError:
    return InstallError(
        "install.no_build",
        "There is no fitting set of packages for this computer.",
        words,
        "Update the graphics driver, or choose PyTorch Without Graphics Card, then press Install Engine again.",
    )


LOG_IN = (
    "Open a web page in a browser to log in to the network, or ask your IT for the proxy (HTTPS_PROXY) or the package "
    "mirror (UV_DEFAULT_INDEX) to use, then press Install Engine again."
)
REFUSALS = ("401 unauthorized", "403 forbidden", "407 proxy auth", "451 unavailable", "511 network auth")
"""As uv and pip write the status of HTTP."""
EXPLANATIONS: tuple[tuple[tuple[str, ...], Explanation], ...] = (
    (("no space left", "disk quota", "not enough space"), lambda words, folder: _disk_full(folder, words)),
    (("hash mismatch", "do not match the hashes"), _other_hash),
    (REFUSALS, _refused),
    (("no version of torch==",), _no_build),
    (("no version of ", "was not found in the package registry", "(from versions: none)"), _not_there),
    (("no solution found",), _no_build),
    (("no interpreter found", "no python", "python-build-standalone"), _no_python),
    (
        (
            "dns error",
            "client error (connect)",
            "connection",
            "timed out",
            "error sending request",
            "network",
            "resolve host",
        ),
        _network,
    ),
)


# --- command line -------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 130 cancelled."""
    parser = argparse.ArgumentParser(description="Makes or checks the engine's environment.")
    parser.add_argument("folder", type=Path, help="where the environment goes")
    parser.add_argument("engine_root", type=Path, help="holds the package engine and requirements/")
    parser.add_argument("--torch", choices=("auto", "cpu", "pypi"), default="auto", help="which build of PyTorch")
    parser.add_argument("--check", type=Path, metavar="PYTHON", help="only look whether this one can run the engine")
    options = parser.parse_args(arguments)
    folder: Path = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    reporter = Reporter(folder)
    with (folder / "lock").open("a") as lock:
        if not _hold(lock):
            print(f"error: another installation is at work in {folder}")
            return 1
        try:
            if options.check is not None:
                note(folder, options.check, check(options.engine_root.absolute(), options.check, reporter))
            else:
                make(folder, options.engine_root.absolute(), options.torch, reporter)
        except CancelledError:
            reporter.say("cancelled", 0.0, "stopped; what was downloaded is kept")
            return 130
        except (InstallError, OSError) as error:
            failure = error if isinstance(error, InstallError) else explain(f"error: {error}", folder)
            if failure.error.code == DISK_FULL:  # nobody is to be left with a full disk
                shutil.rmtree(folder / "cache", ignore_errors=True)
            reporter.say("failed", 0.0, "failed", failure.error)
            print(f"error: {failure}")
            return 1
        reporter.say("done", 1.0, summary(folder) or "checked")
    return 0


def _hold(lock: IO[str]) -> bool:
    """Lock the file for as long as this process lives, as an engine does with its solve folder."""
    until = time.monotonic() + PATIENCE_S
    while not _lock(lock):
        if time.monotonic() > until:
            return False
        time.sleep(PATIENCE_S / 20)
    return True


def _lock(lock: IO[str]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            lock.seek(jobs.LOCK_BYTE)
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are in every script
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
