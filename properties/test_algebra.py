"""The laws of `|`: associative, with an identity; stages and streams are values to store, show and compare."""

from __future__ import annotations

import copy
import functools
import operator
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import properties.strategies
from properties.strategies import EVERYTHING, Pipeline, outcome, pipelines, same_outcome, stages
from streamwds import Stage, identity
from streamwds.errors import CompositionError

pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.SkippedWarning",
    "ignore::streamwds.errors.FewShardsWarning",
    "ignore::streamwds.errors.EmptyStreamWarning",
    "ignore::streamwds.errors.CacheWarning",
)

MODULES = {"functools": functools, "operator": operator, "properties": properties}
NAMES = {**EVERYTHING, **MODULES, "array": np.array, "int64": np.int64}


def joined(left: Any, right: Any) -> Any:
    """What a pipe of the two is, or the message with which it is refused."""
    if isinstance(left, str) or isinstance(right, str):
        return left if isinstance(left, str) else right
    try:
        return left | right
    except CompositionError as error:
        return str(error)


@given(stages(), stages(), stages())
def test_how_stages_are_parenthesised_does_not_matter(
    a: Stage[Any, Any], b: Stage[Any, Any], c: Stage[Any, Any]
) -> None:
    left, right = joined(joined(a, b), c), joined(a, joined(b, c))
    if isinstance(left, str) or isinstance(right, str):
        assert isinstance(left, str)  # (which of two mistakes is named depends on which is seen first)
        assert isinstance(right, str)
    else:
        assert left == right
        assert hash(left) == hash(right)
        assert repr(left) == repr(right)


@given(pipelines(), st.integers(0, 9), st.integers(0, 9))
def test_nor_does_it_where_data_is_at_the_left(pipeline: Pipeline, i: int, j: int) -> None:
    i, j = sorted((min(i, len(pipeline.stages)), min(j, len(pipeline.stages))))
    a, b, c = (
        functools.reduce(operator.or_, part, identity)
        for part in (pipeline.stages[:i], pipeline.stages[i:j], pipeline.stages[j:])
    )
    xs = pipeline.source
    ways = [
        ((xs | a) | b) | c,
        (xs | (a | b)) | c,
        xs | (a | (b | c)),
        xs | ((a | b) | c),
        (a | b | c)(xs),
        c(b(a(xs))),
    ]
    assert all(way == ways[0] for way in ways)
    runs = [outcome(way.within(**pipeline.fixed).tracked) for way in ways[:3]]
    assert same_outcome(runs[0], runs[1])
    assert same_outcome(runs[0], runs[2])


@given(stages())
def test_identity_does_nothing(stage: Stage[Any, Any]) -> None:
    assert identity | stage == stage == stage | identity
    assert repr(identity | stage) == repr(stage) == repr(stage | identity)


@given(pipelines())
def test_stages_are_values(pipeline: Pipeline) -> None:
    stage = pipeline.stage
    for same in (pickle.loads(pickle.dumps(stage)), copy.copy(stage), copy.deepcopy(stage), eval(repr(stage), NAMES)):
        assert same == stage
        assert hash(same) == hash(stage)
        assert repr(same) == repr(stage)


@given(pipelines(), st.integers(0, 9))
def test_streams_are_values(pipeline: Pipeline, k: int) -> None:
    stream = pipeline.stream
    positions = [position for _, position in outcome(stream.tracked)[0][: k + 1]]
    compared = "array(" not in repr(stream)  # (arrays don't compare to one answer)
    for one in [stream, *(stream.at(position) for position in positions[-1:])]:
        for other in (pickle.loads(pickle.dumps(one)), copy.copy(one), eval(repr(one), NAMES)):
            assert other == one or not compared
            assert hash(other) == hash(one)
            assert repr(other) == repr(one)
            assert same_outcome(outcome(other.tracked), outcome(one.tracked))
