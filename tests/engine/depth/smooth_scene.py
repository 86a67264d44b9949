"""The plane of scene.py with a texture of smooth waves: interpolating its pictures is nearly exact."""

import numpy as np

from tests.engine.depth.scene import plane_depth, plane_rays


def waves(world, seed=0):
    """RGB in [0, 1] at points (..., 3): waves of 0.3 to 1.2 units, 10 to 40 px of a picture 128 wide."""
    rng = np.random.default_rng(seed)
    total = np.zeros((*world.shape[:-1], 3))
    for channel in range(3):
        for _ in range(12):
            angle, length, phase = rng.uniform(0, np.pi), rng.uniform(0.3, 1.2), rng.uniform(0, 2 * np.pi)
            along = world[..., 0] * np.cos(angle) + world[..., 1] * np.sin(angle)
            total[..., channel] += np.sin(2 * np.pi * along / length + phase)
    return (0.5 + total / 12).clip(0, 1)


def plane_picture(lens, world_from_camera, seed=0):
    """Picture (H, W, 3) in [0, 1] of the plane."""
    points = plane_rays(lens) * plane_depth(lens, world_from_camera)[..., None]
    return waves(points @ world_from_camera[:3, :3].T + world_from_camera[:3, 3], seed)
