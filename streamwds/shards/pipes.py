"""`pipe:` URLs: the output (or input) of a command. Whoever can name one runs it, so it must be allowed in code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from streamwds.errors import OpenError, WriteError
from streamwds.shards.local import write_all

if TYPE_CHECKING:
    from streamwds.shards.gopen import Gopen

__all__ = ["create_pipes", "open_pipes"]

PATIENCE = 1.0  # seconds that a command has to end by itself


def open_pipes(url: str, offset: int, options: Gopen) -> BinaryIO:
    """What a command writes, `offset` bytes further on."""
    pipe = _Reading(url, _start(url, options, stdout=subprocess.PIPE), options.timeout)
    try:
        while offset and (data := pipe.read(min(offset, 1 << 18))):
            offset -= len(data)
    except BaseException:
        pipe.close()
        raise
    return cast("BinaryIO", pipe)


def create_pipes(url: str, options: Gopen) -> _Writing:
    """What a command reads."""
    return _Writing(url, options)


def _start(url: str, options: Gopen, **streams: Any) -> subprocess.Popen[bytes]:
    """The shell with a command, at the head of a process group of its own."""
    if not options.allow_pipe:
        raise OpenError("pipe: URLs run a command, which only an opener Gopen(allow_pipe=True) does", url=url)
    try:
        command = url.partition(":")[2]
        started: Any = subprocess.Popen(command, shell=True, bufsize=0, start_new_session=True, **streams)
        return cast("subprocess.Popen[bytes]", started)
    except (OSError, ValueError) as error:  # (ValueError: a command with a NUL)
        raise OpenError(f"its command can't be run: {error}", url=url) from error


def _signal(process: subprocess.Popen[bytes], ending: signal.Signals) -> None:
    """To a command and all that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, ending)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """See a command to its end: by itself, for it has no one to write to any more, else by signals."""
    for ending in (None, signal.SIGTERM, signal.SIGKILL):
        if ending is not None:
            _signal(process, ending)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return
    process.wait()


class _Reading(io.RawIOBase):
    def __init__(self, url: str, process: subprocess.Popen[bytes], timeout: float) -> None:
        self._url = url
        self._process = process
        self._output = cast("io.FileIO", process.stdout)
        self._timeout = timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        got = self._output.readinto(buffer)
        if not got and len(buffer):
            self._check()
        return got or 0

    def _check(self) -> None:
        """At the end of what it writes: did the command end well?"""
        try:
            status = self._process.wait(self._timeout)
        except subprocess.TimeoutExpired as error:
            raise OpenError("its command writes no more, and doesn't end", url=self._url) from error
        if status:
            raise OpenError(f"its command ended {_said(status)}, so what it wrote may be cut", url=self._url)

    def stop(self) -> None:
        """Let a read in another thread end."""
        _signal(self._process, signal.SIGTERM)

    def close(self) -> None:
        if not self.closed:
            self._output.close()
            _reap(self._process)
        super().close()


class _Writing:
    def __init__(self, url: str, options: Gopen) -> None:
        self._url = url
        self._process = _start(url, options, stdin=subprocess.PIPE)
        self._input = cast("io.FileIO", self._process.stdin)

    def write(self, data: Any, /) -> int:
        try:
            return write_all(self._input, data)
        except BrokenPipeError as error:
            raise WriteError("its command ended, or reads no more, before all was written", url=self._url) from error

    def publish(self, *, fsync: bool = False) -> None:
        self._input.close()
        if status := self._process.wait():
            raise WriteError(f"its command ended {_said(status)}", url=self._url)

    def discard(self) -> None:
        """End the command before it learns that its input has ended."""
        _signal(self._process, signal.SIGKILL)
        self._process.wait()
        self._input.close()


def _said(status: int) -> str:
    return f"with status {status}" if status > 0 else f"by signal {-status}"
