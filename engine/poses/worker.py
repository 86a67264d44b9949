"""The solving process: `python -m engine.poses.worker JOB.json`. The only module that imports pycolmap.

It reports on stdout, one JSON object a line: {"step": [done, total, message]}, {"metric": [name, value]},
{"warning": message} and {"error": {code, what, why, fix}}; pycolmap's own log goes to stderr. It ends when its standard
input closes, so that it never outlives the engine.

Every step leaves its result in the job's work folder and is skipped when it is there: `features.done` and
`matches.done` (with `database.db`), one folder of models for each way of solving, and at last `model.npz`.

Determinism: feature extraction gives the same features whatever the number of threads, everything after it runs on one
thread with the seed, in the order of the frames.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.errors import PoseError
from engine.files import write_atomically, write_text
from engine.poses.holdout import Tracks, build_tracks, held_out_errors
from engine.poses.job import Job, Model
from engine.poses.parallax import rotation_share

_UPSAMPLE_BELOW = 480
"""Long side below which pictures are enlarged twice: SIFT then finds three times as many points, placed better."""
_FINE_SIFT_BELOW = 800
"""Long side up to which SIFT starts at double size (first octave -1); larger pictures have points enough without."""
_MAX_FEATURES = 2048
_MASK_GROWTH = 0.008
"""Of the long side: how much farther than the mask features are left out, since they look at what is around them."""
_EXTRACTION_THREADS = 4
_CHUNK_FRAMES = 4
_CHUNK_PAIRS = 24
_PAIR_STEPS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256)
"""Frames are matched with those so many places later: near ones for long tracks, far ones against drift."""
_EXHAUSTIVE_UP_TO = 60
"""When the steps do not suffice, clips of up to so many frames are matched each with each."""
_TRACKS_PER_FRAME = 300
"""How many tracks of each frame global mapping places the cameras by: more take three times the time for the same
cameras. The rest is triangulated afterwards."""
_MIN_MATCHES = 30
_TURNING_ONLY, _MOSTLY_TURNING = 0.9, 0.6
"""Share of matches between far frames that a camera which only turns explains: none of 0.9 can be solved, and of 0.6
(what moves by itself makes up the rest, or a few near things) only what both mappers can solve unaided. Hand-held
clips that travel have 0.00 to 0.32, a pan after a tennis player 0.70."""
_MIN_MOTION = 0.02
"""Of the long side: matches that move less say nothing about parallax."""
_GOOD_HELD_OUT, _POOR_HELD_OUT = 0.7, 0.5
_HELD_OUT_PX = 2.0
_MIN_REGISTERED, _NEARLY_ALL = 0.5, 0.9
_TRIED_FOCALS = (0.7, 0.85, 1.05, 1.3, 1.6)
_TRIED_STEP = 0.1
"""Focal lengths over the long side, and half of their distance in logarithm."""
_COMMON_FOCAL = 0.9
_EQUALLY_GOOD = 0.01
_COVARIANCE_OPTIMISM = 3.0
"""The covariance takes all observations as independent and the lens model as exact; neither holds."""

_TOTAL = 100.0
_FEATURES, _MATCHES, _SECOND, _MAPPED = 40.0, 65.0, 80.0, 95.0


@dataclass(frozen=True)
class Candidate:
    """What one way of solving made.

    Attributes:
        reconstruction: its largest model.
        registered: how many frames it placed.
        held_out_share: share of held-out observations within `_HELD_OUT_PX`.
        plausible: its focal length and distortion are such as cameras have.
        focal_std_pct: of a focal length that was tried and not solved for; None otherwise.
    """

    reconstruction: pycolmap.Reconstruction
    registered: int
    held_out_share: float
    plausible: bool
    focal_std_pct: float | None = None

    def merit(self) -> tuple[bool, int, float]:
        """The more the better: a possible lens, then frames placed, then held-out observations predicted."""
        return self.plausible, self.registered, self.held_out_share

    def sound(self, frames: int) -> bool:
        """Worth handing on: a possible lens, enough frames placed, most held-out observations predicted."""
        return self.plausible and self.registered >= _MIN_REGISTERED * frames and self.held_out_share >= _POOR_HELD_OUT

    def good(self, frames: int) -> bool:
        """So good that nothing else need be tried."""
        return self.plausible and self.registered == frames and self.held_out_share >= _GOOD_HELD_OUT


def main(arguments: list[str]) -> int:
    """Run the job file named in `arguments`; exit code 0 also where the answer is an error of the clip."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        solve(Job.load(Path(arguments[0])))
    except PoseError as error:
        _say("error", error.as_dict())
    return 0


