"""Cameras and followed points from files: exact conversions, and words about what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pycolmap
import pytest

from engine.cameras.chan import read_chan
from engine.cameras.colmap import read_colmap
from engine.cameras.document import FollowedPoints, GivenCamera, named_lens
from engine.cameras.knowledge import LensKnowledge
from engine.errors import CameraError
from engine.poses import place_worker as worker
from engine.poses.place import _other_readings, content_of
from engine.request import CameraRequest

W, H = 1920, 1080


def chan(tmp_path: Path, text: str, **options: Any) -> GivenCamera:
    path = tmp_path / "camera.chan"
    path.write_text(text)
    settings: dict[str, Any] = {
        "known": LensKnowledge(),
        "film_back_mm": None,
        "rotation_order": "ZXY",
        "metric": False,
    } | options
    return read_chan(path, W, H, **settings)


def test_chan_camera_looks_along_minus_z_in_a_y_up_world(tmp_path: Path) -> None:
    camera = chan(tmp_path, "1001 1 2 3 0 0 0 60\n1002 1 2 3 0 90 0 60\n\n1003 1 2 3 90 0 0 60\n")
    poses = camera.world_from_camera
    # y up, z towards the viewer becomes z up, y ahead.
    assert poses[1001][:3, 3] == pytest.approx([1, -3, 2])
    assert poses[1001][:3, 2] == pytest.approx([0, 1, 0])
    assert -poses[1001][:3, 1] == pytest.approx([0, 0, 1])
    assert poses[1002][:3, 2] == pytest.approx([-1, 0, 0])  # a turn to the left
    assert poses[1003][:3, 2] == pytest.approx([0, 0, 1])  # tilted up
    assert camera.lens.fx == camera.lens.fy == pytest.approx(H / 2 / np.tan(np.radians(30)))
    assert (camera.lens.cx, camera.lens.cy) == (W / 2, H / 2)


def test_chan_rotation_order_is_the_order_of_turning(tmp_path: Path) -> None:
    line = "1 0 0 0 20 30 40 50"
    # Nuke's default: rolled first, then tilted, then panned, so that the camera looks where pan and tilt say.
    ahead = chan(tmp_path, line).world_from_camera[1][:3, 2]
    pan, tilt = np.radians(30), np.radians(20)
    assert ahead == pytest.approx([-np.sin(pan) * np.cos(tilt), np.cos(pan) * np.cos(tilt), np.sin(tilt)])
    other = chan(tmp_path, line, rotation_order="XYZ").world_from_camera[1][:3, 2]
    assert np.abs(other - ahead).max() > 0.05


def test_chan_field_of_view_goes_by_the_film_back(tmp_path: Path) -> None:
    aperture = (24.0, 18.0)
    vfov = np.degrees(2 * np.arctan(aperture[1] / 2 / 35.0))
    camera = chan(tmp_path, f"1 0 0 0 0 0 0 {vfov}", film_back_mm=aperture)
    assert camera.lens.fx == pytest.approx(35.0 / 24.0 * W)
    assert chan(tmp_path, "1 0 0 0 0 0 0", known=LensKnowledge(focal_px=1234.0)).lens.fx == 1234.0


def test_chan_of_a_squeezed_plate(tmp_path: Path) -> None:
    """Nuke's field of view is that of the picture with square pixels: here half as high."""
    known = LensKnowledge(pixel_aspect=2.0, principal_px=(900.0, 500.0))
    lens = chan(tmp_path, "1 0 0 0 0 0 0 40", known=known).lens
    assert (lens.model, lens.cx, lens.cy) == ("PINHOLE", 900.0, 500.0)
    assert lens.fx == pytest.approx(H / 2 / 2 / np.tan(np.radians(20)))
    assert lens.fy == pytest.approx(2 * lens.fx)
    assert 2 * np.degrees(np.arctan(H / 2 / lens.fy)) == pytest.approx(40)


