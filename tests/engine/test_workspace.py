"""The solve folder while an engine works in it."""

import errno
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine.errors import Cancelled, CvdError, PoseError, Stopped, WorkspaceError
from engine.schemas import schema
from engine.workspace import Pace, Stage, explain, explain_os_error, open_workspace, stage_key


def ignore(_document):
    pass


def status(folder):
    document = json.loads((folder / "status.json").read_text())
    jsonschema.validate(document, schema("status-1"))
    return document


def events(folder):
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for line in lines:
        jsonschema.validate(line, schema("event-1"))
    return lines


def stage_in(folder, name="poses", weight=1.0):
    return Stage(name, "0" * 16, weight, folder / "cache" / f"{name}-0")


def test_a_stage_leaves_its_results_its_cost_and_its_events(tmp_path: Path) -> None:
    with open_workspace(tmp_path / "a.solve", ignore) as workspace:
        stage = stage_in(workspace.root)
        with workspace.stage(stage) as folder:
            (folder / "result").write_text("x")
            workspace.warning("soft focus", [3])
        assert stage.is_done
    record = workspace.record(stage)
    assert record["warnings"] == ["soft focus"]
    assert record["cost"]["peak_memory_mb"] > 1
    assert [e["type"] for e in events(tmp_path / "a.solve")] == [
        "solve_started", "stage_started", "warning", "stage_done", "solve_done",
    ]  # fmt: skip
    assert status(tmp_path / "a.solve")["state"] == "done"


def test_a_stage_that_fails_is_not_done_and_keeps_its_checkpoints(tmp_path: Path) -> None:
    stage = stage_in(tmp_path / "a.solve")
    opened = open_workspace(tmp_path / "a.solve", ignore)
    with pytest.raises(PoseError), opened as workspace, workspace.stage(stage) as folder:
        (folder / "checkpoint").write_text("half way")
        raise PoseError("poses.no_model", "No cameras.", "No texture.", "Shoot again.")
    assert not stage.is_done
    assert (stage.folder / "checkpoint").read_text() == "half way"
    assert status(tmp_path / "a.solve")["error"] == {
        "code": "poses.no_model", "what": "No cameras.", "why": "No texture.", "fix": "Shoot again.",
    }  # fmt: skip


def test_a_reused_stage_repeats_its_warnings(tmp_path: Path) -> None:
    with open_workspace(tmp_path / "a.solve", ignore) as workspace:
        stage = stage_in(workspace.root)
        with workspace.stage(stage):
            workspace.warning("soft focus")
    with open_workspace(tmp_path / "a.solve", ignore) as workspace:
        workspace.reuse(stage)
        assert workspace.warnings == ["soft focus"]


def test_progress_counts_only_the_stages_that_are_not_in_the_cache(tmp_path: Path) -> None:
    with open_workspace(tmp_path / "a.solve", ignore) as workspace:
        first, second = stage_in(workspace.root, "footage", 9.0), stage_in(workspace.root, "poses", 1.0)
        with workspace.stage(first):
            pass
    with open_workspace(tmp_path / "a.solve", ignore) as workspace:
        workspace.plan([first, second])
        workspace.reuse(first)
        with workspace.stage(second):
            workspace.step(1, 2, "half")
            workspace.beat()
            assert status(workspace.root)["fraction"] == pytest.approx(0.5)
            assert [(s["name"], s["state"], s["fraction"]) for s in status(workspace.root)["stages"]] == [
                ("footage", "done", 1.0), ("poses", "running", 0.5),
            ]  # fmt: skip


def test_the_cancel_file_stops_the_next_step(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    with pytest.raises(Cancelled), open_workspace(folder, ignore) as workspace, workspace.stage(stage_in(folder)):
        (folder / "cancel").touch()
        workspace.beat()
        workspace.step(1, 2, "never shown")
    assert status(folder)["state"] == "cancelled"
    assert not (folder / "cancel").exists(), "a cancel that was obeyed must not stop the next solve"


def test_a_second_engine_is_kept_out_and_a_dead_one_is_not_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    code = (
        "import sys,pathlib;from engine.workspace import open_workspace\n"
        "with open_workspace(pathlib.Path(sys.argv[1]), lambda d: None):\n"
        "    print('open', flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    with pytest.raises(WorkspaceError) as caught, open_workspace(folder, ignore):
        pass
    assert caught.value.code == "workspace.locked"
    assert str(child.pid) in caught.value.why
    child.kill()
    child.communicate()
    with open_workspace(folder, ignore):
        pass


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / "holiday.jpg").touch()
    with pytest.raises(WorkspaceError) as caught, open_workspace(tmp_path, ignore):
        pass
    assert caught.value.code == "workspace.not_a_solve_folder"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["depth", "holiday.jpg"]


def test_a_file_in_the_place_of_the_folder_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "a.solve").write_text("not a folder")
    with pytest.raises(WorkspaceError), open_workspace(tmp_path / "a.solve", ignore):
        pass


