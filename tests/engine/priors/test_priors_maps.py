"""Depth maps that the user brings: every way of storing them, and the way to the undistorted half grid."""

from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import torch

from engine.errors import PriorError
from engine.files import write_exr
from engine.geometry.arrays import Lens, normalised_from_pixel, pixel_centres
from engine.priors import choose_prior, solve_prior
from engine.priors.maps import read_map, to_half_grid
from engine.progress import Silent
from engine.request import PriorRequest
from tests.engine.depth.scene import plane_clip, plane_depth

CPU = torch.device("cpu")


def load_prior(folder, number):
    return np.load(folder / "depth" / f"{number:06d}.npy", allow_pickle=False)


def brought(path, kind="depth"):
    return choose_prior(PriorRequest(kind="maps", path=str(path), maps=kind))


def plate_of(clip, width=384, height=288, k1=0.06):
    """A distorted plate whose undistorted, resized form is the clip's work grid."""
    lens = clip.lens.scaled(width, height)
    return Lens("SIMPLE_RADIAL", width, height, lens.fx, lens.fy, lens.cx, lens.cy, k1=k1)


def plane_on(plate, pose):
    """True depth (H, W) of the plane on the distorted plate."""
    x, y = np.moveaxis(normalised_from_pixel(plate, pixel_centres(plate.height, plate.width)), -1, 0)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ pose[:3, :3].T
    normal = np.array([0.15, 0.25, 1.0])
    return (4.0 - normal @ pose[:3, 3]) / (rays @ normal)


def half_truth(clip, row):
    return plane_depth(clip.lens.scaled(64, 48), clip.world_from_camera[row])


def exr(path, channels, **header):
    with OpenEXR.File({"type": OpenEXR.scanlineimage, **header}, channels) as file:
        file.write(str(path))


@pytest.mark.parametrize("k1", [0.0, 0.06, -0.12])
def test_maps_of_a_distorted_plate_come_out_as_the_true_depth(tmp_path: Path, k1) -> None:
    clip, _ = plane_clip(3, numbers=[1001, 1002, 1005])
    plate = plate_of(clip, k1=k1)
    for row, number in enumerate(clip.numbers):
        write_exr(tmp_path / f"z.{number}.exr", plane_on(plate, clip.world_from_camera[row]).astype(np.float32) * 100)
    source = brought(tmp_path)
    assert (source.name, source.output, source.metric) == ("depth maps z.####.exr", "units", False)
    solve_prior(clip, plate, source, tmp_path / "out", CPU, Silent())
    for row, number in enumerate(clip.numbers):
        error = np.abs(load_prior(tmp_path / "out", int(number)) / half_truth(clip, row) - 1)
        if k1 > 0:  # a barrel's corners see beyond the plate
            assert (error < 1e-3).mean() > 0.9
        assert np.median(error) < 1e-4
        assert error[4:-4, 4:-4].max() < 1e-3


def test_disparity_in_8_and_16_bits(tmp_path: Path) -> None:
    clip, _ = plane_clip(2)
    plate = plate_of(clip)
    for bits, kind in ((255, np.uint8), (65535, np.uint16)):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        for row, number in enumerate(clip.numbers):
            disparity = 1 / plane_on(plate, clip.world_from_camera[row])
            span = (disparity - disparity.min() * 0.9) / (disparity.max() - disparity.min() * 0.9)
            cv2.imwrite(str(folder / f"d{number}.png"), (span * bits).astype(kind))
        solve_prior(clip, plate, brought(folder / "d101.png", "disparity"), tmp_path / f"out{bits}", CPU, Silent())
        error = np.abs(load_prior(tmp_path / f"out{bits}", 101) / half_truth(clip, 0) - 1)[4:-4, 4:-4]
        assert error.max() < (0.02 if bits == 255 else 2e-3)


def test_frames_without_a_map_hold_none(tmp_path: Path) -> None:
    clip, _ = plane_clip(3)
    plate = plate_of(clip)
    for row in (0, 2):
        write_exr(
            tmp_path / f"{clip.numbers[row]:04d}.exr", plane_on(plate, clip.world_from_camera[row]).astype(np.float32)
        )
    solve_prior(clip, plate, brought(tmp_path), tmp_path / "out", CPU, Silent())
    assert not load_prior(tmp_path / "out", 102).any()
    assert load_prior(tmp_path / "out", 103).any()


def test_holes_stay_holes_and_do_not_spoil_what_is_around_them() -> None:
    plate = Lens("SIMPLE_PINHOLE", 128, 96, 120.0, 120.0, 64.0, 48.0)
    values = np.full((96, 128), 5.0, np.float32)
    values[20:40, 30:50] = np.nan
    values[60, 60] = np.nan
    half = to_half_grid(values, plate, (48, 64), "map")
    assert np.isnan(half[10:20, 15:25]).all()
    assert np.isfinite(half).sum() == 48 * 64 - 100
    assert half[np.isfinite(half)] == pytest.approx(5.0)


