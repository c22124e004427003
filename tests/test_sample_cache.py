"""The sample cache: equal items and positions with and without, whoever else uses it, and whenever one is killed."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import re
import signal
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import streamwds
from streamwds import (
    DBCache,
    Stream,
    TarWriter,
    batched,
    cache_samples,
    chain,
    decode,
    everywhere,
    ignore_and_continue,
    interleave,
    join,
    map,
    mix,
    repeat,
    resampled,
    rsample,
    shuffle,
    shuffle_shards,
    split_by_worker,
    take,
    tarsamples,
    to_torch,
    unbatched,
    urls,
    with_epoch,
)
from streamwds.errors import CacheError, CacheWarning, CompositionError, EncodeError, FunctionError, SourceError
from streamwds.testing import check_resume, same_items
from tests.descriptors import open_below
from tests.processes import files_of_at_most, fork, forked

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"


class Counted:
    """Numbers, and how many were asked for."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.asked = 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.n):
            self.asked += 1
            yield number

    def __repr__(self) -> str:
        return f"Counted({self.n})"


def sample(n: int) -> dict[str, Any]:
    """One with a value of every kind."""
    return {
        "__key__": f"{n:04d}",
        "bytes": bytes([n % 256]) * n,
        "text": "ä" * (n % 5),
        "numbers": (n, n / 3, None, True, -(2 ** (n % 90)), float("nan")),
        "json": {"boxes": [[n, 1.5], []], "none": None, "": {}},
        "array": np.full((n % 4, 2), n, np.float32),
        "scalar": np.int16(n),
        "tensor": torch.full((2, n % 3), n, dtype=torch.bfloat16),
    }


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "samples.db"


