"""How fast samples come out of shards, undecoded."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import webdataset

from benchmarks.frame import Row, seconds_of
from streamwds import TarWriter, tarsamples, urls

__all__ = ["SAMPLES", "rows", "write_small"]

SHARDS, SAMPLES = 4, 20_000


def write_small(folder: Path) -> str:
    """Shards of samples with a text of 100 bytes and a label."""
    text = b"x" * 100
    for shard in range(SHARDS):
        with TarWriter(folder / f"small-{shard:06d}.tar", encoder=False) as writer:
            for index in range(shard, SAMPLES, SHARDS):
                writer.write({"__key__": f"{index:06d}", "txt": text, "cls": str(index % 10).encode()})
    return str(folder / f"small-{{000000..{SHARDS - 1:06d}}}.tar")


def _members(folder: Path) -> Iterator[bytes]:
    """The bytes of all members, by the standard library, which puts no samples together."""
    for path in sorted(folder.glob("small-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None:
                    yield file.read()


def rows(folder: Path) -> Iterator[Row]:
    """Small samples, where the time goes into the format; ours with positions, as training reads them, and without."""
    pattern = write_small(folder)
    stream = urls(pattern) | tarsamples
    contenders = {
        "streamwds": seconds_of(stream.tracked),
        "streamwds, untracked": seconds_of(lambda: stream),
        "webdataset": seconds_of(lambda: webdataset.WebDataset(pattern, shardshuffle=False)),
        "tarfile, not grouped": seconds_of(lambda: _members(folder)),
    }
    yield Row("raw samples: 100 B txt + cls", contenders, samples=SAMPLES)
