"""The law of splitting: what all ranks and workers get is the whole, each item once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamwds as wds
from properties.strategies import name_of, same, sources, wanted
from streamwds import Stage, Stream
from streamwds.errors import DistributionError

pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.SkippedWarning",
    "ignore::streamwds.errors.FewShardsWarning",
    "ignore::streamwds.errors.EmptyStreamWarning",
    "ignore::streamwds.errors.CacheWarning",
)

both = st.sampled_from([wds.split_by_node | wds.split_by_worker, wds.split_by_worker | wds.split_by_node])
handler = wds.ignore_and_continue
of_urls: st.SearchStrategy[Stage[Any, Any]] = st.sampled_from(
    [
        wds.tarsamples(handler=handler),
        wds.open_shards | wds.tarfiles(handler=handler) | wds.group_by_keys(handler=handler),
    ]
)
of_any: st.SearchStrategy[Stage[Any, Any]] = st.sampled_from(
    [
        wds.identity,
        wds.map(same),
        wds.select(wanted),
        wds.shuffle(4),
        wds.shuffle(3, seed=7) | wds.select(wanted),
        wds.batched(2, collate=list) | wds.unbatched,
    ]
)


def counted(items: Iterable[Any]) -> Counter[str]:
    return Counter(
        f"{item['__url__']} {item['__key__']}" if isinstance(item, dict) else name_of(item) for item in items
    )


def parts(stream: Stream[Any], ranks: int, workers: int) -> list[Counter[str]]:
    return [
        counted(stream.within(rank=rank, world_size=ranks, worker=worker, workers=workers))
        for rank, worker in product(range(ranks), range(workers))
    ]


def whole(found: Iterable[Counter[str]]) -> Counter[str]:
    return sum(found, Counter[str]())


@given(sources(kinds=("url",), several=False), both, of_urls, of_any, st.integers(1, 4), st.integers(1, 4))
def test_shards_are_read_once_by_all(
    source: tuple[Any, str], split: Any, read: Any, rest: Any, ranks: int, workers: int
) -> None:
    assert whole(parts(source[0] | split | read | rest, ranks, workers)) == counted(source[0] | read | rest)


@given(
    sources(whole=True, kinds=("url",), several=False),
    st.sampled_from([wds.identity, wds.shuffle_shards]),
    both,
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_what_each_will_read_can_be_counted(
    source: tuple[Any, str], order: Any, split: Any, ranks: int, workers: int, epoch: int
) -> None:
    shards = (wds.identity(source[0]) | order | split).within(epoch=epoch)
    found = parts(shards | wds.tarsamples, ranks, workers)
    assert wds.tar.count_each(shards, world_size=ranks, workers=workers) == [sum(part.values()) for part in found]


@given(st.integers(0, 40), both, of_any, st.integers(1, 5), st.integers(1, 5))
def test_items_are_given_once_by_all(n: int, split: Any, rest: Any, ranks: int, workers: int) -> None:
    found = parts(range(n) | split | rest, ranks, workers)
    assert whole(found) == counted(range(n) | rest)
    sizes = [sum(part.values()) for part in parts(range(n) | split, ranks, workers)]
    assert max(sizes) - min(sizes) <= 1 + (ranks > 1 and workers > 1)


@given(st.integers(0, 40), st.integers(1, 6))
def test_a_split_by_one_of_two_leaves_the_other_whole(n: int, several: int) -> None:
    by_node = [list((range(n) | wds.split_by_node).within(rank=rank, world_size=several)) for rank in range(several)]
    by_worker = [
        list((range(n) | wds.split_by_worker).within(worker=worker, workers=several)) for worker in range(several)
    ]
    assert by_node == by_worker == [list(range(n))[first::several] for first in range(several)]


@given(sources(kinds=("url",), several=False), of_urls, of_any, st.integers(1, 4), st.integers(1, 4))
def test_samples_are_read_once_by_all(source: tuple[Any, str], read: Any, rest: Any, ranks: int, workers: int) -> None:
    stream = source[0] | read
    assert whole(parts(stream | wds.split_samples | rest, ranks, workers)) == counted(stream | rest)


@given(st.integers(0, 40), st.integers(1, 4), st.integers(1, 4))
def test_samples_are_split_as_shards_are(n: int, ranks: int, workers: int) -> None:
    shards = range(n) | wds.split_by_node | wds.split_by_worker
    assert parts(range(n) | wds.split_samples, ranks, workers) == parts(shards, ranks, workers)


@given(st.integers(1, 40), both, st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(-1, 1))
def test_all_shuffle_the_shards_alike(n: int, split: Any, ranks: int, workers: int, epoch: int, seed: int) -> None:
    shards = wds.urls(f"{{00..{n - 1:02}}}.tar")
    order = shards | wds.shuffle_shards(seed=seed)
    context = {"rank": ranks - 1, "world_size": ranks, "worker": workers - 1, "workers": workers}
    alone = list(order.within(epoch=epoch))
    assert sorted(alone) == list(shards)
    assert list((order | wds.everywhere).within(epoch=epoch, **context)) == alone
    assert whole(parts((order | split), ranks, workers)) == counted(shards)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=3), both, of_any, st.integers(1, 3), st.integers(1, 3))
def test_parts_that_are_split_make_a_whole_that_is(
    lengths: list[int], split: Any, rest: Any, ranks: int, workers: int
) -> None:
    ranges = [range(100 * number, 100 * number + n) for number, n in enumerate(lengths)]
    for together in (wds.mix, wds.round_robin, wds.chain):
        several: Any = together
        assert whole(parts(several([xs | split for xs in ranges]) | rest, ranks, workers)) == counted(
            several(ranges) | rest
        )


@given(st.integers(0, 30), both, of_any, st.integers(1, 3), st.integers(1, 3), st.integers(0, 12))
def test_equalize_gives_all_the_same_number(n: int, split: Any, rest: Any, ranks: int, workers: int, each: int) -> None:
    stream = range(n) | split | rest
    for rank, worker in product(range(ranks), range(workers)):
        context = {"rank": rank, "world_size": ranks, "worker": worker, "workers": workers}
        mine = list(stream.within(**context))
        equal = (stream | wds.equalize(each)).within(**context)
        if mine or not each:
            assert list(equal) == [mine[place % len(mine)] for place in range(each)]
        else:
            with pytest.raises(DistributionError, match="split_samples"):
                next(iter(equal))


@given(st.integers(0, 20), st.integers(1, 3), st.integers(1, 3), st.data())
def test_everywhere_is_everywhere(n: int, ranks: int, workers: int, data: st.DataObject) -> None:
    rank, worker = data.draw(st.integers(0, ranks - 1)), data.draw(st.integers(0, workers - 1))
    stream = (range(n) | wds.everywhere).within(rank=rank, world_size=ranks, worker=worker, workers=workers)
    assert list(stream) == list(range(n))
