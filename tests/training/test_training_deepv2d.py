"""Rendered views fit together, whatever is cut out of them, and the training learns from them and goes on."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.geometry.tensors import project, sample, transform, unproject
from engine.networks.deepv2d import load_deepv2d
from training import train_deepv2d, views
from training.train_deepv2d import draw
from training.views import ViewShots, write_shard

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """Four shots."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "SHOTS", 4)
        patch.setattr(views, "WIDTH", 80)
        patch.setattr(views, "HEIGHT", 60)
        place = tmp_path_factory.mktemp("views")
        write_shard(place, 0, CPU)
    return place


def warped_difference(images, inverse, lens, pose):
    """Median difference between the key (B, 3, h, w) and the views (B, V, ..) brought to it, and if not brought."""
    key, others = images[:, 0], images[:, 1:]
    near, far = [], []
    for k in range(others.shape[1]):
        points = unproject(1.0 / inverse, lens)
        pixels = project(transform(pose[:, k], points), lens)
        size = torch.tensor([key.shape[-1], key.shape[-2]])
        inside = ((pixels > 0) & (pixels < size)).all(-1)
        near.append((sample(others[:, k], pixels) - key).abs().mean(1)[inside])
        far.append((others[:, k] - key).abs().mean(1)[inside])
    return float(torch.cat(near).median()), float(torch.cat(far).median())


def test_views_fit_together_by_depth_pose_and_lens(folder) -> None:
    shots = ViewShots.load(folder)
    assert shots.picture.shape == (4, views.VIEWS, 3, 60, 80) and shots.picture.dtype == torch.uint8
    torch.testing.assert_close(shots.pose[:, 0], torch.eye(4).expand(4, 4, 4), atol=1e-5, rtol=0)
    assert shots.depth[:, 0].float().flatten(1).median(1).values.abs().max() < 0.01
    inverse = (-shots.depth[:, :1].float()).exp()
    near, far = warped_difference(shots.picture.float() / 255.0, inverse, shots.lens, shots.pose[:, 1:])
    assert near < 0.25 * far


def test_the_same_number_gives_the_same_shard(folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SHOTS", 4), ("WIDTH", 80), ("HEIGHT", 60)):
        monkeypatch.setattr(views, name, value)
    write_shard(tmp_path, 0, CPU)
    for name in views.NAMES:
        first, second = (np.load(place / f"{name}-00000.npy") for place in (folder, tmp_path))
        assert np.array_equal(first, second)


def test_cutting_scaling_and_mirroring_keep_the_geometry(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_deepv2d, "_seen_by_cameras", lambda x, generator: x)
    shots, rows = ViewShots.load(folder), torch.arange(4)
    lenses = []
    for seed in range(3):
        batch = draw(shots, rows, (56, 72), torch.Generator().manual_seed(seed))
        lens = batch.lens.clone()
        lens[:, :2] *= 2.0  # the half grid, on which the pictures are looked at
        small = torch.nn.functional.avg_pool2d(batch.images.flatten(0, 1), 2).reshape(4, -1, 3, 28, 36)
        near, far = warped_difference(small, batch.inverse, lens, batch.pose)
        assert near < 0.4 * far
        lenses.append(batch.lens)
    assert not torch.allclose(lenses[0], lenses[1])


def test_training_writes_learns_and_goes_on(folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_deepv2d, "EVERY", 2)
    monkeypatch.setattr(train_deepv2d, "SHAPES", ((40, 48),))
    ticks = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))  # a step takes one second
    held = ViewShots.load(folder)
    for seconds in (4, 8):
        train_deepv2d.train(folder, tmp_path, held, seconds, 1, CPU)
    lines = [json.loads(line) for line in (tmp_path / "deepv2d.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert "depth" in lines[-1] and "held_flow" in lines[-1]
    load_deepv2d(CPU, tmp_path / "deepv2d.safetensors")


@pytest.fixture(scope="module")
def shipped(folder):
    """Shard 0 was trained on at another size: its scenes from these very cameras were not."""
    return train_deepv2d.check(load_deepv2d(CPU), ViewShots.load(folder), CPU)


def test_weights_that_ship_beat_standing_still_and_one_depth_everywhere(shipped) -> None:
    assert shipped["held_flow"] < 0.6 * shipped["held_flow_start"]
    assert shipped["held_depth"] < 0.8 * shipped["held_constant"]


@pytest.mark.xfail(reason="training has reached hardly anything of what it could", strict=True)
def test_weights_that_ship_are_as_good_as_matching_can_be(shipped) -> None:
    assert shipped["held_flow"] < 0.08 * shipped["held_flow_start"]
    assert shipped["held_depth"] < 0.08
