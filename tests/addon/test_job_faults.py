"""The supervisor against engines that hang, flood, babble and die, and against what others leave in the folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvd_blender_addon import jobs
from tests.addon.test_jobs import FAKE, FAST, alive, request_, run, until_running, write_status

__all__ = ["request_"]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks and signals")


def ended(job: jobs.Job) -> jobs.Status:
    return jobs.wait(job, lambda status: None, FAST)


def test_a_flood_of_output_does_not_fill_the_disk(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LOG_BYTES", 100_000)
    job = run(request_, "flood", monkeypatch)
    until_running(job)
    log, flooded, bounded = job.folder / jobs.LOG_NAME, 0, 0
    while bounded < 3:
        if log.stat().st_size > 200_000:
            flooded += 1
            job.poll()
            bounded += log.stat().st_size < 200_000 or log.stat().st_blocks * 512 < 10**7
    assert flooded
    assert len(job.log_tail()) < jobs.LOG_TAIL_BYTES * 2
    job.cancel()
    assert ended(job).state == "cancelled"


def test_rubbish_becomes_a_failure_with_words_that_a_label_can_show(
    request_: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = ended(run(request_, "rubbish", monkeypatch))
    assert status.state == "failed" and status.error is not None
    assert "last words" in status.error.why
    assert all(c.isprintable() or c == "\n" for c in jobs.describe(status))


def test_an_engine_that_ignores_cancel_leaves_no_process_and_is_told_as_cancelled_ever_after(
    request_: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = run(request_, "locking", monkeypatch)
    pid = until_running(job).pid
    found = jobs.Job(job.folder)  # Blender has crashed and was started again
    assert found.poll().state == "running"
    found.cancel(grace_s=0.05)
    assert job._process is not None
    while alive(pid) and found.poll().state == "running":
        job._process.poll()
    assert ended(found).state == "cancelled"
    assert job._process.wait(10) == -signal.SIGKILL
    assert jobs.Job(job.folder).poll().state == "cancelled", "and Blender was started once more"


def test_a_killed_engine_is_told_at_once_also_by_who_did_not_start_it(
    request_: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = run(request_, "locking", monkeypatch)
    until_running(job)
    assert job._process is not None
    os.kill(job._process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, job._process.pid, os.WEXITED | os.WNOWAIT)  # a zombie still has its number
    assert jobs.Job(job.folder).poll().state == "failed"
    assert job.poll().state == "failed"


def test_another_process_of_the_same_number_is_neither_an_engine_nor_signalled(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent:
        write_status(tmp_path, pid=innocent.pid)
        entry = {"pid": innocent.pid, "host": os.uname().nodename, "started": 0.0}
        (tmp_path / "lock").write_text(json.dumps(entry))
        job = jobs.Job(tmp_path)
        assert job.poll().state == "failed"
        job.cancel(grace_s=-1.0)
        job.poll()
        assert innocent.poll() is None
        innocent.kill()


def test_an_engine_on_another_computer_is_asked_by_file_and_not_given_up(
    request_: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = run(request_, "locking", monkeypatch)
    until_running(job)
    lock = job.folder / "lock"
    lock.write_text(lock.read_text().replace(os.uname().nodename, "render-17"))
    found = jobs.Job(job.folder)
    found.cancel(grace_s=-1.0)
    assert found.poll().state == "running"
    assert (job.folder / "cancel").exists()
    job.cancel(grace_s=-1.0)
    assert ended(job).state == "cancelled"


@pytest.mark.parametrize("hours", [-48, 48])
def test_a_clock_that_was_set_makes_no_engine_dead(request_: dict, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    job = run(request_, "locking", monkeypatch)
    until_running(job)
    now = time.time
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: now() + 3600.0 * hours)
        assert jobs.Job(job.folder).poll().state == "running"
        assert job.poll().state == "running"
    job.cancel(grace_s=-1.0)
    assert ended(job).state == "cancelled"


def test_an_engine_that_hangs_is_named_and_can_be_ended(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run(request_, "locking", monkeypatch)
    until_running(job)
    assert job._process is not None
    os.kill(job._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(jobs, "HEARTBEAT_S", 0.0)
    job.poll()
    assert "no sign of life" in job.poll().message
    job.cancel(grace_s=-1.0)
    assert ended(job).state == "cancelled"


def test_who_finds_a_solve_that_is_only_just_starting_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps(jobs._status("queued", "starting the engine")))
    assert jobs.Job(tmp_path).poll().state == "queued"
    (tmp_path / "lock").touch()
    assert jobs.Job(tmp_path).poll().state == "queued"
    (tmp_path / "status.json").write_text(
        json.dumps(jobs._status("queued", "starting the engine") | {"updated": time.time() - 3600.0})
    )
    assert jobs.Job(tmp_path).poll().state == "failed"


def test_the_first_status_follows_the_schema() -> None:
    schema = json.loads((Path(__file__).parents[2] / "engine/schemas/status-1.json").read_text())
    assert set(jobs._status("queued", "starting the engine")) == set(schema["required"])
    assert jobs._status("queued", "starting the engine")["state"] in schema["properties"]["state"]["enum"]


@pytest.mark.parametrize(
    "change",
    [
        {"fraction": float("nan")},
        {"eta_s": float("inf")},
        {"eta_s": -5},
        {"updated": "yesterday"},
        {"pid": -1},
        {"pid": 10**30},
        {"message": "\x00\x1b[2J" + "x" * 10**6},
        {"stage": ["poses"]},
        {"state": "failed", "error": ["a", "list"]},
        {"state": "failed", "error": {"what": {"not": "text"}}},
    ],
)
def test_whatever_the_status_says_the_panel_can_show_it(tmp_path: Path, change: dict) -> None:
    write_status(tmp_path, **({"pid": 2**22 + 1} | change))  # no process has that number
    job = jobs.Job(tmp_path)
    status = job.poll()
    assert 0.0 <= status.fraction <= 1.0
    assert jobs.describe(status).isprintable()
    assert status.eta_s is None or jobs.duration(status.eta_s)
    job.cancel(grace_s=-1.0)
    job.poll()


@pytest.mark.parametrize("text", ["", "[]", "7", "null", "{}", "[" * 50_000, '{"state": "running"}'])
def test_a_status_that_is_none_counts_as_missing(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    assert jobs.Job(tmp_path).poll().state == "failed"


def test_a_folder_in_which_an_engine_was_killed_at_once_can_be_solved_into(
    request_: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(request_["output"])
    folder.mkdir()
    for name in ("lock", "cancel"):
        (folder / name).touch()
    assert ended(run(request_, "succeed", monkeypatch)).state == "done"


def test_an_engine_that_ended_before_its_first_word_can_be_started_again_at_once(
    request_: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ended(run(request_, "refuse", monkeypatch)).state == "failed"
    assert ended(run(request_, "succeed", monkeypatch)).state == "done"


def test_an_engine_that_could_not_be_started_at_all_is_not_waited_for(
    request_: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "python").touch()  # nothing that can be run
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    for _ in range(2):
        with pytest.raises(jobs.StartError) as caught:
            jobs.start(tmp_path / "python", FAKE, request_)
        assert caught.value.error.code == "engine.start"
