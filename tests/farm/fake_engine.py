"""Stands in for `python -m engine solve REQUEST --until STAGE --json`: does at once what the footage's name says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

request = json.loads(Path(sys.argv[2]).read_text())
until = sys.argv[sys.argv.index("--until") + 1]
out = Path(request["output"])
kind = Path(request["footage"]["path"]).stem.split("_")[0]
tried = out / "tried"
times = int(tried.read_text()) + 1 if tried.exists() else 1
tried.write_text(str(times))
(out / "threads").write_text(os.environ.get("OMP_NUM_THREADS", "all"))


def say(**document):
    print(json.dumps(document), flush=True)


def status(state, error=None, fraction=0.5):
    say(schema="cvd.status/1", state=state, stage=None, fraction=fraction, error=error)


def fail(code):
    error = {"code": code, "what": "It failed.", "why": "It had to <b>.", "fix": "Nothing helps."}
    status("failed", error)
    say(schema="cvd.event/1", type="solve_failed", data=error)
    sys.exit(1)


print("words of a library")
if kind == "locked" or (kind == "late" and times == 1):
    say(schema="cvd.event/1", type="solve_failed", data={"code": "workspace.locked", "what": "", "why": "", "fix": ""})
    sys.exit(1)
status("running")
say(schema="cvd.event/1", type="stage_started", stage="footage", data={})
if kind == "bad":
    fail("poses.no_model")
if kind == "memory" and times == 1:
    fail("engine.memory")
if kind == "killed" and times <= 2:
    os.kill(os.getpid(), signal.SIGKILL)
if kind == "slow":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    (out / "slow").touch()
    while True:
        time.sleep(0.01)
if until != "export":
    sys.exit(0)
say(schema="cvd.event/1", type="warning", stage="poses", data={"message": "soft"})
result = {
    "quality": {"verdict": "Solved.", "warnings": ["soft"]},
    "frames": [{"registered": True}, {"registered": False}],
    "engine": {"solve_key": f"key of {out.name}", "stages": {"poses": {"cpu_s": 2.0}, "depth": {"cpu_s": 3.0}}},
}
(out / "solve.json").write_text(json.dumps(result))
status("done", fraction=1.0)
