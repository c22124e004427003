"""mix, round_robin, chain, zip_, interleave: examples and edges; their laws are in properties/test_several.py."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from streamwds import (
    Stage,
    Stream,
    TarWriter,
    batched,
    chain,
    decode,
    everywhere,
    identity,
    interleave,
    map,
    mix,
    repeat,
    round_robin,
    select,
    shuffle,
    shuffle_shards,
    split_by_node,
    split_by_worker,
    stage,
    take,
    tarsamples,
    to_tuple,
    unbatched,
    urls,
    zip_,
)
from streamwds.errors import CompositionError, DistributionError, OpenError, PositionError, SourceError
from streamwds.handlers import ignore_and_continue


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Four shards of three samples, whose keys are 00, 01, 02, 10 …"""
    for number in range(4):
        with TarWriter(tmp_path / f"{number}.tar") as writer:
            for n in range(3):
                writer.write({"__key__": f"{number}{n}", "txt": b"x" * 600})
    return str(tmp_path / "{0..3}.tar")


def keys(stream: Stream[Any]) -> list[str]:
    return [sample["__key__"] for sample in stream]


# ---- sources of several streams


def test_weights_are_how_often_each_is_drawn() -> None:
    streams = [["a"] | repeat(), ["b"] | repeat(), ["c"] | repeat()]
    counts = Counter(islice(mix(streams, weights=[1, 2, 7]), 10_000))
    assert {name: round(count / 1000) for name, count in counts.items()} == {"a": 1, "b": 2, "c": 7}


def test_streams_of_samples_are_one_stream_of_samples(shards: str) -> None:
    first, second = shards.replace("{0..3}", "{0,1}"), shards.replace("{0..3}", "{2,3}")
    stream = mix([urls(first) | tarsamples, urls(second) | tarsamples | shuffle(2)]) | decode() | batched(4)
    assert sorted(key for batch in stream for key in batch["__key__"]) == sorted(keys(urls(shards) | tarsamples))
    with pytest.raises(CompositionError, match="chain yields str, decode takes Sample; is tarsamples missing"):
        chain([urls(first), urls(second)]) | decode()  # type: ignore[operator]
    with pytest.raises(CompositionError, match="zip_ yields tuple, to_tuple takes Sample"):
        zip_([urls(first), urls(second)]) | to_tuple("jpg")  # type: ignore[operator]


def test_a_str_is_a_url() -> None:
    assert list(chain(["a-{0,1}.tar", ["b.tar"]])) == ["a-0.tar", "a-1.tar", "b.tar"]


def test_they_nest_and_are_values() -> None:
    parts: list[Any] = [range(3), range(5) | map(float)]
    inner: list[Any] = [round_robin(parts, stop="first"), range(4)]
    outer: list[Any] = [mix(inner, weights=[1, 2]), zip_([range(2), range(3)], stop="last", fill=0)]
    whole = chain(outer) | shuffle(2)
    assert repr(whole) == (
        "chain([mix([round_robin([range(0, 3) | identity, range(0, 5) | map(float)], stop='first'), "
        "range(0, 4) | identity], weights=(1, 2)), "
        "zip_([range(0, 2) | identity, range(0, 3) | identity], stop='last', fill=0)]) | shuffle(2)"
    )
    assert whole == pickle.loads(pickle.dumps(whole))
    assert hash(whole) == hash(pickle.loads(pickle.dumps(whole)))
    assert whole != chain([mix(inner, weights=[1, 3]), outer[1]]) | shuffle(2)


@pytest.mark.parametrize("several", [mix, round_robin, chain, zip_])
def test_what_is_no_list_of_streams(several: Any) -> None:
    with pytest.raises(CompositionError, match="takes at least one stream"):
        several([])
    for wrong in ("a.tar", range(3) | take(2)):
        with pytest.raises(CompositionError, match="takes a list of streams"):
            several(wrong)
    with pytest.raises(CompositionError, match="is a stage and no data"):
        several([take(2)])
    with pytest.raises(CompositionError, match="takes an iterable, not int"):
        several([3])


def test_a_part_has_no_context_and_no_position_of_its_own() -> None:
    stream = range(3) | shuffle(2)
    with pytest.raises(CompositionError, match=r"call within\(\) of the whole"):
        mix([stream.within(seed=3), stream])
    _, position = next(stream.tracked())
    with pytest.raises(CompositionError, match=r"call at\(\) of the whole"):
        chain([stream.at(position)])


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1], [1, "2"], [1, float("nan")], [1, float("inf")], 3])
def test_wrong_weights(weights: Any) -> None:
    with pytest.raises(ValueError, match="mix takes a weight above 0 for each of its 2 streams"):
        mix([range(2), range(3)], weights=weights)


def test_wrong_stops() -> None:
    several: Any
    for several in (mix, round_robin, zip_):
        with pytest.raises(ValueError, match='stop is "first"'):
            several([range(2)], stop="never")


def test_iterators_are_mixed_once() -> None:
    stream = chain([iter([1, 2]), range(2)])
    assert list(stream) == [1, 2, 0, 1]
    with pytest.raises(SourceError, match="was read already"):
        list(stream)
    with pytest.raises(SourceError, match="has no positions"):
        mix([range(2), iter([1])]).tracked()


def test_each_part_must_be_split() -> None:
    split, whole = range(8) | split_by_worker, range(8) | map(float)
    with pytest.raises(DistributionError, match="put split_by_worker behind the source"):
        list(mix([split, whole]).within(worker=0, workers=2))
    assert len(list(mix([split, whole | everywhere]).within(worker=0, workers=2))) == 12
    assert len(list((mix([whole, whole]) | split_by_worker).within(worker=0, workers=2))) == 8
    assert len(list((mix([split, split]) | split_by_node).within(worker=0, workers=2, rank=1, world_size=2))) == 4


