"""The engine killed, and its disk filled, at every write of every stage; then the solve is started again.

Each case begins with a copy of the folder as it was when its stage began, with the finished result of an earlier solve
in it. After the fault that result and all finished stages must be whole, the status must tell the truth and no process
be left; after starting again the stage must leave the bytes that an undisturbed run leaves.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest
import torch
import torch._dynamo  # else each process that trains imports it, which takes longer than the training

from engine.depth import training
from engine.depth.settings import PRESETS, DepthSettings
from engine.errors import Cancelled, CvdError
from engine.files import is_temporary
from engine.pipeline import run as pipeline
from engine.request import FootageRequest, Request
from engine.solve_folder import RESULTS
from engine.workspace import Workspace
from tests.faults.inject import VARIABLE, Fault

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("footage", "masks", "poses", "flow", "motion", "prior", "scale", "evidence", "depth", "export")
SETTINGS = replace(PRESETS["preview"], long_side=128, measured_side=128, views=2, photometric_steps=0.0, fit_steps=2.0,
                   pair_steps=0.0, min_steps=0, batch_pairs=1)  # fmt: skip
EARLIER = replace(SETTINGS, views=4, fit_steps=0.0)
MAY_DIFFER = re.compile(r"(.*/)?(stage\.json|.*\.log|log.*|.*\.db.*|key|pairs\.txt|.*\.done)")
"""Costs, logs, and databases, which hold the time at which they were written."""


class StopHereError(BaseException):
    """The stage in question is done; nothing of the engine catches this."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "done", "killed", the code of a typed error or a traceback, and how many writes were counted."""

    end: str
    writes: int = 0


@dataclass(frozen=True)
class Case:
    """A fault and what was wrong after it, which is nothing unless something was lost."""

    row: str
    name: str
    wrong: tuple[str, ...]


