"""What resuming costs: the time to the first batch, wherever it stopped, and the cost of carrying positions along.

The first batch is to come as soon at one place as at any other, and no later than it takes to fill one block of
`shuffle`, for that is read again. The peer can only skip what it has read already, from the start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import webdataset

from benchmarks.frame import Row, seconds_of
from streamwds import (
    Stream,
    TarWriter,
    batched,
    decode,
    shuffle,
    shuffle_shards,
    split_by_worker,
    tarsamples,
    urls,
)

__all__ = ["rows"]

SHARDS, SAMPLES, BLOCK, BATCH = 8, 40_000, 1000, 32
PLACES = (0.1, 0.5, 0.9)


def _write(folder: Path, suffix: str) -> str:
    """Shards of samples with a text of 1 kB and a label."""
    for shard in range(SHARDS):
        with TarWriter(folder / f"{shard}{suffix}") as writer:
            for index in range(shard, SAMPLES, SHARDS):
                writer.write({"__key__": f"{index:06d}", "txt": f"{index:08d}" * 125, "cls": index % 10})
    return str(folder / f"{{0..{SHARDS - 1}}}{suffix}")


def _stream(pattern: str) -> Stream[Any]:
    samples = urls(pattern) | shuffle_shards | split_by_worker | tarsamples | decode()
    return samples | shuffle(BLOCK, initial=BLOCK) | batched(BATCH)


def _until_first(make: Callable[[], Iterator[object]]) -> Callable[[], float]:
    """The contender that makes an iterator and waits for its first item."""

    def contender() -> float:
        start = time.perf_counter()
        next(make())
        return time.perf_counter() - start

    return contender


def _resumed(stream: Stream[Any], position: str) -> Callable[[], float]:
    return _until_first(lambda: stream.at(json.loads(position)).tracked())


def _skipped(pattern: str, batches: int) -> Callable[[], float]:
    def skipping() -> Iterator[object]:
        samples = webdataset.WebDataset(pattern, shardshuffle=False).shuffle(BLOCK, initial=BLOCK).decode()
        return islice(samples.batched(BATCH), batches, None)

    return _until_first(skipping)


def _places(stream: Stream[Any]) -> tuple[int, dict[float, str]]:
    """How many batches an epoch has, and the positions, as JSON, in the middle of the blocks at these places in it."""
    found = [json.dumps(position) for _, position in stream.tracked()]
    return len(found), {place: found[int(place * len(found)) + BLOCK // BATCH // 2] for place in PLACES}


def rows(folder: Path) -> Iterator[Row]:
    """Plain shards, where all places are alike, with goals; compressed ones, which are read from their start."""
    pattern = _write(folder, ".tar")
    stream = _stream(pattern)
    batches, at = _places(stream)
    late, middle, early = (_resumed(stream, at[place]) for place in reversed(PLACES))
    work = f"first batch after resuming (a position has {len(at[0.9])} bytes)"
    flat = 1 / 1.3
    yield Row(f"{work}: late and early", {"at 90 %": late, "at 10 %": early}, goal=("at 10 %", flat))
    yield Row("late and in the middle", {"at 90 %": late, "at 50 %": middle}, goal=("at 50 %", flat))
    yield Row("early and late", {"at 10 %": early, "at 90 %": late}, goal=("at 90 %", flat))
    yield Row("early and in the middle", {"at 10 %": early, "at 50 %": middle}, goal=("at 50 %", flat))
    block = {"at 50 %": middle, "filling one shuffle block": _until_first(stream.tracked)}
    yield Row(
        "resuming and beginning", block, goal=("filling one shuffle block", 1 / 1.05)
    )  # (the same, but for noise)
    skipped = {f"webdataset, {place:.0%} skipped": _skipped(pattern, int(place * batches)) for place in PLACES}
    yield Row("resuming and skipping", {"at 90 %": late, **skipped})

    compressed = _stream(_write(folder, ".tar.gz"))
    _, at = _places(compressed)
    contenders = {f"at {place:.0%}": _resumed(compressed, at[place]) for place in PLACES}
    yield Row("the same, .tar.gz", {**contenders, "from the start": _until_first(compressed.tracked)})

    small = urls(pattern) | tarsamples
    contenders = {"tracked": seconds_of(small.tracked), "plain": seconds_of(lambda: small)}
    yield Row("positions with all samples", contenders, samples=SAMPLES, goal=("plain", 1 / 1.25))
