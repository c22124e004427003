"""How fast local shards are indexed, and how fast samples come out of them in random order, undecoded."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from wids.wids import IndexedTarSamples

from benchmarks.frame import Row, seconds_of
from streamwds import ShardFile, TarWriter

__all__ = ["rows"]

WORKS = {"100 B txt + cls": ("txt", 100, 20_000), "46 kB jpg + cls": ("jpg", 46_000, 2_000)}


class TarFile:
    """The standard library's way: members are listed once, and grouped by their names."""

    def __init__(self, path: Path) -> None:
        self.tar = tarfile.open(path)  # noqa: SIM115
        self.samples = [list(members) for _, members in groupby(self.tar, lambda member: member.name.split(".")[0])]

    def __getitem__(self, number: int) -> dict[str, bytes]:
        files = {member.name.partition(".")[2]: self.tar.extractfile(member) for member in self.samples[number]}
        return {field: file.read() for field, file in files.items() if file is not None}

    def close(self) -> None:
        self.tar.close()


def wids(path: Path) -> Any:
    return IndexedTarSamples(path=path)


def _opened(opener: Callable[[Path], Any], path: Path) -> Iterator[None]:
    opener(path).close()
    yield


def _in_order(opener: Callable[[Path], Any], path: Path, order: Sequence[int]) -> Iterable[Any]:
    return map(opener(path).__getitem__, order)


def _write(path: Path, field: str, size: int, count: int) -> None:
    with TarWriter(path, encoder=False) as writer:
        for number in range(count):
            writer.write({"__key__": f"{number:06d}", field: bytes(size), "cls": b"7"})


def rows(folder: Path) -> Iterator[Row]:
    """Indexing a shard, or loading the index that is kept beside it; and all its samples in random order."""
    for work, (field, size, count) in WORKS.items():
        path, kept = folder / f"{field}.tar", folder / f"{field}-kept.tar"
        _write(path, field, size, count)
        _write(kept, field, size, count)
        ShardFile(kept, save=True).close()
        openers: dict[str, tuple[Callable[[Path], Any], Path]] = {
            "streamwds": (ShardFile, path),
            "streamwds, kept": (ShardFile, kept),
            "wids": (wids, path),
            "tarfile": (TarFile, path),
        }
        yield Row(
            f"indexing: {work}",
            {name: seconds_of(partial(_opened, *opener)) for name, opener in openers.items()},
            samples=count,
        )
        del openers["streamwds, kept"]
        order = random.Random(0).sample(range(count), count)
        yield Row(
            f"random access: {work}",
            {name: seconds_of(partial(_in_order, *opener, order)) for name, opener in openers.items()},
            samples=count,
        )
