"""Reading ahead: the same items and positions, sooner; how much is held, and that nothing is left running."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import pytest

from streamwds import (
    Gopen,
    group_by_keys,
    ignore_and_continue,
    open_shards,
    prefetch_shards,
    tarfiles,
    tarsamples,
    urls,
)
from streamwds.errors import OpenError, SkippedWarning, SourceError, TarError
from streamwds.shards.prefetching import BUFFER
from streamwds.testing import check_resume
from tests.archives import archive
from tests.faults import Fault, Faults
from tests.processes import forked

CATS = [archive([(b"%d.bin" % (10 * n + k), bytes([n]) * 1000) for k in range(4)]) for n in range(6)]
NAMES = [f"{n}.tar" for n in range(6)]


class Store:
    """Keeps shards in memory, and notes when each is opened and closed."""

    def __init__(self, contents: dict[str, bytes], hold: Callable[[str], object] = lambda url: None) -> None:
        self.contents = contents
        self.hold = hold
        self.opened: list[tuple[str, int]] = []
        self.files: list[Any] = []

    def __call__(self, url: str, offset: int = 0) -> BinaryIO:
        self.opened.append((url, offset))
        self.hold(url)
        if url not in self.contents:
            raise OpenError("it is not there", url=url)
        file = io.BytesIO(self.contents[url][offset:])
        self.files.append(file)
        return file

    def jumps(self, url: str) -> bool:
        return True


def store(hold: Callable[[str], object] = lambda url: None) -> Store:
    return Store(dict(zip(NAMES, CATS)), hold)


OLDER: set[threading.Thread] = set()  # (an earlier test's may end at any time, when its garbage is collected)


@pytest.fixture(autouse=True)
def _threads_of_this_test() -> None:
    OLDER.clear()
    OLDER.update(threading.enumerate())


def threads() -> int:
    return sum(thread.name == "streamwds-prefetch" for thread in set(threading.enumerate()) - OLDER)


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread will do."""
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it does not happen")


def ways(opener: Any, n: int, **options: Any) -> tuple[Any, Any]:
    parts = open_shards(opener=opener, **options) | prefetch_shards(n) | tarfiles(**options) | group_by_keys(**options)
    return tarsamples(opener=opener, prefetch=n, **options), parts


# ---- the same


@pytest.mark.parametrize("n", [0, 1, 2, 5, 6, 100])
def test_items_and_positions_are_the_same(n: int) -> None:
    for way, without in zip(ways(store(), n), ways(store(), 0)):
        assert list((urls(NAMES) | way).tracked()) == list((urls(NAMES) | without).tracked())
        assert check_resume(urls(NAMES) | way) == 24
    assert threads() == 0


def test_shards_are_the_same() -> None:
    opener = store()
    plain = urls(NAMES) | open_shards(opener=opener)
    assert list(plain | prefetch_shards(2)) != list(urls(NAMES) | open_shards)
    assert check_resume(plain | prefetch_shards(2)) == 6
    for shard in list(plain | prefetch_shards(2)):
        assert shard.url in NAMES
        assert shard.open(512).read() == opener.contents[shard.url][512:]
    assert repr(next(iter(urls("a.tar") | open_shards(opener=Gopen(timeout=5)) | prefetch_shards(2)))) == (
        "Shard(url='a.tar', opener=Gopen(timeout=5))"
    )


def test_only_the_first_shard_is_opened_at_an_offset() -> None:
    opener = store()
    stream = urls(NAMES) | tarsamples(opener=opener, prefetch=3)
    position = list(stream.tracked())[5][1]
    opener.opened.clear()
    assert len(list(stream.at(position))) == 18
    assert sorted(opener.opened) == [("1.tar", 3072), *((name, 0) for name in NAMES[2:])]


# ---- sooner


