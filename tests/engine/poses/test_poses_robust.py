"""What does not hang together, is not finite, or fails: dropped where it arises, and nothing else with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycolmap
import pytest

from engine.clip.track import CameraTrack
from engine.errors import PoseError
from engine.files import write_json
from engine.footage import probe
from engine.poses import LensRequest, adjust, child, mapping, solve, worker
from engine.poses import place_worker as given
from engine.poses.breaks import find_breaks
from engine.poses.cameras import find_twins
from engine.poses.features import Matches
from engine.poses.holdout import held_out_errors
from engine.poses.job import Job, Model
from engine.poses.judge import Candidate, judged
from engine.poses.output import drop_behind, model_of
from engine.poses.whole import SUPPORT, connected_parts, keep_whole, without_leaps
from engine.poses.zoom import focals_of
from engine.progress import Silent
from tests.engine.poses import models
from tests.engine.poses import walk_scene as scene
from tests.engine.poses.quick_solver import quick_solver
from tests.engine.poses.walk_scene import COUNT, FIRST, Frames, solved

RNG = np.random.default_rng(0)
POINTS = RNG.uniform([-2, 2, 0], [2, 5, 2], (200, 3))


class Listening(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, list[int]]] = []
        self.metrics: dict[str, float] = {}

    def metric(self, name: str, value: float) -> None:
        self.metrics[name] = value

    def warning(self, message: str, frames: Sequence[int] = ()) -> None:
        self.warnings.append((message, list(frames)))


def job(folder: Path, count: int = 8) -> Job:
    names = [f"{n + 1:06d}.png" for n in range(count)]
    return Job(str(folder), names, None, models.WIDTH, models.HEIGHT, str(folder), "AUTO", None, 0)


def two_parts(shared: int) -> np.ndarray:
    """(16, 200) which images see which points: the first eight one half, the others the other, all of them `shared`."""
    seen = np.zeros((16, 200), bool)
    seen[:8, :100] = seen[8:, 100:] = True
    seen[:, :shared] = True
    return seen


def test_a_part_that_hardly_shares_a_point_is_left_out() -> None:
    poses = scene.travelling(16)
    for far, pose in enumerate(poses[11:]):
        pose[:3, 3] += [1e5, 2e5 + far, 0.0]
    poses = [*poses[:11], *poses[11:]]
    seen = two_parts(SUPPORT - 1)
    seen[8:11], seen[11:] = seen[0], seen[11:]
    model = models.reconstruction(poses, POINTS, seen=seen)
    assert connected_parts(model) == [list(range(1, 12)), list(range(12, 17))]
    assert keep_whole(model) == list(range(12, 17))
    assert sorted(model.reg_image_ids()) == list(range(1, 12))


def test_parts_that_share_points_enough_are_one() -> None:
    model = models.reconstruction(scene.travelling(16), POINTS, seen=two_parts(SUPPORT))
    assert keep_whole(model) == []


def test_frames_that_leap_out_of_what_is_seen_are_left_out() -> None:
    poses = scene.travelling(8)
    poses[3][:3, 3] += [0, -214.0, 0]
    model = models.reconstruction(poses, POINTS)
    assert without_leaps(model) == [1, 2, 3, 5, 6, 7, 8]


def test_a_walk_in_wide_steps_leaps_nowhere() -> None:
    poses = [scene.look([2.0 * s, -1.2, 1.5], [2.0 * s, 4, 1.0]) for s in (0.0, 0.01, 0.02, 0.03, 0.5, 1.0)]
    assert without_leaps(models.reconstruction(poses, POINTS)) == [1, 2, 3, 4, 5, 6]


def test_cameras_and_points_that_are_not_finite_are_left_out() -> None:
    model = models.reconstruction(scene.travelling(8), POINTS)
    model.point3D(1).xyz = np.array([np.nan, 0, 0])
    frame = model.image(5).frame
    frame.rig_from_world = type(frame.rig_from_world)(np.full((3, 4), np.nan))
    assert keep_whole(model) == [5]
    assert model.num_points3D() == 199


def test_a_model_whose_lens_is_not_finite_is_no_candidate(tmp_path: Path) -> None:
    model = models.reconstruction(scene.travelling(8), POINTS)
    model.camera(1).params = np.array([np.nan, 320, 180, 0.0])
    assert keep_whole(model) == list(range(1, 9))
    (tmp_path / "0").mkdir()
    model = models.reconstruction(scene.travelling(8), POINTS)
    model.camera(1).params = np.array([models.FOCAL, 320, 180, np.inf])
    model.write(tmp_path / "0")
    assert judged(tmp_path, models.tracks(model), pixels_of(model)) == []


def pixels_of(model) -> dict[int, np.ndarray]:
    return {i: np.array([p.xy for p in model.image(i).points2D]) for i in model.reg_image_ids()}


def test_a_model_no_better_than_chance_is_no_candidate(tmp_path: Path) -> None:
    right = models.reconstruction(scene.travelling(8), POINTS)
    tracks, pixels = models.tracks(right), pixels_of(right)
    (tmp_path / "right" / "0").mkdir(parents=True)
    right.write(tmp_path / "right" / "0")
    (good,) = judged(tmp_path / "right", tracks, pixels)
    assert good.held_out_share == 1.0
    (tmp_path / "wrong" / "0").mkdir(parents=True)
    astray = [scene.look(RNG.uniform(-1, 1, 3).tolist(), [0, 4, RNG.uniform(-2, 3)]) for _ in range(8)]
    models.reconstruction(astray, POINTS).write(tmp_path / "wrong" / "0")
    assert judged(tmp_path / "wrong", tracks, pixels) == []


def test_more_frames_of_a_model_that_predicts_little_are_not_better() -> None:
    model = models.reconstruction(scene.travelling(8), POINTS)
    all_of_them, most = Candidate(model, 8, 0.2, True), Candidate(model, 7, 0.9, True)
    assert max(all_of_them, most, key=Candidate.merit) is most


def test_held_out_errors_are_infinite_where_a_lens_or_a_camera_is_not_finite() -> None:
    """A lens that bends so much that it cannot have made a pixel gives no ray."""
    poses = np.array(scene.travelling(6))
    track = np.repeat(np.arange(40), 6)
    cameras = np.tile(np.linalg.inv(poses)[:, :3], (40, 1, 1))
    local = np.einsum("mij,mj->mi", cameras[:, :, :3], np.repeat(POINTS[:40], 6, axis=0)) + cameras[:, :, 3]
    rays = local[:, :2] / local[:, 2:]
    rays[1], rays[6 + 2], cameras[12 + 3] = np.nan, np.nan, np.inf
    rays[[18, 20]] = np.nan  # one of three that place the point is left, which places nothing
    errors = held_out_errors(track, rays, cameras, 800.0).reshape(40, 3)
    assert np.isinf(errors[0, 0]) and np.isinf(errors[2, 1]) and np.isinf(errors[3]).all()
    assert errors[0, 1:].max() < 1e-6 and errors[1].max() < 1e-6 and errors[4:].max() < 1e-6
    assert np.isinf(held_out_errors(track, rays, cameras, np.full(240, np.nan))).all()
    assert np.isinf(held_out_errors(track, rays, np.full((240, 3, 4), 1e200), 800.0)).all()


def behind(model: pycolmap.Reconstruction) -> int:
    """Moves a point behind the first camera, where the last adjustment may leave one; how many see it."""
    pose = scene.travelling(8)[0]
    model.point3D(7).xyz = pose[:3, 3] - 0.5 * pose[:3, 2]
    return int(model.point3D(7).track.length())


def test_points_behind_a_camera_have_no_error_there(tmp_path: Path) -> None:
    model = models.reconstruction(scene.travelling(8), POINTS)
    behind(model)
    made = model_of(job(tmp_path), model)
    assert np.isfinite(made.frame_error).all() and len(made.rows) == 8
    assert np.bincount(made.observation_point).min() >= 3


def test_points_behind_a_given_camera_are_dropped() -> None:
    model = models.reconstruction(scene.travelling(8), POINTS)
    assert behind(model) == 8
    drop_behind(model)
    assert not model.exists_point3D(7) or 1 not in {e.image_id for e in model.point3D(7).track.elements}
    assert vars(given)["drop_behind"] is drop_behind


@pytest.fixture
def ready(walk: Frames, tmp_path: Path) -> Iterator[Job]:
    """A job with pictures of the walk."""
    for number, frame in walk.items():
        cv2.imwrite(str(tmp_path / f"{number:06d}.png"), frame)
    names = [f"{number:06d}.png" for number in walk]
    with quick_solver():
        yield Job(str(tmp_path), names, None, scene.WIDTH, scene.HEIGHT, str(tmp_path), "AUTO", None, 0)


def test_a_way_to_solve_that_fails_leaves_the_others_standing(
    ready: Job, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Mapping raises what it likes, and so may what says how sure the lens is; incremental mapping stands."""

    def fail(*_arguments: object, **_options: object) -> object:
        raise np.linalg.LinAlgError("Eigenvalues did not converge.")

    monkeypatch.setattr(mapping, "map_globally", fail)
    for name in ("_zoom", "readout", "_noise_std"):
        monkeypatch.setattr(adjust, name, fail)
    worker.solve(ready)
    model = Model.load(Path(ready.work) / "model.npz")
    assert len(model.rows) == COUNT
    assert model.lens[0] == pytest.approx(scene.FOCAL, rel=0.15)
    assert not model.focal_range[1] < 4 * model.focal_range[0]  # how sure it is, is not known
    assert "global mapping failed" in capfd.readouterr().err


