"""Image sequences: the rule that the engine follows too, and the pictures that Blender's clip shows by it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from cvd_blender_addon import compat, forecast, masks, sequences
from cvd_blender_addon.jobs import StartError
from cvd_blender_addon.properties import of
from cvd_blender_addon.scene import plate
from cvd_blender_addon.sequences import LAST_FRAME, numbered_files, plate_numbers, require_frames
from cvd_blender_addon.solve_reader import FRAMES, SolveError, read
from tests.addon.rendering import load
from tests.addon.synthetic import Synthetic, write_exr, write_png
from tests.addon.typed import clip_of, ops, the

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sequences.json").read_text(encoding="utf-8"))
WIDTH, HEIGHT = 16, 12


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: f"{row['why']}, {row['chosen']}")
def test_rule_that_the_engine_follows_too(tmp_path: Path, row: dict[str, Any]) -> None:
    for name in row["names"]:
        (tmp_path / name).touch()
    chosen = tmp_path / (row["chosen"] or "")
    try:
        found = numbered_files(chosen)
    except StartError as error:
        assert error.error.code == row.get("refused"), error
        return
    if row.get("refused") == "footage.no_frames":
        assert found == {}
        return
    assert "refused" not in row
    assert list(found.items()) == [(int(number), tmp_path / name) for number, name in row["files"].items()]
    try:
        require_frames(plate_numbers(chosen))
        assert "plate_refused" not in row
    except StartError as error:
        assert error.error.code == row.get("plate_refused"), error


def test_what_the_rule_takes_for_granted() -> None:
    assert list(sequences.SUFFIXES) == GOLDEN["suffixes"]
    assert GOLDEN["last_frame"] == LAST_FRAME == FRAMES[-1]


@pytest.mark.every_blender
def test_blenders_last_frame(scene: bpy.types.Scene) -> None:
    scene.frame_end = LAST_FRAME + 5
    assert scene.frame_end == LAST_FRAME


def test_thousands_of_unrelated_pictures_are_looked_at_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"holiday{index}x{chr(97 + index % 26)}{index // 26:03d}y.png" for index in range(5000)]
    looked = 0
    plain = sequences._between

    def counted(head: str, tail: str, among: list[str]) -> list[str]:
        nonlocal looked
        looked += len(among)
        return plain(head, tail, among)

    monkeypatch.setattr(sequences, "_between", counted)
    with pytest.raises(StartError, match="more than 6 image sequences"):
        sequences._only_sequence(tmp_path, names)
    assert looked <= 40 * len(names)


def solve_of(folder: Path, names: list[str], chosen: str) -> Path:
    """A solve whose plate are pictures of these names, each of a level of its own, beside its folder."""
    for level, name in enumerate(names):
        write_png(folder / name, np.full((HEIGHT, WIDTH, 3), 20 * (level + 1), np.uint8))
    files = numbered_files(folder / chosen)
    first, last = min(files), max(files)
    gaps = tuple(set(range(first, last)) - set(files))
    truth = Synthetic(WIDTH, HEIGHT, 16.0, 8.0, 6.0, first=first, last=last, missing=gaps, unplaced=())
    solve = truth.write(folder).folder
    document = json.loads((solve / "solve.json").read_text())
    number = re.compile("[0-9]+(?=[^0-9]*$)")
    pattern = number.sub(lambda digits: "#" * len(digits[0]), files[first].stem) + files[first].suffix
    document["source"] |= {"path": str(files[first]), "pattern": pattern}
    truth.write_json(document)
    return solve


def shown(scene: bpy.types.Scene, kind: str, block: Any, number: int, folder: Path, solve: Any = None) -> np.ndarray:
    """What the compositor gets of a clip or an image sequence at a scene frame, (H, W, 4)."""
    compat.view_settings(scene).view_transform = "Standard"
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    compat.of_cycles(scene).samples = 1
    tree, final = compat.new_compositor_tree(scene, "Test")
    node = compat.new_node(tree, kind)
    if kind == "CompositorNodeMovieClip":
        node.clip = block
    else:
        node.image = block
        plate.set_image_frames(node, solve)
    tree.links.new(node.outputs["Image"], final)
    scene.frame_set(number)
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(folder / f"out {number}.png")
    bpy.ops.render.render(write_still=True)
    return load(Path(scene.render.filepath))


@pytest.mark.every_blender
@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["1.png", "0001.png", "2.png", "0002.png", "0003.png"], "0002.png"),
        (["1.png", "0001.png", "2.png", "0002.png", "0003.png"], "1.png"),
        (["f_00000.png", "f_00001.png"], "f_00001.png"),
        (["shot.9999.png", "shot.10000.png"], "shot.10000.png"),
        (["frame (9).png", "frame (10).png"], "frame (10).png"),
        (["50%_plate#_0001.png", "50%_plate#_0003.png", "50%_plate#_0010.png"], "50%_plate#_0003.png"),
        (["frame-000200.color.png", "frame-000201.color.png"], "frame-000201.color.png"),
        (["s01_0001.png", "s01_0002.png", "s02_0001.png"], "s01_0002.png"),
        ([f"{LAST_FRAME - 1}.png", f"{LAST_FRAME}.png"], f"{LAST_FRAME}.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_blender_shows_the_engines_picture_at_every_number(
    scene: bpy.types.Scene, tmp_path: Path, names: list[str], chosen: str
) -> None:
    solve = read(solve_of(tmp_path, names, chosen))
    clip, image = clip_of(solve), plate.ensure_image(solve)
    for number, file in numbered_files(tmp_path / chosen).items():
        level = 20 * (names.index(file.name) + 1) / 255
        seen = shown(scene, "CompositorNodeMovieClip", clip, number, tmp_path)
        assert np.abs(seen[..., :3] - level).max() < 1.5 / 255, (number, "clip")
        seen = shown(scene, "CompositorNodeImage", image, number, tmp_path, solve)
        assert np.abs(seen[..., :3] - level).max() < 1.5 / 255, (number, "image")
        assert masks.scene_frame(clip, number) == number


def test_the_frame_of_a_number_needs_no_look_at_the_folder(
    scene: bpy.types.Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for every frame of every track: a look at the folder each time would be quadratic."""
    write_png(tmp_path / "s02_0101.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    clip = bpy.data.movieclips.load(str(tmp_path / "s02_0101.png"))
    clip.frame_start = 11

    def looked(_folder: Path) -> None:
        raise AssertionError

    monkeypatch.setattr(Path, "iterdir", looked)
    assert [masks.scene_frame(clip, number) for number in (101, 105)] == [11, 15]


@pytest.mark.every_blender
def test_what_blender_shows_of_a_number_that_is_not_the_last_one(scene: bpy.types.Scene, tmp_path: Path) -> None:
    """Why such plates are refused: at frame 1 it looks for 0001_v1.png, at frame 3 for 0001_v3.png."""
    for level, name in enumerate(("0001_v2.png", "0002_v2.png", "0003_v2.png")):
        write_png(tmp_path / name, np.full((HEIGHT, WIDTH, 3), 20 * (level + 1), np.uint8))
    clip = bpy.data.movieclips.load(str(tmp_path / "0001_v2.png"))
    clip.frame_start = 1
    assert clip.frame_duration == 1
    assert shown(scene, "CompositorNodeMovieClip", clip, 3, tmp_path)[..., :3].max() == 0.0


@pytest.mark.every_blender
def test_blender_shows_the_data_window_of_an_exr(scene: bpy.types.Scene, tmp_path: Path) -> None:
    """Why the engine refuses plates with overscan: what is beyond the display window is part of Blender's picture."""
    write_exr(tmp_path / "a_1.exr", np.full((HEIGHT + 4, WIDTH + 8), 0.5, np.float32), (4, 2, WIDTH + 3, HEIGHT + 1))
    clip = bpy.data.movieclips.load(str(tmp_path / "a_1.exr"))
    assert tuple(clip.size) == (WIDTH + 8, HEIGHT + 4)


@pytest.mark.parametrize(
    ("names", "code", "words"),
    [
        (["0001_v2.png", "0002_v2.png"], "footage.number_place", "not the last number"),
        (["2000000.png", "2000001.png"], "footage.number_limit", "no frames after 1048574"),
        (["plate.-001.png", "plate.0000.png"], "footage.negative_numbers", "negative frame numbers"),
    ],
)
def test_what_blender_would_show_wrongly_is_told_before_the_solve(
    scene: bpy.types.Scene, addon: None, tmp_path: Path, names: list[str], code: str, words: str
) -> None:
    for name in names:
        write_png(tmp_path / name, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    of(scene).clip_path = str(tmp_path / names[0])
    with pytest.raises(StartError) as error:
        masks.require_plate(of(scene), tmp_path / names[0])
    assert error.value.error.code == code
    forecast.look_at(of(scene).clip_path, of(scene).solve_folder)
    assert words in the(forecast.forecast(scene)).problem
    with pytest.raises(RuntimeError, match=words):
        ops.cvd.solve_depth(engine_python="/no/such/python")


@pytest.mark.parametrize("shift", [LAST_FRAME - 1003, -1002])
def test_a_solve_with_frames_that_blender_does_not_have_is_refused(own_solve: Path, shift: int) -> None:
    document = json.loads((own_solve / "solve.json").read_text())
    for frame in document["frames"]:
        frame["frame"] += shift
    for name in ("first", "last"):
        document["source"][name] += shift
    (own_solve / "solve.json").write_text(json.dumps(document))
    with pytest.raises(SolveError, match="Blender has frames 0 to 1048574"):
        read(own_solve)


def test_a_solve_whose_number_is_not_the_last_one_is_refused(own_solve: Path) -> None:
    document = json.loads((own_solve / "solve.json").read_text())
    document["source"] |= {"path": str(own_solve.parent / "0001_v2.png"), "pattern": "####_v2.png"}
    (own_solve / "solve.json").write_text(json.dumps(document))
    with pytest.raises(SolveError, match=r"not the last number in 0001_v2\.png.*solve the clip again"):
        read(own_solve)
