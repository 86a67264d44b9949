#!/usr/bin/env python3
"""The one entry for people: `python3 build.py demo | test | solve | package | env | lint | lock`.

Needs Python 3.11 or newer and nothing else: each command first makes the environments it uses, under `.venvs/`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENVS = ROOT / ".venvs"
BUILD = ROOT / "build"
REQUIREMENTS = ROOT / "requirements"
LOCKED = REQUIREMENTS / "locked"
STAMP = "made-from.txt"
WINDOWS = "--ui"
ALL = "--all"
TESTS = BUILD / "tests"  # what a run of the tests leaves: how each leg went, and what the legs share
# The fault matrix, which is one test of a minute or two, first: else one worker may be at it while the other is done.
ENGINE_TESTS = tuple(f"tests/{part}" for part in ("faults", "engine", "build", "scenes", "training", "fuzz", "farm"))
WORKERS = min(os.cpu_count() or 1, 4)  # each takes up to 1.5 GB
SLOWEST = 20
LEG_LIMIT_S = 40 * 60  # a hanging test ends the leg, not the machine's patience

Version = tuple[int, int]
Command = list[str | Path]


class BuildError(Exception):
    """What happened, why, and what to do."""

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(f"error: {what}\n  why: {why}\n  fix: {fix}")


class MissingPythonError(BuildError):
    """No interpreter on this computer fits an environment."""


# --- environments -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own, `.venvs/<name>`.

    Attributes:
        versions: Pythons it can be made with, the preferred one first.
        requirements: files in `requirements/`: what is wanted, in pinned versions.
        size: what it downloads, for people.

    `requirements/locked/<name>.txt` says the same with everything that comes along and the hashes of all its files, for
    every platform that there are files for; nothing else is installed. `python3 build.py lock` makes it.
    """

    name: str
    versions: tuple[Version, ...]
    requirements: tuple[str, ...]
    size: str

    @property
    def folder(self) -> Path:
        """Where it is."""
        return VENVS / self.name

    @property
    def locked(self) -> Path:
        """What is installed."""
        return LOCKED / f"{self.name}.txt"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


ENGINE = Environment(
    "engine",
    ((3, 11), (3, 12), (3, 13), (3, 14)),
    ("engine.txt", "priors.txt", "test.txt"),
    "about 0.6 GB; several GB where pip chooses the CUDA build of PyTorch",
)
# A bpy module exists for exactly one Python each. The first one that this computer can run shows the demo: 5.0 leads
# because 4.5 can hang when its interpreter exits, and Python 3.13 is rarer than 3.11.
BLENDERS = (
    Environment("blender-5.0", ((3, 11),), ("blender-5.0.txt", "blender-test.txt"), "about 0.4 GB"),
    Environment("blender-5.2", ((3, 13),), ("blender-5.2.txt", "blender-test.txt"), "about 0.4 GB"),
    Environment("blender-4.5", ((3, 11),), ("blender-4.5.txt", "blender-test.txt"), "about 0.4 GB"),
)
LOCK = Environment("lock", ((3, 11), (3, 12), (3, 13), (3, 14)), ("lock.txt",), "about 25 MB")
# PyTorch's CUDA build needs these, its CPU build does not: which of the two pip takes is found out when it has.
CUDA = LOCKED / "engine-cuda.txt"
CUDA_PACKAGES = ("cuda-", "nvidia-", "triton")
# PyTorch's CPU build for Linux is not in the registry, but some computers bring it along (this is the hash of the one
# for Python 3.11, x86-64). It is asked for first, by its own name: pip prefers files whose hash the registry tells.
CPU = LOCKED / "engine-cpu.txt"
CPU_BUILD = "{version}+cpu --hash=sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b\n"
ENVIRONMENTS = {environment.name: environment for environment in (ENGINE, *BLENDERS)}


def ensure(environment: Environment) -> Path:
    """Make the environment unless it is there already and fits.

    Returns:
        Its interpreter.

    Raises:
        MissingPythonError: no Python fits.
        BuildError: it could not be made.
    """
    base = find_python(environment)
    stamp = stamp_of(environment, base)
    stamp_file = environment.folder / STAMP
    if stamp_file.is_file() and stamp_file.read_text(encoding="utf-8") == stamp:
        return environment.python
    say(f"setting up {environment.folder.relative_to(ROOT)} with {base} (downloads {environment.size})")
    shutil.rmtree(environment.folder, ignore_errors=True)  # of other requirements, or half made
    _must_make(environment, [base, "-m", "venv", environment.folder])
    if environment is ENGINE and run([*installation(environment, CPU), "-qqq"]) != 0:
        say("this computer brings no CPU build of PyTorch along: the registry's is taken")
    _must_make(environment, installation(environment, environment.locked))
    if environment is ENGINE and run([environment.python, "-c", NEEDS_CUDA]) != 0:
        _must_make(environment, installation(environment, CUDA))
    stamp_file.write_text(stamp, encoding="utf-8")  # last: without it the environment counts as half made
    return environment.python


