"""The depth network: sizes, damaged weights, and what the weights that ship are worth."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.errors import DepthError
from engine.networks.depth import ARCHITECTURE, WEIGHTS, DepthNetwork, load_network
from engine.priors.builtin import LICENCE

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(144, 192), (192, 108), (33, 47), (5, 7), (1, 1)])
def test_any_size_comes_back(size) -> None:
    depth = DepthNetwork()(torch.rand(2, 5, *size))
    assert depth.shape == (2, 1, *size) and torch.isfinite(depth).all()


def test_the_start_carries_what_is_measured_into_the_gaps() -> None:
    network = DepthNetwork()
    x = torch.rand(1, 5, 37, 50) * 2 - 1
    x[:, 3:] = 0.0
    assert (network(x) == 0).all()
    x[:, 4, 5:20, :20], x[:, 3, 5:20, :20] = 0.9, 1.5
    x[:, 4, 25:, 30:], x[:, 3, 25:, 30:] = 0.9, -0.5
    depth = network(x)[0, 0]
    assert torch.allclose(depth[7:18, 2:18], torch.tensor(1.5), atol=0.1)
    assert torch.allclose(depth[27:, 32:], torch.tensor(-0.5), atol=0.1)
    assert depth[0, 0] > 1.0 and depth[22, 49] < 0.2 and -0.5 < depth[21, 25] < 1.5


def test_another_unit_changes_the_result_by_its_factor_only() -> None:
    torch.manual_seed(0)
    network = DepthNetwork()
    torch.nn.init.normal_(network.head.weight, std=0.1)
    x = torch.rand(1, 5, 40, 50)
    x[:, 4] *= torch.rand(1, 40, 50) < 0.3
    x[:, 3] *= x[:, 4] > 0
    other = x.clone()
    other[:, 3] += 2.0 * (x[:, 4] > 0)
    assert torch.allclose(network(other), network(x) + 2.0, atol=1e-3)
    other[:, :3] = 0.5
    assert not torch.allclose(network(other), network(x) + 2.0, atol=1e-2)


def test_the_start_hears_the_picture_at_its_coarsest_level() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 24, 48, 64) * 2 - 1  # two by two pixels of picture, evidence, confidence and row
    for block in DepthNetwork().down:
        x = block(x)
    assert x.std(dim=0).mean() > 0.05


def test_a_picture_can_be_learnt_without_evidence() -> None:
    torch.manual_seed(0)
    network = DepthNetwork()
    x = torch.zeros(1, 5, 24, 32)
    x[:, :3] = torch.rand(1, 3, 24, 32) * 2 - 1
    true = torch.linspace(0.5, -0.5, 24)[None, None, :, None].expand(1, 1, 24, 32)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(40):
        loss = (network(x) - true).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.08  # 0.25 at the start


def saved(path: Path, architecture: str = ARCHITECTURE, leave_out: str = "") -> Path:
    torch.manual_seed(3)
    network = DepthNetwork()
    torch.nn.init.normal_(network.head.weight, std=0.1)
    weights = {name: value.half() for name, value in network.state_dict().items() if name != leave_out}
    save_file(weights, path, {"architecture": architecture})
    return path


def test_weights_come_back(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors")
    network = load_network(path, CPU)
    torch.manual_seed(3)
    expected = DepthNetwork()
    assert network.head.weight.dtype == torch.float32
    deep = "down.2.first.weight"
    assert torch.allclose(network.get_parameter(deep), expected.get_parameter(deep), atol=1e-3)
    assert network.head.weight.std() > 0.05


def damaged(tmp_path):
    yield "is missing", tmp_path / "none.safetensors"
    path = tmp_path / "text.safetensors"
    path.write_text("not weights")
    yield "is text", path
    path = saved(tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    yield "is cut short", path
    yield "is another network's", saved(tmp_path / "other.safetensors", "something else")
    yield "lacks a layer", saved(tmp_path / "lacks.safetensors", leave_out="head.bias")


def test_weights_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    for what, path in damaged(tmp_path):
        with pytest.raises(DepthError) as error:
            load_network(path, CPU)
        assert error.value.code == "depth.weights", what
        assert path.name in error.value.what and error.value.fix, what


def test_weights_that_ship_are_small_and_free() -> None:
    assert WEIGHTS.stat().st_size < 16 * 2**20
    with safe_open(WEIGHTS, "pt") as file:
        metadata = file.metadata()
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    assert metadata["licence"] == LICENCE and metadata["architecture"] == ARCHITECTURE
    assert int(metadata["steps"]) > 0
