"""The law of hostile bytes: whatever a shard holds, no crash, no hang, no memory over the bound, no wrong sample.

Where a header's checksum does not fit, there is one clear error, and nothing behind it is given out. Changed data, or
blocks that changed places and still fit, may give other bytes: the second reader in tests/archives.py says which.
"""

from __future__ import annotations

import functools
import gzip
import io
import lzma
import os
import random
import resource
import struct
import tarfile
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamwds import TarWriter, tar, tarsamples
from streamwds.errors import DuplicateFieldError, HeaderError, StreamwdsError, TarError
from tests.archives import (
    END,
    PACK,
    archive,
    at_most,
    by_stdlib,
    checksum_fits,
    entries,
    expected,
    header,
    member,
    pax,
    read_on,
    sealed,
    shards,
    ways,
)

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"
SHARED = Path(__file__).parents[2] / "shared" / "data"
CHUNKS = range(8)
MUTATIONS_EACH = (10_000 if DEEP else 1_000) // len(CHUNKS)
EACH = 10_000 // len(CHUNKS) if DEEP else 48

Random = random.Random


@contextmanager
def told(seed: int) -> Iterator[None]:
    """Prints the seed if what is done with it fails, and ends it if it hangs."""
    try:
        with at_most(30):
            yield
    except BaseException:
        print(f"\nseed: {seed}")  # noqa: T201
        raise


# ---- shards that tools have made


def written() -> bytes:
    r = Random(1)
    stream = io.BytesIO()
    with TarWriter(stream, mtime=0) as writer:
        for n in range(30):
            writer.write({"__key__": f"{n:06d}", "jpg": r.randbytes(r.randrange(900)), "cls": b"%d" % n, "json": b"{}"})
    return stream.getvalue()


def of_names() -> bytes:
    stream = io.BytesIO()
    with TarWriter(stream, mtime=0) as writer:
        for n in range(12):
            writer.write(
                {"__key__": f"é{n}" if n % 3 else f"{'d/' * 60}{n:040d}", "txt": b"t" * n, "a.b": b"", "tar": END}
            )
    return stream.getvalue()


def of_stdlib(format: int) -> bytes:  # noqa: A002
    long = "l" * 90 + "/" + "m" * 120
    files = [(f"{long if n % 4 == 0 else 'é'}{n}.{field}", b"x" * 300 * n) for n in range(8) for field in ("a", "b")]
    return by_stdlib(files, format)


SHARDS: dict[str, Callable[[], bytes]] = {
    "ours": functools.cache(written),
    "ours, of odd names": functools.cache(of_names),
    "stdlib, GNU": functools.cache(lambda: of_stdlib(tarfile.GNU_FORMAT)),
    "stdlib, pax": functools.cache(lambda: of_stdlib(tarfile.PAX_FORMAT)),
    "old and joined": functools.cache(
        lambda: archive([(b"%d.x" % n, b"v7" * n) for n in range(9)]) + member(b"9.x", b"", b"\0", magic=bytes(8)) + END
    ),
}


def of_others() -> list[bytes]:
    found = [(SHARED / "compressed.tar").read_bytes(), gzip.decompress((SHARED / "sample.tgz").read_bytes())]
    large = (SHARED / "testgz.tar").read_bytes()
    end = [entry.ends for entry in entries(large)][40]
    return [*found, large[:end] + END]


# ---- mutations


def flip(r: Random, data: bytearray, at: int) -> None:
    data[at % len(data)] ^= 1 << r.randrange(8)


def some_header(r: Random, data: bytearray) -> int:
    """The offset of a header, or of a block that may be one."""
    found = [at for at in range(0, len(data) - 511, 512) if data[at + 257 : at + 262] == b"ustar"]
    return r.choice(found or [0])


def flip_anywhere(r: Random, data: bytearray) -> None:
    flip(r, data, r.randrange(len(data)))


