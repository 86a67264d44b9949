"""What is fuzzed: each target takes bytes, makes a file of them as an enemy might, and lets the project read it.

It may succeed or raise the project's own errors. Anything else escapes and is a finding, and so is any file written
outside of the target's folder, any process started, any connection made and any pickle opened (`Guard`).
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import struct
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from cvd_blender_addon import jobs, solve_reader
from engine import files, footage
from engine.cameras.chan import read_chan
from engine.cameras.colmap import read_colmap
from engine.cameras.document import FollowedPoints, GivenCamera
from engine.cameras.knowledge import LensKnowledge
from engine.errors import CvdError
from engine.footage import movies
from engine.footage.sequence import only_sequence, sequence_of
from engine.request import read_request

FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "",
    "\0", "..", "../x", "/etc/passwd", "a" * 5000, "C:\\x", "\udcff", "depth/000001.exr", "points.ply", [], [[]], {},
    [0] * 4, [[1, 0, 0, 0]] * 4, {"path": "/"}, "NaN", "cvd.solve/2", "cvd.request/9", 3.0, -3,
]  # fmt: skip
MOVIES = {".avi": "mpeg4", ".mp4": "libx264", ".mkv": "ffv1", ".ts": "mpeg2video", ".mxf": "mpeg2video"}
NAME_PARTS = (
    "plate", "_", ".", "0001", "0002", "1", "10", "-3", "\u0663", "\u00b2", "\udcff", " ", "00", ".png", ".png", ".png",
    ".exr", ".PNG", "99999999999999999999", "v2", "..", "#", "(1)",
)  # fmt: skip


class Guard:
    """Watches, through Python's audit hooks, what reading a file may never do."""

    def __init__(self) -> None:
        self.folder: str | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in FORBIDDEN:
            raise AssertionError(f"{event} {args}")
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or event in ("os.rename", "os.remove", "os.mkdir")) and not str(args[0]).startswith(self.folder):
            raise AssertionError(f"writes outside of its folder: {event} {args[0]!r}")


