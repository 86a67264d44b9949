"""A small ray caster in PyTorch: pictures with exact depth, on a CPU or a GPU.

Rays are given, not made here, so that a distorted lens or a rolling shutter is nothing but other rays.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

BOX, ELLIPSOID, CYLINDER = 0, 1, 2
FAR = 1e6
_NEAR = 1e-3


@dataclass(frozen=True)
class Scene:
    """Solids with textures, one sun or lamp, and a sky.

    Attributes:
        kind: (K,) int64, BOX, ELLIPSOID or CYLINDER (axis = local z).
        centre: (K, 3) world.
        axes: (K, 3, 3) rows are the solid's own axes in the world.
        half: (K, 3) half sizes along them.
        hollow: (K,) bool: seen from inside, as the walls of a room are.
        texture: (K,) int64, which texture of the bank.
        texture_scale: (K,) texture pixels per unit of length.
        texture_shift: (K, 2) texture pixels, so that equal things need not look equal.
        tint: (K, 3) factor on the texture's colour.
        gloss: (K,) strength of the highlight.
        light: (3,) position of the light.
        light_colour: (3,).
        ambient: (3,) light from above; from below it is half of it.
        sky: (2, 3) colour at the horizon and straight up.
        bank: textures in [0, 1], tiling: (T, S, S, 3), S a power of two, and then the same at ever half the size.
    """

    kind: torch.Tensor
    centre: torch.Tensor
    axes: torch.Tensor
    half: torch.Tensor
    hollow: torch.Tensor
    texture: torch.Tensor
    texture_scale: torch.Tensor
    texture_shift: torch.Tensor
    tint: torch.Tensor
    gloss: torch.Tensor
    light: torch.Tensor
    light_colour: torch.Tensor
    ambient: torch.Tensor
    sky: torch.Tensor
    bank: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Hits:
    """Where rays meet the scene.

    Attributes:
        distance: (N,) in lengths of the ray's direction; `FAR` where there is only sky.
        solid: (N,) row of the solid that is met.
        normal: (N, 3) world, towards the ray's origin.
        local: (N, 3) the point in the solid's own axes, from its centre.
        local_normal: (N, 3).
    """

    distance: torch.Tensor
    solid: torch.Tensor
    normal: torch.Tensor
    local: torch.Tensor
    local_normal: torch.Tensor


def camera_rays(lens_matrix: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Directions (height * width, 3) through the pixel centres in camera axes, with z = 1: a ray's length is depth."""
    v, u = torch.meshgrid(
        torch.arange(height, dtype=torch.float32) + 0.5, torch.arange(width, dtype=torch.float32) + 0.5, indexing="ij"
    )
    pixels = torch.stack([u, v, torch.ones_like(u)], -1).reshape(-1, 3)
    rays: torch.Tensor = pixels @ torch.linalg.inv(lens_matrix).T
    return rays


def intersect(scene: Scene, origin: torch.Tensor, direction: torch.Tensor) -> Hits:
    """First hits of rays.

    Args:
        scene: what is there.
        origin: (3,) shared, or (N, 3).
        direction: (N, 3) of any length.
    """
    into = scene.axes.reshape(-1, 3).T  # one matrix product takes a ray into the axes of every solid
    shift = torch.einsum("kij,kj->ki", scene.axes, scene.centre)
    o = (origin.reshape(-1, 3) @ into).reshape(-1, len(shift), 3) - shift
    d = (direction @ into).reshape(-1, len(shift), 3)
    d = torch.where(d.abs() < 1e-9, torch.full_like(d, 1e-9), d)
    distance = torch.full(d.shape[:2], FAR, device=d.device)
    for kind, enters in ((BOX, _box), (ELLIPSOID, _ellipsoid), (CYLINDER, _cylinder)):
        of_kind = (scene.kind == kind).nonzero()[:, 0]
        if len(of_kind):
            near, far = enters(o[:, of_kind], d[:, of_kind], scene.half[of_kind])
            first = torch.where(scene.hollow[of_kind], far, near)
            met = (near < far) & (first > _NEAR)
            distance[:, of_kind] = torch.where(met, first, torch.full_like(first, FAR))
    nearest, solid = distance.min(dim=1)
    rows = torch.arange(len(solid), device=solid.device)
    local = o.expand(len(solid), -1, -1)[rows, solid] + nearest.clamp_max(1e4)[:, None] * d[rows, solid]
    local_normal = _normals(scene, solid, local)
    normal = torch.einsum("nij,ni->nj", scene.axes[solid], local_normal)
    facing = torch.where((normal * direction).sum(-1, keepdim=True) > 0, -1.0, 1.0)
    return Hits(nearest, solid, normal * facing, local, local_normal)


