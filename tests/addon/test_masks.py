"""A Blender mask becomes exactly the pixels that the artist sees, under the plate's frame numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat, jobs, masks, preferences
from cvd_blender_addon.present import manager_of
from cvd_blender_addon.properties import of
from cvd_blender_addon.sequences import numbered_files
from tests.addon.rendering import load, render
from tests.addon.synthetic import Synthetic, write_png
from tests.addon.typed import ops, the

FAKE = Path(__file__).parent / "fake_engine"
SQUARE = (80, 50, 160, 120)  # left, top, right, bottom in pixels of the 320 x 180 plate
WIDTH, HEIGHT = 320, 180


def in_mask_space(x: float, y: float) -> tuple[float, float]:
    """Blender's mask coordinates: the longer side of the picture is 1 long, the centre is (0.5, 0.5), y runs up."""
    return x / WIDTH, 0.5 - (y - HEIGHT / 2) / WIDTH


def add_spline(mask: bpy.types.Mask, corners: int) -> bpy.types.MaskSpline:
    layer = mask.layers[0] if mask.layers else mask.layers.new(name="Layer")
    spline = layer.splines.new()
    spline.use_cyclic = True
    spline.points.add(corners - len(spline.points))
    layer.select = True
    for point in spline.points:
        point.select = True
    return spline


def set_square(spline: bpy.types.MaskSpline, left: float, top: float, right: float, bottom: float) -> None:
    corners = ((left, bottom), (right, bottom), (right, top), (left, top))
    for point, (x, y) in zip(spline.points, corners, strict=True):
        point.handle_type = "VECTOR"
        point.co = point.handle_left = point.handle_right = in_mask_space(x, y)


def set_circle(spline: bpy.types.MaskSpline, x: float, y: float, radius: float) -> None:
    for point, (right, down) in zip(spline.points, ((1, 0), (0, -1), (-1, 0), (0, 1)), strict=True):
        point.handle_type = "FREE"
        centre = np.array((x + radius * right, y + radius * down))
        along = 0.5523 * radius * np.array((down, -right))
        point.co = in_mask_space(*centre)
        point.handle_left, point.handle_right = in_mask_space(*(centre - along)), in_mask_space(*(centre + along))


def square_mask() -> bpy.types.Mask:
    mask = bpy.data.masks.new("Square")
    set_square(add_spline(mask, 4), *SQUARE)
    return mask


def key_square(
    scene: bpy.types.Scene, mask: bpy.types.Mask, clip: bpy.types.MovieClip, frame: int, left: float
) -> None:
    """What the artist does in the clip editor: on a frame, give the mask its shape and key it."""
    scene.frame_set(frame)  # first: it brings back the shape that is keyed there
    set_square(mask.layers[0].splines[0], left, 50, left + 40, 90)
    window = manager_of(bpy.context).windows[0]
    area = window.screen.areas[0]
    kind, area.type = area.type, "CLIP_EDITOR"
    try:
        space: Any = area.spaces.active
        space.clip, space.mode, space.mask = clip, "MASK", mask
        region = next(region for region in area.regions if region.type == "WINDOW")
        with bpy.context.temp_override(window=window, area=area, region=region, space_data=space):
            assert bpy.ops.mask.shape_key_insert() == {"FINISHED"}
        space.clip = space.mask = None
    finally:
        area.type = kind


def open_clip(truth: Synthetic, first: int = 1001, start: int = 1, offset: int = 0) -> bpy.types.MovieClip:
    clip = bpy.data.movieclips.load(str(truth.folder.parent / f"plate_{first:04d}.png"))
    clip.frame_start, clip.frame_offset = start, offset
    return clip


def nothing(_done: int, _all: int) -> None:
    pass