def flip_in_header(r: Random, data: bytearray) -> None:
    flip(
        r, data, some_header(r, data) + r.choice([r.randrange(512), r.randrange(100), *range(124, 158), 257, 263, 345])
    )


def flip_and_seal(r: Random, data: bytearray) -> None:
    at = some_header(r, data)
    flip(r, data, at + r.choice([r.randrange(512), r.randrange(100), *range(124, 158), 257, 263, 345]))
    data[at : at + 512] = sealed(bytes(data[at : at + 512]))


SIZES = [
    b"77777777777\0",
    b"00020000000\0",
    b"00000000000\0",
    b"-0000000001\0",
    b"99999999999\0",
    b"            ",
    b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7,
    b"\x80\x3f" + b"\xff" * 10,
    b"\xff" * 12,
    b"\xff" * 10 + b"\xfe\x00",
    b"\x80" + bytes(10) + b"\x07",
    b"1_0\0\0\0\0\0\0\0\0\0",
    b"0x10        ",
]


def resize(r: Random, data: bytearray) -> None:
    at = some_header(r, data)
    data[at + 124 : at + 136] = r.choice([*SIZES, b"%011o\0" % r.randrange(5000)])
    if r.random() < 0.8:
        data[at : at + 512] = sealed(bytes(data[at : at + 512]))


