"""Streams that are left anywhere leave nothing behind: no file, socket, thread, process or temporary file."""

from __future__ import annotations

import gc
import gzip
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest

from streamwds import Gopen, group_by_keys, open_shards, prefetch_shards, tarfiles, tarsamples, urls
from streamwds.shards import web
from tests.archives import archive
from tests.faults import Fault, Faults, Request
from tests.servers import nginx, s3

COUNT = 1000 if os.environ.get("STREAMWDS_PROFILE") == "deep" else 100
SHARDS = [archive([(b"%d.bin" % (20 * n + k), bytes([n]) * 20_000) for k in range(20)]) for n in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for n, data in enumerate(SHARDS):
        (folder / f"{n}.tar").write_bytes(data)
        (folder / f"{n}.tar.gz").write_bytes(gzip.compress(data, 1))
        with fsspec.open(f"memory://abandoned/{n}.tar", "wb") as file:
            file.write(data)
    return folder


@pytest.fixture(scope="module")
def bases(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, tuple[str, Gopen]]]:
    """For each scheme the pattern of four shards, and an opener."""

    def fault(request: Request) -> Fault | None:
        return Fault(cut=1 + request.number * 7919 % 500_000) if request.path.startswith("/cut") else None

    files = {f"/{kind}{n}.tar": data for kind in ("", "cut") for n, data in enumerate(SHARDS)}
    with (
        Faults(files, fault) as faults,
        nginx(folder, tmp_path_factory.mktemp("nginx") / "n") as web_server,
        s3("bucket") as store,
    ):
        stores = Gopen(storage_options=store)
        for n, data in enumerate(SHARDS):
            target = stores.create(f"s3://bucket/{n}.tar")
            target.write(data)
            target.publish()
        numbers = "{0..3}.tar"
        plain, pipes = Gopen(retries=100, patience=0.001), Gopen(allow_pipe=True)
        yield {
            "path": (f"{folder}/{numbers}", plain),
            "gzip": (f"{folder}/{numbers}.gz", plain),
            "file": (f"{folder.as_uri()}/{numbers}", plain),
            "pipe": (f"pipe:cat {folder}/{numbers}", pipes),
            "pipes": (f"pipe:gzip -1 < {folder}/{numbers} | cat", pipes),
            "http": (f"{web_server.url}/{numbers}", plain),
            "http, whole": (f"{web_server.url}/whole/{numbers}", plain),
            "http, cut": (f"{faults.url}/cut{numbers}", plain),
            "memory": (f"memory://abandoned/{numbers}", plain),
            "s3": (f"s3://bucket/{numbers}", stores),
        }
        web.forget_connections()
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def there(store: str) -> dict[str, Counter[str]]:
    """What this process holds and has left, but for connections that are kept for the next request: ours are closed
    first, and those that fsspec's library keeps with its store, in a pool of its own, are not counted.
    """
    gc.collect()
    web.forget_connections()
    children: Counter[str] = Counter()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                children[process.name] += 1
        except OSError:
            continue
    return {
        "files": descriptors(int(store.rpartition(":")[2])),
        "threads": Counter(thread.name for thread in threading.enumerate() if "process_request" not in thread.name),
        "children": children,
        "temporary": Counter(os.listdir(tempfile.gettempdir())),
    }


def descriptors(but: int) -> Counter[str]:
    """What is open, by name, but for connections with a server at this port."""
    lines = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    kept = {f"socket:[{line[9]}]" for line in lines if line[2].endswith(f":{but:04X}")}
    held: Counter[str] = Counter()
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:  # (the one that lists them)
            continue
        if target not in kept:
            held[target.partition(":[")[0]] += 1
    return held


@pytest.mark.needs("nginx")
def test_abandoned_anywhere(
    bases: Mapping[str, tuple[str, Gopen]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "getproxies", dict)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    rng = random.Random(seed)
    expected = [str(n) for n in range(80)]

    def stream_of(scheme: str) -> Any:
        pattern, opener = bases[scheme]
        ahead = rng.choice([0, 0, 1, 3])
        if rng.random() < 0.5:
            return urls(pattern) | tarsamples(opener=opener, prefetch=ahead)
        return urls(pattern) | open_shards(opener=opener) | prefetch_shards(ahead) | tarfiles | group_by_keys

    for scheme in bases:  # (what is made once stays: fsspec's loop, the connections of S3)
        assert [sample["__key__"] for sample in stream_of(scheme)] == expected
        next(iter(stream_of(scheme)))
    store = bases["s3"][1].storage_options["endpoint_url"]
    before = there(store)
    for turn in range(COUNT):
        scheme = rng.choice(list(bases))
        stream, place = stream_of(scheme), rng.randrange(-1, 80)
        samples = iter(stream) if rng.random() < 0.5 else (sample for sample, _ in stream.tracked())
        got = [next(samples)["__key__"] for _ in range(place + 1)]
        assert got == expected[: place + 1], scheme
        del samples
        if turn % 10 == 0:
            now = there(store)
            assert not (now["threads"] - before["threads"]) + (now["children"] - before["children"]), scheme
    for _ in range(100):
        more = {kind: found - before[kind] for kind, found in there(store).items()}
        if not more["files"]:
            break
        time.sleep(0.05)  # (the servers here close their ends of the connections)
    assert not any(more.values()), more
