"""Depth hints: what a file may say, where a region lies through the lens, how far away it is, and what it changes."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.clip.depth_map import DepthFrames
from engine.clip.track import CameraTrack, SparsePoints
from engine.depth.hinted import apply_hints, complete, digests
from engine.depth.hints import Grid, Hint, Polygons, content_of, depth_of_hints, inside, read_hints
from engine.errors import HintError
from engine.geometry.arrays import Lens, distort
from engine.progress import Silent
from tests.engine.depth.scene import plane_clip

LENS = Lens("OPENCV", 640, 360, 500.0, 510.0, 318.0, 181.0, k1=-0.2, k2=0.05, p1=1e-3, p2=-2e-3)
SMALL = LENS.undistorted().scaled(160, 96)
SQUARE = [[100.0, 80.0], [300.0, 80.0], [300.0, 280.0], [100.0, 280.0]]
POLYGON = {"polygons": [{"frame": 3, "points": SQUARE}]}
FAR = 1e9
CPU = torch.device("cpu")


def turned(angle=0.3, place=(1.0, -2.0, 0.5)):
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([angle, -angle / 2, angle / 3]))[0]
    pose[:3, 3] = place
    return pose


def track_of(lens, poses):
    none = SparsePoints(
        np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0), np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2))
    )
    return CameraTrack(lens, True, None, poses, {}, {}, False, none)


def hints_of(folder, *entries, numbers=range(1, 11), size=(640, 360)):
    path = folder / "hints.json"
    path.write_text(json.dumps({"schema": "cvd.hints/1", "hints": list(entries)}))
    return read_hints(path, list(numbers), *size)


def points_of(lens, pose, depth, pixels):
    """World points at a depth in undistorted pixels (N, 2)."""
    rays = np.column_stack([(pixels - (lens.cx, lens.cy)) / (lens.fx, lens.fy), np.ones(len(pixels))])
    return rays * np.asarray(depth)[:, None] @ pose[:3, :3].T + pose[:3, 3]


# --- what it says ---


def test_a_distance_is_planar_depth(tmp_path: Path) -> None:
    (hint,) = hints_of(tmp_path, {**POLYGON, "distance": 2.5})
    assert (hint.depth(SMALL, turned(), FAR) == 2.5).all()


def test_a_point_is_as_far_as_its_planar_depth_in_each_frame(tmp_path: Path) -> None:
    pose = turned()
    place = points_of(SMALL, pose, [3.25], np.array([[20.0, 70.0]]))[0]
    (hint,) = hints_of(tmp_path, {**POLYGON, "point": place.tolist()})
    assert np.allclose(hint.depth(SMALL, pose, FAR), 3.25, atol=1e-12)
    moved = pose.copy()
    moved[:3, 3] += pose[:3, 2]
    assert np.allclose(hint.depth(SMALL, moved, FAR), 2.25, atol=1e-12)
    moved[:3, 3] += 9 * pose[:3, 2]
    assert (hint.depth(SMALL, moved, FAR) == 0).all(), "behind the camera"


def test_a_plane_is_met_by_the_ray_of_each_pixel(tmp_path: Path) -> None:
    pose = turned()
    normal, constant = np.array([0.2, -0.3, 0.9]), 4.0
    rng = np.random.default_rng(0)
    places = rng.uniform(-5, 5, (7, 3))
    places += np.outer((constant - places @ normal) / (normal @ normal), normal)
    (hint,) = hints_of(tmp_path, {**POLYGON, "plane": places.tolist()})
    depth = hint.depth(SMALL, pose, FAR)
    assert (depth > 0).any()
    rows, columns = np.nonzero(depth)
    met = points_of(SMALL, pose, depth[rows, columns], np.column_stack([columns, rows]) + 0.5)
    assert np.abs(met @ normal - constant).max() < 1e-9


def test_what_a_plane_does_not_meet_is_left_and_its_horizon_is_as_far_as_far_can_be(tmp_path: Path) -> None:
    level = [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]  # below a camera that looks along z
    (hint,) = hints_of(tmp_path, {**POLYGON, "plane": level})
    depth = hint.depth(SMALL, np.eye(4), 40.0)
    below = np.arange(96) + 0.5 > SMALL.cy
    assert (depth[~below] == 0).all()
    assert (depth[below] > 0).all()
    assert depth.max() == 40.0
    exact = SMALL.fy / (np.arange(96)[below] + 0.5 - SMALL.cy)
    assert np.allclose(depth[below, 7], np.minimum(exact, 40.0), rtol=1e-12)


def test_hints_go_together_and_the_later_one_counts(tmp_path: Path) -> None:
    other = [[x + 100.0, y] for x, y in SQUARE]
    both = hints_of(
        tmp_path, {**POLYGON, "distance": 2.0}, {"polygons": [{"frame": 3, "points": other}], "distance": 3.0}
    )
    lens = replace(LENS, k1=0.0, k2=0.0, p1=0.0, p2=0.0)
    depth = depth_of_hints(both, track_of(lens, {3: np.eye(4)}), lens, 3, FAR)
    assert {float(value) for value in np.unique(depth)} == {0.0, 2.0, 3.0}
    assert depth[100, 150] == 2.0
    assert depth[100, 250] == 3.0
    assert not depth_of_hints(both, track_of(lens, {4: np.eye(4)}), lens, 4, FAR).any(), "of no other frame"


# --- where it is ---


def test_a_pixel_is_inside_where_its_centre_is() -> None:
    ring = np.array([[1.0, 1.0], [5.0, 1.0], [5.0, 4.0], [1.0, 4.0]])
    found = Polygons({1: ring}).mask(
        1, Grid(Lens("PINHOLE", 8, 6, 5.0, 5.0, 4.0, 3.0), Lens("PINHOLE", 8, 6, 5.0, 5.0, 4.0, 3.0))
    )
    wanted = np.zeros((6, 8), bool)
    wanted[1:4, 1:5] = True
    assert found is not None
    assert np.array_equal(found, wanted)
    star = np.array([[0.0, 0.0], [4.0, 4.0], [4.0, 0.0], [0.0, 4.0]])  # crosses itself
    assert inside(star, np.array([[0.5, 2.0], [2.0, 0.5], [3.5, 2.0]])).tolist() == [True, False, True]


def test_an_outline_moves_between_key_frames_and_stays_outside_of_them() -> None:
    moved = np.array(SQUARE) + np.array([40.0, -20.0])
    region = Polygons({2: np.array(SQUARE), 6: moved})
    assert np.allclose(region.outline(3), np.array(SQUARE) + np.array([10.0, -5.0]))
    assert np.array_equal(region.outline(6), moved)
    assert np.array_equal(region.outline(1), SQUARE)
    assert np.array_equal(region.outline(9), moved)


def test_a_region_lies_on_the_distorted_plate(tmp_path: Path) -> None:
    """Both ways to draw one, against each pixel's own way through the lens."""
    grid = Grid(LENS, LENS.undistorted().scaled(160, 96))
    x, y = (grid.on_plate().reshape(-1, 2)).T
    centres = np.stack(np.meshgrid((np.arange(160) + 0.5) * 4.0, (np.arange(96) + 0.5) * 3.75), axis=-1).reshape(-1, 2)
    lens = LENS
    exact = distort(lens, (centres[:, 0] - lens.cx) / lens.fx, (centres[:, 1] - lens.cy) / lens.fy)
    assert np.abs(exact[0] * lens.fx + lens.cx - x).max() < 0.01
    assert np.abs(exact[1] * lens.fy + lens.cy - y).max() < 0.01
    (hint,) = hints_of(tmp_path, {**POLYGON, "distance": 1.0})
    region = hint.region.mask(3, grid)
    assert region is not None
    wanted = (x > 100) & (x < 300) & (y > 80) & (y < 280)
    assert np.array_equal(region.ravel(), wanted)
    (tmp_path / "drawn").mkdir()
    picture = np.zeros((360, 640), np.uint8)
    picture[80:280, 100:300] = 255
    cv2.imwrite(str(tmp_path / "drawn" / "000003.png"), picture)
    (drawn,) = hints_of(tmp_path, {"mask": "drawn", "distance": 1.0})
    assert (drawn.first, drawn.last) == (3, 3)
    from_file = drawn.region.mask(3, grid)
    assert from_file is not None
    assert (from_file != region).mean() < 0.002, "but for the anti-aliasing of the border"
    assert drawn.region.mask(4, grid) is None