class Targets:
    """All of them, with a folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.guard = Guard()
        self._solve = _whole_solve(folder / "a.solve")
        self._stills = _stills()
        self._movies = {s: _movie(folder / f"seed{s}", codec) for s, codec in MOVIES.items()}
        (folder / "clip").mkdir()
        self.all: dict[str, Callable[[bytes], object]] = {
            "request": self.request,
            "solve": self.solve,
            "points": self.points,
            "status": self.status,
            "names": self.names,
            "exr": lambda data: self.still(data, ".exr"),
            "png": lambda data: self.still(data, ".png"),
            "tif": lambda data: self.still(data, ".tif"),
            "jpg": lambda data: self.still(data, ".jpg"),
            "dpx": lambda data: self.still(data, ".dpx"),
            **{name[1:]: partial(self.movie, suffix=name) for name in MOVIES},
            "camera": self.camera,
            "tracks": self.tracks,
            "chan": self.chan,
            "colmap": self.colmap,
        }

    def run(self, name: str, data: bytes) -> bool:
        """True where it succeeded, False where it was refused with one of the project's errors."""
        self.guard.folder = str(self.folder)
        try:
            self.all[name](data)
        except (CvdError, solve_reader.SolveError) as error:
            parts = error.what, error.why, error.fix
            assert all(parts) and "Traceback" not in str(error), parts
            return False
        finally:
            self.guard.folder = None
        return True

    def request(self, data: bytes) -> None:
        """`request.json`."""
        path = self.folder / "request.json"
        path.write_bytes(mutated_json(data, _REQUEST))
        request = read_request(path)
        files.write_json(self.folder / "again.json", request.as_json())  # what is accepted can be written again

    def solve(self, data: bytes) -> None:
        """`solve.json`, with everything around it whole."""
        path = self.folder / "a.solve" / "solve.json"
        path.write_bytes(mutated_json(data, self._solve))
        solve = solve_reader.read(path.parent)
        inside = [f for frame in solve.frames for f in (frame.depth, frame.dynamic) if f is not None]
        root = (self.folder / "a.solve").resolve()
        assert all(f.is_relative_to(root) for f in [*inside, solve.points_path])
        solve_reader.summary(solve)

    def points(self, data: bytes) -> None:
        """`points.ply`."""
        path = self.folder / "points.ply"
        path.write_bytes(mutated_bytes(data, _PLY))
        solve_reader.read_points(path)

    def status(self, data: bytes) -> None:
        """`status.json`, which never raises."""
        (self.folder / "status.json").write_bytes(mutated_json(data, jobs._status("queued", "starting the engine")))
        status = jobs.Job(self.folder).poll()
        assert jobs.describe(status).isprintable()
        assert status.eta_s is None or jobs.duration(status.eta_s)

    def names(self, data: bytes) -> None:
        """File names of a folder; only names, since a disk would refuse many of them."""
        made = ("".join(NAME_PARTS[byte % len(NAME_PARTS)] for byte in part) for part in data.split(b"\0"))
        names = sorted(set(made) - {"", ".", ".."})
        if not names:
            return
        folder: Any = _Listing(names)
        for sequence in (sequence_of(Path(names[0]), names), only_sequence(folder, (".png", ".exr"))):
            assert sequence.files and list(sequence.files) == sorted(sequence.files)
            assert set(sequence.files.values()) <= set(names)

    def still(self, data: bytes, suffix: str) -> None:
        """A picture by `engine.footage`, and an EXR also by `engine.files`."""
        path = self.folder / "clip" / f"plate_0001{suffix}"
        for other in path.parent.iterdir():
            other.unlink()
        path.write_bytes(mutated_bytes(data, self._stills[suffix]))
        if suffix == ".exr":
            with contextlib.suppress(OSError):
                files.read_exr(path)
        clip = footage.probe(path)
        for _, picture in footage.read_frames(clip):
            assert picture.dtype == np.float32 and np.isfinite(picture).all()

    def movie(self, data: bytes, suffix: str) -> None:
        """A movie."""
        path = self.folder / f"movie{suffix}"
        path.write_bytes(mutated_bytes(data, self._movies[suffix]))
        clip = footage.probe(path)
        assert movies.frame_rate(clip.fps[0] / clip.fps[1])[1] > 0
        for _, picture in footage.read_frames(clip, clip.numbers[:2]):
            assert np.isfinite(picture).all()

    def camera(self, data: bytes) -> None:
        """`cvd.camera/1`."""
        path = self.folder / "camera.json"
        path.write_bytes(mutated_json(data, _CAMERA))
        camera = GivenCamera.load(path)
        _possible(camera)
        camera.save(self.folder / "again.json")  # what is accepted can be written again

    def tracks(self, data: bytes) -> None:
        """`cvd.tracks/1`."""
        path = self.folder / "tracks.json"
        path.write_bytes(mutated_json(data, _TRACKS))
        points = FollowedPoints.load(path)
        assert np.isfinite(points.pixel).all() and np.abs(points.frame).max(initial=0) < 2**32

    def chan(self, data: bytes) -> None:
        """A `.chan`."""
        path = self.folder / "a.chan"
        path.write_bytes(mutated_bytes(data, _CHAN))
        _possible(read_chan(path, 64, 48, LensKnowledge(), None, "ZXY", False))

    def colmap(self, data: bytes) -> None:
        """A COLMAP model: cameras where the first byte is even, pictures where it is odd."""
        folder = self.folder / "model"
        folder.mkdir(exist_ok=True)
        for number, (name, whole) in enumerate(_COLMAP.items()):
            (folder / name).write_bytes(mutated_bytes(data, whole) if data[:1] and data[0] % 2 == number else whole)
        _possible(read_colmap(folder, {}, [], [1, 2], False))


def _possible(camera: GivenCamera) -> None:
    """Whatever is accepted can be computed with."""
    for number, pose in camera.world_from_camera.items():
        lens = camera.lens_at(number)
        assert np.isfinite(pose).all() and np.isfinite([lens.fx, lens.fy, lens.cx, lens.cy]).all()
        assert lens.fx > 0.0 and lens.fy > 0.0 and np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3))


