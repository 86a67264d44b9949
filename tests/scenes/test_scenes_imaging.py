"""The test scenes' camera against geometry that is known on paper: a known point must be seen where it projects."""

import math

import numpy as np
import pytest
import torch

from engine.geometry.arrays import Lens, distort
from tests.scenes.imaging import Camera, cast, expose
from tests.scenes.paths import aimed, handheld, turned
from tests.scenes.surfaces import bank
from tests.scenes.worlds import Builder, World
from training.raycast import ELLIPSOID, FAR

WIDTH, HEIGHT = 240, 160
BANK = bank(0, 256)
PLAIN = {"fx": 200.0, "fy": 200.0, "cx": WIDTH / 2, "cy": HEIGHT / 2}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lens_of(**changed):
    return Lens("OPENCV", WIDTH, HEIGHT, **{**PLAIN, **changed})


def ball(point, radius=0.15, moving=False):
    """A small ball before the sky."""
    b = Builder(1)
    b.solid(ELLIPSOID, point, [radius] * 3, "print", 100)
    scene = b.scene(BANK, [5.0, -50.0, 100.0], outdoors=True)
    return World(scene, (([0], lambda time: np.array([0.2 * time, 0.0, 0.0])),) if moving else ())


def projected(point, world_from_camera, lens):
    """Pixel of a world point, by the definition of the lens alone."""
    x, y, z = np.linalg.inv(world_from_camera) @ [*point, 1.0] @ np.eye(4)[:, :3]
    u, v = distort(lens, np.array(x / z), np.array(y / z))
    return np.array([float(u) * lens.fx + lens.cx, float(v) * lens.fy + lens.cy])


def seen(camera, world, time=0.0):
    """Middle of the pixels that show the ball."""
    met = cast(world, camera, time)
    v, u = np.nonzero((met.distance[0] < FAR).numpy())
    assert 40 < len(u) < 400
    return np.array([u.mean() + 0.5, v.mean() + 0.5])


STANDING = turned(lambda time: [1.0, -2.0, 1.5], lambda time: 80.0, lambda time: -4.0)
LENSES = {
    "pinhole": {},
    "barrel": {"k1": -0.25, "k2": 0.03},
    "pincushion": {"k1": 0.2},
    "anamorphic": {"fx": 150.0},
    "off centre": {"cx": 155.0, "cy": 60.0},
    "tangential": {"p1": 0.02, "p2": -0.03},
}


@pytest.mark.parametrize("name", LENSES)
@pytest.mark.parametrize("point", [(1.4, 3.0, 1.4), (3.0, 3.0, 2.4), (-0.4, 3.2, 0.2)])
def test_a_point_is_seen_where_the_lens_sends_it(name, point) -> None:
    lens = lens_of(**LENSES[name])
    where = projected(point, STANDING(0), lens)
    assert (where > 5).all() and (where < [WIDTH - 5, HEIGHT - 5]).all()
    np.testing.assert_allclose(seen(Camera(lambda time: lens, STANDING), ball(point)), where, atol=0.3)


def test_lens_effects_are_large_enough_to_be_told_apart() -> None:
    point = (3.0, 3.0, 2.4)
    plain = projected(point, STANDING(0), lens_of())
    for name, changed in LENSES.items():
        assert name == "pinhole" or np.linalg.norm(projected(point, STANDING(0), lens_of(**changed)) - plain) > 1.0


