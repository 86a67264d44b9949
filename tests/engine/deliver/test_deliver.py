"""What is delivered is exact: against the truth of synthetic solves, and read back by other eyes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pycolmap
import pytest

from engine.cameras.chan import read_chan
from engine.cameras.colmap import read_colmap
from engine.cameras.knowledge import LensKnowledge
from engine.cli import main
from engine.deliver.kinds import KINDS
from engine.deliver.passes import PASSES, camera_normals
from engine.deliver.run import deliver
from engine.deliver.solved import Solved, read_solved
from engine.errors import Cancelled, CvdError
from engine.export.fused import Mesh
from engine.export.ply import read_vertices, write_mesh
from tests.addon.synthetic import Synthetic
from tests.engine.deliver import nuke_script


def quiet(_document: dict) -> None:
    pass


def channels(path: Path) -> dict[str, np.ndarray]:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.channels().items()}


def similarity(scale: float, degrees: float, shift: tuple[float, float, float]) -> np.ndarray:
    turn = cv2.Rodrigues(np.radians(degrees) * np.array([0.36, 0.48, 0.8]))[0]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = scale * turn, shift
    return matrix


BROWN = {"k1": -0.12, "p1": 0.004, "p2": -0.003}
ZOOM = {number: 250.0 + 9.0 * (number - 1001) for number in range(1001, 1009)}
PLACED = similarity(2.5, 40.0, (3.0, -1.0, 0.5))


@pytest.fixture(scope="session")
def delivered(make_solve: Callable[..., Synthetic], tmp_path_factory: pytest.TempPathFactory) -> tuple[Synthetic, Path]:
    truth = make_solve(**BROWN)
    out = tmp_path_factory.mktemp("all") / "out"
    return truth, deliver(truth.folder, out, None, None, quiet)


@pytest.fixture(scope="session")
def placed(make_solve: Callable[..., Synthetic], tmp_path_factory: pytest.TempPathFactory) -> tuple[Synthetic, Path]:
    truth = make_solve(**BROWN)
    out = tmp_path_factory.mktemp("placed") / "out"
    kinds = ["depth", "normals", "position", "points", "chan", "colmap", "nuke"]
    return truth, deliver(truth.folder, out, kinds, PLACED.ravel().tolist(), quiet)


def test_everything_that_the_shot_has_is_there_by_the_plates_own_numbers(delivered: tuple[Synthetic, Path]) -> None:
    truth, out = delivered
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [".deliver", "README.txt", "camera.chan", "colmap", "comp.nk", "depth", "distance", "inverse_depth", "normals",
         "points.ply", "position", "stmaps", "undistorted"]
    )  # fmt: skip
    for folder in ("depth", "inverse_depth", "distance", "normals", "position"):
        assert sorted(path.name for path in (out / folder).iterdir()) == [f"{n:06d}.exr" for n in truth.placed]
    assert json.loads((out / ".deliver" / "status.json").read_text())["state"] == "done"


def test_depth_is_exact_in_all_definitions(delivered: tuple[Synthetic, Path]) -> None:
    truth, out = delivered
    for number in truth.placed[::3]:
        rays, name = truth.rays(number), f"{number:06d}.exr"
        z = truth.depth(number).astype(np.float64)
        planar, inverse, distance = (channels(out / k / name) for k in ("depth", "inverse_depth", "distance"))
        assert {c.dtype for p in (planar, inverse, distance) for c in p.values()} == {np.dtype(np.float32)}
        assert list(planar) == list(inverse) == list(distance) == ["R"]
        assert np.array_equal(planar["R"], z.astype(np.float32))
        assert inverse["R"] == pytest.approx(1.0 / z, rel=1e-6)
        assert distance["R"] == pytest.approx(z * np.linalg.norm(rays, axis=-1), rel=1e-6)


def inner(surface: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours are on the same surface."""
    same = np.zeros(surface.shape, bool)
    middle = surface[1:-1, 1:-1]
    neighbours = surface[:-2, 1:-1], surface[2:, 1:-1], surface[1:-1, :-2], surface[1:-1, 2:]
    same[1:-1, 1:-1] = np.logical_and.reduce([middle == other for other in neighbours])
    return same


