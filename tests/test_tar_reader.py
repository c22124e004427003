"""Intact shards as real archives have them: what the reader makes of each, in every way to read it, from anywhere."""

from __future__ import annotations

import gc
import gzip
import io
import itertools
import os
import subprocess
import tarfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamwds import Member, Shard, open_shards, tarfiles, tarsamples
from streamwds.errors import StreamwdsError, TarError, TruncatedError
from streamwds.testing import check_resume
from tests.archives import (
    END,
    PACK,
    Opener,
    Sample,
    Source,
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

SHARED = Path(__file__).parents[2] / "shared" / "data"

CATS = archive([(b"1.jpg", b"one"), (b"1.cls", b"1"), (b"2.jpg", b"two"), (b"2.cls", b"2"), (b"3.jpg", b"three")])


def check(source: Source, eof: str = "strict") -> list[Sample]:
    """The samples, read in every way, tried from each position."""
    samples = read(source, eof)
    for way in ways(eof=eof):
        assert check_resume(way(source)) == len(samples)
    return samples


def fields(samples: list[Sample]) -> list[tuple[str, dict[str, bytes]]]:
    return [(s["__key__"], {k: v for k, v in s.items() if not k.startswith("__")}) for s in samples]


# ---- names


@pytest.mark.parametrize(
    ("name", "key", "field"),
    [
        ("0001.jpg", "0001", "jpg"),
        ("0001.seg.png", "0001", "seg.png"),
        ("a/b.v1/c.Seg.PNG", "a/b.v1/c", "seg.png"),
        ("./a.jpg", "./a", "jpg"),
        ("../a.jpg", "../a", "jpg"),
        ("/a.jpg", "/a", "jpg"),
        ("a//b.jpg", "a//b", "jpg"),
        ("a.b/c.d/e.f", "a.b/c.d/e", "f"),
        ("UPPER.JPG", "UPPER", "jpg"),
        ("ÜBER.ÄÖ", "ÜBER", "äö"),
        ("a.", "a", ""),
        ("a..b", "a", ".b"),
        ("a.b.", "a", "b."),
        (" . ", " ", " "),
        ("a b.c d", "a b", "c d"),
        ("line\nbreak.tx\nt", "line\nbreak", "tx\nt"),
        ("back\\slash.txt", "back\\slash", "txt"),
        ("中文/日本.語", "中文/日本", "語"),
        ("e\u0301.txt", "e\u0301", "txt"),
        ("\udcff\udcfe.jp\udc80", "\udcff\udcfe", "jp\udc80"),
        ("a" * 90 + "." + "b" * 9, "a" * 90, "b" * 9),
        ("d/" * 100 + "a." + "b" * 300, "d/" * 100 + "a", "b" * 300),
        ("f" * 2_000 + ".txt", "f" * 2_000, "txt"),
        ("BZh9.jpg", "BZh9", "jpg"),  # begins as a bz2 file does
        ("PK\x03\x04.jpg", "PK\x03\x04", "jpg"),
        ("<html>.jpg", "<html>", "jpg"),
        ("__x__.jpg", "__x__", "jpg"),
        ("a/__x__.jpg", "a/__x__", "jpg"),
        ("a/__x__/b.jpg", "a/__x__/b", "jpg"),
        ("___.jpg", "___", "jpg"),
        ("__x/a.jpg", "__x/a", "jpg"),
        ("a.__b__", "a", "__b__"),
    ],
)
def test_names_are_cut_at_the_first_dot_of_their_last_part(name: str, key: str, field: str) -> None:
    raw = name.encode("utf-8", "surrogateescape")
    kinds = [pax({b"path": raw}) + member(b"short", b"x"), gnu(raw) + member(b"short", b"x", magic=b"ustar  \0")]
    if len(raw) <= 100:
        kinds.append(member(raw, b"x"))
    for data in kinds:
        assert read(shards(data + END)) == [{"__key__": key, "__url__": "0.tar", field: b"x"}]
    assert key_and_field(name) == (key, field)


NAMELESS = ["README", ".hidden", "a/.b", "a/._b.jpg", ".", "..", "a/..", "/", "a.b/c", "__x__", "____", "__x__/a.jpg"]


@pytest.mark.parametrize("name", NAMELESS)
def test_files_without_key_or_field_and_metadata_are_passed_over(name: str) -> None:
    one = [(b"1.jpg", b"one"), (name.encode(), b"x"), (b"1.cls", b"1")]
    two = [(name.encode(), b"x"), (b"2.jpg", b"two"), (name.encode(), b"x")]
    samples = check(shards(archive(one + two), archive([(name.encode(), b"x")])))
    assert fields(samples) == [("1", {"jpg": b"one", "cls": b"1"}), ("2", {"jpg": b"two"})]


# ---- what real archives hold

ODD: dict[str, tuple[bytes, list[tuple[str, bytes]]]] = {
    "v7": (member(b"a.txt", b"x", b"\0", magic=bytes(8)), [("a.txt", b"x")]),
    "contiguous": (member(b"a.txt", b"x", b"7"), [("a.txt", b"x")]),
    "old GNU": (member(b"a.txt", b"x", magic=b"ustar  \0"), [("a.txt", b"x")]),
    "GNU, with times where ustar has its prefix": (
        member(b"a.txt", b"x", prefix=b"14000000000", magic=b"ustar  \0"),
        [("a.txt", b"x")],
    ),
    "ustar prefix": (
        member(b"n" * 96 + b".txt", b"x", prefix=b"p" * 155),
        [("p" * 155 + "/" + "n" * 96 + ".txt", b"x")],
    ),
    "base-256 size": (header(b"a.txt", b"\x80" + bytes(10) + b"\x03") + padded(b"xyz"), [("a.txt", b"xyz")]),
    "size between spaces": (header(b"a.txt", b"         3 \0") + padded(b"xyz"), [("a.txt", b"xyz")]),
    "size of twelve digits": (header(b"a.txt", b"000000000003") + padded(b"xyz"), [("a.txt", b"xyz")]),
    "pax path": (pax({b"path": b"b/c.txt"}) + member(b"a.txt", b"x"), [("b/c.txt", b"x")]),
    "pax path, for one member": (
        pax({b"path": b"b.txt"}) + member(b"a.txt", b"x") + member(b"c.txt", b"y"),
        [("b.txt", b"x"), ("c.txt", b"y")],
    ),
    "pax size": (pax({b"size": b"513"}) + header(b"a.txt", 0) + padded(b"y" * 513), [("a.txt", b"y" * 513)]),
    "pax size, over the header's": (
        pax({b"size": b"3"}) + header(b"a.txt", 8**11 - 1) + padded(b"xyz"),
        [("a.txt", b"xyz")],
    ),
    "pax, empty records": (pax({b"path": b"", b"size": b""}) + member(b"a.txt", b"xyz"), [("a.txt", b"xyz")]),
    "pax, other records": (
        pax({b"mtime": b"1.5", b"uid": b"70000000", b"hdrcharset": b"BINARY", b"SCHILY.xattr.user.x": bytes(9)})
        + member(b"a.txt", b"x"),
        [("a.txt", b"x")],
    ),
    "pax, longer than a block": (
        pax({b"comment": b"c" * 5_000, b"path": b"b.txt"}) + member(b"a.txt", b"x"),
        [("b.txt", b"x")],
    ),
    "pax twice": (pax({b"path": b"b.txt"}) + pax({b"size": b"1"}) + member(b"a.txt", b"x"), [("b.txt", b"x")]),
    "Solaris": (pax({b"path": b"b.txt"}, b"X") + member(b"a.txt", b"x"), [("b.txt", b"x")]),
    "global pax": (
        pax({b"comment": b"from git"}, b"g") + member(b"a.txt", b"x") + pax({b"mtime": b"1"}, b"g"),
        [("a.txt", b"x")],
    ),
    "global pax between pax and member": (
        pax({b"path": b"b.txt"}) + pax({b"comment": b"c"}, b"g") + member(b"a.txt", b"x"),
        [("b.txt", b"x")],
    ),
    "GNU long name": (gnu(b"d/" * 99 + b"b.txt") + member(b"a.txt", b"x"), [("d/" * 99 + "b.txt", b"x")]),
    "GNU long name that is empty": (
        gnu(b"") + member(b"a.txt", b"x") + pax({b"path": b"c.txt"}) + gnu(b"") + member(b"b.txt", b"y"),
        [("a.txt", b"x"), ("b.txt", b"y")],
    ),
    "GNU long link": (
        gnu(b"l" * 200, b"K") + gnu(b"b.txt") + member(b"a.txt", b"", b"2") + member(b"c.txt"),
        [("c.txt", b"")],
    ),
    "a folder named by pax": (pax({b"path": b"a.b/"}) + member(b"a.b/", b"", b"5") + member(b"c.d"), [("c.d", b"")]),
    "pax size before a folder": (
        pax({b"size": b"512"}) + header(b"a.b", 512, b"5") + member(b"c.d", b"x"),
        [("c.d", b"x")],
    ),
    "links, devices, folders": (
        b"".join(header(b"a.%c" % kind, 512, b"%c" % kind) for kind in b"123456") + member(b"a.txt", b"x"),
        [("a.txt", b"x")],
    ),
    "v7 folder": (member(b"a.b/", b"", b"\0", magic=bytes(8)) + member(b"a.txt", b"x"), [("a.txt", b"x")]),
    "a volume label, and kinds that nobody knows": (
        member(b"label.txt", b"", b"V") + member(b"z.txt", b"data" * 500, b"Z") + member(b"a.txt", b"x"),
        [("a.txt", b"x")],
    ),
    "no data": (
        member(b"a.txt") + member(b"a.cls") + member(b"b.txt"),
        [("a.txt", b""), ("a.cls", b""), ("b.txt", b"")],
    ),
    "data of whole blocks": (
        member(b"a.txt", b"x" * 512) + member(b"b.txt", b"y" * 1024),
        [("a.txt", b"x" * 512), ("b.txt", b"y" * 1024)],
    ),
    "data that is zero blocks": (
        member(b"a.txt", bytes(4096)) + member(b"b.txt"),
        [("a.txt", bytes(4096)), ("b.txt", b"")],
    ),
    "data that looks like headers": (
        member(b"a.txt", header(b"no.txt", 512) * 3) + member(b"b.txt"),
        [("a.txt", header(b"no.txt", 512) * 3), ("b.txt", b"")],
    ),
    "tar in tar": (member(b"1.tar", CATS) + member(b"1.cls"), [("1.tar", CATS), ("1.cls", b"")]),
    "tar in tar in tar": (
        member(b"1.tar", archive([(b"2.tar", CATS)])) + member(b"1.cls"),
        [("1.tar", archive([(b"2.tar", CATS)])), ("1.cls", b"")],
    ),
}


@pytest.mark.parametrize("what", ODD)
def test_archives_with(what: str) -> None:
    data, files = ODD[what]
    assert [(found.name, found.data) for found in shards(data + END) | open_shards | tarfiles] == files
    beside = member(b"0.txt", b"before") + data + member(b"9.txt", b"behind") + END
    around = [("0.txt", b"before"), *files, ("9.txt", b"behind")]
    source = shards(beside, data + END)
    assert [(found.name, found.data) for found in source | open_shards | tarfiles] == around + files
    samples = check(source)
    assert samples == [*expected(beside)[0], *expected(data + END, "1.tar")[0]]
    assert sum(len(sample) - 2 for sample in samples) == len(around + files)


def test_members_say_where_they_lie() -> None:
    data = member(b"a.b", b"x") + pax({b"path": b"c.d"}) + member(b"c.d", b"y") + END
    assert list(shards(data) | open_shards | tarfiles) == [
        Member("0.tar", "a.b", b"x", 0),
        Member("0.tar", "c.d", b"y", 1024),
    ]


@pytest.mark.parametrize(
    "data",
    [
        member(b"a.txt", b"x", b"S"),
        pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}) + member(b"GNUSparseFile.0/a.txt", b"x"),
        pax({b"GNU.sparse.size": b"5"}) + member(b"a.txt", b"x"),
    ],
)
def test_sparse_members_are_an_error_that_tells_the_way_out(data: bytes) -> None:
    samples, (error,) = read_on(shards(member(b"0.txt") + member(b"1.txt") + data + END, CATS))
    assert type(error) is TarError
    assert "--sparse" in error.message
    assert fields(samples) == [("0", {"txt": b""}), *fields(read(shards(CATS)))]


