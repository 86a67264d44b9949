"""Which files are the clip, and which number each frame has."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import FootageError
from engine.footage import frame_name, probe, read_frames
from engine.footage.sequence import sequence_of


def put(folder: Path, *names: str) -> Path:
    """Small pictures whose level tells the order they were written in."""
    folder.mkdir(parents=True, exist_ok=True)
    for level, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((8, 12, 3), 10 * (level + 1), np.uint8))
    return folder


@pytest.mark.parametrize(
    ("names", "asked", "pattern", "numbers"),
    [
        (["frame-000200.color.jpg", "frame-000201.color.jpg"], 1, "frame-######.color.jpg", [200, 201]),
        (["IMG2_0001_v2.png", "IMG2_0002_v2.png"], 0, "IMG2_####_v2.png", [1, 2]),
        (["00000.jpg", "00001.jpg"], 0, "#####.jpg", [0, 1]),
        (["shot01_0001.png", "shot01_0002.png", "shot01_0003.png", "shot02_0001.png"], 1, "shot01_####.png", [1, 2, 3]),
        (["a_998.png", "a_999.png", "a_1000.png"], 0, "a_###.png", [998, 999, 1000]),
        (["a_0999.png", "a_1000.png"], 1, "a_####.png", [999, 1000]),
        (["1.png", "2.png", "0001.png", "0002.png"], 2, "####.png", [1, 2]),
        (["1.png", "2.png", "10.png"], 2, "#.png", [1, 2, 10]),
        (["a_01.png", "a_02.jpg"], 0, "a_##.png", [1]),
        (["still.png"], 0, "still.png", [1]),
    ],
)
def test_number_is_the_group_of_digits_that_varies(
    tmp_path: Path, names: list[str], asked: int, pattern: str, numbers: list[int]
) -> None:
    sequence = sequence_of(tmp_path / names[asked], names)
    assert sequence.pattern == pattern
    assert list(sequence.files) == numbers


def test_gaps_are_kept_and_listed_on_the_step_asked_for(tmp_path: Path) -> None:
    folder = put(tmp_path, "0001.png", "0002.png", "0004.png", "0007.png", "0009.png")
    every = probe(folder)
    assert every.numbers == (1, 2, 4, 7, 9)
    assert every.missing == (3, 5, 6, 8)
    assert [round(float(f.mean()) * 25.5) for _, f in read_frames(every)] == [1, 2, 3, 4, 5]
    assert [n for n, _ in read_frames(every)] == [1, 2, 4, 7, 9]
    odd = probe(folder, first=1, last=9, step=2)
    assert odd.numbers == (1, 7, 9)
    assert odd.missing == (3, 5)
    assert probe(folder, first=-5, last=100).missing == (3, 5, 6, 8)


def test_folder_and_any_file_give_the_same_footage(tmp_path: Path) -> None:
    folder = put(tmp_path, "a_0005.png", "a_0006.png", "a_0007.png")
    (folder / "poster.png").write_bytes(b"not a frame")
    (folder / "notes.txt").write_text("1")
    assert probe(folder) == probe(folder / "a_0007.png")
    assert probe(folder).path == folder / "a_0005.png"


def test_folder_with_two_sequences_names_them(tmp_path: Path) -> None:
    folder = put(tmp_path, "a_1.png", "a_2.png", "b_1.png", "b_2.png")
    with pytest.raises(FootageError) as error:
        probe(folder)
    assert error.value.code == "footage.several_sequences"
    assert "a_#.png" in str(error.value)
    assert "b_#.png" in str(error.value)
    assert probe(folder / "b_2.png").pattern == "b_#.png"


def test_unknown_frame_is_refused(tmp_path: Path) -> None:
    footage = probe(put(tmp_path, "1.png", "2.png"))
    with pytest.raises(KeyError):
        list(read_frames(footage, [3]))


def test_content_id_follows_the_contents_and_nothing_else(tmp_path: Path) -> None:
    first = put(tmp_path / "one", "1.bmp", "2.bmp", "3.bmp")
    same = tmp_path / "moved"
    shutil.copytree(first, same)
    footage = probe(first)
    assert probe(same).content_id == footage.content_id
    assert replace(probe(same), path=footage.path) == footage
    changed = cv2.imread(str(same / "2.bmp"))
    changed[4, 6] += 1
    cv2.imwrite(str(same / "2.bmp"), changed)
    assert (same / "2.bmp").stat().st_size == (first / "2.bmp").stat().st_size
    assert probe(same).content_id != footage.content_id
    renumbered = tmp_path / "renumbered"
    shutil.copytree(first, renumbered)
    (renumbered / "3.bmp").rename(renumbered / "4.bmp")
    assert probe(renumbered).content_id != footage.content_id


def test_frame_name() -> None:
    assert [frame_name(n) for n in (0, 101, 1234567)] == ["000000", "000101", "1234567"]
