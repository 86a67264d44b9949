"""DeepV2D in a solve: what is asked, which stages that takes, cameras for every frame, and depth at the work size."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.cameras.knowledge import LensKnowledge, what_is_known
from engine.clip.track import CameraTrack
from engine.clip.work import WorkClip
from engine.deepv2d.alternate import DeepV2DSettings
from engine.deepv2d.cameras import solve_deepv2d_cameras
from engine.depth.settings import settings_of
from engine.errors import RequestError
from engine.footage import Footage
from engine.geometry.arrays import rigid_inverse
from engine.pipeline import plan
from engine.pipeline.cameras import identity
from engine.pipeline.solve import Inputs
from engine.progress import Silent
from engine.request import CameraRequest, FootageRequest, Request, parse_request
from tests.engine.depth.scene import plane_clip

CLIP = Footage(
    path=Path("/shots/a.mp4"), kind="movie", pattern=None, width=96, height=64, fps=(24, 1),
    numbers=(101, 102, 104, 105), missing=(103,), files=(), colourspace="srgb", content_id="c0",
)  # fmt: skip
REQUEST = Request(FootageRequest(CLIP.path), Path("/shots/a.solve"))
DOCUMENT = {"schema": "cvd.request/1", "footage": {"path": "/shots/a.mp4"}, "output": "/shots/a.solve"}
CPU = torch.device("cpu")


def keys(request):
    known = what_is_known(request.lens, CLIP)
    given = {"artist": None, "segmentation": None}
    inputs = Inputs(request, CLIP, settings_of(request), None, given, known, identity(request, known))
    return {name: stage.key for name, stage in plan(Path("/cache"), inputs, "cpu").items()}


@pytest.mark.parametrize("method", ["deepv2d", "deepv2d+cvd"])
def test_another_method_redoes_what_measures_depth_and_no_more(method) -> None:
    before, after = keys(REQUEST), keys(replace(REQUEST, method=method))
    assert [name for name in before if before[name] != after[name]] == ["evidence", "depth", "export"]


def test_other_cameras_redo_everything_from_the_poses_on() -> None:
    before, after = keys(REQUEST), keys(replace(REQUEST, camera=CameraRequest("deepv2d")))
    assert [name for name in before if before[name] == after[name]] == ["footage", "masks"]


def test_cvd_trains_on_deepv2ds_depth_as_what_was_measured() -> None:
    settings = settings_of(replace(REQUEST, method="deepv2d+cvd"))
    assert settings.measured and settings.pretrained
    assert settings.fit_steps > 0 and settings.pair_steps > 0 and settings.photometric_steps == 0


def test_what_may_be_asked() -> None:
    request = parse_request({**DOCUMENT, "method": "deepv2d", "camera": {"kind": "deepv2d"}}, "it")
    assert (request.method, request.camera.kind) == ("deepv2d", "deepv2d")
    with pytest.raises(RequestError) as raised:
        parse_request({**DOCUMENT, "method": "deepv2d+cvd", "preset": "cvd-2020"}, "it")
    assert raised.value.code == "request.method"
    with pytest.raises(RequestError) as raised:
        parse_request({**DOCUMENT, "camera": {"kind": "deepv2d", "path": "/shots/a.chan"}}, "it")
    assert raised.value.code == "request.camera"


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory):
    """Frames 101, 102, 104 and 105 at the plate's own size."""
    folder = tmp_path_factory.mktemp("proxies")
    clip, _ = plane_clip(4, width=96, height=64, numbers=CLIP.numbers)
    for number, image in zip(CLIP.numbers, clip.images, strict=True):
        cv2.imwrite(str(folder / f"{number:06d}.png"), image[..., ::-1])
    return folder


def test_every_frame_gets_a_camera_and_points_that_it_sees(proxies, tmp_path: Path) -> None:
    settings = DeepV2DSettings(long_side=96, rounds=1, views=2, looks=1)
    track = solve_deepv2d_cameras(CLIP, proxies, None, tmp_path, LensKnowledge(focal_px=98.0), CPU, Silent(), settings)
    assert track.frames() == [101, 102, 104, 105]
    assert track.lens_known and track.lens.fx == 98.0
    assert all(error > 0 for error in track.reprojection_px.values()) and len(track.reprojection_px) == 4
    points, matrix = track.points, track.lens.matrix()
    for number in track.frames():
        rows = np.flatnonzero(points.observation_frame == number)
        assert len(rows) > 20
        camera = rigid_inverse(track.world_from_camera[number])
        seen = points.xyz[points.observation_point[rows]] @ camera[:3, :3].T + camera[:3, 3]
        pixels = seen @ matrix.T
        np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], points.observation_pixel[rows], atol=0.01)
    loaded = CameraTrack.load(tmp_path)
    work = WorkClip.load(proxies, loaded, 96, Silent())
    assert all(len(depth) > 20 and (depth > 0).all() for _, depth in work.sparse)


def test_an_unknown_lens_is_estimated_and_said_so(proxies, tmp_path: Path) -> None:
    settings = DeepV2DSettings(long_side=96, rounds=2, views=2, looks=1, focal=True)
    track = solve_deepv2d_cameras(CLIP, proxies, None, tmp_path, LensKnowledge(), CPU, Silent(), settings)
    assert not track.lens_known
    assert track.lens.fx == track.lens.fy != 1.2 * 96


def test_what_moves_by_itself_says_nothing_about_the_camera(proxies, tmp_path: Path) -> None:
    """Where all of every frame moves nothing is left to move the cameras, whose first guess is to stand still."""
    for number in CLIP.numbers:
        cv2.imwrite(str(tmp_path / f"{number:06d}.png"), np.full((64, 96), 255, np.uint8))
    settings = DeepV2DSettings(long_side=96, rounds=1, views=2, looks=1)
    known = LensKnowledge(focal_px=98.0)
    track = solve_deepv2d_cameras(CLIP, proxies, tmp_path, tmp_path / "poses", known, CPU, Silent(), settings)
    first = track.world_from_camera[101]
    assert all(np.allclose(pose, first, atol=1e-6) for pose in track.world_from_camera.values())