def rows(db: Path) -> int:
    with contextlib.closing(sqlite3.connect(db)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM samples").fetchone()[0])


# ---- equal items


@pytest.mark.parametrize("there", [0, 1, 63, 64, 65, 99, 100])
@pytest.mark.parametrize("tracked", [True, False])
def test_the_first_a_half_full_and_the_complete_pass_are_equal(db: Path, there: int, tracked: bool) -> None:
    source = Counted(100)
    without = source | map(sample)
    stream = without | cache_samples(db, 1000)
    expected = list(without.tracked())

    def read() -> list[Any]:
        return list(stream.tracked()) if tracked else [(item, None) for item in stream]

    for _ in zip(range(there), stream):
        pass
    for _ in range(3):
        found = read()
        assert same_items([item for item, _ in found], [item for item, _ in expected])
        assert not tracked or [at for _, at in found] == [at for _, at in expected]
    source.asked = 0
    read()
    assert source.asked == 0
    assert rows(db) == 100


@pytest.mark.parametrize("there", [0, 3, 7, 20])
@pytest.mark.parametrize("size", [0, 5, 20, 100])
def test_resume_at_every_position(db: Path, there: int, size: int) -> None:
    stream = range(20) | map(sample) | cache_samples(db, size)
    for _ in zip(range(there), stream):
        pass
    positions = [at for _, at in (range(20) | map(sample)).tracked()]
    for k in random.Random(there).sample(range(20), 20):
        assert same_items(list(stream.at(positions[k])), [sample(n) for n in range(k + 1, 20)])
    assert check_resume(stream) == 20
    assert rows(db) == min(size, 20)


def test_what_is_read_from_within_leaves_no_gap(db: Path) -> None:
    stream = range(300) | cache_samples(db, 1000)
    positions = [at for _, at in (range(300) | everywhere).tracked()]
    list(stream.at(positions[100]))
    assert rows(db) == 0
    for _ in zip(range(80), stream):
        pass
    assert rows(db) == 80
    assert list(stream.at(positions[40])) == list(range(41, 300))
    assert rows(db) == 300
    assert list(stream) == list(range(300))


def test_more_items_than_are_kept(db: Path) -> None:
    source = Counted(100)
    stream = source | cache_samples(db, 30)
    assert list(stream) == list(stream) == list(range(100))
    assert rows(db) == 30
    assert source.asked == 200  # (a source without an index is read up to a position)


def test_as_many_items_as_are_kept(db: Path) -> None:
    source = Counted(30)
    stream = source | cache_samples(db, 30)
    assert list(stream) == list(stream) == list(range(30))
    assert source.asked == 30


def test_nothing_at_all(db: Path) -> None:
    source = Counted(0)
    stream = source | cache_samples(db, 30)
    assert list(stream) == list(stream) == []


def test_items_of_every_sort(db: Path) -> None:
    for name, stream in {
        "tuples": range(5) | map(lambda n: (n, [n])) | batched(2),
        "batches": range(10) | map(lambda n: {"__key__": f"{n}", "x": np.float32(n)}) | batched(4),
        "lists": [[1, 2], [3]] | unbatched | batched(2),
    }.items():
        cached = stream | cache_samples(db.with_name(name), 100)
        for _ in range(2):
            found = list(cached)
            assert same_items(found, list(stream))
            assert [type(item) for item in found] == [type(item) for item in stream]


def test_shards_behind_it_and_before_it(tmp_path: Path, db: Path) -> None:
    for n in range(3):
        with TarWriter(tmp_path / f"{n}.tar") as writer:
            for k in range(5):
                writer.write({"__key__": f"{n}-{k}", "cls": k, "npy": np.arange(k)})
    without = urls(tmp_path / "{0..2}.tar") | tarsamples | decode()
    stream = without | cache_samples(db, 100) | shuffle(4)
    assert check_resume(stream) == 15
    expected = list(without | shuffle(4))
    for n in range(3):
        (tmp_path / f"{n}.tar").unlink()
    assert same_items(list(stream), expected)
    assert check_resume(stream.within(epoch=3)) == 15
    assert not same_items(list(stream.within(epoch=3)), expected)


def test_what_comes_behind_may_change_its_items(db: Path) -> None:
    def spoil(item: dict[str, Any]) -> dict[str, Any]:
        item["array"] += 1
        item["tensor"].zero_()
        item["json"]["boxes"].clear()
        return item

    stream = range(10) | map(sample) | cache_samples(db, 100)
    spoilt = [spoil(item) for item in range(10) | map(sample)]
    for _ in range(2):
        assert same_items([spoil(item) for item in stream], spoilt)
    assert same_items(list(stream), [sample(n) for n in range(10)])


# ---- what ends badly


def breaks(n: int) -> dict[str, Any]:
    if n == 7:
        raise ValueError("seven")
    return sample(n)


def test_an_error_before_it_comes_again(db: Path) -> None:
    stream = range(10) | map(breaks) | cache_samples(db, 100)
    for _ in range(2):
        found: list[Any] = []
        with pytest.raises(FunctionError, match="seven"):
            found.extend(stream)
        assert rows(db) == 7
    skipping = range(10) | map(breaks, handler=ignore_and_continue) | cache_samples(db, 100)
    with pytest.raises(CacheError, match="another pipeline"):
        list(skipping)


class Odd:
    pass


def test_a_value_that_can_not_be_kept_is_named(db: Path) -> None:
    def odd(n: int) -> dict[str, Any]:
        return {"__key__": f"{n}", "__url__": "a.tar", "cls": n, "odd": Odd() if n == 3 else None}

    stream = range(5) | map(odd) | cache_samples(db, 100)
    for _ in range(2):
        with pytest.raises(EncodeError, match="Odd can't be kept") as caught:
            list(stream)
        assert (caught.value.url, caught.value.key, caught.value.field) == ("a.tar", "3", "odd")
        assert rows(db) == 3
    with pytest.raises(EncodeError, match="can't be kept"):
        list([Odd()] | cache_samples(db.with_name("other.db"), 100))


def test_a_full_disk_is_one_warning(db: Path) -> None:
    expected = [sample(n) for n in range(500)]
    stream = range(500) | map(sample) | cache_samples(db, 1000)
    for _ in zip(range(10), stream):
        pass
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with files_of_at_most(400_000):
            assert same_items(list(stream), expected)
    assert [type(warning.message) for warning in told] == [CacheWarning]
    assert 10 <= rows(db) < 500
    assert same_items(list(stream), expected)
    assert rows(db) == 500


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 100), "not a database"),
        (lambda path: path.mkdir(), "unable to open"),
        (lambda path: sqlite3.connect(path).executescript("CREATE TABLE mine (x INT)").close(), "no cache of samples"),
    ],
)
def test_files_that_are_none_of_ours(db: Path, make: Callable[[Path], Any], message: str) -> None:
    made: Any = make(db)
    if isinstance(made, sqlite3.Cursor):
        made.connection.close()
    with pytest.raises(CacheError, match=message) as caught:
        list(range(3) | cache_samples(db, 10))
    assert caught.value.url == str(db)