def solve(job: Job) -> None:
    """Do the job: pictures in, `model.npz` in the work folder out.

    Raises:
        PoseError: `poses.no_parallax`, `poses.no_model` or `poses.too_few_registered`.
    """
    work = Path(job.work)
    pycolmap.set_random_seed(job.seed)
    images, ratio = pictures(job)
    database = work / "database.db"
    extract_features(job, database, images, ratio)
    exhaustive, best = False, None
    while True:
        match(job, database, exhaustive)
        turning = rotation_only_share(database)
        if turning >= _TURNING_ONLY:
            raise _no_parallax(turning)
        found = best_model(job, database, images, work / ("exhaustive" if exhaustive else "sequential"), turning)
        best = max((c for c in (best, found) if c is not None), key=Candidate.merit, default=None)
        if exhaustive or len(job.names) > _EXHAUSTIVE_UP_TO:
            break
        if best is not None and best.plausible and best.registered >= _NEARLY_ALL * len(job.names):
            break
        exhaustive = True
    if best is None or not (best.plausible or job.focal_px):
        raise PoseError(
            "poses.no_model",
            "No camera could be solved for this shot.",
            "Too few points can be followed from frame to frame: blur, bare walls, a picture that mostly moves by "
            "itself, or too large steps between the frames.",
            "Use a sharper or slower shot with texture in view, a smaller step, or a longer frame range.",
        )
    if best.registered < max(3, _MIN_REGISTERED * len(job.names)):
        raise PoseError(
            "poses.too_few_registered",
            f"Only {best.registered} of {len(job.names)} frames could be placed.",
            "The shot falls apart for the solver: a cut, a stretch of blur, or a large thing that moves by itself.",
            "Solve a frame range without the cut or the blurred part, or with less of the moving thing in view.",
        )
    _say("metric", ["held_out_share", best.held_out_share])
    if best.held_out_share < _POOR_HELD_OUT:
        _say(
            "warning",
            f"The cameras predict only {best.held_out_share:.0%} of the tracks held out to test them: check the "
            "result, much in the shot may move by itself or be blurred.",
        )
    _say("step", [_MAPPED, _TOTAL, "refining cameras and lens"])
    finish(job, best, images).save(work / "model.npz")
    _say("step", [_TOTAL, _TOTAL, "cameras solved"])


def extract_features(job: Job, database: Path, images: Path, ratio: float) -> None:
    """SIFT features of every picture, outside of the masks, into the database, one shared camera."""
    done = database.with_name("features.done")
    if done.exists():
        return
    options = pycolmap.FeatureExtractionOptions()
    options.use_gpu = False
    options.num_threads = min(_EXTRACTION_THREADS, os.cpu_count() or 1)
    options.sift.max_num_features = _MAX_FEATURES
    height, width = _size(images / job.names[0])
    options.sift.first_octave = -1 if max(width, height) <= _FINE_SIFT_BELOW else 0
    if not database.exists():
        # All pictures first: threads would otherwise number them in the order in which they happen to finish.
        unfinished = database.with_name(".database.db")
        unfinished.unlink(missing_ok=True)
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = job.model
        if job.focal_px is not None:
            radial = ",0" if job.model == "SIMPLE_RADIAL" else ""
            reader.camera_params = f"{job.focal_px * ratio},{width / 2},{height / 2}{radial}"
        pycolmap.Database.open(unfinished).close()
        pycolmap.import_images(unfinished, images, pycolmap.CameraMode.SINGLE, job.names, reader)
        unfinished.replace(database)
    outside = pycolmap.ImageReaderOptions()
    if job.masks is not None and any((Path(job.masks) / name).exists() for name in job.names):
        outside.mask_path = _feature_masks(job, Path(job.masks), images)
    for start in range(0, len(job.names), _CHUNK_FRAMES):
        _say("step", [_FEATURES * start / len(job.names), _TOTAL, "finding features"])
        pycolmap.extract_features(
            database,
            images,
            image_names=job.names[start : start + _CHUNK_FRAMES],
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=outside,
            extraction_options=options,
        )
    write_text(done, "")


