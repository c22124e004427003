"""From samples to a shard: `TarWriter`.

What would not be read back as it was is refused before a byte is written. That is looked at once for each set of field
names; what then is left to do for a sample is little: look up its headers, and put the pieces into a list, which is
joined and written by the megabyte.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypedDict, cast
from urllib.parse import urlsplit

from streamwds.codecs.codec import Encode
from streamwds.codecs.table import encoder as encoder_of
from streamwds.compression import Compress, chosen
from streamwds.errors import DuplicateKeyError, EncodeError, MissingExtraError, WriteError
from streamwds.memo import Memo
from streamwds.shards.gopen import Gopen, open_for_writing
from streamwds.shards.local import scheme_of, write_all
from streamwds.tar.framing import LARGEST, PADDING, Framing, misread
from streamwds.tar.headers import BLOCK
from streamwds.tar.packing import Pack, no_packer, packer

if TYPE_CHECKING:
    from streamwds.shards.writing import Target

__all__ = ["Encoder", "TarWriter", "WriterOptions", "check_options"]

Encoder: TypeAlias = (
    "bool | str | Callable[[Mapping[str, Any]], Mapping[str, Any]] | Mapping[str, Callable[[Any], bytes]]"
)
Names: TypeAlias = tuple[Any, ...]

FLUSH = 1 << 20
RECORD = 20 * BLOCK  # an archive is a multiple of 10,240 bytes long, as tar has had it since tapes


class WriterOptions(TypedDict, total=False):
    """The options of `TarWriter`, where they are passed on."""

    user: str
    group: str
    mode: int
    compress: Compress
    encoder: Encoder
    keep_meta: bool
    mtime: float | None
    fsync: bool
    opener: Gopen | None


def check_options(
    user: str = "bigdata",
    group: str = "bigdata",
    mode: int = 0o444,
    compress: Compress = None,
    encoder: Encoder = True,
    mtime: float | None = None,
    opener: object = None,
    **others: object,
) -> None:
    """Raise a ValueError or TypeError for options that a `TarWriter` can't have."""
    if max(len(user.encode()), len(group.encode())) > 31:
        raise ValueError(f"user and group have at most 31 bytes: {user!r}, {group!r}")
    if mtime is not None and not 0 <= mtime < LARGEST:
        raise ValueError(f"mtime is a number of seconds since 1970, below 8**11, not {mtime!r}")
    if opener is not None and not isinstance(opener, Gopen):
        raise TypeError(f"what writes to URLs is a Gopen(…), not {opener!r}")
    chosen(compress)
    if isinstance(encoder, str) and encoder_of(encoder) is None:
        raise ValueError(f"no codec writes the extension {encoder!r}, which encoder names")
    if not isinstance(encoder, (bool, str, Mapping)) and not callable(encoder):
        raise TypeError(
            "encoder is True or False, an extension, a dict from extensions to functions, or a function from sample "
            f"to encoded sample, not {encoder!r:.80}"
        )


def _named(url: str) -> str:
    """What tells by its ending how the file is compressed; a command decides that by itself."""
    scheme = scheme_of(url)
    return urlsplit(url).path if scheme in ("http", "https") else "" if scheme == "pipe" else url


