"""The same everywhere: another process with another PYTHONHASHSEED gives the same items at the same positions."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from properties.strategies import Pipeline, contexts, outcome, pipelines
from streamwds import Stream, everywhere, shuffle

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.filterwarnings(
    "ignore::streamwds.errors.SkippedWarning",
    "ignore::streamwds.errors.FewShardsWarning",
    "ignore::streamwds.errors.EmptyStreamWarning",
    "ignore::streamwds.errors.CacheWarning",
)


def account(stream: Stream[Any]) -> str:
    """All that a stream gives, as text."""
    pairs, error = outcome(stream.tracked)
    items = [re.sub(r" at 0x[0-9a-f]+", "", repr(item)) for item, _ in pairs]  # (a shard shows its opener's address)
    return json.dumps([repr(stream), items, [position for _, position in pairs], error])


def elsewhere(streams: list[Stream[Any]], hash_seed: int) -> list[str]:
    """What another interpreter says of the streams."""
    code = (
        "import pickle, sys, warnings; warnings.simplefilter('ignore');"
        "from properties.test_machines import account;"
        "pickle.dump([account(stream) for stream in pickle.load(sys.stdin.buffer)], sys.stdout.buffer)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(streams),
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        cwd=ROOT,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    found: list[str] = pickle.loads(done.stdout)
    return found


# a process takes half a second, so each example brings many streams
few = settings(
    max_examples=max(3, settings.default.max_examples // 40),  # type: ignore[union-attr]
    suppress_health_check=list(HealthCheck),
)
shuffled = st.builds(
    lambda n, size, initial, seed, context: (range(n) | everywhere | shuffle(size, initial=initial, seed=seed)).within(
        **context
    ),
    st.integers(0, 300),
    st.integers(1, 300),
    st.none() | st.integers(1, 300),
    st.integers(-(2**70), 2**70),
    contexts(several=True),
)


@few
@given(st.lists(pipelines().map(lambda pipeline: pipeline.stream), min_size=12, max_size=12), st.integers(1, 2**32 - 1))
def test_pipelines_are_the_same_in_another_interpreter(streams: list[Stream[Any]], hash_seed: int) -> None:
    assert elsewhere(streams, hash_seed) == [account(stream) for stream in streams]


@few
@given(st.lists(shuffled, min_size=40, max_size=40), st.integers(1, 2**32 - 1))
def test_shuffles_are_the_same_in_another_interpreter(streams: list[Stream[Any]], hash_seed: int) -> None:
    assert elsewhere(streams, hash_seed) == [account(stream) for stream in streams]


@few
@given(st.lists(pipelines(), min_size=6, max_size=6), st.integers(1, 2**32 - 1), st.data())
def test_a_position_is_good_in_another_interpreter(found: list[Pipeline], hash_seed: int, data: st.DataObject) -> None:
    streams: list[Stream[Any]] = []
    for pipeline in found:
        positions = [position for _, position in outcome(pipeline.stream.tracked)[0]]
        if positions:
            streams.append(pipeline.stream.at(data.draw(st.sampled_from(positions))))
    assert elsewhere(streams, hash_seed) == [account(stream) for stream in streams]
