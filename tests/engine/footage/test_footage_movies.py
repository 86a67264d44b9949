"""Movies as cameras, phones and recorders write them: numbers, fields, streams, and what must never be opened."""

import json
import socket
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from engine.errors import FootageError
from engine.footage import prepare, probe, read_frames
from engine.footage.movies import movie_frames, survey
from engine.progress import Silent
from tests.movies.make_movies import BITS, picture
from tests.movies.make_movies import write as write_timed

MOVIES = Path(__file__).resolve().parents[2] / "movies"
PICTURES: dict[str, list[int]] = json.loads((MOVIES / "pictures.json").read_text())
BIG = cv2.resize(
    np.random.default_rng(3).integers(0, 256, (60, 130, 3), np.uint8), (1040, 480), interpolation=cv2.INTER_CUBIC
)


class Told(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str, frames: object = ()) -> None:
        self.warnings.append(message)


def view(at: float) -> np.ndarray:
    """What a camera sees that moves by six pixels in each unit of `at`."""
    return np.ascontiguousarray(BIG[100:340, round(6 * at) : round(6 * at) + 320])


def woven(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """A frame whose even lines are of one moment and whose odd lines are of another."""
    both = top.copy()
    both[1::2] = bottom[1::2]
    return both


def video_stream(container: av.container.OutputContainer, codec: str, options: dict[str, str]) -> av.VideoStream:
    stream = container.add_stream(codec, rate=24, options=options)
    assert isinstance(stream, av.VideoStream)
    return stream


def write(
    path: Path, pictures: Iterable[np.ndarray], codec: str = "libx264", setup: Callable | None = None, **options: str
) -> Path:
    with av.open(str(path), "w") as container:
        stream = video_stream(container, codec, options or {"crf": "12", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for index, rgb in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = rgb.shape[:2]
                if setup:
                    setup(stream.codec_context)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb)))
        container.mux(stream.encode())
    return path


def refusal(path: Path) -> FootageError:
    with pytest.raises(FootageError) as caught:
        probe(path)
    assert all((caught.value.what, caught.value.why, caught.value.fix))
    return caught.value


def warnings_of(path: Path, work: Path) -> list[str]:
    told = Told()
    prepare(probe(path), work, told)
    return told.warnings


def number_in(frame: np.ndarray) -> int:
    bars = frame.mean(axis=(0, 2)).reshape(BITS, -1).mean(axis=1) > 0.45
    return sum(int(bar) << bit for bit, bar in enumerate(bars))


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_a_frame_shows_the_picture_that_blender_shows(name: str) -> None:
    footage = probe(MOVIES / name)
    assert [number_in(frame) for _, frame in read_frames(footage)] == PICTURES[name]
    assert footage.numbers == tuple(range(1, len(PICTURES[name]) + 1))
    assert footage.cut_short is None


def test_single_frames_and_ranges_show_the_same_pictures() -> None:
    shown = PICTURES["variable_rate.mov"]
    footage = probe(MOVIES / "variable_rate.mov", first=5, last=20, step=3)
    assert {n: number_in(frame) for n, frame in read_frames(footage, [8, 17])} == {8: shown[7], 17: shown[16]}


def test_a_frame_rate_that_varies_is_told_and_repeats_are_duplicates(tmp_path: Path) -> None:
    [told] = [w for w in warnings_of(MOVIES / "variable_rate.mov", tmp_path) if "frame rate" in w]
    assert "3 of 30 repeat the picture before, and 2 pictures are not shown" in told
    assert json.loads((tmp_path / "preflight.json").read_text())["duplicates"] == [7, 10, 21]


def test_a_recording_without_its_first_key_frame_is_told(tmp_path: Path) -> None:
    [told] = [w for w in warnings_of(MOVIES / "begins_late.mts", tmp_path) if "key frame" in w]
    assert "first 5 frames" in told
    assert "frame 6 is shown" in told


def test_a_movie_whose_timestamps_are_out_of_order_is_refused_with_a_cure(tmp_path: Path) -> None:
    """H.264 with B frames in AVI, which has one timestamp for each packet: Blender shows its pictures in disorder."""
    moves = (picture(n) for n in range(40))
    path = write(tmp_path / "a.avi", moves, setup=lambda c: setattr(c, "max_b_frames", 3), bf="3", b_adapt="0")
    error = refusal(path)
    assert error.code == "footage.timestamps"
    assert 'ffmpeg -i "a.avi" -vf setpts=N*1/24/TB -r 24 ' in error.fix


