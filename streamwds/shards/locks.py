"""Files of a cache: locks on them (flock), which end with the process that holds them, and how long they must be."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Generator

__all__ = ["is_as_stored", "lies_at", "lock", "note_size", "opened", "unlock_and_close", "unread"]

SIZE = "user.streamwds.size"  # the attribute of a file that tells how many bytes were stored


def lock(fd: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file, for as long as it is open; False if others hold a lock on it and one isn't to `wait`."""
    try:
        import fcntl
    except ImportError as error:  # (Windows has other locks, and doesn't let open files be renamed)
        raise OSError("this system lacks the locks (fcntl.flock) by which processes share a cache") from error
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(fd, how)
    except BlockingIOError:
        return False
    return True


def unlock_and_close(fd: int) -> None:
    """Close a file, and end its lock, even if a process that was forked meanwhile has the file open, too."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def note_size(fd: int, size: int) -> None:
    """Note on a file how many bytes it has, where the system and the disk know attributes of files."""
    with contextlib.suppress(OSError, AttributeError):
        os.setxattr(fd, SIZE, b"%d" % size)


def is_as_stored(fd: int) -> bool:
    """Whether a file has as many bytes as was noted on it, if anything was."""
    try:
        noted = os.getxattr(fd, SIZE)
    except (OSError, AttributeError):
        return True
    return noted == b"%d" % os.fstat(fd).st_size


def lies_at(fd: int, path: str) -> bool:
    """Whether an open file is the one at this path."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def unread(path: str) -> Generator[bool]:
    """Whether nobody reads or stores a file; if so, nobody begins to before the end of the block."""
    try:
        fd = os.open(path, os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        yield False
        return
    try:
        yield lock(fd)
    finally:
        unlock_and_close(fd)


def opened(place: str) -> io.FileIO | None:
    """The whole file at a place, locked against eviction until it is closed; None if there is none."""
    try:
        file = io.FileIO(place, "rb")
    except FileNotFoundError:
        return None
    try:
        lock(file.fileno(), shared=True, wait=True)
        if lies_at(file.fileno(), place):  # (else it was evicted just now)
            with contextlib.suppress(OSError):  # (whoever may only read the folder leaves no trace there)
                os.utime(file.fileno())
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None
