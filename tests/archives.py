"""What the tests of tar share: archives made block by block, ways to read them, and a second reader to compare with.

The second reader is slow, plain, and written from the format's description, without a look at ours.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import itertools
import lzma
import signal
import sys
import tarfile
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, BinaryIO, TypeAlias, cast

import attrs
import lz4.frame

from streamwds import Shard, Stage, group_by_keys, open_shards, reraise_exception, tarfiles, tarsamples
from streamwds.errors import SkippedWarning, StreamwdsError
from streamwds.handlers import Handler

Sample: TypeAlias = dict[str, Any]
Source: TypeAlias = Iterable[Any]
Members: TypeAlias = Sequence[tuple[bytes, bytes]]
Most: TypeAlias = "int | Callable[[], int]"

END = bytes(1024)

zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "lz4": lambda data: lz4.frame.compress(data, content_checksum=True),
}
"""Compressors of whole files, by the suffix of their format."""


# ---- archives


def sealed(block: bytes) -> bytes:
    """The header with the checksum that it should have."""
    blank = block[:148] + b" " * 8 + block[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def header(
    name: bytes, size: int | bytes = 0, kind: bytes = b"0", *, prefix: bytes = b"", magic: bytes = b"ustar\x0000"
) -> bytes:
    """A header; `size` is a number, or all 12 bytes of the field."""
    block = bytearray(512)
    for start, end, value in (
        (0, 100, name),
        (100, 124, b"0000644\0" * 3),
        (124, 136, b"%011o\0" % size if isinstance(size, int) else size),
        (136, 148, b"%011o\0" % 1_500_000_000),
        (156, 157, kind),
        (257, 265, magic),
        (345, 500, prefix),
    ):
        assert len(value) <= end - start
        block[start : start + len(value)] = value
    return sealed(bytes(block))


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(
    name: bytes, data: bytes = b"", kind: bytes = b"0", *, prefix: bytes = b"", magic: bytes = b"ustar\x0000"
) -> bytes:
    return header(name, len(data), kind, prefix=prefix, magic=magic) + padded(data)


def archive(members: Members, end: bytes = END) -> bytes:
    return b"".join(itertools.starmap(member, members)) + end


def record(key: bytes, value: bytes) -> bytes:
    """A pax record. Its length counts its own digits, so it is searched for."""
    rest = b" " + key + b"=" + value + b"\n"
    length = next(n for n in itertools.count(len(rest)) if n == len(str(n)) + len(rest))
    return b"%d" % length + rest


def pax(records: Mapping[bytes, bytes], kind: bytes = b"x") -> bytes:
    return member(b"PaxHeaders/x", b"".join(itertools.starmap(record, records.items())), kind)


def gnu(name: bytes, kind: bytes = b"L") -> bytes:
    return member(b"././@LongLink", name + b"\0", kind, magic=b"ustar  \0")


def by_stdlib(members: Iterable[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT) -> bytes:  # noqa: A002
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


# ---- shards in memory


class Pieces(io.RawIOBase):
    """Bytes that can't be sought in and come a few at a time, as from a pipe; `most` may be asked for each time."""

    def __init__(self, data: bytes, most: Most) -> None:
        self._data = io.BytesIO(data)
        self._most = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        most = self._most() if callable(self._most) else self._most
        data = self._data.read(min(most, len(buffer)))
        buffer[: len(data)] = data
        return len(data)


@attrs.frozen
class Opener:
    """Opens shards that lie in memory; `most`: as a pipe does that gives at most so many bytes at a time."""

    contents: Mapping[str, bytes]
    most: Most | None = None
    opened: list[BinaryIO] = attrs.field(factory=list)

    def __call__(self, url: str, offset: int = 0) -> BinaryIO:
        data = self.contents[url][offset:]
        file = io.BytesIO(data) if self.most is None else cast("BinaryIO", Pieces(data, self.most))
        self.opened.append(file)
        return file


@attrs.frozen
class Shards:
    """An iterable of shards in memory, `0.tar`, `1.tar` …

    (No list, for the type of a list's items is looked at, and `tarsamples` is said to take str.)
    """

    contents: Sequence[bytes]
    most: Most | None = None

    def __iter__(self) -> Iterator[Any]:
        contents = {f"{n}.tar": data for n, data in enumerate(self.contents)}
        opener = Opener(contents, self.most)
        return iter([Shard(url, opener) for url in contents])