def pixels(path: Path) -> np.ndarray:
    """(H, W) as stored; the file has to be an 8-bit grey PNG."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == bytes((8, 0))
    return np.round(load(path)[..., 0] * 255).astype(int)


@pytest.mark.every_blender
def test_square_is_exact(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    clip = open_clip(synthetic)
    assert masks.render(square_mask(), clip, [1001, 1003], tmp_path / "masks", nothing) == [1001, 1003]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["001001.png", "001003.png"]
    left, top, right, bottom = SQUARE
    wanted = np.zeros((HEIGHT, WIDTH), int)
    wanted[top:bottom, left:right] = 255
    got = pixels(tmp_path / "masks" / "001001.png")
    assert got.shape == wanted.shape
    assert (np.abs(got - wanted) > 127).sum() == 0
    inner = np.s_[top + 1 : bottom - 1, left + 1 : right - 1]
    assert (got[inner] == 255).all() and got.sum() < 255 * (bottom - top + 2) * (right - left + 2)


@pytest.mark.every_blender
def test_circle_is_exact_to_the_pixel(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    mask = bpy.data.masks.new("Circle")
    set_circle(add_spline(mask, 4), 200.0, 70.0, 40.0)
    masks.render(mask, open_clip(synthetic), [1002], tmp_path, nothing)
    got = pixels(tmp_path / "001002.png") / 255
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    distance = np.hypot(x - 200.0, y - 70.0)
    assert (got[distance < 39.5] == 1.0).all() and (got[distance > 40.5] == 0.0).all()
    assert got.sum() == pytest.approx(np.pi * 40.0**2, rel=0.002)


@pytest.mark.parametrize(("first", "start", "offset"), [(1001, 1, 0), (1001, 1001, 0), (1002, 40, 0), (1001, 7, 2)])
def test_scene_frame_is_where_the_clip_shows_the_plate_frame(
    synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path, first: int, start: int, offset: int
) -> None:
    clip = open_clip(synthetic, first, start, offset)
    tree, final = compat.new_compositor_tree(scene, "Show")
    node = compat.new_node(tree, "CompositorNodeMovieClip")
    node.clip = clip
    tree.links.new(node.outputs["Image"], final)
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    compat.view_settings(scene).view_transform = "Standard"
    shown = render(scene, masks.scene_frame(clip, 1003), tmp_path / "shown.png")[..., :3] * 255
    differences = {number: np.abs(shown - synthetic.plate(number)).mean() for number in (1002, 1003, 1005)}
    assert min(differences, key=differences.__getitem__) == 1003 and differences[1003] < 1.0


@pytest.mark.every_blender
def test_keyed_mask_moves_with_the_plate(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    clip = open_clip(synthetic, start=11)  # plate 1001 at scene frame 11
    mask = bpy.data.masks.new("Moving")
    add_spline(mask, 4)
    for frame, left in ((11, 40), (15, 120)):
        key_square(scene, mask, clip, frame, left)
    scene.frame_set(1)
    masks.render(mask, clip, [1001, 1002, 1005], tmp_path, nothing)
    for number, left in ((1001, 40), (1002, 60), (1005, 120)):
        columns = np.nonzero((pixels(tmp_path / f"{number:06d}.png") > 127).any(0))[0]
        assert (columns.min(), columns.max() + 1) == (left, left + 40)


def census() -> dict[str, list[str]]:
    kinds = ("scenes", "node_groups", "images", "masks", "movieclips", "worlds", "objects", "actions")
    return {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in kinds}


def test_nothing_of_the_users_changes(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    clip, mask = open_clip(synthetic), square_mask()
    tree, _ = compat.new_compositor_tree(scene, "Mine")
    scene.frame_set(5)
    scene.render.filepath, scene.render.resolution_x = "//mine_", 123
    before = census()
    masks.render(mask, clip, [1001, 1002], tmp_path, nothing)
    assert census() == before
    assert bpy.context.scene == scene
    assert (scene.frame_current, scene.render.filepath, scene.render.resolution_x) == (5, "//mine_", 123)
    assert compat.compositor_tree(scene) == tree


def test_only_what_changed_is_written(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    clip = open_clip(synthetic)
    mask = bpy.data.masks.new("Leaving")
    add_spline(mask, 4)
    for frame, left in ((1, 40), (3, 60), (5, 1000)):  # 1005: outside the picture
        key_square(scene, mask, clip, frame, left)
    (tmp_path / "000007.png").touch()  # of another range
    roto = tmp_path / "roto_v3.png"
    roto.touch()
    assert masks.render(mask, clip, [1001, 1003, 1005], tmp_path, nothing) == [1001, 1003]
    first, third = tmp_path / "001001.png", tmp_path / "001003.png"
    assert sorted(tmp_path.iterdir()) == [first, third, roto], "an artist's file stays"
    old = first.stat(), third.read_bytes()
    key_square(scene, mask, clip, 3, 70)
    masks.render(mask, clip, [1001, 1003, 1005], tmp_path, nothing)
    now = first.stat()
    assert (now.st_mtime_ns, now.st_ino) == (old[0].st_mtime_ns, old[0].st_ino)
    assert third.read_bytes() != old[1]


def test_folder_that_cannot_be_written(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(jobs.StartError, match="was not rendered"):
        masks.render(square_mask(), open_clip(synthetic), [1001], tmp_path / "file" / "masks", nothing)
    assert len(bpy.data.scenes) == 1


@pytest.fixture
def ready(
    scene: bpy.types.Scene, addon: None, synthetic: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[bpy.types.Scene]:
    """A scene with a clip and a mask drawn on it, and the stand-in in the engine's place."""
    monkeypatch.setattr(preferences, "engine_root", lambda: FAKE)
    monkeypatch.setenv("FAKE_ENGINE", "succeed")
    of(scene).clip_path = str(synthetic.folder.parent / "plate_1001.png")
    of(scene).solve_folder = str(tmp_path / "my.solve")
    of(scene).mask_source, of(scene).mask = "BLENDER", square_mask()
    yield scene


def solve() -> set[str]:
    return set(ops.cvd.solve_depth(engine_python=sys.executable))


