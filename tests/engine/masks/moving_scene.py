"""The room of the poses' tests with a board that moves by itself: exact pictures, cameras and masks."""

from dataclasses import replace

import numpy as np

from engine.clip.work import WorkClip
from engine.geometry.arrays import Lens
from tests.engine.poses import walk_scene

WIDTH, HEIGHT, COUNT, FIRST = 288, 192, 12, 31
FOCAL = walk_scene.FOCAL * WIDTH / walk_scene.WIDTH
LENS = Lens("SIMPLE_PINHOLE", WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)


def board(frame, speed):
    """A board half a unit wide in front of everything; `speed` is its way per frame."""
    corner = np.array([-0.35, 1.6, 0.9]) + (frame - COUNT / 2) * np.array(speed)
    return walk_scene.plane(corner.tolist(), [0.55, 0, 0], [0, 0, 0.55], 9)


def moving_clip(poses, speed=None):
    """(WorkClip, true masks (N, H, W)) of the room; nothing moves without a speed. Turning cameras get no points."""
    room = walk_scene.room()
    images, masks = [], []
    for frame, pose in enumerate(poses):
        boards = [] if speed is None else [board(frame, speed)]
        images.append(walk_scene.render(room + boards, pose, WIDTH, HEIGHT))
        white = [replace(plane, picture=np.full_like(plane.picture, 255)) for plane in boards]
        masks.append(walk_scene.render(white, pose, WIDTH, HEIGHT)[..., 0] > 182)  # half way from the grey around it
    travels = np.ptp([pose[:3, 3] for pose in poses], axis=0).max() > 0
    sparse = tuple(seen_points(room, pose) if travels else (np.zeros((0, 2)), np.zeros(0)) for pose in poses)
    return WorkClip(np.arange(len(poses)) + FIRST, np.stack(images), LENS, np.stack(poses), sparse), np.stack(masks)


def seen_points(planes, pose):
    """Pixels and depths of points of the planes that lie in the picture."""
    share = np.random.default_rng(1).random((60, 2))
    points = np.concatenate([p.corner + share[:, :1] * p.edge_u + share[:, 1:] * p.edge_v for p in planes])
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = local[:, :2] / local[:, 2:] * [LENS.fx, LENS.fy] + [LENS.cx, LENS.cy]
    inside = (local[:, 2] > 0) & ((pixels > 0) & (pixels < (WIDTH, HEIGHT))).all(axis=1)
    return pixels[inside], local[inside, 2]
