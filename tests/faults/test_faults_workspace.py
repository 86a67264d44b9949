"""The solve folder when the world around it misbehaves: clocks, locks, moves, full disks, killed writers."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine import files, workspace
from engine.errors import Cancelled, CvdError, WorkspaceError
from engine.workspace import Stage, open_workspace

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks and signals")


def ignore(_document):
    pass


def status(folder):
    return json.loads((folder / "status.json").read_text())


def stage_in(folder, name="poses"):
    return Stage(name, "0" * 16, 1.0, folder / "cache" / f"{name}-0")


def failure(folder, work, listener=ignore):
    with pytest.raises(CvdError) as caught, open_workspace(folder, listener) as opened:
        work(opened)
    return caught.value


def test_a_lock_file_of_a_process_that_is_gone_or_that_another_runs_under_is_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    with open_workspace(folder, ignore):
        pass
    for pid, host in ((2**22 + 1, "here"), (os.getppid(), "here"), (1, "another-host")):
        (folder / "lock").write_text(json.dumps({"pid": pid, "host": host, "started": time.time()}))
        (folder / "status.json").write_text(json.dumps({"state": "running", "pid": pid, "updated": time.time()}))
        with open_workspace(folder, ignore):
            assert json.loads((folder / "lock").read_text())["pid"] == os.getpid()
    assert (folder / "lock").read_text() == ""


def test_who_only_looks_at_the_lock_keeps_no_engine_out(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    folder.mkdir()
    code = (
        "import fcntl,sys,time;f=open(sys.argv[1],'a');fcntl.flock(f,fcntl.LOCK_SH)\n"
        "print('looking',flush=True);time.sleep(0.2)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder / "lock")], stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None
        looker.stdout.readline()
        with open_workspace(folder, ignore):
            pass


def test_a_disk_without_locks_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert failure(tmp_path / "a.solve", ignore).code == "workspace.no_locks"


def test_a_folder_that_is_moved_under_an_engine_ends_it_and_is_not_made_again(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "a.solve", tmp_path / "b.solve"

    def move(opened):
        with opened.stage(stage_in(folder)) as made:
            (made / "result").write_text("x")
            folder.rename(elsewhere)
            opened.beat()
            opened.step(1, 2, "never shown")

    error = failure(folder, move)
    assert error.code == "workspace.moved"
    assert not folder.exists()
    assert (elsewhere / "cache" / "poses-0" / "result").read_text() == "x"
    with open_workspace(elsewhere, ignore) as opened, opened.stage(stage_in(elsewhere)) as made:
        assert (made / "result").exists(), "the solve goes on where its folder is now"
    assert status(elsewhere)["state"] == "done"


def test_another_solve_in_the_place_of_a_moved_one_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"

    def replace(opened):
        folder.rename(tmp_path / "b.solve")
        with open_workspace(folder, ignore):
            pass
        opened.beat()
        opened.step(1, 2, "never shown")

    assert failure(folder, replace).code == "workspace.moved"
    assert status(folder)["state"] == "done", "the other solve's own word"


def test_a_clock_set_back_disturbs_neither_progress_nor_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a.solve"
    told: list[dict[str, Any]] = []
    clock = [time.time()]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    with open_workspace(folder, told.append) as opened:
        with opened.stage(stage_in(folder)):
            clock[0] -= 86400.0
            opened._last_write -= 1.0  # as if the interval between two writes had passed
            told.clear()
            opened.step(1, 2, "half")
            assert [d["fraction"] for d in told] == [0.5], "progress is told at once, not when the clock has caught up"
            opened._pace = workspace.Pace(time.monotonic() - 10.0, None)
            opened._last_write -= 1.0
            opened.step(1, 2, "half")
            assert opened._status["eta_s"] == pytest.approx(10.0, abs=1.0)
        assert opened.record(stage_in(folder))["cost"]["wall_s"] >= 0.0


def test_half_a_line_of_history_is_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    with open_workspace(folder, ignore):
        pass
    whole = (folder / "events.jsonl").read_text()
    (folder / "events.jsonl").write_text(whole + '{"schema": "cvd.ev')
    with open_workspace(folder, ignore):
        pass
    lines = (folder / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["solve_started", "solve_done"] * 2


def test_what_a_killed_engine_was_writing_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    with open_workspace(folder, ignore):
        (folder / "cache").mkdir()
        (folder / "cache" / ".cvd-4711-000101.npy").touch()
    with open_workspace(folder, ignore):
        assert not list(folder.rglob(".*"))


def test_a_wish_to_cancel_that_came_while_the_engine_started_is_heeded_and_an_older_one_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    with open_workspace(folder, ignore):
        pass
    (folder / "cancel").touch()
    with pytest.raises(Cancelled), open_workspace(folder, ignore) as opened:
        opened.step(1, 2, "never shown")
    (folder / "cancel").touch()
    os.utime(folder / "cancel", (0, 0))
    with open_workspace(folder, ignore) as opened:
        opened.step(1, 2, "shown")


def test_a_disk_without_room_for_one_more_file_still_hears_why_the_solve_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a.solve"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(_opened):
        monkeypatch.setattr(files, "write_atomically", full)
        full()

    assert failure(folder, fill).code == "workspace.disk_full"
    assert status(folder)["state"] == "failed"
    assert status(folder)["error"]["code"] == "workspace.disk_full"


def test_a_finished_solve_is_done_also_when_its_last_event_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a.solve"

    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_workspace(folder, ignore) as opened:
        monkeypatch.setattr(opened, "event", no_room)
    assert status(folder)["state"] == "done"


def test_a_listener_that_is_gone_does_not_end_the_solve(tmp_path: Path) -> None:
    calls = []

    def closed(document):
        calls.append(document)
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with open_workspace(tmp_path / "a.solve", closed) as opened:
        opened.metric("x", 1.0)
    assert status(tmp_path / "a.solve")["state"] == "done"
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError("Unable to allocate 8 GiB"), "engine.memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "engine.memory"),
        (RuntimeError("something else"), "engine.defect"),
    ],
)
def test_whatever_stops_a_solve_comes_out_typed(tmp_path: Path, error, code) -> None:
    def stop(_opened):
        raise error

    assert failure(tmp_path / "a.solve", stop).code == code
    assert status(tmp_path / "a.solve")["error"]["code"] == code


def test_a_folder_whose_name_is_no_text_is_refused_before_it_is_made(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9.solve")
    with pytest.raises(WorkspaceError, match="no UTF-8"), open_workspace(folder, ignore):
        pass
    assert not folder.exists()


def test_a_folder_in_which_an_engine_was_killed_at_once_can_be_solved_into(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    folder.mkdir()
    for name in ("lock", ".cvd-4711-status.json", "cancel"):
        (folder / name).touch()
    os.utime(folder / "cancel", (0, 0))
    with open_workspace(folder, ignore):
        pass
    assert status(folder)["state"] == "done"
