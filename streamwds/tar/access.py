"""Samples of local shards by number, by key, in any order: `ShardFile` and `ShardFiles`.

Both are sequences, and so map-style datasets: of these, torch asks no more than `len` and items by number. Where a
sample lies is told by an index (`indexes.py`). Streams need none of this.
"""

from __future__ import annotations

import operator
import os
import threading
import weakref
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from streamwds.errors import CompositionError, OpenError, SampleKeyError, SourceError, StreamwdsError, TarError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.shards.opening import open_url
from streamwds.shards.urls import Pattern, Urls
from streamwds.stage import Sample, Stage, identity
from streamwds.steps import Lifted, Run, check_fit
from streamwds.tar.indexes import Index, index
from streamwds.tar.names import chosen_suffixes
from streamwds.values import code

if TYPE_CHECKING:
    from torch.utils.data import Dataset
else:
    Dataset = Generic  # (for type checkers a DataLoader takes nothing else; at run time it asks for no base class)

__all__ = ["ShardFile", "ShardFiles"]

B = TypeVar("B", covariant=True)

TOGETHER = 1 << 14  # bytes: a sample that takes no more is read as one piece


# ---- files


if hasattr(os, "pread"):
    _pread = os.pread
else:
    _seeking = threading.Lock()

    def _pread(fd: int, size: int, at: int, /) -> bytes:
        with _seeking:
            os.lseek(fd, at, os.SEEK_SET)
            return os.read(fd, size)


class _File:
    """A local file, from which threads and forked processes may read at once.

    It is closed when nobody holds it any more: so nobody reads from one that another has just closed, or from what got
    its number since.
    """

    __slots__ = ("__weakref__", "_fd")

    def __init__(self, url: str) -> None:
        with open_url(url) as raw:
            self._fd = os.dup(raw.fileno())
        weakref.finalize(self, os.close, self._fd)

    def stat(self) -> tuple[int, int]:
        """Its size in bytes, and its time of change in ns."""
        found = os.fstat(self._fd)
        return found.st_size, found.st_mtime_ns

    def read(self, at: int, size: int) -> bytes:
        """Bytes from an offset on: as many as asked for, or fewer at the end of the file."""
        data = _pread(self._fd, size, at)
        while len(data) < size and (more := _pread(self._fd, size - len(data), at + len(data))):
            data += more  # (a system may give less at a time, of gigabytes for one)
        return data


# ---- sequences


class _Numbered(Sequence[B], Dataset[B]):
    """A sequence of items that are made when they are asked for."""

    @abstractmethod
    def _item(self, number: int) -> B:
        """The item of this number, which is one."""

    @overload
    def __getitem__(self, index: int) -> B: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[B]: ...
    def __getitem__(self, index: int | slice) -> B | Sequence[B]:
        if isinstance(index, slice):
            return _Part(self, range(len(self))[index])
        return self._item(self._number(index))

    def __getitems__(self, numbers: Iterable[int]) -> list[B]:
        """The items of these numbers, in their order; torch's DataLoader asks so for those of a batch."""
        return [self._item(self._number(number)) for number in numbers]

    def _number(self, number: int) -> int:
        length = len(self)
        found = operator.index(number)
        found += length if found < 0 else 0
        if not 0 <= found < length:
            raise IndexError(f"there are {length} samples, and no number {number}, in {self!r}")
        return found

    def __iter__(self) -> Iterator[B]:
        return map(self._item, range(len(self)))


class _Part(_Numbered[B]):
    """Some of a sequence, by their numbers: what a slice is."""

    def __init__(self, whole: _Numbered[B], numbers: range) -> None:
        self._whole = whole
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def _item(self, number: int) -> B:
        return self._whole._item(self._numbers[number])

    def __getitems__(self, numbers: Iterable[int]) -> list[B]:
        return self._whole.__getitems__([self._numbers[self._number(number)] for number in numbers])

    def __repr__(self) -> str:
        return f"<{len(self)} of {self._whole!r}>"