Span = tuple[torch.Tensor, torch.Tensor]


def _box(o: torch.Tensor, d: torch.Tensor, half: torch.Tensor) -> Span:
    a, b = (-half - o) / d, (half - o) / d
    return torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)


def _roots(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> Span:
    """Of a t^2 + 2 b t + c = 0; an empty span where there are none."""
    inside = b * b - a * c
    root = inside.clamp_min(0.0).sqrt()
    missed = inside < 0
    near, far = (-b - root) / a, (-b + root) / a
    return torch.where(missed, torch.full_like(near, FAR), near), torch.where(missed, torch.full_like(far, -FAR), far)


def _ellipsoid(o: torch.Tensor, d: torch.Tensor, half: torch.Tensor) -> Span:
    o, d = o / half, d / half
    return _roots((d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1.0)


def _cylinder(o: torch.Tensor, d: torch.Tensor, half: torch.Tensor) -> Span:
    x, y = (o / half)[..., :2], (d / half)[..., :2]
    near, far = _roots((y * y).sum(-1).clamp_min(1e-12), (x * y).sum(-1), (x * x).sum(-1) - 1.0)
    a, b = (-half[:, 2] - o[..., 2]) / d[..., 2], (half[:, 2] - o[..., 2]) / d[..., 2]
    return torch.maximum(near, torch.minimum(a, b)), torch.minimum(far, torch.maximum(a, b))


def _normals(scene: Scene, solid: torch.Tensor, local: torch.Tensor) -> torch.Tensor:
    half, kind = scene.half[solid], scene.kind[solid]
    unit = local / half
    side = torch.nn.functional.one_hot(unit.abs().argmax(-1), 3).float() * unit.sign()
    cap = torch.nn.functional.one_hot(torch.full_like(kind, 2), 3).float() * unit.sign()
    around = unit / half * torch.tensor([1.0, 1.0, 0.0], device=unit.device)
    tube = torch.where((unit[:, 2].abs() > 0.9999)[:, None], cap, around)
    normal = torch.where((kind == BOX)[:, None], side, torch.where((kind == CYLINDER)[:, None], tube, unit / half))
    return torch.nn.functional.normalize(normal, dim=-1)


def shade(
    scene: Scene, origin: torch.Tensor, direction: torch.Tensor, hits: Hits, pixel_size: float, shadows: bool = True
) -> torch.Tensor:
    """Linear colour (N, 3) of rays.

    Args:
        scene: what is there.
        origin: (3,) or (N, 3).
        direction: (N, 3).
        hits: of these rays.
        pixel_size: width of a pixel at distance 1, which decides how fine a texture is read.
        shadows: cast them; without them it takes half the time.
    """
    point = origin + hits.distance.clamp_max(1e4)[:, None] * direction
    colour = _texture(scene, hits, pixel_size) * scene.tint[hits.solid]
    to_light = scene.light - point
    lit = torch.nn.functional.normalize(to_light, dim=-1)
    cosine = (hits.normal * lit).sum(-1).clamp_min(0.0)
    shadow = torch.zeros_like(cosine, dtype=torch.bool)
    if shadows:
        shadow = intersect(scene, point + 0.01 * hits.normal, to_light).distance < 0.999
        cosine = cosine * (~shadow)
    falloff = (scene.light.norm() / to_light.norm(dim=-1).clamp_min(0.3)).clamp(0.2, 3.0)
    above = scene.ambient * (0.75 + 0.25 * hits.normal[:, 2:])
    view = torch.nn.functional.normalize(direction, dim=-1)
    mirror = view - 2.0 * (view * hits.normal).sum(-1, keepdim=True) * hits.normal
    glint = scene.gloss[hits.solid] * (mirror * lit).sum(-1).clamp_min(0.0) ** 24 * (~shadow)
    shaded = colour * (above + scene.light_colour * (cosine * falloff)[:, None]) + glint[:, None] * scene.light_colour
    height = view[:, 2:].clamp(0.0, 1.0)
    sky = scene.sky[0] * (1.0 - height) + scene.sky[1] * height
    return torch.where((hits.distance >= FAR)[:, None], sky, shaded)


def _texture(scene: Scene, hits: Hits, pixel_size: float) -> torch.Tensor:
    """Bilinear look-up at a resolution that fits the distance."""
    normal, local, half = hits.local_normal.abs(), hits.local, scene.half[hits.solid]
    axis = normal.argmax(-1)
    across = torch.where((axis == 0)[:, None], local[:, [1, 2]], local[:, [0, 2]])
    across = torch.where((axis == 2)[:, None], local[:, [0, 1]], across)
    angle = torch.atan2(local[:, 1], local[:, 0]) * half[:, 0]
    wrapped = torch.stack([angle, local[:, 2]], -1)
    round_side = (scene.kind[hits.solid] != BOX) & (axis != 2)
    uv = torch.where(round_side[:, None], wrapped, across) * scene.texture_scale[hits.solid, None]
    uv = uv + scene.texture_shift[hits.solid]
    footprint = hits.distance.clamp_max(1e4) * pixel_size * scene.texture_scale[hits.solid]
    level = footprint.clamp_min(1.0).log2().round().clamp(0, len(scene.bank) - 1).long()
    colour = torch.zeros_like(hits.local)
    for k, textures in enumerate(scene.bank):
        here = (level == k).nonzero()[:, 0]
        if len(here):
            colour[here] = _bilinear(textures, scene.texture[hits.solid[here]], uv[here] / 2**k)
    return colour


def _bilinear(textures: torch.Tensor, which: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    side = textures.shape[1]
    base = torch.floor(uv)
    fraction = uv - base
    x0, y0 = (base[:, k].long() % side for k in (0, 1))
    x1, y1 = (x0 + 1) % side, (y0 + 1) % side
    fx, fy = fraction[:, :1], fraction[:, 1:]
    top = textures[which, y0, x0] * (1 - fx) + textures[which, y0, x1] * fx
    bottom = textures[which, y1, x0] * (1 - fx) + textures[which, y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def render(
    scene: Scene, world_from_camera: torch.Tensor, lens_matrix: torch.Tensor, width: int, height: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture and its depth.

    Args:
        scene: what is there.
        world_from_camera: (4, 4); camera x right, y down, z forward.
        lens_matrix: (3, 3) pinhole; the centre of the top-left pixel is (0.5, 0.5).
        width: pixels.
        height: pixels.

    Returns:
        linear colour (3, height, width), and planar depth (height, width), `FAR` in the sky.
    """
    direction = camera_rays(lens_matrix.cpu(), width, height).to(world_from_camera.device) @ world_from_camera[:3, :3].T
    hits = intersect(scene, world_from_camera[:3, 3], direction)
    colour = shade(scene, world_from_camera[:3, 3], direction, hits, 1.0 / float(lens_matrix[0, 0]))
    return colour.T.reshape(3, height, width), hits.distance.reshape(height, width)
