"""Reading ahead: the next shards are opened, and their first bytes fetched, while one is read.

Each of them has a thread of its own, which keeps at most a buffer's worth of bytes that nobody has taken yet. Shards
come in their order and with their positions; only who opens them, and when, is another.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Any, BinaryIO, ClassVar, cast

import attrs

from streamwds.errors import OpenError, SourceError
from streamwds.shards.opening import Opener, Shard, open_url, shard_of
from streamwds.stage import Stage, maker
from streamwds.steps import At, Pair, Run, Step, Upstream, option
from streamwds.threads import mark_ours, may_wait
from streamwds.values import code

__all__ = ["BUFFER", "PrefetchShards", "check_ahead", "prefetch_shards", "read_ahead"]

BUFFER = 16 << 20
PIECE = 1 << 18


def check_ahead(n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise ValueError(f"a number of shards to read ahead is 0 or more, not {n!r}")


def _check_buffer(size: object) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < PIECE:
        raise ValueError(f"a buffer for reading ahead has {PIECE} bytes or more, not {size!r}")


class _Fetched(io.RawIOBase):
    """The bytes of a shard that a thread opens and reads, as far as the buffer goes."""

    def __init__(self, shard: Shard, most: int) -> None:
        self._shard = shard
        self._most = most
        self._pieces: deque[memoryview] = deque()
        self._waiting = 0  # how many bytes they are
        self._opened = self._ended = self._stopped = False
        self._failure: BaseException | None = None
        self._file: Any = None
        self._changed = threading.Condition()
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._fetch, name="streamwds-prefetch", daemon=True)
        self._thread.start()

    # ---- in the thread

    def _fetch(self) -> None:
        mark_ours()
        try:
            with contextlib.closing(self._shard.open()) as file:
                with self._changed:
                    self._file, self._opened = file, True
                    self._changed.notify_all()
                while self._keep(file):
                    pass
        except BaseException as error:  # (it is for whoever reads the shard)
            self._failure = error.with_traceback(None)  # (which holds this frame)
        finally:
            with self._changed:
                self._ended = True
                self._file = None
                self._changed.notify_all()

    def _keep(self, file: Any) -> bool:
        """Read a piece, and keep it once there is room; whether to go on."""
        data = b"" if self._stopped else file.read(PIECE)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._waiting + len(data) <= self._most)
            if not data or self._stopped:
                return False
            self._pieces.append(memoryview(data))
            self._waiting += len(data)
            self._changed.notify_all()
            return True

    # ---- for the reader

    def wait(self) -> None:
        """Wait until it is open; raise what kept it from being opened."""
        self._check_process()
        with self._changed:
            self._changed.wait_for(lambda: self._opened or self._ended)
            if not self._opened:
                self._raise()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        self._check_process()
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._ended)
            if not self._pieces:
                self._raise()
                return 0
            piece = self._pieces.popleft()
            size = min(len(piece), len(buffer))
            buffer[:size] = piece[:size]
            if size < len(piece):
                self._pieces.appendleft(piece[size:])
            self._waiting -= size
            self._changed.notify_all()
            return size

    def _check_process(self) -> None:
        if os.getpid() != self._owner:
            raise SourceError(
                "what reads ahead on threads can't go on in a forked process, which has none of them; begin a new "
                "iterator there, with iter(stream)"
            )

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Give it up: the thread ends as soon as it can. (A forked process has neither the thread nor its locks.)"""
        if os.getpid() != self._owner:
            return
        with self._changed:
            self._stopped = True
            self._pieces.clear()
            self._changed.notify_all()
            stop = getattr(self._file, "stop", None)
            if stop is not None:
                stop()

    def close(self) -> None:
        if not self.closed:
            self.stop()
            if os.getpid() == self._owner and may_wait():
                self._thread.join()
        super().close()