def match(job: Job, database: Path, exhaustive: bool) -> None:
    """Match and verify pairs of pictures; those in the database already are kept."""
    done = database.with_name("matches_exhaustive.done" if exhaustive else "matches.done")
    if done.exists():
        return
    options = pycolmap.FeatureMatchingOptions()
    options.use_gpu = False
    options.num_threads = 1
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = job.seed
    count = len(job.names)
    steps = range(1, count) if exhaustive else _PAIR_STEPS
    pairs = [(job.names[i], job.names[i + step]) for i in range(count) for step in steps if i + step < count]
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = database.with_name("pairs.txt")
    for start in range(0, len(pairs), _CHUNK_PAIRS):
        chunk = pairs[start : start + _CHUNK_PAIRS]
        write_text(database.with_name("pairs.txt"), "".join(f"{a} {b}\n" for a, b in chunk))
        pycolmap.match_image_pairs(database, options, pairing, verification)
        done_share = min(1.0, (start + len(chunk)) / len(pairs))
        _say("step", [_FEATURES + (_MATCHES - _FEATURES) * done_share, _TOTAL, "matching frames"])
    write_text(done, "")


def best_model(job: Job, database: Path, images: Path, folder: Path, turning: float) -> Candidate | None:
    """The best of up to three ways to solve the cameras.

    Global mapping first. Unless it is `good`, incremental mapping as well, and the better by `merit` counts. Where
    neither is `sound`, which happens when a camera travels so little that its focal length can run away, global mapping
    with the focal length held at several values.

    Args:
        job: what to solve.
        database: features and matches.
        images: the pictures.
        folder: for the models.
        turning: what `rotation_only_share` says.

    Raises:
        PoseError: `poses.no_parallax`, where neither is sound and the camera mostly turns.
    """
    folder.mkdir(exist_ok=True)
    tracks = _tracks(database, job.seed)
    _say("step", [_MATCHES, _TOTAL, "solving cameras (global)"])
    models = _made(folder / "global", lambda out: _map_globally(job, _calibrated(job, database, folder), images, out))
    candidates = _judged(models, database, tracks)
    if not any(c.good(len(job.names)) for c in candidates):
        _say("step", [_SECOND, _TOTAL, "solving cameras (incremental)"])
        models = _made(folder / "incremental", lambda out: _map_incrementally(job, database, images, out))
        candidates += _judged(models, database, tracks)
    sound = any(c.sound(len(job.names)) for c in candidates)
    if not sound and turning >= _MOSTLY_TURNING:
        raise _no_parallax(turning)  # any focal length would give cameras, and all of them wrong ones
    if not sound and job.focal_px is None:
        candidates += _with_tried_focals(job, database, images, folder, tracks)
    return max(candidates, key=Candidate.merit, default=None)


def finish(job: Job, best: Candidate, images: Path) -> Model:
    """Go over to plate pixels, drop bad points, adjust once more, and estimate how sure the focal length is."""
    reconstruction = best.reconstruction
    reconstruction.extract_colors_for_all_images(images)
    scale = _to_plate(reconstruction, job)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = job.focal_px is None and best.focal_std_pct is None
    options.refine_extra_params = best.focal_std_pct is None
    options.ceres.loss_function_type = pycolmap.LossFunctionType.HUBER
    options.ceres.loss_function_scale = scale
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.function_tolerance = 1e-6
    _filter(reconstruction, 4.0 * scale)
    _adjuster(reconstruction, options).solve()
    _filter(reconstruction, 3.0 * scale)
    model = _model(job, reconstruction)
    if job.focal_px is not None:
        return model
    std = best.focal_std_pct if best.focal_std_pct is not None else _focal_std_pct(reconstruction, options, model)
    return replace(model, focal_std_pct=np.array([std]))


