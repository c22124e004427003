"""What can be read of a damaged shard: what is whole before a damaged place, and behind it.

A stream guesses at nothing behind a damaged header. Here the next header is looked for whose checksum holds, and
reading goes on there. The first sample behind is left out, for nobody knows whether it begins there. (If the header of
a tar within the shard is damaged, what is in that tar is taken for the shard's own.) Standard input is read only once,
and so up to the damage.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from streamwds.cli.sources import samples_of
from streamwds.errors import HeaderError, StreamwdsError, TarError
from streamwds.shards.opening import Opener, Shard
from streamwds.stage import Sample
from streamwds.tar.headers import BLOCK, checksum_holds
from streamwds.tar.stream import OpenShard, shard_bytes

__all__ = ["salvaged"]

PIECE = 1 << 11  # blocks that are looked at together


def salvaged(url: str, opener: Opener, note: Callable[[StreamwdsError], object]) -> Iterator[Sample]:
    """The samples of a shard that are whole, also behind damaged places; `note` is told of each error."""
    start: int | None = 0
    while start is not None:
        damage: list[HeaderError] = []

        def handler(error: Exception, start: int = start, damage: list[HeaderError] = damage) -> bool:
            assert isinstance(error, StreamwdsError)
            if error.offset is not None:
                error.offset += start
            if isinstance(error, HeaderError):
                damage.append(error)
            note(error)
            return True

        there = opener if start == 0 else _From(opener, start)
        for number, sample in enumerate(samples_of([url], there, handler=handler)):
            if number or start == 0:
                yield sample
                continue
            message = "the first sample behind the damage, which may lack some of its files, is left out"
            note(StreamwdsError(message, url=url, offset=start, key=sample["__key__"]))
        start = _next_header(Shard(url, opener), damage[0].offset) if damage and url != "-" else None


def _next_header(shard: Shard, damaged: int | None) -> int | None:
    """The offset of the next header behind a damaged one, if there is one that makes sense."""
    try:
        with shard_bytes(shard, (damaged or 0) + BLOCK) as source:
            while True:
                at = source.at
                blocks = source.read(PIECE * BLOCK)
                for place in range(0, len(blocks), BLOCK):
                    if blocks[place + 257 : place + 262] == b"ustar" and checksum_holds(blocks[place : place + BLOCK]):
                        return at + place
                if len(blocks) < PIECE * BLOCK:
                    return None
    except TarError:  # (it was told of already: what is behind can't be read)
        return None


class _From:
    """Opens a shard at an offset, as if it began there."""

    def __init__(self, opener: Opener, start: int) -> None:
        self._opener = opener
        self._start = start

    def __call__(self, url: str, offset: int = 0) -> BinaryIO:
        return cast("BinaryIO", _Rest(shard_bytes(Shard(url, self._opener), self._start + offset)))


class _Rest(io.RawIOBase):
    """The bytes of a shard from an offset on, as a file."""

    def __init__(self, opening: Any) -> None:
        self._opening = opening
        self._source: OpenShard = opening.__enter__()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._source.readinto(memoryview(buffer))

    def close(self) -> None:
        if not self.closed:
            self._opening.__exit__(None, None, None)
        super().close()
