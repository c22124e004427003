"""From members to samples: consecutive members that share a key are one sample.

The key of `a/b.v1/c.seg.png` is `a/b.v1/c`, and its field is `seg.png`: the name is cut at the first dot of its last
part. `group_by_keys` groups members, `tarsamples` does it all from URLs on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, groupby, repeat
from typing import Any, ClassVar

import attrs

from streamwds.errors import StreamwdsError
from streamwds.handlers import Handler, reraise_exception
from streamwds.shards.cache import ShardCache, cache_of
from streamwds.shards.opening import Opener, check_opener, open_url, shard_of
from streamwds.shards.prefetching import check_ahead, read_ahead
from streamwds.stage import Sample, ready
from streamwds.steps import At, Pair, Run, Step, Upstream, option
from streamwds.tar.grouping import Torn, grouped
from streamwds.tar.members import Member, check_eof, function_or_none
from streamwds.tar.names import Naming, check_case, chosen_suffixes
from streamwds.tar.reading import sample_stretches
from streamwds.tar.stream import shard_bytes

__all__ = ["GroupByKeys", "TarSamples", "group_by_keys", "tarsamples"]


@attrs.frozen(repr=False, slots=False)
class GroupByKeys(Step[Member, Sample]):
    """Samples from the members of shards: `open_shards | tarfiles | group_by_keys`.

    Consecutive members of a shard that share a key are a sample: a dict of `__key__`, `__url__` and a field of bytes
    for each member, named by its extension in lower case. A sample that has a field twice is a `DuplicateFieldError`,
    which goes to the handler. A sample that a damaged shard may have cut is not given out.

    keys: a function from a member's name to its (key, field), or None if it belongs to no sample.
    lower: whether names of fields are put in lower case.
    suffixes: the fields that are wanted, such as {"jpg", "seg.png"}; None: all.
    handler: gets each error; true goes on behind it.

    Remembers nothing: the position of a sample is that before the member at which it ended.
    """

    name: ClassVar[str] = "group_by_keys"
    ready: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Member"
    yields: ClassVar[str | None] = "Sample"
    keys: Callable[[str], tuple[str, str] | None] | None = option(None, check=function_or_none)
    lower: bool = option(True, decides=False)
    suffixes: Collection[str] | None = option(None, decides=False, convert=chosen_suffixes)
    handler: Handler = option(reraise_exception, decides=False)

    def __attrs_post_init__(self) -> None:
        check_case(self.suffixes, self.lower)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        guard = run.guard(self.handler)
        naming = Naming(skip_meta=False, keys=self.keys, lower=self.lower, suffixes=chosen_suffixes(self.suffixes))
        for _, pairs in groupby(upstream(at), _ShardCount()):
            first = next(pairs)
            try:
                samples = grouped(_untorn(chain([first], pairs)), first[0].url, naming, guard)  # noqa: B031  (once each)
                yield from (pair for pair in samples if pair[0] is not None)
            except Torn:
                continue
            if guard.ended:
                return


def _untorn(pairs: Iterable[Pair]) -> Iterator[tuple[str, bytes, int, At]]:
    for member, behind in pairs:
        yield member.name, member.data, member.offset, behind
        if member.torn is not None:
            raise Torn(member.torn)


class _ShardCount:
    """Tells members of one reading of a shard from those of the next: (pair) -> number of the shard."""

    def __init__(self) -> None:
        self.number = 0
        self.url: str | None = None
        self.offset = 0

    def __call__(self, pair: Pair) -> int:
        member: Member = pair[0]
        if member.url != self.url or member.offset <= self.offset:
            self.number += 1
        self.url, self.offset = member.url, member.offset
        return self.number


@attrs.frozen(repr=False, slots=False)
class TarSamples(Step[str, Sample]):
    """The samples in tar shards: URLs (or `Shard`s) in, samples out.

    A sample is a dict of `__key__` (str), `__url__` (str) and a field of `bytes` for each of its files, named by the
    file's extension in lower case: `a/b.v1/c.seg.png` is field `seg.png` of sample `a/b.v1/c`. Files without an
    extension or a name before it, folders, links, and shard metadata (`__x__`) are passed over.

    eof: "strict" takes a shard without an end-of-archive block for a cut one; "lenient" does not.
    suffixes: the fields that are wanted, such as {"jpg", "seg.png"}; None: all. Of a local shard that isn't compressed,
        large files that are not wanted are not even read.
    rename_files, select_files: functions of a file's name: its new name, and (of that) whether the file is wanted.
    keys: a function from a file's name to its (key, field), or None if it belongs to no sample.
    lower: whether names of fields are put in lower case.
    skip_meta: whether metadata of the shard (`__x__`, or what lies in such a folder) is passed over.
    cache: a folder in which shards are kept, or a `ShardCache`; None: they are read from their sources each time.
    opener: a function from URL and offset to an unbuffered binary file, such as `Gopen(timeout=60)`.
    prefetch: so many of the next shards are opened, and read ahead, while one is read (see `prefetch_shards`).
    handler: gets each error, with url, byte offset and key. True goes on: behind a damaged place with the next shard
        (samples that were whole before it are given out), behind a sample that has a field twice with the next sample.

    Remembers the offset of the next sample and, as its upstream's position, where its shard comes.

    >>> with TarWriter(tmp_path / "a.tar") as writer:
    ...     size = writer.write({"__key__": "0001", "txt": b"a cat", "seg.png": b"..."})
    >>> urls(tmp_path / "a.tar") | tarsamples | list
    [{'__key__': '0001', '__url__': '...a.tar', 'seg.png': b'...', 'txt': b'a cat'}]
    """

    name: ClassVar[str] = "tarsamples"
    ready: ClassVar[bool] = True
    takes: ClassVar[str | None] = "str"
    yields: ClassVar[str | None] = "Sample"
    memory: ClassVar[Mapping[str, Any]] = {"offset": 0}
    eof: str = option("strict", decides=False, check=check_eof)
    suffixes: Collection[str] | None = option(None, decides=False, convert=chosen_suffixes)
    rename_files: Callable[[str], str] | None = option(None, check=function_or_none)
    select_files: Callable[[str], object] | None = option(None, check=function_or_none)
    keys: Callable[[str], tuple[str, str] | None] | None = option(None, check=function_or_none)
    lower: bool = option(True, decides=False)
    skip_meta: bool = option(True)
    cache: ShardCache | str | os.PathLike[str] | None = option(None, decides=False, convert=cache_of)
    opener: Opener = option(open_url, decides=False, check=check_opener)
    prefetch: int = option(0, decides=False, check=check_ahead)
    handler: Handler = option(reraise_exception, decides=False)

    def __attrs_post_init__(self) -> None:
        check_case(self.suffixes, self.lower)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        offset, start = self.recall(at)
        return chain.from_iterable(self._stretches(run, upstream(start), offset, start, tracked=True))

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Sample]:
        return chain.from_iterable(self._stretches(run, zip(items, repeat(None)), 0, None, tracked=False))

    def _stretches(
        self, run: Run, shards: Iterator[Pair], offset: int, start: At, *, tracked: bool
    ) -> Iterator[Iterator[Any]]:
        """Iterators of samples (tracked: of pairs), each to be used up before the next is asked for."""
        guard = run.guard(self.handler)
        lenient = self.eof == "lenient"
        naming = Naming(
            self.rename_files,
            self.select_files,
            self.skip_meta,
            self.keys,
            self.lower,
            chosen_suffixes(self.suffixes),
        )
        if (cache := cache_of(self.cache)) is not None:
            shards = cache.kept(shards, run.tell, self.opener)
        with contextlib.closing(read_ahead(shards, self.prefetch, opener=self.opener)) as ahead:
            for item, after in ahead:
                try:
                    shard = shard_of(item, self.opener)
                    with shard_bytes(shard, offset) as source:
                        yield from sample_stretches(source, naming, guard, lenient, tracked, start)
                except StreamwdsError as error:
                    if not guard(error):
                        return
                if guard.ended:
                    return
                offset, start = 0, after


group_by_keys = ready(GroupByKeys)
tarsamples = ready(TarSamples)
