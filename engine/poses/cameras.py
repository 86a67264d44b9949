"""The cameras and sparse points of a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.errors import PoseError
from engine.footage import Footage, frame_name
from engine.geometry import Lens
from engine.poses.child import run_worker
from engine.poses.job import Job, Model
from engine.poses.world import scene_from_world
from engine.progress import Progress
from engine.request import LensRequest
from engine.track import CameraTrack, SparsePoints

UNSURE_FOCAL_PCT = 3.0
"""One standard deviation of the focal length from which on the user is warned."""


def solve(
    footage: Footage,
    proxies: Path,
    masks: Path | None,
    folder: Path,
    lens: LensRequest,
    seed: int,
    progress: Progress,
) -> CameraTrack:
    """Solve the cameras from the proxies; the result is also saved in `folder`.

    pycolmap runs in a child process. What it finished stays in `folder`, so a solve that was interrupted goes on.

    Args:
        footage: the clip; its frame numbers key the result, its size is that of the lens.
        proxies: folder with `<frame>.png` of every frame, of any one size.
        masks: folder with `<frame>.png` of frames in which something moves by itself, of the proxies' size, 255 where
            it does; no feature is taken from there. None = nothing is known to move.
        folder: for the result and the intermediate files.
        lens: what is known about the lens.
        seed: two solves with the same seed are equal bit for bit on one machine.
        progress: told about steps, metrics and warnings.

    Returns:
        Lens and pixels in plate pixels; a world with z up, the first camera looking along +y, the floor (5th percentile
        of the points) at z = 0, and a median sparse depth of `world.MEDIAN_DEPTH` units.

    Raises:
        PoseError: `poses.no_parallax`, `poses.no_model`, `poses.too_few_registered` or `poses.crashed`.
        Cancelled: from `progress`; the child is killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{frame_name(number)}.png" for number in footage.numbers]
    job = Job(
        images=str(proxies),
        names=names,
        masks=None if masks is None else str(masks),
        width=footage.width,
        height=footage.height,
        work=str(folder),
        model=lens.model,
        focal_px=lens.focal_px,
        seed=seed,
    )
    job.save(folder / "job.json")
    model_path = folder / "model.npz"
    if not model_path.exists():
        run_worker(folder / "job.json", folder / "pycolmap.log", progress)
    track = _track(footage, lens, Model.load(model_path))
    _report(footage, track, progress)
    track.save(folder)
    return track


def _track(footage: Footage, lens: LensRequest, model: Model) -> CameraTrack:
    """The model by plate frame numbers, in a world that stands upright."""
    if len(model.xyz) == 0:
        raise PoseError(
            "poses.no_model",
            "No reliable point could be placed in this shot.",
            "Every point was seen from nearly one direction only, or with large errors.",
            "Use a shot in which the camera travels more, or a longer frame range.",
        )
    numbers = np.array(footage.numbers)
    pose_of_row = dict(zip(model.rows.tolist(), model.world_from_camera, strict=True))
    z = np.array(
        [
            (model.xyz[p] - pose_of_row[r][:3, 3]) @ pose_of_row[r][:3, 2]
            for r, p in zip(model.observation_row.tolist(), model.observation_point.tolist(), strict=True)
        ]
    )
    transform, scale = scene_from_world(model.world_from_camera, model.xyz, float(np.median(z)))
    world_from_camera = {}
    for row, pose in zip(model.rows.tolist(), model.world_from_camera, strict=True):
        scaled = pose.copy()
        scaled[:3, 3] *= scale
        world_from_camera[int(numbers[row])] = transform @ scaled
    errors = {
        int(numbers[row]): float(np.median(model.observation_error[model.observation_row == row]))
        for row in np.unique(model.observation_row).tolist()
    }
    focal, k1 = float(model.lens[0]), float(model.lens[1])
    std = float(model.focal_std_pct[0])
    return CameraTrack(
        lens=Lens(
            lens.model, footage.width, footage.height, focal, focal, footage.width / 2, footage.height / 2, k1=k1
        ),
        lens_known=lens.focal_px is not None,
        focal_std_pct=std if np.isfinite(std) else None,
        world_from_camera=world_from_camera,
        reasons={
            n: "Too few of its points could be matched with frames that were placed (blur, a cut, or little texture)."
            for n in footage.numbers
            if n not in world_from_camera
        },
        reprojection_px=errors,
        up_estimated=True,
        points=SparsePoints(
            xyz=scale * model.xyz @ transform[:3, :3].T + transform[:3, 3],
            rgb=model.rgb,
            error_px=model.error_px,
            observation_frame=numbers[model.observation_row].astype(np.int64),
            observation_point=model.observation_point,
            observation_pixel=model.observation_pixel,
        ),
    )


def _report(footage: Footage, track: CameraTrack, progress: Progress) -> None:
    progress.metric("registered_share", len(track.world_from_camera) / len(footage.numbers))
    progress.metric("reprojection_px", float(np.median(list(track.reprojection_px.values()))))
    progress.metric("sparse_points", float(len(track.points.xyz)))
    if track.reasons:
        progress.warning(
            f"{len(track.reasons)} of {len(footage.numbers)} frames could not be placed.", sorted(track.reasons)
        )
    if track.focal_std_pct is None:
        progress.warning("How sure the focal length is could not be estimated.")
    elif track.focal_std_pct > UNSURE_FOCAL_PCT:
        progress.warning(
            f"The focal length is uncertain: {track.lens.fx:.0f} px, plus or minus {track.focal_std_pct:.0f} %; "
            "the camera moved too little to tell it. Enter the real focal length if you know it."
        )
