"""From a name to bytes: how a URL is opened."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, ClassVar, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import attrs

from streamwds.errors import OpenError
from streamwds.handlers import Handler, reraise_exception
from streamwds.stage import ready
from streamwds.steps import Lifted, Run, option
from streamwds.values import function_name

__all__ = ["OpenShards", "Opener", "Shard", "open_shards", "open_url"]

Opener: TypeAlias = "Callable[[str, int], BinaryIO]"


def local_path(url: str) -> str:
    """The path of a local URL (a plain path, or `file:`); an `OpenError` for any other."""
    scheme, colon, rest = url.partition(":")
    if not colon or len(scheme) < 2 or not scheme.isalnum() or os.sep in scheme:
        return url
    if scheme.lower() != "file":
        raise OpenError(f"{scheme}: URLs can't be opened; give a path or a file: URL", url=url)
    return unquote(urlsplit(url).path) if rest.startswith("/") else rest


def open_url(url: str, offset: int = 0) -> BinaryIO:
    """Open a shard for reading, unbuffered, at a byte offset. Plain paths and `file:` URLs.

    What can't be opened is an `OpenError` with its cause.
    """
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


@attrs.frozen
class Shard:
    """A shard that is not open yet: its URL, and how to open it.

    >>> Shard("train-000000.tar").url
    'train-000000.tar'
    """

    url: str
    opener: Opener = attrs.field(default=open_url, repr=function_name)

    def open(self, offset: int = 0) -> BinaryIO:
        """Its bytes from an offset on, as an unbuffered binary file to be closed by the caller."""
        return self.opener(self.url, offset)


def shard_of(item: Any) -> Shard:
    """The shard that an item names: a str or a path; a `Shard` is one already."""
    if isinstance(item, Shard):
        return item
    if isinstance(item, (str, os.PathLike)):
        name: Any = os.fspath(item)
        if isinstance(name, str):
            return Shard(name)
    raise OpenError(f"a shard is named by a str (a URL or path), not by {item!r:.80}")


@attrs.frozen(repr=False, slots=False)
class OpenShards(Lifted[str, Shard]):
    """Shards to be read, from their URLs; none is opened before its first byte is asked for.

    >>> ["a.tar"] | open_shards | list
    [Shard(url='a.tar', opener=open_url)]
    """

    name: ClassVar[str] = "open_shards"
    ready: ClassVar[bool] = True
    takes: ClassVar[str | None] = "str"
    yields: ClassVar[str | None] = "Shard"
    decides: ClassVar[bool] = False
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Shard]:
        guard = run.guard(self.handler)
        for item in items:
            guard.seen += 1
            try:
                shard = shard_of(item)
            except OpenError as error:
                if guard(error):
                    continue
                return
            yield shard


open_shards = ready(OpenShards)