@pytest.mark.parametrize("durations", [[20] * 6 + [20_000_000] + [20] * 6, [20_000_000, *[20] * 6]])
def test_a_pause_of_hours_is_no_footage(tmp_path: Path, durations: list[int]) -> None:
    write_timed(tmp_path / "a.mov", durations)
    error = refusal(tmp_path / "a.mov")
    assert error.code == "footage.timestamps"
    assert "-vf setpts=N*" in error.fix


def test_a_last_picture_of_hours_ends_with_the_others(tmp_path: Path) -> None:
    write_timed(tmp_path / "a.mov", [20] * 6 + [20_000_000])
    assert len(probe(tmp_path / "a.mov").numbers) < 20_000


def test_pictures_that_an_edit_list_hides_are_not_missed(tmp_path: Path) -> None:
    """What a phone's trim leaves: all pictures are in the file, and only those after the cut are shown."""
    whole = write(tmp_path / "whole.mp4", (picture(n) for n in range(48)), crf="18", g="24", bf="0")
    with (
        av.open(str(whole)) as source,
        av.open(str(tmp_path / "trimmed.mp4"), "w", options={"avoid_negative_ts": "disabled"}) as target,
    ):
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        assert video.time_base
        shift = int(12 / 24 / video.time_base)
        for packet in source.demux(video):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                target.mux(packet)
    with av.open(str(tmp_path / "trimmed.mp4")) as trimmed:
        assert trimmed.streams.video[0].frames == 48
    footage = probe(tmp_path / "trimmed.mp4")
    assert [number_in(frame) for _, frame in read_frames(footage)] == list(range(12, 48))
    assert footage.cut_short is None


@pytest.mark.parametrize("suffix", [".ts", ".m2ts", ".mts"])
def test_transport_streams(tmp_path: Path, suffix: str) -> None:
    made = write(tmp_path / "a.ts", (picture(n) for n in range(12)), "mpeg2video", qmin="1", qmax="2", bf="0")
    path = made.rename(tmp_path / f"a{suffix}")
    assert [number_in(frame) for _, frame in read_frames(probe(path))] == list(range(12))


FIELDS = {
    "top field first": [woven(view(n), view(n + 0.5)) for n in range(16)],
    "bottom field first": [woven(view(n + 0.5), view(n)) for n in range(16)],
    "pulldown": [woven(view(n), view(n + (1 if n % 5 in (1, 2) else 0))) for n in range(20)],
    "fast": [woven(view(5 * n), view(5 * n + 2.5)) for n in range(16)],
}


@pytest.mark.parametrize("kind", FIELDS)
def test_interlaced_movies_are_refused_with_a_cure(tmp_path: Path, kind: str) -> None:
    error = refusal(write(tmp_path / "a.mov", FIELDS[kind], crf="8"))
    assert error.code == "footage.interlaced"
    assert 'ffmpeg -i "a.mov" -vf bwdif=send_frame -c:v prores_ks -profile:v 3 "a_progressive.mov"' in error.fix


def test_progressive_pictures_that_are_flagged_as_interlaced_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mpg", [view(n) for n in range(16)], "mpeg2video", flags="+ildct+ilme", qmin="1", qmax="2", bf="0"
    )
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    movie = survey(path)
    assert movie.judged >= 10
    assert movie.combed == 0
    frames = dict(read_frames(probe(path)))
    for number, frame in frames.items():
        assert np.abs(frame * 255.0 - view(number - 1)).mean() < 10.0, "neither black nor another frame's memory"


def test_a_stream_that_is_not_shown_is_told_with_the_way_to_it(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "two.mov"), "w") as container:
        streams = []
        for width, height in ((80, 60), (320, 240)):
            stream = container.add_stream("libx264", rate=24, options={"crf": "20"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for index in range(12):
            for stream in streams:
                small = cv2.resize(view(index), (stream.width, stream.height), interpolation=cv2.INTER_AREA)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(small)))
        for stream in streams:
            container.mux(stream.encode())
    footage = probe(tmp_path / "two.mov")
    assert (footage.width, footage.height) == (80, 60), "Blender shows the first one"
    [told] = [w for w in warnings_of(tmp_path / "two.mov", tmp_path) if "streams" in w]
    assert 'ffmpeg -i "two.mov" -map 0:v:1 -c copy "two_stream1.mov"' in told
    assert "320x240" in told


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG"), (1, None)])
def test_hdr_is_told(tmp_path: Path, transfer: int, name: str | None) -> None:
    path = write(
        tmp_path / "a.mov", [view(n) for n in range(8)], setup=lambda context: setattr(context, "color_trc", transfer)
    )
    told = [w for w in warnings_of(path, tmp_path) if "HDR" in w]
    assert [name is not None and name in w for w in told] == ([True] if name else [])


