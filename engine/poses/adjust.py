"""The last adjustment of cameras, points and lens, over all tracks; which lens it is, and how sure that is."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.poses.attempt import attempted
from engine.poses.features import MAPPED, TOTAL, Matches
from engine.poses.holdout import Tracks
from engine.poses.job import COMMON_FOCAL, COMMON_SPREAD, Job, Model
from engine.poses.judge import (
    Candidate,
    judged_model,
    lens_of,
    pixels_in,
    prediction_errors,
    predictive_error,
)
from engine.poses.output import model_of
from engine.poses.register import place_others
from engine.poses.shutter import READOUTS, followed, read_at_once, speeds
from engine.poses.speech import say
from engine.poses.whole import keep_whole
from engine.poses.zoom import SOLVED, focals_of, set_focals, split_cameras, zoom_curve

_LOSS_PX = 1.0
FACTORISED = 200
"""Up to how many placed frames the equations are factorised; beyond, they are solved by conjugate gradients (Agarwal et
al., Bundle Adjustment in the Large, 2010). In a long clip a frame sees what hundreds of others see, which fills the
factor: for 1,000 frames a step took 45 s, with gradients 8 s."""
_SETTLED = 1e-5
"""Share of the cost that a step of theirs must gain. Ten times less took three times the steps to the same cameras."""
_FITTING_TRACKS = 250
"""How many tracks of each frame lenses are compared by: enough to tell them apart, at a third of the cost of all."""
_DEMAND, _DEMAND_UNEVEN = 0.015, 0.05
"""By which share a lens with more parameters must predict held-out tracks better than the simple one to be taken; more
for one whose pixels are not square, as nearly all are."""
_UNSURE = 0.05
"""Relative standard deviation of the focal length from which on it matters what lenses are like."""
_UNSURE_FACTOR = 1.5
"""How much more uncertain it is then: linear error propagation falls short so far from the truth (a slow pan of the
shot suite was 17 % off where 7 % were stated)."""
_UNSURE_REACH = 1.25
"""How much farther the stated range goes then: what moves by itself can bend the whole (a car in a third of the frame,
`moving_car` of the shot suite, makes the focal length 52 % too long)."""
_DEMAND_ZOOM = 0.1
"""The same for a focal length of every frame's own."""
_ZOOM_ROUNDS, _ZOOM_STILL = 4, 0.001
"""Adjustments, of a hundred steps each, in which focal lengths creep from far off to those of a zoom; and the change of
their logarithm that ends it."""
_ZOOM_CHANGES, _EQUAL_ZOOM = (0.02, 0.04, 0.08, 0.12, 0.16, 0.24, 0.36), 0.02
"""Changes of all focal lengths of a zoom that are tried, in logarithm, and up to which increase of the predictive error
they could as well be true: zooming in and moving ahead look nearly alike."""
_SHUTTER_GAIN, _SHUTTER_POINTS = 0.03, 60
"""By which share taking out the delay of the rows must improve the prediction of held-out tracks to speak of a rolling
shutter (`rolling_shutter` of the shot suite .064, shots without one .000 to .012), and points that telling it takes."""
_STABILISED_GAIN, _STABILISED_FRAMES, _STABILISED_STEPS = 0.07, 8, 25
"""By which share a principal point for every frame must improve the prediction of held-out tracks to speak of a
stabilised clip (stabilised ones .09 to .30, others up to .05, most below 0), frames that telling it takes, and steps of
its adjustment."""
_EXACT_PX = 0.05
"""Errors below it are no matter of the lens: features of pictures have more."""
_WANDERS = 0.03
"""From which share on it matters for the range of the focal length: a window that wanders makes it too long, by up to
.8 of that share (4.4, 8.6 and 16.5 % for shares of .054, .131 and .235)."""
_EQUAL = 0.01
"""Lenses that predict as well as the one taken but for this share could as well be true: their focal lengths count."""
_COVARIANCE_OPTIMISM = 1.5
"""The covariance takes all observations as independent; they are not."""
_SIGMAS = 2.0
"""Standard deviations from the middle to the ends of the range that is stated."""


@dataclass(frozen=True)
class Kind:
    """A lens model: COLMAP's name, and whether its principal point is solved as well."""

    model: str
    off_centre: bool = False


