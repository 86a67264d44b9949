"""The supervisor against engines that behave, and engines that do not."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from cvd_blender_addon import jobs, solve_request

FAKE = Path(__file__).parent / "fake_engine"
FAST = 0.02


@pytest.fixture
def request_(tmp_path: Path) -> dict:
    clip = tmp_path / "clip 1.mp4"
    clip.touch()
    return solve_request.make(clip, tmp_path / "a shot.solve", {"footage/first": 3, "lens/focal_px": 900.0})


def run(request: dict, mode: str, monkeypatch: pytest.MonkeyPatch) -> jobs.Job:
    monkeypatch.setenv("FAKE_ENGINE", mode)
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    return jobs.start(Path(sys.executable), FAKE, request)


def until_running(job: jobs.Job) -> jobs.Status:
    deadline = time.monotonic() + 20
    while (status := job.poll()).state == "queued" and time.monotonic() < deadline:
        pass
    assert status.state == "running", status
    return status


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.every_blender
def test_success(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run(request_, "succeed", monkeypatch)
    assert jobs.wait(job, lambda status: None, FAST).state == "done"
    assert json.loads((job.folder / "request.json").read_text()) == request_
    assert list(FAKE.rglob("__pycache__")) == []


def test_failure_is_told_as_the_engine_told_it(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    status = jobs.wait(run(request_, "fail", monkeypatch), lambda status: None, FAST)
    assert status.error == jobs.JobError("poses.none", "No camera.", "A tripod shot.", "Move it.")
    assert jobs.describe(status) == "failed: No camera. A tripod shot. Move it."


@pytest.mark.every_blender
def test_waiting_ends_well_where_blender_itself_has_set_what_ctrl_c_does(
    request_: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    real = signal.signal
    monkeypatch.setattr(signal, "signal", lambda number, handler: (real(number, handler), None)[1])
    try:
        assert jobs.wait(run(request_, "succeed", monkeypatch), lambda status: None, FAST).state == "done"
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        real(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("mode", "words"),
    [("crash", "Segmentation fault"), ("refuse", "The request is wrong"), ("garbage", "garbage written")],
)
def test_sudden_end(request_: dict, monkeypatch: pytest.MonkeyPatch, mode: str, words: str) -> None:
    status = jobs.wait(run(request_, mode, monkeypatch), lambda status: None, FAST)
    assert status.state == "failed"
    assert status.error is not None and status.error.code == "engine.crashed"
    assert words in status.error.why


def test_what_was_solved_in_part_has_ended_without_a_failure(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has solved until a stage with the command line."""
    job = run(request_, "succeed", monkeypatch)
    jobs.wait(job, lambda status: None, FAST)
    document = json.loads((job.folder / "status.json").read_text())
    message = "Stopped after the stage poses, as asked. Solve again to resume."
    (job.folder / "status.json").write_text(json.dumps({**document, "state": "stopped", "message": message}))
    status = jobs.Job(job.folder).poll()
    assert (status.state, status.final, status.error) == ("stopped", True, None)
    assert jobs.describe(status) == f"stopped: {message}"


