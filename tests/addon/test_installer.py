"""The engine's environment is made by a process that tells how it goes: whole or not at all, whatever uv does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from cvd_blender_addon import installer, jobs

ROOT = Path(__file__).parents[2]
FAST = 0.05
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for uv is a script")
UV = f"""#!/bin/sh
''':'
exec "{sys.executable}" "$0" "$@"  # a path with a space can be no `#!` line
'''
import os, pathlib, sys, time
words = sys.argv[1:]
mode = os.environ.get("FAKE_UV", "ok")
with open(os.environ["UV_SAID"], "a") as file:
    print(*words, os.environ.get("UV_CACHE_DIR"), os.environ.get("UV_PYTHON_INSTALL_DIR"), sep="|", file=file)
if words == ["--version"]:
    print("uv 0.13.9")
elif words[0] == "venv":
    if mode == "no python":
        sys.exit("error: No interpreter found for Python >=3.11,<3.15 in virtual environments or search path")
    bin = pathlib.Path(words[-1]) / "bin"
    bin.mkdir(parents=True)
    (bin / "python").symlink_to(sys.executable)
else:
    cache = pathlib.Path(os.environ["UV_CACHE_DIR"])
    cache.mkdir(exist_ok=True)
    (cache / "torch").write_bytes(bytes(10**6))
    print("Downloading torch (180.3MiB)", file=sys.stderr, flush=True)
    while mode == "slow":
        time.sleep(0.05)
    said = {{
        "network": "error: Request failed\\n  cause: Failed to fetch: https://index.invalid/whl/cpu/torch/\\n"
                   "  cause: dns error",
        "registry": "error: Failed to fetch: https://registry.invalid/simple/numpy\\n  cause: client error (Connect)",
        "hash": "error: Hash mismatch for numpy",
        "disk": "error: Failed to write: No space left on device (os error 28)",
        "no build": "error: No solution found when resolving dependencies",
        "odd": "error: something odd",
        "forbidden": "error: No solution found when resolving dependencies\\n"
                     "  cause: Because wcwidth was not found in the package registry and you require wcwidth==0.2.13, "
                     "we can conclude that your requirements are unsatisfiable.\\n\\n"
                     "hint: An index (http://127.0.0.1/simple) returned a 403 Forbidden error. "
                     "Check that the index URL is correct and the credentials are valid.",
        "proxy": "error: Failed to fetch: http://127.0.0.1/simple/numpy/\\n"
                 "  cause: HTTP status client error (407 Proxy Authentication Required) for url (http://127.0.0.1/)",
        "portal": "error: No solution found when resolving dependencies\\n"
                  "  cause: Because there is no version of numpy==2.4.6 and you require numpy==2.4.6, we can conclude "
                  "that your requirements are unsatisfiable.",
        "old driver": "error: No solution found when resolving dependencies\\n"
                      "  cause: Because there is no version of torch==2.13.0 and you require torch==2.13.0, we can "
                      "conclude that your requirements are unsatisfiable.",
    }}
    if mode in said:
        sys.exit(said[mode])
    print("Installed 35 packages in 2s", file=sys.stderr)
"""
DOCTOR = """
import json, sys
checks = [{"name": "Python", "ok": True, "found": "3.12.1", "fix": ""},
          {"name": "torch", "ok": True, "found": "2.13.0+cpu", "fix": ""},
          {"name": "cv2", "ok": False, "found": "cannot be imported: libGL.so.1", "fix": "Install libGL.so.1."}]