SIMPLE = Kind("SIMPLE_RADIAL")
"""What mapping uses, and what stays unless something else predicts clearly better."""
_OTHERS = (
    Kind("SIMPLE_PINHOLE"),
    Kind("RADIAL"),
    Kind("SIMPLE_RADIAL", off_centre=True),
    Kind("OPENCV"),
    Kind("OPENCV", off_centre=True),
)
"""From few parameters to many. Without distortion is no alternative to be taken (a distortion of nothing says the same)
but tells how sure the focal length is."""


@dataclass(frozen=True)
class Fit:
    """A lens fitted to some of the tracks.

    Attributes:
        kind: which lens.
        lens: (8,) see `lens_of`; plate pixels.
        errors: with which it predicts tracks that had no part in it, pixels.
    """

    kind: Kind
    lens: NDArray[np.float64]
    errors: NDArray[np.float64]

    @property
    def focal(self) -> float:
        """Mean over both axes, pixels."""
        return float(self.lens[:2].mean())


def adjust(job: Job, best: Candidate, matches: Matches, tracks: Tracks, images: Path) -> Model | None:
    """Go over to plate pixels, drop bad points, choose the lens, adjust all, and say how sure the focal length is.

    Frames that mapping did not place, or was not asked to, are placed by the points of the others. Those that do not
    hang together with the others after all are left out.

    Args:
        job: what to solve.
        best: what mapping made; its model is changed.
        matches: of the database it was made from, all frames that are to be placed among them.
        tracks: of that database, which lenses are compared by.
        images: the pictures.

    Returns:
        The model; None where points that are good enough to hold cameras together are too few, as where all are seen
        from nearly one direction.
    """
    model = best.reconstruction
    model.extract_colors_for_all_images(images)
    scale = to_plate(model, job)
    pixels = {i: p * (job.width / matches.width, job.height / matches.height) for i, p in matches.pixels.items()}
    model, spread = _with_lens(job, best, model, scale, tracks, pixels, matches.pairs)
    if model.num_reg_images() < len(matches.images):
        say("step", [MAPPED + 4.5, TOTAL, "placing the frames between"])
        place_others(model, {i: job.names[i - 1] for i in matches.images}, pixels, matches.pairs, 4.0 * scale, job.seed)
        settle(model, scale)
    if apart := keep_whole(model):
        print(f"images {apart} do not hang together with the others", file=sys.stderr)
    if model.num_reg_images() < 3:
        return None
    made = model_of(job, model)
    return replace(made, focal_range=made.lens[0] * np.exp(spread))


def settle(model: pycolmap.Reconstruction, scale: float) -> None:
    """Adjust all cameras and points once every frame is placed and the lens is known.

    Args:
        model: changed.
        scale: plate pixels in one pixel of the pictures.
    """
    options = bundle_options(scale, focal=False, distortion=False)
    options.ceres.max_num_images_direct_sparse_cpu_solver = FACTORISED
    options.ceres.solver_options.function_tolerance = _SETTLED
    for limit in (4.0, 3.0):
        filter_points(model, limit * scale)
        bundle(model, options)


