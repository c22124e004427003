"""The law of resuming: from the position of any item, the very next item comes first, and all others after it."""

from __future__ import annotations

import json
import pkgutil
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, find, given, settings

import streamwds
from properties.strategies import Outcome, Pipeline, outcome, pipelines, same_outcome, sources
from streamwds import Stream
from streamwds.errors import FewShardsWarning, SkippedWarning
from streamwds.steps import Items, Lifted, Once, Source, Step
from streamwds.testing import check_resume

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{SkippedWarning.__module__}.{warning.__name__}")
    for warning in (SkippedWarning, FewShardsWarning)
]


def check_every_position(stream: Stream[Any]) -> None:
    """The law, for a stream that may end in an error: then every resumed one ends in the same."""
    pairs, error = outcome(stream.tracked)
    whole = [item for item, _ in pairs]
    for k, (_, position) in enumerate(pairs):
        rest: Outcome = (whole[k + 1 :], error)
        resumed = stream.at(json.loads(json.dumps(position)))
        assert same_outcome(outcome(lambda resumed=resumed: resumed), rest), f"after item {k}"  # type: ignore[misc]
        tracked, ends = outcome(resumed.tracked)
        assert same_outcome(([item for item, _ in tracked], ends), rest), f"tracked, after item {k}"
        again = [json.dumps(at) for _, at in tracked]
        assert again == [json.dumps(at) for _, at in pairs[k + 1 :]], f"other positions after item {k}"


@given(pipelines(sources(kinds=("number", "sample"))))
def test_resume_over_items(pipeline: Pipeline) -> None:
    check_every_position(pipeline.stream)


@given(pipelines(sources(kinds=("url",)), most=4))
def test_resume_over_shards(pipeline: Pipeline) -> None:
    check_every_position(pipeline.stream)


@given(pipelines())
def test_the_public_check_agrees(pipeline: Pipeline) -> None:
    """What users prove their own stages with finds nothing wrong with ours."""
    found, error = outcome(lambda: pipeline.stream)
    assume(error is None)
    assert check_resume(pipeline.stream) == len(found)


def concrete(base: type[Any]) -> Iterator[type[Any]]:
    for cls in base.__subclasses__():
        yield from concrete(cls)
        if cls.__module__.partition(".")[0] == "streamwds" and not cls.__name__.startswith("_") and cls is not Lifted:
            yield cls


for _module in pkgutil.walk_packages(streamwds.__path__, "streamwds."):
    if not _module.name.endswith("__main__"):
        import_module(_module.name)

STEPS = sorted(set(concrete(Step)), key=lambda cls: cls.__name__)
OUTSIDE = {
    Once: "an iterator runs once and has no positions",
}
"""What is outside the law, and why."""


def test_every_step_is_found() -> None:
    """(If this fails because a step is new: teach properties/strategies.py to draw it.)"""
    assert {cls.__name__ for cls in STEPS} >= {"Map", "Shuffle", "TarSamples", "FunctionStep"}
    assert set(concrete(Source)) - OUTSIDE.keys() == {Items, type(streamwds.urls("a").source)}


def resumes_with(step: type[Any], pipeline: Pipeline) -> bool:
    """Whether the law, on this pipeline, resumes a step from a place where it matters: between two items."""
    if not any(type(found) is step for found in pipeline.stream.steps):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(outcome(pipeline.stream.tracked)[0]) >= 2


@pytest.mark.parametrize("step", STEPS)
def test_no_step_is_outside_the_law(step: type[Any]) -> None:
    """Every step of the package comes out of the pipelines on which the law is tried."""
    patient = settings(max_examples=5_000, database=None, suppress_health_check=list(HealthCheck))
    find(pipelines(), lambda pipeline: resumes_with(step, pipeline), settings=patient)
