"""Shots one after another, with a stand-in for the engine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cvd_blender_addon import jobs, shot_queue, solve_request
from cvd_blender_addon.jobs import Job, StartError, Status
from cvd_blender_addon.shot_queue import Queue, Shot

FAKE = Path(__file__).parent / "fake_engine"
PYTHON = Path(sys.executable)


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a solve folder with its request."""

    def make(name: str) -> Path:
        clip = tmp_path / f"{name}.mp4"
        clip.touch()
        folder = tmp_path / f"{name}.solve"
        return jobs.prepare(PYTHON, FAKE, solve_request.make(clip, folder))

    return make


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue.json", {})


def step_until(queue: Queue, over: Callable[[], bool]) -> list[dict[Path, Status]]:
    seen = []
    deadline = time.monotonic() + 60
    while not over():
        assert time.monotonic() < deadline, queue.shots
        seen.append(queue.step(PYTHON, FAKE))
    return seen


def states(queue: Queue) -> list[tuple[str, str]]:
    return [(shot.folder.name, shot.state) for shot in queue.shots]


def test_two_blenders_do_not_start_the_same_shot(
    queue: Queue, ask: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.add(ask("a"))
    queue.add(ask("b"))
    queue.start()
    monkeypatch.setattr(shot_queue, "TURN_S", 0.0)
    other, started = Queue(queue._path, {}), []

    def start(folder: Path, *_: object) -> Job:
        started.append(folder.name)
        assert other.step(PYTHON, FAKE) == {}  # in the very moment in which the first one starts a shot
        with pytest.raises(StartError, match="Another Blender is changing it"):
            other.move(folder, 1)
        return Job(folder)

    monkeypatch.setattr(shot_queue, "_start", start)
    queue.step(PYTHON, FAKE)
    assert started == ["a.solve"]
    other.load()
    assert states(other) == [("a.solve", "running"), ("b.solve", "waiting")]


def test_one_after_another_to_the_end(
    queue: Queue, ask: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    a, b = ask("a"), ask("b")
    queue.add(a)
    queue.add(b)
    assert queue.step(PYTHON, FAKE) == {} and not queue.busy  # nobody has started it
    queue.start()
    for news in step_until(queue, lambda: not queue.busy):
        assert sum(not status.final for status in news.values()) <= 1  # never two at once
    assert states(queue) == [("a.solve", "done"), ("b.solve", "done")]
    assert not queue.active
    assert json.loads((b / "status.json").read_text())["state"] == "done"


def test_a_failure_says_why_and_the_next_goes_on(
    queue: Queue, ask: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "fail")
    for name in ("a", "b"):
        queue.add(ask(name))
    queue.start()
    step_until(queue, lambda: not queue.busy)
    assert [shot.state for shot in queue.shots] == ["failed", "failed"]
    assert "Move it." in queue.shots[0].message
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    queue.add(queue.shots[0].folder)  # again, in its old place
    queue.start()
    step_until(queue, lambda: not queue.busy)
    assert states(queue) == [("a.solve", "done"), ("b.solve", "failed")]


def test_what_cannot_start_fails_alone(
    queue: Queue, ask: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    gone = ask("gone")
    queue.add(gone)
    queue.add(ask("b"))
    (gone / "request.json").write_text("[]")
    queue.start()
    step_until(queue, lambda: not queue.busy)
    assert [shot.state for shot in queue.shots] == ["failed", "done"]
    assert "add it again" in queue.shots[0].message
    queue.add(queue.shots[1].folder)
    queue.start()
    queue.step(None, FAKE)
    assert queue.shots[1].state == "failed" and "preferences" in queue.shots[1].message


def test_order_and_removal(queue: Queue, tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    for folder in (a, b, c):
        queue.add(folder)
    queue.move(c, -1)
    assert [shot.folder for shot in queue.shots] == [a, c, b]
    queue.move(a, -1)
    queue.move(b, 1)
    assert [shot.folder for shot in queue.shots] == [a, c, b]
    queue.move(a, 1)
    queue.remove(b)
    queue.remove(b)
    assert [shot.folder for shot in queue.shots] == [c, a]


def test_another_blender_finds_queue_and_shot_again(
    queue: Queue, ask: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "locking")
    queue.add(ask("a"))
    queue.add(ask("b"))
    queue.start()
    step_until(queue, lambda: Job(queue.shots[0].folder).poll().state == "running")
    again = Queue(tmp_path / "queue.json", {})
    assert again.busy and again.active
    assert states(again) == [("a.solve", "running"), ("b.solve", "waiting")]
    news = again.step(PYTHON, FAKE)
    assert {folder.name: status.state for folder, status in news.items()} == {"a.solve": "running"}
    assert [shot.state for shot in again.shots] == ["running", "waiting"]  # not a second engine
    queue.stop()
    for job in queue._running.values():
        job.cancel(grace_s=0.0)  # this engine does not listen
    step_until(queue, lambda: not queue.busy)
    assert states(queue) == [("a.solve", "waiting"), ("b.solve", "waiting")]  # it goes on from there later


def test_cancelling_one_shot_lets_the_next_begin(
    queue: Queue, ask: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "obedient")
    a, b = ask("a"), ask("b")
    queue.add(a)
    queue.add(b)
    queue.start()
    step_until(queue, lambda: queue._running.get(a, Job(a)).poll().state == "running")
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    queue._running[a].cancel(grace_s=60.0)
    step_until(queue, lambda: not queue.busy)
    assert states(queue) == [("a.solve", "cancelled"), ("b.solve", "done")]


def test_removing_the_shot_that_runs_cancels_it(
    queue: Queue, ask: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "obedient")
    a = ask("a")
    queue.add(a)
    queue.start()
    step_until(queue, lambda: queue._running.get(a, Job(a)).poll().state == "running")
    queue.remove(a)
    status = jobs.wait(queue._running[a], lambda status: None, 0.02)
    assert status.state == "cancelled" and queue.shots == []


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"active": true, "shots": 3}', '{"active": true, "shots": [3, {"folder": 1}]}', "\x00"]
)
def test_a_damaged_file_is_an_empty_queue(tmp_path: Path, content: str) -> None:
    (tmp_path / "queue.json").write_text(content)
    queue = Queue(tmp_path / "queue.json", {})
    assert queue.shots == []
    assert queue.step(PYTHON, FAKE) == {} and not queue.busy
    queue.add(tmp_path / "a")
    assert Queue(tmp_path / "queue.json", {}).shots == [Shot(tmp_path / "a")]


def test_a_queue_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "no such folder" / "queue.json", {})
    with pytest.raises(jobs.StartError, match="The queue was not changed"):
        queue.add(tmp_path / "a")