print(json.dumps({"ok": False, "checks": checks}))
sys.exit(1)
"""


@pytest.fixture
def engine_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the engine with the real requirements, and a stand-in for uv on PATH."""
    root = tmp_path / "root"
    (root / "engine").mkdir(parents=True)
    (root / "engine" / "__init__.py").touch()
    (root / "engine" / "__main__.py").write_text(DOCTOR)
    for name in (*installer.REQUIREMENTS, installer.LOCKED, installer.LOCKED_CUDA, installer.LOCKED_UV):
        (root / "requirements" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "requirements" / name).write_bytes((ROOT / "requirements" / name).read_bytes())
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(UV)
    uv.chmod(uv.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("UV_SAID", str(tmp_path / "said"))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "Künstler in 東京" / "engine"


def install(folder: Path, root: Path, *arguments: str) -> jobs.Status:
    return jobs.wait(installer.start(folder, root, arguments), lambda _: None, FAST)


def slow(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> jobs.Job:
    """An installation that is in the middle of its downloads."""
    monkeypatch.setenv("FAKE_UV", "slow")
    job = installer.start(folder, root, [])
    deadline = time.monotonic() + 20
    while "downloading" not in (status := job.poll()).message:
        assert not status.final and time.monotonic() < deadline, status
    monkeypatch.setenv("FAKE_UV", "ok")
    return job


@pytest.mark.every_blender
def test_an_environment_is_made_and_checked(folder: Path, engine_root: Path, tmp_path: Path) -> None:
    assert installer.installed(folder) is None
    status = install(folder, engine_root)
    assert status.state == "done", status
    python = installer.installed(folder)
    assert python == folder / "environment/bin/python" and python.is_file()
    assert installer.checked(folder) == python
    assert "PyTorch 2.13.0+cpu" in installer.summary(folder)
    assert installer.problems(folder) == [("cv2: cannot be imported: libGL.so.1", "Install libGL.so.1.")]
    assert {path.name for path in folder.iterdir()} & {"cache", "environment.new", "environment.old"} == set()
    said = (tmp_path / "said").read_text()
    assert "--torch-backend|auto" in said and f"|{folder}/cache|{folder}/python" in said


def test_torch_comes_from_where_the_user_says(folder: Path, engine_root: Path, tmp_path: Path) -> None:
    install(folder, engine_root, "--torch", "cpu")
    assert "--torch-backend|cpu" in (tmp_path / "said").read_text()
    (tmp_path / "said").unlink()
    install(folder, engine_root, "--torch", "pypi")
    assert "--torch-backend" not in (tmp_path / "said").read_text()


@pytest.mark.parametrize("torch", ["auto", "cpu", "pypi"])
def test_everything_has_a_hash_but_what_pytorchs_index_holds(torch: str) -> None:
    entries = list(installer._entries(installer.constraints(ROOT / "requirements", torch)))
    assert all("--hash=sha256:" in entry for entry in entries)
    names = {re.split("==", entry)[0] for entry in entries}
    assert {"numpy", "pycolmap", "opencv-python", "transformers"} < names
    assert ("torch" in names) == ("nvidia-cudnn-cu13" in names) == (torch == "pypi")


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        ("network", "install.network", "PyTorch's own package index could not be reached"),
        ("registry", "install.network", "The package registry could not be reached"),
        ("hash", "install.hash", "not the file"),
        ("disk", "install.disk_full", "Free some space"),
        ("no build", "install.no_build", "Update the graphics driver"),
        ("no python", "install.python", "Install Python"),
        ("old driver", "install.no_build", "Update the graphics driver"),
        ("forbidden", "install.refused", "403 Forbidden"),
        ("proxy", "install.refused", "407 Proxy"),
        ("portal", "install.index", "log in to the network"),
        ("odd", "install.failed", "something odd"),
    ],
)
def test_failures_say_what_to_do_and_leave_what_was_whole(
    folder: Path, engine_root: Path, monkeypatch: pytest.MonkeyPatch, mode: str, code: str, words: str
) -> None:
    monkeypatch.setenv("FAKE_UV", mode)
    status = install(folder, engine_root)
    assert status.error is not None and status.error.code == code, status
    assert words in jobs.describe(status)
    assert installer.installed(folder) is None and not (folder / "environment.new").exists()
    assert (folder / "cache").exists() == (mode not in ("disk", "no python"))
    monkeypatch.setenv("FAKE_UV", "ok")
    assert install(folder, engine_root).state == "done"
    monkeypatch.setenv("FAKE_UV", mode)
    assert install(folder, engine_root).state == "failed"
    assert installer.installed(folder) is not None


def test_cancel_in_the_middle_ends_uv_and_leaves_nothing_half_made(
    folder: Path, engine_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = slow(folder, engine_root, monkeypatch)
    with pytest.raises(jobs.StartError, match="at work"):
        installer.start(folder, engine_root, [])
    job.cancel()
    assert jobs.wait(job, lambda _: None, FAST).state == "cancelled"
    assert installer.installed(folder) is None and not (folder / "environment.new").exists()
    assert (folder / "cache").exists()
    assert install(folder, engine_root).state == "done"


def test_a_killed_installation_counts_as_none_and_is_made_again(
    folder: Path, engine_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = slow(folder, engine_root, monkeypatch)
    os.killpg(job.poll().pid, signal.SIGKILL)
    assert jobs.wait(job, lambda _: None, FAST).state == "failed"
    assert installer.installed(folder) is None and (folder / "environment.new").exists()
    assert install(folder, engine_root).state == "done"
    assert not (folder / "environment.new").exists()


def test_too_little_room_is_said_before_anything_is_fetched(
    folder: Path, engine_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 10**9})()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(installer.InstallError, match=r"About 2 GB are needed and 1\.0 GB are free"):
        installer.make(folder, engine_root, "cpu", installer.Reporter.__new__(installer.Reporter))


def test_a_chosen_interpreter_is_checked(folder: Path, engine_root: Path, tmp_path: Path) -> None:
    assert install(folder, engine_root, "--check", sys.executable).state == "done"
    assert installer.checked(folder) == Path(sys.executable) and installer.installed(folder) is None
    odd = tmp_path / "odd python"
    odd.write_text("#!/bin/sh\necho too old; exit 3\n")
    odd.chmod(0o755)
    status = install(folder, engine_root, "--check", str(odd))
    assert status.error is not None and "too old" in status.error.why
    missing = install(folder, engine_root, "--check", str(tmp_path / "nothing"))
    assert missing.error is not None and missing.error.code == "install.start"


def test_an_environment_of_another_version_is_told(folder: Path, engine_root: Path) -> None:
    install(folder, engine_root)
    assert not installer.outdated(folder, engine_root)
    with (engine_root / "requirements/engine.txt").open("a") as file:
        file.write("one-more==1\n")
    assert installer.outdated(folder, engine_root)


def test_uv_comes_by_pip_with_its_hash_where_there_is_none(
    folder: Path, engine_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    asked: list[str] = []
    monkeypatch.setattr(installer, "_run", lambda command, *_rest: asked.extend(map(str, command)))
    reporter = type("Reporter", (), {"step": lambda *_: None})()
    own = installer._uv(folder, engine_root / "requirements", reporter)
    assert own == folder / "tools/bin/uv"
    assert "--require-hashes" in asked and asked[-1].endswith("locked/lock.txt")
    assert asked[asked.index("--target") + 1] == str(folder / "tools")
