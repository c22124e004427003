"""From members to samples: consecutive members that share a key are one sample.

The key of `a/b.v1/c.seg.png` is `a/b.v1/c`, and its field is `seg.png`: the name is cut at the first dot of its last
part. `group_by_keys` groups members, `tarsamples` does it all from URLs on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, ClassVar

import attrs
from toolz import peek

from streamwds.errors import DuplicateFieldError, StreamwdsError, TarError
from streamwds.handlers import Guard, Handler, reraise_exception
from streamwds.memo import Memo
from streamwds.shards.opening import shard_of
from streamwds.stage import Sample, ready
from streamwds.steps import At, Pair, Run, Step, Upstream, option
from streamwds.tar.members import Member, check_eof, walk
from streamwds.tar.stream import shard_bytes

__all__ = ["GroupByKeys", "TarSamples", "group_by_keys", "is_meta", "split_name", "tarsamples"]


def split_name(name: str) -> tuple[str, str] | None:
    """The key and the field of a member, or None for one that has none (`README`, `.hidden`, `a/._b.jpg`).

    >>> split_name("a/b.v1/c.Seg.PNG")
    ('a/b.v1/c', 'seg.png')
    """
    dot = name.find(".", start := name.rfind("/") + 1)
    return None if dot <= start else (name[:dot], _FIELDS[name[dot + 1 :]])


_FIELDS: Memo[str, str] = Memo(str.lower)


def is_meta(name: str) -> bool:
    """Whether a member is metadata of the shard and no part of a sample: `__x__`, or what lies in such a folder."""
    top = name.partition("/")[0]
    return len(top) >= 4 and top.startswith("__") and top.endswith("__")


def grouped(members: Iterable[tuple[str, bytes, int, At]], url: str, guard: Guard) -> Iterator[tuple[Sample, At]]:
    """Samples of one shard, each with the position behind its last member, from members (name, data, offset, behind).

    A sample is given out when the next one begins or the members end well. If they end in an error, the last is dropped,
    for nobody knows whether it was whole; but where a member is cut, its header is there and tells whether the next sample
    had begun. A sample that has a field twice goes to the handler as a whole.
    """
    key: str | None = None
    sample: Sample = {}
    twice: DuplicateFieldError | None = None
    behind: At = None
    damage: TarError | _Torn | None = None
    try:
        for name, data, offset, after in members:
            parts = None if name[:2] == "__" and is_meta(name) else split_name(name)
            if parts is not None:
                if parts[0] != key:
                    if key is not None:
                        if twice is None:
                            guard.seen += 1
                            yield sample, behind
                        elif not guard(twice):
                            return
                    key = parts[0]
                    sample = {"__key__": key, "__url__": url}
                    twice = None
                field = parts[1]
                if field in sample:
                    twice = DuplicateFieldError(f"{name!r} is there twice", url=url, offset=offset, key=key, field=field)
                sample[field] = data
            behind = after
    except (TarError, _Torn) as error:
        damage = error
        cut = error.member
        parts = None if cut is None or is_meta(cut) else split_name(cut)
        if isinstance(error, TarError) and error.url == url:
            error.key = key if parts is None else parts[0]
        if parts is None or parts[0] == key:
            key = None
    if key is not None:
        if twice is None:
            guard.seen += 1
            yield sample, behind
        elif not guard(twice):
            return
    if damage is not None:
        raise damage


@attrs.frozen(repr=False, slots=False)
class GroupByKeys(Step[Member, Sample]):
    """Samples from the members of shards: `open_shards | tarfiles | group_by_keys`.

    Consecutive members of a shard that share a key are a sample: a dict of `__key__`, `__url__` and a field of bytes for
    each member, named by its extension in lower case. A sample that has a field twice is a `DuplicateFieldError`, which
    goes to the handler. A sample that a damaged shard may have cut is not given out.

    Remembers nothing: the position of a sample is that before the member at which it ended.
    """

    name: ClassVar[str] = "group_by_keys"
    ready: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Member"
    yields: ClassVar[str | None] = "Sample"
    handler: Handler = option(reraise_exception, decides=False)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        guard = run.guard(self.handler)
        for _, pairs in groupby(upstream(at), _ShardCount()):
            first, whole = peek(pairs)
            try:
                yield from grouped(_untorn(whole), first[0].url, guard)
            except _Torn:
                continue
            if guard.ended:
                return


def _untorn(pairs: Iterable[Pair]) -> Iterator[tuple[str, bytes, int, At]]:
    for member, behind in pairs:
        yield member.name, member.data, member.offset, behind
        if member.torn is not None:
            raise _Torn(member.torn)


class _Torn(Exception):  # noqa: N818  (not an error: who read the shard has dealt with that)
    """The shard is damaged behind this member; and the name of the one that is cut there, if it has any."""

    def __init__(self, member: str) -> None:
        super().__init__(member)
        self.member = member


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
    handler: Handler = option(reraise_exception, decides=False)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        offset, start = self.recall(at)
        guard = run.guard(self.handler)
        for item, after in upstream(start):
            try:
                shard = shard_of(item)
                with shard_bytes(shard, offset) as source:
                    for sample, behind in grouped(walk(source, lenient=self.eof == "lenient"), shard.url, guard):
                        yield sample, (behind, start)
            except StreamwdsError as error:
                if guard.ended:  # (the handler raised it)
                    raise
                if not guard(error):
                    return
            if guard.ended:
                return
            offset, start = 0, after


group_by_keys = ready(GroupByKeys)
tarsamples = ready(TarSamples)
