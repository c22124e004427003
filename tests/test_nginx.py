"""Shards from a real web server, which is also stopped in the middle."""

from __future__ import annotations

import gzip
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwds import Gopen, tarsamples, urls
from streamwds.errors import ChangedError, OpenError
from streamwds.shards import web
from streamwds.testing import check_resume
from tests.archives import archive
from tests.servers import Nginx, nginx

pytestmark = pytest.mark.needs("nginx")

RNG = random.Random(5)
SHARDS = [archive([(b"%d.bin" % (100 * n + k), RNG.randbytes(4000)) for k in range(100)]) for n in range(3)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for n, data in enumerate(SHARDS):
        (root / f"{n}.tar").write_bytes(data)
        (root / f"{n}.tar.gz").write_bytes(gzip.compress(data, 1))
    return root


@pytest.fixture
def server(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nginx]:
    monkeypatch.setattr(web, "getproxies", dict)
    with nginx(root, tmp_path / "nginx") as running:
        yield running
        web.forget_connections()


def keys(samples: object) -> list[str]:
    return [sample["__key__"] for sample in samples]  # type: ignore[attr-defined]


ALL = [str(100 * n + k) for n in range(3) for k in range(100)]


@pytest.mark.parametrize("place", ["", "whole/", "packed/", "moved/"])
@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_every_way_of_serving(server: Nginx, place: str, suffix: str) -> None:
    names = urls(f"{server.url}/{place}{{0..2}}.{suffix}")
    stream = names | tarsamples
    assert keys(stream) == keys(names | tarsamples(prefetch=2)) == ALL
    assert check_resume(stream, places=[0, 50, 99, 150, 298, 299]) == 6


def test_resuming_asks_for_what_is_missing(server: Nginx) -> None:
    stream = urls(f"{server.url}/{{0..2}}.tar") | tarsamples
    position = list(stream.tracked())[149][1]
    before = len(server.asked())
    assert keys(stream.at(position)) == ALL[150:]
    server.stop()  # (it writes its log when it answers, and then it has)
    first, last = server.asked()[before:]
    assert first.split()[:4] == ["GET", "/1.tar", f"bytes={50 * 4608}-", "206"]
    assert last.split()[:4] == ["GET", "/2.tar", "-", "200"]


def test_a_server_that_is_started_again_in_the_middle(server: Nginx) -> None:
    stream = iter(urls(f"{server.url}/slow/{{0..2}}.tar") | tarsamples(opener=Gopen(patience=0.1, retries=200)))
    samples = [next(stream) for _ in range(10)]
    server.stop()
    threading.Timer(0.3, server.start).start()
    samples += stream
    assert keys(samples) == ALL
    assert b"".join(sample["bin"] for sample in samples) == b"".join(
        sample["bin"] for sample in urls(f"{server.url}/{{0..2}}.tar") | tarsamples
    )
    ranges = [line.split()[2] for line in server.asked() if "/slow/0.tar" in line]
    assert ranges  # (of what it was answering when it was stopped, it wrote nothing down)
    assert all(asked.startswith("bytes=") for asked in ranges)


def test_a_shard_that_is_written_anew_in_the_middle(root: Path, server: Nginx) -> None:
    (root / "new.tar").write_bytes(SHARDS[0])
    stream = iter(urls(f"{server.url}/slow/new.tar") | tarsamples(opener=Gopen(patience=0.1, retries=200)))
    samples = [next(stream) for _ in range(10)]
    server.stop()
    (root / "new.tar").write_bytes(SHARDS[1] + bytes(1024))
    server.start()
    with pytest.raises(ChangedError, match="ETag"):
        samples.extend(stream)
    assert keys(samples) == ALL[: len(samples)]


def test_what_is_not_there(server: Nginx) -> None:
    with pytest.raises(OpenError, match="404 Not Found"):
        list(urls(f"{server.url}/no.tar") | tarsamples)
