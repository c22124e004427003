"""The bytes of a shard, uncompressed, from an offset on; whatever goes wrong on the way is one of our errors."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from streamwds.errors import OpenError, TarError, TruncatedError
from streamwds.shards.opening import Shard
from streamwds.tar.headers import BLOCK, checksum_holds

__all__ = ["ShardBytes", "shard_bytes"]

BUFFER = 1 << 18
PIECE = 1 << 24  # at most so much memory is taken on a header's word alone

UNPACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
UNKNOWN = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4", b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z"}


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class ShardBytes:
    """Reads exact numbers of bytes; `at` is the offset of the next one in the uncompressed shard."""

    __slots__ = ("_read", "at", "url")

    def __init__(self, source: _Readable, url: str, at: int = 0) -> None:
        self._read = source.read
        self.url = url
        self.at = at

    def read(self, size: int) -> bytes:
        """The next bytes: as many as asked for, or fewer at the end of the shard."""
        start = self.at
        try:
            data = self._read(size if size <= PIECE else PIECE)
            self.at = start + len(data)
            if len(data) == size or not data:
                return data
            parts = [data]
            missing = size - len(data)
            while missing and (data := self._read(min(missing, PIECE))):
                parts.append(data)
                missing -= len(data)
                self.at += len(data)
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise TruncatedError(f"the compressed shard is cut or damaged: {error}", url=self.url, offset=start) from error
        except gzip.BadGzipFile as error:
            raise TarError(f"the compressed shard is damaged: {error}", url=self.url, offset=start) from error
        except OSError as error:
            raise TarError(f"reading failed: {error}", url=self.url, offset=start) from error
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Read and forget."""
        while size > 0:
            got = len(self.read(min(size, BUFFER)))
            if not got:
                return
            size -= got


class _Raw(io.RawIOBase):
    """A buffered file as a raw one, behind bytes that were read from it already.

    A read gives what is there and asks for no more, so that what comes before a damaged place isn't lost with it.
    """

    def __init__(self, rest: io.BufferedIOBase, start: bytes = b"") -> None:
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._start[: len(buffer)]
        if not data:
            return self._rest.readinto1(buffer)
        self._start = self._start[len(data) :]
        buffer[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def shard_bytes(shard: Shard, offset: int = 0) -> Iterator[ShardBytes]:
    """Open a shard at an offset of its uncompressed bytes: seeks in a plain file, and reads up to it in any other."""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(shard.open())
        buffered: Any = stack.enter_context(io.BufferedReader(raw, BUFFER))  # type: ignore[type-var]
        try:
            magic = buffered.peek(BLOCK)[:BLOCK]
            if len(magic) < BLOCK:  # a pipe that gives little at a time, or a short file
                magic = buffered.read(BLOCK)
                buffered = stack.enter_context(io.BufferedReader(_Raw(buffered, magic), BUFFER))
        except OSError as error:
            raise OpenError(f"reading failed: {error}", url=shard.url) from error
        if checksum_holds(magic):
            magic = b""  # a tar, even if the name of its first member begins like another format (`BZh.txt`)
        for start, unpacked in UNPACKED.items():
            if magic.startswith(start):
                source = stack.enter_context(unpacked(buffered))
                found = ShardBytes(stack.enter_context(io.BufferedReader(_Raw(source), BUFFER)), shard.url)
                found.skip(offset)
                yield found
                return
        for start, name in UNKNOWN.items():
            if magic.startswith(start):
                raise OpenError(f"it is a {name} file; unpack it, or compress the tar with gzip, bz2 or xz", url=shard.url)
        if offset and buffered.seekable():
            buffered.seek(offset)
            yield ShardBytes(buffered, shard.url, offset)
            return
        found = ShardBytes(buffered, shard.url)
        found.skip(offset)
        yield found
