"""The law of elastic resume: other numbers of readers give exactly what was left of the epoch, each item once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import streamwds as wds
from properties.strategies import Pipeline, outcome, pipelines, sources
from properties.test_resume import check_every_position
from streamwds import Context, Position, Stream
from streamwds.elastic import beginning, goes_on_at, redistribute
from streamwds.errors import CompositionError

pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.CacheWarning",
    "ignore::streamwds.errors.SkippedWarning",
    "ignore::streamwds.errors.FewShardsWarning",
    "ignore::streamwds.errors.EmptyStreamWarning",
)

splits = st.sampled_from([wds.split_by_node | wds.split_by_worker, wds.split_samples])
numbers = st.tuples(st.integers(1, 3), st.integers(1, 3))
relaxed = settings(
    max_examples=max(20, settings.default.max_examples // 2),  # type: ignore[union-attr]
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def readers(ranks: int, workers: int) -> list[dict[str, int]]:
    """The contexts of all readers."""
    return [
        {"rank": rank, "world_size": ranks, "worker": worker, "workers": workers}
        for rank, worker in product(range(ranks), range(workers))
    ]


def counted(items: Iterable[Any]) -> Counter[str]:
    return Counter(map(repr, items))


@attrs.frozen
class Stopped:
    """What a run gave before it was stopped, with what it left: items, and a position for each reader."""

    given: list[Any]
    left: list[Any]
    positions: list[Position]


def stop(stream: Stream[Any], ranks: int, workers: int, after: Callable[[int], int]) -> Stopped:
    """Run all readers, stop each after so many of its items, and take their positions through JSON."""
    stopped = Stopped([], [], [])
    for context in readers(ranks, workers):
        own = stream.within(**context)
        pairs, error = outcome(own.tracked)
        assume(error is None)
        k = after(len(pairs))
        stopped.given.extend(item for item, _ in pairs[:k])
        stopped.left.extend(item for item, _ in pairs[k:])
        epoch = stream.fixed.get("epoch", 0)
        start = beginning(own, Context(**{"epoch": epoch, "seed": stream.fixed.get("seed", 0), **context}))
        position = pairs[k - 1][1] if k else start
        stopped.positions.append(json.loads(json.dumps(position)))
    return stopped


@st.composite
def split_streams(draw: st.DrawFn) -> Stream[Any]:
    """Random pipelines whose readers each have a part."""
    pipeline: Pipeline = draw(pipelines(sources(kinds=("number", "sample", "url"))))
    fixed = {name: value for name, value in pipeline.fixed.items() if name in ("seed", "epoch")}
    split = draw(splits)
    return (pipeline.source | split | pipeline.stage).within(**fixed)  # type: ignore[no-any-return]


@relaxed
@given(split_streams(), numbers, numbers, numbers, st.data())
def test_other_readers_give_what_was_left_and_others_again(
    stream: Stream[Any], old: tuple[int, int], new: tuple[int, int], newest: tuple[int, int], data: st.DataObject
) -> None:
    def after(n: int) -> int:
        return data.draw(st.integers(0, n), "items before the stop")

    first = stop(stream, *old, after)
    if "resampled(" in repr(stream):
        with pytest.raises(CompositionError, match="with replacement"):
            redistribute(stream, first.positions)
        return
    rest = redistribute(stream, first.positions)
    second = stop(rest, *new, after)
    assert counted([*second.given, *second.left]) == counted(first.left)
    for made_of in (stream, rest):
        newer = redistribute(made_of, second.positions)
        third = stop(newer, *newest, after)
        assert counted([*third.given, *third.left]) == counted(second.left)


@relaxed
@given(split_streams(), numbers, numbers, st.data())
def test_the_rest_resumes_at_every_position(
    stream: Stream[Any], old: tuple[int, int], new: tuple[int, int], data: st.DataObject
) -> None:
    assume("resampled(" not in repr(stream))
    rest = redistribute(stream, stop(stream, *old, lambda n: data.draw(st.integers(0, n))).positions)
    reader = data.draw(st.sampled_from(readers(*new)))
    own = rest.within(**reader)
    check_every_position(own)
    tracked = list(own.tracked())
    for k, (_, position) in enumerate(tracked):  # the stream alone is enough, too
        again = goes_on_at(stream.within(**reader), json.loads(json.dumps(position)))
        assert list(map(repr, again)) == [repr(item) for item, _ in tracked[k + 1 :]]
