"""The export stage: plate-size depth, points, and a solve.json that follows its schema."""

import base64
import json
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
import torch

from engine import files, footage
from engine.clip.depth_map import DepthFrames
from engine.clip.pictures import Animation, colour_depth, video_writer
from engine.clip.plate_grid import PlateGrid, upsample_depth
from engine.clip.track import CameraTrack, SparsePoints
from engine.clip.work import WorkClip
from engine.depth.regions import GRID, Regions
from engine.evaluation.compare import evaluate
from engine.export.edges import EdgeSharpener
from engine.export.plots import ticks
from engine.export.ply import write_points
from engine.export.stage import Account, DepthResult, export
from engine.geometry.arrays import Lens, pixel_centres
from engine.progress import Silent
from engine.request import FootageRequest, Request
from engine.schemas import schema
from tests import pictures

PLATE = Lens("SIMPLE_RADIAL", 320, 192, 260.0, 260.0, 155.0, 100.0, k1=-0.05)
HOSTILE = "<script>alert('&')</script>"
WORK = PLATE.scaled(64, 32).undistorted()


def plane(lens):
    """Planar depth of a slanted plane whose disparity is linear on the ideal image."""
    pixels = pixel_centres(lens.height, lens.width)
    ray = (pixels - [lens.cx, lens.cy]) / [lens.fx, lens.fy]
    return (1.0 / (0.25 + 0.1 * ray[..., 0] - 0.05 * ray[..., 1])).astype(np.float32)


def test_a_plane_stays_a_plane_on_the_distorted_plate() -> None:
    grid = PlateGrid(PLATE, WORK)
    image = np.full((192, 320, 3), 0.5, np.float32)
    upsampled = upsample_depth(plane(WORK), image, grid)
    x, y = cv2.undistortPoints(
        pixel_centres(192, 320).reshape(-1, 1, 2), PLATE.matrix(), PLATE.distortion()
    ).reshape(192, 320, 2).transpose(2, 0, 1)  # fmt: skip
    truth = 1.0 / (0.25 + 0.1 * x - 0.05 * y)
    assert np.abs(upsampled / truth - 1.0)[8:-8, 8:-8].max() < 2e-3


def test_a_depth_edge_lands_on_the_plates_edge_and_no_depth_lies_between() -> None:
    lens = Lens("SIMPLE_PINHOLE", 320, 192, 260.0, 260.0, 160.0, 96.0)
    work = lens.scaled(80, 48)
    edge = 151  # not on a border of the work grid's pixels
    image = np.full((192, 320, 3), 0.2, np.float32)
    image[:, :edge] = 0.8
    depth = np.where(np.arange(80) < 38, 2.0, 8.0).astype(np.float32)[None].repeat(48, axis=0)
    upsampled = upsample_depth(depth, image, PlateGrid(lens, work))
    assert ((np.abs(upsampled - 2.0) < 0.01) | (np.abs(upsampled - 8.0) < 0.01)).all()
    found = (upsampled[5:-5] < 4.0).sum(axis=1)
    assert np.abs(found - edge).max() <= 1


def test_no_value_stays_no_value() -> None:
    depth = plane(WORK)
    depth[10:20, 10:30] = 0.0
    upsampled = upsample_depth(depth, np.full((192, 320, 3), 0.5, np.float32), PlateGrid(PLATE, WORK))
    assert (upsampled[80:100, 80:120] == 0.0).all()
    assert upsampled.min() >= 0.0
    assert np.isfinite(upsampled).all()


