"""Media that is cut short, empty, wrongly labelled or full of holes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine import footage
from engine.errors import FootageError
from engine.files import write_exr_channels
from engine.progress import Silent

RNG = np.random.default_rng(5)
TEXTURE = cv2.GaussianBlur(RNG.integers(0, 255, (200, 600, 3), np.uint8), (0, 0), 2)


class Told(Silent):
    def __init__(self):
        self.warnings = []

    def warning(self, message, frames=()):
        self.warnings.append(message)


def pictures(count):
    return [TEXTURE[:96, 6 * i : 6 * i + 128] for i in range(count)]


def movie(path, count=40, codec="MJPG"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 24.0, (128, 96))
    for picture in pictures(count):
        writer.write(picture)
    writer.release()
    return path


def encoded(suffix, folder):
    picture = pictures(1)[0]
    if suffix == ".exr":
        path = folder / "made.exr"
        write_exr_channels(path, {c: picture[..., i].astype(np.float32) for i, c in enumerate("BGR")})
        return path.read_bytes()
    return cv2.imencode(suffix, picture)[1].tobytes()


def read(folder):
    clip = footage.probe(folder)
    return [number for number, _ in footage.read_frames(clip)], clip


def sequence(folder, count=5, suffix=".png"):
    folder.mkdir()
    for number, picture in enumerate(pictures(count), start=1):
        cv2.imwrite(str(folder / f"plate_{number:04d}{suffix}"), picture)
    return folder


def test_a_movie_that_is_cut_short_is_solved_as_far_as_it_goes_and_it_is_said(tmp_path: Path) -> None:
    path = movie(tmp_path / "a.avi")
    whole = path.read_bytes()
    assert footage.probe(path).cut_short is None
    path.write_bytes(whole[: len(whole) * 6 // 10])
    clip, told = footage.probe(path), Told()
    assert 15 < len(clip.numbers) < 30
    assert clip.cut_short == 40
    footage.prepare(clip, tmp_path, told)
    assert "says that it has 40 frames" in told.warnings[0]
    assert footage.probe(path, last=10).cut_short is None, "what was asked for is all there"


def test_a_movie_whose_end_holds_its_index_is_nothing_without_it(tmp_path: Path) -> None:
    path = movie(tmp_path / "a.mp4", codec="mp4v")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FootageError) as caught:
        footage.probe(path)
    assert caught.value.code == "footage.not_video"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp", ".exr"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_a_picture_that_is_cut_short_is_named(tmp_path: Path, suffix, share) -> None:
    data = encoded(suffix, tmp_path)
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(1, 5):
        (folder / f"plate_{number:04d}{suffix}").write_bytes(data if number != 3 else data[: int(len(data) * share)])
    with pytest.raises(FootageError, match="Frame 3") as caught:
        read(folder)
    assert caught.value.code == "footage.unreadable_frame"


@pytest.mark.parametrize(("suffix", "really"), [(".exr", ".png"), (".dpx", ".exr"), (".exr", ".jpg")])
def test_a_picture_that_is_not_of_the_kind_that_its_name_says_is_named(tmp_path: Path, suffix, really) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(1, 4):
        (folder / f"plate_{number:04d}{suffix}").write_bytes(encoded(really, tmp_path))
    with pytest.raises(FootageError) as caught:
        read(folder)
    assert caught.value.code == "footage.unreadable_frame"


def test_a_still_in_a_movies_clothes_has_too_few_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(encoded(".png", tmp_path))
    with pytest.raises(FootageError) as caught:
        footage.prepare(footage.probe(path), tmp_path / "out", Silent())
    assert caught.value.code in ("footage.not_video", "footage.too_few_frames")


def test_a_frame_that_is_missing_in_the_middle_shifts_no_other(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "clip")
    (folder / "plate_0003.png").unlink()
    numbers, clip = read(folder)
    assert numbers == [1, 2, 4, 5]
    assert clip.missing == (3,)


def test_a_frame_that_goes_missing_after_the_look_at_the_clip_is_named(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "clip")
    clip = footage.probe(folder)
    (folder / "plate_0004.png").unlink()
    with pytest.raises(FootageError, match="Frame 4"):
        list(footage.read_frames(clip))
