"""What artist, database and files say about the lens, and who goes before whom."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.cameras.knowledge import database, equivalent_px, what_is_known
from engine.cameras.metadata import Metadata, of_movie, of_picture
from engine.errors import RequestError
from engine.footage import Footage
from engine.request import LensRequest

EQUIVALENT = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
LENS, MODEL = "com.apple.quicktime.camera.lens_model", "com.apple.quicktime.model"
GOLF = Path(__file__).resolve().parents[4] / "shared" / "data" / "golf" / "source.mov"


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def metadata_box(said: dict[str, bytes], *, versioned: bool = False) -> bytes:
    """A `meta` box; each value is a well-known type and the bytes of it."""
    names = b"".join(box(b"mdta", name.encode()) for name in said)
    keys = box(b"keys", bytes(4), struct.pack(">I", len(said)), names)
    entries = (box(struct.pack(">I", k), box(b"data", value)) for k, value in enumerate(said.values(), 1))
    version = bytes(4) if versioned else b""
    return box(b"meta", version, box(b"hdlr", bytes(24)), keys, box(b"ilst", *entries))


def text(value: str) -> bytes:
    return struct.pack(">II", 1, 0) + value.encode()


def movie(path: Path, in_movie: dict[str, bytes], in_track: dict[str, bytes], **options: bool) -> Path:
    track = box(b"trak", box(b"tkhd", bytes(20)), metadata_box(in_track, **options))
    moov = box(b"moov", box(b"mvhd", bytes(100)), track, metadata_box(in_movie, **options))
    path.write_bytes(box(b"ftyp", b"qt  ", bytes(4)) + box(b"mdat", bytes(5000)) + moov)
    return path


def clip(path: Path, width: int = 1920, height: int = 1080) -> Footage:
    return Footage(path, "movie", None, width, height, (24, 1), (1,), (), (), "srgb", "c")


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        struct.pack(">IIi", 21, 0, 26),
        struct.pack(">IIi", 67, 0, -26),
        struct.pack(">IIB", 22, 0, 26),
        struct.pack(">IIf", 23, 0, 26.0),
        struct.pack(">IId", 24, 0, 26.0),
    ],
)
def test_a_phone_movie_says_its_equivalent(tmp_path: Path, value: bytes, versioned: bool) -> None:
    said = {LENS: text("iPhone 13 back camera 5.1mm f/1.6"), EQUIVALENT: value}
    path = movie(tmp_path / "a.mov", {MODEL: text("iPhone 13")}, said, versioned=versioned)
    found = of_movie(path)
    assert found == Metadata(26.0, None, "iPhone 13", "iPhone 13 back camera 5.1mm f/1.6, 26 mm equivalent")
    known = what_is_known(LensRequest(), clip(path))
    assert known.focal_px is None
    # The diagonal of full frame is 43.27 mm, that of this plate 2202.9 px.
    assert known.start_px == pytest.approx(26 / 43.267 * 2202.9, rel=1e-4)
    assert "26 mm equivalent" in known.origin


@pytest.mark.skipif(not GOLF.exists(), reason="the real footage is not here")
def test_a_real_phone_movie() -> None:
    found = of_movie(GOLF)
    assert found is not None
    assert found.model == "iPhone 6"
    assert found.equivalent_mm is None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_movie_says_nothing_or_something_possible(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.mov"
    movie(path, {MODEL: text("iPhone 13")}, {EQUIVALENT: struct.pack(">IIi", 21, 0, 26)})
    content = bytearray(path.read_bytes())
    start = content.index(b"moov") - 4
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(start, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(start, len(content)))])
    found = of_movie(path)
    assert found is None or found.equivalent_mm is None or 0.5 < found.equivalent_mm < 3000


def test_a_box_that_holds_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(struct.pack(">I4s", 0, b"moov") * 2000)
    assert of_movie(path) is None


def photo(path: Path, **tags: object) -> Path:
    exif = Image.Exif()
    if "model" in tags:
        exif[0x0110] = tags["model"]
    details = exif.get_ifd(0x8769)
    for key, tag in (("focal", 0x920A), ("equivalent", 0xA405)):
        if key in tags:
            details[tag] = tags[key]
    Image.fromarray(np.zeros((90, 160, 3), np.uint8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_photographs_say_their_lens(tmp_path: Path, suffix: str) -> None:
    path = photo(tmp_path / f"a_0001.{suffix}", model="ILCE-7SM3", focal=35.0, equivalent=35)
    found = of_picture(path)
    assert found is not None
    assert (found.focal_mm, found.equivalent_mm, found.model) == (35.0, 35.0, "ILCE-7SM3")
    start = what_is_known(LensRequest(), clip(path)).start_px
    assert start == pytest.approx(equivalent_px(35, 1920, 1080))
    assert what_is_known(LensRequest(metadata=False), clip(path)).start_px is None


def test_zero_means_unknown_and_a_real_focal_length_needs_a_sensor(tmp_path: Path) -> None:
    path = photo(tmp_path / "a_0001.jpg", focal=35.0, equivalent=0)
    assert what_is_known(LensRequest(), clip(path)).start_px is None
    known = what_is_known(LensRequest(camera="Super 35 film, full aperture"), clip(path))
    assert known.start_px == pytest.approx(35.0 / 24.89 * 1920)
    assert of_picture(photo(tmp_path / "b_0001.jpg", focal=0.0)) is None
    (tmp_path / "c_0001.jpg").write_bytes(b"no picture")
    assert of_picture(tmp_path / "c_0001.jpg") is None


def test_the_artist_goes_first(tmp_path: Path) -> None:
    footage = clip(photo(tmp_path / "a_0001.jpg", equivalent=26))
    both = LensRequest(focal_px=1500.0, focal_mm=35.0, sensor_mm=36.0)
    assert what_is_known(both, footage).focal_px == 1500.0
    known = what_is_known(replace(both, focal_px=None), footage)
    assert known.focal_px == pytest.approx(35 / 36 * 1920) and known.start_px is None
    by_camera = what_is_known(LensRequest(focal_mm=25.0, camera="ARRI ALEXA 35, open gate 4.6K"), footage)
    assert by_camera.focal_px == pytest.approx(25.0 / 27.99 * 1920)
    assert "ALEXA 35" in by_camera.origin
    own = LensRequest(focal_mm=25.0, sensor_mm=24.0, camera="ARRI ALEXA 35, open gate 4.6K")
    assert what_is_known(own, footage).focal_px == pytest.approx(2000.0)
    phone = what_is_known(LensRequest(camera="iPhone 15 Pro, main lens"), footage)
    assert phone.focal_px is None and phone.start_px == pytest.approx(equivalent_px(24, 1920, 1080))


@pytest.mark.parametrize(
    ("lens", "words"),
    [
        (LensRequest(focal_mm=35.0), "width of the sensor"),
        (LensRequest(focal_mm=4.0, camera="iPhone 15 Pro, main lens"), "width of the sensor"),
        (LensRequest(camera="ARRI ALEXA 36"), "ARRI ALEXA 35"),
        (LensRequest(focal_px=1e-300), "not that of a lens"),
        (LensRequest(focal_mm=35.0, sensor_mm=1e-9), "not that of a lens"),
    ],
)
def test_half_a_lens_is_refused(lens: LensRequest, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        what_is_known(lens, clip(Path("/none.mp4")))


def test_every_entry_of_the_database_is_one_that_a_camera_can_have() -> None:
    for name, entry in database().items():
        assert set(entry) <= {"sensor_mm", "equivalent_mm"} and entry, name
        width, height = entry.get("sensor_mm", (36, 24))
        assert 4 < width < 60 and 1.2 < width / height < 2.2, name
        assert 10 <= entry.get("equivalent_mm", 24) <= 200, name


def test_a_known_aspect_counts_where_diagonals_are_compared(tmp_path: Path) -> None:
    plate = clip(tmp_path / "a.mp4", 1440, 1080)
    body = LensRequest(camera="iPhone 15 Pro, main lens", pixel_aspect=4 / 3, principal_px=(700.0, 500.0))
    known = what_is_known(body, plate)
    assert known.start_px == pytest.approx(
        equivalent_px(database()["iPhone 15 Pro, main lens"]["equivalent_mm"], 1440, 810)
    )
    assert (known.pixel_aspect, known.principal_px) == (4 / 3, (700.0, 500.0))
    for outside in ((-1.0, 500.0), (700.0, 1100.0)):
        with pytest.raises(RequestError, match="1440x1080"):
            what_is_known(LensRequest(principal_px=outside), plate)