def _with_lens(
    job: Job,
    best: Candidate,
    model: pycolmap.Reconstruction,
    scale: float,
    tracks: Tracks,
    pixels: dict[int, NDArray[np.float64]],
    pairs: dict[tuple[int, int], NDArray[np.int64]],
) -> tuple[pycolmap.Reconstruction, tuple[float, float]]:
    """The model with the lens that suits it, adjusted; and how far its focal length may be off, in logarithm."""
    if best.zooms:
        filter_points(model, 4.0 * scale)
        return _adjust_zoom(model, focals_of(model), scale, tracks, pixels)
    kind = Kind("SIMPLE_PINHOLE") if job.model == "SIMPLE_PINHOLE" else SIMPLE
    held = best.focal_std_pct is not None
    options = bundle_options(scale, focal=job.focal_px is None and not held, distortion=not held)
    _set_lens(model, kind)
    filter_points(model, 4.0 * scale)
    bundle(model, options)
    filter_points(model, 3.0 * scale)
    if not options.refine_focal_length:
        return model, _both_ways((best.focal_std_pct or 0.0) / 100.0)
    some = _some_points(model, tracks)
    base, some = _fitted(some, kind, options, tracks, pixels)
    fits = [base]
    for index, other in enumerate(_alternatives(job)):
        say("step", [MAPPED + 2.0 * index / len(_OTHERS), TOTAL, "comparing lenses"])
        fit = attempted(f"the lens {other}", partial(_fitted, some, other, options, tracks, pixels), None)
        fits += [] if fit is None else [fit[0]]
    chosen = chosen_lens(fits)
    zoomed = partial(_zoom, some, options, tracks, pixels, fits)
    zoom = attempted("a zoom", zoomed, None) if job.model == "AUTO" else None
    error = attempted("stabilisation", partial(wandering_error, some, options, tracks, pixels), np.inf)
    best_error = min(predictive_error(fit.errors) for fit in fits)
    gain = (best_error - error) / max(best_error, _EXACT_PX * scale)
    if gain > _STABILISED_GAIN and (zoom is None or error < zoom[1]):
        return model, _guessed(job, model, options)
    if zoom is not None:
        return _adjust_zoom(model, zoom[0], scale, tracks, pixels)
    say("metric", ["held_out_px", predictive_error(chosen.errors)])
    _warn_of_shutter(
        attempted("the rolling shutter", partial(readout, some, chosen.kind, options, tracks, pixels, pairs), 0.0)
    )
    # How sure the focal length is, is unknown where it cannot be computed.
    noise = attempted("the covariance", partial(_noise_std, some, options), np.inf)
    jackknife = attempted("the jackknife", partial(_jackknife_std, some, chosen.kind, options), np.inf)
    std = float(np.hypot(noise, jackknife))
    say("step", [MAPPED + 4.0, TOTAL, "refining cameras and lens"])
    options.refine_principal_point = chosen.kind.off_centre
    if chosen is not base:
        _set_lens(model, chosen.kind, chosen.lens)
        bundle(model, options)
        filter_points(model, 3.0 * scale)
    bundle(model, options)
    focal = float(lens_of(next(iter(model.cameras.values())))[0])
    with np.errstate(divide="ignore"):  # 0 and infinity where it is not known
        low, high = np.log(focal_range(focal, std, chosen, fits, gain)) - np.log(focal)
    if high - low > 4.0 * _UNSURE:
        return model, _likely(job, model, options, _UNSURE_FACTOR * float(high - low) / 4.0)
    return model, (float(low), float(high))


def _guessed(
    job: Job, model: pycolmap.Reconstruction, options: pycolmap.BundleAdjustmentOptions
) -> tuple[float, float]:
    """Give the model of a stabilised clip the focal length that is likely, and say so; see `_likely`.

    No focal length can be measured: with a principal point for every frame, 540 to 700 px predict the held-out tracks
    of `eis_moving_crop` equally well (587 px are true), and without one, distortion stands in for it.
    """
    say("step", [MAPPED + 4.0, TOTAL, "refining cameras and lens"])
    say(
        "warning",
        "The clip looks stabilised in the camera or by software: the centre of the lens moves from frame to frame. The "
        "focal length is a guess, and the cameras may be off by a few degrees. Use the unstabilised recording, or "
        "shoot with stabilisation off.",
    )
    _set_lens(model, SIMPLE, np.array([*lens_of(next(iter(model.cameras.values())))[:4], 0.0, 0.0, 0.0, 0.0]))
    options.refine_extra_params = False
    return _likely(job, model, options, float("inf"))


def _both_ways(std: float) -> tuple[float, float]:
    return -_SIGMAS * std, _SIGMAS * std


def _alternatives(job: Job) -> list[Kind]:
    """Lenses that could be true besides the simple one: none that changes what is known."""
    return [
        kind
        for kind in (_OTHERS if job.model == "AUTO" else ())
        if not (kind.off_centre and job.principal_px is not None)
        and not (kind.model == "OPENCV" and job.pixel_aspect is not None)
    ]


