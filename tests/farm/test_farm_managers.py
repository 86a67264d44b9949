"""What is sent to OpenCue and Flamenco are commands that the engine knows, in the order that they need."""

import argparse
import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from engine import cli
from engine.request import STAGES

FARM = Path(__file__).resolve().parents[2] / "farm"
LIST, REPORT = "/a share/shots.json", "/a share/report"
NODE = shutil.which("node")


def check(words):
    """The last stage of a command, None for the report."""
    options = cli._parser().parse_args(words)
    assert (options.list, options.report) == (Path(LIST), Path(REPORT))
    if options.command is cli._batch_report:
        return None
    assert options.task
    return options.until


class Layer:
    def __init__(self, name, command, range=None, chunk=None):
        self.name, self.words, self.range, self.before = name, command, range, []

    def depend_on(self, other, kind):
        self.before.append((other.name, kind))


class Outline:
    def __init__(self, name, **_):
        self.layers = []

    def add_layer(self, layer):
        self.layers.append(layer)


def test_opencue(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes: dict[str, Any] = {
        name: types.ModuleType(name) for name in ("outline", "outline.cuerun", "outline.depend", "outline.modules")
    }
    fakes["outline.modules.shell"] = types.SimpleNamespace(Shell=Layer, ShellCommand=Layer)
    fakes["outline.depend"].DependType = types.SimpleNamespace(FrameByFrame="frame", LayerOnLayer="layer")
    fakes["outline"].Outline = Outline
    for name, module in fakes.items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("solve_shots", FARM / "opencue" / "solve_shots.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = argparse.Namespace(
        list=LIST, shots="1-3", report=REPORT, engine_folder="/an engine", engine_python="/a python",
        preset="preview", show="show", shot="all",
    )  # fmt: skip
    layers = module.make_job(options).layers
    until = []
    for layer in layers:
        words = shlex.split(" ".join(layer.words).replace("#IFRAME#", "2"), comments=False)
        assert words[:5] == ["env", "PYTHONPATH=/an engine", "/a python", "-m", "engine"]
        until.append(check(words[5:]))
    assert until == ["motion", "depth", STAGES[-1], None]
    assert [layer.range for layer in layers] == ["1-3", "1-3", "1-3", None]
    assert [layer.before for layer in layers] == [
        [], [("cameras", "frame")], [("depth", "frame")], [("export", "layer")],
    ]  # fmt: skip


HARNESS = """
const fs = require("fs"), vm = require("vm"), made = [];
class Task {
    constructor(name) { this.name = name; this.commands = []; this.before = []; }
    addCommand(command) { this.commands.push(command); }
    addDependency(task) { this.before.push(task.name); }
}
const author = { Task: (name, type) => new Task(name), Command: (kind, given) => ({ kind, ...given }) };
const job = { settings: JSON.parse(process.argv[2]), addTask: (task) => made.push(task) };
const world = vm.createContext({ author, job });
vm.runInContext(fs.readFileSync(process.argv[1], "utf8") + "\\ncompileJob(job)", world);
console.log(JSON.stringify(made));
"""


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_flamenco() -> None:
    settings = {
        "shot_list": LIST, "shots": 2, "report": REPORT, "engine_folder": str(FARM.parent),
        "engine_python": "{cvd_python}", "preset": "preview",
    }  # fmt: skip
    script = FARM / "flamenco" / "solve_shots.js"
    command = [str(NODE), "-e", HARNESS, str(script), json.dumps(settings)]
    tasks = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {task["name"]: task["before"] for task in tasks} == {
        "cameras-1": [], "depth-1": ["cameras-1"], "export-1": ["depth-1"],
        "cameras-2": [], "depth-2": ["cameras-2"], "export-2": ["depth-2"],
        "report": ["export-1", "export-2"],
    }  # fmt: skip
    until = []
    for task in tasks:
        (sent,) = task["commands"]
        assert (sent["kind"], sent["exe"]) == ("exec", "{cvd_python}")
        until.append(check(sent["args"][3:]))
    assert until == ["motion", "depth", STAGES[-1]] * 2 + [None]
    started = [sys.executable, *sent["args"][:3], "--help"]
    shown = subprocess.run(started, capture_output=True, text=True, check=True, cwd="/").stdout
    assert "batch-report" in shown