def test_depth_is_planar_and_sky_has_none() -> None:
    b = Builder(1)
    b.box(0, 5, -20, [80, 1, 40], "print", 100)  # its face is the plane y = 4.5
    world = World(b.scene(BANK, [0.0, -50.0, 20.0], outdoors=True))
    facing = Camera(lambda time: lens_of(k1=-0.2), turned(lambda time: [1.0, -2.0, 1.5], lambda time: 90.0))
    depth = expose(world, facing, 0.0, np.random.default_rng(0)).depth
    np.testing.assert_allclose(depth, 6.5, rtol=1e-5)
    askew = Camera(lambda time: lens_of(), turned(lambda time: [1.0, -2.0, 1.5], lambda time: 60.0))
    depth = expose(world, askew, 0.0, np.random.default_rng(0)).depth
    x = (np.arange(WIDTH) + 0.5 - WIDTH / 2) / 200.0
    turn = np.radians(30.0)  # depth d of a ray (x, 1) that meets the plane 6.5 m away
    np.testing.assert_allclose(depth[HEIGHT // 2], 6.5 / (np.cos(turn) - x * np.sin(turn)), rtol=1e-4)
    assert np.isinf(expose(ball((1.4, 3.0, 1.4)), facing, 0.0, np.random.default_rng(0)).depth[0, 0])


def test_with_a_rolling_shutter_each_row_has_its_own_camera() -> None:
    """The ball is seen where the camera of that very row sees it; not where the middle row's does."""
    path = turned(lambda time: [1.0 + 0.3 * time, -2.0, 1.5], lambda time: 80.0 + 6.0 * time)
    camera = Camera(lambda time: lens_of(), path, readout=0.8)
    for point in ((1.4, 3.0, 0.4), (1.6, 3.0, 2.9)):
        row = HEIGHT / 2
        for _ in range(20):
            where = projected(point, path(7.0 + (row / HEIGHT - 0.5) * 0.8), lens_of())
            row = where[1]
        np.testing.assert_allclose(seen(camera, ball(point), 7.0), where, atol=0.3)
        assert abs(projected(point, path(7.0), lens_of())[0] - where[0]) > 2.0


def test_motion_blur_averages_over_the_open_shutter() -> None:
    path = turned(lambda time: [1.0, -2.0, 1.5], lambda time: 90.0 + 10.0 * time)
    point, rng = (1.0, 3.0, 1.5), np.random.default_rng(0)
    blurred, sharp = (
        expose(ball(point), Camera(lambda time: lens_of(), path, shutter=s, noise=0.0), 0.0, rng).picture
        for s in (0.8, 0.0)
    )
    sky = expose(ball((0.0, -9.0, 0.0)), Camera(lambda time: lens_of(), path, noise=0.0), 0.0, rng).picture
    change = [np.abs(p.astype(int) - sky).sum(axis=2) for p in (blurred, sharp)]
    columns = np.nonzero((change[0] > 12).any(axis=0))[0]
    ends = sorted(projected(point, path(t), lens_of())[0] for t in (-0.4, 0.4))
    radius = 200.0 * 0.15 / 5.0
    assert columns.min() + 0.5 == pytest.approx(ends[0] - radius, abs=2.5)
    assert columns.max() + 0.5 == pytest.approx(ends[1] + radius, abs=2.5)
    assert change[0].max() < 0.7 * change[1].max()


def test_a_zoom_is_in_the_rays() -> None:
    camera = Camera(lambda time: lens_of(fx=150.0 + 20 * time, fy=150.0 + 20 * time), STANDING)
    for time in (0.0, 3.0):
        where = projected((2.4, 3.0, 2.0), STANDING(0), camera.lens(time))
        np.testing.assert_allclose(seen(camera, ball((2.4, 3.0, 2.0)), time), where, atol=0.3)


def test_what_moves_is_masked_where_it_is() -> None:
    camera = Camera(lambda time: lens_of(), STANDING)
    world = ball((0.6, 3.0, 1.6), moving=True)
    frame = expose(world, camera, 4.0, np.random.default_rng(0))
    v, u = np.nonzero(frame.moving)
    where = projected((1.4, 3.0, 1.6), STANDING(0), lens_of())
    np.testing.assert_allclose([u.mean() + 0.5, v.mean() + 0.5], where, atol=0.3)
    assert not expose(ball((0.6, 3.0, 1.6)), camera, 4.0, np.random.default_rng(0)).moving.any()


def test_a_moving_things_texture_moves_with_it() -> None:
    camera = Camera(lambda time: lens_of(), turned(lambda time: [0.2 * time, -2.0, 1.5], lambda time: 90.0))
    world = ball((0.0, 3.0, 1.6), 0.8, moving=True)
    a, b = (cast(world, camera, time).colour[0] for time in (0.0, 5.0))
    hit = cast(world, camera, 0.0).distance[0] < 4.5
    assert torch.allclose(a[hit], b[hit], atol=0.02)


def test_exposure_scales_light_and_noise_is_as_strong_as_told() -> None:
    b = Builder(1)
    b.box(0, 5, -5, [40, 1, 40], "plain", 1)
    world = World(b.scene(BANK, [0.0, -50.0, 20.0], outdoors=True))

    def exposed(k: float) -> Camera:
        return Camera(lambda time: lens_of(), STANDING, exposure=lambda time: k, noise=0.0)

    camera = {k: exposed(k) for k in (0.2, 0.8)}
    linear = {}
    for k, one in camera.items():
        encoded = expose(world, one, 0.0, np.random.default_rng(0)).picture / 255.0
        linear[k] = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    assert np.median(linear[0.8] / linear[0.2]) == pytest.approx(4.0, rel=0.03)
    noisy = Camera(lambda time: lens_of(), STANDING, exposure=lambda time: 0.8, noise=0.1)
    encoded = expose(world, noisy, 0.0, np.random.default_rng(0)).picture / 255.0
    decoded = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    expected = 0.1 * np.sqrt(linear[0.8] + 0.02)
    inside = linear[0.8] + 3 * expected < 1.0
    assert np.std((decoded - linear[0.8])[inside] / expected[inside]) == pytest.approx(1.0, abs=0.08)


def test_the_same_seed_gives_the_same_picture() -> None:
    camera = Camera(lambda time: lens_of(), STANDING, noise=0.05)
    pictures = [expose(ball((1.4, 3.0, 1.4)), camera, 0.0, np.random.default_rng(s)).picture for s in (3, 3, 4)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_outlines_are_smooth_and_tiles_have_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(lambda time: lens_of(), STANDING)
    whole = expose(ball((1.6, 3.0, 1.4), 0.5), camera, 0.0, np.random.default_rng(0))
    monkeypatch.setattr("tests.scenes.imaging._TILE", 24)
    tiled = expose(ball((1.6, 3.0, 1.4), 0.5), camera, 0.0, np.random.default_rng(0))
    assert np.array_equal(np.isinf(whole.depth), np.isinf(tiled.depth))
    assert np.abs(whole.picture.astype(int) - tiled.picture).max() <= 1


def test_a_hand_sways_as_told_and_smoothly() -> None:
    still = aimed(lambda time: [0.0, 0.0, 1.5], lambda time: [0.0, 5.0, 1.5])
    path = handheld(still, 1, shift=0.02, turn=0.5)
    poses = np.stack([path(float(t)) for t in np.arange(0, 40, 0.5)])
    np.testing.assert_allclose(
        poses[:, :3, :3] @ poses[:, :3, :3].swapaxes(1, 2), np.tile(np.eye(3), (80, 1, 1)), atol=1e-12
    )
    away = np.linalg.norm(poses[:, :3, 3] - [0, 0, 1.5], axis=1)
    assert 0.01 < away.max() < 0.15
    turned_by = [math.degrees(math.acos(min(1.0, (np.trace(still(0)[:3, :3].T @ p[:3, :3]) - 1) / 2))) for p in poses]
    assert 0.2 < max(turned_by) < 3.0
    assert np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).max() < 0.02
