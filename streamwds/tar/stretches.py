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

from streamwds.errors import FunctionError, HeaderError
from streamwds.stage import Sample
from streamwds.tar.buffers import Buffer
from streamwds.tar.headers import BLOCK, pax_records, text
from streamwds.tar.names import Naming, is_meta
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


def stretch(
    buffer: Buffer, end: int, url: str, naming: Naming, bare: NDArray[np.int64] | None = None
) -> Stretch | None:
    """The samples that lie whole in the first `end` bytes of a buffer, at whose front a sample begins; None if odd.

    The last sample is left: whether it is whole, only what follows tells. The iterator reads from the buffer, so it
    must be used up before the buffer is filled again.

    bare: block numbers of headers whose data, that of fields not wanted, was left out of the buffer.
    """
    found = headers(buffer, end, bare)
    if found is None:
        return None
    last, blocks = int(found.after[-1]), end >> 9
    whole = len(found.at) - (last > blocks)  # the data of the last member may not all be here
    if whole < 2:
        return None
    if naming.usual and (regular := _regular(buffer, found, whole, url, naming)) is not None:
        return regular
    try:
        return _irregular(buffer, found, whole, url, naming)
    except FunctionError:
        return None  # (the walk meets it again, where it belongs)


# ---- samples that all have the same fields


def _regular(buffer: Buffer, found: Headers, whole: int, url: str, naming: Naming) -> Stretch | None:
    if found.kind != REGULAR_FILE:
        return None
    pattern = _pattern(found, min(whole, 64))
    if pattern is None:
        return None
    key, folder, extensions = pattern
    k = len(extensions)
    count = (whole - 1) // k
    fields = [text(extension[1:]) for extension in extensions]
    if naming.lower:
        fields = [field.lower() for field in fields]
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
    parts = None if is_meta(after) else naming.split(after)
    if parts is None or parts[0] == text(last_key):
        return None  # the next member still belongs to the last sample, or one after it may
    keys = text(joined).split("\n")
    if len(keys) != count + 1 or any(map(operator.eq, keys, islice(keys, 1, None))):
        return None
    keys.pop()
    at, size = found.at[:m].reshape(count, k), found.size[:m].reshape(count, k)
    chosen = [j for j in range(k) if naming.wants(fields[j])]
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
    if not fields:
        return ({"__key__": key, "__url__": url} for key in keys)
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


def _irregular(buffer: Buffer, found: Headers, whole: int, url: str, naming: Naming) -> Stretch | None:
    memory = buffer.bytes
    kinds = found.words.view("u1")[:whole, 156].tolist()
    joined = b"\n".join(np.ndarray((whole,), f"S{NAME}", found.words, 0, (BLOCK,)).tolist())
    names = text(joined).split("\n")
    if len(names) != whole or b"\0" in joined:
        return None
    starts = (found.at * BLOCK).tolist()
    sizes = found.size.tolist()
    afters = (found.after * BLOCK).tolist()
    split, wanted = naming.splitter, naming.suffixes
    samples: list[Sample] = []
    ends: list[int] = []
    key: str | None = None
    sample: Sample = {}
    member = begin = starts[0]  # where the last file ends, and where the sample that we are at begins
    longer: str | None = None
    for kind, name, start, size, after in zip(kinds, names, starts, sizes, afters):
        if kind == REGULAR_FILE:
            if longer is not None:
                name, longer = longer, None
            if name[-1:] == "/":  # (a folder, as v7 had them)
                continue
            parts = split(name)
            if parts is not None:
                if parts[0] != key:
                    if key is not None:
                        samples.append(sample)
                        ends.append(member)
                    key, begin = parts[0], member
                    sample = {"__key__": key, "__url__": url}
                field = parts[1]
                if field in sample:
                    return None
                if wanted is None or field in wanted:
                    if size and after == start + BLOCK:
                        return None  # (the header was taken for that of a field not wanted)
                    sample[field] = memory[start + BLOCK : start + BLOCK + size]
            member = after
        elif kind in (_PAX, _LONG_NAME, _GLOBAL, _LONG_LINK):
            data = memory[start + BLOCK : start + BLOCK + size]
            if kind == _LONG_NAME:
                longer = text(data.partition(b"\0")[0]) or None  # (an empty one takes back what was said)
            elif kind != _LONG_LINK:
                path = _path(data)
                if path is None or (path and kind == _GLOBAL):
                    return None
                longer = text(path) or longer
        elif size or kind not in b"123456":
            return None
        else:
            longer = None
    used = member if key is None else begin
    return Stretch(len(samples), iter(samples), lambda: ends, used) if used else None


def _path(data: bytes) -> bytes | None:
    """The path that a pax header gives (b"": none); None if it makes no sense, or gives what has to be dealt with."""
    if b"GNU.sparse" in data:
        return None
    try:
        records = pax_records(data)
    except HeaderError:
        return None
    path = records.get(b"path")
    if path == b"" or b"size" in records:
        return None
    return None if path is not None and b"\0" in path else path or b""
