"""The stages' plain iterators: functions of iterables, data last, curried by toolz.

For those who want no streams and no positions, only iterators: `pipe(xs, map(f), batched(2))`. Nothing is written
twice: each is the function on which its stage is built, or is derived from the stage.

>>> from toolz import pipe
>>> from streamwds import iterators as it
>>> pipe(range(5), it.map(lambda n: n * n), it.batched(2), list)
[[0, 1], [4, 9], [16]]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from toolz import curry as _curry

from streamwds.handlers import Handler, reraise_exception
from streamwds.stages.associating import associate_items
from streamwds.stages.batching import Unbatched, Unlisted, batched_items
from streamwds.stages.bucketing import BucketBatched
from streamwds.stages.chance import RSample
from streamwds.stages.counting import Skip, Slice, Take
from streamwds.stages.decoding import Decode
from streamwds.stages.decoding import xdecode as _xdecode
from streamwds.stages.distribution import fraction_items
from streamwds.stages.elements import map_dict_items, map_tuple_items
from streamwds.stages.fields import extract_keys_items, to_tuple_items
from streamwds.stages.mapping import map_items, select_items
from streamwds.stages.packing import Pack
from streamwds.stages.renaming import rename_items, rename_keys_items
from streamwds.stages.shuffling import Shuffle
from streamwds.stages.watching import info_items, log_keys_items
from streamwds.stages.writing import Tee
from streamwds.steps import Run, Step
from streamwds.tar.members import TarFiles
from streamwds.tar.samples import GroupByKeys, TarSamples

__all__ = [
    "associate",
    "batched",
    "bucket_batched",
    "decode",
    "extract_keys",
    "fraction",
    "group_by_keys",
    "info",
    "log_keys",
    "map",
    "map_dict",
    "map_tuple",
    "pack",
    "rename",
    "rename_keys",
    "rsample",
    "select",
    "shuffle",
    "skip",
    "slice",
    "take",
    "tarfiles",
    "tarsamples",
    "tee",
    "to_tuple",
    "unbatched",
    "unlisted",
    "xdecode",
]


def _curried(function: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = _curry(function)  # (toolz has no types)
    return made


map = _curried(map_items)
select = _curried(select_items)
to_tuple = _curried(to_tuple_items)
batched = _curried(batched_items)
fraction = _curried(fraction_items)
extract_keys = _curried(extract_keys_items)
rename = _curried(rename_items)
rename_keys = _curried(rename_keys_items)
associate = _curried(associate_items)
map_dict = _curried(map_dict_items)
map_tuple = _curried(map_tuple_items)
info = _curried(info_items)
log_keys = _curried(log_keys_items)


def _run(step: Step[Any, Any], items: Iterable[Any]) -> Iterator[Any]:
    return step.plain(Run(), iter(items))


@_curried
def decode(decoders: Any, samples: Iterable[Any], **options: Any) -> Iterator[Any]:
    """Samples with their fields decoded: by an image spec (or None), or by a list of decoders."""
    listed: Iterable[Any] = decoders if isinstance(decoders, (list, tuple)) else (decoders,)
    return _run(Decode(listed, **options), samples)


@_curried
def xdecode(functions: Mapping[str, Any], samples: Iterable[Any], **options: Any) -> Iterator[Any]:
    """Samples with their fields decoded, by a dict from globs of their names to functions of their bytes."""
    (step,) = _xdecode(*functions.items(), **options).steps
    return _run(step, samples)


@_curried
def bucket_batched(key: Any, items: Iterable[Any], **options: Any) -> Iterator[Any]:
    """Batches of items of about the same length; options as those of the stage."""
    return _run(BucketBatched(key, **options), items)


@_curried
def pack(length: int, fields: Any, samples: Iterable[Any], **options: Any) -> Iterator[Any]:
    """Sequences in samples of one fixed length, from a field or several; options as those of the stage."""
    return _run(Pack(length, (fields,) if isinstance(fields, str) else tuple(fields), **options), samples)


@_curried
def take(n: int, items: Iterable[Any]) -> Iterator[Any]:
    """The first n items."""
    return _run(Take(n), items)


@_curried
def skip(n: int, items: Iterable[Any]) -> Iterator[Any]:
    """All but the first n items."""
    return _run(Skip(n), items)


@_curried
def slice(start: int, stop: int | None, items: Iterable[Any], *, step: int = 1) -> Iterator[Any]:
    """Items by their numbers, as in `range(start, stop, step)`."""
    return _run(Slice(start, stop, step), items)


@_curried
def rsample(p: float, items: Iterable[Any], *, seed: int = 0) -> Iterator[Any]:
    """Each item with probability p, always the same for the same seed."""
    return _run(RSample(p, seed), items)


@_curried
def shuffle(size: int, items: Iterable[Any], *, initial: int | None = None, seed: int = 0) -> Iterator[Any]:
    """Mix items within blocks, always in the same order for the same seed."""
    return _run(Shuffle(size, initial, seed), items)


@_curried
def tee(pattern: Any, items: Iterable[Any], *, handler: Handler = reraise_exception, **options: Any) -> Iterator[Any]:
    """The samples, which are written to shards while they pass by."""
    return _run(Tee(pattern, handler, options), items)


@_curried
def unbatched(batches: Iterable[Any], *, handler: Handler = reraise_exception) -> Iterator[Any]:
    """The items of batches again."""
    return _run(Unbatched(handler), batches)


@_curried
def unlisted(lists: Iterable[Any], *, handler: Handler = reraise_exception) -> Iterator[Any]:
    """The elements of lists and tuples."""
    return _run(Unlisted(handler), lists)


@_curried
def tarfiles(shards: Iterable[Any], **options: Any) -> Iterator[Any]:
    """The members of shards; options as those of the stage."""
    return _run(TarFiles(**options), shards)


@_curried
def group_by_keys(members: Iterable[Any], **options: Any) -> Iterator[Any]:
    """Samples from the members of shards; options as those of the stage."""
    return _run(GroupByKeys(**options), members)


@_curried
def tarsamples(urls: Iterable[Any], **options: Any) -> Iterator[Any]:
    """The samples in shards; options as those of the stage."""
    return _run(TarSamples(**options), urls)
