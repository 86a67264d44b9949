"""The stages in order: the one place that shows how data flows from footage to solve folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import engine
from engine import files, footage
from engine.cameras.knowledge import LensKnowledge, what_is_known
from engine.clip import preview
from engine.clip.track import CameraTrack
from engine.clip.work import WorkClip, work_images
from engine.deepv2d.alternate import DeepV2DSettings
from engine.deepv2d.stage import finish_deepv2d, solve_deepv2d
from engine.depth.cvd import solve_depth
from engine.depth.data import Folders, TrainingData
from engine.depth.evidence import solve_evidence
from engine.depth.guess import guess_depth
from engine.depth.scale import calibrate_scale, read_scale, units_per_prior
from engine.depth.settings import DepthSettings, settings_of
from engine.depth.stereo import estimate_rig
from engine.device import choose_device, within_memory
from engine.errors import CvdError, Stopped, WorkspaceError
from engine.export.edges import EdgeSharpener
from engine.export.stage import Account, DepthResult, export
from engine.flow.stage import solve_flow
from engine.footage import Footage
from engine.footage.movies import MOVIE_SUFFIXES
from engine.masks.artist import ArtistMasks
from engine.masks.given import content_of, solve_given_masks
from engine.masks.motion import load_dynamic, solve_motion
from engine.masks.plate import PlateMattes
from engine.pipeline.cameras import identity, solve_cameras
from engine.priors import Source, choose_prior, solve_prior
from engine.request import BY_DEEPV2D, STAGES, Request
from engine.solve_folder import same_footage
from engine.workspace import Listener, Stage, Workspace, free_bytes, open_workspace, stage_key

# CPU seconds of a typical solve for each frame (bench/results/speed.md): shares of the work, for progress and ETA.
SECONDS = {
    "footage": 0.1, "masks": 0.01, "poses": 2.5, "flow": 0.33, "motion": 0.09, "prior": 0.05, "scale": 0.01,
    "evidence": 0.5, "depth": 0.2, "export": 1.0,
}  # fmt: skip
TRAINING_STEP_SECONDS = 0.6
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
        wanted = request.footage
        clip = footage.probe(
            wanted.path, wanted.first, wanted.last, wanted.step, wanted.colourspace, wanted.stereo, wanted.right
        )
        prior = choose_prior(request.prior)
        given = content_of(request.masks, clip)
        known = what_is_known(request.lens, clip)
        camera = identity(request, known)
    except CvdError:
        # Whoever made the folder (the add-on) reads the failure there; a mistyped path alone makes no folder.
        if request.output.is_dir():
            with open_workspace(request.output, listener):
                raise
        raise
    with open_workspace(request.output, listener) as workspace:
        if not request.replace:
            _refuse_other_footage(workspace.root, clip)
        files.write_json(workspace.root / "request.json", request.as_json())
        _require_space(workspace.root, clip)
        device = choose_device(request.device)
        settings = settings or settings_of(request)
        stages = plan(workspace.cache, request, clip, settings, prior, given, camera, device.type)
        _run(workspace, request, clip, settings, prior, known, stages, device, until)
    return request.output


def _run(
    workspace: Workspace,
    request: Request,
    clip: Footage,
    settings: DepthSettings,
    prior: Source | None,
    known: LensKnowledge,
    stages: dict[str, Stage],
    device: torch.device,
    until: str,
) -> None:
    later = STAGES[STAGES.index(until) + 1 :]
    workspace.plan(
        [stage for stage in stages.values() if stage.name not in later], seconds_per_weight=len(clip.numbers)
    )

    def run(name: str, work: Callable[[Path, torch.device], object]) -> Path:
        if name in later:
            raise Stopped(until)
        stage = stages[name]
        if stage.is_done:
            workspace.reuse(stage)
        else:
            with workspace.stage(stage) as folder:
                within_memory(partial(work, folder), device, workspace)
        return stage.folder

    prepared = run("footage", lambda f, _: footage.prepare(clip, f, workspace))
    proxies = prepared / "proxy"
    given = run("masks", lambda f, d: solve_given_masks(clip, proxies, request.masks, f, d, workspace))
    tracked = run("poses", lambda f, d: solve_cameras(clip, proxies, given, f, request, known, d, workspace))
    track = CameraTrack.load(tracked)
    preview.show_track(preview.track_document(track.world_from_camera, track.points.xyz, track.points.rgb), workspace)
    work = WorkClip.load(proxies, track, settings.long_side, workspace)
    flow, motion = stages["flow"].folder, stages["motion"].folder
    if track.measurable:
        run("flow", lambda f, _: solve_flow(work, f, workspace))
        run("motion", lambda f, _: solve_motion(work, track.lens, flow, given, request.masks, f, workspace))
    guess = None
    if prior is not None:
        guess = run("prior", lambda f, d: solve_prior(work, track.lens, prior, f, d, workspace))
    right = None
    if clip.right:
        right = work_images(prepared / "proxy_right", track, work.lens.width, work.lens.height, workspace)
    rig = None if right is None else estimate_rig(work, right)
    baseline = request.footage.baseline
    metres = rig.metres_per_unit(baseline) if rig is not None and baseline is not None else None
    if track.scale != "free":
        metres = 1.0  # given with the cameras, or known of the scene: whatever the unit is, it stays
    scale = read_scale(run("scale", lambda f, _: calibrate_scale(work, guess, metres, f, workspace)))
    track, work = track.scaled(scale), work.scaled(scale)

    def measure(folder: Path, device: torch.device) -> None:
        if request.method in BY_DEEPV2D:
            solve_deepv2d(work, DeepV2DSettings(), folder, device, workspace)
        else:
            solve_evidence(work, settings, folder, device, workspace)

    evidence = run("evidence", measure) if settings.measured and track.measurable else None

    def train(folder: Path, device: torch.device) -> None:
        # What the built-in network says of a picture alone, it says better once it has been trained on the clip.
        fills = prior is not None and prior.output != "depth"
        # A known baseline goes before the prior; one that is not in metres itself follows the cameras.
        prior_scale = scale if metres is not None and prior is not None and not prior.metric else 1.0
        if track.scale != "free" and prior is not None and prior.metric:
            prior_scale = units_per_prior(stages["scale"].folder)
        if not track.measurable:
            guess_depth(work, guess, prior_scale, folder, workspace)
            return
        data = TrainingData.load(work, Folders(flow, motion, guess, fills, evidence, prior_scale))
        if right is not None and rig is not None:
            data = data.with_right_eye(right, replace(rig, baseline=rig.baseline * scale).right_from_left())
        if request.method == "deepv2d" and evidence is not None:
            finish_deepv2d(work, data, evidence, folder, device, workspace)
        else:
            solve_depth(work, settings, data, folder, request.seed, device, workspace)

    depth = run("depth", train)
    result = DepthResult(
        folder=depth,
        lens=work.lens,
        method=request.method,
        prior=prior.name if prior is not None else "none",
        licence=prior.licence if prior is not None else "none needed",
        metric=track.scale == "metric"
        or (track.scale == "free" and (metres is not None or (prior is not None and prior.metric))),
        scales=stages["scale"].folder,
    )

    def write(_folder: Path, _device: torch.device) -> None:
        def costs() -> dict[str, dict[str, float]]:
            finished = {name: workspace.record(stage)["cost"] for name, stage in stages.items() if stage.is_done}
            return {**finished, "export": workspace.cost()}

        account = Account(device.type, stages["export"].key, costs, workspace.warnings)
        shape = (work.lens.height, work.lens.width)
        sharpener = EdgeSharpener(
            proxies, track.lens, work, result.depth, lambda frame: load_dynamic(motion, frame, shape)
        )
        artist = ArtistMasks.find(request.masks.path, clip.width, clip.height) if request.masks.path else None
        mattes = PlateMattes(motion, given, artist, track.lens, work.lens)
        export(
            workspace.root, request, clip, track, sharpener, result, account, workspace,
            mattes.matte if mattes.exist() else None,
        )  # fmt: skip

    # The export's results lie outside the cache, so they are there only if solve.json is theirs.
    if not exported(workspace.root, stages["export"]):
        (stages["export"].folder / "stage.json").unlink(missing_ok=True)
    run("export", write)


def plan(
    cache: Path,
    request: Request,
    clip: Footage,
    settings: DepthSettings,
    prior: Source | None,
    given: dict[str, str | None],
    camera: dict[str, Any],
    device: str,
) -> dict[str, Stage]:
    """The stages that a request needs, in order, with their cache keys.

    A key depends on the stage's own settings and on the keys of the stages it reads, on nothing else: what is solved
    with other settings takes from the cache whatever they do not touch.
    """
    depth, sweep = asdict(settings), {"planes": settings.planes, "views": settings.views, "device": device}
    clip_settings: dict[str, Any] = {
        "content": clip.content_id,
        "numbers": clip.numbers,
        "missing": clip.missing,
        "colourspace": clip.colourspace,
    }
    parts: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "footage": (clip_settings, ()),
        "masks": (dict(given), ("footage",)),
        "poses": (camera, ("masks",)),
        "flow": ({"long_side": settings.long_side}, ("poses",)),
        "motion": ({"motion": request.masks.motion}, ("flow",)),
    }
    if prior is not None:
        parts["prior"] = ({"prior": prior.identity, "long_side": settings.long_side, "device": device}, ("poses",))
    known = {"baseline": request.footage.baseline, "long_side": settings.long_side}
    parts["scale"] = (known, ("prior",) if prior is not None else ("poses",))
    if settings.measured:
        by = {"by": "deepv2d"} if request.method in BY_DEEPV2D else {}
        parts["evidence"] = (sweep | by, ("scale",))
    reads = tuple(name for name in ("motion", "scale", "evidence") if name in parts)
    parts["depth"] = ({"settings": depth, "device": device, "seed": request.seed, "method": request.method}, reads)
    parts["export"] = ({"path": str(clip.path)}, ("depth",))
    stages: dict[str, Stage] = {}
    for name, (own, inputs) in parts.items():
        key = stage_key(name, own, [stages[other].key for other in inputs], engine.__version__)
        training = TRAINING_STEP_SECONDS * settings.steps_per_frame if name == "depth" else 0.0
        stages[name] = Stage(name, key, SECONDS[name] + training, cache / f"{name}-{key}")
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
