"""A real Blender with a window: the one named by BLENDER, else Debian's. For `python3 build.py test --ui`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import build
from tests.ui import debian

HERE = Path(__file__).resolve().parent
OUT = build.BUILD / "ui"
LIMIT_S = 3600  # for a whole solve on a busy computer
if "CVD_UI" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@dataclass(frozen=True)
class Blender:
    """A Blender that can be started.

    Attributes:
        name: for people and for the folder of its pictures.
        program: the words that start it.
        suite: of Debian, where it is from there.
    """

    name: str
    program: str
    suite: str | None = None

    @property
    def out(self) -> Path:
        """Where its pictures and its user's files go."""
        return OUT / self.name

    @property
    def python(self) -> str:
        """Some Python that Blender can start."""
        return "/usr/bin/python3" if self.suite else sys.executable

    def run(self, *arguments: str | Path, window: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end with a user's folder of its own; with a window, on a screen of its own."""
        own = {"BLENDER_USER_RESOURCES": str(self.out / "user"), "HOME": str(self.out), "LIBGL_ALWAYS_SOFTWARE": "1"}
        variables = {**own, "XDG_RUNTIME_DIR": str(self.out), **variables}
        words: list[str | Path] = [self.program, *arguments]
        if window:
            words = ["python3", HERE / "display.py", *words]
        if self.suite is not None:
            plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"} | variables
            given = [f"{name}={value}" for name, value in plain.items()]
            shared = tuple({build.ROOT, *(folder for folder in (shared_footage(),) if folder)})
            words = list(debian.enter(debian.folder(self.suite), shared, "env", "-i", *given, *words))
        return run(words, {**os.environ, **variables})

    def play(self, story: str, height: int = 900, **variables: str) -> dict[str, Any]:
        """Play a story of `stories.py`, 1600 wide; returns what it found, once its pictures show something."""
        folder = self.out / story
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if old.suffix in (".png", ".json"):
                old.unlink()
        size = ["--window-geometry", "0", "0", "1600", str(height)]
        driver: list[str | Path] = ["--enable-event-simulate", "--python", HERE / "driver.py", "--", story, folder]
        done = self.run(*size, *driver, window=True, SCREEN=f"1600x{height}", **variables)
        output = done.stdout + done.stderr
        assert (folder / "result.json").is_file(), output
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        assert result["error"] is None, f"{result['error']}\n{output}"
        assert done.returncode == 0 and "Traceback" not in output, output
        for picture in folder.glob("*.png"):
            assert is_drawn(picture), f"{picture} is black"
        return dict(result["found"])


def run(words: list[str | Path], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command; when it takes too long, it is ended with everything it has started."""
    command = [str(word) for word in words]
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=LIMIT_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def is_drawn(path: Path) -> bool:
    """The picture shows something: not one colour, and not all but black."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"), np.float32)
    return bool(pixels.std() > 5.0 and (pixels > 30.0).mean() > 0.2)


def shared_footage() -> Path | None:
    """Real footage beside the repository, where there is some."""
    folder = build.ROOT.parent / "shared"
    return folder.resolve() if folder.is_dir() else None


@pytest.fixture(scope="session")
def blender() -> Blender:
    """With the extension installed from its zip, into a user's folder that was empty."""
    named = os.environ.get("BLENDER")
    if named:
        if shutil.which("import") is None:
            pytest.skip("ImageMagick's `import`, which takes the pictures, is not installed")
        found = Blender("named", named)
    else:
        try:
            debian.ensure("sid")
        except debian.NoDebianError as error:
            pytest.skip(f"no Blender with a window: BLENDER names none, and {error}")
        found = Blender("debian-sid", "blender", "sid")
    shutil.rmtree(found.out / "user", ignore_errors=True)
    found.out.mkdir(parents=True, exist_ok=True)
    done = install(found)
    assert done.returncode == 0 and "Installed" in done.stdout, done.stdout + done.stderr
    return found


def install(blender: Blender) -> subprocess.CompletedProcess[str]:
    """Install the zip by Blender's own command line."""
    archive = build.write_package(build.BUILD)
    return blender.run("--command", "extension", "install-file", "--repo", "user_default", "--enable", archive)


@pytest.fixture(scope="session")
def engine_python(blender: Blender) -> Path:
    """The engine's interpreter, as Blender can start it: from a Debian of its own by a script that leads out of it."""
    if blender.suite is None:
        return Path(sys.executable)
    script = blender.out / "engine python"
    # The process keeps its number: it is the one that Blender watches and stops.
    inner = 'cd "$0" && exec "$@"'
    script.write_text(
        "#!/bin/sh\n"
        f"exec chroot /host /usr/bin/env PATH={shlex.quote(os.environ['PATH'])} "
        f'sh -c {shlex.quote(inner)} "$PWD" {shlex.quote(sys.executable)} "$@"\n'
    )
    script.chmod(0o755)
    return script
