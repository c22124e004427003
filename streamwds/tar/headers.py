"""The 512 bytes before each member of a tar archive, and the records that extend them. Pure functions of bytes.

POSIX.1-2017 (pax, ustar), GNU tar's extensions, and the v7 layout that both build on. Errors are `HeaderError`s without
a place; who reads the archive adds url and offset.
"""

from __future__ import annotations

import zlib

import attrs

from streamwds.errors import HeaderError
from streamwds.memo import Memo

__all__ = ["BLOCK", "ZERO_BLOCK", "Header", "checksum_holds", "number", "padded", "parse", "pax_records", "text"]

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)

REGULAR = b"0\x007"  # regular, regular in v7's way, contiguous
DATALESS = b"123456"  # links, devices, folders, FIFOs: whatever their size field says, no data follows


def text(name: bytes) -> str:
    """A name as str: UTF-8, whatever else as surrogate escapes, so that it can be written back."""
    return name.decode("utf-8", "surrogateescape")


def padded(size: int) -> int:
    """The bytes that `size` bytes of data take: whole blocks."""
    return size + 511 & -512


def number(field: bytes) -> int:
    """A number field: octal digits, or binary (base 256) where the first bit is set.

    >>> number(b"0000644\\0"), number(bytes([128, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0]))
    (420, 12884901888)
    """
    if field[0] & 128:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 64 else value
    digits = field.partition(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise HeaderError(f"a header has {field!r} where a number should be")
    return int(digits or b"0", 8)


def _expected(field: bytes) -> int:
    """What adler32's low half must be for a header with this checksum field: the byte sum + 1, modulo 65521."""
    return (number(field) - 8 * 32 + sum(field) + 1) % 65521


_EXPECTED: Memo[bytes, int] = Memo(_expected)


def checksum_holds(header: bytes) -> bool:
    """Whether a block is a header whose checksum is right: the sum of its bytes, the checksum's own counted as spaces.

    (zlib.adler32 sums bytes ten times faster than sum(). Old tars summed signed bytes; that is accepted too.)
    """
    if len(header) < BLOCK:
        return False
    try:
        if zlib.adler32(header) & 65535 == _EXPECTED[header[148:156]]:
            return True
        stored = number(header[148:156])
    except HeaderError:
        return False
    signed = sum(b - 256 if b > 127 else b for b in header[:148] + header[156:])
    return stored == signed + 8 * 32


@attrs.frozen
class Header:
    """What a member's header says: its name (without pax or GNU extensions), kind and the bytes of data that follow."""

    name: bytes
    kind: int
    size: int

    @property
    def regular(self) -> bool:
        return self.kind in REGULAR and self.name[-1:] != b"/"  # (v7 has no folders but names that end in a slash)


def parse(header: bytes) -> Header:
    """Read a header whose checksum holds; a `HeaderError` where it makes no sense."""
    if not checksum_holds(header):
        raise HeaderError("the checksum of a header is wrong")
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    kind = header[156]
    size = _SIZES[header[124:136]] if kind not in DATALESS else 0
    if size < 0:
        raise HeaderError(f"a header gives a size of {size} bytes")
    return Header(name, kind, size)


_SIZES: Memo[bytes, int] = Memo(number)


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """The records of a pax extended header: each is "length key=value\\n", the length counting itself.

    >>> pax_records(b"11 path=ab\\n")
    {b'path': b'ab'}
    """
    records: dict[bytes, bytes] = {}
    at, whole = 0, len(data)
    while at < whole and data[at]:
        space = data.find(b" ", at, at + 21)
        digits = data[at:space]
        end = at + int(digits) if space > at and digits.isdigit() else at
        equals = data.find(b"=", space, end)
        if equals < 0 or end > whole or data[end - 1] != ord("\n"):
            raise HeaderError(f"a pax record makes no sense: {data[at : at + 40]!r}")
        records[data[space + 1 : equals]] = data[equals + 1 : end - 1]
        at = end
    return records
