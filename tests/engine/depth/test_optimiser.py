"""The optimiser: equal steps in all directions, in the network's own memory, to be gone on with."""

import torch

from engine.depth.network import DepthNetwork
from engine.depth.optimiser import FILTER_RATE, Optimiser


def network():
    torch.manual_seed(0)
    made = DepthNetwork().to(memory_format=torch.channels_last)
    torch.nn.init.normal_(made.head.weight, std=0.01)
    return made


def step(net, optimiser, seed, share=1.0):
    pictures = torch.randn((2, 5, 32, 48), generator=torch.Generator().manual_seed(seed))
    net.zero_grad()
    net(pictures).square().mean().backward()
    optimiser.step(share)


def test_a_filter_bank_moves_as_far_in_all_directions():
    net = network()
    weight = net.up[0].first.weight
    before = weight.detach().clone()
    step(net, Optimiser(net), 0)
    lengths = torch.linalg.svdvals((weight.detach() - before).flatten(1))
    assert lengths.max() < 2.5 * lengths.min(), "the orthogonalisation is exact to 0.5 to 1.5"
    root_mean_square = (weight.detach() - before).square().mean().sqrt()
    assert abs(float(root_mean_square) / (0.2 * FILTER_RATE) - 1.0) < 0.3


def test_as_published_it_is_adam():
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


def test_it_goes_on_from_its_state():
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


def test_at_no_share_nothing_moves():
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    step(net, Optimiser(net), 0, share=0.0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
