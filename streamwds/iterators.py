"""The stages' plain iterators: functions of iterables, data last, curried by toolz.

For those who want no streams and no positions, only iterators: `pipe(xs, map(f), batched(2))`. Nothing is written twice:
each is the function on which its stage is built, or is derived from the stage.

>>> from toolz import pipe
>>> from streamwds import iterators as it
>>> pipe(range(5), it.map(lambda n: n * n), it.batched(2), list)
[[0, 1], [4, 9], [16]]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from toolz import curry

from streamwds.handlers import Handler, reraise_exception
from streamwds.stages.batching import Unbatched, batched_items
from streamwds.stages.counting import Take
from streamwds.stages.decoding import decode_items
from streamwds.stages.fields import to_tuple_items
from streamwds.stages.mapping import map_items, select_items
from streamwds.stages.shuffling import Shuffle
from streamwds.steps import Run, Step
from streamwds.tar.members import TarFiles
from streamwds.tar.samples import GroupByKeys, TarSamples

__all__ = [
    "batched",
    "decode",
    "group_by_keys",
    "map",
    "select",
    "shuffle",
    "take",
    "tarfiles",
    "tarsamples",
    "to_tuple",
    "unbatched",
]


map = curry(map_items)
select = curry(select_items)
to_tuple = curry(to_tuple_items)
batched = curry(batched_items)
decode = curry(decode_items)


def _run(step: Step[Any, Any], items: Iterable[Any]) -> Iterator[Any]:
    return step.plain(Run(), iter(items))


@curry
def take(n: int, items: Iterable[Any]) -> Iterator[Any]:
    """The first n items."""
    return _run(Take(n), items)


@curry
def shuffle(size: int, items: Iterable[Any], *, initial: int | None = None, seed: int = 0) -> Iterator[Any]:
    """Mix items within blocks, always in the same order for the same seed."""
    return _run(Shuffle(size, initial, seed), items)


@curry
def unbatched(batches: Iterable[Any], *, handler: Handler = reraise_exception) -> Iterator[Any]:
    """The items of batches again."""
    return _run(Unbatched(handler), batches)


@curry
def tarfiles(shards: Iterable[Any], *, eof: str = "strict", handler: Handler = reraise_exception) -> Iterator[Any]:
    """The members of shards."""
    return _run(TarFiles(eof, handler), shards)


@curry
def group_by_keys(members: Iterable[Any], *, handler: Handler = reraise_exception) -> Iterator[Any]:
    """Samples from the members of shards."""
    return _run(GroupByKeys(handler), members)


@curry
def tarsamples(urls: Iterable[Any], *, eof: str = "strict", handler: Handler = reraise_exception) -> Iterator[Any]:
    """The samples in shards."""
    return _run(TarSamples(eof, handler), urls)
