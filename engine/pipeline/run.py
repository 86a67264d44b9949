"""A solve from its request to the complete folder: stage after stage, those that are done from the cache."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from engine import files
from engine.depth.settings import DepthSettings
from engine.device import choose_device, within_memory
from engine.errors import CvdError, Stopped, WorkspaceError
from engine.footage import Footage
from engine.footage.movies import MOVIE_SUFFIXES
from engine.pipeline.solve import Inputs, Solve
from engine.pipeline.stages import KINDS
from engine.request import STAGES, Request
from engine.solve_folder import same_footage
from engine.workspace import Listener, Stage, free_bytes, open_workspace, stage_key

# Bytes a solve writes for each plate pixel of each frame: depth and confidence EXR, proxy, flow and checkpoints.
BYTES_PER_PIXEL = 12


def solve(request: Request, listener: Listener, settings: DepthSettings | None = None, until: str = STAGES[-1]) -> Path:
    """Solve a clip.

    Args:
        request: what to solve.
        listener: told every event and status as it happens.
        settings: what the dense stages do; None = what the request comes to. Benchmarks give their own.
        until: the last stage to do; a later solve takes it and those before it from the cache and goes on.

    Returns:
        The solve folder, complete.

    Raises:
        CvdError: the clip could not be solved; the folder's status says so as well.
        Stopped: the stages until `until` are done, and there are more.
        Cancelled: the user stopped it; solving again goes on from there.
    """
    try:
        inputs = Inputs.find(request, settings)
    except CvdError:
        # Whoever made the folder (the add-on) reads the failure there; a mistyped path alone makes no folder.
        if request.output.is_dir():
            with open_workspace(request.output, listener):
                raise
        raise
    with open_workspace(request.output, listener) as workspace:
        if not request.replace:
            _refuse_other_footage(workspace.root, inputs.clip)
        files.write_json(workspace.root / "request.json", request.as_json())
        _require_space(workspace.root, inputs.clip)
        device = choose_device(request.device)
        _run(Solve(inputs, plan(workspace.cache, inputs, device.type), workspace, device), until)
    return request.output


def _run(solve: Solve, until: str) -> None:
    workspace, stages = solve.workspace, solve.stages
    later = STAGES[STAGES.index(until) + 1 :]
    workspace.plan(
        [stage for stage in stages.values() if stage.name not in later],
        seconds_per_weight=len(solve.inputs.clip.numbers),
    )
    for kind in KINDS:
        if kind.name not in stages or not kind.possible(solve):
            continue
        if kind.name in later:
            raise Stopped(until)
        stage = stages[kind.name]
        # The export's results lie outside the cache, so they are there only if solve.json is theirs.
        if kind.name == STAGES[-1] and not exported(workspace.root, stage):
            (stage.folder / "stage.json").unlink(missing_ok=True)
        if stage.is_done:
            workspace.reuse(stage)
        else:
            with workspace.stage(stage) as folder:
                within_memory(partial(kind.work, solve, folder), solve.device, workspace)
        kind.show(solve)


def plan(cache: Path, inputs: Inputs, device: str) -> dict[str, Stage]:
    """The stages that a solve needs, in order, with their cache keys.

    A key depends on the stage's own version and settings and on the keys of the stages it reads, on nothing else: what
    is solved with other settings, or by another release, takes from the cache whatever they do not touch.

    Args:
        cache: folder of the stages' folders.
        inputs: what the solve is made from.
        device: "cpu" or "cuda".
    """
    stages: dict[str, Stage] = {}
    for kind in KINDS:
        if kind.needed(inputs):
            read = [stages[name].key for name in kind.reads if name in stages]
            key = stage_key(kind.name, kind.version, kind.settings(inputs, device), read)
            stages[kind.name] = Stage(kind.name, key, kind.weight(inputs), cache / f"{kind.name}-{key}")
    return stages


def exported(root: Path, stage: Stage) -> bool:
    """The folder's `solve.json` is the result of this very export stage."""
    try:
        solved = files.read_json(root / "solve.json")
    except (OSError, ValueError):
        return False
    made = solved.get("engine") if isinstance(solved, dict) else None
    return isinstance(made, dict) and bool(made.get("solve_key") == stage.key)


def _refuse_other_footage(root: Path, clip: Footage) -> None:
    """Refuse to put a solve in the place of another clip's.

    Another range of the clip, or a new version of its pictures in the same place, is the same clip; so is one that was
    moved, where its contents are the same.
    """
    try:
        source = files.read_json(root / "solve.json")["source"]
        before, content = Path(source["path"]), source["content_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # there is no finished solve to lose
    if content != clip.content_id and not same_footage(before, clip.path, MOVIE_SUFFIXES):
        raise WorkspaceError(
            "workspace.other_footage",
            f"{root} holds the solve of other footage.",
            f"It was solved from {before}, and {clip.path} would replace it.",
            "Choose another output folder, or ask for it to be replaced (--replace).",
        )


def _require_space(root: Path, clip: Footage) -> None:
    needed = len(clip.numbers) * clip.width * clip.height * BYTES_PER_PIXEL
    free = free_bytes(root)
    if free < needed:
        raise WorkspaceError(
            "workspace.disk_full",
            f"The disk that holds {root} is too full for this solve.",
            f"It needs about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free.",
            "Free some space, choose another output folder, or solve fewer frames.",
        )
