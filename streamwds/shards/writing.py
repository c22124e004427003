"""What is written to a URL is there when it is complete, or not at all: targets that are published or discarded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from typing import Any, BinaryIO, Protocol, cast

from streamwds.errors import OpenError, WriteError

__all__ = ["Place", "Spooled", "Target", "writing"]


class Target(Protocol):
    """Something being written. It ends by one of `publish` and `discard`; after an error in `publish`, by `discard`."""

    def write(self, data: Any, /) -> int:
        """Take all of the bytes; how many they are."""
        ...

    def publish(self, *, fsync: bool = False) -> None:
        """It is complete: let it appear under its name; with `fsync`, only when nothing but its disk can lose it."""

    def discard(self) -> None:
        """Leave nothing of it."""


class Place(Protocol):
    """Where something lies, or may lie: what one must be able to do there to go on with what a killed job wrote."""

    def size(self) -> int | None:
        """How many bytes lie there; None if nothing does."""

    def remove(self) -> None:
        """Remove it, if it is there."""

    def tidy(self) -> None:
        """Remove what killed writers left beside it."""


@contextlib.contextmanager
def writing(url: str) -> Generator[None]:
    """Where a store is asked in order to write there, what can't be done is a `WriteError`."""
    try:
        yield
    except OpenError as error:
        raise WriteError(error.message, url=url) from error


class Spooled:
    """Kept in a temporary file until it is complete, for the store takes it whole.

    upload: takes the path of the complete file.
    """

    def __init__(self, url: str, upload: Callable[[str], None]) -> None:
        import tempfile  # (it takes a while, and not everybody writes to stores)

        self._url = url
        self._upload = upload
        self._folder = tempfile.gettempdir()
        unnamed = os.path.isdir("/proc/self/fd")  # (nothing is left of such a file when the process is killed)
        file: Any = tempfile.TemporaryFile() if unnamed else tempfile.NamedTemporaryFile(suffix=".partial")  # noqa: SIM115
        self._file = cast("BinaryIO", file)
        self._path: str = f"/proc/self/fd/{file.fileno()}" if unnamed else file.name

    def write(self, data: Any, /) -> int:
        with self._kept():
            return self._file.write(data)

    def publish(self, *, fsync: bool = False) -> None:
        with self._kept():
            self._file.flush()
        self._upload(self._path)
        self._file.close()

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # (of a full disk: what waits to be written isn't wanted any more)
            self._file.close()

    @contextlib.contextmanager
    def _kept(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError(
                f"it is kept in {self._folder} until it is complete, and can't be: {error.strerror or error}; TMPDIR "
                "names another folder",
                url=self._url,
            ) from error