def _likely(
    job: Job, model: pycolmap.Reconstruction, options: pycolmap.BundleAdjustmentOptions, std: float
) -> tuple[float, float]:
    """Give the model a focal length between what the pictures say and what lenses are like, by how sure either is.

    Where the camera's motion hardly tells the focal length, any that is plausible fits as well as the one that noise
    happened to favour, and still less does it tell where the lens has its centre: that is where it is as a rule.
    Returns how far the focal length may be off, in logarithm.
    """
    expected = job.start_px if job.start_px is not None else COMMON_FOCAL * max(job.width, job.height)
    pictures, habit = 1.0 / std**2, 1.0 / COMMON_SPREAD**2
    for camera in model.cameras.values():
        lens = lens_of(camera)
        focal = float(lens[:2].mean())
        likely = np.exp((pictures * np.log(focal) + habit * np.log(expected)) / (pictures + habit))
        lens[:2] *= likely / focal
        lens[2:4] = job.centre
        _set_lens(model, Kind(camera.model.name), lens)
    options.refine_focal_length = False
    options.refine_principal_point = False
    bundle(model, options)
    return _both_ways(_UNSURE_REACH * float(1.0 / np.sqrt(pictures + habit)))


def chosen_lens(fits: list[Fit]) -> Fit:
    """The first of `fits`, unless a lens with more parameters predicts held-out tracks clearly better."""
    best = fits[0]
    for fit in fits[1:]:
        if fit.kind.model == "SIMPLE_PINHOLE" or not _possible(fit.lens):
            continue
        demand = _DEMAND_UNEVEN if fit.kind.model == "OPENCV" else _DEMAND
        if predictive_error(fit.errors) < (1.0 - demand) * predictive_error(best.errors):
            best = fit
    return best


def focal_range(
    focal: float, std: float, chosen: Fit, fits: list[Fit], wander_gain: float = 0.0
) -> tuple[float, float]:
    """Between which values the focal length lies, pixels.

    What noise and the choice of tracks leave open (`std`, relative), and what the lens model leaves open: every lens
    that predicts the held-out tracks as well as the chosen one could be the true one, and a principal point that
    wanders, which predicts them by the share `wander_gain` better, would make it shorter.
    """
    limit = (1.0 + _EQUAL) * predictive_error(chosen.errors)
    logs = [np.log(fit.focal / chosen.focal) for fit in fits if predictive_error(fit.errors) <= limit]
    low, high = min([0.0, *logs]), max([0.0, *logs])
    reach = _SIGMAS * std
    if wander_gain > _WANDERS:
        low = -float(np.hypot(low, wander_gain))
    return focal * float(np.exp(-np.hypot(reach, low))), focal * float(np.exp(np.hypot(reach, high)))


def _possible(lens: NDArray[np.float64]) -> bool:
    fx, fy, cx, cy, k1, k2, *_ = lens.tolist()
    return bool(0.4 < fx / fy < 2.5 and abs(k1) < 0.6 and abs(k2) < 1.0 and cx > 0 and cy > 0)


def to_plate(model: pycolmap.Reconstruction, job: Job) -> float:
    """Express all pixels in those of the plate; returns how many plate pixels one picture pixel is.

    The pictures' two scales differ a little by rounding; going over to plate pixels before the last adjustment makes
    one focal length right for both axes.
    """
    camera = next(iter(model.cameras.values()))
    sx, sy = job.width / camera.width, job.height / camera.height
    for image in model.images.values():
        for point in image.points2D:
            point.xy = point.xy * (sx, sy)
    scale = float(np.sqrt(sx * sy))
    for camera in model.cameras.values():
        focal = camera.params[0] * scale if job.focal_px is None else job.focal_px
        camera.params = np.array([focal, *job.centre, *camera.params[3:]])
        camera.width, camera.height = job.width, round(job.height)
    return scale


def bundle_options(scale: float, *, focal: bool, distortion: bool) -> pycolmap.BundleAdjustmentOptions:
    """Options of a robust bundle adjustment on one thread.

    Args:
        scale: plate pixels in one pixel of the pictures.
        focal: solve for the focal length.
        distortion: solve for the distortion.
    """
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = focal
    options.refine_extra_params = distortion
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = _LOSS_PX * scale
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.function_tolerance = 1e-6
    return options


def bundle(model: pycolmap.Reconstruction, options: pycolmap.BundleAdjustmentOptions) -> None:
    """Adjust all cameras, points and lenses of a model."""
    _adjuster(model, options).solve()


def filter_points(model: pycolmap.Reconstruction, max_error: float) -> None:
    """Drop observations that are off by more than `max_error` px, points seen less than 3 times or under 1.5 deg."""
    manager = pycolmap.ObservationManager(model)
    manager.filter_all_points3D(max_error, 1.5)
    manager.filter_points3D_with_short_tracks(3)
    manager.filter_observations_with_negative_depth()


