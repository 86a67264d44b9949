"""A textured slanted plane seen by a moving camera: exact pictures, depth and cameras."""

import cv2
import numpy as np

from engine.clip.work import WorkClip
from engine.geometry.arrays import Lens, pixel_centres, rigid_inverse

NORMAL, OFFSET = np.array([0.15, 0.25, 1.0]), 4.0  # NORMAL . X = OFFSET in the world


def plane_depth(lens, world_from_camera):
    """Planar depth (H, W) of the plane."""
    rays = plane_rays(lens)
    rotation, centre = world_from_camera[:3, :3], world_from_camera[:3, 3]
    return (OFFSET - NORMAL @ centre) / ((rays @ rotation.T) @ NORMAL)


def plane_rays(lens):
    grid = pixel_centres(lens.height, lens.width)
    return np.concatenate([grid, np.ones((*grid.shape[:2], 1))], -1) @ np.linalg.inv(lens.matrix()).T


def cameras(count, step=0.06):
    poses = np.tile(np.eye(4), (count, 1, 1))
    for k in range(count):
        poses[k, :3, :3] = cv2.Rodrigues(np.array([0.004 * k, -0.006 * k, 0.003 * k]))[0]
        poses[k, :3, 3] = (step * (k - count / 2), 0.02 * np.sin(k), 0.01 * k)
    return poses


def flow_between(lens, depth, here, there):
    """Exact flow (H, W, 2) of depth and cameras."""
    points = plane_rays(lens) * depth[..., None]
    relative = rigid_inverse(there) @ here
    image = (points @ relative[:3, :3].T + relative[:3, 3]) @ lens.matrix().T
    return image[..., :2] / image[..., 2:] - pixel_centres(lens.height, lens.width)


def plane_clip(count=6, width=128, height=96, seed=0, numbers=None, step=0.06):
    """WorkClip of the plane and its true depths (N, H, W); fx and fy differ, the principal point is off centre."""
    lens = Lens("PINHOLE", width, height, 1.02 * width, 0.98 * width, 0.53 * width, 0.46 * height)
    rng = np.random.default_rng(seed)
    noise = sum(cv2.GaussianBlur(rng.normal(size=(1200, 1200, 3)), (0, 0), s) * s for s in (2.0, 4.0, 12.0))
    noise = np.asarray((noise - noise.min()) / np.ptp(noise) * 255, np.float32)
    poses, images, depths, sparse = cameras(count, step), [], [], []
    for pose in poses:
        depth = plane_depth(lens, pose)
        world = (plane_rays(lens) * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
        where = (world[..., :2] * 200.0 + 600.0).astype(np.float32)
        images.append(np.asarray(cv2.remap(noise, where, None, cv2.INTER_CUBIC).clip(0, 255), np.uint8))
        depths.append(depth)
        cells = rng.choice(width * height, 60, replace=False)
        line, column = np.divmod(cells, width)
        sparse.append((np.stack([column + 0.5, line + 0.5], -1), depth[line, column]))
    clip = WorkClip(np.asarray(numbers or np.arange(count) + 101), np.stack(images), lens, poses, tuple(sparse))
    return clip, np.stack(depths)