def test_the_next_shards_are_opened_while_one_is_read() -> None:
    opener = store()
    stream = iter(urls(NAMES) | tarsamples(opener=opener, prefetch=2))
    next(stream)
    until(lambda: len(opener.opened) == 3)
    assert {url for url, _ in opener.opened} == set(NAMES[:3])
    for _ in range(4):
        next(stream)
    until(lambda: len(opener.opened) == 4)
    assert len(list(stream)) == 19
    assert len(opener.opened) == 6
    assert all(file.closed for file in opener.files)


def test_nothing_is_opened_before_iteration() -> None:
    opener = store()
    stream = urls(NAMES) | tarsamples(opener=opener, prefetch=2)
    iter(stream)
    assert opener.opened == []
    assert threads() == 0


@pytest.mark.parametrize("n", [1, 3])
def test_no_more_is_held_than_was_said(n: int) -> None:
    """A reader that stands still: of each shard ahead a buffer's worth is read, and no more."""
    size = 1 << 20
    read = dict.fromkeys(NAMES, 0)

    class Endless(io.RawIOBase):
        def __init__(self, url: str) -> None:
            self.url = url

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            read[self.url] += len(buffer)
            return len(buffer)

    def opener(url: str, offset: int) -> BinaryIO:
        return cast("BinaryIO", Endless(url))

    shards = iter(urls(NAMES) | open_shards(opener=opener) | prefetch_shards(n, buffer=size))
    next(shards)
    until(lambda: all(read[name] > size for name in NAMES[1 : n + 1]))
    time.sleep(0.05)
    assert max(read.values()) <= size + (1 << 18)
    assert sum(count > 0 for count in read.values()) == n
    second = next(shards).open()
    assert len(second.read(512)) == 512
    until(lambda: sum(count > 0 for count in read.values()) == n + 1)
    del shards
    assert threads() == 1  # the one that is being read is its reader's
    assert len(second.read(3 * size)) > 0
    second.close()
    assert threads() == 0


def test_shards_read_side_by_side() -> None:
    """All are pulled before any is opened, and then read in turn: at most n were read ahead, none is lost."""
    opener = store()
    shards = list(urls(NAMES) | open_shards(opener=opener) | prefetch_shards(2))
    assert threads() == 0
    files = [shard.open() for shard in shards]
    assert [file.read() for file in files] == CATS
    pulled = iter(urls(NAMES) | open_shards(opener=opener) | prefetch_shards(2))
    shards = [next(pulled) for _ in NAMES]
    assert threads() <= 3
    files = [shard.open() for shard in shards]
    del pulled
    assert [file.read() for file in files] == CATS
    for file in files:
        file.close()
    assert threads() == 0


# ---- failures


def test_a_failure_comes_when_its_turn_comes() -> None:
    contents = dict(zip(NAMES, CATS))
    del contents["2.tar"]
    contents["4.tar"] = contents["4.tar"][:3000]
    for way in ways(Store(contents), 3, handler=ignore_and_continue):
        with pytest.warns(SkippedWarning):
            keys = [sample["__key__"] for sample in NAMES | way]
        assert keys == [str(10 * n + k) for n in (0, 1, 3, 4, 5) for k in range(4) if (n, k) < (4, 1) or n == 5]
    for way in ways(Store(contents), 3):
        got: list[Any] = []
        with pytest.raises(OpenError, match=r"2\.tar: it is not there"):
            got.extend(sample["__key__"] for sample in NAMES | way)
        assert got == ["0", "1", "2", "3", "10", "11", "12", "13"][: len(got)]
        assert len(got) >= 7
        assert threads() == 0


def test_a_failure_of_what_comes_before() -> None:
    def failing(names: list[str]) -> Iterator[str]:
        yield from names
        raise ValueError("no more names")

    got: list[Any] = []
    with pytest.raises(ValueError, match="no more names"):
        got.extend(sample for sample in failing(NAMES) | tarsamples(opener=store(), prefetch=9))
    assert len(got) == 24