class Arena:
    """A folder in which a tiny clip is solved again and again."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self.folder = folder
        self.clip = tiny_clip(folder / "clip")
        self.solve = folder / "a.solve"
        self._began = folder / "began"  # copies of the solve folder, as it was when a stage began
        self._done: dict[str, dict[str, str]] = {}
        self.known: set[tuple[str, str]] = set()  # (row, name) of cases that need not be tried again
        self.only = ""  # tried are rows that hold this

    def prepare(self) -> None:
        """Solve once with other settings, whose result stays, then stage by stage, and remember each."""
        self._expect("done", self.run(settings=EARLIER))
        shutil.rmtree(self.solve / "cache")
        self._result = self._tree(self.solve, *RESULTS, "solve.json")
        for stage in STAGES:
            shutil.copytree(self.solve, self._began / stage)
            self._expect("done", self.run(stop_after=stage))
            self._done[stage] = self._stage_tree(stage)
            if stage != "export":
                assert self._result_kept(), f"{stage} touched the earlier result"

    def skips(self, row: str, name: str = "") -> bool:
        """A case, or without a name all of a row, is not to be tried."""
        return (row, name) in self.known or self.only not in row

    def _expect(self, end: str, outcome: Outcome) -> Outcome:
        if outcome.end != end:
            raise AssertionError(f"expected {end}, not {outcome.end}")
        return outcome

    def run(
        self,
        settings: DepthSettings = SETTINGS,
        stop_after: str | None = None,
        fault: Fault | None = None,
        worker: str | None = None,
        before: Callable[[], object] = lambda: None,
        **wanted: Any,
    ) -> Outcome:
        """Solve in a process of its own, which leaves nothing behind in this one.

        Args:
            settings: of the dense stages.
            stop_after: end as soon as this stage is done.
            fault: strikes once `stop_after` has begun.
            worker: the fault of the pose worker, as `inject.from_environment` reads it.
            before: called in that process before the solve.
            wanted: further fields of the request.
        """
        said, counted = self.folder / "said", self.folder / "counted"
        for path in (said, counted):
            path.unlink(missing_ok=True)
        process = os.fork()
        if process == 0:
            self._child(settings, stop_after, fault, worker, before, wanted, said, counted)
        _, status = os.waitpid(process, 0)
        writes = int(counted.read_text()) if counted.exists() else 0
        if os.WIFSIGNALED(status):
            killed = os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGALRM)
            return Outcome("killed" if killed else f"signal {os.WTERMSIG(status)}", writes)
        return Outcome(said.read_text(), writes)

    def _child(
        self,
        settings: DepthSettings,
        stop_after: str | None,
        fault: Fault | None,
        worker: str | None,
        before: Callable[[], object],
        wanted: dict[str, Any],
        said: Path,
        counted: Path,
    ) -> None:
        end = "done"
        try:
            sys.stderr = sys.stdout = (self.folder / "printed").open("a")
            training.CHECKPOINT_EVERY = 8  # so that one is written in the middle of these few steps
            if worker is not None:
                os.environ[VARIABLE] = worker
                os.environ["PYTHONPATH"] = str(Path(__file__).parent / "worker")
            if fault is not None:
                fault.armed = stop_after is None
                fault.install()
            before()

            def listen(document: dict[str, Any]) -> None:
                if document.get("stage") == stop_after and document.get("type") == "stage_started" and fault:
                    fault.armed = True
                if document.get("stage") == stop_after != "export" and document.get("type") == "stage_done":
                    raise StopHereError

            request = Request(FootageRequest(self.clip), self.solve, **wanted)
            pipeline.solve(request, listen, settings)
        except StopHereError:
            pass
        except Cancelled:
            end = "cancelled"
        except CvdError as error:
            end = error.code
        except BaseException:
            end = traceback.format_exc()
        if fault is not None:
            fault.armed = False
            counted.write_text(str(fault.count))
        said.write_text(end)
        os._exit(0)

    def at(self, stage: str) -> None:
        """Put the folder back to where `stage` begins."""
        shutil.rmtree(self.solve, ignore_errors=True)
        shutil.copytree(self._began / stage, self.solve)

    # -- what must hold --

    def check_after(self, stage: str, outcome: Outcome, expected: str) -> Iterator[str]:
        """What is wrong after a fault in a stage, in words."""
        if outcome.end != expected:
            yield f"ended with {outcome.end}, not {expected}"
        if not self._result_kept():
            yield "the earlier result is damaged"
        for earlier in STAGES[: STAGES.index(stage)]:
            if self._stage_tree(earlier) != self._done[earlier]:
                yield f"the finished stage {earlier} is damaged"
        if self._locked():
            yield "the folder stays locked"
        yield from self._status_lies(expected)
        yield from self._orphans()

    def check_resumed(self, stage: str, outcome: Outcome) -> Iterator[str]:
        """What is wrong after the solve was started again until the end of a stage."""
        if outcome.end != "done":
            yield f"starting again ended with {outcome.end}"
            return
        found, expected = self._stage_tree(stage), self._done[stage]
        if found != expected:
            names = sorted(n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n))
            yield f"other bytes than undisturbed: {', '.join(names[:4])}"
        left = [p.name for p in self.solve.rglob("*") if is_temporary(p.name)]
        if left:
            yield f"left behind: {', '.join(left[:4])}"
        lines = (self.solve / "events.jsonl").read_text().splitlines()
        if not all(isinstance(json.loads(line), dict) for line in lines):
            yield "the history is damaged"

    def _result_kept(self) -> bool:
        """The earlier result is whole, or the new one is and takes its place when the solve is started again."""
        now = self._tree(self.solve, *RESULTS, "solve.json")
        return now == self._result or (self.solve / "unfinished" / "solve.json").is_file() or self._new_in_place()

    def _new_in_place(self) -> bool:
        return "export" in self._done and self._stage_tree("export") == self._done["export"]

    def _status_lies(self, expected: str) -> Iterator[str]:
        path = self.solve / "status.json"
        status = json.loads(path.read_text()) if path.exists() else {}
        if expected == "killed":
            if status.get("state") == "failed":
                yield "the status speaks of a failure that nobody saw"
        elif expected != "done" and (status.get("state"), (status.get("error") or {}).get("code")) != (
            "failed",
            expected,
        ):
            yield f"the status says {status.get('state')} {status.get('error')}"

    def _orphans(self) -> Iterator[str]:
        until = time.monotonic() + 5.0
        while time.monotonic() < until:
            mine = [p for p in psutil.process_iter(["cmdline"]) if str(self.solve) in " ".join(p.info["cmdline"] or [])]
            mine = [p for p in mine if p.pid != os.getpid()]
            if not mine:
                return
            time.sleep(0.05)
        yield f"still running: {mine}"

    def _locked(self) -> bool:
        lock = self.solve / "lock"
        if not lock.exists():
            return False
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _stage_tree(self, stage: str) -> dict[str, str]:
        if stage == "export":
            tree = self._tree(self.solve, *RESULTS)
            tree.pop("report.html", None)  # says how long it took
            return tree | {"solve.json": self._without_costs()}
        folders = sorted(f"cache/{p.name}" for p in (self.solve / "cache").glob(f"{stage}-*"))
        return self._tree(self.solve, *folders)

    def _without_costs(self) -> str:
        path = self.solve / "solve.json"
        if not path.is_file():
            return ""
        document = json.loads(path.read_text())
        document["engine"].pop("stages")
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    @staticmethod
    def _tree(root: Path, *names: str) -> dict[str, str]:
        """Path -> hash of every file below these names."""
        found = {}
        for name in names:
            for path in [root / name, *sorted((root / name).rglob("*"))]:
                relative = path.relative_to(root).as_posix()
                if path.is_file() and not MAY_DIFFER.fullmatch(relative):
                    found[relative] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def tiny_clip(folder: Path) -> Path:
    """Six frames of the bundled clip, 320 pixels wide: the smallest that solves."""
    folder.mkdir()
    capture = cv2.VideoCapture(str(ROOT / "sample" / "room.mp4"))
    for number in range(1, 25):
        frame = capture.read()[1]
        if number % 4 == 0:
            small = cv2.resize(frame, (320, 320 * frame.shape[0] // frame.shape[1]), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / f"plate_{number // 4:04d}.png"), small)
    return folder


def at_every_write(arena: Arena, kind: str, stages: tuple[str, ...], every: int, first: int = 1) -> Iterator[Case]:
    """A fault at every `every`-th write of these stages."""
    expected = {"kill": "killed", "full": "workspace.disk_full"}[kind]
    for stage in stages:
        row = f"{kind} at a write: {stage}"
        if arena.skips(row):
            continue
        arena.at(stage)
        writes = arena.run(stop_after=stage, fault=Fault(str(arena.solve))).writes
        for number in range(min(first, writes), writes + 1, every):
            name = f"write {number} of {writes}"
            if arena.skips(row, name):
                continue
            arena.at(stage)
            outcome = arena.run(stop_after=stage, fault=Fault(str(arena.solve), kind, number))
            end = expected
            if kind == "full" and outcome.end == "done":
                end = "done"  # nothing but a rename or a removal was left, which take no room
            if outcome.end == "done" and outcome.writes < number:
                end = "done"  # the status is written by the clock: a faster run has fewer writes
            wrong = list(arena.check_after(stage, outcome, end))
            if outcome.end != "done":
                wrong += arena.check_resumed(stage, arena.run(stop_after=stage))
            yield Case(row, name, tuple(wrong))


def in_the_worker(arena: Arena, kind: str, every: int, first: int = 1) -> Iterator[Case]:
    """The same in the process that solves the cameras."""
    report, row = arena.folder / "worker-writes", f"{kind} at a write: pose worker"
    if arena.skips(row):
        return
    arena.at("poses")
    arena.run(stop_after="poses", worker=f"none:0:{report}:{arena.solve}")
    writes = int(report.read_text())
    for number in range(min(first, writes), writes + 1, every):
        name = f"write {number} of {writes}"
        if arena.skips(row, name):
            continue
        arena.at("poses")
        outcome = arena.run(stop_after="poses", worker=f"{kind}:{number}::{arena.solve}")
        known = ("poses.crashed", "poses.defect", "workspace.disk_full", "done")
        end = outcome.end if outcome.end in known else "poses.crashed"
        wrong = list(arena.check_after("poses", outcome, end))
        if outcome.end != "done":
            wrong += arena.check_resumed("poses", arena.run(stop_after="poses"))
        yield Case(row, name, tuple(wrong))


def at_any_time(arena: Arena, seconds: tuple[float, ...]) -> Iterator[Case]:
    """The engine killed at some time after its start: also within native code."""
    for stage in STAGES:
        for delay in seconds:
            if arena.skips("kill at any time", f"{stage} after {delay} s"):
                continue
            arena.at(stage)

            def later(delay: float = delay) -> None:
                signal.setitimer(signal.ITIMER_REAL, delay)  # nobody handles the alarm, so it kills at once

            outcome = arena.run(stop_after=stage, before=later)
            wrong = list(arena.check_after(stage, outcome, "killed")) if outcome.end == "killed" else []
            wrong += arena.check_resumed(stage, arena.run(stop_after=stage))
            yield Case("kill at any time", f"{stage} after {delay} s", tuple(wrong))


def real_disk(arena: Arena, sizes_mb: tuple[float, ...]) -> Iterator[Case]:
    """A disk that is really full, at sizes at which different stages fill it; nothing where none can be mounted."""
    for size in sizes_mb:
        if arena.skips("a disk that is really full", f"{size} MB"):
            continue
        shutil.rmtree(arena.solve, ignore_errors=True)
        arena.solve.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={int(size * 1024)}k", "none", str(arena.solve)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return

        def trust() -> None:
            # It would say so before any work. The process ends with this patch.
            pytest.MonkeyPatch().setattr(pipeline, "_require_space", lambda *_: None)

        try:
            outcome = arena.run(before=trust)
            status = json.loads((arena.solve / "status.json").read_text())
            wrong = []
            if outcome.end not in ("workspace.disk_full", "done"):
                wrong.append(f"ended with {outcome.end}")
            if (status["error"] or {}).get("code", "done") != outcome.end:
                wrong.append(f"the status says {status['state']} {status['error']}")
            if outcome.end != "done" and (arena.solve / "solve.json").exists():
                wrong.append("a solve.json without a solve")
            shutil.copytree(arena.solve, arena.folder / "larger")
            subprocess.run(["umount", str(arena.solve)], check=True)
            arena.solve.rmdir()
            (arena.folder / "larger").rename(arena.solve)
            wrong += arena.check_resumed("export", arena.run(before=trust))
            yield Case("a disk that is really full", f"{size} MB", tuple(wrong))
        finally:
            subprocess.run(["umount", str(arena.solve)], capture_output=True, check=False)


class SmallGpu(torch.overrides.TorchFunctionMode):
    """Stands in for a GPU on a computer that has none: what is to be on CUDA is on the CPU, or does not fit.

    Args:
        fits: asked at every allocation on CUDA.
    """

    def __init__(self, fits: Callable[[], bool]) -> None:
        super().__init__()
        self._fits = fits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See PyTorch."""
        kwargs = dict(kwargs or {})
        if any(_is_cuda(value) for value in (*args, *kwargs.values())):
            if not self._fits():
                raise torch.OutOfMemoryError("CUDA out of memory. (A stand-in.)")
            args = tuple(torch.device("cpu") if _is_cuda(value) else value for value in args)
            kwargs = {name: torch.device("cpu") if _is_cuda(value) else value for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _is_cuda(value: object) -> bool:
    return isinstance(value, torch.device) and value.type == "cuda"


def too_small_a_gpu(arena: Arena) -> Iterator[Case]:
    """Stages whose work does not fit into the GPU's memory: in smaller pieces it does, or not even then."""
    from engine.device import frugal

    for stage in ("prior", "evidence", "depth"):
        for ever in (False, True):
            row, name = "a GPU that is too small", f"{stage}{' even in small pieces' if ever else ''}"
            if arena.skips(row, name):
                continue
            arena.at(stage)

            def shrink(stage: str = stage, ever: bool = ever) -> None:
                began = [False]
                run = Workspace.stage

                def watched(self: Any, entered: Any) -> Any:
                    began[0] = entered.name == stage
                    return run(self, entered)

                patch = pytest.MonkeyPatch()
                patch.setattr(Workspace, "stage", watched)
                patch.setattr(pipeline, "choose_device", lambda _: torch.device("cuda"))
                SmallGpu(lambda: not began[0] or (frugal() and not ever)).__enter__()

            outcome = arena.run(before=shrink)
            wrong = [] if outcome.end == "done" else [f"ended with {outcome.end}"]
            if not wrong:
                said = " ".join(json.loads((arena.solve / "solve.json").read_text())["quality"]["warnings"])
                for words, wanted in (("smaller pieces", True), ("on the CPU", ever)):
                    if (words in said) != wanted:
                        wrong.append(f"the result says: {said}")
            yield Case(row, name, tuple(wrong))
