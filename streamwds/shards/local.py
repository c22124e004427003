"""What is at hand: files by path or `file:` URL, which are never there by half, and standard input and output."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from streamwds.errors import OpenError, WriteError

if TYPE_CHECKING:
    from streamwds.shards.gopen import Gopen

__all__ = [
    "LocalPlace",
    "Partial",
    "beside",
    "create_local",
    "create_standard",
    "local_path",
    "open_local",
    "open_standard",
    "replacing",
    "scheme_of",
    "write_all",
]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9]+:|[A-Za-z][A-Za-z0-9+.-]+://")  # (one letter is a drive)


def scheme_of(url: str) -> str:
    """The scheme of a URL in lower case, "" for a path, "-" for standard input or output.

    >>> [scheme_of(url) for url in ("a/b.tar", "C:/a.tar", "HTTP://host/a.tar", "-")]
    ['', '', 'http', '-']
    """
    if url == "-":
        return url
    found = _SCHEME.match(url)
    return found[0].partition(":")[0].lower() if found else ""


def local_path(url: str) -> str:
    """The path of a local URL (a plain path, or `file:`); an `OpenError` for any other."""
    scheme = scheme_of(url)
    if not scheme or url == "-":
        return url
    if scheme != "file":
        raise OpenError(f"{scheme}: URLs name no file here; give a path or a file: URL", url=url)
    rest = url[len("file:") :]
    return unquote(urlsplit(url).path) if rest.startswith("/") else rest


def open_local(url: str, offset: int, options: Gopen) -> BinaryIO:
    """A file, unbuffered, at an offset; what can't be opened is an `OpenError` with its cause."""
    path = local_path(url)
    try:
        raw = io.FileIO(path, "rb")
        try:
            if offset:
                raw.seek(offset)
        except BaseException:
            raw.close()
            raise
    except (OSError, ValueError) as error:  # (ValueError: a path with a NUL, or that can't be encoded)
        if isinstance(error, IsADirectoryError):
            hint = "it is a directory; give its shards, as in urls('folder/*.tar')"
        elif isinstance(error, FileNotFoundError):
            hint = f"there is no such file (looked for {os.path.abspath(path)})"
        else:
            hint = getattr(error, "strerror", None) or str(error)
        raise OpenError(hint, url=url) from error
    return cast("BinaryIO", raw)


class _Standard(io.FileIO):
    """Standard input or output: only ever read on or written on, whatever it is connected to."""

    def seekable(self) -> bool:
        return False


def open_standard(url: str, offset: int, options: Gopen) -> BinaryIO:
    """Standard input, `offset` bytes further on."""
    try:
        raw: Any = _Standard(os.dup(0), "rb")
    except OSError as error:
        raise OpenError(f"there is no standard input: {error.strerror}", url=url) from error
    while offset and (data := raw.read(min(offset, 1 << 18))):
        offset -= len(data)
    return cast("BinaryIO", raw)


# ---- writing


def write_all(file: Any, data: Any) -> int:
    """Write all of the bytes, also to a raw file, which may take fewer at a time; how many they are."""
    left = memoryview(data).cast("B")
    size = len(left)
    while left:
        written = file.write(left)
        left = left[len(left) if written is None else written :]  # (None: from files that don't count)
    return size


def beside(path: str) -> str:
    """The name of a hidden file in the same folder, under which a file is written until it is complete."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.urandom(4).hex()}.partial")


@contextlib.contextmanager
def replacing(path: str) -> Generator[BinaryIO]:
    """A file that takes its place at a path when the block ends well; after an error nothing of it is left."""
    partial = beside(path)
    try:
        with open(partial, "xb") as file:
            yield file
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


class Partial:
    """A file to be written under a temporary name, `.NAME.….partial` in the same folder; `publish` renames it.

    A process that is killed leaves its partial file behind.
    """

    def __init__(self, url: str) -> None:
        self.path = local_path(url)
        self.folder = os.path.dirname(self.path)
        self.temporary = beside(self.path)
        try:
            self._file = open(self.temporary, "xb", buffering=0)  # noqa: SIM115
        except (OSError, ValueError) as error:  # (ValueError: a path with a NUL)
            raise WriteError(f"it can't be written: {getattr(error, 'strerror', None) or error}", url=url) from error

    def write(self, data: Any, /) -> int:
        return write_all(self._file, data)

    def publish(self, *, fsync: bool = False) -> None:
        """The file appears under its name now, in the place of an older one; with `fsync`, once the disk has it."""
        if fsync:
            os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.temporary, self.path)
        if fsync and os.name == "posix":
            folder = os.open(self.folder or ".", os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.temporary)


_ABSENT = (FileNotFoundError, NotADirectoryError, ValueError)  # (ValueError: a path with a NUL)


class LocalPlace:
    """Where a file lies, or may lie."""

    def __init__(self, url: str, options: Gopen) -> None:
        self._path = local_path(url)

    def size(self) -> int | None:
        """How many bytes it has; None if there is none."""
        try:
            return os.path.getsize(self._path)
        except (OSError, ValueError):
            return None

    def remove(self) -> None:
        """Remove it, if it is there."""
        with contextlib.suppress(*_ABSENT):
            os.unlink(self._path)

    def tidy(self) -> None:
        """Remove what killed writers of this file left beside it."""
        folder, name = os.path.split(self._path)
        partial = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{8}}\.partial")
        with contextlib.suppress(*_ABSENT):
            for entry in os.listdir(folder or "."):
                if partial.fullmatch(entry):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, entry))


class _Output:
    """Standard output, where nothing can be taken back."""

    def __init__(self) -> None:
        self._file = open(os.dup(1), "wb", buffering=0)  # noqa: SIM115

    def write(self, data: Any, /) -> int:
        return write_all(self._file, data)

    def publish(self, *, fsync: bool = False) -> None:
        self._file.close()

    discard = publish


def create_local(url: str, options: Gopen) -> Partial:
    """A file to be written."""
    return Partial(url)


def create_standard(url: str, options: Gopen) -> _Output:
    """Standard output."""
    return _Output()
