"""A file over connections that may fail: it goes on where one broke off, or says that it can't.

How a source is asked, and how one knows that it is still the same, is told by a `Known` (see `web.py`, `remote.py`).
"""

from __future__ import annotations

import io
import os
import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from streamwds.errors import UnreachableError
from streamwds.shards.telling import note

if TYPE_CHECKING:
    from streamwds.shards.gopen import Gopen

__all__ = ["Connection", "Known", "Passing", "Resuming", "Tries"]

T = TypeVar("T")

PIECE = 1 << 20
BACKOFF = 0.5  # seconds that the first waiting takes, on average half of it; twice as long each time

_chance = random.SystemRandom()  # (whoever seeds `random` wants none of its numbers drawn here)


class Passing(Exception):  # noqa: N818  (no error yet)
    """A failure that may pass.

    wait: seconds after which the source wants to be asked again, if it said so.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Connection(Protocol):
    """One way to the bytes from an offset on."""

    def read(self, size: int) -> bytes:
        """Some bytes, b"" at the end of the whole; a `Passing` where there are more, and none come."""
        ...

    def close(self) -> None:
        """Give it up."""

    def stop(self) -> None:
        """Let a read in another thread end."""


class Known(Protocol):
    """What is at a URL, and what its source said of it at first."""

    @property
    def size(self) -> int | None:
        """How many bytes it has in all, as far as that was said."""
        ...

    def connect(self, at: int) -> Connection:
        """A way to its bytes from an offset on; a `Passing` where trying again may help."""
        ...


class Tries:
    """How often, and after what time, something is tried again; counted anew whenever there was progress."""

    def __init__(self, url: str, options: Gopen) -> None:
        self.url = url
        self.options = options
        self.stopped = threading.Event()
        self._failed = 0
        self._progress = False

    def succeeded(self) -> None:
        self._failed, self._progress = 0, True

    def again(self, failure: Passing) -> None:
        """Wait; an `UnreachableError` if that was the last try."""
        self._failed += 1
        if self._failed <= self.options.retries:
            self._wait(failure)
        if self._failed > self.options.retries or self.stopped.is_set():
            times = "once" if self._failed == 1 else f"{self._failed} times"
            hint = "Gopen(retries=…, timeout=…) says how long to go on"
            error = UnreachableError(f"{failure} (tried {times}; {hint})", url=self.url)
            error.skippable = self.options.skip_unreachable
            raise error from failure.__cause__

    def _wait(self, failure: Passing) -> None:
        wait = failure.wait
        if wait is None:
            wait = 0.0 if self._progress else _chance.uniform(0, BACKOFF * 2 ** min(self._failed - 1, 20))
        self._progress = False
        wait = min(wait, self.options.patience)
        note("%s: %s; trying again in %.1f s", self.url, failure, wait)
        self.stopped.wait(wait)

    def until(self, action: Callable[[], T]) -> T:
        """What an action gives once it doesn't fail."""
        while True:
            try:
                return action()
            except Passing as failure:
                self.again(failure)


class Resuming(io.RawIOBase):
    """The bytes of a source from an offset on, over as many connections as it takes."""

    def __init__(self, url: str, offset: int, known: Known, options: Gopen) -> None:
        self._at = offset
        self._known = known
        self._tries = Tries(url, options)
        self._connection: Connection | None = None
        self._owner = os.getpid()
        self._failure: Passing | None = None  # (to be tried again when it is read: `stop` can end that)
        try:
            self._reach()
        except Passing as failure:
            self._failure = failure

    @property
    def size(self) -> int | None:
        """How many bytes the whole has, if its source said so."""
        return self._known.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        data = self._tries.until(lambda: self._some(min(len(buffer), PIECE))) if len(buffer) else b""
        buffer[: len(data)] = data
        return len(data)

    def stop(self) -> None:
        """Let a read in another thread end, and try nothing again."""
        self._tries.stopped.set()
        if (connection := self._connection) is not None:
            connection.stop()

    def close(self) -> None:
        self._drop()
        super().close()

    def _reach(self) -> Connection:
        if os.getpid() != self._owner:  # (a forked process: two can't read what comes by one connection)
            self._drop()
            self._owner = os.getpid()
        if self._connection is None:
            self._connection = self._known.connect(self._at)
        return self._connection

    def _some(self, size: int) -> bytes:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        try:
            data = self._reach().read(size)
        except BaseException:
            self._drop()
            raise
        self._at += len(data)
        if data:
            self._tries.succeeded()
        return data

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
