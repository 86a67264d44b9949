"""The same picture comes out the same whatever it was stored in."""

import struct
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest

from engine.footage import probe, read_frames
from engine.footage.movies import frame_rate

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A soft coloured picture, (H, W, 3) uint8 RGB; red, green and blue differ everywhere."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([4 * x % 256, 5 * y, 255 - 2 * x - y], axis=-1).clip(0, 255).astype(np.uint8)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    s = srgb.astype(np.float64) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4).astype(np.float32)


def write_dpx(path: Path, rgb: np.ndarray) -> None:
    header = bytearray(2048)
    header[:4], header[8:12] = b"SDPX", b"V1.0"
    struct.pack_into(">I", header, 4, 2048)
    struct.pack_into(">I", header, 16, 2048 + rgb.size)
    struct.pack_into(">HHII", header, 768, 0, 1, rgb.shape[1], rgb.shape[0])
    header[800], header[801], header[802], header[803] = 50, 2, 2, 8
    struct.pack_into(">I", header, 808, 2048)
    path.write_bytes(bytes(header) + rgb.tobytes())


def write(path: Path, rgb: np.ndarray, kind: str) -> None:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    linear = to_linear(rgb)
    exr = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    if kind == "alpha":
        cv2.imwrite(str(path), np.dstack([bgr, np.full(bgr.shape[:2], 7, np.uint8)]))
    elif kind == "16 bit":
        cv2.imwrite(str(path), bgr.astype(np.uint16) * 257)
    elif kind == "float":
        cv2.imwrite(str(path), linear[..., ::-1])
    elif kind == "half":
        OpenEXR.File(exr, {"RGB": linear.astype(np.float16)}).write(str(path))
    elif kind == "layer":
        channels = {f"ViewLayer.Combined.{c}": np.ascontiguousarray(linear[..., i]) for i, c in enumerate("RGB")}
        channels["ViewLayer.Depth.Z"] = np.zeros(rgb.shape[:2], np.float32)
        OpenEXR.File(exr, channels).write(str(path))
    elif kind == "dpx":
        write_dpx(path, rgb)
    else:
        parameters = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]}
        cv2.imwrite(str(path), bgr, parameters.get(path.suffix, [cv2.IMWRITE_WEBP_QUALITY, 101]))


@pytest.mark.parametrize(
    ("suffix", "kind", "tolerance"),
    [
        (".png", "8 bit", 0.01),
        (".png", "alpha", 0.01),
        (".png", "16 bit", 0.01),
        (".tif", "8 bit", 0.01),
        (".tiff", "16 bit", 0.01),
        (".tiff", "float", 0.01),
        (".bmp", "8 bit", 0.01),
        (".webp", "8 bit", 0.01),
        (".dpx", "dpx", 0.01),
        (".exr", "half", 0.5),
        (".exr", "layer", 0.01),
        (".jpg", "8 bit", 4.0),
    ],
)
def test_same_picture(tmp_path: Path, picture: np.ndarray, suffix: str, kind: str, tolerance: float) -> None:
    write(tmp_path / f"plate_0007{suffix}", picture, kind)
    footage = probe(tmp_path / f"plate_0007{suffix}")
    [(number, frame)] = read_frames(footage)
    assert number == 7
    assert frame.dtype == np.float32
    assert frame.shape == (HEIGHT, WIDTH, 3) == (footage.height, footage.width, 3)
    assert np.abs(frame * 255 - picture).max() <= tolerance
    assert footage.colourspace == ("linear" if kind in ("float", "half", "layer") else "srgb")


