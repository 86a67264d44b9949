"""Make the movies of this folder, which the tests of both the engine and the add-on read: python make_movies.py

`pictures.json` says which picture, from 0, each frame shows, from frame 1. It is Blender's movie clip that decides this
(`tests/addon/test_movie_frames.py`); the engine has to agree (`tests/engine/footage/test_footage_movies.py`).
A picture has its own number in it, as six upright bars, bright for a one, the lowest bit first.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent
WIDTH, HEIGHT, BITS = 96, 64, 6
TICK = Fraction(1, 600)
# Of a phone: most pictures last a thirtieth of a second, some a little more or less, some two or three times as long,
# and some come so fast that there is no frame for them.
VARIABLE = [
    20,
    20,
    21,
    19,
    20,
    40,
    20,
    60,
    20,
    20,
    14,
    16,
    14,
    20,
    20,
    19,
    21,
    20,
    40,
    20,
    20,
    20,
    21,
    19,
    20,
    20,
    20,
    20,
    20,
    20,
]
PAUSED = [20] * 6 + [300] + [20] * 6  # half a second in which nothing was written


def picture(number: int) -> NDArray[np.uint8]:
    """(H, W, 3) with the number in it."""
    bars = np.array([40 + 170 * (number >> bit & 1) for bit in range(BITS)], np.uint8)
    return np.ascontiguousarray(np.broadcast_to(bars.repeat(WIDTH // BITS)[None, :, None], (HEIGHT, WIDTH, 3)))


def write(path: Path, durations: list[int], **options: str) -> None:
    """A movie of pictures that last for so many 1/600 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "20", "g": "12", "bf": "2", **options})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = stream.time_base = TICK
        stream.codec_context.thread_count = 1  # the same bytes on every computer
        time = 0
        for number, duration in enumerate(durations):
            frame = av.VideoFrame.from_ndarray(picture(number))
            frame.pts, frame.duration, frame.time_base = time, duration, TICK
            time += duration
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def cut_start(path: Path) -> None:
    """What a recorder leaves that was switched on in the middle: the first packets of a transport stream are lost."""
    packets = path.read_bytes()
    tables, size = 3 * 188, 188
    start = len(packets) // size * 2 // 7 * size
    path.write_bytes(packets[:tables] + packets[start:])


if __name__ == "__main__":
    write(FOLDER / "variable_rate.mov", VARIABLE)
    write(FOLDER / "paused.mkv", PAUSED)
    write(FOLDER / "begins_late.mts", [20] * 40)
    cut_start(FOLDER / "begins_late.mts")
