"""One mesh of what stands still, from the depth of all frames: for physics, shadows and whatever needs a surface.

A truncated signed distance field (Curless and Levoy 1996) is averaged over the frames in small blocks of voxels, which
exist near surfaces only (Niessner et al. 2013), and its zero is taken out as a net of quads (naive surface nets,
Gibson 1998). The voxels are as large as the number of faces asks for, so that memory and size of the mesh stay the same
whatever the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from engine.geometry.arrays import Lens, distort, normalised_from_pixel, pixel_centres, rigid_inverse

FACES = 400_000
"""Triangles of a mesh at most, about; real clips, whose surfaces have holes, come to a quarter of it."""
MOST_FRAMES = 100
"""Frames that are averaged, evenly spread: neighbours see the same."""
_SIDE = 8  # voxels along a block
_BAND = 4.0  # voxels on each side of a surface that know their distance to it
_BAND_OF_DEPTH = 0.02  # the same as a share of the distance to the camera: as far as depth of several frames disagrees
_COARSE = 1 / 60  # of the median depth: cells by which the area of the surfaces is estimated
_PIXELS = 1.0  # a voxel is no smaller than this many pixels of the plate
_SPARSE = 4  # every n-th pixel tells where surfaces are
_LEAST_FRAMES = 3.0  # as many frames of full confidence have to have seen a voxel; in short clips half of all
_ISLAND = 0.002  # of all faces: smaller pieces float in the air
_CHUNK = 128  # blocks worked on at a time
_REACH = 1 << 20  # block coordinates fit into three times 21 bits


@dataclass(frozen=True)
class View:
    """What one frame knows of the scene.

    Attributes:
        lens: of the plate, at this frame's focal length.
        world_from_camera: (4, 4).
        depth: (H, W) planar depth on the plate's grid, 0 = no value.
        trust: (H, W) 0..1, 0 where the frame must not be used.
    """

    lens: Lens
    world_from_camera: NDArray[np.float64]
    depth: NDArray[np.float32]
    trust: NDArray[np.float32]


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float32, world.
        normals: (V, 3) float32, towards free space.
        colours: (V, 3) uint8, display-referred.
        faces: (F, 3) int32, anticlockwise seen from free space.
        voxel: size of the voxels that it was made of, scene units: no detail is smaller.
    """

    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    colours: NDArray[np.uint8]
    faces: NDArray[np.int32]
    voxel: float