def test_chan_that_zooms_has_a_focal_length_for_every_frame(tmp_path: Path) -> None:
    text = "7 0 0 0 0 0 0 50\n8 0 0 0 0 0 0 40\n9 0 0 0 0 0 0 30\n"
    camera = chan(tmp_path, text)
    wanted = {n: H / 2 / np.tan(np.radians(vfov / 2)) for n, vfov in ((7, 50), (8, 40), (9, 30))}
    assert camera.focals == pytest.approx(wanted)
    assert camera.lens.fx == pytest.approx(wanted[8])
    assert camera.lens_at(9).fx == camera.lens_at(9).fy == pytest.approx(wanted[9])
    assert chan(tmp_path, text, known=LensKnowledge(focal_px=1000.0)).focals == {}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "camera.chan"),
        ("1 2 3", "camera.chan"),
        ("1 0 0 0 0 0 zero 50", "camera.chan"),
        ("1.5 0 0 0 0 0 0 50", "camera.chan"),
        ("1 0 0 0 nan 0 0 50", "camera.chan"),
        ("1 0 0 0 0 0 0 50\n1 0 0 0 0 0 0 50", "camera.chan"),
        ("1 0 0 0 0 0 0", "camera.no_lens"),
        ("1 0 0 0 0 0 0 50 1", "camera.chan"),
        ("1 0 0 0 0 0 0 180", "camera.chan"),
        ("1 0 0 0 0 0 0 0", "camera.chan"),
        ("1 1e300 0 0 0 0 0 50", "camera.chan"),
        ("1 0 0 0 0 0 0 1e-300", "camera.lens"),
        ("1 0 0 0 0 0 0 50\n2 0 0 0 0 0 0 1e-9", "camera.lens"),
        ("1 -0,35 1,43 0,33 -10,8 -6,5 0,07 37,3", "camera.chan"),
        ("1 -0,35 1,43 0 0 0 0", "camera.chan"),
        ("1 12,345 0 0 0 0 0", "camera.chan"),
    ],
)
def test_what_is_wrong_with_a_chan_is_said(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(CameraError) as error:
        chan(tmp_path, text)
    assert error.value.code == code


def test_a_decimal_comma_is_told_by_its_line_and_other_commas_separate(tmp_path: Path) -> None:
    with pytest.raises(CameraError) as error:
        chan(tmp_path, "1 0 0 0 0 0 0 50\n# seconds\n2 0 0 0 -10,83 0 0 50\n")
    assert "Line 3" in error.value.why and "-10,83" in error.value.why
    for text in ("1,0.5,2,3,0,0,0,60", "1, 0.5, 2, 3, 0, 0, 0, 60", "1\t0.5 2 , 3 0 0 0 60\r\n"):
        assert chan(tmp_path, text).world_from_camera[1][:3, 3] == pytest.approx([0.5, -3, 2])


def test_what_is_no_camera_says_what_is(tmp_path: Path) -> None:
    """Such as Nuke's own script."""
    path = tmp_path / "camera.nk"
    path.write_text("Camera2 {\n inputs 0\n translate {{curve x1 -0.35 x2 -0.34}}\n}\n")
    for read in (lambda: chan(tmp_path, path.read_text()), lambda: GivenCamera.load(path)):
        with pytest.raises(CameraError) as error:
            read()
        assert all(word in error.value.fix for word in (".chan", "COLMAP", "JSON"))


def some_camera() -> GivenCamera:
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[:3, 3] = 3, 4, 5
    lens = named_lens(960, 540, fx=800.0, fy=800.0, cx=470.0, cy=280.0, k1=-0.1, k2=0.0, p1=0.0, p2=0.0)
    return GivenCamera(lens, {7: pose, 9: np.eye(4)}, True)


def test_a_camera_document_survives_and_fits_a_larger_plate(tmp_path: Path) -> None:
    some_camera().save(tmp_path / "camera.json")
    read = GivenCamera.load(tmp_path / "camera.json")
    assert read.lens == some_camera().lens
    assert read.lens.model == "SIMPLE_RADIAL"
    assert read.metric
    assert list(read.world_from_camera) == [7, 9]
    assert np.array_equal(read.world_from_camera[7], some_camera().world_from_camera[7])
    lens = read.on_plate(1920, 1080).lens
    assert (lens.width, lens.fx, lens.cx, lens.cy, lens.k1) == (1920, 1600.0, 940.0, 560.0, -0.1)
    with pytest.raises(CameraError, match="1440x1080"):
        read.on_plate(1440, 1080)


def test_a_camera_document_of_a_zoom_survives_and_fits_a_larger_plate(tmp_path: Path) -> None:
    zoom = replace(some_camera(), focals={7: 800.0, 9: 1000.0})
    zoom.save(tmp_path / "camera.json")
    read = GivenCamera.load(tmp_path / "camera.json")
    assert read.focals == zoom.focals
    assert read.lens.fx == read.lens.fy == 900.0
    larger = read.on_plate(1920, 1080)
    assert (larger.focals, larger.lens.fx) == ({7: 1600.0, 9: 2000.0}, 1800.0)
    assert (larger.lens_at(9).fx, larger.lens_at(9).fy, larger.lens_at(9).k1) == (2000.0, 2000.0, -0.1)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda d: d.update(schema="cvd.camera/2"), "camera.invalid"),
        (lambda d: d.pop("lens"), "camera.invalid"),
        (lambda d: d["lens"].update(fx=0), "camera.invalid"),
        (lambda d: d["frames"][1].update(frame=7), "camera.twice"),
        (lambda d: d["frames"][0]["world_from_camera"][0].__setitem__(2, 2.0), "camera.pose"),
        (lambda d: d["frames"][0]["world_from_camera"][0].__setitem__(2, -1.0), "camera.pose"),
        (lambda d: d["frames"][0]["world_from_camera"][0].__setitem__(3, 1e300), "camera.pose"),
        (lambda d: d["frames"][0]["world_from_camera"][0].__setitem__(0, float("nan")), "camera.unreadable"),
        (lambda d: d["frames"][0].update(frame=1e300), "camera.invalid"),
        (lambda d: d["frames"][0].update(focal_px=1e-300), "camera.lens"),
        (lambda d: d["lens"].update(fx=float("nan")), "camera.unreadable"),
        (lambda d: d["lens"].update(fx=1e-300, fy=1e-300), "camera.lens"),
        (lambda d: d["lens"].update(fy=1e300), "camera.lens"),
        (lambda d: d["lens"].update(cx=1e300), "camera.lens"),
        (lambda d: d["lens"].update(k1=1e9), "camera.lens"),
        (lambda d: d.update(width=10**12), "camera.invalid"),
    ],
)
def test_a_damaged_camera_document_is_refused(tmp_path: Path, damage: Callable[[Any], object], code: str) -> None:
    path = tmp_path / "camera.json"
    some_camera().save(path)
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(CameraError) as error:
        GivenCamera.load(path)
    assert error.value.code == code