@pytest.mark.parametrize("size", [(96, 128), (288, 384), (48, 64), (24, 32), (540, 720)])
def test_maps_of_any_size_land_on_the_same_pixels(size) -> None:
    plate = Lens("SIMPLE_PINHOLE", 1440, 1080, 1300.0, 1300.0, 720.0, 540.0)
    ramp = np.tile((np.arange(size[1]) + 0.5) / size[1], (size[0], 1)).astype(np.float32) + 1
    half = to_half_grid(ramp, plate, (48, 64), "map")
    inside = slice(2, -2)
    assert np.abs(half - ((np.arange(64) + 0.5) / 64 + 1))[inside, inside].max() < 1e-4


@pytest.mark.parametrize("size", [(96, 100), (128, 96), (90, 128)])
def test_another_shape_than_the_plates_is_refused(size) -> None:
    plate = Lens("SIMPLE_PINHOLE", 1440, 1080, 1300.0, 1300.0, 720.0, 540.0)
    with pytest.raises(PriorError, match="another shape") as failure:
        to_half_grid(np.ones(size, np.float32), plate, (48, 64), "map")
    assert failure.value.code == "prior.map_size"


def test_rounded_sizes_are_the_plates_shape() -> None:
    plate = Lens("SIMPLE_PINHOLE", 1920, 1080, 1300.0, 1300.0, 960.0, 540.0)
    for width in range(100, 900):
        to_half_grid(np.ones((2 * round(width * 9 / 32), width), np.float32), plate, (4, 8), "map")


DEPTH = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
OTHER = np.full((3, 4), 77.0, np.float32)


@pytest.mark.parametrize(
    "channels",
    [
        {"Y": DEPTH},
        {"Z": DEPTH},
        {"whatever": DEPTH},
        {"R": DEPTH, "G": OTHER, "B": OTHER},
        {"R": OTHER, "G": OTHER, "B": OTHER, "A": OTHER, "Z": DEPTH},
        {"ViewLayer.Combined.R": OTHER, "ViewLayer.Combined.A": OTHER, "ViewLayer.Depth.Z": DEPTH},
        {"ViewLayer.Combined.R": OTHER, "ViewLayer.Combined.A": OTHER, "ViewLayer.Depth.V": DEPTH},
    ],
)
def test_the_channel_that_holds_depth(tmp_path: Path, channels) -> None:
    exr(tmp_path / "a1.exr", channels)
    assert (read_map(tmp_path / "a1.exr") == DEPTH).all()


def test_what_renderers_write_for_nothing_is_none(tmp_path: Path) -> None:
    stored = np.array([[1.0, np.inf, np.nan], [0.0, -2.0, 1e10]], np.float32)
    exr(tmp_path / "a1.exr", {"Z": stored})
    assert np.isfinite(read_map(tmp_path / "a1.exr")).tolist() == [[True, False, False], [False, False, False]]


def test_outside_of_the_data_window_there_is_nothing(tmp_path: Path) -> None:
    exr(tmp_path / "a1.exr", {"Z": DEPTH}, dataWindow=((1, 2), (4, 4)), displayWindow=((0, 0), (5, 5)))
    values = read_map(tmp_path / "a1.exr")
    assert values.shape == (6, 6)
    assert (values[2:5, 1:5] == DEPTH).all()
    assert np.isfinite(values).sum() == 12


def test_colour_pictures_and_damaged_files_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a1.png"), np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8))
    (tmp_path / "a2.exr").write_bytes(b"no picture")
    exr(tmp_path / "a3.exr", {"N.u": DEPTH, "N.w": DEPTH})
    for name in ("a1.png", "a2.exr", "a3.exr"):
        with pytest.raises(PriorError) as failure:
            read_map(tmp_path / name)
        assert failure.value.code == "prior.bad_map"


def code_of(path):
    with pytest.raises(PriorError) as failure:
        brought(path)
    return failure.value.code


def test_where_there_are_no_maps(tmp_path: Path) -> None:
    assert code_of(tmp_path / "nothing") == "prior.not_found"
    assert code_of(tmp_path) == "prior.no_maps"
    (tmp_path / "depth.jpg").touch()
    assert code_of(tmp_path / "depth.jpg") == "prior.no_maps"
    for name in ("a1.png", "a2.png", "b1.png", "b2.png"):
        (tmp_path / name).touch()
    assert code_of(tmp_path) == "prior.no_maps"  # two sequences


def test_maps_of_other_frames(tmp_path: Path) -> None:
    clip, _ = plane_clip(3)
    write_exr(tmp_path / "z.0007.exr", DEPTH)
    write_exr(tmp_path / "z.0008.exr", DEPTH)
    with pytest.raises(PriorError, match="numbered 7 to 8, the frames 101 to 103") as failure:
        solve_prior(clip, plate_of(clip), brought(tmp_path), tmp_path / "out", CPU, Silent())
    assert failure.value.code == "prior.no_maps"


def test_another_map_or_another_meaning_is_another_identity(tmp_path: Path) -> None:
    write_exr(tmp_path / "z1.exr", DEPTH)
    first = brought(tmp_path).identity
    assert brought(tmp_path, "disparity").identity != first
    write_exr(tmp_path / "z1.exr", DEPTH + 1)
    assert brought(tmp_path).identity != first
