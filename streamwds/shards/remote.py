"""What fsspec opens: `s3:`, `gs:`, `az:`, `hf:`, `ftp:`, `sftp:`, `memory:` and many more (the extra `fsspec`).

fsspec's stores are as different as their libraries. What they share is done here: going on after a failure, with
what the store says of the object (size, ETag, time …) compared, and no end before the size that was said.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
from collections.abc import Callable, Generator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from streamwds.errors import ChangedError, OpenError, WriteError
from streamwds.redacted import redacted
from streamwds.shards.resuming import Passing, Resuming, Tries
from streamwds.shards.writing import Spooled, writing

if TYPE_CHECKING:
    from streamwds.shards.gopen import Gopen

__all__ = ["create_remote", "matching", "open_remote", "place_remote"]

T = TypeVar("T")

BLOCK = 8 << 20  # what a store is asked for at a time
MARKS = ("size", "etag", "generation", "version", "versionid", "md5", "md5hash", "mtime", "lastmodified", "updated")
FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, TypeError, ValueError)
# (errors that trying again won't mend; by NotImplementedError fsspec tells what a store can't do at all)
IN_PLACE = {"file", "local", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs", "arrow_hdfs"}  # (files, which grow)
AT_ONCE = {"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"}  # (objects: replaced whole, seen by all)


def open_remote(url: str, offset: int, options: Gopen) -> BinaryIO:
    """What fsspec finds at a URL, from an offset on."""
    return cast("BinaryIO", Resuming(url, offset, _Object(url, options), options))


def create_remote(url: str, options: Gopen) -> Spooled:
    """Something to be put where fsspec finds it."""
    filesystem, path = Tries(url, options).until(lambda: _filesystem(url, options))

    def put(kept: str) -> None:
        with _failures(url):
            _put(filesystem, path, kept)

    def upload(kept: str) -> None:
        with writing(url):
            Tries(url, options).until(lambda: put(kept))

    return Spooled(url, upload)


def place_remote(url: str, options: Gopen) -> _Place:
    """A place in a store of objects; a `WriteError` for other stores, where a killed job could leave half a file."""
    filesystem, path = Tries(url, options).until(lambda: _filesystem(url, options))
    if not _protocols(filesystem) & AT_ONCE:
        raise WriteError(
            "of this store it isn't known that it replaces a file at once, so nobody could go on safely with what is "
            "written there: write without resume, or to a local folder, with a post= that moves each shard",
            url=url,
        )
    return _Place(url, filesystem, path, options)


def matching(url: str, options: Gopen) -> list[str]:
    """The URLs that match a pattern, sorted."""

    def found() -> list[str]:
        filesystem, path = _filesystem(url, options)
        with _failures(url):
            names: list[str] = sorted(filesystem.glob(path))
        if path and url.endswith(path):  # (what stands before it may name a host, which the paths don't)
            return [url.removesuffix(path) + name for name in names]
        return [filesystem.unstrip_protocol(name) for name in names]

    return Tries(url, options).until(found)


class _Object:
    """What is at a URL, and what its store said of it at first."""

    def __init__(self, url: str, options: Gopen) -> None:
        self.url = url
        self.options = options
        self.marks: dict[str, str] | None = None
        self.size: int | None = None

    def connect(self, at: int) -> _Reading:
        filesystem, path = _filesystem(self.url, self.options)
        with _failures(self.url):
            if self.marks is not None:
                filesystem.invalidate_cache(path)
            file = filesystem.open(path, "rb", block_size=BLOCK)
        try:
            with _failures(self.url):
                details = getattr(file, "details", None) or filesystem.info(path)
                self._check({key.lower(): str(value) for key, value in details.items() if key.lower() in MARKS})
                if at:
                    file.seek(at)
            self.size = details.get("size")
            return _Reading(self.url, file, at, self.size)
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
    """A file of fsspec's, at an offset."""

    def __init__(self, url: str, file: Any, at: int, size: int | None) -> None:
        self._url = url
        self._file = file
        self._at = at
        self._size = size

    def read(self, size: int) -> bytes:
        with _failures(self._url):
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


class _Place:
    """Where an object lies, or may lie."""

    def __init__(self, url: str, filesystem: Any, path: str, options: Gopen) -> None:
        self._url = url
        self._filesystem = filesystem
        self._path = path
        self._options = options

    def size(self) -> int | None:
        return self._asked(lambda: cast("int", self._filesystem.info(self._path)["size"]))

    def remove(self) -> None:
        self._asked(lambda: self._filesystem.rm_file(self._path))

    def tidy(self) -> None:
        """(An object that was not complete was never there.)"""

    def _asked(self, question: Callable[[], T]) -> T | None:
        """The answer to a question about the object; None if there is no such object."""

        def answer() -> T | None:
            with _failures(self._url):
                self._filesystem.invalidate_cache(self._path)
                try:
                    return question()
                except FileNotFoundError:
                    return None

        with writing(self._url):
            return Tries(self._url, self._options).until(answer)


def _protocols(filesystem: Any) -> set[str]:
    return {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)


def _put(filesystem: Any, path: str, kept: str) -> None:
    """Copy a file to its place; where it would grow there before all eyes, under another name first."""
    folder, name = posixpath.split(path)
    hidden = posixpath.join(folder, f".{name}.{secrets.token_hex(4)}.partial")
    place = hidden if _protocols(filesystem) & IN_PLACE else path
    try:
        filesystem.put_file(kept, place)
        filesystem.invalidate_cache(place)
        size, there = os.path.getsize(kept), filesystem.info(place)["size"]
        if there != size:
            raise Passing(f"{there} of {size} bytes arrived")
        if place != path:
            filesystem.mv(place, path)
    except BaseException:
        if place != path:
            with contextlib.suppress(Exception):
                filesystem.rm_file(place)
        raise


@contextlib.contextmanager
def _failures(url: str) -> Generator[None]:
    """The failures of all those libraries as ours: those that will be the same next time, and those that may pass."""
    try:
        yield
    except (OpenError, ChangedError, Passing):
        raise
    except ImportError as error:
        raise OpenError(f"fsspec needs a package for this scheme: {error}", url=url) from error
    except Exception as error:
        kind = type(error).__name__
        said = f"{kind}: {redacted(str(error))}"
        if kind == "FileExpired":
            raise ChangedError(f"it changed while it was read: {said}", url=url) from error
        if isinstance(error, FileNotFoundError):
            raise OpenError("there is no such object", url=url) from error
        if isinstance(error, FINAL) or "Credential" in kind or "Authentication" in kind:
            raise OpenError(said, url=url) from error
        raise Passing(said) from error


def _filesystem(url: str, options: Gopen) -> tuple[Any, str]:
    """The filesystem of a URL (fsspec keeps it for the next time), and the path in it."""
    try:
        core = import_module("fsspec.core")
    except ImportError as error:
        raise OpenError(
            "URLs of this scheme are left to fsspec, which isn't installed: pip install 'streamwds[fsspec]'", url=url
        ) from error
    with _failures(url):
        found: tuple[Any, str] = core.url_to_fs(url, **_thawed(options.storage_options))
        return found


def _thawed(value: Any) -> Any:
    """Dicts of frozen mappings, which those libraries expect."""
    return {key: _thawed(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value
