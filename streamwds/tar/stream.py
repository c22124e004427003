"""The bytes of a shard, uncompressed, from an offset on; whatever goes wrong on the way is one of our errors."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Generator
from typing import Any

from streamwds.compression import Library, recognised
from streamwds.errors import MissingExtraError, OpenError, TarError, TruncatedError
from streamwds.shards.opening import Shard
from streamwds.tar.headers import BLOCK, checksum_holds

__all__ = ["OpenShard", "ShardBytes", "is_compressed", "shard_bytes"]

BUFFER = 1 << 18
PIECE = 1 << 24  # at most so much memory is taken on a header's word alone

ARCHIVES = {b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z"}  # formats of archives that are no tar

# (the last two: of files that a caller's opener unpacks)
_FAILURES: tuple[type[Exception], ...] = (OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError)


class ShardBytes:
    """Bytes of a shard in their order; `at` is the offset of the next one in the uncompressed shard."""

    __slots__ = ("at", "url")
    at: int
    url: str

    def read(self, size: int) -> bytes:
        """The next bytes: as many as asked for, or fewer at the end of the shard."""
        raise TypeError(f"{type(self).__name__} does not say how it reads")

    def data(self, size: int) -> Any:
        """The data of a member. (Who doesn't need it passes over it, and gives something as long.)"""
        return self.read(size)

    def pass_over(self, size: int) -> int:
        """Read and forget; how many bytes there were."""
        passed = 0
        while passed < size and (data := self.read(min(size - passed, BUFFER))):
            passed += len(data)
        return passed

    def _failed(self, error: Exception, at: int) -> TarError:
        if isinstance(error, MemoryError):
            hint = "a file in it is too large; tarsamples(suffixes={…}) reads only the fields that you name"
            return TarError(f"there is not enough memory to read it: {hint}", url=self.url, offset=at)
        if isinstance(error, EOFError):
            return TruncatedError(f"the compressed shard is cut: {error}", url=self.url, offset=at)
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            return TarError(f"reading failed: {error}", url=self.url, offset=at)
        return TarError(f"the compressed shard is damaged: {error}", url=self.url, offset=at)


class OpenShard(ShardBytes):
    """Reads a shard, by `readinto` or by `read`.

    (Once `read` was called, `readinto` must not be, for `read` reads ahead.)
    """

    __slots__ = ("_buffered", "_failures", "_raw", "_readinto", "file")

    def __init__(
        self,
        raw: Any,
        url: str,
        at: int = 0,
        *,
        file: io.FileIO | None = None,
        failures: tuple[type[Exception], ...] = _FAILURES,
    ) -> None:
        """file: the raw file, if it is one in which seeking costs next to nothing. failures: what reading may raise."""
        self.file = file
        self._failures = failures
        self._raw = raw
        self._readinto = raw.readinto
        self._buffered: io.BufferedReader | None = None  # made by the first `read`, for it notes where it begins
        self.url = url
        self.at = at

    def read(self, size: int) -> bytes:
        start = self.at
        try:
            if self._buffered is None:
                self._buffered = io.BufferedReader(self._raw, BUFFER)
            data = self._buffered.read(size if size <= PIECE else PIECE)
            self.at = start + len(data)
            if len(data) == size or not data:
                return data
            parts = [data]
            missing = size - len(data)
            while missing and (data := self._buffered.read(min(missing, PIECE))):
                parts.append(data)
                missing -= len(data)
                self.at += len(data)
            return b"".join(parts)
        except self._failures as error:
            raise self._failed(error, start) from error

    def readinto(self, memory: memoryview) -> int:
        """Read what is there into memory; how many bytes, 0 at the end of the shard."""
        try:
            got: int = self._readinto(memory)
        except self._failures as error:
            raise self._failed(error, self.at) from error
        self.at += got
        return got

    def pass_over(self, size: int) -> int:
        """Read and forget, or seek; how many bytes there were."""
        if self.file is None:
            return super().pass_over(size)
        try:
            passed = min(size, max(0, os.fstat(self.file.fileno()).st_size - self.at))
            self.at = (self._buffered or self.file).seek(self.at + passed)
        except self._failures as error:
            raise self._failed(error, self.at) from error
        return passed

    def behind(self, front: bytes, at: int) -> ShardBytes:
        """The same shard behind some bytes that were read already, from offset `at` on."""
        return _Pushed(front, at, self)

    def seek(self, at: int) -> None:
        """Go to an offset of a `file`."""
        assert self.file is not None
        try:
            self.at = self.file.seek(at)
        except self._failures as error:
            raise self._failed(error, at) from error

    def skip(self, size: int) -> None:
        """Read and forget, as `readinto` does."""
        memory = memoryview(bytearray(min(size, BUFFER)))
        while size > 0 and (got := self.readinto(memory[:size])):
            size -= got


class _Pushed(ShardBytes):
    """Some bytes, and then those of a shard."""

    __slots__ = ("_front", "_rest")

    def __init__(self, front: bytes, at: int, rest: ShardBytes) -> None:
        self.url = rest.url
        self.at = at
        self._front = memoryview(front)
        self._rest = rest

    def read(self, size: int) -> bytes:
        front, self._front = self._front[:size], self._front[size:]
        try:
            data = bytes(front) if len(front) == size else b"".join((front, self._rest.read(size - len(front))))
        except TarError as error:
            error.offset = self.at
            raise
        self.at += len(data)
        return data

    def pass_over(self, size: int) -> int:
        front = len(self._front[:size])
        self._front = self._front[front:]
        passed = front + self._rest.pass_over(size - front)
        self.at += passed
        return passed


class _Front(io.RawIOBase):
    """A file behind bytes that were read from it already.

    A read gives what is there and asks for no more, so that what comes before a damaged place isn't lost with it.
    """

    def __init__(self, rest: Any, start: bytes = b"") -> None:
        self._start = start
        self._readinto: Callable[[Any], int] = getattr(rest, "readinto1", rest.readinto)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._start[: len(buffer)]
        if not data:
            return self._readinto(buffer)
        self._start = self._start[len(data) :]
        buffer[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def shard_bytes(shard: Shard, offset: int = 0) -> Generator[OpenShard]:
    """Open a shard at an offset of its uncompressed bytes: seeks in a plain file, and reads up to it in any other."""
    with contextlib.ExitStack() as stack:
        raw: Any = stack.enter_context(shard.open())
        try:
            start = _start(raw)
            library = _library(start, shard.url)
            seeks = library is None and raw.seekable()
            if seeks:
                raw.seek(offset)
        except _FAILURES as error:  # (of whatever kind, for the file may be one that a caller's opener unpacks)
            raise OpenError(f"reading failed: {error}", url=shard.url) from error
        if seeks:
            yield OpenShard(raw, shard.url, offset, file=raw if type(raw) is io.FileIO else None)
            return
        front = _Front(raw, start)
        failures = _FAILURES
        if library is not None:
            failures = (*failures, *library.failures)
            front = _Front(stack.enter_context(library.unpack(io.BufferedReader(front, BUFFER))))
        found = OpenShard(front, shard.url, failures=failures)
        found.skip(offset)
        yield found


def _start(raw: Any) -> bytes:
    """The first block of a file (a pipe may give less at a time), or all of a shorter one."""
    start = b""
    while len(start) < BLOCK and (more := raw.read(BLOCK - len(start))):
        start += more
    return start


def is_compressed(start: bytes, url: str) -> bool:
    """Whether a shard whose first block this is must be unpacked to be read; an `OpenError` if that can't be done."""
    return _library(start, url) is not None


def _library(start: bytes, url: str) -> Library | None:
    """What unpacks a shard that starts like this; None for one that is not compressed."""
    if checksum_holds(start):
        return None  # a tar, even if the name of its first member begins like another format (`BZh.txt`)
    for magic, name in ARCHIVES.items():
        if start.startswith(magic):
            raise OpenError(f"it is a {name} file; unpack it, and put its files into a tar", url=url)
    compression = recognised(start)
    try:
        return None if compression is None else compression.library()
    except MissingExtraError as error:
        error.url = url
        raise
