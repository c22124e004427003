"""From many checked headers to many samples: what `scan.headers` found in a stretch of a shard, put together.

`regular` takes stretches in which every sample has the same fields in the same order, as nearly all shards are: keys,
data and dicts are made a column at a time. `irregular` takes the others member by member, still without touching their
headers again. Both give None for what is odd, and `members.walk` takes it from there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamwds.errors import HeaderError
from streamwds.memo import Memo
from streamwds.stage import Sample
from streamwds.tar.buffers import Buffer
from streamwds.tar.headers import BLOCK, padded, pax_records, text
from streamwds.tar.names import is_meta, split_name
from streamwds.tar.scan import Headers, fold, headers

__all__ = ["Stretch", "stretch"]

NAME = 100  # bytes of the name field
NAME_WORDS = 13
REGULAR_FILE = ord("0")


class Stretch(NamedTuple):
    """Samples from the front of a buffer: their number, an iterator, where each ends, how far they reach (bytes)."""

    number: int
    samples: Iterator[Sample]
    ends: Callable[[], list[int]]
    used: int


def stretch(buffer: Buffer, end: int, url: str, wanted: Callable[[str], bool] | None) -> Stretch | None:
    """The samples that lie whole in the first `end` bytes of a buffer, at whose front a sample begins; None if odd.

    The last sample is left: whether it is whole, only what follows tells. The iterator reads from the buffer, so it
    must be used up before the buffer is filled again.
    """
    found = headers(buffer, end)
    if found is None:
        return None
    last, blocks = int(found.after[-1]), end >> 9
    whole = len(found.at) - (last > blocks)  # the data of the last member may not all be here
    if whole < 2:
        return None
    return _regular(buffer, found, whole, url, wanted) or _irregular(buffer, found, whole, url, wanted)


# ---- samples that all have the same fields


def _regular(
    buffer: Buffer, found: Headers, whole: int, url: str, wanted: Callable[[str], bool] | None
) -> Stretch | None:
    if found.kind != REGULAR_FILE:
        return None
    pattern = _pattern(found, min(whole, 64))
    if pattern is None:
        return None
    key, folder, extensions = pattern
    k = len(extensions)
    count = (whole - 1) // k
    fields = [text(extension[1:]).lower() for extension in extensions]
    if count < 1 or len({"__key__", "__url__", *fields}) < k + 2:
        return None
    m = count * k
    names = np.ascontiguousarray(found.words[:m, :NAME_WORDS]).reshape(count, k, NAME_WORDS)
    joined = _equal_width_keys(names, key, folder) or _other_keys(found, m, extensions, key, folder)
    if joined is None or joined[:2] == b"__" or b"\n__" in joined or b"/\n" in joined:
        return None  # metadata, or a name without a key
    if joined.count(b".") != count * key.count(b"."):
        return None  # a dot in a key's last part: it would be cut there
    following = int(found.at[m]) * BLOCK
    last_key = joined[joined.rfind(b"\n", 0, -1) + 1 : -1]
    after = text(buffer.bytes[following : following + NAME].partition(b"\0")[0])
    parts = None if is_meta(after) else split_name(after)
    if parts is None or parts[0] == text(last_key):
        return None  # the next member still belongs to the last sample, or one after it may
    keys = text(joined).split("\n")
    if len(keys) != count + 1 or any(map(operator.eq, keys, islice(keys, 1, None))):
        return None
    keys.pop()
    at, size = found.at[:m].reshape(count, k), found.size[:m].reshape(count, k)
    chosen = [j for j in range(k) if wanted is None or wanted(fields[j])]
    columns = [_column(buffer, at[:, j], size[:, j]) for j in chosen]
    samples = _dicts(url, [fields[j] for j in chosen], keys, columns)
    return Stretch(count, samples, lambda: [*(at[1:, 0] * BLOCK).tolist(), following], following)


def _pattern(found: Headers, look: int) -> tuple[bytes, int, list[bytes]] | None:
    """Of the first sample: its key, the length of its folder, and its extensions with their dots."""
    names = np.ndarray((look,), f"S{NAME}", found.words, 0, (BLOCK,)).tolist()
    key, folder = b"", 0
    extensions: list[bytes] = []
    for name in names:
        slash = name.rfind(b"/") + 1
        dot = name.find(b".", slash)
        if dot <= slash or b"\0" in name:
            return None
        if not extensions:
            key, folder = name[:dot], slash
        elif name[:dot] != key:
            break
        extensions.append(name[dot:])
    return (key, folder, extensions) if extensions else None


@lru_cache(256)
def _outside(folder: int, length: int) -> NDArray[np.uint64]:
    """A mask of the bytes of a name that are not in the key's last part."""
    mask = np.full(NAME_WORDS * 8, 0xFF, "u1")
    mask[folder:length] = 0
    mask[NAME:] = 0
    return mask.view("<u8")


def _equal_width_keys(names: NDArray[np.uint64], key: bytes, folder: int) -> bytes | None:
    """All keys, a newline behind each, if only bytes of the key's last part vary, alike in all of a sample's names."""
    count, k, width = names.shape
    length = len(key)
    rows = names.reshape(count, k * width)
    vary = (fold(np.bitwise_or, rows) ^ fold(np.bitwise_and, rows)).reshape(k, width)
    if bool((vary & _outside(folder, length)).any()):
        return None
    letters = names.view("u1").reshape(count, k, width * 8)
    if k > 1 and not bool((letters[:, 1:, folder:length] == letters[:, :1, folder:length]).all()):
        return None
    lines = np.empty((count, length + 1), "u1")
    lines[:, :length] = letters[:, 0, :length]
    lines[:, length] = ord("\n")
    joined = lines.tobytes()
    return None if b"\0" in joined else joined