@pytest.mark.parametrize("opaque", [False, True])
def test_a_plate_that_is_see_through_in_places_says_that_its_alpha_is_not_used(tmp_path: Path, opaque: bool) -> None:
    with av.open(str(tmp_path / "keyed.mov"), "w") as container:
        stream = container.add_stream("png", rate=24)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgba"
        for number in range(3):
            plate = np.dstack([picture(number)[:64, :96], np.full((64, 96), 255, np.uint8)])
            plate[:8, :, 3] = 255 if opaque else 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(plate, format="rgba")))
        container.mux(stream.encode())
    told = [warning for warning in warnings_of(tmp_path / "keyed.mov", tmp_path / "work") if "alpha" in warning]
    assert ["keyed.mov has an alpha channel, which is ignored" in warning for warning in told] == [True] * (not opaque)


def test_ten_bits_are_kept(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint16)[None, :, None] * 4 + 1, 64, axis=0).repeat(3, axis=2)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 256, 64, "gbrp10le"
        for _ in range(3):
            planes = av.VideoFrame.from_ndarray(ramp, format="gbrp10le")
            container.mux(stream.encode(planes))
        container.mux(stream.encode())
    _, stored = next(movie_frames(tmp_path / "a.mkv", lambda _: True))
    assert stored is not None
    assert stored.dtype == np.uint16
    assert np.abs(stored / 65535.0 - ramp / 1023.0).max() < 1e-3
    assert len(np.unique(stored[0, :, 0])) == 256


@pytest.mark.parametrize(("name", "options"), [("a.gif", {}), ("a_0001.webp", {"quality": 80})])
def test_animations_are_told_from_stills(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    first, *others = (Image.fromarray(picture(n)) for n in range(4))
    first.save(tmp_path / name, save_all=True, append_images=others, duration=50, **options)
    error = refusal(tmp_path / name)
    assert error.code == "footage.animation"
    assert f'magick "{name}" -coalesce' in error.fix


@pytest.fixture
def server() -> Iterable[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://{host}/a.ts\n#EXT-X-ENDLIST\n",
    "hls of a file": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nreal.mkv\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1">'
    "<BaseURL>http://{host}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "ffconcat": "ffconcat version 1.0\nfile http://{host}/a.mp4\n",
    "ffconcat of a file": "ffconcat version 1.0\nfile real.mkv\n",
    "images": "real.mkv",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".avi"])
def test_playlists_under_the_name_of_a_movie_open_nothing(
    tmp_path: Path, server: socket.socket, kind: str, suffix: str
) -> None:
    write(tmp_path / "real.mkv", [view(n) for n in range(4)])
    host, port = server.getsockname()
    path = tmp_path / f"a{suffix}"
    path.write_text(PLAYLISTS[kind].format(host=f"{host}:{port}", port=port))
    assert refusal(path).code == "footage.not_video"
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.mark.parametrize(
    "name", ["http:a.mp4", "concat:real.mkv|real.mkv.mp4", "%04d.mp4", "subfile,,start,0,end,9,,:a.mp4"]
)
def test_names_that_mean_something_to_ffmpeg_are_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.mp4"
    write(path, (picture(n) for n in range(6)))
    path.rename(tmp_path / name)
    assert probe(tmp_path / name).numbers == (1, 2, 3, 4, 5, 6)


def test_a_damaged_movie_is_read_without_a_word_on_the_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines of JSON go to the standard output, and FFmpeg has much to say of damage."""
    path = write(tmp_path / "a.mp4", [view(n) for n in range(24)])
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 4000
    data[middle : middle + 4000] = bytes(byte ^ 0x5A for byte in data[middle : middle + 4000])
    path.write_bytes(data)
    footage = probe(path)
    assert footage.numbers == tuple(range(1, 25))
    assert sum(1 for _ in read_frames(footage)) == 24
    assert capfd.readouterr() == ("", "")


def test_the_rate_is_the_one_that_blender_takes(tmp_path: Path) -> None:
    """A clock of 90,000 ticks a second is no frame rate, whatever a field of the file says."""
    with av.open(str(tmp_path / "a.mp4"), "w", options={"video_track_timescale": "90000"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(21, 2))
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90000)
        ticks = np.cumsum([0, *np.random.default_rng(1).integers(7199, 9007, 24)])
        for index, tick in enumerate(ticks.tolist()):
            frame = av.VideoFrame.from_ndarray(view(index))
            frame.pts, frame.time_base = tick, Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    footage = probe(tmp_path / "a.mp4")
    assert 9 < footage.fps[0] / footage.fps[1] < 13
    assert len(footage.numbers) == 25