def test_upsampling_refuses_depth_of_another_grid() -> None:
    with pytest.raises(ValueError, match="work grid"):
        upsample_depth(np.ones((8, 8), np.float32), np.zeros((192, 320, 3), np.float32), PlateGrid(PLATE, WORK))


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_exr_round_trip_and_its_one_channel_is_y(tmp_path: Path, kind) -> None:
    import OpenEXR

    values = np.random.default_rng(0).uniform(0, 20, (33, 47)).astype(kind)
    files.write_exr(tmp_path / "a.exr", values)
    assert (files.read_exr(tmp_path / "a.exr") == values).all()
    with OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True) as file:
        assert list(file.channels()) == ["Y"]
        assert file.channels()["Y"].pixels.dtype == kind


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write_atomically(tmp_path / "a.txt", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_json_refuses_what_other_readers_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def some_points():
    return SparsePoints(
        xyz=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        rgb=np.array([[10, 20, 30], [40, 50, 60]], np.uint8),
        error_px=np.array([0.1, 0.2]),
        observation_frame=np.array([7, 8, 9, 7]),
        observation_point=np.array([0, 0, 0, 1]),
        observation_pixel=np.full((4, 2), 50.0),
    )


def test_ply(tmp_path: Path) -> None:
    write_points(tmp_path / "points.ply", some_points())
    header, _, body = (tmp_path / "points.ply").read_bytes().partition(b"end_header\n")
    assert b"element vertex 2" in header
    assert len(body) == 2 * 19
    first = np.frombuffer(body[:12], "<f4"), np.frombuffer(body[12:15], np.uint8), np.frombuffer(body[15:19], "<i4")
    assert [list(part) for part in first] == [[1.0, 2.0, 3.0], [10, 20, 30], [3]]


def test_near_is_bright_and_no_value_is_black() -> None:
    picture = colour_depth(np.array([[1.0, 10.0, 0.0]]), 1.0, 10.0).astype(int).sum(-1)
    assert picture[0, 0] > picture[0, 1] > picture[0, 2] == 0


def test_a_movie_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), video_writer(tmp_path / "a.mp4", 64, 48, Fraction(24)):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def regions(numbers):
    """Of a clip in which the right half of frame 1002 is doubtful, and something moves in frame 1005."""
    full = np.ones((len(numbers), *GRID))
    right, moving = 0.75 * full, 0.0 * full
    right[1, :, GRID[1] // 2 :] = 0.15
    moving[2, :2, :2] = 0.9
    return Regions(tuple(numbers), full * right, right, moving, np.full_like(full, np.nan), 0.01 * full).document()


@pytest.fixture
def solved(tmp_path: Path):
    """A small solve whose cameras and depth are exact, exported; with the truth folder beside it."""
    rng = np.random.default_rng(3)
    plates, truth_folder, result_folder = tmp_path / "plates", tmp_path / "truth", tmp_path / "result"
    for folder in (plates, truth_folder, *(result_folder / name for name in ("depth", "confidence", "measured"))):
        folder.mkdir(parents=True)
    lens = Lens("SIMPLE_PINHOLE", 128, 96, 110.0, 110.0, 64.0, 48.0)
    numbers, poses, truth_frames = [1001, 1002, 1004, 1005], {}, []
    for number in numbers:
        cv2.imwrite(str(plates / f"plate_{number}.png"), rng.integers(0, 255, (96, 128, 3), np.uint8))
        pose = np.eye(4)
        pose[:3, 3] = [0.1 * (number - 1001), 0.02 * (number % 3), 0.0]
        if number != 1004:
            poses[number] = pose
            np.save(result_folder / "depth" / f"{number:06d}.npy", np.full((96, 128), 3.0, np.float32))
            np.save(result_folder / "confidence" / f"{number:06d}.npy", np.full((96, 128), 0.75, np.float32))
            measured = np.ones((96, 128), bool)
            measured[:24] = False
            np.save(result_folder / "measured" / f"{number:06d}.npy", measured)
        cv2.imwrite(str(truth_folder / f"{number}.png"), np.full((96, 128), 6000, np.uint16))
        true_pose = pose.copy()
        true_pose[:3, 3] *= 2.0
        truth_frames.append(
            {"number": number, "world_from_camera": true_pose.tolist(), "depth": f"{number}.png", "mask": None}
        )
    (result_folder / "consistency.json").write_text(
        json.dumps(
            {"frames": {str(n): 0.5 for n in poses}, "distance": {"1": 0.25, "4": 0.5}, "regions": regions(poses)}
        )
    )
    (tmp_path / "scale.json").write_text(json.dumps({"scale": 1.0, "per_frame": {"1001": 1.01, "1005": 0.99}}))
    truth = {
        "name": "planes", "width": 128, "height": 96, "metric": True, "depth_to_unit": 0.001, "frames": truth_frames,
        "lens": {"fx": 110.0, "fy": 110.0, "cx": 64.0, "cy": 48.0},
    }  # fmt: skip
    (truth_folder / "truth.json").write_text(json.dumps(truth))
    clip = footage.probe(plates)
    track = CameraTrack(lens, False, 1.5, poses, {1004: "too blurred"}, dict.fromkeys(poses, 0.4), True, some_points())
    footage.prepare(clip, tmp_path, Silent())
    work = WorkClip.load(tmp_path / "proxy", track, 128, Silent())
    request = Request(FootageRequest(plates), tmp_path / "a.solve")
    (request.output / "cache").mkdir(parents=True)

    def run(key="k1", mattes=None):
        costs = {"export": {"wall_s": 1.0, "cpu_s": 1.0, "peak_memory_mb": 9.0}}
        account = Account("cpu", key, lambda: costs, [HOSTILE])
        result = DepthResult(DepthFrames(result_folder, lens, "clip"), "cvd", HOSTILE, HOSTILE, True, tmp_path)
        sharpener = EdgeSharpener(tmp_path / "proxy", lens, work, lambda frame: result.frames.load(frame).values)
        export(request.output, request, clip, track, sharpener, result, account, Silent(), mattes)
        return request.output

    run()
    return request.output, truth_folder, run


def test_solve_json_follows_its_schema_and_keeps_gaps_and_lost_frames(solved) -> None:
    folder = solved[0]
    document = json.loads((folder / "solve.json").read_text())
    jsonschema.validate(document, schema("solve-1"))
    listed = {frame["frame"]: frame for frame in document["frames"]}
    assert list(listed) == [1001, 1002, 1003, 1004, 1005]
    assert [f["registered"] for f in listed.values()] == [True, True, False, False, True]
    assert "no picture" in listed[1003]["reason"]
    assert listed[1004]["reason"] == "too blurred"
    assert listed[1005]["world_from_camera"][0][3] == pytest.approx(0.4), "a lost frame shifts no other pose"
    for frame in listed.values():
        assert (frame["depth"] is not None) == frame["registered"]
        assert frame["depth"] is None or files.read_exr(folder / frame["depth"]).shape == (96, 128)


def test_the_add_on_reads_what_the_engine_writes(solved) -> None:
    from cvd_blender_addon import solve_reader

    solve = solve_reader.read(solved[0])
    assert [frame.number for frame in solve.registered] == [1001, 1002, 1005]
    assert (solve.depth_width, solve.depth_height) == (128, 96)
    assert solve.source.path_number == 1001
    assert [point.track_length for point in solve_reader.read_points(solve.points_path)] == [3, 1]


def test_the_report_is_one_page_with_pictures_and_plots_and_no_links(solved) -> None:
    page = (solved[0] / "report.html").read_text()
    assert page.count("data:image/jpeg") == 3 * 4, "plate, depth, confidence and prior only of three frames"
    assert "data:image/webp" in page
    assert "http" not in page
    assert "<h1>a.solve</h1>" in page, "named after the solve folder, not after where it was made"
    assert "too blurred" in page
    for title in (
        "Depth against optical flow", "Depth against optical flow, by distance", "Depth that can be relied on",
        "Scale of the prior", "Reprojection of the sparse points", "Camera path from above",
    ):  # fmt: skip
        assert f"aria-label='{title}" in page, title
    assert "75% of the picture" in page, "as much was measured"


def test_the_report_shows_hostile_text_as_text(solved) -> None:
    page = (solved[0] / "report.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 3, "a warning, the prior's name and its licence"


def test_the_clip_in_the_report_is_an_animation_of_every_frame(solved) -> None:
    page = (solved[0] / "report.html").read_text()
    encoded = base64.b64decode(page.split("data:image/webp;base64,")[1].split("'")[0])
    read, animation = cv2.imdecodeanimation(np.frombuffer(encoded, np.uint8)[None])
    assert read
    assert len(animation.frames) == 3
    assert animation.frames[0].shape[:2] == (96, 256), "plate and depth beside each other"


def test_a_long_clip_becomes_a_short_animation_of_the_same_length() -> None:
    animation, rng = Animation(300, (24, 1)), np.random.default_rng(0)
    for rank in range(300):
        animation.add(rank, [rng.integers(0, 255, (16, 16, 3), np.uint8)])
    encoded = base64.b64decode(animation.data_uri().split(",")[1])
    _, read = cv2.imdecodeanimation(np.frombuffer(encoded, np.uint8)[None])
    assert len(read.frames) == 60
    assert sum(read.durations) == pytest.approx(1000 * 300 / 24, rel=0.01)


def test_the_side_by_side_movie_has_every_frame_and_three_panels(solved) -> None:
    movie = cv2.VideoCapture(str(solved[0] / "side_by_side.mp4"))
    frames = []
    while (read := movie.read())[0]:
        frames.append(read[1])
    assert [frame.shape for frame in frames] == [(96, 384, 3)] * 3
    assert abs(float(frames[0][:, -100:].mean()) - 0.75 * 255) < 3, "confidence is on the right"


def test_ticks_are_round_numbers_within_the_range() -> None:
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(1001.0, 1048.0) == pytest.approx([1010, 1020, 1030, 1040])
    assert ticks(-0.031, 0.024) == pytest.approx([-0.02, 0.0, 0.02])


def test_quality_says_what_was_measured_and_what_was_guessed(solved) -> None:
    document = json.loads((solved[0] / "solve.json").read_text())
    quality = document["quality"]
    assert quality["confident_share"] == 0.75
    assert quality["prior_only_share"] == 0.25
    assert quality["dynamic_share"] == 0.0
    assert quality["consistency_by_distance_px"] == {"1": 0.25, "4": 0.5}
    assert document["world"] == {"up": "estimated", "scale": "metric", "unit": "metre"}
    assert all(frame["dynamic"] is None for frame in document["frames"])
    assert document["frames"][0]["confident_share"] == 0.75
    written = cv2.imread(str(solved[0] / document["frames"][0]["measured"]), cv2.IMREAD_UNCHANGED)
    assert written is not None
    assert written.shape == (96, 128)
    assert (written[:24] == 0).all()
    assert (written[24:] == 255).all()
    assert document["frames"][3]["confident_share"] is None


def test_doubtful_frames_are_named_in_verdict_document_and_report(solved) -> None:
    document = json.loads((solved[0] / "solve.json").read_text())
    listed = {frame["frame"]: frame for frame in document["frames"]}
    assert document["quality"]["verdict"].startswith("Solved with warnings. ")
    assert "Depth is doubtful in frame 1002: right half, little was measured there." in document["quality"]["verdict"]
    assert document["quality"]["doubtful"] == [
        {"first": 1002, "last": 1002, "worst": 1002, "where": "right half", "reason": "measured"}
    ]
    (region,) = listed[1002]["doubtful"]
    assert region == {"where": "right half", "reason": "measured", "share": 0.5, "box": [0.5, 0.0, 1.0, 1.0]}
    assert [listed[n]["doubtful"] for n in (1001, 1003, 1004, 1005)] == [None] * 4
    assert [listed[n]["moving"] for n in (1001, 1002, 1003, 1005)] == [None, None, None, ["upper left"]]
    assert listed[1002]["expected_share"] == pytest.approx(0.45) and listed[1004]["expected_share"] is None
    page = (solved[0] / "report.html").read_text()
    first = page.index("<h3>Frame")
    assert page[first:].startswith("<h3>Frame 1002: doubtful: right half, little was measured there; 0.50 px")
    assert "class='doubtful'" in page and "expected to be right</text>" in page


def test_a_solve_without_regions_is_exported(solved) -> None:
    folder, _, run = solved
    path = folder.parent / "result" / "consistency.json"
    path.write_text(json.dumps({"frames": {}, "distance": {}}))
    run("k2")
    document = json.loads((folder / "solve.json").read_text())
    jsonschema.validate(document, schema("solve-1"))
    assert document["quality"]["doubtful"] == [] and document["quality"]["expected_share"] is None


def test_mattes_are_written_listed_counted_and_kept(solved, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, run = solved
    asked = []

    def mattes(frame, image):
        asked.append((frame, image.shape, float(image.max()) <= 1.0))
        if frame == 1002:
            return None
        matte = np.zeros((96, 128), np.uint8)
        matte[:48] = 255
        return matte

    run("k2", mattes)
    assert asked == [(frame, (96, 128, 3), True) for frame in (1001, 1002, 1005)]
    document = json.loads((folder / "solve.json").read_text())
    jsonschema.validate(document, schema("solve-1"))
    listed = {frame["frame"]: frame["dynamic"] for frame in document["frames"]}
    assert listed == {1001: "dynamic/001001.png", 1002: None, 1003: None, 1004: None, 1005: "dynamic/001005.png"}
    stored = pictures.read(folder / "dynamic" / "001001.png", cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint8
    assert stored.ndim == 2
    assert (stored[:48] == 255).all()
    assert (stored[48:] == 0).all()
    assert document["quality"]["dynamic_share"] == pytest.approx(0.5 * 2 / 3)
    assert "moves by itself" in document["quality"]["verdict"]
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr("engine.export.stage.report.write_report", interrupt)
        run("k3", mattes)
    asked.clear()
    run("k3", mattes)
    assert [frame for frame, _, _ in asked] == [1002], "what a killed export has written is kept"
    run("k3")
    assert not (folder / "dynamic").exists(), "another solve's mattes are gone"


def test_a_perfect_solve_scores_perfectly(solved) -> None:
    figures = evaluate(solved[0], solved[1])
    assert figures["registered"] == pytest.approx(0.75)
    assert figures["ate_pct"] < 1e-6
    assert figures["absrel"] < 1e-6
    assert figures["scale_gap_pct"] < 1e-4
    assert figures["matte_iou"] == 1.0


def test_the_projects_figures_are_the_scorers_figures(solved) -> None:
    scorer = Path(__file__).parents[4] / "shared" / "score" / "score.py"
    if not scorer.is_file():
        pytest.skip("../shared is absent")
    import importlib.util

    spec = importlib.util.spec_from_file_location("score", scorer)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Something to disagree about: one frame's depth is wrong.
    depth = files.read_exr(solved[0] / "depth" / "001002.exr")
    depth[:, :40] *= 1.4
    files.write_exr(solved[0] / "depth" / "001002.exr", depth)
    theirs, ours = module.score(*solved[:2]), evaluate(*solved[:2])
    shared = set(theirs) & set(ours)
    assert shared >= {"ate_pct", "rot_max_deg", "absrel", "d125", "reproj_px", "flicker_pct", "scale_gap_pct"}
    for name in shared:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5), name


def interrupt(*_):
    raise KeyboardInterrupt


def kill_at(monkeypatch, number):
    """The `number`-th rename from now on is the last thing that happens."""
    rename, left = Path.replace, [number]

    def last(self, target):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", last)


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_killed_export_keeps_the_earlier_result_whole_until_its_own_is_and_goes_on(
    solved, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, run = solved
    before = tree(folder)
    steps = 0
    while True:
        with monkeypatch.context() as killed:
            kill_at(killed, steps)
            try:
                run(f"k{steps + 2}")
                break
            except KeyboardInterrupt:
                pass
        now = {name: content for name, content in tree(folder).items() if not name.startswith("unfinished/")}
        assert now == before or (folder / "unfinished" / "solve.json").is_file(), "neither the old nor the new is whole"
        run(f"k{steps + 2}")
        assert json.loads((folder / "solve.json").read_text())["engine"]["solve_key"] == f"k{steps + 2}"
        before = tree(folder)
        assert not (folder / "unfinished").exists()
        steps += 1
    assert steps > 15, "every file that is written was a place to be killed at"


@pytest.mark.parametrize("removed", [[], ["key"], ["cleared"]])
def test_an_export_that_is_killed_while_it_tidies_up_is_done(solved, monkeypatch: pytest.MonkeyPatch, removed) -> None:
    folder, _, run = solved

    def killed(made):
        assert made == folder / "unfinished"
        for name in removed:
            (made / name).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("engine.export.stage._begin", lambda made, key: begin(made, key, patched, killed))
        run("k2")
    before = tree(folder)
    run("k2")
    assert json.loads((folder / "solve.json").read_text())["engine"]["solve_key"] == "k2"
    assert not (folder / "unfinished").exists()
    assert set(tree(folder)) == {name for name in before if not name.startswith("unfinished/")}
    run("k3")
    assert json.loads((folder / "solve.json").read_text())["engine"]["solve_key"] == "k3"


def begin(made, key, patched, killed):
    """The folder that a result is made in; from then on nothing is removed any more."""
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    (made / "key").write_text(key)
    real = shutil.rmtree
    patched.setattr(shutil, "rmtree", lambda path, **k: killed(path) if path == made else real(path, **k))
    return made


def test_a_killed_export_keeps_finished_frames_and_another_solve_takes_none_of_them(
    solved, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, run = solved
    marked = np.full((96, 128), 7.0, np.float32)
    for key, expected in (("k2", 7.0), ("k3", 3.0)):
        with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
            kill_at(killed, 5)
            run("k2")
        made = folder / "unfinished"
        finished = next(p.name for p in (made / "confidence").glob("*.exr") if (made / "depth" / p.name).is_file())
        files.write_exr(made / "depth" / finished, marked)
        run(key)
        assert np.allclose(files.read_exr(folder / "depth" / finished), expected)


def test_frames_side_by_side_come_out_as_one_after_the_other(solved) -> None:
    folder, _, run = solved
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            run(f"with {threads} threads")
            made = tree(folder)
            found.append({name: made[name] for name in made if name.endswith((".exr", ".mp4", ".html", ".ply"))})
    finally:
        torch.set_num_threads(before)
    assert len(found[0]) > 6
    assert found[0] == found[1]
