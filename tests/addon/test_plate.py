"""The plate shows the right frame, wherever it is used, in its own colours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from rendering import load, render
from synthetic import Synthetic

from cvd_blender_addon.scene import depth_mesh, import_solve, plate
from cvd_blender_addon.scene.camera import find_camera
from cvd_blender_addon.solve_reader import read


def nearest_frame(truth: Synthetic, image: np.ndarray) -> int:
    inner = np.s_[8:-8, 8:-8]
    errors = {n: np.abs(truth.plate(n) / 255 - image)[inner].mean() for n in truth.frames}
    return min(errors, key=errors.__getitem__)


@pytest.mark.parametrize("number", [1001, 1003, 1005, 1008])
def test_sequence_in_the_compositor(synthetic: Synthetic, scene: bpy.types.Scene, tmp_path: Path, number: int) -> None:
    import_solve(scene, synthetic.folder)
    image = render(scene, number, tmp_path / "out.png")[..., :3]
    assert np.abs(image - load(synthetic.folder.parent / f"plate_{number}.png")[..., :3]).max() < 1.5 / 255


@pytest.mark.parametrize("number", [1, 2, 6])
def test_movie_in_the_compositor(movie_solve: Synthetic, scene: bpy.types.Scene, tmp_path: Path, number: int) -> None:
    import_solve(scene, movie_solve.folder)
    image = render(scene, number, tmp_path / "out.png")[..., :3]
    assert nearest_frame(movie_solve, image) == number


@pytest.mark.parametrize("source", ["sequence", "movie"])
def test_texture_of_the_depth_mesh(
    synthetic: Synthetic, movie_solve: Synthetic, scene: bpy.types.Scene, tmp_path: Path, source: str
) -> None:
    truth, number = (synthetic, 1005) if source == "sequence" else (movie_solve, 4)
    solve = import_solve(scene, truth.folder)
    depth_mesh.find(scene, solve).hide_render = False
    scene.render.use_compositing = False
    image = render(scene, number, tmp_path / "out.png")[..., :3]
    assert nearest_frame(truth, image) == number
    assert np.abs(image - truth.plate(number) / 255).mean() < 0.02


def test_background_of_the_camera(make_solve: Callable[..., Synthetic], scene: bpy.types.Scene) -> None:
    truth = make_solve(k1=-0.08)
    solve = import_solve(scene, truth.folder)
    data = find_camera(scene, solve).data
    (background,) = data.background_images
    assert data.show_background_images
    assert background.source == "MOVIE_CLIP"
    # Where a clip starts is where its first file is shown; the render tests show that no frame slips after it.
    assert background.clip == plate.ensure_clip(solve) == scene.active_clip
    assert (background.clip.frame_start, background.clip.frame_offset) == (1001, 0)
    assert background.frame_method == "STRETCH"
    assert background.clip_user.use_render_undistorted
    assert background.clip.tracking.camera.k1 == pytest.approx(-0.08)


@pytest.mark.parametrize(("colourspace", "expected"), [("srgb", "sRGB"), ("linear", "Linear Rec.709")])
def test_colour_space(own_solve: Path, scene: bpy.types.Scene, colourspace: str, expected: str) -> None:
    document = json.loads((own_solve / "solve.json").read_text())
    document["source"]["colourspace"] = colourspace
    (own_solve / "solve.json").write_text(json.dumps(document))
    solve = import_solve(scene, own_solve)
    assert plate.ensure_clip(solve).colorspace_settings.name == expected
    assert plate.ensure_image(solve).colorspace_settings.name == expected


def test_change_of_the_view_transform_is_told(synthetic: Synthetic, scene: bpy.types.Scene) -> None:
    said: list[tuple[str, str]] = []
    scene.view_settings.view_transform = "AgX"
    import_solve(scene, synthetic.folder, report=lambda *words: said.append(words))
    assert scene.view_settings.view_transform == "Standard"
    assert any(level == "INFO" and "AgX" in message for level, message in said)
    said.clear()
    import_solve(scene, synthetic.folder, report=lambda *words: said.append(words))
    assert not any("transform" in message for _, message in said)


def test_plate_that_moved_with_its_solve(synthetic: Synthetic, tmp_path: Path) -> None:
    import shutil

    moved = Path(shutil.copytree(synthetic.folder.parent, tmp_path / "moved")) / "shot.solve"
    document = json.loads((moved / "solve.json").read_text())
    document["source"]["path"] = "/no/such/place/plate_1001.png"
    (moved / "solve.json").write_text(json.dumps(document))
    assert plate.find_file(read(moved)) == (tmp_path / "moved" / "plate_1001.png").resolve()


def test_missing_plate_is_told_and_the_rest_is_built(own_solve: Path, scene: bpy.types.Scene) -> None:
    document = json.loads((own_solve / "solve.json").read_text())
    document["source"]["path"] = "/no/such/place/plate_1001.png"
    (own_solve / "solve.json").write_text(json.dumps(document))
    said: list[tuple[str, str]] = []
    solve = import_solve(scene, own_solve, report=lambda *words: said.append(words))
    assert any(level == "WARNING" and "missing" in message for level, message in said)
    assert find_camera(scene, solve) is not None
    assert depth_mesh.find(scene, solve) is not None


def test_another_clip_in_the_plates_place_is_told(own_solve: Path, scene: bpy.types.Scene, tmp_path: Path) -> None:
    (tmp_path / "plate_1001.png").write_text("no picture")
    document = json.loads((own_solve / "solve.json").read_text())
    document["source"]["path"] = str(tmp_path / "plate_1001.png")
    (own_solve / "solve.json").write_text(json.dumps(document))
    said: list[str] = []
    import_solve(scene, own_solve, report=lambda level, message: said.append(message))
    assert any("not the plate" in message for message in said)
