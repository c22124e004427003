"""One meaning: however a pipeline is run, the same items come, and running it changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any

import pytest
import toolz
from hypothesis import given
from hypothesis import strategies as st

from properties.strategies import Pipeline, in_runs, outcome, pipelines, same, same_outcome, sources, thinned
from streamwds import Stage, batched, identity, map, shuffle, take
from streamwds.testing import same_items

pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.SkippedWarning",
    "ignore::streamwds.errors.FewShardsWarning",
    "ignore::streamwds.errors.EmptyStreamWarning",
    "ignore::streamwds.errors.CacheWarning",
)


@given(pipelines())
def test_tracked_and_plain_iteration_give_the_same(pipeline: Pipeline) -> None:
    pairs, error = outcome(pipeline.stream.tracked)
    assert same_outcome(([item for item, _ in pairs], error), outcome(lambda: pipeline.stream))


@given(pipelines())
def test_a_pipe_is_a_call_of_each_stage(pipeline: Pipeline) -> None:
    stream = toolz.pipe(pipeline.source, *pipeline.stages or [identity]).within(**pipeline.fixed)
    joined = reduce(or_, pipeline.stages or [identity], pipeline.source).within(**pipeline.fixed)
    assert stream == joined == pipeline.stream
    assert same_outcome(outcome(lambda: stream), outcome(lambda: pipeline.stream))


@given(pipelines())
def test_a_second_time_is_like_the_first(pipeline: Pipeline) -> None:
    stream = pipeline.stream
    assert same_outcome(outcome(lambda: stream), outcome(lambda: stream))
    assert same_outcome(outcome(stream.tracked), outcome(stream.tracked))


@given(pipelines())
def test_two_iterators_of_a_stream_are_strangers(pipeline: Pipeline) -> None:
    whole = outcome(pipeline.stream.tracked)
    one, other = pipeline.stream.tracked(), pipeline.stream.tracked()

    def in_turn() -> Iterator[Any]:
        for pair in one:
            assert same_items(pair, next(other))
            yield pair

    assert same_outcome(outcome(in_turn), whole)


@given(pipelines())
def test_running_changes_nothing(pipeline: Pipeline) -> None:
    stream = pipeline.stream
    before = (repr(stream), hash(stream), copy.copy(stream))
    items = copy.deepcopy(pipeline.source)
    outcome(lambda: stream)
    outcome(stream.tracked)
    assert (repr(stream), hash(stream), stream) == before
    if isinstance(items, (list, tuple)):
        assert same_items(pipeline.source, items), "a stage has changed its input"


# ---- lazy


class Counted:
    """Some numbers, and how many of them were asked for."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.pulled = 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.n):
            self.pulled += 1
            yield number


def pulled(items: Counted, stage: Stage[Any, Any], *, tracked: bool) -> int:
    stream = stage(items)
    assert items.pulled == 0
    for _ in stream.tracked() if tracked else stream:
        pass
    return items.pulled


@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 3), st.booleans())
def test_take_asks_for_no_more_than_it_gives(n: int, there: int, maps: int, tracked: bool) -> None:
    stage = reduce(or_, [map(same)] * maps, identity) | take(n)
    assert pulled(Counted(there), stage, tracked=tracked) == min(n, there)


@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 40), st.booleans())
def test_batches_are_filled_when_they_are_asked_for(size: int, n: int, there: int, tracked: bool) -> None:
    assert pulled(Counted(there), batched(size) | take(n), tracked=tracked) == min(n * size, there)


@given(st.integers(1, 9), st.none() | st.integers(1, 9), st.integers(1, 30), st.integers(0, 60), st.booleans())
def test_shuffle_reads_ahead_by_its_size_at_most(
    size: int, initial: int | None, n: int, there: int, tracked: bool
) -> None:
    ahead = pulled(Counted(there), shuffle(size, initial=initial) | take(n), tracked=tracked)
    assert min(n, there) <= ahead <= min(n + size, there)


@given(sources(kinds=("number",)), st.integers(0, 40))
def test_a_consumer_may_stop_anywhere(source: tuple[Any, str], n: int) -> None:
    stream = source[0] | thinned | shuffle(4) | in_runs
    items, error = outcome(lambda: stream)
    assert outcome(lambda: islice(stream, n)) in [(items[:n], None), (items[:n], error)]