def test_an_iterator_can_not_be_kept(db: Path) -> None:
    with pytest.raises(SourceError, match="is an iterator"):
        list(iter(range(3)) | cache_samples(db, 10))


# ---- whose it is


def twice(n: int) -> int:
    return 2 * n


def thrice(n: int) -> int:
    return 3 * n


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (range(5) | map(twice), range(5) | map(thrice)),
        (range(5) | map(twice), range(6) | map(twice)),
        (range(5) | map(twice), range(5) | map(twice) | take(3)),
        (["a", "b"] | map(str.upper), ["a", "c"] | map(str.upper)),
        ([{"x": np.zeros(2)}] | map(len), [{"x": np.ones(2)}] | map(len)),
        ([Path("a")] | map(str), [Path("b")] | map(str)),
        (urls("a/x.tar") | map(str), urls("b/x.tar") | map(str)),
        ([{"txt": b"a"}] | decode(), [{"txt": b"a"}] | take(9)),
        ([{"jpg": b""}] | decode("rgb"), [{"jpg": b""}] | decode("l")),
        (chain([[1], [2]]) | map(twice), chain([[1], [3]]) | map(twice)),
        ([{"__key__": "a"}] | join([{"__key__": "a", "x": 1}]), [{"__key__": "a"}] | join([{"__key__": "a", "x": 2}])),
    ],
)
def test_a_database_belongs_to_one_pipeline(db: Path, one: Stream[Any], other: Stream[Any]) -> None:
    def read(stream: Stream[Any]) -> None:
        with contextlib.suppress(streamwds.errors.DecodeError):
            list(stream | cache_samples(db, 10))

    read(one)
    with pytest.raises(CacheError, match="another pipeline"):
        list(other | cache_samples(db, 10))
    read(one)


def test_items_that_are_opened_alone_are_not_mistaken_for_each_other(db: Path) -> None:
    with pytest.raises(CacheError, match="another pipeline"):
        list([[1, 2], [3, 4]] | interleave(unbatched | cache_samples(db, 10), 1))


