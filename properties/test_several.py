"""The laws of several streams as one: nothing is lost, doubled or reordered, and the models in itertools agree."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamwds as wds
from properties.strategies import outcome, same_outcome, wanted
from properties.test_resume import check_every_position
from streamwds.errors import JoinError

pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.CacheWarning",
    "ignore::streamwds.errors.SkippedWarning",
    "ignore::streamwds.errors.FewShardsWarning",
)

lists = st.lists(st.integers(0, 8), min_size=1, max_size=4).map(
    lambda lengths: [[(number, n) for n in range(length)] for number, length in enumerate(lengths)]
)
weights = st.lists(st.sampled_from([0.1, 1, 3]), min_size=4, max_size=4)


@given(lists, weights, st.integers(-2, 2), st.integers(0, 2), st.sampled_from(["first", "last"]))
def test_a_mix_keeps_each_streams_order(
    streams: list[Any], weights: list[float], seed: int, epoch: int, stop: Any
) -> None:
    mixed = wds.mix(streams, weights=weights[: len(streams)], seed=seed, stop=stop).within(epoch=epoch)
    found = list(mixed)
    for number, stream in enumerate(streams):
        mine = [item for item in found if item[0] == number]
        assert mine == stream[: len(mine)]
        assert stop == "first" or mine == stream
    assert stop == "last" or any(stream[-1:] == [] or stream[-1] in found for stream in streams)


def in_turns(streams: list[list[Any]], stop: str) -> Iterator[Any]:
    nothing = object()
    for row in itertools.zip_longest(*streams, fillvalue=nothing):
        for item in row:
            if item is not nothing:
                yield item
            elif stop == "first":
                return


@given(lists, st.sampled_from(["first", "last"]))
def test_the_others_do_as_itertools_does(streams: list[Any], stop: Any) -> None:
    assert list(wds.round_robin(streams, stop=stop)) == list(in_turns(streams, stop))
    assert list(wds.chain(streams)) == list(itertools.chain(*streams))
    model = zip(*streams) if stop == "first" else itertools.zip_longest(*streams, fillvalue=-1)
    assert list(wds.zip_(streams, stop=stop, fill=-1)) == list(model)


def interleaved(lists: list[list[Any]], n: int) -> list[Any]:
    """What interleave gives, by taking lists apart."""
    waiting = [list(one) for one in lists]
    slots: list[list[Any]] = [[] for _ in range(n)]
    found: list[Any] = []
    while waiting or any(slots):
        for slot in slots:
            while not slot and waiting:
                slot += waiting.pop(0)
            if slot:
                found.append(slot.pop(0))
    return found


@given(st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=9), st.integers(1, 5))
def test_interleave_takes_turns(lists: list[list[int]], n: int) -> None:
    stream = lists | wds.interleave(wds.unbatched, n)
    assert list(stream) == interleaved(lists, n)
    check_every_position(stream)


# ---- join

keys = st.lists(st.integers(0, 15), unique=True, max_size=10).map(sorted)


def samples(numbers: list[int], field: str) -> list[wds.Sample]:
    return [{"__key__": f"{n}", "__url__": field, field: n} for n in numbers]


@settings(max_examples=2 * settings.default.max_examples)  # type: ignore[union-attr]
@given(keys, keys, st.integers(1, 16))
def test_join_finds_what_is_not_too_far_ahead(left: list[int], right: list[int], ahead: int) -> None:
    stream = samples(left, "a") | wds.join(samples(right, "b"), ahead=ahead, handler=wds.ignore_and_continue)
    place = 0
    expected: list[int] = []
    for n in left:
        if n in right[place : place + ahead]:
            expected.append(n)
            place = right.index(n) + 1
    assert [sample["a"] for sample in stream] == [sample["b"] for sample in stream] == expected
    assert ahead < 16 or expected == sorted({*left} & {*right})
    check_every_position(stream)


@given(keys, keys)
def test_join_says_what_has_no_partner(left: list[int], right: list[int]) -> None:
    stream = samples(left, "a") | wds.join(samples(right, "b"))
    found, error = outcome(lambda: stream)
    assert len(found) == sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right)))
    assert (error is None) == (left == right)
    if error is not None:
        assert error[0] == JoinError.__name__
        assert "has no partner" in error[1]
    assert same_outcome((found, error), outcome(lambda: stream))


@given(keys, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2))
def test_parallel_shards_are_joined_by_every_reader(
    numbers: list[int], size: int, ranks: int, workers: int, epoch: int
) -> None:
    """Two lists of shards, shuffled and split in the same way."""

    def shards(field: str) -> wds.Stream[Any]:
        found = samples(numbers, field)
        split = wds.split_by_node | wds.split_by_worker
        return found | wds.batched(size, collate=list) | split | wds.unbatched

    joined = shards("a") | wds.join(shards("b")) | wds.select(wanted)
    parts = [
        list(joined.within(rank=rank, world_size=ranks, worker=worker, workers=workers, epoch=epoch))
        for rank in range(ranks)
        for worker in range(workers)
    ]
    assert all(sample["a"] == sample["b"] for part in parts for sample in part)
    together = Counter(sample["a"] for part in parts for sample in part)
    assert together == Counter(sample["a"] for sample in samples(numbers, "a") if wanted(sample))