def test_positions_and_normals_are_exact_on_planes(delivered: tuple[Synthetic, Path]) -> None:
    truth, out = delivered
    for number in truth.placed[::3]:
        _, points, surface = truth.cast(number, truth.rays(number))
        read = channels(out / "position" / f"{number:06d}.exr")
        assert np.stack([read[c] for c in "RGB"], -1) == pytest.approx(points, abs=2e-5)
        assert (read["A"] == 1).all()
        read = channels(out / "normals" / f"{number:06d}.exr")
        got = np.stack([read[c] for c in "RGB"], -1).astype(np.float64)
        wanted = np.array([[0, 0, 1.0], [0, -1.0, 0], [0, -1.0, 0]])[surface]  # floor, walls: towards the camera
        off = np.degrees(np.arccos(np.clip((got * wanted).sum(-1) / np.linalg.norm(got, axis=-1), -1, 1)))
        assert off[inner(surface)].max() < 0.6  # depth has seven digits, of which differences of neighbours cost four
        assert np.median(off) < 0.05
        assert (off > 5.0).mean() < 0.01, "normals are of one surface or the other, but for where two of them meet"


def test_normals_are_exact_on_planes_and_spheres_and_keep_off_edges(synthetic: Synthetic) -> None:
    number = synthetic.placed[0]
    rays = synthetic.rays(number)
    plane = np.array([0.3, -0.5, -0.8]) / np.linalg.norm([0.3, -0.5, -0.8])
    depth = -3.0 / (rays @ plane)
    assert camera_normals(depth, rays) == pytest.approx(np.broadcast_to(plane, rays.shape), abs=1e-9)
    centre, radius = np.array([0.2, -0.1, 5.0]), 1.2
    a, b, c = (rays**2).sum(-1), rays @ centre, centre @ centre - radius**2
    root = b * b - a * c
    hit = root > 0
    ball = np.where(hit, (b - np.sqrt(np.where(hit, root, 0.0))) / a, 0.0)
    got = camera_normals(ball, rays)
    true = (ball[..., None] * rays - centre) / radius
    facing = hit & (-(true * rays).sum(-1) / np.linalg.norm(rays, axis=-1) > 0.3)
    assert facing.sum() > 5000
    assert np.degrees(np.arccos(np.clip((got * true).sum(-1)[facing], -1, 1))).max() < 0.3
    assert not got[~hit].any(), "no depth, no normal"
    behind = np.where(hit, ball, 40.0)
    close = camera_normals(behind, rays)
    wall = ~hit
    assert close[wall] == pytest.approx(np.broadcast_to([0, 0, -1.0], close[wall].shape), abs=1e-6)
    assert np.degrees(np.arccos(np.clip((close * true).sum(-1)[facing], -1, 1))).max() < 3.0


def test_pixels_without_depth_have_no_value_in_any_pass(synthetic: Synthetic) -> None:
    number = synthetic.placed[0]
    depth = synthetic.depth(number).astype(np.float64)
    depth[20:40, 30:60] = 0.0
    hole = np.s_[20:40, 30:60]
    for name, make in PASSES.items():
        made = make(depth, synthetic.rays(number), synthetic.world_from_camera(number))
        assert all(np.isfinite(channel).all() for channel in made.values()), name
        assert all(not channel[hole].any() for channel in made.values()), name


def lens_of(truth: Synthetic) -> LensKnowledge:
    return LensKnowledge(principal_px=(truth.cx, truth.cy), pixel_aspect=1.0 / truth.squeeze)


@pytest.mark.parametrize(
    "parameters",
    [BROWN, {"squeeze": 0.5}, {"focals": ZOOM}],
)
def test_chan_is_read_back_by_our_own_reader(
    make_solve: Callable[..., Synthetic], tmp_path: Path, parameters: dict
) -> None:
    truth = make_solve(**parameters)
    out = deliver(truth.folder, tmp_path / "out", ["chan"], None, quiet)
    read = read_chan(out / "camera.chan", truth.width, truth.height, lens_of(truth), None, "ZXY", False)
    assert sorted(read.world_from_camera) == truth.placed
    for number in truth.placed:
        assert read.world_from_camera[number] == pytest.approx(truth.world_from_camera(number), abs=1e-6)
        assert read.lens_at(number).fx == pytest.approx(truth.focal(number), abs=1e-6)
        assert read.lens_at(number).fy == pytest.approx(truth.focal(number) / truth.squeeze, abs=1e-6)


