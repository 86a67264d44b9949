"""`pip install .`: the engine whole, with its schemas and weights, the command `cvd`, and nothing else."""

from __future__ import annotations

import configparser
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import build
import engine

ROOT = Path(__file__).resolve().parents[2]


def make_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed (requirements/test.txt)")
    return make_wheel(tmp_path_factory.mktemp("wheel"))


def info(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (found,) = (each for each in archive.namelist() if each.endswith(f".dist-info/{name}"))
        return archive.read(found).decode("utf-8")


def test_the_wheel_holds_the_engine_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        for name in names:
            assert archive.read(name) == (ROOT / name).read_bytes(), name
    assert names == {path.relative_to(ROOT).as_posix() for path in build.source_files(ROOT / "engine")}
    assert "engine/schemas/request-1.json" in names
    assert [name for name in names if name.endswith(".safetensors")]


def test_it_is_the_same_twice(wheel: Path, tmp_path: Path) -> None:
    assert make_wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_its_command_is_what_python_m_engine_runs(wheel: Path) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(info(wheel, "entry_points.txt"))
    assert dict(entries["console_scripts"]) == {"cvd": "engine.__main__:main"}
    from engine import __main__

    assert callable(__main__.main)


def pins(lines: list[str]) -> set[str]:
    """Requirements as they compare: names in lower case, without extras."""
    wanted = (line.split(";")[0].strip() for line in lines if line and not line.startswith("#"))
    return {line.lower().replace("_", "-") for line in wanted}


def test_it_needs_what_requirements_say(wheel: Path) -> None:
    needed = Parser().parsestr(info(wheel, "METADATA"))
    wanted = {
        name: pins((ROOT / "requirements" / name).read_text().splitlines()) for name in ("engine.txt", "priors.txt")
    }
    found = needed.get_all("Requires-Dist") or []
    assert pins([each for each in found if "extra" not in each]) == wanted["engine.txt"]
    assert pins([each for each in found if "extra" in each]) == wanted["priors.txt"]
    assert needed["Version"] == engine.__version__
    assert needed["Requires-Python"] == ">=3.11"


def test_there_is_one_version() -> None:
    """It is engine/__init__.py's; the manifest has to repeat it, the changelog to name it."""
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert manifest["version"] == engine.__version__, "blender_manifest.toml"
    assert "version" in project["project"]["dynamic"] and project["tool"]["hatch"]["version"] == {
        "path": "engine/__init__.py"
    }
    released = re.findall(r"^## \[(\d[\d.]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[0] == engine.__version__, "CHANGELOG.md"
    assert released == sorted(released, key=lambda text: [int(part) for part in text.split(".")], reverse=True)


def test_what_builds_it_is_pinned_as_for_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["build-system"]["requires"]) <= pins(
        (ROOT / "requirements" / "test.txt").read_text().splitlines()
    )
