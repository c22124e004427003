"""A shard's samples, from its bytes: stretch by stretch at the speed of memory, else member by member."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import repeat
from typing import Any

from streamwds.errors import StreamwdsError
from streamwds.handlers import Guard
from streamwds.stage import Sample
from streamwds.steps import At, first
from streamwds.tar.buffers import CAPACITY, Buffer, borrowed
from streamwds.tar.grouping import grouped
from streamwds.tar.members import walk
from streamwds.tar.names import Naming
from streamwds.tar.skipping import Gaps
from streamwds.tar.stream import OpenShard, ShardBytes
from streamwds.tar.stretches import stretch

__all__ = ["sample_stretches"]

FIRST = 256 << 10  # the first stretch is short, so that the first sample comes soon


def sample_stretches(
    source: OpenShard,
    naming: Naming,
    guard: Guard,
    *,
    lenient: bool = False,
    tracked: bool = False,
    start: At = None,
) -> Iterator[Iterator[Any]]:
    """Iterators of a shard's samples, each to be used up before the next is asked for: they read from one buffer.

    tracked: give pairs of a sample and its position, (the offset behind it, `start`).

    Damage is told to the guard, when all that was whole before it has been given out, and ends the shard.
    """
    with borrowed() as buffer:
        if source.file is not None and naming.sparing:
            source.seek((yield from _with_gaps(buffer, source, naming, guard, tracked, start)))
        have, want = 0, FIRST
        base = source.at  # the offset of what is at the front of the buffer
        failure: StreamwdsError | None = None
        while True:
            if failure is None:
                have, failure = _fill(buffer, source, have, want)
            found = stretch(buffer, have, source.url, naming)
            if found is not None:
                guard.seen += found.number
                used = found.used
                if tracked:
                    ends = [base + end for end in found.ends()]
                    yield zip(found.samples, zip(ends, repeat(start)))
                else:
                    yield found.samples
            else:
                walker = _Walker(naming, guard, lenient, tracked, start)
                yield walker.samples(_InMemory(buffer, have, base, source.url, failure))
                if walker.finished:
                    return
                used = walker.end - base if walker.end is not None else 0
                if not used and have == buffer.capacity:  # a sample larger than the buffer: from here on without it
                    yield walker.samples(source.behind(buffer.bytes[:have], base))
                    return
            have = buffer.keep(used, have)
            base += used
            want = _more(want, have)


def _more(want: int, have: int) -> int:
    return min(CAPACITY, max(4 * want, have + FIRST))


def _with_gaps(
    buffer: Buffer, source: OpenShard, naming: Naming, guard: Guard, tracked: bool, start: At
) -> Generator[Iterator[Any], None, int]:
    """Stretches of a file that is read only where it is wanted, as far as that goes: the offset where it ends."""
    assert source.file is not None
    gaps = Gaps(source.file, source.at, naming.wants_extension)
    have, want = 0, FIRST
    while True:
        try:
            have = gaps.fill(buffer, have, want)
        except OSError:
            return gaps.base  # (who reads all of it from there tells of it)
        bare = gaps.bare()
        found = None if bare is None else stretch(buffer, have, source.url, naming, bare)
        if found is None:
            return gaps.base
        guard.seen += found.number
        if tracked:
            yield zip(found.samples, zip(gaps.offsets(found.ends()), repeat(start)))
        else:
            yield found.samples
        have = gaps.keep(buffer, found.used, have)
        want = _more(want, have)


def _fill(buffer: Buffer, source: OpenShard, have: int, want: int) -> tuple[int, StreamwdsError | None]:
    """Read until `want` bytes are there: (bytes there, why there are no more). At the shard's end that is an `_End`."""
    while have < want:
        try:
            got = source.readinto(buffer.memory[have:want])
        except StreamwdsError as error:
            return have, error
        if not got:
            return have, _End()
        have += got
    return have, None


class _End(StreamwdsError):  # noqa: N818
    """The shard ends here."""


class _More(Exception):  # noqa: N818  (no error: the rest is yet to be read)
    """What is in the buffer ends within a sample."""


class _InMemory(ShardBytes):
    """The bytes in a buffer, read as a shard's are. At their end: the shard's end, the failure that kept us from more,
    or a call for more.
    """

    __slots__ = ("_base", "_end", "_failure", "_memory")

    def __init__(self, buffer: Buffer, have: int, base: int, url: str, failure: StreamwdsError | None) -> None:
        self.url = url
        self.at = self._base = base
        self._memory = buffer.bytes
        self._end = base + have
        self._failure = failure

    def read(self, size: int) -> bytes:
        start = self.at
        if start + size > self._end:
            if self._failure is None:
                raise _More
            if not isinstance(self._failure, _End):
                self._failure.offset = start
                raise self._failure
            size = self._end - start
        self.at = start + size
        return self._memory[start - self._base : start - self._base + size]


class _Walker:
    """Gives samples one by one, and says afterwards how far it came."""

    def __init__(self, naming: Naming, guard: Guard, lenient: bool, tracked: bool, start: At) -> None:
        self.naming = naming
        self.guard = guard
        self.lenient = lenient
        self.tracked = tracked
        self.start = start
        self.end: int | None = None
        self.finished = False

    def samples(self, source: ShardBytes) -> Iterator[Any]:
        pairs = self._pairs(source)
        return pairs if self.tracked else map(first, pairs)

    def _pairs(self, source: ShardBytes) -> Iterator[tuple[Sample, At]]:
        needless = self.naming.needless if self.naming.sparing else None
        members = walk(source, lenient=self.lenient, needless=needless)
        try:
            for sample, end in grouped(members, source.url, self.naming, self.guard):
                self.end = end
                if sample is not None:
                    yield sample, (end, self.start)
        except _More:
            return
        except StreamwdsError as error:
            self.finished = True
            if self.guard.ended:  # (the handler raised it)
                raise
            self.guard(error)
        self.finished = True
