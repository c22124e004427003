"""From the bytes of a shard to its members: `walk` follows the headers, `tarfiles` is the stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import attrs

from streamwds.errors import FunctionError, HeaderError, StreamwdsError, TarError, TruncatedError
from streamwds.handlers import Handler, reraise_exception
from streamwds.shards.opening import Shard, shard_of
from streamwds.stage import ready
from streamwds.steps import At, Pair, Run, Step, Upstream, option
from streamwds.tar.headers import BLOCK, ZERO_BLOCK, Header, checksum_holds, padded, parse, pax_records, text
from streamwds.tar.names import Naming
from streamwds.tar.stream import ShardBytes, shard_bytes

__all__ = ["Member", "TarFiles", "check_eof", "check_whole", "function_or_none", "tarfiles", "walk"]


@attrs.frozen
class Member:
    """A file in a shard.

    url, name: where it lies; `offset` is that of its first header, in bytes of the uncompressed shard.
    data: its bytes.
    torn: set if the shard is damaged right behind this member, so that what belongs to it may be missing: the name of
        the member that is cut there, "" if no name can be read.
    """

    url: str
    name: str
    data: bytes
    offset: int
    torn: str | None = None


def walk(
    source: ShardBytes, *, lenient: bool = False, needless: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, Any, int, int]]:
    """Each regular member: (name, data as `source.data` gives it, offset of its first header, offset behind it).

    The data of a member whose name is `needless` is passed over, and comes as b"".

    Folders, links and devices are passed over. Archives that follow each other in one file are all read, and what comes
    after the last and is no archive is ignored. A damaged place is an error, and nothing behind it is guessed at. An
    archive without an end-of-archive block may have been cut between two members: a `TruncatedError` after the last
    one, unless `lenient`.
    """
    url = source.url
    extensions: dict[bytes, bytes] = {}
    first = at = source.at
    header = source.read(BLOCK)
    while True:
        if not header or header == ZERO_BLOCK:
            if extensions:
                raise TruncatedError("the shard ends after a header that announces a member", url=url, offset=at)
            if not header and not lenient:
                raise _unfinished(url, at)
            at, header = _next_archive(source)
            first = at
            if not header:
                return
        if len(header) < BLOCK and (at or header.lstrip()[:1] != b"<"):
            raise TruncatedError("the shard ends within a header", url=url, offset=at)
        try:
            found = parse(header)
        except HeaderError as error:
            raise _no_header(error, header, url, at) from None
        if found.kind in b"xgLKXS" or extensions:
            extended = _extend(source, found, extensions, at)
            if extended is None:
                at, header = source.at, source.read(BLOCK)
                continue
            found = extended
        try:
            if needless is not None and found.regular and needless(text(found.name)):
                data, there = b"", source.pass_over(padded(found.size))
            else:
                data = source.data(padded(found.size))
                there = len(data)
            if there < padded(found.size):
                missing = f"within {text(found.name)!r}: {there} of {found.size} bytes are there"
                if there >= found.size:
                    missing = f"within the padding of {text(found.name)!r}, whose bytes are all there"
                raise TruncatedError(f"the shard ends {missing}", url=url, offset=at)
        except TarError as error:
            error.member = text(found.name) if found.regular else None
            raise
        if found.regular:
            size = found.size
            yield text(found.name), (data if len(data) == size else data[:size]), first, source.at
        extensions = {}
        first = at = source.at
        header = source.read(BLOCK)


def _extend(source: ShardBytes, header: Header, extensions: dict[bytes, bytes], at: int) -> Header | None:
    """Take in a header that describes the next one (None), or apply what such headers said to this one."""
    if header.kind == ord("S"):
        raise TarError("a sparse member; rewrite the shard without tar's --sparse", url=source.url, offset=at)
    if header.kind in b"xgLKX":
        if header.size > 1 << 20:
            raise HeaderError(f"a header of {header.size} bytes", url=source.url, offset=at)
        data = source.read(padded(header.size))
        if len(data) < header.size:
            raise TruncatedError("the shard ends within a header", url=source.url, offset=at)
        data = data[: header.size]
        try:
            records = pax_records(data) if header.kind in b"xgX" else {}
        except HeaderError as error:
            raise HeaderError(error.message, url=source.url, offset=at) from None
        if header.kind == ord("g"):
            if records.keys() & {b"path", b"size"}:
                raise TarError("a global pax header gives all members one name or size", url=source.url, offset=at)
        elif header.kind == ord("L"):
            extensions[b"path"] = data.partition(b"\0")[0]
        elif header.kind != ord("K"):
            extensions.update(records)
        if header.kind != ord("g"):
            extensions.setdefault(b"", b"")  # (so that a header is expected next)
        return None
    if any(key.startswith(b"GNU.sparse") for key in extensions):
        raise TarError("a sparse member; rewrite the shard without tar's --sparse", url=source.url, offset=at)
    size = extensions.get(b"size")
    if size and not (size.isdigit() and len(size) <= 20):
        raise HeaderError(f"a pax header gives the size {size[:40]!r}", url=source.url, offset=at)
    return Header(  # (an empty record takes back what other headers said, so the member's own counts)
        extensions.get(b"path") or header.name,
        header.kind,
        header.size if not size or header.kind in b"123456" else int(size),
    )


def check_whole(shard: Shard) -> None:
    """Raise what is wrong with a shard, up to the end of its archive. Of a local one only the headers are read."""
    with shard_bytes(shard) as source:
        for _ in walk(source, needless=lambda name: True):
            pass


def _next_archive(source: ShardBytes) -> tuple[int, bytes]:
    """Behind an end-of-archive block: where one more archive begins, and its first header; no header if none does.

    (A block that calls itself a header is taken for one, even if it is damaged: then it isn't lost without a word.)
    """
    while True:
        at, block = source.at, source.read(BLOCK)
        if block != ZERO_BLOCK:
            return (at, block) if block[257:262] == b"ustar" or checksum_holds(block) else (at, b"")


def _unfinished(url: str, at: int) -> TruncatedError:
    if not at:
        return TruncatedError("the shard is empty", url=url, offset=0)
    return TruncatedError(
        "the shard ends without an end-of-archive block, so it may have been cut there "
        '(eof="lenient" takes it as it is)',
        url=url,
        offset=at,
    )


def _no_header(error: HeaderError, block: bytes, url: str, at: int) -> HeaderError:
    if at:
        return HeaderError(f"{error.message}; the shard is damaged there", url=url, offset=at)
    start = block.lstrip()[:40]
    looks = (
        "looks like a web page (an error page, saved under the shard's name?)"
        if start[:1] == b"<"
        else "is no tar archive"
    )
    return HeaderError(f"the file {looks}: it begins with {start!r}", url=url, offset=0)


def check_eof(eof: object) -> None:
    if eof not in ("strict", "lenient"):
        raise ValueError(f'eof is "strict" or "lenient", not {eof!r}')


def function_or_none(f: object) -> None:
    if f is not None and not callable(f):
        raise TypeError(f"a function of a name is wanted, not {f!r}")


@attrs.frozen(repr=False, slots=False)
class TarFiles(Step[Shard, Member]):
    """The files in tar shards, one after the other: `open_shards | tarfiles`.

    eof: "strict" takes a shard without an end-of-archive block for a cut one; "lenient" does not.
    rename_files, select_files: functions of a file's name: its new name, and (of that) whether the file is wanted.
    skip_meta: whether metadata of the shard (`__x__`, or what lies in such a folder) is passed over.
    handler: gets a shard's error; true goes on with the next shard.

    Remembers the offset of the next member and, as its upstream's position, where its shard comes.
    """

    name: ClassVar[str] = "tarfiles"
    ready: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Shard"
    yields: ClassVar[str | None] = "Member"
    memory: ClassVar[Mapping[str, Any]] = {"offset": 0}
    eof: str = option("strict", decides=False, check=check_eof)
    rename_files: Callable[[str], str] | None = option(None, check=function_or_none)
    select_files: Callable[[str], object] | None = option(None, check=function_or_none)
    skip_meta: bool = option(True)
    handler: Handler = option(reraise_exception, decides=False)

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        offset, start = self.recall(at)
        guard = run.guard(self.handler)
        naming = Naming(self.rename_files, self.select_files, self.skip_meta)
        for item, after in upstream(start):
            try:
                shard = shard_of(item)
                for member, behind in _members(shard, offset, naming, self.eof == "lenient"):
                    guard.seen += 1
                    yield member, (behind, start)
            except StreamwdsError as error:
                if not guard(error):
                    return
            offset, start = 0, after


def _members(shard: Shard, offset: int, naming: Naming, lenient: bool) -> Iterator[tuple[Member, int]]:
    """Members with the offset behind them; each is held back until what follows it is known."""
    held: tuple[Member, int] | None = None
    with shard_bytes(shard, offset) as source:
        try:
            for name, data, first, behind in walk(source, lenient=lenient):
                known = _known(naming, name, shard.url, first)
                if known is not None:
                    if held is not None:
                        yield held
                    held = Member(shard.url, known, data, first), behind
        except StreamwdsError as error:
            if held is not None:
                yield attrs.evolve(held[0], torn=_cut(naming, error)), held[1]
            raise
    if held is not None:
        yield held


def _known(naming: Naming, name: str, url: str, offset: int) -> str | None:
    try:
        return naming.file(name)
    except FunctionError as error:
        error.url, error.offset = url, offset
        raise


def _cut(naming: Naming, error: StreamwdsError) -> str:
    """The name of the member that is cut, "" if there is none or the user's functions don't tell."""
    try:
        return (isinstance(error, TarError) and error.member and naming.file(error.member)) or ""
    except FunctionError:
        return ""


tarfiles = ready(TarFiles)
