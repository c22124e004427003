"""What tests do to processes: forks, and disks that are full."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import signal
from collections.abc import Callable, Iterator

__all__ = ["files_of_at_most", "fork", "forked"]

fork = multiprocessing.get_context("fork")


def forked(function: Callable[[], object]) -> int | None:
    """The exit code of a forked process that calls a function: 1 if that raises, and then its traceback is printed."""
    child = fork.Process(target=function)
    child.start()
    child.join()
    return child.exitcode


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