class TarWriter:
    """Writes samples to a shard, each field of a sample as the file `key.field`.

    Parameters
    ----------
    target: a path, a URL, "-" (standard output), or a binary file, which stays open.
    user, group, mode: what the archive says of each file's owner and permissions.
    compress: None compresses as the name ends (.gz, .tgz, .bz2, .xz; with the extras zstd and lz4 .zst, .lz4); True is
        gzip, False no compression; else "gz", "bz2", "xz", "zst" or "lz4", or one of them and a level: ("zst", 10).
    encoder: True encodes each value by its field's extension; False takes bytes only; a dict from extensions to
        functions goes before that (`{"jpg": codecs.jpeg(quality=90), "xml": dump}`); the name of an extension ("npy",
        "json.gz") encodes every field as that one, whatever the field is called; a function from sample to encoded
        sample does it all.
    keep_meta: write fields that begin with "_" too (`__key__` and `__url__` never are).
    mtime: the time that the archive says, in seconds since 1970; None: when each sample is written. With a fixed one
        the same samples give the same archive, to the byte (and the same file, where the same library compresses it:
        gzip is isal's if the extra `fast` is installed, unless a level is given).
    fsync: wait until the disk has the shard before it appears under its name.
    opener: how URLs are written, such as `Gopen(storage_options={"profile": "me"})`, or `Gopen(allow_pipe=True)` for
        the input of a command.

    At a path or URL, the shard appears under its name when it is complete: at `close`, or at the end of a `with` block
    that ends well. Until then it is a hidden `.partial` file beside its place; what goes to a store is a temporary file
    here (in TMPDIR), for a store takes it whole. After an error in the block nothing of it is left; a process that is
    killed leaves the partial file. (A command is killed, and nothing can be taken back from standard output.)

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
        compress: Compress = None,
        encoder: Encoder = True,
        keep_meta: bool = False,
        *,
        mtime: float | None = None,
        fsync: bool = False,
        opener: Gopen | None = None,
    ) -> None:
        check_options(user, group, mode, compress, encoder, mtime, opener)
        self._frame: tuple[str, str, int] = (user, group, mode)
        self._encoder = encoder
        self._keep_meta = keep_meta
        own = encoder if isinstance(encoder, Mapping) else None
        named = encoder if isinstance(encoder, str) else None
        self._encoders: Memo[str, Encode | None] = Memo(lambda field: encoder_of(named or field, own), most=4096)
        self._keys: set[str] = set()
        self._parts: list[bytes] = []
        self._waiting = 0
        self._size = 0
        self._ticks = mtime is None
        self._stamp(time.time() if mtime is None else mtime)
        self._path: str | None = None
        self._fsync = fsync
        self._target: Target | None = None
        self.closed = False
        path = os.fspath(target) if isinstance(target, (str, os.PathLike)) else ""
        compression, level = chosen(compress, _named(path))
        try:
            library = None if compression is None else compression.library()
        except MissingExtraError as error:
            error.url = path or None
            raise
        if isinstance(target, (str, os.PathLike)):
            self._path = path
            self._target = open_for_writing(path, opener)
        self._whole = _Whole(target if self._target is None else self._target)
        self._file: Any = self._whole
        if library is not None:
            try:
                self._file = library.pack(self._whole, level)
            except BaseException as error:  # (some write their header at once)
                self.abort()
                if isinstance(error, OSError):
                    raise self._failed(error) from error
                raise

    # ---- samples

    def write(self, sample: Mapping[str, Any]) -> int:
        """Write a sample; the number of bytes that it takes in the archive.

        A `WriteError` or `EncodeError` names key and field, and then nothing of the sample is written.
        """
        if self._ticks and not self._since <= time.time() < self._since + 1:
            self._stamp(time.time())
        size = None
        if type(sample) is dict and not self.closed:
            if len(sample) != self._width:
                self._choose(sample)
            try:
                size = self._pack(sample)
            except KeyError:  # (as many fields as the sample before, and others)
                self._choose(sample)
                size = self._pack(sample)
        if size is None:
            size = self._add_any(sample)
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

    def _stamp(self, now: float) -> None:
        """From here on, headers say that it is this time."""
        self._since = int(now)
        self._framing = Framing(*self._frame, self._since)
        self._packers: Memo[Names, Pack] = Memo(self._packer, most=256)
        self._pack: Pack = no_packer
        self._width = -1

    def _choose(self, sample: dict[str, Any]) -> None:
        self._pack = self._packers[tuple(sample)]
        self._width = len(sample)

    def _packer(self, names: Names) -> Pack:
        """What packs samples that have just these names."""
        if "__key__" not in names or callable(self._encoder) or not all(isinstance(name, str) for name in names):
            return no_packer
        fields = [name for name in sorted(names) if self._is_written(name)]
        if not fields or any(misread("key", field) or not field.isascii() for field in fields):
            return no_packer
        others = [name for name in names if name not in fields and name != "__key__"]
        return packer(self._framing, fields, others, self._encoded, self._keys, self._parts)

    def _add_any(self, sample: Mapping[str, Any]) -> int:
        """Add a sample of any kind, or say what is wrong with it."""
        if self.closed:
            raise WriteError("the writer is closed", url=self._path)
        if not isinstance(sample, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise WriteError(f"a sample is a dict of fields, not a {type(sample).__name__}", url=self._path)
        key = sample.get("__key__")
        if not isinstance(key, str):
            given = "no __key__" if key is None else f"the __key__ {key!r}, which is no str"
            raise WriteError(f"a sample has {given}; its fields are {', '.join(map(str, sample))}", url=self._path)
        if key in self._keys:
            raise DuplicateKeyError("a sample of this key is in the shard already", url=self._path, key=key)
        members = [(field, self._encoded(key, field, value)) for field, value in self._fields(key, sample)]
        if not members:
            raise WriteError("the sample has no field to write, so it would be lost", url=self._path, key=key)
        pieces: list[bytes] = []
        for field, data in members:
            pieces += self._framing.header(f"{key}.{field}", len(data))
            pieces += (data, PADDING[len(data) % BLOCK])
        self._parts += pieces
        self._keys.add(key)
        return sum(map(len, pieces))

    def _is_written(self, name: str) -> bool:
        return name not in ("__key__", "__url__") and (self._keep_meta or not name.startswith("_"))

    def _fields(self, key: str, sample: Mapping[str, Any]) -> list[tuple[str, Any]]:
        values = self._encoded_sample(key, sample, self._encoder) if callable(self._encoder) else sample
        wrong: list[Any] = [field for field in values if not isinstance(field, str)]  # pyright: ignore[reportUnnecessaryIsInstance]
        if wrong:
            raise WriteError(f"a field's name is a str, not {wrong[0]!r}", url=self._path, key=key)
        fields = [(field, values[field]) for field in sorted(values) if self._is_written(field)]
        for field, _ in fields:
            if reason := misread(key, field):
                raise WriteError(reason, url=self._path, key=key, field=field)
        return fields

    def _encoded_sample(
        self, key: str, sample: Mapping[str, Any], encode: Callable[[Mapping[str, Any]], Any]
    ) -> Mapping[str, Any]:
        try:
            values = encode(sample)
        except Exception as cause:
            raise EncodeError(f"{type(cause).__name__}: {cause}", url=self._path, key=key) from cause
        if not isinstance(values, Mapping):
            raise EncodeError(f"its encoder gave a {type(values).__name__}, not a dict", url=self._path, key=key)
        return cast("Mapping[str, Any]", values)

    def _encoded(self, key: str, field: str, value: Any) -> bytes:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        encode: Callable[[Any], Any] | None = None
        if self._encoder is True or isinstance(self._encoder, (str, Mapping)):
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

    # ---- the file

    def _flush(self) -> None:
        large = self._waiting > 16 * FLUSH  # (so much isn't copied only to be written at once)
        pieces = list(self._parts) if large else [b"".join(self._parts)]
        self._parts.clear()
        self._size += self._waiting
        self._waiting = 0
        try:
            for piece in pieces:
                self._file.write(piece)
        except BaseException as error:  # half a sample may be in the file
            self.abort()
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise

    def close(self) -> None:
        """End the archive; at a path or URL, the shard now appears under its name."""
        if self.closed:
            return
        try:
            end = 2 * BLOCK
            end += -(self._size + self._waiting + end) % RECORD
            self._parts.append(bytes(end))
            self._waiting += end
            self._flush()
            if self._file is not self._whole:
                self._file.close()
            if self._target is not None:
                self._target.publish(fsync=self._fsync)
            self.closed = True
        except OSError as error:
            raise self._failed(error) from error
        finally:
            if not self.closed:
                self.abort()

    def abort(self) -> None:
        """Close without finishing: a shard at a path or URL does not appear."""
        if self.closed:
            return
        self.closed = True
        self._parts.clear()
        self._whole.let_go()
        if self._file is not self._whole:
            self._file.close()
        if self._target is not None:
            self._target.discard()

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


class _Whole:
    """A file all of whose writes are whole, whatever the file itself does (a raw one may take fewer bytes)."""

    def __init__(self, file: Any) -> None:
        self._file: Any = file

    def write(self, data: Any) -> int:
        """Write all of it; the number of bytes."""
        return len(data) if self._file is None else write_all(self._file, data)

    def flush(self) -> None:
        """Nothing waits here."""

    def let_go(self) -> None:
        """Write nothing more: a compressor that is closed after this leaves no trace of its end."""
        self._file = None
