"""Solves with exact truth: those of the add-on's tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "addon"))

from synthetic import Synthetic, written_once


@pytest.fixture(scope="session")
def make_solve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Synthetic]:
    return written_once(tmp_path_factory)


@pytest.fixture
def synthetic(make_solve: Callable[..., Synthetic]) -> Synthetic:
    return make_solve(k1=-0.12, p1=0.004, p2=-0.003)
