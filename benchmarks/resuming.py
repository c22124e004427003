"""What resuming costs: the time to the first batch, wherever it stopped, and the cost of carrying positions along.

The first batch is to come as soon at one place as at any other, and no later than it takes to fill one block of
`shuffle`, for that is read again. The peer can only skip what it has read already, from the start.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import webdataset

from benchmarks.frame import Row, seconds_of
from benchmarks.reading import SMALL, small, write
from streamwds import (
    Stream,
    TarWriter,
    decode,
    shuffle,
    shuffle_shards,
    split_by_worker,
    tarsamples,
    urls,
)

__all__ = ["rows"]

SHARDS, SAMPLES, BLOCK, BATCH = 8, 41_000, 1000, 32
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
    return samples | shuffle(BLOCK, initial=BLOCK)


def _until_batch(*make: Callable[[], Iterator[object]], times: int = 5) -> Callable[[], float]:
    """The contender that makes an iterator and waits for a batch of it: the shortest of some times, if it is short.

    Of several iterators, the mean.
    """

    def once(one: Callable[[], Iterator[object]]) -> float:
        start = time.perf_counter()
        deque(islice(one(), BATCH), maxlen=0)
        return time.perf_counter() - start

    return lambda: statistics.mean(min(once(one) for _ in range(times)) for one in make)


def _resumed(stream: Stream[Any], found: list[str], place: float, given: int = BLOCK // 2) -> Callable[[], float]:
    """The contender that resumes about there: in some blocks that follow each other, so many samples of each given."""
    first = int(place * len(found)) // BLOCK
    return _until_batch(*(partial(_at, stream, found[block * BLOCK + given - 1]) for block in range(first, first + 4)))


def _at(stream: Stream[Any], position: str) -> Iterator[object]:
    return stream.at(json.loads(position)).tracked()


def _skipped(pattern: str, samples: int) -> Callable[[], float]:
    def skipping() -> Iterator[object]:
        stream = webdataset.WebDataset(pattern, shardshuffle=False).shuffle(BLOCK, initial=BLOCK).decode()
        return islice(stream, samples, None)

    return _until_batch(skipping, times=1)


def _positions(stream: Stream[Any]) -> list[str]:
    """The positions behind all samples, as JSON."""
    return [json.dumps(position) for _, position in stream.tracked()]


def rows(folder: Path) -> Iterator[Row]:
    """Plain shards, where all places are alike, with goals; compressed ones, which are read from their start."""
    pattern = _write(folder, ".tar")
    stream = _stream(pattern)
    found = _positions(stream)
    early, middle, late = (_resumed(stream, found, place) for place in PLACES)
    work = f"first batch after resuming (a position has {len(found[-1])} bytes)"
    flat = 1 / 1.3
    yield Row(f"{work}: late and early", {"at 90 %": late, "at 10 %": early}, goal=("at 10 %", flat))
    yield Row("late and in the middle", {"at 90 %": late, "at 50 %": middle}, goal=("at 50 %", flat))
    yield Row("early and late", {"at 10 %": early, "at 90 %": late}, goal=("at 90 %", flat))
    yield Row("early and in the middle", {"at 10 %": early, "at 50 %": middle}, goal=("at 50 %", flat))
    # Resumed in the middle of a block, the next one is filled in half the time: by 64 samples with the first batch.
    block = {"in the middle of a block": middle, "filling that block": _resumed(stream, found, 0.5, given=0)}
    yield Row("resuming and filling one shuffle block", block, goal=("filling that block", 1 / 1.1))
    # (a batch that reaches into the next block waits for that to be filled as well, as it does in any run)
    edge = {"two batches before a block's end": _resumed(stream, found, 0.5, given=BLOCK - 2 * BATCH), **block}
    yield Row("resuming near the end of a block", edge, goal=("filling that block", 1 / 1.1))
    skipped = {f"webdataset, {place:.0%} skipped": _skipped(pattern, int(place * len(found))) for place in PLACES}
    yield Row("resuming and skipping", {"at 90 %": late, **skipped})

    compressed = _stream(_write(folder, ".tar.gz"))
    found = _positions(compressed)
    contenders = {f"at {place:.0%}": _resumed(compressed, found, place) for place in PLACES}
    yield Row("the same, .tar.gz", {**contenders, "from the start": _until_batch(compressed.tracked)})

    tiny = urls(write(folder / "tiny.tar", small())) | tarsamples
    contenders = {"tracked": seconds_of(tiny.tracked), "plain": seconds_of(lambda: tiny)}
    yield Row("positions with all samples, 100 B txt + cls", contenders, samples=SMALL, goal=("plain", 1 / 1.25))
