"""Commands as processes whose output cannot hold every character: Windows' cp1252, and no locale at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
NAME = "日本 ł"
TEXTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (200, 400, 3), np.uint8), (0, 0), 2)
CP1252 = {"PYTHONIOENCODING": "cp1252"}
NO_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii"}
"""As in a container: the system's file names are UTF-8 all the same."""
encodings = pytest.mark.parametrize("encoding", [CP1252, NO_LOCALE, {"LC_ALL": "C"}], ids=["cp1252", "ascii", "C"])


def run(*arguments: str | Path, encoding: dict[str, str], cwd: Path = ROOT) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    environment = {**clean, "PYTHONPATH": str(ROOT), **encoding}
    command = [sys.executable, "-m", "engine", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, timeout=300, check=False)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / NAME
    folder.mkdir()
    for number in range(1, 5):
        picture = cv2.imencode(".png", TEXTURE[20:140, 8 * number : 8 * number + 240])[1]
        (folder / f"板_{number:04d}.png").write_bytes(picture.tobytes())
    return folder


@encodings
def test_a_solve_ends_with_its_own_exit_code(clip: Path, encoding: dict[str, str]) -> None:
    out = clip / "出.solve"
    words = ("solve", clip, "--out", out, "--preset", "preview")
    done = run(*words, "--until", "masks", encoding=encoding)
    assert done.returncode == 0, done.stderr
    lines = run(*words, "--until", "footage", "--json", encoding=encoding).stdout.splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines) and lines
    assert json.loads((out / "request.json").read_text(encoding="utf-8"))["output"] == str(out)
    missing = run("solve", clip / "無.mp4", encoding=encoding)
    assert missing.returncode == 1 and b"There is no footage" in missing.stderr and b"defect" not in missing.stderr


@encodings
def test_what_is_printed_at_the_end_of_a_solve(clip: Path, encoding: dict[str, str]) -> None:
    """The last lines name the folder. They are those of a finished solve, whichever way it was finished."""
    out = clip / "出.solve"
    code = f"""
import json, sys
from pathlib import Path
import engine.pipeline
def solve(request, listener, until):
    request.output.mkdir()
    (request.output / "solve.json").write_text(json.dumps({{"quality": {{"verdict": "Fertig: ł"}}}}), encoding="utf-8")
    return request.output
engine.pipeline.solve = solve
import runpy
sys.argv = ["engine", "solve", {str(clip)!r}, "--out", {str(out)!r}]
runpy.run_module("engine", run_name="__main__", alter_sys=True)
"""
    script = clip / "run.py"
    script.write_text(code, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, script],
        env={**clean, "PYTHONPATH": str(ROOT), **encoding},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Fertig: " in done.stdout and b"Solve folder: " in done.stdout


@encodings
def test_a_batch_and_its_report(clip: Path, encoding: dict[str, str]) -> None:
    shots = [{"name": "Szene", "request": {"footage": {"path": NAME}, "output": "出.solve", "preset": "preview"}}]
    listed = clip.parent / "表.json"
    listed.write_text(json.dumps({"schema": "cvd.shots/1", "shots": shots}), encoding="utf-8")
    done = run("batch", listed, "--until", "footage", "--retries", "0", encoding=encoding)
    assert done.returncode == 0, done.stderr + done.stdout
    assert b"1 shot: 1 stopped" in done.stdout
    assert run("batch-report", listed, encoding=encoding).returncode == 1  # it is not solved yet


@encodings
def test_doctor_and_help(encoding: dict[str, str]) -> None:
    assert b"numpy" in run("doctor", encoding=encoding).stdout
    assert run("solve", "--help", encoding=encoding).returncode == 0
    assert isinstance(json.loads(run("doctor", "--json", encoding=encoding).stdout), dict)


@pytest.mark.parametrize("script", ["build.py", "scripts/list_licences.py", "scripts/demo_figures.py"])
def test_scripts_print_names_of_files(script: str, tmp_path: Path) -> None:
    """Their output is set up before anything is printed."""
    code = f"""
import sys, runpy, atexit
atexit.register(lambda: print("日本"))
sys.argv = [{script!r}, "--help"]
runpy.run_path({str(ROOT / script)!r}, run_name="__main__")
"""
    (tmp_path / "run.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "run.py"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"\\u65e5\\u672c" in done.stdout, done.stderr
