"""The law of resume: after each item, its position (through JSON) gives what comes after it. And: both ways mean the same."""

from __future__ import annotations

import importlib
import json
import pkgutil
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toolz import pipe

import streamwds as wds
from properties.strategies import Pipeline, outcome, pipelines, same_outcome, stages
from streamwds.errors import ReplayError, SkippedWarning, StreamwdsError
from streamwds.steps import FunctionStep, Lifted, Step
from streamwds.testing import check_resume, same_items

slow = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much])
pytestmark = pytest.mark.filterwarnings("ignore::streamwds.errors.SkippedWarning", "ignore::streamwds.errors.FewShardsWarning")


@slow
@given(pipelines())
def test_a_stream_goes_on_from_each_of_its_positions(pipeline: Pipeline) -> None:
    stream = pipeline.stream
    pairs: list[tuple[Any, Any]] = []
    ended: str | None = None
    try:
        pairs.extend(stream.tracked())
    except StreamwdsError as error:
        ended = str(error)
    items = [item for item, _ in pairs]
    for k, (_, position) in enumerate(pairs):
        rest, error = outcome(lambda at=position: stream.at(json.loads(json.dumps(at))))  # type: ignore[misc]
        assert same_items(rest, items[k + 1 :]), f"from the position of item {k} of {stream!r}"
        assert (None if error is None else error[1]) == ended


@slow
@given(pipelines())
def test_tracked_plain_and_piped_are_the_same(pipeline: Pipeline) -> None:
    stream = pipeline.stream
    plain = outcome(lambda: stream)
    assert same_outcome(plain, outcome(lambda: stream))
    assert same_outcome(plain, outcome(lambda: (item for item, _ in stream.tracked())))
    assert same_outcome(plain, outcome(lambda: pipe(pipeline.source, wds.identity, *pipeline.stages).within(**pipeline.fixed)))


def _all_steps() -> set[type[Step[Any, Any]]]:
    for module in pkgutil.walk_packages(wds.__path__, "streamwds."):
        if not module.name.endswith(("__main__", ".cli", ".demo")):
            importlib.import_module(module.name)
    found: set[type[Step[Any, Any]]] = set()
    todo: list[type[Any]] = [Step]
    while todo:
        cls = todo.pop()
        todo.extend(cls.__subclasses__())
        if cls.__module__.startswith("streamwds.") and hasattr(cls, "__attrs_attrs__"):
            found.add(cls)
    return found


def test_every_step_is_under_the_law() -> None:
    """The few outside it are listed here; the list may only shrink."""
    drawn: set[type[Step[Any, Any]]] = set()

    @settings(max_examples=400, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(stages(), min_size=8, max_size=8))
    def draw(found: list[wds.Stage[Any, Any]]) -> None:
        drawn.update(type(step) for stage in found for step in stage.steps)

    draw()
    outside: set[type[Step[Any, Any]]] = set()
    assert _all_steps() - drawn == outside


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(1, 6), st.data())
def test_a_shard_that_failed_and_reads_now_is_never_passed_over_in_silence(
    sizes: list[int], size: int, data: st.DataObject
) -> None:
    """A block that is read again holds the same items as before, or it is an error: none comes twice, none is lost."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{n}.tar" for n in range(len(sizes))]
        for n, path in enumerate(paths):
            with wds.TarWriter(path, encoder=False) as writer:
                for i in range(sizes[n]):
                    writer.write({"__key__": f"{n}-{i}", "txt": b""})
        changing = paths[data.draw(st.integers(0, len(paths) - 1))]
        away = changing.with_suffix(".away")
        fails_first = data.draw(st.booleans())
        shuffled = wds.shuffle(size, initial=data.draw(st.integers(1, size)))
        stage = data.draw(st.sampled_from([shuffled, wds.batched(size) | wds.unbatched]))
        stream = wds.urls(paths) | wds.tarsamples(handler=wds.ignore_and_continue) | stage | wds.map(key_of)
        if fails_first:
            changing.rename(away)
        tracked = list(stream.tracked())
        if not tracked:
            return
        if fails_first:
            away.rename(changing)
        else:
            changing.rename(away)
        k = data.draw(st.integers(0, len(tracked) - 1))
        before = [key for key, _ in tracked[: k + 1]]
        try:
            rest = list(stream.at(tracked[k][1]))
        except ReplayError:
            return
        assert not set(before) & set(rest)
        others = {f"{n}-{i}" for n in range(len(paths)) if paths[n] != changing for i in range(sizes[n])}
        assert others <= {*before, *rest}


def key_of(sample: wds.Sample) -> str:
    return str(sample["__key__"])


def test_buffering_stages_refuse_to_resume() -> None:
    @wds.stage(buffers=True)
    def pairs(items: Iterable[int]) -> Iterator[tuple[int, int]]:
        before = 0
        for item in items:
            yield before, item
            before = item

    stream = range(4) | pairs | wds.take(3)
    assert list(stream) == [(0, 0), (0, 1), (1, 2)]
    _, position = next(stream.tracked())
    with pytest.raises(wds.errors.PositionError, match="pairs keeps items back"):
        stream.at(position)


def test_check_resume_finds_a_stage_that_breaks_the_law() -> None:
    @wds.stage
    def first_two(items: Iterable[int]) -> Iterator[int]:
        for n, item in enumerate(items):
            if n < 2:
                yield item

    with pytest.raises(AssertionError, match="first_two does not resume"):
        check_resume(first_two, range(5))


def test_lifted_steps_remember_nothing() -> None:
    for cls in _all_steps():
        if issubclass(cls, Lifted) and cls is not FunctionStep:
            assert not cls.memory, cls


def test_an_ignored_error_is_counted_and_told_once() -> None:
    def odd(n: int) -> int:
        if n % 2:
            raise ValueError("odd")
        return n

    stream = range(6) | wds.map(odd, handler=wds.ignore_and_continue)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(stream) == [0, 2, 4]
    assert stream.skipped == {"ValueError": 3}
    assert [w.category for w in caught] == [SkippedWarning]
