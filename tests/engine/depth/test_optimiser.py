"""The optimiser: equal steps in all directions, in the network's own memory, to be gone on with."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.depth.optimiser import FILTER_RATE, Muon, Optimiser, orthogonalised
from engine.networks.depth import DepthNetwork


def network():
    torch.manual_seed(0)
    made = DepthNetwork()
    made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as training.py: not in its types
    torch.nn.init.normal_(made.head.weight, std=0.01)
    return made


def step(net, optimiser, seed, share=1.0):
    pictures = torch.randn((2, 5, 32, 48), generator=torch.Generator().manual_seed(seed))
    net.zero_grad()
    net(pictures).square().mean().backward()
    optimiser.step(share)


def test_a_filter_bank_moves_as_far_in_all_directions() -> None:
    net = network()
    weight = net.up[0].first.weight
    before = weight.detach().clone()
    step(net, Optimiser(net), 0)
    lengths = torch.linalg.svdvals((weight.detach() - before).flatten(1))
    assert lengths.max() < 2.5 * lengths.min(), "the orthogonalisation is exact to 0.5 to 1.5"
    root_mean_square = (weight.detach() - before).square().mean().sqrt()
    assert abs(float(root_mean_square) / (0.2 * FILTER_RATE) - 1.0) < 0.3


def test_as_published_it_is_adam() -> None:
    ours, reference = network(), network()
    optimiser, adam = Optimiser(ours, published=True), torch.optim.Adam(reference.parameters(), lr=4e-4)
    for seed in range(3):
        step(ours, optimiser, seed)
        pictures = torch.randn((2, 5, 32, 48), generator=torch.Generator().manual_seed(seed))
        adam.zero_grad()
        reference(pictures).square().mean().backward()
        adam.step()
    for a, b in zip(ours.parameters(), reference.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_goes_on_from_its_state() -> None:
    whole, first = network(), network()
    optimiser, before = Optimiser(whole), Optimiser(first)
    for seed in range(4):
        step(whole, optimiser, seed)
    for seed in range(2):
        step(first, before, seed)
    second = network()
    second.load_state_dict(first.state_dict())
    after = Optimiser(second)
    after.load_state_dict(before.state_dict())
    for seed in range(2, 4):
        step(second, after, seed)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_at_no_share_nothing_moves() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    step(net, Optimiser(net), 0, share=0.0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Formats(TorchDispatchMode):
    """Number formats of everything that is computed."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.seen |= {made.dtype} if isinstance(made, torch.Tensor) else set()
        return made


def test_on_a_cpu_nothing_is_computed_in_bfloat16() -> None:
    net = network()
    optimiser = Optimiser(net)
    step(net, optimiser, 0)
    with Formats() as formats:
        optimiser.step(1.0)
    assert formats.seen == {torch.float32}


@pytest.mark.parametrize("shape", [(24, 60), (60, 24)])
def test_in_bfloat16_it_is_the_muon_of_pytorch(shape) -> None:
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    mine = Muon([ours], 0.03, 0.8, torch.bfloat16)
    reference = torch.optim.Muon(
        [theirs], lr=0.03, momentum=0.8, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )  # fmt: skip
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", [(24, 60), (60, 24)])
def test_in_float32_directions_are_kept_and_lengths_made_equal(shape) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonalised(matrix, torch.float32) @ right.T
    lengths = torch.diagonal(turned)
    assert lengths.min() > 0.5 and lengths.max() < 1.5
    assert (turned - torch.diag(lengths)).abs().max() < 1e-4