# --- what is wrong with it ---


@pytest.mark.parametrize(
    ("entry", "code", "says"),
    [
        ({"polygons": [{"frame": 3, "points": SQUARE[:2]}], "distance": 1.0}, "hint.polygon", "2 of at least 3 points"),
        ({"polygons": [], "distance": 1.0}, "hint.polygon", "no key frame"),
        ({"polygons": [{"frame": 3, "points": SQUARE}] * 2, "distance": 1.0}, "hint.polygon", "two outlines"),
        (
            {"polygons": [{"frame": 3, "points": SQUARE}, {"frame": 4, "points": SQUARE[:3]}], "distance": 1.0},
            "hint.polygon",
            "changes between key frames",
        ),
        ({**POLYGON, "distance": 0.0}, "hint.distance", "distance of 0"),
        ({**POLYGON, "distance": -3.0}, "hint.distance", "distance of -3"),
        ({**POLYGON, "sphere": 2.0}, "hint.kind", "sphere, which this engine does not know"),
        (POLYGON, "hint.kind", "has none"),
        ({**POLYGON, "distance": 1.0, "point": [0, 0, 1]}, "hint.kind", "distance and point"),
        ({**POLYGON, "plane": [[0, 0, 0], [1, 0, 0]]}, "hint.plane", "There are 2"),
        ({**POLYGON, "plane": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]}, "hint.plane", "on a line"),
        ({"distance": 1.0}, "hint.region", "no region"),
        ({**POLYGON, "mask": "drawn", "distance": 1.0}, "hint.region", "two regions"),
        ({"mask": "nowhere", "distance": 1.0}, "hint.mask_missing", "no mask"),
        ({**POLYGON, "first": 20, "last": 30, "distance": 1.0}, "hint.frames", "frames 20 to 30; 1 to 10 are solved"),
        ({"polygons": [{"frame": 77, "points": SQUARE}], "distance": 1.0}, "hint.frames", "77"),
        ({"polygons": [{"frame": 3, "points": [[1]]}], "distance": 1.0}, "hint.invalid", "polygons/0/points/0"),
        ({**POLYGON, "distance": "near"}, "hint.invalid", "hints/0/distance"),
    ],
)  # fmt: skip
def test_a_bad_hint_is_refused_with_what_to_do(entry, code, says, tmp_path: Path) -> None:
    with pytest.raises(HintError) as raised:
        hints_of(tmp_path, {"name": "plant", **entry})
    assert raised.value.code == code
    assert says in str(raised.value)
    assert raised.value.fix


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "cvd.hints/2", "hints": []}', '{"hints": []}'])
def test_a_file_that_holds_no_hints_is_refused(text, tmp_path: Path) -> None:
    (tmp_path / "hints.json").write_text(text)
    with pytest.raises(HintError, match="depth hints"):
        read_hints(tmp_path / "hints.json", [1], 640, 360)
    with pytest.raises(HintError, match="No such file"):
        read_hints(tmp_path / "none.json", [1], 640, 360)


