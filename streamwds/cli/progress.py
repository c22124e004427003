"""Bars on standard error while long work is done; where that is no terminal, nothing is shown."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Generator
from typing import Any, BinaryIO, cast

import attrs
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from streamwds.shards.opening import Opener, open_url

__all__ = ["Meter", "meter"]


@attrs.frozen
class Meter:
    """What is done of some work: `read` bytes of it, `file` after file."""

    read: Callable[[int], object]
    file: Callable[[], object]
    watched: bool

    @property
    def opener(self) -> Opener:
        """Opens shards; what is read of them is told to the meter."""
        return self._open if self.watched else open_url

    def _open(self, url: str, offset: int = 0) -> BinaryIO:
        raw = open_url(url, offset)
        self.file()
        return cast("BinaryIO", _Counted(raw, self.read))


@contextlib.contextmanager
def meter(
    what: str, total: int | None, files: int = 0, *, prints: bool = False, shown: bool = True
) -> Generator[Meter]:
    """Show how far some work is.

    total: its bytes; None: they are not known. files: how many shards are read, if one after the other.
    shown: whether there is a bar at all. prints: whether lines are printed to standard output meanwhile: on a terminal
    they come above the bar, and for a pager that reads them there is none.
    """
    console = Console(stderr=True)
    printed = sys.stdout.isatty()
    if not shown or not console.is_terminal or (prints and not printed):
        yield Meter(lambda size: None, lambda: None, False)
        return
    counted = (TextColumn("{task.fields[begun]}/{task.fields[files]} files", markup=False),) if files else ()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *counted,
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=printed) as progress:
        task = progress.add_task(what, total=total, files=files, begun=0)

        def begin() -> None:
            progress.update(task, begun=progress.tasks[0].fields["begun"] + 1)

        yield Meter(lambda size: progress.advance(task, size), begin, True)


class _Counted(io.RawIOBase):
    """A file that tells how much is read of it."""

    def __init__(self, raw: Any, read: Callable[[int], object]) -> None:
        self._raw = raw
        self._read = read

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._raw.seekable())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self._raw.seek(offset, whence))

    def readinto(self, buffer: Any, /) -> int:
        got: int = self._raw.readinto(buffer)
        self._read(got)
        return got

    def close(self) -> None:
        self._raw.close()
        super().close()