DEEP = b"[" * 100_000
NESTED = b'{"schema": ' + b"[" * 500 + b"]" * 500 + b"}"
HUGE = b'{"width": 1' + b"0" * 5000 + b"}"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b'"cvd.camera/1"', DEEP, NESTED, HUGE, b'{"width": 1e999}']
)
def test_anything_else_is_no_camera(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "camera.json").write_bytes(content)
    with pytest.raises(CameraError):
        GivenCamera.load(tmp_path / "camera.json")
    with pytest.raises(CameraError) as error:
        GivenCamera.load(tmp_path / "none.json")
    assert error.value.code == "camera.unreadable"


def test_followed_points_are_read_and_met_once_a_frame(tmp_path: Path) -> None:
    tracks: list[dict[str, Any]] = [
        {"name": "A", "markers": [[1, 10.5, 20.25], [2, 11, 20]]},
        {"name": "B", "markers": [[2, 5, 6]]},
    ]
    document = {"schema": "cvd.tracks/1", "width": W, "height": H, "tracks": tracks}
    path = tmp_path / "tracks.json"
    path.write_text(json.dumps(document))
    points = FollowedPoints.load(path)
    assert points.size == (W, H)
    assert points.track.tolist() == [0, 0, 1]
    assert points.frame.tolist() == [1, 2, 2]
    assert points.pixel.tolist() == [[10.5, 20.25], [11, 20], [5, 6]]
    tracks[1]["markers"].append([2, 7, 8])
    path.write_text(json.dumps(document))
    with pytest.raises(CameraError, match="two places"):
        FollowedPoints.load(path)


