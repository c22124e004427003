"""Samples in another order, however many: looked up one by one by their number, so that only the order is in memory.

What can't be looked up in (a stream, a compressed shard) is copied first, unpacked, to a temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Generator, Iterable, Iterator
from itertools import chain, groupby
from typing import Any

from streamwds import Context, ShardFiles, decode, draws, to_tuple
from streamwds.cli.output import Output, with_keys
from streamwds.cli.progress import Meter, meter
from streamwds.cli.sources import bytes_of, indexable, verbatim
from streamwds.cli.telling import UsageError
from streamwds.errors import DuplicateFieldError, StreamwdsError
from streamwds.shards.opening import Shard
from streamwds.shards.urls import shard_name
from streamwds.stage import Sample
from streamwds.tar import Index
from streamwds.tar.stream import shard_bytes

__all__ = ["natural", "shuffled", "sorted_by"]

PIECE = 1 << 20


@contextlib.contextmanager
def _looked_up(names: list[str], temporary: str | None) -> Generator[list[str]]:
    """Local, uncompressed shards that have the samples of these."""
    others = [name for name in names if not indexable(name)]
    if not others:
        yield names
        return
    if temporary is not None and not os.path.isdir(temporary):
        raise UsageError(f"there is no folder {temporary} for temporary files")
    with tempfile.TemporaryDirectory(prefix="streamwds-", dir=temporary) as folder:
        copies: dict[str, str] = {}
        with meter("copying", bytes_of(others), len(others)) as progress:
            for number, name in enumerate(dict.fromkeys(others)):
                copies[name] = os.path.join(folder, str(number), re.sub(r"[^\w.-]", "_", shard_name(name)) + ".tar")
                os.mkdir(os.path.dirname(copies[name]))
                _copy(Shard(name, progress.opener), copies[name])
        yield [copies.get(name, name) for name in names]


def _copy(shard: Shard, path: str) -> None:
    with shard_bytes(shard) as source, open(path, "xb") as file:
        while data := source.read(PIECE):
            file.write(data)


def _bytes(samples: ShardFiles[Any]) -> int:
    return sum(int(index.sizes[index.fields >= 0].sum()) for index in samples.indexes)


def _read(samples: ShardFiles[Sample], order: Iterable[int], progress: Meter) -> Iterator[Sample]:
    for number in order:
        sample = samples[number]
        progress.read(sum(len(value) for value in sample.values()))
        yield sample


# ---- orders


def shuffled(names: list[str], output: Output, *, seed: int, keys: str, temporary: str | None) -> None:
    """Write all samples in a random order that depends on the seed and on their number alone."""
    with _looked_up(names, temporary) as local, ShardFiles(map(verbatim, local)) as samples:
        key = draws.stage_key(Context(seed=seed), "shuffle", 0, 0, per_worker=False)
        order = draws.permutation(key, len(samples))
        with meter("shuffling", _bytes(samples)) as progress:
            mixed = _read(samples, order, progress)
            output.write(with_keys(keys, mixed) if keys else mixed)


def sorted_by(
    names: list[str], output: Output, *, field: str, numeric: bool, reverse: bool, temporary: str | None
) -> None:
    """Write all samples in the order of their keys, or of the values of a field; equals stay in their order.

    In the order of keys, what has the same key becomes one sample, as it does for who reads it.
    """
    with _looked_up(names, temporary) as local, ShardFiles(map(verbatim, local)) as samples:
        by: list[Any] = _values(samples, field) if field else [*chain.from_iterable(map(Index.keys, samples.indexes))]
        try:
            numbered = [(natural(value), value) for value in by] if numeric else by
            order = sorted(range(len(by)), key=numbered.__getitem__, reverse=reverse)
        except TypeError as error:
            raise StreamwdsError(f"the values can't be put in order: {error}", field=field) from error
        with meter("sorting", _bytes(samples)) as progress:
            ordered = _read(samples, order, progress)
            output.write(ordered if field else _merged(ordered))


def natural(value: str | float) -> Any:
    """What text is sorted by so that numbers in it count as numbers.

    >>> sorted(["a10", "a9", "b1"], key=natural)
    ['a9', 'a10', 'b1']
    """
    if not isinstance(value, str):
        return value
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", value) if part]


def _values(samples: ShardFiles[Sample], field: str) -> list[str | float]:
    """The value of a field of each sample: numbers or text, all of which are in memory."""
    pick = decode(only={field}) | to_tuple("__key__", field)
    shards = map(verbatim, samples.shards.expanded)
    with ShardFiles(shards, pick, suffixes={field}) as picked:
        values: list[str | float] = []
        for key, value in picked:
            if not isinstance(value, (int, float, str)):
                message = f"samples are put in the order of numbers or text, and this is a {type(value).__name__}"
                raise StreamwdsError(message, key=key, field=field)
            values.append(value)
        return values


def _merged(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Samples of the same key, which follow each other, as one."""
    for key, same in groupby(samples, lambda sample: sample["__key__"]):
        merged: Sample = {}
        for sample in same:
            twice = merged.keys() & sample.keys() - {"__key__", "__url__"}
            if twice:
                urls = " and ".join(dict.fromkeys((merged["__url__"], sample["__url__"])))
                message = "two samples of this key have this field; `streamwds concat --keys` makes keys differ"
                raise DuplicateFieldError(message, url=urls, key=key, field=min(twice))
            merged.update(sample)
        yield merged
