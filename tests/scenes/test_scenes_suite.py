"""The shots of the suite: complete, of the promised size, and in the form that every scorer reads."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.evaluation.compare import evaluate
from engine.evaluation.thin import near_things
from engine.files import write_exr
from tests import pictures
from tests.scenes.__main__ import main
from tests.scenes.imaging import cast
from tests.scenes.render import is_rendered, render_shot
from tests.scenes.shots import SHOTS
from tests.scenes.surfaces import bank
from tests.scenes.thin import THIN
from training.raycast import FAR

BANK = bank(0, 256)
SCORER = Path(__file__).resolve().parents[3] / "shared" / "score"


def small(shot, count=4):
    """The shot with few and small frames."""
    kept = slice(0, len(shot.numbers), max(1, len(shot.numbers) // count))
    times = (shot.times or tuple(float(k) for k in range(len(shot.numbers))))[kept]

    def lens(time):
        full = shot.camera.lens(time)
        return full.scaled(full.width // 8, full.height // 8)

    return replace(shot, camera=replace(shot.camera, lens=lens), numbers=shot.numbers[kept], times=times)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("shots") / "crowd"
    render_shot(small(SHOTS["crowd"]), BANK, folder)
    return folder


def test_the_suite_is_as_large_and_as_small_as_promised() -> None:
    assert len(SHOTS) >= 24
    for shot in SHOTS.values():
        lens = shot.camera.lens(0.0)
        assert 16 <= len(shot.numbers) <= 60 and max(lens.width, lens.height) <= 640
        assert list(shot.numbers) == sorted(set(shot.numbers))
        assert len(shot.times) in (0, len(shot.numbers))


@pytest.mark.parametrize("name", SHOTS)
def test_cameras_are_in_the_open_and_move_without_jumps(name) -> None:
    """No camera is inside of something, each sees enough, and only the cut jumps."""
    shot = SHOTS[name]
    world = shot.world(BANK)
    times = shot.times or tuple(float(k) for k in range(len(shot.numbers)))
    tiny = small(shot)
    for time in (times[0], times[len(times) // 2], times[-1]):
        distance = cast(world, tiny.camera, time).distance[0]
        assert distance.min() > 0.35
        assert (distance < FAR).float().mean() > 0.5
    places = np.array([shot.camera.path(t)[:3, 3] for t in np.arange(times[0], times[-1] + 1)])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert (steps.max() < 1.0) == (name != "cut")
    assert (np.ptp(places, axis=0).max() < 1e-9) == (name in ("tripod_pan", "tripod_zoom", "static"))


def test_what_is_special_about_a_shot_is_there() -> None:
    def lens(name, time=0.0):
        return SHOTS[name].camera.lens(time)

    assert lens("barrel").k1 < 0 < lens("pincushion").k1
    assert lens("anamorphic").fy > 1.2 * lens("anamorphic").fx
    assert lens("off_centre").cx > 0.6 * lens("off_centre").width
    assert lens("walking_zoom", 19).fx > 1.3 * lens("walking_zoom").fx
    assert lens("portrait_phone").height > lens("portrait_phone").width
    assert SHOTS["rolling_shutter"].camera.readout and SHOTS["motion_blur"].camera.shutter
    assert SHOTS["stop_and_go"].fps == 12
    assert max(np.diff(SHOTS["gaps"].numbers)) > 3
    stops = [SHOTS["stop_and_go"].camera.path(float(t)) for t in range(6)]
    assert np.array_equal(stops[0], stops[2]) and not np.array_equal(stops[2], stops[3])
    dolly = [SHOTS["dolly_axis"].camera.path(float(t)) for t in (0, 19)]
    travel = dolly[1][:3, 3] - dolly[0][:3, 3]
    assert np.allclose(travel / np.linalg.norm(travel), dolly[0][:3, 2], atol=1e-12)
    assert np.array_equal(dolly[0][:3, :3], dolly[1][:3, :3])


@pytest.mark.parametrize("name", ["moving_car", "crowd"])
def test_what_moves_by_itself_fills_about_a_third_of_the_frame(name) -> None:
    shot = SHOTS[name]
    world = shot.world(BANK)
    rows = torch.tensor(world.moving())
    shares = []
    for time in range(0, len(shot.numbers), 4):
        met = cast(world, small(shot).camera, float(time))
        shares.append((torch.isin(met.solid[0], rows) & (met.distance[0] < FAR)).float().mean().item())
    assert 0.2 < np.mean(shares) < 0.45


@pytest.mark.parametrize("name", THIN)
def test_thin_things_stand_well_before_what_is_behind_them(name) -> None:
    shot = THIN[name]
    lens = shot.camera.lens(0.0)
    assert (lens.width, lens.height) == (854, 480) and 12 <= len(shot.numbers) <= 16
    world = shot.world(BANK)
    for time in (0.0, 15.0):
        depth = cast(world, small(shot).camera, time).distance[0].numpy()
        near = near_things(depth)
        assert depth.min() > 0.4 and depth.max() < 65534 * shot.depth_unit, "it fits the file, and there is no sky"
        assert 0.01 < near.mean() < 0.5
        assert np.median(depth[~near]) > 3.0 * np.median(depth[near])
    places = np.array([shot.camera.path(float(t))[:3, 3] for t in range(16)])
    assert 0.25 < np.linalg.norm(places[-1] - places[0]) < 0.5
    assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() < 0.06


def solve_of(truth):
    """A solve folder's `solve.json` that says exactly the truth."""
    return {
        "source": {"width": truth["width"], "height": truth["height"]},
        "lens": truth["lens"],
        "frames": [
            {"frame": f["number"], "registered": True, "world_from_camera": f["world_from_camera"]}
            for f in truth["frames"]
        ],
    }


