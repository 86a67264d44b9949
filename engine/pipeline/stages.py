"""The stages as a table, in the order data flows: the one place where a stage is made known.

The plan of a solve, cache keys, shares of the progress and the order of `request.STAGES` follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine import footage
from engine.clip import preview
from engine.deepv2d.alternate import DeepV2DSettings
from engine.deepv2d.evidence import solve_deepv2d
from engine.deepv2d.finish import finish_deepv2d
from engine.depth.cvd import Measured, solve_depth
from engine.depth.data import Found, TrainingData
from engine.depth.evidence import solve_evidence
from engine.depth.guess import guess_depth
from engine.depth.hinted import apply_hints, confirm, digests, hinted_in
from engine.depth.hints import content_of
from engine.depth.scale import calibrate_scale
from engine.export.edges import EdgeSharpener
from engine.export.reuse import FrameKeys
from engine.export.stage import Account, DepthResult, export
from engine.flow.stage import solve_flow
from engine.masks.artist import ArtistMasks
from engine.masks.files import load_dynamic
from engine.masks.given import solve_given_masks
from engine.masks.motion import solve_motion
from engine.masks.plate import PlateMattes
from engine.pipeline.cameras import solve_cameras
from engine.pipeline.solve import Inputs, Solve
from engine.priors import solve_prior
from engine.request import BY_DEEPV2D
from engine.workspace import stage_key

TRAINING_STEP_SECONDS = 0.6


@dataclass(frozen=True)
class StageKind:
    """A stage: files in, files out.

    Attributes:
        name: of the stage, its part of the status, and its folder in the cache.
        version: raised with every change of what the stage writes; releases that leave it alone keep its results
            (`tests/golden/stages.json` tells when its code has changed).
        reads: stages whose results it reads. Those that a request does not need are left out.
        seconds: CPU seconds for each frame of a typical solve (bench/results/speed.md): shares of the work.
        settings: what else its result depends on, for the cache key.
        work: does it: solve, its folder, device. The device may be another than the solve's: see `within_memory`.
        needed: whether a request needs it.
        possible: whether the cameras that were found let it be done.
        show: lets the user see what it found, also where that was in the cache.
    """

    name: str
    version: int
    reads: tuple[str, ...]
    seconds: float
    settings: Callable[[Inputs, str], Mapping[str, Any]]
    work: Callable[[Solve, Path, torch.device], None]
    needed: Callable[[Inputs], bool] = lambda _: True
    possible: Callable[[Solve], bool] = lambda _: True
    show: Callable[[Solve], None] = lambda _: None

    def weight(self, inputs: Inputs) -> float:
        """Its share of the work: CPU seconds for each frame, with what is trained on the clip."""
        training = TRAINING_STEP_SECONDS * inputs.settings.steps_per_frame if self.name == "depth" else 0.0
        return self.seconds + training


def _measurable(solve: Solve) -> bool:
    return solve.solved_track.measurable


def _footage(solve: Solve, folder: Path, _device: torch.device) -> None:
    footage.prepare(solve.inputs.clip, folder, solve.workspace)


def _footage_settings(inputs: Inputs, _device: str) -> dict[str, Any]:
    clip = inputs.clip
    return {
        "content": clip.content_id,
        "numbers": clip.numbers,
        "missing": clip.missing,
        "colourspace": clip.colourspace,
    }


def _masks(solve: Solve, folder: Path, device: torch.device) -> None:
    clip, masks = solve.inputs.clip, solve.inputs.request.masks
    solve_given_masks(clip, solve.proxies, masks, folder, device, solve.workspace)


def _poses(solve: Solve, folder: Path, device: torch.device) -> None:
    clip, request, known = solve.inputs.clip, solve.inputs.request, solve.inputs.known
    solve_cameras(clip, solve.proxies, solve.masks, folder, request, known, device, solve.workspace)


def _show_poses(solve: Solve) -> None:
    track = solve.solved_track
    document = preview.track_document(track.world_from_camera, track.points.xyz, track.points.rgb)
    preview.show_track(document, solve.workspace)


def _flow(solve: Solve, folder: Path, _device: torch.device) -> None:
    solve_flow(solve.unscaled_clip, folder, solve.workspace)


def _motion(solve: Solve, folder: Path, _device: torch.device) -> None:
    clip, lens, masks = solve.unscaled_clip, solve.solved_track.lens, solve.inputs.request.masks
    solve_motion(clip, lens, solve.folder("flow"), solve.masks, masks, folder, solve.workspace)


def _prior(solve: Solve, folder: Path, device: torch.device) -> None:
    assert solve.inputs.prior is not None  # else the stage is not needed
    solve_prior(solve.unscaled_clip, solve.solved_track.lens, solve.inputs.prior, folder, device, solve.workspace)


def _prior_settings(inputs: Inputs, device: str) -> dict[str, Any]:
    assert inputs.prior is not None
    return {"prior": inputs.prior.identity, "long_side": inputs.settings.long_side, "device": device}


def _scale(solve: Solve, folder: Path, _device: torch.device) -> None:
    calibrate_scale(solve.unscaled_clip, solve.prior, solve.metres_per_unit, folder, solve.workspace)


def _evidence(solve: Solve, folder: Path, device: torch.device) -> None:
    fine = solve.fine_clip
    if fine is None:
        solve_deepv2d(solve.clip, DeepV2DSettings(), folder, device, solve.workspace)
    else:
        solve_evidence(fine, solve.inputs.settings, folder, device, solve.workspace)


def _evidence_settings(inputs: Inputs, device: str) -> dict[str, Any]:
    by = {"by": "deepv2d"} if inputs.request.method in BY_DEEPV2D else {}
    settings = inputs.settings
    return {"measured_side": settings.measured_side, "views": settings.views, "device": device} | by


def _depth(solve: Solve, folder: Path, device: torch.device) -> None:
    clip, request, workspace = solve.clip, solve.inputs.request, solve.workspace
    if not solve.track.measurable:
        guess_depth(clip, solve.prior, solve.units_per_prior, folder, workspace)
        return
    # What the built-in network says of a picture alone, it says better once it has been trained on the clip.
    fills = solve.inputs.prior is not None and solve.inputs.prior.output != "depth"
    evidence = solve.evidence
    data = TrainingData.load(
        clip,
        Found(solve.folder("flow"), solve.folder("motion"), solve.prior, fills, evidence, solve.units_per_prior),
    )
    rig = solve.rig
    if rig is not None and solve.right_images is not None:
        data = data.with_right_eye(solve.right_images, rig.right_from_left())
    if request.method == "deepv2d" and evidence is not None:
        finish_deepv2d(clip, data, evidence.folder, folder, device, workspace)
    else:
        fine = None if solve.fine_clip is None or evidence is None else Measured(solve.fine_clip, evidence)
        solve_depth(clip, fine, solve.inputs.settings, data, folder, request.seed, device, workspace)


def _depth_settings(inputs: Inputs, device: str) -> dict[str, Any]:
    request = inputs.request
    return {"settings": asdict(inputs.settings), "device": device, "seed": request.seed, "method": request.method}


def _hints(solve: Solve, folder: Path, device: torch.device) -> None:
    motion, base, workspace = solve.folder("motion"), solve.depth_without_hints, solve.workspace
    apply_hints(solve.inputs.hints, solve.depth_clip, solve.track, base, motion, folder, device, workspace)
    data = None
    if solve.track.measurable:
        data = TrainingData.load(solve.clip, Found(solve.folder("flow"), motion, None, False, None))
    confirm(solve.clip, data, base, solve.depth)


def _export(solve: Solve, _folder: Path, _device: torch.device) -> None:
    inputs, workspace, track, work = solve.inputs, solve.workspace, solve.track, solve.depth_clip
    prior, masks, clip = inputs.prior, inputs.request.masks, inputs.clip
    motion = solve.folder("motion")
    result = DepthResult(
        frames=solve.depth,
        method=inputs.request.method,
        prior=prior.name if prior is not None else "none",
        licence=prior.licence if prior is not None else "none needed",
        metric=solve.metric,
        scales=solve.folder("scale"),
    )

    def costs() -> dict[str, dict[str, float]]:
        finished = {name: workspace.record(stage)["cost"] for name, stage in solve.stages.items() if stage.is_done}
        return {**finished, "export": workspace.cost()}

    account = Account(solve.device.type, solve.stages["export"].key, costs, workspace.warnings)

    def moving(frame: int) -> NDArray[np.bool_]:
        return load_dynamic(motion, frame, (work.lens.height, work.lens.width))

    depth = solve.depth
    sharpener = EdgeSharpener(
        solve.proxies, track.lens, work, lambda frame: depth.load(frame).values, moving,
        lambda frame: hinted_in(depth, frame),
    )  # fmt: skip
    artist = ArtistMasks.find(masks.path, clip.width, clip.height) if masks.path else None
    mattes = PlateMattes(motion, solve.masks, artist, track.lens, solve.clip.lens)
    export(
        workspace.root, inputs.request, clip, track, sharpener, result, account, workspace,
        mattes.matte if mattes.exist() else None, _frame_keys(solve, sharpener),
    )  # fmt: skip


def _frame_keys(solve: Solve, sharpener: EdgeSharpener) -> FrameKeys:
    """A frame's files depend on what all frames do, and on the hints of those that have a say in its edges."""
    (kind,) = (kind for kind in KINDS if kind.name == "export")
    hinted = digests(solve.depth) if "hints" in solve.stages else {}
    read = [solve.stages["depth"].key]

    def key(frame: int) -> str:
        settings = kind.settings(solve.inputs, solve.device.type)
        own = {str(each): hinted[each] for each in sharpener.reads(frame) if each in hinted}
        return stage_key("frame", kind.version, {**settings, "hinted": own}, read)

    keys = {frame: key(frame) for frame in solve.track.frames()}
    return FrameKeys(solve.workspace.cache, solve.folder("export"), keys)