def _other_keys(found: Headers, m: int, extensions: list[bytes], key: bytes, folder: int) -> bytes | None:
    """All keys, a newline behind each, whatever their lengths, if each column's names end in its extension."""
    names = np.ndarray((m,), f"S{NAME}", found.words, 0, (BLOCK,)).tolist()
    k = len(extensions)
    keys: bytes | None = None
    for j, extension in enumerate(extensions):
        column = b"\n".join(names[j::k]) + b"\n"
        without = column.replace(extension + b"\n", b"\n")
        if len(column) - len(without) != len(extension) * (m // k) or keys not in (None, without):
            return None
        keys = without
    if keys is None or b"\0" in keys:
        return None
    if folder and keys.count(b"\n" + key[:folder]) + keys.startswith(key[:folder]) != m // k:
        return None  # (the dots in the folder's name are only known to be harmless if it is the same everywhere)
    return keys


def _column(buffer: Buffer, at: NDArray[np.int64], size: NDArray[np.int64]) -> Iterable[bytes]:
    """The data of the members at these blocks, as bytes objects."""
    least, most = int(size.min()), int(size.max())
    if 0 < most <= 4096 and most - least <= 16:
        # as one array of fixed-size items: raw if all are equally long, else stripped of NULs, if that was right
        kind = np.dtype(("V" if least == most else "S", most))
        items = np.ndarray(((buffer.capacity - BLOCK - most) // BLOCK + 1,), kind, buffer.bytes, BLOCK, (BLOCK,))
        values: list[bytes] = items[at].tolist()
        if least == most or list(map(len, values)) == size.tolist():
            return values
    start = (at + 1) * BLOCK
    places = zip(start.tolist(), (start + size).tolist())
    memory = buffer.bytes
    if most > 16384:
        return (memory[i:j] for i, j in places)
    return [memory[i:j] for i, j in places]


def _dicts(url: str, fields: list[str], keys: list[str], columns: list[Iterable[bytes]]) -> Iterator[Sample]:
    """The samples: a dict display is three times as fast as anything that takes the number of fields as it comes."""
    if len(fields) == 1:
        (a,), (x,) = fields, columns
        return ({"__key__": key, "__url__": url, a: va} for key, va in zip(keys, x))
    if len(fields) == 2:
        (a, b), (x, y) = fields, columns
        return ({"__key__": key, "__url__": url, a: va, b: vb} for key, va, vb in zip(keys, x, y))
    if len(fields) == 3:
        (a, b, c), (x, y, z) = fields, columns
        return ({"__key__": key, "__url__": url, a: va, b: vb, c: vc} for key, va, vb, vc in zip(keys, x, y, z))
    names = ("__key__", "__url__", *fields)
    return (dict(zip(names, (key, url, *values))) for key, *values in zip(keys, *columns))


# ---- samples of any fields, and members that are described by extended headers


_PAX, _GLOBAL, _LONG_NAME, _LONG_LINK = b"xgLK"


def _irregular(
    buffer: Buffer, found: Headers, whole: int, url: str, wanted: Callable[[str], bool] | None
) -> Stretch | None:
    memory = buffer.bytes
    kinds = found.words.view("u1")[:whole, 156].tolist()
    names: list[bytes] = np.ndarray((whole,), f"S{NAME}", found.words, 0, (BLOCK,)).tolist()
    starts = (found.at * BLOCK).tolist()
    sizes = found.size.tolist()
    samples: list[Sample] = []
    ends: list[int] = []
    key: bytes | None = None
    sample: Sample = {}
    member = begin = starts[0]  # where the member, and the sample, that we are at begin
    longer: bytes | None = None
    for kind, name, start, size in zip(kinds, names, starts, sizes):
        if kind == REGULAR_FILE:
            if longer is not None:
                name = longer
            if b"\0" in name:
                return None
            slash = name.rfind(b"/") + 1
            dot = name.find(b".", slash)
            if dot > slash and not (name[:2] == b"__" and is_meta(text(name))):
                if name[:dot] != key:
                    if key is not None:
                        samples.append(sample)
                        ends.append(member)
                    key, begin = name[:dot], member
                    sample = {"__key__": text(key), "__url__": url}
                field = _FIELDS[name[dot + 1 :]]
                if field in sample:
                    return None
                if wanted is None or wanted(field):
                    sample[field] = memory[start + BLOCK : start + BLOCK + size]
            longer = None
        elif kind in (_PAX, _LONG_NAME, _GLOBAL, _LONG_LINK):
            data = memory[start + BLOCK : start + BLOCK + size]
            if kind == _LONG_NAME:
                longer = data.partition(b"\0")[0]
            elif kind != _LONG_LINK:
                path = _path(data)
                if path is None or (path and kind == _GLOBAL):
                    return None
                longer = path or longer
            continue
        elif size or kind not in b"123456":
            return None
        else:
            longer = None
        member = start + BLOCK + padded(size)
    used = member if key is None else begin
    return Stretch(len(samples), iter(samples), lambda: ends, used) if used else None


_FIELDS: Memo[bytes, str] = Memo(lambda name: text(name).lower())


def _path(data: bytes) -> bytes | None:
    """The path that a pax header gives (b"": none); None if it makes no sense, or gives what has to be dealt with."""
    try:
        records = pax_records(data)
    except HeaderError:
        return None
    if b"size" in records or records.get(b"path") == b"" or any(name.startswith(b"GNU.sparse") for name in records):
        return None
    return records.get(b"path", b"")