def test_angles_go_on_over_half_turns_and_straight_up() -> None:
    from engine.cameras.chan import _rotation, nuke_track

    poses = {}
    for number in range(1, 200):
        pose = np.eye(4)
        tilt, pan, roll = np.radians([number * 1.7, number * 5.0, 170 + number])
        nuke = _rotation(np.array([tilt, pan, roll]), "ZXY")
        pose[:3, :3] = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]) @ nuke @ np.diag([1.0, -1.0, -1.0])
        poses[number] = pose
    angles = np.array([turn for _, turn in nuke_track(poses).values()])
    assert np.abs(np.diff(angles, axis=0)).max() < 7.0
    assert angles[-1] - angles[0] == pytest.approx([198 * 1.7, 198 * 5.0, 198.0], abs=1e-6)


def project(model: pycolmap.Reconstruction, number: int, world: np.ndarray) -> np.ndarray:
    image = next(i for i in model.images.values() if str(number) in i.name)
    local = world @ image.cam_from_world().matrix()[:, :3].T + image.cam_from_world().matrix()[:, 3]
    camera = model.cameras[image.camera_id]
    return np.array([camera.img_from_cam(point) for point in local])


@pytest.mark.parametrize("parameters", [BROWN, {"squeeze": 0.5}, {}])
def test_colmap_model_projects_as_the_solve_does(
    make_solve: Callable[..., Synthetic], tmp_path: Path, parameters: dict
) -> None:
    truth = make_solve(**parameters)
    out = deliver(truth.folder, tmp_path / "out", ["colmap"], None, quiet)
    model = pycolmap.Reconstruction(out / "colmap")
    assert len(model.cameras) == 1
    pixels = np.stack(np.meshgrid(np.arange(truth.width) + 0.5, np.arange(truth.height) + 0.5), -1)[::20, ::20]
    for number in truth.placed:
        _, world, _ = truth.cast(number, truth.rays(number)[::20, ::20])
        assert project(model, number, world.reshape(-1, 3)) == pytest.approx(pixels.reshape(-1, 2), abs=0.01)
    names = {f"plate_{n:04d}.png": n for n in truth.frames}
    read = read_colmap(out / "colmap", names, [], truth.frames, False)
    assert sorted(read.world_from_camera) == truth.placed
    for number in truth.placed:
        assert read.world_from_camera[number] == pytest.approx(truth.world_from_camera(number), abs=1e-9)
    points = np.array([point.xyz for point in model.points3D.values()])
    stored = read_vertices(truth.folder / "points.ply")
    assert np.sort(points, 0) == pytest.approx(np.sort(np.stack([stored[a] for a in "xyz"], -1), 0), abs=1e-6)


def test_colmap_model_of_a_zoom_has_a_camera_for_each_picture(
    make_solve: Callable[..., Synthetic], tmp_path: Path
) -> None:
    truth = make_solve(focals=ZOOM)
    out = deliver(truth.folder, tmp_path / "out", ["colmap"], None, quiet)
    read = read_colmap(out / "colmap", {}, [], truth.frames, False)
    assert read.focals == pytest.approx({n: truth.focal(n) for n in truth.placed})


def test_where_the_artist_has_placed_the_scene_all_of_it_goes_along(placed: tuple[Synthetic, Path]) -> None:
    truth, out = placed
    number = truth.placed[2]
    name, rays = f"{number:06d}.exr", truth.rays(number)
    z, points, _ = truth.cast(number, rays)
    moved = points @ PLACED[:3, :3].T + PLACED[:3, 3]
    assert channels(out / "depth" / name)["R"] == pytest.approx(2.5 * z, rel=1e-6)
    read = channels(out / "position" / name)
    assert np.stack([read[c] for c in "RGB"], -1) == pytest.approx(moved, abs=1e-4)
    floor = channels(out / "normals" / name)
    below = np.stack([floor[c] for c in "RGB"], -1)[-5, 160].astype(float)
    assert below == pytest.approx(PLACED[:3, 2] / 2.5, abs=0.01)
    camera = read_chan(out / "camera.chan", truth.width, truth.height, lens_of(truth), None, "ZXY", False)
    wanted = PLACED @ truth.world_from_camera(number)
    wanted[:3, :3] /= 2.5
    assert camera.world_from_camera[number] == pytest.approx(wanted, abs=1e-6)
    pixels = np.stack(np.meshgrid(np.arange(truth.width) + 0.5, np.arange(truth.height) + 0.5), -1)[::30, ::30]
    seen = project(pycolmap.Reconstruction(out / "colmap"), number, moved[::30, ::30].reshape(-1, 3))
    assert seen == pytest.approx(pixels.reshape(-1, 2), abs=0.01)
    was, now = read_vertices(truth.folder / "points.ply"), read_vertices(out / "points.ply")
    xyz = np.stack([was[a] for a in "xyz"], -1) @ PLACED[:3, :3].T + PLACED[:3, 3]
    assert np.stack([now[a] for a in "xyz"], -1) == pytest.approx(xyz, abs=1e-4)
    assert "the unit of the scene" in (out / "README.txt").read_text()