KINDS = (
    StageKind("footage", 1, (), 0.1, _footage_settings, _footage),
    StageKind("masks", 1, ("footage",), 0.01, lambda inputs, _: inputs.masks, _masks),
    StageKind("poses", 2, ("masks",), 2.5, lambda inputs, _: inputs.camera, _poses, show=_show_poses),
    StageKind(
        "flow", 1, ("poses",), 0.33, lambda inputs, _: {"long_side": inputs.settings.long_side}, _flow,
        possible=_measurable,
    ),
    StageKind(
        "motion", 1, ("flow",), 0.09, lambda inputs, _: {"motion": inputs.request.masks.motion}, _motion,
        possible=_measurable,
    ),
    StageKind(
        "prior", 1, ("poses",), 0.05, _prior_settings, _prior, needed=lambda inputs: inputs.prior is not None
    ),
    StageKind(
        "scale", 1, ("poses", "prior"), 0.01,
        lambda inputs, _: {
            "baseline": inputs.request.footage.baseline, "long_side": inputs.settings.long_side
        },
        _scale,
    ),
    StageKind(
        "evidence", 3, ("scale",), 0.9, _evidence_settings, _evidence,
        needed=lambda inputs: inputs.settings.measured, possible=_measurable,
    ),
    StageKind("depth", 3, ("motion", "scale", "evidence"), 0.6, _depth_settings, _depth),
    StageKind(
        "hints", 1, ("depth",), 0.05, lambda inputs, _: {"hints": content_of(inputs.hints)}, _hints,
        needed=lambda inputs: bool(inputs.hints),
    ),
    StageKind("export", 2, ("depth", "hints"), 1.0, lambda inputs, _: {"path": str(inputs.clip.path)}, _export),
)  # fmt: skip