def test_where_adjusting_the_best_fails_the_next_best_is_taken(ready: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    made = adjust.adjust
    failed: list[int] = []

    def fails_once(*arguments: Any) -> Model | None:
        if not failed:
            failed.append(1)
            raise RuntimeError("a native step failed")
        return made(*arguments)

    monkeypatch.setattr(worker, "adjust", fails_once)
    monkeypatch.setattr(Candidate, "good", lambda *_: False)  # so that incremental mapping is tried as well
    worker.solve(ready)
    assert failed and len(Model.load(Path(ready.work) / "model.npz").rows) == COUNT


def shots(across: dict[tuple[int, int], int], count: int = 12, cut: int | None = 6) -> Matches:
    """Images of a picture that moves by a pixel from each to the next: 300 features are seen in all up to `cut`, 300
    others after it. Matches `across` are of features that are somewhere else.
    """
    here = np.column_stack([RNG.uniform(0, 600, 600), RNG.uniform(0, 300, 600)])
    pixels = {i: here + np.array([float(i), 0.0]) for i in range(1, count + 1)}
    first, second = (np.column_stack([k, k]) for k in (np.arange(300), np.arange(300, 600)))
    pairs = {}
    for i in pixels:
        for j in (i + step for step in (1, 2, 3, 4, 8) if i + step <= count):
            if cut is None or (i <= cut) == (j <= cut):
                pairs[i, j] = first if cut is None or j <= cut else second
    for pair, number in across.items():
        pairs[pair] = np.column_stack([np.arange(number), RNG.permutation(np.arange(300, 600))[:number]])
    return Matches(640, 360, list(pixels), pixels, pairs)


def test_matches_across_a_cut_must_be_many_to_join_two_shots() -> None:
    sharp, wrong = np.ones(12), {(i, i + 4): 40 for i in range(3, 7)}
    assert find_breaks(shots(wrong), sharp)[0] == []
    (found,), longest = find_breaks(shots(wrong), sharp, cuts=[6])
    assert (found.before, found.after, len(longest)) == (5, 6, 6)
    assert find_breaks(shots({}, cut=None), sharp, cuts=[6])[0] == []  # a flash


def dissolving() -> Matches:
    """Thirty images of which 12 to 16 show two shots at once, each some of both."""
    matches = shots({}, count=30, cut=None)
    first, second = np.arange(300), np.arange(300, 600)
    of = {i: (np.array([], int), second) for i in range(17, 31)} | {i: (first, np.array([], int)) for i in range(1, 12)}
    of |= {i: (first[: 300 - 55 * (i - 11)], second[: 55 * (i - 11)]) for i in range(12, 17)}
    pairs = {}
    for i, j in matches.pairs:
        both = np.concatenate([np.intersect1d(of[i][k], of[j][k]) for k in (0, 1)])
        if len(both) >= 15:
            pairs[i, j] = np.column_stack([both, both])
    return replace(matches, pairs=pairs)


def test_a_dissolve_joins_no_two_shots() -> None:
    """Each frame has much in common with the next."""
    (found,), longest = find_breaks(dissolving(), np.ones(30))
    assert found.dissolves and not found.blurred
    assert 9 <= found.before <= 11 and 15 <= found.after <= 17
    assert longest == range(found.after, 30)
    assert "dissolves" in found.words(range(1, 31))


def test_a_shot_that_moves_on_is_no_dissolve() -> None:
    """What was seen is gone after a while, as where a camera walks or pans."""
    still = shots({}, count=30, cut=None)
    pixels = {i: p + np.array([25.0 * i, 0.0]) for i, p in still.pixels.items()}
    pairs = {pair: found[: 300 - 36 * (pair[1] - pair[0])] for pair, found in still.pairs.items()}
    assert find_breaks(replace(still, pixels=pixels, pairs=pairs), np.ones(30))[0] == []


def write(folder: Path, frames: Frames) -> None:
    folder.mkdir()
    for number, frame in frames.items():
        cv2.imwrite(str(folder / f"{number:06d}.png"), frame)


def test_twins_are_frames_of_one_picture_and_not_those_that_creep_on(walk: Frames, tmp_path: Path) -> None:
    picture = walk[FIRST].astype(float)
    noise = np.random.default_rng(1).choice([0.0, 1.0], picture.shape, p=[0.99, 0.01])
    creep = {
        10 + n: cv2.warpAffine(walk[FIRST], np.array([[1, 0, 0.015 * n], [0, 1, 0]]), (480, 320)) for n in range(5)
    }
    frames = {1: walk[FIRST], 2: np.clip(picture + noise, 0, 255), 3: walk[FIRST], 4: walk[FIRST + 1]} | creep
    write(tmp_path / "proxy", frames)
    numbers = sorted(frames)
    found = find_twins(numbers, [2, 3, *range(11, 15)], tmp_path / "proxy")
    assert found.pop(2) == 1 and found.pop(3) == 1
    assert 14 not in found or found[14] != 10
    assert find_twins([1, 2, 3, 4], [2, 3], tmp_path / "proxy") == {}  # too few would be left


def test_frames_on_twos_have_equal_cameras_and_none_is_lost(
    walk: Frames, walk_track: CameraTrack, tmp_path: Path
) -> None:
    twos = {2 * n + k: frame for n, frame in walk.items() for k in (0, 1)}
    track = solved(tmp_path, twos)
    assert track.frames() == list(twos)
    for n in walk:
        first, second = track.world_from_camera[2 * n], track.world_from_camera[2 * n + 1]
        assert np.array_equal(first, second)
        assert track.reprojection_px[2 * n] == track.reprojection_px[2 * n + 1]
        assert first == pytest.approx(walk_track.world_from_camera[n], abs=1e-9)
    seen = np.bincount(track.points.observation_frame)
    assert (seen[[2 * n for n in walk]] == seen[[2 * n + 1 for n in walk]]).all() and seen.max() > 100
    assert (np.diff(list(track.world_from_camera)) > 0).all()


def test_a_zoom_is_found_from_cameras_that_push_in_instead(tmp_path: Path) -> None:
    count = 16
    poses = [scene.look([1.6 * s - 0.8, -1.2 + 0.3 * s, 1.5], [0.4 * s, 4, 1.0]) for s in np.linspace(0, 1, count)]
    true = models.FOCAL * np.exp(0.5 * (1 - np.cos(np.linspace(0, np.pi, count))) * 0.5)
    zooming = models.reconstruction(poses, POINTS, focals=true.tolist())
    pixels = {i: p + RNG.normal(0, 0.2, p.shape) for i, p in pixels_of(zooming).items()}
    fixed = models.reconstruction(poses, POINTS)
    for i in fixed.reg_image_ids():
        for point, xy in zip(fixed.image(i).points2D, pixels[i], strict=True):
            point.xy = xy
    adjust.bundle(fixed, adjust.bundle_options(1.0, focal=True, distortion=True))
    tracks = models.tracks(fixed, every=3)
    found = adjust.zoomed(Candidate(fixed, count, 0.9, True), tracks, pixels)
    assert found is not None and found.zooms and found.registered == count
    focals = np.array(list(focals_of(found.reconstruction).values()))
    assert focals == pytest.approx(true, rel=0.03)
    assert adjust.zoomed(replace(found, reconstruction=zooming, zooms=False), tracks, pixels_of(zooming)) is None


@pytest.mark.parametrize(
    ("true", "width", "low", "high"),
    [
        (1.1, 0.1, 0.8, 1.4),  # in the middle of the list
        (3.2, 0.1, 2.6, 4.0),  # beyond its end, so that the list is extended
        (0.5, 0.1, 0.38, 0.65),
        (1.0, 5.0, 0.0, np.inf),  # any predicts as well
        (9.0, 0.2, 0.0, np.inf),  # the longer the better, as far as it goes
    ],
)
def test_a_focal_length_that_is_only_tried_counts_where_it_is_bracketed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, true: float, width: float, low: float, high: float
) -> None:
    model = models.reconstruction(scene.travelling(8), POINTS)
    with pycolmap.Database.open(tmp_path / "database.db") as data:
        data.write_camera(model.camera(1))

    def predicts(folder: Path, *_: object) -> list[Candidate]:
        ratio = float(folder.name.split("_")[1])
        lens = pycolmap.Reconstruction(model)
        lens.camera(1).params = np.array([ratio * models.WIDTH, 320, 180, 0.0])
        return [Candidate(lens, 8, float(0.95 - 0.3 * max(0.0, abs(np.log(ratio / true)) - width)), True)]

    monkeypatch.setattr(mapping, "judged", predicts)
    monkeypatch.setattr(mapping, "map_globally", lambda *_, **__: None)
    (found,) = mapping._with_tried_focals(
        job(tmp_path), tmp_path / "database.db", tmp_path, tmp_path, models.tracks(model), shots({})
    )
    assert found.focal_std_pct is not None
    focal = float(found.reconstruction.camera(1).params[0]) / models.WIDTH
    reach = np.exp(2 * found.focal_std_pct / 100)
    assert low <= focal / reach and focal * reach <= high
    assert (focal / reach < true < focal * reach) or np.isinf(high)
    assert np.isinf(found.focal_std_pct) == np.isinf(high)


