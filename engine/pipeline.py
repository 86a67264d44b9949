"""The stages in order: the one place that shows how data flows from footage to solve folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import engine
from engine import files, footage, poses
from engine.depth.clip import WorkClip
from engine.depth.cvd import solve_depth
from engine.depth.evidence import solve_evidence
from engine.depth.scale import calibrate_scale, read_scale, scale_track
from engine.depth.settings import PRESETS
from engine.device import choose_device
from engine.errors import CvdError, WorkspaceError
from engine.export.edges import EdgeSharpener
from engine.export.stage import Account, DepthResult, export
from engine.flow.stage import solve_flow
from engine.footage import Footage
from engine.request import Request
from engine.track import CameraTrack
from engine.workspace import Listener, Stage, Workspace, free_bytes, open_workspace, stage_key

# Share of the work of a typical solve on a CPU, for progress and ETA (measured, bench/README.md).
WEIGHTS = {"footage": 0.01, "poses": 0.2, "flow": 0.08, "prior": 0.12, "scale": 0.01, "depth": 0.45, "export": 0.13}
# Bytes a solve writes for each plate pixel of each frame: depth and confidence EXR, proxy, flow and checkpoints.
BYTES_PER_PIXEL = 12


def solve(request: Request, listener: Listener) -> Path:
    """Solve a clip.

    Args:
        request: what to solve.
        listener: told every event and status as it happens.

    Returns:
        The solve folder, complete.

    Raises:
        CvdError: the clip could not be solved; the folder's status says so as well.
        Cancelled: the user stopped it; solving again goes on from there.
    """
    try:
        wanted = request.footage
        clip = footage.probe(wanted.path, wanted.first, wanted.last, wanted.step, wanted.colourspace)
    except CvdError:
        # Whoever made the folder (the add-on) reads the failure there; a mistyped path alone makes no folder.
        if request.output.is_dir():
            with open_workspace(request.output, listener):
                raise
        raise
    with open_workspace(request.output, listener) as workspace:
        files.write_json(workspace.root / "request.json", request.as_json())
        _require_space(workspace.root, clip)
        _run(workspace, request, clip)
    return request.output


def _run(workspace: Workspace, request: Request, clip: Footage) -> None:
    settings = PRESETS[request.preset]
    device = choose_device(request.device)
    stages = plan(workspace.cache, request, clip, device.type)
    workspace.plan(list(stages.values()))

    def run(name: str, work: Callable[[Path], object]) -> Path:
        stage = stages[name]
        if stage.is_done:
            workspace.reuse(stage)
        else:
            with workspace.stage(stage) as folder:
                work(folder)
        return stage.folder

    prepared = run("footage", lambda folder: footage.prepare(clip, folder, workspace))
    proxies = prepared / "proxy"
    tracked = run("poses", lambda folder: poses.solve(clip, proxies, None, folder, request.lens, request.seed, workspace))
    track = CameraTrack.load(tracked)
    work = WorkClip.load(proxies, track, settings.long_side)
    flow = run("flow", lambda folder: solve_flow(work, folder, workspace))
    prior = run("prior", lambda folder: solve_evidence(work, settings, folder, device, workspace))
    scaled = run("scale", lambda folder: calibrate_scale(work, prior, folder, workspace))
    scale = read_scale(scaled)
    track, work = scale_track(track, scale), work.scaled(scale)
    depth = run(
        "depth", lambda folder: solve_depth(work, settings, flow, prior, folder, request.seed, device, workspace)
    )
    result = DepthResult(depth, work.lens, request.method, "built-in network, trained on this clip", "none needed")

    def write(_folder: Path) -> None:
        def costs() -> dict[str, dict[str, float]]:
            finished = {name: workspace.record(stage)["cost"] for name, stage in stages.items() if stage.is_done}
            return {**finished, "export": workspace.cost()}

        account = Account(device.type, stages["export"].key, costs, workspace.warnings)
        sharpener = EdgeSharpener(proxies, track.lens, work)
        export(workspace.root, request, clip, track, sharpener, result, account, workspace)

    # The export's results lie outside the cache, so they are there only if solve.json is theirs.
    if not exported(workspace.root, stages["export"]):
        shutil.rmtree(stages["export"].folder, ignore_errors=True)
    run("export", write)


def plan(cache: Path, request: Request, clip: Footage, device: str) -> dict[str, Stage]:
    """The stages with their cache keys: each depends on its settings and on the stages before it, on nothing else."""
    preset = asdict(PRESETS[request.preset])
    clip_settings: dict[str, Any] = {
        "content": clip.content_id,
        "numbers": clip.numbers,
        "missing": clip.missing,
        "colourspace": clip.colourspace,
    }
    settings: dict[str, dict[str, Any]] = {
        "footage": clip_settings,
        "poses": {"lens": asdict(request.lens), "seed": request.seed},
        "flow": {"long_side": preset["long_side"]},
        "prior": {"preset": preset, "device": device},
        "scale": {},
        "depth": {"preset": preset, "device": device, "seed": request.seed, "method": request.method},
        "export": {"path": str(clip.path)},
    }
    stages: dict[str, Stage] = {}
    inputs: list[str] = []
    for name, own in settings.items():
        key = stage_key(name, own, inputs, engine.__version__)
        stages[name] = Stage(name, key, WEIGHTS[name], cache / f"{name}-{key}")
        inputs.append(key)
    return stages


def exported(root: Path, stage: Stage) -> bool:
    """The folder's `solve.json` is the result of this very export stage."""
    try:
        solved = json.loads((root / "solve.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(solved.get("engine", {}).get("solve_key") == stage.key)


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