def test_the_key_changes_with_everything_that_a_hint_does(tmp_path: Path) -> None:
    (one,) = hints_of(tmp_path, {**POLYGON, "distance": 1.0})
    assert content_of([one]) == content_of([replace(one, name="another")])
    moved = Polygons({3: np.array(SQUARE) + 1.0})
    others = [replace(one, last=4), replace(one, values=(2.0,)), replace(one, region=moved)]
    assert len({content_of([hint]) for hint in (one, *others)}) == 4


# --- what it changes ---


@pytest.fixture
def solved(tmp_path: Path):
    """A clip of a plane, and depth of its five frames: measured in the left half, guessed 30 % too far in the right."""
    clip, depths = plane_clip(5, 128, 96, numbers=[11, 12, 13, 15, 16])
    base = DepthFrames(tmp_path / "depth", clip.lens, "clip")
    known = np.zeros((96, 128), bool)
    known[:, :64] = True
    for number, depth in zip(clip.numbers.tolist(), depths, strict=True):
        base.save(
            number,
            np.where(known, depth, 1.3 * depth).astype(np.float32),
            np.where(known, 0.9, 0.2).astype(np.float32),
            known,
        )
    poses = dict(zip(clip.numbers.tolist(), clip.world_from_camera, strict=True))
    return clip, depths, base, track_of(clip.lens, poses)


