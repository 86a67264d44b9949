"""Which files are the clip, and which number each frame has."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.errors import FootageError
from engine.footage import frame_name, probe, read_frames
from engine.footage import sequence as sequences
from engine.footage.decode import STILL_SUFFIXES
from engine.footage.sequence import LAST_FRAME, only_sequence, require_plate, sequence_of
from tests import pictures

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "sequences.json").read_text(encoding="utf-8"))


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


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: f"{row['why']}, {row['chosen']}")
def test_rule_that_the_add_on_follows_too(tmp_path: Path, row: dict[str, Any]) -> None:
    for name in row["names"]:
        (tmp_path / name).touch()
    chosen, names = row["chosen"], row["names"]
    try:
        found = only_sequence(tmp_path, STILL_SUFFIXES) if chosen is None else sequence_of(tmp_path / chosen, names)
    except FootageError as error:
        assert error.code == row.get("refused"), error
        return
    assert "refused" not in row
    assert found.pattern == row["pattern"]
    assert list(found.files.items()) == [(int(number), name) for number, name in row["files"].items()]
    try:
        require_plate(found, found.files)
        assert "plate_refused" not in row
    except FootageError as error:
        assert error.code == row.get("plate_refused"), error


def test_what_the_rule_takes_for_granted() -> None:
    assert list(STILL_SUFFIXES) == GOLDEN["suffixes"]
    assert GOLDEN["last_frame"] == LAST_FRAME


def test_plates_that_blender_would_show_at_other_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FootageError) as error:
        probe(put(tmp_path / "place", "0001_v2.png", "0002_v2.png"))
    assert error.value.code == "footage.number_place"
    timecode = put(tmp_path / "limit", *(f"{number}.png" for number in range(LAST_FRAME - 1, LAST_FRAME + 3)))
    with pytest.raises(FootageError) as error:
        probe(timecode)
    assert error.value.code == "footage.number_limit"
    assert probe(timecode, last=LAST_FRAME).numbers == (LAST_FRAME - 1, LAST_FRAME)


def test_timestamps_are_refused_with_what_to_do(tmp_path: Path) -> None:
    seconds = put(tmp_path / "s", *(f"1305031452.{791720 + 33333 * index:06d}.png" for index in range(6)))
    nanoseconds = put(tmp_path / "ns", *(f"{1403715273262142976 + 50_000_000 * index}.png" for index in range(6)))
    for folder in (seconds, nanoseconds):
        with pytest.raises(FootageError, match=r"timestamps.*Rename the files 0001, 0002") as error:
            probe(folder)
        assert error.value.code == "footage.gaps"


@pytest.mark.parametrize("numbered", [True, False])
def test_thousands_of_unrelated_pictures_are_looked_at_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbered: bool
) -> None:
    names = [f"{'holiday' * numbered}{index}x{chr(97 + index % 26)}{index // 26:03d}y.png" for index in range(5000)]
    if not numbered:
        names = [f"{''.join(chr(97 + int(digit)) for digit in str(index))}.png" for index in range(5000)]
    monkeypatch.setattr(Path, "iterdir", lambda folder: (folder / name for name in names))
    looked = 0
    plain = sequences._between

    def counted(head: str, tail: str, among: list[str]) -> list[str]:
        nonlocal looked
        looked += len(among)
        return plain(head, tail, among)

    monkeypatch.setattr(sequences, "_between", counted)
    with pytest.raises(FootageError) as error:
        only_sequence(tmp_path, STILL_SUFFIXES)
    assert error.value.code == ("footage.several_sequences" if numbered else "footage.no_frames")
    assert looked <= 40 * len(names)


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
    changed = pictures.read(same / "2.bmp")
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
