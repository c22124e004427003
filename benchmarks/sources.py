"""How fast shards come from servers: nginx on loopback beside the ancestor's curl, and stores that answer late.

The stores are ours (`tests/faults.py`), in processes of their own: each answer waits for its delay, and all together
come at 200 MB/s.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

import webdataset

from benchmarks.frame import Contender, Row, seconds_of
from streamwds import Stream, TarWriter, batched, tarsamples, urls
from tests.servers import free_port, nginx

__all__ = ["rows"]

SMALL, SAMPLES = 32, 512  # shards, and samples in each
LARGE, SIZE = 64, 16 << 20  # shards, and bytes of each

STORE = """
import sys, time
from pathlib import Path
from tests.faults import Faults
folder, port, delay, rate = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
files = {f"/{path.name}": path.read_bytes() for path in folder.glob("*.tar")}
with Faults(files, delay=delay, rate=rate, port=port):
    sys.stdin.read()
"""


@contextlib.contextmanager
def store(folder: Path, delay: float) -> Generator[str]:
    """A store that waits before each answer; its URL."""
    port = free_port()
    command = [sys.executable, "-c", STORE, str(folder), str(port), str(delay), "200e6"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        time.sleep(1.0)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.communicate()


def _write_small(folder: Path) -> None:
    """Shards of samples with a text of 100 bytes and a label."""
    folder.mkdir()
    for shard in range(SMALL):
        with TarWriter(folder / f"{shard:02d}.tar", encoder=False) as writer:
            for index in range(SAMPLES):
                writer.write({"__key__": f"{index:06d}", "txt": b"x" * 100, "cls": str(index % 10).encode()})


def _write_large(folder: Path) -> None:
    """One shard of photographs' size, many times."""
    folder.mkdir()
    with TarWriter(folder / "00.tar", encoder=False) as writer:
        for index in range(SIZE // 49_000):
            writer.write({"__key__": f"{index:06d}", "jpg": bytes([index % 251]) * 46_000, "cls": b"1"})
    for shard in range(1, LARGE):
        (folder / f"{shard:02d}.tar").hardlink_to(folder / "00.tar")


def first_batch(stream: Stream[object], place: float) -> Contender:
    """Resumes at a place of the epoch, twenty times, for the time that the first batch takes.

    (Wherever it is, it is the same place of a shard, for what is left of one has an influence, too.)
    """
    number = (round(place * SMALL) * SAMPLES + SAMPLES // 4) // 32
    _, position = next(islice(stream.tracked(), number, None))

    def contender() -> float:
        start = time.perf_counter()
        for _ in range(20):
            next(iter(stream.at(position)))
        return (time.perf_counter() - start) / 20

    return contender


def rows(folder: Path) -> Iterator[Row]:
    """nginx with small shards; a delay that reading ahead hides; resuming, which takes as long anywhere."""
    _write_small(folder / "small")
    with nginx(folder / "small", folder / "nginx") as server:
        pattern = f"{server.url}/{{00..{SMALL - 1:02d}}}.tar"
        stream = urls(pattern) | tarsamples
        contenders = {
            "streamwds": seconds_of(stream.tracked),
            "streamwds, 2 ahead": seconds_of((urls(pattern) | tarsamples(prefetch=2)).tracked),
            "webdataset (curl)": seconds_of(lambda: webdataset.WebDataset(pattern, shardshuffle=False)),
        }
        total = SMALL * SAMPLES
        yield Row("small shards from nginx", contenders, samples=total, goal=("webdataset (curl)", 3.0))

        batches = stream | batched(32)
        resumed = {f"at {place:.0%}": first_batch(batches, place) for place in (0.9, 0.1, 0.5)}
        yield Row("first batch after resuming, over nginx", resumed, goal=("at 10%", 1 / 1.3))

    _write_large(folder / "large")
    with store(folder / "large", 0.05) as late, store(folder / "large", 0.0) as prompt:
        names = f"{{00..{LARGE - 1:02d}}}.tar"
        contenders = {
            "50 ms, 4 ahead": seconds_of((urls(f"{late}/{names}") | tarsamples(prefetch=4)).tracked),
            "no delay, 4 ahead": seconds_of((urls(f"{prompt}/{names}") | tarsamples(prefetch=4)).tracked),
            "50 ms, none ahead": seconds_of((urls(f"{late}/{names}") | tarsamples).tracked),
        }
        yield Row(f"{LARGE} shards of 16 MB from a store", contenders, goal=("no delay, 4 ahead", 1 / 1.2))
