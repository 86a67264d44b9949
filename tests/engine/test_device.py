"""What is known of a device before it computes."""

import pytest
import torch

from engine.device import fast_in_half

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("generation", "fast"), [((6, 1), False), ((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus_multiply_bfloat16_from_ampere_on(monkeypatch: pytest.MonkeyPatch, generation, fast) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: generation)
    assert fast_in_half(CUDA) is fast


@pytest.mark.parametrize(
    ("able", "fast"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False), ({}, False)],
)
def test_cpus_multiply_bfloat16_where_they_say_so(monkeypatch: pytest.MonkeyPatch, able, fast) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert fast_in_half(CPU) is fast
