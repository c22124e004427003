"""What fsspec opens: `s3:`, `gs:`, `az:`, `hf:`, `ftp:`, `sftp:`, `memory:` and many more (the extra `fsspec`).

fsspec's stores are as different as their libraries. What they share is done here: going on after a failure, with
what the store says of the object (size, ETag, time …) compared, and no end before the size that was said.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from streamwds.errors import ChangedError, OpenError, UnreachableError, WriteError
from streamwds.shards.resuming import Passing, Resuming, Tries, note
from streamwds.shards.writing import Spooled

if TYPE_CHECKING:
    from streamwds.shards.gopen import Gopen

__all__ = ["create_remote", "matching", "open_remote"]

BLOCK = 8 << 20  # what a store is asked for at a time
MARKS = ("size", "etag", "generation", "version", "versionid", "md5", "md5hash", "mtime", "lastmodified", "updated")
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, ValueError)
IN_PLACE = {
    "file",
    "local",
    "ftp",
    "sftp",
    "ssh",
    "smb",
    "hdfs",
    "webhdfs",
    "arrow_hdfs",
}  # (files, which grow)


def open_remote(url: str, offset: int, options: Gopen) -> BinaryIO:
    """What fsspec finds at a URL, from an offset on."""
    return cast("BinaryIO", Resuming(url, offset, _Object(url, options).connect, options))


def create_remote(url: str, options: Gopen) -> Spooled:
    """Something to be put where fsspec finds it."""
    filesystem, path = _filesystem(url, options)

    def upload(file: BinaryIO) -> None:
        def put() -> None:
            file.seek(0)
            with _failures(url):
                _put(filesystem, path, file)

        try:
            Tries(url, options).until(put)
        except (OpenError, UnreachableError) as error:
            raise WriteError(error.message, url=url) from error

    return Spooled(upload)


def matching(url: str, options: Gopen) -> list[str]:
    """The URLs that match a pattern, sorted."""
    filesystem, path = _filesystem(url, options)

    def found() -> list[str]:
        with _failures(url):
            return sorted(filesystem.unstrip_protocol(name) for name in filesystem.glob(path))

    return Tries(url, options).until(found)


class _Object:
    """What is at a URL, and what its store said of it at first."""

    def __init__(self, url: str, options: Gopen) -> None:
        self.url = url
        self.filesystem, self.path = _filesystem(url, options)
        self.marks: dict[str, str] | None = None

    def connect(self, at: int) -> _Reading:
        note("%s: open at byte %d", self.url, at)
        with _failures(self.url):
            if self.marks is not None:
                self.filesystem.invalidate_cache(self.path)
            file = self.filesystem.open(self.path, "rb", block_size=BLOCK)
        try:
            with _failures(self.url):
                details = getattr(file, "details", None) or self.filesystem.info(self.path)
                self._check({key.lower(): str(value) for key, value in details.items() if key.lower() in MARKS})
                if at:
                    file.seek(at)
            return _Reading(self, file, at, details.get("size"))
        except BaseException:
            file.close()
            raise

    def _check(self, marks: dict[str, str]) -> None:
        if self.marks is None:
            self.marks = marks
        differ = [name for name in self.marks if marks.get(name) != self.marks[name]]
        if differ:
            before, now = (", ".join(f"{name} {found.get(name)}" for name in differ) for found in (self.marks, marks))
            raise ChangedError(f"it changed while it was read: it had {before}, and has {now}", url=self.url)


class _Reading:
    def __init__(self, whole: _Object, file: Any, at: int, size: int | None) -> None:
        self._whole = whole
        self._file = file
        self._at = at
        self._size = size

    def read(self, size: int) -> bytes:
        with _failures(self._whole.url):
            data: bytes = self._file.read(size)
        self._at += len(data)
        if not data and self._size is not None and self._at < self._size:
            raise Passing(f"it ended at byte {self._at} of {self._size}")
        return data

    def stop(self) -> None:
        """(fsspec knows no way to end a read; its own timeouts do.)"""

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._file.close()


def _put(filesystem: Any, path: str, file: BinaryIO) -> None:
    """Copy a file to its place; where it would grow there before all eyes, under another name first."""
    protocols = {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)
    folder, name = posixpath.split(path)
    place = posixpath.join(folder, f".{name}.{secrets.token_hex(4)}.partial") if protocols & IN_PLACE else path
    try:
        with filesystem.open(place, "wb", block_size=BLOCK) as target:
            while data := file.read(BLOCK):
                target.write(data)
        if place != path:
            filesystem.mv(place, path)
    except BaseException:
        with contextlib.suppress(Exception):
            if place != path:
                filesystem.rm_file(place)
        raise


@contextlib.contextmanager
def _failures(url: str) -> Any:
    """The failures of all those libraries as ours: what can't be otherwise next time, and what may be."""
    try:
        yield
    except (OpenError, ChangedError):
        raise
    except FINAL as error:
        missing = "there is no such object" if isinstance(error, FileNotFoundError) else None
        raise OpenError(missing or f"{type(error).__name__}: {error}", url=url) from error
    except Exception as error:
        if type(error).__name__ == "FileExpired":
            raise ChangedError(f"it changed while it was read: {error}", url=url) from error
        raise Passing(f"{type(error).__name__}: {error}") from error


def _filesystem(url: str, options: Gopen) -> tuple[Any, str]:
    try:
        core = import_module("fsspec.core")
    except ImportError as error:
        raise OpenError(
            "URLs of this scheme are left to fsspec, which isn't installed: pip install 'streamwds[fsspec]'", url=url
        ) from error
    try:
        found: tuple[Any, str] = core.url_to_fs(url, **_thawed(options.storage_options))
        return found
    except ImportError as error:
        raise OpenError(f"fsspec needs a package for this scheme: {error}", url=url) from error
    except Exception as error:
        raise OpenError(f"fsspec can't open it: {error}", url=url) from error


def _thawed(value: Any) -> Any:
    """Dicts of frozen mappings, which those libraries expect."""
    return {key: _thawed(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value
