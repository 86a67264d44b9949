"""Plan, sweep, refinement and the evidence stage on a slanted plane, and with something close before it."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.clip.depth_map import DepthFrames
from engine.clip.views import NEAREST, choose_views, inverse_depth_range, plan_sweep
from engine.clip.work import WorkClip
from engine.depth.confidence import LEAST, own_contrast
from engine.depth.evidence import small_parts, solve_evidence, without_speckles
from engine.depth.refine import Matcher, choose_for, refine
from engine.depth.settings import PRESETS
from engine.depth.sweep import Projection, better_half, box_mean, normalised, semi_global, sweep
from engine.errors import Cancelled
from engine.geometry.arrays import rigid_inverse
from engine.progress import Silent
from tests.engine.depth.scene import plane_clip, plane_rays

CPU = torch.device("cpu")


def test_box_mean_is_the_mean_of_the_window() -> None:
    image = torch.rand(2, 9, 11, dtype=torch.float64)
    mean = box_mean(image, 2)
    assert torch.allclose(mean[:, 4, 5], image[:, 2:7, 3:8].mean(dim=(1, 2)))
    assert torch.allclose(box_mean(torch.ones(5, 6), 2), torch.ones(5, 6))


def test_semi_global_matching_overrules_a_lone_pixel_but_not_an_edge() -> None:
    cost = torch.ones(8, 12, 12)
    cost[2, :, :6] = 0.0
    cost[6, :, 6:] = 0.0
    cost[:, 5, 3] = 1.0
    cost[7, 5, 3] = 0.9  # a little better than the surroundings' depth
    guide = torch.zeros(12, 12)
    guide[:, 6:] = 1.0
    best = semi_global(cost, guide, 0.1, 1.0).argmin(0)
    assert (best[:, :6] == 2).all()
    assert (best[:, 6:] == 6).all()


def test_the_better_half_of_the_views_counts_and_few_views_count_less() -> None:
    scores = torch.tensor([0.9, 0.1, 0.8, -0.5]).reshape(4, 1, 1)
    assert better_half(scores).item() == pytest.approx((0.9 + 0.8) / 3)
    assert better_half(scores[:2]).item() == pytest.approx(0.9 / 2)


@pytest.fixture(scope="module")
def scene():
    return plane_clip(6, 192, 128)


def swept(clip: WorkClip, row: int):
    """Inverse depth of a frame on the clip's own grid, with what it came from."""
    plan = plan_sweep(clip, clip.lens, row, 2, 1.4, 160)
    grey = torch.tensor(clip.images.mean(axis=-1) / 255.0, dtype=torch.float32)
    pictures = torch.stack([normalised(picture) for picture in grey])
    relative = rigid_inverse(clip.world_from_camera[plan.views]) @ clip.world_from_camera[row]
    matrix, there = (torch.tensor(m, dtype=torch.float32) for m in (clip.lens.matrix(), relative))
    projection = Projection(clip.lens.height, clip.lens.width, matrix, there)
    inverse_depths = torch.tensor(plan.inverse_depths, dtype=torch.float32)
    used = torch.from_numpy(plan.used)
    views = pictures[plan.views.tolist()]
    found = sweep(pictures[row], views, grey[row], projection, inverse_depths, used)
    return found, Matcher(pictures[row], views, grey[row], grey[plan.views.tolist()], projection, inverse_depths, used)


def test_the_sweep_finds_a_slanted_plane_and_refining_is_exact(scene) -> None:
    clip, depths = scene
    found, matcher = swept(clip, 2)
    error = np.abs(1.0 / found.numpy() / depths[2] - 1.0)[6:-6, 6:-6]
    assert np.median(error) < 0.05
    fine, score = refine(matcher, found, clip.lens.height, clip.lens.width)
    refined = np.abs(1.0 / fine.numpy() / depths[2] - 1.0)[6:-6, 6:-6]
    assert np.median(refined) < 0.015
    assert (refined < 0.05).mean() > 0.98
    assert np.median(score.numpy()) > 0.5


def test_a_plan_goes_from_infinity_to_what_two_views_can_see(scene) -> None:
    clip, depths = scene
    plan = plan_sweep(clip, clip.lens, 2, 2, 1.4, 160)
    assert plan.inverse_depths[0] == 0.0
    assert (np.diff(plan.inverse_depths) > 0).all()
    assert plan.inverse_depths[-1] > 3.0 / depths[2].min()
    assert plan.inverse_depths[-1] <= 1.01 * NEAREST / np.median(depths)
    assert plan.used.any(axis=1).all()
    assert plan.used.any(axis=0).all()
    assert 2 not in plan.views


