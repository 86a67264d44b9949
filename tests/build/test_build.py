"""build.py: which Python an environment gets, when it is made again, what the extension holds, how it fails."""

from __future__ import annotations

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
    monkeypatch.setattr(build, "REQUIREMENTS", tmp_path)
    commands: list[list[str]] = []

    def pretend(command: list[object], timeout_s: float | None = None) -> int:
        commands.append([str(part) for part in command])
        env.folder.mkdir(parents=True, exist_ok=True)
        return 0

    monkeypatch.setattr(build, "run", pretend)
    env = environment((sys.version_info[0], sys.version_info[1]))
    (tmp_path / "blender-test.txt").write_text("one==1\n")
    build.ensure(env)
    assert [command[2] for command in commands] == ["venv", "pip"]
    build.ensure(env)
    assert len(commands) == 2
    (tmp_path / "blender-test.txt").write_text("one==2\n")
    build.ensure(env)
    assert len(commands) == 4


def test_a_half_made_environment_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "VENVS", tmp_path / ".venvs")
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
        "docs/schemas/solve-1.json",
        "requirements/engine.txt",
        "requirements/priors.txt",
    }
    assert wanted <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc") or "/." in name]


def test_every_environment_names_requirements_that_are_pinned() -> None:
    for env in build.ENVIRONMENTS.values():
        for name in env.requirements:
            lines = (ROOT / "requirements" / name).read_text().splitlines()
            pins = [line for line in lines if line and not line.startswith("#")]
            assert pins
            assert all("==" in pin for pin in pins)


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
