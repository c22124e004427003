"""The index of a local shard: where its members and samples lie. Made when asked for, or kept in a file beside it.

A kept index is the file `SHARD.idx`: a line of JSON that says of what version the file is, which shard it tells of (its
size and time of change) and how long its columns are; then the columns of an `Index`, in the order of `COLUMNS`, the
names, and the CRC-32 of all this in four bytes. Numbers are little-endian.
"""

from __future__ import annotations

import json
import os
import stat
import warnings
import zlib
from collections.abc import Iterable
from itertools import chain, product
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from streamwds.context import Context
from streamwds.errors import CompositionError, DamagedIndexWarning, SourceError, StreamwdsError, WriteError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.shards.local import local_path, replacing
from streamwds.shards.opening import Shard, open_url, shard_of
from streamwds.shards.urls import Pattern, Urls
from streamwds.stage import Stream, identity
from streamwds.steps import Upstream, check_fit
from streamwds.tar.headers import BLOCK, text
from streamwds.tar.indexing import NONE, found_in
from streamwds.tar.members import check_eof
from streamwds.tar.names import Naming
from streamwds.tar.reading import sample_stretches
from streamwds.tar.stream import is_compressed, shard_bytes

__all__ = ["Index", "count", "count_each", "index"]

VERSION = "streamwds index 1"
COLUMNS = {"offsets": "<i8", "starts": "<i8", "sizes": "<i8", "name_starts": "<i8", "samples": "<i8", "fields": "<i4"}

_EQUAL = attrs.cmp_using(eq=np.array_equal)


@attrs.frozen
class Index:
    """Where the members and samples of a local shard lie; made by `tar.index`.

    It takes about 50 bytes a member. Members are the regular files of the shard, in their order.

    url, size, mtime_ns: the shard, its size in bytes and its time of change in ns when it was indexed.
    offsets: (members,) int64, bytes: where the first header of each member begins.
    starts, sizes: (members,) int64, bytes: where its data begin, and how much they are.
    fields: (members,) int32: the number of its field in `field_names`; -1 if it is in no sample.
    field_names: (fields,) str, in the order in which they first come.
    name_bytes: the names of all members, one behind the other, as they stand in the shard.
    name_starts: (members + 1,) int64: where each name begins in `name_bytes`, and where the last one ends.
    samples: (samples + 1,) int64: the member with which each sample begins, and the number of members. What lies
        between two of them and has a field is a sample.
    ended: whether an end-of-archive block follows the members.
    intact: False if a handler let something be left out.

    >>> with TarWriter(tmp_path / "a.tar") as writer:
    ...     size = writer.dwrite("0001", txt="a cat", cls=7) + writer.dwrite("0002", txt="a dog")
    >>> found = tar.index(tmp_path / "a.tar")
    >>> len(found), found.keys(), found.names()
    (2, ['0001', '0002'], ['0001.cls', '0001.txt', '0002.txt'])
    >>> found.starts.tolist(), found.sizes.tolist(), found.samples.tolist()
    ([512, 1536, 2560], [1, 5, 5], [0, 2, 3])
    """

    url: str
    size: int
    mtime_ns: int
    offsets: NDArray[np.int64] = attrs.field(eq=_EQUAL, hash=False, repr=False)
    starts: NDArray[np.int64] = attrs.field(eq=_EQUAL, hash=False, repr=False)
    sizes: NDArray[np.int64] = attrs.field(eq=_EQUAL, hash=False, repr=False)
    fields: NDArray[np.int32] = attrs.field(eq=_EQUAL, hash=False, repr=False)
    field_names: tuple[str, ...]
    name_bytes: bytes = attrs.field(repr=False)
    name_starts: NDArray[np.int64] = attrs.field(eq=_EQUAL, hash=False, repr=False)
    samples: NDArray[np.int64] = attrs.field(eq=_EQUAL, hash=False, repr=False)
    ended: bool
    intact: bool

    def __attrs_post_init__(self) -> None:
        for name in COLUMNS:
            getattr(self, name).flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Index, attrs.astuple(self, recurse=False)  # (so that a copy's arrays are read-only, too)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.samples) - 1

    def name(self, member: int) -> str:
        """The name of a member."""
        start, end = self.name_starts[member : member + 2].tolist()
        return text(self.name_bytes[start:end])

    def key(self, sample: int) -> str:
        """The key of a sample."""
        name = self.name(int(self.samples[sample]))
        return name[: name.find(".", name.rfind("/") + 1)]

    def names(self) -> list[str]:
        """The names of all members."""
        return [*map(self.name, range(len(self.sizes)))]

    def keys(self) -> list[str]:
        """The keys of all samples."""
        return [*map(self.key, range(len(self)))]

    def save(self) -> str:
        """Keep the index in a file beside the shard, and give its path; it appears there when it is complete.

        A `WriteError` if it can't be written, or if it leaves something out.
        """
        if not self.intact:
            raise WriteError("an index that leaves out what is damaged isn't kept", url=self.url)
        path = _kept_at(self.url)
        try:
            with replacing(path) as file:
                file.writelines(_packed(self))
        except OSError as error:
            raise WriteError(f"its index can't be kept beside it: {error.strerror}", url=self.url) from error
        return path