def model(folder: Path, names: list[str], text: bool, cameras: dict[int, tuple[str, list[float]]]) -> Path:
    """A COLMAP model: picture i stands at x = i and looks along z."""
    made = pycolmap.Reconstruction()
    for key, (name, params) in cameras.items():
        made.add_camera_with_trivial_rig(pycolmap.Camera(camera_id=key, model=name, width=W, height=H, params=params))
    for index, name in enumerate(names):
        image = pycolmap.Image(name=name, camera_id=1 + index % len(cameras), image_id=index + 1)
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(), np.array([-float(index), 0.0, 0.0]))
        made.add_image_with_trivial_frame(image, pose)
    folder.mkdir(parents=True)
    made.write_text(folder) if text else made.write_binary(folder)
    return folder


ONE = {1: ("OPENCV", [1500.0, 1500.0, 950.0, 530.0, 0.05, -0.01, 0.001, 0.0])}


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("below", ["", "sparse/0"])
def test_colmap_models_are_read_by_the_names_of_their_pictures(tmp_path: Path, text: bool, below: str) -> None:
    model(tmp_path / "m" / below, ["cam/b_20.png", "cam/a_10.png", "cam/c_99.png"], text, ONE)
    camera = read_colmap(tmp_path / "m", {"a_10.png": 5, "b_20.png": 6}, [], [5, 6, 99], True)
    assert {n: pose[0, 3] for n, pose in camera.world_from_camera.items()} == {5: 1.0, 6: 0.0}
    lens = camera.lens
    assert (lens.model, lens.fx, lens.cx, lens.k1, lens.k2, lens.p1) == ("OPENCV", 1500.0, 950.0, 0.05, -0.01, 0.001)