def test_solving_renders_the_mask_and_names_it(ready: bpy.types.Scene, synthetic: Synthetic) -> None:
    open_clip(synthetic)
    folder = Path(of(ready).solve_folder)
    of(ready).use_range, of(ready).first, of(ready).last, of(ready).step = True, 1002, 1008, 3
    assert solve() == {"FINISHED"}
    assert json.loads((folder / "request.json").read_text())["masks"]["path"] == str(folder / "masks")
    assert sorted(path.name for path in (folder / "masks").iterdir()) == ["001002.png", "001005.png", "001008.png"]
    assert of(ready).mask_frames == "Masked: 3 of 3 frames (1002, 1005, 1008)"


def test_finding_masked_frames_writes_nothing(ready: bpy.types.Scene, synthetic: Synthetic) -> None:
    clip = open_clip(synthetic)
    clip.filepath = clip.filepath.replace("/plate_", "/../" + synthetic.folder.parent.name + "/plate_")
    assert ops.cvd.check_masks() == {"FINISHED"}
    assert of(ready).mask_frames == "Masked: 7 of 7 frames (1001-1003, 1005-1008)"  # the plate has no 1004
    assert not Path(of(ready).solve_folder).exists()


def test_a_folder_of_other_things_gets_no_masks(ready: bpy.types.Scene, synthetic: Synthetic) -> None:
    open_clip(synthetic)
    folder = Path(of(ready).solve_folder)
    folder.mkdir()
    (folder / "tax.ods").touch()
    with pytest.raises(RuntimeError, match="not a solve folder"):
        solve()
    assert [path.name for path in folder.iterdir()] == ["tax.ods"]


def test_mask_of_nothing_is_told(ready: bpy.types.Scene, synthetic: Synthetic) -> None:
    open_clip(synthetic)
    the(of(ready).mask).layers[0].hide_render = True
    with pytest.raises(RuntimeError, match="no mask on any frame"):
        solve()
    assert jobs.Job(Path(of(ready).solve_folder)).poll().message == "not started yet"


def test_clips_that_disagree_need_a_choice(ready: bpy.types.Scene, synthetic: Synthetic) -> None:
    with pytest.raises(RuntimeError, match="not open in the clip editor"):
        ops.cvd.check_masks()
    mine, other = open_clip(synthetic, start=1), open_clip(synthetic, start=1001)
    with pytest.raises(RuntimeError, match="2 open clips show"):
        ops.cvd.check_masks()
    of(ready).mask_clip = mine
    assert ops.cvd.check_masks() == {"FINISHED"}
    other.frame_start = 1
    of(ready).mask_clip = None  # they agree
    assert ops.cvd.check_masks() == {"FINISHED"}
    write_png(Path(of(ready).solve_folder).with_name("other_0001.png"), np.zeros((8, 8, 3), np.uint8))
    of(ready).mask_clip = bpy.data.movieclips.load(str(Path(of(ready).solve_folder).with_name("other_0001.png")))
    with pytest.raises(RuntimeError, match="does not show"):
        ops.cvd.check_masks()


def test_masks_in_files(ready: bpy.types.Scene, tmp_path: Path) -> None:
    cvd = of(ready)
    cvd.mask_source = "SEQUENCE"
    for number in (1002, 1003, 2000):
        write_png(tmp_path / f"roto_{number}_v2.png", np.zeros((4, 4), np.uint8))
    cvd.mask_path = str(tmp_path / "roto_1002_v2.png")
    assert solve() == {"FINISHED"}
    assert cvd.mask_frames == "Masked: 2 of 7 frames (1002-1003)"
    request = json.loads((Path(cvd.solve_folder) / "request.json").read_text())
    assert request["masks"]["path"] == cvd.mask_path
    cvd.use_range, cvd.first, cvd.last = True, 1005, 1008
    with pytest.raises(RuntimeError, match=r"no mask on any frame to solve.*1005-1008"):
        solve()


@pytest.mark.parametrize(
    ("names", "chosen", "numbers"),
    [
        (["a_0001.png", "a_0002.png", "b_0001.png"], "a_0002.png", [1, 2]),
        (["s01_f1.png", "s01_f9.png", "s02_f1.png"], "s01_f1.png", [1, 9]),
        (["roto_7_v2.png", "roto_8_v2.png"], "roto_8_v2.png", [7, 8]),
        ([".000003.png", "000001.png", "000002.png"], "", [1, 2]),
        (["cover.png", "one.mp4"], "", []),
        ([], "none_01.png", []),
    ],
)
def test_numbered_files(tmp_path: Path, names: list[str], chosen: str, numbers: list[int]) -> None:
    for name in names:
        (tmp_path / name).touch()
    found = numbered_files(tmp_path / chosen)
    assert list(found) == numbers
    assert all(path.is_file() for path in found.values())


def test_movie_frames_count_from_one(scene: bpy.types.Scene, addon: None, movie_solve: Synthetic) -> None:
    clip = Path(json.loads((movie_solve.folder / "solve.json").read_text())["source"]["path"])
    of(scene).use_range, of(scene).first, of(scene).last, of(scene).step = True, 2, 99, 2
    assert masks.frames_to_solve(of(scene), clip) == [2, 4, 6]
    block = bpy.data.movieclips.load(str(clip))
    block.frame_start = 10
    assert masks.scene_frame(block, 1) == 10
    assert masks.drawn_on(clip, None) == block
