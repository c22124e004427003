"""How fast what is cached is read again: shards from a folder, samples from a database."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.frame import Row, seconds_of
from streamwds import Stream, TarWriter, cache_samples, decode, tarsamples, urls

__all__ = ["rows"]

SHARDS, SAMPLES = 8, 2_000


def _write(folder: Path) -> str:
    """Shards of samples with 20 kB of noise, a vector, a text and a label."""
    noise = torch.randint(256, (20_000,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for shard in range(SHARDS):
        with TarWriter(folder / f"{shard:06d}.tar") as writer:
            for index in range(shard, SAMPLES, SHARDS):
                sample = {"jpg": noise.numpy().tobytes(), "npy": noise[:256].float().numpy(), "txt": "a cat", "cls": 7}
                writer.write({"__key__": f"{index:06d}", **sample})
    return str(folder / f"{{000000..{SHARDS - 1:06d}}}.tar")


class Ancestor:
    """webdataset 0.1's way: a row a sample, with what torch.save makes of it."""

    def __init__(self, path: Path, samples: Stream[dict[str, Any]]) -> None:
        self._db = sqlite3.connect(path)
        self._db.execute("create table cache (key text primary key, data blob)")
        for sample in samples:
            stream = io.BytesIO()
            torch.save(sample, stream)
            self._db.execute("insert into cache (key, data) values (?, ?)", (sample["__key__"], stream.getbuffer()))
        self._db.commit()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for (data,) in self._db.execute("select data from cache"):
            yield torch.load(io.BytesIO(data), weights_only=False)


def rows(folder: Path) -> Iterator[Row]:
    """The second epoch: of shards beside local files, of samples beside the ancestor's database."""
    pattern = _write(folder)
    local = urls(pattern) | tarsamples
    cached = urls(pattern) | tarsamples(cache=folder / "shards")
    for _ in cached:
        pass
    yield Row(
        "samples from the shard cache",
        {"streamwds, cached": seconds_of(cached.tracked), "streamwds, local files": seconds_of(local.tracked)},
        samples=SAMPLES,
        goal=("streamwds, local files", 0.91),
    )
    decoded = local | decode()
    kept = decoded | cache_samples(folder / "samples.db", SAMPLES)
    for _ in kept:
        pass
    ancestor = Ancestor(folder / "ancestor.db", decoded)
    yield Row(
        "samples from a database",
        {
            "streamwds": seconds_of(kept.tracked),
            "SQLite with torch.save": seconds_of(lambda: ancestor),
            "streamwds, from the shards": seconds_of(decoded.tracked),
        },
        samples=SAMPLES,
        goal=("SQLite with torch.save", 5),
    )
