"""Ways to place the cameras: global and incremental mapping, with the lens free or held."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pycolmap

from engine.poses.adjust import zoomed
from engine.poses.attempt import attempted
from engine.poses.child import left_out_after_a_crash
from engine.poses.features import MAPPED, MATCHES, TOTAL, Matches, tracks_of
from engine.poses.holdout import Tracks
from engine.poses.job import COMMON_FOCAL, Job
from engine.poses.judge import MIN_REGISTERED, NEARLY_ALL, Candidate, judged
from engine.poses.speech import say
from engine.poses.zoom import ROUGH, zoom_curve

_SECOND = 80.0
_TRACKS_PER_FRAME = 300
"""How many tracks of each frame global mapping places the cameras by: more take three times the time for the same
cameras. The rest is triangulated afterwards."""
_TRIED_FOCALS = (0.7, 0.85, 1.05, 1.3, 1.6)
_TRIED_STEP, _TRIED_BEYOND = 0.1, 0.35
"""Focal lengths over the long side, half of their distance in logarithm, and the distance beyond either end."""
_TRIED_LIMITS = 0.3, 7.0
"""Focal lengths over the long side beyond which none is tried: fisheyes, and lenses that hardly anybody holds."""
_EQUALLY_GOOD = 0.01


def mapped(job: Job, database: Path, matches: Matches, images: Path, folder: Path, *, turns: bool) -> list[Candidate]:
    """What several ways to solve the cameras make, each at most one candidate; the best by `merit` first.

    Global mapping first. Unless it is `good`, incremental mapping as well. Where neither is `sound`, which happens when
    the lens zooms, or when a camera travels so little that its focal length can run away: a focal length for every
    frame, and at last global mapping with the focal length held at several values. A way that fails leaves the others
    standing.

    Args:
        job: what to solve.
        database: features and matches.
        matches: of that database.
        images: the pictures.
        folder: for the models.
        turns: the camera mostly turns: any focal length would give cameras, all of them wrong ones, so that none is
            tried.
    """
    folder.mkdir(exist_ok=True)
    tracks = tracks_of(database, job.seed)
    count, found = len(job.names), list[Candidate]()

    def globally() -> list[Candidate]:
        models = made(folder / "global", lambda out: map_globally(job, _calibrated(job, database, folder), images, out))
        return judged(models, tracks, matches.pixels)

    def incrementally() -> list[Candidate]:
        models = made(folder / "incremental", lambda out: map_incrementally(job, database, images, out))
        return judged(models, tracks, matches.pixels)

    say("step", [MATCHES, TOTAL, "solving cameras (global)"])
    found += attempted("global mapping", globally, [])
    if not any(c.good(count) for c in found):
        say("step", [_SECOND, TOTAL, "solving cameras (incremental)"])
        found += attempted("incremental mapping", incrementally, [])

    def unsound() -> bool:
        return job.focal_px is None and not turns and not any(c.sound(count) for c in found)

    if unsound():
        found += attempted("a zoom", partial(_with_zoom, job, database, images, folder, tracks, matches), [])
    most = [c for c in found if c.registered >= MIN_REGISTERED * count]
    if unsound() and most:
        say("step", [_SECOND, TOTAL, "solving cameras (with a zoom)"])
        nearest = max(most, key=lambda c: c.held_out_share)  # whatever its lens is like
        zoom = attempted("a zoom by adjustment", partial(zoomed, nearest, tracks, matches.pixels), None)
        found += [] if zoom is None else [zoom]
    if unsound():
        sweep = partial(_with_tried_focals, job, database, images, folder, tracks, matches)
        found += attempted("a sweep over focal lengths", sweep, [])
    return sorted(found, key=Candidate.merit, reverse=True)


def _with_zoom(
    job: Job, database: Path, images: Path, folder: Path, tracks: Tracks, matches: Matches
) -> list[Candidate]:
    """Global mapping with a focal length for every frame, where the fundamental matrices agree on a zoom."""
    own = folder / "zoom.db"
    own.unlink(missing_ok=True)
    pycolmap.Database.open(own).close()
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = "SIMPLE_RADIAL"
    among = set(matches.images)
    with pycolmap.Database.open(database) as data:
        # all of them, so that each has the number that it has in the other database
        names = [image.name for image in sorted(data.read_all_images(), key=lambda image: image.image_id)]
        pycolmap.import_images(own, images, pycolmap.CameraMode.PER_IMAGE, names, reader)
        ids, geometries = data.read_two_view_geometries()
        found = zip(map(pycolmap.pair_id_to_image_pair, ids), geometries, strict=True)
        pairs = {pair: geometry for pair, geometry in found if among.issuperset(pair)}
        with pycolmap.Database.open(own) as copy:
            for camera in copy.read_all_cameras():
                camera.params = np.array([camera.params[0], *matches.centre, *camera.params[3:]])
                copy.update_camera(camera)
            for image_id in matches.images:
                copy.write_keypoints(image_id, data.read_keypoints(image_id))
            for (i, j), geometry in pairs.items():
                copy.write_two_view_geometry(i, j, geometry)
    options = pycolmap.ViewGraphCalibrationOptions()
    options.random_seed = job.seed
    options.min_calibrated_pair_ratio = 0.0
    if not pycolmap.calibrate_view_graph(own, options):
        return []
    with pycolmap.Database.open(own) as data:
        cameras = {i: data.read_camera(data.read_image(i).camera_id) for i in matches.images}
        curve = zoom_curve({i: float(camera.params[0]) for i, camera in cameras.items()}, ROUGH)
        if curve is None:
            return []
        for image_id, focal in curve.items():
            cameras[image_id].params = np.array([focal, *cameras[image_id].params[1:]])
            data.update_camera(cameras[image_id])
        # pairs whose own focal lengths, noisy as they are, disagreed were put out of use; the curve needs them
        for (i, j), geometry in pairs.items():
            data.update_two_view_geometry(i, j, geometry)
    say("step", [_SECOND, TOTAL, "solving cameras (with a zoom)"])
    models = made(folder / "zoom", lambda out: map_globally(job, own, images, out, hold_lens=True))
    return judged(models, tracks, matches.pixels, zooms=True)


def _with_tried_focals(
    job: Job, database: Path, images: Path, folder: Path, tracks: Tracks, matches: Matches
) -> list[Candidate]:
    """Global mapping with the lens held at several focal lengths; at most one candidate.

    Of the focal lengths that predict the held-out observations about equally well, the one nearest to what the file
    says, or to that of a common video lens, is taken; how far they spread tells how uncertain it is. Where the first or
    the last one tried is among them, longer or shorter ones are tried, and where these are no worse up to
    `_TRIED_LIMITS`, the focal length is unknown. What lies between the good and the bad is tried once more.
    """
    common = COMMON_FOCAL if job.start_px is None else job.start_px / max(job.width, job.height)
    tried: dict[float, Candidate | None] = {}

    def mapped_with(ratio: float) -> Candidate | None:
        say("step", [min(MAPPED, _SECOND + len(tried)), TOTAL, f"solving cameras (focal length {len(tried) + 1})"])
        held = folder / "held_focal.db"
        shutil.copy(database, held)
        with pycolmap.Database.open(held) as data:
            camera = data.read_all_cameras()[0]
            camera.params = np.array([ratio * max(camera.width, camera.height), *camera.params[1:]])
            camera.has_prior_focal_length = True
            data.update_camera(camera)
        models = made(folder / f"focal_{ratio:.3f}", partial(map_globally, job, held, images, hold_lens=True))
        return next(iter(judged(models, tracks, matches.pixels)), None)

    def attempt(ratio: float) -> None:
        tried[ratio] = attempted(f"a focal length of {ratio:.2f}", lambda: mapped_with(ratio), None)

    for ratio in _TRIED_FOCALS:
        attempt(ratio)
    for beyond, end in ((-_TRIED_BEYOND, min), (_TRIED_BEYOND, max)):
        while end(tried) in _as_good(tried) and _TRIED_LIMITS[0] < end(tried) * np.exp(beyond) < _TRIED_LIMITS[1]:
            attempt(float(end(tried) * np.exp(beyond)))
    good = _as_good(tried)
    if not good:
        return []
    bracketed = min(tried) < min(good) and max(good) < max(tried)
    if bracketed:
        for edge, bad in (
            (min(good), max(r for r in tried if r < min(good))),
            (max(good), min(r for r in tried if r > max(good))),
        ):
            attempt(float(np.sqrt(edge * bad)))
        good = _as_good(tried)
    ratio = min(good, key=lambda r: abs(np.log(r / common)))
    spread = max(float(max(abs(np.log(other / ratio)) for other in good)), _TRIED_STEP) if bracketed else np.inf
    return [replace(good[ratio], focal_std_pct=100.0 * spread)]


def _as_good(tried: dict[float, Candidate | None]) -> dict[float, Candidate]:
    """Those of the focal lengths tried that predict about as well as the best of them, and place nearly as many frames.

    One frame more or less says nothing about the focal length.
    """
    found = {ratio: candidate for ratio, candidate in tried.items() if candidate is not None}
    most = max((c.registered for c in found.values()), default=0)
    whole = {ratio: c for ratio, c in found.items() if c.registered >= NEARLY_ALL * most}
    share = max((c.held_out_share for c in whole.values()), default=0.0)
    return {ratio: c for ratio, c in whole.items() if c.held_out_share > share - _EQUALLY_GOOD}


def map_globally(job: Job, database: Path, images: Path, folder: Path, *, hold_lens: bool = False) -> None:
    """Place all cameras at once (GLOMAP: Pan et al., ECCV 2024); models go to `folder`."""
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads = 1
    options.random_seed = job.seed
    options.image_names = job.names
    options.mapper.track_required_tracks_per_view = _TRACKS_PER_FRAME
    options.mapper.bundle_adjustment.refine_focal_length = job.focal_px is None and not hold_lens
    options.mapper.bundle_adjustment.refine_extra_params = not hold_lens
    pycolmap.global_mapping(database, images, folder, options)


def map_incrementally(job: Job, database: Path, images: Path, folder: Path) -> None:
    """Place one camera after the other; models go to `folder`."""
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = 1
    options.random_seed = job.seed
    options.image_names = job.names
    options.extract_colors = False
    options.min_model_size = 3
    options.max_num_models = 3
    options.ba_refine_focal_length = job.focal_px is None
    options.mapper.abs_pose_refine_focal_length = job.focal_px is None
    placed = [0]

    def count() -> None:
        placed[0] += 1
        done = min(1.0, placed[0] / len(job.names))
        say("step", [_SECOND + (MAPPED - _SECOND) * done, TOTAL, "solving cameras (incremental)"])

    pycolmap.incremental_mapping(database, images, folder, options, next_image_callback=count)


def made(models: Path, make: Callable[[Path], object]) -> Path:
    """The folder of models, made unless it is there: it is there only when it is complete.

    It is empty where making it took the process down, see `child.left_out_after_a_crash`.
    """
    if not models.exists():
        unfinished = models.with_name(f".{models.name}")
        crashes = unfinished.exists() and left_out_after_a_crash(models.parent.parent)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        if not crashes:
            make(unfinished)
        unfinished.rename(models)
    return models


def _calibrated(job: Job, database: Path, folder: Path) -> Path:
    """A copy of the database with the focal length that the fundamental matrices agree on."""
    if job.focal_px is not None:
        return database
    calibrated = folder / "calibrated.db"
    options = pycolmap.ViewGraphCalibrationOptions()
    options.random_seed = job.seed
    shutil.copy(database, calibrated)
    pycolmap.calibrate_view_graph(calibrated, options)
    return calibrated
