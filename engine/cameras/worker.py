"""The process that puts points into the world of given cameras: `python -m engine.cameras.worker JOB.json`.

It speaks like `engine.poses.worker` and finds and matches features with it; but no camera is moved. Its result is a
`CameraTrack` in the job's work folder, in plate pixels and in the world and scale of the cameras given.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from engine.cameras.colmap import read_colmap
from engine.cameras.document import FollowedPoints, GivenCamera
from engine.cameras.job import PlaceJob
from engine.cameras.tracks import join_tracks
from engine.errors import CameraError, CvdError
from engine.geometry import Lens, rigid_inverse
from engine.poses import features
from engine.poses.holdout import held_out_errors
from engine.poses.speech import end_with_parent, say
from engine.track import CameraTrack, SparsePoints

_WRONG, _DOUBTFUL = 0.01, 0.003
"""Of the long side: error in the median with which the cameras predict tracks that were held out. Cameras of depth
sensors, a degree or two off, have 0.002 to 0.004."""
_MIN_HELD_OUT = 50
_MIN_POINTS = 20
_TOTAL, _MATCHED, _CHECKED = 100.0, 85.0, 90.0


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
    features.extract_features(job.job, database, images, ratio)
    lens = _set_lens(database, camera.lens)
    features.match(job.job, database, exhaustive=False)
    frames = dict(zip(job.job.names, job.numbers, strict=True))
    if job.tracks is not None:
        join_tracks(database, FollowedPoints.load(Path(job.tracks)), frames, job.job.seed)
    poses = _camera_from_world(database, frames, camera)
    say("step", [_MATCHED, _TOTAL, "checking the given camera"])
    off = _judge(database, job.job.seed, lens, poses, ratio)
    say("step", [_CHECKED, _TOTAL, "placing points"])
    reconstruction = _triangulate(database, lens, poses, images, off * ratio)
    track = _track(reconstruction, images, frames, camera, job.numbers)
    track.save(work)
    say("step", [_TOTAL, _TOTAL, "points placed"])


def _given(job: PlaceJob) -> GivenCamera:
    path, plate = Path(job.camera), job.job
    model = path.is_dir()
    camera = read_colmap(path, job.plate_names, job.numbers, job.metric) if model else GivenCamera.load(path)
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


def _set_lens(database: Path, plate_lens: Lens) -> pycolmap.Camera:
    """The given lens, in pixels of the pictures that the features lie on, into the database."""
    with pycolmap.Database.open(database) as data:
        stored = data.read_all_cameras()[0]
        lens = plate_lens.scaled(stored.width, stored.height)
        camera = pycolmap.Camera(
            camera_id=stored.camera_id,
            model="OPENCV",
            width=stored.width,
            height=stored.height,
            params=[lens.fx, lens.fy, lens.cx, lens.cy, lens.k1, lens.k2, lens.p1, lens.p2],
            has_prior_focal_length=True,
        )
        data.update_camera(camera)
    return camera


def _camera_from_world(database: Path, frames: dict[str, int], camera: GivenCamera) -> dict[int, NDArray[np.float64]]:
    """Image of the database -> (3, 4)."""
    with pycolmap.Database.open(database) as data:
        numbers = {image.image_id: frames[image.name] for image in data.read_all_images()}
    return {
        image: rigid_inverse(camera.world_from_camera[number])[:3].astype(np.float64)
        for image, number in sorted(numbers.items())
        if number in camera.world_from_camera
    }


def _judge(
    database: Path, seed: int, lens: pycolmap.Camera, poses: dict[int, NDArray[np.float64]], ratio: float
) -> float:
    """How far off the cameras are: median error, plate pixels, with which they predict held-out observations.

    Raises:
        CameraError: `camera.unmatched` where nothing can be followed, `camera.misfit` where they are wrong.
    """
    tracks = features.tracks_of(database, seed)
    known = np.isin(tracks.image, list(poses))
    track = np.unique(tracks.track[known], return_inverse=True)[1]
    placed = list(zip(tracks.image[known].tolist(), tracks.feature[known].tolist(), strict=True))
    with pycolmap.Database.open(database) as data:
        rays = {i: lens.cam_from_img(data.read_keypoints(i)[:, :2].astype(np.float64)) for i in poses}
    errors = held_out_errors(
        track,
        np.array([rays[i][f] for i, f in placed]).reshape(-1, 2),
        np.array([poses[i] for i, _ in placed]).reshape(-1, 3, 4),
        lens.mean_focal_length(),
    )
    if len(errors) < _MIN_HELD_OUT:
        raise CameraError(
            "camera.unmatched",
            "The given camera cannot be checked, and no points can be placed with it.",
            f"Only {len(errors)} points can be followed over four frames that have a camera.",
            "Use a sharper clip or one with more texture, a smaller step, or cameras for more of its frames.",
        )
    off, side = float(np.median(errors)) / ratio, max(lens.width, lens.height) / ratio
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
    return off


def _triangulate(
    database: Path, lens: pycolmap.Camera, poses: dict[int, NDArray[np.float64]], images: Path, off: float
) -> pycolmap.Reconstruction:
    """Points by COLMAP's triangulator, the cameras held; `off`: error of the cameras, picture pixels."""
    with pycolmap.Database.open(database) as data:
        cache = pycolmap.DatabaseCache.create(data, pycolmap.DatabaseCacheOptions())
    reconstruction = pycolmap.Reconstruction()
    reconstruction.load(cache)
    for image_id, pose in poses.items():
        if reconstruction.exists_image(image_id):
            frame = reconstruction.image(image_id).frame
            frame.set_cam_from_world(lens.camera_id, pycolmap.Rigid3d(pose))
            reconstruction.register_frame(frame.frame_id)
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = 1
    options.random_seed = 0
    error = max(4.0, 4.0 * off)
    options.mapper.filter_max_reproj_error = error
    options.triangulation.merge_max_reproj_error = error
    options.triangulation.complete_max_reproj_error = error
    angle = float(np.degrees(error / lens.mean_focal_length()))
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
    return CameraTrack(
        lens=camera.lens,
        lens_known=True,
        focal_std_pct=0.0,
        world_from_camera={n: camera.world_from_camera[n] for n in numbers if n in camera.world_from_camera},
        reasons={n: "The given camera does not have this frame." for n in numbers if n not in camera.world_from_camera},
        reprojection_px={int(n): float(np.median(errors[frame == n])) for n in np.unique(frame)},
        up_estimated=False,
        points=SparsePoints(
            xyz=np.array([point.xyz for _, point in points]),
            rgb=np.array([point.color for _, point in points], np.uint8),
            error_px=np.array([point.error for _, point in points]) * float(np.sqrt(to_plate.prod())),
            observation_frame=frame,
            observation_point=np.array([index for _, index, _, _ in seen], np.int64),
            observation_pixel=pixel * to_plate,
        ),
        scale="metric" if camera.metric else "own",
        lens_origin="given with the camera",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
