"""From a name to bytes: how a URL is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, ClassVar, TypeAlias

import attrs

from streamwds.errors import OpenError
from streamwds.handlers import Handler, reraise_exception
from streamwds.shards.gopen import Gopen
from streamwds.stage import ready
from streamwds.steps import Lifted, Run, option
from streamwds.values import code

__all__ = ["OpenShards", "Opener", "Shard", "check_opener", "open_shards", "open_url", "shard_of"]

Opener: TypeAlias = "Callable[[str, int], BinaryIO]"

open_url = Gopen()
"""The opener of all shards for which none is given."""


@attrs.frozen
class Shard:
    """A shard that is not open yet: its URL, and how to open it.

    >>> Shard("train-000000.tar").url
    'train-000000.tar'
    """

    url: str
    opener: Opener = attrs.field(default=open_url, repr=code)

    def open(self, offset: int = 0) -> BinaryIO:
        """Its bytes from an offset on, as an unbuffered binary file to be closed by the caller."""
        return self.opener(self.url, offset)

    @property
    def jumps(self) -> bool:
        """Whether opening it at an offset costs no more than at its start.

        An opener that knows has a method `jumps(url)`, as `Gopen` does; any other is asked for offset 0 alone.
        """
        jumps = getattr(self.opener, "jumps", None)
        return jumps is not None and jumps(self.url)


def check_opener(opener: object) -> None:
    if not callable(opener):
        raise TypeError(f"an opener is a function (url, offset) -> binary file, such as Gopen(…), not {opener!r}")


def shard_of(item: Any, opener: Opener = open_url) -> Shard:
    """The shard that an item names: a str or a path, to be opened by `opener`; a `Shard` is one already."""
    if isinstance(item, Shard):
        return item
    if isinstance(item, (str, os.PathLike)):
        name: Any = os.fspath(item)
        if isinstance(name, str):
            return Shard(name, opener)
    raise OpenError(f"a shard is named by a str (a URL or path), not by {item!r:.80}")


@attrs.frozen(repr=False, slots=False)
class OpenShards(Lifted[str, Shard]):
    """Shards to be read, from their URLs; none is opened before its first byte is asked for.

    opener: a function from URL and offset to an unbuffered binary file, such as `Gopen(timeout=60)`.
    handler: gets the error of an item that names no shard; true goes on with the next.

    >>> ["a.tar"] | open_shards(opener=Gopen(timeout=60)) | list
    [Shard(url='a.tar', opener=Gopen(timeout=60))]
    """

    name: ClassVar[str] = "open_shards"
    ready: ClassVar[bool] = True
    takes: ClassVar[str | None] = "str"
    yields: ClassVar[str | None] = "Shard"
    decides: ClassVar[bool] = False
    opener: Opener = option(open_url, decides=False, check=check_opener)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Shard]:
        guard = run.guard(self.handler)
        for item in items:
            guard.seen += 1
            try:
                shard = shard_of(item, self.opener)
            except OpenError as error:
                if guard(error):
                    continue
                return
            yield shard


open_shards = ready(OpenShards)