def _adjuster(
    model: pycolmap.Reconstruction, options: pycolmap.BundleAdjustmentOptions
) -> pycolmap.CeresBundleAdjuster:
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in sorted(model.reg_image_ids()):
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    return pycolmap.create_default_ceres_bundle_adjuster(options, config, model)


def _set_lens(model: pycolmap.Reconstruction, kind: Kind, lens: NDArray[np.float64] | None = None) -> None:
    """Give the cameras of a model another lens model; `lens` (8,), None = as it is."""
    for camera in model.cameras.values():
        fx, fy, cx, cy, k1, k2, p1, p2 = (lens_of(camera) if lens is None else lens).tolist()
        camera.model = getattr(pycolmap.CameraModelId, kind.model)
        camera.params = np.array(
            {
                "SIMPLE_PINHOLE": [fx, cx, cy],
                "SIMPLE_RADIAL": [fx, cx, cy, k1],
                "RADIAL": [fx, cx, cy, k1, k2],
                "OPENCV": [fx, fy, cx, cy, k1, k2, p1, p2],
            }[kind.model]
        )


def _some_points(model: pycolmap.Reconstruction, tracks: Tracks) -> pycolmap.Reconstruction:
    """A copy with the longest tracks only, `_FITTING_TRACKS` of each frame, and none of `tracks`."""
    kept = pycolmap.Reconstruction(model)
    held = set(zip(tracks.image.tolist(), tracks.feature.tolist(), strict=True))
    count = dict.fromkeys(kept.reg_image_ids(), 0)
    by_length = sorted(kept.points3D.items(), key=lambda item: (-item[1].track.length(), item[0]))
    for number, point in by_length:
        seen = [(e.image_id, e.point2D_idx) for e in point.track.elements]
        if held.isdisjoint(seen) and any(count[image] < _FITTING_TRACKS for image, _ in seen):
            for image, _ in seen:
                count[image] += 1
        else:
            kept.delete_point3D(number)
    return kept


def _fitted(
    some: pycolmap.Reconstruction,
    kind: Kind,
    options: pycolmap.BundleAdjustmentOptions,
    tracks: Tracks,
    pixels: dict[int, NDArray[np.float64]],
) -> tuple[Fit, pycolmap.Reconstruction]:
    model = pycolmap.Reconstruction(some)
    _set_lens(model, kind)
    options.refine_principal_point = kind.off_centre
    bundle(model, options)
    _, errors = prediction_errors(model, tracks, pixels)
    return Fit(kind, lens_of(next(iter(model.cameras.values()))), errors), model


def zoomed(candidate: Candidate, tracks: Tracks, pixels: dict[int, NDArray[np.float64]]) -> Candidate | None:
    """The cameras of a candidate with a focal length for every frame, where these make a zoom.

    Cameras of one lens that push in instead of zooming lead there: from them the focal lengths find their way.

    Args:
        candidate: in the pixels of the pictures.
        tracks: of the database.
        pixels: image id -> (n, 2) features.
    """
    options = bundle_options(1.0, focal=True, distortion=False)
    split, before = _undistorted(_some_points(candidate.reconstruction, tracks)), np.zeros(0)
    for _ in range(_ZOOM_ROUNDS):
        bundle(split, options)
        filter_points(split, 8.0)
        now = np.log(list(focals_of(split).values()))
        if len(before) and np.abs(now - before).max() < _ZOOM_STILL:
            break
        before = now
    curve = zoom_curve(focals_of(split), SOLVED)
    if curve is None:
        return None
    options.refine_focal_length = False
    model = _undistorted(candidate.reconstruction)
    set_focals(model, curve)
    for _ in range(2):
        bundle(model, options)
    found = judged_model(model, "zoom", tracks, pixels, zooms=True)
    errors = [prediction_errors(m, tracks, pixels)[1] for m in (model, candidate.reconstruction)]
    better = predictive_error(errors[0]) < (1.0 - _DEMAND_ZOOM) * predictive_error(errors[1])
    return found if better else None