@pytest.mark.parametrize("records", [{b"path": b"a.txt"}, {b"size": b"1"}])
def test_a_global_header_can_name_no_member(records: dict[bytes, bytes]) -> None:
    _, error = read_until(shards(pax(records, b"g") + member(b"a.txt", b"x") + END))
    assert (type(error), error.offset) == (TarError, 0)


# ---- samples


def test_samples_are_members_that_follow_each_other() -> None:
    assert fields(check(shards(CATS))) == [
        ("1", {"jpg": b"one", "cls": b"1"}),
        ("2", {"jpg": b"two", "cls": b"2"}),
        ("3", {"jpg": b"three"}),
    ]


def test_fields_keep_the_order_of_the_archive() -> None:
    (sample,) = read(shards(archive([(b"1.z", b""), (b"1.a", b""), (b"1.m", b"")])))
    assert list(sample) == ["__key__", "__url__", "z", "a", "m"]
    assert {type(value) for value in sample.values()} == {str, bytes}


def test_equal_keys_that_do_not_follow_each_other_are_two_samples() -> None:
    data = archive([(b"1.a", b"1"), (b"2.a", b"2"), (b"1.b", b"3"), (b"1.a", b"4")])
    assert fields(check(shards(data))) == [("1", {"a": b"1"}), ("2", {"a": b"2"}), ("1", {"b": b"3", "a": b"4"})]


