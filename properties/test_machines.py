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

import streamwds as wds
from properties.strategies import Pipeline, as_sample, contexts, outcome, partner, pipelines
from streamwds import Stream, everywhere, shuffle
from streamwds.position import digest

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


def pinned() -> list[Stream[Any]]:
    """Streams of all stages that leave something to chance, count or digest: what they give is the same for good."""
    numbers, names = range(200), [f"https://example.org/{n:03}.tar?signed" for n in range(30)]
    samples = numbers | wds.map(as_sample)
    readers = [{"rank": rank, "world_size": 2, "worker": worker, "workers": 2} for rank in (0, 1) for worker in (0, 1)]
    split = [
        names | wds.shuffle_shards | wds.split_by_node | wds.split_by_worker,
        names | wds.resampled(3) | wds.with_epoch(20),
        samples | wds.split_samples | wds.rsample(0.4) | wds.shuffle(20) | wds.fraction(0.1, 0.9),
        wds.mix(
            [numbers | wds.split_samples | wds.repeat(2), numbers | wds.split_samples | wds.shuffle(9)], weights=[2, 1]
        ),
        [list(range(n)) for n in range(20)] | wds.split_by_node | wds.everywhere | wds.interleave(wds.unbatched, 4),
    ]
    alone = [
        wds.round_robin([samples, samples | wds.shuffle(7)]) | wds.batched(4) | wds.shuffle(3, seed=2) | wds.unbatched,
        wds.zip_([numbers, wds.chain([numbers, names])], stop="last") | wds.slice(3, 150, 2),
        samples | wds.join(numbers | wds.map(partner)) | wds.to_tuple("__key__", "more") | wds.equalize(230),
    ]
    several = [stream.within(seed=5, epoch=2, **reader) for stream in split for reader in readers]
    rest = wds.redistribute(split[2], [list(stream.tracked())[3][1] for stream in several[8:12]])
    return [*alone, *several, rest.within(rank=0, world_size=3)]


def test_what_is_pinned_is_the_same_whatever_interpreter_runs_this() -> None:
    """Python, numpy and the machine may be any. Changing this changes the order of everybody's data."""
    assert digest([account(stream) for stream in pinned()]) == "23f24d6b6dc89d54"


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
