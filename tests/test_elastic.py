"""redistribute: who reads what, and what is refused. (That nothing is lost is a law: properties/test_elastic.py.)"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from streamwds import (
    Context,
    Position,
    Stream,
    TarWriter,
    batched,
    map,
    mix,
    redistribute,
    repeat,
    resampled,
    shuffle,
    split_by_node,
    split_by_worker,
    split_samples,
    take,
    tarsamples,
    urls,
    with_epoch,
)
from streamwds.elastic import beginning
from streamwds.errors import CompositionError, PositionError, SourceError
from streamwds.position import describe
from streamwds.testing import check_resume

numbers = range(40) | split_samples


def stopped(
    stream: Stream[Any], ranks: int, workers: int, after: Callable[[int], int] = lambda reader: 2
) -> list[Position]:
    """The positions of all readers, each after so many items (at least 1)."""
    found: list[Position] = []
    for rank in range(ranks):
        for worker in range(workers):
            own = stream.within(rank=rank, world_size=ranks, worker=worker, workers=workers)
            *_, (_, position) = zip(range(after(rank + worker * ranks)), own.tracked(), strict=False)
            found.append(json.loads(json.dumps(position[1])))
    return found


def read(stream: Stream[Any], ranks: int, workers: int) -> list[list[Any]]:
    """What the readers get, numbered by worker and then by rank."""
    return [
        list(stream.within(rank=rank, world_size=ranks, worker=worker, workers=workers))
        for worker in range(workers)
        for rank in range(ranks)
    ]


def test_fewer_readers_read_one_logical_stream_after_the_other() -> None:
    rest = redistribute(numbers, stopped(numbers, 2, 2))
    logical = [list(range(first + 8, 40, 4)) for first in range(4)]
    assert read(rest, 1, 1) == [logical[0] + logical[1] + logical[2] + logical[3]]
    assert read(rest, 2, 1) == read(rest, 1, 2) == [logical[0] + logical[2], logical[1] + logical[3]]
    assert read(rest, 3, 1) == [logical[0] + logical[3], logical[1], logical[2]]
    assert read(rest, 2, 2) == logical  # (nothing changes)


def test_more_readers_share_a_logical_stream() -> None:
    rest = redistribute(numbers, stopped(numbers, 1, 2))
    even, odd = list(range(4, 40, 2)), list(range(5, 40, 2))
    assert read(rest, 1, 5) == [even[0::3], odd[0::2], even[1::3], odd[1::2], even[2::3]]


def test_whoever_is_known_to_have_ended_is_left_out() -> None:
    state = {"positions": stopped(numbers, 1, 2), "turn": 0, "ended": [0]}
    odd = list(range(5, 40, 2))
    assert read(redistribute(numbers, [state]), 1, 2) == [odd[0::2], odd[1::2]]
    nothing = redistribute(numbers, [{**state, "ended": [0, 1]}])
    assert read(nothing, 2, 1) == [[], []]


def test_the_order_of_checkpoints_does_not_matter() -> None:
    positions = stopped(numbers, 2, 2)
    assert read(redistribute(numbers, positions[::-1]), 3, 1) == read(redistribute(numbers, positions), 3, 1)


def test_it_is_a_stream_like_any_other(tmp_path: Any) -> None:
    for shard in range(4):
        with TarWriter(tmp_path / f"{shard}.tar") as writer:
            for n in range(5):
                writer.write({"__key__": f"{shard}-{n}", "cls": n})
    stream = urls(tmp_path / "{0..3}.tar") | split_by_node | split_by_worker | tarsamples | shuffle(3)
    rest = redistribute(stream, stopped(stream, 1, 2)).within(rank=0, world_size=2, worker=0, workers=1)
    assert pickle.loads(pickle.dumps(rest)) == eval(repr(rest)) == rest
    assert check_resume(rest) == 8
    (_, position), *_ = rest.tracked()
    assert describe(position, rest) == (
        "shard 0 0.tar, byte 3072, shuffle block 1, as worker 0 of 2 on rank 0 of 1 (0 more to come), epoch 0, "
        "rank 0 of 2"
    )
    assert len(list(rest | map(lambda sample: sample["__key__"]) | batched(5))) == 2


def test_seed_and_epoch_are_those_of_the_positions() -> None:
    mixed = (range(40) | split_samples | shuffle(5)).within(seed=3, epoch=2)
    positions = stopped(mixed, 1, 2)
    expected = [item for worker in range(2) for item in list(mixed.within(worker=worker, workers=2))[2:]]
    assert read(redistribute(range(40) | split_samples | shuffle(5), positions), 1, 1) == [expected]
    with pytest.raises(PositionError, match="it has epoch 2, and the stream has epoch 4"):
        redistribute(mixed.within(epoch=4), positions)
    with pytest.raises(PositionError, match="this is the rest of epoch 2; read epoch 3 from the stream"):
        list(redistribute(mixed, positions).within(epoch=3))
    other = stopped(mixed.within(epoch=3), 1, 2)
    with pytest.raises(PositionError, match="they have epoch 2, 3"):
        redistribute(range(40) | split_samples | shuffle(5), [positions[0], other[1]])


def test_a_reader_that_has_read_nothing_has_a_position_too() -> None:
    start = beginning(numbers, Context(worker=1, workers=2))
    rest = redistribute(numbers, [stopped(numbers, 1, 2)[0], json.loads(json.dumps(start))])
    assert read(rest, 1, 1) == [[*range(4, 40, 2), *range(1, 40, 2)]]


def test_positions_of_some_readers_are_not_enough() -> None:
    positions = stopped(numbers, 2, 3)
    with pytest.raises(PositionError, match=r"there are no positions of rank 0, worker 1$"):
        redistribute(numbers, [positions[0], *positions[2:]])
    with pytest.raises(PositionError, match=r"there are 2 positions of rank 1, worker 2$"):
        redistribute(numbers, [*positions, positions[5]])
    with pytest.raises(PositionError, match="and there are none"):
        redistribute(numbers, [])
    with pytest.raises(PositionError, match="they have workers 3, 1"):
        redistribute(numbers, [*positions, *stopped(numbers, 2, 1)])


@pytest.mark.parametrize("wrong", [None, {}, [1, 2], "checkpoint", {"positions": [[]], "ended": []}])
def test_what_is_no_position_is_refused(wrong: Any) -> None:
    with pytest.raises(PositionError, match="is no position"):
        redistribute(numbers, [wrong])


def test_positions_of_another_pipeline_are_refused() -> None:
    with pytest.raises(PositionError, match=r"its pipeline was split_samples, and this one is split_samples | take"):
        redistribute(numbers | take(5), stopped(numbers, 1, 2))


def test_a_damaged_part_is_refused() -> None:
    rest = redistribute(numbers, stopped(numbers, 1, 2))
    (_, (head, at)), *_ = rest.tracked()
    for damaged in ([[*at[0][:5], 0, at[0][6]]], [at[0][:6]], 7, [[1, 1, *at[0][2:]]]):
        with pytest.raises(PositionError, match="redistribute: "):
            list(rest.at([head, damaged]))


@pytest.mark.parametrize("make", [lambda xs: xs | repeat(), lambda xs: mix([xs | repeat(), xs])])
def test_what_never_ends_has_no_rest(make: Any) -> None:
    stream = make(numbers)
    with pytest.raises(CompositionError, match=r"never ends.*with_epoch"):
        redistribute(stream, stopped(stream, 1, 2))
    bounded = stream | with_epoch(9)
    assert sum(len(items) for items in read(redistribute(bounded, stopped(bounded, 1, 2)), 3, 1)) == 14


def test_what_is_drawn_with_replacement_has_no_rest() -> None:
    shards = urls("{0..5}.tar") | resampled() | with_epoch(9)
    for stream in (shards, mix([shards, shards]) | take(3)):
        with pytest.raises(CompositionError, match="with replacement"):
            redistribute(stream, stopped(stream, 1, 2))


def test_it_comes_last() -> None:
    rest = redistribute(numbers, stopped(numbers, 1, 2)) | take(30)
    with pytest.raises(CompositionError, match="comes last"):
        redistribute(rest, stopped(rest, 1, 2))


def test_what_runs_once_has_no_positions() -> None:
    positions = stopped(range(3) | split_samples, 1, 1)
    with pytest.raises((SourceError, PositionError)):
        list(redistribute(iter(range(3)) | split_samples, positions))