def test_cancel(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run(request_, "obedient", monkeypatch)
    pid = until_running(job).pid
    job.cancel(grace_s=120.0)  # however busy the computer is
    status = jobs.wait(job, lambda status: None, FAST)
    assert (status.state, status.message) == ("cancelled", "stopped")
    assert job._process is not None and job._process.wait(10) == 130
    assert not alive(pid)


def test_engine_that_does_not_listen_is_ended(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run(request_, "deaf", monkeypatch)
    pid = until_running(job).pid
    job.cancel(grace_s=0.1)
    assert jobs.wait(job, lambda status: None, FAST).state == "cancelled"
    assert not alive(pid)


@pytest.mark.every_blender
def test_control_c_cancels(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run(request_, "obedient", monkeypatch)

    def interrupt(status: jobs.Status) -> None:
        if status.state == "running":
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    assert jobs.wait(job, interrupt, FAST).state == "cancelled"
    assert signal.getsignal(signal.SIGINT) is before


def test_reattach_by_folder(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    started = run(request_, "obedient", monkeypatch)
    until_running(started)
    found = jobs.Job(started.folder)
    assert found.poll().state == "running"
    found.cancel()
    assert jobs.wait(found, lambda status: None, FAST).state == "cancelled"
    assert started._process is not None and started._process.wait(10) == 130


def write_status(folder: Path, **changes: object) -> None:
    folder.mkdir(exist_ok=True)
    status = {
        "schema": "cvd.status/1",
        "state": "running",
        "stage": "flow",
        "fraction": 0.5,
        "eta_s": None,
        "message": "m",
        "pid": os.getpid(),
    }
    status |= {"started": 0.0, "updated": time.time(), "error": None} | changes
    (folder / "status.json").write_text(json.dumps(status))


def test_found_job_without_heartbeat_has_crashed(tmp_path: Path) -> None:
    write_status(tmp_path, updated=time.time() - 2 * jobs.HEARTBEAT_S)
    assert jobs.Job(tmp_path).poll().state == "failed"


def test_found_job_of_a_dead_process_has_crashed(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run(request_, "crash", monkeypatch)
    jobs.wait(job, lambda status: None, FAST)
    assert jobs.Job(job.folder).poll().state == "failed"


def test_a_process_of_an_old_status_is_not_signalled(tmp_path: Path) -> None:
    # The number may belong to somebody else by now - here, to this test.
    write_status(tmp_path, updated=time.time() - 2 * jobs.HEARTBEAT_S)
    job = jobs.Job(tmp_path)
    job.cancel(grace_s=-1.0)
    assert job.poll().state == "cancelled"


def test_second_engine_in_a_folder_is_refused(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(Path(request_["output"]))
    with pytest.raises(jobs.StartError, match="Another engine"):
        run(request_, "succeed", monkeypatch)


def test_news_of_an_earlier_run_is_not_taken_for_ours(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(Path(request_["output"]), state="done")
    (Path(request_["output"]) / "cancel").touch()
    job = run(request_, "refuse", monkeypatch)
    assert jobs.wait(job, lambda status: None, FAST).state == "failed"
    assert not (job.folder / "cancel").exists()


def test_missing_interpreter_and_engine(request_: dict, tmp_path: Path) -> None:
    with pytest.raises(jobs.StartError, match="Engine Python"):
        jobs.start(tmp_path / "python", FAKE, request_)
    with pytest.raises(jobs.StartError, match="no engine in"):
        jobs.start(Path(sys.executable), tmp_path, request_)
    assert not Path(request_["output"]).exists()


def test_folder_that_cannot_be_made(request_: dict, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    request_["output"] = str(tmp_path / "file" / "x.solve")
    with pytest.raises(jobs.StartError, match="written"):
        jobs.start(Path(sys.executable), FAKE, request_)


def test_a_folder_of_other_things_is_left_alone(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(request_["output"])
    (folder / "depth").mkdir(parents=True)
    with pytest.raises(jobs.StartError, match="not a solve folder"):
        jobs.start(Path(sys.executable), FAKE, request_)
    assert [path.name for path in folder.iterdir()] == ["depth"]
    write_status(folder, state="done")  # an earlier solve
    assert jobs.wait(run(request_, "succeed", monkeypatch), lambda status: None, FAST).state == "done"


def test_what_is_prepared_can_be_added_to_and_started(request_: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = jobs.prepare(Path(sys.executable), FAKE, request_)
    assert json.loads((folder / "request.json").read_text()) == request_
    (folder / "masks").mkdir()
    assert jobs.wait(run(request_, "succeed", monkeypatch), lambda status: None, FAST).state == "done"
    assert (folder / "masks").is_dir()


def test_durations() -> None:
    assert [jobs.duration(s) for s in (4.4, 89, 720, 3 * 3600 + 300)] == ["4 s", "89 s", "12 min", "3 h 05 min"]