@attrs.frozen(repr=False)
class _Ahead:
    """An opener that has a shard's start already; for any but the first opening, it is the one behind it."""

    opener: Opener
    fetched: list[_Fetched] = attrs.field(factory=list, eq=False)

    def __call__(self, url: str, offset: int = 0) -> BinaryIO:
        if not self.fetched:
            return self.opener(url, offset)
        fetched = self.fetched.pop()
        if offset:
            fetched.close()
            return self.opener(url, offset)
        try:
            fetched.wait()
        except BaseException:
            fetched.close()
            raise
        return cast("BinaryIO", fetched)

    def jumps(self, url: str) -> bool:
        return Shard(url, self.opener).jumps

    def __repr__(self) -> str:
        return code(self.opener)


def read_ahead(pairs: Iterator[Pair], n: int, buffer: int = BUFFER, opener: Opener = open_url) -> Generator[Pair]:
    """The pairs of shards and positions, while up to n shards behind the last one given are opened and read.

    What is pulled ahead and fails, fails when its turn comes.
    """
    if not n:
        yield from pairs
        return
    ahead: deque[Pair] = deque()
    given: list[_Ahead] = []  # those of which nobody has begun to read
    failure: Exception | None = None
    more = True

    def pull(fetch: bool) -> None:
        nonlocal more, failure
        try:
            item, at = next(pairs)
        except Exception as error:
            more, failure = False, None if isinstance(error, StopIteration) else error
            return
        with contextlib.suppress(OpenError):  # (what names no shard is left to who reads it)
            shard = shard_of(item, opener)
            item = Shard(shard.url, _Ahead(shard.opener, [_Fetched(shard, buffer)] if fetch else []))
        ahead.append((item, at))

    try:
        pull(fetch=False)  # (it is read at once, and perhaps not from its start)
        while True:
            given = [opener for opener in given if opener.fetched]
            while more and len(ahead) + len(given) <= n:
                pull(fetch=True)
            if more and not ahead:
                pull(fetch=False)
            if not ahead:
                break
            item, at = ahead.popleft()
            if isinstance(item, Shard) and isinstance(item.opener, _Ahead):
                given.append(item.opener)
            yield item, at
        if failure is not None:
            raise failure
    finally:
        unread = [fetched for opener in (*given, *_openers(ahead)) for fetched in opener.fetched]
        for opener in (*given, *_openers(ahead)):
            opener.fetched.clear()
        for fetched in unread:
            fetched.stop()
        for fetched in unread:
            fetched.close()


def _openers(pairs: Iterable[Pair]) -> list[_Ahead]:
    return [item.opener for item, _ in pairs if isinstance(item, Shard) and isinstance(item.opener, _Ahead)]


@attrs.frozen(repr=False, slots=False)
class PrefetchShards(Step[Shard, Shard]):
    """Opens the next n shards while one is read. Remembers nothing: each shard keeps its position."""

    name: ClassVar[str] = "prefetch_shards"
    takes: ClassVar[str | None] = "Shard"
    yields: ClassVar[str | None] = "Shard"
    decides: ClassVar[bool] = False
    n: int = option(check=check_ahead)
    buffer: int = option(BUFFER, decides=False, check=_check_buffer)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        return read_ahead(upstream(at), self.n, self.buffer)


@maker
def prefetch_shards(n: int, *, buffer: int = BUFFER) -> Stage[Shard, Shard]:
    """Open the next n shards in threads while one is read, so that nobody waits for a store to answer.

    Put it between `open_shards` and `tarfiles`; `tarsamples(prefetch=n)` is the same in one.

    buffer: how many bytes of each shard may wait to be read, 16 MB unless given. So up to (n + 1) × buffer are held.

    The items and their positions are those without it; an error comes when the shard's turn comes. When the stream is
    left or ends, the threads end, and what they opened is closed (a request that waits for its answer is waited for).

    >>> with TarWriter(tmp_path / "a.tar") as writer:
    ...     size = writer.dwrite("0001", txt="a cat")
    >>> stream = urls(tmp_path / "a.tar") | open_shards | prefetch_shards(4) | tarfiles | group_by_keys
    >>> [sample["__key__"] for sample in stream]
    ['0001']
    """
    return Stage((PrefetchShards(n, buffer),))
