"""Work on several threads whose results come in order.

For steps that make something of each item by a pure function: decoding, and whatever else spends its time where
Python's lock is free (libraries in C, files, sockets). What the items are is not known here.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from streamwds.errors import SourceError
from streamwds.handlers import Guard
from streamwds.steps import Pair

__all__ = ["AHEAD", "in_order", "mark_ours", "may_wait", "pairs_in_order"]

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""How many items are pulled ahead for each thread."""

_here = threading.local()


def mark_ours() -> None:
    """Say that this thread is one of the package's."""
    _here.ours = True


def may_wait() -> bool:
    """Whether this thread may wait for one of ours to end: whoever happens to collect an iterator as garbage closes it.

    One of ours may not: it could be the one waited for, or that could wait for it.
    """
    return not hasattr(_here, "ours")


def in_order(
    function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int = 0
) -> Iterator[tuple[T, Future[R]]]:
    """Each item with its work, which is done: `result()` gives what the function gave, or raises what it raised.

    `threads` work, and the one that iterates is among them: it waits only where all work was begun by others. (A thread
    that only waits is woken for each item, on a processor that another one was working on.)

    Items are pulled by whoever iterates, never by another thread, and at most `AHEAD * threads`, or `ahead` if that is
    more, are pulled beyond the one that was given last. What ends them, be it an error, comes after all that was pulled
    before. The threads start with the first item that is asked for and end with the iterator, also one that is closed
    or dropped half-way: work that runs is waited for, work that waits is not begun.

    >>> [work.result() for _, work in in_order(abs, [3, -1, 2], threads=2)]
    [3, 1, 2]
    """
    if threads == 1:
        for item in items:
            yield item, _done(function, item)
        return
    source, pending = iter(items), deque[tuple[T, Future[R]]]()
    ahead = max(AHEAD * threads, ahead)
    failed: Exception | None = None
    ended = False
    begun = 0  # (of the pending, for certain)
    owner = os.getpid()
    pool = ThreadPoolExecutor(threads - 1, "streamwds", mark_ours)
    try:
        while True:
            while not ended and len(pending) <= ahead:
                try:
                    item = next(source)
                except StopIteration:
                    ended = True
                except Exception as error:
                    ended, failed = True, error
                else:
                    pending.append((item, pool.submit(function, item)))
                    del item
            if not pending:
                break
            if not pending[0][1].done():
                if begun < len(pending):
                    begun = _help(function, pending, begun)
                else:
                    pending[0][1].exception()  # (waits until it is done)
                continue
            begun = max(begun - 1, 0)
            yield pending.popleft()
            if os.getpid() != owner:
                raise SourceError(
                    "an iterator that works on threads can't go on in a forked process, which has none of them; "
                    "begin a new one there, with iter(stream)"
                )
        if failed is not None:
            raise failed
    finally:
        failed = None  # (else error and frame keep each other)
        pool.shutdown(wait=os.getpid() == owner and may_wait(), cancel_futures=True)


def _help(function: Callable[[T], R], pending: deque[tuple[T, Future[R]]], begun: int) -> int:
    """Do the first work that nobody began, which is none of the first `begun`; how many of the first are begun then."""
    for place in range(begun, len(pending)):
        item, work = pending[place]
        if work.cancel():
            pending[place] = item, _done(function, item)
            return place + 1
    return len(pending)


def _done(function: Callable[[T], R], item: T) -> Future[R]:
    work: Future[R] = Future()
    try:
        work.set_result(function(item))
    except Exception as error:
        work.set_exception(error)
    try:
        return work
    finally:
        del work  # (else an error's frames and the work keep each other)


def pairs_in_order(
    function: Callable[[Any], Any], pairs: Iterable[Pair], threads: int, guard: Guard, ahead: int = 0
) -> Iterator[Pair]:
    """The pairs with what the function makes of their items; what it raises goes to the guard, in order as well.

    Each position is that of its own item, whatever was read ahead, so that the stream goes on from there with the next.
    """
    for (_, at), work in in_order(lambda pair: function(pair[0]), pairs, threads, ahead):
        guard.seen += 1
        try:
            result = work.result()
        except Exception as error:
            del work  # (else error and frame keep each other)
            if guard(error):
                continue
            return
        del work
        yield result, at
        del result
