"""From samples to shards, one after the other: `ShardWriter`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from streamwds.errors import WriteError
from streamwds.shards.gopen import Gopen
from streamwds.tar.shard_names import Pattern, shard_namer
from streamwds.tar.writer import TarWriter, WriterOptions, check_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ShardOptions", "ShardWriter", "check_shard_options"]


class ShardOptions(WriterOptions, total=False):
    """The options of `ShardWriter`, where they are passed on."""

    maxcount: int
    maxsize: float
    post: Callable[[str], object] | None
    start_shard: int


def check_shard_options(
    maxcount: object = 1,
    maxsize: float = 1,
    post: object = None,
    start_shard: object = 0,
    **options: Any,
) -> None:
    """Raise a ValueError or TypeError for options that a `ShardWriter` can't have."""
    unknown = [name for name in options if name not in WriterOptions.__annotations__]
    if unknown:
        raise TypeError(f"there is no option {unknown[0]!r}; there are {', '.join(ShardOptions.__annotations__)}")
    for name, value, least in (("maxcount", maxcount, 1), ("start_shard", start_shard, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is a whole number of at least {least}, not {value!r}")
    if not maxsize > 0:
        raise ValueError(f"maxsize is a number of bytes above 0, not {maxsize!r}")
    if post is not None and not callable(post):
        raise TypeError(f"post is a function of a shard's name, not {post!r}")
    check_options(**options)


class ShardWriter:
    """Writes samples to shards at paths or URLs, and begins a new one whenever one is full.

    Parameters
    ----------
    pattern: the shards' names: with a place for their number, "train-%06d.tar" or "train-{:06d}.tar", or a function of
        the number.
    maxcount, maxsize: a shard is full when it has so many samples, or when they take so many bytes in it or more
        (uncompressed).
    post: called with the name of each shard once it is there under its name.
    start_shard: the number of the first.
    resume: go on behind the shards that are there already: numbers of which there is a shard are passed over, and the
        partial file that a killed writer left is removed. (Which samples those shards hold is for the caller to know;
        `write_to(resume=True)` knows it by itself.) The shards lie in a local folder or in a store of objects, such as
        s3 or gs.
    options: those of `TarWriter`.

    A shard appears under its name when it is complete, in the place of an older one of that name (unless `resume`).
    After an error in a `with` block the unfinished shard does not appear, and those before it stay. Keys must differ
    within a shard. Without a sample there is no shard.

    `shard` is the number of the shard that is open, or comes next, `count` and `size` are the samples in it and their
    bytes; `shards`, `samples` and `bytes` are those of all shards finished so far. `failed` tells after an error
    that it was no sample's fault: a shard could not be opened or finished, or `post` failed.

    >>> with ShardWriter(f"{tmp_path}/a-%06d.tar", maxcount=2, mtime=0) as writer:
    ...     for n in range(3):
    ...         size = writer.write({"__key__": str(n), "txt": "a cat"})
    >>> writer.shards, urls(f"{tmp_path}/a-*.tar") | tarsamples | map(lambda s: s["__key__"]) | list
    (2, ['0', '1', '2'])
    """

    def __init__(
        self,
        pattern: Pattern,
        maxcount: int = 100_000,
        maxsize: float = 3e9,
        post: Callable[[str], object] | None = None,
        start_shard: int = 0,
        *,
        resume: bool = False,
        **options: Unpack[WriterOptions],
    ) -> None:
        check_shard_options(maxcount, maxsize, post, start_shard, **options)
        self._name = shard_namer(pattern)
        self._maxcount = maxcount
        self._maxsize = maxsize
        self._post = post
        self._resume = resume
        self._opener = options.get("opener") or Gopen()
        self._options = options
        self._writer: TarWriter | None = None
        self._names: set[str] = set()
        self.shard = start_shard
        self.count = self.size = 0
        self.shards = self.samples = self.bytes = 0
        self.closed = self.failed = False
        if resume:
            self._pass_over()
            self._opener.place(self._name(self.shard)).tidy()

    def write(self, sample: Mapping[str, Any]) -> int:
        """Write a sample; the number of bytes that it takes in its shard. Errors are those of `TarWriter.write`."""
        if self._writer is None:
            self.next_stream()
        writer = self._writer
        assert writer is not None
        try:
            size = writer.write(sample)
        except BaseException:
            self.failed = writer.closed
            raise
        self.count += 1
        self.size += size
        if self.count >= self._maxcount or self.size >= self._maxsize:
            self.finish()
        return size

    def dwrite(self, key: str, **fields: Any) -> int:
        """Write a sample given by keywords; "_" in a field's name stands for "."."""
        return self.write({"__key__": key, **{name.replace("_", "."): value for name, value in fields.items()}})

    def next_stream(self) -> None:
        """Finish the shard that is open, and open the next."""
        if self.closed:
            raise WriteError("the writer is closed")
        self.finish()
        self.failed = True
        if self._resume:
            self._pass_over()
        name = self._name(self.shard)
        if name in self._names:
            raise WriteError(f"shard {self.shard} would have the name of one before it", url=name)
        self._writer = TarWriter(name, **self._options)
        self.failed = False

    def _pass_over(self) -> None:
        while self._opener.place(self._name(self.shard)).size() is not None:
            self.shard += 1

    def finish(self) -> None:
        """Finish the shard that is open, if one is: it appears under its name, and then `post` is called with it."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if not self.count:
            writer.abort()
            return
        self.failed = True
        try:
            writer.close()
        except BaseException:
            self.closed = True  # (its samples are lost)
            raise
        name = self._name(self.shard)
        self._names.add(name)
        self.shard += 1
        self.shards += 1
        self.samples += self.count
        self.bytes += self.size
        self.count = self.size = 0
        if self._post is not None:
            self._post(name)
        self.failed = False

    def close(self) -> None:
        """Finish the shard that is open, and take no more."""
        self.finish()
        self.closed = True

    def abort(self) -> None:
        """Take no more, and leave nothing of the shard that is open."""
        self.closed = True
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