class ShardFile(_Numbered[Sample]):
    """The samples of a local, uncompressed shard, by number and by key, as `tarsamples` gives them.

    A sequence: `len`, `[i]`, slices (which read nothing before an item is asked for), iteration. Several threads may
    read at once, forked processes share the open file, and a pickled copy opens it again. It is closed by `close`, by
    `with`, or when nobody holds it any more.

    Parameters
    ----------
    shard: a path, or an `Index`.
    suffixes: the fields that are wanted; None: all. Samples without any of them are there, too.
    eof, handler, save: as in `tar.index`.

    A shard that is changed after it was indexed is a `SourceError` when it is opened.

    >>> with TarWriter(tmp_path / "a.tar") as writer:
    ...     size = sum(writer.dwrite(f"{n:04d}", cls=n) for n in range(10))
    >>> with ShardFile(tmp_path / "a.tar") as samples:
    ...     len(samples), samples[-1]["cls"], samples.by_key("0007")["cls"], [some["cls"] for some in samples[2:8:3]]
    (10, b'9', b'7', [b'2', b'5'])
    """

    def __init__(
        self,
        shard: str | os.PathLike[str] | Index,
        *,
        suffixes: Collection[str] | None = None,
        eof: str = "strict",
        handler: Handler = reraise_exception,
        save: bool = False,
    ) -> None:
        self.indexed = shard if isinstance(shard, Index) else index(shard, eof=eof, handler=handler, save=save)
        self.suffixes = chosen_suffixes(suffixes)
        self.closed = False
        self._fields = _wanted(self.indexed, self.suffixes)
        self._file: _File | None = None
        self._order: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def url(self) -> str:
        """The shard's URL: its path, as it was given."""
        return self.indexed.url

    def __len__(self) -> int:
        return len(self.indexed)

    def _item(self, number: int) -> Sample:
        found = self.indexed
        first, last = found.samples[number : number + 2].tolist()
        sample: Sample = {"__key__": found.key(number), "__url__": found.url}
        members = [
            (self._fields[field], start, size)
            for field, start, size in zip(
                found.fields[first:last].tolist(), found.starts[first:last].tolist(), found.sizes[first:last].tolist()
            )
            if self._fields[field] is not None
        ]
        if members:
            _, begin, _ = members[0]
            _, start, size = members[-1]
            together = start + size - begin
            piece = self._read(begin, together, sample) if together <= TOGETHER else None
            for name, start, size in members:
                if piece is None:
                    sample[name] = self._read(start, size, sample)
                else:
                    sample[name] = piece[start - begin : start - begin + size]
        return sample

    def _read(self, at: int, size: int, sample: Sample) -> bytes:
        if self.closed:
            raise OpenError("it was closed", url=self.url)
        file = self._file or self._open()
        try:
            data = file.read(at, size)
        except (OSError, MemoryError) as error:
            message = f"reading failed: {error}" if isinstance(error, OSError) else "there is not enough memory"
            raise TarError(message, url=self.url, offset=at, key=sample["__key__"]) from error
        if len(data) < size:
            raise TarError("the shard is shorter than it was", url=self.url, offset=at, key=sample["__key__"])
        return data

    def _open(self) -> _File:
        file = _File(self.url)
        if file.stat() != (self.indexed.size, self.indexed.mtime_ns):
            raise SourceError("the shard was changed after it was indexed; index it anew", url=self.url)
        self._file = file
        if self.closed:  # (by another thread, meanwhile)
            self._file = None
        return file

    def keys(self) -> list[str]:
        """The keys of all samples, in their order."""
        return self.indexed.keys()

    def by_key(self, key: str) -> Sample:
        """The sample of this key; a `SampleKeyError` if none has it, or several have."""
        numbers = self._of_key(key)
        if len(numbers) != 1:
            which = f"the samples {', '.join(map(str, numbers))} have" if numbers else "no sample has"
            raise SampleKeyError(f"{which} this key", url=self.url, key=key)
        return self._item(numbers[0])

    def _of_key(self, key: str) -> list[int]:
        """The numbers of the samples of this key: looked up by hash in arrays, which forked processes share."""
        if self._order is None:
            hashes = np.fromiter(map(hash, self.indexed.keys()), "i8", len(self))
            order = hashes.argsort(kind="stable")
            self._order = hashes[order], order
        hashes, order = self._order
        low, high = hashes.searchsorted(hash(key), "left"), hashes.searchsorted(hash(key), "right")
        return [number for number in order[low:high].tolist() if self.indexed.key(number) == key]

    def close(self) -> None:
        """Close the file, as soon as no other thread reads from it; reading again is an `OpenError`."""
        self.closed = True
        self._file = None

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_order": None}  # (hashes are others in another process)

    def __repr__(self) -> str:
        return f"ShardFile({code(self.url)}{_shown(self.suffixes)})"


