"""From samples to a shard: `TarWriter`.

Archives are ustar, with a pax header where a name or size doesn't fit, so that every tar reads them. What would not be
read back as it was is refused before a byte is written.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import secrets
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, BinaryIO, TypeAlias, cast

from streamwds.codecs.table import encoder as encoder_of
from streamwds.codecs.table import longest_extension
from streamwds.errors import EncodeError, WriteError
from streamwds.memo import Memo
from streamwds.tar.headers import BLOCK, text
from streamwds.tar.names import is_meta, split_name

__all__ = ["TarWriter"]

Encoder: TypeAlias = "bool | Callable[[Mapping[str, Any]], Mapping[str, Any]] | Mapping[str, Callable[[Any], bytes]]"

FLUSH = 1 << 20
RECORD = 20 * BLOCK  # an archive is a multiple of 10,240 bytes long, as tar has had it since tapes
LARGEST = 8**11  # what eleven octal digits can't say

COMPRESSED: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": lambda f: gzip.GzipFile(filename="", mode="wb", fileobj=f, mtime=0),
    ".tgz": lambda f: gzip.GzipFile(filename="", mode="wb", fileobj=f, mtime=0),
    ".bz2": lambda f: bz2.BZ2File(f, "wb"),
    ".xz": lambda f: lzma.LZMAFile(f, "wb"),  # noqa: SIM115
}


class TarWriter:
    """Writes samples to a shard, each field of a sample as the file `key.field`.

    Parameters
    ----------
    target: a path (ending in .gz, .tgz, .bz2 or .xz, it is compressed), or a binary file, which stays open.
    user, group, mode: what the archive says of each file's owner and permissions.
    mtime: the time that it says, in seconds since 1970; None: when it is written.
    encoder: True encodes each value by its field's extension; False takes bytes only; a function from sample to encoded
        sample, or a dict from extension to function, is your own encoder.
    keep_meta: write fields that begin with "_" too (`__key__` and `__url__` never are).

    At a path, the shard appears under its name when it is complete: at `close`, or at the end of a `with` block that
    ends well. After an error in the block nothing of it is left.

    >>> path = tmp_path / "a.tar"
    >>> with TarWriter(path) as writer:
    ...     size = writer.write({"__key__": "0001", "txt": "a cat", "cls": 7})
    >>> urls(path) | tarsamples | decode() | list
    [{'__key__': '0001', '__url__': '...a.tar', 'cls': 7, 'txt': 'a cat'}]
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        user: str = "bigdata",
        group: str = "bigdata",
        mode: int = 0o444,
        *,
        mtime: float | None = None,
        encoder: Encoder = True,
        keep_meta: bool = False,
    ) -> None:
        self._owner = user.encode().ljust(32, b"\0") + group.encode().ljust(32, b"\0")
        if len(self._owner) != 64 or b"\0" not in self._owner[:32] or b"\0" not in self._owner[32:]:
            raise ValueError(f"user and group have at most 31 bytes: {user!r}, {group!r}")
        if mtime is not None and not 0 <= mtime < LARGEST:
            raise ValueError(f"mtime is a number of seconds since 1970, below 8**11, not {mtime!r}")
        self._mode = mode & 0o7777
        self._mtime = mtime
        self._encoder = encoder
        self._keep_meta = keep_meta
        self._keys: set[str] = set()
        self._encoders = Memo(encoder_of, most=4096)
        self._parts: list[bytes] = []
        self._waiting = 0
        self._size = 0
        self._path: str | None = None
        self._partial: str | None = None
        self._file: Any = target
        self._raw: BinaryIO | None = None
        self.closed = False
        if isinstance(target, (str, os.PathLike)):
            self._path = os.fspath(target)
            folder, name = os.path.split(self._path)
            if name.endswith((".zst", ".lz4")):
                raise WriteError("shards can be compressed as .gz, .tgz, .bz2 or .xz", url=self._path)
            self._partial = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.partial")
            try:
                self._raw = self._file = open(self._partial, "xb", buffering=0)  # noqa: SIM115
            except OSError as error:
                raise WriteError(f"the shard can't be written: {error.strerror}", url=self._path) from error
            for suffix, compressed in COMPRESSED.items():
                if name.endswith(suffix):
                    try:
                        self._file = compressed(self._raw)
                    except OSError as error:  # (gzip's writes its header at once)
                        self.abort()
                        raise self._failed(error) from error

    # ---- samples

    def write(self, sample: Mapping[str, Any]) -> int:
        """Write a sample; the number of bytes that it takes in the archive.

        A `WriteError` or `EncodeError` names key and field, and then nothing of the sample is written.
        """
        if self.closed:
            raise WriteError("the writer is closed", url=self._path)
        key = sample.get("__key__")
        if not isinstance(key, str):
            given = "no __key__" if key is None else f"the __key__ {key!r}, which is no str"
            raise WriteError(f"a sample has {given}; its fields are {', '.join(map(str, sample))}", url=self._path)
        if key in self._keys:
            raise WriteError("a sample of this key is in the shard already", url=self._path, key=key)
        members = [(field, self._encoded(key, field, value)) for field, value in self._fields(key, sample)]
        if not members:
            raise WriteError("the sample has no field to write, so it would be lost", url=self._path, key=key)
        parts: list[bytes] = []
        mtime = int(time.time() if self._mtime is None else self._mtime)
        for field, data in members:
            parts += self._header(f"{key}.{field}", len(data), mtime)
            parts += (data, bytes(-len(data) % BLOCK))
        size = sum(map(len, parts))
        self._keys.add(key)
        self._parts += parts
        self._waiting += size
        if self._waiting >= FLUSH:
            self._flush()
        return size

    def dwrite(self, key: str, **fields: Any) -> int:
        """Write a sample given by keywords; "_" in a field's name stands for ".".

        >>> with TarWriter(tmp_path / "b.tar") as writer:
        ...     size = writer.dwrite("0001", seg_txt="a cat")
        """
        return self.write({"__key__": key, **{name.replace("_", "."): value for name, value in fields.items()}})

    def _fields(self, key: str, sample: Mapping[str, Any]) -> list[tuple[str, Any]]:
        values: Mapping[str, Any] = sample
        if callable(self._encoder):
            values = self._encoder(sample)
        wrong: list[Any] = [field for field in values if not isinstance(field, str)]  # pyright: ignore[reportUnnecessaryIsInstance]
        if wrong:
            raise WriteError(f"a field's name is a str, not {wrong[0]!r}", url=self._path, key=key)
        fields = [
            (field, values[field])
            for field in sorted(values)
            if field not in ("__key__", "__url__") and (self._keep_meta or not field.startswith("_"))
        ]
        for field, _ in fields:
            name = f"{key}.{field}"
            if split_name(name) != (key, field) or is_meta(name) or "\0" in name or not _survives(name):
                raise WriteError(_misread(key, field), url=self._path, key=key, field=field)
        return fields

    def _encoded(self, key: str, field: str, value: Any) -> bytes:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        encode: Callable[[Any], Any] | None = None
        if isinstance(self._encoder, Mapping):
            extension = longest_extension(field, self._encoder)
            encode = None if extension is None else self._encoder[extension]
        elif self._encoder is True:
            encode = self._encoders[field]
        if encode is None:
            why = "encoder=False takes bytes" if self._encoder is False else "no encoder knows this extension"
            raise EncodeError(f"{why}, and the value is a {type(value).__name__}", url=self._path, key=key, field=field)
        try:
            data = encode(value)
        except Exception as cause:
            reason = cause.message if isinstance(cause, EncodeError) else f"{type(cause).__name__}: {cause}"
            raise EncodeError(reason, url=self._path, key=key, field=field) from cause
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise EncodeError(
                f"its encoder gave a {type(data).__name__}, not bytes", url=self._path, key=key, field=field
            )
        return bytes(data)

    # ---- headers

    def _header(self, name: str, size: int, mtime: int) -> list[bytes]:
        """The header of a member, behind its pax header if it needs one."""
        raw = name.encode("utf-8", "surrogateescape")
        prefix, short = _ustar_name(raw)
        records: dict[str, bytes] = {}
        if short is None or not (raw.isascii() or _has_surrogates(name)):
            records["path"] = raw
            prefix, short = b"", raw[:100]
        if size >= LARGEST:
            records["size"] = b"%d" % size
        if not records:
            return [self._block(short, prefix, size, mtime, b"0")]
        data = b"".join(_pax_record(key.encode(), value) for key, value in records.items())
        extended = self._block(b"PaxHeaders/" + short[:80], b"", len(data), mtime, b"x")
        member = self._block(short, prefix, 0 if "size" in records else size, mtime, b"0")
        return [extended, data, bytes(-len(data) % BLOCK), member]

    def _block(self, name: bytes, prefix: bytes, size: int, mtime: int, kind: bytes) -> bytes:
        header = bytearray(BLOCK)
        header[: len(name)] = name
        header[100:156] = b"%07o\0%07o\0%07o\0%011o\0%011o\0        " % (self._mode, 0, 0, size, mtime)
        header[156:157] = kind
        header[257:265] = b"ustar\x0000"
        header[265:329] = self._owner
        header[345 : 345 + len(prefix)] = prefix
        header[148:156] = b"%06o\0 " % sum(header)
        return bytes(header)

    # ---- the file

    def _flush(self) -> None:
        data = memoryview(b"".join(self._parts))
        self._parts.clear()
        self._waiting = 0
        self._size += len(data)
        try:
            while data:
                written = self._file.write(data)
                data = data[len(data) if written is None else written :]  # (None: from files that don't count)
        except BaseException as error:  # half a sample may be in the file
            self.abort()
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise

    def close(self) -> None:
        """End the archive; at a path, the shard now appears under its name."""
        if self.closed:
            return
        try:
            end = 2 * BLOCK
            self._parts.append(bytes(end + -(self._size + self._waiting + end) % RECORD))
            self._flush()
            if self._raw is None:
                self.closed = True
                return
            if self._file is not self._raw:
                self._file.close()
            self._raw.close()
            os.replace(cast("str", self._partial), cast("str", self._path))
            self.closed = True
        except OSError as error:
            raise self._failed(error) from error
        finally:
            if not self.closed:
                self.abort()

    def abort(self) -> None:
        """Close without finishing: a shard at a path does not appear."""
        if self.closed:
            return
        self.closed = True
        self._parts.clear()
        if self._raw is not None:
            for file in (self._file, self._raw):  # (a compressor first, which writes what it still has)
                with contextlib.suppress(OSError):
                    file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(cast("str", self._partial))

    def _failed(self, error: OSError) -> WriteError:
        return WriteError(f"writing failed: {error.strerror or error}", url=self._path)

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _misread(key: str, field: str) -> str:
    name = f"{key}.{field}"
    if "\0" in name:
        return "a name in a tar archive can't have a NUL"
    if not _survives(name):
        return "the name has lone surrogates, which would be read back otherwise or can't be written"
    if "/" in field:
        return "a field's name can't have a slash"
    if is_meta(name):
        return "a name that begins with __x__ is metadata, which readers pass over"
    parts = split_name(name)
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
