"""Memory to read shards into: reused, because fresh memory costs a page fault for every 4 kB.

A `Buffer` is an anonymous mapping. It takes `readinto`, its slices are real `bytes` (half as dear as those of a
memoryview), and `.move()` carries an unfinished sample over to its front.
"""

from __future__ import annotations

import mmap
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamwds.tar.headers import BLOCK

__all__ = ["CAPACITY", "Buffer", "borrowed"]

CAPACITY = 4 << 20
_IDLE = 4  # buffers kept for the next shard, each process its own

# private: the default is shared memory, in which a process and its forked workers would overwrite each other
_PRIVATE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}  # (Windows has no fork)
)


class Buffer:
    """Memory for a stretch of a shard, with views of it as header blocks, and scratch arrays that fit it."""

    __slots__ = ("bytes", "capacity", "gathered", "magic", "memory", "varying", "weighed", "words")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.bytes = mmap.mmap(-1, capacity, **_PRIVATE)
        self.memory = memoryview(self.bytes)
        self.words: NDArray[np.uint64] = np.frombuffer(self.bytes, "<u8").reshape(-1, BLOCK // 8)
        """The blocks as 64 words each: (blocks, 64) uint64."""
        self.magic: NDArray[np.uint32] = np.frombuffer(self.bytes, "<u4").reshape(-1, BLOCK // 4)[:, 64]
        """Bytes 256 to 259 of each block, where a ustar header has NUL, "ust"."""
        headers = capacity // (2 * BLOCK)
        self.gathered = np.empty((headers, BLOCK // 8), "<u8")
        self.varying = np.empty(headers * 16, "<u8")
        self.weighed = np.empty(headers * 128, "<f4")

    def fill(self, source: Any, start: int, want: int) -> tuple[int, bool]:
        """Read from `start` until `want` bytes are there or the source ends: (bytes there, whether it ended)."""
        while start < want:
            got = source.readinto(self.memory[start:want])
            if not got:
                return start, True
            start += got
        return start, False

    def keep(self, start: int, end: int) -> int:
        """Move what lies between to the front; how much that is."""
        if start:
            self.bytes.move(0, start, end - start)
        return end - start


_idle: list[Buffer] = []


@contextmanager
def borrowed() -> Generator[Buffer]:
    """A buffer from those that lie idle, or a new one; given back at the end."""
    try:
        buffer = _idle.pop()
    except IndexError:
        buffer = Buffer()
    try:
        yield buffer
    finally:
        if len(_idle) < _IDLE:
            _idle.append(buffer)