def test_colmap_pictures_of_other_names_go_by_their_last_number(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", ["take2_frame0007.jpg", "take2_frame0008.jpg"], False, ONE)
    camera = read_colmap(folder, {"plate_0007.exr": 7, "plate_0008.exr": 8}, [], [7, 8], False)
    assert sorted(camera.world_from_camera) == [7, 8]
    with pytest.raises(CameraError) as error:
        read_colmap(folder, {}, [], [100, 101], False)
    assert error.value.code == "camera.frames"


@pytest.mark.parametrize(
    ("names", "cameras", "code"),
    [
        (["a_1.png", "b_1.png"], ONE, "camera.twice"),
        (["1.png"], {1: ("OPENCV_FISHEYE", [900.0, 900.0, 960.0, 540.0, 0, 0, 0, 0])}, "camera.lens_model"),
        (
            ["1.png", "2.png"],
            {k: ("SIMPLE_PINHOLE", [f, cx, 540.0]) for k, f, cx in ((1, 900.0, 960.0), (2, 1200.0, 900.0))},
            "camera.several_lenses",
        ),
        (
            ["1.png", "2.png"],
            {k: ("SIMPLE_RADIAL", [900.0, 960.0, 540.0, k1]) for k, k1 in ((1, 0.1), (2, -0.1))},
            "camera.several_lenses",
        ),
    ],
)
def test_colmap_models_that_cannot_be_used_say_why(
    tmp_path: Path, names: list[str], cameras: dict[int, tuple[str, list[float]]], code: str
) -> None:
    folder = model(tmp_path / "m", names, False, cameras)
    with pytest.raises(CameraError) as error:
        read_colmap(folder, {}, [], [1, 2], False)
    assert error.value.code == code


def test_colmap_models_that_zoom_have_a_focal_length_for_every_frame(tmp_path: Path) -> None:
    cameras = {k: ("PINHOLE", [f, 1.1 * f, 960.0, 540.0]) for k, f in ((1, 900.0), (2, 1000.0), (3, 1200.0))}
    camera = read_colmap(model(tmp_path / "m", ["5.png", "6.png", "7.png"], False, cameras), {}, [], [5, 6, 7], False)
    assert camera.focals == {5: 900.0, 6: 1000.0, 7: 1200.0}
    assert (camera.lens.fx, camera.lens.fy) == (1000.0, 1100.0)
    assert camera.lens_at(7).fy == pytest.approx(1320.0)


def test_the_eyes_of_a_rig_are_never_taken_for_one_another(tmp_path: Path) -> None:
    names = ["left/f_1.png", "left/f_2.png", "right/f_1.png", "right/f_2.png"]
    folder = model(tmp_path / "m", names, False, ONE)
    for plate in ({}, {"f_1.png": 1, "f_2.png": 2}):
        with pytest.raises(CameraError) as error:
            read_colmap(folder, plate, ["shot010"], [1, 2], False)
        assert error.value.code == "camera.twice"
        assert "left/f_1.png" in error.value.why and "right/f_1.png" in error.value.why
        right = read_colmap(folder, plate, ["right"], [1, 2], False)
        assert [pose[0, 3] for pose in right.world_from_camera.values()] == [2.0, 3.0]


def test_terms_of_a_lens_that_are_zero_are_no_other_lens(tmp_path: Path) -> None:
    none = [1500.0, 1500.0, 950.0, 530.0, 0.05, -0.01, 0.001, 0.0, 0.0, 0.0, 0.0, 0.0]
    lens = read_colmap(model(tmp_path / "m", ["1.png"], False, {1: ("FULL_OPENCV", none)}), {}, [], [1], False).lens
    assert (lens.model, lens.k1, lens.p1) == ("OPENCV", 0.05, 0.001)
    some = model(tmp_path / "n", ["1.png"], False, {1: ("FULL_OPENCV", [*none[:-1], 1e-3])})
    with pytest.raises(CameraError, match="FULL_OPENCV") as error:
        read_colmap(some, {}, [], [1], False)
    assert error.value.code == "camera.lens_model"


@pytest.mark.parametrize("text", [True, False])
def test_models_for_splats_have_no_points_of_colmaps(tmp_path: Path, text: bool) -> None:
    folder = model(tmp_path / "m", ["a b_1.png", "a b_2.png"], text, ONE)
    for name in ("points3D", "rigs", "frames"):
        (folder / f"{name}{'.txt' if text else '.bin'}").unlink()
    assert list(read_colmap(folder, {}, [], [1, 2], False).world_from_camera) == [1, 2]


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_a_model_that_is_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    path = model(tmp_path / "m", ["left_1.png", "left_2.png"], False, ONE) / name
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CameraError) as error:
            read_colmap(path.parent, {}, [], [1, 2], False)
        assert error.value.code == "camera.unreadable", length


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0, 1e-300, 1e300])
def test_a_model_without_a_possible_lens_is_refused(tmp_path: Path, value: float) -> None:
    folder = model(tmp_path / "m", ["1.png"], True, {1: ("SIMPLE_PINHOLE", [1500.0, 960.0, 540.0])})
    (folder / "cameras.txt").write_text(f"1 SIMPLE_PINHOLE {W} {H} {value} 960 540\n")
    with pytest.raises(CameraError) as error:
        read_colmap(folder, {}, [], [1], False)
    assert error.value.code == "camera.lens"


def test_damaged_colmap_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CameraError) as error:
        read_colmap(tmp_path, {}, [], [1], False)
    assert error.value.code == "camera.unreadable"
    folder = model(tmp_path / "m", ["1.png"], True, ONE)
    (folder / "cameras.txt").write_text("1 NO_SUCH_MODEL 10 10 1\n")
    with pytest.raises(CameraError) as error:
        read_colmap(folder, {}, [], [1], False)
    assert error.value.code == "camera.unreadable"


