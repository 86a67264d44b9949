"""A solve folder is believed only after it has been checked."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bpy
import pytest

from cvd_blender_addon.mesh_file import read_mesh
from cvd_blender_addon.scene import import_solve
from cvd_blender_addon.solve_reader import SolveError, frame_ranges, read, read_points, summary
from tests.addon.fused_scene import add_fused
from tests.addon.synthetic import Synthetic
from tests.addon.typed import the


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "solve.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def assert_refused(folder: Path, scene: bpy.types.Scene, match: str) -> SolveError:
    with pytest.raises(SolveError, match=match) as caught:
        import_solve(scene, folder)
    assert all(len(part) > 10 for part in (caught.value.what, caught.value.why, caught.value.fix))
    blocks = (bpy.data.objects, bpy.data.actions, bpy.data.images, bpy.data.movieclips, bpy.data.node_groups)
    assert [len(block) for block in blocks] == [0] * len(blocks)
    assert [layer.name for layer in scene.view_layers] == ["ViewLayer"]
    return caught.value


@pytest.mark.every_blender
def test_reads_what_was_written(synthetic: Synthetic) -> None:
    solve = read(synthetic.folder)
    assert solve.name == "shot"
    assert [frame.number for frame in solve.registered] == synthetic.placed
    assert solve.gaps == (1004, 1006)
    assert solve.source.path_number == 1001
    assert solve.source.fps == (30000, 1001)
    assert solve.frames[5].reason == "no match"
    assert solve.frames[0].depth == (synthetic.folder / "depth" / "001001.exr").resolve()
    assert summary(solve)[:2] == ["6 of 8 frames placed", "No camera: 1004, 1006"]
    points = read_points(solve.points_path)
    assert points[0].rgb == (200, 100, 50)
    assert points[0].track_length == 7


def test_accepts_the_json_itself_and_unknown_fields(own_solve: Path) -> None:
    edit(own_solve, lambda document: document.update(novelty={"of": "a later engine"}))
    assert read(own_solve / "solve.json").folder == own_solve.resolve()


def test_moving_the_folder_keeps_its_identity(synthetic: Synthetic, tmp_path: Path) -> None:
    import shutil

    moved = shutil.copytree(synthetic.folder, tmp_path / "elsewhere" / "shot.solve")
    assert read(moved).key == read(synthetic.folder).key


def test_no_folder(tmp_path: Path, scene: bpy.types.Scene) -> None:
    assert_refused(tmp_path / "nothing", scene, "not a solve folder")


def test_unfinished(own_solve: Path, scene: bpy.types.Scene) -> None:
    (own_solve / "solve.json").unlink()
    (own_solve / "status.json").write_text("{}")
    assert_refused(own_solve, scene, "not finished")


def test_truncated_json(own_solve: Path, scene: bpy.types.Scene) -> None:
    text = (own_solve / "solve.json").read_text()
    (own_solve / "solve.json").write_text(text[: len(text) // 2])
    assert_refused(own_solve, scene, "not valid JSON")


@pytest.mark.parametrize("text", ["", "[]", "null", "\x00\xff", "[" * 100_000])
def test_json_that_is_none(own_solve: Path, scene: bpy.types.Scene, text: str) -> None:
    (own_solve / "solve.json").write_text(text, encoding="latin-1")
    assert_refused(own_solve, scene, "damaged")


def test_newer_version(own_solve: Path, scene: bpy.types.Scene) -> None:
    edit(own_solve, lambda document: document.update(schema="cvd.solve/2"))
    assert "Update" in assert_refused(own_solve, scene, "newer engine").fix


def test_foreign_document(own_solve: Path, scene: bpy.types.Scene) -> None:
    edit(own_solve, lambda document: document.update(schema="somebody.else/1"))
    assert_refused(own_solve, scene, "not one of this project")


def update_first(paths: dict[str, str | None], document: dict[str, Any]) -> None:
    document["frames"][0].update(paths)


@pytest.mark.parametrize(
    "name", ["../plate_1001.png", "/etc/hostname", "C:/x.exr", "depth\\..\\..\\x.exr", "a/../../b"]
)
def test_paths_out_of_the_folder(own_solve: Path, scene: bpy.types.Scene, name: str) -> None:
    both: list[dict[str, str | None]] = [{"depth": name}, {"depth": None, "dynamic": name}]
    for paths in both:
        edit(own_solve, partial(update_first, paths))
        assert_refused(own_solve, scene, "outside its own folder")


def test_link_out_of_the_folder(own_solve: Path, scene: bpy.types.Scene, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    depth = own_solve / "depth" / "001001.exr"
    depth.unlink()
    depth.symlink_to(tmp_path / "secret")
    assert_refused(own_solve, scene, "outside its own folder")


def test_missing_depth(own_solve: Path, scene: bpy.types.Scene) -> None:
    (own_solve / "depth" / "001003.exr").unlink()
    assert_refused(own_solve, scene, "001003.exr is missing")


def test_mattes_may_be_missing_but_not_lost(
    make_solve: Callable[..., Synthetic], own_solve: Path, scene: bpy.types.Scene
) -> None:
    moving = make_solve(moving=(1002, 1003))
    solve = read(moving.folder)
    assert [frame.number for frame in solve.dynamic_frames] == [1002, 1003]
    assert solve.dynamic_frames[0].dynamic == (moving.folder / "dynamic" / "001002.png").resolve()
    assert "Something moves by itself in 2 frames" in summary(solve)
    edit(own_solve, lambda document: [frame.pop("dynamic") for frame in document["frames"]])  # an older engine
    assert read(own_solve).dynamic_frames == ()
    edit(own_solve, lambda document: document["frames"][0].update(dynamic="dynamic/001001.png"))
    assert_refused(own_solve, scene, "001001.png is missing")
    edit(own_solve, lambda document: document["frames"][0].update(dynamic=7))
    assert_refused(own_solve, scene, "damaged")


def test_summary_names_the_prior_and_its_licence(own_solve: Path) -> None:
    edit(own_solve, lambda document: document["depth"].update(prior="Depth Anything V2 Large", licence="CC-BY-NC-4.0"))
    assert "Depth: cvd, prior Depth Anything V2 Large, licence CC-BY-NC-4.0" in summary(read(own_solve))


def test_a_focal_length_that_nothing_tells_is_accepted_and_said_to_be_unknown(own_solve: Path) -> None:
    edit(own_solve, lambda document: document["lens"].update(source="estimated", uncertainty_pct=2.5))
    assert any("± 2.5 % (estimated)" in line for line in summary(read(own_solve)))
    edit(own_solve, lambda document: document["lens"].update(uncertainty_pct=None, focal_range_px=None))
    assert any("px (assumed, unknown)" in line for line in summary(read(own_solve)))


@pytest.mark.parametrize("key", ["source", "lens", "frames", "world", "depth", "points", "quality"])
def test_missing_part(own_solve: Path, scene: bpy.types.Scene, key: str) -> None:
    edit(own_solve, lambda document: document.pop(key))
    assert_refused(own_solve, scene, key)


def set_matrix(value: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["frames"][0].update(world_from_camera=value)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]],
        [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],  # scales
        [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],  # mirrors
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]],  # projects
        [[1, 0, 0, math.nan], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        [[1, 0, 0, 1e999], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        [[1, 0, 0, "0"], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        None,
        7,
    ],
)
def test_bad_cameras(own_solve: Path, scene: bpy.types.Scene, matrix: object) -> None:
    edit(own_solve, set_matrix(matrix))
    assert_refused(own_solve, scene, "damaged")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("lens", "fx", 0),
        ("lens", "fx", 1e999),
        ("lens", "fy", 0.0),
        ("lens", "model", "FISHEYE"),
        ("source", "width", 0),
        ("source", "fps", [25, 0]),
        ("source", "kind", "hologram"),
        ("source", "pattern", "other_####.exr"),
        ("depth", "planar", False),
        ("depth", "width", 1.5),
        ("source", "last", 1000),  # before the first
        ("source", "last", 1007),  # before the last frame's entry
        ("source", "first", 1002),
        ("source", "first", -(10**20)),
        ("source", "last", 10**20),
        ("source", "last", 2 * 10**7),  # 72 s of building
        ("source", "fps", [10**12, 1]),
        ("source", "fps", [10**400, 1]),
        ("source", "fps", [1, 10**6]),
        ("source", "fps", [25]),
        ("source", "width", 10**9),
        ("source", "width", 10**12),
        ("source", "height", 3),  # Blender would render 4
        ("source", "content_id", "a\ud800"),
        ("source", "content_id", None),
        ("source", "path", "/clips/\udcff_1001.png"),
        ("source", "path", "/clips/a\0_1001.png"),
        ("depth", "width", 10**9),
        ("depth", "width", 640),  # the files are 320 wide
        ("depth", "height", 10**9),
        ("depth", "near", 12.0),  # beyond far
        ("depth", "far", 1e30),
        ("depth", "method", ["cvd"]),
        ("lens", "fx", 1e30),
        ("lens", "fx", 1e-3),
        ("lens", "cx", 1e6),
        ("lens", "k1", 1e30),
        ("quality", "verdict", "fine \udfff"),
        ("quality", "verdict", 7),
        ("quality", "warnings", ["\ud83d"]),
        ("quality", "warnings", "cut"),
        ("world", "unit", {}),
    ],
)
def test_bad_values(own_solve: Path, scene: bpy.types.Scene, part: str, key: str, value: object) -> None:
    edit(own_solve, lambda document: document[part].update({key: value}))
    assert_refused(own_solve, scene, "damaged|cannot be shown")


@pytest.mark.parametrize("text", ["cvd.solve/²", "cvd.solve/1٢", "cvd.solve/", "cvd.solve/-2", "\ud800", "x" * 10**6])
def test_schemas_that_are_none(own_solve: Path, scene: bpy.types.Scene, text: str) -> None:
    edit(own_solve, lambda document: document.update(schema=text))
    error = assert_refused(own_solve, scene, "not one of this project")
    assert len(str(error).encode()) < 500


def test_a_schema_of_5000_digits_is_newer(own_solve: Path, scene: bpy.types.Scene) -> None:
    edit(own_solve, lambda document: document.update(schema="cvd.solve/" + "9" * 5000))
    assert len(str(assert_refused(own_solve, scene, "newer engine"))) < 500


@pytest.mark.parametrize("part", ["verdict", "warnings"])
@pytest.mark.parametrize("depth", [500, 900, 980, 5000])
def test_deep_values(own_solve: Path, scene: bpy.types.Scene, part: str, depth: int) -> None:
    path = own_solve / "solve.json"
    document = json.loads(path.read_text())
    document["quality"][part] = "deep"
    path.write_text(json.dumps(document).replace('"deep"', "[" * depth + "]" * depth))
    assert_refused(own_solve, scene, "damaged")


@pytest.mark.parametrize("number", [-1, 1000, 1009, 10**20])
def test_frames_outside_of_the_range(own_solve: Path, scene: bpy.types.Scene, number: int) -> None:
    edit(own_solve, lambda document: document["frames"][0 if number < 1001 else -1].update(frame=number))
    assert_refused(own_solve, scene, "damaged|cannot be shown")


def test_depth_files_that_are_no_sequence(own_solve: Path, scene: bpy.types.Scene) -> None:
    (own_solve / "depth" / "001008.exr").rename(own_solve / "depth" / "9.exr")
    edit(own_solve, lambda document: document["frames"][-1].update(depth="depth/9.exr"))
    assert_refused(own_solve, scene, r"9\.exr is not the name of frame 1008")
    (own_solve / "more").mkdir()
    (own_solve / "depth" / "9.exr").rename(own_solve / "more" / "001008.exr")
    edit(own_solve, lambda document: document["frames"][-1].update(depth="more/001008.exr"))
    assert_refused(own_solve, scene, "damaged")


@pytest.mark.parametrize("data", [b"", b"\x76\x2f\x31\x01", b"\x76\x2f\x31\x01" + b"a" * 70000, b"PNG" * 50])
def test_depth_files_that_are_no_exr(own_solve: Path, scene: bpy.types.Scene, data: bytes) -> None:
    (own_solve / "depth" / "001001.exr").write_bytes(data)
    assert_refused(own_solve, scene, r"001001\.exr")


def test_a_path_with_two_slashes_is_the_file_not_the_folder_of_the_blend(
    own_solve: Path, synthetic: Synthetic, scene: bpy.types.Scene
) -> None:
    plate = synthetic.folder.parent / "plate_1001.png"
    edit(own_solve, lambda document: document["source"].update(path=f"/{plate}"))
    assert read(own_solve).source.path == plate
    import_solve(scene, own_solve)
    assert Path(the(scene.active_clip).filepath) == plate


def test_frames_out_of_order(own_solve: Path, scene: bpy.types.Scene) -> None:
    edit(own_solve, lambda document: document["frames"].reverse())
    assert_refused(own_solve, scene, "order")


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"ply\n", lambda data: data[4:]])
def test_bad_points(own_solve: Path, scene: bpy.types.Scene, damage: Callable[[bytes], bytes]) -> None:
    path = own_solve / "points.ply"
    path.write_bytes(damage(path.read_bytes()))
    assert_refused(own_solve, scene, "points.ply")


@pytest.mark.parametrize(
    ("name", "kind", "code", "value"),
    [
        ("track_length", "uint", "I", 2**32 - 1),
        ("track_length", "double", "d", 7.5),
        ("red", "double", "d", 0.5),
        ("red", "ushort", "H", 300),
        ("x", "double", "d", 1e300),
        ("x", "int", "i", 7),
        ("x", "list", "B", 1),
        ("x", "quaternion", "f", 1.0),
    ],
)
def test_points_of_other_types(
    own_solve: Path, scene: bpy.types.Scene, name: str, kind: str, code: str, value: float
) -> None:
    columns = [(axis, "float", "f", 1.0) for axis in "xyz"]
    columns += [(colour, "uchar", "B", 7) for colour in ("red", "green", "blue")] + [("track_length", "int", "i", 3)]
    columns = [(name, kind, code, value) if column[0] == name else column for column in columns]
    header = ["ply", "format binary_little_endian 1.0", "element vertex 1"]
    header += [f"property {column[1]} {column[0]}" for column in columns] + ["end_header\n"]
    body = struct.pack("<" + "".join(column[2] for column in columns), *(column[3] for column in columns))
    (own_solve / "points.ply").write_bytes("\n".join(header).encode() + body)
    assert_refused(own_solve, scene, r"points\.ply")


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"ply\n", lambda data: data + b"x"])
def test_bad_fused_mesh(own_solve: Path, scene: bpy.types.Scene, damage: Callable[[bytes], bytes]) -> None:
    add_fused(own_solve)
    path = own_solve / "fused.ply"
    path.write_bytes(damage(path.read_bytes()))
    assert_refused(own_solve, scene, r"fused\.ply")


def test_faces_that_are_none_are_left_out(own_solve: Path) -> None:
    path = add_fused(own_solve) / "fused.ply"
    whole = read_mesh(path)
    data = bytearray(path.read_bytes())
    data[-4:] = data[-8:-4]
    path.write_bytes(data)
    assert len(read_mesh(path).faces) == len(whole.faces) - 1


def test_frame_ranges() -> None:
    assert frame_ranges((1, 2, 3, 7, 9, 10)) == "1-3, 7, 9-10"
    assert frame_ranges(()) == ""