def test_equal_keys_on_both_sides_of_a_shards_end_are_two_samples() -> None:
    one, two = archive([(b"0.a", b""), (b"1.a", b"1")]), archive([(b"1.b", b"2"), (b"2.a", b"")])
    found = check(shards(one, two))
    assert fields(found) == [("0", {"a": b""}), ("1", {"a": b"1"}), ("1", {"b": b"2"}), ("2", {"a": b""})]
    assert [sample["__url__"] for sample in found] == ["0.tar", "0.tar", "1.tar", "1.tar"]


@pytest.mark.parametrize("data", [archive([(b"1.a", b"1")]), archive([(b"1.a", b"1"), (b"1.b", b"2")]), CATS])
@pytest.mark.parametrize("times", [2, 3])
def test_a_shard_several_times_in_a_row(tmp_path: Path, data: bytes, times: int) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    assert check([str(path)] * times) == read([str(path)]) * times


@pytest.mark.parametrize("two", [b"1.JPG", b"1.jpg", b"1.Jpg"])
def test_a_sample_that_has_a_field_twice_is_dropped_as_a_whole(two: bytes) -> None:
    data = archive([(b"0.cls", b""), (b"1.jpg", b"a"), (b"1.cls", b"c"), (two, b"b"), (b"1.x", b"d"), (b"2.cls", b"")])
    samples, (error,) = read_on(shards(data, CATS))
    assert fields(samples) == [("0", {"cls": b""}), ("2", {"cls": b""}), *fields(read(shards(CATS)))]
    assert (type(error).__name__, error.key, error.field, error.offset) == ("DuplicateFieldError", "1", "jpg", 2560)


