"""The job template says what the command line understands, and played step by step it comes to one report."""

import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine import cli
from engine.batch.queue import Batch
from engine.request import STAGES

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "farm" / "openjd"
OPENJD = shutil.which("openjd")
yaml = pytest.importorskip("yaml")
TEMPLATE = yaml.safe_load((FOLDER / "template.yaml").read_text(encoding="utf-8"))


def parameters(path, shots):
    given = {
        "ShotList": str(path), "Shots": shots, "Report": str(path.parent / "report"),
        "EngineFolder": str(ROOT), "EnginePython": sys.executable,
    }  # fmt: skip
    defaults = {p["name"]: str(p["default"]) for p in TEMPLATE["parameterDefinitions"] if "default" in p}
    assert {p["name"] for p in TEMPLATE["parameterDefinitions"]} == given.keys() | defaults.keys()
    return defaults | given


def filled(text, values):
    return re.sub(r"{{\s*([\w.]+)\s*}}", lambda match: values[match[1]], text)


def commands(path, shots):
    """(step, arguments of `python -m engine`) of every task, in order; only ranges such as 1-3."""
    values = {f"Param.{name}": value for name, value in parameters(path, shots).items()}
    for step in TEMPLATE["steps"]:
        run = step["script"]["actions"]["onRun"]
        numbers: Iterable[int | None] = [None]
        if "parameterSpace" in step:
            (shot,) = step["parameterSpace"]["taskParameterDefinitions"]
            first, last = filled(shot["range"], values).split("-")
            numbers = range(int(first), int(last) + 1)
        assert filled(run["command"], values) == sys.executable
        for number in numbers:
            module, engine, *arguments = (
                filled(str(word), values | {"Task.Param.Shot": str(number)}) for word in run["args"]
            )
            assert (module, engine) == ("-m", "engine")
            yield step["name"], arguments


def test_the_steps_follow_one_another_and_end_with_the_report() -> None:
    names = [step["name"] for step in TEMPLATE["steps"]]
    assert names[-1] == "Report"
    for before, step in zip(TEMPLATE["steps"], TEMPLATE["steps"][1:], strict=False):
        assert step["dependencies"] == [{"dependsOn": before["name"]}]


def test_each_task_is_a_command_that_the_engine_knows(tmp_path: Path) -> None:
    until = {}
    for step, arguments in commands(tmp_path / "shots.json", "1-2"):
        options = cli._parser().parse_args(arguments)
        assert options.list == tmp_path / "shots.json"
        assert options.report == tmp_path / "report"
        if step != "Report":
            assert options.task
            until[step] = STAGES.index(options.until)
    assert list(until.values()) == sorted(set(until.values())), "each group goes further than the one before"
    assert max(until.values()) == len(STAGES) - 1
    (preset,) = (p for p in TEMPLATE["parameterDefinitions"] if p["name"] == "Preset")
    for word in preset["allowedValues"]:
        cli._parser().parse_args(["batch", "shots.json", "--preset", word])


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_played_twice_it_solves_each_shot_once_and_writes_one_report(
    make_list, fake_engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_list("ok", "bad", "memory")
    monkeypatch.setattr(cli, "Batch", functools.partial(Batch, engine=fake_engine, retry_wait_s=0.0))

    def play():
        return [cli.main(arguments) for _, arguments in commands(path, "1-3")]

    def tried(name):
        return int((path.parent / "solves" / f"{name}.solve" / "tried").read_text())

    assert play() == [0] * 9 + [1], "only the report fails, since one shot has"
    document = json.loads((path.parent / "report" / "report.json").read_text())
    assert [entry["state"] for entry in document["shots"]] == ["done", "failed", "done"]
    assert document["shots"][1]["error"]["code"] == "poses.no_model"
    before = tried("ok"), tried("bad"), tried("memory")
    assert before == (3, 1, 4), "a group of stages each, and once more for want of memory"
    assert play()[-1] == 1
    assert (tried("ok"), tried("bad"), tried("memory")) == (3, 2, 4)
    assert "3 shots: 2 done, 1 failed" in capsys.readouterr().out


def test_the_report_of_some_shots_does_not_fail_for_others(
    make_list, fake_engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_list("ok", "bad")
    monkeypatch.setattr(cli, "Batch", functools.partial(Batch, engine=fake_engine))
    assert [cli.main(arguments) for _, arguments in commands(path, "1-1")][-1] == 0
    document = json.loads((path.parent / "report" / "report.json").read_text())
    assert document["counts"] == {"done": 1, "not_started": 1}


@pytest.mark.skipif(OPENJD is None, reason="needs requirements/farm.txt")
def test_openjd_runs_it(make_list) -> None:
    path = make_list("ok")
    shutil.rmtree(path.parent / "plates")  # so that the real engine has little to do
    checked = subprocess.run([str(OPENJD), "check", str(FOLDER / "template.yaml")], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout
    given = [word for name, value in parameters(path, "1").items() for word in ("-p", f"{name}={value}")]
    command = [str(OPENJD), "run", str(FOLDER / "template.yaml"), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1 shot: 1 failed" in done.stdout, done.stdout + done.stderr
    assert done.returncode != 0
    (entry,) = json.loads((path.parent / "report" / "report.json").read_text())["shots"]
    assert entry["error"]["code"] == "footage.missing"
    assert len(entry["attempts"]) == 1, "later groups of stages left it alone"
