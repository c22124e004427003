"""How fast photographs become batches of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import webdataset

from benchmarks.frame import Row, seconds_of
from streamwds import batched, decode, tarsamples, urls
from streamwds.demo import make_shards

__all__ = ["rows"]

SAMPLES = 320


def rows(folder: Path) -> Iterator[Row]:
    """The photographs of the demo, JPEG of 500 × 375."""
    pattern = make_shards(folder, SAMPLES)
    stream = urls(pattern) | tarsamples | decode("rgb") | batched(32)
    contenders = {
        "streamwds": seconds_of(stream.tracked),
        "webdataset": seconds_of(lambda: webdataset.WebDataset(pattern, shardshuffle=False).decode("rgb").batched(32)),
    }
    yield Row('decode("rgb") | batched(32)', contenders, samples=SAMPLES)
