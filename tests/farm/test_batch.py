"""A batch goes through its shots whatever becomes of any of them, and running it again does no more than is left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine import cli
from engine.batch.queue import PASSING, Batch
from engine.batch.report import write_batch_report
from engine.batch.shots import read_shots
from engine.errors import Cancelled, WorkspaceError
from engine.poses.child import _ended
from engine.workspace import FolderLock

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def report(path):
    return write_batch_report(read_shots(path), path.parent / "report")


def states(path):
    return {entry["name"]: entry["state"] for entry in report(path)["shots"]}


def tried(path, name):
    return int((path.parent / "solves" / f"{name}.solve" / "tried").read_text())


@posix
def test_a_failure_stops_no_other_shot_and_only_what_may_pass_is_tried_again(make_list, run) -> None:
    path = make_list("bad", "ok", "memory", "killed")
    outcomes, said = run(path)
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        "bad": "failed", "ok": "done", "memory": "done", "killed": "done",
    }  # fmt: skip
    assert [tried(path, name) for name in ("bad", "ok", "memory", "killed")] == [1, 1, 2, 3]
    assert "bad: error: It failed.\n  why: It had to <b>.\n  fix: Nothing helps." in said
    assert "killed: error: The engine ended before its time (signal 9)" in said
    assert "words of a library" not in said


@posix
def test_after_its_retries_a_shot_has_failed(make_list, run) -> None:
    path = make_list("killed")
    outcomes, _ = run(path, retries=1)
    assert outcomes["killed"].error["code"] == "batch.died"
    assert outcomes["killed"].may_pass
    assert tried(path, "killed") == 2
    entry = report(path)["shots"][0]
    assert (entry["state"], len(entry["attempts"])) == ("failed", 2)


def test_running_again_does_what_is_left(make_list, run) -> None:
    path = make_list("ok", "bad")
    run(path)
    _, said = run(path)
    assert "ok: already done" in said
    assert (tried(path, "ok"), tried(path, "bad")) == (1, 2)


@pytest.mark.parametrize("what", ["footage", "request", "result", "removed"])
def test_what_has_changed_is_solved_again_and_never_reported_as_done(make_list, run, what) -> None:
    path = make_list("ok")
    solve = path.parent / "solves" / "ok.solve"
    run(path)
    assert states(path) == {"ok": "done"}
    if what == "footage":
        (path.parent / "plates" / "ok.mp4").write_bytes(b"another")
    elif what == "request":
        path.write_text(path.read_text().replace('"output"', '"seed": 1, "output"'))
    elif what == "result":
        solved = json.loads((solve / "solve.json").read_text())
        solved["engine"]["solve_key"] = "another's"
        (solve / "solve.json").write_text(json.dumps(solved))
    else:
        (solve / "solve.json").unlink()
    expected = {"footage": "changed", "request": "changed"}.get(what, "failed")
    assert states(path) == {"ok": expected}
    run(path)
    assert states(path) == {"ok": "done"}
    assert tried(path, "ok") == 2


def test_another_frame_of_a_sequence_is_a_change(make_list, run) -> None:
    path = make_list("ok")
    plates = path.parent / "plates"
    path.write_text(path.read_text().replace("ok.mp4", "ok_1001.png"))
    for number in (1001, 1002):
        (plates / f"ok_{number}.png").write_bytes(b"a")
    run(path)
    assert states(path) == {"ok": "done"}
    (plates / "ok_1003.png").write_bytes(b"a")
    assert states(path) == {"ok": "changed"}


def test_the_list_may_be_reached_by_another_path(make_list, run) -> None:
    path = make_list("ok", "bad")
    run(path)
    moved = shutil.move(path.parent, path.parent.with_name("mounted elsewhere"))
    assert states(Path(moved) / "shots.json") == {"ok": "done", "bad": "failed"}


def test_several_at_a_time_share_the_processors(make_list, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = [f"ok_{number}" for number in range(5)]
    path = make_list(*names)
    outcomes, _ = run(path, parallel=3)
    assert {name: outcome.state for name, outcome in outcomes.items()} == dict.fromkeys(names, "done")
    used = {(path.parent / "solves" / f"{name}.solve" / "threads").read_text() for name in names}
    assert used == {str(max(1, (os.cpu_count() or 1) // 3))}


# -- stages on different machines --


def test_groups_of_stages_go_on_only_with_what_an_earlier_group_brought_through(make_list, run) -> None:
    path = make_list("ok", "bad")
    outcomes, _ = run(path, until="motion", task=True)
    assert {name: outcome.state for name, outcome in outcomes.items()} == {"ok": "stopped", "bad": "failed"}
    assert states(path) == {"ok": "stopped", "bad": "failed"}
    outcomes, said = run(path, task=True)
    assert {name: outcome.state for name, outcome in outcomes.items()} == {"ok": "done", "bad": "failed"}
    assert "bad: has failed before the stage motion was done" in said
    assert (tried(path, "ok"), tried(path, "bad")) == (2, 1)
    run(path, until="motion", task=True)
    assert (tried(path, "ok"), tried(path, "bad")) == (2, 2), "the first group tries what failed again"
    assert states(path) == {"ok": "done", "bad": "failed"}


@posix
def test_a_task_whose_error_may_pass_is_tried_again_by_the_same_group(make_list, run) -> None:
    path = make_list("killed")
    run(path, until="motion", task=True, retries=0)
    run(path, task=True, retries=0)
    assert tried(path, "killed") == 2, "it was no fault of the clip"


def test_a_shot_that_another_machine_solves_stays_that_machines(make_list, run) -> None:
    path = make_list("locked", "ok")
    run(path)
    assert states(path) == {"locked": "not_started", "ok": "done"}
    outcomes, _ = run(path, retries=0)
    assert outcomes["locked"].may_pass


def test_a_shot_that_another_machine_has_solved_meanwhile_is_not_begun_again(make_list, run, fake_engine) -> None:
    path = make_list("late", "ok")
    shots = read_shots(path)
    other = Batch(path.parent / "report", say=lambda _: None, engine=fake_engine)
    said = []

    def say(line):
        said.append(line)
        if "is tried again" in line:  # now the other machine, which had the lock, comes to its end
            other.run(shots[:1])

    batch = Batch(path.parent / "report", say=say, engine=fake_engine, retry_wait_s=0.0)
    assert batch.run(shots[:1])["late"].state == "done"
    assert said[-1] == "late: already done"
    assert tried(path, "late") == 2
    (attempt,) = report(path)["shots"][0]["attempts"]
    assert attempt["end"] == "done"


def test_a_record_of_a_dead_machine_is_told_from_one_at_work(make_list, run) -> None:
    path = make_list("ok")
    run(path)
    record = path.parent / "report" / "shots" / "ok.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "running"}))
    assert states(path) == {"ok": "interrupted"}
    lock = FolderLock(path.parent / "solves" / "ok.solve" / "lock")
    lock.acquire()
    assert states(path) == {"ok": "running"}
    lock.release()
    assert states(path) == {"ok": "interrupted"}


def test_a_damaged_record_is_none(make_list, run) -> None:
    path = make_list("ok")
    run(path)
    (path.parent / "report" / "shots" / "ok.json").write_text("{")
    assert states(path) == {"ok": "not_started"}
    run(path)
    assert states(path) == {"ok": "done"}


# -- stopping --


class Interrupter(threading.Thread):
    """Stops a batch as soon as the fake engine is at work."""

    def __init__(self, sign, stop):
        super().__init__(daemon=True)
        self.sign, self.stop, self.ended = sign, stop, threading.Event()

    def run(self):
        while not self.sign.exists() and not self.ended.wait(0.01):
            pass
        self.stop()


@posix
@pytest.mark.parametrize("how", ["call", "signal"])
def test_a_stopped_batch_leaves_no_engine_and_goes_on_later(make_list, fake_engine, how) -> None:
    path = make_list("ok", "slow", "later")
    sign = path.parent / "solves" / "slow.solve" / "slow"
    batch = Batch(path.parent / "report", say=lambda _: None, engine=fake_engine)
    stop = batch.cancel if how == "call" else lambda: os.kill(os.getpid(), signal.SIGTERM)
    interrupter = Interrupter(sign, stop)
    interrupter.start()
    with pytest.raises(Cancelled):
        batch.run(read_shots(path))
    interrupter.ended.set()
    assert batch._running == {}
    assert states(path) == {"ok": "done", "slow": "cancelled", "later": "not_started"}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_report_folder_that_cannot_be_written_is_told_in_three_parts(make_list, run) -> None:
    path = make_list("ok")
    (path.parent / "report").write_text("a file is in the way")
    with pytest.raises(WorkspaceError):
        run(path)


def test_an_output_that_is_a_file_fails_that_shot_alone(make_list, run) -> None:
    path = make_list("ok", "ok_2")
    (path.parent / "solves").mkdir()
    (path.parent / "solves" / "ok.solve").write_text("a file is in the way")
    outcomes, _ = run(path, retries=0)
    assert outcomes["ok"].error["code"] == "workspace.io"
    assert outcomes["ok_2"].state == "done"


# -- the report --


def test_the_report_says_of_each_shot_what_became_of_it(make_list, fake_engine) -> None:
    path = make_list("ok", "bad", "later")
    shots = read_shots(path)
    Batch(path.parent / "report", say=lambda _: None, engine=fake_engine).run(shots[:2])
    document = report(path)
    assert document == json.loads((path.parent / "report" / "report.json").read_text())
    assert document["counts"] == {"done": 1, "failed": 1, "not_started": 1}
    done, failed, later = document["shots"]
    assert (done["verdict"], done["warnings"], done["cpu_s"]) == ("Solved.", ["soft"], 5.0)
    assert done["frames"] == {"all": 2, "with_camera": 1}
    assert done["report"] == "../solves/ok.solve/report.html"
    assert failed["error"]["code"] == "poses.no_model"
    assert (later["state"], later["attempts"], later["error"]) == ("not_started", [], None)
    page = (path.parent / "report" / "report.html").read_text(encoding="utf-8")
    assert "3 shots: 1 done, 1 failed, 1 not started" in page
    assert "href='../solves/ok.solve/report.html'" in page
    for words in ("Solved.", "Warning: soft", "It failed.", "Why: It had to &lt;b&gt;.", "What to do: Nothing helps."):
        assert words in page
    assert "<b>." not in page


def test_errors_that_may_pass_are_errors_that_the_engine_has() -> None:
    source = "".join(p.read_text() for p in (Path(cli.__file__).parent).rglob("*.py") if p.name != "queue.py")
    assert {code for code in PASSING if f'"{code}"' not in source} == {"batch.died"}


# -- the real engine, where it fails at once --


def test_the_real_engine_is_asked_as_it_wants_to_be(
    make_list, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_list("ok")
    (path.parent / "plates" / "ok.mp4").unlink()
    assert cli.main(["batch", str(path), "--task"]) == 0, "trying again would not help"
    said = capfd.readouterr().out
    assert "ok: error: " in said
    assert "ok.mp4" in said
    assert cli.main(["batch-report", str(path)]) == 1
    assert "1 shot: 1 failed" in capfd.readouterr().out
    (entry,) = json.loads((path.parent / "shots.report" / "report.json").read_text())["shots"]
    assert entry["error"]["code"] == "footage.missing"
    status = json.loads((path.parent / "solves" / "ok.solve" / "status.json").read_text())
    assert status["state"] == "failed"


def test_a_wrong_list_on_the_command_line_is_told_in_three_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["batch", str(tmp_path / "none.json")]) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in ("error: ", "\n  why: ", "\n  fix: "))
    done = subprocess.run(
        [sys.executable, "-m", "engine", "batch", "a.json", "--parallel", "0"],
        capture_output=True, text=True, check=False, cwd=Path(cli.__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_what_a_clip_or_a_camera_is_at_fault_for_is_not_tried_again() -> None:
    assert not {"poses.defect", "engine.defect", "camera.lens", "camera.pose", "camera.unreadable"} & PASSING
    assert "poses.crashed" in PASSING, "by a signal, or as Windows has it"
    for code, passes in ((1, False), (2, False), (-11, True), (-9, True), (0xC0000005, True)):
        assert (_ended(code, "Its log ends.").code in PASSING) is passes, code
