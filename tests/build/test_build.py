"""build.py: which Python an environment gets, when it is made again, what the extension holds, how it fails."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build

ROOT = Path(__file__).resolve().parents[2]
BUILD_PY = ROOT / "build.py"


def fake_python(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def environment(*versions: build.Version) -> build.Environment:
    return build.Environment("made-up", versions, ("blender-test.txt",), "nothing")


@pytest.fixture
def bare_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A computer whose only Pythons are those that the test puts into pyenv's folder."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    return tmp_path


posix_only = pytest.mark.skipif(sys.platform == "win32", reason="the fake interpreters are shell scripts")


@posix_only
def test_a_python_is_found_in_the_folder_of_pyenv_behind_a_shim_that_does_not_run(bare_computer: Path) -> None:
    fake_python(bare_computer / "path" / "python3.98", "echo 'pyenv: python3.98: command not found' >&2; exit 127")
    real = fake_python(bare_computer / "pyenv" / "versions" / "3.98.1" / "bin" / "python3.98", "echo 3 98")
    assert build.find_python(environment((3, 98))) == real


@posix_only
def test_the_preferred_version_wins(bare_computer: Path) -> None:
    fake_python(bare_computer / "path" / "python3.97", "echo 3 97")
    wanted = fake_python(bare_computer / "uv" / "cpython-3.98.0-linux" / "bin" / "python3.98", "echo 3 98")
    assert build.find_python(environment((3, 98), (3, 97))) == wanted
    assert build.find_python(environment((3, 99), (3, 97))) == bare_computer / "path" / "python3.97"


@posix_only
def test_a_python_that_lies_about_its_version_is_not_taken(bare_computer: Path) -> None:
    fake_python(bare_computer / "path" / "python3.98", "echo 3 97")
    with pytest.raises(build.MissingPythonError, match=r"needs Python 3\.98"):
        build.find_python(environment((3, 98)))


def test_the_running_python_is_found() -> None:
    running = (sys.version_info[0], sys.version_info[1])
    assert build.probe(build.find_python(environment(running))) == running


def test_an_environment_is_kept_until_its_requirements_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "VENVS", tmp_path / ".venvs")
    monkeypatch.setattr(build, "LOCKED", tmp_path)
    commands: list[list[str]] = []

    def pretend(command: list[object], timeout_s: float | None = None) -> int:
        commands.append([str(part) for part in command])
        env.folder.mkdir(parents=True, exist_ok=True)
        return 0

    monkeypatch.setattr(build, "run", pretend)
    env = environment((sys.version_info[0], sys.version_info[1]))
    (tmp_path / "made-up.txt").write_text("one==1\n")
    build.ensure(env)
    assert [command[2] for command in commands] == ["venv", "pip"]
    build.ensure(env)
    assert len(commands) == 2
    (tmp_path / "made-up.txt").write_text("one==2\n")
    build.ensure(env)
    assert len(commands) == 4


def test_a_half_made_environment_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "VENVS", tmp_path / ".venvs")
    monkeypatch.setattr(build, "LOCKED", tmp_path)
    (tmp_path / "made-up.txt").write_text("one==1\n")
    env = environment((sys.version_info[0], sys.version_info[1]))
    rest = env.folder / "left over"
    outcomes = iter([0, 1, 0, 0])

    def pretend(command: list[object], timeout_s: float | None = None) -> int:
        env.folder.mkdir(parents=True, exist_ok=True)
        return next(outcomes)

    monkeypatch.setattr(build, "run", pretend)
    with pytest.raises(build.BuildError, match="fix: Check the network"):
        build.ensure(env)
    rest.write_text("half")
    assert build.ensure(env) == env.python
    assert not rest.exists()


def test_the_package_is_the_same_twice_and_holds_addon_engine_and_contract(tmp_path: Path) -> None:
    first, second = build.write_package(tmp_path / "a"), build.write_package(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as package:
        names = package.namelist()
        assert package.testzip() is None
    assert names == sorted(names)
    wanted = {
        "__init__.py",
        "blender_manifest.toml",
        "LICENSE",
        "scene/camera.py",
        "engine/__main__.py",
        "engine/schemas/solve-1.json",
        "requirements/engine.txt",
        "requirements/priors.txt",
        "requirements/locked/engine.txt",
    }
    assert wanted <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc") or "/." in name]


def entries(path: Path) -> dict[str, str]:
    """Name -> version of the packages in a file of requirements; names as pip compares them."""
    pins: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith(("#", " ")):
            name, version = line.split(";")[0].rstrip(" \\").split("==")
            pins.setdefault(name.strip().lower().replace("_", "-"), version.strip())
    return pins


def test_everything_that_is_installed_is_pinned_to_hashes_and_is_what_was_wanted() -> None:
    for env in (*build.ENVIRONMENTS.values(), build.LOCK):
        locked = entries(env.locked)
        for name in env.requirements:
            wanted = entries(ROOT / "requirements" / name)
            assert wanted
            assert wanted.items() <= locked.items(), f"{name} has changed: run `python3 build.py lock`"
        lines = env.locked.read_text().splitlines()[1:]
        packages = [line for line in lines if not line.startswith(" ")]
        hashes = [line for line in lines if line.startswith("    --hash=sha256:")]
        assert all(line.endswith("\\") for line in packages), "each is followed by its hashes"
        assert len(packages) + len(hashes) == len(lines)
        command = [str(part) for part in build.installation(env, env.locked)]
        assert {"--require-hashes", "--no-deps"} <= set(command)
    torch = entries(build.ENGINE.locked)["torch"]
    assert build.CPU.read_text().splitlines()[1].startswith(f"torch=={torch}+cpu --hash=sha256:")
    assert entries(build.CUDA) and not entries(build.CUDA).keys() & entries(build.ENGINE.locked).keys()


def test_a_package_whose_file_has_another_hash_is_not_installed(tmp_path: Path) -> None:
    made = tmp_path / "made_up-1-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as wheel:
        wheel.writestr("made_up-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: made-up\nVersion: 1\n")
        wheel.writestr("made_up-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("made_up-1.dist-info/RECORD", "")
    locked = tmp_path / "locked.txt"
    command = [str(part) for part in build.installation(build.ENGINE, locked)]
    command = [sys.executable, *command[1:], "--dry-run", "--no-index", "--find-links", str(tmp_path)]
    for digest, code in ((hashlib.sha256(made.read_bytes()).hexdigest(), 0), ("0" * 64, 1)):
        locked.write_text(f"made-up==1 --hash=sha256:{digest}\n")
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == code, result.stderr
    assert "DO NOT MATCH THE HASHES" in result.stderr


def test_what_cuda_needs_is_kept_apart_and_other_systems_are_left_out() -> None:
    text = (
        "numpy==2 \\\n    --hash=sha256:aa\ntorch==2.13.0 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
        "nvidia-x==1 ; sys_platform == 'linux' \\\n    --hash=sha256:dd\n"
        "js==1 ; sys_platform == 'emscripten' \\\n    --hash=sha256:ee\n"
    )
    entries, cuda = build.locked_entries(text)
    assert [entry.split("==")[0] for entry in entries] == ["numpy", "torch"]
    assert entries[1].count("--hash") == 2
    assert [entry.split("==")[0] for entry in cuda] == ["nvidia-x"]


def test_the_package_is_the_same_from_a_copy_at_another_place_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build.write_package(tmp_path / "first").read_bytes()
    copy = tmp_path / "a copy"
    for folder in ("cvd_blender_addon", "engine", "requirements"):
        shutil.copytree(ROOT / folder, copy / folder, copy_function=shutil.copyfile)
    for name in ("blender_manifest.toml", "LICENSE"):
        shutil.copyfile(ROOT / name, copy / name)
    for path in copy.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (0, 10**9))
    monkeypatch.setattr(build, "ROOT", copy)
    assert build.write_package(tmp_path / "second").read_bytes() == first


def run_build(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BUILD_PY), *arguments], capture_output=True, text=True, check=False)


def test_an_unknown_command_or_option_is_refused_before_anything_is_made() -> None:
    for arguments in (["bake"], ["package", "--fast"], ["env", "blender-1.0"]):
        result = run_build(*arguments)
        assert result.returncode == 2
        assert arguments[-1] in result.stderr


def test_without_a_fitting_python_the_user_is_told_what_to_install(
    bare_computer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    impossible = environment((3, 99))
    monkeypatch.setattr(build, "ENVIRONMENTS", {"made-up": impossible})
    assert build.main(["env", "made-up"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: The environment made-up cannot be made.")
    assert "fix: Install Python 3.99" in message


def commands_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str, missing: str = "") -> dict[str, list[str]]:
    """Leg -> what `test` runs for it, where nothing is really run and one Blender has no Python."""
    commands: dict[str, list[str]] = {}

    def ensure(environment: build.Environment) -> Path:
        if environment.name == missing:
            raise build.MissingPythonError("a", "b", "c")
        return Path(environment.name)

    def run(command: list[object], *_: object) -> int:
        words = [str(word) for word in command]
        commands[words[0]] = words
        (tmp_path / "tests").mkdir(exist_ok=True)
        case = f'<testcase classname="tests.x" name="of {words[0]}" time="{len(commands)}.5"/>'
        (tmp_path / "tests" / f"{words[0]}.xml").write_text(f"<testsuites><testsuite>{case}</testsuite></testsuites>")
        return 0

    monkeypatch.setattr(build, "ensure", ensure)
    monkeypatch.setattr(build, "run", run)
    monkeypatch.setattr(build, "TESTS", tmp_path / "tests")
    monkeypatch.setattr(build, "lint_quietly", lambda _python: (True, "fine"))
    monkeypatch.chdir(tmp_path)
    assert build.main(["test", *arguments]) == 0
    return commands


def test_one_blender_runs_all_tests_and_the_others_what_depends_on_the_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = commands_of(monkeypatch, tmp_path, "-k", "name")
    assert list(commands) == ["engine", "blender-5.0", "blender-5.2", "blender-4.5"]
    some = [name for name, words in commands.items() if "every_blender" in words]
    assert some == ["blender-5.2", "blender-4.5"]
    assert all(words[-2:] == ["-k", "name"] for words in commands.values())
    said = capsys.readouterr().out
    assert said.index("4.5 s  blender-4.5  tests.x::of blender-4.5") < said.index("1.5 s  engine")
    without = commands_of(monkeypatch, tmp_path, missing="blender-5.0")
    assert "every_blender" not in without["blender-5.2"] and "every_blender" in without["blender-4.5"]
    assert "blender-5.0: skipped (no Python 3.11" in capsys.readouterr().out
    every = commands_of(monkeypatch, tmp_path, "--all")
    assert not [word for words in every.values() for word in words if word in ("every_blender", "--all")]


def test_lint_fails_the_run_also_where_all_tests_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "ensure", lambda environment: Path(environment.name))
    monkeypatch.setattr(build, "run", lambda *_: 0)
    monkeypatch.setattr(build, "TESTS", tmp_path)
    monkeypatch.setattr(build, "lint_quietly", lambda _python: (False, "E501 Line too long"))
    monkeypatch.chdir(tmp_path)
    assert build.main(["test"]) == 1
    said = capsys.readouterr().out
    assert "E501 Line too long" in said and "lint: failed" in said
