"""The fused mesh lies on the true surfaces, faces the cameras, and leaves out what must not be used."""

import json
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from engine import files
from engine.export import fused
from engine.export.fused import View, fuse
from engine.export.fused_file import add_fused
from engine.geometry.arrays import Lens, normalised_from_pixel, pixel_centres
from engine.schemas import schema

LENS = Lens("SIMPLE_RADIAL", 160, 120, 140.0, 140.0, 82.0, 58.0, k1=-0.06)
FRAMES = range(1, 13)
BOX = np.array([[-0.5, 2.6, 0.0], [0.5, 3.6, 0.8]])  # least and greatest corner
WALL = 5.0  # y of the back wall; the floor is z = 0
FLOOR_RED, ELSE_BLUE = (0.8, 0.2, 0.2), (0.2, 0.2, 0.8)


def pose(frame):
    """World z up, the camera looks along +y and a little down, and walks to the right."""
    tilt = 0.25
    result = np.eye(4)
    result[:3, :3] = np.array(
        [[1, 0, 0], [0, -np.sin(tilt), np.cos(tilt)], [0, -np.cos(tilt), -np.sin(tilt)]]
    )  # columns: right, down, forward
    result[:3, 3] = (-0.9 + 0.15 * frame, 0.0, 1.5)
    return result


def cast(frame):
    """Planar depth (H, W) on the distorted plate, and the picture (H, W, 3)."""
    rays = normalised_from_pixel(LENS, pixel_centres(LENS.height, LENS.width))
    rays = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], -1) @ pose(frame)[:3, :3].T
    start = pose(frame)[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = np.where(rays[..., 2] < 0, -start[2] / rays[..., 2], np.inf)
        wall = np.where(rays[..., 1] > 0, (WALL - start[1]) / rays[..., 1], np.inf)
        hits = (BOX[:, None, None] - start) / rays
    enter, leave = hits.min(0).max(-1), hits.max(0).min(-1)
    box = np.where((enter < leave) & (enter > 0), enter, np.inf)
    depth = np.minimum(np.minimum(floor, wall), box)
    red = (floor < wall) & (floor < box)
    return depth.astype(np.float32), np.where(red[..., None], FLOOR_RED, ELSE_BLUE).astype(np.float32)


def off_surface(points):
    """Distance (N,) of points to the nearest true surface."""
    outside = np.linalg.norm(np.maximum(np.maximum(BOX[0] - points, points - BOX[1]), 0.0), axis=1)
    inside = np.minimum(points - BOX[0], BOX[1] - points).min(1)
    box = np.where(inside > 0, inside, outside)
    return np.minimum(np.minimum(np.abs(points[:, 2]), np.abs(points[:, 1] - WALL)), box)


def view(frame, trust=None):
    depth, _ = cast(frame)
    return View(LENS, pose(frame), depth, np.ones_like(depth) if trust is None else trust)


def pictures(frames):
    return ((frame, cast(frame)[1]) for frame in frames)


@pytest.fixture(scope="module")
def mesh():
    return fuse(FRAMES, view, pictures, faces=20_000)


def test_vertices_lie_on_the_true_surfaces(mesh) -> None:
    error = off_surface(mesh.vertices.astype(float))
    assert np.median(error) < 0.05 * mesh.voxel
    assert np.percentile(error, 95) < 0.7 * mesh.voxel  # rounded edges of the box, and what lies behind them
    assert 15_000 < len(mesh.faces) < 21_000


def test_all_that_was_seen_is_there(mesh) -> None:
    across, along = np.meshgrid(np.linspace(-0.45, 0.45, 12), np.linspace(2.65, 3.3, 8))
    top = np.stack([across, along, np.full_like(across, BOX[1, 2])], -1).reshape(-1, 1, 3)
    gap = np.linalg.norm(top - mesh.vertices, axis=-1).min(1)
    assert gap.max() < 1.5 * mesh.voxel


def test_faces_and_normals_look_towards_the_cameras(mesh) -> None:
    to_camera = pose(6)[:3, 3] - mesh.vertices
    assert ((mesh.normals * to_camera).sum(1) > 0).mean() > 0.97
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    turned = (np.cross(b - a, c - a) * mesh.normals[mesh.faces[:, 0]]).sum(1)
    assert (turned > 0).mean() > 0.97
    assert np.abs(np.linalg.norm(mesh.normals, axis=1) - 1.0).max() < 1e-3


def test_no_edge_inside_has_one_face(mesh) -> None:
    """Physics falls through cracks: the top of the box is closed, and no edge has more than two faces there."""
    centre = mesh.vertices[mesh.faces].mean(1)
    on_top = (np.abs(centre[:, 0]) < 0.4) & (centre[:, 1] > 2.7) & (centre[:, 1] < 3.2) & (centre[:, 2] > 0.7)
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    _, which, counts = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    assert (counts[which.reshape(-1, 3)[on_top]] == 2).all()


def test_colours_are_those_of_the_pictures(mesh) -> None:
    floor = (mesh.vertices[:, 2] < 0.02) & (mesh.vertices[:, 1] < 2.0)
    assert np.abs(mesh.colours[floor] - 255.0 * np.array(FLOOR_RED)).max() < 3.0


def test_what_must_not_be_used_leaves_a_hole() -> None:
    """Pixels of no trust, here all of the box, carry no surface."""

    def without_box(frame):
        floor_or_wall = off_surface_of_room(frame, cast(frame)[0]) < 1e-4
        return view(frame, floor_or_wall.astype(np.float32))

    mesh = fuse(FRAMES, without_box, pictures, faces=20_000)
    assert mesh is not None
    top = np.all((mesh.vertices > BOX[0] + [0.1, 0.1, 0.3]) & (mesh.vertices < BOX[1] + 0.1), axis=1)
    assert not top.any()
    assert len(mesh.faces) > 5_000


def off_surface_of_room(frame, depth):
    rays = normalised_from_pixel(LENS, pixel_centres(LENS.height, LENS.width))
    rays = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], -1) * depth[..., None]
    points = rays @ pose(frame)[:3, :3].T + pose(frame)[:3, 3]
    return np.minimum(np.abs(points[..., 2]), np.abs(points[..., 1] - WALL))


