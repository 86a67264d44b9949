"""Which way is up, and where the ground is, on scenes with exact truth."""

import numpy as np
import pytest

from engine.poses.world import scene_from_world, upright
from tests.engine.poses import walk_scene as scene


def about(axis: np.ndarray, degrees: float) -> np.ndarray:
    k = np.cross(np.eye(3), axis / np.linalg.norm(axis))
    t = np.radians(degrees)
    turn: np.ndarray = np.eye(3) - np.sin(t) * k + (1 - np.cos(t)) * k @ k
    return turn


def rolled(pose: np.ndarray, degrees: float) -> np.ndarray:
    """The camera turned about its own optical axis."""
    turned = pose.copy()
    turned[:3, :3] = pose[:3, :3] @ about(np.array([0.0, 0.0, 1.0]), degrees)
    return turned


def straight(roll: float) -> np.ndarray:
    """A walk that never turns, looks down, and holds the camera askew."""
    return np.array([rolled(scene.look([x, -3, 1.6], [x, 2, 0.3]), roll) for x in np.linspace(0, 1.5, 10)])


def looking_around() -> np.ndarray:
    return np.array([scene.look([0.2 * a, -3, 1.6], [3 * np.sin(a), 2, 1.0]) for a in np.linspace(-1.2, 1.2, 15)])


def flat(count: int, low: list[float], high: list[float], seed: int, noise: float = 0.004) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(low, high, (count, 3)) + rng.normal(0, noise, (count, 3))


FLOOR = flat(600, [-3, 0, 0], [3, 5, 0], 1)
WALL = flat(1200, [-3, 5, 0], [3, 5, 3], 2)
CLUTTER = flat(300, [-2, 1, 0.1], [2, 4, 1.5], 3)


def off(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(found @ true, -1, 1))))


@pytest.mark.parametrize("roll", [-5.0, 0.0, 6.0])
def test_a_floor_is_level_although_the_camera_is_held_askew(roll: float) -> None:
    askew = np.eye(4)
    askew[:3, :3] = about(np.array([1.0, 2.0, -0.5]), 110)
    cameras = askew @ straight(roll)
    points = np.concatenate([FLOOR, WALL, CLUTTER]) @ askew[:3, :3].T
    found = upright(cameras, points)
    assert found.source == "plane"
    assert off(found.up, askew[:3, 2]) < 0.3
    assert found.ground == pytest.approx(0, abs=0.02)


def test_the_scene_stands_on_the_floor_and_not_on_its_lowest_points() -> None:
    reflections = flat(40, [-1, 1, -1.5], [1, 3, -0.5], 4)
    points = np.concatenate([FLOOR, CLUTTER, reflections])
    transform, scale = scene_from_world(straight(3.0), points, 5.0)
    stood = scale * FLOOR @ transform[:3, :3].T + transform[:3, 3]
    assert np.abs(np.median(stood[:, 2])) < 0.02
    assert np.ptp(np.percentile(stood[:, 2], [5, 95])) < 0.05


def test_a_table_gives_up_and_the_floor_below_it_the_ground() -> None:
    table = flat(1500, [-1, 1, 0.75], [1, 3, 0.75], 5)
    found = upright(straight(4.0), np.concatenate([table, FLOOR[:250], CLUTTER]))
    assert off(found.up, np.array([0, 0, 1.0])) < 0.5
    assert found.ground == pytest.approx(0, abs=0.03)


def test_a_ramp_is_not_taken_for_a_floor_by_a_camera_that_looks_around() -> None:
    ramp = flat(900, [-3, 0, 0], [3, 5, 0], 6) @ about(np.array([1.0, 0, 0]), 25).T
    found = upright(looking_around(), np.concatenate([ramp, CLUTTER]))
    assert found.source == "horizon"
    assert off(found.up, np.array([0, 0, 1.0])) < 3.0


def test_without_planes_the_cameras_decide_and_say_how_well() -> None:
    cloud = np.random.default_rng(7).uniform([-3, 0, 0], [3, 6, 4], (800, 3))
    turning, still = upright(looking_around(), cloud), upright(straight(0.0), cloud)
    assert (turning.source, turning.ground) == ("horizon", None)
    assert turning.std_deg < 8.0
    assert off(turning.up, np.array([0, 0, 1.0])) < 2.0
    assert still.source == "habit"
    assert still.std_deg > 10.0


def test_a_wall_alone_is_not_level() -> None:
    found = upright(looking_around(), WALL)
    assert found.source == "horizon"
    assert off(found.up, np.array([0, 0, 1.0])) < 2.0
