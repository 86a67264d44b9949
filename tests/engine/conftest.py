"""Shared by the engine's tests: one thread, no network, no torchvision."""

import socket
import sys

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """On pictures as small as these, threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch):
    """Nothing reaches for the network by itself."""

    def refuse(*arguments, **_):
        raise AssertionError(f"the network was touched: {arguments}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def no_torchvision():
    """No part of the engine needs it."""
    yield
    assert "torchvision" not in sys.modules