def seen_by_nuke(camera: nuke_script.Node, number: int, world: np.ndarray, size: tuple[int, int, float]) -> np.ndarray:
    """Pixels (M, 2) from the top left by the rule of Nuke's camera, of points (M, 3) in its world, y up."""
    from engine.cameras.chan import _rotation

    def at(name: str) -> np.ndarray:
        curves = nuke_script.words(camera.knobs[name])
        return np.array([nuke_script.curve(text)[number] for text in curves])

    def value(name: str) -> float:
        text = camera.knobs[name]
        return nuke_script.curve(text.strip("{}"))[number] if "curve" in text else float(text)

    assert camera.knobs["rot_order"] == "ZXY"
    local = (world - at("translate")) @ _rotation(np.radians(at("rotate")), "ZXY")
    window = np.array([float(word) for word in nuke_script.words(camera.knobs["win_translate"])])
    u = 2.0 * value("focal") / value("haperture") * local[:, :2] / -local[:, 2:] - window
    width, height, aspect = size
    return np.stack([(u[:, 0] + 1) * width / 2, height / 2 - u[:, 1] * aspect * width / 2], -1)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"squeeze": 0.5}, BROWN, {"focals": ZOOM}],
)
def test_nuke_script_is_sound_and_its_camera_sees_what_the_plate_sees(
    make_solve: Callable[..., Synthetic], tmp_path: Path, parameters: dict
) -> None:
    truth = make_solve(**parameters)
    out = deliver(truth.folder, tmp_path / "out", ["nuke"], None, quiet)
    nodes = nuke_script.parse((out / "comp.nk").read_text())
    aspect = 1.0 / truth.squeeze
    root = nodes["Root"].knobs
    assert (root["first_frame"], root["last_frame"]) == (str(truth.first), str(truth.last))
    assert root["format"] == f"{truth.width} {truth.height} 0 0 {truth.width} {truth.height} {aspect:.9g} cvd_plate"
    camera = nodes["solved_camera"]
    assert sorted(nuke_script.curve(nuke_script.words(camera.knobs["rotate"])[0])) == truth.placed
    pixels = np.stack(np.meshgrid(np.arange(truth.width) + 0.5, np.arange(truth.height) + 0.5), -1)[::20, ::20]
    for number in truth.placed:
        _, world, _ = truth.cast(number, truth.rays(number, distorted=False)[::20, ::20])
        world = world.reshape(-1, 3)
        y_up = np.stack([world[:, 0], world[:, 2], -world[:, 1]], -1)
        seen = seen_by_nuke(camera, number, y_up, (truth.width, truth.height, aspect))
        assert seen == pytest.approx(pixels.reshape(-1, 2), abs=0.01)


def test_nuke_script_is_wired_as_it_should_be(delivered: tuple[Synthetic, Path]) -> None:
    truth, out = delivered
    text = (out / "comp.nk").read_text()
    nodes = nuke_script.parse(text)

    def inputs(name: str) -> list[str]:
        return [node.name for node in nodes[name].inputs]

    assert nodes["plate"].knobs["file"] == (truth.folder.parent / "plate_%04d.png").as_posix()
    assert inputs("plate_undistorted") == ["plate", "undistort"]
    assert inputs("depth_undistorted") == ["plate_inverse_depth", "undistort"]
    assert nodes["depth_undistorted"].knobs["filter"] == "Impulse"
    assert inputs("CG") == ["size_of_plate", "test_ball", "solved_camera"]
    assert inputs("depth_of_plate") == ["CG_depth_is_Z", "depth_undistorted"]
    assert inputs("CG_distorted") == ["cut_by_depth", "redistort"]
    assert inputs("comp") == ["plate", "CG_distorted"]
    assert inputs("position_y_up") == ["position"]
    for name in ("plate_inverse_depth", "undistort", "redistort", "position", "normals"):
        file = nodes[name].knobs["file"].replace("[file dirname [value root.name]]", str(out))
        assert Path(file.replace("%06d", f"{truth.placed[0]:06d}")).is_file(), file
        assert nodes[name].knobs["raw"] == "true"