@pytest.mark.parametrize("name", [b"1.__key__", b"1.__URL__"])
def test_no_file_takes_the_place_of_key_or_url(name: bytes) -> None:
    samples, (error,) = read_on(shards(archive([(b"1.a", b""), (name, b"evil"), (b"2.a", b"")])))
    assert (fields(samples), error.key, error.field) == ([("2", {"a": b""})], "1", name[2:].decode().lower())


def test_samples_are_the_readers_to_change() -> None:
    stream = shards(CATS) | tarsamples
    before = [dict(sample) for sample in stream]
    for sample in stream:
        sample.clear()
    assert list(stream) == before


# ---- the end of an archive


@pytest.mark.parametrize(
    "end", [bytes(512), END, bytes(10_240), END + b"garbage", END + b"g" * 5_000, END + b"\n" * 512]
)
def test_what_follows_the_end_and_is_no_archive_is_ignored(end: bytes) -> None:
    assert check(shards(CATS[:-1024] + end, CATS)) == [*read(shards(CATS)), *expected(CATS, "1.tar")[0]]


@pytest.mark.parametrize("gap", [END, bytes(512), bytes(10_240 - 512), bytes(512 * 99)])
def test_archives_that_follow_each_other_in_a_file_are_all_read(gap: bytes) -> None:
    other = by_stdlib([("4.jpg", b"four"), ("5.jpg", b"five")])
    old = member(b"6.jpg", b"six", b"\0", magic=bytes(8)) + END
    samples = check(shards(CATS[:-1024] + gap + other + old + b"garbage"))
    assert [sample["__key__"] for sample in samples] == ["1", "2", "3", "4", "5", "6"]