def test_a_full_disk_is_named_and_a_finished_result_stays(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    with open_workspace(folder, ignore):
        (folder / "solve.json").write_text("{}")
    opened = open_workspace(folder, ignore)
    with pytest.raises(WorkspaceError) as caught, opened as workspace, workspace.stage(stage_in(folder)):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.code == "workspace.disk_full"
    assert status(folder)["error"]["code"] == "workspace.disk_full"
    assert (folder / "solve.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "disk_full"), (errno.EACCES, "not_writable"), (errno.EROFS, "not_writable"), (errno.EIO, "io")],
)
def test_what_the_file_system_says_gets_its_own_advice(tmp_path: Path, number, code) -> None:
    error = explain_os_error(OSError(number, "said the kernel"), tmp_path)
    assert error.code == f"workspace.{code}"
    assert "said the kernel" in error.why


def test_a_defect_is_reported_as_one(tmp_path: Path) -> None:
    with pytest.raises(CvdError, match="ZeroDivisionError"), open_workspace(tmp_path / "a.solve", ignore):
        _ = 1 / 0
    assert status(tmp_path / "a.solve")["error"]["code"] == "engine.defect"
    assert "ZeroDivisionError" in (tmp_path / "a.solve" / "engine.log").read_text()


def test_the_heart_beats_while_a_stage_is_silent(tmp_path: Path) -> None:
    beats: list[dict[str, Any]] = []
    with open_workspace(tmp_path / "a.solve", beats.append), subprocess.Popen(["sleep", "1.5"]) as silent_work:
        began = time.time()
        silent_work.wait()
    assert any(d["schema"] == "cvd.status/1" and d["updated"] > began for d in beats)


def test_the_listener_is_never_called_by_two_threads_at_once(tmp_path: Path) -> None:
    inside, overlaps = [0], []

    def listen(_document):
        inside[0] += 1
        overlaps.append(inside[0])
        threading.Event().wait(0.002)  # long enough for another thread to come in
        inside[0] -= 1

    with open_workspace(tmp_path / "a.solve", listen) as workspace:

        def beat():
            for _ in range(10):
                workspace.beat()

        threads = [threading.Thread(target=beat) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(20):
            workspace.metric("x", number)
        for thread in threads:
            thread.join()
    assert max(overlaps) == 1


def test_stage_keys_differ_by_everything_that_matters() -> None:
    keys = {
        stage_key("poses", 1, {"seed": 0}, ["a"]),
        stage_key("poses", 1, {"seed": 1}, ["a"]),
        stage_key("poses", 1, {"seed": 0}, ["b"]),
        stage_key("poses", 2, {"seed": 0}, ["a"]),
        stage_key("flow", 1, {"seed": 0}, ["a"]),
    }
    assert len(keys) == 5
    assert stage_key("poses", 1, {"b": 1, "a": 2}, []) == stage_key("poses", 1, {"a": 2, "b": 1}, [])


def test_errors_have_three_parts() -> None:
    error = CvdError("a.b", "What.", "Why.", "Fix.")
    assert str(error) == "What. Why. Fix."


def test_the_pace_follows_what_is_expected_at_first_and_what_is_measured_in_the_end() -> None:
    """A solve of 100 s whose first two percent take ten, as starting programs does."""
    pace = Pace(0.0, 100.0)
    pace.reached(0.02, 10.0)
    left = pace.left(10.0)
    assert left is not None and 80.0 < left < 200.0, "ten seconds for two percent do not make 490 more"
    slow = Pace(0.0, 10.0)
    for second in range(1, 91):
        slow.reached(second / 100.0, float(second))
    assert slow.left(90.0) == pytest.approx(10.0, abs=3.0), "what was expected counts no more"


def test_the_end_does_not_jump_and_what_is_overdue_has_no_figure() -> None:
    pace = Pace(0.0, None)
    for second in range(1, 11):
        pace.reached(0.05 * second, float(second))
    before = pace.left(10.0)
    pace.reached(0.9, 10.5)
    after = pace.left(10.5)
    assert before is not None and after is not None
    assert abs(after - (before - 0.5)) < 2.0
    assert pace.left(60.0) is None


def test_a_stage_that_was_asked_for_ends_as_stopped_and_nothing_is_whole_before_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "a.solve"
    with pytest.raises(Stopped), open_workspace(folder, ignore) as workspace:
        stage = stage_in(folder)
        workspace.plan([stage], seconds_per_weight=10.0)
        with workspace.stage(stage):
            workspace.step(1, 1, "nearly")
            workspace.beat()
            assert status(folder)["fraction"] < 0.995, "100 % is said of what has ended"
        raise Stopped("footage")
    ended = status(folder)
    assert (ended["state"], ended["error"], ended["eta_s"]) == ("stopped", None, None)
    assert "after the stage footage" in ended["message"]
    assert events(folder)[-1]["type"] == "solve_stopped"


@pytest.mark.parametrize(
    ("code", "words", "becomes"),
    [
        ("poses.crashed", "Segmentation fault", "poses.crashed"),
        ("poses.defect", "ZeroDivisionError: float division by zero", "poses.defect"),
        ("poses.defect", "numpy._core._exceptions._ArrayMemoryError: Unable to allocate", "engine.memory"),
        ("poses.defect", "terminate called after throwing std::bad_alloc", "engine.memory"),
        ("poses.defect", "sqlite3: database or disk is full", "workspace.disk_full"),
    ],
)
def test_how_the_solving_process_ended_is_told_apart(tmp_path: Path, code, words, becomes) -> None:
    assert explain(PoseError(code, "The camera solver stopped.", words, "Report it."), tmp_path).code == becomes
