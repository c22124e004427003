"""What an index is made of: the members and samples of a local shard, found by its headers alone.

Where members are small, numpy finds the headers in a block of the shard at once (`scan.headers`); where they are large,
or odd, `members.walk` follows them and seeks over the data. How an index is kept and used is told elsewhere.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamwds.errors import TarError
from streamwds.handlers import Guard
from streamwds.tar.buffers import CAPACITY, Buffer, borrowed
from streamwds.tar.grouping import grouped
from streamwds.tar.headers import BLOCK, padded, text
from streamwds.tar.members import walk
from streamwds.tar.names import Naming, is_meta
from streamwds.tar.scan import headers, varying_bits
from streamwds.tar.stream import ShardBytes

__all__ = ["NONE", "Found", "found_in"]

NONE = -1  # the field of a member that is in no sample

NAME = 100  # bytes of the name field
REGULAR_FILE = ord("0")
LEAST = 256 << 10  # bytes that are read at once, at first
FEW, MANY = 64, 1 << 16  # members that are walked at once
SPARSE = 8 << 10  # bytes between headers from which on it is cheaper to fetch each than to read all that lies between
HOPS = 1024  # headers that are fetched at once


PlainHeaders: TypeAlias = "tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]"
"""Plain headers: their words, (n, 64); their offsets in the shard; the sizes that they give."""


class Found(NamedTuple):
    """The columns of an index, as told in `indexes.Index`, and whether the shard ends in an end-of-archive block."""

    offsets: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    fields: NDArray[np.int32]
    field_names: tuple[str, ...]
    name_bytes: bytes
    name_starts: NDArray[np.int64]
    samples: NDArray[np.int64]
    ended: bool


def found_in(raw: Any, size: int, url: str, guard: Guard, *, lenient: bool) -> Found:
    """All members and samples of an uncompressed shard, from an open file and its size.

    Errors go to the guard, the same as when samples are read. If it goes on, the members of samples that are left out
    are there, but in no sample.
    """
    members = _Members()
    damage: TarError | None = None
    ended = False
    try:
        at = _scan(raw, size, url, members, lenient=lenient)
        ended = not lenient or _ends(raw, size, url, at)
    except TarError as error:
        damage = error
    return _without_bad_samples(members.found(ended=ended), url, guard, damage)


def _scan(raw: Any, size: int, url: str, members: _Members, *, lenient: bool) -> int:
    """Find all members; the offset behind the last."""
    at = spacing = 0
    want, some = LEAST, FEW
    with borrowed() as buffer:
        while True:
            begin = at
            if spacing < SPARSE:
                found = _headers_in_a_block(raw, at, min(want, buffer.capacity), buffer)
            else:
                found = _headers_one_by_one(raw, at, buffer)
            end, passed = (0, 0) if found is None else _taken(*found, size, members)
            if passed:
                at, want, some = end, min(CAPACITY, 4 * want), FEW
            else:
                source = _Passing(raw, size, url, at)
                at, passed = _walked(islice(walk(source, lenient=lenient), some), at, members)
                if passed < some:
                    return at
                want, some = LEAST, min(MANY, 2 * some)
            spacing = (at - begin) // passed


def _headers_in_a_block(raw: Any, at: int, want: int, buffer: Buffer) -> PlainHeaders | None:
    """The plain headers at the front of the next block of the shard."""
    try:
        raw.seek(at)
        have, _ = buffer.fill(raw, 0, want)
    except OSError:
        return None  # (the walk will meet it, too, and say where)
    found = headers(buffer, have)
    if found is None:
        return None
    regular = found.words.view("u1")[:, 156] == REGULAR_FILE
    number = len(regular) if regular.all() else int(regular.argmin())
    return found.words[:number], at + found.at[:number] * BLOCK, found.size[:number]


def _headers_one_by_one(raw: Any, at: int, buffer: Buffer) -> PlainHeaders | None:
    """The next plain headers, where they are far from each other: fetched one by one, but checked all at once."""
    offsets: list[int] = []
    sizes: list[int] = []
    memory, letters = buffer.memory, buffer.bytes
    with contextlib.suppress(OSError, ValueError):  # (a size that is no number)
        for slot in range(0, min(buffer.capacity, HOPS * BLOCK), BLOCK):
            raw.seek(at)
            if raw.readinto(memory[slot : slot + BLOCK]) < BLOCK or letters[slot + 156] != REGULAR_FILE:
                break
            size = int(letters[slot + 124 : slot + 135], 8)
            offsets.append(at)
            sizes.append(size)
            at += BLOCK + padded(size)
    words = buffer.words[: len(offsets)]
    if not offsets or varying_bits(buffer, words) is None:
        return None
    return words, np.array(offsets, "i8"), np.array(sizes, "i8")


def _taken(
    words: NDArray[np.uint64], offsets: NDArray[np.int64], sizes: NDArray[np.int64], end: int, members: _Members
) -> tuple[int, int]:
    """Take in members that have plain headers: where they end, and their number; 0 if there is something odd."""
    behind = offsets + (sizes + 2 * BLOCK - 1 & -BLOCK)
    number = len(behind) - bool(len(behind) and behind[-1] > end)  # (only the last one's data can be cut)
    names: list[bytes] = np.ndarray((number,), f"S{NAME}", words, 0, (BLOCK,)).tolist()
    lines = b"\n".join([*names, b""])
    if not number or b"\0" in lines or b"/\n" in lines:  # (names that end before their NUL, or are folders)
        return 0, 0
    members.add(names, offsets[:number], offsets[:number] + BLOCK, sizes[:number])
    return int(behind[number - 1]), number


def _walked(walked: Iterator[tuple[str, Any, int, int]], at: int, members: _Members) -> tuple[int, int]:
    """Take in members that are walked one by one, those before an error, too: where they end, their number."""
    names: list[bytes] = []
    places: list[tuple[int, int, int]] = []
    try:
        for name, data, first, behind in walked:
            names.append(name.encode("utf-8", "surrogateescape"))
            places.append((first, data.start, len(data)))
            at = behind
    finally:
        members.add(names, *np.array(places, "i8").reshape(-1, 3).T)
    return at, len(names)


def _ends(raw: Any, size: int, url: str, at: int) -> bool:
    """Whether what follows the last member is an end that is no sign of a cut."""
    try:
        return not list(walk(_Passing(raw, size, url, at)))
    except TarError:
        return False


class _Passing(ShardBytes):
    """Reads headers, and seeks over data, for which it gives the range of its offsets."""

    __slots__ = ("_raw", "_size")

    def __init__(self, raw: Any, size: int, url: str, at: int) -> None:
        self._raw = raw
        self._size = size
        self.url = url
        self.at = at

    def read(self, size: int) -> bytes:
        start = self.at
        data = b""
        try:
            self._raw.seek(start)
            while len(data) < size and (more := self._raw.read(size - len(data))):
                data += more
        except (OSError, MemoryError) as error:
            raise self._failed(error, start) from error
        self.at = start + len(data)
        return data

    def data(self, size: int) -> range:
        start = self.at
        self.at = max(start, min(start + size, self._size))
        return range(start, self.at)


# ---- members to samples


class _Numbers(dict[bytes, int]):
    """The number of a field, by the extension as it stands in a member's name; new ones are counted on."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, int] = {}

    def __missing__(self, extension: bytes) -> int:
        self[extension] = number = self.fields.setdefault(text(extension).lower(), len(self.fields))
        return number