NEEDS_CUDA = """
import importlib.metadata, sys
needed = importlib.metadata.requires("torch") or []
sys.exit(sys.platform == "linux" and any(line.startswith(("nvidia-", "cuda-")) for line in needed))
"""


def installation(environment: Environment, locked: Path) -> Command:
    """The command that installs what a locked file lists, and nothing that has another hash or is not in it."""
    quiet = ["--disable-pip-version-check", "--progress-bar", "off"]
    safe = ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    return [environment.python, "-m", "pip", "install", *quiet, *safe, "--requirement", locked]


def _must_make(environment: Environment, command: Command) -> None:
    if run(command) != 0:
        raise BuildError(
            f"The environment {environment.name} could not be made.",
            f"`{' '.join(str(part) for part in command)}` failed; its own words are above.",
            "Check the network and the free disk space, then run the same command again.",
        )


def known_environment(name: str) -> Environment:
    """The environment called `name`, for argparse."""
    if name not in ENVIRONMENTS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(ENVIRONMENTS)}")
    return ENVIRONMENTS[name]


def stamp_of(environment: Environment, base: Path) -> str:
    """What an environment is made from: its interpreter, and a hash of what is installed."""
    digest = hashlib.sha256(environment.locked.read_bytes())
    return f"{base.resolve()}\n{digest.hexdigest()}\n"


def find_python(environment: Environment) -> Path:
    """The first interpreter on this computer that runs and has a version the environment can use.

    Raises:
        MissingPythonError: there is none.
    """
    for version in environment.versions:
        for candidate in candidates(version):
            if probe(candidate) == version:
                return candidate
    wanted = " or ".join(f"{major}.{minor}" for major, minor in environment.versions)
    raise MissingPythonError(
        f"The environment {environment.name} cannot be made.",
        f"It needs Python {wanted} with the modules venv and pip, and none was found on this computer.",
        f"Install Python {wanted} (python.org, your package manager, pyenv or uv) and run the same command again.",
    )


def candidates(version: Version) -> Iterator[Path]:
    """Where a Python of `version` may be: the running one, PATH, pyenv, uv."""
    name = f"python{version[0]}.{version[1]}"
    running = getattr(sys, "_base_executable", None) or sys.executable  # not the venv it may have been started from
    yield Path(running)
    for command in (name, "python3", "python"):
        if found := shutil.which(command):
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local" / "share" / "uv" / "python"))
    number = f"{version[0]}.{version[1]}."
    for folder, pattern in ((pyenv, f"{number}*"), (uv, f"cpython-{number}*")):
        for home in sorted(folder.glob(pattern), reverse=True):
            yield home / "python.exe" if os.name == "nt" else home / "bin" / name


def probe(python: Path) -> Version | None:
    """Version of the interpreter at `python`; None if it does not run (a pyenv shim) or cannot make environments."""
    question = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", question], capture_output=True, encoding="utf-8", timeout=30, check=True
        ).stdout
        major, minor = answer.split()
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def ensure_blender() -> tuple[Environment, Path]:
    """The first Blender environment this computer can have, and its interpreter.

    Raises:
        MissingPythonError: neither of the Pythons that Blender exists for is there.
    """
    missing: MissingPythonError | None = None
    for environment in BLENDERS:
        try:
            return environment, ensure(environment)
        except MissingPythonError as error:
            missing = error
    raise BuildError(
        "There is no Blender for the Pythons of this computer.",
        "Blender as a Python module exists for Python 3.11 and for Python 3.13 only.",
        "Install Python 3.11 (python.org, your package manager, pyenv or uv) and run the same command again.",
    ) from missing


# --- running things -----------------------------------------------------------------------------------------------


def say(message: str) -> None:
    """One line of progress."""
    print(f"build: {message}", flush=True)


