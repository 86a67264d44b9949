"""A GPU whose memory does not suffice: there is none here, so PyTorch's own exception stands in for it."""

import pytest
import torch

from engine.device import frugal, within_memory
from engine.progress import Silent

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Told(Silent):
    def __init__(self):
        self.warnings = []

    def warning(self, message, frames=()):
        self.warnings.append(message)


def run(fits, error, device=CUDA):
    """Work that runs out of memory until `fits` says it does not; returns what was tried and what was told."""
    tried, progress = [], Told()

    def work(device):
        tried.append((device.type, frugal()))
        if not fits(*tried[-1]):
            raise error
        return "done"

    try:
        assert within_memory(work, device, progress) == "done"
    finally:
        assert not frugal()
    return tried, progress.warnings


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_work_that_fits_is_done_once_and_nothing_is_said() -> None:
    assert run(lambda *_: True, FULL) == ([("cuda", False)], [])


@pytest.mark.parametrize("error", [FULL, RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ...")])
def test_smaller_pieces_come_first_and_the_cpu_last_and_both_are_said(error) -> None:
    tried, told = run(lambda _, small: small, error)
    assert tried == [("cuda", False), ("cuda", True)]
    assert len(told) == 1 and "smaller pieces" in told[0]
    tried, told = run(lambda device, _: device == "cpu", error)
    assert tried == [("cuda", False), ("cuda", True), ("cpu", False)]
    assert len(told) == 2 and "on the CPU" in told[1]


def test_other_failures_and_those_of_the_cpu_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        run(lambda *_: False, RuntimeError("shape mismatch"))
    with pytest.raises(torch.OutOfMemoryError):
        run(lambda *_: False, FULL, CPU)