def index(
    shard: str | os.PathLike[str], *, eof: str = "strict", handler: Handler = reraise_exception, save: bool = False
) -> Index:
    """Where the members and samples of a local, uncompressed shard lie; its headers are read, and little else.

    eof: "strict" takes a shard without an end-of-archive block for a cut one; "lenient" does not.
    handler: gets the errors that `tarsamples` gives for this shard; if it goes on, all whole samples are there.
    save: keep the index in `SHARD.idx`, beside the shard. (Or call `save` of the index.)

    If an index is kept there, it is taken, provided that the shard's size and time of change are what they were; what
    is older is made anew, and replaced only if `save` says so. One that is damaged is made anew with a
    `DamagedIndexWarning`. A compressed shard, and what is no file, is a `SourceError`.

    >>> with TarWriter(tmp_path / "a.tar") as writer:
    ...     size = writer.dwrite("0001", txt="a cat")
    >>> tar.index(tmp_path / "a.tar", save=True).keys()
    ['0001']
    """
    check_eof(eof)
    url = shard_of(shard).url
    guard = Guard.of(handler)
    with open_url(url) as raw:
        try:
            before = os.fstat(raw.fileno())
        except OSError:
            before = None
        if before is None or not stat.S_ISREG(before.st_mode):
            raise SourceError("only a local file can be indexed; copy it here first, or read it as a stream", url=url)
        if is_compressed(raw.read(BLOCK), url):
            raise SourceError(
                "it is compressed, so nothing can be read from its middle; unpack it, or read it as a stream", url=url
            )
        found = _kept(url, before.st_size, before.st_mtime_ns)
        if found is not None and (found.ended or eof == "lenient"):
            return found
        skipped = guard.skipped
        columns = found_in(raw, before.st_size, url, guard, lenient=eof == "lenient")
        after = os.fstat(raw.fileno())
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise SourceError("the shard was changed while it was indexed", url=url)
    intact = guard.skipped == skipped and not guard.ended
    found = Index(url, before.st_size, before.st_mtime_ns, **columns._asdict(), intact=intact)
    if save and intact:
        found.save()
    return found


def count(
    *shards: Pattern | Iterable[Pattern],
    eof: str = "strict",
    handler: Handler = reraise_exception,
    save: bool = False,
) -> dict[str, int]:
    """The number of samples in each shard, by its URL; patterns are those of `urls`.

    What is indexed is looked up, other local shards are indexed, and those that can't be (compressed ones) are read
    through. eof, handler, save: as in `tar.index`; a shard that is skipped has 0 samples.

    >>> with TarWriter(tmp_path / "a.tar") as writer:
    ...     size = writer.dwrite("0001", txt="a cat")
    >>> list(tar.count(tmp_path / "*.tar").values())
    [1]
    """
    return _counts(Urls(shards).expanded, eof, Guard.of(handler), save)


def count_each(
    shards: Iterable[str],
    *,
    world_size: int | None = None,
    workers: int = 1,
    eof: str = "strict",
    handler: Handler = reraise_exception,
    save: bool = False,
) -> list[int]:
    """The number of samples in the shards of each reader: of rank 0 and its workers, of rank 1 and its workers …

    For `equalize`: all ranks count the same, and each can say how many batches every reader is to give.

    shards: the URLs with their splits, `urls(…) | split_by_node | split_by_worker`, as they stand before `tarsamples`.
        They are counted in the stream's own epoch (0, unless `within` fixed another); if `shuffle_shards` is among its
        stages, other epochs share the shards out otherwise.
    world_size: how many ranks there are; None: as many as this process knows of (see `Context`).
    workers: how many workers each rank's DataLoader has (1 if it has none).
    eof, handler, save: as in `tar.count`, and shards are counted as they are there. With `save=True`, the next process
        that counts looks the numbers up.

    What comes behind the shards isn't known here: stages that leave samples out leave fewer than are counted. Where
    samples are split (`split_samples`), each reader has its equal part of all, `sum(tar.count(…).values())`.

    >>> for number, samples in enumerate((5, 1, 2)):
    ...     with TarWriter(tmp_path / f"{number}.tar") as writer:
    ...         for n in range(samples):
    ...             size = writer.dwrite(f"{n}", cls=n)
    >>> shards = urls(tmp_path / "{0..2}.tar") | split_by_node
    >>> each = tar.count_each(shards, world_size=2)
    >>> each, min(each), sum(each) // len(each)
    ([7, 1], 1, 4)
    """
    stream: Stream[str] = identity(shards)
    kind = check_fit(stream.source.kind, "", stream.steps)
    if kind not in (None, "str"):
        raise CompositionError(
            f"count_each takes the URLs as they stand before tarsamples, and this stream yields {kind}; where samples "
            "are split, each reader has its equal part of sum(tar.count(…).values())"
        )
    if Upstream(stream.source, stream.steps).endless:
        raise CompositionError("count_each counts what one epoch has, and these URLs never end")
    if world_size is None:
        world_size = Context.current(**{**stream.fixed, "worker": 0, "workers": 1}).world_size
    each = [
        [shard_of(url).url for url in stream.within(rank=rank, world_size=world_size, worker=worker, workers=workers)]
        for rank, worker in product(range(world_size), range(workers))
    ]
    counts = _counts(dict.fromkeys(chain.from_iterable(each)), eof, Guard.of(handler), save)
    return [sum(counts.get(url, 0) for url in mine) for mine in each]