def test_the_keys_of_archives_in_one_file_go_on() -> None:
    data = archive([(b"1.a", b"a")]) + archive([(b"1.b", b"b"), (b"2.a", b"")])
    assert fields(check(shards(data))) == [("1", {"a": b"a", "b": b"b"}), ("2", {"a": b""})]


@pytest.mark.parametrize("damage", [lambda b: b[:50] + b"!" + b[51:], lambda b: b[:300]])
def test_a_damaged_header_of_a_second_archive_is_no_garbage(damage: Callable[[bytes], bytes]) -> None:
    samples, (error,) = read_on(shards(CATS + damage(member(b"4.jpg")), CATS))
    assert error.offset == len(CATS)
    assert fields(samples) == [*fields(read(shards(CATS)))[:-1], *fields(read(shards(CATS)))]


@pytest.mark.parametrize("end", [END, bytes(512), bytes(10_240), pax({b"comment": b"an empty commit"}, b"g") + END])
def test_empty_archives_have_no_samples(end: bytes) -> None:
    assert read(shards(end, CATS, end)) == expected(CATS, "1.tar")[0]


def test_an_empty_file_is_an_error_unless_lenient() -> None:
    _, error = read_until(shards(b""))
    assert (type(error), error.url, error.offset, error.message) == (TruncatedError, "0.tar", 0, "the shard is empty")
    assert read(shards(b"", CATS), eof="lenient") == expected(CATS, "1.tar")[0]


def test_a_missing_end_block_may_be_a_cut() -> None:
    samples, (error,) = read_on(shards(CATS[:-1024], CATS))
    assert fields(samples) == [*fields(read(shards(CATS)))[:-1], *fields(read(shards(CATS)))]
    assert (type(error), error.url, error.offset, error.key) == (TruncatedError, "0.tar", len(CATS) - 1024, "3")
    assert 'eof="lenient"' in error.message
    assert check(shards(CATS[:-1024]), eof="lenient") == read(shards(CATS))


@pytest.mark.parametrize(
    "cut", [CATS[:-1500], CATS[:-1024] + header(b"4.jpg")[:100], CATS[:-1024] + pax({b"path": b"4.jpg"})]
)
def test_lenient_forgives_nothing_else(cut: bytes) -> None:
    samples, (error,) = read_on(shards(cut), eof="lenient")
    assert type(error) is TruncatedError
    assert fields(samples) == fields(read(shards(CATS)))[:2]


def test_eof_is_strict_or_lenient() -> None:
    for part in (tarsamples, tarfiles):
        with pytest.raises(ValueError, match="lenient"):
            part(eof="loose")


# ---- from file to bytes


@pytest.mark.parametrize("name", PACK)
def test_compressed_shards_are_known_by_their_bytes(tmp_path: Path, name: str) -> None:
    paths = [tmp_path / "a.tar", tmp_path / "b.tgz", tmp_path / "c"]
    for path in paths:
        path.write_bytes(PACK[name](CATS))
    (tmp_path / "d.tar.gz").write_bytes(CATS)
    samples = check([*map(str, paths), str(tmp_path / "d.tar.gz")])
    assert fields(samples) == fields(read(shards(CATS))) * 4


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("at", [1, 1024, 1500, len(CATS)])
def test_several_compressed_streams_in_one_file_are_one_shard(name: str, at: int) -> None:
    data = PACK[name](CATS[:at]) + PACK[name](CATS[at:])
    assert check(shards(data)) == read(shards(CATS))


@pytest.mark.parametrize("name", PACK)
def test_compressed_archives_that_follow_each_other_are_all_read(name: str) -> None:
    assert fields(check(shards(PACK[name](CATS) * 2))) == fields(read(shards(CATS))) * 2


