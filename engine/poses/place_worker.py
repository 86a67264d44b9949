"""The process that puts points into the world of given cameras: `python -m engine.poses.place_worker JOB.json`.

It speaks like `engine.poses.worker` and finds and matches features with it; but no camera is moved. Its result is a
`CameraTrack` in the job's work folder, in plate pixels and in the world and scale of the cameras given.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.cameras.colmap import read_colmap
from engine.cameras.document import MAX_SHIFT, FollowedPoints, GivenCamera
from engine.cameras.tracks import join_tracks
from engine.clip.track import CameraTrack, SparsePoints
from engine.errors import CameraError, CvdError
from engine.geometry.arrays import rigid_inverse
from engine.poses import features
from engine.poses.holdout import Tracks, held_out_errors
from engine.poses.output import drop_behind
from engine.poses.parallax import tolerance
from engine.poses.place_job import PlaceJob
from engine.poses.speech import end_with_parent, say

_WRONG, _DOUBTFUL = 0.01, 0.001
"""Of the long side: error in the median with which the cameras predict tracks that were held out. Cameras of depth
sensors, a degree or two off, have 0.002 to 0.004, right ones 0.0003."""
_FITS = 0.0005
"""Of the long side: error of a camera that is right. One that is late by a frame of a slow move may have 0.0014."""
_BETTER, _MUCH_BETTER = 0.8, 0.5
"""Of its error: what is left of that when a camera is shifted, for a warning and for a refusal."""
_MIN_HELD_OUT = 50
_MIN_POINTS = 20
_MIN_MATCHES = 30
_TURNING_ONLY = 0.85
"""Share of matches between far frames that rotations alone explain from which on hardly anything may have parallax."""
_SAME_PLACE, _SAME_DIRECTION = 1e-6, 1e-5
_TOTAL, _MATCHED, _CHECKED = 100.0, 85.0, 90.0


@dataclass(frozen=True)
class _View:
    """A given camera in the pixels of the pictures: its lens, and camera_from_world (3, 4)."""

    lens: pycolmap.Camera
    camera_from_world: NDArray[np.float64]


@dataclass(frozen=True)
class _Standing:
    """How well rotations alone explain the matches.

    Attributes:
        share: of the matches between far frames that they explain.
        off: median error of all, pixels of the pictures.
        error: image -> median error of its matches.
    """

    share: float
    off: float
    error: dict[int, float]


def main(arguments: list[str]) -> int:
    """Run the job file named in `arguments`; exit code 0 also where the answer is an error of clip or camera."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        place(PlaceJob.load(Path(arguments[0])))
    except CvdError as error:
        say("error", error.as_dict())
    return 0


def place(job: PlaceJob) -> None:
    """Pictures and cameras in, a `CameraTrack` in the work folder out.

    Raises:
        CameraError: the camera cannot be read, does not fit the plate, or no point can be placed with it.
    """
    work = Path(job.job.work)
    camera = _given(job)
    pycolmap.set_random_seed(job.job.seed)
    images, ratio = features.pictures(job.job)
    database = work / "database.db"
    features.extract_features(job.job, database, images, ratio, zooms=bool(camera.focals))
    frames = dict(zip(job.job.names, job.numbers, strict=True))
    views = _views(database, frames, camera)
    features.match(job.job, database, exhaustive=False)
    if job.tracks is not None:
        join_tracks(database, FollowedPoints.load(Path(job.tracks)), frames, job.job.seed)
    say("step", [_MATCHED, _TOTAL, "checking the given camera"])
    track = _placed(job, database, views, images, frames, camera, ratio)
    track.save(work)
    say("step", [_TOTAL, _TOTAL, "points placed"])


def _placed(
    job: PlaceJob,
    database: Path,
    views: dict[int, _View],
    images: Path,
    frames: dict[str, int],
    camera: GivenCamera,
    ratio: float,
) -> CameraTrack:
    """The track with points; without any where the camera stands in one place, or as good as."""
    side = max(job.job.width, job.job.height)
    others = {words: GivenCamera.load(Path(path)) for words, path in job.others.items()}
    standing = _standing(database, views)
    if _in_one_place(camera):
        off = standing.off / ratio
        _tell_better(views, frames, camera, others, off / side, lambda some: _standing(database, some).off / ratio)
        _tell_misfit(off, side)
        return _standing_track(standing, frames, camera, job.numbers, ratio)
    if standing.share >= _TURNING_ONLY:
        tried = _triangulate(database, views, images, standing.off)
        if tried.num_points3D() < _MIN_POINTS:
            return _standing_track(standing, frames, camera, job.numbers, ratio)
    tracks = features.tracks_of(database, job.job.seed)
    off = _judge(database, tracks, views) / ratio
    _tell_better(views, frames, camera, others, off / side, lambda some: _judge(database, tracks, some) / ratio)
    _tell_misfit(off, side)
    say("step", [_CHECKED, _TOTAL, "placing points"])
    reconstruction = _triangulate(database, views, images, off * ratio)
    return _track(reconstruction, images, frames, camera, job.numbers)