def test_near_planes_are_compared_with_near_views_and_far_ones_with_far_views() -> None:
    clip, _ = plane_clip(40, 192, 128)
    plan = plan_sweep(clip, clip.lens, 20, 2, 1.4, 160)
    away = np.abs(plan.views - 20)
    near, far = (away[plan.used[k]].mean() for k in (-1, 0))
    assert near < 0.5 * far


def test_planes_grow_apart_where_there_are_too_many(scene) -> None:
    clip, _ = scene
    few = plan_sweep(clip, clip.lens, 2, 2, 1.4, 20)
    assert len(few.inverse_depths) == 20
    assert few.inverse_depths[-1] == pytest.approx(plan_sweep(clip, clip.lens, 2, 2, 1.4, 160).inverse_depths[-1])


def test_the_views_that_refine_see_what_the_frame_shows_from_both_sides(scene) -> None:
    clip, depths = scene
    plan = plan_sweep(clip, clip.lens, 2, 2, 1.4, 160)
    chosen = plan.views[choose_for(plan, 2, 1.0 / depths[2], 2)]
    assert (chosen < 2).sum() == (chosen > 2).sum() == 1


def test_views_lie_on_both_sides_and_never_are_the_frame_itself(scene) -> None:
    clip, _ = scene
    assert set(choose_views(clip, 2, 4)) <= {0, 1, 3, 4, 5}
    assert (choose_views(clip, 2, 4) < 2).sum() == 2
    assert list(choose_views(clip, 0, 3)) == sorted(set(choose_views(clip, 0, 3)))
    assert len(choose_views(clip, 0, 3)) == 3


def test_the_range_holds_the_scene(scene) -> None:
    clip, depths = scene
    far, near = inverse_depth_range(clip, 3)
    assert far < 1.0 / depths[3].max()
    assert near > 1.0 / depths[3].min()


def test_a_plain_pixel_beside_an_edge_has_no_contrast_of_its_own() -> None:
    grey = torch.full((20, 20), 0.2)
    grey[:, 10:] = 0.8
    assert own_contrast(grey).max() < 1e-3
    rough = grey + 0.02 * torch.rand((20, 20), generator=torch.Generator().manual_seed(0))
    assert own_contrast(rough)[2:-2, 2:-2].min() > 3e-3


class StopAfter(Silent):
    """Cancels, as a user would, after some steps."""

    def __init__(self, steps):
        self.left = steps

    def step(self, done, total, message):
        self.left -= 1
        if self.left < 0:
            raise Cancelled


def test_what_was_measured_is_right_and_survives_a_kill(scene, tmp_path: Path) -> None:
    clip, depths = scene
    settings = PRESETS["preview"]
    solve_evidence(clip, settings, tmp_path / "whole", CPU, Silent())
    for steps in (2, 6, 3):
        with pytest.raises(Cancelled):
            solve_evidence(clip, settings, tmp_path / "cut", CPU, StopAfter(steps))
    solve_evidence(clip, settings, tmp_path / "cut", CPU, Silent())
    for row, number in enumerate(clip.numbers):
        found = DepthFrames(tmp_path / "whole", clip.lens, "clip")
        again = DepthFrames(tmp_path / "cut", clip.lens, "clip").load(number)
        depth, confidence = found.load(number).values, found.confidence(number)
        assert (depth == again.values).all()
        assert ((depth > 0) == (confidence > LEAST)).all()
        assert (depth > 0).mean() > 0.7
        assert (np.abs(depth / depths[row] - 1.0)[depth > 0] < 0.05).mean() > 0.97
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["confidence", "depth"]