class ShardFiles(_Numbered[B]):
    """The samples of many local shards by number, in the order of the shards: a map-style dataset.

    It works with any sampler of torch, in a DataLoader with any number of workers, forked or spawned; and without
    torch. All shards are indexed at once (about 50 bytes a member are kept; `save=True` makes it quick the next time).

    Parameters
    ----------
    shards: patterns of local paths, as `urls` takes them: braces, globs, lists.
    transform: a stage that makes of each sample one item: `decode("rgb") | map(augment) | to_tuple("jpg", "cls")`. Of
        stages that remember items, count them or look ahead none will do, and one that skips a sample is an error.
    suffixes: the fields that are wanted; None: all.
    open_files: how many shards stay open at most, in each process.
    eof, save: as in `tar.index`.
    handler: gets the errors that indexing the shards gives; if it goes on, the samples that are whole are there.

    >>> for shard in "ab":
    ...     with TarWriter(tmp_path / f"{shard}.tar") as writer:
    ...         size = sum(writer.dwrite(f"{shard}{n}", cls=n) for n in range(5))
    >>> dataset = ShardFiles(f"{tmp_path}/{{a,b}}.tar", decode() | to_tuple("__key__", "cls"))
    >>> len(dataset), dataset[7], list(dataset[:2])
    (10, ('b2', 2), [('a0', 0), ('a1', 1)])
    """

    @overload
    def __init__(
        self: ShardFiles[Sample],
        shards: Pattern | Iterable[Pattern],
        transform: None = None,
        *,
        suffixes: Collection[str] | None = None,
        open_files: int = 64,
        eof: str = "strict",
        handler: Handler = reraise_exception,
        save: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self,
        shards: Pattern | Iterable[Pattern],
        transform: Stage[Sample, B],
        *,
        suffixes: Collection[str] | None = None,
        open_files: int = 64,
        eof: str = "strict",
        handler: Handler = reraise_exception,
        save: bool = False,
    ) -> None: ...
    def __init__(
        self,
        shards: Pattern | Iterable[Pattern],
        transform: Stage[Sample, Any] | None = None,
        *,
        suffixes: Collection[str] | None = None,
        open_files: int = 64,
        eof: str = "strict",
        handler: Handler = reraise_exception,
        save: bool = False,
    ) -> None:
        if open_files < 1:
            raise ValueError(f"open_files is at least 1, not {open_files!r}")
        self.shards = Urls((shards,))
        self.transform = _one_to_one(identity if transform is None else transform)
        self.suffixes = chosen_suffixes(suffixes)
        self.open_files = open_files
        self.closed = False
        self.indexes = _indexes(self.shards.expanded, eof, Guard.of(handler), save)
        self._ends = list(accumulate(map(len, self.indexes)))
        self._remember()

    def _remember(self) -> None:
        # (keeps the shards and not this object, so that all is closed when nobody holds it)
        self._shard = lru_cache(self.open_files)(partial(_shard_file, self.indexes, self.suffixes))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _item(self, number: int) -> B:
        if self.closed:
            raise OpenError("they were closed", url=code(self.shards.patterns))
        shard = bisect_right(self._ends, number)
        sample = self._shard(shard)[number - self._ends[shard]]  # (counted from the shard's end)
        items: Iterator[Any] = iter((sample,))
        run = Run()
        for step in self.transform.steps:
            items = step.plain(run, items)
        made = list(items)
        if len(made) != 1:
            message = f"a dataset needs one item for each sample, and {self.transform!r} gave {len(made)} for this one"
            raise StreamwdsError.about(sample, message)
        item: B = made[0]
        return item

    def __getitems__(self, numbers: Iterable[int]) -> list[B]:
        """The items of these numbers, in their order, but read in that of the shards."""
        asked = [self._number(number) for number in numbers]
        items = {place: self._item(asked[place]) for place in sorted(range(len(asked)), key=asked.__getitem__)}
        return [items[place] for place in range(len(asked))]

    def close(self) -> None:
        """Close all files, as soon as no other thread reads from them; reading again is an `OpenError`."""
        self.closed = True
        self._shard.cache_clear()

    def __enter__(self) -> ShardFiles[B]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_shard"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

    def __repr__(self) -> str:
        transform = f", {self.transform!r}" if self.transform.steps else ""
        return f"ShardFiles({code(list(self.shards.patterns))}{transform}{_shown(self.suffixes)})"


def _shard_file(indexes: Sequence[Index], suffixes: frozenset[str] | None, number: int) -> ShardFile:
    return ShardFile(indexes[number], suffixes=suffixes)


def _indexes(urls: Iterable[str], eof: str, guard: Guard, save: bool) -> list[Index]:
    """The indexes of these shards, without those that the guard skips."""
    found: list[Index] = []
    for url in urls:
        try:
            found.append(index(url, eof=eof, handler=guard, save=save))
        except StreamwdsError as error:
            if guard.ended:  # (the handler raised it)
                raise
            guard(error)
        if guard.ended:
            break
    return found


def _one_to_one(transform: Stage[Sample, B]) -> Stage[Sample, B]:
    """The stage, if it may be run on one sample at a time."""
    check_fit("Sample", "ShardFiles", transform.steps)
    for step in transform.steps:
        if not isinstance(step, Lifted):
            raise CompositionError(
                f"{step.name} is about a stream, and can't stand where samples are read one by one, by their numbers; "
                f"what it is for, a sampler does, or a stream over the dataset: ShardFiles(…) | {step.name}"
            )
    return transform


def _wanted(found: Index, suffixes: frozenset[str] | None) -> list[str | None]:
    """The name of each field that is wanted, by its number; the last is for -1."""
    return [*(name if suffixes is None or name in suffixes else None for name in found.field_names), None]


def _shown(suffixes: frozenset[str] | None) -> str:
    return "" if suffixes is None else f", suffixes={{{', '.join(map(code, sorted(suffixes)))}}}"