def spread(frames: Sequence[int]) -> list[int]:
    """At most MOST_FRAMES of them, evenly spread."""
    step = max(1, -(-len(frames) // MOST_FRAMES))
    return list(frames[::step])


def fuse(
    frames: Sequence[int],
    view: Callable[[int], View],
    pictures: Callable[[Sequence[int]], Iterable[tuple[int, NDArray[np.float32]]]],
    faces: int = FACES,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> Mesh | None:
    """The mesh of everything that the frames agree on.

    Args:
        frames: plate frame numbers to use.
        view: gives what a frame knows.
        pictures: gives number and picture (H, W, 3), RGB in [0, 1], of frames, in their order.
        faces: how many triangles there may be, about.
        tell: told how many frames of how many are done (each counts twice); may raise.

    Returns:
        The mesh; None where too little is known for one.
    """
    steps = 2 * len(frames)

    def views(start: int) -> Iterator[View]:
        for done, frame in enumerate(frames):
            tell(start + done, steps)
            yield view(frame)

    clouds = [cloud for cloud in (_Cloud.of(seen) for seen in views(0)) if len(cloud.points)]
    if not clouds:
        return None
    voxel = _voxel_size(clouds, faces)
    volume = _Volume(voxel, _block_keys(clouds, voxel), min(_LEAST_FRAMES, len(frames) / 2))
    for done, (frame, picture) in enumerate(pictures(frames)):
        tell(len(frames) + done, steps)
        volume.integrate(view(frame), picture)
    tell(steps, steps)
    mesh = _without_islands(volume.surface())
    return mesh if len(mesh.faces) else None


@dataclass(frozen=True)
class _Cloud:
    """Some of the points that a frame sees, (N, 3) world; their distances (N,); and the camera (3,)."""

    points: NDArray[np.float32]
    depths: NDArray[np.float32]
    camera: NDArray[np.float32]
    pixel: float  # width of a pixel at distance 1

    @classmethod
    def of(cls, view: View) -> _Cloud:
        some = np.s_[_SPARSE // 2 :: _SPARSE, _SPARSE // 2 :: _SPARSE]
        depth = view.depth[some]
        used = (depth > 0) & (view.trust[some] > 0)
        pixels = pixel_centres(*view.depth.shape)[some][used]
        depth = depth[used]
        rays = np.concatenate([normalised_from_pixel(view.lens, pixels), np.ones((len(pixels), 1))], 1)
        pose = view.world_from_camera
        points = (rays * depth[:, None]) @ pose[:3, :3].T + pose[:3, 3]
        return cls(points.astype(np.float32), depth, pose[:3, 3].astype(np.float32), 1.0 / view.lens.fx)


def _voxel_size(clouds: Sequence[_Cloud], faces: int) -> float:
    """Edge of the voxels at which the surfaces come to about so many triangles."""
    median = float(np.median(np.concatenate([cloud.depths[::7] for cloud in clouds])))
    cell = _COARSE * median
    counts = np.unique(np.concatenate([np.unique(_keys(cloud.points, cell)) for cloud in clouds]), return_counts=True)[
        1
    ]
    occupied = (counts >= min(_LEAST_FRAMES, len(clouds) / 2)).sum()  # elsewhere there will be no surface
    # A net has two triangles for each voxel edge that the surface passes, 1.5 edges a cell at a mean slope; and the
    # surface goes on for half a cell beyond the cells that were seen often.
    area = occupied * cell**2
    return float(max(np.sqrt(4.5 * area / faces), _PIXELS * clouds[0].pixel * median))


def _keys(points: NDArray[np.floating], cell: float) -> NDArray[np.int64]:
    """One number for the cell of each point; the cells are sorted by x, then y, then z."""
    return _key(np.floor(points / cell).astype(np.int64))


def _key(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    clipped = np.clip(cells, 1 - _REACH, _REACH - 2) + _REACH
    return np.asarray((clipped[..., 0] << 42) | (clipped[..., 1] << 21) | clipped[..., 2], np.int64)


def _cells(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    mask = (1 << 21) - 1
    return np.stack([keys >> 42, (keys >> 21) & mask, keys & mask], -1) - _REACH


def _band(voxel: float, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.maximum(_BAND * voxel, _BAND_OF_DEPTH * depth), np.float32)


def _block_keys(clouds: Sequence[_Cloud], voxel: float) -> NDArray[np.int64]:
    """The blocks near any surface, sorted."""
    found = []
    for cloud in clouds:
        rays = (cloud.points - cloud.camera) / cloud.depths[:, None]
        for side in (-1.0, -0.5, 0.0, 0.5, 1.0):
            points = cloud.points + rays * (side * _band(voxel, cloud.depths))[:, None]
            found.append(np.unique(_keys(points, voxel * _SIDE)))
    keys, counts = np.unique(np.concatenate(found), return_counts=True)
    return keys[counts > 1]


class _Volume:
    """Signed distance, weight and colour of the voxels of some blocks."""

    def __init__(self, voxel: float, keys: NDArray[np.int64], least: float) -> None:
        self.voxel, self.keys, self.cells, self.least = voxel, keys, _cells(keys), least
        shape = (len(keys), _SIDE**3)
        self.distance = np.zeros(shape, np.float32)  # times weight; in bands, positive towards the camera
        self.weight = np.zeros(shape, np.float32)
        self.colour = np.zeros((*shape, 3), np.float32)  # times its weight
        self.colour_weight = np.zeros(shape, np.float32)
        steps = np.arange(_SIDE)
        self.local = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)

    def integrate(self, view: View, picture: NDArray[np.float32]) -> None:
        """Average a frame in."""
        camera_from_world = rigid_inverse(view.world_from_camera)
        rotation = camera_from_world[:3, :3]
        corner = (self.cells * (_SIDE * self.voxel)) @ rotation.T + camera_from_world[:3, 3]
        offsets = (((self.local + 0.5) * self.voxel) @ rotation.T).astype(np.float32)
        near = self._in_view(view.lens, corner + offsets.mean(0))
        for start in range(0, len(near), _CHUNK):
            blocks = near[start : start + _CHUNK]
            self._integrate(view, picture, blocks, corner[blocks].astype(np.float32), offsets)

    def _in_view(self, lens: Lens, centres: NDArray[np.float64]) -> NDArray[np.int64]:
        radius = 0.87 * _SIDE * self.voxel
        z = centres[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            slack = 0.05 + radius / z  # of what distortion moves, and of the block's size
            x, y = (np.abs(centres[:, axis] / z) for axis in (0, 1))
        wide = max(lens.cx, lens.width - lens.cx) / lens.fx, max(lens.cy, lens.height - lens.cy) / lens.fy
        return np.flatnonzero((z > radius) & (x < 1.1 * wide[0] + slack) & (y < 1.1 * wide[1] + slack))

    def _integrate(
        self,
        view: View,
        picture: NDArray[np.float32],
        blocks: NDArray[np.int64],
        corner: NDArray[np.float32],
        offsets: NDArray[np.float32],
    ) -> None:
        height, width = view.depth.shape
        points = corner[:, None] + offsets
        z = np.maximum(points[..., 2], np.float32(1e-6))
        x, y = points[..., 0] / z, points[..., 1] / z
        lengths = np.sqrt(1.0 + x * x + y * y)
        xd, yd = distort(view.lens, x, y)
        u = np.floor(xd * view.lens.fx + view.lens.cx).astype(np.int32)
        v = np.floor(yd * view.lens.fy + view.lens.cy).astype(np.int32)
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height) & (points[..., 2] > 0)
        pixel = np.where(inside, v * width + u, 0)
        depth = view.depth.ravel()[pixel]
        trust = np.where(inside & (depth > 0), view.trust.ravel()[pixel], 0.0)
        band = _band(self.voxel, depth)
        distance = (depth - z) * lengths / np.maximum(band, 1e-12)
        used = (trust > 0) & (distance > -1.0)
        weight = np.where(used, trust, 0.0).astype(np.float32)
        self.distance[blocks] += weight * np.minimum(distance, 1.0).astype(np.float32)
        self.weight[blocks] += weight
        at_surface = np.where(distance < 1.0, weight, 0.0)
        self.colour[blocks] += picture.reshape(-1, 3)[pixel] * at_surface[..., None]
        self.colour_weight[blocks] += at_surface

    def surface(self) -> Mesh:
        """Where the distance is zero: a vertex in each cell that it passes, a quad on each voxel edge."""
        positions, colours, keys, crossings = [], [], [], []
        for start in range(0, len(self.keys), _CHUNK):
            blocks = slice(start, start + _CHUNK)
            cells, place, colour, signs = self._net(blocks)
            positions.append(place)
            colours.append(colour)
            keys.append(_key(cells))
            crossings.append(signs)
        vertex_keys = np.concatenate(keys)
        order = np.argsort(vertex_keys)
        vertex_keys = vertex_keys[order]
        vertices = np.concatenate(positions)[order].astype(np.float32)
        faces = _quads(vertex_keys, np.concatenate(crossings)[order])
        return Mesh(
            vertices,
            _normals(vertices, faces),
            np.concatenate(colours)[order].round().astype(np.uint8),
            faces,
            self.voxel,
        )

    def _net(
        self, blocks: slice
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32], NDArray[np.int8]]:
        """Of the cells of some blocks that the surface passes: voxel (N, 3), vertex (N, 3), colour (N, 3) 0..255, and
        along each axis whether the distance rises (1), falls (-1) or keeps its sign (0) through zero (N, 3).
        """
        weight = self._padded(self.weight, blocks)
        distance = self._padded(self.distance, blocks) / np.maximum(weight, 1e-9)
        shade = self._padded(self.colour, blocks)
        shade_weight = self._padded(self.colour_weight, blocks)
        corners = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])

        def at(values: NDArray[np.floating]) -> NDArray[np.floating]:
            """Values at the 8 corners of each cell, (8, B, 8, 8, 8, ...)."""
            return np.stack([values[:, x : x + _SIDE, y : y + _SIDE, z : z + _SIDE] for x, y, z in corners])

        known, values = at(weight) >= self.least, at(distance)
        outside = values > 0
        passed = known.all(0) & outside.any(0) & ~outside.all(0)
        values, outside = values[:, passed], outside[:, passed]
        total, count = np.zeros((values.shape[1], 3)), np.zeros(values.shape[1])
        for a in range(8):
            for b in range(a + 1, 8):
                if np.abs(corners[a] - corners[b]).sum() != 1:
                    continue
                crosses = outside[a] != outside[b]
                share = values[a] / np.where(crosses, values[a] - values[b], 1.0)
                total += np.where(crosses[:, None], corners[a] + share[:, None] * (corners[b] - corners[a]), 0.0)
                count += crosses
        index = np.argwhere(passed)
        cells = self.cells[blocks][index[:, 0]] * _SIDE + index[:, 1:]
        place = (cells + 0.5 + total / count[:, None]) * self.voxel
        shades = at(shade)[:, passed].sum(0) / np.maximum(at(shade_weight)[:, passed].sum(0), 1e-9)[:, None]
        rises = np.stack([outside[along].astype(np.int8) - outside[0] for along in (4, 2, 1)], 1)
        return cells, place, np.clip(255.0 * shades, 0.0, 255.0), rises

    def _padded(self, values: NDArray[np.float32], blocks: slice) -> NDArray[np.float32]:
        """Values (B, 9, 9, 9, ...) of some blocks and the next voxels of their neighbours, 0 where there are none."""
        cells = self.cells[blocks]
        result = np.zeros((len(cells), _SIDE + 1, _SIDE + 1, _SIDE + 1, *values.shape[2:]), np.float32)
        grid = values.reshape(len(values), _SIDE, _SIDE, _SIDE, *values.shape[2:])
        for step in np.ndindex(2, 2, 2):
            keys = _key(cells + np.array(step))
            found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            there = np.flatnonzero(self.keys[found] == keys)
            to = tuple(slice(_SIDE, None) if s else slice(0, _SIDE) for s in step)
            take = tuple(slice(0, 1) if s else slice(None) for s in step)
            result[(there, *to)] = grid[(found[there], *take)]
        return result


def _quads(keys: NDArray[np.int64], rises: NDArray[np.int8]) -> NDArray[np.int32]:
    """Triangles (F, 3) around each voxel edge that the surface crosses, where all four cells there have a vertex."""
    cells = _cells(keys)
    faces = []
    for axis, (one, other) in enumerate(((1, 2), (2, 0), (0, 1))):
        start = np.flatnonzero(rises[:, axis])
        around = [start]
        there = np.ones(len(start), bool)
        for steps in ((1, 0), (1, 1), (0, 1)):
            cell = cells[start].copy()
            cell[:, one] -= steps[0]
            cell[:, other] -= steps[1]
            wanted = _key(cell)
            found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            there &= keys[found] == wanted
            around.append(found)
        quad = np.stack(around, 1)[there]
        falls = rises[start, axis][there] < 0
        quad[falls] = quad[falls][:, ::-1]
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return np.concatenate(faces).astype(np.int32)


def _normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals (V, 3) by the areas of the faces around each vertex."""
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    across = np.cross(b - a, c - a)
    total = np.zeros((len(vertices), 3))
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, corner], across[:, axis], len(vertices))
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30), np.float32)


def _without_islands(mesh: Mesh) -> Mesh:
    """The mesh without small loose pieces, and without vertices that no face uses."""
    if not len(mesh.faces):
        return mesh
    piece = _pieces(len(mesh.vertices), mesh.faces)[mesh.faces[:, 0]]
    sizes = np.bincount(piece)
    faces = mesh.faces[sizes[piece] >= max(_ISLAND * len(piece), 1)]
    used = np.unique(faces)
    return Mesh(
        mesh.vertices[used],
        mesh.normals[used],
        mesh.colours[used],
        np.searchsorted(used, faces).astype(np.int32),
        mesh.voxel,
    )


def _pieces(count: int, faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """A number for each vertex, the same for all that hang together."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