@pytest.mark.parametrize("most", [1, 7, 511, 512, 513, 4096])
@pytest.mark.parametrize("pack", [bytes, *PACK.values()])
def test_the_size_of_what_a_pipe_gives_does_not_matter(most: int, pack: Callable[[bytes], bytes]) -> None:
    data = by_stdlib([(f"{n}/{'x' * n}.{field}", b"y" * 37 * n) for n in range(0, 200, 17) for field in ("a", "b.c")])
    source = shards(pack(data), most=most)
    assert read(source) == expected(data)[0]
    assert check_resume(source | tarsamples, places=[0, 5, 10]) == 3


def test_a_pipe_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(CATS,))
    writer.start()
    samples = list([str(path)] | tarsamples)
    writer.join()
    assert fields(samples) == fields(read(shards(CATS)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_member_of_many_megabytes(pack: Callable[[bytes], bytes]) -> None:
    large = bytes(range(256)) * 80_000 + b"end"
    data = archive([(b"1.bin", large), (b"1.cls", b"1"), (b"2.cls", b"2")])
    source = shards(pack(data))
    assert read(source) == expected(data)[0]
    assert check_resume(source | tarsamples) == 2


@pytest.mark.parametrize("pack", [bytes, lambda data: gzip.compress(data, 1)])
def test_memory_is_bounded_by_the_largest_member(pack: Callable[[bytes], bytes]) -> None:
    data = pack(archive([(b"%d.bin" % n, bytes([n]) * 1_000_000) for n in range(60)]))
    for way in ways():
        tracemalloc.start()
        try:
            count = sum(1 for _ in way(shards(data)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert count == 60
        assert peak - len(data) < 12_000_000


def test_nothing_is_opened_before_it_is_read_and_all_is_closed() -> None:
    opener = Opener({"0.tar": CATS, "1.tar": CATS})

    class Source:
        def __iter__(self) -> Iterator[Any]:
            return (Shard(url, opener) for url in opener.contents)

    for way in ways():
        stream = iter(way(Source()))
        assert opener.opened == []
        next(stream)
        assert len(opener.opened) == 1
        assert len(list(stream)) == 5
        assert [file.closed for file in opener.opened] == [True, True]
        opener.opened.clear()


def test_shards_are_read_side_by_side() -> None:
    contents = [archive([(b"%05d.%d" % (n, which), b"%d" % which * n) for n in range(1500)]) for which in range(6)]
    alone = [read(shards(data)) for data in contents]
    for number in (0, 1):
        streams = [iter(ways()[number](shards(data))) for data in contents]
        abandoned = [iter(ways()[number](shards(data))) for data in contents]
        for stream in abandoned:
            next(stream)
        together = list(zip(*streams, strict=True))
        assert [list(samples) for samples in zip(*together, strict=True)] == alone
        assert [len(list(stream)) for stream in abandoned] == [1499] * 6


def test_stopping_early_closes_the_shard() -> None:
    opener = Opener({"0.tar": CATS})

    class Source:
        def __iter__(self) -> Iterator[Any]:
            return iter([Shard("0.tar", opener)])

    for way in ways():
        stream = iter(way(Source()))
        next(stream)
        del stream
        gc.collect()
        assert [file.closed for file in opener.opened] == [True]
        opener.opened.clear()


def test_resuming_seeks_in_a_plain_file(tmp_path: Path) -> None:
    data = archive([(b"%d.bin" % n, bytes(200_000)) for n in range(50)])
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    read_bytes = 0

    class Counting(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            nonlocal read_bytes
            count = super().readinto(buffer) or 0
            read_bytes += count
            return count

    class Source:
        def __iter__(self) -> Iterator[Any]:
            return iter([Shard(str(path), lambda url, offset: Counting(url, "rb"))])

    positions = [position for _, position in (Source() | tarsamples).tracked()]
    assert len(positions) == 50
    read_bytes = 0
    assert [sample["__key__"] for sample in (Source() | tarsamples).at(positions[47])] == ["48", "49"]
    assert read_bytes < 2_000_000


# ---- beside other readers


def by_tarfile(data: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        files = [info for info in tar if info.isreg()]
        return [(info.name, handle.read()) for info in files if (handle := tar.extractfile(info))]


def grouped(files: list[tuple[str, bytes]], url: str = "0.tar") -> list[Sample]:
    """The samples of files, none of which has a field twice."""
    named = [(found, data) for name, data in files if (found := key_and_field(name))]
    groups = itertools.groupby(named, lambda item: item[0][0])
    return [{"__key__": key, "__url__": url, **{found[1]: data for found, data in group}} for key, group in groups]


FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
FILES = [
    ("a/0001.jpg", b"\xff\xd8" * 1000),
    ("a/0001.cls", b"7"),
    ("a/b.v1/c.seg.png", b""),
    ("ünï/中文.txt", "é".encode()),
    ("d" * 60 + "/" + "e" * 90 + ".txt", b"prefix"),
    ("/".join(["f" * 50] * 3) + "/" + "g" * 80 + ".json", b"{}"),
    ("a/0001.late.txt", b"x" * 511),
]


@pytest.mark.parametrize("name", FORMATS)
def test_archives_of_stdlib(name: str) -> None:
    data = by_stdlib(FILES, FORMATS[name])
    assert by_tarfile(data) == FILES
    samples = check(shards(data))
    assert samples == expected(data)[0] == grouped(FILES)


def test_a_size_beyond_octal_digits_is_read_as_stdlib_writes_it() -> None:
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):  # noqa: A001
        info = tarfile.TarInfo("a.bin")
        info.size = 8**11 + 5
        with pytest.raises(StreamwdsError, match=f"11 of {8**11 + 5} bytes are there"):
            list(shards(info.tobuf(format) + b"only so few") | tarsamples)


def on_disk(folder: Path, files: list[tuple[str, bytes]]) -> list[str]:
    for name, data in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [name for name, _ in files]


@pytest.mark.needs("GNU tar")
@pytest.mark.parametrize("format", ["gnu", "oldgnu", "pax", "ustar", "v7"])
@pytest.mark.parametrize("option", ["--", "--gzip", "--bzip2", "--xz", "--blocking-factor=1"])
def test_archives_of_gnu_tar(tmp_path: Path, format: str, option: str) -> None:  # noqa: A002
    files = [(name, data) for name, data in FILES if format != "v7" or len(name.encode()) < 100]
    names = on_disk(tmp_path, files)
    (tmp_path / "link.jpg").symlink_to("a/0001.jpg")
    (tmp_path / "hard.jpg").hardlink_to(tmp_path / names[0])
    (tmp_path / "folder.d").mkdir()
    others = ["link.jpg", "hard.jpg", "folder.d"]
    if format != "v7":
        os.mkfifo(tmp_path / "fifo.txt")
        others.append("fifo.txt")
    command = ["tar", "-cf", "out", f"--format={format}", option, *names, *others]
    done = subprocess.run([part for part in command if part != "--"], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    data = (tmp_path / "out").read_bytes()
    assert check(shards(data)) == grouped(files)


@pytest.mark.needs("GNU tar")
def test_archives_that_gnu_tar_appends_and_joins(tmp_path: Path) -> None:
    names = on_disk(tmp_path, FILES)
    for command in (["-cf", "1", names[0]], ["-rf", "1", names[1]], ["-cf", "2", *names[2:]], ["-Af", "1", "2"]):
        subprocess.run(["tar", *command], cwd=tmp_path, check=True)
    assert check(shards((tmp_path / "1").read_bytes())) == grouped(FILES)


@pytest.mark.needs("GNU tar")
@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_sparse_archives_of_gnu_tar_are_refused(tmp_path: Path, format: str) -> None:  # noqa: A002
    with open(tmp_path / "a.bin", "wb") as file:
        file.truncate(1 << 20)
    subprocess.run(["tar", "-cSf", "out", f"--format={format}", "a.bin"], cwd=tmp_path, check=True)
    _, error = read_until(shards((tmp_path / "out").read_bytes()))
    assert "--sparse" in error.message


@pytest.mark.needs("bsdtar")
@pytest.mark.parametrize("format", ["ustar", "pax", "gnutar", "v7"])
@pytest.mark.parametrize("option", ["--", "-z", "-j", "-J"])
def test_archives_of_bsdtar(tmp_path: Path, format: str, option: str) -> None:  # noqa: A002
    files = [(name, data) for name, data in FILES if format != "v7" or len(name.encode()) < 100]
    names = on_disk(tmp_path, files)
    (tmp_path / "link.jpg").symlink_to("a/0001.jpg")
    (tmp_path / "folder.d").mkdir()
    command = ["bsdtar", "-cf", "out", f"--format={format}", option, *names, "link.jpg", "folder.d"]
    done = subprocess.run(
        [part for part in command if part != "--"],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert check(shards((tmp_path / "out").read_bytes())) == grouped(files)


@pytest.mark.needs("../shared")
@pytest.mark.parametrize(("name", "count"), [("compressed.tar", 3), ("sample.tgz", 90), ("testgz.tar", None)])
def test_shards_made_by_others(name: str, count: int | None) -> None:
    path = SHARED / name
    data = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    samples = read([str(path)])
    assert samples == grouped(by_tarfile(data), str(path))
    assert samples == grouped([(entry.name, entry.data) for entry in entries(data)], str(path))
    assert samples == by_webdataset(path.read_bytes(), str(path))
    assert count is None or len(samples) == count
    places = sorted({0, 1, len(samples) // 2, len(samples) - 1})
    for way in ways():
        assert check_resume(way([str(path), str(path)]), places=places) == len(places)


# ---- beside webdataset


def by_webdataset(data: bytes, url: str = "0.tar", errors: list[Exception] | None = None) -> list[Sample]:
    """What webdataset makes of a shard; errors are collected, or raised."""
    from webdataset import tariterators

    def note(error: Exception) -> bool:
        if errors is None:
            raise error
        errors.append(error)
        return True

    source = [{"url": url, "stream": io.BytesIO(data)}]
    files = tariterators.tar_file_expander(source, handler=note)
    return list(tariterators.group_by_keys(files, handler=note))


# What webdataset makes of these, by way of the stdlib's tarfile, is its own matter.
AMISS = {
    "GNU, with times where ustar has its prefix": "times are taken for a folder",
    "pax, empty records": "the file loses its name",
    "GNU long name that is empty": "the file loses its name",
    "global pax": "an error, where one stands last",
}


@pytest.mark.parametrize("what", [what for what in ODD if what not in AMISS])
def test_archives_beside_webdataset(what: str) -> None:
    data = ODD[what][0] + END
    assert read(shards(data)) == by_webdataset(data)


@pytest.mark.parametrize("what", AMISS)
def test_archives_that_webdataset_reads_amiss(what: str) -> None:
    data = ODD[what][0] + END
    errors: list[Exception] = []
    theirs = by_webdataset(data, errors=errors)
    assert read(shards(data)) == expected(data)[0]
    assert errors or theirs != expected(data)[0]


@pytest.mark.parametrize(
    ("data", "ours", "theirs"),
    [
        pytest.param(
            archive([(b"a/1.jpg", b"x"), (b"a/._1.jpg", b"of a Mac"), (b"a/1.cls", b"y")]),
            [("a/1", {"jpg": b"x", "cls": b"y"})],
            [("a/1", {"jpg": b"x"}), ("a/", {"_1.jpg": b"of a Mac"}), ("a/1", {"cls": b"y"})],
            id="hidden files have no key, and split no sample",
        ),
        pytest.param(
            archive([(b"1.jpg", b"x"), (b"1.jpg", b"y"), (b"2.jpg", b"z")]),
            [("2", {"jpg": b"z"})],
            [("1", {"jpg": b"x"}), ("2", {"jpg": b"z"})],
            id="a sample that has a field twice is dropped, for nobody knows which is right",
        ),
        pytest.param(
            archive([(b"1.jpg", b"x")]) + archive([(b"2.jpg", b"y")]),
            [("1", {"jpg": b"x"}), ("2", {"jpg": b"y"})],
            [("1", {"jpg": b"x"})],
            id="archives that follow each other in a file are all read",
        ),
        pytest.param(
            archive([(b"1.jpg", b"x"), (b"2.jpg", b"y")], end=b""),
            [("1", {"jpg": b"x"})],
            [("1", {"jpg": b"x"}), ("2", {"jpg": b"y"})],
            id="a sample that may be cut is not given out",
        ),
    ],
)
def test_where_webdataset_is_meant_to_differ(
    data: bytes, ours: list[tuple[str, dict[str, bytes]]], theirs: list[tuple[str, dict[str, bytes]]]
) -> None:
    assert fields(read_on(shards(data))[0]) == ours
    assert fields(by_webdataset(data, errors=[])) == theirs
