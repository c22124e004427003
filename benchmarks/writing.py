"""How fast samples go into shards, plain and through gzip; and how fast they come out of gzip again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import webdataset

from benchmarks.frame import Row, seconds_of
from streamwds import TarWriter, tarsamples, urls

__all__ = ["rows"]

SMALL, PHOTOS = 20_000, 600

Samples = Sequence[Mapping[str, Any]]


def _small() -> Samples:
    """A text of 100 bytes and a label."""
    text = b"x" * 100
    return [{"__key__": f"{n:06d}", "txt": text, "cls": str(n % 10).encode()} for n in range(SMALL)]


def _photos() -> Samples:
    """What can't be compressed any more, of 46 kB each, a label, and a little JSON."""
    random = Random(0)
    return [
        {
            "__key__": f"{n:06d}",
            "jpg": random.randbytes(random.randrange(30_000, 62_000)),
            "cls": b"7",
            "json": b"{}" * 60,
        }
        for n in range(PHOTOS)
    ]


def _writing(path: Path, samples: Samples, writer: Callable[..., Any], **options: Any) -> Callable[[], float]:
    """The contender that writes the samples to a new file, with a writer of bytes."""

    def contender() -> float:
        path.unlink(missing_ok=True)
        start = time.perf_counter()
        with writer(str(path), encoder=False, **options) as shard:
            for sample in samples:
                shard.write(sample)
        return time.perf_counter() - start

    return contender


def rows(folder: Path) -> Iterator[Row]:
    """Small samples, where the time goes into headers, and photographs, where it goes into memory; then deflate."""
    small, photos = _small(), _photos()
    for work, samples, goal in (("100 B txt + cls", small, 40), ("46 kB jpg + cls + json", photos, 7)):
        contenders = {
            "streamwds": _writing(folder / "ours.tar", samples, TarWriter),
            "webdataset": _writing(folder / "theirs.tar", samples, webdataset.TarWriter),
        }
        yield Row(f"TarWriter: {work}", contenders, samples=len(samples), goal=("webdataset", goal))
    for work, samples in (("100 B txt + cls", small), ("46 kB jpg + cls + json", photos[:100])):
        contenders = {
            "streamwds": _writing(folder / "ours.tar.gz", samples, TarWriter),
            "streamwds, zlib's level 6": _writing(folder / "zlib.tar.gz", samples, TarWriter, compress=("gz", 6)),
            "webdataset": _writing(folder / "theirs.tar.gz", samples, webdataset.TarWriter),
        }
        yield Row(f"TarWriter, .tar.gz: {work}", contenders, samples=len(samples), goal=("webdataset", 2))
    _writing(folder / "small.tar.gz", small, TarWriter)()
    pattern = str(folder / "small.tar.gz")
    contenders = {
        "streamwds": seconds_of((urls(pattern) | tarsamples).tracked),
        "webdataset": seconds_of(lambda: webdataset.WebDataset(pattern, shardshuffle=False)),
    }
    yield Row("raw samples, .tar.gz: 100 B txt + cls", contenders, samples=SMALL, goal=("webdataset", 2))