def test_what_does_not_change_the_items_does_not_count(
    tmp_path: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TarWriter(tmp_path / "a.tar") as writer:
        writer.write({"__key__": "0", "cls": 1})
    first = list(urls(tmp_path / "a.tar") | tarsamples | cache_samples(db, 10))
    assert list(urls(tmp_path / "a.tar") | tarsamples(cache=tmp_path / "c") | cache_samples(db, 20)) == first
    monkeypatch.chdir(tmp_path)
    assert list(urls("a.tar") | split_by_worker | tarsamples | cache_samples(tmp_path / "b.db", 20))
    found = list(urls("a.tar") | tarsamples | cache_samples(db, 20))
    assert found == first  # (as it was kept, with the URL of then)


CHANGING: list[tuple[str, Callable[[], Stream[Any]]]] = [
    ("shuffle", lambda: range(5) | shuffle(2) | map(twice)),
    ("shuffle_shards", lambda: urls("a-{0..3}") | shuffle_shards),
    ("resampled", lambda: urls("a-{0..3}") | resampled() | take(3)),
    ("rsample", lambda: range(5) | rsample(0.5)),
    ("map", lambda: [{"__key__": "a"}] | map(lambda item, rng: item, rng=True)),
    ("mix", lambda: mix([[1], [2]]) | take(1)),
    ("shuffle", lambda: chain([[1] | take(1), [2] | shuffle(2)]) | take(1)),
    ("interleave", lambda: [[1], [2]] | interleave(unbatched | shuffle(3), 2)),
    ("join", lambda: [{"__key__": "a"}] | join([{"__key__": "a"}] | shuffle(2))),
    ("with_epoch", lambda: range(5) | repeat() | with_epoch(3)),
]


@pytest.mark.parametrize(("name", "make"), CHANGING)
def test_what_changes_from_epoch_to_epoch_is_refused(db: Path, name: str, make: Callable[[], Stream[Any]]) -> None:
    stream = make() | cache_samples(db, 10)
    for read in (lambda: list(stream), lambda: list(stream.tracked())):
        with pytest.raises(CompositionError, match=rf"put cache_samples before {name}"):
            read()
    assert not db.exists()


def test_what_comes_behind_may_change(db: Path) -> None:
    stream = range(20) | cache_samples(db, 30) | shuffle(5) | repeat(2)
    assert list(stream) == list(range(20) | shuffle(5) | repeat(2))


def test_each_rank_and_worker_has_its_own(db: Path) -> None:
    stream = range(12) | split_by_worker | map(twice) | cache_samples(db, 100)
    for _ in range(2):
        parts = [list(stream.within(worker=n, workers=3)) for n in range(3)]
        assert parts == [[2 * n for n in range(12)][worker::3] for worker in range(3)]
    assert list(stream) == [2 * n for n in range(12)]
    assert rows(db) == 24


# ---- several at once


def _make(db: Path, started: Any, told: Any) -> None:
    started.wait()
    try:
        told.put(len(DBCache(str(db), 10, [])))
    except Exception as error:
        told.put(repr(error))


def test_processes_that_make_the_same_database_wait_for_each_other(tmp_path: Path) -> None:
    """(SQLite does not wait for another process that begins a write-ahead log: "database is locked".)"""
    for n in range(8):
        started, told = fork.Barrier(4), fork.SimpleQueue()
        processes = [fork.Process(target=_make, args=(tmp_path / f"{n}.db", started, told)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [told.get() for _ in processes] == [0] * 4
        told.close()


def test_two_dataloader_workers(tmp_path: Path, db: Path) -> None:
    names = [str(tmp_path / f"{n}.tar") for n in range(4)]
    for n, name in enumerate(names):
        with TarWriter(name) as writer:
            for k in range(6):
                writer.write({"__key__": f"{n}-{k}", "cls": k, "npy": np.arange(k)})
    stream = urls(names) | split_by_worker | tarsamples | decode() | cache_samples(db, 100)
    loader: DataLoader[Any] = DataLoader(
        to_torch(stream), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    first = sorted(found["__key__"] for found in loader)
    for name in names:
        os.unlink(name)
    assert sorted(found["__key__"] for found in loader) == first
    assert len(first) == 24


def test_threads(db: Path) -> None:
    stream = range(200) | map(sample) | cache_samples(db, 1000)
    expected = [sample(n) for n in range(200)]
    right: list[bool] = []

    def read() -> None:
        right.extend(same_items(list(stream), expected) for _ in range(2))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 8
    assert rows(db) == 200
    assert open_below(db.parent) == []


def read_passes(db: Path, passes: int) -> None:
    stream = range(400) | map(sample) | cache_samples(db, 1000)
    for _ in range(passes):
        for n, item in enumerate(stream):
            if not same_items(item, sample(n)):
                os._exit(3)
    os._exit(0)


def test_processes_with_one_killed_again_and_again(db: Path) -> None:
    seed = random.randrange(10**6)
    random_ = random.Random(seed)
    for _ in range(20 if DEEP else 3):
        children = [fork.Process(target=read_passes, args=(db, 1)) for _ in range(2)]
        victim = fork.Process(target=read_passes, args=(db, 10**6))
        for child in (victim, *children):
            child.start()
        time.sleep(random_.random() * 0.3)
        victim.kill()
        for child in (victim, *children):
            child.join()
        assert victim.exitcode == -signal.SIGKILL, f"seed {seed}"
        assert [child.exitcode for child in children] == [0, 0], f"seed {seed}"
        if random_.random() < 0.7:
            for path in db.parent.glob("samples.db*"):
                path.unlink()
    source = range(400) | map(sample) | cache_samples(db, 1000)
    assert same_items(list(source), [sample(n) for n in range(400)]), f"seed {seed}"
    assert rows(db) == 400, f"seed {seed}"


def test_killed_while_it_fills(db: Path) -> None:
    """What a killed pass has left is a beginning without a gap, and later passes go on behind it."""
    seed = random.randrange(10**6)
    random_ = random.Random(seed)
    there = 0
    for _ in range(20 if DEEP else 4):
        child = fork.Process(target=read_passes, args=(db, 10**6))
        child.start()
        time.sleep(random_.random() * 0.15)
        child.kill()
        child.join()
        if db.exists():
            with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(db)) as connection:
                numbers = [n for (n,) in connection.execute("SELECT number FROM samples ORDER BY number")]
                assert numbers == list(range(len(numbers))), f"seed {seed}"
                assert len(numbers) >= there, f"seed {seed}"
                there = len(numbers)
    stream = range(400) | map(sample) | cache_samples(db, 1000)
    assert same_items(list(stream), [sample(n) for n in range(400)]), f"seed {seed}"


def test_a_forked_process_does_not_write_its_parents_items(db: Path) -> None:
    items = iter(range(100) | cache_samples(db, 1000))
    found = [next(items)]

    def forget() -> None:
        nonlocal items
        del items

    assert forked(forget) == 0
    assert rows(db) == 0
    assert [*found, *items] == list(range(100))
    assert rows(db) == 100


@pytest.mark.parametrize("as_object", [False, True])
def test_a_forked_process_does_not_read_by_its_parents_connection(db: Path, as_object: bool) -> None:
    cached = range(100) | cache_samples(db, 1000)
    list(cached)
    stream: Any = DBCache(db, 1000, verbose=False) if as_object else cached
    items = iter(stream)
    found = [next(items)]

    def read_on() -> None:
        nonlocal items
        with pytest.raises(SourceError, match="in a forked process"):
            list(items)
        del items
        assert list(stream) == list(range(100))

    assert forked(read_on) == 0
    assert [*found, *items] == list(range(100))


def test_abandoned_iterators_leave_nothing(db: Path) -> None:
    stream = range(100) | map(sample) | cache_samples(db, 1000)
    for n in range(30):
        for _ in zip(range(n), stream):
            pass
    assert open_below(db.parent) == []
    assert rows(db) == 29
    assert sorted(path.name for path in db.parent.iterdir()) == ["samples.db"]


# ---- as a value, and as an object


def test_the_stage_is_a_value(db: Path) -> None:
    stage = cache_samples("a.db", 10)
    assert stage == cache_samples(Path("a.db"), size=10) == pickle.loads(pickle.dumps(stage))
    assert repr(stage) == "cache_samples('a.db', 10)"
    assert eval(repr(stage), vars(streamwds)) == stage
    with pytest.raises(ValueError, match="-1"):
        cache_samples("a.db", -1)
    with pytest.raises(ValueError, match="path"):
        cache_samples("", 1)


def test_db_cache(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Counted(10)
    cache = DBCache(str(db), 100)(source | map(sample))
    assert len(cache) == 0
    expected = [sample(n) for n in range(10)]
    assert same_items(list(cache), expected)
    assert same_items(list(cache), expected)
    assert same_items(list(cache.dbiter()), expected)
    assert source.asked == 10
    assert len(cache) == len(DBCache(db, 100)) == 10
    assert same_items(list(DBCache(db, 100)), expected)
    assert cache.key_exists("0003")
    assert not cache.key_exists("0003x")
    assert not cache.key_exists("\udcff")
    assert re.search(r"samples\.db: 10 of at most 100 items", capsys.readouterr().err)
    list(DBCache(db, 100, source | map(sample), verbose=False))
    assert capsys.readouterr().err == ""


def test_metadata(db: Path) -> None:
    cache = DBCache(db, 100, verbose=False)
    assert cache.getmeta("a") is None
    for value in ("x", 7, b"\0", [1, (2, None)], {"a": 1.5}, True):
        cache.setmeta("a", value)
        assert DBCache(db, 100).getmeta("a") == value
    with pytest.raises(EncodeError):
        cache.setmeta("a", object())
    assert cache.getmeta("a") is True


def test_shuffled(db: Path) -> None:
    cache = DBCache(db, 100, range(50), shuffle=True, verbose=False)
    assert list(cache) == list(range(50))  # (the first time as they come)
    second, third = list(cache), list(cache)
    assert sorted(second) == sorted(third) == list(range(50))
    assert list(range(50)) != second != third
    again = DBCache(db, 100, range(50), shuffle=True, verbose=False)
    assert [list(again), list(again)] == [second, third]


def test_a_key_may_be_any_text(db: Path) -> None:
    keys = ["ä", "\udcff", "a\nb", "", "\0"]
    cache = DBCache(db, 100, [{"__key__": key} for key in keys], verbose=False)
    assert [item["__key__"] for item in cache] == [item["__key__"] for item in cache] == keys
    assert all(cache.key_exists(key) for key in keys)