def shards(*contents: bytes, most: Most | None = None) -> Shards:
    return Shards(contents, most)


# ---- reading, in ways that must agree


def ways(handler: Handler = reraise_exception, eof: str = "strict") -> tuple[Stage[Any, Sample], Stage[Any, Sample]]:
    """Both ways from shards to samples."""
    parts = open_shards(handler=handler) | tarfiles(handler=handler, eof=eof) | group_by_keys(handler=handler)
    return tarsamples(handler=handler, eof=eof), parts


def read(source: Source, eof: str = "strict") -> list[Sample]:
    """The samples of intact shards, read in each way, tracked and not."""
    whole, parts = (list(way(source)) for way in ways(eof=eof))
    tracked = [[sample for sample, _ in way(source).tracked()] for way in ways(eof=eof)]
    assert whole == parts == tracked[0] == tracked[1]
    return whole


def read_on(source: Source, eof: str = "strict") -> tuple[list[Sample], list[StreamwdsError]]:
    """The samples of shards, and the errors behind which reading went on; each way, tracked and not."""
    results: list[tuple[list[Sample], list[StreamwdsError]]] = []
    for tracked, number in itertools.product((False, True), (0, 1)):
        errors: list[StreamwdsError] = []

        def note(error: Exception, errors: list[StreamwdsError] = errors) -> bool:
            assert isinstance(error, StreamwdsError)
            errors.append(error)
            return True

        stream = ways(note, eof)[number](source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedWarning)
            samples = [sample for sample, _ in stream.tracked()] if tracked else list(stream)
        assert sum(stream.skipped.values()) == len(errors)
        results.append((samples, errors))
    for samples, errors in results[1:]:
        assert samples == results[0][0]
        assert [*map(_place, errors)] == [*map(_place, results[0][1])]
    return results[0]


def read_until(source: Source) -> tuple[list[Sample], StreamwdsError]:
    """The samples before the one error that ends it all."""
    results: list[tuple[list[Sample], StreamwdsError]] = []
    for way in ways():
        samples: list[Sample] = []
        try:
            samples.extend(way(source))  # (keeps those that come before an error)
        except StreamwdsError as error:
            results.append((samples, error))
    assert len(results) == 2, "one way or both gave no error"
    (whole, found), (parts, other) = results
    assert _place(found) == _place(other)
    # Grouping looks one member ahead, so an error in the next shard may come before this one's last sample.
    assert parts == whole or (parts == whole[:-1] and found.url != whole[-1]["__url__"])
    return whole, found


def _place(error: StreamwdsError) -> tuple[type[StreamwdsError], str | None, int | None, str]:
    return type(error), error.url, error.offset, error.message


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends what hangs."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- the second reader


class Damaged(Exception):  # noqa: N818
    """No way on; and the name of the member that is cut, if its headers are whole."""

    def __init__(self, why: str, name: str | None = None) -> None:
        super().__init__(why)
        self.name = name


@attrs.frozen
class Entry:
    """A file in an archive; the offsets of its first header, of its data, and of what follows."""

    name: str
    data: bytes
    start: int
    begins: int
    ends: int


def checksum_fits(block: bytes) -> bool:
    """Whether a header's checksum is right, as POSIX says it, or with signed bytes as the oldest tars had it."""
    try:
        stored = number(block[148:156])
    except Damaged:
        return False
    rest = block[:148] + block[156:]
    return stored == 256 + sum(rest) or stored == 256 + sum(byte - 256 * (byte > 127) for byte in rest)


def number(field: bytes) -> int:
    if field[0] >= 128:  # the sign is the second bit
        first = field[0] & 127 | (field[0] & 64) << 1
        return int.from_bytes(bytes([first]) + field[1:], "big", signed=True)
    digits = field.split(b"\0")[0].strip()
    if any(digit not in b"01234567" for digit in digits):
        raise Damaged(f"no number: {field!r}")
    return int(digits, 8) if digits else 0


