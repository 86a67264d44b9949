"""Solves with exact truth: those of the add-on's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.addon.synthetic import Synthetic, written_once


@pytest.fixture(scope="session")
def make_solve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Synthetic]:
    return written_once(tmp_path_factory)


@pytest.fixture
def synthetic(make_solve: Callable[..., Synthetic]) -> Synthetic:
    return make_solve(k1=-0.12, p1=0.004, p2=-0.003)