def _given(job: PlaceJob) -> GivenCamera:
    path, plate = Path(job.camera), job.job
    if path.is_dir():
        camera = read_colmap(path, job.plate_names, job.plate_folders, job.numbers, job.metric)
    else:
        camera = GivenCamera.load(path)
    camera = camera.on_plate(plate.width, round(plate.height))
    if len(set(camera.world_from_camera) & set(job.numbers)) < 2:
        have = sorted(camera.world_from_camera)
        raise CameraError(
            "camera.frames",
            "The given camera does not cover the frames to solve.",
            f"It has frames {have[0]} to {have[-1]}, the frames to solve are {job.numbers[0]} to {job.numbers[-1]}.",
            "Export the camera over the plate's frame range, with the plate's own frame numbers.",
        )
    return camera


def _views(database: Path, frames: dict[str, int], camera: GivenCamera) -> dict[int, _View]:
    """The views of the images that have a camera; every image gets its lens in the database."""
    views = {}
    with pycolmap.Database.open(database) as data:
        for image in sorted(data.read_all_images(), key=lambda image: image.image_id):
            number, stored = frames[image.name], data.read_camera(image.camera_id)
            lens = _lens_in(stored, camera, number)
            data.update_camera(lens)
            if number in camera.world_from_camera:
                views[image.image_id] = _View(lens, _camera_from_world(camera, number))
    return views


def _lens_in(stored: pycolmap.Camera, camera: GivenCamera, number: int) -> pycolmap.Camera:
    """The camera's lens at one of its frames, in the pixels of a camera of the database."""
    lens = camera.lens_at(number).scaled(stored.width, stored.height)
    return pycolmap.Camera(
        camera_id=stored.camera_id,
        model="OPENCV",
        width=stored.width,
        height=stored.height,
        params=[lens.fx, lens.fy, lens.cx, lens.cy, lens.k1, lens.k2, lens.p1, lens.p2],
        has_prior_focal_length=True,
    )


def _camera_from_world(camera: GivenCamera, number: int) -> NDArray[np.float64]:
    return rigid_inverse(camera.world_from_camera[number])[:3].astype(np.float64)


def _in_one_place(camera: GivenCamera) -> bool:
    centres = np.array([pose[:3, 3] for pose in camera.world_from_camera.values()])
    return bool(np.ptp(centres, axis=0).max() <= _SAME_PLACE * max(1.0, np.abs(centres).max()))


def _standing(database: Path, views: dict[int, _View]) -> _Standing:
    """How well the given cameras explain the pictures by their rotations and lenses alone.

    Each image is looked at with the later one against which its points move most.
    """
    matches = features.Matches.load(database)
    farthest: dict[int, tuple[float, tuple[int, int]]] = {}
    for pair, found in matches.pairs.items():
        if len(found) >= _MIN_MATCHES and views.keys() >= set(pair):
            farthest[pair[0]] = max(farthest.get(pair[0], (-1.0, pair)), (matches.moved(pair), pair))
    errors: dict[int, list[NDArray[np.float64]]] = {}
    for _, pair in farthest.values():
        (first, second), (a, b) = (views[i] for i in pair), matches.pixels_of(pair)
        turn = second.camera_from_world[:, :3] @ first.camera_from_world[:, :3].T
        there = np.column_stack([first.lens.cam_from_img(a), np.ones(len(a))]) @ turn.T
        error = np.linalg.norm(second.lens.img_from_cam(there) - b, axis=1)
        error[np.isnan(error)] = np.inf  # behind the camera, or beyond what its lens can show
        for image in pair:
            errors.setdefault(image, []).append(error)
    every = np.concatenate([e for found in errors.values() for e in found]) if errors else np.array([np.inf])
    side = max(matches.width, matches.height)
    return _Standing(
        float((every < tolerance(side)).mean()),
        float(np.median(every)),
        {image: float(np.median(np.concatenate(found))) for image, found in errors.items()},
    )


