"""A camera with a real lens, shutter and sensor in front of a ray-cast world.

Every effect is part of the projection itself: distortion, pixel aspect and an off-centre principal point bend the rays,
a rolling shutter gives every row a camera of its own, motion blur averages light over the time the shutter is open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from engine.geometry.arrays import Lens, normalised_from_pixel
from tests.scenes.worlds import World
from training.raycast import FAR, Scene, intersect, shade

Array = NDArray[np.float64]
Path = Callable[[float], Array]
Corner = tuple[float, float]

_TILE = 96
_CORNERS = ((0.25, 0.2), (0.8, 0.45), (0.4, 0.8))
"""Where in a pixel light is gathered when its centre is not enough, unless a camera says more."""


@dataclass(frozen=True)
class Camera:
    """What takes the pictures. Times are in frames; the truth of a frame is its camera in the middle of its exposure.

    Attributes:
        lens: the lens at a time, of one size and pixel aspect; in engine.geometry's conventions.
        path: `world_from_camera` (4, 4) at a time.
        shutter: how long it is open; more than 0 blurs the picture as the camera moves.
        readout: time from the first row's exposure to the last row's; 0 = all at once.
        exposure: factor on the light at a time.
        noise: standard deviation of the sensor's noise at white, of 1; it falls with the root of the light.
        corners: where in a pixel light is gathered on outlines, where its centre is not enough.
    """

    lens: Callable[[float], Lens]
    path: Path
    shutter: float = 0.0
    readout: float = 0.0
    exposure: Callable[[float], float] = lambda time: 1.0
    noise: float = 0.003
    corners: tuple[Corner, ...] = _CORNERS


@dataclass(frozen=True)
class Exposed:
    """A frame.

    Attributes:
        picture: (H, W, 3) uint8 RGB, sRGB.
        depth: (H, W) planar depth along the optical axis through the pixel centres at the middle of the row's
            exposure; infinite in the sky.
        moving: (H, W) bool, what moves by itself, likewise.
    """

    picture: NDArray[np.uint8]
    depth: NDArray[np.float32]
    moving: NDArray[np.bool_]


def expose(world: World, camera: Camera, time: float, rng: np.random.Generator) -> Exposed:
    """Take the frame whose exposure has its middle at `time`; the middle row's, with a rolling shutter."""
    exact = cast(world, camera, time)
    if camera.shutter:
        steps = _blur_steps(camera, time)
        shifts = (((np.arange(steps) + 0.5) / steps - 0.5) * camera.shutter).tolist()
        turns = [camera.corners[k % len(camera.corners)] for k in range(steps)]
        blurred = [cast(world, camera, time, s, (corner,)).colour[0] for s, corner in zip(shifts, turns, strict=True)]
        light = torch.stack(blurred).mean(0)
    else:
        outlines = _outlines(exact)
        several = cast(world, camera, time, 0.0, camera.corners, outlines).colour.mean(0)
        light = torch.where(outlines[..., None], several, exact.colour[0])
    distance = exact.distance[0]
    moving = torch.isin(exact.solid[0], torch.tensor(world.moving(), dtype=torch.int64)) & (distance < FAR)
    return Exposed(
        picture=_developed(light.numpy() * camera.exposure(time), camera.noise, rng),
        depth=torch.where(distance < FAR, distance, torch.inf).numpy(),
        moving=moving.numpy(),
    )


def _blur_steps(camera: Camera, time: float) -> int:
    """Enough for a step of two pixels, of what is 3 m away before the camera."""
    before, after = (camera.path(time + s * camera.shutter / 2) for s in (-1, 1))
    point = before[:3, 3] + 3.0 * before[:3, 2]
    seen = (point - after[:3, 3]) @ after[:3, :3]
    moved = camera.lens(time).fx * float(np.arctan2(np.hypot(seen[0], seen[1]), seen[2]))
    return int(np.clip(np.ceil(moved / 2), 2, 24))


@dataclass(frozen=True)
class Cast:
    """What S rays for each pixel meet.

    Attributes:
        colour: (S, H, W, 3) linear.
        distance: (S, H, W) along the optical axis, `FAR` in the sky.
        solid: (S, H, W) row of the scene.
        normal: (S, H, W, 3) of the surface, world.
    """

    colour: torch.Tensor
    distance: torch.Tensor
    solid: torch.Tensor
    normal: torch.Tensor


