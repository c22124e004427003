"""The laws of tar: what is written is read back, here and elsewhere; what others write, we read as they do."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import random
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from streamwds import TarWriter, tarsamples, write_to
from streamwds.errors import DuplicateFieldError, WriteError
from streamwds.tar.buffers import Buffer
from streamwds.testing import check_resume
from tests.archives import (
    END,
    Sample,
    at_most,
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
    sealed,
    shards,
)
from tests.test_tar_reader import by_webdataset

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"
FORMATS: list[Literal[0, 1, 2]] = [0, 1, 2]  # ustar, GNU, pax, as the stdlib numbers them
UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}

# Letters that mean something to names or to readers, and others.
LETTERS = st.sampled_from("ab01_-. A\n\t\\\"'{}é中🐈\u0301\u2028\x01\x7f=")
ESCAPED = st.sampled_from("\udc80\udcc3\udca9\udcff")
PARTS = st.text(LETTERS | ESCAPED, max_size=12) | st.text(st.sampled_from("xyz"), min_size=40, max_size=120)
KEYS = st.lists(PARTS | st.sampled_from(["..", ".", "", "__x__", "__", "____"]), min_size=1, max_size=4).map("/".join)
FIELDS = PARTS | st.sampled_from(["jpg", "cls", "seg.png", "JPG", "", "a/b", "__key__", "__url__", "_m", "__"])
VALUES = st.binary(max_size=40) | st.integers(0, 3000).map(lambda size: bytes([size % 251]) * size)


def bytes_of(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def survives(name: str) -> bool:
    return bytes_of(name).decode("utf-8", "surrogateescape") == name


def can_be_written(key: str, field: str) -> bool:
    return key_and_field(f"{key}.{field}") == (key, field) and survives(f"{key}.{field}")


def fields_of(key: str) -> st.SearchStrategy[str]:
    return FIELDS.filter(lambda field: can_be_written(key, field) and field[:1] != "_")


@st.composite
def written_samples(draw: st.DrawFn) -> list[Sample]:
    keys = draw(st.lists(KEYS.filter(lambda key: can_be_written(key, "x")), unique=True, max_size=6))
    return [{"__key__": key, **draw(st.dictionaries(fields_of(key), VALUES, min_size=1, max_size=4))} for key in keys]


def written(samples: list[Sample], **options: Any) -> bytes:
    stream = io.BytesIO()
    with TarWriter(stream, **options) as writer:
        for sample in samples:
            writer.write(sample)
    return stream.getvalue()


def without_url(samples: list[Sample]) -> list[Sample]:
    return [{name: value for name, value in sample.items() if name != "__url__"} for sample in samples]


# ---- writer to readers


@given(written_samples())
def test_writer_to_reader_is_the_identity(samples: list[Sample]) -> None:
    data = written(samples)
    assert without_url(read(shards(data))) == samples
    assert without_url(expected(data)[0]) == samples
    check_resume(shards(data) | tarsamples)


@given(written_samples())
def test_writer_to_stdlib_is_the_identity(samples: list[Sample]) -> None:
    files = [
        (f"{sample['__key__']}.{field}", sample[field])
        for sample in samples
        for field in sorted(sample)
        if field != "__key__"
    ]
    with tarfile.open(fileobj=io.BytesIO(written(samples, mtime=0))) as tar:
        found = [(info.name, handle.read()) for info in tar if (handle := tar.extractfile(info))]
    assert found == files


@given(written_samples())
def test_the_writers_bytes_depend_on_the_samples_alone(samples: list[Sample]) -> None:
    data = written(samples, mtime=7)
    assert written([dict(reversed(sample.items())) for sample in samples], mtime=7) == data
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".tar", ".tar.gz"):
            with TarWriter(os.path.join(folder, f"a{suffix}"), mtime=7) as writer:
                for sample in samples:
                    writer.write(sample)
        assert Path(folder, "a.tar").read_bytes() == data
        assert gzip.decompress(Path(folder, "a.tar.gz").read_bytes()) == data


@given(written_samples(), st.sampled_from(["gz", "bz2", "xz", "zst", "lz4"]), st.integers(1, 4))
def test_shards_to_samples_is_the_identity(samples: list[Sample], suffix: str, maxcount: int) -> None:
    """However many they are, and however compressed."""
    with tempfile.TemporaryDirectory() as folder:
        pattern = os.path.join(folder, f"%d.tar.{suffix}")
        done = [dict(sample) for sample in samples] | write_to(pattern, maxcount=maxcount)
        assert (done.samples, done.shards) == (len(samples), -(-len(samples) // maxcount))
        paths = [pattern % n for n in range(done.shards)]
        assert without_url(read(paths)) == samples


@example("\udcc3\udca9", "jpg")
@example("__a", "b__")
@example("a/", "jpg")
@example("a", "B")
@example("a", "b/c")
@given(KEYS, FIELDS)
@settings(max_examples=5000 if DEEP else 400)
def test_exactly_what_would_be_read_back_is_written(key: str, field: str) -> None:
    assume(field not in ("__key__", "__url__"))
    sample = {"__key__": key, field: b"x"}
    if can_be_written(key, field):
        assert without_url(read(shards(written([sample], keep_meta=True)))) == [sample]
    else:
        with pytest.raises(WriteError) as caught:
            written([sample], keep_meta=True)
        assert (caught.value.key, caught.value.field) == (key, field)


def outside(key: str) -> bool:
    """Whether tars would warn of a name: one that leads out of where it is unpacked."""
    return key.startswith(("/", "\\")) or ".." in key.split("/")


@pytest.mark.needs("GNU tar")
@given(written_samples())
@settings(max_examples=200 if DEEP else 8)
def test_writer_to_gnu_tar_is_the_identity(samples: list[Sample]) -> None:
    samples = [sample for sample in samples if not outside(sample["__key__"])]
    files = [(entry.name, entry.data) for entry in entries(written(samples))]
    for options, out in (
        (["-t", "--quoting-style=literal"], b"".join(bytes_of(name) + b"\n" for name, _ in files)),
        (["-x", "-O"], b"".join(data for _, data in files)),
    ):
        done = subprocess.run(["tar", *options], input=written(samples), capture_output=True, env=UTF8)
        assert (done.returncode, done.stderr, done.stdout) == (0, b"", out)


@pytest.mark.needs("bsdtar")
@given(written_samples())
@settings(max_examples=200 if DEEP else 8)
def test_writer_to_bsdtar_is_the_identity(samples: list[Sample]) -> None:
    def plain(name: str) -> bool:  # (long names that are no UTF-8 bsdtar reads, and complains)
        return name.encode("utf-8", "replace") == bytes_of(name) or len(bytes_of(name)) <= 100

    samples = [
        sample
        for sample in samples
        if not outside(sample["__key__"]) and all(map(plain, (f"{sample['__key__']}.{f}" for f in sample)))
    ]
    files = [(entry.name, entry.data) for entry in entries(written(samples))]
    done = subprocess.run(["bsdtar", "-xOf-"], input=written(samples), capture_output=True, env=UTF8)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"".join(data for _, data in files))
    done = subprocess.run(["bsdtar", "-tf-"], input=written(samples), capture_output=True, env=UTF8)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") >= len(files)


# ---- other writers to reader


@given(st.lists(st.tuples(KEYS, FIELDS, VALUES), max_size=8), st.sampled_from(FORMATS))
def test_stdlib_to_reader(files: list[tuple[str, str, bytes]], form: Literal[0, 1, 2]) -> None:
    stream = io.BytesIO()
    kept: list[tuple[str, bytes]] = []
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for key, field, data in files:
            info = tarfile.TarInfo(f"{key}.{field}")
            info.size = len(data)
            try:
                info.tobuf(form)
            except ValueError:  # (too long for ustar)
                continue
            if form == tarfile.USTAR_FORMAT and len(bytes_of(info.name)) > 100 and info.name.startswith("/"):
                continue  # (tarfile may put nothing but that slash into the prefix, and so loses it)
            tar.addfile(info, io.BytesIO(data))
            kept.append((info.name, data))
    kept = [(name, data) for name, data in kept if not name.endswith("/")]
    data = stream.getvalue()
    if all(map(survives, (name for name, _ in kept))):
        assert [(entry.name, entry.data) for entry in entries(data)] == kept
    samples, errors = read_on(shards(data))
    assert samples == expected(data)[0]
    assert all(isinstance(error, DuplicateFieldError) for error in errors)


@given(st.lists(st.tuples(KEYS, FIELDS, VALUES), max_size=12))
def test_webdataset_and_reader_agree(files: list[tuple[str, str, bytes]]) -> None:
    """But for hidden files, to which webdataset gives a key, and line ends, at which its expression gives up."""
    named = [(f"{key}.{field}", data) for key, field, data in files]
    kept = [(name, data) for name, data in named if "\n" not in name and not name.rpartition("/")[2].startswith(".")]
    data = by_stdlib(kept)
    samples, errors = read_on(shards(data))
    assume(not errors)  # (a sample that has a field twice)
    assert samples == by_webdataset(data)


ON_DISK = st.text(st.sampled_from("ab.é中 =\\"), min_size=1, max_size=60).filter(lambda name: name.strip(".") != "")


def pack_and_compare(files: list[tuple[str, bytes]], *command: str) -> None:
    """Each file lies in a folder of its own, and so is a sample of its own, if it has a key and a field."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{n}/{name}" for n, (name, _) in enumerate(files)]
        for name, (_, data) in zip(names, files, strict=True):
            Path(folder, name).parent.mkdir()
            Path(folder, name).write_bytes(data)
        Path(folder, "names").write_bytes(b"".join(name.encode() + b"\0" for name in names))
        done = subprocess.run(
            [*command, "-cf", "out", "--null", "-T", "names"], cwd=folder, capture_output=True, env=UTF8
        )
        assert (done.returncode, done.stderr) == (0, b"")
        found = read([os.path.join(folder, "out")])
    parts = [(key_and_field(name), data) for name, (_, data) in zip(names, files, strict=True)]
    assert without_url(found) == [{"__key__": part[0], part[1]: data} for part, data in parts if part]


