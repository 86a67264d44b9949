"""The script that trains the network that ships, and what the weights that ship are worth."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.networks.depth import WEIGHTS, load_network
from training.dataset import SIZES, load_shards, write_shard
from training.train_prior import SHAPES, Examples, batch, check, draw, loss, nearest_filled, train

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory):
    """Shards of both sizes, of scenes that no training has seen."""
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.dataset.SHOTS", 12)
        for size in SIZES:
            write_shard(folder / size, 95_000, size, CPU)
    return folder


@pytest.mark.parametrize("size", SIZES)
def test_shards_hold_pictures_and_log_depth_about_the_median(rendered, size) -> None:
    width, height = SIZES[size]
    pictures, log_depth = load_shards(rendered / size)
    assert pictures.dtype == np.uint8 and pictures.shape[1:] == (3, height, width) and len(pictures) > 12
    assert log_depth.dtype == np.float16 and log_depth.shape == (len(pictures), height, width)
    assert np.abs(np.median(log_depth.astype(np.float32), axis=(1, 2))).max() < 1e-2
    assert pictures.std(axis=(1, 2, 3)).min() > 1


@pytest.mark.parametrize(("size", "shape"), [(size, shape) for size in SIZES for shape in SHAPES[size]])
def test_draws_keep_picture_and_depth_together(size, shape) -> None:
    width, height = SIZES[size]
    ramp = torch.arange(float(width)).expand(height, width)
    pictures = ramp.expand(9, 3, height, width).byte()
    examples = Examples(pictures, ramp.expand(9, height, width).half())
    for seed in range(4):
        x, y = draw(examples, (shape,), torch.Generator().manual_seed(seed))
        assert x.shape[-2:] == y.shape[-2:] == shape
        assert (x.mean(1) * 255.0 - y).abs().max() < 2.0


def test_batch_is_what_the_network_takes(rendered) -> None:
    examples = Examples.load(rendered / "large")
    generator = torch.Generator().manual_seed(0)
    inputs, true, absolute = batch(*draw(examples, SHAPES["large"], generator), generator)
    assert inputs.shape[1] == 5 and true.shape[1] == 1 and inputs.shape[2:] == true.shape[2:]
    assert inputs[:, :3].min() >= -1 and inputs[:, :3].max() <= 1
    assert torch.equal(absolute, (inputs[:, 4] > 0).flatten(1).any(1))


def test_scale_costs_only_where_something_was_measured() -> None:
    true = torch.rand(2, 1, 16, 16)
    assert loss(true + 0.7, true, torch.tensor([False, False])) == pytest.approx(0.0, abs=1e-5)
    assert loss(true + 0.7, true, torch.tensor([True, True])) == pytest.approx(0.7, abs=1e-4)
    assert loss(true * 1.5, true, torch.tensor([False, False])) > 0.1


def test_gaps_take_what_is_nearest() -> None:
    values = torch.tensor([[[1.0, 0.0, 0.0, 0.0, 0.0, 3.0]]])
    filled = nearest_filled(values, values > 0)
    assert filled[0, 0].tolist() == pytest.approx([1.0, 1.0, 1.0, 3.0, 3.0, 3.0])


def test_training_writes_goes_on_and_learns_to_use_evidence(
    rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.train_prior.SHAPES", {"small": ((36, 48),), "large": ((36, 48),)})
    # What it has computed for, so that a busy computer changes nothing.
    monkeypatch.setattr("training.train_prior.time", SimpleNamespace(monotonic=time.process_time))
    held = Examples.load(rendered / "large")
    held = Examples(held.pictures[:8, :, ::4, ::4], held.log_depth[:8, ::4, ::4])
    train(rendered, tmp_path, held, 1.0, CPU)
    first = [json.loads(line) for line in (tmp_path / "prior.jsonl").read_text().splitlines()]
    train(rendered, tmp_path, held, 2.5, CPU)
    lines = [json.loads(line) for line in (tmp_path / "prior.jsonl").read_text().splitlines()]
    assert lines[: len(first)] == first and lines[-1]["step"] > first[-1]["step"] > 0
    assert lines[-1]["spent_s"] >= 2
    network = load_network(tmp_path / "depth.safetensors", CPU)
    assert check(network, held, CPU)["alone"] == pytest.approx(lines[-1]["alone"], abs=2e-3)


@pytest.fixture(scope="module")
def shipped_figures(rendered):
    return check(load_network(WEIGHTS, CPU), Examples.load(rendered / "large"), CPU)


def test_weights_that_ship_are_good_on_unseen_scenes(shipped_figures) -> None:
    assert shipped_figures["alone"] < 0.8 * shipped_figures["constant"]
    assert shipped_figures["measured"] < 0.8 * shipped_figures["filled"]
