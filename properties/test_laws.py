"""The laws of splitting, of the algebra, and of shuffle."""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streamwds as wds
from properties.strategies import EVERYTHING, Pipeline, outcome, pipelines, same_outcome, sources, stages
from streamwds.testing import same_items

slow = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much])
pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.SkippedWarning", "ignore::streamwds.errors.FewShardsWarning"
)

# ---- split


def key_of(item: Any) -> Any:
    return item["__key__"] + item["__url__"] if isinstance(item, dict) else item


@slow
@given(sources(whole=True, kinds=["number", "url"]), st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))
def test_nodes_and_workers_partition_the_whole(
    source: tuple[Any, str], world_size: int, workers: int, size: int
) -> None:
    data, kind = source
    read = wds.tarsamples if kind == "url" else wds.identity
    split = wds.split_by_node | wds.split_by_worker | read
    whole = Counter(map(key_of, data | read))
    parts: Counter[Any] = Counter()
    for rank, worker in product(range(world_size), range(workers)):
        readers = {"rank": rank, "world_size": world_size, "worker": worker, "workers": workers}
        part = Counter(map(key_of, (data | split).within(**readers)))
        assert part == Counter(map(key_of, (data | split | wds.shuffle(size)).within(**readers)))
        parts += part
    assert parts == whole


# ---- algebra


def joined(chain: tuple[wds.Stage[Any, Any], ...], at: int) -> wds.Stage[Any, Any]:
    """The stages, those before and those from `at` on joined first."""
    left: wds.Stage[Any, Any] = wds.identity
    right: wds.Stage[Any, Any] = wds.identity
    for stage in chain[:at]:
        left = left | stage
    for stage in chain[at:]:
        right = right | stage
    return left | right


@slow
@given(pipelines(), st.integers(0, 6))
def test_brackets_and_identity_change_nothing(pipeline: Pipeline, at: int) -> None:
    assert joined(pipeline.stages, min(at, len(pipeline.stages))) == pipeline.stage
    assert wds.identity | pipeline.stage == pipeline.stage == pipeline.stage | wds.identity
    assert hash(wds.identity | pipeline.stage) == hash(pipeline.stage)
    assert pipeline.stage(pipeline.source) == pipeline.source | pipeline.stage


@slow
@given(pipelines())
def test_a_pickled_pipeline_is_the_same(pipeline: Pipeline) -> None:
    stream = pipeline.stream
    again = pickle.loads(pickle.dumps(stream))
    assert again.steps == stream.steps
    assert again.fixed == stream.fixed
    assert repr(again) == repr(stream)
    assert again == stream or "array(" in repr(stream)  # (arrays among the items don't say whether they are equal)
    assert same_outcome(outcome(lambda: again), outcome(lambda: stream))


@slow
@given(stages())
def test_the_repr_of_a_stage_is_the_code_that_builds_it(stage: wds.Stage[Any, Any]) -> None:
    code = repr(stage).replace("properties.strategies.", "")
    strategies = vars(importlib.import_module("properties.strategies"))
    modules = {name: importlib.import_module(name) for name in ("functools", "operator")}
    again = eval(code, {**strategies, **modules, **EVERYTHING})
    assert again == stage
    assert hash(again) == hash(stage)


@slow
@given(pipelines())
def test_the_repr_of_a_stream_is_the_code_that_builds_it(pipeline: Pipeline) -> None:
    stream = pipeline.stream
    code = repr(stream).replace("properties.strategies.", "")
    strategies = vars(importlib.import_module("properties.strategies"))
    modules = {name: importlib.import_module(name) for name in ("functools", "operator")}
    numpy = vars(importlib.import_module("numpy"))
    again = eval(code, {**numpy, **strategies, **modules, **EVERYTHING})
    assert again.steps == stream.steps
    assert again.fixed == stream.fixed
    assert same_outcome(outcome(lambda: again), outcome(lambda: stream))


# ---- shuffle


@given(st.integers(0, 200), st.integers(1, 50), st.none() | st.integers(1, 60), st.integers(-5, 5), st.integers(0, 5))
def test_shuffle_is_a_permutation_that_stays_in_its_blocks(
    n: int, size: int, initial: int | None, seed: int, epoch: int
) -> None:
    stage = wds.shuffle(size, initial=initial, seed=seed)
    found = list((range(n) | stage).within(epoch=epoch))
    assert sorted(found) == list(range(n))
    start, block = 0, min(size, 64 if initial is None else initial)
    while start < n:
        assert sorted(found[start : start + block]) == list(range(start, min(n, start + block)))
        start, block = start + block, min(size, block * 2)


class Token:
    pass


@given(st.integers(1, 60), st.integers(1, 20), st.none() | st.integers(1, 20))
def test_shuffle_holds_no_more_than_its_size_and_one(n: int, size: int, initial: int | None) -> None:
    alive: weakref.WeakSet[Token] = weakref.WeakSet()
    most = 0

    class Tokens:
        def __iter__(self) -> Iterator[Token]:
            for _ in range(n):
                token = Token()
                alive.add(token)
                yield token
                del token

    for item in Tokens() | wds.shuffle(size, initial=initial):
        most = max(most, len(alive))
        del item
    gc.collect()
    assert most <= size + 1
    assert not alive


def test_epochs_seeds_ranks_and_workers_each_have_their_own_order() -> None:
    stream = range(64) | wds.everywhere | wds.shuffle(64, initial=64)
    orders = [
        tuple(stream.within(**fixed))
        for fixed in (
            *({"epoch": e} for e in range(4)),
            *({"seed": s} for s in range(1, 4)),
            *({"rank": r, "world_size": 3} for r in range(1, 3)),
            *({"worker": w, "workers": 3} for w in range(1, 3)),
        )
    ]
    assert len(set(orders)) == len(orders)
    assert tuple(stream.within(epoch=2)) == orders[2]


PROGRAM = """
import json
from streamwds import *
stream = (range(500) | everywhere | shuffle(64, seed=3) | batched(7)).within(seed=5, epoch=2, worker=1, workers=3)
print(json.dumps([list(stream), [p for _, p in stream.tracked()][-1]]))
"""


def test_the_same_in_another_interpreter() -> None:
    outputs = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1


# ---- stages leave alone what they are given, and take no more than they need


@slow
@given(pipelines(sources(kinds=["sample"])))
def test_samples_are_never_changed_in_place(pipeline: Pipeline) -> None:
    before = pickle.dumps(pipeline.source)
    outcome(lambda: pipeline.stream)
    assert same_items(pickle.loads(before), pipeline.source)


@given(st.integers(0, 20), st.integers(0, 20))
def test_take_asks_for_no_more_than_it_gives(n: int, size: int) -> None:
    asked = 0

    def count(item: int) -> int:
        nonlocal asked
        asked += 1
        return item

    assert list(range(size) | wds.map(count) | wds.take(n)) == list(range(min(n, size)))
    assert asked == min(n, size)