def test_what_passes_close_before_the_camera_is_measured_though_no_sparse_point_lies_on_it(tmp_path: Path) -> None:
    clip, depths = plane_clip(7, 192, 128)
    rng = np.random.default_rng(5)
    texture = np.asarray(cv2.GaussianBlur(rng.normal(size=(600, 600, 3)), (0, 0), 3) * 400 + 128, np.float32)
    near = 0.9  # planar in the world, z; the plane behind is at about 4
    images, truth = clip.images.copy(), depths.copy()
    for row, pose in enumerate(clip.world_from_camera):
        rays = plane_rays(clip.lens) @ pose[:3, :3].T
        distance = (near - pose[2, 3]) / rays[..., 2]
        world = pose[:3, 3] + rays * distance[..., None]
        there = (world[..., 0] > 0.1) & (world[..., 0] < 0.9)
        where = (world[..., :2] * 300.0 + 250.0).astype(np.float32)
        painted = np.asarray(cv2.remap(texture, where, None, cv2.INTER_LINEAR).clip(0, 255), np.uint8)
        images[row][there] = painted[there]
        truth[row][there] = distance[there]
    hidden = replace(clip, images=images)
    assert min(depth.min() for _, depth in hidden.sparse) > 3.0
    solve_evidence(hidden, PRESETS["preview"], tmp_path, CPU, Silent())
    depth = DepthFrames(tmp_path, clip.lens, "clip").load(int(clip.numbers[3])).values
    before = truth[3] < 2.0
    inside = cv2.erode(before.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert inside.mean() > 0.1
    assert (np.abs(depth[inside] / truth[3][inside] - 1.0) < 0.05).mean() > 0.7


def test_a_pixel_lies_within_a_view_or_not() -> None:
    lens_matrix = torch.tensor([[20.0, 0.0, 10.0], [0.0, 20.0, 5.0], [0.0, 0.0, 1.0]])
    view_from_frame = torch.eye(4)[None].clone()
    view_from_frame[0, 0, 3] = -1.0  # the view stands to the right
    inside = Projection(10, 20, lens_matrix, view_from_frame).inside
    assert inside(torch.tensor(0.0)).all()
    assert inside(torch.tensor(0.2))[0].sum(dim=-1).eq(16).all()  # 4 pixels are out of it to the left
    assert not inside(torch.tensor(0.2))[0, :, :4].any()
    assert not inside(torch.tensor(2.0)).any()


def infinitely_far(clip: WorkClip, spot: tuple[slice, slice], contrast: float) -> WorkClip:
    """The clip with a texture in `spot` of all frames that is where it would be infinitely far away."""
    texture = cv2.GaussianBlur(np.random.default_rng(5).normal(size=(900, 900, 3)), (0, 0), 2).astype(np.float32)
    texture, images = 128.0 + contrast * 255.0 * texture / texture.std(), clip.images.copy()
    for row, pose in enumerate(clip.world_from_camera):
        rays = plane_rays(clip.lens) @ pose[:3, :3].T
        where = (rays[..., :2] / rays[..., 2:] * 200.0 + 450.0).astype(np.float32)
        images[row][spot] = cv2.remap(texture, where, None, cv2.INTER_LINEAR)[spot].clip(0, 255).round()
    return replace(clip, images=images)


def test_a_far_depth_that_no_view_could_contradict_is_not_measured(tmp_path: Path) -> None:
    clip, depths = plane_clip(5, 192, 128, step=0.4)
    spot = np.s_[20:108, 0:9]  # no other frame sees what is there, unless it is very far
    solve_evidence(infinitely_far(clip, spot, 0.2), PRESETS["preview"], tmp_path, CPU, Silent())
    depth = DepthFrames(tmp_path, clip.lens, "clip").load(int(clip.numbers[0])).values
    assert (depth < 2.5 * depths[0].max()).all()
    assert (depth[30:98, 40:150] > 0).mean() > 0.7


def test_parts_are_small_by_what_they_cover_together_across_gaps() -> None:
    mask = torch.zeros((100, 100), dtype=torch.bool)
    mask[5:15, 5:14] = True  # 0.9 %
    mask[60:70, 60:80] = True  # 2 %
    mask[60:70, 84:88] = True  # belongs to it
    small = small_parts(mask, 0.01)
    assert small[5:15, 5:14].all()
    assert small.sum() == 90
    assert not small_parts(torch.zeros_like(mask), 0.01).any()


@pytest.mark.parametrize(
    ("spot", "contrast", "measured"),
    [
        pytest.param(np.s_[56:70, 90:104], 0.2, False, id="a reflection"),
        pytest.param(np.s_[20:108, 40:150], 0.005, False, id="codec blocks and dirt"),
        pytest.param(np.s_[20:108, 40:150], 0.2, True, id="hills"),
    ],
)
def test_what_is_far_beyond_everything_else_is_measured_where_it_is_much_and_has_contrast(
    spot, contrast, measured, tmp_path: Path
) -> None:
    clip, depths = plane_clip(5, 192, 128)
    solve_evidence(infinitely_far(clip, spot, contrast), PRESETS["preview"], tmp_path, CPU, Silent())
    depth = DepthFrames(tmp_path, clip.lens, "clip").load(int(clip.numbers[2])).values
    assert ((depth > 5.0 * depths[2].max()).mean() > 0.1) == measured
    assert measured or (depth < 5.0 * depths[2].max()).all()


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_islands_are_dropped_and_surfaces_kept_in_any_unit(unit) -> None:
    depth = np.full((40, 60), 2.0 * unit, np.float32)
    depth[:, 30:] = 3.0 * unit
    depth[:, 28:31] = 0.0
    depth[10:13, 10:14] = 9.0 * unit
    kept, confidence = without_speckles(depth, np.ones_like(depth))
    assert (kept[10:13, 10:14] == 0).all()
    assert (confidence[10:13, 10:14] == 0).all()
    outside = np.ones_like(depth, bool)
    outside[10:13, 10:14] = False
    assert (kept[outside] == depth[outside]).all()