def pictures(job: Job) -> tuple[Path, float]:
    """(folder of the pictures to solve from, their width over the plate's); small ones are enlarged."""
    source = Path(job.images)
    height, width = _size(source / job.names[0])
    if max(width, height) >= _UPSAMPLE_BELOW:
        return source, width / job.width
    enlarged = Path(job.work) / "enlarged"
    enlarged.mkdir(exist_ok=True)
    for name in job.names:
        if not (enlarged / name).exists():
            picture = cv2.resize(cv2.imread(str(source / name)), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            write_atomically(enlarged / name, cv2.imencode(".png", picture)[1].tofile)
    return enlarged, 2 * width / job.width


def _feature_masks(job: Job, masks: Path, images: Path) -> Path:
    """Folder of masks as COLMAP wants them: of the size of the pictures, 0 = take no feature.

    Every picture gets one: COLMAP takes no feature at all of a picture whose mask is missing.
    """
    folder = Path(job.work) / "kept"
    folder.mkdir(exist_ok=True)
    height, width = _size(images / job.names[0])
    reach = max(1, round(_MASK_GROWTH * max(width, height)))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    for name in job.names:
        moves = np.zeros((height, width), np.uint8)
        if (masks / name).exists():
            mask = cv2.imread(str(masks / name), cv2.IMREAD_GRAYSCALE)
            if mask is None:
                raise OSError(f"cannot read {masks / name}")
            moves = (cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST) > 0).astype(np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), (cv2.dilate(moves, around) == 0).astype(np.uint8) * 255)
    return folder


def _size(picture: Path) -> tuple[int, int]:
    bitmap = pycolmap.Bitmap.read(picture, as_rgb=False)
    if bitmap is None:
        raise OSError(f"cannot read {picture}")
    return bitmap.height, bitmap.width


