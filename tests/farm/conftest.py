"""A list of shots, and a fake engine that solves them at once."""

import json
import sys
from pathlib import Path

import pytest

from engine.batch.queue import Batch
from engine.batch.shots import read_shots


@pytest.fixture
def fake_engine():
    """The command of an engine that does at once what the footage's name says."""
    return sys.executable, str(Path(__file__).parent / "fake_engine.py")


@pytest.fixture
def make_list(tmp_path: Path):
    """`make_list("ok", "bad")` writes a list of these shots, with paths that begin at its folder."""

    def make(*names):
        folder = tmp_path / "show é 1"
        (folder / "plates").mkdir(parents=True, exist_ok=True)
        shots = []
        for name in names:
            (folder / "plates" / f"{name}.mp4").write_bytes(b"a")
            request = {"footage": {"path": f"plates/{name}.mp4"}, "output": f"solves/{name}.solve"}
            shots.append({"name": name, "request": request})
        path = folder / "shots.json"
        path.write_text(json.dumps({"schema": "cvd.shots/1", "shots": shots}))
        return path

    return make


@pytest.fixture
def run(fake_engine):
    """Solve a list with the fake engine; returns the outcomes and what was said."""

    def solve(path, **options):
        said: list[str] = []
        batch = Batch(path.parent / "report", say=said.append, engine=fake_engine, retry_wait_s=0.0, **options)
        return batch.run(read_shots(path)), "\n".join(said)

    return solve