def _judge(database: Path, tracks: Tracks, views: dict[int, _View]) -> float:
    """How far off the cameras are: median error, pixels of the pictures, with which they predict what was held out.

    Raises:
        CameraError: `camera.unmatched` where nothing can be followed.
    """
    known = np.isin(tracks.image, list(views))
    track = np.unique(tracks.track[known], return_inverse=True)[1]
    placed = list(zip(tracks.image[known].tolist(), tracks.feature[known].tolist(), strict=True))
    with pycolmap.Database.open(database) as data:
        rays = {
            i: view.lens.cam_from_img(data.read_keypoints(i)[:, :2].astype(np.float64)) for i, view in views.items()
        }
    errors = held_out_errors(
        track,
        np.array([rays[i][f] for i, f in placed]).reshape(-1, 2),
        np.array([views[i].camera_from_world for i, _ in placed]).reshape(-1, 3, 4),
        np.array([views[i].lens.mean_focal_length() for i, _ in placed]),
    )
    if len(errors) < _MIN_HELD_OUT:
        raise CameraError(
            "camera.unmatched",
            "The given camera cannot be checked, and no points can be placed with it.",
            f"Only {len(errors)} points can be followed over four frames that have a camera.",
            "Use a sharper clip or one with more texture, a smaller step, or cameras for more of its frames.",
        )
    return float(np.median(errors))


def _tell_better(
    views: dict[int, _View],
    frames: dict[str, int],
    camera: GivenCamera,
    others: dict[str, GivenCamera],
    off: float,
    judge: Callable[[dict[int, _View]], float],
) -> None:
    """Say so where the camera fits much better shifted by frames, or read in another way.

    One that is read wrongly may well pass as it stands: over a short or slow move hardly anything depends on it.

    Args:
        views: of the images that have a camera.
        frames: name of an image -> plate frame number; images are numbered in the order of their names.
        camera: given.
        others: the same read in other ways, by what that takes, for people.
        off: how far off it is, of the long side.
        judge: median error of some views, plate pixels.

    Raises:
        CameraError: `camera.shifted` or `camera.misread`.
    """
    if off < _FITS:
        return
    number_of = dict(enumerate(frames.values(), 1))
    shifts = [shift for shift in range(-MAX_SHIFT, MAX_SHIFT + 1) if shift]
    best: tuple[float, float, float, str | int] = (1.0, off, off, "")
    for way, read, shift in [(s, camera, s) for s in shifts] + [(words, other, 0) for words, other in others.items()]:
        there = {i: number_of[i] + shift for i in views if number_of[i] + shift in read.world_from_camera}
        moved = {
            i: _View(_lens_in(views[i].lens, read, number), _camera_from_world(read, number))
            for i, number in there.items()
        }
        try:
            error, own = judge(moved), judge({i: views[i] for i in moved})
        except CameraError:  # too few frames have a camera beside theirs
            continue
        if own > 0.0 and error / own < best[0]:
            best = error / own, error, own, way
    ratio, error, own, way = best
    if ratio > _BETTER:
        return
    first = min(number_of[i] for i in views)
    if isinstance(way, int):
        code, what = "camera.shifted", f"{abs(way)} frame{'s' if abs(way) > 1 else ''} off against this plate"
        where = f"where its frame {first + way} is taken for the plate's frame {first}"
        fix = f"Export it with the plate's own frame numbers: each of its own plus {-way}."
    else:
        code, what, where = "camera.misread", "read in another way than it was written", f"with {way}"
        fix = "Set its rotation order and film back as it was written, or export it with a vertical field of view."
    why = (
        f"It predicts where points are seen with an error of {own:.2f} px in the median, and of {error:.2f} px {where}."
    )
    if ratio > _MUCH_BETTER:
        say("warning", f"The given camera may be {what}. {why} {fix}")
        return
    raise CameraError(code, f"The given camera is {what}.", why, fix)


def _tell_misfit(off: float, side: float) -> None:
    """Say how far off the cameras are.

    Args:
        off: median error, plate pixels.
        side: the long side of the plate, pixels.

    Raises:
        CameraError: `camera.misfit` where they are wrong.
    """
    say("metric", ["camera_misfit_px", min(off, side)])
    if off > _WRONG * side:
        raise CameraError(
            "camera.misfit",
            "The given camera does not fit this plate.",
            f"It predicts where points are seen with an error of {min(off, side):.1f} px in the median; up to "
            f"{_DOUBTFUL * side:.1f} px would be fine.",
            "Check that it is the camera of this very plate: frame numbers (is it shifted by a frame?), focal length "
            "and film back, rotation order, and that the plate is distorted as the camera says.",
        )
    if off > _DOUBTFUL * side:
        say(
            "warning",
            f"The given camera fits this plate only roughly: it predicts where points are seen with an error of "
            f"{off:.1f} px in the median. Depth will be as rough.",
        )


