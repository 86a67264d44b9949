"""Lenses and turning cameras, on exact matches and models that need no pictures."""

from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest

from engine.poses.adjust import Fit, Kind, _with_lens, bundle, bundle_options, chosen_lens, focal_range, readout
from engine.poses.breaks import find_breaks, matches_across
from engine.poses.cameras import _SAYS_NOTHING as SAYS_NOTHING
from engine.poses.features import Matches
from engine.poses.holdout import Tracks
from engine.poses.job import Job
from engine.poses.judge import Candidate, lens_of, pixels_in
from engine.poses.motion import motion_of
from engine.poses.turning import _problem, _Sight, _start, _State, solve_turning
from engine.poses.zoom import SOLVED, focals_of, set_focals, split_cameras, zoom_curve

WIDTH, HEIGHT = 480, 320


def turn(*degrees: float) -> np.ndarray:
    turn: np.ndarray = cv2.Rodrigues(np.radians(np.array(degrees, float)))[0]
    return turn


def tripod(
    count: int = 14, pan: float = 15.0, focal: float = 500.0, zoom: float = 1.0, k1: float = 0.0, wrong: float = 0.1
) -> tuple[Matches, np.ndarray, np.ndarray]:
    """Matches of a camera that turns, with noise and a share of wrong ones; its rotations and focal lengths."""
    rng = np.random.default_rng(0)
    rays = rng.normal(size=(5000, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    share = np.linspace(0, 1, count)
    rotations = np.array([turn(3 * np.sin(5 * s), pan * (s - 0.5), np.sin(9 * s)) for s in share])
    focals = focal * zoom**share
    pixels, seen = {}, {}
    for i in range(count):
        local = rays @ rotations[i].T
        xy = local[:, :2] / local[:, 2:]
        xy = xy * (1 + k1 * (xy**2).sum(1, keepdims=True))
        p = focals[i] * xy + [WIDTH / 2, HEIGHT / 2]
        seen[i] = (local[:, 2] > 0.2) & (p > 0).all(1) & (p < [WIDTH, HEIGHT]).all(1)
        bad = rng.random(len(p)) < wrong
        pixels[i + 1] = p + rng.normal(0, 0.2, p.shape) + bad[:, None] * rng.normal(0, 20, p.shape)
    pairs = {}
    for i in range(count):
        for j in (i + 1, i + 2, i + 4, i + 8):
            if j < count:
                both = np.flatnonzero(seen[i] & seen[j])
                pairs[i + 1, j + 1] = np.stack([both, both], axis=1)
    return Matches(WIDTH, HEIGHT, list(range(1, count + 1)), pixels, pairs), rotations, focals


def most_apart(found: np.ndarray, true: np.ndarray) -> float:
    """Largest angle between two sets of rotations (N, 3, 3) whose first ones are the same, degrees."""
    turns = [(a @ found[0].T).T @ b @ true[0].T for a, b in zip(found, true, strict=True)]
    return max(float(np.degrees(np.linalg.norm(cv2.Rodrigues(turned)[0]))) for turned in turns)


def test_the_derivatives_of_a_turning_camera_are_those_of_its_pixels() -> None:
    matches, *_ = tripod(wrong=0.0)
    problem = _problem(matches, matches.images, 5)
    state = replace(_start(problem, 520.0, zooms=False), k1=-0.08)
    count, step = len(problem.first), 1e-6
    assert (_Sight.of(problem, state).there[:, 2] > 0.1).all()

    def changed(pair: int, unknown: int, by: float) -> np.ndarray:
        """Pixels of a pair's matches after a change of one unknown."""
        first, second = problem.first[pair], problem.second[pair]
        rotation, log_focal = state.rotation.copy(), state.log_focal.copy()
        if unknown < 6:
            row = first if unknown < 3 else second
            rotation[row] = cv2.Rodrigues(by * np.eye(3)[unknown % 3])[0] @ rotation[row]
        elif unknown < 8:
            log_focal[first if unknown == 6 else second] += by
        k1 = state.k1 + (by if unknown == 8 else 0.0)
        pixels: np.ndarray = _Sight.of(problem, _State(rotation, log_focal, k1)).pixels[pair]
        return pixels

    told = _Sight.of(problem, state).jacobian()
    for pair in range(0, count, 7):
        seen = [(changed(pair, k, step) - changed(pair, k, -step)) / (2 * step) for k in range(9)]
        assert told[pair] == pytest.approx(np.stack(seen, axis=-1), rel=1e-4, abs=1e-2)


@pytest.mark.parametrize(("zoom", "k1"), [(1.0, 0.0), (1.0, -0.12), (1.6, 0.0)])
def test_turning_camera_is_solved_with_its_lens(zoom: float, k1: float) -> None:
    matches, rotations, focals = tripod(zoom=zoom, k1=k1)
    motion = motion_of(matches, None)
    found = solve_turning(matches, zooms=zoom != 1.0)
    assert found is not None
    assert found.focal == pytest.approx(focals, rel=0.02)
    assert found.focal / found.focal[0] == pytest.approx(focals / focals[0], rel=0.003)
    assert np.abs(np.log(found.focal / focals)).max() < 2 * found.focal_std
    assert found.k1 == pytest.approx(k1, abs=0.02)
    assert most_apart(found.camera_from_world, rotations) < 0.2
    assert motion.turning is not None
    assert np.ptp(motion.turning.focal) > 100 if zoom > 1 else np.ptp(motion.turning.focal) == 0


def test_a_long_turn_is_solved_as_well() -> None:
    matches, rotations, focals = tripod(count=200)
    assert len(matches.pairs) * 40 > 20_000, "starts are to be tried on part of the matches"
    found = solve_turning(matches, zooms=False)
    assert found is not None
    assert found.focal == pytest.approx(focals, rel=0.02)
    assert most_apart(found.camera_from_world, rotations) < 0.1


def test_known_focal_length_of_a_turning_camera_is_kept() -> None:
    found = solve_turning(tripod()[0], zooms=False, focal=500.0)
    assert found is not None
    assert found.focal == pytest.approx(500.0)
    assert found.focal_std == 0


def test_camera_that_stands_still_is_static_and_one_that_turns_is_not() -> None:
    still, _, _ = tripod(pan=0.0, wrong=0.0)
    still = Matches(
        WIDTH, HEIGHT, still.images, dict.fromkeys(still.images, still.pixels[1]), {(1, 2): still.pairs[1, 2]}
    )
    assert motion_of(still, None).kind == "static"
    assert motion_of(tripod(wrong=0.02)[0], None).kind == "turns"


def test_break_is_where_no_match_goes_across_and_blur_is_told_from_a_cut() -> None:
    matches, _, _ = tripod(count=12)
    cut = Matches(
        WIDTH,
        HEIGHT,
        matches.images,
        matches.pixels,
        {p: m for p, m in matches.pairs.items() if (p[0] <= 7) == (p[1] <= 7)},
    )
    assert np.flatnonzero(matches_across(cut) == 0).tolist() == [6]
    sharp = np.array([100.0] * 7 + [30.0] * 5)
    breaks, longest = find_breaks(cut, sharp)
    assert longest == range(7)
    assert breaks[0].words(range(101, 113)) == "there is a cut between frames 107 and 108"
    smeared = np.array([100.0] * 6 + [20.0] + [100.0] * 5)
    assert find_breaks(cut, smeared)[0][0].blurred == (6,)
    assert find_breaks(matches, sharp) == ([], range(12))


def travelling(
    zoom: float = 1.0, delay: float = 0.0, start: float = 430.0, wander: float = 0.0
) -> pycolmap.Reconstruction:
    """A model with true poses and points, one camera of focal length `start`, and noisy pictures of 430 px and more.

    The pictures are windows that wander by about `wander` px from one to the next.
    """
    rng, count = np.random.default_rng(1), 12
    window = np.cumsum(np.random.default_rng(2).normal(0, wander, (count, 2)), axis=0)
    points = rng.uniform([-4, -2, 3], [4, 2, 9], (250, 3))
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(
        pycolmap.Camera(camera_id=1, model="SIMPLE_RADIAL", width=WIDTH, height=HEIGHT, params=[start, 240, 160, 0])
    )
    tracks = {number: pycolmap.Track() for number in range(len(points))}
    for i in range(count):
        focal = 430.0 * zoom ** (i / (count - 1))

        def seen(time: np.ndarray, focal: float = focal) -> np.ndarray:
            local = np.array(
                [
                    turn(0, 0.8 * t, 0) @ (p - [0.12 * t - 0.7, 0.05 * np.sin(t), 0])
                    for t, p in zip(time, points, strict=True)
                ]
            )
            return np.asarray(focal * local[:, :2] / local[:, 2:] + [240, 160])

        pixel = seen(np.full(len(points), float(i)))
        if delay:
            pixel = seen(i + delay * (pixel[:, 1] / HEIGHT - 0.5))
        pixel += window[i]
        inside = np.flatnonzero((pixel > 0).all(1) & (pixel < [WIDTH, HEIGHT]).all(1))
        for index, number in enumerate(inside.tolist()):
            tracks[number].add_element(i + 1, index)
        pixel = pixel + rng.normal(0, 0.1, pixel.shape)
        image = pycolmap.Image(name=f"{i + 1:06d}.png", keypoints=pixel[inside], camera_id=1, image_id=i + 1)
        rotation = turn(0, 0.8 * i, 0)
        centre = np.array([0.12 * i - 0.7, 0.05 * np.sin(i), 0])
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(np.column_stack([rotation, -rotation @ centre])))
    for number, track in tracks.items():
        if track.length() >= 3:
            model.add_point3D(points[number], track, np.zeros(3, np.uint8))
    return model


def test_zoom_is_told_from_a_lens_that_does_not() -> None:
    options = bundle_options(1.0, focal=True, distortion=False)
    for zoom in (1.0, 1.4):
        split = split_cameras(travelling(zoom, start=500.0))
        assert split.num_points3D() > 100
        bundle(split, options)
        curve = zoom_curve(focals_of(split), SOLVED)
        if zoom == 1.0:
            assert curve is None
        else:
            assert curve is not None
            assert curve[12] / curve[1] == pytest.approx(zoom, rel=0.05)
            set_focals(split, curve)
            assert focals_of(split) == pytest.approx(curve)


def taken_out(model: pycolmap.Reconstruction) -> Tracks:
    """The tracks of some points of a model, which loses them."""
    seen = {number: [(e.image_id, e.point2D_idx) for e in p.track.elements] for number, p in model.points3D.items()}
    held = [number for number, places in seen.items() if len(places) >= 4][:80]
    joined = [(k, i, f) for k, number in enumerate(held) for i, f in sorted(seen[number])]
    for number in held:
        model.delete_point3D(number)
    return Tracks(*np.array(joined, np.int64).T)


@pytest.mark.parametrize(("wander", "delay", "told"), [(0.0, 0.0, False), (0.0, 0.5, False), (4.0, 0.0, True)])
def test_a_stabilised_clip_is_told_and_its_focal_length_is_a_guess(
    wander: float, delay: float, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    model = travelling(wander=wander, delay=delay)
    pixels, tracks = pixels_in(model), taken_out(model)
    bundle(model, bundle_options(1.0, focal=True, distortion=True))  # as mapping does
    names = [f"{i:06d}.png" for i in range(1, 13)]
    job = Job("", names, None, WIDTH, HEIGHT, "", "AUTO", None, seed=0)
    solved, spread = _with_lens(job, Candidate(model, 12, 1.0, plausible=True), model, 1.0, tracks, pixels, {})
    low, high = float(lens_of(next(iter(solved.cameras.values())))[0]) * np.exp(spread)
    assert low < 430.0 < high
    assert ("looks stabilised" in capsys.readouterr().out) == told
    assert (high > SAYS_NOTHING * low) == told


@pytest.mark.parametrize("delay", [0.0, 0.5, -0.5])
def test_readout_of_a_rolling_shutter_is_found(delay: float) -> None:
    model = travelling(delay=delay)
    seen = {number: [(e.image_id, e.point2D_idx) for e in p.track.elements] for number, p in model.points3D.items()}
    among: dict[tuple[int, int], list[tuple[int, int]]] = {(i, i + 1): [] for i in range(1, 12)}
    for places in seen.values():
        feature = dict(places)
        for i, f in places:
            if i + 1 in feature:
                among[i, i + 1].append((f, feature[i + 1]))
    pairs = {pair: np.array(found, np.int64) for pair, found in among.items()}
    tracks = taken_out(model)
    options = bundle_options(1.0, focal=True, distortion=True)
    bundle(model, options)
    assert readout(model, Kind("SIMPLE_RADIAL"), options, tracks, pixels_in(model), pairs) == delay


def fit(model: str, focal: float, error: float, off_centre: bool = False) -> Fit:
    return Fit(Kind(model, off_centre), np.array([focal, focal, 240, 160, 0.01, 0, 0, 0]), np.full(100, error))


def test_simple_lens_stays_unless_another_predicts_clearly_better() -> None:
    simple = fit("SIMPLE_RADIAL", 500, 0.50)
    assert chosen_lens([simple, fit("RADIAL", 505, 0.497)]) is simple
    better = fit("RADIAL", 505, 0.47)
    assert chosen_lens([simple, better]) is better
    assert chosen_lens([simple, fit("SIMPLE_PINHOLE", 505, 0.40)]) is simple
    assert chosen_lens([simple, fit("OPENCV", 505, 0.48)]) is simple


def test_focal_range_holds_every_lens_that_predicts_as_well() -> None:
    simple = fit("SIMPLE_RADIAL", 500, 0.50)
    low, high = focal_range(500.0, 0.0, simple, [simple, fit("RADIAL", 520, 0.503), fit("OPENCV", 700, 0.6)])
    assert (low, high) == pytest.approx((500.0, 520.0))
    low, high = focal_range(500.0, 0.01, simple, [simple])
    assert high / 500.0 == pytest.approx(np.exp(0.02))
    assert low / 500.0 == pytest.approx(np.exp(-0.02))
    low, high = focal_range(500.0, 0.0, simple, [simple], wander_gain=0.05)
    assert (low, high) == pytest.approx((500.0 * np.exp(-0.05), 500.0)), "a window that wanders makes it longer"
    assert focal_range(500.0, 0.0, simple, [simple], wander_gain=0.02) == pytest.approx((500.0, 500.0))


def test_zoom_keeps_its_shape_where_it_begins_and_ends() -> None:
    times = np.linspace(0, 1, 20)
    focal = 400 + 200 * np.clip((times - 0.15) / 0.6, 0, 1) ** 2 * (3 - 2 * np.clip((times - 0.15) / 0.6, 0, 1))
    noisy = focal * np.exp(np.random.default_rng(0).normal(0, 0.002, 20))
    curve = zoom_curve(dict(enumerate(noisy.tolist(), 1)), SOLVED)
    assert curve is not None
    assert list(curve.values()) == pytest.approx(focal.tolist(), rel=0.01)