def test_the_truth_scores_itself_without_error(rendered, tmp_path: Path) -> None:
    truth = json.loads((rendered / "truth.json").read_text())
    (tmp_path / "solve.json").write_text(json.dumps(solve_of(truth)))
    for name in ("depth", "dynamic"):
        (tmp_path / name).mkdir()
    for frame in truth["frames"]:
        raw = pictures.read(rendered / frame["depth"], cv2.IMREAD_UNCHANGED)
        write_exr(tmp_path / "depth" / f"{frame['number']:06d}.exr", raw.astype(np.float32) * truth["depth_to_unit"])
        mask = pictures.read(rendered / frame["mask"], cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(tmp_path / "dynamic" / f"{frame['number']:06d}.png"), mask)
        assert (rendered / frame["file"]).is_file()
        assert set(np.unique(mask)) == {0, 255}
    figures = evaluate(tmp_path, rendered)
    assert figures["registered"] == 1.0 and figures["depth_cover"] == 1.0
    for name in ("ate_pct", "rot_max_deg", "focal_err_pct", "absrel", "reproj_px"):
        assert figures[name] == pytest.approx(0.0, abs=1e-4)
    if SCORER.is_dir():
        sys.path.insert(0, str(SCORER))
        try:
            score = importlib.import_module("score").score
        finally:
            sys.path.remove(str(SCORER))
        figures = score(tmp_path, rendered)
        assert figures["mask_iou"] == 1.0
        assert figures["rot_max_deg"] == pytest.approx(0.0, abs=1e-4)


def test_depth_and_cameras_of_two_frames_agree(rendered) -> None:
    """A still point of one frame is as far from the other frame's camera as that frame's depth says, if it is seen."""
    truth = json.loads((rendered / "truth.json").read_text())
    lens = truth["lens"]
    a, b = truth["frames"][:2]
    depth = [pictures.read(rendered / f["depth"], cv2.IMREAD_UNCHANGED) * truth["depth_to_unit"] for f in (a, b)]
    moves, moves_then = (pictures.read(rendered / f["mask"], cv2.IMREAD_GRAYSCALE) > 0 for f in (a, b))
    v, u = np.mgrid[0 : truth["height"], 0 : truth["width"]] + 0.5
    rays = np.stack([(u - lens["cx"]) / lens["fx"], (v - lens["cy"]) / lens["fy"], np.ones_like(u)], -1)
    points = np.concatenate([rays * depth[0][..., None], np.ones_like(u)[..., None]], -1)[(depth[0] > 0) & ~moves]
    there = points @ (np.linalg.inv(b["world_from_camera"]) @ np.array(a["world_from_camera"])).T
    column = np.floor(there[:, 0] / there[:, 2] * lens["fx"] + lens["cx"]).astype(int)
    row = np.floor(there[:, 1] / there[:, 2] * lens["fy"] + lens["cy"]).astype(int)
    inside = (column >= 0) & (column < truth["width"]) & (row >= 0) & (row < truth["height"])
    inside[inside] = ~moves_then[row[inside], column[inside]]
    ratio = there[inside, 2] / depth[1][row[inside], column[inside]].clip(1e-6)
    assert (np.abs(ratio - 1) < 0.05).mean() > 0.85


def test_a_shot_that_is_there_is_kept_and_a_changed_one_is_made_again(rendered) -> None:
    shot = small(SHOTS["crowd"])
    assert is_rendered(shot, rendered)
    assert not is_rendered(replace(shot, revision=shot.revision + 1), rendered)
    assert not is_rendered(shot, rendered.with_name("nothing"))
    assert not list(rendered.parent.glob(".*"))


def test_rendering_again_gives_the_same_files(rendered, tmp_path: Path) -> None:
    render_shot(small(SHOTS["crowd"]), BANK, tmp_path / "crowd")
    for path in sorted(rendered.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "crowd" / path.relative_to(rendered)).read_bytes(), path.name


def test_an_unknown_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["orbitt"])
    assert stopped.value.code == 2
    assert "orbit," in capsys.readouterr().err
