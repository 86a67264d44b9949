"""The stage: which prior is taken, what it writes, how it stops and goes on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.errors import Cancelled, PriorError
from engine.networks.depth import ARCHITECTURE, DepthNetwork, load_network
from engine.priors import Source, builtin, choose_prior, huggingface, solve_prior, stage
from engine.progress import Silent
from engine.request import PriorRequest
from tests.engine.depth.scene import plane_clip, plane_depth
from tests.engine.priors.tiny_models import put_into_cache, save

CPU = torch.device("cpu")


def prior(request: PriorRequest) -> Source:
    """The prior that is chosen; there is one."""
    source = choose_prior(request)
    assert source is not None
    return source


def load_prior(folder, number):
    return np.load(folder / "depth" / f"{number:06d}.npy", allow_pickle=False)


def truth(clip, row):
    """True depth on half the work grid."""
    height, width = clip.images.shape[1] // 2, clip.images.shape[2] // 2
    return plane_depth(clip.lens.scaled(width, height), clip.world_from_camera[row])


class Network:
    """A made-up prior; counts how often it is asked."""

    def __init__(self, output, value):
        self.asked = []
        self.source = Source("made-up", "MIT", False, output, "made-up", self.open)
        self.value = value

    def open(self, clip, plate, device):
        def predict(row):
            self.asked.append(row)
            return self.value(row, truth(clip, row)).astype(np.float32)

        return predict


class Recorder(Silent):
    def __init__(self, cancel_after=None):
        self.left = cancel_after
        self.fractions, self.warnings, self.metrics = [], [], {}

    def step(self, done, total, message):
        self.fractions.append(done / total)
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Cancelled

    def warning(self, message, frames=()):
        self.warnings.append((message, list(frames)))

    def metric(self, name, value):
        self.metrics[name] = value


def solve(clip, source, folder, progress=None):
    solve_prior(clip, clip.lens, source, folder, CPU, progress or Silent())


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("disparity", lambda row, z: (1 / z - 0.03 * row) / (0.2 + 0.05 * row)),
        ("depth", lambda row, z: z * (0.4 + 0.1 * row)),
        ("units", lambda row, z: z * 1000.0),
        ("metric", lambda row, z: z),
    ],
)
def test_a_prior_that_is_right_comes_out_as_the_true_depth(tmp_path: Path, output, value) -> None:
    clip, _ = plane_clip(5)
    solve(clip, Network(output, value).source, tmp_path)
    for row, number in enumerate(clip.numbers):
        depth = load_prior(tmp_path, int(number))
        assert depth.shape == (48, 64)
        # Depth itself is not linear in the pixel, so the values at the points are off by some of its curvature.
        assert np.abs(depth / truth(clip, row) - 1).max() < (1e-5 if output in ("metric", "disparity") else 3e-4)
    document = json.loads((tmp_path / "prior.json").read_text())
    assert document == {"name": "made-up", "licence": "MIT", "metric": output == "metric"}


def test_a_frame_that_sees_no_sparse_point_has_depth_all_the_same(tmp_path: Path) -> None:
    clip, _ = plane_clip(4)
    bare = tuple(
        (pixels[:0], depth[:0]) if row == 1 else (pixels, depth) for row, (pixels, depth) in enumerate(clip.sparse)
    )
    solve(replace(clip, sparse=bare), Network("disparity", lambda row, z: 3 / z + 1).source, tmp_path)
    assert load_prior(tmp_path, 102) == pytest.approx(truth(clip, 1), rel=1e-3)


def test_it_goes_on_where_it_stopped_and_does_nothing_twice(tmp_path: Path) -> None:
    clip, _ = plane_clip(6)
    network = Network("disparity", lambda row, z: 1 / z)
    for allowed in (3, 2, 8, 3, 0):
        with pytest.raises(Cancelled):
            solve(clip, network.source, tmp_path, Recorder(allowed))
        assert not (tmp_path / "prior.json").exists()
    progress = Recorder()
    solve(clip, network.source, tmp_path, progress)
    assert network.asked == list(range(6))
    assert progress.fractions == sorted(progress.fractions)
    assert progress.metrics["prior_error"] < 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth", "prior.json"]
    (tmp_path / "raw").mkdir()  # as if it had been killed before it tidied up
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "depth").iterdir())]
    solve(clip, network.source, tmp_path, Recorder(0))
    assert not (tmp_path / "raw").exists()
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "depth").iterdir())] == before


def test_frames_without_values_are_named_and_hold_none(tmp_path: Path) -> None:
    clip, _ = plane_clip(4)
    progress = Recorder()
    solve(clip, Network("units", lambda row, z: z if row != 2 else z * np.nan).source, tmp_path, progress)
    assert not load_prior(tmp_path, 103).any()
    assert progress.warnings == [("made-up says nothing about the depth of 1 frames.", [103])]


def test_a_prior_that_contradicts_the_cameras_is_named(tmp_path: Path) -> None:
    clip, _ = plane_clip(4)
    rng = np.random.default_rng(0)
    progress = Recorder()
    solve(clip, Network("depth", lambda row, z: np.exp(rng.normal(0, 1, z.shape))).source, tmp_path, progress)
    assert progress.metrics["prior_error"] > 0.3
    assert "contradicts the cameras" in progress.warnings[0][0]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Weights in place of the shipped ones: log depth is 2 plus a little of what the network sees."""
    torch.manual_seed(0)
    made = DepthNetwork()
    with torch.no_grad():
        made.head.weight.normal_(0.0, 1.0)
        made.get_parameter("head.bias").fill_(2.0)
    weights = tmp_path / "depth.safetensors"
    save_file(made.state_dict(), weights, {"architecture": ARCHITECTURE})
    monkeypatch.setattr(stage, "builtin", lambda: builtin.builtin(weights))
    return weights


