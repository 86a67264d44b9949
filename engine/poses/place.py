"""Points in the world of cameras that are given: what the poses stage does where nothing is to be solved."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import numpy as np

from engine.cameras.chan import NUKE_FILM_BACK_MM, read_chan
from engine.cameras.document import MODEL_FOLDERS, READABLE, GivenCamera, unreadable
from engine.cameras.knowledge import LensKnowledge
from engine.clip.track import CameraTrack
from engine.errors import CameraError
from engine.footage import Footage, frame_name
from engine.poses.child import run_worker
from engine.poses.job import Job
from engine.poses.place_job import PlaceJob
from engine.progress import Progress
from engine.request import CameraRequest


def content_of(path: Path | None) -> str | None:
    """A hash of a file, or of the files in a folder and where a COLMAP model may lie below it, for cache keys.

    Raises:
        CameraError: `camera.unreadable`.
    """
    if path is None:
        return None
    content = hashlib.blake2b(digest_size=16)
    try:
        folders = [path / below for below in MODEL_FOLDERS if (path / below).is_dir()]
        for file in [file for folder in folders for file in sorted(folder.iterdir())] or [path]:
            if file.is_file():
                content.update(os.fsencode(file.name) + file.read_bytes())
    except OSError as error:
        raise unreadable(path, f"{error.strerror}.") from error
    return content.hexdigest()


def _other_readings(camera: CameraRequest, footage: Footage, known: LensKnowledge) -> Iterator[tuple[str, GivenCamera]]:
    """A `.chan` as it would be read by somebody else's conventions, which no line of it tells."""
    assert camera.path is not None
    orders = ["".join(order) for order in permutations("XYZ")]
    ways = [(f"rotation order {o}", camera.film_back_mm, o) for o in orders if o != camera.rotation_order]
    if known.focal_px is None:
        order, (width, height) = camera.rotation_order, NUKE_FILM_BACK_MM
        ways.append((f"Nuke's default film back, {width:g} x {height:g} mm", NUKE_FILM_BACK_MM, order))
        ways.append(("a vertical instead of its horizontal field of view", (1.0, 1.0), order))
        ways.append(("the plate's shape as film back", None, order))
    for words, film_back, order in ways:
        with suppress(CameraError):
            size = footage.width, footage.height
            yield words, read_chan(camera.path, *size, known, film_back, order, camera.metric)


def place_points(
    footage: Footage,
    proxies: Path,
    masks: Path | None,
    folder: Path,
    camera: CameraRequest,
    known: LensKnowledge,
    tracks: Path | None,
    seed: int,
    progress: Progress,
) -> CameraTrack:
    """Place points with the cameras given; the result is also saved in `folder`.

    pycolmap runs in a child process: features are matched and triangulated, no camera and no lens is moved.

    Args:
        footage: the clip.
        proxies: folder with `<frame>.png` of every frame, of any one size.
        masks: folder with `<frame>.png`, 255 where something moves by itself; None = nothing does.
        folder: for the result and the intermediate files.
        camera: which camera; not of kind "solve".
        known: of the lens, for a `.chan`, which tells at most its field of view.
        tracks: a `cvd.tracks/1` file, or None.
        seed: of every random choice.
        progress: told about steps, metrics and warnings.

    Returns:
        Lens and pixels in plate pixels; cameras as they were given, in their own world and scale. Of cameras that stand
        in one place there are no points.

    Raises:
        CameraError: the file cannot be used.
        PoseError: what the process says, such as `camera.misfit` with the figure, or `poses.crashed`.
        Cancelled: from `progress`; the child is killed.
    """
    if camera.path is None:
        raise ValueError("a given camera has a path")
    folder.mkdir(parents=True, exist_ok=True)
    source, others = camera.path, dict[str, str]()
    if camera.kind == "chan":
        given = read_chan(
            source, footage.width, footage.height, known, camera.film_back_mm, camera.rotation_order, camera.metric
        )
        given.save(folder / "camera.json")
        source = folder / "camera.json"
        for number, (words, other) in enumerate(_other_readings(camera, footage, known)):
            other.save(folder / f"camera_{number}.json")
            others[words] = str(folder / f"camera_{number}.json")
    elif camera.kind == "colmap" and not source.is_dir():
        raise unreadable(source, "It is not the folder of a COLMAP model.", READABLE)
    elif camera.kind == "json":
        document = GivenCamera.load(source)
        document.on_plate(footage.width, footage.height)  # what is wrong with it is better said before features
    names = [frame_name(number, ".png") for number in footage.numbers]
    job = PlaceJob(
        job=Job(
            images=str(proxies),
            names=names,
            masks=None if masks is None else str(masks),
            width=footage.width,
            height=footage.height,
            work=str(folder),
            model="SIMPLE_PINHOLE",
            focal_px=None,
            seed=seed,
        ),
        numbers=list(footage.numbers),
        plate_names=dict(zip(footage.files, footage.numbers, strict=True)) if footage.files else {},
        plate_folders=[footage.path.parent.name, footage.path.stem],
        camera=str(source),
        others=others,
        metric=camera.metric,
        tracks=None if tracks is None else str(tracks),
    )
    job.save(folder / "job.json")
    run_worker(folder / "job.json", folder / "pycolmap.log", progress, "engine.poses.place_worker")
    track = CameraTrack.load(folder)
    progress.metric("registered_share", len(track.world_from_camera) / len(footage.numbers))
    progress.metric("reprojection_px", float(np.median(list(track.reprojection_px.values()))))
    progress.metric("sparse_points", float(len(track.points.xyz)))
    if track.motion != "travels":
        does = "only turns" if track.motion == "turns" else "does not move"
        progress.warning(
            f"The given camera {does}: near things do not shift against far ones, so nothing measures depth in this "
            "shot or how it fits the camera's world. Depth is the network's guess alone."
        )
    elif track.focals:
        progress.warning(
            f"The given camera zooms, from {min(track.focals.values()):.0f} to {max(track.focals.values()):.0f} px of "
            "focal length. Points are placed with it; between them depth is the network's guess, fitted to the points."
        )
    if track.reasons:
        progress.warning(f"The given camera does not have {len(track.reasons)} of the frames.", sorted(track.reasons))
    return track