def _counts(urls: Iterable[str], eof: str, guard: Guard, save: bool) -> dict[str, int]:
    counts: dict[str, int] = {}
    for url in urls:
        counts[url] = 0
        try:
            counts[url] = _counted(url, eof, guard, save)
        except StreamwdsError as error:
            if guard.ended:
                raise
            guard(error)
        if guard.ended:
            break
    return counts


def _counted(url: str, eof: str, guard: Guard, save: bool) -> int:
    try:
        return len(index(url, eof=eof, handler=guard, save=save))
    except SourceError:  # (nothing can be read from its middle)
        with shard_bytes(Shard(url)) as source:
            none = Naming(suffixes=frozenset())  # (of no field is the data wanted)
            samples = sample_stretches(source, none, guard, lenient=eof == "lenient")
            return sum(1 for _ in chain.from_iterable(samples))


# ---- the file beside the shard


def _kept_at(url: str) -> str:
    return local_path(url) + ".idx"


def _packed(found: Index) -> list[bytes]:
    head = {
        "format": VERSION,
        "size": found.size,
        "mtime_ns": found.mtime_ns,
        "ended": found.ended,
        "field_names": found.field_names,
        "members": len(found.sizes),
        "samples": len(found),
        "bytes": len(found.name_bytes),
    }
    line = json.dumps(head).encode()
    line += b" " * (-(len(line) + 1) % 8) + b"\n"
    parts = [line, *(getattr(found, name).astype(kind).tobytes() for name, kind in COLUMNS.items()), found.name_bytes]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return [*parts, crc.to_bytes(4, "little")]


def _kept(url: str, size: int, mtime_ns: int) -> Index | None:
    """The index that is kept beside a shard of this size and time of change, if there is one."""
    path = _kept_at(url)
    try:
        with open(path, "rb") as file:
            data = file.read()
        found = _unpacked(url, data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        warnings.warn(
            f"{path}: the index is damaged, so the shard is indexed anew ({error!r}); delete it, or save it anew",
            DamagedIndexWarning,
            stacklevel=3,
        )
        return None
    return found if (found.size, found.mtime_ns) == (size, mtime_ns) else None


def _unpacked(url: str, data: bytes) -> Index:
    """The index in a file; an error of some class or other if it makes no sense."""
    at = data.index(b"\n") + 1
    if zlib.crc32(memoryview(data)[:-4]) != int.from_bytes(data[-4:], "little"):
        raise ValueError("its checksum is wrong")
    head = json.loads(data[:at])
    if head["format"] != VERSION:
        raise ValueError(f"its format is {head['format']!r}, not {VERSION!r}")
    members, samples = int(head["members"]), int(head["samples"])
    lengths = {**dict.fromkeys(COLUMNS, members), "name_starts": members + 1, "samples": samples + 1}
    columns: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        columns[name] = np.frombuffer(data, kind, lengths[name], at)
        at += columns[name].nbytes
    found = Index(
        url,
        head["size"],
        head["mtime_ns"],
        **columns,
        field_names=tuple(map(str, head["field_names"])),
        name_bytes=data[at:-4],
        ended=head["ended"],
        intact=True,
    )
    if not _makes_sense(found):
        raise ValueError("its columns make no sense")
    return found


def _makes_sense(found: Index) -> bool:
    """Whether all that the columns point at is there."""
    size, members = found.size, len(found.sizes)
    names, samples, fields = found.name_starts, found.samples, found.fields
    return bool(
        ((found.offsets >= 0) & (found.offsets <= found.starts) & (found.starts <= size)).all()
        and ((found.sizes >= 0) & (found.sizes <= size - found.starts)).all()
        and names[0] == 0
        and names[-1] == len(found.name_bytes)
        and (names[:-1] <= names[1:]).all()
        and samples[0] >= 0
        and samples[-1] == members
        and (samples[:-1] < samples[1:]).all()
        and ((fields >= NONE) & (fields < len(found.field_names))).all()
        and (fields[samples[:-1]] != NONE).all()
    )
