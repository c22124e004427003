"""Shards that are missing, damaged, cut, or no shards at all: one clear error, and nothing wrong is ever given out."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import attrs
import pytest

from streamwds import (
    Shard,
    Stream,
    errors,
    group_by_keys,
    ignore_and_continue,
    ignore_and_stop,
    open_shards,
    reraise_exception,
    skip_at_most,
    tarfiles,
    tarsamples,
    warn_and_continue,
    warn_and_stop,
)
from streamwds.errors import (
    DuplicateFieldError,
    HeaderError,
    OpenError,
    SkippedWarning,
    StreamwdsError,
    TarError,
    TruncatedError,
)
from streamwds.handlers import Handler
from streamwds.testing import check_resume
from tests.archives import (
    END,
    PACK,
    Sample,
    archive,
    by_stdlib,
    entries,
    expected,
    gnu,
    header,
    key_and_field,
    member,
    padded,
    pax,
    read,
    read_on,
    read_until,
    shards,
    ways,
)

CATS = archive([(b"1.jpg", b"one"), (b"1.cls", b"1"), (b"2.jpg", b"two"), (b"2.cls", b"2"), (b"3.jpg", b"three")])
DOGS = archive([(b"7.jpg", b"seven"), (b"8.jpg", b"eight")])
TWICE = archive([(b"4.jpg", b""), (b"5.jpg", b"a"), (b"5.jpg", b"b"), (b"6.jpg", b"")])


def keys(samples: list[Sample]) -> list[str]:
    return [sample["__key__"] for sample in samples]


# ---- files that are no shards

HTML = b"<!DOCTYPE html>\n<html><title>403 Forbidden</title>" + b"<p>no</p>" * 200
NO_SHARDS: list[tuple[str, bytes, type[StreamwdsError], str]] = [
    ("web page", HTML, HeaderError, "web page"),
    ("short web page", b"\n <html>gone</html>", HeaderError, "web page"),
    ("text", b"nothing that a tar would say\n" * 40, HeaderError, "no tar archive"),
    ("short text", b"Not Found", TruncatedError, "within a header"),
    ("picture", b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4, HeaderError, "no tar archive"),
    ("checksum", CATS[:20] + b"x" + CATS[21:], HeaderError, "no tar archive"),
    ("empty", b"", TruncatedError, "empty"),
    ("one byte", b"1", TruncatedError, "within a header"),
    ("zip", b"PK\x03\x04" + bytes(2000), OpenError, "zip"),
    ("7z", b"7z\xbc\xaf\x27\x1c" + bytes(2000), OpenError, "7z"),
    ("compressed text", gzip.compress(b"no tar in here, " * 100), HeaderError, "no tar archive"),
    ("compressed nothing", gzip.compress(b""), TruncatedError, "empty"),
    ("gzip, begun", gzip.compress(CATS)[:5], TruncatedError, "compressed"),
    ("gzip's first bytes", b"\x1f\x8b" + b"no gzip" * 99, TarError, "compressed"),
    ("bz2's first bytes", b"BZh9" + b"no bz2" * 99, TarError, "reading failed"),
    ("xz's first bytes", b"\xfd7zXZ\0" + b"no xz" * 99, TarError, "damaged"),
    ("zstd's first bytes", b"\x28\xb5\x2f\xfd" + b"no zstd" * 99, TarError, "damaged"),
    ("short zstd", b"\x28\xb5\x2f\xfd\x00", TruncatedError, "compressed"),
    ("lz4's first bytes", b"\x04\x22\x4d\x18" + b"no lz4" * 99, TarError, "damaged"),
]


@pytest.mark.parametrize(("what", "data", "kind", "message"), NO_SHARDS, ids=[row[0] for row in NO_SHARDS])
def test_no_shards(what: str, data: bytes, kind: type[StreamwdsError], message: str) -> None:
    samples, error = read_until(shards(DOGS, data, CATS))
    assert (type(error), error.url, error.offset) == (kind, "1.tar", None if kind is OpenError else 0)
    assert message in error.message
    assert keys(samples) == ["7", "8"]
    samples, (_,) = read_on(shards(DOGS, data, CATS))
    assert samples == [*expected(DOGS)[0], *expected(CATS, "2.tar")[0]]
    for way in ways(ignore_and_stop):
        assert keys(list(way(shards(DOGS, data, CATS)))) == ["7", "8"]


def missing(folder: Path) -> Path:
    return folder / "missing.tar"


def directory(folder: Path) -> Path:
    (folder / "folder.tar").mkdir()
    return folder / "folder.tar"


def dangling(folder: Path) -> Path:
    (folder / "link.tar").symlink_to("nowhere")
    return folder / "link.tar"


def below_a_file(folder: Path) -> Path:
    return folder / "0.tar" / "1.tar"


def long_name(folder: Path) -> Path:
    return folder / ("n" * 1000 + ".tar")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "no such file"),
        (directory, "directory"),
        (dangling, "no such file"),
        (below_a_file, "Not a directory"),
        (long_name, "too long"),
    ],
)
def test_files_that_cannot_be_opened(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    good = tmp_path / "0.tar"
    good.write_bytes(DOGS)
    bad = str(make(tmp_path))
    samples, error = read_until([str(good), bad, str(good)])
    assert (type(error), error.url, error.offset) == (OpenError, bad, None)
    assert message in error.message
    assert isinstance(error.__cause__, OSError)
    assert keys(samples) == ["7", "8"]
    samples, (_,) = read_on([bad, str(good), bad][:2])
    assert keys(samples) == ["7", "8"]


def test_a_file_that_nobody_may_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(CATS)
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # (root may read everything)
        with pytest.raises(OpenError, match="Permission denied") as caught:
            list([str(path)] | tarsamples)
    finally:
        os.seteuid(user)
    assert caught.value.url == str(path)


class Failing(io.RawIOBase):
    """A file that gives so many bytes and then an error of the system, as a bad disk or a lost mount does."""

    def __init__(self, data: bytes, good: int) -> None:
        self._data = io.BytesIO(data[:good])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._data.read(len(buffer))
        if not data:
            raise OSError(5, "Input/output error")
        buffer[: len(data)] = data
        return len(data)


@attrs.frozen
class Disk:
    good: int

    def __call__(self, url: str, offset: int) -> BinaryIO:
        return cast("BinaryIO", Failing(CATS, self.good))


@pytest.mark.parametrize(("good", "kind", "count"), [(0, OpenError, 0), (100, OpenError, 0), (3000, TarError, 1)])
def test_a_disk_that_fails(good: int, kind: type[StreamwdsError], count: int) -> None:
    class Source:
        def __iter__(self) -> Iterator[Any]:
            return iter([Shard("bad.tar", Disk(good)), *shards(DOGS)])

    samples, (error,) = read_on(Source())
    assert (type(error), error.url) == (kind, "bad.tar")
    assert "Input/output error" in error.message
    assert isinstance(error.__cause__, OSError)
    assert keys(samples) == [*keys(read(shards(CATS)))[:count], "7", "8"]


def test_an_opener_that_unpacks_what_is_cut() -> None:
    def opener(url: str, offset: int) -> BinaryIO:
        return cast("BinaryIO", gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(CATS)[: int(url)])))

    class Source:
        def __iter__(self) -> Iterator[Any]:
            return iter([*(Shard(url, opener) for url in ("0", "5", "40", "100")), *shards(DOGS)])

    samples, found = read_on(Source())
    assert keys(samples) == ["7", "8"]
    assert [(type(error), error.url) for error in found][:3] == [
        (TruncatedError, "0"),
        (OpenError, "5"),
        (OpenError, "40"),
    ]
    assert isinstance(found[3], StreamwdsError)


@pytest.mark.parametrize("item", [7, None, b"a.tar", 3.5, ["a.tar"]])
def test_items_that_name_no_shard(item: object) -> None:
    class Source:
        def __iter__(self) -> Iterator[Any]:
            return iter([*shards(DOGS), item, *shards(CATS)])

    samples, (error,) = read_on(Source())
    assert type(error) is OpenError
    assert repr(item) in error.message
    assert keys(samples) == ["7", "8", "1", "2", "3"]


# ---- damage within a shard

KINDS = [
    member(b"a/1.jpg", b"x" * 700),
    pax({b"path": "ä/1.cls".encode()}) + member(b"a/1.cls", b"1"),
    pax({b"path": "ä/1.json".encode()}) + member(b"a/1.cls", b""),
    member(b"README", b"no sample's"),
    gnu(b"l" * 150 + b".jpg") + member(b"l" * 100, b"y" * 512, magic=b"ustar  \0"),
    member(b"l.cls", b"2", prefix=b"l" * 10),
    header(b"l.link", 0, b"2"),
    pax({b"comment": b"for all"}, b"g"),
    header(b"3.cls", b"\x80" + bytes(9) + b"\x02\x01") + padded(b"z" * 513),
    member(b"3.txt"),
    member(b"__meta__", b"of the shard"),
    member(b"4.txt", b"last"),
]
MIXED = b"".join(KINDS) + END
BETWEEN = [0, 1, 99, 100, 147, 148, 156, 257, 345, 511]


@pytest.mark.parametrize("data", [MIXED, CATS, by_stdlib([("1.a", b"x" * 600), ("1.b", b""), ("2.a", b"y" * 3000)])])
def test_a_shard_cut_anywhere(data: bytes) -> None:
    whole = expected(data)[0]
    end = max(entry.ends for entry in entries(data))
    places = [at + more for at in range(0, len(data), 512) for more in BETWEEN if 0 < at + more < end + 2048]
    assert len(places) > 60
    for cut in places:
        certain, damaged = expected(data[:cut])
        assert damaged == (cut < end + 512)
        assert certain == whole[: len(certain)]
        source = shards(data[:cut], DOGS)
        if not damaged:
            assert read(source) == [*whole, *expected(DOGS, "1.tar")[0]]
            continue
        samples, (error,) = read_on(source)
        assert samples == [*certain, *expected(DOGS, "1.tar")[0]], f"cut at {cut}"
        assert type(error) is TruncatedError
        samples, error = read_until(source)
        assert (samples, type(error), error.url) == (certain, TruncatedError, "0.tar")
        assert error.offset is not None
        assert 0 <= error.offset <= cut


def test_a_cut_says_what_is_missing() -> None:
    data = archive([(b"1.a", b"xyz")])
    said: dict[int, str] = {}
    for there in (0, 2, 3, 511):
        _, error = read_until(shards(data[: 512 + there]))
        said[there] = error.message
    assert said == {
        0: "the shard ends within '1.a': 0 of 3 bytes are there",
        2: "the shard ends within '1.a': 2 of 3 bytes are there",
        3: "the shard ends within the padding of '1.a', whose bytes are all there",
        511: "the shard ends within the padding of '1.a', whose bytes are all there",
    }


def test_a_small_shard_cut_at_every_byte() -> None:
    data = archive([(b"1.a", b"x"), (b"1.b", b""), (b"2.a", b"y")])
    counts: list[int] = []
    for cut in range(1, len(data) + 1):
        stream = shards(data[:cut]) | tarsamples(handler=ignore_and_continue)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedWarning)
            samples = list(stream)
        assert samples == expected(data[:cut])[0]
        assert sum(stream.skipped.values()) == (cut < len(data) - 512)
        counts.append(len(samples))
    # the first sample is certain once the header of the second is there, the second once the archive has ended
    assert [counts.count(n) for n in (0, 1, 2)] == [2047, 1024, 513]


def test_a_cut_between_two_members_loses_no_field_unnoticed() -> None:
    for cut in range(1024, len(CATS) - 1024, 1024):
        samples, (error,) = read_on(shards(CATS[:cut]))
        assert all(sample in read(shards(CATS)) for sample in samples)
        assert (type(error), error.offset) == (TruncatedError, cut)
        assert error.key == str((cut // 512 - 2) // 4 + 1)


def test_the_header_of_a_cut_member_tells_whether_the_sample_before_was_whole() -> None:
    one = member(b"1.jpg", b"one")
    for name, certain in ((b"2.jpg", ["1"]), (b"1.cls", []), (b"README", []), (b"__2.x__", []), (b"2.d/", [])):
        for cut in (one + header(name, 5), one + pax({b"path": name}) + header(b"1.x", 5) + b"1234"):
            samples, (error,) = read_on(shards(cut))
            assert keys(samples) == certain
            found = key_and_field(name.decode())
            assert error.key == (found[0] if found and name[-1:] != b"/" else "1")
    samples, (error,) = read_on(shards(one + header(b"2.jpg", 5, b"Z")))  # (of no kind that we know)
    assert samples == []


def test_a_damaged_field_in_a_sample_that_has_another_twice() -> None:
    data = archive([(b"1.a", b""), (b"1.a", b"")])[:-1024] + header(b"2.a", 9)
    samples, found = read_on(shards(data))
    assert samples == []
    assert [(type(error), error.key) for error in found] == [(DuplicateFieldError, "1"), (TruncatedError, "2")]


@pytest.mark.parametrize("at", range(0, len(MIXED) - 1024, 512))
def test_a_damaged_block(at: int) -> None:
    data = MIXED[:at] + b"\xa5" * 512 + MIXED[at + 512 :]
    certain, damaged = expected(data)
    samples, found = read_on(shards(data, DOGS))
    assert samples == [*certain, *expected(DOGS, "1.tar")[0]]
    assert len(found) == damaged
    if damaged:
        samples, error = read_until(shards(data))
        assert samples == certain
        assert isinstance(error, HeaderError)
        assert error.offset == at or MIXED[error.offset or 0 :][156:157] in b"xgL"


@pytest.mark.parametrize(
    ("bad", "kind", "message"),
    [
        (header(b"b.x", b"\xff" * 12), HeaderError, "-1 bytes"),
        (header(b"b.x", b"12345678901 "), HeaderError, "number"),
        (header(b"b.x", 8**11 - 1), TruncatedError, f"of {8**11 - 1} bytes"),
        (header(b"b.x", b"\x80" + b"\x3f" + b"\xff" * 10), TruncatedError, "bytes"),
        (header(b"b.x", b"\xbf" + b"\xff" * 11), TruncatedError, "bytes"),
        (pax({b"size": b"-1"}) + member(b"b.x"), HeaderError, "size"),
        (pax({b"size": b"0x10"}) + member(b"b.x"), HeaderError, "size"),
        (pax({b"size": b"1.5"}) + member(b"b.x"), HeaderError, "size"),
        (pax({b"size": b"9" * 20}) + member(b"b.x"), TruncatedError, "bytes"),
        (pax({b"size": b"9" * 21}) + member(b"b.x"), HeaderError, "size"),
        (pax({b"size": b"9" * 10_000}) + member(b"b.x"), HeaderError, "size"),
        (pax({b"size": "٣".encode()}) + member(b"b.x"), HeaderError, "size"),
        (pax({b"comment": b"x" * (1 << 20)}) + member(b"b.x"), HeaderError, "a header of"),
        (gnu(b"x" * (1 << 20)) + member(b"b.x"), HeaderError, "a header of"),
        (header(b"x", 8**11 - 1, b"x"), HeaderError, "a header of"),
        (member(b"x", b"9 path=b\n", b"x") + member(b"b.x") + b"x", HeaderError, "checksum"),
        (member(b"x", b"99 path=b\n", b"x") + member(b"b.x"), HeaderError, "pax record"),
        (member(b"x", b"0 path=b\n", b"X") + member(b"b.x"), HeaderError, "pax record"),
        (member(b"x", b"no record", b"g") + member(b"b.x"), HeaderError, "pax record"),
        (pax({b"path": b"b.x"}) + END, TruncatedError, "announces"),
        (gnu(b"b.x") + END, TruncatedError, "announces"),
        (gnu(b"b.x", b"K") + END, TruncatedError, "announces"),
        (gnu(b"b.x")[:600], TruncatedError, "header"),
    ],
)
def test_headers_that_make_no_sense(bad: bytes, kind: type[StreamwdsError], message: str) -> None:
    data = member(b"a.x") + bad.ljust(len(bad) + -len(bad) % 512, b"x") if kind is HeaderError else member(b"a.x") + bad
    samples, (error,) = read_on(shards(data + END[: 0 if kind is TruncatedError else None], DOGS))
    assert (type(error), error.url) == (kind, "0.tar")
    assert error.offset is not None
    assert 512 <= error.offset <= len(data)
    assert message in error.message
    assert len(error.message) < 300
    assert set(keys(samples)) - {"a"} == {"7", "8"}


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    *PACK.items(),
    ("two gzip streams", lambda data: gzip.compress(data[:2048]) + gzip.compress(data[2048:])),
]


@pytest.mark.parametrize("pack", [pack for _, pack in PACKED], ids=[name for name, _ in PACKED])
def test_a_compressed_shard_cut_anywhere(pack: Callable[[bytes], bytes]) -> None:
    data = archive([(b"%d.bin" % n, os.urandom(300)) for n in range(6)])
    whole = expected(data)[0]
    packed = pack(data)
    most = 0
    for cut in [*range(1, 40), *range(40, len(packed) - 40, 41), *range(len(packed) - 40, len(packed))]:
        samples, (error,) = read_on(shards(packed[:cut], DOGS))
        assert isinstance(error, TarError)
        assert error.url == "0.tar"
        assert error.offset is not None
        assert samples[-2:] == expected(DOGS, "1.tar")[0]
        assert samples[:-2] == whole[: len(samples) - 2]
        most = max(most, len(samples) - 2)
    assert most >= 5 or pack is not gzip.compress
    assert read(shards(packed)) == whole


@pytest.mark.parametrize("pack", [pack for _, pack in PACKED], ids=[name for name, _ in PACKED])
def test_a_compressed_shard_with_a_changed_byte(pack: Callable[[bytes], bytes]) -> None:
    data = archive([(b"%d.bin" % n, os.urandom(300)) for n in range(6)])
    packed = pack(data)
    noticed = 0
    for at in range(0, len(packed), 23):
        changed = packed[:at] + bytes([packed[at] ^ 0x55]) + packed[at + 1 :]
        samples, found = read_on(shards(changed, DOGS))
        assert samples[-2:] == expected(DOGS, "1.tar")[0]
        assert len(found) <= 1
        noticed += len(found)
    assert noticed > len(range(0, len(packed), 23)) // 2


def test_garbage_behind_a_gzip_stream_is_an_error() -> None:
    samples, (error,) = read_on(shards(gzip.compress(CATS) + b"garbage", DOGS))
    assert isinstance(error, TarError)
    assert keys(samples) == ["1", "2", "7", "8"]
    assert read(shards(gzip.compress(CATS) + bytes(100))) == read(shards(CATS))


# ---- handlers

BAD = {"header": (HTML, "HeaderError"), "cut": (CATS[:2048], "TruncatedError"), "twice": (TWICE, "DuplicateFieldError")}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("number", [0, 1])
def test_a_handler_is_asked_once_for_each_error(what: str, number: int) -> None:
    asked: list[Exception] = []

    def answer(error: Exception) -> bool:
        asked.append(error)
        raise error

    with pytest.raises(StreamwdsError) as caught:
        list(ways(answer)[number](shards(BAD[what][0], DOGS)))
    assert asked == [caught.value]


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("number", [0, 1])
def test_what_a_handler_raises_propagates(what: str, number: int) -> None:
    def refuse(error: Exception) -> bool:
        asked.append(error)
        raise OpenError("no more") from error

    def give_up(error: Exception) -> bool:
        asked.append(error)
        raise SystemExit(3)

    for handler, kind in ((refuse, OpenError), (give_up, SystemExit)):
        asked: list[Exception] = []
        with pytest.raises(kind):
            list(ways(handler)[number](shards(BAD[what][0], DOGS)))
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("answer", "goes_on"), [(True, True), (1, True), ("yes", True), (False, False), (0, False), (None, False)]
)
@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("number", [0, 1])
def test_true_goes_on_and_false_ends_the_stream(answer: Any, goes_on: bool, what: str, number: int) -> None:
    data, kind = BAD[what]
    stream = ways(lambda error: answer)[number](shards(DOGS, data, DOGS))
    certain = expected(data)[0]
    if not goes_on:
        assert keys(list(stream)) == ["7", "8", *keys(certain)[: 1 if what == "twice" else None]]
        assert stream.skipped == {}
        return
    with pytest.warns(SkippedWarning):
        assert keys(list(stream)) == ["7", "8", *keys(certain), "7", "8"]
    assert stream.skipped == {kind: 1}


HANDLED: dict[str, Callable[[Handler], Stream[Any]]] = {
    "open_shards": lambda handler: Bad([3, *shards(DOGS)]) | open_shards(handler=handler),
    "tarfiles": lambda handler: shards(HTML, DOGS) | open_shards | tarfiles(handler=handler),
    "group_by_keys": lambda handler: shards(TWICE, DOGS) | open_shards | tarfiles | group_by_keys(handler=handler),
    "tarsamples": lambda handler: shards(TWICE, DOGS) | tarsamples(handler=handler),
    "tarsamples, items": lambda handler: Bad([3, *shards(DOGS)]) | tarsamples(handler=handler),
}


@attrs.frozen
class Bad:
    items: list[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


@pytest.mark.parametrize("name", HANDLED)
def test_every_stage_takes_every_handler(name: str) -> None:
    make = HANDLED[name]
    with pytest.raises(StreamwdsError):
        list(make(reraise_exception))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        all_of_it = list(make(ignore_and_continue))
        before = list(make(ignore_and_stop))
        assert len(seen) == 1  # (of the first: that it was skipped)
        assert list(make(warn_and_continue)) == all_of_it
        assert list(make(warn_and_stop)) == before
        assert [warning.category for warning in seen] == [SkippedWarning] * 3
        assert list(make(skip_at_most(1))) == all_of_it
    assert len(before) < len(all_of_it)
    with pytest.raises(StreamwdsError):
        list(make(skip_at_most(0)))


def test_each_class_of_error_is_warned_of_once_and_counted() -> None:
    data = [HTML, CATS[:2048], HTML, TWICE, b"", HTML, TWICE, DOGS]
    for way in ways(ignore_and_continue):
        stream = way(shards(*data))
        with pytest.warns(SkippedWarning) as seen:
            assert keys(list(stream)) == ["4", "6", "4", "6", "7", "8"]
        assert stream.skipped == {"HeaderError": 3, "TruncatedError": 2, "DuplicateFieldError": 2}
        told = [str(warning.message) for warning in seen]
        assert sorted(message.split("class ")[1].split()[0] for message in told) == sorted(stream.skipped)
        assert all("stream.skipped" in message for message in told)
        assert {message.split(".tar")[0] for message in told} == {"skipped: 0", "skipped: 1", "skipped: 3"}


def test_warn_and_continue_tells_every_error_once() -> None:
    for way in ways(warn_and_continue):
        with pytest.warns(SkippedWarning) as seen:
            list(way(shards(HTML, HTML, TWICE)))
        assert [str(warning.message)[:14] for warning in seen] == ["skipped: 0.tar", "skipped: 1.tar", "skipped: 2.tar"]


def test_errors_tell_a_handler_how_many_items_were_seen_and_skipped() -> None:
    told: list[tuple[int, int]] = []

    def note(error: Exception) -> bool:
        assert isinstance(error, StreamwdsError)
        told.append((error.skipped, error.seen))
        return True

    with pytest.warns(SkippedWarning):
        list(shards(CATS, HTML, DOGS, HTML, TWICE) | tarsamples(handler=note))
    assert told == [(0, 3), (1, 5), (2, 6)]


@pytest.mark.parametrize(("limit", "bad"), [(0, 1), (1, 2), (3, 4), (0.002, 3)])
def test_skip_at_most_gives_up_in_the_end(limit: float, bad: int) -> None:
    for way in ways(skip_at_most(limit)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedWarning)
            assert keys(list(way(shards(*[HTML] * (bad - 1), DOGS)))) == ["7", "8"]
            with pytest.raises(HeaderError) as caught:
                list(way(shards(*[HTML] * bad, DOGS)))
        assert caught.value.url == f"{bad - 1}.tar"


def test_an_error_in_one_shard_has_no_key_of_another() -> None:
    for way in ways():
        with pytest.raises(HeaderError) as caught:
            list(way(shards(DOGS, HTML)))
        assert (caught.value.url, caught.value.key) == ("1.tar", None)


# ---- resuming


def test_resuming_where_shards_are_damaged() -> None:
    data = [DOGS, HTML, CATS[:4000], TWICE, MIXED[:3000], b"", gzip.compress(MIXED)[:-30], CATS]
    for way in ways(ignore_and_continue):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedWarning)
            assert check_resume(way(shards(*data))) > 10


def test_resuming_before_every_cut() -> None:
    for way in ways(ignore_and_continue):
        for cut in range(512, len(CATS), 512):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SkippedWarning)
                assert check_resume(way(shards(CATS[:cut], DOGS))) >= 2


def test_resuming_a_shard_that_is_shorter_now(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(CATS)
    positions = [position for _, position in ([str(path)] | tarsamples).tracked()]
    path.write_bytes(CATS[:1024])
    with pytest.raises(TruncatedError):
        list(([str(path)] | tarsamples).at(positions[1]))


# ---- errors as values


def test_errors_from_shards_pickle() -> None:
    made = [read_until(shards(data))[1] for data in (HTML, CATS[:2048], CATS[:1500], b"PK\x03\x04")]
    made.append(read_on(shards(TWICE))[1][0])
    for error in made:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.__dict__ == error.__dict__
        assert error.url == "0.tar"
        assert str(error).startswith("0.tar")


ERRORS = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, StreamwdsError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_are_made_of_one_message(kind: type[StreamwdsError]) -> None:
    error = kind("what happened", url="a.tar", offset=512, key="1", field="jpg")
    assert str(error) == "a.tar, byte 512, key '1', field 'jpg': what happened"
    for made in (pickle.loads(pickle.dumps(error)), kind(str(error))):
        assert type(made) is kind
        assert str(made) == str(error)
    assert (kind("what happened").message, str(kind())) == ("what happened", "")


def test_no_two_samples_of_a_damaged_shard_are_mixed() -> None:
    """Whatever two blocks of a shard change places, every sample's fields come from members of its own key."""
    data = archive([(b"%d.%s" % (n, field), b"%d" % n * 40) for n in range(3) for field in (b"a", b"b")])
    blocks = [data[at : at + 512] for at in range(0, len(data) - 1024, 512)]
    for a, b in itertools.combinations(range(len(blocks)), 2):
        swapped = list(blocks)
        swapped[a], swapped[b] = blocks[b], blocks[a]
        changed = b"".join(swapped) + END
        certain, damaged = expected(changed)
        samples, found = read_on(shards(changed))
        assert samples == certain
        assert sum(not isinstance(error, DuplicateFieldError) for error in found) == damaged
