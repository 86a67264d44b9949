"""The poses stage as a whole, on clips with exact truth."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pycolmap
import pytest

from engine.clip.track import CameraTrack
from engine.errors import Cancelled, PoseError
from engine.footage import prepare, probe
from engine.geometry.arrays import array_from_pixel
from engine.poses import LensRequest, features, solve
from engine.poses.job import Job
from engine.progress import Silent
from tests.engine.poses import walk_scene as scene
from tests.engine.poses.walk_scene import COUNT, FIRST, Frames, solved

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"


class Listening(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, list[int]]] = []
        self.metrics: dict[str, float] = {}
        self.fractions: list[float] = []
        self.previews: list[dict[str, Any]] = []

    def preview(self, name: str, write: Callable[[Path], object]) -> None:
        with TemporaryDirectory() as folder:
            write(Path(folder) / name)
            self.previews.append(json.loads((Path(folder) / name).read_text()))

    def step(self, done: float, total: float, message: str) -> None:
        self.fractions.append(done / total)

    def metric(self, name: str, value: float) -> None:
        self.metrics[name] = value

    def warning(self, message: str, frames: Sequence[int] = ()) -> None:
        self.warnings.append((message, list(frames)))


def angle(rotation: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def against(track: CameraTrack, truth: Frames) -> tuple[float, float]:
    """(largest rotation error in degrees, position RMSE in % of the path) after a similarity, by frame number."""
    numbers = track.frames()
    true = np.array([truth[n] for n in numbers])
    mine = np.array([track.world_from_camera[n] for n in numbers])
    a, b = mine[:, :3, 3] - mine[:, :3, 3].mean(0), true[:, :3, 3] - true[:, :3, 3].mean(0)
    u, _, vt = np.linalg.svd(sum(t[:3, :3] @ m[:3, :3].T for t, m in zip(true, mine, strict=True)))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    a = a @ turn.T
    error = b - a * ((a * b).sum() / (a * a).sum())
    path = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum()
    turned = [angle(t[:3, :3].T @ turn @ m[:3, :3]) for t, m in zip(true, mine, strict=True)]
    return max(turned), 100 * float(np.sqrt((error**2).sum(1).mean()) / path)


def turned(track: CameraTrack, truth: Frames) -> float:
    """Largest rotation error in degrees, after one rotation of the world."""
    mine, true = track.world_from_camera, truth
    u, _, vt = np.linalg.svd(sum(true[n][:3, :3] @ mine[n][:3, :3].T for n in track.frames()))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return max(angle(true[n][:3, :3].T @ turn @ mine[n][:3, :3]) for n in track.frames())


def same(a: CameraTrack, b: CameraTrack) -> bool:
    """Bit for bit."""
    return (
        a.lens == b.lens
        and a.frames() == b.frames()
        and all(np.array_equal(a.world_from_camera[n], b.world_from_camera[n]) for n in a.frames())
        and np.array_equal(a.points.xyz, b.points.xyz)
        and np.array_equal(a.points.observation_pixel, b.points.observation_pixel)
    )


def test_known_cameras_are_recovered_under_their_frame_numbers(walk_track: CameraTrack, walk_poses: Frames) -> None:
    assert walk_track.frames() == list(range(FIRST, FIRST + COUNT))
    assert walk_track.reasons == {}
    lens = walk_track.lens
    assert (lens.width, lens.height, lens.cx, lens.cy) == (scene.WIDTH, scene.HEIGHT, scene.WIDTH / 2, scene.HEIGHT / 2)
    assert lens.fx == lens.fy == pytest.approx(scene.FOCAL, rel=0.01)
    assert abs(lens.k1) < 0.02
    degrees, percent = against(walk_track, walk_poses)
    assert degrees < 0.2
    assert percent < 0.5


def test_sparse_points_are_seen_where_the_track_says(walk_track: CameraTrack) -> None:
    points, lens = walk_track.points, walk_track.lens
    assert len(points.xyz) > 100
    depths = []
    for number in walk_track.frames():
        seen = points.observation_frame == number
        pose = walk_track.world_from_camera[number]
        local = (points.xyz[points.observation_point[seen]] - pose[:3, 3]) @ pose[:3, :3]
        xy = local[:, :2] / local[:, 2:]
        pixel = lens.fx * xy * (1 + lens.k1 * (xy**2).sum(1, keepdims=True)) + [lens.cx, lens.cy]
        errors = np.linalg.norm(pixel - points.observation_pixel[seen], axis=1)
        assert np.median(errors) == pytest.approx(walk_track.reprojection_px[number], abs=1e-6)
        assert errors.max() < 5
        depths.append(local[:, 2])
    assert np.median(np.concatenate(depths)) == pytest.approx(5.0)
    assert np.bincount(points.observation_point).min() >= 3


def test_world_is_upright_and_ahead(walk_track: CameraTrack) -> None:
    for pose in walk_track.world_from_camera.values():
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
        assert -pose[2, 1] > 0.95
    assert walk_track.world_from_camera[FIRST][0, 2] == pytest.approx(0, abs=1e-6)
    assert walk_track.world_from_camera[FIRST][1, 2] > 0.9


def test_dropped_frame_shifts_no_other_pose(
    walk: Frames, walk_poses: Frames, walk_track: CameraTrack, tmp_path: Path
) -> None:
    gone = FIRST + COUNT // 2
    track = solved(tmp_path, {n: f for n, f in walk.items() if n != gone})
    assert track.frames() == [n for n in walk if n != gone]
    degrees, percent = against(track, walk_poses)
    assert degrees < 0.2
    assert percent < 0.5
    assert against(track, walk_track.world_from_camera)[0] < 0.1


def test_interrupted_and_resumed_solve_is_the_same_bit_for_bit(
    walk: Frames, walk_track: CameraTrack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same seed, same result; and a cancelled solve leaves no process behind."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*args: Any, **kwargs: Any) -> "subprocess.Popen[bytes]":
        started.append(popen(*args, **kwargs))
        return started[-1]

    class StopWhenMatching(Silent):
        def step(self, done: float, total: float, message: str) -> None:
            if "matching" in message:
                raise Cancelled

    monkeypatch.setattr(subprocess, "Popen", remember)
    with pytest.raises(Cancelled):
        solved(tmp_path, walk, progress=StopWhenMatching(), own_process=True)
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    listening = Listening()
    assert same(solved(tmp_path, walk, progress=listening, own_process=True), walk_track)
    assert listening.fractions == sorted(listening.fractions)
    assert listening.metrics["registered_share"] == 1.0
    assert same(CameraTrack.load(tmp_path / "poses"), walk_track)
    (seen,) = listening.previews  # before the cameras are refined, and upright already
    assert set(seen["cameras"]) == {str(number) for number in walk_track.frames()} and len(seen["points"]) > 100
    poses = {int(number): np.array(pose) for number, pose in seen["cameras"].items()}
    for number, pose in poses.items():
        assert angle(pose[:3, :3].T @ walk_track.world_from_camera[number][:3, :3]) < 10.0
    shown, solved_ = ([of[n][:3, 3] for n in walk_track.frames()] for of in (poses, walk_track.world_from_camera))
    assert np.corrcoef(np.ravel(shown), np.ravel(solved_))[0, 1] > 0.9


def test_known_focal_length_is_kept(walk: Frames, walk_poses: Frames, tmp_path: Path) -> None:
    track = solved(tmp_path, walk, LensRequest("SIMPLE_PINHOLE", focal_px=scene.FOCAL))
    assert track.lens.fx == scene.FOCAL
    assert track.lens.k1 == 0
    assert track.lens_known
    assert track.focal_std_pct == 0
    assert track.focal_range is None
    assert against(track, walk_poses)[0] < 0.2


def test_frames_that_do_not_belong_are_left_out_with_a_reason(walk: Frames, walk_poses: Frames, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    noise = {FIRST + COUNT + i: rng.integers(0, 256, (scene.HEIGHT, scene.WIDTH, 3), dtype=np.uint8) for i in range(2)}
    listening = Listening()
    track = solved(tmp_path, walk | noise, progress=listening)
    assert track.frames() == list(walk)
    assert sorted(track.reasons) == sorted(noise)
    assert [frames for _, frames in listening.warnings if frames] == [sorted(noise)]
    assert against(track, walk_poses)[0] < 0.2


def test_pan_from_a_tripod_is_solved_as_a_turn_and_says_so(tmp_path: Path) -> None:
    room, poses, listening = scene.room(), dict(enumerate(scene.turning(8), 1)), Listening()
    track = solved(tmp_path, {n: scene.render(room, pose) for n, pose in poses.items()}, progress=listening)
    assert track.motion == "turns"
    assert track.frames() == list(poses)
    assert all((pose[:3, 3] == 0).all() for pose in track.world_from_camera.values())
    assert len(track.points.xyz) == 0
    assert turned(track, poses) < 0.2
    assert track.focal_range is not None
    assert track.focal_range[0] < scene.FOCAL < track.focal_range[1]
    assert track.lens.fx == pytest.approx(scene.FOCAL, rel=0.03)
    assert track.focals == {}
    assert any("only turns" in message for message, _ in listening.warnings)
    assert CameraTrack.load(tmp_path / "poses").motion == "turns"


def test_zoom_on_a_tripod_has_a_focal_length_for_every_frame(tmp_path: Path) -> None:
    room, poses = scene.room(), dict(enumerate(scene.turning(10), 1))
    zoom = {n: 1.5 ** ((n - 1) / 9) for n in poses}
    track = solved(tmp_path, {n: scene.render(room, pose, zoom=zoom[n]) for n, pose in poses.items()})
    assert track.motion == "turns"
    assert turned(track, poses) < 0.2
    for number, factor in zoom.items():
        assert track.lens_at(number).fx == pytest.approx(scene.FOCAL * factor, rel=0.03)
        assert track.lens_at(number).fx / track.lens_at(1).fx == pytest.approx(factor, rel=0.005)


def test_camera_that_stands_still_has_no_lens_and_says_so(tmp_path: Path) -> None:
    picture, rng, listening = (
        scene.render(scene.room(), scene.turning(8)[3]).astype(float),
        np.random.default_rng(5),
        Listening(),
    )
    frames = {n: np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8) for n in range(1, 6)}
    track = solved(tmp_path, frames, progress=listening)
    assert track.motion == "static"
    assert len({pose.tobytes() for pose in track.world_from_camera.values()}) == 1
    assert track.focal_range is not None
    assert track.focal_range[0] < scene.FOCAL < track.focal_range[1]
    assert any("does not move" in message for message, _ in listening.warnings)


def test_only_the_longer_part_of_a_cut_clip_is_solved(walk: Frames, walk_poses: Frames, tmp_path: Path) -> None:
    other = {n: scene.render(scene.wall(), scene.look([0.1 * n, 0, 1], [0, 5, 1])) for n in range(4)}
    listening = Listening()
    track = solved(tmp_path, walk | {FIRST + COUNT + n: frame for n, frame in other.items()}, progress=listening)
    assert track.frames() == list(walk)
    assert turned(track, walk_poses) < 0.2
    cut = f"cut between frames {FIRST + COUNT - 1} and {FIRST + COUNT}"
    assert all(cut in track.reasons[FIRST + COUNT + n] for n in other)
    assert any(cut in message for message, _ in listening.warnings)


def test_frame_that_shows_nothing_is_put_between_its_neighbours_and_marked(
    walk: Frames, walk_poses: Frames, tmp_path: Path
) -> None:
    gone = FIRST + 4
    track = solved(tmp_path, walk | {gone: cv2.GaussianBlur(walk[gone], (0, 0), 25)})
    assert gone not in track.frames()
    assert "blurred" in track.reasons[gone]
    assert list(track.filled) == [gone]
    between = (track.world_from_camera[gone - 1][:3, 3] + track.world_from_camera[gone + 1][:3, 3]) / 2
    assert track.filled[gone][:3, 3] == pytest.approx(between)
    assert turned(track, walk_poses) < 0.2


def test_noise_is_a_typed_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    frames = {n: rng.integers(0, 256, (scene.HEIGHT // 2, scene.WIDTH // 2, 3), dtype=np.uint8) for n in range(1, 6)}
    with pytest.raises(PoseError) as error:
        solved(tmp_path, frames)
    assert error.value.code == "poses.no_model"
    assert error.value.exit_code != 0


def test_a_defect_of_the_child_is_a_typed_error_with_its_log(walk: Frames, tmp_path: Path) -> None:
    footage = probe(scene.write(tmp_path / "in", walk))
    with pytest.raises(PoseError) as error:
        solve(footage, tmp_path / "nothing here", None, tmp_path / "poses", LensRequest(), 0, Silent())
    assert error.value.code == "poses.defect"
    assert "nothing here" in error.value.why


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_child_ends_with_its_parent(walk: Frames, tmp_path: Path) -> None:
    footage = probe(scene.write(tmp_path / "in", walk))
    prepare(footage, tmp_path, Silent())
    names = [f"{n:06d}.png" for n in walk]
    job = Job(
        str(tmp_path / "proxy"), names, None, footage.width, footage.height, str(tmp_path), "SIMPLE_RADIAL", None, 0
    )
    job.save(tmp_path / "job.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.poses.worker", str(tmp_path / "job.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["step"][1] > 0
    assert process.stdin is not None
    process.stdin.close()  # what happens to the pipe when the parent dies
    assert process.wait(timeout=60) == 1
    process.stdout.close()
    assert not (tmp_path / "model.npz").exists()


@pytest.mark.parametrize("width", [320, 640, 1000])
def test_features_lie_at_the_centres_of_what_they_see(tmp_path: Path, width: int) -> None:
    """The half-pixel convention, for enlarged, middle-sized and large pictures."""
    height = width * 5 // 8
    v, u = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    centres = np.array([[width * (i + 0.5) / 6, height * (j + 0.5) / 4] for i in range(6) for j in range(4)])
    centres += rng.uniform(-0.5, 0.5, centres.shape)
    picture = np.full((height, width), 40.0)
    for x, y in array_from_pixel(centres):
        picture += 180 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 6.0**2))
    (tmp_path / "proxy").mkdir()
    cv2.imwrite(str(tmp_path / "proxy" / "000001.png"), np.round(picture).astype(np.uint8))
    job = Job(str(tmp_path / "proxy"), ["000001.png"], None, width, height, str(tmp_path), "SIMPLE_RADIAL", None, 0)
    images, ratio = features.pictures(job)
    features.extract_features(job, tmp_path / "database.db", images, ratio)
    with pycolmap.Database.open(tmp_path / "database.db") as data:
        found = data.read_keypoints(1)[:, :2] / ratio
    nearest = [found[np.linalg.norm(found - centre, axis=1).argmin()] - centre for centre in centres]
    assert np.abs(nearest).max() < 0.12
    assert np.abs(np.mean(nearest, axis=0)).max() < 0.03


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the real footage is not here")
def test_real_walk_past_a_table(tmp_path: Path) -> None:
    clip = DATA / "hololens_table"
    truth = json.loads((clip / "truth.json").read_text())
    footage = probe(clip / "frames")
    prepare(footage, tmp_path, Silent())
    track = solve(footage, tmp_path / "proxy", None, tmp_path / "poses", LensRequest(), 0, Silent())
    assert track.frames() == [f["number"] for f in truth["frames"]]
    assert track.lens.fx == pytest.approx(truth["lens"]["fx"], rel=0.03)
    _, percent = against(track, {f["number"]: np.array(f["world_from_camera"]) for f in truth["frames"]})
    assert percent < 1.0
