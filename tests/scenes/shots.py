"""The shots of the suite: what is before which camera, and what an honest solver says about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from engine.geometry.arrays import Lens
from tests.scenes.imaging import Camera
from tests.scenes.paths import Path, aimed, eased, handheld, turned
from tests.scenes.surfaces import Bank
from tests.scenes.worlds import Array, World, room, street, yard

WIDTH, HEIGHT, FOCAL = 480, 320, 430.0
COUNT = 20


@dataclass(frozen=True)
class Expected:
    """What an honest solver says about a shot.

    Attributes:
        solvable: cameras, and focal length, within the limits of the benchmark. False: no geometry could give them.
        turning: nothing but rotations (and the focal length) can be had: no parallax.
        refusals: codes of errors that are an honest answer.
        focal_hidden: the footage does not tell the focal length: it must be called uncertain.
        broken: first and last frame between which the shot falls in two; it must be reported.
        focal_varies: the shot zooms.
    """

    solvable: bool = True
    turning: bool = False
    refusals: tuple[str, ...] = ()
    focal_hidden: bool = False
    broken: tuple[int, int] | None = None
    focal_varies: bool = False


@dataclass(frozen=True)
class Shot:
    """A shot.

    Attributes:
        name: of its folder.
        about: what is special, in words.
        world: what is there.
        camera: what takes it; frame `numbers[k]` is taken at time k, or at `times[k]`.
        numbers: plate frame numbers.
        times: in frames; empty = 0, 1, 2 ...
        fps: frames a second.
        depth_unit: metres, of the depth files.
        seed: of the sensor's noise.
        expected: what an honest solver says.
        revision: counted up when the shot changes, so that a cached one is made again.
    """

    name: str
    about: str
    world: Callable[[Bank], World]
    camera: Camera
    numbers: tuple[int, ...]
    times: tuple[float, ...] = ()
    fps: float = 24.0
    depth_unit: float = 0.0005
    seed: int = 0
    expected: Expected = field(default_factory=Expected)
    revision: int = 1


def lens(focal: float = FOCAL, width: int = WIDTH, height: int = HEIGHT, **other: float) -> Callable[[float], Lens]:
    """A lens that stays as it is; centred, with square pixels and without distortion where not told otherwise."""
    known = {"fx": focal, "fy": focal, "cx": width / 2, "cy": height / 2, **other}
    kept = Lens("OPENCV", width, height, **known)
    return lambda time: kept


def zooming(start: float, end: float, count: int = COUNT) -> Callable[[float], Lens]:
    """A lens whose focal length goes smoothly from `start` to `end`."""

    def at(time: float) -> Lens:
        focal = start * (end / start) ** eased(time, 0.15 * count, 0.85 * count)
        return Lens("OPENCV", WIDTH, HEIGHT, focal, focal, WIDTH / 2, HEIGHT / 2)

    return at


def numbered(first: int, count: int = COUNT) -> tuple[int, ...]:
    """`count` frame numbers from `first` on."""
    return tuple(range(first, first + count))


# --- paths ---------------------------------------------------------------------------------------------------------


def around_table(seed: int, start: float = -120.0, end: float = -60.0, radius: float = 2.5, count: int = COUNT) -> Path:
    """Around the table of the room, by hand; degrees."""

    def place(time: float) -> list[float]:
        angle = np.radians(start + (end - start) * time / count)
        return [float(radius * np.cos(angle)), float(radius * np.sin(angle)), 1.5 + 0.15 * float(np.sin(3 * angle))]

    return handheld(aimed(place, lambda time: [0.1, 0.3, 0.85]), seed)


def across_room(seed: int, length: float = 1.7, count: int = COUNT, shift: float = 0.01, turn: float = 0.35) -> Path:
    """Sideways through the room, looking around a little, by hand."""
    path = aimed(
        lambda time: [-0.9 + length * time / count, -3.0 + 0.5 * time / count, 1.55 - 0.1 * time / count],
        lambda time: [-0.2 + 0.6 * time / count, 1.0, 0.95],
    )
    return handheld(path, seed, shift, turn)


def along_street(seed: int, yaw: float = 40.0, step: float = 0.11, start: float = -8.0) -> Path:
    """Along the street, looking at its right side, by hand."""
    return handheld(
        turned(lambda time: [-1.8, start + step * time, 1.65], lambda time: yaw + 0.25 * time, lambda time: 2.0),
        seed, 0.02, 0.4,
    )  # fmt: skip


def _jump(path: Path, other: Path, at: int) -> Path:
    return lambda time: path(time) if time < at - 0.5 else other(time)


def _stepping(path: Path, hold: int) -> Path:
    """`path`, standing still for `hold` frames at a time."""
    return lambda time: path(hold * float(np.floor(time / hold)))


def _walk_ahead(time: float) -> list[float]:
    return [0.6, -14 + 0.14 * time, 1.65 + 0.03 * float(np.sin(0.9 * time))]


def _rise(time: float) -> list[float]:
    return [2.0 - 0.03 * time, -5 + 0.09 * time, 2 + 0.36 * time]


def _hardly(time: float) -> list[float]:
    return [0.0045 * time, -6.0, 1.6]


def _sidle(time: float) -> list[float]:
    return [-0.6 + 0.05 * time, 0.3 + 0.02 * time, 1.7]


def _before_the_crowd(seed: int) -> Path:
    return handheld(turned(_sidle, lambda time: 93.0 - 0.25 * time), seed)


def _tripod_pan(time: float) -> Array:
    pan = turned(
        lambda t: [0.5, -6.0, 1.6], lambda t: 118.0 - 46 * eased(t, -2, 30), lambda t: 3.0 + 2 * eased(t, 5, 25)
    )
    return pan(time)


def _whip(time: float) -> Array:
    """Along the street; in 3 frames the camera is thrown round from the right side to the left one."""
    yaw = 35.0 + 0.25 * time + 150.0 * eased(time, 8.5, 11.5)
    return turned(lambda t: [-0.4, -8 + 0.11 * t, 1.65], lambda t: yaw, lambda t: 2.0)(time)


# --- shots ---------------------------------------------------------------------------------------------------------

_NO_PARALLAX = ("poses.no_parallax", "footage.no_parallax")
_TOO_LITTLE = ("poses.no_model", "poses.too_few_registered")
_room = partial(room, seed=1)
_street = partial(street, seed=1)
_FAR = 0.004
"""Depth unit of what is taken outdoors, where things are up to 260 m away."""

_GAPPED = tuple(n for n in numbered(1001, 29) if n not in (1006, 1007, 1015, 1016, 1017, 1018, 1026, 1027))

SHOTS: dict[str, Shot] = {
    shot.name: shot
    for shot in (
        # How cameras move.
        Shot(
            "orbit", "60 degrees around a laid table", _room,
            Camera(lens(), around_table(1)), numbered(101), revision=2,
        ),
        Shot(
            "forward_walk", "down a street, looking ahead", _street,
            Camera(lens(400), handheld(turned(_walk_ahead, lambda t: 86.0 + 0.2 * t), 2, 0.03, 0.6)),
            numbered(1001), depth_unit=_FAR,
        ),
        Shot(
            "sideways_walk", "along a street, looking at its houses", _street,
            Camera(lens(450), along_street(3)), numbered(1), depth_unit=_FAR,
        ),
        Shot(
            "drone_rise", "from 2 to 12 m up and coming nearer", partial(yard, seed=1),
            Camera(lens(390), handheld(aimed(_rise, lambda t: [-1.0, 12.0, 1.5]), 4, 0.02, 0.1)),
            numbered(1), depth_unit=_FAR,
        ),
        Shot(
            "portrait_phone", "a phone held upright", _room,
            Camera(lens(350, 320, 480), across_room(14, shift=0.02, turn=0.8)), numbered(1), fps=30.0,
        ),
        Shot(
            "stop_and_go", "12 frames a second; the camera stands for three frames, then steps on", _room,
            Camera(lens(), _stepping(around_table(15, -60.0, -125.0, count=24), 3)), numbered(1, 24), fps=12.0,
        ),
        Shot(
            "dolly_axis", "exactly along the optical axis: the focal length cannot be known", _street,
            Camera(lens(420), turned(lambda t: [0.3, -12 + 0.2 * t, 1.6], lambda t: 90.0)),
            numbered(1), depth_unit=_FAR, expected=Expected(focal_hidden=True),
        ),
        Shot(
            "slow_pan", "a slow pan with 12 cm of travel: hardly any parallax", _street,
            Camera(lens(440), handheld(turned(_hardly, lambda t: 104.0 - 0.8 * t), 16, 0.002, 0.05)),
            numbered(1), depth_unit=_FAR, expected=Expected(turning=True, refusals=_NO_PARALLAX),
        ),
        Shot(
            "tripod_pan", "a pan from a tripod: rotation only", _street,
            Camera(lens(440), _tripod_pan), numbered(1), depth_unit=_FAR,
            expected=Expected(solvable=False, turning=True, refusals=_NO_PARALLAX),
        ),
        Shot(
            "static", "a locked-off camera", _street,
            Camera(lens(), turned(lambda t: [0.5, -6.0, 1.6], lambda t: 75.0)), numbered(1, 16), depth_unit=_FAR,
            expected=Expected(
                solvable=False, turning=True, refusals=("footage.static", *_NO_PARALLAX), focal_hidden=True
            ),
        ),
        # Lenses.
        Shot(
            "barrel", "strong barrel distortion", _room,
            Camera(lens(400, k1=-0.2, k2=0.02), across_room(6)), numbered(1),
        ),
        Shot(
            "pincushion", "pincushion distortion", _room,
            Camera(lens(480, k1=0.14), around_table(7, -60, -115)), numbered(1),
        ),
        Shot(
            "anamorphic", "pixels 1.33 times wider than high", _room,
            Camera(lens(330, fy=330 * 4 / 3), around_table(8)), numbered(1),
        ),
        Shot(
            "off_centre", "a principal point far from the centre, as in a crop", _room,
            Camera(lens(cx=0.64 * WIDTH, cy=0.4 * HEIGHT), across_room(9)), numbered(1),
        ),
        Shot(
            "tripod_zoom", "a zoom on a tripod that pans a little", _street,
            Camera(zooming(380, 700), turned(lambda t: [0.5, -6.0, 1.6], lambda t: 98.0 - 0.35 * t, lambda t: 3.0)),
            numbered(1), depth_unit=_FAR,
            expected=Expected(solvable=False, turning=True, refusals=_NO_PARALLAX, focal_varies=True),
        ),
        Shot(
            "walking_zoom", "a zoom while walking", _street,
            Camera(zooming(400, 600), along_street(10)), numbered(1), depth_unit=_FAR,
            expected=Expected(focal_varies=True),
        ),
        # Shutter and sensor.
        Shot(
            "sensor_noise", "a dark room at high gain", _room,
            Camera(lens(), around_table(11), exposure=lambda t: 0.35, noise=0.07), numbered(1),
        ),
        Shot(
            "motion_blur", "a shaky hand and a slow shutter", _room,
            Camera(lens(), across_room(12, shift=0.03, turn=1.6), shutter=0.6), numbered(1),
        ),
        Shot(
            "rolling_shutter", "rows read out over half of the frame, from a shaky hand", _street,
            Camera(lens(), along_street(13, step=0.09), readout=0.5), numbered(1), fps=30.0, depth_unit=_FAR,
        ),
        Shot(
            "exposure_change", "brighter, then suddenly two stops darker", _room,
            Camera(lens(), around_table(17), exposure=lambda t: (0.7 + 0.05 * t) * (1.0 if t < 11 else 0.25)),
            numbered(1),
        ),
        # What is seen.
        Shot(
            "moving_car", "a van crosses the picture", partial(street, seed=1, movers=("car",)),
            Camera(lens(), _before_the_crowd(5)), numbered(1), depth_unit=_FAR,
        ),
        Shot(
            "crowd", "people walk past the camera both ways", partial(street, seed=1, movers=("crowd",)),
            Camera(lens(), _before_the_crowd(18)), numbered(1), depth_unit=_FAR,
        ),
        Shot(
            "low_texture", "bare walls, a table with four things", partial(room, seed=1, style="poor"),
            Camera(lens(), across_room(19)), numbered(1), expected=Expected(refusals=_TOO_LITTLE),
        ),
        Shot(
            "repetitive_texture", "houses whose windows are all alike", partial(street, seed=1, fronts="same_facade"),
            Camera(lens(), along_street(20)), numbered(1), depth_unit=_FAR,
        ),
        Shot(
            "repetitive_tiles", "a room tiled all over with the same tile", partial(room, seed=1, style="repetitive"),
            Camera(lens(), across_room(21)), numbered(1),
        ),
        # How it was cut.
        Shot(
            "whip_pan", "the camera is thrown round: two views without overlap", _street,
            Camera(lens(), handheld(_whip, 22), shutter=0.5), numbered(1), depth_unit=_FAR,
            expected=Expected(broken=(9, 13)),
        ),
        Shot(
            "cut", "two shots in one range", _street,
            Camera(lens(), _jump(along_street(23), along_street(24, yaw=215.0, start=14.0), 11)),
            numbered(1), depth_unit=_FAR, expected=Expected(broken=(11, 12)),
        ),
        Shot(
            "gaps", "missing frames in the sequence", _room,
            Camera(lens(), around_table(25, -60, -125, count=29)),
            _GAPPED, tuple(float(n - 1001) for n in _GAPPED),
        ),
    )
}  # fmt: skip