def test_grey_is_expanded(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    cv2.imwrite(str(tmp_path / "g_1.png"), grey)
    [(_, frame)] = read_frames(probe(tmp_path / "g_1.png"))
    assert np.array_equal(np.round(frame * 255), np.repeat(grey[..., None], 3, axis=2))


def test_exr_outside_its_display_window_is_cut(tmp_path: Path) -> None:
    data = np.full((10, 12, 3), 0.25, np.float32)
    data[2:8, 1:11] = 1.0
    header = {
        "type": OpenEXR.scanlineimage,
        "compression": OpenEXR.ZIP_COMPRESSION,
        "displayWindow": (np.array([0, 0], np.int32), np.array([9, 5], np.int32)),
        "dataWindow": (np.array([-1, -2], np.int32), np.array([10, 7], np.int32)),
    }
    OpenEXR.File(header, {"RGB": data}).write(str(tmp_path / "overscan_1.exr"))
    [(_, frame)] = read_frames(probe(tmp_path / "overscan_1.exr"))
    assert frame.shape == (6, 10, 3)
    assert frame.min() > 0.99


def test_colourspace_can_be_forced(tmp_path: Path, picture: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a_1.png"), np.ascontiguousarray(picture[..., ::-1]))
    [(_, encoded)] = read_frames(probe(tmp_path / "a_1.png", colourspace="linear"))
    x = picture / 255.0
    expected = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    assert np.abs(encoded - expected).max() < 1e-5


def test_linear_values_outside_the_display_range_are_clipped(tmp_path: Path) -> None:
    values = np.array([[[-1.0, 0.0, 50.0], [np.nan, np.inf, 1.0]]], np.float32)
    cv2.imwrite(str(tmp_path / "a_1.tiff"), values[..., ::-1])
    [(_, frame)] = read_frames(probe(tmp_path / "a_1.tiff"))
    assert np.allclose(frame, [[[0, 0, 1], [0, 1, 1]]], atol=1e-6)


def write_movie(path: Path, frames: list[np.ndarray], codec: str, fps: float) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (frames[0].shape[1], frames[0].shape[0]))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


def test_movie_gives_the_pictures_of_the_sequence_numbered_from_one(tmp_path: Path, picture: np.ndarray) -> None:
    frames = [np.roll(picture, 3 * i, axis=1) for i in range(6)]
    write_movie(tmp_path / "clip.mkv", frames, "FFV1", 30000 / 1001)
    footage = probe(tmp_path / "clip.mkv")
    assert footage.kind == "movie"
    assert footage.fps == (30000, 1001)
    assert footage.numbers == (1, 2, 3, 4, 5, 6)
    got = dict(read_frames(footage))
    for number, frame in zip(footage.numbers, frames, strict=True):
        assert np.abs(got[number] * 255 - frame).mean() < 2.0
        others = [np.abs(got[number] * 255 - f).mean() for f in frames if f is not frame]
        assert min(others) > 10.0


def test_movie_range_and_single_frames_keep_their_numbers(tmp_path: Path, picture: np.ndarray) -> None:
    frames = [np.full_like(picture, 20 * i) for i in range(1, 10)]
    write_movie(tmp_path / "clip.mkv", frames, "FFV1", 25)
    footage = probe(tmp_path / "clip.mkv", first=3, last=8, step=2)
    assert footage.numbers == (3, 5, 7)
    levels = {n: round(float(f.mean()) * 255 / 20) for n, f in read_frames(footage, [7, 3])}
    assert levels == {3: 3, 7: 7}


def test_rotated_movie_is_upright(tmp_path: Path) -> None:
    """A phone held upright stores landscape pictures and a rotation in the track header."""
    stored = np.zeros((48, 80, 3), np.uint8)
    stored[:, :20] = 255
    path = tmp_path / "phone.mp4"
    write_movie(path, [stored] * 4, "mp4v", 25)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    struct.pack_into(">9i", data, matrix, 0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(bytes(data))
    footage = probe(path)
    assert (footage.width, footage.height) == (48, 80)
    frame = next(read_frames(footage))[1]
    assert frame[:15].mean() > 0.9
    assert frame[25:].mean() < 0.1


@pytest.mark.parametrize(
    ("value", "fraction"),
    [
        (24.0, (24, 1)),
        (23.976023976023978, (24000, 1001)),
        (29.97002997002997, (30000, 1001)),
        (59.94005994005994, (60000, 1001)),
        (25.0, (25, 1)),
        (12.5, (25, 2)),
        (0.0, (24, 1)),
    ],
)
def test_frame_rate(value: float, fraction: tuple[int, int]) -> None:
    assert frame_rate(value) == fraction
