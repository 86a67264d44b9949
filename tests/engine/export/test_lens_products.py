"""ST-maps and the undistorted plate, against OpenCV's own undistortion and against each other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest

from engine.cli import main
from engine.errors import FootageError, WorkspaceError
from engine.export.lens import pinhole, undistorting_maps, write_lens_products
from engine.geometry.arrays import Lens, array_from_pixel, distort_map, pixel_centres
from tests import pictures

W, H = 240, 136
BARREL = Lens("OPENCV", W, H, 180.0, 184.0, 125.0, 64.0, -0.15, 0.03, 0.004, -0.003)
PINCUSHION = Lens("SIMPLE_RADIAL", W, H, 200.0, 200.0, 120.0, 68.0, 0.12)
NONE = Lens("SIMPLE_PINHOLE", W, H, 200.0, 200.0, 120.0, 68.0)


def solved(folder: Path, lens: Lens, pictures: dict[int, np.ndarray], focals: dict[int, float] | None = None) -> Path:
    """The parts of a solve folder that tell the lens and the plate."""
    plates = folder / "plates"
    plates.mkdir(parents=True)
    suffix = "exr" if next(iter(pictures.values())).dtype == np.float32 else "png"
    for number, picture in pictures.items():
        path = plates / f"plate_{number}.{suffix}"
        if suffix == "png":
            cv2.imwrite(str(path), picture[..., ::-1])
        else:
            with OpenEXR.File({}, {n: picture[..., k].copy() for k, n in enumerate("RGB")}) as file:
                file.write(str(path))
    first, last = min(pictures), max(pictures)
    parts = {n: v for n, v in asdict(lens).items() if n not in ("width", "height")}
    document = {
        "source": {
            "path": str(plates / f"plate_{first}.{suffix}"),
            "width": W,
            "height": H,
            "first": first,
            "last": last,
        },
        "lens": {**parts, "focal_varies": focals is not None},
        "frames": [{"frame": n, "registered": True, "focal_px": (focals or {}).get(n, lens.fx)} for n in pictures],
    }
    (folder / "solve.json").write_text(json.dumps(document))
    return folder


def channels(path: Path) -> dict[str, np.ndarray]:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.channels().items()}


def looks_at(path: Path, width: int, height: int) -> np.ndarray:
    """(h, w, 2) pixel coordinates from the top left that an ST-map looks at, by Nuke's rule."""
    read = channels(path)
    assert sorted(read) == ["G", "R"]
    assert read["R"].dtype == np.float32
    return np.stack([read["R"] * width, (1.0 - read["G"]) * height], axis=-1)


def gradient() -> np.ndarray:
    """Values tell where they are, and are not symmetric in any way."""
    y, x = np.mgrid[:H, :W]
    return np.stack([x, 255 * y / H, 128 + 100 * np.sin(x / 9.0 + y / 23.0)], -1).astype(np.uint8)