@pytest.mark.needs("GNU tar")
@given(st.lists(st.tuples(ON_DISK, VALUES), max_size=6), st.sampled_from(["gnu", "oldgnu", "pax", "ustar"]))
@settings(max_examples=200 if DEEP else 8)
def test_gnu_tar_to_reader(files: list[tuple[str, bytes]], form: str) -> None:
    pack_and_compare(files, "tar", f"--format={form}")


@pytest.mark.needs("bsdtar")
@given(st.lists(st.tuples(ON_DISK, VALUES), min_size=1, max_size=6), st.sampled_from(["pax", "gnutar", "ustar"]))
@settings(max_examples=200 if DEEP else 8)
def test_bsdtar_to_reader(files: list[tuple[str, bytes]], form: str) -> None:
    pack_and_compare(files, "bsdtar", f"--format={form}")


# ---- large shards, nearly regular

Random = random.Random
Blobs = list[bytes]

STYLES: list[Callable[[int], bytes]] = [
    lambda n: b"%06d" % n,
    lambda n: b"%d" % n,
    lambda n: b"train/%06d" % n,
    lambda n: b"a.b/c.d/%06d" % n,
    lambda n: b"./%06d" % n,
    lambda n: b"%d/%03d" % (n // 7, n),
    lambda n: b"%d.x/%03d" % (n // 7, n),
    lambda n: f"é中{n:04d}".encode(),
    lambda n: b"\xff%04d" % n,
    lambda n: b"k" * (n % 60) + b"%d" % n,
    lambda n: b"%06d" % (n // 2 * 2 + (n % 3 == 0)),  # some keys twice in a row
    lambda n: b"__%d__" % n,
    lambda n: b"%d " % n,
    lambda n: b"l" * 60 + b"%010d" % n,
    lambda n: b"%05d\n" % n,
    lambda n: b"%04d" % n if n % 50 else b"a/b/",  # (a folder, and no key)
    lambda n: b"%d" % n if n % 50 else b"b/",
]
EXTENSIONS = [b"jpg", b"cls", b"json", b"txt", b"seg.png", b"JPG2", b"a.b.c", b"x" * 20, "é".encode(), b""]


MAKERS: list[Callable[[bytes, bytes], bytes]] = [
    member,
    member,
    member,
    lambda name, data: member(name, data, magic=b"ustar  \0"),
    lambda name, data: member(name, data, b"\0", magic=bytes(8)),
    lambda name, data: member(name, data, prefix=b"prefix.d"),
    lambda name, data: pax({b"mtime": b"1.5", b"path": name}) + member(name, data),
    lambda name, data: pax({b"mtime": b"1.5"}) + member(name, data),
    lambda name, data: gnu(b"g/" * 60 + name) + member(name, data, magic=b"ustar  \0"),
]
SIZES: list[Callable[[Random], int]] = [
    lambda r: 100,
    lambda r: 0,
    lambda r: 512,
    lambda r: r.randrange(3),
    lambda r: r.randrange(90, 100),
    lambda r: r.randrange(2_000),
    lambda r: 1 << r.randrange(12),
    lambda r: 4_096 + r.randrange(3),
]


def data_of(r: Random, size: int) -> bytes:
    kind = r.randrange(4)
    if kind == 0:
        return bytes(size)
    if kind == 1:
        return b"v" * (size // 2) + bytes(size - size // 2)
    return r.randbytes(size)


def odd(r: Random, blob: bytes) -> bytes:
    """A member as it would not be expected among regular ones."""
    name = blob[:100].split(b"\0")[0]
    key = name.split(b".")[0][:80]
    inner = b"".join(member(b"inner%d.jpg" % n, b"i" * n) for n in range(3))
    change = bytearray(blob[:512])
    at = r.randrange(512)
    change[at] ^= 1 << r.randrange(8)
    return r.choice(
        [
            b"",
            blob + blob,
            member(key + b".OTHER", b"x") + blob,
            blob + member(b"__meta__", b"m"),
            member(b"__meta__/x.txt", b"m") + blob,
            member(b"README", b"r" * 600) + blob,
            member(b".hidden", b"h") + blob,
            member(b"d.d/", b"", b"5") + blob,
            header(b"l.l", 7, b"2") + blob,
            member(b"v.v", b"label", b"V") + blob,
            pax({b"path": b"other/" + name}) + blob,
            pax({b"path": name + b"\0x"}) + blob,
            pax({b"size": b"3"}) + header(name, 77) + padded(b"xyz"),
            pax({b"path": b"", b"size": b""}) + blob,
            pax({b"comment": b"c" * 900}, b"g") + blob,
            member(b"x", b"no pax record", b"x") + blob,
            member(b"x", b"no pax record, but path=", b"x") + blob,
            gnu(b"w/" * 90 + name) + blob,
            gnu(b"target", b"K") + blob,
            member(key + b".tar", inner + END) + blob,
            member(key + b".tar", header(b"x.y", 8**11 - 1) * 3) + blob,
            member(key + b".z", bytes(2_000)) + blob,
            member(name.upper(), b"u"),
            member(b"new\nline.x", b"n") + blob,
            member(b"a.dot/in.key.x", b"n") + blob,
            member(key + b".__key__", b"evil"),
            member(b"nul.x\0yz", b"n") + blob,
            member(b"nul.x\0/yz", b"n") + blob,
            member(b"n/.x", b"n") + blob,
            member(key + b"/.x", b"n") + blob,
            member(b"n" * 97 + b".xy", b"100 bytes") + blob,
            member(b"", b"nameless") + blob,
            header(b"b.base256", b"\x80" + bytes(10) + b"\x05") + padded(b"12345") + blob,
            header(b"s.spaces", b"          5 ") + padded(b"12345") + blob,
            sealed(bytes(change)) + blob[512:],
            bytes(change) + blob[512:],
            bytes(512) + blob,
            END + blob,
            END + b"garbage",
            header(name, 8**11 - 1) + blob[512:],
            header(name, b"\xff" * 12) + blob[512:],
            member(b"sparse.x", b"", b"S") + blob,
            b"\0ust" * 128 + blob,
            blob[: r.randrange(len(blob))],
            member(key + b".big", bytes(300_000)) + blob,
        ]
    )


def nearly_regular(r: Random) -> bytes:
    style, maker = r.choice(STYLES), r.choice(MAKERS)
    columns = [(extension, r.choice(SIZES)) for extension in r.sample(EXTENSIONS, r.randint(1, 4))]
    count = r.choice([1, 2, 3, 20, 70, 200, 200, 500])
    start = r.choice([0, 1, 95, 990])
    blobs = [
        maker(style(n) + b"." + extension, data_of(r, size(r)))
        for n in range(start, start + count)
        for extension, size in columns
    ]
    for _ in range(r.choice([0, 0, 1, 1, 2, 4, 9])):
        at = r.randrange(len(blobs))
        if len(blobs[at]) >= 512:
            blobs[at] = odd(r, blobs[at])
    return b"".join(blobs) + r.choice([END, END, bytes(10_240), b"", END + b"garbage" * 200])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5000 if DEEP else 60, suppress_health_check=[HealthCheck.too_slow])
def test_the_reader_agrees_with_a_slow_one(seed: int) -> None:
    """Errors, too: in number, for the damage that the second reader finds."""
    r = Random(seed)
    data = nearly_regular(r)
    most = r.choice([None, None, None, 1_000, 70_000])
    certain, damaged = expected(data)
    samples, errors = read_on(shards(data, most=most))
    assert samples == certain
    assert sum(not isinstance(error, DuplicateFieldError) for error in errors) == damaged


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5000 if DEEP else 60, suppress_health_check=[HealthCheck.too_slow])
def test_the_size_of_the_readers_buffer_does_not_matter(seed: int) -> None:
    r = Random(seed)
    data = nearly_regular(r)
    capacity = 1024 * r.choice([1, 2, 3, 10, 64, 500])

    @contextlib.contextmanager
    def small() -> Iterator[Buffer]:
        yield Buffer(capacity)

    certain, damaged = expected(data)
    patches: dict[str, Any] = {"CAPACITY": capacity, "FIRST": min(capacity, 512 * r.randint(1, 9)), "borrowed": small}
    with mock.patch.multiple("streamwds.tar.reading", **patches), at_most(60):
        samples, errors = read_on(shards(data, most=r.choice([None, 1_000])))
        assert samples == certain
        assert sum(not isinstance(error, DuplicateFieldError) for error in errors) == damaged
        if not errors and samples:
            assert check_resume(shards(data) | tarsamples, places=[r.randrange(len(samples))]) == 1


@given(seed=st.integers(0, 2**32))
@settings(max_examples=1000 if DEEP else 20, suppress_health_check=[HealthCheck.too_slow])
def test_large_shards_resume(seed: int) -> None:
    r = Random(seed)
    data = nearly_regular(r)
    certain, damaged = expected(data)
    assume(not damaged and certain and not read_on(shards(data))[1])
    places = sorted({0, len(certain) - 1, *(r.randrange(len(certain)) for _ in range(3))})
    assert check_resume(shards(data, data) | tarsamples, places=places) == len(places)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=1000 if DEEP else 30, suppress_health_check=[HealthCheck.too_slow])
def test_in_what_pieces_a_shard_comes_does_not_matter(seed: int) -> None:
    """A byte at a time, or now few, now many; of compressed shards, too, whose decompressors give short reads."""
    r = Random(seed)
    data = nearly_regular(r)
    certain, damaged = expected(data)
    packs: list[Callable[[bytes], bytes]] = [bytes, bytes, gzip.compress, bz2.compress]
    packed = r.choice(packs)(data) if data else data
    pieces: list[Callable[[], int]] = [
        lambda: r.randint(1, 1000),
        lambda: r.choice([1, 511, 512, 513, 4096, 100_000]),
        *([lambda: 1] if len(packed) < 30_000 else []),
    ]
    with at_most(60):
        samples, errors = read_on(shards(packed, most=r.choice(pieces)))
    assert samples == certain
    assert sum(not isinstance(error, DuplicateFieldError) for error in errors) == damaged
