"""The same picture comes out the same whatever it was stored in."""

import struct
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from engine.errors import FootageError
from engine.footage import probe, read_frames
from engine.footage.decode import display_referred, read_still
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
    assert footage.colourspace == ("linear" if kind in ("float", "half") else "srgb")


def test_same_picture_in_a_layer_which_blender_cannot_show_as_a_clip(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "plate_0007.exr"
    write(path, picture, "layer")
    assert np.abs(display_referred(read_still(path), linear=True) * 255 - picture).max() <= 0.01
    with pytest.raises(FootageError, match=r"Frame 7 .*ViewLayer\.Combined, ViewLayer\.Depth") as error:
        probe(path)
    assert error.value.code == "footage.exr_layers"


def test_a_lone_channel_that_blender_cannot_show_is_refused(tmp_path: Path) -> None:
    for name, grey in (("y", "Y"), ("z", "Z")):
        header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
        OpenEXR.File(header, {grey: np.full((4, 6), 0.5, np.float32)}).write(str(tmp_path / f"{name}_1.exr"))
    assert probe(tmp_path / "y_1.exr").numbers == (1,)
    with pytest.raises(FootageError, match="holds the channel Z alone") as error:
        probe(tmp_path / "z_1.exr")
    assert error.value.code == "footage.exr_channels"


@pytest.mark.parametrize("kind", ["parts", "views"])
def test_parts_and_views_are_refused(tmp_path: Path, kind: str) -> None:
    plain = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
    rgb = np.full((4, 6, 3), 0.5, np.float32)
    if kind == "parts":
        file = OpenEXR.File([OpenEXR.Part({**plain, "name": name}, {"RGB": rgb}) for name in ("left", "right")])
    else:
        file = OpenEXR.File({**plain, "multiView": ["left", "right"]}, {"RGB": rgb, "right.R": rgb[..., 0].copy()})
    file.write(str(tmp_path / "a_1.exr"))
    with pytest.raises(FootageError, match="left, right") as error:
        probe(tmp_path / "a_1.exr")
    assert error.value.code == "footage.exr_layers"


def test_grey_is_expanded(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    cv2.imwrite(str(tmp_path / "g_1.png"), grey)
    [(_, frame)] = read_frames(probe(tmp_path / "g_1.png"))
    assert np.array_equal(np.round(frame * 255), np.repeat(grey[..., None], 3, axis=2))


def write_windows(path: Path, data: np.ndarray, display: tuple[int, ...], at: tuple[int, int]) -> None:
    """An EXR of `data`, whose top left pixel is at `at`, with the display window (left, top, right, bottom)."""
    corner = np.array(at, np.int32)
    header = {
        "type": OpenEXR.scanlineimage,
        "compression": OpenEXR.ZIP_COMPRESSION,
        "displayWindow": (np.array(display[:2], np.int32), np.array(display[2:], np.int32)),
        "dataWindow": (corner, corner + np.array(data.shape[1::-1], np.int32) - 1),
    }
    OpenEXR.File(header, {"RGB": data}).write(str(path))


def test_exr_outside_its_display_window_is_cut(tmp_path: Path) -> None:
    data = np.full((10, 12, 3), 0.25, np.float32)
    data[2:8, 1:11] = 1.0
    write_windows(tmp_path / "overscan_1.exr", data, (0, 0, 9, 5), (-1, -2))
    frame = read_still(tmp_path / "overscan_1.exr")
    assert frame.shape == (6, 10, 3)
    assert frame.min() > 0.99


@pytest.mark.parametrize(
    ("width", "height", "at"), [(12, 10, (-1, -2)), (6, 4, (2, 1)), (10, 6, (3, 0))], ids=["over", "cropped", "moved"]
)
def test_plate_of_which_blender_shows_another_window_is_refused(
    tmp_path: Path, width: int, height: int, at: tuple[int, int]
) -> None:
    for number in (1, 2, 3):
        write_windows(tmp_path / f"a_{number}.exr", np.ones((6, 10, 3), np.float32), (0, 0, 9, 5), (0, 0))
    write_windows(tmp_path / "a_2.exr", np.ones((height, width, 3), np.float32), (0, 0, 9, 5), at)
    with pytest.raises(FootageError, match=r"Frame 2 \(a_2\.exr\) has overscan or is cropped") as error:
        probe(tmp_path)
    assert error.value.code == "footage.exr_window"
    assert probe(tmp_path, last=1).numbers == (1,)


@pytest.mark.parametrize("damage", ["cut", "garbled", "empty", "text"])
def test_a_damaged_exr_is_said_to_be_damaged(tmp_path: Path, picture: np.ndarray, damage: str) -> None:
    path = tmp_path / "a_1.exr"
    write(path, picture, "half")
    data = path.read_bytes()
    half = len(data) // 2
    garbled = data[:half] + b"\xff" * 50 + data[half + 50 :]
    path.write_bytes({"cut": data[:half], "garbled": garbled, "empty": data[:4], "text": b"a text"}[damage])
    with pytest.raises(FootageError, match=r"Frame 1 \(a_1\.exr\) cannot be read\. Damaged, incomplete") as error:
        probe(path)
    assert error.value.code == "footage.unreadable_frame"


@pytest.mark.parametrize("other", ["8 bit", "16 bit"])
def test_float_and_integer_pictures_in_one_sequence_are_refused(
    tmp_path: Path, picture: np.ndarray, other: str
) -> None:
    for number, kind in ((1, "float"), (2, other), (3, "float")):
        write(tmp_path / f"a_{number}.tif", picture, kind)
    footage = probe(tmp_path)
    assert [number for number, _ in read_frames(footage, [1, 3])] == [1, 3]
    with pytest.raises(FootageError, match=r"Frame 2 stores integer .* first frame floating-point") as error:
        list(read_frames(footage))
    assert error.value.code == "footage.samples_change"
    with pytest.raises(FootageError, match=r"Frame 3 stores floating-point .* first frame integer"):
        list(read_frames(probe(tmp_path, first=2)))


def test_eight_and_sixteen_bits_mean_the_same(tmp_path: Path, picture: np.ndarray) -> None:
    for number, kind in ((1, "8 bit"), (2, "16 bit")):
        write(tmp_path / f"a_{number}.png", picture, kind)
    first, second = (frame for _, frame in read_frames(probe(tmp_path)))
    assert np.abs(first - second).max() < 1e-6


@pytest.mark.parametrize("suffix", [".webp", ".png", ".tif", ".gif as .png"])
def test_an_animation_in_one_file_is_told(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    pages = [Image.fromarray(np.roll(picture, 8 * index, axis=1)) for index in range(5)]
    path = tmp_path / f"room_0001{suffix[-4:].replace('webp', '.webp')}"
    kind = {".webp": "WEBP", ".png": "PNG", ".tif": "TIFF", ".gif as .png": "GIF"}[suffix]
    pages[0].save(path, format=kind, save_all=True, append_images=pages[1:])
    with pytest.raises(FootageError, match=r"holds 5 pictures in one file\..*to an image sequence") as error:
        probe(path)
    assert error.value.code == "footage.animation"


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