def bilinear(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values at array coordinates (M, 2): exact, where cv2.remap rounds to a 32nd of a pixel."""
    low = np.minimum(np.floor(at).astype(int), np.array(image.shape[1::-1]) - 2)
    s, t = (at - low).T[..., None]
    x, y = low.T
    top = image[y, x] * (1 - s) + image[y, x + 1] * s
    between: np.ndarray = top * (1 - t) + (image[y + 1, x] * (1 - s) + image[y + 1, x + 1] * s) * t
    return between


@pytest.mark.parametrize("lens", [BARREL, PINCUSHION, NONE])
@pytest.mark.parametrize("overscan", [0.0, 10.0])
def test_one_map_undoes_the_other(tmp_path: Path, lens: Lens, overscan: float) -> None:
    folder = solved(tmp_path, lens, {7: gradient()})
    undistort, redistort = write_lens_products(folder, True, False, overscan)
    border = round(W * overscan / 100)
    wide, tall = W + 2 * border, H + 2 * border
    into_plate = looks_at(undistort, W, H)
    into_flat = looks_at(redistort, wide, tall)
    assert into_plate.shape == (tall, wide, 2)
    assert into_flat.shape == (H, W, 2)
    # The plate, redistorted from the undistorted picture, looks at itself.
    at = array_from_pixel(into_flat)
    inside = (at >= 0).all(-1) & (at[..., 0] <= wide - 1) & (at[..., 1] <= tall - 1)
    off = np.abs(bilinear(into_plate, at[inside]) - pixel_centres(H, W)[inside])
    assert inside.mean() > 0.75
    assert off.max() < 0.01
    if lens is NONE and not overscan:
        assert into_plate == pytest.approx(pixel_centres(H, W), abs=1e-4)


@pytest.mark.parametrize("lens", [BARREL, PINCUSHION])
def test_maps_are_those_of_opencv(lens: Lens) -> None:
    # OpenCV's principal point is that of its own pixel coordinates, half a pixel less.
    matrix = lens.matrix() - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    theirs = cv2.initUndistortRectifyMap(matrix, lens.distortion(), None, matrix, (W, H), cv2.CV_32FC1)
    ours = undistorting_maps(lens, pinhole(lens, 0))
    assert np.abs(np.array(ours) - theirs).max() < 1e-3
    points = array_from_pixel(pixel_centres(H, W)[::7, ::9].reshape(-1, 1, 2))
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
    flat = cv2.undistortPointsIter(points, matrix, lens.distortion(), None, matrix, criteria).reshape(-1, 2)
    mine = np.stack(distort_map(lens, pinhole(lens, 0)), -1)[::7, ::9].reshape(-1, 2)
    assert np.abs(mine - flat).max() < 0.01


def test_the_plate_is_undistorted_as_opencv_does_it(tmp_path: Path) -> None:
    folder = solved(tmp_path, PINCUSHION, {1001: gradient(), 1002: gradient()[::-1].copy()})
    told = []
    written = write_lens_products(folder, False, True, tell=lambda *counts: told.append(counts))
    assert written == [folder / "undistorted"]
    assert sorted(p.name for p in written[0].iterdir()) == ["001001.png", "001002.png"]
    assert told == [(1, 2), (2, 2)]
    matrix = PINCUSHION.matrix() - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    theirs = cv2.undistort(gradient(), matrix, PINCUSHION.distortion())
    mine = pictures.read(written[0] / "001001.png")[..., ::-1]
    inner = np.s_[12:-12, 12:-12]
    assert np.abs(mine[inner].astype(int) - theirs[inner]).max() <= 3  # cubic against linear


def test_float_plates_keep_their_values(tmp_path: Path) -> None:
    bright = np.full((H, W, 3), [4.0, 0.25, 0.5], np.float32)
    folder = solved(tmp_path, BARREL, {3: bright})
    write_lens_products(folder, False, True)
    read = channels(folder / "undistorted" / "000003.exr")
    assert [float(read[name][H // 2, W // 2]) for name in "RGB"] == pytest.approx([4.0, 0.25, 0.5])


def test_an_unreadable_plate_frame_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    folder = solved(tmp_path, BARREL, {1: gradient(), 2: gradient(), 3: gradient()})
    (folder / "undistorted").mkdir()
    earlier = folder / "undistorted" / "000001.png"
    earlier.write_bytes(b"an earlier one")
    second = tmp_path / "plates" / "plate_2.png"
    second.write_bytes(second.read_bytes()[:1000])
    before = sorted(folder.rglob("*"))
    with pytest.raises(FootageError, match=r"Frame 2 \(plate_2\.png\) cannot be read") as error:
        write_lens_products(folder, True, True)
    assert error.value.code == "footage.unreadable_frame"
    assert sorted(folder.rglob("*")) == before
    assert earlier.read_bytes() == b"an earlier one"


def test_a_zoom_has_maps_for_each_frame(tmp_path: Path) -> None:
    folder = solved(tmp_path, PINCUSHION, {1: gradient(), 2: gradient()}, {1: 200.0, 2: 300.0})
    written = write_lens_products(folder, True, False)
    assert [p.name for p in written] == [f"{k}.{n:06d}.exr" for n in (1, 2) for k in ("undistort", "redistort")]
    wide, narrow = (looks_at(folder / "lens" / f"undistort.{n:06d}.exr", W, H) - pixel_centres(H, W) for n in (1, 2))
    assert np.abs(wide[0, 0]).max() > 1.5 * np.abs(narrow[0, 0]).max()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = solved(tmp_path / "shot.solve", BARREL, {1: gradient()})
    assert main(["lens-products", str(folder), "--st-maps", "--undistorted", "--overscan", "5"]) == 0
    said = capsys.readouterr().out
    assert "redistort.exr" in said and (folder / "undistorted" / "000001.png").is_file()
    assert main(["lens-products", str(folder)]) == 2
    assert main(["lens-products", str(tmp_path), "--st-maps"]) == 1
    with pytest.raises(WorkspaceError):
        write_lens_products(folder, True, False, 300.0)