class _Listing:
    """Stands in for a folder with any names in it."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def iterdir(self) -> list[Path]:
        return [Path(name) for name in self._names if name not in (".", "..")]

    def __truediv__(self, name: str) -> Path:
        return Path(name)


def mutated_bytes(data: bytes, whole: bytes) -> bytes:
    """`whole` changed in the places and ways that `data` says; now and then `data` itself."""
    if not data or data[0] == 0:
        return data[1:]
    changed = bytearray(whole)
    for at in range(1, len(data) - 4, 5):
        where, kind, value = int.from_bytes(data[at : at + 3], "big") % len(changed), data[at + 3], data[at + 4]
        if kind < 120:
            changed[where] = value
        elif kind < 170:
            changed[where : where + 4] = struct.pack("<I", value * 16843009)[: len(changed[where : where + 4])]
        elif kind < 210:
            del changed[where : where + 1 + value]
        elif kind < 240:
            changed[where:where] = bytes([value]) * (1 + value)
        else:
            del changed[where:]
        if not changed:
            return b""
    return bytes(changed)


def mutated_json(data: bytes, whole: Any) -> bytes:
    """A document with values exchanged, doubled or left out as `data` says; now and then text that is none."""
    if not data or data[0] == 0:
        return data[1:]
    document = json.loads(json.dumps(whole))
    for at in range(1, len(data) - 3, 4):
        parent, key = _place(document, data[at] * 256 + data[at + 1])
        if parent is None:
            document = copy.deepcopy(HOSTILE[data[at + 3] % len(HOSTILE)])
            break
        if data[at + 2] < 40 and isinstance(parent, dict):
            parent.pop(key, None)
        elif data[at + 2] < 60 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[key] = copy.deepcopy(HOSTILE[data[at + 3] % len(HOSTILE)])
    text = json.dumps(document).encode()
    return text if data[0] != 1 else text[: len(text) * (data[-1] + 1) // 256]


def _place(document: Any, number: int) -> tuple[Any, Any]:
    """The `number`-th value of a document, as its container and its key in it."""
    places: list[tuple[Any, Any]] = []

    def collect(part: Any) -> None:
        keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else []
        for key in keys:
            places.append((part, key))
            collect(part[key])

    collect(document)
    return places[number % len(places)] if places else (None, None)


def random_input(generator: random.Random) -> bytes:
    """Bytes as the fuzzer would give, without its knowledge of coverage."""
    return generator.randbytes(1 + generator.choice((4, 5, 10, 20, 40)))


_REQUEST: dict[str, Any] = {
    "schema": "cvd.request/1",
    "footage": {"path": "/a.mp4", "first": 1, "last": 9, "step": 1, "colourspace": "auto", "stereo": "none",
                "right": None, "baseline": None},
    "output": "/a.solve",
    "lens": {"model": "AUTO", "focal_px": None, "focal_mm": 35.0, "sensor_mm": 36.0, "camera": None, "metadata": True},
    "camera": {"kind": "solve", "path": None, "film_back_mm": None, "rotation_order": "ZXY", "metric": False},
    "tracks": None,
    "world": {"camera_height": 1.7, "distance": None},
    "masks": {"path": None, "segmentation": None, "motion": True, "allow_non_commercial": False},
    "prior": {"kind": "auto", "path": None, "maps": "depth", "allow_non_commercial": False},
    "method": "cvd", "preset": "standard", "seed": 0, "device": "auto",
}  # fmt: skip
_EYE = [[1.0, 0, 0, 0.5], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]
_CAMERA: dict[str, Any] = {
    "schema": "cvd.camera/1", "width": 64, "height": 48, "metric": False,
    "lens": {"fx": 60.0, "fy": 60.0, "cx": 32.0, "cy": 24.0, "k1": 0.1},
    "frames": [{"frame": n, "world_from_camera": _EYE, "focal_px": 60.0 + n} for n in (1, 2)],
}  # fmt: skip
_TRACKS: dict[str, Any] = {
    "schema": "cvd.tracks/1", "width": 64, "height": 48,
    "tracks": [{"name": name, "markers": [[1, 5.0, 6.0], [2, 7.0, 8.0]]} for name in "ab"],
}  # fmt: skip
_CHAN = b"1 0.5 1.25 -3 10 20 30 45.5\n2\t0.6 1.3 -3.1 11 21 31 45.5\r\n# 3\n3,0.7,1.3,-3.1,11,21,31,45.5\n"
_COLMAP = {
    "cameras.bin": struct.pack("<QIiQQ3d", 1, 1, 0, 64, 48, 60.0, 32.0, 24.0),
    "images.bin": struct.pack("<Q", 2)
    + b"".join(
        struct.pack("<I7dI", n, 0.8, 0.6, 0.0, 0.0, 0.1 * n, 0.0, 0.0, 1) + b"f_%d.png\0" % n + struct.pack("<Q", 0)
        for n in (1, 2)
    ),
}
_PLY = (
    b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
    b"property uchar red\nproperty uchar green\nproperty uchar blue\nproperty int track_length\nend_header\n"
    + 2
    * struct.pack("<fffBBBi", 1.0, 2.0, 3.0, 10, 20, 30, 4)
)


def _whole_solve(folder: Path) -> dict[str, Any]:
    (folder / "depth").mkdir(parents=True)
    for number in (1, 2):
        files.write_exr(folder / "depth" / f"{number:06d}.exr", np.ones((48, 64), np.float32))
    (folder / "points.ply").write_bytes(_PLY)
    outside = folder.parent / "secret"
    outside.touch()
    (folder / "depth" / "link.exr").symlink_to(outside)
    eye = [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]
    frame = {"registered": True, "world_from_camera": eye, "reason": None, "focal_px": 100.0, "dynamic": None,
             "reprojection_px": 0.5}  # fmt: skip
    return {
        "schema": "cvd.solve/1",
        "source": {"path": "/p/plate_0001.png", "kind": "sequence", "pattern": "plate_####.png", "width": 64,
                   "height": 48, "fps": [24, 1], "first": 1, "last": 2, "colourspace": "srgb", "content_id": "c"},
        "lens": {"model": "OPENCV", "fx": 100.0, "fy": 100.0, "cx": 32.0, "cy": 24.0, "k1": 0.1, "k2": 0.0, "p1": 0.0,
                 "p2": 0.0, "focal_varies": False, "source": "known", "uncertainty_pct": 1.0},
        "frames": [{"frame": n, "depth": f"depth/{n:06d}.exr", **frame} for n in (1, 2)],
        "world": {"up": "estimated", "scale": "metric", "unit": "metre"},
        "depth": {"method": "cvd", "prior": "p", "licence": "l", "width": 64, "height": 48, "planar": True,
                  "near": 1.0, "far": 9.0},
        "points": "points.ply",
        "quality": {"verdict": "v", "warnings": ["w"]},
    }  # fmt: skip


def _stills() -> dict[str, bytes]:
    picture = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    made = {s: cv2.imencode(s, picture)[1].tobytes() for s in (".png", ".tif", ".jpg")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.exr"
        files.write_exr_channels(path, {c: picture[..., i].astype(np.float32) for i, c in enumerate("RGB")})
        made[".exr"] = path.read_bytes()
    header = bytearray(2048)
    struct.pack_into(">4sI8s", header, 0, b"SDPX", 2048, b"V1.0")
    struct.pack_into(">I", header, 16, 2048 + 12 * 16 * 4)
    struct.pack_into(">HHII", header, 768, 0, 1, 16, 12)
    struct.pack_into(">BBBBHH", header, 800, 50, 2, 2, 10, 1, 0)
    struct.pack_into(">I", header, 808, 2048)
    made[".dpx"] = bytes(header) + bytes(12 * 16 * 4)
    return made


def _movie(path: Path, codec: str) -> bytes:
    generator = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(generator.integers(0, 255, (32, 32, 3), np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()
