"""The laws of caches: with or without one, empty, half full or complete, the same items come at the same positions."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

import streamwds as wds
from properties.strategies import FOLDER, Pipeline, outcome, pipelines, same_outcome, shard_specs, sources, written
from streamwds.steps import Upstream

pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.SkippedWarning",
    "ignore::streamwds.errors.FewShardsWarning",
    "ignore::streamwds.errors.EmptyStreamWarning",
    "ignore::streamwds.errors.CacheWarning",
)

numbers = count()


def at_positions(stream: wds.Stream[Any]) -> Any:
    """The items with the positions behind them (without the heads), and how the stream ends."""
    pairs, error = outcome(stream.tracked)
    return [(item, json.dumps(position[1])) for item, position in pairs], error


@given(pipelines(), st.integers(0, 3), st.integers(0, 3))
def test_what_does_not_say_that_it_varies_does_not(pipeline: Pipeline, one: int, other: int) -> None:
    stream = pipeline.stream
    assume(Upstream(stream.source, stream.steps).varying is None)
    event("does not vary")
    assert same_outcome(at_positions(stream.within(epoch=one)), at_positions(stream.within(epoch=other)))


@settings(max_examples=settings.default.max_examples // 2)  # type: ignore[union-attr]
@given(pipelines(sources(), most=4), st.integers(0, 20), st.sampled_from([0, 1, 3, 100]), st.integers(0, 20))
def test_samples_are_the_same_with_and_without(pipeline: Pipeline, there: int, size: int, middle: int) -> None:
    without = pipeline.stream
    assume(Upstream(without.source, without.steps).varying is None)
    stream = without | wds.cache_samples(FOLDER / f"law-{next(numbers)}.db", size)
    expected = at_positions(without)
    outcome(lambda: [item for item, _ in zip(stream, range(there))])
    if expected[0] and middle < len(expected[0]):
        position = outcome(without.tracked)[0][middle][1]
        rest = (expected[0][middle + 1 :], expected[1])
        assume(not _unfit(at_positions(stream)))
        for _ in range(2):
            assert same_outcome(at_positions(stream.at(json.loads(json.dumps(position)))), rest)
    for _ in range(3):
        found = at_positions(stream)
        assume(not _unfit(found))
        assert same_outcome(found, expected)
    event("kept and compared")


def _unfit(found: Any) -> bool:
    """Whether it ended at an item that can't be kept, or in one that was kept for another pipeline."""
    return found[1] is not None and found[1][0] in ("EncodeError", "CacheError")


@given(
    st.lists(shard_specs().map(written), min_size=1, max_size=4),
    st.sampled_from(["strict", "lenient"]),
    st.sampled_from([0, 5_000, 1e15]),
    st.lists(st.integers(0, 12), max_size=3),
)
def test_shards_are_the_same_with_and_without(urls: list[str], eof: str, size: float, stops: list[int]) -> None:
    handler = wds.ignore_and_continue
    without = wds.urls(urls) | wds.tarsamples(eof=eof, handler=handler)
    folder = FOLDER / f"law-{next(numbers)}"
    stream = wds.urls(urls) | wds.tarsamples(eof=eof, cache=wds.ShardCache(folder, size), handler=handler)
    for stop in stops:
        outcome(lambda stop=stop: [item for item, _ in zip(stream, range(stop))])  # type: ignore[misc]
    for _ in range(2):
        assert same_outcome(at_positions(stream), at_positions(without))
        assert stream.skipped.keys() == without.skipped.keys()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= size
    assert not [path for path in folder.iterdir() if path.suffix == ".partial"]