def rotation_only_share(database: Path) -> float:
    """Share of the matches that rotations alone explain, between each frame and the one that moved most against it."""
    with pycolmap.Database.open(database) as data:
        camera = data.read_all_cameras()[0]
        keypoints = {i.image_id: data.read_keypoints(i.image_id)[:, :2] for i in data.read_all_images()}
    farthest: dict[int, tuple[float, NDArray[np.float64], NDArray[np.float64]]] = {}
    for (i, j), matches in sorted(_verified_matches(database).items()):
        if len(matches) < _MIN_MATCHES:
            continue
        a, b = keypoints[i][matches[:, 0]].astype(np.float64), keypoints[j][matches[:, 1]].astype(np.float64)
        motion = float(np.median(np.linalg.norm(b - a, axis=1)))
        if motion > max(_MIN_MOTION * max(camera.width, camera.height), farthest.get(i, (0.0,))[0]):
            farthest[i] = motion, a, b
    pairs = [(a[::3], b[::3]) for _, a, b in farthest.values()][:: max(1, len(farthest) // 30)]
    if len(pairs) < 3:
        return 0.0
    share = rotation_share(pairs, camera.width, camera.height)
    _say("metric", ["rotation_only_share", share])
    return share


def _no_parallax(share: float) -> PoseError:
    return PoseError(
        "poses.no_parallax",
        "The camera only turns in this shot, it hardly travels.",
        f"Rotation alone explains {share:.0%} of what moves in the picture, as in a pan from a tripod: near things "
        "do not shift against far ones, so nothing tells how far away they are.",
        "Shoot with the camera moving sideways by a few percent of the distance to the scene; a few steps will do.",
    )


def _verified_matches(database: Path) -> dict[tuple[int, int], NDArray[np.int64]]:
    """(image, image) -> (n, 2) features, of all pairs that passed the two-view check."""
    with pycolmap.Database.open(database) as data:
        ids, geometries = data.read_two_view_geometries()
    return {
        tuple(pycolmap.pair_id_to_image_pair(i)): np.asarray(g.inlier_matches, np.int64).reshape(-1, 2)
        for i, g in zip(ids, geometries, strict=True)
        if len(g.inlier_matches)
    }


def _tracks(database: Path, seed: int) -> Tracks:
    with pycolmap.Database.open(database) as data:
        counts = {i.image_id: data.num_keypoints_for_image(i.image_id) for i in data.read_all_images()}
    return build_tracks(_verified_matches(database), counts, seed)


def _made(models: Path, make: Callable[[Path], object]) -> Path:
    """The folder of models, made unless it is there: it is there only when it is complete."""
    if not models.exists():
        unfinished = models.with_name(f".{models.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
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


def _with_tried_focals(job: Job, database: Path, images: Path, folder: Path, tracks: Tracks) -> list[Candidate]:
    """Global mapping with the lens held at several focal lengths; at most one candidate.

    Of the focal lengths that predict the held-out observations about equally well, the one nearest to that of a common
    video lens is taken; how far they spread tells how uncertain it is.
    """
    tried: list[tuple[float, Candidate]] = []
    for index, ratio in enumerate(_TRIED_FOCALS):
        done = _SECOND + (_MAPPED - _SECOND) * index / len(_TRIED_FOCALS)
        _say("step", [done, _TOTAL, f"solving cameras (trying a focal length, {index + 1} of {len(_TRIED_FOCALS)})"])
        held = folder / "held_focal.db"
        shutil.copy(database, held)
        with pycolmap.Database.open(held) as data:
            camera = data.read_all_cameras()[0]
            camera.params = np.array([ratio * max(camera.width, camera.height), *camera.params[1:]])
            camera.has_prior_focal_length = True
            data.update_camera(camera)
        models = _made(folder / f"focal_{ratio}", partial(_map_globally, job, held, images, hold_lens=True))
        tried += [(ratio, candidate) for candidate in _judged(models, database, tracks)]
    if not tried:
        return []
    best = max(c.merit() for _, c in tried)
    equal = [(r, c) for r, c in tried if c.merit()[:2] == best[:2] and c.held_out_share > best[2] - _EQUALLY_GOOD]
    ratio, chosen = min(equal, key=lambda pair: abs(np.log(pair[0] / _COMMON_FOCAL)))
    spread = max(abs(np.log(other / ratio)) for other, _ in equal)
    return [replace(chosen, focal_std_pct=100.0 * max(float(spread), _TRIED_STEP))]


def _map_globally(job: Job, database: Path, images: Path, folder: Path, *, hold_lens: bool = False) -> None:
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads = 1
    options.random_seed = job.seed
    options.mapper.track_required_tracks_per_view = _TRACKS_PER_FRAME
    options.mapper.bundle_adjustment.refine_focal_length = job.focal_px is None and not hold_lens
    options.mapper.bundle_adjustment.refine_extra_params = not hold_lens
    pycolmap.global_mapping(database, images, folder, options)


def _map_incrementally(job: Job, database: Path, images: Path, folder: Path) -> None:
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = 1
    options.random_seed = job.seed
    options.extract_colors = False
    options.min_model_size = 3
    options.max_num_models = 3
    options.ba_refine_focal_length = job.focal_px is None
    options.mapper.abs_pose_refine_focal_length = job.focal_px is None
    placed = [0]

    def count() -> None:
        placed[0] += 1
        done = min(1.0, placed[0] / len(job.names))
        _say("step", [_SECOND + (_MAPPED - _SECOND) * done, _TOTAL, "solving cameras (incremental)"])

    pycolmap.incremental_mapping(database, images, folder, options, next_image_callback=count)


def _judged(models: Path, database: Path, tracks: Tracks) -> list[Candidate]:
    """The largest of the models in a folder, judged; nothing when there is none."""
    made = [pycolmap.Reconstruction(path) for path in sorted(models.iterdir())]
    made = [m for m in made if m.num_reg_images() >= 3]
    if not made:
        return []
    model = max(made, key=lambda m: (m.num_reg_images(), m.num_points3D()))
    camera = next(iter(model.cameras.values()))
    focal, radial = float(camera.params[0]), float(camera.params[3]) if len(camera.params) > 3 else 0.0
    plausible = 0.3 < focal / max(camera.width, camera.height) < 8.0 and abs(radial) < 0.5
    poses = {i: model.image(i).cam_from_world().matrix() for i in model.reg_image_ids()}
    with pycolmap.Database.open(database) as data:
        rays = {i: camera.cam_from_img(data.read_keypoints(i)[:, :2].astype(np.float64)) for i in poses}
    known = np.isin(tracks.image, list(poses))
    track = np.unique(tracks.track[known], return_inverse=True)[1]
    placed = list(zip(tracks.image[known].tolist(), tracks.feature[known].tolist(), strict=True))
    errors = held_out_errors(
        track,
        np.array([rays[i][f] for i, f in placed]).reshape(-1, 2),
        np.array([poses[i] for i, _ in placed]).reshape(-1, 3, 4),
        focal,
    )
    share = float((errors < _HELD_OUT_PX).mean()) if len(errors) else 0.0
    return [Candidate(model, model.num_reg_images(), share, plausible)]


def _to_plate(reconstruction: pycolmap.Reconstruction, job: Job) -> float:
    """Express all pixels in those of the plate; returns how many plate pixels one picture pixel is.

    The pictures' two scales differ a little by rounding; going over to plate pixels before the last adjustment makes
    one focal length right for both axes.
    """
    camera = next(iter(reconstruction.cameras.values()))
    sx, sy = job.width / camera.width, job.height / camera.height
    for image in reconstruction.images.values():
        for point in image.points2D:
            point.xy = point.xy * (sx, sy)
    scale = float(np.sqrt(sx * sy))
    focal = camera.params[0] * scale if job.focal_px is None else job.focal_px
    camera.params = np.array([focal, job.width / 2, job.height / 2, *camera.params[3:]])
    camera.width, camera.height = job.width, job.height
    return scale


def _filter(reconstruction: pycolmap.Reconstruction, max_error: float) -> None:
    """Drop observations that are off by more than `max_error` px, points seen less than 3 times or under 1.5 deg."""
    manager = pycolmap.ObservationManager(reconstruction)
    manager.filter_all_points3D(max_error, 1.5)
    manager.filter_points3D_with_short_tracks(3)
    manager.filter_observations_with_negative_depth()


def _adjuster(
    reconstruction: pycolmap.Reconstruction, options: pycolmap.BundleAdjustmentOptions
) -> pycolmap.CeresBundleAdjuster:
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in sorted(reconstruction.reg_image_ids()):
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    return pycolmap.create_default_ceres_bundle_adjuster(options, config, reconstruction)


def _focal_std_pct(
    reconstruction: pycolmap.Reconstruction, options: pycolmap.BundleAdjustmentOptions, model: Model
) -> float:
    """One standard deviation of the focal length by the bundle adjustment's covariance, NaN when unknown."""
    covariance_options = pycolmap.BACovarianceOptions()
    # Not POSES, which is faster and wrong in 4.2.1: it differs by orders of magnitude from one call to the next.
    covariance_options.params = pycolmap.BACovarianceOptionsParams.ALL
    adjuster = _adjuster(reconstruction, options)
    covariance = pycolmap.estimate_ba_covariance(covariance_options, reconstruction, adjuster)
    camera = next(iter(reconstruction.cameras.values()))
    block = None if covariance is None else covariance.get_other_params_cov(camera.params)
    if block is None:
        return float("nan")
    noise = float(np.sqrt((model.observation_error**2).mean() / 2))
    return 100.0 * _COVARIANCE_OPTIMISM * noise * float(np.sqrt(block[0, 0])) / float(camera.params[0])


def _model(job: Job, reconstruction: pycolmap.Reconstruction) -> Model:
    row_of_name = {name: row for row, name in enumerate(job.names)}
    placed = sorted((row_of_name[reconstruction.image(i).name], i) for i in reconstruction.reg_image_ids())
    camera = next(iter(reconstruction.cameras.values()))
    row_of_image = {i: row for row, i in placed}
    reconstruction.update_point_3d_errors()
    points = sorted(reconstruction.points3D.items())
    seen = sorted(
        (row_of_image[element.image_id], index, element.image_id, element.point2D_idx)
        for index, (_, point) in enumerate(points)
        for element in point.track.elements
    )
    pixel = np.array([reconstruction.image(i).points2D[k].xy for _, _, i, k in seen]).reshape(-1, 2)
    predicted = np.array([reconstruction.image(i).project_point(points[p][1].xyz) for _, p, i, _ in seen])
    return Model(
        rows=np.array([row for row, _ in placed], np.int64),
        world_from_camera=np.array(
            [np.vstack([reconstruction.image(i).cam_from_world().inverse().matrix(), (0, 0, 0, 1)]) for _, i in placed]
        ),
        lens=np.array([camera.params[0], camera.params[3] if job.model == "SIMPLE_RADIAL" else 0.0]),
        focal_std_pct=np.zeros(1),
        xyz=np.array([point.xyz for _, point in points]).reshape(-1, 3),
        rgb=np.array([point.color for _, point in points], np.uint8).reshape(-1, 3),
        error_px=np.array([point.error for _, point in points]),
        observation_row=np.array([row for row, _, _, _ in seen], np.int64),
        observation_point=np.array([point for _, point, _, _ in seen], np.int64),
        observation_pixel=pixel,
        observation_error=np.linalg.norm(predicted.reshape(-1, 2) - pixel, axis=1),
    )


def _say(kind: str, value: object) -> None:
    print(json.dumps({kind: value}), flush=True)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read, which Python cannot shut down while it waits
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