def _triangulate(database: Path, views: dict[int, _View], images: Path, off: float) -> pycolmap.Reconstruction:
    """Points by COLMAP's triangulator, the cameras held; `off`: error of the cameras, picture pixels."""
    with pycolmap.Database.open(database) as data:
        cache = pycolmap.DatabaseCache.create(data, pycolmap.DatabaseCacheOptions())
    reconstruction = pycolmap.Reconstruction()
    reconstruction.load(cache)
    for image_id, view in views.items():
        if reconstruction.exists_image(image_id):
            frame = reconstruction.image(image_id).frame
            frame.set_cam_from_world(view.lens.camera_id, pycolmap.Rigid3d(view.camera_from_world))
            reconstruction.register_frame(frame.frame_id)
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = 1
    options.random_seed = 0
    error = max(4.0, 4.0 * off)
    options.mapper.filter_max_reproj_error = error
    options.triangulation.merge_max_reproj_error = error
    options.triangulation.complete_max_reproj_error = error
    angle = float(np.degrees(error / np.median([view.lens.mean_focal_length() for view in views.values()])))
    options.triangulation.create_max_angle_error = max(2.0, angle)
    options.triangulation.continue_max_angle_error = max(2.0, angle)
    folder = database.parent / "placed"
    folder.mkdir(exist_ok=True)
    return pycolmap.triangulate_points(reconstruction, database, images, folder, options=options)


def _track(
    reconstruction: pycolmap.Reconstruction,
    images: Path,
    frames: dict[str, int],
    camera: GivenCamera,
    numbers: list[int],
) -> CameraTrack:
    drop_behind(reconstruction)
    reconstruction.extract_colors_for_all_images(images)
    reconstruction.update_point_3d_errors()
    lens = next(iter(reconstruction.cameras.values()))
    to_plate = np.array([camera.lens.width / lens.width, camera.lens.height / lens.height])
    points = sorted(reconstruction.points3D.items())
    if len(points) < _MIN_POINTS:
        raise CameraError(
            "camera.no_points",
            "No points could be placed with the given camera.",
            f"Only {len(points)} were seen from two directions that differ: the camera hardly travels, or not as the "
            "plate says.",
            "Use a camera and a frame range that travel more.",
        )
    number_of = {i: frames[image.name] for i, image in reconstruction.images.items()}
    seen = sorted(
        (number_of[element.image_id], index, element.image_id, element.point2D_idx)
        for index, (_, point) in enumerate(points)
        for element in point.track.elements
    )
    pixel = np.array([reconstruction.image(i).points2D[k].xy for _, _, i, k in seen])
    predicted = np.array([reconstruction.image(i).project_point(points[p][1].xyz) for _, p, i, _ in seen])
    errors = np.linalg.norm((predicted - pixel) * to_plate, axis=1)
    frame = np.array([number for number, _, _, _ in seen], np.int64)
    return replace(
        _as_given(camera, numbers),
        reprojection_px={int(n): float(np.median(errors[frame == n])) for n in np.unique(frame)},
        points=SparsePoints(
            xyz=np.array([point.xyz for _, point in points]),
            rgb=np.array([point.color for _, point in points], np.uint8),
            error_px=np.array([point.error for _, point in points]) * float(np.sqrt(to_plate.prod())),
            observation_frame=frame,
            observation_point=np.array([index for _, index, _, _ in seen], np.int64),
            observation_pixel=pixel * to_plate,
        ),
    )


def _standing_track(
    standing: _Standing, frames: dict[str, int], camera: GivenCamera, numbers: list[int], ratio: float
) -> CameraTrack:
    """Cameras in one place. Whatever their unit is, nothing relates the depth to it."""
    track = _as_given(camera, numbers)
    number_of = dict(enumerate(frames.values(), 1))  # images are numbered in the order of their names
    first, *others = (pose[:3, :3] for pose in track.world_from_camera.values())
    still = not camera.focals and all(np.abs(first - other).max() < _SAME_DIRECTION for other in others)
    return replace(
        track,
        reprojection_px={number_of[i]: error / ratio for i, error in standing.error.items() if np.isfinite(error)},
        scale="own",
        motion="static" if still else "turns",
    )


def _as_given(camera: GivenCamera, numbers: list[int]) -> CameraTrack:
    """Lens and cameras of a track, without points."""
    none = np.zeros(0, np.int64)
    placed = [n for n in numbers if n in camera.world_from_camera]
    return CameraTrack(
        lens=camera.lens,
        lens_known=True,
        focal_std_pct=0.0,
        world_from_camera={n: camera.world_from_camera[n] for n in placed},
        reasons={n: "The given camera does not have this frame." for n in numbers if n not in placed},
        reprojection_px={},
        up_estimated=False,
        points=SparsePoints(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0), none, none, np.zeros((0, 2))),
        scale="metric" if camera.metric else "own",
        lens_origin="given with the camera",
        focals={n: camera.focals[n] for n in placed} if camera.focals else {},
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
