"""The bytes around each member that is written: its header, and padding to whole blocks. Pure functions of bytes.

Headers are ustar's; a name or size that doesn't fit goes into a pax header before it, so that every tar reads them.
Most samples have plain names and fields that came before: of their headers all but the key is looked up.
"""

from __future__ import annotations

from zlib import adler32

from streamwds.memo import Memo
from streamwds.tar.headers import BLOCK, text
from streamwds.tar.names import is_meta, split_name

__all__ = ["LARGEST", "PADDING", "Framing", "is_plain", "misread"]

LARGEST = 8**11  # what eleven octal digits can't say
PADDING = tuple(bytes(-size % BLOCK) for size in range(BLOCK))  # by the size's remainder


class Framing:
    """The headers of members of one owner, mode and time.

    user, group: at most 31 bytes each. mtime: whole seconds since 1970.
    """

    def __init__(self, user: str, group: str, mode: int, mtime: int) -> None:
        self._numbers = b"%07o\0%07o\0%07o\0" % (mode & 0o7777, 0, 0)
        self._mtime = b"\0%011o\0" % mtime
        self._magic = b"ustar\x0000" + user.encode().ljust(32, b"\0") + group.encode().ljust(32, b"\0")
        self._plain = b"0" + bytes(100) + self._magic + bytes(183)
        self.ends: Memo[int, bytes] = Memo(self._end, most=1 << 14)
        """The second part of a plain member's header, from its checksum on, by the sum of the first part's bytes."""
        self._blank_sum = sum(self._plain) + 8 * 32  # (a checksum counts itself as spaces)

    def starts(self, length: int, field: str) -> Memo[int, tuple[bytes, int]] | None:
        """The first part of a plain member's header, behind a key of so many bytes, by the size of its data: the bytes,
        and their sum. None if the name would be too long.

        (adler32's low half is the sum of all bytes + 1, ten times as fast as sum().)
        """
        rest = b"." + field.encode()
        if length + len(rest) > 100:
            return None
        front = rest.ljust(100 - length, b"\0") + self._numbers

        def start(size: int) -> tuple[bytes, int]:
            data = front + b"%011o" % size + self._mtime
            return data, (adler32(data) & 65535) - 1

        return Memo(start, most=1 << 10)

    def _end(self, start: int) -> bytes:
        return b"%06o\0 " % (start + self._blank_sum) + self._plain

    def header(self, name: str, size: int) -> list[bytes]:
        """The header of any member, behind its pax header if it needs one."""
        raw = name.encode("utf-8", "surrogateescape")
        prefix, short = _ustar_name(raw)
        records: dict[str, bytes] = {}
        if short is None or not (raw.isascii() or _has_surrogates(name)):
            records["path"] = raw
            prefix, short = b"", raw[:100]
        if size >= LARGEST:
            records["size"] = b"%d" % size
        if not records:
            return [self._block(short, prefix, size, b"0")]
        data = b"".join(_pax_record(key.encode(), value) for key, value in records.items())
        extended = self._block(b"PaxHeaders/" + short[:80], b"", len(data), b"x")
        member = self._block(short, prefix, 0 if "size" in records else size, b"0")
        return [extended, data, PADDING[len(data) % BLOCK], member]

    def _block(self, name: bytes, prefix: bytes, size: int, kind: bytes) -> bytes:
        header = bytearray(BLOCK)
        header[: len(name)] = name
        header[100:148] = self._numbers + b"%011o" % size + self._mtime
        header[148:157] = b"        " + kind
        header[257:329] = self._magic
        header[345 : 345 + len(prefix)] = prefix
        header[148:156] = b"%06o\0 " % sum(header)
        return bytes(header)


def is_plain(key: str) -> bool:
    """Whether a key is such that, in front of any plain field, it is read back as it is: ASCII, without a dot, and no
    part of a metadata name. (Others may be read back all the same; see `misread`.)

    >>> is_plain("a/b-c_1"), is_plain("a/b.c"), is_plain("a/"), is_plain("__x"), is_plain("ä")
    (True, False, False, False, False)
    """
    return (
        key.isascii()
        and "." not in key
        and "\0" not in key
        and not key.startswith("__")
        and not key.endswith("/")
        and key != ""
    )


def misread(key: str, field: str) -> str | None:
    """Why a member of this key and field would not be read back as it is; None if it would be."""
    name = f"{key}.{field}"
    parts = split_name(name)
    if parts == (key, field) and not is_meta(name) and "\0" not in name and _survives(name):
        return None
    if "\0" in name:
        return "a name in a tar archive can't have a NUL"
    if not _survives(name):
        return "the name has lone surrogates, which would be read back otherwise or can't be written"
    if "/" in field:
        return "a field's name can't have a slash"
    if is_meta(name):
        return "a name that begins with __x__ is metadata, which readers pass over"
    if parts is None:
        return "the key's last part is empty, so readers would pass it over"
    return f"it would be read back as field {parts[1]!r} of sample {parts[0]!r}"


def _has_surrogates(name: str) -> bool:
    """Whether a name is no UTF-8: bsdtar complains of such a one in a pax header, and no tar in a plain one."""
    return any("\udc80" <= letter <= "\udcff" for letter in name)


def _survives(name: str) -> bool:
    """Whether a name is the same after it was made bytes and str again."""
    try:
        return name.isascii() or text(name.encode("utf-8", "surrogateescape")) == name
    except UnicodeEncodeError:
        return False


def _ustar_name(raw: bytes) -> tuple[bytes, bytes | None]:
    """A name as ustar's prefix and name fields; None for a name that doesn't fit.

    (A prefix doesn't end in a slash, for then bsdtar would leave out the one between the two.)
    """
    if len(raw) <= 100:
        return b"", raw
    slash = raw.rfind(b"/", 0, 156)
    name = raw[slash + 1 :]
    fits = slash > 0 and 0 < len(name) <= 100 and raw[slash - 1] != ord("/")
    return (raw[:slash], name) if fits else (b"", None)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """ "length key=value\\n", where the length counts its own digits."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d" % length + body
