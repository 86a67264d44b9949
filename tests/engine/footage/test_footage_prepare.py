"""Proxies, and the checks before any long work."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import Cancelled, FootageError
from engine.footage import prepare, probe
from engine.progress import Silent
from tests import pictures


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    larger: np.ndarray = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return larger


def sequence(folder: Path, frames: Sequence[np.ndarray], first: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, first):
        cv2.imwrite(str(folder / f"plate_{number:04d}.png"), frame)
    return folder


def moving(count: int = 6, height: int = 120, width: int = 160) -> list[np.ndarray]:
    big = textured(height, width + 8 * count)
    return [np.ascontiguousarray(big[:, 8 * i : 8 * i + width]) for i in range(count)]


def failure(path: Path, work: Path) -> FootageError:
    with pytest.raises(FootageError) as error:
        prepare(probe(path), work, Silent())
    assert error.value.what
    assert error.value.why
    assert error.value.fix
    return error.value


def test_proxies_are_the_frames_by_their_own_numbers(tmp_path: Path) -> None:
    frames = moving()
    prepare(probe(sequence(tmp_path / "in", frames, first=998)), tmp_path, Silent())
    assert sorted(p.name for p in (tmp_path / "proxy").iterdir()) == [f"{n:06d}.png" for n in range(998, 1004)]
    for number, frame in enumerate(frames, 998):
        assert np.array_equal(pictures.read(tmp_path / "proxy" / f"{number:06d}.png"), frame)
    report = json.loads((tmp_path / "preflight.json").read_text())
    assert [f["frame"] for f in report["frames"]] == list(range(998, 1004))
    assert report["motion_px"] == pytest.approx(8 * 640 / 640, abs=0.5)
    assert report["duplicates"] == []


def test_large_frames_are_reduced_about_the_picture_edges(tmp_path: Path) -> None:
    """Half as large means the mean of two by two pixels: no half-pixel shift."""
    frames = [textured(96, 2560, seed) for seed in range(3)]
    prepare(probe(sequence(tmp_path / "in", frames)), tmp_path, Silent())
    proxy = pictures.read(tmp_path / "proxy" / "000002.png").astype(float)
    assert proxy.shape == (48, 1280, 3)
    mean = frames[1].reshape(48, 2, 1280, 2, 3).mean(axis=(1, 3))
    assert np.abs(proxy - mean).max() <= 0.51


def test_interrupted_pass_goes_on_and_repairs(tmp_path: Path) -> None:
    footage = probe(sequence(tmp_path / "in", moving()))

    class StopAtThree(Silent):
        def step(self, done: float, total: float, message: str) -> None:
            if done == 3:
                raise Cancelled

    with pytest.raises(Cancelled):
        prepare(footage, tmp_path, StopAtThree())
    made = sorted((tmp_path / "proxy").iterdir())
    assert [p.name for p in made] == ["000001.png", "000002.png", "000003.png"]
    made[1].write_bytes(made[1].read_bytes()[:100])
    stamp = made[0].stat().st_mtime_ns
    prepare(footage, tmp_path, Silent())
    assert made[0].stat().st_mtime_ns == stamp
    whole = tmp_path / "whole"
    prepare(footage, whole, Silent())
    for path in (whole / "proxy").iterdir():
        assert np.array_equal(pictures.read(tmp_path / "proxy" / path.name), pictures.read(path))
    assert (tmp_path / "preflight.json").read_text() == (whole / "preflight.json").read_text()


def test_duplicates_are_listed(tmp_path: Path) -> None:
    frames = moving(5)
    prepare(probe(sequence(tmp_path / "in", [*frames[:3], frames[2], *frames[3:]])), tmp_path, Silent())
    assert json.loads((tmp_path / "preflight.json").read_text())["duplicates"] == [4]


def test_missing_file(tmp_path: Path) -> None:
    assert failure(tmp_path / "no.mp4", tmp_path).code == "footage.missing"


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert failure(tmp_path / "a.mp4", tmp_path).code == "footage.empty"


def test_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("certainly not a movie " * 100)
    assert failure(tmp_path / "a.mp4", tmp_path).code == "footage.not_video"


def test_unsupported_extension(tmp_path: Path) -> None:
    (tmp_path / "a.blend").write_text("x")
    error = failure(tmp_path / "a.blend", tmp_path)
    assert error.code == "footage.unsupported"
    assert ".mp4" in error.why


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert failure(tmp_path / "in", tmp_path).code == "footage.no_frames"


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nrubbish", b"plain text"])
def test_damaged_frame_is_named(tmp_path: Path, content: bytes) -> None:
    folder = sequence(tmp_path / "in", moving())
    (folder / "plate_0004.png").write_bytes(content)
    error = failure(folder, tmp_path)
    assert error.code == "footage.unreadable_frame"
    assert "4" in error.what


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_frames(tmp_path: Path, count: int) -> None:
    assert failure(sequence(tmp_path / "in", moving(count)), tmp_path).code == "footage.too_few_frames"


@pytest.mark.parametrize("level", [0, 90, 255])
def test_black_or_flat(tmp_path: Path, level: int) -> None:
    frames = [np.full((120, 160, 3), level, np.uint8)] * 4
    assert failure(sequence(tmp_path / "in", frames), tmp_path).code == "footage.black"


def test_black_with_sensor_noise(tmp_path: Path) -> None:
    frames = [np.random.default_rng(i).integers(0, 4, (120, 160, 3), dtype=np.uint8) for i in range(4)]
    assert failure(sequence(tmp_path / "in", frames), tmp_path).code == "footage.black"


def test_fade_from_black_is_not_black(tmp_path: Path) -> None:
    frames = [(f * min(1.0, i / 3)).astype(np.uint8) for i, f in enumerate(moving())]
    prepare(probe(sequence(tmp_path / "in", frames)), tmp_path, Silent())


def test_tripod_shot_with_noise_and_a_passer_by_is_static(tmp_path: Path) -> None:
    background = textured(240, 320)
    person = textured(120, 50, seed=5)
    frames = []
    for i in range(8):
        noise = np.random.default_rng(i).normal(0, 2, background.shape)
        frame = (background + noise).clip(0, 255).astype(np.uint8)
        frame[100:220, 30 * i : 30 * i + 50] = person
        frames.append(frame)
    prepare(probe(sequence(tmp_path / "in", frames)), tmp_path, Silent())
    preflight = json.loads((tmp_path / "preflight.json").read_text())
    assert preflight["static"]
    assert preflight["cuts"] == []


def test_cut_is_found_and_a_fast_move_is_none(tmp_path: Path) -> None:
    big, other = textured(160, 700), textured(120, 160, seed=9)
    frames = [cv2.getRectSubPix(big, (160, 120), (100 + 12.0 * i, 70)) for i in range(8)]
    prepare(probe(sequence(tmp_path / "one", frames)), tmp_path / "a", Silent())
    assert json.loads((tmp_path / "a" / "preflight.json").read_text())["cuts"] == []
    slow = [cv2.getRectSubPix(big, (160, 120), (100 + 1.0 * i, 70)) for i in range(8)]
    prepare(probe(sequence(tmp_path / "two", slow + [other] * 4)), tmp_path / "b", Silent())
    assert json.loads((tmp_path / "b" / "preflight.json").read_text())["cuts"] == [9]


def test_missing_frames_are_no_cut(tmp_path: Path) -> None:
    big, other = textured(160, 700), textured(120, 160, seed=9)
    slow = [cv2.getRectSubPix(big, (160, 120), (100 + 1.0 * i, 70)) for i in range(8)]
    folder = sequence(tmp_path / "in", slow)
    sequence(folder, [other] * 4, first=30)
    prepare(probe(folder), tmp_path, Silent())
    assert json.loads((tmp_path / "preflight.json").read_text())["cuts"] == []


def test_change_of_exposure_is_no_cut(tmp_path: Path) -> None:
    big = textured(160, 700)
    slow = [cv2.getRectSubPix(big, (160, 120), (100 + 1.0 * i, 70)) for i in range(12)]
    lit = [frame if i < 6 else (frame * 0.5 + 10).astype(np.uint8) for i, frame in enumerate(slow)]
    prepare(probe(sequence(tmp_path / "in", lit)), tmp_path, Silent())
    assert json.loads((tmp_path / "preflight.json").read_text())["cuts"] == []


def test_slow_move_is_not_static(tmp_path: Path) -> None:
    big = textured(120, 400)
    frames = [cv2.getRectSubPix(big, (160, 120), (100 + 0.4 * i, 60)) for i in range(8)]
    prepare(probe(sequence(tmp_path / "in", frames)), tmp_path, Silent())


def test_size_changes(tmp_path: Path) -> None:
    frames = moving()
    frames[3] = frames[3][:100]
    error = failure(sequence(tmp_path / "in", frames), tmp_path)
    assert error.code == "footage.size_changes"
    assert "Frame 4" in error.what


def test_range_without_frames(tmp_path: Path) -> None:
    with pytest.raises(FootageError) as error:
        probe(sequence(tmp_path / "in", moving()), first=50, last=60)
    assert error.value.code == "footage.empty_range"


def test_unwritable_folder_is_an_os_error(tmp_path: Path) -> None:
    footage = probe(sequence(tmp_path / "in", moving()))
    (tmp_path / "work").write_text("a file is in the way")
    with pytest.raises(OSError, match="work"):
        prepare(footage, tmp_path / "work", Silent())


def test_every_fifth_frame_is_told_with_the_step_to_set(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "in", moving(5))
    for number in range(5, 0, -1):
        (folder / f"plate_{number:04d}.png").rename(folder / f"plate_{5 * number:04d}.png")

    class Heard(Silent):
        def __init__(self) -> None:
            self.said: list[str] = []

        def warning(self, message: str, frames: Sequence[int] = ()) -> None:
            self.said.append(message)

    every, fifth = Heard(), Heard()
    prepare(probe(folder), tmp_path / "every", every)
    assert every.said == [
        "The frame numbers are 5 apart, so 16 frames between them get no camera. Set the step to 5 to leave these out."
    ]
    prepare(probe(folder, step=5), tmp_path / "fifth", fifth)
    assert fifth.said == []
