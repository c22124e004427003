"""The law of reading again: where upstream does not replay, that is an error, never silently another block.

Some shards can't be read, or not to their end, when a position is taken, and can when it is resumed, or the other way
round. Then resuming either loses no sample that can be read both times, and gives none twice, or it says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import streamwds as wds
from properties.strategies import FOLDER, ShardSpec, same, wanted
from streamwds import Stage
from streamwds.errors import ReplayError

pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.CacheWarning", "ignore::streamwds.errors.SkippedWarning"
)

sizes = st.integers(1, 5)
shuffles = st.builds(wds.shuffle, sizes, initial=st.none() | sizes)
batches = st.builds(wds.batched, sizes)
lifted = st.sampled_from([wds.identity, wds.decode(), wds.map(same)])
handler = wds.ignore_and_continue
readers = st.sampled_from(
    [
        wds.tarsamples(handler=handler),
        wds.open_shards | wds.tarfiles(handler=handler) | wds.group_by_keys(handler=handler),
    ]
)


def row(*parts: Any) -> st.SearchStrategy[Stage[Any, Any]]:
    return st.tuples(*parts).map(lambda stages: reduce(or_, stages))


unbatch = st.just(wds.unbatched)
mixing = st.one_of(
    row(lifted, shuffles, lifted),
    row(lifted, batches),
    row(st.just(wds.select(wanted)), shuffles),
    row(shuffles, shuffles),
    row(batches, st.builds(wds.interleave, unbatch, st.integers(1, 3))),
    row(st.builds(wds.interleave, st.just(wds.shuffle(2)), st.integers(1, 3)), shuffles),
    row(batches, unbatch),
    row(batches, shuffles),
    row(shuffles, batches, unbatch),
    row(batches, shuffles, unbatch),
    row(batches, unbatch, shuffles),
    row(batches, unbatch, batches, shuffles),
)
lengths = st.lists(st.integers(0, 5), min_size=1, max_size=5)


def shard(number: int, samples: int) -> ShardSpec:
    files = [(f"{number}-{n}.{field}", b"7") for n in range(samples) for field in ("cls", "txt")]
    return ShardSpec(tuple(files))


@st.composite
def damage(draw: st.DrawFn, count: int) -> list[int | None]:
    """For each shard how many bytes are left of it: None for all; -1 for no file at all."""
    left = st.one_of(
        st.none(), st.just(-1), st.integers(0, 20).map(lambda blocks: 512 * blocks), st.integers(0, 10_000)
    )
    return [draw(left) for _ in range(count)]


def lay_out(specs: list[ShardSpec], left: list[int | None]) -> list[str]:
    """Write the shards over those that are there, so much of each as is left."""
    paths = [FOLDER / f"replay-{number}.tar" for number in range(len(specs))]
    for path, spec, bytes_left in zip(paths, specs, left):
        path.unlink(missing_ok=True)
        if bytes_left != -1:
            attrs.evolve(spec, left=bytes_left).write(Path(path))
    return [str(path) for path in paths]


def keys(items: list[Any]) -> Iterator[str]:
    """The keys of samples, alone or in batches."""
    for item in items:
        key = item["__key__"]
        yield from [key] if isinstance(key, str) else key


@settings(max_examples=2 * settings.default.max_examples)  # type: ignore[union-attr]
@given(lengths, readers, mixing, st.booleans(), st.data())
def test_nothing_is_lost_or_doubled_in_silence(
    lengths: list[int], read: Stage[Any, Any], mix: Stage[Any, Any], mended: bool, data: st.DataObject
) -> None:
    specs = [shard(number, samples) for number, samples in enumerate(lengths)]
    whole: list[int | None] = [None] * len(specs)
    damaged = data.draw(damage(len(specs)))
    then, now = (damaged, whole) if mended else (whole, damaged)

    stream = lay_out(specs, then) | read | mix
    readable_then = set(keys(list(stream)))
    pairs = list(stream.tracked())
    lay_out(specs, now)
    readable_now = set(keys(list(stream)))
    for k, (_, position) in enumerate(pairs):
        before = list(keys([item for item, _ in pairs[: k + 1]]))
        try:
            after = list(keys(list(stream.at(position))))
        except ReplayError:
            assert then != now
            event("a ReplayError")
            continue
        assert len(set(before + after)) == len(before + after), f"given twice, resumed after item {k}"
        lost = (readable_then & readable_now) - set(before + after)
        assert not lost, f"{lost} lost, resumed after item {k}"
