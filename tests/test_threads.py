"""Work on threads: in order, not too far ahead, and nothing left behind."""

from __future__ import annotations

import gc
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

import streamwds as wds
from streamwds.codecs.codec import library
from streamwds.errors import DecodeError, MissingExtraError, SkippedWarning, SourceError
from streamwds.testing import check_resume, same_items
from streamwds.threads import AHEAD, in_order


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("streamwds")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert ours() == []


def slow_for_even(n: int) -> int:
    time.sleep(0.01 if n % 2 == 0 else 0)
    return -n


# ---- in order


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [[], [5], list(range(40))], ids=len)
def test_in_order_whatever_is_done_first(items: list[int], threads: int) -> None:
    found = [(n, work.result()) for n, work in in_order(slow_for_even, items, threads)]
    assert found == [(n, -n) for n in items]


def test_several_work_at_the_same_time() -> None:
    together, workers = threading.Barrier(3, timeout=10), set[threading.Thread]()

    def work(_: int) -> None:
        together.wait()
        workers.add(threading.current_thread())

    assert len([done.result() for _, done in in_order(work, range(6), 3)]) == 6
    assert len(workers) == 3
    assert threading.current_thread() in workers


def test_the_one_who_iterates_works_and_does_not_wait() -> None:
    """While another thread is at the first item, all that was pulled ahead is done by the one who iterates."""
    others = threading.Event()
    done: list[int] = []

    def work(n: int) -> int:
        if threading.current_thread() is not threading.main_thread():
            assert others.wait(10)
        done.append(n)
        if len(done) == 2 * AHEAD:
            others.set()
        return -n

    assert [found.result() for _, found in in_order(work, range(2 * AHEAD + 1), 2)] == [
        -n for n in range(2 * AHEAD + 1)
    ]


@pytest.mark.parametrize("ahead", [0, 1, 9])
def test_more_may_be_pulled_ahead(ahead: int) -> None:
    pulled: list[int] = []

    def source() -> Iterator[int]:
        for n in range(40):
            pulled.append(n)
            yield n

    for n, _ in in_order(abs, source(), 2, ahead):
        assert pulled == list(range(min(40, n + 1 + max(2 * AHEAD, ahead))))


def test_the_one_who_iterates_pulls_and_not_too_much() -> None:
    pulled: list[int] = []

    def source() -> Iterator[int]:
        for n in range(50):
            assert threading.current_thread() is threading.main_thread()
            pulled.append(n)
            yield n

    for n, work in in_order(abs, source(), 3):
        assert work.done()
        assert len(pulled) <= n + 1 + AHEAD * 3
    assert len(pulled) == 50


def test_nothing_starts_before_the_first_is_asked_for() -> None:
    work = in_order(abs, iter([1]), 2)
    assert ours() == []
    next(work)
    assert len(ours()) >= 1
    del work
    assert ours() == []


# ---- errors


def test_an_error_of_the_source_comes_after_what_came_before_it() -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise KeyError("the shard ended")

    found: list[int] = []
    with pytest.raises(KeyError, match="the shard ended"):
        found.extend(n for n, _ in in_order(slow_for_even, source(), 4))
    assert found == list(range(5))


