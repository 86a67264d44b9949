"""Frames side by side: threads where the heavy work is OpenCV's and PyTorch's, which let go of Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    work: Callable[[Item], Result], items: Iterable[Item], device: torch.device | None = None
) -> Iterator[tuple[Item, Result]]:
    """Every item with what `work` makes of it, in order; several are worked on at a time, on a GPU one.

    As many as PyTorch has threads (`OMP_NUM_THREADS`, else the cores), each of which then computes alone: a frame at
    the work size is too small to be shared by many. No more results are held than there are threads, so that memory
    does not grow with the clip.

    Args:
        work: is called in other threads, with the caller's context variables; must not depend on the order.
        items: what to work on.
        device: where `work` computes; None = on the CPU.

    Raises:
        Exception: what `work` raised, once the items before are through and those in hand are done. The same when the
            caller stops asking, as on `Cancelled`.
    """
    threads = torch.get_num_threads() if device is None or device.type == "cpu" else 1
    if threads == 1:
        for item in items:
            yield item, work(item)
        return
    torch.set_num_threads(1)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append((item, pool.submit(copy_context().run, work, item)))
            if len(waiting) > threads:
                first, result = waiting.popleft()
                yield first, result.result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