def test_a_number_sign_in_the_names_of_the_plate_is_no_digit(synthetic: Synthetic, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(synthetic.folder, tmp_path / "own.solve"))
    document = json.loads((folder / "solve.json").read_text())
    document["source"] |= {"path": "/shots/50%_plate#_1001.png", "pattern": "50%_plate#_####.png"}
    (folder / "solve.json").write_text(json.dumps(document))
    out = deliver(folder, tmp_path / "out", ["nuke", "colmap"], None, quiet)
    nodes = nuke_script.parse((out / "comp.nk").read_text())
    assert nodes["plate"].knobs["file"] == "/shots/50%_plate#_%04d.png"
    names = {image.name for image in pycolmap.Reconstruction(out / "colmap").images.values()}
    assert names == {f"50%_plate#_{number}.png" for number in synthetic.placed}


def test_names_of_the_plate_cannot_break_out_of_the_nuke_script(synthetic: Synthetic, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(synthetic.folder, tmp_path / 'a"b [exit] $x {y.solve'))
    document = json.loads((folder / "solve.json").read_text())
    document["source"]["path"] = '/shots/[exec rm]/$HOME/a"b}/plate_1001.png'
    (folder / "solve.json").write_text(json.dumps(document))
    out = deliver(folder, tmp_path / "out", ["nuke"], None, quiet)
    nodes = nuke_script.parse((out / "comp.nk").read_text())
    assert nodes["plate"].knobs["file"] == '/shots/[exec rm]/$HOME/a"b}/plate_%04d.png'
    assert nodes["read_me"].knobs["label"].startswith('a"b [exit] $x {y: camera and depth')


def test_the_readme_states_the_conventions_of_this_shot(delivered: tuple[Synthetic, Path]) -> None:
    _, out = delivered
    text = (out / "README.txt").read_text()
    for words in (
        "With a camera: 1001-1003, 1005, 1007-1008",
        "1004: the plate has no such frame",
        "1006: no match",
        "fx 300.0000 px, cx 171.0000, cy 83.0000",
        "k1 -0.12, k2 0, p1 0.004, p2 -0.003",
        "scene unit (the solve's scale is arbitrary)",
        "320x180",
        "29.97 frames/s",
    ):
        assert words in text, words
    assert max(map(len, text.splitlines())) < 160


def test_a_pinhole_shot_has_no_lens_products_and_the_readme_says_so(
    make_solve: Callable[..., Synthetic], tmp_path: Path
) -> None:
    truth = make_solve()
    out = deliver(truth.folder, tmp_path / "out", None, None, quiet)
    assert not (out / "stmaps").exists()
    assert not (out / "undistorted").exists()
    assert "the lens does not distort" in (out / "README.txt").read_text()
    nodes = nuke_script.parse((out / "comp.nk").read_text())
    assert [n.name for n in nodes["comp"].inputs] == ["plate", "cut_by_depth"]
    assert not any(node.kind == "STMap" for node in nodes.values())


