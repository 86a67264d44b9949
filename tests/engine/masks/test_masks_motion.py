"""Motion that no camera explains is found, and nothing where nothing moves."""

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import Cancelled
from engine.flow.stage import solve_flow
from engine.geometry.arrays import Lens, distort_map
from engine.masks.files import load_dynamic, load_given
from engine.masks.motion import solve_motion
from engine.masks.still import StillByCameras, StillByTurning, still_world
from engine.progress import Silent
from engine.request import MaskRequest
from tests.engine.masks.moving_scene import COUNT, FIRST, HEIGHT, LENS, WIDTH, moving_clip
from tests.engine.poses import walk_scene

ACROSS, ALONG = (0.0, 0.0, 0.09), (0.12, 0.0, 0.0)


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory):
    """Makes (clip, true masks, folder of its flow), each once."""
    made = {}

    def make(cameras, speed=None):
        if (cameras, speed) not in made:
            clip, truth = moving_clip(cameras(COUNT), speed)
            flow = tmp_path_factory.mktemp("flow")
            solve_flow(clip, flow, Silent())
            made[cameras, speed] = clip, truth, flow
        return made[cameras, speed]

    return make


def masks_of(clip, flow, folder, request=None, given=None):
    solve_motion(clip, LENS, flow, given or folder, request or MaskRequest(), folder, Silent())
    return np.stack([load_dynamic(folder, int(n), (HEIGHT, WIDTH)) for n in clip.numbers])


def overlap(masks, truth):
    return np.mean([(m & t).sum() / (m | t).sum() for m, t in zip(masks, truth, strict=True)])


@pytest.mark.parametrize("speed", [ACROSS, ALONG], ids=["across", "along"])
def test_a_board_that_moves_is_found_across_and_along_the_epipolar_lines(tmp_path: Path, shot, speed) -> None:
    clip, truth, flow = shot(walk_scene.travelling, speed)
    found = masks_of(clip, flow, tmp_path)
    assert overlap(found, truth) > 0.75
    far = [cv2.dilate(mask.astype(np.uint8), np.ones((61, 61))) == 0 for mask in truth]
    assert (found & far).mean() < 1e-4
    share = json.loads((tmp_path / "motion.json").read_text())["share"]
    assert share == pytest.approx(found.mean())


def test_in_a_still_room_with_parallax_nothing_is_found(tmp_path: Path, shot) -> None:
    clip, _, flow = shot(walk_scene.travelling)
    assert not masks_of(clip, flow, tmp_path).any()
    assert not list((tmp_path / "dynamic").iterdir())
    assert json.loads((tmp_path / "motion.json").read_text()) == {"share": 0.0}


def test_a_camera_that_only_turns_needs_no_cameras(tmp_path: Path, shot) -> None:
    clip, truth, flow = shot(walk_scene.turning, ALONG)
    assert isinstance(still_world(clip, flow), StillByTurning)
    shown = truth.any(axis=(1, 2))
    assert overlap(masks_of(clip, flow, tmp_path)[shown], truth[shown]) > 0.75


def test_a_turning_camera_finds_nothing_in_a_still_room(tmp_path: Path, shot) -> None:
    clip, _, flow = shot(walk_scene.turning)
    assert not masks_of(clip, flow, tmp_path).any()


def test_still_points_are_where_the_cameras_see_them(shot) -> None:
    clip, _, flow = shot(walk_scene.travelling)
    still = StillByCameras(clip, flow)
    for view in still.views(5):
        assert np.median(view.distance()[view.believed]) < 0.15
    # The wall behind, at a far row: truth by its plane y = 5.
    row, other = 1, 9
    still.views(row)
    position = dict(still.positions(row, np.zeros((HEIGHT // 2, WIDTH // 2), bool)))[other]
    here, there = clip.world_from_camera[row], clip.world_from_camera[other]
    pixel = np.array([40, WIDTH - 60])
    ray = here[:3, :3] @ [(pixel[1] + 0.5 - LENS.cx) / LENS.fx, (pixel[0] + 0.5 - LENS.cy) / LENS.fy, 1.0]
    point = here[:3, 3] + ray * (5.0 - here[1, 3]) / ray[1]
    local = (point - there[:3, 3]) @ there[:3, :3]
    expected = local[:2] / local[2] * [LENS.fx, LENS.fy] + [LENS.cx, LENS.cy]
    assert np.abs(position[tuple(pixel)] - expected).max() < 1.5


def test_given_masks_are_united_with_what_is_found_and_alone_where_motion_is_off(tmp_path: Path, shot) -> None:
    clip, truth, flow = shot(walk_scene.travelling, ACROSS)
    given = tmp_path / "given"
    given.mkdir()
    mask = np.zeros((HEIGHT * 2, WIDTH * 2), np.uint8)
    mask[:40, :60] = 255
    cv2.imwrite(str(given / f"{FIRST + 3:06d}.png"), mask)
    both = masks_of(clip, flow, tmp_path / "a", given=given)
    assert both[3, :20, :30].all()
    assert not both[4, :20, :30].any()
    assert overlap(both[4:], truth[4:]) > 0.7
    alone = masks_of(clip, flow, tmp_path / "b", MaskRequest(motion=False), given)
    assert alone[3].sum() == 20 * 30
    assert not np.delete(alone, 3, axis=0).any()
    written = sorted(path.name for path in (tmp_path / "b" / "dynamic").iterdir())
    assert written == [f"{n:06d}.png" for n in clip.numbers], "every registered frame has one when anything moves"


def test_given_masks_lose_the_distortion_of_the_plate(tmp_path: Path) -> None:
    lens = Lens("SIMPLE_RADIAL", 320, 200, 260.0, 260.0, 160.0, 100.0, k1=-0.15)
    straight = np.zeros((200, 320), np.uint8)
    straight[20:70, 30:110] = 255
    curved = cv2.remap(straight, *distort_map(lens, lens.undistorted()), cv2.INTER_LINEAR)
    cv2.imwrite(str(tmp_path / "000007.png"), curved)
    found = load_given(tmp_path, 7, lens)
    assert (found != (straight > 127)).sum() < 0.15 * 260  # the outline is 260 pixels long
    assert (load_given(tmp_path, 7, lens.undistorted()) != (straight > 127)).sum() > 260
    assert not load_given(tmp_path, 8, lens).any()


def test_a_frame_that_nothing_ties_to_others_holds_nothing_up(tmp_path: Path) -> None:
    clip, _ = moving_clip(walk_scene.travelling(4))
    clip.images[2] = np.random.default_rng(0).integers(0, 255, clip.images[2].shape)
    solve_flow(clip, tmp_path, Silent())
    assert not masks_of(clip, tmp_path, tmp_path / "motion").any()


def test_motion_can_be_cancelled_and_its_progress_only_goes_forward(tmp_path: Path, shot) -> None:
    class Listening(Silent):
        def __init__(self, stop_at):
            self.fractions, self.stop_at = [], stop_at

        def step(self, done, total, message):
            self.fractions.append(done / total)
            if self.fractions[-1] > self.stop_at:
                raise Cancelled

    clip, _, flow = shot(walk_scene.travelling, ACROSS)
    with pytest.raises(Cancelled):
        solve_motion(clip, LENS, flow, tmp_path, MaskRequest(), tmp_path, Listening(0.3))
    assert not (tmp_path / "motion.json").exists()
    progress = Listening(1.0)
    solve_motion(clip, LENS, flow, tmp_path, MaskRequest(), tmp_path, progress)
    assert all(a <= b for a, b in pairwise(progress.fractions))
