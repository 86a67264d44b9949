"""Which device computes, and what happens when its memory does not suffice."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

import torch

from engine.errors import RequestError
from engine.progress import Progress

Result = TypeVar("Result")
_frugal: ContextVar[bool] = ContextVar("frugal", default=False)
_NO_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def choose_device(wanted: str) -> torch.device:
    """The device for `auto` (CUDA when there), `cpu` or `cuda`.

    Raises:
        RequestError: CUDA was asked for and is not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RequestError(
            "request.no_cuda",
            "CUDA was asked for, and there is none.",
            "No NVIDIA device was found, or this PyTorch was built without CUDA.",
            "Choose the device auto or cpu, or install a PyTorch build for your GPU in the engine's environment.",
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def fast_in_half(device: torch.device) -> bool:
    """The device multiplies bfloat16 faster than float32; where it only can, that is slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def frugal() -> bool:
    """The device's memory did not suffice a first time: work is to be done in the smallest pieces."""
    return _frugal.get()


def within_memory(work: Callable[[torch.device], Result], device: torch.device, progress: Progress) -> Result:
    """Do `work` on `device`; where its memory does not suffice, again in smaller pieces, and at last on the CPU.

    Args:
        work: is called with the device; must be able to start again, and looks at `frugal`.
        device: where to compute first.
        progress: is told when the work goes on differently.
    """
    for smaller in (False, True):
        held = _frugal.set(smaller)
        try:
            return work(device)
        except RuntimeError as error:  # PyTorch's OutOfMemoryError is one; cuBLAS and cuDNN raise their own
            if device.type == "cpu" or not any(words in str(error) for words in _NO_MEMORY):
                raise
        finally:
            _frugal.reset(held)
        # Only here, behind the handler: the exception's traceback holds the arrays that fill the memory.
        gc.collect()
        torch.cuda.empty_cache()
        how = "on the CPU, which takes longer" if smaller else "in smaller pieces"
        progress.warning(f"The GPU ran out of memory; the work goes on {how}.")
    return work(torch.device("cpu"))