def entries(data: bytes) -> Iterator[Entry]:
    """The files in archives that follow each other, until they end, or `Damaged`."""
    at = 0
    while True:
        at = yield from _archive(data, at)
        while data[at : at + 512] == bytes(512):
            at += 512
        block = data[at : at + 512]
        if not (block[257:262] == b"ustar" or (len(block) == 512 and checksum_fits(block))):
            return


def _archive(data: bytes, at: int) -> Generator[Entry, None, int]:
    start = at
    records: dict[bytes, bytes] = {}
    expected = False
    while True:
        block = data[at : at + 512]
        if block == bytes(512):
            if expected:
                raise Damaged("a member was announced")
            return at
        if len(block) < 512:
            raise Damaged("no end")
        if not checksum_fits(block):
            raise Damaged("checksum")
        kind = block[156:157]
        size = 0 if kind in b"123456" else number(block[124:136])
        name = block[:100].split(b"\0")[0]
        if block[257:263] == b"ustar\0" and block[345]:
            name = block[345:500].split(b"\0")[0] + b"/" + name
        if size < 0 or kind == b"S":
            raise Damaged("size or sparse")
        extension = kind in (b"x", b"g", b"X", b"L", b"K")
        if extension and size > 1 << 20:
            raise Damaged("a header too large")
        if not extension:
            if any(key.startswith(b"GNU.sparse") for key in records):
                raise Damaged("sparse")
            name = records.get(b"path") or name
            if (said := records.get(b"size")) and kind not in b"123456":
                if not said.isdigit() or len(said) > 20:
                    raise Damaged("size")
                size = int(said)
            elif said and (not said.isdigit() or len(said) > 20):
                raise Damaged("size")
        regular = kind in (b"0", b"\0", b"7") and not name.endswith(b"/")
        begins, at = at + 512, at + 512 + (size + 511) // 512 * 512
        if at > len(data) and not (extension and begins + size <= len(data)):
            raise Damaged("cut", name.decode("utf-8", "surrogateescape") if regular else None)
        found = data[begins : begins + size]
        if kind in (b"x", b"X", b"g"):
            said_here = dict(_records(found))
            if kind == b"g":
                if said_here.keys() & {b"path", b"size"}:
                    raise Damaged("global path or size")
                continue
            records.update(said_here)
            expected = True
        elif extension:
            if kind == b"L":
                records[b"path"] = found.split(b"\0")[0]
            expected = True
        else:
            if regular:
                yield Entry(name.decode("utf-8", "surrogateescape"), found, start, begins, at)
            records, expected, start = {}, False, at


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while data and data[0]:
        digits = data[:20].split(b" ")[0]
        if not digits.isdigit() or digits == data[:20]:
            raise Damaged("pax")
        line = data[: int(digits)]
        rest = line[len(digits) + 1 :]
        if len(line) != int(digits) or not rest.endswith(b"\n") or b"=" not in rest:
            raise Damaged("pax")
        key, value = rest[:-1].split(b"=", 1)
        yield key, value
        data = data[int(digits) :]


def key_and_field(name: str) -> tuple[str, str] | None:
    """What a file belongs to: the name up to the first dot of its last part, and what comes after, in lower case."""
    *folders, last = name.split("/")
    top = name.split("/")[0]
    if len(top) > 3 and top[:2] == top[-2:] == "__":
        return None
    before, dot, after = last.partition(".")
    return ("/".join([*folders, before]), after.lower()) if before and dot else None


def expected(data: bytes, url: str = "0.tar") -> tuple[list[Sample], bool]:
    """The samples that a shard certainly has, without those that have a field twice, and whether it is damaged."""
    groups: list[tuple[str, list[tuple[str, bytes]]]] = []
    damage: Damaged | None = None
    try:
        for entry in entries(data):
            if found := key_and_field(entry.name):
                if not groups or groups[-1][0] != found[0]:
                    groups.append((found[0], []))
                groups[-1][1].append((found[1], entry.data))
    except Damaged as error:
        damage = error
    if damage and groups:
        cut = damage.name is not None and key_and_field(damage.name)
        if not cut or cut[0] == groups[-1][0]:
            groups.pop()
    samples = [
        {"__key__": key, "__url__": url, **dict(fields)}
        for key, fields in groups
        if len({"__key__", "__url__", *dict(fields)}) == len(fields) + 2
    ]
    return samples, damage is not None
