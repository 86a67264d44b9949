"""Frames side by side: threads where the heavy work is OpenCV's and PyTorch's, which let go of Python's lock."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    device: torch.device | None = None,
    most: int | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Every item with what `work` makes of it, in order; several are worked on at a time, on a GPU one.

    As many as PyTorch has threads (`OMP_NUM_THREADS`, else the cores), each of which then computes alone: a frame at
    the work size is too small to be shared by many. No more results are held than there are threads, so that memory
    does not grow with the clip.

    Args:
        work: is called in other threads, with the caller's context variables; must not depend on the order.
        items: what to work on.
        device: where `work` computes; None = on the CPU.
        most: how many at a time at the most, where an item takes much memory; None = as many as there are threads.

    Raises:
        Exception: what `work` raised, once the items before are through and those in hand are done. The same when the
            caller stops asking, as on `Cancelled`.
    """
    before = torch.get_num_threads()
    threads = min(before, most or before) if device is None or device.type == "cpu" else 1
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
        torch.set_num_threads(before)


class Once(Generic[Item, Result]):
    """What `work` makes of the items asked for last, each made once.

    Unlike `functools.lru_cache` also where threads ask for it side by side: whoever comes second waits for the first.

    Args:
        work: must not ask this very object.
        kept: how many results are held, those not asked for the longest time go first.
    """

    def __init__(self, work: Callable[[Item], Result], kept: int) -> None:
        self._work, self._kept = work, kept
        self._lock = Lock()
        self._made: OrderedDict[Item, Future[Result]] = OrderedDict()

    def __call__(self, item: Item) -> Result:
        """The result for `item`.

        Raises:
            Exception: what `work` raised, to everyone who asks for this item.
        """
        with self._lock:
            made = self._made.get(item)
            if made is not None:
                self._made.move_to_end(item)
            else:
                mine = self._made[item] = Future()
                if len(self._made) > self._kept:
                    self._made.popitem(last=False)
        if made is not None:
            return made.result()
        try:
            mine.set_result(self._work(item))
        except BaseException as error:  # whatever it was, nobody may wait for ever
            mine.set_exception(error)
        return mine.result()
