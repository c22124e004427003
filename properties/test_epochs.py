"""The laws of epochs: what a pass is, where an epoch ends, and that random stages differ from one to the next."""

from __future__ import annotations

import json
from itertools import chain, cycle, islice
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import streamwds as wds
from properties.strategies import Pipeline, jittered, noisy, outcome, pipelines, same_outcome, wanted
from streamwds import Stage, Stream
from streamwds.errors import PositionError
from streamwds.testing import same_items

pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.CacheWarning",
    "ignore::streamwds.errors.SkippedWarning",
    "ignore::streamwds.errors.FewShardsWarning",
    "ignore::streamwds.errors.EmptyStreamWarning",
)

seeds = st.integers(-2, 2)
epochs = st.integers(0, 3)
counts = st.integers(1, 3)
random_stages: st.SearchStrategy[Stage[Any, Any]] = st.one_of(
    st.builds(wds.shuffle, st.integers(1, 9), seed=seeds),
    st.builds(wds.rsample, st.just(0.6), seeds),
    st.just(wds.shuffle(4) | wds.select(wanted) | wds.shuffle(3, seed=1)),
)


def drawn(n: int, stage: Stage[Any, Any], epoch: int) -> list[Any]:
    return list((range(n) | stage).within(epoch=epoch))


@given(pipelines(), counts)
def test_a_pass_is_an_epoch(pipeline: Pipeline, n: int) -> None:
    """repeat(n) in epoch e is the epochs e·n … e·n + n - 1, one after the other, up to one that is empty or fails."""
    fixed = {name: value for name, value in pipeline.fixed.items() if name != "epoch"}
    epoch = pipeline.fixed.get("epoch", 0)
    whole = pipeline.stage(pipeline.source)
    expected: list[Any] = []
    error = None
    for passed in range(n):
        found, error = outcome(lambda passed=passed: whole.within(**fixed, epoch=epoch * n + passed))  # type: ignore[misc]
        expected += found
        if error or not found:
            break
    assert same_outcome(outcome(lambda: (whole | wds.repeat(n)).within(**fixed, epoch=epoch)), (expected, error))


@given(st.integers(0, 12), random_stages, counts, counts, epochs)
def test_repeating_what_is_repeated(n: int, stage: Stage[Any, Any], a: int, b: int, epoch: int) -> None:
    passes = [drawn(n, stage, number) for number in range(epoch * a * b, (epoch + 1) * a * b)]
    assume(all(passes))  # (an empty one would end the inner repeat, and not the outer)
    assert drawn(n, stage | wds.repeat(a) | wds.repeat(b), epoch) == drawn(n, stage | wds.repeat(a * b), epoch)


@given(st.integers(1, 12), random_stages, st.integers(0, 40), epochs)
def test_without_end_there_is_always_another_epoch(n: int, stage: Stage[Any, Any], k: int, epoch: int) -> None:
    passes = (drawn(n, stage, number) for number in range(epoch, epoch + 40))
    full = list(chain.from_iterable(iter(lambda: next(passes) or None, None)))
    assert drawn(n, stage | wds.repeat() | wds.take(k), epoch) == full[:k]


@given(st.integers(0, 30), random_stages, st.integers(1, 12), epochs)
def test_an_epoch_is_the_start_of_the_stream_in_it(n: int, stage: Stage[Any, Any], length: int, epoch: int) -> None:
    assert drawn(n, stage | wds.with_epoch(length), epoch) == drawn(n, stage, epoch)[:length]


@given(st.integers(1, 9), random_stages, st.integers(1, 12), st.integers(1, 4), epochs)
def test_epochs_may_go_on_from_one_another(
    n: int, stage: Stage[Any, Any], length: int, several: int, epoch: int
) -> None:
    """Each begun at the last position of the one before, they are one long stream; and each of them resumes."""
    long = range(n) | wds.shuffle(3) | wds.repeat()
    stream = long | wds.with_epoch(length) | wds.batched(2, collate=list)
    items: list[Any] = []
    last: Any = None
    for number in range(epoch, epoch + several):
        now = stream.within(epoch=number) if last is None else stream.within(epoch=number).at(last)
        pairs = list(now.tracked())
        for k, (_, position) in enumerate(pairs):
            resumed = stream.within(epoch=number).at(json.loads(json.dumps(position)))
            assert list(resumed) == [item for item, _ in pairs[k + 1 :]]
        items += chain.from_iterable(item for item, _ in pairs)
        last = json.loads(json.dumps(pairs[-1][1]))
    assert items == list((long | wds.take(length * several)).within(epoch=epoch))


@given(st.integers(3, 30), st.integers(2, 12), st.data())
def test_an_epoch_does_not_begin_in_the_midst_of_another(n: int, length: int, data: st.DataObject) -> None:
    stream = range(n) | wds.repeat() | wds.with_epoch(length)
    positions = [position for _, position in stream.tracked()]
    position = positions[data.draw(st.integers(0, length - 2))]
    for wrong in (1, 2):
        with pytest.raises(PositionError):
            list(stream.within(epoch=wrong).at(position))
    with pytest.raises(PositionError, match="it has epoch 0, and the stream has epoch 2"):
        stream.within(epoch=2).at(positions[-1])


LARGE: list[Stream[Any]] = [
    wds.urls("{000..199}.tar") | wds.shuffle_shards,
    wds.urls("{000..199}.tar") | wds.resampled() | wds.take(200),
    range(200) | wds.shuffle(200),
    range(200) | wds.rsample(0.5),
    wds.mix([range(100), range(100, 200)]),
    [{"__key__": f"{n}"} for n in range(200)] | wds.map(jittered, rng=True),
    [{"__key__": f"{n}", "txt": b""} for n in range(200)] | wds.decode(noisy, rng=True),
]


@pytest.mark.parametrize("stream", LARGE, ids=lambda stream: repr(stream)[-40:])
def test_epochs_differ_and_each_is_reproducible(stream: Stream[Any]) -> None:
    found = [list(stream.within(epoch=epoch)) for epoch in range(4)]
    assert all(same_items(one, list(stream.within(epoch=epoch))) for epoch, one in enumerate(found))
    assert all(a != b for n, a in enumerate(found) for b in found[:n])
    assert list(stream.within(seed=1)) != found[0]
    passes = stream | wds.repeat(4)
    assert same_items(list(passes), list(chain.from_iterable(found)))


@given(st.integers(0, 40), st.integers(1, 12))
def test_equalize_reads_the_same_epoch_again(n: int, length: int) -> None:
    stream = range(length) | wds.shuffle(4)
    assert list(stream | wds.equalize(n)) == list(islice(cycle(stream), n))