def test_a_focal_length_that_places_a_frame_more_is_not_therefore_true() -> None:
    model = models.reconstruction(scene.travelling(8), POINTS)
    tried = {0.7: Candidate(model, 40, 0.57, True), 1.0: Candidate(model, 38, 0.9, True)}
    few = Candidate(model, 20, 0.99, True)
    assert list(mapping._as_good({**tried, 1.3: few, 1.6: None})) == [1.0]


@pytest.mark.parametrize(("low", "high", "told"), [(400.0, 600.0, True), (60.0, 103268.0, False), (0.0, np.inf, False)])
def test_a_range_that_says_nothing_is_said_to_be_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, low: float, high: float, told: bool
) -> None:
    """Nobody can do anything with "between 60 and 103268 px"."""
    made = model_of(job(tmp_path), models.reconstruction(scene.travelling(8), POINTS))
    write(tmp_path / "proxy", {n: np.zeros((4, 4, 3), np.uint8) for n in range(1, 9)})
    write_json(tmp_path / "preflight.json", {"duplicates": [], "cuts": []})
    folder = tmp_path / "poses"
    folder.mkdir()
    replace(made, focal_range=np.array([low, high])).save(folder / "model.npz")
    clip = probe(scene.write(tmp_path / "in", {n: np.zeros((360, 640, 3), np.uint8) for n in range(1, 9)}))
    listening = Listening()
    track = solve(clip, tmp_path / "proxy", None, folder, LensRequest(), 0, listening)
    assert track.focal_range == ((low, high) if told else None)
    assert (track.focal_std_pct is None) is not told
    said = [message for message, _ in listening.warnings if "focal length" in message]
    assert len(said) == 1 and ("cannot be determined from this camera motion" in said[0]) is not told
    assert "focal_high_px" in listening.metrics or not told
    assert CameraTrack.load(folder).focal_range == track.focal_range


DYING = """
import os, sys
from pathlib import Path
from engine.poses.mapping import made
from engine.poses.speech import say

work = Path(sys.argv[1]).parent
(work / "sequential").mkdir(exist_ok=True)
found = made(work / "sequential" / "global", lambda out: os.abort())
say("metric", ["models", len(list(found.iterdir()))])
if (work / "always").exists():
    os.abort()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_native_code_that_dies_leaves_the_other_ways_standing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dying.py").write_text(DYING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "work").mkdir()
    told = Listening()
    child.run_worker(tmp_path / "work" / "job.json", tmp_path / "log", told, "dying")
    assert told.metrics == {"models": 0.0}
    (tmp_path / "work" / "always").touch()
    with pytest.raises(PoseError) as error:
        child.run_worker(tmp_path / "work" / "job.json", tmp_path / "log", told, "dying")
    assert error.value.code == "poses.crashed"
