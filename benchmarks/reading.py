"""How fast samples come out of shards, undecoded, and how much memory that takes."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import webdataset

from benchmarks.frame import Contender, Row, installed, seconds_of
from streamwds import TarWriter, tarsamples, urls

__all__ = ["SMALL", "rows", "small", "write"]

SMALL, IRREGULAR, PAX, PHOTOS = 20_000, 20_000, 10_000, 4_000
PHOTO = 46_000  # bytes


def small(count: int = SMALL) -> Iterator[dict[str, Any]]:
    """A text of 100 bytes and a label."""
    return ({"__key__": f"{n:06d}", "txt": b"x" * 100, "cls": b"%d" % (n % 10)} for n in range(count))


def _irregular() -> Iterator[dict[str, Any]]:
    """The same, but a tenth of the fields is missing."""
    random = Random(0)
    for sample in small(IRREGULAR):
        yield {name: value for name, value in sample.items() if name[0] == "_" or random.random() < 0.9} | {
            "id": b"there is always one"
        }


def _photos(count: int = PHOTOS) -> Iterator[dict[str, Any]]:
    """What a photograph of 46 kB, a label, and some JSON take."""
    random = Random(0)
    noise = random.randbytes(1 << 20)
    for n in range(count):
        start = random.randrange(len(noise) - PHOTO * 2)
        size = PHOTO + random.randrange(-PHOTO // 3, PHOTO // 3)
        yield {"__key__": f"{n:06d}", "jpg": noise[start : start + size], "cls": b"7", "json": b'{"n": %06d}' % n}


def write(path: Path, samples: Iterable[Mapping[str, Any]]) -> str:
    with TarWriter(path, encoder=False) as writer:
        for sample in samples:
            writer.write(sample)
    return str(path)


def _write_pax(path: Path) -> str:
    """A pax header before every member, as tars of files with fractions of seconds have."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for sample in small(PAX):
            for field in ("cls", "txt"):
                info = tarfile.TarInfo(f"{sample['__key__']}.{field}")
                info.size = len(sample[field])
                info.pax_headers = {"mtime": "1700000000.5"}
                tar.addfile(info, io.BytesIO(sample[field]))
    return str(path)


def _against_webdataset(path: str, *, suffix: str | None = None) -> dict[str, Contender]:
    """Ours with positions, as training reads them, and without; and webdataset."""
    stream = urls(path) | (tarsamples if suffix is None else tarsamples(suffixes={suffix}))
    chosen = {} if suffix is None else {"select_files": lambda name: name.endswith(f".{suffix}")}
    return {
        "streamwds": seconds_of(lambda: stream),
        "streamwds, tracked": seconds_of(stream.tracked),
        "webdataset": seconds_of(lambda: webdataset.WebDataset(path, shardshuffle=False, **chosen)),
    }


def _members(path: str) -> Iterator[bytes]:
    """The bytes of all members, by the standard library, which puts no samples together."""
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                yield file.read()


def _spdl(path: str) -> Callable[[], Iterable[object]]:
    """SPDL's iterator in C++, over bytes that are in memory: members, not grouped."""
    from spdl.io import iter_tarfile

    data = Path(path).read_bytes()
    return lambda: iter_tarfile(data)


def _litdata(folder: Path) -> Callable[[], Iterable[object]]:
    """The same samples in litdata's own format."""
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for n, sample in enumerate(small()):
        writer[n] = sample
    writer.done()
    writer.merge()
    dataset = StreamingDataset(str(folder))
    return lambda: dataset


def _peak(path: str) -> Contender:
    """What reading a shard adds to the memory of a process that has imported us, mapped pages counted; in bytes."""
    code = """
import sys
from collections import deque
from streamwds import tarsamples, urls

def status(name):
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

before = status("VmRSS:")
open("/proc/self/clear_refs", "w").write("5")  # (the peak counts from here)
deque(urls(sys.argv[1]) | tarsamples, maxlen=0)
print(status("VmHWM:") - before)
"""
    return lambda: float(subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True).stdout)


def rows(folder: Path) -> Iterator[Row]:
    """Small samples, where the time goes into the format, and photographs, where it goes into memory."""
    path = write(folder / "small.tar", small())
    contenders = _against_webdataset(path)
    yield Row("raw samples: 100 B txt + cls", contenders, samples=SMALL, goal=("webdataset", 75))
    contenders = {name: contenders[name] for name in ("streamwds, tracked", "webdataset")}
    yield Row("the same, tracked", contenders, samples=SMALL, goal=("webdataset", 65))
    others: dict[str, Contender] = {"streamwds": seconds_of(lambda: urls(path) | tarsamples)}
    if installed("spdl"):
        others["SPDL, not grouped"] = seconds_of(_spdl(path))
    others["tarfile, not grouped"] = seconds_of(lambda: _members(path))
    yield Row("the same members", others, samples=2 * SMALL, goal=("SPDL, not grouped", 1.8))
    if installed("litdata"):
        others = {"streamwds": others["streamwds"], "litdata, its own format": seconds_of(_litdata(folder / "lit"))}
        yield Row("the same samples", others, samples=SMALL, goal=("litdata, its own format", 6))
    for work, path, count, goal in (
        ("a tenth of the fields missing", write(folder / "irregular.tar", _irregular()), IRREGULAR, 20),
        ("a pax header before every file", _write_pax(folder / "pax.tar"), PAX, 15),
        ("raw samples: 46 kB jpg + cls + json", write(folder / "photos.tar", _photos()), PHOTOS, 11),
    ):
        yield Row(work, _against_webdataset(path), samples=count, goal=("webdataset", goal))
    photos = str(folder / "photos.tar")
    work = "of these, suffixes={'cls'} (select_files)"
    yield Row(work, _against_webdataset(photos, suffix="cls"), samples=PHOTOS, goal=("webdataset", 30))
    large = write(folder / "large.tar", _photos(2 * 10**9 // (PHOTO + 3_000)))
    little = write(folder / "little.tar", _photos(20 * 10**6 // (PHOTO + 3_000)))
    peaks = {"a shard of 2 GB": _peak(large), "a shard of 20 MB": _peak(little)}
    yield Row("peak memory", peaks, unit="MB", scale=1e-6, goal=("a shard of 20 MB", 1 / 1.2))
    Path(large).unlink()