def cast(
    world: World,
    camera: Camera,
    time: float,
    shift: float = 0.0,
    corners: tuple[Corner, ...] = ((0.5, 0.5),),
    wanted: torch.Tensor | None = None,
) -> Cast:
    """Cast one ray for each pixel and corner.

    Args:
        world: what is there.
        camera: what looks.
        time: of the middle of the middle row's exposure.
        shift: time from the middle of the exposure of each row.
        corners: where in the pixel (0..1, 0..1) the rays go through; (0.5, 0.5) is its centre.
        wanted: (H, W) bool, pixels to cast rays for; the others stay 0. None = all.
    """
    lens = camera.lens(time + shift)
    height, width = lens.height, lens.width
    inside = torch.stack([_rays(lens, corner) for corner in corners])
    rows = time + shift + ((np.arange(height) + 0.5) / height - 0.5) * camera.readout
    poses = torch.tensor(np.stack([camera.path(t) for t in (rows if camera.readout else [time + shift])])).float()
    poses = poses.expand(height, 4, 4)
    direction = torch.einsum("rij,srcj->srci", poses[:, :3, :3], inside)
    origin = poses[None, :, None, :3, 3].expand_as(direction)
    wanted = torch.ones(height, width, dtype=torch.bool) if wanted is None else wanted
    everywhere = wanted.expand(len(corners), height, width)
    scene = world.at(time)  # what moves by itself stands still while a frame is taken
    colour, normal = torch.zeros_like(direction), torch.zeros_like(direction)
    distance, solid = torch.zeros(direction.shape[:3]), torch.zeros(direction.shape[:3], dtype=torch.int64)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            tile = (slice(None), slice(top, top + _TILE), slice(left, left + _TILE))
            here = everywhere[tile]
            if not bool(here.any()):
                continue
            middle = poses[min(top + _TILE // 2, height - 1)]
            part = _before(scene, middle, inside[tile][here], 0.05 if camera.readout else 0.001)
            o, d = origin[tile][here], direction[tile][here]
            hits = intersect(_part(scene, part), o, d)
            hits = replace(hits, solid=part[hits.solid])
            colour[tile][here] = shade(scene, o, d, hits, 1.0 / lens.fx, shadows=False)
            distance[tile][here], solid[tile][here], normal[tile][here] = hits.distance, hits.solid, hits.normal
    return Cast(colour, distance, solid, normal)


@lru_cache(maxsize=8)
def _rays(lens: Lens, corner: Corner) -> torch.Tensor:
    """Directions (H, W, 3) in camera axes, with z = 1, through the same place in every pixel."""
    v, u = np.mgrid[0 : lens.height, 0 : lens.width] + np.array([corner[1], corner[0]])[:, None, None]
    xy = torch.tensor(normalised_from_pixel(lens, np.stack([u, v], -1)), dtype=torch.float32)
    return torch.cat([xy, torch.ones_like(xy[..., :1])], -1)


def _outlines(met: Cast) -> torch.Tensor:
    """(H, W) bool: pixels beside which another surface begins."""
    solid, normal = met.solid[0], met.normal[0]
    edge = torch.zeros_like(solid, dtype=torch.bool)
    for axis in (0, 1):
        length = edge.shape[axis] - 1
        a, b = (torch.narrow(solid, axis, k, length) for k in (0, 1))
        m, n = (torch.narrow(normal, axis, k, length) for k in (0, 1))
        change = (a != b) | ((m * n).sum(-1) < 0.8)
        for k in (0, 1):
            torch.narrow(edge, axis, k, length).logical_or_(change)
    return edge


def _before(scene: Scene, world_from_camera: torch.Tensor, inside: torch.Tensor, margin: float) -> torch.Tensor:
    """Rows of the solids that rays `inside` (N, 3), in camera axes, may meet: at least one row."""
    signs = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    corners = scene.centre[:, None] + torch.einsum("sj,kj,kji->ksi", signs, scene.half, scene.axes)
    local = (corners - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    z = local[..., 2]
    xy = local[..., :2] / z.clamp_min(0.05)[..., None]
    low, high = xy.amin(1) - margin, xy.amax(1) + margin
    overlap = ((low <= inside[:, :2].amax(0)) & (high >= inside[:, :2].amin(0))).all(1)
    cut = (z.amin(1) < 0.05) & (z.amax(1) > 0.0)  # by the camera's own plane: where it ends in the picture is unknown
    rows = (cut | (overlap & (z.amin(1) >= 0.05))).nonzero()[:, 0]
    return rows if len(rows) else torch.zeros(1, dtype=torch.int64)


def _part(scene: Scene, rows: torch.Tensor) -> Scene:
    names = ("kind", "centre", "axes", "half", "hollow", "texture", "texture_scale", "texture_shift", "tint", "gloss")
    return replace(scene, **{name: getattr(scene, name)[rows] for name in names})


def _developed(light: NDArray[np.floating], noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Linear light to 8-bit sRGB, with the sensor's noise: shot noise, and a little that is always there."""
    sigma = noise * np.sqrt(light.clip(0.0, 1.0) + 0.02)
    seen = (light + sigma * rng.standard_normal(light.shape)).clip(0.0, 1.0)
    encoded = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return np.asarray((255.0 * encoded + 0.5).astype(np.uint8))