def region(x, y, width, height):
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)
    return Polygons({12: corners, 13: corners})


def test_only_the_frames_of_a_hint_change_and_it_is_exact_in_its_region(solved, tmp_path: Path) -> None:
    clip, _, base, track = solved
    hint = Hint("it", region(80, 20, 30, 50), 12, 13, "distance", (2.5,))
    folder = tmp_path / "hints"
    touched = apply_hints([hint], clip, track, base, None, folder, CPU, Silent())
    made = DepthFrames(folder, clip.lens, "clip")
    assert touched == [12, 13]
    assert sorted(digests(made)) == [12, 13]
    for number in (11, 15, 16):
        assert np.array_equal(made.load(number).values, base.load(number).values)
        assert (folder / "depth" / f"{number:06d}.npy").samefile(base.folder / "depth" / f"{number:06d}.npy")
    told = region(80, 20, 30, 50).mask(12, Grid(clip.lens, clip.lens))
    for number in (12, 13):
        assert (made.load(number).values[told] == 2.5).all()
        assert (made.confidence(number)[told] == 1.0).all()
        assert made.measured(number)[told].all()
        outside = ~cv2.dilate(told.astype(np.uint8), np.ones((3, 3))).astype(bool) & base.measured(number)
        assert np.abs(made.load(number).values / base.load(number).values - 1)[outside].max() < 0.02
        assert np.array_equal(made.measured(number)[~told], base.measured(number)[~told])


def test_a_surface_goes_on_from_a_hint_into_what_nobody_measured(solved) -> None:
    clip, depths, base, _ = solved
    hint = np.zeros((96, 128), np.float32)
    hint[30:60, 90:110] = depths[1][30:60, 90:110]
    depth, confidence, measured = complete(base, 12, hint, None, clip, CPU)
    around = np.zeros(hint.shape, bool)
    around[22:68, 82:118] = True
    around &= hint == 0
    before = np.abs(base.load(12).values / depths[1] - 1)[around].mean()
    assert np.abs(depth / depths[1] - 1)[around].mean() < 0.65 * before, "though the picture is all edges"
    assert np.array_equal(confidence[around], base.confidence(12)[around])
    assert not measured[around].any()
    assert np.abs(depth / base.load(12).values - 1)[:, :50].max() < 1e-3, "what was measured stays"


def test_what_moves_by_itself_stays_where_no_hint_is(solved) -> None:
    clip, _, base, _ = solved
    hint = np.zeros((96, 128), np.float32)
    hint[30:60, 90:100] = 1.0
    moving = np.zeros(hint.shape, bool)
    moving[20:70, 85:125] = True
    depth, _, _ = complete(base, 12, hint, moving, clip, CPU)
    free, _, _ = complete(base, 12, hint, None, clip, CPU)
    beside = (slice(35, 55), slice(104, 120))
    own = base.load(12).values
    assert np.abs(np.log(depth / own))[beside].mean() < 0.5 * np.abs(np.log(free / own))[beside].mean()


@pytest.mark.parametrize(
    ("hint", "why"),
    [
        (Hint("it", region(-50, 0, 40, 40), 12, 13, "distance", (2.0,)), "outside of the picture"),
        (Hint("it", region(80, 20, 30, 50), 14, 14, "distance", (2.0,)), "has a camera"),
        (Hint("it", region(80, 20, 30, 50), 12, 13, "plane", (0.0, 0.0, 1.0, -90.0)), "behind the camera"),
        (Hint("it", region(80, 20, 30, 50), 12, 13, "point", (0.0, 0.0, -90.0)), "behind the camera"),
    ],
)
def test_a_hint_that_changes_nothing_is_refused(hint, why, solved, tmp_path: Path) -> None:
    clip, _, base, track = solved
    with pytest.raises(HintError) as raised:
        apply_hints([hint], clip, track, base, None, tmp_path / "hints", CPU, Silent())
    assert raised.value.code == "hint.nothing"
    assert why in raised.value.why