class _Members:
    """Members as columns, chunk by chunk, and where a sample begins: what `grouped` does, from names alone."""

    def __init__(self) -> None:
        nothing: NDArray[np.int64] = np.empty(0, "i8")
        self._number = 0
        self._places: list[tuple[NDArray[np.int64], ...]] = [(nothing, nothing, nothing)]
        self._names: list[bytes] = []
        self._lengths: list[NDArray[np.int64]] = [np.zeros(1, "i8")]
        self._fields: list[NDArray[np.int32]] = [np.empty(0, "i4")]
        self._numbers = _Numbers()
        self._begins: list[NDArray[np.int64]] = [nothing]
        self._key: bytes | None = None

    def add(self, names: list[bytes], *places: NDArray[np.int64]) -> None:
        """Take in the next members: their names, and columns of their offsets, starts and sizes."""
        self._places.append(places)
        self._names.append(b"".join(names))
        self._lengths.append(np.fromiter(map(len, names), "i8", len(names)))
        head = next((number for number, name in enumerate(names) if _key(name) != self._key), len(names))
        self._one_by_one(names[:head])  # (the rest of the sample before)
        keys, extensions = _regular(names, head)
        regular = len(keys) * len(extensions)
        if regular:
            fields = [self._numbers[extension[1:]] for extension in extensions]
            self._take(np.tile(fields, len(keys)), np.arange(0, regular, len(fields)), keys[-1])
        self._one_by_one(names[head + regular :])

    def _one_by_one(self, names: list[bytes]) -> None:
        fields: list[int] = []
        begins: list[int] = []
        last = self._key
        for number, name in enumerate(names):
            key = _key(name)
            if key is None:
                fields.append(NONE)
                continue
            if key != last:
                last = key
                begins.append(number)
            fields.append(self._numbers[name[len(key) + 1 :]])
        self._take(fields, begins, last)

    def _take(self, fields: Any, begins: Any, key: bytes | None) -> None:
        self._fields.append(np.asarray(fields, "i4"))
        self._begins.append(np.asarray(begins, "i8") + self._number)
        self._number += len(fields)
        self._key = key

    def found(self, *, ended: bool) -> Found:
        offsets, starts, sizes = map(np.concatenate, zip(*self._places))
        return Found(
            offsets=offsets,
            starts=starts,
            sizes=sizes,
            fields=np.concatenate(self._fields),
            field_names=tuple(self._numbers.fields),
            name_bytes=b"".join(self._names),
            name_starts=np.concatenate(self._lengths).cumsum(),
            samples=np.concatenate([*self._begins, [self._number]]),
            ended=ended,
        )