def run(
    command: Sequence[str | Path], timeout_s: float | None = None, variables: Mapping[str, str] | None = None
) -> int:
    """Run a command in the current folder with this repository on its Python path. Returns the exit code."""
    words = [str(part) for part in command]
    try:
        return subprocess.run(
            words, env=surroundings() | dict(variables or {}), timeout=timeout_s, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        say(f"stopped after {timeout_s:.0f} s without an end: {command[0]}")
        return 1


def surroundings() -> dict[str, str]:
    """Environment variables of what is run: with this repository on the Python path, and nothing else."""
    # A PYTHONHOME or PYTHONPATH of the user's would leak other packages into the environments.
    variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONPATH"}}
    return variables | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def must(what: str, command: Sequence[str | Path]) -> None:
    """Run a command that has to work; its own output says more.

    Raises:
        BuildError: it failed.
    """
    code = run(command)
    if code != 0:
        raise BuildError(
            f"{what} failed.", f"The exit code was {code}; the reason is above.", "Follow the advice above."
        )


# --- commands -----------------------------------------------------------------------------------------------------


def command_env(options: argparse.Namespace) -> int:
    """Make or refresh environments; the engine's doctor then looks whether this computer can solve."""
    exit_code = 0
    for environment in options.names or ENVIRONMENTS.values():
        try:
            say(f"{environment.name}: {ensure(environment)}")
        except MissingPythonError as error:
            if options.names:
                raise
            say(f"{environment.name}: skipped. {error}")
            continue
        if environment is ENGINE:
            exit_code = run([ENGINE.python, "-m", "engine", "doctor"])
    return exit_code


def command_lock(_options: argparse.Namespace) -> int:
    """Write `requirements/locked/` anew from the files in `requirements/`."""
    quiet = ["--quiet", "--no-config", "--universal", "--generate-hashes", "--no-header", "--no-annotate"]
    for environment in (LOCK, *ENVIRONMENTS.values()):
        wanted: Command = [REQUIREMENTS / name for name in environment.requirements]
        oldest = ".".join(map(str, min(environment.versions)))
        found = BUILD / f"{environment.name}.txt"
        found.parent.mkdir(exist_ok=True)
        found.unlink(missing_ok=True)  # else its versions are kept
        options: Command = [*quiet, "--python-version", oldest, "--output-file", found]
        must(f"Locking {environment.name}", [ensure(LOCK), "-m", "uv", "pip", "compile", *options, *wanted])
        entries, cuda = locked_entries(found.read_text(encoding="utf-8"))
        write_locked(environment.locked, entries)
        if environment is ENGINE:
            write_locked(CUDA, cuda)
            torch = next(entry.split()[0] for entry in entries if entry.startswith("torch=="))
            write_locked(CPU, [CPU_BUILD.format(version=torch)])
        say(f"{environment.locked.relative_to(ROOT)}: {len(entries)} packages")
    return 0


def locked_entries(text: str) -> tuple[list[str], list[str]]:
    """Entries of a file that uv has made, each with its hashes: those of every environment, and those of CUDA alone."""
    entries: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith((" ", "\t")):
            entries[-1] += line
        elif line.strip():
            entries.append(line)
    entries = [entry for entry in entries if "sys_platform == 'emscripten'" not in entry]
    cuda = [entry for entry in entries if entry.startswith(CUDA_PACKAGES)]
    return [entry for entry in entries if entry not in cuda], cuda


def write_locked(path: Path, entries: Sequence[str]) -> None:
    """Write entries under a heading that says where they come from."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("# Made by `python3 build.py lock` from requirements/.\n" + "".join(entries), encoding="utf-8")


@dataclass(frozen=True)
class Leg:
    """One part of the tests and how it went: passed, failed or skipped."""

    name: str
    outcome: str
    detail: str = ""


def command_test(options: argparse.Namespace) -> int:
    """Lint, the engine's tests, and the add-on's tests in every Blender this computer can have; or those of windows.

    One Blender runs all tests of the add-on, the others those that are marked `every_blender`, or with `--all` all too.
    """
    os.chdir(ROOT)
    began = time.monotonic()
    python = ensure(ENGINE)
    rest = [argument for argument in options.arguments if argument not in (WINDOWS, ALL)]
    if WINDOWS in options.arguments:
        os.environ["CVD_UI"] = "1"  # else a plain pytest would start them too
        return report([pytest_leg("windows", [python, "-m", "pytest", "tests/ui", "-rs", *rest], bool(rest))])
    shutil.rmtree(TESTS, ignore_errors=True)
    legs: list[Leg] = []
    blenders: list[tuple[Environment, Path]] = []
    for environment in BLENDERS:
        try:
            blenders.append((environment, ensure(environment)))
        except MissingPythonError:
            wanted = " or ".join(f"{major}.{minor}" for major, minor in environment.versions)
            legs.append(Leg(environment.name, "skipped", f"no Python {wanted} on this computer"))
    with ThreadPoolExecutor(1) as beside:  # lint takes one core for two minutes
        linted = beside.submit(lint_quietly, python)
        legs.append(pytest_leg("engine", leg_command("engine", python, ENGINE_TESTS, rest), bool(rest)))
        for environment, blender in blenders:
            whole = environment is blenders[0][0] or ALL in options.arguments
            some = [] if whole else ["-m", "every_blender"]
            command = leg_command(environment.name, blender, ["tests/addon"], [*some, *rest])
            legs.append(pytest_leg(environment.name, command, bool(rest)))
        passed, said = linted.result()
    say(f"lint\n{said.rstrip()}")
    legs.append(Leg("lint", "passed" if passed else "failed"))
    for seconds, leg, name in slowest(TESTS):
        say(f"{seconds:6.1f} s  {leg}  {name}")
    say(f"{(time.monotonic() - began) / 60:.1f} minutes in all")
    return report(legs)


def leg_command(name: str, python: Path, folders: Sequence[str], arguments: Sequence[str]) -> Command:
    """pytest with a worker for each core, which take tests from one another when they have done their own."""
    workers = ["-n", str(WORKERS), "--dist", "worksteal"]
    return [python, "-m", "pytest", *workers, f"--junitxml={TESTS / name}.xml", *folders, *arguments]


def pytest_leg(name: str, command: Command, selects: bool) -> Leg:
    """Run pytest. That nothing is selected is no failure where its arguments select (`selects`)."""
    say(f"testing {name}")
    # Threads of one worker would only take the other's core.
    code = run(command, LEG_LIMIT_S, {"OMP_NUM_THREADS": "1", "CVD_TESTS_SHARED": str(TESTS / "shared")})
    if code == 5 and selects:
        return Leg(name, "skipped", "no test selected")
    return Leg(name, "passed" if code == 0 else "failed")


def slowest(folder: Path) -> list[tuple[float, str, str]]:
    """(seconds, leg, name) of the slowest tests of all legs, by what pytest has left there."""
    found = []
    for path in folder.glob("*.xml"):
        for case in ET.parse(path).iter("testcase"):  # noqa: S314 - pytest has just written it
            found.append((float(case.get("time", "0")), path.stem, f"{case.get('classname')}::{case.get('name')}"))
    return sorted(found, reverse=True)[:SLOWEST]


def report(legs: Sequence[Leg]) -> int:
    """Say how each part of the tests went. Returns the exit code."""
    for leg in legs:
        say(f"{leg.name}: {leg.outcome}{f' ({leg.detail})' if leg.detail else ''}")
    return 1 if any(leg.outcome == "failed" for leg in legs) else 0


def command_lint(_options: argparse.Namespace) -> int:
    """Style, types and layers."""
    os.chdir(ROOT)
    return 0 if lint(ensure(ENGINE)) else 1


def lint(python: Path) -> bool:
    """Ruff, mypy and import-linter, all of them even when the first fails."""
    say("lint")
    return not any([run(command) for command in lint_commands(python)])


def lint_quietly(python: Path) -> tuple[bool, str]:
    """The same; what it says is returned, since it would come in the middle of other words."""
    done = [
        subprocess.run(
            [str(part) for part in command],
            env=surroundings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        for command in lint_commands(python)
    ]
    return not any(process.returncode for process in done), "".join(process.stdout for process in done)


def lint_commands(python: Path) -> list[Command]:
    """What is run for style, types and layers."""
    typed = ["engine", "cvd_blender_addon", "scripts", "bench", "training", "tests", "build.py"]
    return [
        [python, "-m", "ruff", "check", "."],
        [python, "-m", "ruff", "format", "--check", "."],
        [python, "-m", "mypy", "--strict", "--explicit-package-bases", *typed],
        [python.with_name("lint-imports"), "--no-logo", "--no-cache"],  # no module to be run: a script only
    ]


def command_solve(options: argparse.Namespace) -> int:
    """Solve a clip: the engine's own command line, in its own environment."""
    return run([ensure(ENGINE), "-m", "engine", "solve", *options.arguments])


def command_demo(_options: argparse.Namespace) -> int:
    """Clip to composite, on the bundled sample, with the error against its known truth."""
    sample, out = ROOT / "sample", BUILD / "demo"
    blender, blender_python = ensure_blender()  # first: it is what a computer may not be able to have
    engine = ensure(ENGINE)
    out.mkdir(parents=True, exist_ok=True)
    solve = out / "room.solve"
    say("demo 1/3: solving sample/room.mp4")
    must("Solving the sample", [engine, "-m", "engine", "solve", sample / "room.mp4", "--out", solve])
    say(f"demo 2/3: building the scene and rendering it in {blender.name}")
    scene: Command = [
        blender_python,
        ROOT / "scripts" / "demo_scene.py",
        "--solve",
        solve,
        "--truth",
        sample,
        "--out",
        out,
    ]
    must("Rendering the demo", scene)
    say("demo 3/3: comparing with the known truth")
    compare: Command = [engine, ROOT / "scripts" / "demo_figures.py", "--solve", solve, "--truth", sample, "--out", out]
    must("Comparing the demo with its truth", compare)
    return 0


# --- the extension package ----------------------------------------------------------------------------------------


def command_package(_options: argparse.Namespace) -> int:
    """Zip the extension and let Blender's own tool judge it."""
    _, python = ensure_blender()
    archive = write_package(BUILD)
    question = "import bpy; print(bpy.utils.system_resource('SCRIPTS'))"
    scripts = subprocess.run(
        [python, "-X", "utf8", "-c", question], capture_output=True, encoding="utf-8", check=True
    ).stdout.split("\n")
    tool = Path(next(line for line in reversed(scripts) if line)) / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
    must("Blender's check of the extension", [python, tool, "validate", archive])
    say(f"package: {archive} ({archive.stat().st_size / 1e6:.1f} MB)")
    return 0


def write_package(folder: Path) -> Path:
    """Write the extension zip into `folder`. The same sources give the same bytes."""
    manifest = (ROOT / "blender_manifest.toml").read_text(encoding="utf-8")
    import tomllib  # here, so that an older Python gets as far as the message in main

    fields = tomllib.loads(manifest)
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{fields['id']}-{fields['version']}.zip"
    temporary = archive.with_suffix(".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for name, path in sorted(package_files()):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
            package.writestr(entry, path.read_bytes())
    temporary.replace(archive)
    return archive


def package_files() -> Iterator[tuple[str, Path]]:
    """(name in the zip, file) of everything the extension holds: the add-on at the top, the engine beside it."""
    wanted = ("engine.txt", "priors.txt", "locked/engine.txt", "locked/engine-cuda.txt", "locked/lock.txt")
    for name in ("blender_manifest.toml", "LICENSE", *(f"requirements/{name}" for name in wanted)):
        yield name, ROOT / name
    for path in source_files(ROOT / "cvd_blender_addon"):
        yield path.relative_to(ROOT / "cvd_blender_addon").as_posix(), path
    for path in source_files(ROOT / "engine"):
        yield path.relative_to(ROOT).as_posix(), path


def source_files(folder: Path) -> Iterable[Path]:
    """Every file below `folder` that is not a cache or hidden."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if (
            path.is_file()
            and not any(part.startswith((".", "__pycache__")) for part in parts)
            and path.suffix != ".pyc"
        ):
            yield path


# --- command line -------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Run a command. Returns the exit code: 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="build.py", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, words in (
        ("demo", command_demo, "solve the bundled clip, put a CG object into it, measure against the known truth"),
        (
            "test",
            command_test,
            f"lint and tests; {ALL}: all tests in every Blender; {WINDOWS}: those in a window; the rest goes to pytest",
        ),
        ("solve", command_solve, "solve a clip; all arguments go to the engine (solve --help lists them)"),
        ("package", command_package, "make build/consistent_video_depth-VERSION.zip for Blender"),
        ("env", command_env, "make the environments under .venvs/"),
        ("lint", command_lint, "ruff, mypy and import-linter"),
        ("lock", command_lock, "after a change in requirements/: find all versions and hashes anew"),
    ):
        passes_on = name in {"test", "solve"}
        command = commands.add_parser(name, help=words, description=words, add_help=not passes_on)
        command.set_defaults(command=function, passes_on=passes_on)
        if name == "env":
            command.add_argument("names", nargs="*", type=known_environment, metavar="NAME", help="default: all")
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.passes_on:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.arguments = rest
    try:
        return int(options.command(options))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("build: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts it with an older one is told
        sys.exit("error: build.py needs Python 3.11 or newer\n  fix: start it with a newer Python: python3.11 build.py")
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files are in every script
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
