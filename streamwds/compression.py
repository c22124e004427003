"""How files are compressed: one table for both directions, from a format's first bytes and suffixes to its library.

Shards are compressed so, and fields of samples. The standard library knows gzip, bzip2 and xz; zstd and lz4 need an
extra each, and are imported when something is in them. With the extra `fast` (the package isal), gzip is read and
written several times as fast.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

import attrs

from streamwds.errors import MissingExtraError

__all__ = ["COMPRESSIONS", "Compress", "Compression", "Library", "chosen", "recognised"]

PIECE = 1 << 16  # so much is read of a compressed file at a time: what a damaged piece gives is lost
GZIP = b"\x1f\x8b"

Compress: TypeAlias = "bool | str | tuple[str, int] | None"


@attrs.frozen
class Library:
    """What reads and writes a format.

    unpack: from a buffered file of compressed bytes to a file of what they say; a compressed shard may be several
        streams of the format one after the other.
    pack: from a file that writes all it is given, and a level (None: the usual one), to a file that compresses into it;
        closing that ends the compressed stream, and leaves the file open.
    failures: what both raise where the compressed bytes are wrong, besides OSError and EOFError.
    """

    unpack: Callable[[Any], Any]
    pack: Callable[[Any, int | None], Any]
    failures: tuple[type[Exception], ...] = ()


@attrs.frozen
class Compression:
    """A format in which shards are compressed.

    name: its usual suffix, without the dot, by which `compress=` calls it; title: what it is called in messages.
    levels: from the least to the most; extra: that of this package which installs its library.
    """

    name: str
    title: str
    magic: bytes
    suffixes: tuple[str, ...]
    levels: range
    load: Callable[[], Library]
    extra: str | None = None

    def library(self) -> Library:
        """Its library, imported; a `MissingExtraError` that says how to install it."""
        try:
            return self.load()
        except ImportError as error:
            raise MissingExtraError(
                f"{self.title} needs a package that is not installed: pip install 'streamwds[{self.extra}]'"
            ) from error


def _gzip() -> Library:
    return Library(
        unpack=lambda packed: gzip.GzipFile(fileobj=packed),
        pack=lambda raw, level: gzip.GzipFile("", "wb", 6 if level is None else level, raw, mtime=0),
        failures=(zlib.error,),
    )


def _fastest_gzip() -> Library:
    """isal's gzip where it is installed. It has other levels, so a level that was asked for is left to zlib."""
    try:
        igzip, igzip_lib = import_module("isal.igzip"), import_module("isal.igzip_lib")
    except ImportError:
        return _gzip()

    def pack(raw: Any, level: int | None) -> Any:
        return igzip.IGzipFile("", "wb", fileobj=raw, mtime=0) if level is None else _gzip().pack(raw, level)

    return Library(lambda packed: _IsalReader(packed, igzip_lib), pack, (igzip_lib.IsalError,))


class _IsalReader(io.RawIOBase):
    """Unpacks gzip with isal. (Its own file class forgets what it has unpacked when the shard turns out to be cut.)"""

    def __init__(self, packed: Any, library: Any) -> None:
        self._packed = packed
        self._library = library
        self._stream: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = b""
        while not data:
            fresh = b""
            if self._stream is None or self._stream.eof:
                fresh = self._next_start(b"" if self._stream is None else self._stream.unused_data)
                if not fresh:
                    return 0
                self._stream = self._library.IgzipDecompressor(flag=self._library.DECOMP_GZIP)
            elif self._stream.needs_input:
                fresh = self._packed.read1(PIECE)
                if not fresh:
                    raise EOFError("it ends before the end of its gzip stream")
            data = self._stream.decompress(fresh, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next_start(self, start: bytes) -> bytes:
        """The first bytes of the next gzip stream, of which `start` is there already; none if no more follows."""
        while not (start := start.lstrip(b"\0")) and (start := self._packed.read1(PIECE)):  # (gzip may be padded)
            pass
        if not (start.startswith(GZIP) or GZIP.startswith(start)):
            raise gzip.BadGzipFile(f"{start[:2]!r} is no beginning of a gzip stream")
        return start


def _bzip2() -> Library:
    return Library(
        unpack=bz2.BZ2File,
        pack=lambda raw, level: bz2.BZ2File(raw, "wb", compresslevel=9 if level is None else level),
    )


def _xz() -> Library:
    return Library(
        unpack=lzma.LZMAFile,
        pack=lambda raw, level: lzma.LZMAFile(raw, "wb", preset=level),
        failures=(lzma.LZMAError,),
    )


def _zstd() -> Library:
    try:
        zstd = import_module("compression.zstd")  # (the standard library's, from Python 3.14 on)
    except ImportError:
        zstd = import_module("backports.zstd")

    def pack(raw: Any, level: int | None) -> Any:
        parameter = zstd.CompressionParameter
        options = {parameter.compression_level: 3 if level is None else level, parameter.checksum_flag: 1}
        return zstd.ZstdFile(raw, "wb", options=options)

    return Library(zstd.ZstdFile, pack, (zstd.ZstdError,))


def _lz4() -> Library:
    lz4 = import_module("lz4.frame")

    def pack(raw: Any, level: int | None) -> Any:
        return lz4.LZ4FrameFile(raw, "wb", compression_level=level or 0, content_checksum=True)

    return Library(lz4.LZ4FrameFile, pack, (RuntimeError,))


COMPRESSIONS: tuple[Compression, ...] = (
    Compression("gz", "gzip", GZIP, (".gz", ".tgz"), range(10), _fastest_gzip),
    Compression("bz2", "bzip2", b"BZh", (".bz2", ".tbz2"), range(1, 10), _bzip2),
    Compression("xz", "xz", b"\xfd7zXZ\0", (".xz", ".txz"), range(10), _xz),
    Compression("zst", "zstd", b"\x28\xb5\x2f\xfd", (".zst", ".tzst"), range(1, 23), _zstd, "zstd"),
    Compression("lz4", "lz4", b"\x04\x22\x4d\x18", (".lz4",), range(17), _lz4, "lz4"),
)


def recognised(start: bytes) -> Compression | None:
    """The format of a file that begins like this; None for any other.

    >>> recognised(gzip.compress(b"")).title
    'gzip'
    """
    return next((found for found in COMPRESSIONS if start.startswith(found.magic)), None)


def chosen(compress: Compress, name: str = "") -> tuple[Compression | None, int | None]:
    """The format and level that `compress` asks for, of a file of this name.

    None: as the name's suffix says. True: gzip; False: no compression. Else a format's name, with a level or not: "gz",
    ("zst", 10). An unknown name and a level out of range are a ValueError.

    >>> [found and found.title for found, level in (chosen(None, "a.tgz"), chosen(None, "a.tar"), chosen("zst"))]
    ['gzip', None, 'zstd']
    >>> chosen(("gz", 12))
    Traceback (most recent call last):
    ...
    ValueError: gzip has the levels 0 to 9, not 12
    """
    if compress is None:
        return next((found for found in COMPRESSIONS if name.endswith(found.suffixes)), None), None
    if isinstance(compress, bool):
        return (COMPRESSIONS[0] if compress else None), None
    wanted, level = (compress, None) if isinstance(compress, str) else compress
    found = next((found for found in COMPRESSIONS if wanted in (found.name, found.title)), None)
    if found is None:
        known = ", ".join(found.name for found in COMPRESSIONS)
        raise ValueError(f"a compression is one of {known}, not {wanted!r}")
    if level is not None and level not in found.levels:
        raise ValueError(f"{found.title} has the levels {found.levels[0]} to {found.levels[-1]}, not {level!r}")
    return found, level
