"""Frames side by side: what comes out, in which order, and what is left behind when something stops it."""

import threading
from collections.abc import Generator
from contextlib import closing
from contextvars import ContextVar

import pytest
import torch

from engine.parallel import Once, each

THREADS = 3
mood: ContextVar[str] = ContextVar("mood", default="plain")


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items() -> None:
    second_done = threading.Event()

    def work(k):
        if k == 0:
            assert second_done.wait(10.0), "the second item was not begun while the first was in hand"
        if k == 1:
            second_done.set()
        return k * k

    assert list(each(work, range(7))) == [(k, k * k) for k in range(7)]


def test_each_thread_computes_alone_and_the_setting_comes_back() -> None:
    inside = {threads for _, threads in each(lambda _: torch.get_num_threads(), range(4))}
    assert inside == {1}
    assert torch.get_num_threads() == THREADS


def test_no_more_results_are_held_than_there_are_threads() -> None:
    begun: list[int] = []
    results = each(begun.append, range(50))
    assert isinstance(results, Generator)
    with closing(results):
        for _ in range(5):
            next(results)
        assert max(begun, default=0) <= 5 + THREADS


def test_no_more_are_worked_on_than_allowed() -> None:
    threads = {thread for _, thread in each(lambda _: threading.get_ident(), range(40), most=2)}
    assert len(threads) <= 2
    assert threading.get_ident() not in threads
    assert torch.get_num_threads() == THREADS


def test_work_sees_the_callers_context() -> None:
    held = mood.set("frugal")
    seen = [value for _, value in each(lambda _: mood.get(), range(4))]
    mood.reset(held)
    assert seen == ["frugal"] * 4


def test_an_exception_reaches_the_caller_after_what_came_before_it() -> None:
    def work(k):
        if k == 2:
            raise OSError("disk full")
        return k

    got = []
    with pytest.raises(OSError, match="disk full"):
        for k, _ in each(work, range(40)):
            got.append(k)
    assert got == [0, 1]
    assert torch.get_num_threads() == THREADS


def test_a_caller_that_stops_leaves_no_thread_behind() -> None:
    before = threading.active_count()

    def stopped():
        for k, _ in each(lambda k: k, range(1000)):
            if k == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert threading.active_count() == before
    assert torch.get_num_threads() == THREADS


def test_a_gpu_gets_one_frame_at_a_time() -> None:
    main = threading.get_ident()
    assert {thread for _, thread in each(lambda _: threading.get_ident(), range(4), torch.device("cuda"))} == {main}


def test_what_two_threads_ask_for_is_made_once() -> None:
    begun, twice = [], threading.Event()

    def make(k):
        begun.append(k)
        if len(begun) > 1:
            twice.set()
        twice.wait(0.3)  # time for the other thread to come
        return k * k

    made = Once(make, 4)
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(made(3))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert (results, begun) == ([9, 9], [3])


def test_results_asked_for_last_are_kept() -> None:
    begun: list[int] = []

    def make(k):
        begun.append(k)
        return k

    made = Once(make, 2)
    for k in (0, 1, 0, 2, 0, 1):
        assert made(k) == k
    assert begun == [0, 1, 2, 1]


def test_everyone_who_asks_learns_what_went_wrong() -> None:
    def fail(_):
        raise OSError("no such picture")

    made = Once(fail, 2)
    for _ in range(2):
        with pytest.raises(OSError, match="no such picture"):
            made(0)
