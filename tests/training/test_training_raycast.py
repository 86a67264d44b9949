"""The ray caster against geometry that is known on paper."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.raycast import BOX, CYLINDER, ELLIPSOID, FAR, Scene, camera_rays, intersect, render
from training.scenes import random_shot, texture_bank

K = torch.tensor([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]])
WIDTH, HEIGHT = 64, 48
BANK = texture_bank(np.random.default_rng(0), 4)


def scene_of(kind, centre, half, hollow=False, turn=0.0):
    """One solid, turned about the vertical, lit from behind the camera."""
    cos, sin = np.cos(turn), np.sin(turn)
    return Scene(
        kind=torch.tensor([kind]),
        centre=torch.tensor([centre], dtype=torch.float32),
        axes=torch.tensor([[[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]], dtype=torch.float32),
        half=torch.tensor([half], dtype=torch.float32),
        hollow=torch.tensor([hollow]),
        texture=torch.tensor([0]),
        texture_scale=torch.tensor([100.0]),
        texture_shift=torch.zeros(1, 2),
        tint=torch.ones(1, 3),
        gloss=torch.zeros(1),
        light=torch.tensor([0.0, 0.0, -8.0]),
        light_colour=torch.ones(3),
        ambient=torch.full((3,), 0.3),
        sky=torch.full((2, 3), 0.7),
        bank=BANK,
    )


def hit(scene, direction, origin=(0.0, 0.0, 0.0)):
    return intersect(scene, torch.tensor(origin), torch.tensor([direction]))


def test_rays_go_through_pixel_centres() -> None:
    rays = camera_rays(K, WIDTH, HEIGHT).reshape(HEIGHT, WIDTH, 3)
    assert torch.allclose(rays[0, 0], torch.tensor([(0.5 - 32) / 60, (0.5 - 24) / 60, 1.0]))
    assert torch.allclose(rays[23, 31] + rays[24, 32], torch.tensor([0.0, 0.0, 2.0]), atol=1e-6)


def test_depth_of_a_wall_is_planar() -> None:
    wall = scene_of(BOX, (0, 0, 3.5), (50, 50, 0.5))
    colour, depth = render(wall, torch.eye(4), K, WIDTH, HEIGHT)
    assert torch.allclose(depth, torch.full((HEIGHT, WIDTH), 3.0), atol=1e-5)
    assert colour.shape == (3, HEIGHT, WIDTH)


def test_slanted_wall_by_its_equation() -> None:
    turn = 0.5
    box = scene_of(BOX, (0.0, 6.0, 0.0), (40.0, 1.0, 40.0), turn=turn)
    camera = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # looks along world y
    _, depth = render(box, camera, K, WIDTH, HEIGHT)
    normal = np.array([-np.sin(turn), np.cos(turn), 0.0])
    rays = camera_rays(K, WIDTH, HEIGHT).numpy() @ camera[:3, :3].numpy().T
    expected = (normal @ [0.0, 6.0, 0.0] - 1.0) / (rays @ normal)
    assert np.allclose(depth.numpy().ravel(), expected, rtol=1e-4)


def test_ball_and_its_normal() -> None:
    ball = scene_of(ELLIPSOID, (0, 0, 5), (1, 1, 1))
    _, depth = render(ball, torch.eye(4), K, WIDTH, HEIGHT)
    rays = camera_rays(K, WIDTH, HEIGHT).double()
    a, b = (rays * rays).sum(-1), -5.0 * rays[:, 2]
    root = b * b - a * 24.0
    expected = torch.where(root > 0, (-b - root.clamp_min(0).sqrt()) / a, FAR).reshape(HEIGHT, WIDTH)
    assert torch.allclose(depth.double(), expected, rtol=1e-4)
    assert (depth == FAR).any() and (depth < FAR).sum() > 300
    met = hit(ball, (0.0, 0.1, 1.0))
    on_ball = met.distance * torch.tensor([0.0, 0.1, 1.0])
    assert torch.allclose(met.normal[0], on_ball - torch.tensor([0.0, 0.0, 5.0]), atol=1e-4)


@pytest.mark.parametrize(
    ("half", "origin", "direction", "distance", "normal"),
    [
        ((1.0, 1.0, 2.0), (-5.0, 0.0, 0.0), (1.0, 0.0, 0.0), 4.0, (-1.0, 0.0, 0.0)),  # side
        ((1.0, 1.0, 2.0), (0.5, 0.0, 9.0), (0.0, 0.0, -1.0), 7.0, (0.0, 0.0, 1.0)),  # cap
    ],
)
def test_cylinder_from_the_side_and_from_above(half, origin, direction, distance, normal) -> None:
    met = hit(scene_of(CYLINDER, (0, 0, 0), half), direction, origin)
    assert float(met.distance) == pytest.approx(distance, abs=1e-4)
    assert torch.allclose(met.normal[0], torch.tensor(normal), atol=1e-3)


def test_cylinder_is_missed_beyond_its_end() -> None:
    assert hit(scene_of(CYLINDER, (0, 0, 0), (1.0, 1.0, 2.0)), (1.0, 0.0, 0.0), (-5.0, 0.0, 2.1)).distance == FAR


def test_hollow_box_is_seen_from_inside() -> None:
    met = hit(scene_of(BOX, (0, 0, 0), (2, 3, 4), hollow=True), (0.0, 1.0, 0.0))
    assert float(met.distance) == pytest.approx(3.0, abs=1e-4)
    assert torch.allclose(met.normal[0], torch.tensor([0.0, -1.0, 0.0]), atol=1e-4)


def test_what_stands_in_the_light_throws_a_shadow() -> None:
    wall = scene_of(BOX, (0, 0, 3.5), (50, 50, 0.5))
    pole = scene_of(BOX, (0, 0, -4), (0.5, 0.5, 0.1))  # behind the camera, before the lamp
    names = ("kind", "centre", "axes", "half", "hollow", "texture", "texture_scale", "tint", "gloss")
    both = replace(wall, **{name: torch.cat([getattr(wall, name), getattr(pole, name)]) for name in names})
    plain = replace(wall, bank=tuple(torch.full_like(level, 0.5) for level in BANK))
    shaded = replace(both, bank=plain.bank)
    free, _ = render(plain, torch.eye(4), K, WIDTH, HEIGHT)
    dark, _ = render(shaded, torch.eye(4), K, WIDTH, HEIGHT)
    assert dark[:, 24, 32].mean() < 0.6 * free[:, 24, 32].mean()
    assert torch.equal(dark[:, 0, 0], free[:, 0, 0])


def test_two_views_of_a_scene_agree() -> None:
    """A point seen by one camera lies where the other camera's depth says, unless something is before it."""
    shot = random_shot(3, BANK, 96, 72, 1)
    here = shot.world_from_camera[0]
    step = torch.eye(4)
    step[0, 3] = 0.05
    there = here @ step
    _, depth = render(shot.scene, here, shot.lens_matrix, 96, 72)
    points = camera_rays(shot.lens_matrix, 96, 72) * depth.reshape(-1, 1)
    points = points[depth.reshape(-1) < 1e3] - torch.tensor([0.05, 0.0, 0.0])
    met = intersect(shot.scene, there[:3, 3], (points / points[:, 2:]) @ there[:3, :3].T)
    ratio = met.distance / points[:, 2]
    assert (ratio < 1.0 + 1e-3).all()
    assert ((ratio - 1.0).abs() < 1e-3).float().mean() > 0.95


def test_the_same_seed_makes_the_same_picture_and_another_seed_another() -> None:
    pictures = []
    for seed in (5, 5, 6):
        shot = random_shot(seed, BANK, 32, 24, 1)
        pictures.append(render(shot.scene, shot.world_from_camera[0], shot.lens_matrix, 32, 24)[0])
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_cameras_stand_upright_at_heights_where_people_hold_them() -> None:
    for seed in range(20):
        shot = random_shot(seed, BANK, 32, 24, 2)
        for pose in shot.world_from_camera:
            rotation = pose[:3, :3]
            assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-5)
            assert torch.linalg.det(rotation) == pytest.approx(1.0, abs=1e-4)
            assert rotation[2, 1] < 0  # the picture's down is the world's down
            assert 0.3 < pose[2, 3] < 2.5
