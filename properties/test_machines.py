"""The same everywhere: another process with another PYTHONHASHSEED gives the same items at the same positions.

`make pythons` runs this under every other Python that is found, where what is pinned must be the same, too.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import numpy as np
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


def with_words(sample: wds.Sample, rng: np.random.Generator) -> wds.Sample:
    """The sample with raw words of its generator, which no release of numpy changes."""
    return {**sample, "words": rng.bit_generator.random_raw(2).tolist()}


def words(key: str, data: bytes, rng: np.random.Generator) -> Any:
    return rng.bit_generator.random_raw(3).tolist() if key == ".txt" else None


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
    drawing = samples | wds.shuffle(30)
    drawn = [
        drawing | wds.map(with_words, rng=True) | wds.batched(8) | wds.repeat(2),
        drawing | wds.decode(words, rng=True, seed=1, threads=2) | wds.batched(8),
        drawing | wds.decode(words, rng=True, seed=1) | wds.batched(8),
    ]
    several = [stream.within(seed=5, epoch=2, **reader) for stream in split for reader in readers]
    rest = wds.redistribute(split[2], [list(stream.tracked())[3][1] for stream in several[8:12]])
    return [*alone, *several, rest.within(rank=0, world_size=3), *(stream.within(epoch=3) for stream in drawn)]


def account_of_the_pinned() -> str:
    """All that the pinned streams give, at which positions, and how they look, as a digest."""
    return digest([account(stream) for stream in pinned()])


PINNED = "3517959154228f3e"
"""Changing this changes the order of everybody's data. (Python, numpy and the machine may be any.)"""


def test_what_is_pinned_is_the_same_whatever_interpreter_runs_this() -> None:
    assert account_of_the_pinned() == PINNED


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_what_is_pinned_is_the_same_whatever_hashes_are(hash_seed: str) -> None:
    code = "import warnings; warnings.simplefilter('ignore'); import properties.test_machines as here;"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} print(here.account_of_the_pinned())"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == PINNED, done.stderr


@pytest.mark.parametrize("method", get_all_start_methods())
def test_what_is_pinned_is_the_same_however_a_process_starts(method: str) -> None:
    with get_context(method).Pool(1) as pool:
        assert pool.apply(account_of_the_pinned) == PINNED


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