def cut(r: Random, data: bytearray) -> None:
    del data[r.choice([r.randrange(len(data)), r.randrange(len(data)) // 512 * 512]) :]


def swap(r: Random, data: bytearray) -> None:
    a, b = (r.randrange(len(data)) // 512 * 512 for _ in range(2))
    if b + 512 <= len(data) >= a + 512:
        data[a : a + 512], data[b : b + 512] = data[b : b + 512], data[a : a + 512]


def delete(r: Random, data: bytearray) -> None:
    a = r.randrange(len(data))
    del data[a : a + r.choice([1, 511, 512, 1024, 3000])]


def insert(r: Random, data: bytearray) -> None:
    at = r.choice([r.randrange(len(data)), r.randrange(len(data)) // 512 * 512])
    start = r.randrange(len(data)) // 512 * 512
    data[at:at] = r.choice(
        [
            b"\0",
            bytes(512),
            END,
            r.randbytes(512),
            bytes(data[start : start + 512]),
            header(b"evil.jpg", r.randrange(9000)),
            header(b"x", 1 << r.randrange(33), r.choice([b"x", b"g", b"L", b"K", b"S", b"5", b"Z"])),
            pax({b"size": r.choice([b"9" * 20, b"9" * 5000, b"-1", b"", b"0", b"1e3"])}),
            pax({b"path": r.choice([b"", b"\0", b"/" * 999, b"a.b\0/c", b"__x__/y.z"])}),
            member(b"x", b"%d path=x\n" % r.choice([0, 1, 9, 10, 10**20]), b"x"),
        ]
    )


def overwrite(r: Random, data: bytearray) -> None:
    a = r.randrange(len(data))
    b = min(len(data), a + r.choice([1, 12, 512, 2000]))
    data[a:b] = r.choice([bytes(b - a), b"\xff" * (b - a), r.randbytes(b - a), b"7" * (b - a)])


MUTATIONS: list[Callable[[Random, bytearray], None]] = [
    flip_anywhere,
    flip_in_header,
    flip_in_header,
    flip_and_seal,
    flip_and_seal,
    resize,
    resize,
    cut,
    swap,
    swap,
    delete,
    insert,
    insert,
    overwrite,
]


def mutated(r: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        if changed:
            r.choice(MUTATIONS)(r, changed)
    return bytes(changed)


# ---- the law


def try_mutation(seed: int, data: bytes) -> None:
    with told(seed):
        r = Random(seed)
        changed = mutated(r, data)
        certain, damaged = expected(changed)
        samples, errors = read_on(shards(changed, DOGS, most=r.choice([None, None, 700])))
        assert samples == [*certain, *expected(DOGS, "1.tar")[0]]
        assert sum(not isinstance(error, DuplicateFieldError) for error in errors) == damaged
        for error in errors:
            assert error.url == "0.tar"
            assert error.offset is not None
            assert 0 <= error.offset <= len(changed)
            assert len(str(error)) < 5_000


DOGS = archive([(b"7.jpg", b"seven"), (b"8.jpg", b"eight")])


@pytest.mark.parametrize("chunk", CHUNKS)
def test_mutated_shards(chunk: int) -> None:
    made = [make() for make in SHARDS.values()]
    for seed in range(chunk * MUTATIONS_EACH, (chunk + 1) * MUTATIONS_EACH):
        try_mutation(seed, made[seed % len(made)])


@pytest.mark.needs("../shared")
def test_mutated_shards_of_others() -> None:
    made = of_others()
    for seed in range(10 * EACH if DEEP else EACH):
        try_mutation(seed, made[seed % len(made)])


@pytest.mark.parametrize("name", SHARDS)
def test_a_header_whose_checksum_does_not_fit_is_one_error(name: str) -> None:
    data = SHARDS[name]()
    whole, damaged = expected(data)
    assert not damaged
    files = list(entries(data))
    for seed in range(EACH * 4):
        with told(seed):
            r = Random(seed)
            number = r.randrange(len(files))
            changed = bytearray(data)
            flip(r, changed, at := files[number].begins - 512 + r.randrange(512))
            block = bytes(changed[files[number].begins - 512 : files[number].begins])
            samples, errors = read_on(shards(bytes(changed)))
            if checksum_fits(block):  # (the same number, otherwise written)
                assert 148 <= at % 512 < 156
                assert samples == whole
                continue
            if not errors:  # the first header of a further archive that no longer says what it is: garbage
                assert data[files[number].start - 512 : files[number].start] == bytes(512)
                assert not 257 <= at % 512 < 262 or block[257:262] != b"ustar"
                assert samples == whole[: len(samples)]
                continue
            (error,) = errors
            assert isinstance(error, HeaderError)
            assert error.offset == files[number].begins - 512
            assert samples == whole[: len(samples)]
            done = {entry.name for entry in files[:number]}
            assert all(f"{sample['__key__']}." in " ".join(done) for sample in samples)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    **PACK,
    "gz of stored blocks": functools.partial(gzip.compress, compresslevel=0),
}


@pytest.mark.parametrize("name", PACKED)
def test_mutated_compressed_shards(name: str) -> None:
    """Their checksum comes last, so changed bytes may have become other samples by then; but that is all."""
    packed = PACKED[name](written())
    for seed in range(EACH * 2):
        with told(seed):
            r = Random(seed)
            changed = bytearray(packed)
            r.choice([flip_anywhere, cut, swap, delete, overwrite])(r, changed)
            samples, errors = read_on(shards(bytes(changed), DOGS))
            assert samples[-2:] == expected(DOGS, "1.tar")[0]
            assert all(isinstance(error, StreamwdsError) for error in errors)
            assert {type(value) for sample in samples for value in sample.values()} <= {str, bytes}


# ---- memory

BOUND = 24 << 20  # for buffers, and what is taken on a header's word alone: 16 MiB


def peak(data: bytes) -> int:
    """The most bytes that Python takes while a shard is read, one sample at a time."""
    largest = 0
    for way in ways(lambda error: True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tracemalloc.start()
            try:
                for _ in way(shards(data)):
                    pass
                largest = max(largest, tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    return largest


@contextmanager
def memory_left(size: int) -> Iterator[None]:
    """So much more address space than this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_mutated_shards_take_no_more_memory() -> None:
    made = [make() for make in SHARDS.values()]
    for seed in range(10 * EACH if DEEP else 3 * EACH):
        with told(seed):
            r = Random(seed)
            changed = mutated(r, made[seed % len(made)])
            assert peak(changed) < BOUND + 4 * len(changed)


def test_mutated_shards_never_ask_for_more_than_there_is(tmp_path: Path) -> None:
    """With little address space left, all is as it is with plenty: no error of want of memory takes another's place."""
    made = [make() for make in SHARDS.values()]
    path = tmp_path / "0.tar"
    largest = max(map(len, made))
    with memory_left(BOUND + 16 * largest):
        for seed in range(20 * EACH if DEEP else 4 * EACH):
            with told(seed):
                r = Random(seed)
                path.write_bytes(changed := mutated(r, made[seed % len(made)]))
                certain, damaged = expected(changed, str(path))
                samples, errors = read_on([str(path)])
                assert samples == certain
                assert sum(not isinstance(error, DuplicateFieldError) for error in errors) == damaged
                assert not [error for error in errors if "memory" in error.message]
                if not errors:
                    assert len(tar.index(path)) == len(certain)


HUGE: dict[str, bytes] = {
    "octal": header(b"0.x", 8**11 - 1),
    "base-256": header(b"0.x", b"\x80" + b"\x3f" + b"\xff" * 10),
    "pax": pax({b"size": b"9" * 20}) + header(b"0.x"),
    "a kind that nobody knows": header(b"0.x", 8**11 - 1, b"Z"),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_size_takes_memory_for_what_is_there_and_no_more(name: str) -> None:
    data = member(b"a.x") + HUGE[name] + bytes(20_000_000)
    with at_most(30):
        assert peak(data) < BOUND + 3 * len(data)
        _, (error,) = read_on(shards(data))
    assert isinstance(error, TarError)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K", b"X"])
def test_extended_headers_are_bounded(kind: bytes) -> None:
    data = member(b"a.x") + header(b"h", 20_000_000, kind) + bytes(20_000_000) + member(b"b.x") + END
    assert peak(data) < BOUND + len(data)
    _, (error,) = read_on(shards(data))
    assert isinstance(error, HeaderError)
    assert error.offset == 512


def test_many_names_are_not_kept() -> None:
    data = archive([(b"%06d.%06d" % (n, n), b"") for n in range(40_000)])
    assert peak(data) < 30_000_000


def test_no_end_of_zero_blocks_takes_memory_or_time() -> None:
    data = gzip.compress(archive([(b"a.x", b"1")]) + bytes(100_000_000), 1)
    with at_most(60):
        stream = shards(data) | tarsamples
        tracemalloc.start()
        try:
            samples = list(stream)
            largest = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert [sample["x"] for sample in samples] == [b"1"]
    assert largest < BOUND


def test_an_xz_file_that_wants_gigabytes_for_its_dictionary() -> None:
    """Its dictionary's size is one byte in the header of a block, here changed to 4 GiB, its checksum set right."""
    packed = bytearray(lzma.compress(archive([(b"a.x", b"1"), (b"b.x", b"2")])))
    start = 12
    size = (packed[start] + 1) * 4
    at = packed.index(b"\x21\x01", start, start + size) + 2
    packed[at] = 40
    packed[start + size - 4 : start + size] = struct.pack("<I", zlib.crc32(packed[start : start + size - 4]))
    with memory_left(1 << 30):
        samples, (error,) = read_on(shards(bytes(packed), DOGS))
    assert samples == expected(DOGS, "1.tar")[0]
    assert type(error) is TarError
    assert "memory" in error.message


def test_a_member_larger_than_memory_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "large.tar"
    with open(path, "wb") as file:
        file.write(member(b"a.x") + header(b"b.x", 1 << 30))
        file.truncate(1 << 31)
    with memory_left(400 << 20):
        samples, (error,) = read_on([str(path)])
    assert [sample["__key__"] for sample in samples] == ["a"]
    assert (error.url, error.offset, error.key) == (str(path), 1024, "b")
    assert "memory" in error.message