def test_positions_of_other_parts_are_refused() -> None:
    a, b = range(4) | shuffle(3), range(5) | identity

    def whole(**options: Any) -> Stream[Any]:
        return mix([a, b], **options)

    _, position = next(whole().tracked())
    for other in (
        whole(seed=1),
        whole(weights=[1, 2]),
        mix([range(4) | shuffle(2), b]),
        mix([a, range(6) | identity]),
        mix([b, a]),
        round_robin([a, b]),
    ):
        with pytest.raises(PositionError, match="another source"):
            other.at(position)
    head, _ = position
    at: Any
    for at in ([], [1], [0, [], [1]], ["0", [], [1, 2]], [0, 3, [1, 2]], 7):
        with pytest.raises(PositionError, match=r"mix: .* is no position of 2 streams"):
            list(whole().at([head, at]))
    _, position = next(chain([range(2), range(3)]).tracked())
    for at in ([2, None], [0], 3, ["0", None]):
        with pytest.raises(PositionError, match=r"chain: .* is no position"):
            list(chain([range(2), range(3)]).at([position[0], at]))


@stage(buffers=True)
def backwards(items: Any) -> Any:
    yield from reversed(list(items))


def test_a_part_that_keeps_items_back_can_not_be_resumed() -> None:
    for stream in (
        mix([range(3) | backwards, range(4) | identity]),
        [[1, 2], [3]] | interleave(unbatched | backwards, 2),
    ):
        _, position = next(stream.tracked())
        with pytest.raises(PositionError, match=r"(backwards|interleave) keeps items back"):
            stream.at(position)


# ---- interleave


def test_shards_are_open_at_once_and_taken_in_turns(shards: str) -> None:
    stream = urls(shards) | interleave(tarsamples, 3)
    assert keys(stream) == ["00", "10", "20", "01", "11", "21", "02", "12", "22", "30", "31", "32"]
    assert keys(urls(shards) | interleave(tarsamples, 1)) == keys(urls(shards) | tarsamples)
    assert keys(urls(shards) | interleave(tarsamples, 99))[:5] == ["00", "10", "20", "30", "01"]


def test_no_shard_is_opened_before_its_turn() -> None:
    opened: list[int] = []

    def noted(item: list[int]) -> list[int]:
        opened.append(item[0])
        return item

    lists = [[n] * 2 for n in range(9)]
    stream = iter(lists | interleave(map(noted) | unbatched, 3))
    assert next(stream) == 0
    assert opened == [0]
    assert [next(stream), next(stream), next(stream)] == [1, 2, 0]
    assert opened == [0, 1, 2]
    assert next(stream) == 1
    assert next(stream) == 2
    assert next(stream) == 3
    assert opened == [0, 1, 2, 3]


def test_interleave_is_a_value() -> None:
    made = interleave(tarsamples(handler=ignore_and_continue) | select(bool), 4)
    assert repr(made) == "interleave(tarsamples(handler=ignore_and_continue) | select(bool), 4)"
    assert pickle.loads(pickle.dumps(made)) == made
    assert made != interleave(tarsamples | select(bool), 4)


def test_its_handler_is_no_part_of_a_position(shards: str) -> None:
    _, position = next((urls(shards) | interleave(tarsamples, 2)).tracked())
    lenient = urls(shards) | interleave(tarsamples(handler=ignore_and_continue), 2)
    assert len(keys(lenient.at(position))) == 11
    with pytest.raises(PositionError, match="other options were given to interleave"):
        (urls(shards) | interleave(tarsamples, 3)).at(position)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: interleave(3, 2), CompositionError, "takes the stage that opens each item"),  # type: ignore[arg-type]
        (lambda: interleave(decode, 2), CompositionError, "takes the stage"),  # type: ignore[arg-type]
        (lambda: interleave(tarsamples, 0), ValueError, "of at least 1, not 0"),
        (lambda: [3] | interleave(tarsamples, 2), CompositionError, "yields int, interleave takes str"),  # type: ignore[operator]
        (
            lambda: urls("a") | interleave(map(str.upper) | tarsamples, 2) | tarsamples,  # type: ignore[operator]
            CompositionError,
            "interleave yields Sample, tarsamples takes str",
        ),
    ],
)
def test_wrong_uses_of_interleave(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_a_missing_shard_leaves_the_others(shards: str, tmp_path: Path) -> None:
    there = [str(tmp_path / name) for name in ("0.tar", "missing.tar", "1.tar")]
    with pytest.raises(OpenError, match=r"missing\.tar"):
        list(there | interleave(tarsamples, 2))
    with pytest.warns(match="missing"):
        assert sorted(keys(there | interleave(tarsamples(handler=ignore_and_continue), 2))) == [
            "00",
            "01",
            "02",
            "10",
            "11",
            "12",
        ]


def test_a_checkpoint_is_small(shards: str) -> None:
    """At most 2 kB for a worker, of a pipeline that has it all."""
    inner: Stage[Any, Any] = (
        shuffle_shards | split_by_node | split_by_worker | interleave(tarsamples, 8) | shuffle(5) | decode()
    )
    parts = [urls([shards] * 10) | inner for _ in range(3)]
    stream = mix(parts, weights=[1, 2, 3]) | batched(4) | repeat()
    reader = stream.within(rank=1, world_size=2, worker=1, workers=2)
    positions = [position for _, position in islice(reader.tracked(), 300)]
    assert max(len(json.dumps(position)) for position in positions) < 2000