def _key(name: bytes) -> bytes | None:
    """The key of a member, if it has one: what `names.split_name` and `is_meta` say, of bytes."""
    dot = name.find(b".", start := name.rfind(b"/") + 1)
    return None if dot <= start or (name[:2] == b"__" and is_meta(text(name))) else name[:dot]


def _regular(names: list[bytes], start: int) -> tuple[list[bytes], list[bytes]]:
    """The keys and the extensions of the samples from `start` on, if all have the same; if not, no keys.

    This looks at whole columns of names, and at no name by itself. (Names with further dots are left to the other way.)
    """
    key = _key(names[start]) if start < len(names) else None
    if key is None:
        return [], []
    extensions = [name[len(key) :] for name in takewhile(lambda name: _key(name) == key, islice(names, start, None))]
    width = len(extensions)
    count = (len(names) - start) // width
    joined: bytes | None = None
    for column, extension in enumerate(extensions):
        lines = b"\n".join([*names[start + column : start + count * width : width], b""])
        without = lines.replace(extension + b"\n", b"\n")
        if len(lines) - len(without) != len(extension) * count or joined not in (None, without):
            return [], []
        joined = without
    lines = b"\n" + (joined or b"")
    keys = lines.split(b"\n")[1:-1]
    odd = len(keys) != count or b"." in lines or b"/\n" in lines or b"\n__" in lines or b"\n\n" in lines
    if odd or any(map(operator.eq, keys, islice(keys, 1, None))):
        return [], []
    return keys, extensions


def _without_bad_samples(found: Found, url: str, guard: Guard, damage: TarError | None) -> Found:
    """Leave out samples that have a field twice, and the last if it is cut: `grouped` decides, and tells the guard."""
    number = len(found.samples) - 1
    whole = number if damage is None else number - 1
    kept = np.ones(number, "?")
    judged = 0
    for sample in _with_a_field_twice(found):
        if sample < whole and not guard.ended:
            guard.seen += sample - judged
            judged = sample + 1
            kept[sample] = _is_kept(found, sample, url, guard)
            kept[judged:] = not guard.ended
    if not guard.ended:
        guard.seen += max(0, whole - judged)
        if damage is not None:
            kept[number - 1 :] = _is_kept(found, number - 1, url, guard, damage)
            _ = guard.ended or guard(damage)
    if kept.all():
        return found
    fields = found.fields.copy()
    fields[found.samples[0] :][np.repeat(~kept, np.diff(found.samples))] = NONE
    return found._replace(fields=fields, samples=np.append(found.samples[:-1][kept], found.samples[-1]))


def _is_kept(found: Found, sample: int, url: str, guard: Guard, damage: TarError | None = None) -> bool:
    """Whether a sample (-1: none) is given out, although the shard may be damaged behind it."""

    def members() -> Iterator[tuple[str, bytes, int, None]]:
        if sample >= 0:
            for member in range(found.samples[sample], found.samples[sample + 1]):
                name = found.name_bytes[found.name_starts[member] : found.name_starts[member + 1]]
                yield text(name), b"", int(found.offsets[member]), None
        if damage is not None:
            raise damage

    kept = False
    try:
        for given, _ in grouped(members(), url, Naming(), guard):
            kept = given is not None
    except TarError as error:
        if error is not damage:  # (a handler raised it)
            raise
    return kept


def _with_a_field_twice(found: Found) -> list[int]:
    """The numbers of these samples, in their order. (A field named as key or URL are makes two with those.)"""
    begins = np.zeros(len(found.fields), "i8")
    begins[found.samples[:-1]] = 1
    inside = found.fields != NONE
    samples, fields = begins.cumsum()[inside] - 1, found.fields[inside]
    most = max(1, len(found.field_names))
    pairs = np.sort(samples * most + fields)
    twice = pairs[1:][pairs[1:] == pairs[:-1]] // most
    reserved = [number for number, name in enumerate(found.field_names) if name in ("__key__", "__url__")]
    numbers: list[int] = np.union1d(twice, samples[np.isin(fields, reserved)]).tolist()
    return numbers
