"""A short, seeded part of the fuzzing, what it has found, and properties that hold for every input.

`python -m tests.fuzz` fuzzes for longer, with coverage as its guide.
"""

import errno
import os
import random
import sys
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import footage
from engine.errors import CvdError, FootageError, RequestError
from engine.footage.clip import _selection
from engine.footage.sequence import only_sequence, sequence_of
from engine.request import parse_request
from tests.fuzz.targets import NAME_PARTS, Targets, random_input

EXECUTIONS = 200
FOUND = {
    "request": ["b7f677e3f6a5", "9eb7c9b19e"],  # a field that the schema does not name; infinity
    "solve": ["79c913e33874"],  # a name that is too long for the disk
    "names": [
        "8de3da970d560394e3f2c264d806aca54e019c2bf0fe282bd4b49280c790183afb5f69fb4d322603c5"
    ],  # digits beyond 0-9
    "exr": ["4a58b791f1d8", "d46d44e5a833b3b80f27f9"],  # no part in it; a channel's name that is no text
}
NAMES = (
    "request", "solve", "points", "status", "names", "exr", "png", "tif", "jpg", "dpx", "avi", "mp4", "mkv", "ts",
    "mxf", "camera", "tracks", "chan", "colmap",
)  # fmt: skip


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory):
    made = Targets(tmp_path_factory.mktemp("fuzz"))
    assert tuple(made.all) == NAMES
    return made


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_read_succeeds_or_is_refused_with_words(targets, name) -> None:
    for found in FOUND.get(name, []):
        targets.run(name, bytes.fromhex(found))
    generator = random.Random(f"{name}")
    good = sum(targets.run(name, random_input(generator)) for _ in range(EXECUTIONS))
    assert good > 0, "nothing gets past the first check"
    assert good < EXECUTIONS or name == "status"


def test_the_guard_sees_writes_outside_processes_and_connections(targets, tmp_path: Path) -> None:
    import subprocess

    targets.guard.folder = str(targets.folder)
    try:
        for forbidden in (lambda: (tmp_path / "x").write_text("x"), lambda: subprocess.run(["true"], check=False)):
            with pytest.raises(AssertionError):
                forbidden()
        (targets.folder / "x").write_text("x")
    finally:
        targets.guard.folder = None


names = st.lists(st.lists(st.sampled_from(NAME_PARTS), min_size=1, max_size=6).map("".join), min_size=1, max_size=12)
names = names.filter(lambda found: not {".", ".."} & set(found))


class Listing:
    def __init__(self, paths):
        self.paths = paths

    def iterdir(self):
        return self.paths

    def __truediv__(self, name):
        return Path(name)


@settings(max_examples=200, deadline=None)
@given(names)
def test_every_file_of_a_sequence_is_in_the_folder_and_under_its_own_number(found) -> None:
    try:
        sequence = sequence_of(Path(found[0]), found)
    except FootageError as error:
        assert error.code in ("footage.negative_numbers", "footage.letter_case")
        return
    assert found[0] in sequence.files.values()
    assert set(sequence.files.values()) <= set(found)
    assert all(str(number) in name or len(sequence.files) == 1 for number, name in sequence.files.items())
    try:
        only = only_sequence(cast(Path, Listing([Path(name) for name in found])), [".png"])
    except FootageError:
        return
    assert all(Path(name).suffix.lower() == ".png" for name in only.files.values())


numbers = st.lists(st.integers(0, 10**9), min_size=1, max_size=30, unique=True).map(sorted)
ends = st.none() | st.integers(-(10**12), 10**12)


@settings(max_examples=300, deadline=None)
@given(numbers, ends, ends, st.integers(1, 10**6))
def test_any_range_of_any_numbers_is_quickly_chosen_or_refused(present, first, last, step) -> None:
    try:
        chosen, missing = _selection(present, first, last, step, "name")
    except FootageError:
        return
    start = present[0] if first is None else first
    assert set(chosen) <= set(present)
    assert all((n - start) % step == 0 and n >= start and (last is None or n <= last) for n in [*chosen, *missing])
    assert not set(missing) & set(present)
    assert len(chosen) + len(missing) == (chosen[-1] - chosen[0]) // step + 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["schema", "footage", "output", "lens", "world", "seed", "x"]), json_values))
def test_any_document_is_a_request_or_refused(document) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(document | {"output": 7}, "it")  # which makes every one of them wrong
    assert all((caught.value.code, caught.value.what, caught.value.why, caught.value.fix))


def picture(path):
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8))
    return path


def refused(path, **options):
    with pytest.raises(CvdError) as caught:
        footage.probe(path, **options)
    return caught.value.code


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX names and permissions")
def test_names_that_no_program_can_hold_and_files_that_are_none(tmp_path: Path) -> None:
    assert refused(tmp_path / ("a" * 300 + ".png")) == "footage.unreadable"
    assert refused(Path("/" + "b/" * 3000 + "a.png")) in ("footage.unreadable", "footage.missing")
    assert refused(tmp_path / os.fsdecode(b"caf\xe9.png")) == "footage.name"
    assert refused(Path("a\0b.png")) == "footage.missing"
    os.mkfifo(tmp_path / "pipe_0001.png")
    assert refused(tmp_path / "pipe_0001.png") in ("footage.empty", "footage.unreadable_frame")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    assert refused(tmp_path / "loop.mp4") in ("footage.missing", "footage.unreadable")
    other = tmp_path / "other"
    other.mkdir()
    picture(other / "a_0001.png")
    (other / "a_0002.png").symlink_to(other / "gone.png")
    (other / "a_0003.png").mkdir()
    assert refused(other) in ("footage.unreadable", "footage.unreadable_frame")
    assert footage.probe(other / "a_0001.png").numbers == (1,)


def test_numbers_that_are_dates_are_no_endless_gap(tmp_path: Path) -> None:
    for name in ("img_1.png", "img_20240101123456.png"):
        picture(tmp_path / name)
    assert refused(tmp_path) == "footage.gaps"
    assert footage.probe(tmp_path, last=5).numbers == (1,)


def test_a_playlist_in_a_movies_clothes_opens_nothing_else(tmp_path: Path) -> None:
    secret = picture(tmp_path / "secret.png")
    for text in (f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n", f"ffconcat version 1.0\nfile '{secret}'\n"):
        for name in ("movie.mp4", "movie.mkv"):
            (tmp_path / name).write_text(text)
            assert refused(tmp_path / name) == "footage.not_video"


def test_a_folder_that_may_not_be_listed_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_self):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "clip").mkdir()
    monkeypatch.setattr(Path, "iterdir", denied)
    assert refused(tmp_path / "clip") == "footage.unreadable"