def test_a_changed_file_changes_the_key(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", ["1.png"], True, ONE)
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    before = content_of(folder)
    assert content_of(copied) == before
    (folder / "images.txt").write_text((folder / "images.txt").read_text() + "\n")
    assert content_of(folder) != before
    project = tmp_path / "project"
    model(project / "sparse" / "0", ["1.png"], True, ONE)
    before = content_of(project)
    (project / "sparse" / "0" / "images.txt").write_text("# other\n")
    assert content_of(project) != before, "the model of a project lies below its folder"


def judged(errors: dict[str, float], frames: int = 4) -> list[str]:
    """What is said of a camera of `frames` frames from 1 on that has other readings with some errors, in pixels."""
    eye = {n: np.eye(4) for n in range(1, frames + 1)}
    given = GivenCamera(SQUARE, eye, False)
    others, error_of = {}, {0.0: errors["as it stands"]}
    for number, (words, error) in enumerate(errors.items()):
        moved = np.eye(4)
        moved[0, 3] = -float(number)
        others[words] = GivenCamera(SQUARE, dict.fromkeys(eye, moved), False)
        error_of[float(number)] = error
    params = [900.0, 900.0, 500.0, 500.0, 0.0, 0.0, 0.0, 0.0]
    lens = pycolmap.Camera(camera_id=1, model="OPENCV", width=1000, height=1000, params=params)
    views = {n: worker._View(lens, np.eye(4)[:3]) for n in eye}
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(worker, "say", lambda kind, value: said.append(f"{kind}: {value}"))
        names = {f"{n}.png": n for n in eye}
        worker._tell_better(
            views, names, given, others, errors["as it stands"] / 1000.0,
            lambda some: error_of[round(next(iter(some.values())).camera_from_world[0, 3])],
        )  # fmt: skip
    return said


SQUARE = named_lens(1000, 1000, fx=900.0, fy=900.0, cx=500.0, cy=500.0, k1=0.0, k2=0.0, p1=0.0, p2=0.0)


def test_a_reading_that_fits_much_better_is_told_with_the_figures() -> None:
    with pytest.raises(CameraError, match=r"0\.93 px in the median, and of 0\.20 px with rotation order YXZ") as error:
        judged({"as it stands": 0.93, "rotation order XYZ": 0.8, "rotation order YXZ": 0.2})
    assert error.value.code == "camera.misread"
    assert "rotation order" in error.value.fix
    (said,) = judged({"as it stands": 0.9, "rotation order YXZ": 0.6})
    assert said.startswith("warning: The given camera may be") and "0.60 px" in said
    assert judged({"as it stands": 0.9, "rotation order YXZ": 0.85}) == [], "a little better tells nothing"
    assert judged({"as it stands": 0.4, "rotation order YXZ": 0.1}) == [], "it fits as a right one does"


def test_a_chan_is_also_read_by_other_conventions(tmp_path: Path) -> None:
    path = tmp_path / "a.chan"
    path.write_text("1 0 0 0 10 20 30 40\n2 1 0 0 10 20 30 40\n")
    footage = Mock(width=W, height=H)
    readings = dict(_other_readings(CameraRequest("chan", path), footage, LensKnowledge()))
    assert {f"rotation order {order}" for order in ("XYZ", "XZY", "YXZ", "YZX", "ZYX")} < readings.keys()
    horizontal = readings["a vertical instead of its horizontal field of view"].lens.fx
    assert horizontal == pytest.approx(W / 2 / np.tan(np.radians(20)))
    nuke = readings["Nuke's default film back, 24.576 x 18.672 mm"].lens.fx
    assert nuke == pytest.approx(horizontal * 18.672 / 24.576)
    known = dict(_other_readings(CameraRequest("chan", path), footage, LensKnowledge(focal_px=900.0)))
    assert len(known) == 5, "what is known of the lens goes before the file"