def _undistorted(model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """A copy with a camera for every image, none of which distorts: as phones and video lenses hardly do."""
    split = split_cameras(model)
    for camera in split.cameras.values():
        camera.params = np.array([*camera.params[:3], 0.0])
    return split


def _zoom(
    some: pycolmap.Reconstruction,
    options: pycolmap.BundleAdjustmentOptions,
    tracks: Tracks,
    pixels: dict[int, NDArray[np.float64]],
    fits: list[Fit],
) -> tuple[dict[int, float], float] | None:
    """Image -> focal length, where one for every frame predicts held-out tracks clearly better than any one lens; and
    the error with which these do, pixels.
    """
    split = split_cameras(some)
    own = bundle_options(options.ceres.loss_function_scale / _LOSS_PX, focal=True, distortion=False)
    bundle(split, own)
    curve = zoom_curve(focals_of(split), SOLVED)
    if curve is None:
        return None
    set_focals(split, curve)
    own.refine_focal_length = False
    bundle(split, own)
    error = predictive_error(prediction_errors(split, tracks, pixels)[1])
    best = min(predictive_error(fit.errors) for fit in fits)
    return (curve, error) if error < (1.0 - _DEMAND_ZOOM) * best else None


def _adjust_zoom(
    model: pycolmap.Reconstruction,
    zoom: dict[int, float],
    scale: float,
    tracks: Tracks,
    pixels: dict[int, NDArray[np.float64]],
) -> tuple[pycolmap.Reconstruction, tuple[float, float]]:
    """The cameras of a zoom, adjusted over all tracks, and how far its focal lengths may be off, in logarithm."""
    split = split_cameras(model)
    set_focals(split, zoom)
    options = bundle_options(scale, focal=False, distortion=False)
    bundle(split, options)
    for limit in (4.0, 3.0):
        # with the focal lengths free, from cameras that fit them
        options.refine_focal_length = True
        bundle(split, options)
        curve = zoom_curve(focals_of(split), SOLVED)
        set_focals(split, zoom if curve is None else curve)
        options.refine_focal_length = False
        bundle(split, options)
        filter_points(split, limit * scale)
    bundle(split, options)
    return split, _both_ways(_zoom_std(_some_points(split, tracks), options, tracks, pixels))


def _zoom_std(
    some: pycolmap.Reconstruction,
    options: pycolmap.BundleAdjustmentOptions,
    tracks: Tracks,
    pixels: dict[int, NDArray[np.float64]],
) -> float:
    """Relative deviation of a zoom's focal lengths as a whole: which factors on all of them predict about as well;
    infinite where the largest that is tried does.
    """
    focals = focals_of(some)

    def missed(factor: float) -> float:
        model = pycolmap.Reconstruction(some)
        set_focals(model, {i: factor * focal for i, focal in focals.items()})
        bundle(model, options)
        return predictive_error(prediction_errors(model, tracks, pixels)[1])

    limit = (1.0 + _EQUAL_ZOOM) * missed(1.0)
    as_good = [change for change in _ZOOM_CHANGES if min(missed(np.exp(change)), missed(np.exp(-change))) <= limit]
    if _ZOOM_CHANGES[-1] in as_good:
        return float("inf")
    return max(as_good, default=_ZOOM_CHANGES[0]) / _SIGMAS


def wandering_error(
    some: pycolmap.Reconstruction,
    options: pycolmap.BundleAdjustmentOptions,
    tracks: Tracks,
    pixels: dict[int, NDArray[np.float64]],
) -> float:
    """How well a principal point for every frame predicts held-out tracks, pixels; infinite for too few frames.

    Stabilisation cuts a window out of the picture that wanders over it, and the centre of the lens wanders the other
    way within the window. Turning the camera does nearly the same, so that it hardly shows in the residuals.
    """
    if some.num_reg_images() < _STABILISED_FRAMES:
        return float("inf")
    own = bundle_options(options.ceres.loss_function_scale / _LOSS_PX, focal=False, distortion=False)
    own.refine_principal_point = True
    own.ceres.solver_options.max_num_iterations = _STABILISED_STEPS
    errors = []
    # The distortion may have stood in for the wandering.
    for split in (_undistorted(some), split_cameras(some)):
        bundle(split, own)
        errors.append(predictive_error(prediction_errors(split, tracks, pixels)[1]))
    return min(errors)


def readout(
    some: pycolmap.Reconstruction,
    kind: Kind,
    options: pycolmap.BundleAdjustmentOptions,
    tracks: Tracks,
    pixels: dict[int, NDArray[np.float64]],
    pairs: dict[tuple[int, int], NDArray[np.int64]],
) -> float:
    """Delay of the last row against the first, over the time between two frames, that predicts held-out tracks best.

    0 where none predicts clearly better than none, or too little can be followed from frame to frame.
    """
    height, speed = next(iter(some.cameras.values())).height, speeds(pixels, pairs)
    tracks, base = followed(tracks, speed), pycolmap.Reconstruction(some)
    for number, point in some.points3D.items():
        if any(np.isnan(speed[e.image_id][e.point2D_idx, 0]) for e in point.track.elements):
            base.delete_point3D(number)
    if base.num_points3D() < _SHUTTER_POINTS:
        return 0.0

    def missed(delay: float) -> float:
        at_once = read_at_once(pixels, speed, delay, height)
        for i in base.reg_image_ids():
            for point, xy in zip(base.image(i).points2D, at_once[i], strict=True):
                point.xy = xy
        return predictive_error(_fitted(base, kind, options, tracks, at_once)[0].errors)

    errors = {delay: missed(delay) for delay in (0.0, *READOUTS)}
    best = min(errors, key=lambda delay: errors[delay])
    return best if errors[best] < (1.0 - _SHUTTER_GAIN) * errors[0.0] else 0.0


def _warn_of_shutter(delay: float) -> None:
    say("metric", ["readout_share", delay])
    if delay:
        say(
            "warning",
            f"The camera reads its rows one after another (a rolling shutter), the last about {abs(delay):.2f} of a "
            f"frame {'after' if delay > 0 else 'before'} the first. Cameras may be off by a few tenths of a degree and "
            "sway where the camera moves fast. Slower moves, or a camera with a global shutter, avoid it.",
        )


def _jackknife_std(some: pycolmap.Reconstruction, kind: Kind, options: pycolmap.BundleAdjustmentOptions) -> float:
    """Relative standard deviation of the focal length when a quarter of the tracks is left out at a time.

    Tracks of one group fill four cells of a four by four grid over the picture, no two in one row or column.

    Unlike the covariance this sees errors that tracks in one place share: a distortion that the lens model lacks,
    things that move, a rolling shutter. (Delete-a-group jackknife: Shao & Tu, The Jackknife and Bootstrap, 2.3.)
    """
    camera = next(iter(some.cameras.values()))
    size = np.array([camera.width, camera.height])
    quarter, pixels = {}, pixels_in(some)
    for number, point in some.points3D.items():
        where = np.mean([pixels[e.image_id][e.point2D_idx] for e in point.track.elements], axis=0)
        column, line = np.clip(4 * where / size, 0, 3).astype(int)
        quarter[number] = int(column + 2 * line) % 4
    options.refine_principal_point = kind.off_centre
    logs = []
    for left_out in range(4):
        model = pycolmap.Reconstruction(some)
        for number in [n for n, q in quarter.items() if q == left_out]:
            model.delete_point3D(number)
        _set_lens(model, kind)
        bundle(model, options)
        logs.append(np.log(lens_of(next(iter(model.cameras.values())))[:2].mean()))
    return float(np.sqrt(3 * np.var(logs)))


def _noise_std(some: pycolmap.Reconstruction, options: pycolmap.BundleAdjustmentOptions) -> float:
    """Relative standard deviation of the focal length by the bundle adjustment's covariance; 0 when unknown."""
    covariance_options = pycolmap.BACovarianceOptions()
    # Not POSES, which is faster and wrong in 4.2.1: it differs by orders of magnitude from one call to the next.
    covariance_options.params = pycolmap.BACovarianceOptionsParams.ALL
    options.refine_principal_point = False
    adjuster = _adjuster(some, options)
    covariance = pycolmap.estimate_ba_covariance(covariance_options, some, adjuster)
    camera = next(iter(some.cameras.values()))
    block = None if covariance is None else covariance.get_other_params_cov(camera.params)
    if block is None:
        return 0.0
    some.update_point_3d_errors()
    # Robust, as the loss is: the mean length of a two-dimensional error is 1.25 times its deviation along either axis.
    noise = float(np.median([point.error for point in some.points3D.values()])) / 1.25
    return _COVARIANCE_OPTIMISM * noise * float(np.sqrt(block[0, 0])) / float(camera.params[0])
