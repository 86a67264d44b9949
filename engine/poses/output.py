"""A COLMAP model as arrays, by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from engine.clip.preview import track_document
from engine.poses.job import Job, Model
from engine.poses.judge import lens_of, pixels_in
from engine.poses.turning import Turning
from engine.poses.world import scene_from_world


def model_of(job: Job, reconstruction: pycolmap.Reconstruction) -> Model:
    """The model that is handed on. The focal length counts as known until somebody says how sure it is.

    Args:
        job: its names give the order of the frames.
        reconstruction: in plate pixels; without what lies behind cameras afterwards.
    """
    drop_behind(reconstruction)
    pycolmap.ObservationManager(reconstruction).filter_points3D_with_short_tracks(3)
    row_of_name = {name: row for row, name in enumerate(job.names)}
    placed = sorted((row_of_name[reconstruction.image(i).name], i) for i in reconstruction.reg_image_ids())
    row_of_image = {i: row for row, i in placed}
    reconstruction.update_point_3d_errors()
    points = sorted(reconstruction.points3D.items())
    seen = sorted(
        (row_of_image[element.image_id], index, element.image_id, element.point2D_idx)
        for index, (_, point) in enumerate(points)
        for element in point.track.elements
    )
    pixels = pixels_in(reconstruction)
    pixel = np.array([pixels[i][k] for _, _, i, k in seen]).reshape(-1, 2)
    predicted = np.array([reconstruction.image(i).project_point(points[p][1].xyz) for _, p, i, _ in seen])
    errors = np.linalg.norm(predicted.reshape(-1, 2) - pixel, axis=1)
    rows = np.array([row for row, _, _, _ in seen], np.int64)
    of_frames = np.split(errors, np.searchsorted(rows, [row for row, _ in placed], "right")[:-1])
    cameras = [reconstruction.image(i).camera for _, i in placed]
    lenses = np.array([lens_of(camera) for camera in cameras])
    lens = np.median(lenses, axis=0)
    return Model(
        rows=np.array([row for row, _ in placed], np.int64),
        world_from_camera=np.array(
            [np.vstack([reconstruction.image(i).cam_from_world().inverse().matrix(), (0, 0, 0, 1)]) for _, i in placed]
        ),
        motion=np.array("travels"),
        lens=lens,
        lens_model=np.array(cameras[0].model.name),
        focal=lenses[:, 0],
        focal_range=np.array([lens[0], lens[0]]),
        reasons=np.array([""] * len(job.names)),
        filled=np.zeros(len(placed), bool),
        xyz=np.array([point.xyz for _, point in points]).reshape(-1, 3),
        rgb=np.array([point.color for _, point in points], np.uint8).reshape(-1, 3),
        error_px=np.array([point.error for _, point in points]),
        observation_row=rows,
        observation_point=np.array([point for _, point, _, _ in seen], np.int64),
        observation_pixel=pixel,
        frame_error=np.array([np.median(e) if len(e) else np.nan for e in of_frames]),
    )


def drop_behind(reconstruction: pycolmap.Reconstruction) -> None:
    """Drop observations of points behind their cameras, which are seen nowhere: an adjustment may leave a few."""
    pycolmap.ObservationManager(reconstruction).filter_observations_with_negative_depth()


def first_look(reconstruction: pycolmap.Reconstruction) -> dict[str, Any]:
    """The model as it is before it is adjusted, for people to see: `cvd.preview/1`, standing upright."""
    poses = {
        int(Path(reconstruction.image(i).name).stem): np.vstack(
            [reconstruction.image(i).cam_from_world().inverse().matrix(), (0, 0, 0, 1)]
        )
        for i in reconstruction.reg_image_ids()
    }
    xyz = np.array([point.xyz for point in reconstruction.points3D.values()]).reshape(-1, 3)
    # Colours are looked up later on.
    grey = np.full((len(xyz), 3), 200, np.uint8)
    if len(xyz) == 0:
        return track_document(poses, xyz, grey)
    cameras = np.array([poses[number] for number in sorted(poses)])
    distance = float(np.median(np.linalg.norm(xyz - cameras[:, :3, 3].mean(axis=0), axis=1)))
    transform, scale = scene_from_world(cameras, xyz, distance)
    size = np.diag([scale, scale, scale, 1.0])
    placed = {n: transform @ size @ pose @ np.linalg.inv(size) for n, pose in poses.items()}
    return track_document(placed, scale * xyz @ transform[:3, :3].T + transform[:3, 3], grey)


def turning_model(job: Job, turning: Turning, to_plate: float, motion: str) -> Model:
    """Cameras that stay in one place, as a model without points.

    Args:
        job: the images of a database are numbered in the order of its names, from 1.
        turning: in the pixels of the pictures.
        to_plate: plate pixels in one of those.
        motion: "turns" or "static".
    """
    count = len(turning.images)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = np.swapaxes(turning.camera_from_world, 1, 2)
    focal = turning.focal * to_plate
    middle = float(np.exp(np.median(np.log(focal))))
    reach = np.exp(2.0 * turning.focal_std)
    rows = turning.images - 1
    return Model(
        rows=rows,
        world_from_camera=poses,
        motion=np.array(motion),
        lens=np.array([middle, middle, *job.centre, turning.k1, 0.0, 0.0, 0.0]),
        lens_model=np.array("SIMPLE_RADIAL" if turning.k1 else "SIMPLE_PINHOLE"),
        focal=focal,
        focal_range=np.array([middle / reach, middle * reach]),
        reasons=np.array([""] * len(job.names)),
        filled=np.zeros(count, bool),
        xyz=np.zeros((0, 3)),
        rgb=np.zeros((0, 3), np.uint8),
        error_px=np.zeros(0),
        observation_row=np.zeros(0, np.int64),
        observation_point=np.zeros(0, np.int64),
        observation_pixel=np.zeros((0, 2)),
        frame_error=turning.error_px * to_plate,
    )