def test_the_builtin_network_sees_the_picture_and_no_evidence(tmp_path: Path, shipped) -> None:
    clip, _ = plane_clip(2)
    source = prior(PriorRequest(kind="builtin"))
    assert (source.licence, source.non_commercial, source.output) == ("CC0-1.0", False, "depth")
    half = np.floor(clip.images[1].reshape(48, 2, 64, 2, 3).mean((1, 3)) + 0.5)  # 8 bits
    seen = np.concatenate([half / 127.5 - 1, np.zeros((48, 64, 2))], -1).transpose(2, 0, 1)
    with torch.no_grad():
        log_depth = load_network(shipped, CPU)(torch.tensor(seen, dtype=torch.float32)[None])[0, 0].numpy()
    assert log_depth.std() > 0.05
    raw = source.open(clip, clip.lens, CPU)(1)
    assert np.log(raw) == pytest.approx(log_depth, abs=0.01)
    solve(clip, source, tmp_path / "out")
    factor = load_prior(tmp_path / "out", 102) / raw
    assert factor == pytest.approx(np.full((48, 64), factor[0, 0]))


def test_other_shipped_weights_are_another_identity(shipped) -> None:
    before = prior(PriorRequest(kind="builtin")).identity
    shipped.write_bytes(b"other weights")
    assert prior(PriorRequest(kind="builtin")).identity != before


def test_missing_shipped_weights_are_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(PriorError) as failure:
        builtin.builtin(tmp_path / "depth.safetensors")
    assert failure.value.code == "prior.not_found"


def test_auto_takes_depth_anything_where_it_is_at_hand(tmp_path: Path, cache, shipped) -> None:
    assert prior(PriorRequest()).name == "built-in network"
    put_into_cache(cache, huggingface.DEFAULT, save(tmp_path / "m", "depth_anything"))
    chosen = prior(PriorRequest())
    assert (chosen.name, chosen.licence, chosen.non_commercial) == (huggingface.DEFAULT, "Apache-2.0", False)
    assert prior(PriorRequest(kind="builtin")).name == "built-in network"
    assert choose_prior(PriorRequest(kind="none")) is None


def test_auto_without_transformers_is_the_builtin_network(
    tmp_path: Path, cache, shipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_into_cache(cache, huggingface.DEFAULT, save(tmp_path / "m", "depth_anything"))
    monkeypatch.setattr("engine.networks.pretrained.is_installed", lambda: False)
    assert prior(PriorRequest()).name == "built-in network"


def test_auto_leaves_a_half_downloaded_model_alone(tmp_path: Path, cache, shipped) -> None:
    snapshot = put_into_cache(cache, huggingface.DEFAULT, save(tmp_path / "m", "depth_anything"))
    (snapshot / "model.safetensors").unlink()
    assert prior(PriorRequest()).name == "built-in network"
