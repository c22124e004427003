"""Where samples go: one shard, numbered shards, or standard output; nothing is written over unasked."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from streamwds import Gopen, ShardWriter, TarWriter
from streamwds.cli.sources import path_of
from streamwds.cli.telling import UsageError, count, machine, say, size
from streamwds.errors import DuplicateKeyError, StreamwdsError, WriteError
from streamwds.shards.local import scheme_of
from streamwds.shards.urls import shard_name
from streamwds.tar.shard_names import places, shard_namer

__all__ = ["Output", "with_keys"]

MAXCOUNT, MAXSIZE = 100_000, 3_000_000_000  # (ShardWriter's own)


@attrs.frozen
class _Wrote:
    """What was written: how many shards and samples, and the bytes that the samples take in them (uncompressed)."""

    shards: int
    samples: int
    bytes: int


@attrs.frozen
class Output:
    """What the user named as the place for samples; `UsageError` at once if nothing can be put there.

    name: a path, a pattern with a place for the shards' number, or - for standard output.
    force: whether shards of these names may be replaced.
    reads: what is read meanwhile. A numbered shard may not be among it.
    maxcount, maxsize: when a numbered shard is full; None: as usual.
    json: whether standard output is wanted for what was done.
    """

    name: str
    force: bool = False
    reads: Iterable[str] = attrs.field(default=(), kw_only=True)
    maxcount: int | None = attrs.field(default=None, kw_only=True)
    maxsize: int | None = attrs.field(default=None, kw_only=True)
    json: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.name == "-":
            if self.json:
                raise UsageError("--json is printed to standard output, and so are shards with -o -: one or the other")
            if sys.stdout.isatty():
                raise UsageError("standard output is a terminal, and a tar is nothing to look at: -o FILE, or > FILE")
        elif not self.remote and os.path.isdir(self.name):
            raise UsageError("it is a folder; give a shard's name in it", url=self.name)
        elif not self.remote and not os.path.isdir(folder := os.path.dirname(self.name) or "."):
            raise UsageError(f"there is no folder {folder}", url=self.name)
        if not self.numbered and (self.maxcount or self.maxsize):
            raise UsageError(f"several shards need a place for their number: -o 'out-%06d.tar', not {self.name!r}")
        if self.numbered:
            self._check_pattern()
        if self.remote:
            self._check_store()
        there = self.paths()
        if there and not self.force:
            raise UsageError("it is there already; --force writes over it", url=there[0])
        if there and self.numbered:
            read = {os.path.realpath(path) for path in map(path_of, self.reads) if path is not None}
            if both := [path for path in there if os.path.realpath(path) in read]:
                raise UsageError("it would be written over while it is read; give another name", url=both[0])

    @property
    def numbered(self) -> bool:
        return self.name != "-" and bool(places(self.name))

    @property
    def remote(self) -> bool:
        """Whether it is written to a store."""
        return self.name != "-" and path_of(self.name) is None

    def _check_store(self) -> None:
        try:
            Gopen().place(shard_namer(self.name)(0) if self.numbered else self.name)
        except WriteError as error:
            raise UsageError(
                f"{scheme_of(self.name)}: shards are written to local files, and to stores that replace an object at "
                "once (s3, gs, az …); -o - writes a stream"
            ) from error

    def _check_pattern(self) -> None:
        try:
            shard_namer(self.name)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def paths(self) -> list[str]:
        """The shards that are there under these names (of numbered ones in a store, none: they aren't listed)."""
        if self.remote:
            return [] if self.numbered or Gopen().place(self.name).size() is None else [self.name]
        if not self.numbered:
            return [self.name] if self.name != "-" and os.path.lexists(self.name) else []
        name, folder = shard_namer(self.name), os.path.dirname(self.name)
        found: set[tuple[int, str]] = set()
        for entry in os.listdir(folder or "."):
            path = os.path.join(folder, entry)
            numbers = map(int, re.findall(r"[0-9]{1,18}", entry))
            found.update((number, path) for number in numbers if name(number) == path)
        return [path for _, path in sorted(found)]

    def write(self, samples: Iterable[Mapping[str, Any]], *, shards: int = 0, of: int = 0) -> None:
        """Write samples, and tell what was done; nothing that is half is left behind by an error.

        shards, of: into so many shards of the same size (but for one sample), of so many samples in all.
        """
        options: dict[str, Any] = {"encoder": False, "keep_meta": True}
        try:
            if self.name == "-":
                wrote = self._streamed(samples, options)
            else:
                wrote = self._written(samples, [of * n // shards for n in range(1, shards + 1)], options)
        except DuplicateKeyError as error:
            error.message += "; --keys '{shard}/{key}' (or '{number:08d}') makes them differ"
            raise
        if self.json:
            machine(wrote)
        else:
            say(f"wrote {count(wrote.samples, 'sample')} to {count(wrote.shards, 'shard')}, {size(wrote.bytes)}")

    def _names(self) -> Callable[[int], str]:
        """The name of each shard by its number; in a store it is asked for in its turn whether one is there."""
        names = shard_namer(self.name)

        @functools.cache  # (the writer asks again when it was written)
        def free(number: int) -> str:
            if Gopen().place(names(number)).size() is not None:
                raise WriteError("it is there already; --force writes over it", url=names(number))
            return names(number)

        return free if self.remote and not self.force else names

    def _streamed(self, samples: Iterable[Mapping[str, Any]], options: dict[str, Any]) -> _Wrote:
        number = taken = 0
        with TarWriter(sys.stdout.buffer, **options) as writer:
            for sample in samples:
                taken += writer.write(sample)
                number += 1
        return _Wrote(1, number, taken)

    def _written(self, samples: Iterable[Mapping[str, Any]], ends: list[int], options: dict[str, Any]) -> _Wrote:
        before = self.paths()
        names: list[str] = []
        limited = self.numbered and not ends
        maxcount = self.maxcount or MAXCOUNT if limited else sys.maxsize
        maxsize = self.maxsize or MAXSIZE if limited else float("inf")
        name = self._names() if self.numbered else lambda number: self.name  # pyright: ignore[reportUnknownLambdaType]
        with ShardWriter(name, maxcount, maxsize, names.append, **options) as writer:
            for number, sample in enumerate(samples, start=1):
                writer.write(sample)
                if ends and number == ends[0]:
                    writer.finish()
                    del ends[0]
        if not writer.samples:
            raise StreamwdsError("there is no sample, so nothing was written", url=self.name)
        if left := [path for path in before if path not in names]:
            say(f"{left[0]}{' and others' if left[1:] else ''} had such a name before, and stays: remove what is old")
        return _Wrote(writer.shards, writer.samples, writer.bytes)


def with_keys(keys: str, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Samples with other keys: a format of {shard} (its name, up to the first dot), {key} and {number} (from 0).

    >>> [sample["__key__"] for sample in with_keys("{shard}/{number:03d}", [{"__key__": "a", "__url__": "b.tar"}])]
    ['b/000']
    """
    try:
        keys.format(shard="", key="", number=0)
    except (LookupError, ValueError, AttributeError) as error:
        raise UsageError(f"--keys has places {{shard}}, {{key}}, {{number}} or {{number:08d}}, not {keys!r}") from error
    return _with_keys(keys, samples)


def _with_keys(keys: str, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, sample in enumerate(samples):
        shard = shard_name(sample.get("__url__", "")).partition(".")[0]
        yield {**sample, "__key__": keys.format(shard=shard, key=sample["__key__"], number=number)}
