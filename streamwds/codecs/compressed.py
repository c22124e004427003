"""Compressed fields: `json.gz`, `npy.zst` and the like, whatever stands before the last word.

The libraries are those of compressed shards; here they are held to a size.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType

from streamwds.codecs.codec import Rules
from streamwds.compression import COMPRESSIONS, Compression

__all__ = ["WRAPPERS", "pack", "unpack", "unwrap"]

WRAPPERS: Mapping[str, Compression] = MappingProxyType({found.name: found for found in COMPRESSIONS})
"""The extensions that wrap others: gz bz2 xz zst lz4."""

PIECE = 1 << 20


def unwrap(field: str) -> tuple[str, tuple[str, ...]]:
    """A field's name without the compressions that it ends in, and these, the outermost first.

    >>> unwrap("seg.json.gz"), unwrap("a.xz.gz"), unwrap("gz"), unwrap("txt")
    (('seg.json', ('gz',)), ('a', ('gz', 'xz')), ('', ('gz',)), ('txt', ()))
    """
    names: list[str] = []
    while (last := field.rpartition("."))[2] in WRAPPERS:
        names.append(last[2])
        field = last[0]
    return field, tuple(names)


def unpack(data: bytes, names: tuple[str, ...], rules: Rules) -> bytes:
    """The bytes without their compressions, the outermost named first.

    `ValueError` as soon as they turn out to take more than `rules.max_bytes`; other errors are those of the format.

    >>> from streamwds.codecs.compressed import pack
    >>> unpack(pack(b"a cat", ("gz", "xz")), ("gz", "xz"), Rules())
    b'a cat'
    """
    for name in names:
        pieces: list[bytes] = []
        size = 0
        with WRAPPERS[name].library().unpack(io.BytesIO(data)) as file:
            while piece := file.read(PIECE):
                size += len(piece)
                rules.check_bytes(size, f"the .{name}, unpacked,")
                pieces.append(piece)
        data = b"".join(pieces)
    return data


def pack(data: bytes, names: tuple[str, ...]) -> bytes:
    """The bytes compressed, the outermost named first. Equal bytes give equal bytes."""
    for name in reversed(names):
        stream = io.BytesIO()
        with WRAPPERS[name].library().pack(stream, None) as file:
            file.write(data)
        data = stream.getvalue()
    return data