def test_an_error_of_the_work_is_its_result() -> None:
    works = [work for _, work in in_order(lambda n: 1 // n, [1, 0, 2], 2)]
    assert works[0].result() == 1
    with pytest.raises(ZeroDivisionError):
        works[1].result()
    assert works[2].result() == 0


# ---- given up half-way


@pytest.mark.parametrize("how", ["closed", "dropped", "an exception"])
def test_an_abandoned_iterator_leaves_no_thread(how: str) -> None:
    begun: list[int] = []

    def work(n: int) -> None:
        begun.append(n)
        time.sleep(0.005)

    iterator = in_order(work, range(1000), 2)
    next(iterator)
    if how == "closed":
        iterator.close()  # type: ignore[attr-defined]
    elif how == "dropped":
        del iterator
    else:
        with pytest.raises(ZeroDivisionError):
            sum(n // 0 for n, _ in iterator)
        del iterator
    assert ours() == []
    assert len(begun) <= 2 + AHEAD * 2


def test_a_thread_that_collects_its_own_iterator_does_not_wait_for_itself() -> None:
    holder: list[Any] = []
    reached, asked = threading.Event(), threading.Event()

    def work(n: int) -> None:
        if threading.current_thread() is threading.main_thread():
            assert reached.wait(10)
        elif n > 0:
            reached.set()
            if asked.wait(10):
                holder.clear()  # (the last reference to the iterator, so that it ends in here)

    holder.append(in_order(work, range(9), 2))
    next(holder[0])
    asked.set()
    until = time.monotonic() + 10
    while (holder or ours()) and time.monotonic() < until:
        time.sleep(0.005)
    assert not holder


def test_a_forked_process_is_told_to_begin_anew() -> None:
    iterator = in_order(abs, range(100), 2)
    next(iterator)
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        try:
            next(iterator)
        except SourceError as error:
            os._exit(7 if "forked process" in str(error) else 1)
        except BaseException:
            os._exit(2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert len(list(iterator)) == 99


# ---- decode(threads=n)


def samples(n: int) -> list[wds.Sample]:
    """Pictures of different sizes, so that they take different times; every fifth is broken."""
    found: list[wds.Sample] = []
    for k in range(n):
        stream = io.BytesIO()
        Image.new("RGB", (20 + 100 * (k % 3), 20), (k, k, k)).save(stream, "JPEG")
        data = stream.getvalue()
        found.append({"__key__": f"{k}", "jpg": data[:-30] if k % 5 == 4 else data, "cls": b"%d" % k})
    return found


@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("n", [0, 1, 4, 23])
@pytest.mark.filterwarnings(f"ignore::{SkippedWarning.__module__}.SkippedWarning")
def test_decode_on_threads_gives_what_decode_gives(n: int, threads: int) -> None:
    plain = samples(n) | wds.decode("rgb8", handler=wds.ignore_and_continue)
    stream = samples(n) | wds.decode("rgb8", handler=wds.ignore_and_continue, threads=threads)
    assert same_items(list(stream), list(plain))
    assert stream.skipped == plain.skipped
    assert [at for _, at in stream.tracked()] == [at for _, at in plain.tracked()]
    assert check_resume(stream) == n - n // 5


def test_a_position_is_that_of_its_own_sample() -> None:
    stream = samples(4) | wds.decode("rgb8", threads=3)
    rest = [[sample["cls"] for sample in stream.at(position)] for _, position in stream.tracked()]
    assert rest == [[1, 2, 3], [2, 3], [3], []]


def test_threads_are_no_part_of_a_position() -> None:
    stream = samples(4) | wds.decode("rgb8", threads=3)
    _, position = next(stream.tracked())
    assert [sample["cls"] for sample in (samples(4) | wds.decode("rgb8")).at(position)] == [1, 2, 3]


def test_errors_come_in_order_and_name_the_sample() -> None:
    found: list[int] = []
    with pytest.raises(DecodeError, match="key '4', field 'jpg'") as caught:
        found.extend(sample["cls"] for sample in samples(12) | wds.decode("rgb8", threads=3))
    assert found == [0, 1, 2, 3]
    assert isinstance(caught.value.__cause__, OSError)


def test_a_handler_can_end_the_stream() -> None:
    assert len(list(samples(12) | wds.decode("rgb8", threads=3, handler=wds.ignore_and_stop))) == 4


def test_a_missing_extra_goes_to_no_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    library.cache_clear()  # (another test may have imported it)
    stream = [{"mp": b"\x01"}] * 5 | wds.decode(threads=2, handler=wds.ignore_and_continue)
    with pytest.raises(MissingExtraError, match=r"streamwds\[msgpack\]"):
        list(stream)


def test_a_stream_given_up_leaves_no_thread() -> None:
    for _ in samples(23) | wds.decode("rgb8", threads=3) | wds.take(2):
        pass
    tracked = (samples(23) | wds.decode("rgb8", threads=3) | wds.batched(2)).tracked()
    next(tracked)
    del tracked
    assert ours() == []


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", None, True])
def test_threads_are_counted(threads: Any) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        wds.decode(threads=threads)


def test_batches_of_threads_are_those_without() -> None:
    good = [sample for sample in samples(23) if int(sample["__key__"]) % 15 in (0, 3, 6)]
    with_threads = list(good | wds.decode("rgb", threads=2) | wds.batched(2))
    assert same_items(with_threads, list(good | wds.decode("rgb") | wds.batched(2)))
    assert np.array_equal(with_threads[0]["cls"], [0, 3])