def test_a_forked_process_is_told_that_it_has_no_threads() -> None:
    samples = iter(NAMES | tarsamples(opener=store(), prefetch=2))
    next(samples)

    def read_on() -> None:
        with pytest.raises(SourceError, match="in a forked process"):
            list(samples)

    assert forked(read_on) == 0
    assert len(list(samples)) == 23


def test_what_names_no_shard() -> None:
    things: Any = iter([*NAMES[:2], 7, *NAMES[2:]])
    with pytest.warns(SkippedWarning, match="is named by a str"):
        assert len(list(things | tarsamples(opener=store(), prefetch=3, handler=ignore_and_continue))) == 24


def test_a_read_that_fails_in_the_middle() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 2560:
                raise OSError("the disk is gone")
            return super().read(512)

    def opener(url: str, offset: int) -> BinaryIO:
        return Failing(CATS[1]) if url == "1.tar" else io.BytesIO(CATS[0])

    got: list[Any] = []
    with pytest.raises(TarError, match=r"1\.tar.*the disk is gone"):
        got.extend(sample for sample in NAMES[:2] | tarsamples(opener=opener, prefetch=1))
    assert len(got) == 5


@pytest.mark.parametrize("n", [-1, 1.5, "2", None, True])
def test_what_is_no_number_of_shards(n: Any) -> None:
    with pytest.raises(ValueError, match="a number of shards"):
        prefetch_shards(n)
    with pytest.raises(ValueError, match="a number of shards"):
        tarsamples(prefetch=n)
    with pytest.raises(ValueError, match="a buffer for reading ahead"):
        prefetch_shards(1, buffer=n)


def test_a_stage_is_a_value() -> None:
    assert eval(repr(prefetch_shards(3))) == prefetch_shards(3) == prefetch_shards(3, buffer=BUFFER)
    assert repr(prefetch_shards(3, buffer=1 << 20)) == "prefetch_shards(3, buffer=1048576)"


# ---- left in the middle


def test_leaving_while_a_shard_waits_to_be_opened() -> None:
    """Threads that are within an opener end when it does."""
    go_on = threading.Event()
    opener = store(lambda url: go_on.wait(20) if url != "0.tar" else None)
    stream = iter(NAMES | tarsamples(opener=opener, prefetch=3))
    next(stream)
    until(lambda: len(opener.opened) == 4)
    threading.Timer(0.05, go_on.set).start()
    del stream
    assert threads() == 0
    assert all(file.closed for file in opener.files)


@pytest.mark.parametrize(
    ("fault", "opener"),
    [
        (Fault(stall=600), Gopen(timeout=300)),
        (Fault(status=503), Gopen(patience=300, retries=50)),
        (Fault(status=503, headers={"Retry-After": "300"}), Gopen(patience=300)),
    ],
)
def test_leaving_while_a_server_is_away(fault: Fault, opener: Gopen) -> None:
    files = {f"/{name}": data for name, data in zip(NAMES, CATS)}
    with Faults(files, lambda request: fault if request.path != "/0.tar" else None) as server:
        stream = iter(urls(server.url + "/{0..5}.tar") | tarsamples(opener=opener, prefetch=3))
        next(stream)
        until(lambda: len(server.requests) >= 4)
        del stream
        assert threads() == 0


def test_a_thread_that_collects_its_own_iterator_does_not_wait_for_itself() -> None:
    """Garbage is collected on whatever thread: here on one that reads ahead for the iterator that is garbage."""
    holder: list[Any] = []
    asked, collected = threading.Event(), threading.Event()

    def hold(url: str) -> None:
        if url == NAMES[1] and asked.wait(10):
            holder.clear()
            collected.set()

    shards = store(hold)
    holder.append(iter(urls(NAMES) | tarsamples(opener=shards, prefetch=1)))
    next(holder[0])
    asked.set()
    assert collected.wait(10)
    until(lambda: threads() == 0)
    assert holder == []
