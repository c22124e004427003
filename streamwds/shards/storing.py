"""A file that is stored as it is read: under another name until it is whole, and never in the way of who reads it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from streamwds.errors import CacheWarning, StreamwdsError, TruncatedError
from streamwds.shards.locks import lies_at, lock, unlock_and_close

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from streamwds.shards.cache import ShardCache

    Tell: TypeAlias = Callable[[str, type[Warning]], None]

__all__ = ["PARTIAL", "CacheStream", "Store", "Storing", "reason", "say", "warn"]

PARTIAL = ".partial"
PIECE = 16 << 20  # so much room is taken at a time for a file whose length isn't known
REST = 1 << 20  # so much is read at most to see the end of a file of which all was read that is wanted


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def say(verbose: bool, message: str) -> None:
    if verbose:
        sys.stderr.write(f"[{message}]\n")


def warn(message: str, category: type[Warning]) -> None:
    warnings.warn(message, category, stacklevel=2)


class Store:
    """A file that is being stored: under another name than its own, and locked.

    size: how many bytes are there. taken: for how many there is room. length: how many there must be in the end.
    """

    def __init__(self, place: str, partial: str, fd: int) -> None:
        self.place = place
        self.partial = partial
        self.fd = fd
        self.size = 0
        self.taken = 0
        self.length: int | None = None
        self._owner = os.getpid()

    @classmethod
    def begin(cls, place: str) -> Store | None:
        """Begin to store what is to lie there; None if somebody else does."""
        folder, name = os.path.split(place)
        partial = os.path.join(folder, f".{name}{PARTIAL}")
        while True:
            fd = os.open(partial, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not lock(fd):
                    os.close(fd)
                    return None
                if lies_at(fd, partial):  # (else its owner gave it up just now)
                    os.ftruncate(fd, 0)
                    return cls(place, partial, fd)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    @property
    def forked(self) -> bool:
        """Whether this is only the copy that a forked process has of its parent's."""
        return os.getpid() != self._owner

    def write(self, data: memoryview) -> None:
        while data:
            written = os.write(self.fd, data)
            self.size += written
            data = data[written:]

    def finish(self, url: str) -> None:
        """All bytes have come: an error if that can't be."""
        if self.length is not None and self.size != self.length:
            raise TruncatedError(f"it has {self.length} bytes, and {self.size} came", url=url)
        os.ftruncate(self.fd, self.size)

    def publish(self) -> None:
        """From now on it lies at its place, and may be read by others."""
        os.replace(self.partial, self.place)
        unlock_and_close(self.fd)

    def drop(self) -> None:
        """Leave nothing of it."""
        if self.forked:
            os.close(self.fd)
            return
        with contextlib.suppress(OSError):
            os.unlink(self.partial)
        unlock_and_close(self.fd)


class Storing(io.RawIOBase):
    """A binary file that stores what is read of another one, for a cache that has room for it or for nobody in special.

    However storing ends, what is read is the other file's.
    """

    def __init__(
        self,
        url: str,
        stream: BinaryIO,
        store: Store | None,
        cache: ShardCache | None = None,
        tell: Tell = warn,
        *,
        verbose: bool = False,
    ) -> None:
        self._url = url
        self._stream: Any = stream
        self._store = store
        self._cache = cache
        self._tell = tell
        self._verbose = verbose
        if store is not None:
            store.length = _length(stream)
            self._take(store, store.length or 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            got: int | None = self._stream.readinto(buffer)
        except BaseException:
            self._drop()
            raise
        if (store := self._store) is not None:
            if got:
                self._write(store, memoryview(buffer).cast("B")[:got])
            elif got == 0 and len(buffer):
                self._publish(store)
        return got

    def _write(self, store: Store, data: memoryview) -> None:
        if store.forked or not self._take(store, store.size + len(data)):
            self._drop()
            return
        try:
            store.write(data)
        except OSError as error:
            self._failed(error)

    def _take(self, store: Store, size: int) -> bool:
        """Take room for a file of this size; if there is none, it is not stored."""
        if self._cache is None or size <= store.taken:
            return True
        try:
            at_once = size if store.length is not None else max(size, store.taken + PIECE)
            if self._cache.take(store, at_once) or self._cache.take(store, size):
                return True
        except OSError as error:
            self._failed(error)
            return False
        say(self._verbose, f"there is no room for {store.place}")
        self._drop()
        return False

    def _publish(self, store: Store) -> None:
        if store.forked:
            self._drop()
            return
        try:
            store.finish(self._url)
            if self._cache is None:
                store.publish()
            else:
                self._cache.publish(store, self._url)
        except (OSError, StreamwdsError) as error:
            self._failed(error)
            return
        self._store = None
        say(self._verbose, f"kept {store.place}")

    def _failed(self, error: Exception) -> None:
        """Store no more of it, and say why."""
        self._drop()
        if isinstance(error, StreamwdsError):
            self._tell(f"what is no whole archive is not kept: {error}", CacheWarning)
        else:
            where = self._url if self._cache is None else self._cache.cache_dir
            self._tell(f"{where} can't be written, so what is read is not kept: {reason(error)}", CacheWarning)

    def _drop(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.drop()

    def close(self, complete: bool = False) -> None:
        """Close both files. What is stored is kept only if it is whole."""
        if self.closed:
            return
        try:
            if complete and self._store is not None:
                with contextlib.suppress(OSError, StreamwdsError):
                    self._read_rest()
        finally:
            try:
                self._drop()
            finally:
                self._stream.close()
                super().close()

    def _read_rest(self) -> None:
        rest, memory = REST, bytearray(1 << 16)
        while rest > 0 and (got := self.readinto(memory)):
            rest -= got

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(complete=kind is None)


class CacheStream(Storing):
    """A binary file that stores at a path what is read of another one.

    fname: where it is to lie. It appears there when the end of the stream was read; until then it is
        `.fname.partial`, beside its place. Where somebody else stores it already, nothing is stored.
    stream: the file to be read, which is closed with this one.
    verbose: say on stderr what becomes of it.

    If it is closed before that, nothing of it is left. `close(complete=True)`, and the end of a `with` block that ends
    well, say that all was read that is wanted: then a little more is, to see whether that was the end. Whatever goes
    wrong with storing is one `CacheWarning`, and what is read is the stream's all the same.

    >>> with CacheStream(tmp_path / "copy", io.BytesIO(b"some bytes")) as stream:
    ...     stream.read()
    b'some bytes'
    >>> (tmp_path / "copy").read_bytes()
    b'some bytes'
    """

    def __init__(self, fname: str | os.PathLike[str], stream: BinaryIO, verbose: bool = False) -> None:
        place = os.fspath(fname)
        try:
            store = Store.begin(place)
        except OSError as error:
            warn(f"{place} can't be written, so what is read is not kept: {reason(error)}", CacheWarning)
            store = None
        super().__init__(place, stream, store, verbose=verbose)


def _length(raw: Any) -> int | None:
    """How many bytes an open file has, where that is known: by its `size`, or because it is a file on a disk."""
    size = getattr(raw, "size", None)
    if isinstance(size, int):
        return size
    file = raw.raw if isinstance(raw, io.BufferedReader) else raw
    return os.fstat(file.fileno()).st_size if isinstance(file, io.FileIO) and file.seekable() else None
