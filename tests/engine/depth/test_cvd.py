"""Flow, evidence and depth, end to end on a tiny clip whose depth is known."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.clip.depth_map import DepthFrames
from engine.depth import cvd, training
from engine.depth.cvd import Measured, solve_depth
from engine.depth.data import Found, TrainingData
from engine.depth.evidence import solve_evidence
from engine.depth.settings import PRESETS
from engine.errors import Cancelled, DepthError
from engine.flow.stage import load_pair, load_pairs, solve_flow
from engine.networks.depth import DepthNetwork
from engine.progress import Silent
from tests.engine.depth.scene import flow_between, plane_clip

CPU = torch.device("cpu")
TINY = replace(PRESETS["preview"], photometric_steps=0.0, min_steps=8, batch_pairs=2, pretrained=False)


class StopAt(Silent):
    """Cancels in the step with a given message."""

    def __init__(self, message):
        self.message = message

    def step(self, done, total, message):
        if self.message in message:
            raise Cancelled


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory):
    """Clip, true depths, and the folder with the finished stages before depth."""
    folder = tmp_path_factory.mktemp("stages")
    clip, depths = plane_clip(5, 128, 96, numbers=[11, 12, 13, 15, 16])
    with pytest.raises(Cancelled):
        solve_flow(clip, folder / "flow", StopAt("flow 13 to 15"))
    solve_flow(clip, folder / "flow", Silent())
    solve_evidence(clip, TINY, folder / "evidence", CPU, Silent())
    return clip, depths, folder


def test_flow_is_that_of_depth_and_cameras(stages) -> None:
    clip, depths, folder = stages
    pairs = load_pairs(folder / "flow")
    assert {(11, 12), (13, 15), (11, 15)} <= {(p.first, p.second) for p in pairs}
    for pair in pairs:
        arrays = load_pair(folder / "flow", pair.first, pair.second).astype(np.float32)
        first, second = clip.index(pair.first), clip.index(pair.second)
        for k, (a, b) in enumerate(((first, second), (second, first))):
            truth = flow_between(clip.lens, depths[a], clip.world_from_camera[a], clip.world_from_camera[b])
            half = truth.reshape(48, 2, 64, 2, 2).mean(axis=(1, 3)) / 2.0
            error = np.linalg.norm(np.moveaxis(arrays[k, :2], 0, -1) - half, axis=-1)[arrays[k, 2] > 0]
            assert np.median(error) < 0.1
        assert 0.2 <= pair.overlap <= 1.0


def test_frames_that_show_different_things_are_no_pair(tmp_path: Path) -> None:
    clip, _ = plane_clip(3)
    images = clip.images.copy()
    images[2] = np.random.default_rng(9).integers(0, 255, images[2].shape, np.uint8)
    solve_flow(replace(clip, images=images), tmp_path / "flow", Silent())
    assert [(p.first, p.second) for p in load_pairs(tmp_path / "flow")] == [(101, 102)]
    images[1] = np.random.default_rng(8).integers(0, 255, images[1].shape, np.uint8)
    with pytest.raises(DepthError) as failure:
        solve_flow(replace(clip, images=images), tmp_path / "none", Silent())
    assert failure.value.code == "depth.no_overlap"
    assert not (tmp_path / "none" / "pairs.json").exists()


def load(stages, evidence=True):
    clip, _, done = stages
    return TrainingData.load(
        clip, Found(done / "flow", done / "motion", None, False, measured(stages).evidence if evidence else None)
    )


def measured(stages):
    clip, _, done = stages
    return Measured(clip, DepthFrames(done / "evidence", clip.lens, "clip"))


def solve(stages, folder, seed=0, progress=None, settings=TINY, data=None):
    clip = stages[0]
    found = measured(stages) if settings.measured else None
    solve_depth(clip, found, settings, data or load(stages), folder, seed, CPU, progress or Silent())
    return np.stack([np.load(folder / "depth" / f"{n:06d}.npy") for n in clip.numbers])


@pytest.fixture(scope="module")
def solved(stages, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("depth")
    return solve(stages, folder), folder


def test_depth_is_complete_and_right(stages, solved) -> None:
    clip, truth, _ = stages
    depth, folder = solved
    assert depth.shape == truth.shape
    assert depth.dtype == np.float32
    assert (depth > 0).all()
    assert np.mean(np.abs(depth / truth - 1.0)) < 0.03
    for number in clip.numbers:
        confidence = np.load(folder / "confidence" / f"{number:06d}.npy")
        assert confidence.shape == truth.shape[1:]
        assert 0.0 <= confidence.min() <= confidence.max() <= 1.0
    consistency = json.loads((folder / "consistency.json").read_text())
    assert list(consistency["frames"]) == ["11", "12", "13", "15", "16"]
    assert list(consistency["distance"])[:2] == ["1", "2"]
    assert max(*consistency["frames"].values(), *consistency["distance"].values()) < 0.5
    assert not (folder / "checkpoint.pt").exists()


def test_the_same_seed_gives_the_same_depth_and_another_seed_does_not(stages, solved, tmp_path: Path) -> None:
    assert (solve(stages, tmp_path / "again") == solved[0]).all()
    assert (solve(stages, tmp_path / "other", seed=1) != solved[0]).any()


@pytest.mark.parametrize("moment", ["step 6 of", "step 14 of", "depth of frame 15"])
def test_a_killed_run_that_resumes_gives_the_same_depth(
    stages, solved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 5)
    with pytest.raises(Cancelled):
        solve(stages, tmp_path, progress=StopAt(moment))
    assert not (tmp_path / "consistency.json").exists()
    assert (solve(stages, tmp_path) == solved[0]).all()


@pytest.mark.parametrize(
    "settings",
    [
        replace(TINY, measured=False, fit_steps=0.0, min_steps=40),
        replace(TINY, measured=False, published_epochs=20),
    ],
    ids=["robust", "published"],
)
def test_flow_and_cameras_alone_tell_the_depth(stages, tmp_path: Path, settings) -> None:
    data = load(stages)
    data = replace(data, evidence=torch.zeros_like(data.evidence))
    truth = stages[1]
    flat = np.median(truth)
    depth = solve(stages, tmp_path, settings=settings, data=data)
    assert np.mean(np.abs(depth / truth - 1.0)) < 0.4 * np.mean(np.abs(flat / truth - 1.0))


def test_a_loss_that_is_no_number_is_a_typed_error_and_leaves_no_depth(
    stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "step_loss", lambda *_: torch.full((), float("nan"), requires_grad=True))
    with pytest.raises(DepthError) as caught:
        solve(stages, tmp_path)
    assert caught.value.code == "depth.diverged"
    assert not list(tmp_path.rglob("*.npy"))


def test_steps_whose_loss_or_gradient_is_no_number_are_left_out(
    stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = training.step_loss, [0]

    def unsteady(*args):
        calls[0] += 1
        loss = real(*args)
        if calls[0] % 7 == 2:
            return loss * float("nan")
        if calls[0] % 7 == 5:  # finite, but its gradient is not
            return loss + 0.0 * (loss * 0.0).sqrt()
        return loss

    monkeypatch.setattr(training, "step_loss", unsteady)
    depth = solve(stages, tmp_path)
    assert calls[0] > 14
    assert np.mean(np.abs(depth / stages[1] - 1.0)) < 0.05


def test_depth_that_is_no_number_is_never_written_and_not_gone_on_with(
    stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cvd._predict
    monkeypatch.setattr(cvd, "_predict", lambda *args: tuple(part * np.float32("nan") for part in real(*args)))
    with pytest.raises(DepthError) as caught:
        solve(stages, tmp_path)
    assert caught.value.code == "depth.not_finite"
    assert not list(tmp_path.rglob("*.npy")) + list(tmp_path.rglob("*.pt"))


def gradients(stages, monkeypatch, switch):
    """Of a step with pairs, where what `training` asks of its device is answered with no and with yes."""
    data, found = load(stages), []
    torch.manual_seed(0)
    network = DepthNetwork()
    torch.nn.init.normal_(network.head.weight, std=0.01)
    for answer in (False, True):
        monkeypatch.setattr(training, switch, lambda *_, answer=answer: answer)
        network.zero_grad()
        batch = next(training.batches(data, TINY, 0))
        predict = training.in_mixed_precision(network, CPU)
        training.step_loss(predict, data, TINY, batch, 0, 3, "pairs", CPU).backward()
        found.append(torch.cat([p.grad.ravel() for p in network.parameters() if p.grad is not None]))
    assert found[0].norm() > 0
    return found


def test_in_the_smallest_pieces_the_training_steps_are_the_same(stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "fast_in_half", lambda _device: False)
    at_once, in_pieces = gradients(stages, monkeypatch, "frugal")
    assert torch.allclose(at_once, in_pieces, rtol=1e-3, atol=1e-5 * float(at_once.abs().max()))


def test_in_mixed_precision_the_training_steps_point_the_same_way(stages, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, mixed = gradients(stages, monkeypatch, "fast_in_half")
    assert not torch.equal(exact, mixed)
    assert torch.cosine_similarity(exact, mixed, dim=0) > 0.99
    assert abs(float(mixed.norm() / exact.norm()) - 1.0) < 0.05


def test_the_published_recipe_is_trained_in_float32(stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, weights = replace(TINY, published_epochs=1), []
    for fast in (False, True):
        monkeypatch.setattr(training, "fast_in_half", lambda _device, fast=fast: fast)
        folder = tmp_path / str(fast)
        folder.mkdir()
        network = training.train(load(stages), settings, folder, 0, CPU, Silent())
        weights.append(torch.cat([p.detach().ravel() for p in network.parameters()]))
    assert torch.equal(*weights)


def test_an_epoch_of_the_published_recipe_sees_every_pair_once(stages) -> None:
    data, settings = load(stages), replace(TINY, published_epochs=2)
    per_epoch = -(-len(data.pairs) // settings.batch_pairs)
    seen = [batch.pairs for batch in islice(training.batches(data, settings, 0), 2 * per_epoch)]
    first, second = ([n for c in seen[k * per_epoch : (k + 1) * per_epoch] for n in c] for k in (0, 1))
    assert sorted(first) == sorted(second) == list(range(len(data.pairs)))
    assert first != second


@pytest.mark.parametrize("fast", [False, True])
def test_photometric_training_alone_finds_the_depth(
    stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast
) -> None:
    monkeypatch.setattr(training, "fast_in_half", lambda _device: fast)
    settings = replace(TINY, measured=False, fit_steps=0.0, pair_steps=0.0, photometric_steps=15.0)
    depth = solve(stages, tmp_path, settings=settings, data=load(stages, evidence=False))
    assert np.mean(np.abs(depth / stages[1] - 1.0)) < 0.02
    sure = np.stack([np.load(tmp_path / "confidence" / f"{n:06d}.npy") for n in stages[0].numbers]) > 0.7
    error = np.abs(depth / stages[1] - 1.0)
    assert sure.mean() > 0.3 and error[sure].mean() < 0.7 * error[~sure].mean()


def test_only_neighbours_are_paired_when_asked(stages, tmp_path: Path) -> None:
    solve(stages, tmp_path, settings=replace(TINY, consecutive=True))
    assert list(json.loads((tmp_path / "consistency.json").read_text())["distance"]) == ["1"]
