"""Stereo clips: two eyes in one picture or in two pieces of footage; the plate is the left eye."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.errors import FootageError
from engine.footage import Footage, prepare, probe, read_frames
from engine.progress import Silent
from tests.pictures import read

HEIGHT, WIDTH, COUNT = 48, 64, 5


@pytest.fixture(scope="module")
def eyes() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Left and right pictures (H, W, 3) uint8 RGB of a moving pair; no two are alike."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT // 4, 40, 3), dtype=np.uint8)
    big = cv2.resize(noise, (160, HEIGHT), interpolation=cv2.INTER_CUBIC)
    left = [big[:, 20 + 8 * k : 20 + 8 * k + WIDTH] for k in range(COUNT)]
    right = [big[:, 26 + 8 * k : 26 + 8 * k + WIDTH] for k in range(COUNT)]
    return left, right


def sequence(folder: Path, pictures: list[np.ndarray], name: str = "plate", first: int = 101) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures, first):
        cv2.imwrite(str(folder / f"{name}_{number:04d}.png"), picture[..., ::-1])
    return folder / f"{name}_{first:04d}.png"


def movie(path: Path, pictures: list[np.ndarray]) -> Path:
    """A lossless movie: FFV1 keeps every pixel of RGB."""
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    writer.release()
    return path


def pixels(footage: Footage) -> list[np.ndarray]:
    return [np.round(frame * 255).astype(np.uint8) for _, frame in read_frames(footage)]


def side_by_side(eyes: tuple[list[np.ndarray], list[np.ndarray]]) -> list[np.ndarray]:
    return [np.hstack(pair) for pair in zip(*eyes, strict=True)]


def check(footage: Footage, eyes: tuple[list[np.ndarray], list[np.ndarray]], numbers: tuple[int, ...]) -> None:
    assert (footage.width, footage.height) == (WIDTH, HEIGHT)
    assert footage.right is not None
    assert (footage.right.width, footage.right.height) == (WIDTH, HEIGHT)
    assert footage.numbers == footage.right.numbers == numbers
    assert footage.right.right is None
    for eye, pictures in zip((footage, footage.right), eyes, strict=True):
        assert [n for n, _ in read_frames(eye)] == list(numbers)
        assert all(np.array_equal(a, b) for a, b in zip(pixels(eye), pictures, strict=True))


def test_side_by_side_sequence_is_read_exactly(tmp_path: Path, eyes) -> None:
    footage = probe(sequence(tmp_path, side_by_side(eyes)), stereo="side_by_side")
    assert footage.stereo == "side_by_side"
    check(footage, eyes, (101, 102, 103, 104, 105))


def test_side_by_side_movie_is_read_exactly(tmp_path: Path, eyes) -> None:
    footage = probe(movie(tmp_path / "pair.avi", side_by_side(eyes)), first=2, stereo="side_by_side")
    check(footage, tuple(eye[1:] for eye in eyes), (2, 3, 4, 5))


def test_two_sequences_in_one_folder_are_read_exactly(tmp_path: Path, eyes) -> None:
    left, right = (sequence(tmp_path, eye, name) for eye, name in zip(eyes, ("shot_L", "shot_R"), strict=True))
    footage = probe(left, stereo="two_files", right=right)
    assert footage.stereo == "two_files"
    check(footage, eyes, (101, 102, 103, 104, 105))


def test_two_movies_are_read_exactly(tmp_path: Path, eyes) -> None:
    left, right = (movie(tmp_path / f"{name}.avi", eye) for eye, name in zip(eyes, "LR", strict=True))
    footage = probe(left, step=2, stereo="two_files", right=right)
    check(footage, tuple(eye[::2] for eye in eyes), (1, 3, 5))


def test_both_eyes_get_proxies_and_an_interrupted_right_eye_is_repaired(tmp_path: Path, eyes) -> None:
    footage = probe(sequence(tmp_path / "in", side_by_side(eyes)), stereo="side_by_side")

    class Recorder(Silent):
        def __init__(self) -> None:
            self.shares: list[float] = []
            self.warnings: list[str] = []

        def step(self, done: float, total: float, message: str) -> None:
            self.shares.append(done / total)

        def warning(self, message: str, frames: object = ()) -> None:
            self.warnings.append(message)

    recorder = Recorder()
    prepare(footage, tmp_path, recorder)
    for folder, pictures in zip(("proxy", "proxy_right"), eyes, strict=True):
        made = sorted((tmp_path / folder).iterdir())
        assert [p.name for p in made] == [f"{n:06d}.png" for n in footage.numbers]
        assert all(np.array_equal(read(p)[..., ::-1], q) for p, q in zip(made, pictures, strict=True))
    assert recorder.shares == [k / 10 for k in range(1, 11)]
    assert recorder.warnings == []
    broken = tmp_path / "proxy_right" / "000103.png"
    broken.write_bytes(broken.read_bytes()[:80])
    prepare(footage, tmp_path, Silent())
    assert np.array_equal(read(broken)[..., ::-1], eyes[1][2])


def test_one_eye_needs_no_right_proxies(tmp_path: Path, eyes) -> None:
    footage = probe(sequence(tmp_path / "in", eyes[0]))
    prepare(footage, tmp_path, Silent())
    assert footage.stereo == "none"
    assert footage.right is None
    assert not (tmp_path / "proxy_right").exists()


def test_squeezed_looking_halves_are_warned_about(tmp_path: Path, eyes) -> None:
    said = []

    class Listener(Silent):
        def warning(self, message: str, frames: object = ()) -> None:
            said.append(message)

    prepare(probe(sequence(tmp_path / "in", eyes[0]), stereo="side_by_side"), tmp_path, Listener())
    assert len(said) == 1
    assert "32x48" in said[0]


def test_content_id_knows_both_eyes_and_how_they_are_stored(tmp_path: Path, eyes) -> None:
    left, right = (sequence(tmp_path / name, eye) for eye, name in zip(eyes, "LR", strict=True))
    other = sequence(tmp_path / "other", [*eyes[1][:-1], eyes[1][0]])
    ids = [
        probe(left).content_id,
        probe(left, stereo="side_by_side").content_id,
        probe(left, stereo="two_files", right=right).content_id,
        probe(left, stereo="two_files", right=other).content_id,
        probe(right, stereo="two_files", right=left).content_id,
    ]
    assert len(set(ids)) == len(ids)


def failure(left: Path, right: Path | None = None, **words: Any) -> FootageError:
    with pytest.raises(FootageError) as error:
        probe(left, stereo="side_by_side" if right is None else "two_files", right=right, **words)
    return error.value


def test_odd_width(tmp_path: Path, eyes) -> None:
    error = failure(sequence(tmp_path, [np.hstack([eye, eye[:, :1]]) for eye in eyes[0]]))
    assert error.code == "footage.stereo_odd_width"
    assert "65" in error.what


def test_eyes_of_different_size(tmp_path: Path, eyes) -> None:
    error = failure(sequence(tmp_path / "L", eyes[0]), sequence(tmp_path / "R", [eye[:40] for eye in eyes[1]]))
    assert error.code == "footage.stereo_mismatch"
    assert "64x48" in error.why
    assert "64x40" in error.why


def test_eyes_with_different_frames(tmp_path: Path, eyes) -> None:
    left, right = sequence(tmp_path / "L", eyes[0]), sequence(tmp_path / "R", eyes[1])
    (tmp_path / "R" / "plate_0103.png").unlink()
    error = failure(left, right)
    assert error.code == "footage.stereo_mismatch"
    assert "103" in error.why
    assert probe(left, first=104, stereo="two_files", right=right).numbers == (104, 105)


def test_one_movie_longer_than_the_other(tmp_path: Path, eyes) -> None:
    left, right = movie(tmp_path / "L.avi", eyes[0]), movie(tmp_path / "R.avi", eyes[1][:-1])
    assert failure(left, right).code == "footage.stereo_mismatch"
    assert probe(left, last=4, stereo="two_files", right=right).numbers == (1, 2, 3, 4)


def test_the_same_footage_for_both_eyes(tmp_path: Path, eyes) -> None:
    error = failure(sequence(tmp_path / "L", eyes[0]), sequence(tmp_path / "R", eyes[0]))
    assert error.code == "footage.stereo_mismatch"
    assert "same pictures" in error.why


def test_right_eye_that_is_missing_is_named(tmp_path: Path, eyes) -> None:
    error = failure(sequence(tmp_path, eyes[0]), tmp_path / "nothing.mp4")
    assert error.code == "footage.missing"
    assert "nothing.mp4" in error.what


def test_size_of_a_stored_pair_changes(tmp_path: Path, eyes) -> None:
    pictures = side_by_side(eyes)
    pictures[2] = pictures[2][:, :-2]
    with pytest.raises(FootageError) as error:
        pixels(probe(sequence(tmp_path, pictures), stereo="side_by_side"))
    assert error.value.code == "footage.size_changes"
    assert "128x48" in error.value.what