def test_a_cancelled_delivery_goes_on_and_a_finished_one_makes_nothing_again(
    synthetic: Synthetic, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kinds = ["depth", "distance"]

    with pytest.raises(Cancelled):
        deliver(synthetic.folder, out, kinds, None, _Cancelling(out, "distance"))
    assert sorted(path.name for path in out.iterdir()) == [".deliver", "depth"], "nothing unfinished is to be seen"
    assert json.loads((out / ".deliver" / "status.json").read_text())["state"] == "cancelled"
    before = {path: path.stat().st_mtime_ns for path in (out / "depth").iterdir()}
    told: list[dict] = []
    deliver(synthetic.folder, out, kinds, None, told.append)
    assert [d["stage"] for d in told if d.get("type") == "stage_reused"] == ["depth"]
    assert {path: path.stat().st_mtime_ns for path in (out / "depth").iterdir()} == before
    told.clear()
    deliver(synthetic.folder, out, kinds, None, told.append)
    assert not [d for d in told if d.get("type") == "stage_started"]
    shutil.rmtree(out / "depth")
    deliver(synthetic.folder, out, kinds, None, quiet)
    assert len(list((out / "depth").iterdir())) == len(synthetic.placed)


class _Cancelling:
    """Asks to cancel as soon as a product has begun, as the add-on does."""

    def __init__(self, out: Path, kind: str) -> None:
        self.out, self.kind = out, kind

    def __call__(self, document: dict) -> None:
        if document.get("type") == "stage_started" and document["stage"] == self.kind:
            os.kill(os.getpid(), signal.SIGTERM)


def test_another_solve_in_the_folder_or_another_place_replaces_what_was_delivered(
    synthetic: Synthetic, tmp_path: Path
) -> None:
    out, number = tmp_path / "out", synthetic.placed[0]
    deliver(synthetic.folder, out, ["depth", "chan"], None, quiet)
    first = channels(out / "depth" / f"{number:06d}.exr")["R"]
    (out / "depth" / "000999.exr").touch()
    deliver(synthetic.folder, out, ["depth", "chan"], similarity(3.0, 0.0, (0, 0, 0)).ravel().tolist(), quiet)
    assert channels(out / "depth" / f"{number:06d}.exr")["R"] == pytest.approx(3.0 * first)
    assert not (out / "depth" / "000999.exr").exists()
    assert len(list((out / ".deliver" / "making").iterdir())) == 2, "nothing of the earlier delivery is kept"


def failure(solve: Path, out: Path, kinds: list[str] | None, placed: list[float] | None) -> CvdError:
    with pytest.raises(CvdError) as caught:
        deliver(solve, out, kinds, placed, quiet)
    return caught.value


def test_what_cannot_be_delivered_is_said(synthetic: Synthetic, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert failure(synthetic.folder, tmp_path / "mine", None, None).code == "deliver.folder"
    assert failure(synthetic.folder, synthetic.folder, None, None).code == "deliver.folder"
    assert failure(tmp_path, tmp_path / "a", None, None).code == "deliver.no_solve"
    mirrored = np.diag([1.0, 1.0, -1.0, 1.0]).ravel().tolist()
    assert failure(synthetic.folder, tmp_path / "b", None, mirrored).code == "deliver.placed"
    uneven = np.diag([1.0, 2.0, 1.0, 1.0]).ravel().tolist()
    assert failure(synthetic.folder, tmp_path / "c", None, uneven).code == "deliver.placed"
    nothing = [float("nan")] * 16
    assert failure(synthetic.folder, tmp_path / "d", None, nothing).code == "deliver.placed"
    own = Path(shutil.copytree(synthetic.folder, tmp_path / "own.solve"))
    (own / "depth" / f"{synthetic.placed[1]:06d}.exr").write_bytes(b"")
    assert failure(own, tmp_path / "e", ["depth"], None).code == "deliver.depth"
    assert json.loads((tmp_path / "e" / ".deliver" / "status.json").read_text())["error"]["code"] == "deliver.depth"
    assert not (tmp_path / "e" / "depth").exists()
    (own / "points.ply").write_bytes(b"ply\n")
    assert failure(own, tmp_path / "f", ["points"], None).code == "deliver.points"
    document = json.loads((own / "solve.json").read_text())
    damages: list[dict[str, Any]] = [
        {"source": {**document["source"], "pattern": "../../plate_####.png"}},
        {"frames": []},
    ]
    for damage in damages:
        (own / "solve.json").write_text(json.dumps({**document, **damage}))
        assert failure(own, tmp_path / "g", None, None).code == "deliver.damaged"


@pytest.mark.parametrize("name", ["depth/paint.exr", "colmap/notes.txt", "camera.chan", "points.ply"])
def test_nothing_is_replaced_that_no_delivery_has_written(synthetic: Synthetic, tmp_path: Path, name: str) -> None:
    deliver(synthetic.folder, tmp_path, ["depth", "colmap"], None, quiet)
    (tmp_path / name).write_text("hours of work")
    with pytest.raises(CvdError) as caught:
        deliver(synthetic.folder, tmp_path, ["depth", "colmap", "chan", "points"], PLACED.ravel().tolist(), quiet)
    assert caught.value.code == "deliver.foreign"
    assert (tmp_path / name).read_text() == "hours of work"


def test_a_solve_that_changes_meanwhile_is_not_mixed_with_what_it_was(synthetic: Synthetic, tmp_path: Path) -> None:
    own = Path(shutil.copytree(synthetic.folder, tmp_path / "own.solve"))

    def change(document: dict) -> None:
        if document.get("type") == "stage_started" and document["stage"] == "depth":
            text = (own / "solve.json").read_text()
            (own / "solve.json").write_text(text + "\n")

    with pytest.raises(CvdError) as caught:
        deliver(own, tmp_path / "out", ["depth"], None, change)
    assert caught.value.code == "deliver.changed"
    assert not (tmp_path / "out" / "depth").exists()


def test_the_mesh_is_placed_y_up_and_in_the_nuke_script(synthetic: Synthetic, tmp_path: Path) -> None:
    own = Path(shutil.copytree(synthetic.folder, tmp_path / "own.solve"))
    assert failure(own, tmp_path / "none", ["mesh"], None).code == "deliver.mesh"
    xyz = np.array([[0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 3, 4]], np.float32)
    up = np.tile(np.array([0, 0, 1], np.float32), (4, 1))
    faces = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    write_mesh(own / "fused.ply", Mesh(xyz, up, np.zeros((4, 3), np.uint8), faces, 0.1))
    document = json.loads((own / "solve.json").read_text())
    document["fused"] = {"file": "fused.ply", "vertices": 4, "faces": 2, "voxel": 0.1}
    (own / "solve.json").write_text(json.dumps(document))
    out = deliver(own, tmp_path / "out", ["mesh", "nuke"], PLACED.ravel().tolist(), quiet)
    lines = [line.split() for line in (out / "mesh.obj").read_text().splitlines()]
    read = {word: [line[1:] for line in lines if line[0] == word] for word in ("v", "vn", "f")}
    moved = xyz @ PLACED[:3, :3].T + PLACED[:3, 3]
    assert np.array(read["v"], float) == pytest.approx(np.stack([moved[:, 0], moved[:, 2], -moved[:, 1]], -1), rel=1e-5)
    normal = PLACED[:3, 2] / 2.5
    assert np.array(read["vn"], float)[0] == pytest.approx([normal[0], normal[2], -normal[1]], abs=1e-6)
    assert read["f"] == [["1//1", "2//2", "3//3"], ["2//2", "4//4", "3//3"]]
    node = nuke_script.parse((out / "comp.nk").read_text())["fused_mesh"]
    assert node.knobs["file"] == "[file dirname [value root.name]]/mesh.obj"
    (own / "fused.ply").write_bytes((own / "fused.ply").read_bytes()[:-5])
    assert failure(own, tmp_path / "cut", ["mesh"], None).code == "deliver.mesh"


def test_command_line(synthetic: Synthetic, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["deliver", str(synthetic.folder), "--out", str(out), "--as", "chan,points"]) == 0
    assert "README.txt" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == [".deliver", "README.txt", "camera.chan", "points.ply"]
    assert main(["deliver", str(tmp_path / "none"), "--out", str(tmp_path / "x")]) == 1
    with pytest.raises(SystemExit) as caught:
        main(["deliver", str(synthetic.folder), "--out", str(out), "--as", "chan,shoes"])
    assert caught.value.code == 2
    assert set(PASSES) < set(KINDS)


def test_a_movie_and_a_side_by_side_clip(synthetic: Synthetic, tmp_path: Path) -> None:
    own = Path(shutil.copytree(synthetic.folder, tmp_path / "own.solve"))
    document = json.loads((own / "solve.json").read_text())
    document["source"] |= {"kind": "movie", "pattern": None, "path": "/footage/a.mov", "stereo": "side_by_side"}
    (own / "solve.json").write_text(json.dumps(document))
    out = deliver(own, tmp_path / "out", ["nuke", "colmap"], None, quiet)
    nodes = nuke_script.parse((out / "comp.nk").read_text())
    assert nodes["plate"].knobs["file"] == "/footage/a.mov"
    assert nodes["left_eye"].knobs["box"] == "0 0 320 180"
    assert nodes["comp"].inputs[0].name == "left_eye"
    read = read_colmap(out / "colmap", {}, [], synthetic.frames, False)
    assert sorted(read.world_from_camera) == synthetic.placed
    solved: Solved = read_solved(own, None)
    assert solved.gaps == {1004: "the plate has no such frame", 1006: "no match"}
