"""Shared by the depth tests."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for scene.py


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """On pictures as small as these, threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
