"""Bad input through the command line: a message with a cause and a fix, a non-zero exit, nothing half-written."""

import errno
import json
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.cli import main

TEXTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8), (0, 0), 2)


def sequence(folder, pictures):
    folder.mkdir()
    for number, picture in enumerate(pictures, start=1):
        cv2.imwrite(str(folder / f"plate_{number:04d}.png"), picture)
    return folder


def moving(count):
    return [TEXTURE[20 : 20 + 180, 8 * i : 8 * i + 320] for i in range(count)]


def missing(folder):
    return folder / "nothing.mp4"


def not_a_video(folder):
    path = folder / "notes.mp4"
    path.write_text("this is not a movie\n" * 50)
    return path


def one_frame(folder):
    return sequence(folder / "one", moving(1))


def zero_bytes(folder):
    path = folder / "empty.mov"
    path.touch()
    return path


def black(folder):
    return sequence(folder / "black", [np.zeros((180, 320, 3), np.uint8)] * 6)


def tripod(folder):
    rng = np.random.default_rng(1)
    still = TEXTURE[:180, :320].astype(int)
    noisy = [np.clip(still + rng.integers(-3, 4, still.shape), 0, 255).astype(np.uint8) for _ in range(8)]
    return sequence(folder / "tripod", noisy)


def unsupported(folder):
    path = folder / "shot.docx"
    path.write_text("words")
    return path


def damaged_frame(folder):
    plates = sequence(folder / "damaged", moving(6))
    whole = (plates / "plate_0004.png").read_bytes()
    (plates / "plate_0004.png").write_bytes(whole[: len(whole) // 3])
    return plates


def out_of_range(folder):
    return sequence(folder / "short", moving(4)), "--first", "90", "--last", "120"


def assert_three_parts(capsys, code_word):
    message = capsys.readouterr().err
    assert code_word in message
    assert "\n  why: " in message
    assert "\n  fix: " in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("make", "word", "folder_made"),
    [
        (missing, "There is no footage", False),
        (not_a_video, "cannot be opened as a movie", False),
        (one_frame, "1 frame", True),
        (zero_bytes, "0 bytes", False),
        (black, "black", True),
        (unsupported, "not of a kind", False),
        (damaged_frame, "Frame 4", True),
        (out_of_range, "no frames in the range", False),
    ],
)
def test_bad_footage(tmp_path: Path, capsys: pytest.CaptureFixture[str], make, word, folder_made) -> None:
    made = make(tmp_path)
    footage, *options = made if isinstance(made, tuple) else (made,)
    out = tmp_path / "a.solve"
    assert main(["solve", str(footage), "--out", str(out), *options]) == 1
    assert_three_parts(capsys, word)
    assert out.exists() == folder_made, "a mistyped path makes no folder"
    assert not list(tmp_path.rglob("*.exr")) + list(tmp_path.rglob("solve.json"))


def test_a_camera_that_stands_still_is_solved_and_its_depth_is_called_a_guess(tmp_path: Path) -> None:
    out = tmp_path / "a.solve"
    assert main(["solve", str(tripod(tmp_path)), "--out", str(out), "--preset", "preview"]) == 0
    solved = json.loads((out / "solve.json").read_text())
    assert "does not move" in solved["quality"]["verdict"] and solved["quality"]["confident_share"] == 0.0
    assert all(frame["registered"] for frame in solved["frames"])
    assert len(list((out / "depth").glob("*.exr"))) == 8


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_no_write_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    footage, locked = sequence(tmp_path / "clip", moving(4)), tmp_path / "locked"
    locked.mkdir(mode=0o555)
    is_root = os.geteuid() == 0
    if is_root:  # permissions do not bind root: be nobody for the moment
        for parent in [tmp_path, *tmp_path.parents]:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(0o755)
        os.seteuid(65534)
    try:
        code = main(["solve", str(footage), "--out", str(locked / "a.solve")])
    finally:
        if is_root:
            os.seteuid(0)
    assert code == 1
    assert_three_parts(capsys, "Cannot write")
    assert not list(locked.iterdir())


def test_too_little_disk_space_is_said_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**12, 10**12, 10**5))
    out = tmp_path / "a.solve"
    assert main(["solve", str(sequence(tmp_path / "clip", moving(4))), "--out", str(out)]) == 1
    assert_three_parts(capsys, "too full")
    assert not (out / "cache").exists()


def test_a_disk_that_fills_up_on_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, left = os.fsync, [4]

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    out = tmp_path / "a.solve"
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        assert main(["solve", str(sequence(tmp_path / "clip", moving(4))), "--out", str(out)]) == 1
    assert_three_parts(capsys, "is full")
    assert not (out / "solve.json").exists()
    assert not [p for p in out.rglob(".*") if p.is_file()], "temporary files stay behind"