def test_nothing_known_gives_no_mesh() -> None:
    assert fuse(FRAMES, lambda frame: view(frame, np.zeros((120, 160), np.float32)), pictures) is None


def test_a_loose_piece_is_left_out() -> None:
    def speck(frame):
        seen = view(frame)
        depth = seen.depth.copy()
        point = np.linalg.inv(pose(frame)) @ [0.8, 2.0, 1.2, 1.0]
        u = int(LENS.fx * point[0] / point[2] + LENS.cx)
        v = int(LENS.fy * point[1] / point[2] + LENS.cy)
        depth[v - 1 : v + 2, u - 1 : u + 2] = point[2]
        return View(LENS, seen.world_from_camera, depth, seen.trust)

    mesh = fuse(FRAMES, speck, pictures, faces=20_000)
    assert mesh is not None
    assert not (np.linalg.norm(mesh.vertices - [0.8, 2.0, 1.2], axis=1) < 0.2).any()


def test_long_clips_cost_no_more() -> None:
    assert len(fused.spread(range(1000))) == fused.MOST_FRAMES
    assert fused.spread([3, 4, 9]) == [3, 4, 9]


def write_solve(folder):
    """A finished solve of an older engine: no entry `fused`."""
    plates = folder / "plates"
    solve = folder / "a.solve"
    for name in ("depth", "confidence", "dynamic"):
        (solve / name).mkdir(parents=True)
    plates.mkdir()
    entries = []
    for frame in FRAMES:
        depth, picture = cast(frame)
        cv2.imwrite(str(plates / f"p_{frame:04d}.png"), np.rint(255 * picture[..., ::-1]))
        files.write_exr(solve / f"depth/{frame:06d}.exr", depth)
        files.write_exr(solve / f"confidence/{frame:06d}.exr", np.ones(depth.shape, np.float16))
        on_box = off_surface_of_room(frame, depth) > 1e-4
        cv2.imwrite(str(solve / f"dynamic/{frame:06d}.png"), 255 * on_box.astype(np.uint8))
        names = {kind: f"{kind}/{frame:06d}.exr" for kind in ("depth", "confidence")}
        entries.append(
            {"frame": frame, "registered": True, "world_from_camera": pose(frame).tolist(), "reason": None}
            | {"focal_px": LENS.fx, "dynamic": f"dynamic/{frame:06d}.png", **names}
            | {"reprojection_px": 0.3, "consistency_px": 0.5}
        )
    lens = {name: getattr(LENS, name) for name in ("model", "fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")}
    source = {"path": str(plates / "p_0001.png"), "kind": "sequence", "width": 160, "height": 120, "fps": [24, 1]}
    depth_entry = {"method": "cvd", "prior": "none", "licence": "none", "width": 160, "height": 120}
    document = {
        "schema": "cvd.solve/1",
        "source": {**source, "first": 1, "last": 12, "colourspace": "srgb", "content_id": "x"},
        "lens": {**lens, "focal_varies": False, "source": "known", "uncertainty_pct": None},
        "frames": entries,
        "world": {"up": "estimated", "scale": "metric", "unit": "metre"},
        "depth": {**depth_entry, "planar": True, "near": 1.0, "far": 6.0},
        "points": "points.ply",
        "quality": {"verdict": "Exact.", "warnings": []},
        "engine": {"versions": {}, "device": "cpu", "stages": {}},
    }
    files.write_json(solve / "solve.json", document)
    return solve


def test_a_folder_of_an_older_engine_gets_its_mesh(tmp_path: Path) -> None:
    solve = write_solve(tmp_path)
    told = []
    made = add_fused(solve, lambda done, total: told.append((done, total)))
    assert made is not None
    document = json.loads((solve / "solve.json").read_text())
    jsonschema.validate(document, schema("solve-1"))
    assert document["fused"] == made
    assert told[-1] == (24, 24)
    from cvd_blender_addon import mesh_file

    mesh = mesh_file.read_mesh(solve / made["file"])
    assert (len(mesh.vertices), len(mesh.faces)) == (made["vertices"], made["faces"])
    assert np.percentile(off_surface(mesh.vertices.astype(float)), 95) < made["voxel"]
    assert not np.all((mesh.vertices > BOX[0] + [0.1, 0.1, 0.3]) & (mesh.vertices < BOX[1] + 0.1), axis=1).any(), (
        "moves"
    )
