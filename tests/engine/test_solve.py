"""The whole engine as its user runs it: a command, on the first frames of the bundled clip."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from engine.evaluation.compare import evaluate
from engine.schemas import schema

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample"
STAGES = ["footage", "masks", "poses", "flow", "motion", "prior", "scale", "evidence", "depth", "export"]


def command(out, *options):
    return [
        sys.executable, "-m", "engine", "solve", str(SAMPLE / "room.mp4"), "--out", str(out), "--json",
        "--first", "4", "--step", "4", "--preset", "preview", *options,
    ]  # fmt: skip


def solve(out, *options):
    done = subprocess.run(command(out, *options), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def stages(documents, kind):
    return [document["stage"] for document in documents if document.get("type") == kind]


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("a folder with spaces") / "room.solve"
    return out, solve(out)


@pytest.mark.slow
def test_a_clip_becomes_a_solve_folder(solved) -> None:
    out, documents = solved
    document = json.loads((out / "solve.json").read_text())
    jsonschema.validate(document, schema("solve-1"))
    jsonschema.validate(json.loads((out / "status.json").read_text()), schema("status-1"))
    jsonschema.validate(json.loads((out / "request.json").read_text()), schema("request-1"))
    assert [frame["frame"] for frame in document["frames"]] == list(range(4, 49, 4))
    assert stages(documents, "stage_done") == STAGES
    assert set(document["engine"]["stages"]) == set(STAGES)
    fractions = [d["fraction"] for d in documents if d["schema"] == "cvd.status/1"]
    assert fractions == sorted(fractions), "progress never goes back"
    assert fractions[-1] == 1.0
    for name in ("points.ply", "depth.mp4", "report.html", "depth/000044.exr", "confidence/000044.exr"):
        assert (out / name).stat().st_size > 0


@pytest.mark.slow
def test_the_solve_is_close_to_the_truth(solved) -> None:
    figures = evaluate(solved[0], SAMPLE)
    assert figures["ate_pct"] < 1.0
    assert figures["rot_max_deg"] < 0.2
    assert figures["focal_err_pct"] < 3.0
    assert figures["absrel"] < 0.06
    assert figures["scale_gap_pct"] < 3.0
    assert figures["reproj_px"] < 1.0


@pytest.mark.slow
def test_solving_again_takes_everything_from_the_cache(solved) -> None:
    out, _ = solved
    depth = (out / "depth" / "000044.exr").read_bytes()
    assert stages(solve(out), "stage_reused") == STAGES
    assert (out / "depth" / "000044.exr").read_bytes() == depth


@pytest.mark.slow
def test_a_killed_solve_goes_on_and_comes_to_the_same_result(solved, tmp_path: Path) -> None:
    out, _ = solved
    other = tmp_path / "killed.solve"
    shutil.copytree(out, other)
    for stage in ("depth", "export"):
        shutil.rmtree(next(other.glob(f"cache/{stage}-*")))
    (other / "solve.json").unlink()
    with subprocess.Popen(command(other), cwd=ROOT, stdout=subprocess.PIPE, text=True) as engine:
        for line in engine.stdout or ():
            if '"depth: depth of frame' in line:
                engine.send_signal(signal.SIGKILL)
                break
    assert engine.wait() == -signal.SIGKILL
    assert json.loads((other / "status.json").read_text())["state"] == "running", "nobody was there to say otherwise"
    assert not (other / "solve.json").exists()
    assert stages(solve(other), "stage_reused") == STAGES[:8]
    for name in ("000004", "000044"):
        assert (other / "depth" / f"{name}.exr").read_bytes() == (out / "depth" / f"{name}.exr").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_cancel_stops_soon_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "cancelled.solve"
    with subprocess.Popen(command(out), cwd=ROOT, stdout=subprocess.PIPE, text=True) as engine:
        for line in engine.stdout or ():
            if '"poses: ' in line:
                engine.send_signal(signal.SIGTERM)
                break
        engine.communicate(timeout=60)
    assert engine.returncode == 130
    assert json.loads((out / "status.json").read_text())["state"] == "cancelled"
    assert not (out / "solve.json").exists()
    assert list(out.glob("cache/footage-*/stage.json")), "what was finished is kept"
